package closer_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/closer"
	"verbatim/webhooks/webhookstest"
)

const fixture = "../../../tests/fixtures/closer-conversation.ndjson"

// The samples are Closer's own documentation: byte for byte, but for the white
// space between the members.
func TestFixtureIsTheSamplesByteForByte(t *testing.T) {
	t.Parallel()
	var names []string
	var bodies [][]byte
	for _, r := range webhookstest.Rendered(t, closer.New(), webhookstest.Facts(t, fixture), webhooks.FullView()) {
		names, bodies = append(names, r.Name), append(bodies, r.Body)
	}
	if diff := cmp.Diff([]string{closer.ThreadCreated, closer.ThreadClosed}, names); diff != "" {
		t.Fatal(diff)
	}
	for i, name := range names {
		sample, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Compact(&want, sample); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(bodies[i])); diff != "" {
			t.Errorf("%s (-sample +ours):\n%s", name, diff)
		}
	}
}

func TestOnlyTwoFactsHaveAWord(t *testing.T) {
	t.Parallel()
	d := closer.New()
	var words []string
	for _, e := range eventstore.Catalogue().Types() {
		for _, w := range d.Words(e) {
			words = append(words, w.Name)
		}
	}
	if len(words) != 2 {
		t.Fatalf("got %v", words)
	}
	for _, w := range d.Vocabulary() {
		if !strings.Contains(strings.Join(words, " "), w.Name) {
			t.Errorf("%s is in the vocabulary and no fact is it", w.Name)
		}
	}
	for _, e := range []domain.Event{contact.Created{}, endpoint.Deleted{}, conversation.TypingStarted{}} {
		if got := d.Words(e); got != nil {
			t.Errorf("%s: got %v", e.EventType(), got)
		}
	}
}

// story is a conversation made of events, a second apart.
type story struct {
	t *testing.T
	h webhooks.History
	f webhooks.Fact
}

func begin(t *testing.T, c conversation.Created) *story {
	t.Helper()
	return (&story{t: t}).then(c)
}

func (s *story) then(events ...conversation.Event) *story {
	for _, e := range events {
		n := s.h.Conversation.Version + 1
		r := &eventstore.Recorded{
			Position: n, Version: n, Stream: webhookstest.Stream(1), ID: webhookstest.ID("evnt", int(n)), Type: e.EventType(),
			Schema: 1, Time: webhookstest.Day().Add(time.Duration(n) * time.Second), Account: "acme",
		}
		s.h.Apply(r, e)
		s.f = webhooks.Fact{Recorded: r, Event: e}
	}
	return s
}

type body struct {
	Customer struct {
		ID             string
		APIKey         string `json:"apiKey"`
		FirstName      *string
		LastName       *string
		RandomName     string
		BackOfficeData []struct{ Key, Value string }
		Email, Phone   *string
	}
	Timestamp  int64
	ClosedType *string
	Assignee   *struct {
		ID                         string
		FirstName, LastName, Email *string
		IsBot                      bool
	}
	MessageHistory []struct {
		Author struct {
			ID, Role     string
			Email, Phone *string
		}
		Message   string
		Timestamp int64
	}
	EventType string
}

