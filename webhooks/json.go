package webhooks

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"verbatim/domain"
)

// Dialects write their bodies by hand, byte by byte: a body is a promise for
// years, and encoding/json has changed its bytes between releases of Go before.

// AppendString appends s as a JSON string (RFC 8259). The result is valid UTF-8
// whatever s holds: each byte that is not UTF-8 becomes U+FFFD. U+2028 and
// U+2029 are escaped, because JavaScript before ES2019 took them for line ends;
// <, > and & stand as they are.
func AppendString(dst []byte, s string) []byte { return appendString(dst, s, escapeLines) }

// AppendStringHTML is AppendString as servers written in Rails do it, so that a
// body can stand in a web page: <, > and & are escaped as well.
func AppendStringHTML(dst []byte, s string) []byte { return appendString(dst, s, escapeHTML) }

// AppendStringPlain is AppendString as JSON.stringify does it (ECMA-262, 25.5.2):
// U+2028 and U+2029 stand as they are.
func AppendStringPlain(dst []byte, s string) []byte { return appendString(dst, s, escapePlain) }

// escaping is what of a string is escaped beyond what JSON demands.
type escaping int

const (
	escapePlain escaping = iota
	escapeLines
	escapeHTML
)

func appendString(dst []byte, s string, escape escaping) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0  // of what is not yet written
	looked := 0 // up to where eight bytes at a time were of no use
	for i := 0; i < len(s); {
		if i >= looked {
			i = plainUpTo(s, i, escape)
			looked = i + 8
			continue
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && (escape != escapeHTML || c != '<' && c != '>' && c != '&') {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, `\b`...)
			case '\f':
				dst = append(dst, `\f`...)
			case '\n':
				dst = append(dst, `\n`...)
			case '\r':
				dst = append(dst, `\r`...)
			case '\t':
				dst = append(dst, `\t`...)
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + n
		case escape >= escapeLines && (r == '\u2028' || r == '\u2029'):
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&0xf])
			start = i + n
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// plainUpTo returns a place in s, from i on, up to which nothing has to be escaped
// or looked at closely. It takes eight bytes at a time, of which most strings are
// many.
func plainUpTo(s string, i int, escape escaping) int {
	const each, top = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		// The top bit of each byte: not ASCII, below ' ', or what is subtracted from
		// after the exclusive or has made it 0. A byte above one of those may be
		// marked as well, and none that should be is not.
		marked := x | (x - ' '*each) | (x ^ '"'*each - each) | (x ^ '\\'*each - each)
		if escape == escapeHTML {
			marked |= (x ^ '<'*each - each) | (x ^ '>'*each - each) | (x ^ '&'*each - each)
		}
		if marked&top != 0 {
			return i
		}
	}
	return i
}

// AppendOptional appends s as a JSON string, or null if it is empty.
func AppendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return AppendString(dst, s)
}

// AppendRaw appends a value that is JSON already. Attributes come from callers,
// and nothing has looked into their strings: bytes that are not UTF-8 become
// U+FFFD here, as they do in AppendString.
func AppendRaw(dst []byte, raw json.RawMessage) []byte {
	switch {
	case len(raw) == 0:
		return append(dst, "null"...)
	case utf8.Valid(raw):
		return append(dst, raw...)
	default:
		return append(dst, bytes.ToValidUTF8(raw, []byte("\ufffd"))...)
	}
}

// AppendRawHTML is AppendRaw with the strings in it escaped as AppendStringHTML
// does.
func AppendRawHTML(dst []byte, raw json.RawMessage) []byte {
	at := len(dst)
	dst = AppendRaw(dst, raw)
	if !needsHTMLEscapes(dst[at:]) {
		return dst
	}
	var escaped bytes.Buffer
	json.HTMLEscape(&escaped, dst[at:]) // <, >, & and the two lines stand nowhere but in strings
	return append(dst[:at], escaped.Bytes()...)
}

// needsHTMLEscapes reports whether there is one of <, >, & and the two lines in
// some JSON.
func needsHTMLEscapes(raw []byte) bool {
	const line, paragraph = "\u2028", "\u2029" // which differ in the last byte
	for i, c := range raw {
		switch c {
		case '<', '>', '&':
			return true
		case line[0]:
			if rest := raw[i:]; len(rest) >= len(line) && rest[1] == line[1] && (rest[2] == line[2] || rest[2] == paragraph[2]) {
				return true
			}
		}
	}
	return false
}

// AppendAttributes appends an open object with its keys in the order given.
func AppendAttributes(dst []byte, a domain.Attributes) []byte {
	dst = append(dst, '{')
	for i := range a {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, a[i].Key), ':')
		dst = AppendRaw(dst, a[i].Value)
	}
	return append(dst, '}')
}

// AppendMillis appends t as a JSON string in RFC 3339, UTC, with three decimals
// always: "2019-06-14T08:07:44.789Z".
func AppendMillis(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 { // which RFC 3339 does not know
		return t.AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
	}
	hour, minute, second := t.Clock()
	millis := t.Nanosecond() / int(time.Millisecond)
	return append(dst, '"',
		digit(year/1000), digit(year/100), digit(year/10), digit(year), '-', digit(int(month)/10), digit(int(month)), '-', digit(day/10), digit(day),
		'T', digit(hour/10), digit(hour), ':', digit(minute/10), digit(minute), ':', digit(second/10), digit(second),
		'.', digit(millis/100), digit(millis/10), digit(millis), 'Z', '"')
}

// digit returns the last digit of n.
func digit(n int) byte { return '0' + byte(n%10) }

// AppendUUID appends an id in its usual form, 36 characters with hyphens and
// without quotation marks: for those who write one with every event.
func AppendUUID(dst []byte, id uuid.UUID) []byte {
	dst = append(hex.AppendEncode(dst, id[:4]), '-')
	dst = append(hex.AppendEncode(dst, id[4:6]), '-')
	dst = append(hex.AppendEncode(dst, id[6:8]), '-')
	dst = append(hex.AppendEncode(dst, id[8:10]), '-')
	return hex.AppendEncode(dst, id[10:])
}

// AsUUID returns id if it is a UUID in its usual form, 36 characters with
// hyphens, and else a UUIDv5 (RFC 9562, 5.5) that belongs to it for ever: for
// formats that take nothing but UUIDs.
func AsUUID(id string) string {
	const usual = 36
	if len(id) == usual && uuid.Validate(id) == nil {
		return id
	}
	// The namespace is ours, made once by chance. It is part of every body that
	// bears a derived id and can never change.
	namespace := uuid.UUID{0x3c, 0x5e, 0x1b, 0x8e, 0x0d, 0x57, 0x4f, 0x7a, 0x9b, 0x61, 0x2f, 0x0a, 0x6d, 0x94, 0xc7, 0x15}
	return uuid.NewSHA1(namespace, []byte(id)).String()
}
