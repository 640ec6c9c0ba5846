// Package contact holds the rules of one contact: a person that an account
// knows, apart from any conversation.
package contact

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"verbatim/domain"
)

// Event is something that happened to a contact. The set is closed.
//
//sumtype:decl
type Event interface {
	domain.Event
	event()
}

// Created makes a person known to the account.
type Created struct {
	Account domain.Account `json:"account"`
	Profile domain.Person  `json:"profile"`
}

// Updated says what is different now about the person; Profile is the person
// after it. Conversation is the one in which it was learned, if it was in one:
// that conversation's own stream says so too.
type Updated struct {
	Changes      []domain.Change `json:"changes"`
	Profile      domain.Person   `json:"profile"`
	Conversation string          `json:"conversation,omitempty"`
}

// WidgetTriggered says that the person opened the chat widget on a page.
type WidgetTriggered struct {
	Contact      domain.Person     `json:"contact"`
	Inbox        domain.Inbox      `json:"inbox,omitzero"`       // that the widget belongs to
	Attributes   domain.Attributes `json:"attributes,omitempty"` // page, browser, languages
	Conversation string            `json:"conversation,omitempty"`
	// CurrentConversation is that conversation as it was when the widget was
	// opened, written by whoever read it: what is told of this event follows
	// from its own stream.
	CurrentConversation json.RawMessage `json:"current_conversation,omitempty"`
}

// Erased says that the person's data was overwritten, in how many events, and
// who asked for it. A contact may be erased again, if the person came back.
type Erased struct {
	By     domain.Person `json:"by"`
	Events int64         `json:"events"`
	// Positions are those of the events, in order, as runs: "12-14 19".
	Positions string `json:"positions,omitempty"`
	// Proof is the SHA-256, in hexadecimal digits, of the position (8 bytes, big
	// endian) and the digest of what was left of each of the events. That stands
	// in the log, which is chained: what was left cannot be changed unseen.
	Proof string `json:"proof,omitempty"`
	// Again are those of the events that an erasure had overwritten before.
	Again []Again `json:"again,omitempty"`
}

func (Created) EventType() string         { return "contact.created" }
func (Updated) EventType() string         { return "contact.updated" }
func (WidgetTriggered) EventType() string { return "contact.widget_triggered" }
func (Erased) EventType() string          { return "contact.erased" }

func (Created) event()         {}
func (Updated) event()         {}
func (WidgetTriggered) event() {}
func (Erased) event()          {}

// Command is a request to a contact. The set is closed.
//
//sumtype:decl
type Command interface{ command() }

// Create makes the person known.
type Create struct {
	Account domain.Account
	Profile domain.Person
}

// Update is a merge-patch (RFC 7396) of the person.
type Update struct {
	Patch        domain.PersonPatch
	Conversation string // id of the conversation in which it was learned, if any
}

// TriggerWidget says that the person opened the widget.
type TriggerWidget struct {
	Inbox               domain.Inbox
	Attributes          domain.Attributes
	Conversation        string          // id of the conversation they are in, if any
	CurrentConversation json.RawMessage // as it is now
}

// Erase records that the person's data was overwritten. To do so again is only a
// fact where there was something to overwrite.
type Erase struct {
	By    domain.Person
	Parts []Part // see Ledger
}

func (Create) command()        {}
func (Update) command()        {}
func (TriggerWidget) command() {}
func (Erase) command()         {}

// Refusals: what a contact may say no to.
const (
	NotCreated     domain.Refusal = "contact.not_found"
	AlreadyCreated domain.Refusal = "contact.already_exists"
	AlreadyErased  domain.Refusal = "contact.erased"
)

// Limits.
const (
	// MaxCurrentConversation is how many bytes the conversation may have that goes
	// with an opened widget. One is opened on every page, so that it must be far
	// below what an event may be; yet it has room for every name, URL and subject
	// of a conversation and its people at their limits, about 90 kB.
	MaxCurrentConversation = 128 << 10
	MaxChannelLength       = 500 // characters of an inbox's channel, as for a conversation
)

// StateSchema is the version of State's stored shape.
const StateSchema = 1

// State is what a contact must remember in order to decide. The zero State is a
// contact that was never created.
type State struct {
	Known   bool          `json:"known"`
	Erased  bool          `json:"erased,omitempty"`
	Profile domain.Person `json:"profile"`
}

