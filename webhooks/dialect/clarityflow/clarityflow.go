// Package clarityflow writes webhooks as Clarityflow, formerly ZipMessage, sends
// them: an envelope of type, id and time around one object, which is the
// conversation, the message or the activity that the event is about.
//
// Field by field it follows Clarityflow's public documentation and the examples
// in it, with a time format that slipped there and that receivers rely on (see
// appendSlipped). Strings are escaped as Rails does it. Where nothing public
// says, this package decides; the guide tells what.
package clarityflow

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "clarityflow@1"

// The events of the format. They stand in the body as type, and are not what
// Clarityflow's pages are called: "A message was viewed" is MessagePlayed.
const (
	ConversationCreated = "conversation_created"
	MessageCreated      = "message_created"
	MessagePlayed       = "message_played"
	NewAppointment      = "new_appointment"
	NewPurchase         = "new_purchase"
	NewFormSubmission   = "new_form_submission"
	TaskCompleted       = "task_completed"

	// ConversationTranscript is ours: Clarityflow has no event with a history.
	ConversationTranscript = "conversation_transcript"
)

//go:embed guide.md
var guide string

// Dialect writes clarityflow@1.
type Dialect struct{ vocabulary []webhooks.EventType }

// New returns the dialect.
func New() *Dialect { return &Dialect{vocabulary()} }

// Name returns "clarityflow@1".
func (*Dialect) Name() string { return Name }

// Vocabulary describes the events of the format.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// Words returns the format's name for e, if it has one.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	name, _ := nameOf(e)
	if name == "" {
		return nil
	}
	return []webhooks.Word{{Name: name, OptIn: name == ConversationTranscript}}
}

// nameOf returns what the format calls e and the object that it is about, or "".
// Private notes are nobody's business, and the format has no author for what the
// system posts.
func nameOf(e domain.Event) (name, object string) {
	switch e := e.(type) {
	case conversation.Created:
		return ConversationCreated, "conversation"
	case conversation.MessagePosted:
		if !e.Private && e.Author.Role != domain.System {
			return MessageCreated, "message"
		}
	case conversation.MessagePlayed:
		if !e.Private {
			return MessagePlayed, "message"
		}
	case conversation.Closed:
		return ConversationTranscript, "conversation"
	case conversation.ActivityRecorded:
		switch e.Kind {
		case conversation.AppointmentScheduled:
			return NewAppointment, "appointment"
		case conversation.ProductPurchased:
			return NewPurchase, "purchase"
		case conversation.FormSubmitted:
			return NewFormSubmission, "form_submission"
		case conversation.TaskCompleted:
			return TaskCompleted, "task"
		}
	}
	return "", ""
}

// bodySize is how long a body is without the texts of messages, for most: URLs
// and names make up the most of it.
const bodySize = 1536

// AppendBody appends the body of one event. The format has no history but that
// of the transcript, which is the whole, so that the endpoint's wish for less is
// not heeded.
func (*Dialect) AppendBody(dst []byte, p *webhooks.PublicEvent) ([]byte, error) {
	h := p.History
	name, object := nameOf(p.Event)
	switch {
	case name == "" || name != p.Name:
		return dst, fmt.Errorf("%s: position %d: %s is not called %q", Name, p.Position, p.Type, p.Name)
	case h == nil:
		return dst, fmt.Errorf("%s: position %d: no conversation", Name, p.Position)
	}
	at := placeOf(h, p.Account)
	switch e := p.Event.(type) {
	case conversation.Created:
		dst = appendEnvelope(slices.Grow(dst, bodySize), p, object)
		dst = append(at.appendConversation(dst, h, nil), '}')
	case conversation.Closed:
		messages := at.messages(h)
		dst = appendEnvelope(slices.Grow(dst, bodySize+len(messages)), p, object)
		dst = at.appendConversation(dst, h, messages)
		dst = append(dst, `,"revision":`...)
		dst = strconv.AppendInt(dst, int64(h.Closings), 10)
		dst = append(dst, '}')
	case conversation.MessagePosted:
		m := webhooks.NewMessage(p.Recorded, e)
		dst = appendEnvelope(slices.Grow(dst, bodySize+len(m.Text)), p, object)
		dst = at.appendMessage(dst, &m)
	case conversation.MessagePlayed:
		m := h.Message(e.MessageID)
		if m == nil || m.Private {
			// Moved in without it, or before notes were told apart here: that it
			// was played is said, and nothing of what it says.
			m = &webhooks.Message{ID: e.MessageID, CreatedAt: p.Time}
		}
		dst = appendEnvelope(slices.Grow(dst, bodySize+len(m.Text)), p, object)
		dst = at.appendMessage(dst, m)
	case conversation.ActivityRecorded:
		dst = appendEnvelope(slices.Grow(dst, bodySize), p, object)
		dst = appendActivity(dst, p, e, &at)
	}
	return append(dst, `}}`...), nil
}

// appendEnvelope appends the beginning of a body, up to the object it is about.
func appendEnvelope(dst []byte, p *webhooks.PublicEvent, object string) []byte {
	id := p.ID
	if p.Name == ConversationTranscript {
		// Receivers know an event by its id: that of the fact stays free for an
		// event of the format itself.
		id = uuid.NewSHA1(p.ID, []byte(p.Name))
	}
	dst = append(dst, `{"type":"`...)
	dst = append(dst, p.Name...)
	dst = append(dst, `","id":"`...)
	dst = append(dst, id.String()...)
	dst = append(dst, `","occurred_at":"`...)
	dst = p.Time.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000-07:00")
	dst = append(dst, `","payload":{"`...)
	dst = append(dst, object...)
	return append(dst, `":`...)
}
