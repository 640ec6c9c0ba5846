package verbatim

import (
	"encoding/json"
	"strconv"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// The shapes below are those that the HTTP API and the log have for the same
// things, written by hand so that the bytes of this version of the dialect hang
// on nothing but this file. A test holds them against encoding/json.

// An object appends the members of a JSON object.
type object struct {
	dst   []byte
	comma bool
}

func begin(dst []byte) object { return object{dst: append(dst, '{')} }

func (o *object) end() []byte { return append(o.dst, '}') }

func (o *object) key(k string) {
	if o.comma {
		o.dst = append(o.dst, ',')
	}
	o.comma = true
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, k...)
	o.dst = append(o.dst, '"', ':')
}

func (o *object) text(k, v string) {
	o.key(k)
	o.dst = webhooks.AppendString(o.dst, v)
}

func (o *object) someText(k, v string) {
	if v != "" {
		o.text(k, v)
	}
}

func (o *object) number(k string, v int64) {
	o.key(k)
	o.dst = strconv.AppendInt(o.dst, v, 10)
}

func (o *object) someNumber(k string, v int64) {
	if v != 0 {
		o.number(k, v)
	}
}

func (o *object) truth(k string, v bool) {
	o.key(k)
	o.dst = strconv.AppendBool(o.dst, v)
}

// ifTrue says what is true and leaves out what is not.
func (o *object) ifTrue(k string, v bool) {
	if v {
		o.truth(k, true)
	}
}

func (o *object) null(k string) {
	o.key(k)
	o.dst = append(o.dst, "null"...)
}

func (o *object) time(k string, v time.Time) {
	o.key(k)
	o.dst = append(v.UTC().AppendFormat(append(o.dst, '"'), time.RFC3339Nano), '"')
}

func (o *object) someTime(k string, v *time.Time) {
	if v != nil {
		o.time(k, *v)
	}
}

// timeIfAny leaves out a time that has not come.
func (o *object) timeIfAny(k string, v time.Time) {
	if !v.IsZero() {
		o.time(k, v)
	}
}

func (o *object) attributes(k string, v domain.Attributes) {
	o.key(k)
	o.dst = webhooks.AppendAttributes(o.dst, v)
}

func (o *object) someAttributes(k string, v domain.Attributes) {
	if len(v) > 0 {
		o.attributes(k, v)
	}
}

func (o *object) person(k string, p *domain.Person) {
	o.key(k)
	o.dst = appendPerson(o.dst, p)
}

func (o *object) somePerson(k string, p *domain.Person) {
	if p != nil {
		o.person(k, p)
	}
}

func (o *object) account(a *domain.Account) {
	o.key("account")
	in := begin(o.dst)
	in.text("id", a.ID)
	in.someNumber("number", a.Number)
	in.someText("name", a.Name)
	o.dst = in.end()
}

func (o *object) inbox(i *domain.Inbox) {
	o.key("inbox")
	in := begin(o.dst)
	in.text("id", i.ID)
	in.someNumber("number", i.Number)
	in.someText("name", i.Name)
	in.someText("channel", i.Channel)
	o.dst = in.end()
}

func (o *object) changes(cs []domain.Change) {
	o.key("changes")
	o.dst = append(o.dst, '[')
	for i := range cs {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		in := begin(o.dst)
		in.text("key", cs[i].Key)
		in.key("previous")
		in.dst = webhooks.AppendRaw(in.dst, cs[i].Previous)
		in.key("current")
		in.dst = webhooks.AppendRaw(in.dst, cs[i].Current)
		o.dst = in.end()
	}
	o.dst = append(o.dst, ']')
}

func appendPerson(dst []byte, p *domain.Person) []byte {
	o := begin(dst)
	o.text("id", p.ID)
	o.someText("role", string(p.Role))
	o.someNumber("number", p.Number)
	o.profile(p)
	return o.end()
}

