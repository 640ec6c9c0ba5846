package webhooks

import (
	"encoding/json"
	"slices"
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
	// Answered is the message that ReplyTo names, for formats with an id of
	// their own for it; nil if it is not near in the history.
	Answered *MessageName `json:"-"`
}

// A MessageName is what a message is called: its number, or the id that a format
// finds in its attributes.
type MessageName struct {
	Number     int64             `json:"number"`
	Attributes domain.Attributes `json:"attributes,omitempty"`
}

// NewMessage returns the message that e, recorded as r, posted. One out of which
// its author was erased is a tombstone from the first.
func NewMessage(r *eventstore.Recorded, e conversation.MessagePosted) Message {
	m := Message{
		ID: e.MessageID, Number: r.Position, Version: r.Version,
		Author: e.Author, Text: e.Text, ContentType: e.ContentType, ContentAttributes: e.ContentAttributes,
		Attachments: e.Attachments, Private: e.Private, ReplyTo: e.ReplyTo, ExternalID: e.ExternalID,
		Attributes: e.Attributes, CreatedAt: r.Time,
	}
	if r.Remains != nil {
		return m.Deleted(r.Time)
	}
	return m
}

// Edited returns m with another text.
func (m Message) Edited(text string, at time.Time) Message {
	m.Text, m.EditedAt = text, &at
	return m
}

// Deleted returns the tombstone of m: who and when, what it is called, and
// nothing of what was said.
func (m Message) Deleted(at time.Time) Message {
	m.Text, m.ContentAttributes, m.Attachments, m.Attributes, m.DeletedAt = "", nil, nil, givenIDs(m.Attributes), &at
	return m
}

// givenIDs returns of attributes the ids that they give to formats: a receiver
// must know which message was deleted.
func givenIDs(a domain.Attributes) domain.Attributes {
	var ids domain.Attributes
	for i := range a {
		if !domain.Addressed(a[i].Key) {
			continue
		}
		if id := a.Object(a[i].Key).Get("id"); id != nil {
			ids = append(ids, domain.Attribute{Key: a[i].Key, Value: slices.Concat([]byte(`{"id":`), id, []byte("}"))})
		}
	}
	return ids
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
		agent := e.Agent // or the whole event would stay in memory
		c.Assignee = &agent
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
	Attention    Attention
	Messages     []Message
	Opened       conversation.Created // how it began, whatever has been changed since
	Agent        *domain.Person       // the agent or bot who last took the conversation or wrote to the customer
	Closings     int                  // how often it has been closed

	// SnoozedBefore is until when it was snoozed before the last event: what a
	// change of status ends.
	SnoozedBefore *time.Time

	held      held
	fragments map[string]*fragments // by dialect
	playedBy  map[string][]string   // ids of those who have played a message, by its id
	plays     int                   // how many ids those are
}

// Apply takes the history on by one event. Events come in order, each once.
func (h *History) Apply(r *eventstore.Recorded, e conversation.Event) {
	h.SnoozedBefore = h.Conversation.SnoozedUntil
	h.Conversation = h.Conversation.Evolve(r, e)
	h.Attention = h.Attention.Evolve(r, e)
	switch e := e.(type) {
	case conversation.Created:
		h.Opened = e
		h.held.opened = heapOfOpened(&h.Opened)
	case conversation.MessagePosted:
		m := NewMessage(r, e)
		m.Answered = h.answered(e.ReplyTo)
		h.held.messages += heapOfMessage(&m)
		if known := h.author(&m.Author); known != nil {
			m.Author = *known // what they point to is there once
			h.held.messages -= heapOfPerson(known)
		}
		h.Messages = append(h.Messages, m)
		if !e.Private && (e.Author.Role == domain.Agent || e.Author.Role == domain.Bot) {
			h.attended(&m.Author)
		}
	case conversation.Assigned:
		h.Agent = h.Conversation.Assignee
		h.held.assignee, h.held.agent = personSize+heapOfPerson(h.Agent), 0
	case conversation.Unassigned:
		if h.held.agent == 0 { // it was the assignee, and is nobody else now
			h.held.agent = h.held.assignee
		}
		h.held.assignee = 0
	case conversation.AttributesChanged:
		h.held.changed = h.heapOfChanged()
	case conversation.CustomerUpdated:
		h.held.customer = heapOfPerson(&h.Conversation.Customer)
	case conversation.Closed:
		h.Closings++
	case conversation.MessageEdited:
		h.replace(e.MessageID, func(m Message) Message { return m.Edited(e.Text, r.Time) })
	case conversation.MessageDeleted:
		h.replace(e.MessageID, func(m Message) Message { return m.Deleted(r.Time) })
	case conversation.MessagePlayed:
		h.played(e.MessageID, e.Viewer.ID)
	case conversation.Reopened, conversation.StatusChanged,
		conversation.TypingStarted, conversation.TypingStopped,
		conversation.Read, conversation.ActivityRecorded:
		// What they change is the conversation's own.
	default:
		panic("webhooks: an event outside the closed set")
	}
}

