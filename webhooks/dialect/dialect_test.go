package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/shape"
	"verbatim/webhooks/webhookstest"
)

// A speaker is a dialect with its vocabulary at hand.
type speaker struct {
	webhooks.Dialect

	types []webhooks.EventType
}

// every is all dialects, by name in order.
var every = sync.OnceValue(func() []speaker {
	all := dialect.All()
	var speakers []speaker
	for _, name := range all.Names() {
		d, err := all.Find(name)
		if err != nil {
			panic(err)
		}
		speakers = append(speakers, speaker{d, d.Vocabulary()})
	}
	return speakers
})

// recorded returns events as the facts of one stream, each a second after the
// one before.
func recorded(events ...domain.Event) []webhooks.Fact {
	facts := make([]webhooks.Fact, len(events))
	for i, e := range events {
		stream := webhookstest.Stream(1)
		switch e.(type) {
		case contact.Event:
			stream = eventstore.StreamName("contact", webhookstest.ID("cont", 1).String())
		case endpoint.Event:
			stream = eventstore.StreamName("endpoint", webhookstest.Endpoint(1))
		}
		facts[i] = webhooks.Fact{Event: e, Recorded: &eventstore.Recorded{
			Position: int64(i) + 1, Version: int64(i) + 1, Stream: stream, ID: webhookstest.ID("evnt", i+1),
			Type: e.EventType(), Schema: 1, Time: webhookstest.Day().Add(time.Duration(i) * time.Second),
			Account: "acme", Metadata: []byte(`{"actor":"key:1"}`),
		}}
	}
	return facts
}

// A subject is what a stream is about, as of one of its versions.
type subject struct {
	history  webhooks.History
	contact  webhooks.Contact
	endpoint webhooks.Endpoint
}

func folded(facts []webhooks.Fact) *subject {
	s := &subject{}
	for _, f := range facts {
		s.apply(f)
	}
	return s
}

func (s *subject) apply(f webhooks.Fact) {
	switch e := f.Event.(type) {
	case conversation.Event:
		s.history.Apply(f.Recorded, e)
	case contact.Event:
		s.contact = s.contact.Evolve(f.Recorded, e)
	case endpoint.Event:
		s.endpoint = s.endpoint.Evolve(f.Recorded, e)
	}
}

func (s *subject) event(f webhooks.Fact, name string, view webhooks.View) *webhooks.PublicEvent {
	e := &webhooks.PublicEvent{Fact: f, Name: name, View: view}
	switch f.Event.(type) {
	case conversation.Event:
		e.History = &s.history
	case contact.Event:
		e.Contact = &s.contact
	case endpoint.Event:
		e.Endpoint = &s.endpoint
	}
	return e
}

// views are those that a body may hang on.
var views = []webhooks.View{webhooks.FullView(), {}, {Last: 1, Notes: true}}

// before stands in the buffer that a body is appended to, and is not the
// dialect's to touch.
const before = "before"

// body renders one event. A panic is an error, and so is what is not one JSON
// value in valid UTF-8.
func body(d webhooks.Dialect, e *webhooks.PublicEvent) (out []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("panic: %v\n%s", fault, debug.Stack())
		}
	}()
	out, err = d.AppendBody([]byte(before), e)
	if err != nil {
		return nil, err
	}
	out, ok := bytes.CutPrefix(out, []byte(before))
	if !ok {
		return nil, errors.New("what was in the buffer is gone")
	}
	switch {
	case !utf8.Valid(out):
		return out, errors.New("is not valid UTF-8")
	case !json.Valid(out):
		return out, errors.New("is not JSON")
	}
	return out, nil
}

// check says what is wrong with a body, whatever it tells: it must be of the shape
// that the vocabulary gives the event.
func (d *speaker) check(name string, out []byte) error {
	i := slices.IndexFunc(d.types, func(t webhooks.EventType) bool { return t.Name == name })
	if i < 0 {
		return errors.New("is not in the vocabulary")
	}
	return shape.Check(d.types[i].Body, out)
}

