package webhookstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// BenchmarkBody measures the next body of a warm conversation with 1, 10, 100,
// 1,000 and 10,000 messages: one more message is applied, and behind it those
// events, and the last of them is rendered as the event of that name. Beside it
// stand a plain copy of the same bytes, and encoding/json, which encodes what
// equivalent returns for the event: a value that is the same JSON.
//
// All three write into a buffer that is there. ns/op is a body, and not the
// iteration that is counted; B/body is how many bytes it has.
func BenchmarkBody(
	b *testing.B, d webhooks.Dialect, name string, equivalent func(e *webhooks.PublicEvent) any, behind ...domain.Event,
) {
	b.Helper()
	for _, n := range []int{1, 10, 100, 1_000, 10_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			story := chat(b, n).Then(behind...)
			event := story.Event(name)
			body := Body(b, d, event)
			sameJSON(b, body, equivalent(event))
			b.Run("body", func(b *testing.B) { benchmarkNext(b, d, n, name, behind) })
			b.Run("copy", func(b *testing.B) {
				dst := make([]byte, 0, len(body))
				for b.Loop() {
					dst = append(dst[:0], body...)
				}
				b.ReportMetric(float64(len(dst)), "B/body")
			})
			b.Run("encoding-json", func(b *testing.B) {
				var dst bytes.Buffer
				for b.Loop() {
					dst.Reset()
					if err := json.NewEncoder(&dst).Encode(equivalent(event)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(dst.Len()), "B/body")
			})
		})
	}
}

// benchmarkNext takes the time itself: of a conversation while it grows by a
// tenth, in which the memory that it needs now and then has its share, and of as
// many that are short as make up one of a thousand messages. Beginning them anew
// does not count.
func benchmarkNext(b *testing.B, d webhooks.Dialect, n int, name string, behind []domain.Event) {
	b.Helper()
	const long = 1_000
	var (
		stories = make([]*Story, max(1, long/n))
		body    []byte
		bodies  int
		spent   time.Duration
	)
	render := func(s *Story) {
		var err error
		if body, err = d.AppendBody(body[:0], s.Event(name)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for i := range stories {
			stories[i] = chat(b, n-1).Then(behind...)
			render(stories[i])
		}
		start := time.Now()
		for i := range max(1, n/10) {
			for _, s := range stories {
				s.Then(line(n + i)).Then(behind...)
				render(s)
				bodies++
			}
		}
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(bodies), "ns/op")
	b.ReportMetric(float64(len(body)), "B/body")
}

// chat is a conversation with n messages.
func chat(tb testing.TB, n int) *Story {
	tb.Helper()
	s := Tell(tb, conversation.Created{
		Account: domain.Account{ID: "acme", Number: 1, Name: "Acme"}, Inbox: domain.Inbox{ID: "web", Number: 1, Name: "Website"},
		Channel: "web", Customer: talker(0), Subject: "Boots",
	})
	for i := range n {
		s.Then(line(i))
	}
	return s
}

// talker is the customer, or the agent.
func talker(i int) domain.Person {
	if i%2 == 0 {
		return domain.Person{
			ID: ID("cust", 1).String(), Role: domain.Customer, Number: 7, Name: "Mia Berger", FirstName: "Mia", LastName: "Berger",
			Email: "mia@example.com", Phone: "+49301234567",
		}
	}
	return domain.Person{
		ID: ID("agnt", 1).String(), Role: domain.Agent, Name: "Tom Ode", FirstName: "Tom", LastName: "Ode", Email: "tom@example.com",
	}
}

// line is message i of a chat.
func line(i int) conversation.MessagePosted {
	texts := []string{
		"Hello! Do you have these boots in red?",
		"We do. They are in the shop on Main Street, and I can have them sent to you by Thursday.",
		"Thursday is fine. \"Red\" as on the second picture?",
		"Exactly that one.",
	}
	return conversation.MessagePosted{
		MessageID: ID("mesg", i).String(), Author: talker(i), Text: texts[i%len(texts)], ContentType: "text",
	}
}

// sameJSON fails the benchmark unless value encodes to the JSON that body is.
func sameJSON(tb testing.TB, body []byte, value any) {
	tb.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(body, &want); err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(encoded, &got); err != nil {
		tb.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) {
		tb.Fatalf("another JSON is encoded than is rendered:\n%s\n%s", encoded[:min(len(encoded), 4096)], body[:min(len(body), 4096)])
	}
}
