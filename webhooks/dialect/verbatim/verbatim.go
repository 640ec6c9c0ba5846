// Package verbatim writes our own format: the envelope of Standard Webhooks
// ({type, timestamp, data}) around the conversation as of the event, what
// changed, and the history of its messages.
//
// Every fact about a conversation or a contact is an event under its own name;
// facts about endpoints are nobody else's business. Private notes are in it and
// say so ("private": true): who subscribes to this format is trusted with the
// inbox. Every event bears the history that its endpoint asked for, those about
// typing among them, so that a receiver needs no memory.
package verbatim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "verbatim@1"

// MaxHistoryBytes bounds the messages in one body. Receivers and the proxies
// before them commonly take one or two megabytes; a body above that would never
// arrive, however often it is sent. A single message that is larger goes alone.
const MaxHistoryBytes = 1 << 20

// Dialect writes verbatim@1.
type Dialect struct{ vocabulary []webhooks.EventType }

// New returns the dialect.
func New() *Dialect {
	d := &Dialect{}
	for name := range eventstore.Catalogue().Types() {
		if strings.HasPrefix(name, "conversation.") || strings.HasPrefix(name, "contact.") {
			d.vocabulary = append(d.vocabulary, webhooks.EventType{Word: webhooks.Word{Name: name}, Facts: []string{name}})
		}
	}
	slices.SortFunc(d.vocabulary, func(a, b webhooks.EventType) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// Name returns "verbatim@1".
func (*Dialect) Name() string { return Name }

// Vocabulary returns the facts about conversations and contacts.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return "" }

// Words returns the fact's own name, if it is about a conversation or a contact.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	switch e.(type) {
	case conversation.Event, contact.Event:
		return []webhooks.Word{{Name: e.EventType()}}
	default:
		return nil
	}
}

// AppendBody appends the body of one event.
func (d *Dialect) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	dst = append(dst, `{"type":`...)
	dst = webhooks.AppendString(dst, e.Name)
	dst = append(dst, `,"timestamp":`...)
	dst = webhooks.AppendMillis(dst, e.Time)
	dst = append(dst, `,"data":`...)
	dst, err := AppendData(dst, e)
	if err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// AppendData appends the data of a body, which other envelopes may carry too.
func AppendData(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	var err error
	f, h := e.Fact, e.History
	switch event := f.Event.(type) {
	case conversation.Event:
		if h == nil {
			return dst, fmt.Errorf("%s: position %d: no conversation", Name, f.Position)
		}
		dst = append(dst, `{"conversation":`...)
		dst = appendConversation(dst, &h.Conversation)
		dst = append(dst, `,"change":`...)
		if dst, err = appendChange(dst, f, h); err != nil {
			return dst, err
		}
		dst = append(dst, `,"history":`...)
		dst = appendHistory(dst, f.Version, h, e.View)
	case contact.Event:
		dst = append(dst, `{"contact":`...)
		dst = appendPerson(dst, profile(f, event))
		dst = append(dst, `,"change":`...)
		if dst, err = appendChange(dst, f, nil); err != nil {
			return dst, err
		}
	default:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, f.Position, f.Type)
	}
	return append(dst, '}'), nil
}

// profile is the contact as of the event. Of one who was erased the id is left.
func profile(f webhooks.Fact, e contact.Event) domain.Person {
	switch e := e.(type) {
	case contact.Created:
		return e.Profile
	case contact.Updated:
		return e.Profile
	case contact.WidgetTriggered:
		return e.Contact
	case contact.Erased:
		_, id := eventstore.SplitStream(f.Stream)
		return domain.Person{ID: id, Role: domain.Customer}
	default:
		panic("verbatim: an event outside the closed set")
	}
}

// appendChange appends what the event changed: its place, who did it, and the
// fact's own members beside them. A message that was posted, edited or deleted
// is there as a whole, as it is now.
func appendChange(dst []byte, f webhooks.Fact, h *webhooks.History) ([]byte, error) {
	dst = append(dst, `{"event_id":"`...)
	dst = append(dst, f.ID.String()...)
	dst = append(dst, `","position":`...)
	dst = strconv.AppendInt(dst, f.Position, 10)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendInt(dst, f.Version, 10)
	dst = append(dst, `,"previous_version":`...)
	dst = strconv.AppendInt(dst, f.Version-1, 10)
	dst = append(dst, `,"actor":`...)
	dst = webhooks.AppendOptional(dst, f.DecodeMetadata().Actor)
	message := ""
	switch e := f.Event.(type) {
	case conversation.MessagePosted:
		// Its members are those of the message.
		dst = appendMessageOf(dst, h, e.MessageID)
		return append(dst, '}'), nil
	case conversation.MessageEdited:
		message = e.MessageID
	case conversation.MessageDeleted:
		message = e.MessageID
	}
	if message != "" {
		dst = appendMessageOf(dst, h, message)
	}
	// From the fact as it is decoded, not as it lies in the log: an old shape
	// was lifted to the present one.
	dst, err := appendMembers(dst, f.Event)
	if err != nil {
		return dst, fmt.Errorf("%s: position %d: %w", Name, f.Position, err)
	}
	return append(dst, '}'), nil
}

func appendMessageOf(dst []byte, h *webhooks.History, id string) []byte {
	dst = append(dst, `,"message":`...)
	m := h.Message(id)
	if m == nil {
		return append(dst, "null"...)
	}
	return appendMessage(dst, m)
}

// How the messages of a history are written: all of them, or without notes.
var (
	allMessages    = webhooks.Fragment{Key: Name, Separator: ",", Append: appendMessage}
	publicMessages = webhooks.Fragment{Key: Name + "/public", Separator: ",", Append: func(dst []byte, m *webhooks.Message) []byte {
		if m.Private {
			return dst
		}
		return appendMessage(dst, m)
	}}
)

// appendHistory appends the messages that the endpoint asked for. Versions are
// those of the first item, null if there is none, and of the event. If older
// messages were left out, by the number asked for or by MaxHistoryBytes,
// truncated says so and next is where to read them.
func appendHistory(dst []byte, version int64, h *webhooks.History, v webhooks.View) []byte {
	dst = append(dst, `{"mode":"`...)
	dst = append(dst, webhooks.View{Last: v.Last, Notes: true}.String()...)
	dst = append(dst, '"')
	messages := &allMessages
	if !v.Notes {
		messages = &publicMessages
	}
	items := h.Items(messages, v.Last, MaxHistoryBytes)
	dst = append(dst, `,"from_version":`...)
	from := int64(0)
	if items.Count > 0 {
		from = h.Messages[items.From].Version
		dst = strconv.AppendInt(dst, from, 10)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"to_version":`...)
	dst = strconv.AppendInt(dst, version, 10)
	dst = append(dst, `,"items":[`...)
	dst = append(dst, items.Bytes...)
	if items.Count > 0 && items.Left > 0 {
		dst = append(dst, `],"truncated":true,"next":"/v1/conversations/`...)
		dst = append(dst, h.Conversation.ID...)
		dst = append(dst, `/messages?before=`...)
		dst = strconv.AppendInt(dst, from, 10)
		return append(dst, `"}`...)
	}
	return append(dst, `],"truncated":false,"next":null}`...)
}
