package webhookstest

import (
	"bytes"
	"os"
	"testing"

	"verbatim/domain/contact"
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

// Bodies renders every event of the streams in a dialect, in order, each as of
// its own place, as the delivery of one after the other does. An endpoint that
// asks for "*" is sent these, and one that asks for every event by name the
// opt-ins too.
func Bodies(tb testing.TB, d webhooks.Dialect, facts []webhooks.Fact, view webhooks.View, optIns bool) (names []string, bodies [][]byte) {
	tb.Helper()
	histories := make(map[string]*webhooks.History)
	contacts := make(map[string]*webhooks.Contact)
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
		}
		for _, word := range d.Words(f.Event) {
			if word.OptIn && !optIns {
				continue
			}
			event.Name = word.Name
			names, bodies = append(names, word.Name), append(bodies, Body(tb, d, &event))
		}
	}
	return names, bodies
}