// profile writes what is known of a person beside id, role and number.
func (o *object) profile(p *domain.Person) {
	o.someText("name", p.Name)
	o.someText("first_name", p.FirstName)
	o.someText("last_name", p.LastName)
	o.someText("email", p.Email)
	o.someText("phone", p.Phone)
	o.someText("avatar_url", p.AvatarURL)
	o.someText("identifier", p.Identifier)
	o.ifTrue("is_bot", p.IsBot)
	o.someAttributes("attributes", p.Attributes)
}

func appendConversation(dst []byte, c *webhooks.Conversation) []byte {
	o := begin(dst)
	o.text("id", c.ID)
	o.number("number", c.Number)
	o.number("version", c.Version)
	o.text("status", string(c.Status))
	o.account(&c.Account)
	o.inbox(&c.Inbox)
	o.someText("channel", c.Channel)
	o.someText("subject", c.Subject)
	o.someText("priority", string(c.Priority))
	o.key("labels")
	o.dst = append(o.dst, '[')
	for i, l := range c.Labels {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = webhooks.AppendString(o.dst, l)
	}
	o.dst = append(o.dst, ']')
	if c.Team == nil {
		o.null("team")
	} else {
		o.key("team")
		in := begin(o.dst)
		in.text("id", c.Team.ID)
		in.someNumber("number", c.Team.Number)
		in.someText("name", c.Team.Name)
		o.dst = in.end()
	}
	o.person("customer", &c.Customer)
	if c.Assignee == nil {
		o.null("assignee")
	} else {
		o.person("assignee", c.Assignee)
	}
	o.attributes("attributes", c.Attributes)
	o.someTime("snoozed_until", c.SnoozedUntil)
	o.someText("closed_type", c.ClosedType)
	o.time("created_at", c.CreatedAt)
	o.time("updated_at", c.UpdatedAt)
	o.someTime("closed_at", c.ClosedAt)
	o.number("message_count", c.Messages)
	return o.end()
}

func appendMessage(dst []byte, m *webhooks.Message) []byte {
	o := begin(dst)
	o.text("id", m.ID)
	o.number("number", m.Number)
	o.number("version", m.Version)
	o.person("author", &m.Author)
	o.text("text", m.Text)
	o.text("content_type", m.ContentType)
	o.someAttributes("content_attributes", m.ContentAttributes)
	if len(m.Attachments) > 0 {
		o.key("attachments")
		o.dst = append(o.dst, '[')
		for i := range m.Attachments {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			o.dst = appendAttachment(o.dst, &m.Attachments[i])
		}
		o.dst = append(o.dst, ']')
	}
	o.truth("private", m.Private)
	o.someText("reply_to", m.ReplyTo)
	o.someText("client_id", m.ExternalID)
	o.someAttributes("attributes", m.Attributes)
	o.time("created_at", m.CreatedAt)
	o.someTime("edited_at", m.EditedAt)
	o.someTime("deleted_at", m.DeletedAt)
	return o.end()
}

func appendAttachment(dst []byte, a *conversation.Attachment) []byte {
	o := begin(dst)
	o.someText("file_type", a.FileType)
	o.someText("content_type", a.ContentType)
	o.text("url", a.URL)
	o.someText("name", a.Name)
	o.someText("extension", a.Extension)
	o.someNumber("size", a.Size)
	o.someNumber("width", int64(a.Width))
	o.someNumber("height", int64(a.Height))
	return o.end()
}

func appendContact(dst []byte, c *webhooks.Contact) []byte {
	o := begin(dst)
	o.text("id", c.Profile.ID)
	o.number("number", c.Number)
	o.number("version", c.Version)
	o.someText("role", string(c.Profile.Role))
	o.profile(&c.Profile)
	o.ifTrue("erased", c.Erased)
	o.time("created_at", c.CreatedAt)
	o.time("updated_at", c.UpdatedAt)
	return o.end()
}