// authorReach is how far back an author is looked for who wrote before: those who
// talk to each other are two or three.
const authorReach = 4

// author returns somebody of whom one of the last messages says the same, or nil.
func (h *History) author(p *domain.Person) *domain.Person {
	for i := len(h.Messages) - 1; i >= max(0, len(h.Messages)-authorReach); i-- {
		if known := &h.Messages[i].Author; known.Equal(*p) {
			return known
		}
	}
	return nil
}

// attended says that the author of the last message is who has the conversation.
func (h *History) attended(p *domain.Person) {
	if h.held.agent > 0 && h.Agent.Equal(*p) {
		return
	}
	author := *p // or the whole event would stay in memory
	h.Agent = &author
	h.held.agent = personSize // what it points to is the message's
}

func (h *History) replace(id string, change func(Message) Message) {
	// From the end: what is edited is nearly always new.
	for i := len(h.Messages) - 1; i >= 0; i-- {
		if h.Messages[i].ID == id {
			h.held.messages -= heapOfMessage(&h.Messages[i])
			h.Messages[i] = change(h.Messages[i])
			h.held.messages += heapOfMessage(&h.Messages[i])
			for _, f := range h.fragments {
				f.replace(i, &h.Messages[i])
			}
			return
		}
	}
}

func (h *History) played(messageID, viewerID string) {
	if slices.Contains(h.playedBy[messageID], viewerID) {
		return
	}
	if h.playedBy == nil {
		h.playedBy = make(map[string][]string)
	}
	h.playedBy[messageID] = append(h.playedBy[messageID], viewerID)
	h.plays++
}

// PlayedBy returns the ids of those who have played a message, the first first.
// They are no more than can take part in a conversation.
func (h *History) PlayedBy(messageID string) []string { return slices.Clip(h.playedBy[messageID]) }

// Message returns the message with that id, or nil.
func (h *History) Message(id string) *Message {
	for i := len(h.Messages) - 1; i >= 0; i-- {
		if h.Messages[i].ID == id {
			return &h.Messages[i]
		}
	}
	return nil
}

// LastPublic returns the newest message that is no private note, or nil.
func (h *History) LastPublic() *Message {
	for i := len(h.Messages) - 1; i >= 0; i-- {
		if !h.Messages[i].Private {
			return &h.Messages[i]
		}
	}
	return nil
}

// answerReach bounds how far back the message that another one answers is looked
// for, so that a long conversation of answers is folded in linear time.
const answerReach = 1000

func (h *History) answered(id string) *MessageName {
	if id == "" {
		return nil
	}
	for i := len(h.Messages) - 1; i >= max(0, len(h.Messages)-answerReach); i-- {
		if m := &h.Messages[i]; m.ID == id {
			return &MessageName{m.Number, givenIDs(m.Attributes)}
		}
	}
	return nil
}

// A Snapshot is what another stream's event may say of a conversation: where it
// stood, and what was last said in it. It is data, kept in the log.
type Snapshot struct {
	Conversation Conversation `json:"conversation"`
	Attention    Attention    `json:"attention"`
	LastMessage  *Message     `json:"last_message,omitempty"` // the newest that is no private note
	Answered     *MessageName `json:"answered,omitempty"`     // the message that the last one answers
}

// Snapshot returns h as a snapshot, which shares memory with it.
func (h *History) Snapshot() Snapshot {
	s := Snapshot{Conversation: h.Conversation, Attention: h.Attention, LastMessage: h.LastPublic()}
	if s.LastMessage != nil && s.LastMessage.Answered != nil {
		last := *s.LastMessage
		s.LastMessage, s.Answered, last.Answered = &last, last.Answered, nil
	}
	return s
}

// History returns the history that the snapshot tells of: of its messages, the
// last.
func (s Snapshot) History() *History {
	h := &History{Conversation: s.Conversation, Attention: s.Attention}
	if s.LastMessage != nil {
		h.Messages = []Message{*s.LastMessage}
		h.Messages[0].Answered = s.Answered
	}
	return h
}

