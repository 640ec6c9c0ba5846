package tests_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// theirs marks every text that a person has left; it stands nowhere else.
const theirs = "SECRET"

// jon is a person under an id that says who they are.
const jonsID = "SECRET-jon@winterfell.com"

func removal() *domain.Removal {
	return (&projections.Erasure{PersonID: webhooks.AsUUID(jonsID)}).Removal()
}

// kept are the texts of facts that stay whoever is erased: what others gave them,
// and ids of ours.
func kept(path string) bool {
	for _, end := range []string{
		".MessageID", ".Account.ID", ".Account.Name", ".Inbox.ID", ".Inbox.Name", ".Inbox.Channel", "Created.Channel",
		"StatusChanged.From", "StatusChanged.To", "Closed.From", "TypingStopped.Reason", "ActivityRecorded.Kind",
		"Updated.Conversation", // an id of ours
		"Erased.Positions", "Erased.Proof", ".Digest",
	} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return false
}

// fillTheirs fills every field of a fact as if Jon had given all of it.
func fillTheirs(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	switch at := v.Addr().Interface().(type) {
	case *domain.Person:
		*at = domain.Person{
			ID: jonsID, Role: domain.Customer, Number: 7, Name: theirs, FirstName: theirs, LastName: theirs, Email: theirs, Phone: theirs,
			AvatarURL: theirs, Identifier: theirs, Attributes: theirAttributes(),
		}
		return
	case *domain.Attributes:
		*at = theirAttributes()
		return
	case *time.Time:
		*at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		return
	case *[]domain.Change:
		value, null := json.RawMessage(`"`+theirs+`"`), json.RawMessage("null")
		*at = []domain.Change{
			{Key: "name", Previous: value, Current: value},
			{Key: "email", Previous: null, Current: value},
			{Key: "subject", Previous: null, Current: value},
			{Key: "attributes." + theirs, Previous: value, Current: null},
			{Key: "attributes.page", Previous: null, Current: json.RawMessage(`{"a":["` + theirs + `"]}`)},
			{Key: "attributes.chatwoot", Previous: null, Current: json.RawMessage(`{"id":42,"source_id":"` + theirs + `"}`)},
		}
		return
	case *json.RawMessage:
		*at = json.RawMessage(`{"conversation":{"customer":{"id":"` + jonsID + `"},"subject":"` + theirs + `"}}`)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillTheirs(t, v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillTheirs(t, v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillTheirs(t, v.Index(0), path)
	case reflect.String:
		if kept(path) {
			v.SetString("kept")
		} else {
			v.SetString(theirs)
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(5)
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("%s has a type that nobody has thought of: %s", path, v.Type())
	}
}

func theirAttributes() domain.Attributes {
	return domain.Attributes{
		{Key: theirs, Value: json.RawMessage(`"` + theirs + `"`)},
		{Key: "ip", Value: json.RawMessage(`"` + theirs + `"`)},
		{Key: "chatwoot", Value: json.RawMessage(`{"id":42,"name":"` + theirs + `"}`)},
		{Key: "talkus", Value: json.RawMessage(`{"id":"` + theirs + `"}`)},
	}
}

// TestErasingAPersonFromEveryFact walks the catalogue, so that a new fact, or a
// new field of one, cannot be forgotten.
func TestErasingAPersonFromEveryFact(t *testing.T) {
	t.Parallel()
	codec := eventstore.Catalogue()
	for name, zero := range codec.Types() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(name, "endpoint.") {
				return // nobody is in them
			}
			full := reflect.New(reflect.TypeOf(zero)).Elem()
			fillTheirs(t, full, full.Type().Name())
			e := full.Interface().(domain.Event)
			room := conversation.NewRemoval(removal())
			room.Apply(conversation.Created{Customer: domain.Person{ID: jonsID}})
			room.Apply(conversation.MessagePosted{MessageID: "kept", Author: domain.Person{ID: jonsID}})
			apply := func(e domain.Event) (domain.Event, bool) {
				if e, ok := e.(conversation.Event); ok {
					return room.Apply(e)
				}
				return contact.Remove(removal(), e.(contact.Event))
			}
			before := encodedFact(t, codec, e)
			left, changed := apply(e)
			if !changed {
				t.Fatalf("nothing was taken out of %s", before)
			}
			after := encodedFact(t, codec, left)
			if bytes.Contains(after, []byte(theirs)) {
				t.Errorf("left is %s", after)
			}
			if got := encodedFact(t, codec, e); !bytes.Equal(before, got) {
				t.Errorf("the fact itself became %s", got)
			}
			if again, changed := apply(left); changed || !bytes.Equal(encodedFact(t, codec, again), after) {
				t.Errorf("taken out again, left is %s", encodedFact(t, codec, again))
			}
			// What formats call it hangs on the fact: what was owed stays owed.
			for _, d := range dialects(t) {
				if was, is := d.Words(e), d.Words(left); !cmp.Equal(was, is) {
					t.Errorf("%s calls it %v, and %v before", d.Name(), is, was)
				}
			}
			schema := 1
			r := &eventstore.Recorded{Type: name, Schema: 1, Data: after, Remains: &eventstore.Remains{Schema: schema}}
			if _, err := codec.Decode(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// Of a conversation and a message that are somebody else's, nothing is taken but
// the person.
func TestWhatOthersSaidStays(t *testing.T) {
	t.Parallel()
	ann, jon := domain.Person{ID: "ann", Role: domain.Customer, Name: "Ann"}, domain.Person{ID: jonsID, Role: domain.Customer, Name: "Jon"}
	agent := domain.Person{ID: "amy", Role: domain.Agent, Name: "Amy"}
	room := conversation.NewRemoval(removal())
	for _, e := range []conversation.Event{
		conversation.Created{Customer: ann, Subject: "Jon Snow", Attributes: theirAttributes()},
		conversation.MessagePosted{MessageID: "1", Author: ann, Text: "I am not Jon"},
		conversation.MessageEdited{MessageID: "1", Previous: "I am not Jon", Text: "I am Ann", By: agent},
		conversation.AttributesChanged{Changes: []domain.Change{{Key: "subject", Previous: json.RawMessage(`"a"`), Current: json.RawMessage(`"b"`)}}},
		conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: theirAttributes(), By: &agent},
		conversation.StatusChanged{From: conversation.Open, To: conversation.Resolved, Reason: "Jon", By: &agent},
	} {
		if left, changed := room.Apply(e); changed {
			t.Errorf("%+v became %+v", e, left)
		}
	}
	// He writes in her conversation: that is his, and what an agent makes of it.
	for _, e := range []conversation.Event{
		conversation.MessagePosted{MessageID: "2", Author: jon, Text: "It is me"},
		conversation.MessageEdited{MessageID: "2", Previous: "It is me", Text: "It is Jon", By: agent},
		conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: theirAttributes(), By: &jon},
	} {
		left, changed := room.Apply(e)
		if b := encodedFact(t, eventstore.Catalogue(), left); !changed || bytes.Contains(b, []byte("It is")) || bytes.Contains(b, []byte("Jon")) ||
			bytes.Contains(b, []byte(theirs)) {
			t.Errorf("%+v became %s", e, b)
		}
	}
	// Another contact opens the widget in his conversation, and in hers.
	for customer, want := range map[string]bool{jonsID: true, "ann": false} {
		e := contact.WidgetTriggered{Contact: agent, CurrentConversation: fmt.Appendf(nil, `{"conversation":{"customer":{"id":%q}}}`, customer)}
		if _, changed := contact.Remove(removal(), e); changed != want {
			t.Errorf("a widget in a conversation of %s: changed is %t", customer, changed)
		}
	}
}

func encodedFact(t *testing.T, codec *eventstore.Codec, e domain.Event) []byte {
	t.Helper()
	_, _, data, err := codec.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// texts collects the texts in a JSON value.
func texts(v any, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			texts(inner, into)
		}
	case []any:
		for _, inner := range v {
			texts(inner, into)
		}
	case string:
		into[v] = true
	}
}

// erasedFixture returns the facts of a fixture before and after the customer of
// its first conversation was erased, and the texts that went.
func erasedFixture(t *testing.T, name string) (before, after []webhooks.Fact, gone []string) {
	t.Helper()
	before = webhookstest.Facts(t, filepath.Join("fixtures", name))
	var who *domain.Removal
	for _, f := range before {
		if e, ok := f.Event.(conversation.Created); ok && who == nil {
			who = (&projections.Erasure{PersonID: webhooks.AsUUID(e.Customer.ID)}).Removal()
		}
	}
	codec := eventstore.Catalogue()
	rooms := make(map[string]*conversation.Removal)
	was, is := make(map[string]bool), make(map[string]bool)
	for _, f := range before {
		var left domain.Event
		var changed bool
		switch e := f.Event.(type) {
		case conversation.Event:
			if rooms[f.Stream] == nil {
				rooms[f.Stream] = conversation.NewRemoval(who)
			}
			left, changed = rooms[f.Stream].Apply(e)
		case contact.Event:
			left, changed = contact.Remove(who, e)
		default:
			left = e
		}
		r := *f.Recorded
		if changed {
			r.Data = encodedFact(t, codec, left)
			r.Remains = &eventstore.Remains{Schema: 1, Digest: eventstore.Digest(r.Data)}
		}
		var v any
		for data, into := range map[*[]byte]map[string]bool{&f.Data: was, &r.Data: is} {
			if err := json.Unmarshal(*data, &v); err != nil {
				t.Fatal(err)
			}
			texts(v, into)
		}
		after = append(after, webhooks.Fact{Recorded: &r, Event: left})
	}
	const tooShort = 4                    // to be looked for in a body: it stands in something else
	ours := []string{"closed", "Unknown"} // words of facts and formats, which stand elsewhere too
	for s := range was {
		_, notTime := time.Parse(time.RFC3339, s) // times stay
		if !is[s] && len(s) > tooShort && notTime != nil && !slices.Contains(ours, s) {
			gone = append(gone, s)
		}
	}
	slices.Sort(gone)
	return before, after, gone
}

// TestErasedConversationsAreRendered renders every fixture in every dialect after
// its customer was erased: the same events, in bodies that have their shape,
// with what the agents said, and nothing of what went.
func TestErasedConversationsAreRendered(t *testing.T) {
	t.Parallel()
	fixtures, err := filepath.Glob("fixtures/*.ndjson")
	if err != nil || len(fixtures) == 0 {
		t.Fatal("no fixtures", err)
	}
	for _, path := range fixtures {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after, gone := erasedFixture(t, name)
			if len(gone) == 0 {
				t.Fatal("nothing went")
			}
			for _, d := range dialects(t) {
				full := webhookstest.Rendered(t, d, before, webhooks.FullView())
				left := webhookstest.Rendered(t, d, after, webhooks.FullView())
				if len(full) != len(left) {
					t.Fatalf("%s: %d bodies became %d", d.Name(), len(full), len(left))
				}
				said := 0
				for i, r := range left {
					if r.Position != full[i].Position || r.Word != full[i].Word {
						t.Errorf("%s: %v at %d became %v at %d", d.Name(), full[i].Word, full[i].Position, r.Word, r.Position)
					}
					for _, s := range gone {
						if bears(t, r.Body, s) {
							t.Fatalf("%s at %d: %q is in %s", d.Name(), r.Position, s, r.Body)
						}
					}
					said += bytes.Count(r.Body, []byte(domain.DeletedName))
				}
				t.Logf("%s: %d bodies, %d times %q", d.Name(), len(left), said, domain.DeletedName)
			}
		})
	}
}

// bears reports whether a body has a text, as it is or escaped in one of the ways
// there are. What is a word of any format is looked for as a whole.
func bears(t *testing.T, body []byte, text string) bool {
	t.Helper()
	plain, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	const word = 8
	if len(text) < word {
		return bytes.Contains(body, plain)
	}
	return bytes.Contains(body, []byte(text)) || bytes.Contains(body, plain[1:len(plain)-1]) ||
		bytes.Contains(body, webhooks.AppendString(nil, text)) || bytes.Contains(body, webhooks.AppendStringPlain(nil, text))
}
