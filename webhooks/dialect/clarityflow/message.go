package clarityflow

import (
	"cmp"
	"strconv"
	"strings"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
)

// appendMessage appends a message as it is now.
func (p *place) appendMessage(dst []byte, m *webhooks.Message) []byte {
	own := given(m.Attributes)
	id := wholeOr(own, "id", m.Number)
	media := mediaOf(m)
	kind := cmp.Or(own.String("message_type"), kindOf(m, media))
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, id, 10)
	dst = append(dst, `,"conversation_title":`...)
	dst = webhooks.AppendStringHTML(dst, p.title)
	dst = append(dst, `,"message_type":`...)
	dst = webhooks.AppendStringHTML(dst, kind)
	dst = append(dst, `,"recorded_duration_seconds":`...)
	dst = appendDuration(dst, m, own, kind)
	dst = append(dst, `,"message_url":"`...)
	dst = p.appendPage(dst)
	dst = append(dst, `#message-`...)
	dst = strconv.AppendInt(dst, id, 10)
	dst = append(dst, `","message_embed_url":"`...)
	dst = p.appendOrigin(dst)
	dst = append(dst, `/embeds/messages/`...)
	dst = append(dst, p.account...)
	dst = append(dst, '/')
	dst = strconv.AppendInt(dst, id, 10)
	dst = append(dst, `?conversation_slug=`...)
	dst = append(dst, p.slug...)
	dst = append(dst, `","text":`...)
	dst = webhooks.AppendStringHTML(dst, textOf(m, own))
	dst = append(dst, `,"message_created_time":`...)
	dst = appendSlipped(dst, timeOr(own, "message_created_time", m.CreatedAt))
	dst = append(dst, `,"author":`...)
	dst = appendAuthor(dst, &m.Author)

	download, access := own.String("download_media_url"), own.String("access_media_file")
	if download == "" && media != nil {
		download = media.URL
	}
	dst = append(dst, `,"download_media_url":`...)
	dst = appendOptional(dst, download)
	dst = append(dst, `,"access_media_file":`...)
	if access == "" && download != "" {
		dst = append(dst, `"https://`...)
		dst = append(dst, p.host...)
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, id, 10)
		dst = append(dst, `/download_media"`...)
	} else {
		dst = appendOptional(dst, access)
	}
	return append(dst, `,"workflow":{}}`...)
}

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return webhooks.AppendStringHTML(dst, s)
}

// mediaOf returns the one file of a message for which the format has room: the
// first to be played, or else the first. It is nil if there is none.
func mediaOf(m *webhooks.Message) *conversation.Attachment {
	for i := range m.Attachments {
		if m.Attachments[i].Media() != "" {
			return &m.Attachments[i]
		}
	}
	if len(m.Attachments) > 0 {
		return &m.Attachments[0]
	}
	return nil
}

// text is the message type of a message that is nothing else.
const text = "text"

// kindOf returns the message type of a message with that media. What a screen
// shows is a video to us; only who moves a message in can tell.
func kindOf(m *webhooks.Message, media *conversation.Attachment) string {
	kind := ""
	if media != nil {
		kind = media.Media()
	}
	switch cmp.Or(kind, conversation.MediaOf(m.ContentType)) {
	case conversation.Video:
		return "camera"
	case conversation.Audio:
		return "audio"
	}
	if media != nil {
		return "file"
	}
	return text
}

func appendDuration(dst []byte, m *webhooks.Message, own domain.Attributes, kind string) []byte {
	const key = "recorded_duration_seconds"
	n, ok := seconds(own.Get(key))
	if !ok && kind != text {
		n, ok = seconds(m.ContentAttributes.Get(key))
	}
	if !ok {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, n, 10)
}

// textOf returns the text of a message as HTML, "" if it has none. HTML that was
// given for it counts until the text is edited.
func textOf(m *webhooks.Message, own domain.Attributes) string {
	if m.EditedAt == nil {
		if raw := own.Get(text); len(raw) > 0 && raw[0] == '"' {
			return own.String(text) // may be ""
		}
	}
	if m.Text == "" {
		return ""
	}
	return richText(m.Text)
}

// richText returns plain text as the HTML that the editor in Clarityflow (Trix)
// makes of it.
func richText(plain string) string {
	const before, after = "<div class=\"trix-content\">\n  <div>", "</div>\n</div>"
	var b strings.Builder
	b.Grow(len(before) + len(plain) + len(plain)/8 + len(after))
	b.WriteString(before)
	start := 0 // of what is not yet written
	for i := range len(plain) {
		html := ""
		switch plain[i] {
		case '&':
			html = "&amp;"
		case '<':
			html = "&lt;"
		case '>':
			html = "&gt;"
		case '\n':
			html = "<br>"
		case '\r':
			if i+1 == len(plain) || plain[i+1] != '\n' { // else the next character breaks the line
				html = "<br>"
			}
		default:
			continue
		}
		b.WriteString(plain[start:i])
		b.WriteString(html)
		start = i + 1
	}
	b.WriteString(plain[start:])
	b.WriteString(after)
	return b.String()
}

// appendAuthor appends a person. One of whom neither a name nor an e-mail is
// known is an anonymous visitor.
func appendAuthor(dst []byte, p *domain.Person) []byte {
	who, own := p.Completed(p.Role), given(p.Attributes)
	full := cmp.Or(own.String("full_name"), who.Name)
	email := cmp.Or(own.String("email"), who.Email)
	if full == "" && email == "" || string(own.Get("anonymous")) == "true" {
		return append(dst, `{"anonymous":true}`...)
	}
	dst = append(dst, `{"first_name":`...)
	dst = webhooks.AppendStringHTML(dst, cmp.Or(own.String("first_name"), who.FirstName))
	dst = append(dst, `,"last_name":`...)
	dst = webhooks.AppendStringHTML(dst, cmp.Or(own.String("last_name"), who.LastName))
	dst = append(dst, `,"full_name":`...)
	dst = webhooks.AppendStringHTML(dst, full)
	dst = append(dst, `,"email":`...)
	dst = webhooks.AppendStringHTML(dst, email)
	return append(dst, '}')
}
