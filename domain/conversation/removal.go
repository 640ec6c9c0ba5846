package conversation

import (
	"github.com/google/uuid"

	"verbatim/domain"
)

// A Removal takes one person out of the events of one conversation, which it is
// given in order, from the first. What they wrote goes wherever it stands, with
// all that is known of them; of a conversation of which they are the customer
// also what describes it. What others wrote stays, whomever it speaks of.
type Removal struct {
	who      *domain.Removal
	customer bool            // the conversation is the person's own
	messages map[string]bool // ids of messages that the person wrote
}

// NewRemoval returns the removal of a person from a conversation.
func NewRemoval(who *domain.Removal) *Removal {
	return &Removal{who: who, messages: make(map[string]bool)}
}

// Concerns reports whether the person is the customer of the conversation or
// wrote in it, as far as it was read: whether its further events can be theirs
// although they do not name them.
func (x *Removal) Concerns() bool { return x.customer || len(x.messages) > 0 }

// Apply returns e without what is the person's, and whether that is less than
// there was. What is left of an event is left alone when it comes again.
func (x *Removal) Apply(e Event) (left Event, changed bool) {
	person := func(p *domain.Person) {
		who, c := x.who.Person(*p)
		*p, changed = who, changed || c
	}
	optional := func(p **domain.Person) {
		who, c := x.who.Optional(*p)
		*p, changed = who, changed || c
	}
	text := func(s *string, left string) {
		changed = changed || *s != left
		*s = left
	}
	attributes := func(a *domain.Attributes) {
		numbers := domain.GivenNumbers(*a)
		changed = changed || !a.Equal(numbers)
		*a = numbers
	}
	switch e := e.(type) {
	case Created:
		x.customer = x.who.Is(e.Customer.ID)
		person(&e.Customer)
		if x.customer {
			text(&e.Subject, "")
			attributes(&e.Attributes)
		}
		return e, changed
	case MessagePosted:
		if !x.who.Is(e.Author.ID) {
			return e, false
		}
		x.messages[e.MessageID] = true
		person(&e.Author)
		text(&e.Text, "")
		text(&e.ContentType, DefaultContentType)
		text(&e.ExternalID, "")
		if uuid.Validate(e.ReplyTo) != nil {
			text(&e.ReplyTo, "") // whoever sends a message may write anything there
		}
		changed = changed || len(e.ContentAttributes) > 0 || len(e.Attachments) > 0
		e.ContentAttributes, e.Attachments = nil, nil
		attributes(&e.Attributes)
		return e, changed
	case MessageEdited:
		if x.theirs(e.MessageID, &e.By) {
			text(&e.Previous, "")
			text(&e.Text, "")
		}
		person(&e.By)
		return e, changed
	case MessageDeleted:
		person(&e.By)
		return e, changed
	case TypingStarted:
		person(&e.Author)
		return e, changed
	case TypingStopped:
		person(&e.Author)
		return e, changed
	case StatusChanged:
		if x.said(e.By) && e.Reason != reopenedByCustomer {
			text(&e.Reason, "")
		}
		optional(&e.By)
		return e, changed
	case Closed:
		if x.said(e.By) {
			text(&e.ClosedType, DefaultClosedType)
		}
		optional(&e.By)
		return e, changed
	case Reopened:
		person(&e.By)
		return e, changed
	case Assigned:
		person(&e.Agent)
		optional(&e.Previous)
		optional(&e.By)
		return e, changed
	case Unassigned:
		person(&e.Previous)
		optional(&e.By)
		return e, changed
	case AttributesChanged:
		if x.customer {
			// The others are words of those who work on it.
			e.Changes, changed = domain.WithoutValues(e.Changes, "priority", "labels", "team")
		}
		optional(&e.By)
		return e, changed
	case CustomerUpdated:
		if x.who.Is(e.Customer.ID) {
			x.customer = true
			e.Changes, changed = domain.WithoutValues(e.Changes)
		}
		person(&e.Customer)
		optional(&e.By)
		return e, changed
	case Read:
		person(&e.By)
		return e, changed
	case MessagePlayed:
		person(&e.Viewer)
		return e, changed
	case ActivityRecorded:
		if x.customer || x.said(e.By) {
			changed = len(e.Data) > 0
			e.Data = domain.Attributes{}
		}
		optional(&e.By)
		return e, changed
	default:
		panic("conversation: an event outside the closed set")
	}
}

// theirs reports whether a message that was edited is the person's. Only an agent
// edits what others wrote.
func (x *Removal) theirs(messageID string, by *domain.Person) bool {
	return x.messages[messageID] || by.Role != domain.Agent && x.who.Is(by.ID)
}

func (x *Removal) said(by *domain.Person) bool { return by != nil && x.who.Is(by.ID) }
