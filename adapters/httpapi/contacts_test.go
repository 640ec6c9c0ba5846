package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// events returns what was recorded behind a position, decoded.
func (h *house) events(after int64) (recorded []eventstore.Recorded, events []domain.Event) {
	h.t.Helper()
	codec := eventstore.Catalogue()
	for r, err := range h.store.ReadLog(h.t.Context(), after) {
		if err != nil {
			h.t.Fatal(err)
		}
		e, err := codec.Decode(&r)
		if err != nil {
			h.t.Fatal(err)
		}
		recorded, events = append(recorded, r), append(events, e)
	}
	return recorded, events
}

func TestContact(t *testing.T) {
	t.Parallel()
	h := open(t)

	r := h.do("POST", "/v1/contacts", object{
		"id": "visitor-1", "name": "Jon Snow", "email": "jon.snow@winterfell.com", "number": 77, "attributes": object{"plan": "free"},
	}).is(201).version(1)
	r.has("id", "visitor-1", "number", 1, "version", 1, "role", "customer", "name", "Jon Snow", "first_name", "Jon",
		"last_name", "Snow", "email", "jon.snow@winterfell.com", "attributes.plan", "free", "erased", nil)
	if got := r.header.Get("Location"); got != "/v1/contacts/visitor-1" {
		t.Errorf("Location is %q", got)
	}
	if r.text("created_at") != r.text("updated_at") {
		t.Errorf("a new contact was updated: %s", r.body)
	}
	if got := h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(1); !bytes.Equal(got.body, r.body) {
		t.Errorf("read %s, answered %s", got.body, r.body)
	}
	h.do("POST", "/v1/contacts", object{"id": "visitor-1"}).fails(409, "contact.already_exists")

	changed := h.do("PATCH", "/v1/contacts/visitor-1", object{
		"phone": "+48", "email": nil, "last_name": "Stark", "attributes": object{"plan": nil, "house": "Stark"},
	}, header("Content-Type", "application/merge-patch+json"), ifMatch(1)).is(200).version(2)
	changed.has("phone", "+48", "email", nil, "name", "Jon Stark", "attributes", "map[house:Stark]", "number", 1,
		"created_at", r.text("created_at"))
	h.do("PATCH", "/v1/contacts/visitor-1", object{"phone": "+48"}).is(200).version(2) // nothing to do
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).has("name", "Jon Stark")

	// It is the contact that a conversation's customer is.
	h.do("POST", "/v1/conversations", object{"customer": object{"id": "visitor-1"}}).is(201).
		has("customer.number", 1, "customer.phone", "+48", "number", 3)
	if _, events := h.events(0); len(events) != 3 {
		t.Errorf("the log has %d events", len(events))
	}
}

func TestContactWithoutAnID(t *testing.T) {
	t.Parallel()
	h := open(t)
	r := h.do("POST", "/v1/contacts", object{"first_name": "Arya"}).is(201)
	if id := r.text("id"); len(id) != 36 || r.header.Get("Location") != "/v1/contacts/"+id {
		t.Errorf("id %q at %q", id, r.header.Get("Location"))
	}
	h.do("GET", r.header.Get("Location"), nil).is(200).has("name", "Arya")
}

// Whatever a caller names people by has a path.
func TestContactPaths(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, id := range []string{
		"jon@winterfell.com", "a/b", "a//b c", "ünïcode?#", "50%", "c:\\d", "01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00", "\x00",
		strings.Repeat("é", 128),
	} {
		r := h.do("POST", "/v1/contacts", object{"id": id}).is(201).has("id", id)
		h.do("GET", r.header.Get("Location"), nil).is(200).has("id", id)
		h.do("PATCH", "/v1/contacts/"+url.PathEscape(id), object{"name": "N"}).is(200).has("id", id)
	}
}

// A customer of a conversation is found under the same id.
func TestCustomersAreReadAsContacts(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).has("number", 1, "name", "Jon Snow")
}