func appendAttention(dst []byte, a *webhooks.Attention) []byte {
	o := begin(dst)
	if len(a.Unread) > 0 {
		o.key("unread")
		o.dst = append(o.dst, '[')
		for i, v := range a.Unread {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			o.dst = strconv.AppendInt(o.dst, v, 10)
		}
		o.dst = append(o.dst, ']')
	}
	o.someNumber("agent_read_to", a.AgentReadTo)
	o.timeIfAny("agent_seen_at", a.AgentSeenAt)
	o.timeIfAny("customer_seen_at", a.CustomerSeenAt)
	o.timeIfAny("first_reply_at", a.FirstReplyAt)
	o.timeIfAny("waiting_since", a.WaitingSince)
	o.timeIfAny("active_at", a.ActiveAt)
	o.timeIfAny("changed_at", a.ChangedAt)
	o.timeIfAny("changed_before", a.ChangedBefore)
	return o.end()
}

// someSnapshot writes a conversation as a contact's event keeps it. What is no
// snapshot is left out: it came in by import, and nobody could read it.
func (o *object) someSnapshot(k string, raw json.RawMessage, notes bool) {
	var s webhooks.Snapshot
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || s.Conversation.ID != webhooks.AsUUID(s.Conversation.ID) {
		return
	}
	o.key(k)
	in := begin(o.dst)
	in.key("conversation")
	in.dst = appendConversation(in.dst, &s.Conversation)
	in.key("attention")
	in.dst = appendAttention(in.dst, &s.Attention)
	if m := s.LastMessage; m != nil && (notes || !m.Private) {
		in.key("last_message")
		in.dst = appendMessage(in.dst, m)
	}
	if a := s.Answered; a != nil {
		in.key("answered")
		answered := begin(in.dst)
		answered.number("number", a.Number)
		answered.someAttributes("attributes", a.Attributes)
		in.dst = answered.end()
	}
	o.dst = in.end()
}

// conversationFact writes the members of a fact as the log has them, and before
// them the message that it is about. A private note in a view that has none is
// there without what it says.
func (o *object) conversationFact(f *webhooks.Fact, e conversation.Event, h *webhooks.History, notes bool) {
	switch e := e.(type) {
	case conversation.Created:
		o.account(&e.Account)
		o.inbox(&e.Inbox)
		o.someText("channel", e.Channel)
		o.person("customer", &e.Customer)
		o.someText("subject", e.Subject)
		o.someAttributes("attributes", e.Attributes)
	case conversation.MessagePosted:
		m := webhooks.NewMessage(f.Recorded, e) // its members are those of the fact
		o.message(&m, notes)
	case conversation.MessageEdited:
		o.message(h.Message(e.MessageID), notes)
		o.text("message_id", e.MessageID)
		if e.Private && !notes {
			e.Previous, e.Text = "", ""
		}
		o.text("previous", e.Previous)
		o.text("text", e.Text)
		o.ifTrue("private", e.Private)
		o.person("by", &e.By)
	case conversation.MessageDeleted:
		o.message(h.Message(e.MessageID), notes)
		o.text("message_id", e.MessageID)
		o.ifTrue("private", e.Private)
		o.person("by", &e.By)
	case conversation.TypingStarted:
		o.person("author", &e.Author)
		o.ifTrue("private", e.Private)
		o.time("expires_at", e.ExpiresAt)
	case conversation.TypingStopped:
		o.person("author", &e.Author)
		o.ifTrue("private", e.Private)
		o.text("reason", string(e.Reason))
	case conversation.StatusChanged:
		o.text("from", string(e.From))
		o.text("to", string(e.To))
		o.someText("reason", e.Reason)
		o.somePerson("by", e.By)
		o.someTime("snoozed_until", e.SnoozedUntil)
	case conversation.Closed:
		o.someText("from", string(e.From))
		o.text("closed_type", e.ClosedType)
		o.somePerson("by", e.By)
	case conversation.Reopened:
		o.person("by", &e.By)
	case conversation.Assigned:
		o.person("agent", &e.Agent)
		o.somePerson("previous", e.Previous)
		o.somePerson("by", e.By)
	case conversation.Unassigned:
		o.person("previous", &e.Previous)
		o.somePerson("by", e.By)
	case conversation.AttributesChanged:
		o.changes(e.Changes)
		o.somePerson("by", e.By)
	case conversation.CustomerUpdated:
		o.changes(e.Changes)
		o.person("customer", &e.Customer)
		o.somePerson("by", e.By)
	case conversation.Read:
		o.person("by", &e.By)
		o.number("up_to", e.UpTo)
	case conversation.MessagePlayed:
		o.text("message_id", e.MessageID)
		o.ifTrue("private", e.Private)
		o.person("viewer", &e.Viewer)
	case conversation.ActivityRecorded:
		o.text("kind", string(e.Kind))
		o.attributes("data", e.Data)
		o.somePerson("by", e.By)
	default:
		panic("verbatim: an event outside the closed set")
	}
}

