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
	r = runCommand(t, "", "serve", "-addr", "127.0.0.1:0", "-database", "sqlite:"+folder)
	if r.code != 1 || !strings.Contains(r.errors, "another process serves") {
		t.Errorf("second server: exit %d: %s", r.code, r.errors)
	}
}