// Each account has its own people, though they bear the same ids.
func TestContactsBelongToAnAccount(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.do("POST", "/v1/contacts", jon).is(201)
	h.do("GET", "/v1/contacts/visitor-1", nil, as(h.other)).fails(404, "contact.not_found")
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "X"}, as(h.other)).fails(404, "contact.not_found")
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "X"}, as(h.other), ifMatch(1)).fails(404, "contact.not_found")

	h.do("POST", "/v1/contacts", object{"id": "visitor-1", "name": "Cersei"}, as(h.other)).is(201).has("number", 2, "name", "Cersei")
	h.do("POST", "/v1/contacts", object{"id": "visitor-1"}, as(h.other)).fails(409, "contact.already_exists")
	h.do("PATCH", "/v1/contacts/visitor-1", object{"phone": "1"}, as(h.other)).is(200).has("number", 2, "version", 2)
	h.do("POST", "/v1/widget/triggered", object{"contact": object{"id": "visitor-1"}}, as(h.other)).is(201).has("number", 2, "version", 3)
	h.do("GET", "/v1/contacts/visitor-1", nil, as(h.other)).is(200).has("name", "Cersei", "version", 3)
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).has("name", "Jon Snow", "phone", nil, "version", 1)

	// A conversation teaches the contact of its own account.
	c := "/v1/conversations/" + h.do("POST", "/v1/conversations", object{"customer": object{"id": "visitor-1"}}, as(h.other)).is(201).text("id")
	h.do("PATCH", c+"/customer", object{"email": "cersei@example.com"}, as(h.other)).is(200)
	h.do("GET", "/v1/contacts/visitor-1", nil, as(h.other)).is(200).has("email", "cersei@example.com", "version", 4)
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(1)

	// Not even one who takes both places of an id gives anything away.
	for _, id := range []string{"cat", "default\x00cat"} {
		h.do("POST", "/v1/contacts", object{"id": id}, as(h.other)).is(201)
	}
	h.do("GET", "/v1/contacts/cat", nil).fails(404, "contact.not_found")
	h.do("PATCH", "/v1/contacts/cat", object{"name": "X"}).fails(404, "contact.not_found")
	h.do("POST", "/v1/contacts", object{"id": "cat"}).fails(409, "contact.already_exists")
	h.do("POST", "/v1/conversations", object{"customer": object{"id": "cat"}}).fails(409, "contact.already_exists")
	h.do("POST", "/v1/widget/triggered", object{"contact": object{"id": "cat"}}).fails(404, "contact.not_found")
}

func TestErasedContact(t *testing.T) {
	t.Parallel()
	var contacts *httpapi.Contacts
	h := open(t, func(cfg *httpapi.Config) { contacts = cfg.Contacts })
	c := h.conversation()
	if _, err := contacts.Execute(t.Context(), eventstore.Order[contact.State, contact.Command]{
		Account: "default", ID: webhooks.AsUUID("visitor-1"), Command: contact.Erase{By: domain.Person{ID: "dpo"}},
	}); err != nil {
		t.Fatal(err)
	}
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).
		has("id", "visitor-1", "number", 1, "name", nil, "email", nil, "erased", true)
	head := h.head()
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "Jon"}).fails(410, "contact.erased")
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}).fails(410, "contact.erased")
	h.do("POST", "/v1/contacts", jon).fails(409, "contact.already_exists")
	if h.head() != head {
		t.Error("a refusal was recorded")
	}
	// The conversation goes on without them.
	h.do("PATCH", c+"/customer", object{"name": "Jon"}).is(200).version(2)
	if h.head() != head+1 {
		t.Error("an erased contact learned something")
	}
}

func TestVersionsOfContactsAreMatched(t *testing.T) {
	t.Parallel()
	h := open(t)
	whatever := header("If-Match", "*")
	h.do("POST", "/v1/contacts", jon, ifMatch(0)).fails(412, "version_mismatch").has("current_version", 0)
	h.do("POST", "/v1/contacts", jon, ifMatch(1)).fails(412, "version_mismatch").has("current_version", 0)
	h.do("POST", "/v1/contacts", jon, whatever).fails(412, "version_mismatch").has("current_version", 0)
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}, ifMatch(1)).fails(412, "version_mismatch").has("current_version", 0)
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}, whatever).fails(412, "version_mismatch")
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "X"}, ifMatch(1)).fails(404, "contact.not_found")
	if h.head() != 0 {
		t.Error("the log moved")
	}
	h.do("POST", "/v1/contacts", jon).is(201).version(1)
	h.do("POST", "/v1/contacts", jon, ifMatch(2)).fails(412, "version_mismatch").version(1)
	h.do("POST", "/v1/contacts", jon, ifMatch(1)).fails(409, "contact.already_exists")
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "X"}, ifMatch(2)).fails(412, "version_mismatch").version(1)
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "X"}, whatever).is(200).version(2)
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}, ifMatch(1)).fails(412, "version_mismatch").version(2)
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}, ifMatch(2)).is(201).version(3)
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}, whatever).is(201).version(4)
}

