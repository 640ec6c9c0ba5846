package conversation

import (
	"time"

	"verbatim/domain"
)

// Command is a request to a conversation. The set is closed.
//
//sumtype:decl
type Command interface{ command() }

// Create opens the conversation. A Message, if given, is its first.
type Create struct {
	Account    domain.Account
	Inbox      domain.Inbox
	Channel    string
	Customer   domain.Person
	Subject    string
	Attributes domain.Attributes
	Message    *PostMessage
}

// PostMessage adds what Author wrote. An author without an id is the
// conversation's customer.
type PostMessage struct {
	MessageID         string
	Author            domain.Person
	Text              string
	ContentType       string // defaults to "text"
	ContentAttributes domain.Attributes
	Attachments       []Attachment
	Private           bool
	ReplyTo           string
	ExternalID        string
	Attributes        domain.Attributes
}

// EditMessage replaces a message's text; only its author or an agent may.
type EditMessage struct {
	Message Message
	Text    string
	By      domain.Person
}

// DeleteMessage leaves a tombstone; only the author or an agent may.
type DeleteMessage struct {
	Message Message
	By      domain.Person
}

// Message is a message as the log has it. State remembers no messages, so that
// it does not grow with the history; whoever sends a command about a message
// reads it at the version the command is decided at.
type Message struct {
	ID       string
	AuthorID string
	Text     string
	Private  bool
	Deleted  bool
	Playable bool     // as the function Playable has it
	PlayedBy []string // ids of those who have played it
}

// SetTyping says that Author types or stopped typing. TTL bounds how long it
// holds without another word: zero means DefaultTypingTTL.
type SetTyping struct {
	Author  domain.Person
	On      bool
	Private bool
	TTL     time.Duration
}

// ExpireTyping stops the typing of a person whose time has come. Before that
// time it does nothing.
type ExpireTyping struct{ AuthorID string }

// ChangeStatus moves the conversation to another status.
type ChangeStatus struct {
	To           Status
	Reason       string
	By           *domain.Person
	SnoozedUntil *time.Time
}

// Close ends the conversation. Type defaults to "solved".
type Close struct {
	Type string
	By   *domain.Person
}

// Reopen takes a closed conversation up again; only an agent may.
type Reopen struct{ By domain.Person }

// Assign gives the conversation to Agent, or to nobody if Agent is nil.
type Assign struct {
	Agent *domain.Person
	By    *domain.Person
}

// ChangeAttributes is a merge-patch (RFC 7396) of the conversation itself.
type ChangeAttributes struct {
	Subject    domain.Patch[string]
	Priority   domain.Patch[Priority]
	Labels     domain.Patch[[]string]
	Team       domain.Patch[Team]
	Attributes domain.Attributes
	By         *domain.Person
}

// UpdateCustomer is a merge-patch (RFC 7396) of the customer.
type UpdateCustomer struct {
	Patch domain.PersonPatch
	By    *domain.Person
}

// MarkRead says that By has read everything up to version UpTo.
type MarkRead struct {
	By   domain.Person
	UpTo int64
}

// PlayMessage says that Viewer played the media of a message. Only the first
// time is a fact.
type PlayMessage struct {
	Message Message
	Viewer  domain.Person
}

// RecordActivity adds something that happened around the conversation.
type RecordActivity struct {
	Kind ActivityKind
	Data domain.Attributes
	By   *domain.Person
}

func (Create) command()           {}
func (PostMessage) command()      {}
func (EditMessage) command()      {}
func (DeleteMessage) command()    {}
func (SetTyping) command()        {}
func (ExpireTyping) command()     {}
func (ChangeStatus) command()     {}
func (Close) command()            {}
func (Reopen) command()           {}
func (Assign) command()           {}
func (ChangeAttributes) command() {}
func (UpdateCustomer) command()   {}
func (MarkRead) command()         {}
func (PlayMessage) command()      {}
func (RecordActivity) command()   {}