// hold renders every event of a stream in every dialect, in all views, as they
// happen: the dialects take turns on one history that grows. It returns what is
// wrong with any body: what body and check say, and every difference between
// rendering it once, twice, and from a history that was folded from nothing and
// has never been rendered before. What is wrong with a word is said once.
func hold(facts []webhooks.Fact) error {
	var faults []error
	warm := &subject{}
	wrong := map[string]bool{}
	for i, f := range facts {
		warm.apply(f)
		for _, d := range every() {
			words := d.Words(f.Event)
			if len(words) == 0 {
				continue
			}
			fresh := folded(facts[:i+1])
			for _, word := range words {
				for j := range views {
					view := views[(i+j)%len(views)] // each is the first, in its turn
					out, err := body(d, warm.event(f, word.Name, view))
					if err == nil && j == 0 { // a check costs ten times as much as a body
						err = d.check(word.Name, out)
					}
					if err == nil {
						err = same(out, d, warm.event(f, word.Name, view), "rendered again")
					}
					if err == nil {
						err = same(out, d, fresh.event(f, word.Name, view), "from a history folded from nothing")
					}
					if err != nil && !wrong[d.Name()+word.Name] {
						wrong[d.Name()+word.Name] = true
						faults = append(faults, fmt.Errorf("%s %s (%s of %d, history %s): %w in %s",
							d.Name(), word.Name, f.Type, i+1, view, err, short(out)))
					}
				}
			}
		}
	}
	return errors.Join(faults...)
}

func same(want []byte, d webhooks.Dialect, e *webhooks.PublicEvent, how string) error {
	got, err := body(d, e)
	if err != nil {
		return fmt.Errorf("%s: %w", how, err)
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("%s it is %s", how, short(got))
	}
	return nil
}

// short is enough of a body to see what is wrong with it.
func short(body []byte) string {
	const enough = 2 << 10
	if len(body) > enough {
		return fmt.Sprintf("%s… (%d bytes)", body[:enough], len(body))
	}
	return string(body)
}

// What an event is called is what the vocabulary says of it: no word that is not
// in it, none that it says of another fact, none that it says and never comes.
func TestVocabularies(t *testing.T) {
	t.Parallel()
	facts := eventstore.Catalogue().Types()
	for _, d := range every() {
		types := d.types
		if names := webhooks.EventNames(d); len(slices.Compact(slices.Sorted(slices.Values(names)))) != len(names) {
			t.Errorf("%s: a name stands twice in %v", d.Name(), names)
		}
		for i := range types {
			for _, fact := range types[i].Facts {
				if facts[fact] == nil {
					t.Errorf("%s %s: there is no fact %s", d.Name(), types[i].Name, fact)
				}
			}
		}
		spoken := map[string]bool{}
		for _, events := range [][]domain.Event{conversationEvents(), contactEvents(), endpointEvents()} {
			for _, e := range events {
				for _, word := range d.Words(e) {
					spoken[word.Name] = true
					i := slices.IndexFunc(types, func(t webhooks.EventType) bool { return t.Word == word })
					if i < 0 || !slices.Contains(types[i].Facts, e.EventType()) {
						t.Errorf("%s: the vocabulary does not say that %s becomes %+v", d.Name(), e.EventType(), word)
					}
				}
			}
		}
		for _, name := range webhooks.EventNames(d) {
			if !spoken[name] {
				t.Errorf("%s: nothing becomes %s", d.Name(), name)
			}
		}
	}
}

// Formats that have no place for a private note never tell of one: not its text,
// in no event, to nobody who has not asked for notes.
func TestNotesStayInside(t *testing.T) {
	t.Parallel()
	const secret = "between us"
	note := posted("n1", agent(), secret)
	note.Private = true
	note.Attachments = []conversation.Attachment{{FileType: "file", URL: "https://files.example.com/between us"}}
	events := append(conversationEvents(), note)
	events = append(events,
		conversation.MessageEdited{MessageID: "n1", Previous: secret, Text: secret + " two", Private: true, By: agent()})
	events = append(events, conversationEvents()[1:]...)
	events = append(events, conversation.MessageDeleted{MessageID: "n1", Private: true, By: agent()})
	facts := recorded(events...)
	for _, d := range every() {
		bare, _, _ := strings.Cut(d.Name(), "@")
		s := &subject{}
		for _, f := range facts {
			s.apply(f)
			// What is about the note itself is told where the format has notes at
			// all, and an endpoint that does not want them is not sent it.
			if about(f.Event, "n1") && (bare == "chatwoot" || bare == "verbatim" || bare == "cloudevents") {
				continue
			}
			for _, word := range d.Words(f.Event) {
				out, err := body(d, s.event(f, word.Name, webhooks.View{Last: -1}))
				if err != nil {
					t.Error(err)
				}
				if bytes.Contains(out, []byte(secret)) {
					t.Errorf("%s %s tells of a private note: %s", d.Name(), word.Name, short(out))
				}
			}
		}
	}
}

// about says whether an event is about that message.
func about(e domain.Event, id string) bool {
	v := reflect.ValueOf(e).FieldByName("MessageID")
	return v.IsValid() && v.String() == id
}