// Of many who make the same contact at a time one does.
func TestConcurrentContacts(t *testing.T) {
	t.Parallel()
	h := open(t)
	const writers = 8
	var made atomic.Int64
	done := make(chan error, writers)
	for range writers {
		go func() {
			r, err := h.send("POST", "/v1/contacts", jon)
			switch {
			case err != nil:
			case r.status == 201:
				made.Add(1)
			case r.status != 409:
				err = fmt.Errorf("status %d: %s", r.status, r.body)
			}
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if made.Load() != 1 || h.head() != 1 {
		t.Errorf("%d were made, the log has %d events", made.Load(), h.head())
	}
}

// triggered returns the last event, which must be an opened widget.
func (h *house) triggered() contact.WidgetTriggered {
	h.t.Helper()
	_, events := h.events(h.head() - 1)
	e, ok := events[0].(contact.WidgetTriggered)
	if !ok {
		h.t.Fatalf("the last event is %T", events[0])
	}
	return e
}

// current returns the conversation that an opened widget tells.
func current(t *testing.T, e contact.WidgetTriggered) webhooks.Snapshot {
	t.Helper()
	var s webhooks.Snapshot
	dec := json.NewDecoder(bytes.NewReader(e.CurrentConversation))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		t.Fatalf("%v: %s", err, e.CurrentConversation)
	}
	return s
}

func TestTriggerWidget(t *testing.T) {
	t.Parallel()
	h := open(t)

	// Somebody new becomes a contact first.
	h.do("POST", "/v1/widget/triggered", object{
		"contact": jon, "attributes": object{"current_page": "https://example.com/?a=1&b=<2>", "language": "pl"},
	}).is(201).version(2).has("id", "visitor-1", "number", 1, "version", 2)
	e := h.triggered()
	if e.Contact.ID != "visitor-1" || e.Contact.Email != "jon.snow@winterfell.com" || e.Conversation != "" || e.CurrentConversation != nil ||
		e.Inbox != (domain.Inbox{ID: "default", Number: 1, Name: "Default"}) || e.Attributes.String("language") != "pl" {
		t.Errorf("recorded %+v", e)
	}
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).has("name", "Jon Snow")

	// What is said of somebody known changes nothing.
	h.do("POST", "/v1/widget/triggered", object{
		"contact": object{"id": "visitor-1", "name": "Aegon"}, "inbox": object{"id": "web", "name": "Website", "channel": "web"},
	}).is(201).version(3).has("number", 1)
	e = h.triggered()
	if e.Contact.Name != "Jon Snow" || e.Inbox != (domain.Inbox{ID: "web", Number: 1, Name: "Website", Channel: "web"}) {
		t.Errorf("recorded %+v", e)
	}

	r := h.do("POST", "/v1/widget/triggered", object{"contact": object{}}).is(201).version(2)
	if id := r.text("id"); len(id) != 36 || h.triggered().Contact.ID != id {
		t.Errorf("somebody without an id is %q", id)
	}
}

