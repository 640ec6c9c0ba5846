package conversation

import (
	"time"

	"verbatim/domain"
)

// Event is something that happened in a conversation. The set is closed: the
// fields of each event are its stored shape, and a changed shape is a new
// schema version with an upcaster.
//
//sumtype:decl
type Event interface {
	domain.Event
	event()
}

// Created opens a conversation. It is the first event of every stream, once.
type Created struct {
	Account    domain.Account    `json:"account"`
	Inbox      domain.Inbox      `json:"inbox"`
	Channel    string            `json:"channel,omitempty"`
	Customer   domain.Person     `json:"customer"`
	Subject    string            `json:"subject,omitempty"`
	Attributes domain.Attributes `json:"attributes,omitempty"`
}

// MessagePosted is what a person wrote.
type MessagePosted struct {
	MessageID         string            `json:"message_id"`
	Author            domain.Person     `json:"author"`
	Text              string            `json:"text"`
	ContentType       string            `json:"content_type"`
	ContentAttributes domain.Attributes `json:"content_attributes,omitempty"`
	Attachments       []Attachment      `json:"attachments,omitempty"`
	Private           bool              `json:"private,omitempty"`
	ReplyTo           string            `json:"reply_to,omitempty"`
	ExternalID        string            `json:"external_id,omitempty"`
	Attributes        domain.Attributes `json:"attributes,omitempty"`
}

// An Attachment is a file that a message refers to; Size is in bytes, Width and
// Height in pixels, zero when unknown. FileType is a kind, such as "video", and
// ContentType a media type, such as "video/mp4".
type Attachment struct {
	FileType    string `json:"file_type,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	URL         string `json:"url"`
	Name        string `json:"name,omitempty"`
	Extension   string `json:"extension,omitempty"`
	Size        int64  `json:"size,omitempty"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
}

// MessageEdited replaces the text of a message.
type MessageEdited struct {
	MessageID string        `json:"message_id"`
	Previous  string        `json:"previous"`
	Text      string        `json:"text"`
	Private   bool          `json:"private,omitempty"` // the message is a private note
	By        domain.Person `json:"by"`
}

// MessageDeleted leaves a tombstone where a message was.
type MessageDeleted struct {
	MessageID string        `json:"message_id"`
	Private   bool          `json:"private,omitempty"` // the message was a private note
	By        domain.Person `json:"by"`
}

// TypingStarted says that a person began to write. Without a word from them it
// ends at ExpiresAt.
type TypingStarted struct {
	Author    domain.Person `json:"author"`
	Private   bool          `json:"private,omitempty"`
	ExpiresAt time.Time     `json:"expires_at"`
}

// TypingStopped says that a person stopped writing, and why.
type TypingStopped struct {
	Author  domain.Person `json:"author"`
	Private bool          `json:"private,omitempty"`
	Reason  StopReason    `json:"reason"`
}

// StatusChanged moves the conversation between open, pending, snoozed and
// resolved.
type StatusChanged struct {
	From         Status         `json:"from"`
	To           Status         `json:"to"`
	Reason       string         `json:"reason,omitempty"`
	By           *domain.Person `json:"by,omitempty"`
	SnoozedUntil *time.Time     `json:"snoozed_until,omitempty"`
}

// Closed ends the conversation; only Reopened may follow.
type Closed struct {
	From       Status         `json:"from,omitempty"`
	ClosedType string         `json:"closed_type"`
	By         *domain.Person `json:"by,omitempty"`
}

// Reopened takes a closed conversation up again.
type Reopened struct {
	By domain.Person `json:"by"`
}

// Assigned gives the conversation to an agent or a bot.
type Assigned struct {
	Agent    domain.Person  `json:"agent"`
	Previous *domain.Person `json:"previous,omitempty"`
	By       *domain.Person `json:"by,omitempty"`
}

// Unassigned takes the conversation from its agent.
type Unassigned struct {
	Previous domain.Person  `json:"previous"`
	By       *domain.Person `json:"by,omitempty"`
}

// AttributesChanged says what is different now about the conversation itself.
// Keys are subject, priority, labels, team, and attributes.KEY.
type AttributesChanged struct {
	Changes []domain.Change `json:"changes"`
	By      *domain.Person  `json:"by,omitempty"`
}

// CustomerUpdated says what is different now about the customer; Customer is
// the customer after it.
type CustomerUpdated struct {
	Changes  []domain.Change `json:"changes"`
	Customer domain.Person   `json:"customer"`
	By       *domain.Person  `json:"by,omitempty"`
}

// Read says up to which version a person has read. It only moves forward.
type Read struct {
	By   domain.Person `json:"by"`
	UpTo int64         `json:"up_to"`
}

// MessagePlayed says that a person played the media of a message, for the first
// time.
type MessagePlayed struct {
	MessageID string        `json:"message_id"`
	Private   bool          `json:"private,omitempty"` // the message is a private note
	Viewer    domain.Person `json:"viewer"`
}

// ActivityRecorded is something that happened around the conversation.
type ActivityRecorded struct {
	Kind ActivityKind      `json:"kind"`
	Data domain.Attributes `json:"data"`
	By   *domain.Person    `json:"by,omitempty"`
}

func (Created) EventType() string           { return "conversation.created" }
func (MessagePosted) EventType() string     { return "conversation.message_posted" }
func (MessageEdited) EventType() string     { return "conversation.message_edited" }
func (MessageDeleted) EventType() string    { return "conversation.message_deleted" }
func (TypingStarted) EventType() string     { return "conversation.typing_started" }
func (TypingStopped) EventType() string     { return "conversation.typing_stopped" }
func (StatusChanged) EventType() string     { return "conversation.status_changed" }
func (Closed) EventType() string            { return "conversation.closed" }
func (Reopened) EventType() string          { return "conversation.reopened" }
func (Assigned) EventType() string          { return "conversation.assigned" }
func (Unassigned) EventType() string        { return "conversation.unassigned" }
func (AttributesChanged) EventType() string { return "conversation.attributes_changed" }
func (CustomerUpdated) EventType() string   { return "conversation.customer_updated" }
func (Read) EventType() string              { return "conversation.read" }
func (MessagePlayed) EventType() string     { return "conversation.message_played" }
func (ActivityRecorded) EventType() string  { return "conversation.activity_recorded" }

func (Created) event()           {}
func (MessagePosted) event()     {}
func (MessageEdited) event()     {}
func (MessageDeleted) event()    {}
func (TypingStarted) event()     {}
func (TypingStopped) event()     {}
func (StatusChanged) event()     {}
func (Closed) event()            {}
func (Reopened) event()          {}
func (Assigned) event()          {}
func (Unassigned) event()        {}
func (AttributesChanged) event() {}
func (CustomerUpdated) event()   {}
func (Read) event()              {}
func (MessagePlayed) event()     {}
func (ActivityRecorded) event()  {}
