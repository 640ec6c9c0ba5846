package pseudonym

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// attributes replaces the values of an open object. Its keys say what it has and
// stay, those alone excepted that no program would have chosen.
func (m *Maker) attributes(a domain.Attributes) domain.Attributes {
	if a == nil {
		return nil
	}
	out := make(domain.Attributes, len(a))
	for i, at := range a {
		out[i] = domain.Attribute{Key: m.attributeKey(at.Key), Value: m.open(at.Key, at.Value)}
	}
	return out
}

var programmed = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.:-]{0,63}$`)

func (m *Maker) attributeKey(key string) string {
	if key == "" || programmed.MatchString(key) {
		return key
	}
	return m.label(key)
}

// attributePrefix stands before the key of an open attribute in a change.
const attributePrefix = "attributes."

func (m *Maker) change(c domain.Change) domain.Change {
	key, isOpen := strings.CutPrefix(c.Key, attributePrefix)
	of := func(v json.RawMessage) json.RawMessage { return m.told(key, v) }
	if isOpen {
		c.Key = attributePrefix + m.attributeKey(key)
		of = func(v json.RawMessage) json.RawMessage { return m.open(key, v) }
	}
	if !isOpen {
		c.Key = m.attributeKey(key)
	}
	c.Previous, c.Current = of(c.Previous), of(c.Current)
	return c
}

// told replaces a value of our own under a key of our own: one side of a change,
// or a part of a conversation as another stream tells it.
func (m *Maker) told(key string, v json.RawMessage) json.RawMessage {
	switch key {
	case "team":
		return as(m, key, v, m.team)
	case "account":
		return as(m, key, v, func(domain.Account) domain.Account { return account() })
	case "inbox":
		return as(m, key, v, m.inbox)
	case "customer", "author", "assignee":
		return as(m, key, v, m.person)
	case "attachments":
		return as(m, key, v, func(all []conversation.Attachment) []conversation.Attachment { return each(all, m.attachment) })
	case "attributes", "content_attributes":
		return as(m, key, v, m.attributes)
	case "labels":
		return as(m, key, v, func(all []string) []string { return each(all, m.label) })
	case "number":
		return as(m, key, v, m.number)
	case "version", "message_count", "unread", "agent_read_to", "private":
		if len(v) > 0 && v[0] != '"' && v[0] != '{' {
			return v
		}
	case "":
	default:
		return as(m, key, v, func(s string) string { return m.ours(key, s) })
	}
	// A conversation, its last message, what is known of its being read.
	var all domain.Attributes
	if json.Unmarshal(v, &all) != nil || all == nil {
		return m.open(key, v)
	}
	for i := range all {
		inner := all[i].Key
		if c := first(all[i].Value); c == '{' && (inner == "conversation" || inner == "attention" || inner == "last_message" || inner == "answered") {
			inner = ""
		}
		all[i].Value = m.told(inner, all[i].Value)
	}
	return mustEncode(all)
}

// ours replaces a string of our own.
func (m *Maker) ours(key, s string) string {
	switch key {
	case "id", "reply_to", "client_id", "identifier":
		return m.id(s)
	case "name", "first_name", "last_name":
		return m.name(s)
	case "email":
		return m.email(s)
	case "phone":
		return m.phone(s)
	case "avatar_url":
		return m.url(s)
	case "status":
		return m.known(s, statuses)
	case "priority":
		return m.known(s, priorities)
	case "closed_type":
		return m.known(s, reasons)
	case "channel":
		return m.channel(s)
	case "content_type":
		return messageType(s)
	}
	if strings.HasSuffix(key, "_at") || strings.HasSuffix(key, "_until") || strings.HasSuffix(key, "_since") || strings.HasSuffix(key, "_before") {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return m.time(t).Format(time.RFC3339Nano)
		}
	}
	return m.text(s)
}

// as replaces a value that is a T; what is none is taken by its looks.
func as[T any](m *Maker, key string, v json.RawMessage, of func(T) T) json.RawMessage {
	var t T
	if isNull(v) {
		return v
	}
	if json.Unmarshal(v, &t) != nil {
		return m.open(key, v)
	}
	return mustEncode(of(t))
}

func isNull(v json.RawMessage) bool { return len(v) == 0 || string(v) == "null" }

func first(v json.RawMessage) byte {
	if v = bytes.TrimLeft(v, " \t\r\n"); len(v) > 0 {
		return v[0]
	}
	return 0
}

// open replaces a value of which nothing is known but its key and its looks.
func (m *Maker) open(key string, v json.RawMessage) json.RawMessage {
	switch first(v) {
	case '{':
		return open(v, m.attributes)
	case '[':
		return open(v, func(all []json.RawMessage) []json.RawMessage {
			return each(all, func(v json.RawMessage) json.RawMessage { return m.open(key, v) })
		})
	case '"':
		return open(v, func(s string) string { return m.word(key, s) })
	case 't', 'f', 'n', 0:
		return v
	default:
		return json.RawMessage(m.figure(string(v)))
	}
}

// open replaces a value that is a T, by its looks; were it none, nothing of it
// would stay.
func open[T any](v json.RawMessage, of func(T) T) json.RawMessage {
	var t T
	if json.Unmarshal(v, &t) != nil {
		return json.RawMessage("null")
	}
	return mustEncode(of(t))
}

// figure returns a number with as many digits. One digit says nothing.
func (m *Maker) figure(s string) string {
	if len(strings.TrimPrefix(s, "-")) == 1 {
		return s
	}
	r, b := m.chance("figure", s), []byte(s)
	for i, c := range b {
		switch {
		case c == 'e' || c == 'E':
			return string(b)
		case c < '0' || c > '9' || i == 0 && c == '0' || i > 0 && c == '0' && b[i-1] == '-':
		case i == 0 || b[i-1] == '-':
			b[i] = '1' + byte(r.IntN(9))
		default:
			b[i] = '0' + byte(r.IntN(10))
		}
	}
	return string(b)
}

var (
	day    = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
	number = regexp.MustCompile(`^\+?[\d ()./-]*\d[\d ()./-]*$`)
	sizes  = regexp.MustCompile(`^\d{2,5}x\d{2,5}$`)
	tongue = regexp.MustCompile(`^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$`)
)

// word replaces a string of which nothing is known but its key and its looks.
func (m *Maker) word(key, s string) string {
	lower := strings.ToLower(key)
	if u, err := url.Parse(s); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return m.url(s)
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return m.time(t).Format(time.RFC3339Nano)
	}
	if day.MatchString(s) {
		return time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, m.chance("day", s).IntN(15_000)).Format(time.DateOnly)
	}
	if _, err := uuid.Parse(s); err == nil {
		return m.id(s)
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return m.address(ip)
	}
	switch {
	case strings.Contains(s, "@") && !strings.ContainsAny(s, " \n"):
		return m.email(s)
	case strings.HasSuffix(lower, "id") || strings.HasSuffix(lower, "identifier") || strings.HasSuffix(lower, "key"):
		return m.id(s)
	case strings.HasPrefix(s, "+") && number.MatchString(s) || strings.Contains(lower, "phone"):
		return m.phone(s)
	case strings.HasSuffix(lower, "name") && !strings.Contains(lower, "_name") || lower == "first_name" || lower == "last_name":
		return m.name(s)
	}
	switch lower {
	case "browser_name":
		return m.pick(key, s, "Chrome,Edge,Firefox,Opera,Safari")
	case "operating_system", "platform_name":
		return m.pick(key, s, "Android,iOS,Linux,Mac OS X,Windows")
	case "language", "locale", "browser_language":
		if tongue.MatchString(s) {
			return m.pick(key, s, "ar,de,en,es,fr,ja,pl,pt")
		}
	case "screen_size":
		if sizes.MatchString(s) {
			return m.pick(key, s, "1280x720,1366x768,1920x1080,2560x1440,390x844")
		}
	}
	if number.MatchString(s) {
		return m.shaped("figure", s)
	}
	return m.text(s)
}

// address returns one of those that are kept for documents (RFC 5737, RFC 3849).
func (m *Maker) address(ip netip.Addr) string {
	r := m.chance("address", ip.String())
	if ip.Is4() {
		return netip.AddrFrom4([4]byte{203, 0, 113, byte(1 + r.IntN(254))}).String()
	}
	b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	for i := 8; i < 16; i++ {
		b[i] = byte(r.IntN(256))
	}
	return netip.AddrFrom16(b).String()
}

// mustEncode returns v as JSON as the log has it.
func mustEncode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic("pseudonym: what was read as JSON does not encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
