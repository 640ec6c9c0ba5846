package webhookstest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Facts returns the events of a fixture, decoded.
func Facts(tb testing.TB, path string) []webhooks.Fact {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	codec := eventstore.Catalogue()
	var facts []webhooks.Fact
	for line := range bytes.Lines(data) {
		r, err := eventstore.ParseLine(line)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		e, err := codec.Decode(&r)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		facts = append(facts, webhooks.Fact{Recorded: &r, Event: e})
	}
	return facts
}

// CompareSamples holds what the dialect makes of the fixtures against the samples
// of a folder, and logs what had to differ and why. fixtures is the path of the
// folder tests/fixtures.
func CompareSamples(t *testing.T, d webhooks.Dialect, dir, fixtures string) {
	t.Helper()
	for _, sample := range Samples(t, dir) {
		var found bool
		for _, r := range Rendered(t, d, Facts(t, filepath.Join(fixtures, sample.Fixture)), webhooks.FullView()) {
			if r.Position == sample.At && r.Name == sample.Event {
				found = true
				lines := sample.Compare(t, dir, r.Body)
				t.Logf("%s: %s at position %d of %s, %d differences", sample.Sample, sample.Event, sample.At, sample.Fixture, len(lines))
				for _, line := range lines {
					t.Log("  " + line)
				}
			}
		}
		if !found {
			t.Errorf("%s: there is no %s at position %d of %s", sample.Sample, sample.Event, sample.At, sample.Fixture)
		}
	}
}

// A Rendering is one body of a fixture.
type Rendering struct {
	Position int64
	webhooks.Word
	Body []byte
}

// Rendered renders every event of the streams in a dialect, opt-ins too, in
// order, each as of its own place, as the delivery of one after the other does.
func Rendered(tb testing.TB, d webhooks.Dialect, facts []webhooks.Fact, view webhooks.View) []Rendering {
	tb.Helper()
	histories := make(map[string]*webhooks.History)
	contacts := make(map[string]*webhooks.Contact)
	endpoints := make(map[string]*webhooks.Endpoint)
	var out []Rendering
	for _, f := range facts {
		event := webhooks.PublicEvent{Fact: f, View: view}
		switch e := f.Event.(type) {
		case conversation.Event:
			if histories[f.Stream] == nil {
				histories[f.Stream] = &webhooks.History{}
			}
			event.History = histories[f.Stream]
			event.History.Apply(f.Recorded, e)
		case contact.Event:
			if contacts[f.Stream] == nil {
				contacts[f.Stream] = &webhooks.Contact{}
			}
			event.Contact = contacts[f.Stream]
			*event.Contact = event.Contact.Evolve(f.Recorded, e)
		case endpoint.Event:
			if endpoints[f.Stream] == nil {
				endpoints[f.Stream] = &webhooks.Endpoint{}
			}
			event.Endpoint = endpoints[f.Stream]
			*event.Endpoint = event.Endpoint.Evolve(f.Recorded, e)
		}
		for _, word := range d.Words(f.Event) {
			event.Name = word.Name
			out = append(out, Rendering{f.Position, word, Body(tb, d, &event)})
		}
	}
	return out
}
