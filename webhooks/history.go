package webhooks

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// A Conversation is a conversation as of one of its versions, without its
// messages: what the outside is told of it, over HTTP and in bodies.
type Conversation struct {
	ID           string                `json:"id"`
	Number       int64                 `json:"number"`
	Version      int64                 `json:"version"`
	Status       conversation.Status   `json:"status"`
	Account      domain.Account        `json:"account"`
	Inbox        domain.Inbox          `json:"inbox"`
	Channel      string                `json:"channel,omitempty"`
	Subject      string                `json:"subject,omitempty"`
	Priority     conversation.Priority `json:"priority,omitempty"`
	Labels       []string              `json:"labels"`
	Team         *conversation.Team    `json:"team"`
	Customer     domain.Person         `json:"customer"`
	Assignee     *domain.Person        `json:"assignee"`
	Attributes   domain.Attributes     `json:"attributes"`
	SnoozedUntil *time.Time            `json:"snoozed_until,omitempty"`
	ClosedType   string                `json:"closed_type,omitempty"`
	CreatedAt    time.Time             `json:"created_at"`
	UpdatedAt    time.Time             `json:"updated_at"`
	ClosedAt     *time.Time            `json:"closed_at,omitempty"`
	// Messages counts what was posted, private notes and deleted ones included.
	Messages int64 `json:"message_count"`
}

// A Message is a message of a history: as it was posted, with what was done to
// it since. Number is the position, Version the version of its event.
type Message struct {
	ID                string                    `json:"id"`
	Number            int64                     `json:"number"`
	Version           int64                     `json:"version"`
	Author            domain.Person             `json:"author"`
	Text              string                    `json:"text"`
	ContentType       string                    `json:"content_type"`
	ContentAttributes domain.Attributes         `json:"content_attributes,omitempty"`
	Attachments       []conversation.Attachment `json:"attachments,omitempty"`
	Private           bool                      `json:"private"`
	ReplyTo           string                    `json:"reply_to,omitempty"`
	ExternalID        string                    `json:"client_id,omitempty"`
	Attributes        domain.Attributes         `json:"attributes,omitempty"`
	CreatedAt         time.Time                 `json:"created_at"`
	EditedAt          *time.Time                `json:"edited_at,omitempty"`
	DeletedAt         *time.Time                `json:"deleted_at,omitempty"`
}

// NewMessage returns the message that e, recorded as r, posted.
func NewMessage(r *eventstore.Recorded, e conversation.MessagePosted) Message {
	return Message{
		ID: e.MessageID, Number: r.Position, Version: r.Version,
		Author: e.Author, Text: e.Text, ContentType: e.ContentType, ContentAttributes: e.ContentAttributes,
		Attachments: e.Attachments, Private: e.Private, ReplyTo: e.ReplyTo, ExternalID: e.ExternalID,
		Attributes: e.Attributes, CreatedAt: r.Time,
	}
}

// Edited returns m with another text.
func (m Message) Edited(text string, at time.Time) Message {
	m.Text, m.EditedAt = text, &at
	return m
}

// Deleted returns the tombstone of m: who and when, and nothing of what was said.
func (m Message) Deleted(at time.Time) Message {
	m.Text, m.ContentAttributes, m.Attachments, m.Attributes, m.DeletedAt = "", nil, nil, nil, &at
	return m
}

// Evolve returns c after the fact e that r records. It is a pure fold: the same
// stream gives the same conversation, at every version.
func (c Conversation) Evolve(r *eventstore.Recorded, e conversation.Event) Conversation {
	c.Version, c.UpdatedAt = r.Version, r.Time
	switch e := e.(type) {
	case conversation.Created:
		_, c.ID = eventstore.SplitStream(r.Stream)
		c.Number, c.CreatedAt, c.Status = r.Position, r.Time, conversation.Open
		c.Account, c.Inbox, c.Channel = e.Account, e.Inbox, e.Channel
		c.Subject, c.Customer, c.Attributes = e.Subject, e.Customer, e.Attributes
		c.Labels = []string{}
		if c.Attributes == nil {
			c.Attributes = domain.Attributes{}
		}
	case conversation.MessagePosted:
		c.Messages++
	case conversation.StatusChanged:
		c.Status, c.SnoozedUntil = e.To, e.SnoozedUntil
	case conversation.Closed:
		c.Status, c.ClosedType, c.SnoozedUntil = conversation.StatusEnded, e.ClosedType, nil
		at := r.Time
		c.ClosedAt = &at
	case conversation.Reopened:
		c.Status, c.ClosedType, c.ClosedAt = conversation.Open, "", nil
	case conversation.Assigned:
		c.Assignee = &e.Agent
	case conversation.Unassigned:
		c.Assignee = nil
	case conversation.AttributesChanged:
		c = c.changed(e.Changes)
	case conversation.CustomerUpdated:
		c.Customer = e.Customer
	case conversation.MessageEdited, conversation.MessageDeleted,
		conversation.TypingStarted, conversation.TypingStopped,
		conversation.Read, conversation.MessagePlayed, conversation.ActivityRecorded:
		// Facts about somebody or something in it; the conversation is as it was.
	default:
		panic("webhooks: an event outside the closed set")
	}
	return c
}

func (c Conversation) changed(changes []domain.Change) Conversation {
	for _, ch := range changes {
		switch ch.Key {
		case "subject":
			c.Subject = decoded[string](ch.Current)
		case "priority":
			c.Priority = decoded[conversation.Priority](ch.Current)
		case "labels":
			c.Labels = decoded[[]string](ch.Current)
			if c.Labels == nil {
				c.Labels = []string{} // a list is a list, with nothing on it too
			}
		case "team":
			c.Team = decoded[*conversation.Team](ch.Current)
		default:
			c.Attributes = c.Attributes.Changed("attributes.", ch)
		}
	}
	return c
}

