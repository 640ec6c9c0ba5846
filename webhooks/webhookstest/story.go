package webhookstest

import (
	"slices"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// A Story is what happened to one conversation, one contact or one endpoint, told
// event by event, each a second after the one before. It ends with Fact.
type Story struct {
	Stream   string
	First    int64 // position of the first event
	History  webhooks.History
	Contact  webhooks.Contact
	Endpoint webhooks.Endpoint
	Fact     webhooks.Fact

	tb      testing.TB
	version int64
}

// Tell returns a story that begins with those events; their positions begin at 1.
func Tell(tb testing.TB, events ...domain.Event) *Story {
	tb.Helper()
	return TellAt(tb, 1, events...)
}

// TellAt is Tell in a log whose next position is first.
func TellAt(tb testing.TB, first int64, events ...domain.Event) *Story {
	tb.Helper()
	s := &Story{tb: tb, First: first}
	return s.Then(events...)
}

// Then goes on with the story.
func (s *Story) Then(events ...domain.Event) *Story {
	s.tb.Helper()
	for _, e := range events {
		s.version++
		if s.Stream == "" {
			switch e.(type) {
			case contact.Event:
				s.Stream = eventstore.StreamName("contact", ID("cont", 1).String())
			case endpoint.Event:
				s.Stream = eventstore.StreamName("endpoint", Endpoint(1))
			default:
				s.Stream = Stream(1)
			}
		}
		r := &eventstore.Recorded{
			Position: s.First + s.version - 1, Version: s.version, Stream: s.Stream, ID: ID("evnt", int(s.version)),
			Type: e.EventType(), Schema: 1, Time: Day().Add(time.Duration(s.version) * time.Second),
			Account: "acme", Metadata: []byte(`{"actor":"key:1"}`),
		}
		switch e := e.(type) {
		case conversation.Event:
			s.History.Apply(r, e)
		case contact.Event:
			s.Contact = s.Contact.Evolve(r, e)
		case endpoint.Event:
			s.Endpoint = s.Endpoint.Evolve(r, e)
		default:
			s.tb.Fatalf("%s has no story", e.EventType())
		}
		s.Fact = webhooks.Fact{Recorded: r, Event: e}
	}
	return s
}

// Event returns the end of the story as the public event of that name, in full
// view.
func (s *Story) Event(name string) *webhooks.PublicEvent {
	e := &webhooks.PublicEvent{Fact: s.Fact, Name: name, View: webhooks.FullView()}
	switch s.Fact.Event.(type) {
	case conversation.Event:
		e.History = &s.History
	case contact.Event:
		e.Contact = &s.Contact
	case endpoint.Event:
		e.Endpoint = &s.Endpoint
	}
	return e
}

// Names returns what the dialect calls the end of the story, opt-ins too.
func (s *Story) Names(d webhooks.Dialect) []string {
	names := []string{}
	for _, w := range d.Words(s.Fact.Event) {
		names = append(names, w.Name)
	}
	return names
}

// Body returns the body of the end of the story under that name, after holding
// it against the shape that the dialect's vocabulary says it has.
func (s *Story) Body(d webhooks.Dialect, name string) []byte {
	s.tb.Helper()
	return Body(s.tb, d, s.Event(name))
}

// Body returns the body of e, after holding it against the shape that the
// dialect's vocabulary says it has.
func Body(tb testing.TB, d webhooks.Dialect, e *webhooks.PublicEvent) []byte {
	tb.Helper()
	body, err := d.AppendBody(nil, e)
	if err != nil {
		tb.Fatal(err)
	}
	types := d.Vocabulary()
	i := slices.IndexFunc(types, func(t webhooks.EventType) bool { return t.Name == e.Name })
	if i < 0 {
		tb.Fatalf("%s: %s is not in the vocabulary", d.Name(), e.Name)
	}
	if err := shape.Check(types[i].Body, body); err != nil {
		tb.Fatalf("%s %s: %v in %s", d.Name(), e.Name, err, body)
	}
	return body
}
