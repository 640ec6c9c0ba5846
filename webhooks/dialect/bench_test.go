package dialect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/shape"
)

// BenchmarkDialects measures, for every event of every dialect that bears
// messages, the next body of a warm conversation with 1, 10, 100, 1,000 and
// 10,000 messages: one more message is posted, the event happens behind it, and
// is rendered in full view into a buffer that is there. Beside it stand two
// references, which write the same bytes into the same kind of buffer:
//
//   - copy, the least that a body can cost;
//   - encoding-json, which encodes the body decoded once into Go structs with
//     the members, order and types of the vocabulary's shape. It is not charged
//     for filling them from a history.
//
// B/body is how many bytes the body has.
func BenchmarkDialects(b *testing.B) {
	for _, d := range every() {
		for i := range d.types {
			event := &d.types[i]
			how, ok := occasionOf(d, event.Name)
			if !ok {
				continue
			}
			for _, n := range []int{1, 10, 100, 1_000, 10_000} {
				b.Run(fmt.Sprintf("dialect=%s/event=%s/messages=%d", d.Name(), event.Name, n), func(b *testing.B) {
					body, err := warm(how, n, 1).next(nil)
					if err == nil {
						err = d.check(event.Name, body)
					}
					if err != nil {
						b.Fatal(err)
					}
					b.Run("body", func(b *testing.B) { benchmarkNext(b, how, n) })
					b.Run("copy", func(b *testing.B) {
						b.ReportAllocs()
						dst := make([]byte, 0, len(body))
						for b.Loop() {
							dst = append(dst[:0], body...)
						}
						b.ReportMetric(float64(len(dst)), "B/body")
					})
					b.Run("encoding-json", func(b *testing.B) { benchmarkJSON(b, &event.Body, body) })
				})
			}
		}
	}
}

// benchmarkNext takes warm conversations on. One of them serves until it has
// grown by a hundredth; making others is not measured.
func benchmarkNext(b *testing.B, how occasion, n int) {
	b.Helper()
	const together = 500 // bodies between two pauses of the clock, which cost more than a body
	uses := max(1, n/100)
	body, err := warm(how, n, 1).next(nil)
	if err != nil {
		b.Fatal(err)
	}
	body = make([]byte, 0, 2*len(body))
	var chats []*chat
	used := 0
	b.ReportAllocs()
	for b.Loop() {
		if used == len(chats)*uses {
			b.StopTimer()
			chats, used = chats[:0], 0
			for range max(1, together/uses) {
				chats = append(chats, warm(how, n, uses))
			}
			b.StartTimer()
		}
		if body, err = chats[used/uses].next(body[:0]); err != nil {
			b.Fatal(err)
		}
		used++
	}
	b.ReportMetric(float64(len(body)), "B/body")
}

// benchmarkJSON encodes a body of that shape anew.
func benchmarkJSON(b *testing.B, s *shape.Shape, body []byte) {
	b.Helper()
	value := reflect.New(typeOf(s))
	var dst bytes.Buffer
	if err := json.Unmarshal(body, value.Interface()); err != nil {
		b.Fatal(err)
	}
	encode := func() {
		dst.Reset()
		if err := json.NewEncoder(&dst).Encode(value.Interface()); err != nil {
			b.Fatal(err)
		}
	}
	encode()
	var want, got any
	if err := errors.Join(json.Unmarshal(body, &want), json.Unmarshal(dst.Bytes(), &got)); err != nil {
		b.Fatal(err)
	}
	if !reflect.DeepEqual(want, got) {
		b.Fatalf("another JSON is encoded than is rendered:\n%s\n%s", short(dst.Bytes()), short(body))
	}
	b.ReportAllocs()
	for b.Loop() {
		encode()
	}
	b.ReportMetric(float64(dst.Len()), "B/body")
}

