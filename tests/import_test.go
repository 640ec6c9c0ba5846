package tests_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadImportsChangeNothing imports fixtures with one fault each: the exit
// code says that it failed, the message which line and why, and the log is as
// it was.
func TestBadImportsChangeNothing(t *testing.T) {
	t.Parallel()
	fixture, err := os.ReadFile(closerFixture)
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Split(strings.TrimSpace(string(fixture)), "\n")
	with := func(n int, line string) string {
		lines := append([]string(nil), good...)
		lines[n-1] = line
		return strings.Join(lines, "\n") + "\n"
	}
	firstID := field(t, good[0], "id")
	for _, test := range []struct {
		name, input, code string
		line              int64
	}{
		{"a gap", strings.Join(append(append([]string(nil), good[:2]...), good[3:]...), "\n"), "position_gap", 3},
		{"a duplicate id", with(4, strings.Replace(good[3], field(t, good[3], "id"), firstID, 1)), "duplicate_id", 4},
		{"a version gap", with(3, strings.Replace(good[2], `"version":3`, `"version":7`, 1)), "version_gap", 3},
		{"a line that is not JSON", with(2, `{"position":2,`), "bad_line", 2},
		{"an empty line", with(5, ""), "bad_line", 5},
		{"an unknown member", with(2, `{"colour":"red",`+good[1][1:]), "bad_line", 2},
		{"an unknown event", with(2, strings.Replace(good[1], field(t, good[1], "type"), "conversation.exploded", 1)), "bad_line", 2},
		{"a newer schema", with(2, strings.Replace(good[1], `"schema":1`, `"schema":99`, 1)), "bad_line", 2},
		{"invalid UTF-8", with(3, strings.Replace(good[2], "Hello", "He\xffo", 1)), "bad_line", 3},
		{"a member that the event does not have", with(3, strings.Replace(good[2], `"data":{`, `"data":{"colour":"red",`, 1)), "bad_line", 3},
		{"an event of another kind of stream", with(3, strings.Replace(good[2], `"stream":"conversation-`, `"stream":"contact-`, 1)), "bad_line", 3},
		{"a stream that begins in the middle", with(1, strings.Replace(good[0], field(t, good[0], "type"), "contact.erased", 1)), "bad_line", 1},
		{"another account", with(6, strings.Replace(good[5], `"account":"default"`, `"account":"other"`, 1)), "foreign_stream", 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			database := "sqlite:" + filepath.Join(t.TempDir(), "data")
			r := runCommand(t, test.input, "import", "--json", "-database", database, "-")
			var problem struct {
				Code, Error string
				Line        int64
			}
			if err := json.Unmarshal([]byte(r.errors), &problem); err != nil {
				t.Fatalf("%v: %s", err, r.errors)
			}
			if r.code != 1 || problem.Code != test.code || problem.Line != test.line {
				t.Errorf("exit %d, code %q, line %d (%s); want 1, %q, %d",
					r.code, problem.Code, problem.Line, problem.Error, test.code, test.line)
			}
			dry := runCommand(t, test.input, "import", "--json", "--dry-run", "-database", database, "-")
			if dry.code != r.code || dry.errors != r.errors || dry.out != "" {
				t.Errorf("without writing: exit %d: %s%s", dry.code, dry.out, dry.errors)
			}
			if left := runCommand(t, "", "export", "-database", database, "-"); left.code != 0 || left.out != "" {
				t.Errorf("the log is not as it was: %d %s%s", left.code, left.out, left.errors)
			}
		})
	}
}

func field(tb testing.TB, line, name string) string {
	tb.Helper()
	var all map[string]any
	if err := json.Unmarshal([]byte(line), &all); err != nil {
		tb.Fatal(err)
	}
	s, ok := all[name].(string)
	if !ok {
		tb.Fatalf("no %s in %s", name, line)
	}
	return s
}

