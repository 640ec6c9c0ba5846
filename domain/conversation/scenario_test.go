package conversation_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// A scenario is what has happened so far and when the next command comes.
type scenario struct {
	t     *testing.T
	state conversation.State
	now   time.Time
}

// An outcome is what a command came to.
type outcome struct {
	t      *testing.T
	events []conversation.Event
	err    error
}

func given(t *testing.T, events ...conversation.Event) scenario {
	t.Helper()
	return scenario{t: t, state: fold(events...), now: noon}
}

func (s scenario) at(now time.Time) scenario { s.now = now; return s }

func (s scenario) when(c conversation.Command) outcome {
	s.t.Helper()
	events, err := conversation.Decide(s.state, c, s.now)
	return outcome{s.t, events, err}
}

func (o outcome) then(want ...conversation.Event) {
	o.t.Helper()
	if o.err != nil {
		o.t.Fatalf("refused: %v; want %d events", o.err, len(want))
	}
	if diff := cmp.Diff(want, o.events); diff != "" {
		o.t.Errorf("events differ (-want +got):\n%s", diff)
	}
}

func (o outcome) thenNothing() {
	o.t.Helper()
	if o.err != nil || len(o.events) != 0 {
		o.t.Errorf("got events %+v and error %v; want neither", o.events, o.err)
	}
}

func (o outcome) thenRefused(want domain.Refusal) {
	o.t.Helper()
	if !errors.Is(o.err, want) || len(o.events) != 0 {
		o.t.Errorf("got events %+v and error %v; want the refusal %s", o.events, o.err, want)
	}
}

func (o outcome) thenFieldError(field string) {
	o.t.Helper()
	fault, ok := errors.AsType[*domain.FieldError](o.err)
	if !ok || len(o.events) != 0 {
		o.t.Fatalf("got events %+v and error %v; want a complaint about %s", o.events, o.err, field)
	}
	if fault.Field != field || fault.Rule == "" {
		o.t.Errorf("got the complaint %q; want one about %s", fault, field)
	}
}

// thenAllowed is for limits: what exactly follows is said elsewhere.
func (o outcome) thenAllowed() {
	o.t.Helper()
	if o.err != nil || len(o.events) == 0 {
		o.t.Errorf("got events %+v and error %v; want events", o.events, o.err)
	}
}

func fold(events ...conversation.Event) conversation.State {
	var s conversation.State
	for _, e := range events {
		s = conversation.Evolve(s, e)
	}
	return s
}

// The people and things of all scenarios. Nobody changes them.
var (
	noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

	account = domain.Account{ID: "acme", Number: 1, Name: "Acme"}
	inbox   = domain.Inbox{ID: "site", Number: 2, Name: "Website", Channel: "web"}

	ann = domain.Person{ // the customer
		ID: "ann", Role: domain.Customer, Number: 7, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee",
		Email: "ann@example.com", Attributes: attributes(`{"language":"en"}`),
	}
	ben = domain.Person{ID: "ben", Role: domain.Customer, Name: "Ben", FirstName: "Ben"} // a further customer
	amy = domain.Person{
		ID: "amy", Role: domain.Agent, Name: "Amy Pond", FirstName: "Amy", LastName: "Pond", Email: "amy@example.com",
	}
	joe    = domain.Person{ID: "joe", Role: domain.Agent, Name: "Joe", FirstName: "Joe"}
	rex    = domain.Person{ID: "rex", Role: domain.Bot, Name: "Rex", FirstName: "Rex", IsBot: true}
	system = domain.Person{ID: "clock", Role: domain.System, Name: "Clock", FirstName: "Clock"}

	created = conversation.Created{Account: account, Inbox: inbox, Customer: ann}
)

// after returns what has happened, and then more.
func after(events []conversation.Event, more ...conversation.Event) []conversation.Event {
	return slices.Concat(events, more)
}

// id is a person of whom only the id is said.
func id(p domain.Person) domain.Person { return domain.Person{ID: p.ID} }

func said(author domain.Person, text string) conversation.MessagePosted {
	return conversation.MessagePosted{MessageID: "m-" + text, Author: author, Text: text, ContentType: "text"}
}

func message(author domain.Person, text string) conversation.Message {
	return conversation.Message{ID: "m-" + text, AuthorID: author.ID, Text: text}
}

func typing(author domain.Person, private bool, until time.Time) conversation.TypingStarted {
	return conversation.TypingStarted{Author: author, Private: private, ExpiresAt: until}
}

func stopped(author domain.Person, private bool, why conversation.StopReason) conversation.TypingStopped {
	return conversation.TypingStopped{Author: author, Private: private, Reason: why}
}

func status(from, to conversation.Status) conversation.StatusChanged {
	return conversation.StatusChanged{From: from, To: to}
}

func change(key, previous, current string) domain.Change {
	return domain.Change{Key: key, Previous: json.RawMessage(previous), Current: json.RawMessage(current)}
}

func changed(changes ...domain.Change) conversation.AttributesChanged {
	return conversation.AttributesChanged{Changes: changes}
}

func attributes(object string) domain.Attributes {
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		panic(err)
	}
	return a
}

func set[T any](v T) domain.Patch[T] { return domain.Patch[T]{Set: true, Value: &v} }

func removed[T any]() domain.Patch[T] { return domain.Patch[T]{Set: true} }

// restored returns s as it comes back from a snapshot.
func restored(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, s conversation.State,
) conversation.State {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatalf("a state does not encode: %v", err)
	}
	var out conversation.State
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatalf("a state does not decode: %v", err)
	}
	return out
}