func decoded[T any](raw json.RawMessage) T {
	var v T
	_ = json.Unmarshal(raw, &v) // written by Decide from the same type
	return v
}

// A History is a conversation as of one of its versions, with its messages in
// the order they were posted. It grows by Apply, and keeps beside the messages
// what the dialects made of them, so that one more message costs one more
// fragment and never a new encoding of the whole. It is not safe for concurrent
// use.
type History struct {
	Conversation Conversation
	Messages     []Message

	text      int                   // bytes of text in Messages
	fragments map[string]*fragments // by dialect
}

// Apply takes the history on by one event. Events come in order, each once.
func (h *History) Apply(r *eventstore.Recorded, e conversation.Event) {
	h.Conversation = h.Conversation.Evolve(r, e)
	switch e := e.(type) {
	case conversation.MessagePosted:
		h.Messages = append(h.Messages, NewMessage(r, e))
		h.text += len(e.Text)
	case conversation.MessageEdited:
		h.replace(e.MessageID, func(m Message) Message { return m.Edited(e.Text, r.Time) })
	case conversation.MessageDeleted:
		h.replace(e.MessageID, func(m Message) Message { return m.Deleted(r.Time) })
	case conversation.Created, conversation.Closed, conversation.Reopened, conversation.StatusChanged,
		conversation.Assigned, conversation.Unassigned, conversation.AttributesChanged, conversation.CustomerUpdated,
		conversation.TypingStarted, conversation.TypingStopped,
		conversation.Read, conversation.MessagePlayed, conversation.ActivityRecorded:
		// No message is another for them.
	default:
		panic("webhooks: an event outside the closed set")
	}
}

func (h *History) replace(id string, change func(Message) Message) {
	// From the end: what is edited is nearly always new.
	for i := len(h.Messages) - 1; i >= 0; i-- {
		if h.Messages[i].ID == id {
			h.text -= len(h.Messages[i].Text)
			h.Messages[i] = change(h.Messages[i])
			h.text += len(h.Messages[i].Text)
			for _, f := range h.fragments {
				f.truncate(i)
			}
			return
		}
	}
}

// Message returns the message with that id, or nil.
func (h *History) Message(id string) *Message {
	for i := len(h.Messages) - 1; i >= 0; i-- {
		if h.Messages[i].ID == id {
			return &h.Messages[i]
		}
	}
	return nil
}

// Size is a rough count of the bytes that the history holds in memory. It costs
// the same for any length.
func (h *History) Size() int {
	const perMessage, perConversation = 512, 2048 // the structs and their small strings
	n := perConversation + perMessage*len(h.Messages) + h.text
	for _, f := range h.fragments {
		n += cap(f.bytes)
	}
	return n
}

// fragments are the messages of a history as one dialect writes them.
type fragments struct {
	bytes []byte // every item behind a comma: ,{…},{…}
	ends  []int  // ends[i] is where the item of message i ends; an item may be empty
}

func (f *fragments) truncate(n int) {
	if n >= len(f.ends) {
		return
	}
	f.ends = f.ends[:n]
	f.bytes = f.bytes[:f.start(n)]
}

func (f *fragments) start(i int) int {
	if i == 0 {
		return 0
	}
	return f.ends[i-1]
}

// Items are encoded messages, ready to stand between the brackets of an array.
type Items struct {
	Bytes []byte // {…},{…}; not to be changed
	From  int    // index of the first message that may be in it; those before were cut off
	Count int    // how many items there are
}

// Items returns the newest messages as the dialect named writes them: at most
// last of them (all if negative) and at most maxBytes bytes (no bound if 0),
// but for a single message that is larger. encode appends one message, or
// nothing for one that the format leaves out, which then does not count.
func (h *History) Items(dialect string, last, maxBytes int, encode func(dst []byte, m *Message) []byte) Items {
	f := h.fragments[dialect]
	if f == nil {
		f = &fragments{}
		if h.fragments == nil {
			h.fragments = make(map[string]*fragments)
		}
		h.fragments[dialect] = f
	}
	for i := len(f.ends); i < len(h.Messages); i++ {
		at := len(f.bytes)
		f.bytes = append(f.bytes, ',')
		f.bytes = encode(f.bytes, &h.Messages[i])
		if len(f.bytes) == at+1 {
			f.bytes = f.bytes[:at]
		}
		f.ends = append(f.ends, len(f.bytes))
	}
	from, count := len(f.ends), 0
	for from > 0 && (last < 0 || count < last) {
		start, end := f.start(from-1), f.ends[from-1]
		if end > start {
			if maxBytes > 0 && count > 0 && len(f.bytes)-start > maxBytes {
				break
			}
			count++
		}
		from--
	}
	items := Items{From: from, Count: count}
	if count > 0 {
		items.Bytes = slices.Clip(f.bytes[f.start(from)+1:])
	}
	return items
}

// OpenAttributes returns the attributes that are not addressed to one format:
// under the name of a format, a person, a message or a conversation carries the
// values that it would otherwise derive.
func OpenAttributes(a domain.Attributes) domain.Attributes {
	return slices.DeleteFunc(slices.Clone(a), func(at domain.Attribute) bool {
		switch strings.ToLower(at.Key) {
		case "closer", "talkus", "clarityflow", "chatwoot":
			return true
		default:
			return false
		}
	})
}
