// Package talkus writes webhooks as Talkus sends them: six events, each with the
// visitor, the agent once there is one, and all that has been said so far, twice
// over: as a transcript and as a list.
//
// Field by field it follows Talkus' public documentation and its samples, from
// which it differs in nothing. Where those say nothing, this package does; the
// guide tells what.
package talkus

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// Name is the dialect and the version of its bytes.
const Name = "talkus@1"

// The events of the format, as the body names them.
const (
	Start          = "start"
	Open           = "open"
	End            = "end"
	Email          = "email"
	MessageVisitor = "messageVisitor"
	MessageAgent   = "messageAgent"
)

//go:embed guide.md
var guide string

// Dialect writes talkus@1.
type Dialect struct {
	vocabulary []webhooks.EventType

	transcript webhooks.Fragment // the lines of message
	messages   webhooks.Fragment // the items of messages
}

// New returns the dialect.
func New() *Dialect {
	return &Dialect{
		vocabulary: vocabulary(),
		transcript: webhooks.Fragment{Key: Name + "/message", Separator: `\n`, Append: appendLine},
		messages:   webhooks.Fragment{Key: Name + "/messages", Separator: ",", Append: appendMessage},
	}
}

// Name returns "talkus@1".
func (*Dialect) Name() string { return Name }

// Vocabulary describes the six events of the format.
func (d *Dialect) Vocabulary() []webhooks.EventType { return d.vocabulary }

// Guide tells what an integrator should know.
func (*Dialect) Guide() string { return guide }

// Words returns the format's name for e, if it has one. Notes of agents to each
// other are no messages to it, and neither is what the system says.
func (*Dialect) Words(e domain.Event) []webhooks.Word {
	name := ""
	switch e := e.(type) {
	case conversation.Created:
		name = Start
	case conversation.Assigned:
		name = Open
	case conversation.Closed:
		name = End
	case conversation.CustomerUpdated:
		if slices.ContainsFunc(e.Changes, givesEmail) {
			name = Email
		}
	case conversation.MessagePosted:
		switch {
		case e.Private:
		case e.Author.Role == domain.Customer:
			name = MessageVisitor
		case e.Author.Role == domain.Agent || e.Author.Role == domain.Bot:
			name = MessageAgent
		}
	}
	if name == "" {
		return nil
	}
	return []webhooks.Word{{Name: name}}
}

// givesEmail says whether c is the e-mail of somebody who had given none.
func givesEmail(c domain.Change) bool {
	unset := func(v json.RawMessage) bool {
		return len(v) == 0 || string(v) == "null" || string(v) == `""`
	}
	return c.Key == "email" && unset(c.Previous) && !unset(c.Current)
}

// bodySize is what a body takes beside its messages, give or take: an identity
// and a Slack user.
const bodySize = 4 << 10

// AppendBody appends the body of one event: a list of one. The format has the
// whole history always, so that the endpoint's wish for less is not heeded.
func (d *Dialect) AppendBody(dst []byte, p *webhooks.PublicEvent) ([]byte, error) {
	h := p.History
	if h == nil {
		return dst, fmt.Errorf("%s: position %d: no conversation", Name, p.Position)
	}
	agent := h.Agent
	switch e := p.Event.(type) {
	case conversation.Created, conversation.Assigned, conversation.CustomerUpdated, conversation.MessagePosted:
	case conversation.Closed:
		if agent == nil && e.By != nil && (e.By.Role == domain.Agent || e.By.Role == domain.Bot) {
			agent = e.By // who said .end, without ever having been in it
		}
	default:
		return dst, fmt.Errorf("%s: position %d: no word for %s", Name, p.Position, p.Type)
	}
	transcript := h.Items(&d.transcript, -1, 0).Bytes
	messages := h.Items(&d.messages, -1, 0).Bytes
	dst = slices.Grow(dst, bodySize+len(transcript)+len(messages))

	c := &h.Conversation
	dst = append(dst, `[{"event":`...)
	dst = webhooks.AppendStringPlain(dst, p.Name)
	dst = append(dst, `,"createdAt":`...)
	dst = webhooks.AppendMillis(dst, p.Time)
	dst = append(dst, `,"channelName":`...)
	dst = webhooks.AppendStringPlain(dst, channelName(h))
	dst = append(dst, `,"visitorName":`...)
	dst = webhooks.AppendStringPlain(dst, or(given(c.Attributes, "visitorName"), visitorName(&c.Customer)))
	dst = append(dst, `,"visitorId":"`...)
	dst = append(dst, visitorID(&c.Customer)...)
	dst = append(dst, `","identity":`...)
	dst = appendIdentity(dst, c)
	if agent != nil {
		dst = append(dst, `,"agent":`...)
		dst = appendAgent(dst, p.Account, agent)
	}
	dst = append(dst, `,"message":"`...)
	dst = append(dst, transcript...)
	dst = append(dst, `","messages":[`...)
	dst = append(dst, messages...)
	return append(dst, `]}]`...), nil
}

// given returns a string that a person, a message or a conversation carries for
// this format, to stand in place of one derived, or "".
func given(a domain.Attributes, name string) string {
	if !bytes.Contains(a.Get(format), []byte(name)) {
		return "" // at once: whole users of Slack stand there too, and take long to read
	}
	return a.Object(format).String(name)
}

// format is the attribute that bears what is given for this format.
const format = "talkus"

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
