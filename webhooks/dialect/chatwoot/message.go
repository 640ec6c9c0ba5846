package chatwoot

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// A kind is what Chatwoot calls the direction of a message: a string in the
// message itself, a number in a conversation's. A fourth, activity (2), is never
// sent.
type kind struct {
	name   string
	number int64
}

func incoming() kind { return kind{"incoming", 0} }
func outgoing() kind { return kind{"outgoing", 1} }
func template() kind { return kind{"template", 3} } // what the server says of its own accord

func kindOf(m *webhooks.Message, given domain.Attributes) kind {
	switch textIn(given, "message_type") {
	case incoming().name:
		return incoming()
	case outgoing().name:
		return outgoing()
	case template().name:
		return template()
	}
	switch {
	case m.Author.Role == domain.Customer:
		return incoming()
	case m.Author.Role == domain.System || m.ContentType == "input_csat":
		return template()
	default:
		return outgoing()
	}
}

// deletedText is the content of a message that was deleted.
const deletedText = "This message was deleted"

// content returns what was said, as it was stored.
func content(m *webhooks.Message) string {
	if m.DeletedAt != nil {
		return deletedText
	}
	return m.Text
}

// appendMessage appends the members of a message as it stands by itself, with its
// conversation.
func appendMessage(dst []byte, s *scene, m *webhooks.Message) []byte {
	given := objectIn(m.Attributes, format)
	k := kindOf(m, given)
	dst = append(dst, `"account":`...)
	dst = appendNumbered(dst, s.c.Account.Number, s.c.Account.Name)
	dst = append(dst, `,"additional_attributes":`...)
	dst = appendMessageAttributes(dst, m, given)
	dst = append(dst, `,"content_attributes":`...)
	dst = appendContentAttributes(dst, &s.room, m, given, k)
	dst = append(dst, `,"content_type":"`...)
	dst = append(dst, contentType(m)...)
	dst = append(dst, `","content":`...)
	// A hard break of Markdown is a line end to receivers.
	dst = appendOptional(dst, strings.ReplaceAll(content(m), "\\\n", "\n"))
	dst = append(dst, `,"conversation":{`...)
	inner := m
	if m.Private {
		inner = s.h.LastPublic()
	}
	dst = appendConversation(dst, s, inner)
	dst = append(dst, `},"created_at":`...)
	dst = webhooks.AppendMillis(dst, m.CreatedAt)
	dst = append(dst, `,"id":`...)
	dst = strconv.AppendInt(dst, messageNumber(m, given), 10)
	dst = append(dst, `,"inbox":`...)
	dst = appendNumbered(dst, s.c.Inbox.Number, s.c.Inbox.Name)
	dst = append(dst, `,"message_type":"`...)
	dst = append(dst, k.name...)
	dst = append(dst, `","private":`...)
	dst = strconv.AppendBool(dst, m.Private)
	dst = append(dst, `,"sender":`...)
	if k == template() {
		dst = append(dst, "null"...)
	} else {
		author := newParty(&m.Author)
		dst = appendSender(dst, &author, &s.c.Account)
	}
	dst = append(dst, `,"source_id":`...)
	dst = appendOptional(dst, givenText(given, "source_id", m.ExternalID))
	return appendAttachments(dst, &s.room, m, given)
}

