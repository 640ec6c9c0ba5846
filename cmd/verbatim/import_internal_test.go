package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
)

// counted is a made-up fact in its third shape.
type counted struct {
	N    int    `json:"n"`
	Unit string `json:"unit"`
	Of   string `json:"of"`
}

func (counted) EventType() string { return "shop.counted" }

func lifting(key, value string) eventstore.Upcaster {
	return func(data json.RawMessage) (json.RawMessage, error) {
		var all map[string]any
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, err
		}
		all[key] = value
		return json.Marshal(all)
	}
}

func countedCodec() *eventstore.Codec {
	return eventstore.NewCodec(eventstore.KindOf[counted](lifting("unit", "piece"), lifting("of", "mugs")))
}

// shopLines is a file of n events of three streams, in all of the shapes.
func shopLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		data := []string{`{"n":1}`, `{"n":2,"unit":"dozen"}`, `{"n":3,"unit":"dozen","of":"cups"}`}[i%3]
		lines[i] = fmt.Sprintf(`{"position":%d,"stream":"shop-0192f7a8-c1d2-7000-8000-00000000000%d","version":%d,"id":"0192f7a8-c1d2-7000-8000-%012d",`+
			`"type":"shop.counted","schema":%d,"time":"2024-02-29T12:00:00Z","account":"default","data":%s,"metadata":{}}`,
			i+1, i%3, i/3+1, i+1, i%3+1, data)
	}
	return lines
}

