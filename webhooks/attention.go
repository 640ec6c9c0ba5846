package webhooks

import (
	"slices"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// MaxUnread bounds the unread messages that are counted: an inbox says "99+"
// long before that.
const MaxUnread = 100

// Attention is who of a conversation has seen and answered what, and since when
// somebody waits. A time that is zero has not come.
type Attention struct {
	// Unread are the versions of the customer's messages that no agent has read
	// or answered, newest last, at most MaxUnread.
	Unread         []int64   `json:"unread,omitempty"`
	AgentReadTo    int64     `json:"agent_read_to,omitempty"` // furthest version an agent has read or answered
	AgentSeenAt    time.Time `json:"agent_seen_at,omitzero"`  // when an agent last said that they had read
	CustomerSeenAt time.Time `json:"customer_seen_at,omitzero"`
	FirstReplyAt   time.Time `json:"first_reply_at,omitzero"` // an agent's first public answer
	// WaitingSince is when the customer began to wait for an answer: at the
	// beginning, or with the first message after the last answer.
	WaitingSince time.Time `json:"waiting_since,omitzero"`
	ActiveAt     time.Time `json:"active_at,omitzero"` // of the last message, a private note too; before one, of the beginning
	// ChangedAt is when the conversation was last another than before, and
	// ChangedBefore the time before that: typing and reading change nothing.
	ChangedAt     time.Time `json:"changed_at,omitzero"`
	ChangedBefore time.Time `json:"changed_before,omitzero"`
}

// Evolve returns a after the fact e that r records. It is a pure fold.
func (a Attention) Evolve(r *eventstore.Recorded, e conversation.Event) Attention {
	switch e := e.(type) {
	case conversation.TypingStarted, conversation.TypingStopped, conversation.MessagePlayed:
		return a
	case conversation.Read:
		switch e.By.Role {
		case domain.Agent: // a bot has not seen it for anybody
			a.AgentSeenAt = r.Time
			a = a.readTo(e.UpTo)
		case domain.Customer:
			a.CustomerSeenAt = r.Time
		case domain.Bot, domain.System:
		}
		return a
	case conversation.Created:
		a.WaitingSince, a.ActiveAt = r.Time, r.Time
	case conversation.MessagePosted:
		a.ActiveAt = r.Time
		a = a.posted(r, e)
	case conversation.MessageEdited, conversation.MessageDeleted,
		conversation.StatusChanged, conversation.Closed, conversation.Reopened,
		conversation.Assigned, conversation.Unassigned, conversation.AttributesChanged, conversation.CustomerUpdated,
		conversation.ActivityRecorded:
	default:
		panic("webhooks: an event outside the closed set")
	}
	a.ChangedAt, a.ChangedBefore = r.Time, a.ChangedAt
	return a
}

func (a Attention) posted(r *eventstore.Recorded, e conversation.MessagePosted) Attention {
	switch {
	case e.Author.Role == domain.Customer:
		a.Unread = append(slices.Clip(a.Unread), r.Version)
		if over := len(a.Unread) - MaxUnread; over > 0 {
			a.Unread = a.Unread[over:]
		}
		if a.WaitingSince.IsZero() {
			a.WaitingSince = r.Time
		}
	case !e.Private && e.Author.Role == domain.Agent:
		if a.FirstReplyAt.IsZero() {
			a.FirstReplyAt = r.Time
		}
		a.WaitingSince = time.Time{}
		a = a.readTo(r.Version)
	}
	return a
}

func (a Attention) readTo(version int64) Attention {
	a.AgentReadTo = max(a.AgentReadTo, version)
	a.Unread = slices.DeleteFunc(slices.Clone(a.Unread), func(v int64) bool { return v <= a.AgentReadTo })
	return a
}
