package verbatim_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/verbatim"
	"verbatim/webhooks/webhookstest"
)

const fixture = "../../../tests/fixtures/closer-conversation.ndjson"

var update = flag.Bool("update", false, "rewrite the golden files")

// A golden that changed is a new version of the dialect, or a mistake.
func TestGoldens(t *testing.T) {
	t.Parallel()
	for i, r := range webhookstest.Rendered(t, verbatim.New(), webhookstest.Facts(t, fixture), webhooks.FullView()) {
		name := r.Name
		golden := filepath.Join("testdata", fmt.Sprintf("%d.%s.json", i+1, name))
		if *update {
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, r.Body, "", " "); err != nil {
				t.Fatalf("%v in %s", err, r.Body)
			}
			pretty.WriteByte('\n')
			if err := os.WriteFile(golden, pretty.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		file, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, file); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(r.Body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", golden, diff)
		}
	}
}

func TestVocabularyIsEveryFactButThoseOfEndpoints(t *testing.T) {
	t.Parallel()
	d := verbatim.New()
	n := 0
	for name, e := range eventstore.Catalogue().Types() {
		got := d.Words(e)
		if strings.HasPrefix(name, "endpoint.") {
			if got != nil {
				t.Errorf("%s: got %v", name, got)
			}
			continue
		}
		n++
		if diff := cmp.Diff([]webhooks.Word{{Name: name}}, got); diff != "" {
			t.Error(diff)
		}
	}
	if len(d.Vocabulary()) != n {
		t.Errorf("vocabulary: got %v", d.Vocabulary())
	}
}

// story is a conversation made of events, a second apart.
type story struct {
	h webhooks.History
	f webhooks.Fact
}

func (s *story) then(events ...conversation.Event) *story {
	for _, e := range events {
		n := s.h.Conversation.Version + 1
		r := recorded(webhookstest.Stream(1), n, e)
		s.h.Apply(r, e)
		s.f = webhooks.Fact{Recorded: r, Event: e}
	}
	return s
}

func recorded(stream string, n int64, e domain.Event) *eventstore.Recorded {
	return &eventstore.Recorded{
		Position: 100 + n, Version: n, Stream: stream, ID: webhookstest.ID("evnt", int(n)), Type: e.EventType(),
		Schema: 1, Time: webhookstest.Day().Add(time.Duration(n) * time.Second), Account: "acme", Metadata: []byte(`{"actor":"key:1"}`),
	}
}

func event(f webhooks.Fact, h *webhooks.History, last int) *webhooks.PublicEvent {
	return &webhooks.PublicEvent{Fact: f, Name: f.Type, History: h, View: webhooks.View{Last: last, Notes: true}}
}

func body(t *testing.T, f webhooks.Fact, h *webhooks.History, last int) map[string]any {
	t.Helper()
	raw, err := verbatim.New().AppendBody(nil, event(f, h, last))
	if err != nil {
		t.Fatal(err)
	}
	var b map[string]any
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return b
}

func (s *story) body(t *testing.T, last int) map[string]any {
	t.Helper()
	return body(t, s.f, &s.h, last)
}

func at(t *testing.T, b any, path string) any {
	t.Helper()
	for key := range strings.SplitSeq(path, ".") {
		m, ok := b.(map[string]any)
		if !ok {
			t.Fatalf("%s: %v is no object", path, b)
		}
		if b, ok = m[key]; !ok {
			t.Fatalf("no %s", path)
		}
	}
	return b
}