// TestCompressedByItsName exports to a file that zstd compresses because of its
// name, and imports it again.
func TestCompressedByItsName(t *testing.T) {
	t.Parallel()
	database, folder := imported(t, longFixture), t.TempDir()
	packed, plain := filepath.Join(folder, "log.ndjson.zst"), filepath.Join(folder, "log.ndjson")
	run(t, "export", "-database", database, packed)
	run(t, "export", "-database", database, plain)
	small, err := os.Stat(packed)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	if small.Size() > int64(len(want)/2) {
		t.Errorf("%d bytes are compressed to %d", len(want), small.Size())
	}
	sameLines(t, "imported from it", string(want), run(t, "export", "-database", imported(t, packed), "-"))
	// A name that promises what is not there.
	if err := os.WriteFile(packed, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, "", "import", "-database", "sqlite:"+filepath.Join(folder, "data"), packed); r.code != 1 || !strings.Contains(r.errors, "line 1: ") {
		t.Errorf("exit %d: %s", r.code, r.errors)
	}
}

// TestExportInParts takes a log away in parts and puts it together elsewhere.
func TestExportInParts(t *testing.T) {
	t.Parallel()
	database := imported(t, longFixture)
	whole := run(t, "export", "-database", database, "-")
	first := run(t, "export", "-database", database, "-to", "20", "-")
	second := run(t, "export", "-database", database, "-from", "21", "-to", "1000", "-")
	if first+second != whole || strings.Count(first, "\n") != 20 {
		t.Errorf("the parts have %d and %d lines", strings.Count(first, "\n"), strings.Count(second, "\n"))
	}
	copied := "sqlite:" + filepath.Join(t.TempDir(), "data")
	if r := runCommand(t, second, "import", "-database", copied, "-"); r.code != 1 || !strings.Contains(r.errors, "21 should be 1") {
		t.Errorf("the second part alone: exit %d: %s", r.code, r.errors)
	}
	for _, part := range []string{first, second} {
		if r := runCommand(t, part, "import", "-database", copied, "-"); r.code != 0 {
			t.Fatalf("exit %d: %s", r.code, r.errors)
		}
	}
	sameLines(t, "put together", whole, run(t, "export", "-database", copied, "-"))
	for _, args := range [][]string{{"-from", "0"}, {"-from", "5", "-to", "4"}} {
		if r := runCommand(t, "", append([]string{"export", "-database", database, "-"}, args...)...); r.code != 2 {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
}

// TestGenerateSaysWhatCannotBe: every option is looked at before a file is made.
func TestGenerateSaysWhatCannotBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	for _, args := range [][]string{
		{"-events", "2"}, {"-events", "x"}, {"-conversations", "5000"}, {"-conversations", "5", "-length", "5"}, {"-seed", "-1"}, {"more"},
	} {
		if r := runCommand(t, "", append([]string{"generate", "-out", file}, args...)...); r.code != 2 || r.errors == "" {
			t.Errorf("%v: exit %d: %s", args, r.code, r.errors)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was made")
	}
	if r := runCommand(t, "", "generate", "--json", "-events", "30", "-length", "10", "-out", file); r.code != 0 || r.out != `{"generated":30}`+"\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.errors)
	}
}

// TestExportBesideAServer reads a folder that is being served, and is refused
// to write to it.
func TestExportBesideAServer(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	s.call("POST", "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"},"message":{"text":"Hello"}}`, nil)

	r := runCommand(t, "", "export", "-database", "sqlite:"+folder, "-")
	if lines := strings.Count(r.out, "\n"); r.code != 0 || lines != 3 {
		t.Errorf("export: exit %d, %d lines: %s%s", r.code, lines, r.out, r.errors)
	}
	r = runCommand(t, "", "rebuild", "-database", "sqlite:"+folder, "--dialect", "verbatim@1")
	if lines := strings.Count(r.out, "\n"); r.code != 0 || lines != 3 {
		t.Errorf("rebuild: exit %d, %d lines: %s%s", r.code, lines, r.out, r.errors)
	}
	r = runCommand(t, "", "import", "--json", "-database", "sqlite:"+folder, closerFixture)
	if r.code != 1 || !strings.Contains(r.errors, `"code":"in_use"`) {
		t.Errorf("import: exit %d: %s", r.code, r.errors)
	}
	r = runCommand(t, "", "import", "--dry-run", "-database", "sqlite:"+folder, closerFixture)
	if r.code != 0 || r.out != "checked 6 events\n" {
		t.Errorf("import --dry-run: exit %d: %s%s", r.code, r.out, r.errors)
	}
	r = runCommand(t, "", "serve", "-addr", "127.0.0.1:0", "-database", "sqlite:"+folder)
	if r.code != 1 || !strings.Contains(r.errors, "another process serves") {
		t.Errorf("second server: exit %d: %s", r.code, r.errors)
	}
}
