// Package chatwoot writes webhooks as Chatwoot 4.14.2 sends them: each event is
// a conversation, a message or a contact as it is then, with its name behind it.
//
// Field by field it follows the server's public source and captured bodies, not
// its documentation, which describes bodies that were never sent. What Chatwoot
// reads from its database of the moment is told as of the event here. Where
// nothing public says, this package does; the guide tells what.
package chatwoot

import (
	"crypto/hmac"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "chatwoot@1"

// The events of the format, as the body names them. ConversationTranscript is an
// addition of ours.
const (
	ConversationCreated       = "conversation_created"
	ConversationUpdated       = "conversation_updated"
	ConversationStatusChanged = "conversation_status_changed"
	MessageCreated            = "message_created"
	MessageUpdated            = "message_updated"
	WebwidgetTriggered        = "webwidget_triggered"
	ConversationTypingOn      = "conversation_typing_on"
	ConversationTypingOff     = "conversation_typing_off"
	ContactCreated            = "contact_created"
	ContactUpdated            = "contact_updated"
	ConversationTranscript    = "conversation_transcript"
)

// format is the attribute under which values of this format are given.
const format = "chatwoot"

//go:embed guide.md
var guide string

// Dialect writes chatwoot@1.
type Dialect struct{ vocabulary []webhooks.EventType }

// New returns the dialect.
func New() *Dialect { return &Dialect{vocabulary()} }

// Name returns "chatwoot@1".
func (*Dialect) Name() string { return Name }

// Vocabulary describes the events of the format: Chatwoot's own in the order of
// its list, then the addition.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// Words returns the format's names for e. What becomes of a change hangs on
// whether Chatwoot shows what was changed.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	switch e := e.(type) {
	case conversation.Created:
		return words(ConversationCreated)
	case conversation.MessagePosted:
		return words(MessageCreated)
	case conversation.MessageEdited, conversation.MessageDeleted:
		return words(MessageUpdated)
	case conversation.StatusChanged, conversation.Reopened:
		return words(ConversationStatusChanged, ConversationUpdated)
	case conversation.Closed:
		transcript := webhooks.Word{Name: ConversationTranscript, OptIn: true}
		if statusOf(e.From) == resolved {
			return []webhooks.Word{transcript} // it is what it was
		}
		return append(words(ConversationStatusChanged, ConversationUpdated), transcript)
	case conversation.Assigned, conversation.Unassigned:
		return words(ConversationUpdated)
	case conversation.AttributesChanged:
		if slices.ContainsFunc(e.Changes, ofConversation) {
			return words(ConversationUpdated)
		}
	case conversation.TypingStarted:
		return words(ConversationTypingOn)
	case conversation.TypingStopped:
		return words(ConversationTypingOff)
	case conversation.CustomerUpdated:
		if slices.ContainsFunc(e.Changes, ofContact) {
			return words(ContactUpdated)
		}
	case contact.Created:
		return words(ContactCreated)
	case contact.Updated:
		if e.Conversation == "" && slices.ContainsFunc(e.Changes, ofContact) {
			return words(ContactUpdated)
		}
	case contact.Erased:
		return words(ContactUpdated)
	case contact.WidgetTriggered:
		return words(WebwidgetTriggered)
	}
	return nil
}

func words(names ...string) []webhooks.Word {
	ws := make([]webhooks.Word, len(names), len(names)+1)
	for i, name := range names {
		ws[i].Name = name
	}
	return ws
}

// AppendBody appends the body of one event.
func (*Dialect) AppendBody(dst []byte, p *webhooks.PublicEvent) ([]byte, error) {
	switch e := p.Event.(type) {
	case conversation.Event:
		if p.History == nil {
			return dst, fmt.Errorf("%s: position %d: no conversation", Name, p.Position)
		}
		return appendConversationEvent(dst, p, e)
	case contact.Event:
		if p.Contact == nil {
			return dst, fmt.Errorf("%s: position %d: no contact", Name, p.Position)
		}
		return appendContactEvent(dst, p, e)
	default:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, p.Position, p.Type)
	}
}

// usualSize is more than most bodies have beside their texts: room for it is
// made once.
const usualSize = 4 << 10

func appendConversationEvent(dst []byte, p *webhooks.PublicEvent, event conversation.Event) ([]byte, error) {
	on := newScene(p.History)
	s := &on
	switch e := event.(type) {
	case conversation.Created:
		dst = appendEvent(appendConversation(open(dst), s, p.History.LastPublic()), p.Name)
	case conversation.MessagePosted:
		m := &p.History.Messages[len(p.History.Messages)-1]
		dst = appendMessageEvent(dst, s, m, p.Name)
	case conversation.MessageEdited:
		m := p.History.Message(e.MessageID)
		if m == nil {
			m = &webhooks.Message{ID: e.MessageID, Author: e.By, Text: e.Text, Private: e.Private, CreatedAt: p.Time}
		}
		dst = appendMessageEvent(dst, s, m, p.Name)
	case conversation.MessageDeleted:
		m := p.History.Message(e.MessageID)
		if m == nil {
			m = &webhooks.Message{ID: e.MessageID, Author: e.By, Private: e.Private, CreatedAt: p.Time, DeletedAt: &p.Time}
		}
		dst = appendMessageEvent(dst, s, m, p.Name)
	case conversation.TypingStarted:
		dst = appendTyping(dst, s, p.Name, &e.Author, e.Private)
	case conversation.TypingStopped:
		dst = appendTyping(dst, s, p.Name, &e.Author, e.Private)
	case conversation.CustomerUpdated:
		dst = appendPlainContact(open(dst), &s.customer, &s.c.Account)
		dst = appendEvent(dst, p.Name)
		changes := personChanges(e.Changes, s.customer.open)
		dst = appendChanged(dst, changes, p.History.Attention.ChangedBefore, p.Time)
	case conversation.Closed:
		if p.Name == ConversationTranscript {
			dst = appendTranscript(dst, s, p.View.Notes)
			break
		}
		dst = appendChangedConversation(dst, s, p, event)
	case conversation.StatusChanged, conversation.Reopened, conversation.Assigned, conversation.Unassigned, conversation.AttributesChanged:
		dst = appendChangedConversation(dst, s, p, event)
	case conversation.Read, conversation.MessagePlayed, conversation.ActivityRecorded:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, p.Position, p.Type)
	default:
		panic("chatwoot: an event outside the closed set")
	}
	return append(dst, '}'), nil
}

