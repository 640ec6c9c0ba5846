package chatwoot_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/chatwoot"
	"verbatim/webhooks/webhookstest"
)

// BenchmarkBody measures the body of the newest message of a conversation, and
// the transcript of one that is being had: it has been closed before, and one
// message more is new in it. Beside the transcript stand a copy of the same
// bytes, which is the least that it could cost, and encoding/json of the same
// members from nothing.
func BenchmarkBody(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("messages=%d/message_created", n), func(b *testing.B) {
			h, last := long(n)
			measure(b, &webhooks.PublicEvent{Fact: last, Name: chatwoot.MessageCreated, History: h, View: webhooks.FullView()})
		})
		b.Run(fmt.Sprintf("messages=%d/transcript", n), func(b *testing.B) { benchmarkTranscript(b, n) })
		b.Run(fmt.Sprintf("messages=%d/transcript-copy", n), func(b *testing.B) {
			body := transcript(b, n)
			dst := make([]byte, 0, len(body))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				dst = append(dst[:0], body...)
			}
		})
		b.Run(fmt.Sprintf("messages=%d/transcript-encoding-json", n), func(b *testing.B) {
			var rest jsonTranscript
			body := transcript(b, n)
			if err := json.Unmarshal(body, &rest); err != nil {
				b.Fatal(err)
			}
			h, _ := long(n)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(fromNothing(rest, h)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func measure(b *testing.B, e *webhooks.PublicEvent) {
	b.Helper()
	d := chatwoot.New()
	body, err := d.AppendBody(nil, e)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		body, _ = d.AppendBody(body[:0], e)
	}
}

// benchmarkTranscript takes conversations of n messages on by one each time. One
// of them serves while it has grown by less than a tenth; making others is not
// measured.
func benchmarkTranscript(b *testing.B, n int) {
	b.Helper()
	const together = 200 // bodies between two pauses of the clock, which cost more than a body
	uses := max(1, n/10)
	d := chatwoot.New()
	warm := func() *webhooks.History {
		h, _ := long(n)
		next(b, d, nil, h)
		return h
	}
	var histories []*webhooks.History
	body := make([]byte, 0, 2*len(transcript(b, n)))
	at, size := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		if at == len(histories)*uses {
			b.StopTimer()
			histories, at = histories[:0], 0
			for range max(1, together/uses) {
				histories = append(histories, warm())
			}
			b.StartTimer()
		}
		body = next(b, d, body[:0], histories[at/uses])
		size = max(size, len(body))
		at++
	}
	b.SetBytes(int64(size))
}

func transcript(tb testing.TB, n int) []byte {
	tb.Helper()
	h, _ := long(n)
	return next(tb, chatwoot.New(), nil, h)
}

// next takes h on by a message and by being closed, and returns the transcript.
func next(tb testing.TB, d *chatwoot.Dialect, dst []byte, h *webhooks.History) []byte {
	tb.Helper()
	apply(h, said(int(h.Conversation.Version)))
	f := apply(h, conversation.Closed{From: conversation.Open, ClosedType: "solved"})
	body, err := d.AppendBody(dst, &webhooks.PublicEvent{Fact: f, Name: chatwoot.ConversationTranscript, History: h, View: webhooks.FullView()})
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// long returns a conversation of n messages, and the last of them.
func long(n int) (*webhooks.History, webhooks.Fact) {
	h := &webhooks.History{}
	c := created()
	c.Attributes = domain.Attributes{
		{Key: "browser_name", Value: raw(`"Firefox"`)}, {Key: "referer", Value: raw(`"https://shop.example.com/"`)}, {Key: "plan", Value: raw(`"pro"`)},
	}
	apply(h, c)
	last := apply(h, conversation.Assigned{Agent: agent()})
	for i := range n {
		last = apply(h, said(i))
	}
	return h, last
}

func apply(h *webhooks.History, e conversation.Event) webhooks.Fact {
	v := h.Conversation.Version + 1
	r := &eventstore.Recorded{
		Position: v, Version: v, Stream: webhookstest.Stream(1), Type: e.EventType(), Schema: 1,
		Time: webhookstest.Day().Add(time.Duration(v) * time.Second), Account: "acme",
	}
	h.Apply(r, e)
	return webhooks.Fact{Recorded: r, Event: e}
}

// said is a message by the customer and the agent in turn.
func said(i int) conversation.MessagePosted {
	by := customer()
	if i%2 == 1 {
		by = agent()
	}
	return post(fmt.Sprint(i), by, "Have you tried turning it off and on again? It says \"no\".\nThat is what it says.")
}

// jsonTranscript is a transcript as encoding/json writes it from structs: what
// does not grow with the conversation is there already.
type jsonTranscript struct {
	AdditionalAttributes json.RawMessage `json:"additional_attributes"`
	CanReply             bool            `json:"can_reply"`
	Channel              string          `json:"channel"`
	ContactInbox         json.RawMessage `json:"contact_inbox"`
	ID                   int64           `json:"id"`
	InboxID              int64           `json:"inbox_id"`
	Messages             json.RawMessage `json:"messages"`
	Labels               []string        `json:"labels"`
	Meta                 json.RawMessage `json:"meta"`
	Status               string          `json:"status"`
	CustomAttributes     json.RawMessage `json:"custom_attributes"`
	SnoozedUntil         *string         `json:"snoozed_until"`
	UnreadCount          int64           `json:"unread_count"`
	FirstReplyCreatedAt  *string         `json:"first_reply_created_at"`
	Priority             *string         `json:"priority"`
	WaitingSince         int64           `json:"waiting_since"`
	AgentLastSeenAt      int64           `json:"agent_last_seen_at"`
	ContactLastSeenAt    int64           `json:"contact_last_seen_at"`
	LastActivityAt       int64           `json:"last_activity_at"`
	Timestamp            int64           `json:"timestamp"`
	CreatedAt            int64           `json:"created_at"`
	UpdatedAt            float64         `json:"updated_at"`
	Account              json.RawMessage `json:"account"`
	Transcript           []jsonMessage   `json:"transcript"`
	Revision             int             `json:"revision"`
	Event                string          `json:"event"`
}

type jsonMessage struct {
	ID                int64          `json:"id"`
	Content           *string        `json:"content"`
	AccountID         int64          `json:"account_id"`
	InboxID           int64          `json:"inbox_id"`
	ConversationID    int64          `json:"conversation_id"`
	MessageType       int            `json:"message_type"`
	CreatedAt         int64          `json:"created_at"`
	UpdatedAt         string         `json:"updated_at"`
	Private           bool           `json:"private"`
	Status            string         `json:"status"`
	SourceID          *string        `json:"source_id"`
	ContentType       string         `json:"content_type"`
	ContentAttributes map[string]any `json:"content_attributes"`
	SenderType        string         `json:"sender_type"`
	SenderID          int64          `json:"sender_id"`
	External          struct{}       `json:"external_source_ids"`
	Additional        struct{}       `json:"additional_attributes"`
	Processed         *string        `json:"processed_message_content"`
	Sentiment         struct{}       `json:"sentiment"`
	Sender            any            `json:"sender"`
}

type jsonContact struct {
	Additional struct{} `json:"additional_attributes"`
	Custom     struct{} `json:"custom_attributes"`
	Email      *string  `json:"email"`
	ID         int64    `json:"id"`
	Identifier *string  `json:"identifier"`
	Name       string   `json:"name"`
	Phone      *string  `json:"phone_number"`
	Thumbnail  string   `json:"thumbnail"`
	Blocked    bool     `json:"blocked"`
	Type       string   `json:"type"`
}

type jsonUser struct {
	ID            int64   `json:"id"`
	Name          string  `json:"name"`
	AvailableName string  `json:"available_name"`
	AvatarURL     string  `json:"avatar_url"`
	Type          string  `json:"type"`
	Availability  *string `json:"availability_status"`
	Thumbnail     string  `json:"thumbnail"`
}

// fromNothing makes the transcript of a history.
func fromNothing(rest jsonTranscript, h *webhooks.History) jsonTranscript {
	rest.Transcript = make([]jsonMessage, 0, len(h.Messages))
	for i := range h.Messages {
		m := &h.Messages[i]
		out := jsonMessage{
			ID: m.Number, Content: &m.Text, AccountID: 4, InboxID: 5, ConversationID: h.Conversation.Number,
			CreatedAt: m.CreatedAt.Unix(), UpdatedAt: m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z"), Private: m.Private,
			Status: "sent", ContentType: m.ContentType, ContentAttributes: map[string]any{}, SenderID: m.Author.Number, Processed: &m.Text,
		}
		if m.Author.Role == domain.Customer {
			out.ContentAttributes["in_reply_to"] = nil
			out.SenderType = "Contact"
			out.Sender = jsonContact{Email: &m.Author.Email, ID: m.Author.Number, Name: m.Author.Name, Thumbnail: m.Author.AvatarURL, Type: "contact"}
		} else {
			out.MessageType, out.SenderType = 1, "User"
			out.Sender = jsonUser{
				ID: m.Author.Number, Name: m.Author.Name, AvailableName: m.Author.Name, AvatarURL: m.Author.AvatarURL,
				Type: "user", Thumbnail: m.Author.AvatarURL,
			}
		}
		rest.Transcript = append(rest.Transcript, out)
	}
	return rest
}

// What the benchmark compares with is the same body.
func TestTheBenchmarkComparesEqualBodies(t *testing.T) {
	t.Parallel()
	body := transcript(t, 9)
	var rest jsonTranscript
	if err := json.Unmarshal(body, &rest); err != nil {
		t.Fatal(err)
	}
	h, _ := long(9)
	next(t, chatwoot.New(), nil, h)
	same, err := json.Marshal(fromNothing(rest, h))
	if err != nil {
		t.Fatal(err)
	}
	if string(same) != string(body) {
		t.Errorf("%s\nis not\n%s", same, body)
	}
}