// importLines imports lines with ledgers that hold hardly anything in memory.
func importLines(t *testing.T, store *sqlite.Store, lines []string) (int64, error) {
	t.Helper()
	sh := &shell{in: strings.NewReader(strings.Join(lines, "\n") + "\n"), err: io.Discard}
	folder := t.TempDir()
	in, err := openSource(sh, "-", folder)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	im := &importing{sh: sh, codec: countedCodec(), store: store, folder: folder, run: 16}
	n, sum, err := im.check(t.Context(), in)
	if err == nil {
		if n, err = im.write(t.Context(), in, n, sum); err != nil {
			t.Errorf("what is wrong was found only while it was written: %v", err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("files are left behind: %v, %v", left, err)
	}
	return n, importFault(err)
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "data"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// export returns the log as lines.
func export(t *testing.T, store *sqlite.Store) []string {
	t.Helper()
	var lines []string
	for r, err := range store.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		line, err := eventstore.AppendLine(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

// TestOldShapesStay: events in older schema versions are imported, and exported
// again as they were: they are lifted where they are read, and nowhere else.
func TestOldShapesStay(t *testing.T) {
	t.Parallel()
	store, lines := openStore(t), shopLines(300)
	if n, err := importLines(t, store, lines); n != 300 || err != nil {
		t.Fatalf("imported %d, %v", n, err)
	}
	if got := export(t, store); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("exported as something else:\n%s", strings.Join(got[:3], "\n"))
	}
	codec := countedCodec()
	want := []counted{{1, "piece", "mugs"}, {2, "dozen", "mugs"}, {3, "dozen", "cups"}}
	for r, err := range store.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e, err := codec.Decode(&r); err != nil || e != want[(r.Position-1)%3] {
			t.Fatalf("position %d reads as %+v, %v", r.Position, e, err)
		}
	}
}

// TestImportNamesTheFirstLineThatIsWrong, wherever it is and whatever is wrong
// with lines behind it, and leaves the log as it was: empty or not.
func TestImportNamesTheFirstLineThatIsWrong(t *testing.T) {
	t.Parallel()
	replace := func(lines []string, n int, old, to string) {
		lines[n-1] = strings.Replace(lines[n-1], old, to, 1)
	}
	id := func(n int) string { return fmt.Sprintf(`"id":"0192f7a8-c1d2-7000-8000-%012d"`, n) }
	for _, tt := range []struct {
		name   string
		change func(lines []string)
		line   int64
		code   string
		says   string
		empty  bool // of no matter behind other events
	}{
		{"an id twice", func(l []string) { replace(l, 290, id(290), id(4)) }, 290, "duplicate_id", "line 4", false},
		{"an id three times", func(l []string) { replace(l, 290, id(290), id(4)); replace(l, 70, id(70), id(4)) }, 70, "duplicate_id", "line 4", false},
		{"a version left out", func(l []string) { replace(l, 31, `"version":11`, `"version":12`) }, 31, "version_gap", "12 should be 11", false},
		{"a version twice", func(l []string) { replace(l, 34, `"version":12`, `"version":11`) }, 34, "version_gap", "11 should be 12", false},
		{"a stream that begins late", func(l []string) { replace(l, 2, `"version":1,`, `"version":2,`) }, 2, "version_gap", "2 should be 1", false},
		{"a stream of two accounts", func(l []string) { replace(l, 100, `"default"`, `"other"`) }, 100, "foreign_stream", "", false},
		{"a position left out", func(l []string) { replace(l, 257, `"position":257`, `"position":258`) }, 257, "position_gap", "258 should be 257", true},
		{"a line that is none", func(l []string) { l[256] = "{" }, 257, "bad_line", "", false},
		{"a shape that is not known", func(l []string) { replace(l, 3, `"schema":3`, `"schema":4`) }, 3, "bad_line", "schema 4", false},
		{"an old shape that does not lift", func(l []string) { replace(l, 4, `{"n":1}`, `{"n":"x"}`) }, 4, "bad_line", "", false},
		{"a member that is not known", func(l []string) { replace(l, 3, `"of":`, `"from":`) }, 3, "bad_line", "from", false},
		{
			"an id twice before a line that is none",
			func(l []string) { replace(l, 70, id(70), id(4)); l[256] = "{" }, 70, "duplicate_id", "", false,
		},
		{
			"a line that is none before an id twice",
			func(l []string) { replace(l, 290, id(290), id(4)); l[256] = "{" }, 257, "bad_line", "", false,
		},
		{
			"an id twice before a version left out",
			func(l []string) {
				replace(l, 30, id(30), id(4))
				replace(l, 31, `"version":11`, `"version":12`)
			},
			30, "duplicate_id", "", false,
		},
	} {
		for _, known := range []int{0, 30} {
			if known > 0 && tt.empty {
				continue
			}
			store := openStore(t)
			lines := shopLines(300 + known)
			if known > 0 {
				if _, err := importLines(t, store, lines[:known]); err != nil {
					t.Fatal(err)
				}
			}
			before := export(t, store)
			file := lines[known:]
			if known == 0 {
				tt.change(file)
			} else {
				// The same fault, with its numbers moved to where the file is.
				plain := shopLines(300)
				tt.change(plain)
				for i, line := range plain {
					if line != shopLines(300)[i] {
						file[i] = moved(line, known)
					}
				}
			}
			n, err := importLines(t, store, file)
			f, ok := errors.AsType[*fault](err)
			if n != 0 && err == nil || !ok || f.code != tt.code || f.line != tt.line || !strings.HasPrefix(err.Error(), fmt.Sprintf("line %d: ", tt.line)) ||
				known == 0 && !strings.Contains(err.Error(), tt.says) || !strings.HasSuffix(err.Error(), "; nothing was imported") {
				t.Errorf("%s, behind %d events: %v; want line %d, %s, %q", tt.name, known, err, tt.line, tt.code, tt.says)
			}
			if after := export(t, store); strings.Join(before, "\n") != strings.Join(after, "\n") {
				t.Errorf("%s, behind %d events: the log is another", tt.name, known)
			}
		}
	}
}

// moved returns a line as it would be behind so many events of the same streams.
func moved(line string, by int) string {
	var all struct {
		Position int64           `json:"position"`
		Stream   string          `json:"stream"`
		Version  int64           `json:"version"`
		ID       string          `json:"id"`
		Type     string          `json:"type"`
		Schema   int             `json:"schema"`
		Time     string          `json:"time"`
		Account  string          `json:"account"`
		Data     json.RawMessage `json:"data"`
	}
	if json.Unmarshal([]byte(line), &all) != nil {
		return line
	}
	var n int
	_, _ = fmt.Sscanf(all.ID[len(all.ID)-12:], "%d", &n)
	all.Position += int64(by)
	all.Version += int64(by / 3)
	all.ID = fmt.Sprintf("%s%012d", all.ID[:len(all.ID)-12], n+by)
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestImportBehindOthers holds lines against what the log has already.
func TestImportBehindOthers(t *testing.T) {
	t.Parallel()
	store, lines := openStore(t), shopLines(60)
	if _, err := importLines(t, store, lines[:30]); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		file []string
		line int64
		code string
	}{
		{"what is there already", lines[:3], 1, "duplicate_id"},
		{"an id of the log", []string{lines[30], strings.Replace(lines[31], "000000000032", "000000000007", 1)}, 2, "duplicate_id"},
		{"a version that is there", []string{lines[30], strings.Replace(lines[31], `"version":11`, `"version":10`, 1)}, 2, "version_gap"},
		{"a version too far", []string{lines[30], strings.Replace(lines[31], `"version":11`, `"version":12`, 1)}, 2, "version_gap"},
		{"another account", []string{lines[30], strings.Replace(lines[31], `"default"`, `"other"`, 1)}, 2, "foreign_stream"},
	} {
		_, err := importLines(t, store, tt.file)
		if f, ok := errors.AsType[*fault](err); !ok || f.code != tt.code || f.line != tt.line {
			t.Errorf("%s: %v; want line %d, %s", tt.name, err, tt.line, tt.code)
		}
	}
	if n, err := importLines(t, store, lines[30:]); n != 30 || err != nil {
		t.Fatalf("imported %d, %v", n, err)
	}
	if got := export(t, store); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Error("the log is not what both files are together")
	}
}

// TestImportOfAFileThatChanges: what was checked is what is written, or nothing is.
func TestImportOfAFileThatChanges(t *testing.T) {
	t.Parallel()
	lines := shopLines(300)
	for name, change := range map[string]func(l []string) []string{
		"another event": func(l []string) []string { l[299] = strings.Replace(l[299], `"n":3`, `"n":4`, 1); return l },
		"one more":      func(l []string) []string { return append(l, shopLines(301)[300]) },
		"one fewer":     func(l []string) []string { return l[:299] },
		"cut":           func(l []string) []string { l[299] = l[299][:10]; return l },
	} {
		store, file := openStore(t), filepath.Join(t.TempDir(), "file")
		write := func(l []string) {
			if err := os.WriteFile(file, []byte(strings.Join(l, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(lines)
		sh := &shell{err: io.Discard}
		in, err := openSource(sh, file, "")
		if err != nil {
			t.Fatal(err)
		}
		im := &importing{sh: sh, codec: countedCodec(), store: store, folder: t.TempDir()}
		n, sum, err := im.check(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		write(change(append([]string(nil), lines...)))
		if _, err = im.write(t.Context(), in, n, sum); err == nil || !strings.Contains(err.Error(), "nothing was imported") {
			t.Errorf("%s: %v", name, err)
		}
		in.close()
		if left := export(t, store); len(left) > 0 {
			t.Errorf("%s: %d events are in the log", name, len(left))
		}
	}
}

// TestCompressedFiles: what is written compressed reads as what was written, and
// what is no such file, or cut, says so.
func TestCompressedFiles(t *testing.T) {
	t.Parallel()
	lines := shopLines(2000)
	text := strings.Join(lines, "\n") + "\n"
	file := filepath.Join(t.TempDir(), "lines.ndjson.zst")
	sh := &shell{err: io.Discard}
	err := sh.writeLines(file, func(out io.Writer) error {
		_, err := io.WriteString(out, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile(file)
	if err != nil || len(packed) > len(text)/5 || !bytes.HasPrefix(packed, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		t.Fatalf("%d bytes of %d, %v: not compressed by zstd", len(packed), len(text), err)
	}
	read := func() (got string, err error) {
		in, err := openSource(sh, file, "")
		if err != nil {
			return "", err
		}
		defer in.close()
		for range 2 { // as an import does
			got = ""
			for line, err := range in.lines() {
				if err != nil {
					return got, err
				}
				got += string(line) + "\n"
			}
		}
		return got, nil
	}
	if got, err := read(); err != nil || got != text {
		t.Errorf("reads as %d bytes, %v; want %d", len(got), err, len(text))
	}
	for name, content := range map[string][]byte{"cut": packed[:len(packed)-9], "plain": []byte(text), "damaged": bytes.Replace(packed, packed[40:44], []byte("????"), 1)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := read(); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}
