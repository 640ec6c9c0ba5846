package talkus

import (
	"strings"
	"time"

	"verbatim/webhooks"
)

// appendLine appends a message as a line of the transcript: NAME: TEXT, as it
// stands between the quotes of a JSON string. The format has no other marks, so
// that a text of several lines cannot be told from several messages; who must
// tell reads messages.
func appendLine(dst []byte, m *webhooks.Message) []byte {
	if leftOut(m) {
		return dst
	}
	dst = appendUnquoted(dst, userName(m))
	dst = append(dst, ": "...)
	return appendUnquoted(dst, text(m))
}

// appendMessage appends a message as an item of messages.
func appendMessage(dst []byte, m *webhooks.Message) []byte {
	if leftOut(m) {
		return dst
	}
	dst = append(dst, `{"userName":`...)
	dst = webhooks.AppendStringPlain(dst, userName(m))
	dst = append(dst, `,"userPicture":`...)
	dst = webhooks.AppendStringPlain(dst, userPicture(m))
	dst = append(dst, `,"createdAt":`...)
	dst = webhooks.AppendMillis(dst, createdAt(m))
	dst = append(dst, `,"text":`...)
	dst = webhooks.AppendStringPlain(dst, text(m))
	return append(dst, '}')
}

// createdAt returns when a message was written: as given, if that is a time as
// the format writes them.
func createdAt(m *webhooks.Message) time.Time {
	if theirs := given(m.Attributes, "createdAt"); theirs != "" {
		if at, err := time.Parse("2006-01-02T15:04:05.000Z", theirs); err == nil {
			return at
		}
	}
	return m.CreatedAt
}

// leftOut says whether the format has no place for a message: private notes, and
// what was taken back.
func leftOut(m *webhooks.Message) bool { return m.Private || m.DeletedAt != nil }

// text returns what a message says. The format has nothing but text: a file is a
// link on a line of its own, marked as Slack marks links.
func text(m *webhooks.Message) string {
	if len(m.Attachments) == 0 {
		return m.Text
	}
	var b strings.Builder
	b.WriteString(m.Text)
	for i := range m.Attachments {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteByte('<')
		b.WriteString(linked(m.Attachments[i].URL))
		b.WriteByte('>')
	}
	return b.String()
}

// linked returns url without the three characters that end a link in Slack's
// markup or part it from its label; they stand in no URL as they are (RFC 3986, 2).
func linked(url string) string {
	if !strings.ContainsAny(url, "<>|") {
		return url
	}
	return strings.NewReplacer("<", "%3C", ">", "%3E", "|", "%7C").Replace(url)
}

// appendUnquoted appends s escaped as in a JSON string, without the quotes.
func appendUnquoted(dst []byte, s string) []byte {
	at := len(dst)
	dst = webhooks.AppendStringPlain(dst, s)
	return append(dst[:at], dst[at+1:len(dst)-1]...)
}