// appendInnerMessage appends a message as it stands within a conversation, or,
// without a scene, in a transcript.
func appendInnerMessage(dst []byte, r *room, s *scene, m *webhooks.Message) []byte {
	given := objectIn(m.Attributes, format)
	k := kindOf(m, given)
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, messageNumber(m, given), 10)
	dst = append(dst, `,"content":`...)
	dst = appendOptional(dst, content(m))
	dst = append(dst, `,"account_id":`...)
	dst = strconv.AppendInt(dst, r.account, 10)
	dst = append(dst, `,"inbox_id":`...)
	dst = strconv.AppendInt(dst, r.inbox, 10)
	dst = append(dst, `,"conversation_id":`...)
	dst = strconv.AppendInt(dst, r.conversation, 10)
	dst = append(dst, `,"message_type":`...)
	dst = strconv.AppendInt(dst, k.number, 10)
	dst = append(dst, `,"created_at":`...)
	dst = appendUnix(dst, m.CreatedAt)
	dst = append(dst, `,"updated_at":`...)
	dst = appendUpdated(dst, m)
	dst = append(dst, `,"private":`...)
	dst = strconv.AppendBool(dst, m.Private)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, statusGiven(given)...)
	dst = append(dst, `","source_id":`...)
	dst = appendOptional(dst, givenText(given, "source_id", m.ExternalID))
	dst = append(dst, `,"content_type":"`...)
	dst = append(dst, contentType(m)...)
	dst = append(dst, `","content_attributes":`...)
	dst = appendContentAttributes(dst, r, m, given, k)
	silent := k == template() || m.Author.Role == domain.System
	author := party{}
	if silent {
		dst = append(dst, `,"sender_type":null,"sender_id":null`...)
	} else {
		author = newParty(&m.Author)
		dst = append(dst, `,"sender_type":"`...)
		dst = append(dst, senderType(&author)...)
		dst = append(dst, `","sender_id":`...)
		dst = strconv.AppendInt(dst, author.number, 10)
	}
	dst = append(dst, `,"external_source_ids":{},"additional_attributes":`...)
	dst = appendMessageAttributes(dst, m, given)
	dst = append(dst, `,"processed_message_content":`...)
	dst = appendOptional(dst, content(m))
	dst = append(dst, `,"sentiment":{}`...)
	if s != nil {
		dst = append(dst, `,"conversation":{"assignee_id":`...)
		dst = appendAssigneeID(dst, s.inCharge())
		dst = append(dst, `,"unread_count":`...)
		dst = strconv.AppendInt(dst, unread(&s.h.Attention), 10)
		dst = append(dst, `,"last_activity_at":`...)
		dst = appendUnix(dst, s.h.Attention.ActiveAt)
		dst = append(dst, `,"contact_inbox":{"source_id":`...)
		dst = webhooks.AppendStringHTML(dst, s.inbox.sourceID)
		dst = append(dst, `}}`...)
	}
	dst = appendAttachments(dst, r, m, given)
	if !silent {
		dst = append(dst, `,"sender":`...)
		dst = appendInnerSender(dst, &author)
	}
	return append(dst, '}')
}

// transcript is how messages stand in a transcript. What they say of their
// conversation is part of the key: it is not in the message.
func (r *room) transcript(notes bool) *webhooks.Fragment {
	said := *r
	return &webhooks.Fragment{
		Key:       fmt.Sprintf("%s/%v/%t", Name, said, notes),
		Separator: ",",
		Append: func(dst []byte, m *webhooks.Message) []byte {
			if m.Private && !notes {
				return dst
			}
			return appendInnerMessage(dst, &said, nil, m)
		},
	}
}

// messageNumber returns the id of a message. One that nobody has posted has none
// but its own.
func messageNumber(m *webhooks.Message, given domain.Attributes) int64 {
	return givenID(given, or(m.Number, m.ID))
}

func appendUpdated(dst []byte, m *webhooks.Message) []byte {
	at := m.CreatedAt
	if m.EditedAt != nil {
		at = *m.EditedAt
	}
	if m.DeletedAt != nil {
		at = *m.DeletedAt
	}
	return webhooks.AppendMillis(dst, at)
}

func statusGiven(given domain.Attributes) string {
	switch status := textIn(given, "status"); status {
	case "delivered", "read", "failed":
		return status
	default:
		return "sent"
	}
}

func senderType(p *party) string {
	switch {
	case p.isContact():
		return "Contact"
	case p.isBot():
		return "AgentBot"
	default:
		return "User"
	}
}

// contentType returns what kind of content a message has. What Chatwoot does not
// know is text.
func contentType(m *webhooks.Message) string {
	switch m.ContentType {
	case "input_text", "input_textarea", "input_email", "input_select", "cards", "form", "article",
		"incoming_email", "input_csat", "integrations", "sticker", "voice_call":
		return m.ContentType
	default:
		return "text"
	}
}

// appendMessageAttributes appends the additional attributes of a message: those
// given, or else the open ones.
func appendMessageAttributes(dst []byte, m *webhooks.Message, given domain.Attributes) []byte {
	if o := givenObject(given, "additional_attributes"); o != nil {
		return webhooks.AppendRawHTML(dst, o)
	}
	return appendObject(dst, webhooks.OpenAttributes(m.Attributes))
}

// appendContentAttributes appends what goes with the content. An answer names the
// message that it answers; a visitor's message in the widget always has a place
// for that.
func appendContentAttributes(dst []byte, r *room, m *webhooks.Message, given domain.Attributes, k kind) []byte {
	if m.DeletedAt != nil {
		return append(dst, `{"deleted":true}`...)
	}
	if o := givenObject(given, "content_attributes"); o != nil {
		return webhooks.AppendRawHTML(dst, o)
	}
	const key = "in_reply_to"
	dst = appendObject(dst, m.ContentAttributes)
	if m.ReplyTo == "" && (!r.web || k != incoming()) || m.ContentAttributes.Get(key) != nil {
		return dst
	}
	answered := json.RawMessage("null")
	if a := m.Answered; a != nil {
		answered = strconv.AppendInt(nil, givenID(objectIn(a.Attributes, format), a.Number), 10)
	}
	return append(appendMember(dst[:len(dst)-1], key, answered), '}')
}

