package webhooks

import (
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/eventstore"
)

// A Contact is a person that an account knows, as of one of the versions of
// their stream.
type Contact struct {
	ID        string // of the stream
	Number    int64
	Version   int64
	Account   domain.Account
	Profile   domain.Person
	Erased    bool
	CreatedAt time.Time
	UpdatedAt time.Time // opening the widget does not update a person
	// UpdatedBefore is when they were updated the time before that; the formats
	// that tell a change tell this one too.
	UpdatedBefore time.Time
}

// Evolve returns c after the fact e that r records. It is a pure fold: the same
// stream gives the same contact, at every version.
func (c Contact) Evolve(r *eventstore.Recorded, e contact.Event) Contact {
	c.Version = r.Version
	switch e := e.(type) {
	case contact.Created:
		_, c.ID = eventstore.SplitStream(r.Stream)
		c.Account, c.Profile, c.CreatedAt = e.Account, e.Profile, r.Time
		c.Number = r.Position
	case contact.Updated:
		c.Profile = e.Profile
	case contact.WidgetTriggered:
		return c
	case contact.Erased:
		c.Erased = true
		c.Profile = domain.Person{ID: c.Profile.ID, Role: domain.Customer}
	default:
		panic("webhooks: an event outside the closed set")
	}
	if c.Profile.Number == 0 {
		c.Profile.Number = c.Number
	}
	c.UpdatedAt, c.UpdatedBefore = r.Time, c.UpdatedAt
	return c
}
