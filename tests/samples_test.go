package tests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// sampleFiles are how many bodies the vendors' pages and servers gave us.
const sampleFiles = 18

// TestSamples holds what the program rebuilds of imported fixtures against the
// bodies that the vendors' own servers send. With -v it says of each what is the
// same, and of what is not, why.
//
//nolint:tparallel // one after the other, so that what is said of each reads in order
func TestSamples(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, d := range dialects(t) {
		bare, _, _ := strings.Cut(d.Name(), "@")
		folder := filepath.Join("..", "webhooks", "dialect", bare, "samples")
		if _, err := os.Stat(filepath.Join(folder, "index.json")); err != nil {
			continue // a format of our own
		}
		samples := webhookstest.Samples(t, folder)
		seen += len(samples)
		bodies := map[string]map[string]json.RawMessage{} // by fixture, then by event and position
		for i := range samples {
			sample := &samples[i]
			t.Run(d.Name()+"/"+sample.Sample, func(t *testing.T) {
				if bodies[sample.Fixture] == nil {
					bodies[sample.Fixture] = bodiesOf(t, filepath.Join("fixtures", sample.Fixture), d)
				}
				body, ok := bodies[sample.Fixture][eventAt(sample.Event, sample.At)]
				if !ok {
					t.Fatalf("there is no %s at position %d of %s", sample.Event, sample.At, sample.Fixture)
				}
				lines := sample.Compare(t, folder, body)
				report := fmt.Sprintf("%s %s: %s at position %d of %s", d.Name(), sample.Sample, sample.Event, sample.At, sample.Fixture)
				switch {
				case t.Failed():
				case len(lines) == 0:
					t.Log(report + "\nidentical")
				default:
					for _, line := range lines {
						report += "\n" + strings.TrimPrefix(line, sample.Sample+": ")
					}
					t.Log(report)
				}
			})
		}
	}
	if seen != sampleFiles {
		t.Errorf("%d samples are held against bodies, there are %d", seen, sampleFiles)
	}
}

// bodiesOf imports a fixture and rebuilds it.
func bodiesOf(tb testing.TB, fixture string, d webhooks.Dialect) map[string]json.RawMessage {
	tb.Helper()
	bodies := map[string]json.RawMessage{}
	for line := range strings.Lines(rebuilt(tb, imported(tb, fixture), d)) {
		var got struct {
			Position int64
			Event    string
			Body     json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			tb.Fatalf("%v in %s", err, line)
		}
		bodies[eventAt(got.Event, got.Position)] = got.Body
	}
	return bodies
}

func eventAt(name string, position int64) string { return fmt.Sprintf("%s at %d", name, position) }
