package verbatim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// The shapes below are those that the HTTP API has for the same things, written
// by hand so that the bytes of this version of the dialect hang on nothing but
// this file. A test holds them against encoding/json.

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

func (o *object) time(k string, v time.Time) {
	o.key(k)
	o.dst = v.UTC().AppendFormat(o.dst, `"2006-01-02T15:04:05.999999999Z"`)
}

func (o *object) someTime(k string, v *time.Time) {
	if v != nil {
		o.time(k, *v)
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

func appendPerson(dst []byte, p domain.Person) []byte {
	o := begin(dst)
	o.text("id", p.ID)
	o.someText("role", string(p.Role))
	o.someNumber("number", p.Number)
	o.someText("name", p.Name)
	o.someText("first_name", p.FirstName)
	o.someText("last_name", p.LastName)
	o.someText("email", p.Email)
	o.someText("phone", p.Phone)
	o.someText("avatar_url", p.AvatarURL)
	o.someText("identifier", p.Identifier)
	if p.IsBot {
		o.truth("is_bot", true)
	}
	o.someAttributes("attributes", p.Attributes)
	return o.end()
}

func appendConversation(dst []byte, c *webhooks.Conversation) []byte {
	o := begin(dst)
	o.text("id", c.ID)
	o.number("number", c.Number)
	o.number("version", c.Version)
	o.text("status", string(c.Status))
	o.key("account")
	o.dst = appendAccount(o.dst, c.Account)
	o.key("inbox")
	o.dst = appendInbox(o.dst, c.Inbox)
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
	o.key("team")
	o.dst = appendTeam(o.dst, c.Team)
	o.key("customer")
	o.dst = appendPerson(o.dst, c.Customer)
	o.key("assignee")
	if c.Assignee == nil {
		o.dst = append(o.dst, "null"...)
	} else {
		o.dst = appendPerson(o.dst, *c.Assignee)
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

func appendAccount(dst []byte, a domain.Account) []byte {
	o := begin(dst)
	o.text("id", a.ID)
	o.someNumber("number", a.Number)
	o.someText("name", a.Name)
	return o.end()
}

func appendInbox(dst []byte, i domain.Inbox) []byte {
	o := begin(dst)
	o.text("id", i.ID)
	o.someNumber("number", i.Number)
	o.someText("name", i.Name)
	o.someText("channel", i.Channel)
	return o.end()
}

func appendTeam(dst []byte, t *conversation.Team) []byte {
	if t == nil {
		return append(dst, "null"...)
	}
	o := begin(dst)
	o.text("id", t.ID)
	o.someNumber("number", t.Number)
	o.someText("name", t.Name)
	return o.end()
}

func appendMessage(dst []byte, m *webhooks.Message) []byte {
	o := begin(dst)
	o.text("id", m.ID)
	o.number("number", m.Number)
	o.number("version", m.Version)
	o.key("author")
	o.dst = appendPerson(o.dst, m.Author)
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

// appendMembers appends the members of a fact, each behind a comma. The facts
// are data: the shape of one changes only with a new schema version.
func appendMembers(dst []byte, e domain.Event) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return dst, fmt.Errorf("encode %s: %w", e.EventType(), err)
	}
	members := bytes.TrimSpace(buf.Bytes())
	members = members[1 : len(members)-1] // without the braces
	if len(members) == 0 {
		return dst, nil
	}
	return webhooks.AppendRaw(append(dst, ','), members), nil
}