func (s *story) body() body {
	s.t.Helper()
	d := closer.New()
	names := d.Words(s.f.Event)
	if len(names) != 1 {
		s.t.Fatalf("%s: names %v", s.f.Type, names)
	}
	raw, err := d.AppendBody(nil, &webhooks.PublicEvent{Fact: s.f, Name: names[0].Name, History: &s.h})
	if err != nil {
		s.t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var b body
	if err := dec.Decode(&b); err != nil {
		s.t.Fatalf("%v in %s", err, raw)
	}
	if b.EventType != names[0].Name || b.Timestamp != s.f.Time.UnixMilli() {
		s.t.Errorf("got %s at %d", b.EventType, b.Timestamp)
	}
	return b
}

func customer() domain.Person { return domain.Person{ID: "cust-1", Role: domain.Customer} }

func TestUnknownIsNullAndNoneIsEmpty(t *testing.T) {
	t.Parallel()
	s := begin(t, conversation.Created{Customer: customer()}).then(conversation.Closed{})
	raw, err := closer.New().AppendBody(nil, &webhooks.PublicEvent{Fact: s.f, Name: closer.ThreadClosed, History: &s.h})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"firstName":null,"lastName":null,`, `"backOfficeData":[],"email":null,"phone":null}`,
		`"closedType":"solved","assignee":null,"messageHistory":[],"eventType":"ThreadClosedEvent"}`,
	} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

func TestIDsAreUUIDsForEver(t *testing.T) {
	t.Parallel()
	b := begin(t, conversation.Created{Customer: customer()}).body()
	other := begin(t, conversation.Created{Customer: domain.Person{ID: "cust-2"}}).body()
	// These are in bodies that were sent: they can never change.
	got := []string{b.Customer.ID, b.Customer.APIKey, b.Customer.RandomName}
	want := []string{"44d9217e-9ea2-5254-9810-ddc15555a8e8", "3a91d65e-d600-57ca-bb41-753e35079886", "Merry Elk"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b.Customer.ID == other.Customer.ID || b.Customer.APIKey == other.Customer.APIKey {
		t.Error("two customers share an id")
	}
	for _, id := range []string{b.Customer.ID, b.Customer.APIKey} {
		if u, err := uuid.Parse(id); err != nil || u.Version() != 5 {
			t.Errorf("%s is no UUIDv5", id)
		}
	}
}

func TestBackOfficeData(t *testing.T) {
	t.Parallel()
	var visit, known domain.Attributes
	parse(t, `{"referer":"https://x/?a=1&b","plan":"pro","seats":12,"vip":true,"nothing":null,"tags":["a","b"],
		"closer":{"a":1},"Talkus":{},"clarityflow":1,"chatwoot":2,"user_agent":"UA","my_own_key":"q\u00e4","ip":"::1"}`, &visit)
	parse(t, `{"plan":"free","nothing":"now","userAgent":"again","initiated_at":"t"}`, &known)
	c := customer()
	c.Attributes = known
	b := begin(t, conversation.Created{Customer: c, Attributes: visit}).body()
	var got []string
	for _, kv := range b.Customer.BackOfficeData {
		got = append(got, kv.Key+"="+kv.Value)
	}
	want := []string{
		"referer=https://x/?a=1&b", "plan=pro", "seats=12", "vip=true", `tags=["a","b"]`, "userAgent=UA", "my_own_key=qä", "ip=::1",
		"nothing=now", "initiatedAt=t",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func parse(t *testing.T, s string, a *domain.Attributes) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), a); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryIsAsOfTheEvent(t *testing.T) {
	t.Parallel()
	bot := domain.Person{ID: "bot", Role: domain.Bot, IsBot: true, Email: "bot@x"}
	agent := domain.Person{ID: "77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03", Role: domain.Agent, FirstName: "Bob", Phone: "+1"}
	post := func(id string, by domain.Person, text string, more ...func(*conversation.MessagePosted)) conversation.MessagePosted {
		m := conversation.MessagePosted{MessageID: id, Author: by, Text: text, ContentType: "text"}
		for _, f := range more {
			f(&m)
		}
		return m
	}
	renamed := customer()
	renamed.Email = "new@x"
	s := begin(t, conversation.Created{Customer: customer()}).then(
		post("1", customer(), "Hello \"you\"\n"),
		post("2", bot, "I am a bot"),
		post("3", agent, "to ourselves", func(m *conversation.MessagePosted) { m.Private = true }),
		post("4", agent, "wrogn"),
		post("5", agent, "said in anger"),
		post("6", customer(), "see", func(m *conversation.MessagePosted) {
			m.Attachments = []conversation.Attachment{{URL: "https://x/1.png"}, {URL: "https://x/2.png"}}
		}),
		post("7", customer(), "", func(m *conversation.MessagePosted) {
			m.Attachments = []conversation.Attachment{{URL: "https://x/3.png"}}
		}),
		conversation.Assigned{Agent: bot},
		conversation.CustomerUpdated{Customer: renamed},
		conversation.Closed{ClosedType: "inactive"},
	)
	texts := func(b body) (out []string) {
		for _, m := range b.MessageHistory {
			out = append(out, m.Author.Role+": "+m.Message)
		}
		return out
	}
	b := s.body()
	want := []string{
		"CUSTOMER: Hello \"you\"\n", "ADVISER: I am a bot", "ADVISER: wrogn", "ADVISER: said in anger",
		"CUSTOMER: see\nhttps://x/1.png\nhttps://x/2.png", "CUSTOMER: https://x/3.png",
	}
	if diff := cmp.Diff(want, texts(b)); diff != "" {
		t.Error(diff)
	}
	if *b.ClosedType != "inactive" || b.Assignee == nil || !b.Assignee.IsBot || b.Assignee.FirstName != nil || *b.Assignee.Email != "bot@x" {
		t.Errorf("got %s, %+v", *b.ClosedType, b.Assignee)
	}
	if b.Customer.Email == nil || *b.Customer.Email != "new@x" || b.MessageHistory[0].Author.Email != nil {
		t.Error("the customer is as of the event, an author as of the message")
	}

	// What is edited and deleted later changes a later body only.
	s.then(
		conversation.Reopened{By: agent},
		conversation.MessageEdited{MessageID: "4", Previous: "wrogn", Text: "wrong", By: agent},
		conversation.MessageDeleted{MessageID: "5", By: agent},
		conversation.Unassigned{Previous: bot},
		conversation.Closed{ClosedType: "solved"},
	)
	b = s.body()
	want = []string{
		"CUSTOMER: Hello \"you\"\n", "ADVISER: I am a bot", "ADVISER: wrong",
		"CUSTOMER: see\nhttps://x/1.png\nhttps://x/2.png", "CUSTOMER: https://x/3.png",
	}
	if diff := cmp.Diff(want, texts(b)); diff != "" {
		t.Error(diff)
	}
	if b.Assignee != nil {
		t.Errorf("got %+v", b.Assignee)
	}
}

func TestAConversationIsNeeded(t *testing.T) {
	t.Parallel()
	s := begin(t, conversation.Created{Customer: customer()})
	if _, err := closer.New().AppendBody(nil, &webhooks.PublicEvent{Fact: s.f, Name: closer.ThreadCreated}); err == nil {
		t.Error("a body without a conversation")
	}
	s.then(conversation.Reopened{})
	if _, err := closer.New().AppendBody(nil, &webhooks.PublicEvent{Fact: s.f, Name: closer.ThreadCreated, History: &s.h}); err == nil {
		t.Error("a body for a fact without a word")
	}
}

func BenchmarkClosed(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"messages=10", 10}, {"messages=1000", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			facts := webhookstest.Facts(b, fixture)
			var h webhooks.History
			for _, f := range facts[:2] {
				h.Apply(f.Recorded, f.Event.(conversation.Event))
			}
			for i := range c.n {
				f := facts[2+i%3]
				r := *f.Recorded
				r.Version = int64(3 + i)
				h.Apply(&r, f.Event.(conversation.Event))
			}
			closed := facts[5]
			h.Apply(closed.Recorded, closed.Event.(conversation.Event))
			d := closer.New()
			body, err := d.AppendBody(nil, &webhooks.PublicEvent{Fact: closed, Name: closer.ThreadClosed, History: &h}) // warms the fragments
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				body, _ = d.AppendBody(body[:0], &webhooks.PublicEvent{Fact: closed, Name: closer.ThreadClosed, History: &h})
			}
		})
	}
}
