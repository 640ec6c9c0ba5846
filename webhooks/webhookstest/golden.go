package webhookstest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/webhooks"
)

// CompareGoldens holds the samples of a dialect's vocabulary against the first
// body of each event in a fixture, in full view. They are the files of the
// folder golden; with update, these are written instead, and are part of the
// dialect when it is built again.
func CompareGoldens(t *testing.T, d webhooks.Dialect, fixture string, update bool) {
	t.Helper()
	first := make(map[string][]byte)
	for _, r := range Rendered(t, d, Facts(t, fixture), webhooks.FullView()) {
		if first[r.Name] == nil {
			first[r.Name] = r.Body
		}
	}
	for _, e := range d.Vocabulary() {
		body := first[e.Name]
		if body == nil {
			t.Errorf("%s does not happen in %s", e.Name, fixture)
			continue
		}
		if update {
			writeGolden(t, filepath.Join("golden", e.Name+".json"), body)
			continue
		}
		var want bytes.Buffer
		if err := json.Compact(&want, e.Sample); err != nil {
			t.Errorf("%s: %v in %s", e.Name, err, e.Sample)
		}
		if diff := cmp.Diff(want.String(), string(body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", e.Name, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join("golden", "*.json"))
	if err != nil || len(files) != len(d.Vocabulary()) {
		t.Errorf("%d goldens, %v; want one for each of %d events", len(files), err, len(d.Vocabulary()))
	}
}

func writeGolden(tb testing.TB, path string, body []byte) {
	tb.Helper()
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, body, "", "  "); err != nil {
		tb.Fatalf("%v in %s", err, body)
	}
	pretty.WriteByte('\n')
	if err := os.WriteFile(path, pretty.Bytes(), 0o600); err != nil {
		tb.Fatal(err)
	}
}
