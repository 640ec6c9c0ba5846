package tests_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

// longFixture is a contact and two conversations in which every kind of event
// happens, over and over, with every kind of text.
const longFixture = "fixtures/long-conversation.ndjson"

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGoldens rebuilds the long conversation in every dialect, from the log that
// the program itself wrote, and holds every byte against the golden. A golden
// that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	database := imported(t, longFixture)

	moved := "sqlite:" + filepath.Join(t.TempDir(), "data")
	export := filepath.Join(t.TempDir(), "export.ndjson")
	run(t, "export", "-database", database, export)
	run(t, "import", "-database", moved, export)

	for _, d := range dialects(t) {
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			out := rebuilt(t, database, d)
			golden := goldenOf(d)
			if *update {
				if err := os.WriteFile(golden, []byte(out), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			sameLines(t, golden, string(want), out)
			sameLines(t, "rebuilt again", out, rebuilt(t, database, d))
			sameLines(t, "with one worker", out, rebuilt(t, database, d, "--workers", "1"))
			sameLines(t, "with eight workers", out, rebuilt(t, database, d, "--workers", "8"))
			sameLines(t, "exported, imported elsewhere and rebuilt", out, rebuilt(t, moved, d))
		})
	}
	files, err := filepath.Glob("golden/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.ContainsFunc(dialects(t), func(d webhooks.Dialect) bool { return file == goldenOf(d) }) {
			t.Errorf("%s is of no dialect", file)
		}
	}
}

// goldenOf returns the name of the file that holds what the long conversation is
// in a dialect.
func goldenOf(d webhooks.Dialect) string {
	return filepath.Join("golden", strings.TrimSuffix(filepath.Base(longFixture), ".ndjson")+"."+d.Name()+".ndjson")
}

// dialects returns every dialect, by name in order.
func dialects(tb testing.TB) []webhooks.Dialect {
	tb.Helper()
	var ds []webhooks.Dialect
	for _, name := range dialect.All().Names() {
		d, err := dialect.All().Find(name)
		if err != nil {
			tb.Fatal(err)
		}
		ds = append(ds, d)
	}
	return ds
}

// run runs the program, which must succeed, and returns what it wrote.
func run(tb testing.TB, args ...string) string {
	tb.Helper()
	r := runCommand(tb, "", args...)
	if r.code != 0 {
		tb.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), r.code, r.errors)
	}
	return r.out
}

// imported returns a new database with the events of a fixture.
func imported(tb testing.TB, fixture string) string {
	tb.Helper()
	database := "sqlite:" + filepath.Join(tb.TempDir(), "data")
	run(tb, "import", "-database", database, fixture)
	return database
}

// rebuilt returns every body that there is, those too that have to be asked for
// by name.
func rebuilt(tb testing.TB, database string, d webhooks.Dialect, args ...string) string {
	tb.Helper()
	events := []string{endpoint.AllEvents}
	for _, t := range d.Vocabulary() {
		if t.OptIn {
			events = append(events, t.Name)
		}
	}
	return run(tb, append([]string{
		"rebuild", "-database", database, "--dialect", d.Name(), "--events", strings.Join(events, ","),
	}, args...)...)
}

// sameLines fails the test with the first line that is another one.
func sameLines(tb testing.TB, what, want, got string) {
	tb.Helper()
	if want == got {
		return
	}
	wants, gots := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(wants), len(gots)) {
		if wants[i] != gots[i] {
			tb.Errorf("%s: line %d:\n got %s\nwant %s", what, i+1, gots[i], wants[i])
			return
		}
	}
	tb.Errorf("%s: %d lines, want %d", what, len(gots), len(wants))
}