// message writes a message as it is now, or null if there is none.
func (o *object) message(m *webhooks.Message, notes bool) {
	if m == nil {
		o.null("message")
		return
	}
	if m.Private && !notes {
		unsaid := *m
		unsaid.Text, unsaid.ContentAttributes, unsaid.Attachments, unsaid.Attributes = "", nil, nil, nil
		m = &unsaid
	}
	o.key("message")
	o.dst = appendMessage(o.dst, m)
}

// contactFact writes the members of a fact as the log has them.
func (o *object) contactFact(e contact.Event, notes bool) {
	switch e := e.(type) {
	case contact.Created:
		o.account(&e.Account)
		o.person("profile", &e.Profile)
	case contact.Updated:
		o.changes(e.Changes)
		o.person("profile", &e.Profile)
		o.someText("conversation", e.Conversation)
	case contact.WidgetTriggered:
		o.person("contact", &e.Contact)
		if e.Inbox != (domain.Inbox{}) {
			o.inbox(&e.Inbox)
		}
		o.someAttributes("attributes", e.Attributes)
		o.someText("conversation", e.Conversation)
		o.someSnapshot("current_conversation", e.CurrentConversation, notes)
	case contact.Erased:
		o.person("by", &e.By)
		o.number("events", e.Events)
	default:
		panic("verbatim: an event outside the closed set")
	}
}

func appendEndpoint(dst []byte, ep *webhooks.Endpoint) []byte {
	o := begin(dst)
	o.text("id", ep.ID)
	o.text("url", ep.URL)
	o.text("dialect", ep.Dialect)
	o.truth("disabled", ep.Disabled)
	return o.end()
}

// endpointFact writes the members of a fact as the log has them.
func (o *object) endpointFact(e endpoint.Event) {
	switch e := e.(type) {
	case endpoint.Disabled:
		o.someText("reason", e.Reason)
		o.someText("cause", string(e.Cause))
	case endpoint.Failing:
		o.time("since", e.Since)
		o.outcome(e.Outcome)
	case endpoint.Recovered:
		o.time("since", e.Since)
	case endpoint.Exhausted:
		o.text("delivery_id", e.DeliveryID)
		o.text("event", e.Event)
		o.text("stream", e.Stream)
		o.number("attempts", int64(e.Attempts))
		o.text("reason", e.Reason)
		o.outcome(e.Outcome)
	case endpoint.Enabled:
		if e.Start != nil {
			o.key("start")
			in := begin(o.dst)
			in.someNumber("from", e.Start.From)
			in.someNumber("rate", int64(e.Start.Rate))
			o.dst = in.end()
		}
	case endpoint.Deleted:
	case endpoint.Registered, endpoint.Updated, endpoint.SecretRotated:
		// There is no word for them.
	default:
		panic("verbatim: an event outside the closed set")
	}
}

func (o *object) outcome(out endpoint.Outcome) {
	o.someNumber("status", int64(out.Status))
	o.someText("fault", out.Fault)
}