// An opened widget tells the conversation as it was, which need not be read
// again to render it.
func TestTriggerWidgetInAConversation(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	id := strings.TrimPrefix(c, "/v1/conversations/")
	h.do("POST", c+"/messages", object{"text": "Where is <b>my</b> wolf?"}).is(201)
	h.do("POST", c+"/messages", object{"text": "a note", "private": true, "author": object{"role": "agent", "name": "Bob"}}).is(201)
	h.do("PUT", c+"/assignee", object{"agent": object{"id": "agent-1", "name": "Bob"}}).is(200)

	h.do("POST", "/v1/widget/triggered", object{"contact": object{}, "conversation": id}).is(201).has("id", "visitor-1", "number", 1)
	e := h.triggered()
	s := current(t, e)
	h.do("POST", c+"/messages", object{"text": "later"}).is(201)
	if e.Conversation != id || s.Conversation.ID != id || s.Conversation.Version != 4 || s.Conversation.Number != 2 ||
		s.Conversation.Customer.ID != "visitor-1" || s.Conversation.Assignee.ID != "agent-1" || s.LastMessage.Text != "Where is <b>my</b> wolf?" ||
		fmt.Sprint(s.Attention.Unread) != "[2]" {
		t.Errorf("recorded %s", e.CurrentConversation)
	}
	// It is as a history of then would tell it.
	err := h.transcripts.With(t.Context(), eventstore.StreamName("conversation", id), 4, func(then *webhooks.History, _ *webhooks.Fact) error {
		want, err := json.Marshal(then.Snapshot())
		if err != nil {
			return err
		}
		if got, err := json.Marshal(s); err != nil || !bytes.Equal(got, want) {
			t.Errorf("told\n%s, it was\n%s (%v)", got, want, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.History().Messages); n != 1 {
		t.Errorf("its history has %d messages", n)
	}

	// Somebody else may be in it too.
	h.do("POST", "/v1/widget/triggered", object{"contact": object{"id": "arya"}, "conversation": id}).is(201).has("id", "arya")
}

// A conversation of any size goes with an opened widget; what is largest gives
// way first.
func TestLargeCurrentConversation(t *testing.T) {
	t.Parallel()
	filled := func(size int) object { return object{"x": strings.Repeat("x", size)} }
	// Control characters take most room: six bytes each.
	wide := func(n int) string { return strings.Repeat("\x01", n) }
	person := func(id string, attributes object) object {
		return object{
			"id": id + wide(100), "name": wide(255), "first_name": wide(255), "last_name": wide(255), "email": wide(255), "phone": wide(255),
			"identifier": wide(255), "avatar_url": wide(2048), "attributes": attributes,
		}
	}
	for _, tt := range []struct {
		name         string
		conversation object
		changes      object
		message      object
		agent        object
		kept         func(s webhooks.Snapshot) bool
	}{
		{
			name: "all of what fits", conversation: object{"customer": person("jon", filled(100))},
			message: object{"text": strings.Repeat("x", 60_000), "attributes": filled(100)},
			kept: func(s webhooks.Snapshot) bool {
				return len(s.LastMessage.Text) == 60_000 && s.LastMessage.Attributes != nil && s.Conversation.Customer.Attributes != nil
			},
		},
		{
			name: "a long text is cut at a character", conversation: object{"customer": jon, "attributes": filled(60_000)},
			message: object{"text": strings.Repeat("🐺", 100_000), "attributes": filled(100)},
			kept: func(s webhooks.Snapshot) bool {
				return s.LastMessage.Text == strings.Repeat("🐺", projections.MaxPreview) && s.LastMessage.Attributes != nil &&
					len(s.Conversation.Attributes) == 1
			},
		},
		{
			name: "then goes what is open in the message", conversation: object{"customer": person("jon", filled(1000)), "attributes": filled(1000)},
			message: object{
				"text": "Hi", "attributes": filled(65_000), "content_attributes": filled(65_000), "attachments": []object{{"url": wide(2048)}},
			},
			kept: func(s webhooks.Snapshot) bool {
				return s.LastMessage.Text == "Hi" && s.LastMessage.Attributes == nil && s.LastMessage.ContentAttributes == nil &&
					s.LastMessage.Attachments == nil && s.LastMessage.Author.Attributes == nil && s.Conversation.Customer.Attributes != nil
			},
		},
		{
			name: "then in people", conversation: object{"customer": person("jon", filled(65_000)), "attributes": filled(60_000)},
			message: object{"text": "Hi"}, agent: person("bob", filled(60_000)),
			kept: func(s webhooks.Snapshot) bool {
				return s.Conversation.Customer.Attributes == nil && s.Conversation.Assignee.Attributes == nil && len(s.Conversation.Attributes) == 1 &&
					s.Conversation.Assignee.Name == wide(255)
			},
		},
		{
			name: "and names and URLs always stay",
			conversation: object{
				"customer": person("jon", filled(65_000)), "attributes": filled(65_000), "subject": wide(500), "channel": wide(500),
				"inbox": object{"id": wide(128), "name": wide(255), "channel": wide(500)},
			},
			changes: object{
				"labels": labels(100, func(i int) string { return fmt.Sprint(i) + wide(490) }),
				"team":   object{"id": wide(128), "name": wide(255)},
			},
			message: object{"text": wide(150_000), "content_type": wide(500), "reply_to": wide(128), "author": person("ned", filled(65_000))},
			agent:   person("bob", filled(65_000)),
			kept: func(s webhooks.Snapshot) bool {
				c := s.Conversation
				return len(c.Attributes) == 0 && len(c.Labels) == 0 && c.Subject == wide(500) && c.Customer.AvatarURL == wide(2048) &&
					s.LastMessage.Text == wide(projections.MaxPreview) && s.LastMessage.Author.Name == wide(255)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			id := h.do("POST", "/v1/conversations", tt.conversation).is(201).text("id")
			c := "/v1/conversations/" + id
			if tt.changes != nil {
				h.do("PATCH", c, tt.changes).is(200)
			}
			h.do("POST", c+"/messages", tt.message).is(201)
			if tt.agent != nil {
				h.do("PUT", c+"/assignee", object{"agent": tt.agent}).is(200)
			}
			before := [][]byte{h.do("GET", c, nil).is(200).body, h.do("GET", c+"/messages", nil).is(200).body}
			h.do("POST", "/v1/widget/triggered", object{"contact": object{"id": "x"}, "conversation": id}).is(201)
			e := h.triggered()
			if n := len(e.CurrentConversation); n > contact.MaxCurrentConversation {
				t.Errorf("it has %d bytes", n)
			}
			if s := current(t, e); s.Conversation.ID != id || !tt.kept(s) {
				t.Errorf("kept %.2000s", e.CurrentConversation)
			}
			// The conversation itself has lost nothing.
			after := [][]byte{h.do("GET", c, nil).is(200).body, h.do("GET", c+"/messages", nil).is(200).body}
			if !slices.EqualFunc(before, after, bytes.Equal) {
				t.Error("telling the conversation changed it")
			}
		})
	}
}

func labels(n int, label func(i int) string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = label(i)
	}
	return out
}

// What a conversation learns of its customer the contact learns too, and who asks
// again learns nothing new.
func TestContactsLearnFromConversations(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	id := strings.TrimPrefix(c, "/v1/conversations/")

	head := h.head()
	h.do("PATCH", c+"/customer", object{"email": "lord@winterfell.com", "phone": "+48"}, header("X-Request-Id", "req-1")).is(200).version(2)
	recorded, events := h.events(head)
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	updated, ok := events[0].(conversation.CustomerUpdated)
	learned, ok2 := events[1].(contact.Updated)
	if !ok || !ok2 || learned.Conversation != id || learned.Profile.Email != "lord@winterfell.com" || len(learned.Changes) != 2 ||
		updated.Customer.Email != learned.Profile.Email {
		t.Errorf("recorded %+v, then %+v", events[0], events[1])
	}
	if m := recorded[1].DecodeMetadata(); m.Causation != recorded[0].ID.String() || m.Correlation != "req-1" || m.Actor != "key:"+h.keyID {
		t.Errorf("metadata %+v", m)
	}
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).has("phone", "+48")

	// Neither has anything to learn from it again.
	head = h.head()
	h.do("PATCH", c+"/customer", object{"phone": "+48"}).is(200).version(2)
	h.do("PATCH", c+"/customer", object{"phone": "+48"}, idempotent("same")).is(200).version(2)
	if h.head() != head {
		t.Error("what was known was recorded")
	}

	// An answer that is given again does not bring back what was true then.
	h.do("PATCH", c+"/customer", object{"phone": "+49"}, idempotent("k")).is(200).version(3)
	h.do("PATCH", "/v1/contacts/visitor-1", object{"phone": "+50"}).is(200).version(4)
	h.do("PATCH", c+"/customer", object{"phone": "+49"}, idempotent("k")).is(200).version(3).has("customer.phone", "+49")
	h.do("PATCH", c+"/customer", object{"phone": "+48"}, idempotent("same")).is(200).version(2)
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(4).has("phone", "+50")

	// A refusal teaches nothing.
	head = h.head()
	h.do("PATCH", c+"/customer", object{"phone": "+51"}, ifMatch(1)).fails(412, "version_mismatch")
	h.do("POST", c+"/close", nil).is(200)
	h.do("PATCH", c+"/customer", object{"phone": "+51"}).fails(409, "conversation.already_closed")
	if h.head() != head+1 {
		t.Error("a refusal was learned")
	}
}

// failing is a log that takes no more of one kind of streams while it is down.
type failing struct {
	eventstore.Store

	down atomic.Bool
}

func (f *failing) Append(ctx context.Context, c eventstore.Commit) (int64, error) {
	if f.down.Load() && strings.HasPrefix(c.Appends[0].Stream, "contact-") {
		return 0, eventstore.ErrBusy
	}
	return f.Store.Append(ctx, c)
}

// A conversation that has changed and a contact that has not are brought together
// by asking again, with a key or without.
func TestLearningIsCompleted(t *testing.T) {
	t.Parallel()
	log := &failing{}
	h := open(t, func(cfg *httpapi.Config) {
		log.Store = cfg.Log
		cfg.Contacts = eventstore.NewAggregates(log, cfg.Codec, time.Now, eventstore.Rules[contact.State, contact.Command, contact.Event]{
			Kind: "contact", Schema: contact.StateSchema, Decide: contact.Decide, Evolve: contact.Evolve,
		})
	})
	c := h.conversation()
	for i, options := range [][]option{{idempotent("k")}, {}} {
		phone := fmt.Sprint("+", i)
		version := h.do("GET", "/v1/contacts/visitor-1", nil).number("version")
		log.down.Store(true)
		h.do("PATCH", c+"/customer", object{"phone": phone}, options...).fails(503, "busy")
		h.do("GET", c, nil).is(200).has("customer.phone", phone)
		h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(version)
		log.down.Store(false)
		head := h.head()
		for range 2 {
			h.do("PATCH", c+"/customer", object{"phone": phone}, options...).is(200).has("customer.phone", phone)
		}
		h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(version+1).has("phone", phone)
		if h.head() != head+1 {
			t.Errorf("asking again recorded %d events", h.head()-head)
		}
	}
}

// A contact that is not there, is somebody else's or has no room is no reason why
// a conversation should not change.
func TestConversationsChangeWithoutTheirContact(t *testing.T) {
	t.Parallel()
	var cfg httpapi.Config
	h := open(t, func(c *httpapi.Config) { cfg = *c })
	begin := func(id, customer string) string {
		if _, err := cfg.Conversations.Execute(t.Context(), eventstore.Order[conversation.State, conversation.Command]{
			Account: "default", ID: id, Command: conversation.Create{
				Account: domain.Account{ID: "default"}, Inbox: domain.Inbox{ID: "web"}, Customer: domain.Person{ID: customer},
			},
		}); err != nil {
			t.Fatal(err)
		}
		return "/v1/conversations/" + id
	}
	unknown := begin("01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01", "nobody")
	h.do("POST", "/v1/contacts", object{"id": "theirs"}, as(h.other)).is(201)
	foreign := begin("01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a02", "theirs")
	h.do("POST", "/v1/contacts", object{"id": "default\x00theirs"}, as(h.other)).is(201)
	h.do("POST", "/v1/contacts", object{"id": "full", "attributes": object{"a": strings.Repeat("x", 60_000)}}).is(201)
	full := begin("01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a03", "full")
	for _, c := range []string{unknown, foreign, full} {
		head := h.head()
		patch := object{"name": "N", "attributes": object{"b": strings.Repeat("x", 10_000)}}
		for range 2 {
			h.do("PATCH", c+"/customer", patch, idempotent("k-"+c[len(c)-2:])).is(200).version(2).has("customer.name", "N")
		}
		if h.head() != head+1 {
			t.Errorf("%s: %d events", c, h.head()-head)
		}
	}
	h.do("GET", "/v1/contacts/full", nil).is(200).version(1)
	if log := h.log.String(); strings.Count(log, "a contact could not learn") != 2 {
		t.Errorf("the log has:\n%s", log)
	}
}

// What is prepared for a request that is refused is not there afterwards.
func TestRefusedWidgetMakesNoContact(t *testing.T) {
	t.Parallel()
	h := open(t)
	foreign := h.do("POST", "/v1/conversations", object{"customer": jon}, as(h.other)).is(201).text("id")
	head := h.head()
	for _, body := range []object{
		{"contact": object{"id": "new"}, "conversation": foreign},
		{"contact": object{"id": "new"}, "attributes": object{"a": strings.Repeat("x", 70_000)}},
		{"contact": object{"id": "new"}, "inbox": object{"id": strings.Repeat("x", 200)}},
		{"contact": object{"id": "new", "email": strings.Repeat("x", 300)}},
	} {
		if r := h.do("POST", "/v1/widget/triggered", body); r.status != 404 && r.status != 422 {
			t.Errorf("%s: %d", r.what, r.status)
		}
	}
	h.do("GET", "/v1/contacts/new", nil).fails(404, "contact.not_found")
	if h.head() != head {
		t.Error("the log moved")
	}
}

// A widget that was opened is a webhook.
func TestWidgetIsSent(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim"}).is(201).text("id")
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}).is(201)
	h.settled()
	var names []string
	for _, d := range h.do("GET", "/v1/endpoints/"+ep+"/deliveries", nil).is(200).get("data").([]any) {
		row := d.(object)
		names = append(names, row["name"].(string))
		h.do("GET", "/v1/deliveries/"+row["id"].(string)+"/payload", nil).is(200).has("data.contact.id", "visitor-1")
	}
	slices.Sort(names)
	if got := fmt.Sprint(names); got != "[contact.created contact.widget_triggered]" {
		t.Error(got)
	}
}
