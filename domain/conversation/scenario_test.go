package conversation_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/domaintest"
)

// rules are what these tests are about.
var rules = domaintest.Rules[conversation.State, conversation.Command, conversation.Event]{Decide: conversation.Decide, Evolve: conversation.Evolve}

type scenario = domaintest.Scenario[conversation.State, conversation.Command, conversation.Event]

func given(t *testing.T, events ...conversation.Event) scenario {
	t.Helper()
	return rules.Given(t, events...)
}

// The people and things of all scenarios. Nobody changes them.
var (
	noon = domaintest.Noon()

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