// Decide returns what follows from asking c of s, or why it is refused: a
// domain.Refusal or a *domain.FieldError.
func Decide(s State, c Command, _ time.Time) ([]Event, error) {
	_, creates := c.(Create)
	_, erases := c.(Erase)
	switch {
	case creates:
	case !s.Known:
		return nil, NotCreated
	case s.Erased && !erases:
		return nil, AlreadyErased
	}
	switch c := c.(type) {
	case Create:
		return s.create(c)
	case Update:
		return s.update(c)
	case TriggerWidget:
		return s.trigger(c)
	case Erase:
		return s.erase(c)
	default:
		panic("contact: a command outside the closed set")
	}
}

func (s State) create(c Create) ([]Event, error) {
	if s.Known {
		return nil, AlreadyCreated
	}
	profile := c.Profile.Completed(domain.Customer)
	if err := profile.Validate(); err != nil {
		return nil, err
	}
	if profile.Role != domain.Customer {
		return nil, &domain.FieldError{Field: "role", Rule: `must be "customer"`}
	}
	return []Event{Created{c.Account, profile}}, nil
}

func (s State) update(c Update) ([]Event, error) {
	if err := c.Patch.Attributes.Validate("attributes"); err != nil {
		return nil, err
	}
	profile, changes := c.Patch.Apply(s.Profile)
	if err := profile.Validate(); err != nil {
		return nil, err
	}
	if len(changes) == 0 {
		return nil, nil
	}
	return []Event{Updated{changes, profile, c.Conversation}}, nil
}

func (s State) trigger(c TriggerWidget) ([]Event, error) {
	for _, err := range []error{
		domain.Text("inbox.id", c.Inbox.ID, domain.MaxIDLength),
		domain.Text("inbox.name", c.Inbox.Name, domain.MaxNameLength),
		domain.Text("inbox.channel", c.Inbox.Channel, MaxChannelLength),
		c.Attributes.Validate("attributes"),
		domain.Text("conversation", c.Conversation, domain.MaxIDLength),
		c.validateCurrent(),
	} {
		if err != nil {
			return nil, err
		}
	}
	if c.Inbox.Number < 0 {
		return nil, &domain.FieldError{Field: "inbox.number", Rule: "must not be negative"}
	}
	return []Event{WidgetTriggered{s.Profile, c.Inbox, c.Attributes, c.Conversation, c.CurrentConversation}}, nil
}

// validateCurrent returns a *domain.FieldError unless the current conversation
// is absent, or a JSON object within its limit that belongs to a conversation.
func (c TriggerWidget) validateCurrent() error {
	var rule string
	switch current := c.CurrentConversation; {
	case len(current) == 0:
		return nil
	case c.Conversation == "":
		rule = "must not be there without conversation"
	case len(current) > MaxCurrentConversation:
		rule = "must be at most " + strconv.Itoa(MaxCurrentConversation) + " bytes"
	case current[0] != '{' || !json.Valid(current):
		rule = "must be a JSON object"
	case !utf8.Valid(current):
		rule = "must be valid UTF-8"
	default:
		return nil
	}
	return &domain.FieldError{Field: "current_conversation", Rule: rule}
}

func (s State) erase(c Erase) ([]Event, error) {
	by := c.By.Completed(domain.System)
	if by.ID == s.Profile.ID {
		// They asked for it themselves: what has just been erased must not come
		// back with the fact that it was.
		by = domain.Person{ID: s.Profile.ID, Role: s.Profile.Role}
	}
	if err := by.Validate(); err != nil {
		return nil, within(err, "by")
	}
	parts := c.Parts
	if len(parts) == 0 && !s.Erased {
		parts = []Part{{}} // that there was nothing is a fact once
	}
	if len(parts) == 0 {
		return nil, nil
	}
	events := make([]Event, len(parts))
	for i, p := range parts {
		events[i] = Erased{By: by, Events: p.Events, Positions: p.Positions, Proof: p.Proof, Again: p.Again}
	}
	return events, nil
}

func within(err error, field string) error {
	if f, ok := errors.AsType[*domain.FieldError](err); ok {
		return f.Within(field)
	}
	return err
}

// Evolve returns s after e. It cannot fail: e has already happened.
func Evolve(s State, e Event) State {
	switch e := e.(type) {
	case Created:
		s.Known, s.Profile = true, e.Profile
	case Updated:
		s.Profile = e.Profile
	case WidgetTriggered:
	case Erased:
		s.Erased = true
		s.Profile = domain.Person{ID: s.Profile.ID, Role: s.Profile.Role}
	default:
		panic("contact: an event outside the closed set")
	}
	return s
}