// typeOf returns the Go type that somebody would declare for a shape: structs
// with their members in order, pointers to what may be null or left out, maps
// where members are not known beforehand, any where the type is not.
func typeOf(s *shape.Shape) reflect.Type {
	var t reflect.Type
	switch {
	case len(s.OneOf) > 0, s.Kind == shape.Any, s.Kind == shape.Null:
		return reflect.TypeFor[any]()
	case s.Kind == shape.Boolean:
		t = reflect.TypeFor[bool]()
	case s.Kind == shape.Integer:
		t = reflect.TypeFor[int64]()
	case s.Kind == shape.Number:
		t = reflect.TypeFor[float64]()
	case s.Kind == shape.String:
		t = reflect.TypeFor[string]()
	case s.Kind == shape.Array && s.Items != nil:
		t = reflect.SliceOf(typeOf(s.Items))
	case s.Kind == shape.Array:
		t = reflect.TypeFor[[]any]()
	case len(s.Members) == 0 && s.Rest != nil:
		t = reflect.MapOf(reflect.TypeFor[string](), typeOf(s.Rest))
	case s.Rest != nil:
		t = reflect.TypeFor[map[string]any]()
	default:
		fields := make([]reflect.StructField, len(s.Members))
		for i := range s.Members {
			m := &s.Members[i]
			fields[i] = reflect.StructField{Name: fmt.Sprint("F", i), Type: typeOf(&m.Shape), Tag: reflect.StructTag(fmt.Sprintf("json:%q", m.Name))}
			if m.Optional {
				fields[i].Type = reflect.PointerTo(fields[i].Type)
				fields[i].Tag = reflect.StructTag(fmt.Sprintf("json:%q", m.Name+",omitempty"))
			}
		}
		t = reflect.StructOf(fields)
	}
	if s.Nullable {
		return reflect.PointerTo(t)
	}
	return t
}

// An occasion is how an event of a dialect comes about: this person says
// something, and this happens behind it; nothing does if what they said is it.
type occasion struct {
	dialect speaker
	name    string
	author  domain.Person
	behind  []domain.Event
}

// occasionOf reports false for an event that bears no messages, or that no
// conversation has twice.
func occasionOf(d speaker, name string) (occasion, bool) {
	spoken := func(e domain.Event) bool {
		return slices.ContainsFunc(d.Words(e), func(w webhooks.Word) bool { return w.Name == name })
	}
	how := occasion{dialect: d, name: name, author: customer()}
	for _, author := range []domain.Person{customer(), agent()} {
		if spoken(posted("", author, "x")) {
			how.author = author
			return how, how.bearsMessages()
		}
	}
	for _, e := range conversationEvents()[1:] {
		if spoken(e) {
			how.behind = []domain.Event{e}
			return how, how.bearsMessages()
		}
	}
	return how, false
}

func (how occasion) bearsMessages() bool {
	body, err := warm(how, 3, 1).next(nil)
	return err == nil && slices.ContainsFunc([]string{spoken(1), spoken(3), edited}, func(text string) bool {
		return bytes.Contains(body, []byte(text))
	})
}

// edited is what a message says that was edited, and spoken what message i says,
// of the length that most have.
const edited = "Let me look!"

func spoken(i int) string {
	return fmt.Sprintf("Message %d: the quick brown fox jumps over the lazy dog, as ever. Does it not?", i)
}

// A chat is a conversation that goes on as it is laid down beforehand: what
// happens next is not made while it is measured.
type chat struct {
	occasion

	subject subject
	turns   [][]webhooks.Fact // a body each
}

// warm returns a conversation of which a body was rendered, and whose next bodies,
// so many, are those of a conversation with n messages, n+1 messages and so on.
func warm(how occasion, n, turns int) *chat {
	c := &chat{occasion: how}
	people := []domain.Person{customer(), agent()}
	version := int64(0)
	record := func(e domain.Event) webhooks.Fact {
		version++
		f := recorded(e)[0]
		f.Position, f.Version, f.Time = version, version, f.Time.Add(time.Duration(version)*time.Second)
		return f
	}
	turn := func(i int, author domain.Person) []webhooks.Fact {
		facts := []webhooks.Fact{record(posted(fmt.Sprint("m", i), author, spoken(i)))}
		if i >= n-1 {
			for _, e := range how.behind {
				facts = append(facts, record(naming(e, fmt.Sprint("m", i))))
			}
		}
		return facts
	}
	last := record(conversationEvents()[0])
	c.subject.apply(last)
	for i := 1; i < n; i++ {
		for _, last = range turn(i, people[i%len(people)]) {
			c.subject.apply(last)
		}
	}
	_, _ = c.dialect.AppendBody(nil, c.subject.event(last, c.name, webhooks.FullView())) // there may be no word for it
	for i := range turns {
		c.turns = append(c.turns, turn(n+i, how.author))
	}
	return c
}

// next takes the conversation on and appends the body.
func (c *chat) next(dst []byte) ([]byte, error) {
	turn := c.turns[0]
	c.turns = c.turns[1:]
	for _, f := range turn {
		c.subject.apply(f)
	}
	return c.dialect.AppendBody(dst, c.subject.event(turn[len(turn)-1], c.name, webhooks.FullView()))
}

// naming returns e about another message, if it is about one.
func naming(e domain.Event, id string) domain.Event {
	switch told := e.(type) {
	case conversation.MessageEdited:
		told.MessageID = id
		return told
	case conversation.MessageDeleted:
		told.MessageID = id
		return told
	case conversation.MessagePlayed:
		told.MessageID = id
		return told
	default:
		return e
	}
}