// fragments are the messages of a history as one Fragment writes them.
type fragments struct {
	fragment Fragment
	bytes    []byte // every item behind the separator: ,{…},{…}
	marks    []mark
}

// A mark is where the item of a message ends, and how many items there are up to
// it: a message may have none.
type mark struct{ end, count int }

// add appends the item of the next message.
func (f *fragments) add(m *Message) {
	before := f.before(len(f.marks))
	f.bytes = f.appendItem(f.bytes, m)
	f.marks = append(f.marks, mark{len(f.bytes), before.count + items(len(f.bytes)-before.end)})
}

// replace writes the item of message i anew, if it was written: what follows is
// moved and not encoded again.
func (f *fragments) replace(i int, m *Message) {
	if i >= len(f.marks) {
		return
	}
	item := f.appendItem(nil, m)
	start, end := f.before(i).end, f.marks[i].end
	f.bytes = slices.Replace(f.bytes, start, end, item...)
	longer, more := len(item)-(end-start), items(len(item))-items(end-start)
	for j := i; j < len(f.marks); j++ {
		f.marks[j].end += longer
		f.marks[j].count += more
	}
}

func (f *fragments) appendItem(dst []byte, m *Message) []byte {
	at := len(dst)
	dst = append(dst, f.fragment.Separator...)
	start := len(dst)
	dst = f.fragment.Append(dst, m)
	if len(dst) == start {
		return dst[:at]
	}
	return dst
}

// before returns the mark of the message before message i.
func (f *fragments) before(i int) mark {
	if i == 0 {
		return mark{}
	}
	return f.marks[i-1]
}

// items returns how many items of a message have so many bytes together: one, or
// none if there are no bytes.
func items(bytes int) int { return min(bytes, 1) }

// A Fragment is one way to write messages one after the other. Those of a
// history are kept under its Key, which names the dialect and, if that writes
// messages in more than one way, which of them.
type Fragment struct {
	Key       string
	Separator string // between two items, mostly ","
	// Append appends one message, or nothing for one that the format leaves
	// out. It sees nothing but the message, which is why what it wrote can stay.
	Append func(dst []byte, m *Message) []byte
}

// Items are encoded messages, ready to stand between the brackets of an array.
type Items struct {
	Bytes []byte // {…},{…}; not to be changed
	Count int    // how many items there are
	From  int    // index of the message that the first of them is
	Left  int    // how many older items were left out
}

// Items returns the newest messages as fr writes them: at most last of them (all
// if negative) and at most maxBytes bytes (no bound if 0), but for a single
// message that is larger. A message that is left out does not count. Beside what
// is new since the last call, the cost hardly hangs on the length.
func (h *History) Items(fr *Fragment, last, maxBytes int) Items {
	f := h.fragments[fr.Key]
	if f == nil {
		f = &fragments{fragment: *fr}
		if h.fragments == nil {
			h.fragments = make(map[string]*fragments)
		}
		h.fragments[fr.Key] = f
	}
	for i := len(f.marks); i < len(h.Messages); i++ {
		f.add(&h.Messages[i])
	}
	all, left := f.before(len(f.marks)).count, 0
	if last >= 0 {
		left = max(all-last, 0)
	}
	if bound := len(f.bytes) - maxBytes; maxBytes > 0 && bound > 0 {
		// The item in which the bound falls is left out.
		i, _ := slices.BinarySearchFunc(f.marks, bound, func(m mark, end int) int { return m.end - end })
		left = max(left, min(f.marks[i].count, all-1))
	}
	if left == all {
		return Items{From: len(f.marks), Left: left}
	}
	from, _ := slices.BinarySearchFunc(f.marks, left+1, func(m mark, count int) int { return m.count - count })
	return Items{
		Bytes: slices.Clip(f.bytes[f.before(from).end+len(fr.Separator):]),
		Count: all - left, From: from, Left: left,
	}
}

// OpenAttributes returns the attributes that are not addressed to one format:
// under the name of a format, a person, a message or a conversation carries the
// values that it would otherwise derive. What is returned is not to be changed.
func OpenAttributes(a domain.Attributes) domain.Attributes {
	if !slices.ContainsFunc(a, func(at domain.Attribute) bool { return domain.Addressed(at.Key) }) {
		return slices.Clip(a) // as it nearly always is
	}
	return slices.DeleteFunc(slices.Clone(a), func(at domain.Attribute) bool { return domain.Addressed(at.Key) })
}
