package talkus_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/talkus"
	"verbatim/webhooks/webhookstest"
)

// BenchmarkBody measures the body of the next message of a conversation that is
// being had, beside a copy of the same bytes, which is the least that it could
// cost, and beside encoding/json from nothing.
func BenchmarkBody(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("messages=%d/next", n), func(b *testing.B) { benchmarkNext(b, n) })
		b.Run(fmt.Sprintf("messages=%d/copy", n), func(b *testing.B) {
			body := next(b, talkus.New(), nil, warm(b, talkus.New(), n))
			dst := make([]byte, 0, len(body))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				dst = append(dst[:0], body...)
			}
		})
		b.Run(fmt.Sprintf("messages=%d/encoding-json", n), func(b *testing.B) {
			h := warm(b, talkus.New(), n)
			body := next(b, talkus.New(), nil, h)
			var bodies []jsonBody
			if err := json.Unmarshal(body, &bodies); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := json.Marshal(fromNothing(&bodies[0], h)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchmarkNext takes conversations of n messages on by one each time. One of
// them serves while it has grown by less than a tenth; making others is not
// measured.
func benchmarkNext(b *testing.B, n int) {
	b.Helper()
	const together = 500 // bodies between two pauses of the clock, which cost more than a body
	uses := max(1, n/10)
	d := talkus.New()
	var histories []*webhooks.History
	body := next(b, d, nil, warm(b, d, n))
	body = make([]byte, 0, 2*len(body))
	at, size := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		if at == len(histories)*uses {
			b.StopTimer()
			histories, at = histories[:0], 0
			for range max(1, together/uses) {
				histories = append(histories, warm(b, d, n))
			}
			b.StartTimer()
		}
		body = next(b, d, body[:0], histories[at/uses])
		size = max(size, len(body))
		at++
	}
	b.SetBytes(int64(size))
	b.ReportMetric(float64(size), "bytes/body")
}

// next takes h on by a message and returns the body of that.
func next(tb testing.TB, d *talkus.Dialect, dst []byte, h *webhooks.History) []byte {
	tb.Helper()
	f := said(h.Conversation.Version + 1)
	h.Apply(f.Recorded, f.Event.(conversation.Event))
	e := webhooks.PublicEvent{Fact: f, Name: d.Words(f.Event)[0].Name, History: h}
	body, err := d.AppendBody(dst, &e)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// warm returns a conversation of n messages of which a body has been made.
func warm(tb testing.TB, d *talkus.Dialect, n int) *webhooks.History {
	tb.Helper()
	h := &webhooks.History{}
	created := conversation.Created{
		Customer: domain.Person{ID: "cust-1", Role: domain.Customer, Name: "Jon Snow", Email: "jon@x"},
		Attributes: domain.Attributes{
			{Key: "user_agent", Value: json.RawMessage(`"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_12_3)"`)},
			{Key: "current_page", Value: json.RawMessage(`"http://localhost:8080/"`)},
			{Key: "plan", Value: json.RawMessage(`"pro"`)},
		},
	}
	h.Apply(recorded(1, created), created)
	for v := range int64(n) {
		f := said(2 + v)
		h.Apply(f.Recorded, f.Event.(conversation.Event))
	}
	e := webhooks.PublicEvent{Fact: said(h.Conversation.Version), Name: talkus.MessageVisitor, History: h}
	if _, err := d.AppendBody(nil, &e); err != nil {
		tb.Fatal(err)
	}
	return h
}

// said is the message with that version: by the visitor and the agent in turn.
func said(version int64) webhooks.Fact {
	by := domain.Person{ID: "cust-1", Role: domain.Customer, Name: "Jon Snow", Email: "jon@x"}
	if version%2 == 0 {
		by = domain.Person{ID: "agent-1", Role: domain.Agent, Name: "Maurice Moss", Email: "moss@reynholm.com", AvatarURL: "https://x/moss.png"}
	}
	e := post(fmt.Sprint(version), by, "Have you tried turning it off and on again? It says \"no\".\nThat is what it says.")
	return webhooks.Fact{Recorded: recorded(version, e), Event: e}
}

func recorded(version int64, e domain.Event) *eventstore.Recorded {
	return &eventstore.Recorded{
		Position: version, Version: version, Stream: webhookstest.Stream(1), Type: e.EventType(), Schema: 1,
		Time: webhookstest.Day().Add(time.Duration(version) * time.Second), Account: "acme",
	}
}

// jsonBody is body with its members of any type as encoding/json writes them from
// structs.
type jsonBody struct {
	body

	Agent json.RawMessage `json:"agent"`
}

// fromNothing makes the body that encoding/json writes of a history: all that is
// constant is given.
func fromNothing(constant *jsonBody, h *webhooks.History) []jsonBody {
	b := *constant
	b.Messages = make([]message, 0, len(h.Messages))
	var transcript strings.Builder
	for i := range h.Messages {
		m := &h.Messages[i]
		if i > 0 {
			transcript.WriteByte('\n')
		}
		transcript.WriteString(m.Author.Name + ": " + m.Text)
		b.Messages = append(b.Messages, message{m.Author.Name, m.Author.AvatarURL, m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000Z"), m.Text})
	}
	b.Message = transcript.String()
	return []jsonBody{b}
}