// appendChangedConversation appends a conversation and what of it changed. On a
// change of status the server sends null: it asks for the change after it has
// forgotten it.
func appendChangedConversation(dst []byte, s *scene, p *webhooks.PublicEvent, event conversation.Event) []byte {
	dst = appendEvent(appendConversation(open(dst), s, p.History.LastPublic()), p.Name)
	if p.Name == ConversationStatusChanged {
		return append(dst, `,"changed_attributes":null`...)
	}
	return appendChanged(dst, conversationChanges(s, event), p.History.Attention.ChangedBefore, p.Time)
}

func appendMessageEvent(dst []byte, s *scene, m *webhooks.Message, name string) []byte {
	const copies = 3 // of the text in one body
	dst = slices.Grow(dst, usualSize+copies*len(m.Text))
	dst = append(dst, '{')
	dst = appendMessage(dst, s, m)
	return appendEvent(dst, name)
}

// appendTyping appends that somebody types or does not any more. The name stands
// first, unlike everywhere else.
func appendTyping(dst []byte, s *scene, name string, who *domain.Person, private bool) []byte {
	dst = append(open(dst), `"event":"`...)
	dst = append(dst, name...)
	dst = append(dst, `","user":`...)
	typist := newParty(who)
	dst = appendSender(dst, &typist, &s.c.Account)
	dst = append(dst, `,"conversation":{`...)
	dst = appendConversation(dst, s, s.h.LastPublic())
	dst = append(dst, `},"is_private":`...)
	return strconv.AppendBool(dst, private)
}

func appendContactEvent(dst []byte, p *webhooks.PublicEvent, event contact.Event) ([]byte, error) {
	c := p.Contact
	who := newParty(&c.Profile)
	dst = open(dst)
	switch e := event.(type) {
	case contact.Created:
		dst = appendEvent(appendPlainContact(dst, &who, &c.Account), p.Name)
	case contact.Updated:
		dst = appendEvent(appendPlainContact(dst, &who, &c.Account), p.Name)
		dst = appendChanged(dst, personChanges(e.Changes, who.open), c.UpdatedBefore, p.Time)
	case contact.Erased:
		// What was erased is not told once more as what was before.
		dst = appendEvent(appendPlainContact(dst, &who, &c.Account), p.Name)
		dst = appendChanged(dst, nil, c.UpdatedBefore, p.Time)
	case contact.WidgetTriggered:
		dst = appendWidget(dst, c, &who, &e, p.Time)
	default:
		panic("chatwoot: an event outside the closed set")
	}
	return append(dst, '}'), nil
}

// open begins a body of usual size.
func open(dst []byte) []byte { return append(slices.Grow(dst, usualSize), '{') }

// appendEvent appends the name of the event, which is one of ours.
func appendEvent(dst []byte, name string) []byte {
	dst = append(dst, `,"event":"`...)
	dst = append(dst, name...)
	return append(dst, '"')
}

// Header names of Chatwoot (lib/webhooks/trigger.rb), in lower case.
const (
	HeaderDelivery  = "x-chatwoot-delivery"
	HeaderTimestamp = "x-chatwoot-timestamp"
	HeaderSignature = "x-chatwoot-signature"
)

// Headers returns Chatwoot's headers for one attempt: the id of the delivery,
// the same over attempts, and, if there is a secret, the time and the signature
// "sha256=<hex of HMAC-SHA256 over timestamp.body>". The key is the newest secret
// as it was shown, its prefix included. Chatwoot has no second signature for a
// secret that was replaced.
func (*Dialect) Headers(webhookID string, at time.Time, secrets []string, body []byte) map[string]string {
	headers := map[string]string{HeaderDelivery: deliveryID(webhookID)}
	if len(secrets) == 0 {
		return headers
	}
	seconds := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secrets[0]))
	_, _ = mac.Write([]byte(seconds + ".")) // a hash does not fail
	_, _ = mac.Write(body)
	headers[HeaderTimestamp] = seconds
	headers[HeaderSignature] = "sha256=" + hex.EncodeToString(mac.Sum(nil))
	return headers
}

// deliveryID returns a UUID that looks as if it had been made by chance (version
// 4), as Chatwoot's have been, and belongs to the webhook-id.
func deliveryID(webhookID string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{Name, "delivery", webhookID}, "\x00")))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
