package tests_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"verbatim/eventstore"
)

// oldFixtures is where logs are kept for ever: a folder for each state that the
// shapes of events were ever in, with the events and, in each dialect of the
// time, all bodies. What is in it never changes.
const (
	oldFixtures = "fixtures/old"
	oldEvents   = "events.ndjson"
	oldSums     = "SHA256SUMS" // as sha256sum -c reads it
)

// TestOldLogsAreReadForEver imports every log that was ever kept: it is exported
// as it was, and rebuilt byte for byte as it was then.
func TestOldLogsAreReadForEver(t *testing.T) {
	t.Parallel()
	states, err := os.ReadDir(oldFixtures)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, state := range states {
		if !state.IsDir() {
			continue
		}
		kept++
		folder := filepath.Join(oldFixtures, state.Name())
		database := imported(t, filepath.Join(folder, oldEvents))
		events, err := os.ReadFile(filepath.Join(folder, oldEvents))
		if err != nil {
			t.Fatal(err)
		}
		sameLines(t, folder+" exported", string(events), run(t, "export", "-database", database, "-"))
		for _, d := range dialects(t) {
			bodies, err := os.ReadFile(filepath.Join(folder, d.Name()+".ndjson"))
			if os.IsNotExist(err) {
				continue // it is younger
			}
			if err != nil {
				t.Fatal(err)
			}
			sameLines(t, folder+" in "+d.Name(), string(bodies), rebuilt(t, database, d))
		}
	}
	if kept == 0 {
		t.Errorf("%s holds no logs", oldFixtures)
	}
}

// TestOldLogsAreAsTheyWere holds the files against the sums that were taken when
// they were kept.
func TestOldLogsAreAsTheyWere(t *testing.T) {
	t.Parallel()
	f, err := os.Open(filepath.Join(oldFixtures, oldSums))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sums := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			t.Fatalf("%s: %q is no line of sha256sum", oldSums, lines.Text())
		}
		sums[name] = sum
	}
	err = fs.WalkDir(os.DirFS(oldFixtures), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == oldSums {
			return err
		}
		b, err := os.ReadFile(filepath.Join(oldFixtures, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		switch kept := sums[name]; kept {
		case hex.EncodeToString(sum[:]):
		case "":
			t.Errorf("%s is not in %s", name, oldSums)
		default:
			t.Errorf("%s was changed: what is kept there must be read as it was written", name)
		}
		delete(sums, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range sums {
		t.Errorf("%s is gone: what was once written must be read for ever", name)
	}
}

// TestEveryShapeIsKept: each fact in its present shape, and each dialect, is in
// one of the logs that are kept.
func TestEveryShapeIsKept(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(oldFixtures, "*", "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	shapes := make(map[string]bool)
	var rendered []string
	for _, file := range files {
		name := filepath.Base(file)
		if name != oldEvents {
			rendered = append(rendered, strings.TrimSuffix(name, ".ndjson"))
			continue
		}
		events, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(events) {
			r, err := eventstore.ParseLine(line)
			if err != nil {
				t.Fatal(err)
			}
			shapes[fmt.Sprintf("%s in schema %d", r.Type, r.Schema)] = true
		}
	}
	const how = "keep a state with it: a folder in tests/" + oldFixtures + " with " + oldEvents +
		", DIALECT.ndjson as verbatim rebuild writes it of every event, opt-ins too, and a line for each in " + oldSums
	codec := eventstore.Catalogue()
	for _, zero := range codec.Types() {
		name, schema, _, err := codec.Encode(zero)
		if err != nil {
			t.Fatal(err)
		}
		if shape := fmt.Sprintf("%s in schema %d", name, schema); !shapes[shape] {
			t.Errorf("there is no %s; %s", shape, how)
		}
	}
	for _, d := range dialects(t) {
		if !slices.Contains(rendered, d.Name()) {
			t.Errorf("there are no bodies of %s; %s", d.Name(), how)
		}
	}
}