// attachmentIDs is how many ids each message has for its files: more than it may
// have, for ever.
const attachmentIDs = 16

// appendAttachments appends the files of a message, or nothing if it has none.
func appendAttachments(dst []byte, r *room, m *webhooks.Message, given domain.Attributes) []byte {
	if len(m.Attachments) == 0 {
		return dst
	}
	var each []json.RawMessage
	_ = json.Unmarshal(given.Get("attachments"), &each) // what does not decode gives nothing
	dst = append(dst, `,"attachments":[`...)
	for i := range m.Attachments {
		if i > 0 {
			dst = append(dst, ',')
		}
		var own domain.Attributes
		if i < len(each) {
			_ = json.Unmarshal(each[i], &own)
		}
		a := &m.Attachments[i]
		fileType := fileTypeOf(a)
		dst = append(dst, `{"id":`...)
		dst = strconv.AppendInt(dst, givenID(own, m.Number*attachmentIDs+int64(i)), 10)
		dst = append(dst, `,"message_id":`...)
		dst = strconv.AppendInt(dst, messageNumber(m, given), 10)
		dst = append(dst, `,"file_type":"`...)
		dst = append(dst, fileType...)
		dst = append(dst, `","account_id":`...)
		dst = strconv.AppendInt(dst, r.account, 10)
		dst = appendFile(dst, a, fileType, own)
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// fileTypeOf returns the kind of an attachment: the one it was given, or that of
// its content.
func fileTypeOf(a *conversation.Attachment) string {
	switch a.FileType {
	case "image", "audio", "video", "file", "location", "fallback", "share", "story_mention", "contact",
		"ig_reel", "ig_post", "ig_story", "embed":
		return a.FileType
	}
	switch family, _, _ := strings.Cut(a.ContentType, "/"); family {
	case "image", "audio", "video":
		return family
	default:
		return "file"
	}
}

// appendFile appends what belongs to the kind of an attachment.
func appendFile(dst []byte, a *conversation.Attachment, fileType string, own domain.Attributes) []byte {
	switch fileType {
	case "location":
		dst = append(dst, `,"coordinates_lat":`...)
		dst = appendCoordinate(dst, own, "coordinates_lat")
		dst = append(dst, `,"coordinates_long":`...)
		dst = appendCoordinate(dst, own, "coordinates_long")
		return appendURL(appendTitle(dst, a), a)
	case "fallback":
		return appendURL(appendTitle(dst, a), a)
	case "contact":
		dst = append(appendTitle(dst, a), `,"meta":`...)
		return appendGivenObject(dst, own, "meta")
	case "embed":
		return appendURL(dst, a)
	}
	dst = append(dst, `,"extension":`...)
	dst = appendOptional(dst, extension(a))
	dst = append(dst, `,"content_type":`...)
	mime := a.ContentType
	if mime == "" {
		mime = "application/octet-stream" // what storages say of what they do not know
	}
	dst = appendURL(webhooks.AppendStringHTML(dst, mime), a)
	dst = append(dst, `,"thumb_url":`...)
	dst = webhooks.AppendStringHTML(dst, textIn(own, "thumb_url"))
	dst = append(dst, `,"file_size":`...)
	dst = strconv.AppendInt(dst, max(0, a.Size), 10)
	dst = append(dst, `,"width":`...)
	dst = appendPixels(dst, a.Width)
	dst = append(dst, `,"height":`...)
	dst = appendPixels(dst, a.Height)
	if fileType == "audio" {
		dst = append(dst, `,"transcribed_text":`...)
		dst = webhooks.AppendStringHTML(dst, textIn(own, "transcribed_text"))
	}
	return dst
}

func appendTitle(dst []byte, a *conversation.Attachment) []byte {
	dst = append(dst, `,"fallback_title":`...)
	return appendOptional(dst, a.Name)
}

func appendURL(dst []byte, a *conversation.Attachment) []byte {
	dst = append(dst, `,"data_url":`...)
	return webhooks.AppendStringHTML(dst, a.URL)
}

// appendCoordinate appends a number as Ruby writes a float.
func appendCoordinate(dst []byte, own domain.Attributes, key string) []byte {
	const most = 180 // degrees
	f, err := strconv.ParseFloat(string(own.Get(key)), 64)
	if err != nil || math.Abs(f) > most {
		f = 0
	}
	return appendDecimal(dst, f)
}

func appendPixels(dst []byte, n int) []byte {
	if n <= 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, int64(n), 10)
}

// extension returns the ending of a file's name without its dot.
func extension(a *conversation.Attachment) string {
	if a.Extension != "" {
		return a.Extension
	}
	return strings.TrimPrefix(path.Ext(a.Name), ".")
}
