// Package verbatim writes our own format: the envelope of Standard Webhooks
// ({type, timestamp, data}) around the conversation as of the event, what
// changed, and the history of its messages.
//
// Every fact about a conversation or a contact is an event under its own name.
// Of the facts about endpoints those are events that an operator watches for, and
// only for endpoints that ask for them. Private notes are in it and
// say so ("private": true), unless the endpoint asked for none. Every event
// bears the history that its endpoint asked for, those about typing among them,
// so that a receiver needs no memory.
package verbatim

import (
	_ "embed" // of the guide
	"fmt"
	"slices"
	"strconv"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "verbatim@1"

// Transcript is the name under which a conversation that was closed is sent once
// more, with all its messages, to an endpoint that asks for it.
const Transcript = "conversation.transcript"

// MaxHistoryBytes bounds the messages in one body. Receivers and the proxies
// before them commonly take one or two megabytes; a body above that would never
// arrive, however often it is sent. A single message that is larger goes alone.
const MaxHistoryBytes = 1 << 20

// frame is what a body commonly has beside its history, in bytes: room is made
// for both at once. A body with more is no worse than slower.
const frame = 4 << 10

// historyFrame is more than a body ever has beside the messages from where its
// history begins: names, numbers, and where to read on.
const historyFrame = 512

// Dialect writes verbatim@1.
type Dialect struct{ vocabulary []webhooks.EventType }

// New returns the dialect.
func New() *Dialect { return &Dialect{vocabulary()} }

// Name returns "verbatim@1".
func (*Dialect) Name() string { return Name }

// Vocabulary returns the facts about conversations, contacts and endpoints that
// are sent, and Transcript.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

//go:embed guide.md
var guide string

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// Words returns the fact's own name, if it is one that is sent, and behind it the
// one that only some ask for. What was done to an endpoint's settings and secrets
// is for its own account to read, and for nobody to be sent.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	switch e.(type) {
	case conversation.Closed:
		return []webhooks.Word{{Name: e.EventType()}, {Name: Transcript, OptIn: true}}
	case conversation.Event, contact.Event:
		return []webhooks.Word{{Name: e.EventType()}}
	case endpoint.Disabled, endpoint.Enabled, endpoint.Failing, endpoint.Recovered, endpoint.Exhausted, endpoint.Deleted:
		return []webhooks.Word{{Name: e.EventType(), OptIn: true}}
	default:
		return nil
	}
}

// AppendBody appends the body of one event.
func (*Dialect) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	start := len(dst)
	dst = append(dst, `{"type":`...)
	dst = webhooks.AppendString(dst, e.Name)
	dst = append(dst, `,"timestamp":`...)
	dst = webhooks.AppendMillis(dst, e.Time)
	dst = append(dst, `,"data":`...)
	dst, err := AppendData(dst, start, e)
	if err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

// AppendData appends the data of a body, which other envelopes may carry too. The
// body begins at start, and nothing but a bracket comes behind the data.
func AppendData(dst []byte, start int, e *webhooks.PublicEvent) ([]byte, error) {
	switch event := e.Event.(type) {
	case conversation.Event:
		if e.History == nil {
			return dst, fmt.Errorf("%s: position %d: no conversation", Name, e.Position)
		}
		return appendConversationData(dst, start, e, event), nil
	case contact.Event:
		if e.Contact == nil {
			return dst, fmt.Errorf("%s: position %d: no contact", Name, e.Position)
		}
		dst = append(dst, `{"contact":`...)
		dst = appendContact(dst, e.Contact)
		dst = append(dst, `,"change":`...)
		change := beginChange(dst, &e.Fact)
		// From the fact as it is decoded, not as it lies in the log: an old shape
		// was lifted to the present one.
		change.contactFact(event, e.View.Notes)
		return append(change.end(), '}'), nil
	case endpoint.Event:
		if e.Endpoint == nil {
			return dst, fmt.Errorf("%s: position %d: no endpoint", Name, e.Position)
		}
		dst = append(dst, `{"endpoint":`...)
		dst = appendEndpoint(dst, e.Endpoint)
		dst = append(dst, `,"change":`...)
		change := beginChange(dst, &e.Fact)
		change.endpointFact(event)
		return append(change.end(), '}'), nil
	default:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, e.Position, e.Type)
	}
}

func appendConversationData(dst []byte, start int, e *webhooks.PublicEvent, event conversation.Event) []byte {
	h, view := e.History, e.View
	if e.Name == Transcript {
		view.Last = -1
	}
	written := messages(view.Notes)
	var items webhooks.Items
	if view.Last != 0 { // or messages would be written that nobody reads
		items = h.Items(&written, view.Last, MaxHistoryBytes)
	}

	dst = slices.Grow(dst, frame+len(items.Bytes))
	dst = append(dst, `{"conversation":`...)
	dst = appendConversation(dst, &h.Conversation)
	dst = append(dst, `,"change":`...)
	change := beginChange(dst, &e.Fact)
	change.conversationFact(&e.Fact, event, h, view.Notes)
	dst = append(change.end(), `,"history":`...)
	if room := view.MaxBytes - (len(dst) - start) - historyFrame; view.MaxBytes > 0 && len(items.Bytes) > room {
		items = h.Items(&written, view.Last, max(room, 1))
		if len(items.Bytes) > room { // not even the newest
			items = webhooks.Items{Left: items.Left + items.Count}
		}
	}
	dst = appendHistory(dst, e.Version, h, view, items)
	if e.Name == Transcript {
		dst = append(dst, `,"revision":`...)
		dst = strconv.AppendInt(dst, int64(h.Closings), 10)
	}
	return append(dst, '}')
}

// beginChange begins what the event changed: its place and who did it. The
// fact's own members stand behind.
func beginChange(dst []byte, f *webhooks.Fact) object {
	o := begin(dst)
	o.key("event_id")
	o.dst = append(webhooks.AppendUUID(append(o.dst, '"'), f.ID), '"')
	o.number("position", f.Position)
	o.number("version", f.Version)
	o.number("previous_version", f.Version-1)
	o.key("actor")
	o.dst = webhooks.AppendOptional(o.dst, f.Actor())
	return o
}

// messages is how the messages of a history are written: all of them, or without
// notes.
func messages(notes bool) webhooks.Fragment {
	if notes {
		return webhooks.Fragment{Key: Name, Separator: ",", Append: appendMessage}
	}
	return webhooks.Fragment{Key: Name + "/public", Separator: ",", Append: appendPublicMessage}
}

func appendPublicMessage(dst []byte, m *webhooks.Message) []byte {
	if m.Private {
		return dst
	}
	return appendMessage(dst, m)
}

// appendHistory appends the messages that the endpoint asked for. Versions are
// those of the first item, null if there is none, and of the event. If older
// messages were left out, by the number asked for, by MaxHistoryBytes or by the
// bytes that the endpoint takes, truncated says so and next is where to read them.
func appendHistory(dst []byte, version int64, h *webhooks.History, v webhooks.View, items webhooks.Items) []byte {
	dst = append(dst, `{"mode":"`...)
	dst = append(dst, webhooks.View{Last: v.Last, Notes: true}.String()...)
	dst = append(dst, `","from_version":`...)
	from := version + 1
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
	if v.Last != 0 && items.Left > 0 {
		dst = append(dst, `],"truncated":true,"next":"/v1/conversations/`...)
		dst = append(dst, h.Conversation.ID...)
		dst = append(dst, `/messages?before=`...)
		dst = strconv.AppendInt(dst, from, 10)
		return append(dst, `"}`...)
	}
	return append(dst, `],"truncated":false,"next":null}`...)
}
