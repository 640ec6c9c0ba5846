package webhooks_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// attributes returns n attributes whose values are that long.
func attributes(n, length int) domain.Attributes {
	var a domain.Attributes
	for i := range n {
		a = append(a, domain.Attribute{Key: fmt.Sprintf("key_%d", i), Value: json.RawMessage(`"` + strings.Repeat("x", length) + `"`)})
	}
	return a
}

func person(role domain.Role, a domain.Attributes) domain.Person {
	return domain.Person{
		ID: "0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b", Role: role, Name: "Jon Snow", FirstName: "Jon", LastName: "Snow",
		Email: "jon.snow@winterfell.com", Phone: "+48123456789", Attributes: a,
	}
}

func message(i int, author domain.Person, text string) conversation.MessagePosted {
	return conversation.MessagePosted{
		MessageID: fmt.Sprintf("0192f7a8-c1d2-7e5f-8a9b-%012d", i), Author: author, Text: text, ContentType: "text",
	}
}

// TestSizesAreThoseOfTheHeap holds what histories and contacts say they take
// against what the heap grew by when they were read, for conversations that
// nobody would call usual.
func TestSizesAreThoseOfTheHeap(t *testing.T) { //nolint:paralleltest // it measures the heap that all tests share
	codec := eventstore.Catalogue()
	visitor := person(domain.Customer, attributes(3, 10))
	agent := person(domain.Agent, nil)
	crowd := person(domain.Agent, attributes(200, 100))
	created := conversation.Created{
		Account: domain.Account{ID: "default", Number: 1, Name: "Default"}, Inbox: domain.Inbox{ID: "default", Number: 1, Name: "Default"},
		Channel: "web", Customer: visitor, Subject: "An order", Attributes: attributes(12, 20),
	}
	talk := func(n int, m func(i int) conversation.MessagePosted) []domain.Event {
		events := []domain.Event{created}
		for i := range n {
			events = append(events, m(i))
		}
		return events
	}
	change := func(key string, length int) conversation.AttributesChanged {
		value := json.RawMessage(`"` + strings.Repeat("y", length) + `"`)
		return conversation.AttributesChanged{Changes: []domain.Change{{Key: "attributes." + key, Previous: json.RawMessage("null"), Current: value}}}
	}
	laden := created
	laden.Customer, laden.Attributes = crowd, attributes(300, 100)
	labels, err := json.Marshal(strings.Split(strings.Repeat(strings.Repeat("label", 40)+" ", 100), " "))
	if err != nil {
		t.Fatal(err)
	}
	full := []webhooks.Fragment{
		{Key: "a@1", Separator: ",", Append: item},
		{Key: "b@1", Separator: ",", Append: func(dst []byte, m *webhooks.Message) []byte {
			return append(append(dst, m.Text...), m.Author.Email...)
		}},
	}
	for _, shape := range []struct {
		name   string
		events []domain.Event
		bodies []webhooks.Fragment
	}{
		{"a beginning", []domain.Event{created}, nil},
		{"short messages", talk(20, func(i int) conversation.MessagePosted { return message(i, agent, "Hello") }), nil},
		{"long messages", talk(5, func(i int) conversation.MessagePosted { return message(i, visitor, strings.Repeat("long ", 1000)) }), nil},
		{"messages in two formats", talk(20, func(i int) conversation.MessagePosted { return message(i, visitor, strings.Repeat("text ", 20)) }), full},
		{"laden authors", talk(4, func(i int) conversation.MessagePosted { return message(i, crowd, "Hello") }), nil},
		{"attachments", talk(5, func(i int) conversation.MessagePosted {
			m := message(i, visitor, "")
			m.ContentAttributes, m.Attributes = attributes(5, 50), attributes(1, 300)
			for k := range 15 {
				m.Attachments = append(m.Attachments, conversation.Attachment{
					FileType: "image", ContentType: "image/png", URL: fmt.Sprintf("https://files.example.com/%d/%d/picture.png", i, k), Name: "picture.png",
				})
			}
			return m
		}), nil},
		{"laden visits", []domain.Event{laden}, nil},
		{"laden visits that change a little", []domain.Event{laden, change("key_7", 20), change("new", 20)}, nil},
		{"laden visits that change for good", []domain.Event{
			laden, conversation.CustomerUpdated{Customer: crowd}, change("key_7", 9000), change("key_7", 30_000), change("new", 9000),
		}, nil},
		{"labels", []domain.Event{created, conversation.AttributesChanged{Changes: []domain.Change{
			{Key: "labels", Previous: json.RawMessage("[]"), Current: labels},
			{Key: "team", Previous: json.RawMessage("null"), Current: json.RawMessage(`{"id":"t","name":"The team"}`)},
		}}}, nil},
		{"agents who came", []domain.Event{created, conversation.Assigned{Agent: crowd, Previous: &crowd, By: &crowd}}, nil},
		{"agents who went", []domain.Event{created, conversation.Assigned{Agent: crowd}, conversation.Unassigned{Previous: crowd}}, nil},
		{"agents who came and wrote", []domain.Event{
			created, conversation.Assigned{Agent: crowd}, message(1, crowd, "Hello"), conversation.Unassigned{Previous: crowd},
		}, nil},
		{"messages that were edited", append(talk(3, func(i int) conversation.MessagePosted { return message(i, agent, "Hello") }),
			conversation.MessageEdited{MessageID: message(1, agent, "").MessageID, Previous: "Hello", Text: strings.Repeat("x", 20_000), By: crowd}), full},
		{"messages that were deleted", append(talk(3, func(i int) conversation.MessagePosted { return message(i, agent, strings.Repeat("x", 20_000)) }),
			conversation.MessageDeleted{MessageID: message(2, agent, "").MessageID, By: crowd},
			conversation.MessageDeleted{MessageID: message(0, agent, "").MessageID, By: crowd}), nil},
		{"contacts", []domain.Event{contact.Created{Profile: agent}}, nil},
		{"laden contacts", []domain.Event{contact.Created{Profile: agent}, contact.Updated{Profile: crowd}}, nil},
	} {
		t.Run(shape.name, func(t *testing.T) {
			const atLeast, room = 4 << 20, 10_000 // bytes, so that nothing else weighs; of them, so that no list is moved
			lines := encoded(t, codec, shape.events)
			histories, contacts := make([]*webhooks.History, 0, room), make([]*webhooks.Contact, 0, room)
			before, counted := heap(), 0
			for counted < atLeast {
				h, c := told(t, codec, lines)
				for i := range shape.bodies {
					h.Items(&shape.bodies[i], -1, 0)
				}
				if h != nil {
					histories = append(histories, h)
					counted += h.Size()
				} else {
					contacts = append(contacts, c)
					counted += c.Size()
				}
			}
			grown := heap() - before
			ratio := float64(counted) / float64(grown)
			t.Logf("%d of them, %d bytes each, counted as %.2f of what they take", len(histories)+len(contacts), grown/(len(histories)+len(contacts)), ratio)
			if ratio < 0.8 || ratio > 1.2 {
				t.Errorf("%d bytes are counted, the heap grew by %d", counted, grown)
			}
			runtime.KeepAlive(histories)
			runtime.KeepAlive(contacts)
		})
	}
}

// heap returns how many bytes of it are in use.
func heap() int {
	runtime.GC()
	runtime.GC() // what the first one finds out of use, pools among it, the second frees
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// encoded returns events as they lie in the log.
func encoded(t *testing.T, codec *eventstore.Codec, events []domain.Event) []eventstore.Recorded {
	t.Helper()
	var out []eventstore.Recorded
	for i, e := range events {
		_, _, data, err := codec.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		r := recordedAt(int64(i)+1, e)
		r.Data = data
		out = append(out, *r)
	}
	return out
}

// told returns what those events tell of, read from the log as if for the first
// time.
func told(t *testing.T, codec *eventstore.Codec, events []eventstore.Recorded) (*webhooks.History, *webhooks.Contact) {
	t.Helper()
	h, c := &webhooks.History{}, &webhooks.Contact{}
	for _, r := range events {
		r.Stream = strings.Clone(r.Stream)
		e, err := codec.Decode(&r)
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case conversation.Event:
			h.Apply(&r, e)
		case contact.Event:
			*c = c.Evolve(&r, e)
		}
	}
	if c.Version > 0 {
		return nil, c
	}
	return h, nil
}
