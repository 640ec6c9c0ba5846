// Package conversation holds the rules of one support conversation: what may be
// asked of it, what follows, and what it remembers in order to decide.
package conversation

import (
	"encoding/json"
	"slices"
	"time"

	"verbatim/domain"
)

// Status says where the conversation stands.
type Status string

// The statuses. Closed is reached by Close alone and left by Reopen alone.
const (
	Open        Status = "open"
	Pending     Status = "pending"
	Snoozed     Status = "snoozed"
	Resolved    Status = "resolved"
	StatusEnded Status = "closed"
)

// Priority says how urgent the conversation is; "" is none.
type Priority string

// The priorities.
const (
	Low    Priority = "low"
	Medium Priority = "medium"
	High   Priority = "high"
	Urgent Priority = "urgent"
)

// A Team is a group of agents that a conversation is given to.
type Team struct {
	ID     string `json:"id"`
	Number int64  `json:"number,omitempty"`
	Name   string `json:"name,omitempty"`
}

// StopReason says why somebody stopped typing.
type StopReason string

// The reasons.
const (
	StopExplicit StopReason = "explicit" // they said so
	StopExpired  StopReason = "expired"  // nothing was heard of them in time
	StopMessage  StopReason = "message"  // they sent what they wrote
	StopLeft     StopReason = "left"     // the conversation was closed over it
)

// ActivityKind is a kind of activity around a conversation.
type ActivityKind string

// The kinds.
const (
	AppointmentScheduled ActivityKind = "appointment_scheduled"
	ProductPurchased     ActivityKind = "product_purchased"
	FormSubmitted        ActivityKind = "form_submitted"
	TaskCompleted        ActivityKind = "task_completed"
)

// StateSchema is the version of State's stored shape. A snapshot of another
// version is ignored and the stream read again.
const StateSchema = 1

// State is what a conversation must remember in order to decide, and no more:
// no messages, and every list bounded by a limit of this package. The zero
// State is a conversation that was never created. States share memory and are
// therefore never changed in place.
type State struct {
	Version    int64             `json:"version"`
	Status     Status            `json:"status"`
	Customer   domain.Person     `json:"customer"`
	People     []domain.Person   `json:"people,omitempty"` // agents, bots and further customers who took part
	Assignee   *domain.Person    `json:"assignee,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Priority   Priority          `json:"priority,omitempty"`
	Labels     []string          `json:"labels,omitempty"`
	Team       *Team             `json:"team,omitempty"`
	Attributes domain.Attributes `json:"attributes,omitempty"`
	Typing     []Typist          `json:"typing,omitempty"`
	Horizons   []Horizon         `json:"horizons,omitempty"`
}

// A Typist is a person who is typing.
type Typist struct {
	Author  domain.Person `json:"author"`
	Private bool          `json:"private,omitempty"`
	Until   time.Time     `json:"until"`
}

// A Horizon is how far a person has read.
type Horizon struct {
	PersonID string `json:"person_id"`
	UpTo     int64  `json:"up_to"`
}

// Evolve returns s after e. It cannot fail: e has already happened.
func Evolve(s State, e Event) State {
	s.Version++
	switch e := e.(type) {
	case Created:
		s.Status = Open
		s.Customer = e.Customer
		s.Subject = e.Subject
		s.Attributes = e.Attributes
	case MessagePosted:
		s = s.met(e.Author)
	case MessageEdited:
		s = s.met(e.By)
	case MessageDeleted:
		s = s.met(e.By)
	case TypingStarted:
		s = s.met(e.Author)
		s.Typing = append(slices.Clip(s.withoutTypist(e.Author.ID)), Typist{e.Author, e.Private, e.ExpiresAt})
	case TypingStopped:
		s.Typing = s.withoutTypist(e.Author.ID)
	case StatusChanged:
		s.Status = e.To
		s = s.metBy(e.By)
	case Closed:
		s.Status = StatusEnded
		s = s.metBy(e.By)
	case Reopened:
		s.Status = Open
		s = s.met(e.By)
	case Assigned:
		s = s.met(e.Agent)
		s = s.metBy(e.By)
		s.Assignee = &e.Agent
	case Unassigned:
		s = s.metBy(e.By)
		s.Assignee = nil
	case AttributesChanged:
		s = s.metBy(e.By)
		s = s.changed(e.Changes)
	case CustomerUpdated:
		s = s.metBy(e.By)
		s.Customer = e.Customer
	case Read:
		s = s.met(e.By)
		s.Horizons = slices.DeleteFunc(slices.Clone(s.Horizons), func(h Horizon) bool { return h.PersonID == e.By.ID })
		s.Horizons = append(s.Horizons, Horizon{e.By.ID, e.UpTo})
	case MessagePlayed:
		s = s.met(e.Viewer)
	case ActivityRecorded:
		s = s.metBy(e.By)
	default:
		panic("conversation: an event outside the closed set")
	}
	return s
}

// met returns s with p among the people it knows. The system is nobody.
func (s State) met(p domain.Person) State {
	if p.Role == domain.System || p.ID == s.Customer.ID {
		return s
	}
	for i := range s.People {
		if s.People[i].ID != p.ID {
			continue
		}
		if !s.People[i].Equal(p) {
			s.People = slices.Clone(s.People)
			s.People[i] = p
		}
		return s
	}
	s.People = append(slices.Clip(s.People), p)
	return s
}

func (s State) metBy(p *domain.Person) State {
	if p == nil {
		return s
	}
	return s.met(*p)
}

func (s State) withoutTypist(id string) []Typist {
	return slices.DeleteFunc(slices.Clone(s.Typing), func(t Typist) bool { return t.Author.ID == id })
}

func (s State) typist(id string) (Typist, bool) {
	i := slices.IndexFunc(s.Typing, func(t Typist) bool { return t.Author.ID == id })
	if i < 0 {
		return Typist{}, false
	}
	return s.Typing[i], true
}

func (s State) horizon(id string) int64 {
	i := slices.IndexFunc(s.Horizons, func(h Horizon) bool { return h.PersonID == id })
	if i < 0 {
		return 0
	}
	return s.Horizons[i].UpTo
}

// attributePrefix stands before the key of an open attribute in a change.
const attributePrefix = "attributes."

func (s State) changed(changes []domain.Change) State {
	for _, c := range changes {
		switch c.Key {
		case "subject":
			s.Subject = decode[string](c.Current)
		case "priority":
			s.Priority = decode[Priority](c.Current)
		case "labels":
			s.Labels = decode[[]string](c.Current)
		case "team":
			s.Team = decode[*Team](c.Current)
		default:
			s.Attributes = s.Attributes.Changed(attributePrefix, c)
		}
	}
	return s
}

// decode reads a value that Decide wrote; null reads as the zero value.
func decode[T any](raw json.RawMessage) T {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		panic("conversation: a recorded change does not decode: " + err.Error())
	}
	return v
}
