package chatwoot_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/webhooks"
	"verbatim/webhooks/dialect/chatwoot"
	"verbatim/webhooks/webhookstest"
)

const fixtures = "../../../tests/fixtures"

var update = flag.Bool("update", false, "rewrite the golden files")

// What real servers have sent stands in samples; index.json says what of it no
// history can give, and why.
func TestSamples(t *testing.T) {
	t.Parallel()
	webhookstest.CompareSamples(t, chatwoot.New(), "samples", fixtures)
}

// A golden that changed is a new version of the dialect, or a mistake. Each is
// the first body of its name in the fixtures.
func TestGoldens(t *testing.T) {
	t.Parallel()
	var names []string
	for _, fixture := range []string{"chatwoot-conversation.ndjson", "chatwoot-returning.ndjson"} {
		for _, r := range webhookstest.Rendered(t, chatwoot.New(), webhookstest.Facts(t, filepath.Join(fixtures, fixture)), webhooks.FullView()) {
			if slices.Contains(names, r.Name) {
				continue
			}
			names = append(names, r.Name)
			golden := filepath.Join("golden", r.Name+".json")
			if *update {
				var pretty bytes.Buffer
				if err := json.Indent(&pretty, r.Body, "", " "); err != nil {
					t.Fatalf("%v in %s", err, r.Body)
				}
				pretty.WriteByte('\n')
				if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(compact(t, golden), string(r.Body)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		}
	}
	slices.Sort(names)
	want := webhooks.EventNames(chatwoot.New())
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the fixtures have every event (-want +got):\n%s", diff)
	}
}

func compact(tb testing.TB, file string) string {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return out.String()
}
