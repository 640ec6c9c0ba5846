package webhookstest

import (
	"bytes"
	"os"
	"testing"

	"verbatim/domain/conversation"
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

// Bodies renders every event of a conversation in a dialect, in order, with the
// history as of each, as the delivery of one after the other does.
func Bodies(tb testing.TB, d webhooks.Dialect, facts []webhooks.Fact, last int) (names []string, bodies [][]byte) {
	tb.Helper()
	var h webhooks.History
	for _, f := range facts {
		var of *webhooks.History
		if e, ok := f.Event.(conversation.Event); ok {
			h.Apply(f.Recorded, e)
			of = &h
		}
		for _, name := range d.Events(f.Event) {
			body, err := d.AppendBody(nil, name, f, of, last)
			if err != nil {
				tb.Fatal(err)
			}
			names, bodies = append(names, name), append(bodies, body)
		}
	}
	return names, bodies
}
