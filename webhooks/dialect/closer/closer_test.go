package closer_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"

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

func TestSamples(t *testing.T) {
	t.Parallel()
	webhookstest.CompareSamples(t, closer.New(), "samples", "../../../tests/fixtures")
}

// The samples are Closer's own documentation: byte for byte, but for the white
// space between the members.
func TestFixtureIsTheSamplesByteForByte(t *testing.T) {
	t.Parallel()
	d := closer.New()
	bodies := webhookstest.Rendered(t, d, webhookstest.Facts(t, fixture), webhooks.FullView())
	if len(bodies) != len(d.Vocabulary()) {
		t.Fatalf("%d bodies", len(bodies))
	}
	for i, e := range d.Vocabulary() {
		var want bytes.Buffer
		if err := json.Compact(&want, e.Sample); err != nil {
			t.Fatalf("%s: %v in %s", e.Name, err, e.Sample)
		}
		if diff := cmp.Diff(want.String(), string(bodies[i].Body)); diff != "" || bodies[i].Name != e.Name {
			t.Errorf("%s, want %s (-sample +ours):\n%s", bodies[i].Name, e.Name, diff)
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

// render returns the body of the end of the story.
func render(t *testing.T, s *webhookstest.Story) body {
	t.Helper()
	names := s.Names(closer.New())
	if len(names) != 1 {
		t.Fatalf("%s: names %v", s.Fact.Type, names)
	}
	raw := s.Body(closer.New(), names[0])
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var b body
	if err := dec.Decode(&b); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if b.EventType != names[0] || b.Timestamp != s.Fact.Time.UnixMilli() {
		t.Errorf("got %s at %d", b.EventType, b.Timestamp)
	}
	return b
}

func customer() domain.Person { return domain.Person{ID: "cust-1", Role: domain.Customer} }

func TestUnknownIsNullAndNoneIsEmpty(t *testing.T) {
	t.Parallel()
	raw := webhookstest.Tell(t, conversation.Created{Customer: customer()}, conversation.Closed{}).Body(closer.New(), closer.ThreadClosed)
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
	b := render(t, webhookstest.Tell(t, conversation.Created{Customer: customer()}))
	other := render(t, webhookstest.Tell(t, conversation.Created{Customer: domain.Person{ID: "cust-2"}}))
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
	b := render(t, webhookstest.Tell(t, conversation.Created{Customer: c, Attributes: visit}))
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

func parse(tb testing.TB, s string, v any) {
	tb.Helper()
	if err := json.Unmarshal([]byte(s), v); err != nil {
		tb.Fatal(err)
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
	s := webhookstest.Tell(t, conversation.Created{Customer: customer()},
		post("1", customer(), "Hello \"you\"\n"),
		post("2", bot, "I am a bot"),
		post("3", agent, "to ourselves", func(m *conversation.MessagePosted) { m.Private = true }),
		post("4", agent, "wrogn"),
		post("5", agent, "said in anger"),
		post("6", customer(), "see", func(m *conversation.MessagePosted) {
			m.Attachments = []conversation.Attachment{{URL: "https://x/1.png"}, {URL: "https://x/2.png"}}
		}),
		post("8", domain.Person{ID: "system", Role: domain.System}, "Moved to another team"),
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
	b := render(t, s)
	want := []string{
		"CUSTOMER: Hello \"you\"\n", "ADVISER: I am a bot", "ADVISER: wrogn", "ADVISER: said in anger",
		"CUSTOMER: see\nhttps://x/1.png\nhttps://x/2.png", "ADVISER: Moved to another team", "CUSTOMER: https://x/3.png",
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
	s.Then(
		conversation.Reopened{By: agent},
		conversation.MessageEdited{MessageID: "4", Previous: "wrogn", Text: "wrong", By: agent},
		conversation.MessageDeleted{MessageID: "5", By: agent},
		conversation.Unassigned{Previous: bot},
		conversation.Closed{ClosedType: "solved"},
	)
	b = render(t, s)
	want = []string{
		"CUSTOMER: Hello \"you\"\n", "ADVISER: I am a bot", "ADVISER: wrong",
		"CUSTOMER: see\nhttps://x/1.png\nhttps://x/2.png", "ADVISER: Moved to another team", "CUSTOMER: https://x/3.png",
	}
	if diff := cmp.Diff(want, texts(b)); diff != "" {
		t.Error(diff)
	}
	if b.Assignee != nil {
		t.Errorf("got %+v", b.Assignee)
	}
}

func TestGivenValuesKeepTheirType(t *testing.T) {
	t.Parallel()
	for given, want := range map[string][2]string{
		`{"apiKey":"9c0a4f3e-5f0e-4a38-8a62-0a0f7d3b1c02","randomName":"Frosty Wolf"}`: {"9c0a4f3e-5f0e-4a38-8a62-0a0f7d3b1c02", "Frosty Wolf"},
		`{"apiKey":"key","randomName":7}`:                                              {webhooks.AsUUID("key"), "Merry Elk"},
		`{"apiKey":["a"],"randomName":""}`:                                             {"3a91d65e-d600-57ca-bb41-753e35079886", "Merry Elk"},
		`"none"`:                                                                       {"3a91d65e-d600-57ca-bb41-753e35079886", "Merry Elk"},
	} {
		c := customer()
		c.Attributes = domain.Attributes{{Key: "closer", Value: json.RawMessage(given)}, {Key: "nothing"}}
		b := render(t, webhookstest.Tell(t, conversation.Created{Customer: c}))
		if got := [2]string{b.Customer.APIKey, b.Customer.RandomName}; got != want || len(b.Customer.BackOfficeData) != 0 {
			t.Errorf("%s: got %v and %v, want %v", given, got, b.Customer.BackOfficeData, want)
		}
	}
}

// Room is made once, for all there is: a body that had to be moved while it grew
// would end in a quarter more.
func TestABodyGrowsOnce(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: customer()})
	for i := range 500 {
		s.Then(conversation.MessagePosted{MessageID: strconv.Itoa(i), Author: customer(), Text: strings.Repeat("x", 500)})
	}
	body := s.Then(conversation.Closed{}).Body(closer.New(), closer.ThreadClosed)
	if spare := cap(body) - len(body); spare > len(body)/8 {
		t.Errorf("%d bytes, and room for %d more", len(body), spare)
	}
}

func TestAConversationIsNeeded(t *testing.T) {
	t.Parallel()
	s := webhookstest.Tell(t, conversation.Created{Customer: customer()})
	e := s.Event(closer.ThreadCreated)
	e.History = nil
	if _, err := closer.New().AppendBody(nil, e); err == nil {
		t.Error("a body without a conversation")
	}
	s.Then(conversation.Reopened{})
	if _, err := closer.New().AppendBody(nil, s.Event(closer.ThreadCreated)); err == nil {
		t.Error("a body for a fact without a word")
	}
}
