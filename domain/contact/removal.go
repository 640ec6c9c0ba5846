package contact

import (
	"encoding/json"

	"github.com/google/uuid"

	"verbatim/domain"
)

// Remove returns e without what is the person's, and whether that is less than
// there was. What is left of an event is left alone when it comes again.
func Remove(who *domain.Removal, e Event) (left Event, changed bool) {
	person := func(p *domain.Person) {
		left, c := who.Person(*p)
		*p, changed = left, changed || c
	}
	switch e := e.(type) {
	case Created:
		person(&e.Profile)
		return e, changed
	case Updated:
		if who.Is(e.Profile.ID) {
			e.Changes, changed = domain.WithoutValues(e.Changes)
		}
		person(&e.Profile)
		return e, changed
	case WidgetTriggered:
		theirs := who.Is(e.Contact.ID)
		person(&e.Contact)
		if theirs {
			numbers := domain.GivenNumbers(e.Attributes)
			changed = changed || !e.Attributes.Equal(numbers)
			e.Attributes = numbers
			if e.Conversation != "" && uuid.Validate(e.Conversation) != nil {
				e.Conversation, changed = "", true
			}
		}
		// A snapshot is told whole or not at all: it has a message, a subject, and
		// all that describes a visit.
		if len(e.CurrentConversation) > 0 && (theirs || shows(who, e.CurrentConversation)) {
			e.CurrentConversation, changed = nil, true
		}
		return e, changed
	case Erased:
		person(&e.By)
		return e, changed
	default:
		panic("contact: an event outside the closed set")
	}
}

// shows reports whether a snapshot of a conversation shows the person: as its
// customer, its assignee, or who wrote last. One that cannot be read is nobody's.
func shows(who *domain.Removal, snapshot json.RawMessage) bool {
	type named struct {
		ID string `json:"id"`
	}
	var s struct {
		Conversation struct {
			Customer named `json:"customer"`
			Assignee named `json:"assignee"`
		} `json:"conversation"`
		LastMessage struct {
			Author named `json:"author"`
		} `json:"last_message"`
	}
	if json.Unmarshal(snapshot, &s) != nil {
		return false
	}
	return who.Is(s.Conversation.Customer.ID) || who.Is(s.Conversation.Assignee.ID) || who.Is(s.LastMessage.Author.ID)
}