// decoded is v as JSON has it.
func decoded(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(decoded(t, want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func person(id string, role domain.Role) domain.Person {
	return domain.Person{
		ID: id, Role: role, Number: 7, Name: "A \"B\" <b>", FirstName: "A", LastName: "B\u2028", Email: "e", Phone: "p",
		AvatarURL: "https://x/?a=1&b=2", Identifier: "i", IsBot: role == domain.Bot,
		Attributes: domain.Attributes{{Key: "k\n", Value: json.RawMessage(`{"deep":[1,2.50,null]}`)}},
	}
}

// full has a value in every member of every shape there is.
func full() *story {
	until, bot := webhookstest.Day().Add(time.Hour), person("bot", domain.Bot)
	s := &story{}
	return s.then(
		conversation.Created{
			Account: domain.Account{ID: "a", Number: 1, Name: "n"}, Inbox: domain.Inbox{ID: "i", Number: 2, Name: "n", Channel: "web"},
			Channel: "web", Customer: person("c", domain.Customer), Subject: "s", Attributes: domain.Attributes{{Key: "x", Value: json.RawMessage(`"y"`)}},
		},
		conversation.MessagePosted{
			MessageID: "m1", Author: person("c", domain.Customer), Text: "t\x00\xff", ContentType: "text",
			ContentAttributes: domain.Attributes{{Key: "a", Value: json.RawMessage(`1`)}},
			Attachments: []conversation.Attachment{
				{FileType: "image", ContentType: "image/png", URL: "u", Name: "n", Extension: "png", Size: 3, Width: 4, Height: 5}, {URL: "v"},
			},
			Private: true, ReplyTo: "m0", ExternalID: "x1", Attributes: domain.Attributes{{Key: "b", Value: json.RawMessage(`true`)}},
		},
		conversation.MessagePosted{MessageID: "m2", Author: domain.Person{ID: "c"}, Text: "second", ContentType: "text"},
		conversation.MessageEdited{MessageID: "m2", Previous: "second", Text: "2nd", By: bot},
		conversation.MessagePosted{MessageID: "m3", Author: domain.Person{ID: "c"}, Text: "third", ContentType: "text"},
		conversation.MessageDeleted{MessageID: "m3", By: bot},
		conversation.Assigned{Agent: bot},
		conversation.AttributesChanged{Changes: []domain.Change{
			{Key: "priority", Previous: json.RawMessage(`null`), Current: json.RawMessage(`"high"`)},
			{Key: "labels", Previous: json.RawMessage(`[]`), Current: json.RawMessage(`["l1","l\"2"]`)},
			{Key: "team", Previous: json.RawMessage(`null`), Current: json.RawMessage(`{"id":"t","number":3,"name":"n"}`)},
		}},
		conversation.Closed{ClosedType: "solved"},
		conversation.StatusChanged{From: conversation.Open, To: conversation.Snoozed, SnoozedUntil: &until},
	)
}

// What is written by hand is what encoding/json makes of the same things, which
// is what the HTTP API answers with.
func TestShapesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, s := range []*story{full(), (&story{}).then(conversation.Created{Customer: domain.Person{ID: "c"}})} {
		// closed_at and closed_type are there although the status moved on.
		b := s.body(t, -1)
		same(t, "conversation", at(t, b, "data.conversation"), s.h.Conversation)
		messages := s.h.Messages
		if messages == nil {
			messages = []webhooks.Message{}
		}
		same(t, "items", at(t, b, "data.history.items"), messages)
	}
}

func TestEveryFactHasItsMembersInChange(t *testing.T) {
	t.Parallel()
	own := []string{"event_id", "position", "version", "previous_version", "actor", "message"}
	for name, e := range eventstore.Catalogue().Types() {
		if strings.HasPrefix(name, "endpoint.") {
			continue
		}
		members, ok := decoded(t, e).(map[string]any)
		if !ok {
			t.Fatalf("%s is no object", name)
		}
		for _, k := range own {
			if _, taken := members[k]; taken {
				t.Errorf("%s has a member %s, which is one of change itself", name, k)
			}
		}
		if strings.HasPrefix(name, "contact.") {
			continue
		}
		s := full().then(e.(conversation.Event))
		change, ok := at(t, s.body(t, 0), "data.change").(map[string]any)
		if !ok {
			t.Fatal("change is no object")
		}
		same(t, "version", change["version"], 11)
		same(t, "previous_version", change["previous_version"], 10)
		same(t, "position", change["position"], 111)
		same(t, "actor", change["actor"], "key:1")
		same(t, "event_id", change["event_id"], s.f.ID.String())
		if name == "conversation.message_posted" {
			same(t, "message", change["message"], s.h.Messages[len(s.h.Messages)-1])
			continue
		}
		for k, v := range members {
			same(t, name+" "+k, change[k], v)
		}
	}
}

func TestAnEditBearsTheMessageAsItIsNow(t *testing.T) {
	t.Parallel()
	s := full().then(conversation.MessageEdited{MessageID: "m2", Previous: "2nd", Text: "zweite", By: person("a", domain.Agent)})
	b := s.body(t, 1)
	same(t, "message", at(t, b, "data.change.message"), *s.h.Message("m2"))
	same(t, "previous", at(t, b, "data.change.previous"), "2nd")
	s.then(conversation.MessageDeleted{MessageID: "m2", By: person("a", domain.Agent)})
	b = s.body(t, 1)
	same(t, "tombstone", at(t, b, "data.change.message.text"), "")
	at(t, b, "data.change.message.deleted_at")
	// A message that nobody knows is none, and no reason to fail for ever.
	s.then(conversation.MessageDeleted{MessageID: "m9", By: person("a", domain.Agent)})
	same(t, "unknown", at(t, s.body(t, 1), "data.change.message"), nil)
}

func TestHistoryIsWhatTheEndpointAskedFor(t *testing.T) {
	t.Parallel()
	s := full() // messages of the versions 2, 3 and 5; the event has 10
	next := func(version int) string {
		_, id := eventstore.SplitStream(webhookstest.Stream(1))
		return fmt.Sprintf("/v1/conversations/%s/messages?before=%d", id, version)
	}
	for _, c := range []struct {
		last  int
		mode  string
		from  any
		items int
		next  any
	}{
		{-1, "full", 2, 3, nil},
		{0, "none", nil, 0, nil},
		{1, "last:1", 5, 1, next(5)},
		{2, "last:2", 3, 2, next(3)},
		{3, "last:3", 2, 3, nil},
		{100, "last:100", 2, 3, nil},
	} {
		h, ok := at(t, s.body(t, c.last), "data.history").(map[string]any)
		if !ok {
			t.Fatal("history is no object")
		}
		items, ok := h["items"].([]any)
		if !ok || len(items) != c.items {
			t.Errorf("%s: %d items", c.mode, len(items))
		}
		delete(h, "items")
		same(t, c.mode, h, map[string]any{
			"mode": c.mode, "from_version": c.from, "to_version": 10, "truncated": c.next != nil, "next": c.next,
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	s := long(10_000)
	raw, err := verbatim.New().AppendBody(nil, event(s.f, &s.h, -1))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) < verbatim.MaxHistoryBytes/2 || len(raw) > verbatim.MaxHistoryBytes+8<<10 {
		t.Errorf("%d bytes", len(raw))
	}
	b := s.body(t, -1)
	items, ok := at(t, b, "data.history.items").([]any)
	if !ok {
		t.Fatal("items are no list")
	}
	same(t, "truncated", at(t, b, "data.history.truncated"), true)
	first, last := items[0], items[len(items)-1]
	same(t, "from_version", at(t, b, "data.history.from_version"), at(t, first, "version"))
	same(t, "the newest is in it", at(t, last, "version"), 10_001)
	if next, ok := at(t, b, "data.history.next").(string); !ok || !strings.HasSuffix(next, fmt.Sprintf("?before=%v", int(at(t, first, "version").(float64)))) {
		t.Errorf("next: %v", next)
	}

	// One message that is larger than all goes alone.
	s.then(conversation.MessagePosted{MessageID: "big", Author: domain.Person{ID: "c"}, Text: strings.Repeat("x", 2*verbatim.MaxHistoryBytes)})
	if items, ok := at(t, s.body(t, -1), "data.history.items").([]any); !ok || len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
}

// long is a conversation with so many messages.
func long(n int) *story {
	s := (&story{}).then(conversation.Created{Customer: person("c", domain.Customer)})
	for i := range n {
		s.then(conversation.MessagePosted{
			MessageID: webhookstest.ID("mesg", i).String(), Author: person("c", domain.Customer),
			Text: "The quick brown fox jumps over the lazy dog.", ContentType: "text",
		})
	}
	return s
}

func TestContacts(t *testing.T) {
	t.Parallel()
	stream := "contact-" + webhookstest.ID("cont", 1).String()
	jon := person("jon", domain.Customer)
	for _, c := range []struct {
		e    contact.Event
		want domain.Person
	}{
		{contact.Created{Account: domain.Account{ID: "a"}, Profile: jon}, jon},
		{contact.Updated{Profile: jon}, jon},
		{contact.WidgetTriggered{Contact: jon, Conversation: "c"}, jon},
		{contact.Erased{By: domain.Person{ID: "s"}, Events: 3}, domain.Person{ID: webhookstest.ID("cont", 1).String(), Role: domain.Customer}},
	} {
		r := recorded(stream, 4, c.e)
		b := body(t, webhooks.Fact{Recorded: r, Event: c.e}, nil, -1)
		data, ok := b["data"].(map[string]any)
		if !ok || len(data) != 2 {
			t.Errorf("%s: data is %v", r.Type, data)
		}
		same(t, r.Type, data["contact"], c.want)
		change, ok := data["change"].(map[string]any)
		if !ok {
			t.Fatal("change is no object")
		}
		members, ok := decoded(t, c.e).(map[string]any)
		if !ok {
			t.Fatal("no object")
		}
		for k, v := range members {
			same(t, r.Type+" "+k, change[k], v)
		}
		same(t, "type", b["type"], r.Type)
		same(t, "timestamp", b["timestamp"], "2026-03-01T12:00:04.123Z")
	}
}

func TestThereIsNoActorWithoutMetadata(t *testing.T) {
	t.Parallel()
	s := full()
	s.f.Metadata = nil
	same(t, "actor", at(t, s.body(t, 0), "data.change.actor"), nil)
}

func TestOthersHaveNoBody(t *testing.T) {
	t.Parallel()
	r := recorded(webhookstest.Stream(1), 1, endpoint.Deleted{})
	if _, err := verbatim.New().AppendBody(nil, event(webhooks.Fact{Recorded: r, Event: endpoint.Deleted{}}, nil, -1)); err == nil {
		t.Error("a body for an endpoint")
	}
	r = recorded(webhookstest.Stream(1), 1, conversation.Closed{})
	if _, err := verbatim.New().AppendBody(nil, event(webhooks.Fact{Recorded: r, Event: conversation.Closed{}}, nil, -1)); err == nil {
		t.Error("a body without its conversation")
	}
}

func BenchmarkBody(b *testing.B) {
	for _, c := range []struct {
		name       string
		have, last int
	}{{"messages=10", 10, -1}, {"messages=10000", 10_000, -1}, {"messages=10000/last=10", 10_000, 10}} {
		b.Run(c.name, func(b *testing.B) {
			s := long(c.have)
			d := verbatim.New()
			body, err := d.AppendBody(nil, event(s.f, &s.h, c.last)) // warms the fragments
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				body, _ = d.AppendBody(body[:0], event(s.f, &s.h, c.last))
			}
		})
	}
}
