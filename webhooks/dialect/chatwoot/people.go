package chatwoot

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/webhooks"
)

// A party is a person with what bodies say of them several times.
type party struct {
	*domain.Person

	given  domain.Attributes // under attributes.chatwoot
	open   domain.Attributes
	number int64
}

func newParty(p *domain.Person) party {
	given := objectIn(p.Attributes, format)
	return party{p, given, webhooks.OpenAttributes(p.Attributes), givenID(given, or(p.Number, p.ID))}
}

func (p *party) isContact() bool { return p.Role == domain.Customer }
func (p *party) isBot() bool     { return p.Role == domain.Bot || p.IsBot && p.Role != domain.Customer }

// or returns the number, or one derived from the id if there is none.
func or(number int64, id string) int64 {
	if number > 0 {
		return number
	}
	return hashed(id)
}

// hashed returns 31 bits of a hash of the id, never 0: what columns of integers
// hold everywhere.
func hashed(id string) int64 {
	var stack [2 * domain.MaxIDLength]byte
	sum := sha256.Sum256(append(stack[:0], id...))
	return max(1, int64(binary.BigEndian.Uint32(sum[:])>>1))
}

// textIn and objectIn are Attributes.String and .Object for keys that are hardly
// ever there: they allocate nothing then.
func textIn(a domain.Attributes, key string) string {
	if a.Get(key) == nil {
		return ""
	}
	return a.String(key)
}

func objectIn(a domain.Attributes, key string) domain.Attributes {
	if a.Get(key) == nil {
		return nil
	}
	return a.Object(key)
}

// givenID returns the id that was given, a positive integer, or the other one.
func givenID(given domain.Attributes, otherwise int64) int64 {
	v := given.Get("id")
	if v == nil {
		return otherwise
	}
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil && n > 0 {
		return n
	}
	return otherwise
}

func givenText(given domain.Attributes, key, otherwise string) string {
	if s := textIn(given, key); s != "" {
		return s
	}
	return otherwise
}

func givenBool(given domain.Attributes, key string, otherwise bool) bool {
	switch string(given.Get(key)) {
	case "true":
		return true
	case "false":
		return false
	default:
		return otherwise
	}
}

// givenObject returns the object under key as it was given, or nil.
func givenObject(given domain.Attributes, key string) json.RawMessage {
	if v := given.Get(key); len(v) > 0 && v[0] == '{' {
		return v
	}
	return nil
}

// givenTime returns the time under key, or the other one.
func givenTime(given domain.Attributes, key string, otherwise time.Time) time.Time {
	text := textIn(given, key)
	if text == "" {
		return otherwise
	}
	const lastYear = 9999 // that has four digits
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.UTC().Year() > lastYear {
		return otherwise
	}
	return t
}

// appendOptional appends s as a JSON string, or null if it is empty.
func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return webhooks.AppendStringHTML(dst, s)
}

// appendNumbered appends an account or an inbox, whose number is 1 if it has none.
func appendNumbered(dst []byte, number int64, name string) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, orOne(number), 10)
	dst = append(dst, `,"name":`...)
	dst = webhooks.AppendStringHTML(dst, name)
	return append(dst, '}')
}

func orOne(number int64) int64 {
	if number > 0 {
		return number
	}
	return 1
}

// appendPlainContact appends the members of a contact as it stands by itself: in
// contact events, as the sender of a message, behind a widget.
func appendPlainContact(dst []byte, p *party, account *domain.Account) []byte {
	dst = append(dst, `"account":`...)
	dst = appendNumbered(dst, account.Number, account.Name)
	dst = append(dst, `,"additional_attributes":`...)
	dst = appendGivenObject(dst, p.given, "additional_attributes")
	dst = append(dst, `,"avatar":`...)
	dst = webhooks.AppendStringHTML(dst, p.AvatarURL)
	dst = append(dst, `,"custom_attributes":`...)
	dst = appendObject(dst, p.open)
	return appendProfile(dst, p)
}

// appendInnerContact appends a contact as it stands within a conversation.
func appendInnerContact(dst []byte, p *party) []byte {
	dst = append(dst, `{"additional_attributes":`...)
	dst = appendGivenObject(dst, p.given, "additional_attributes")
	dst = append(dst, `,"custom_attributes":`...)
	dst = appendObject(dst, p.open)
	dst = appendProfile(dst, p)
	return append(dst, `,"type":"contact"}`...)
}

func appendProfile(dst []byte, p *party) []byte {
	dst = append(dst, `,"email":`...)
	dst = appendOptional(dst, p.Email)
	dst = append(dst, `,"id":`...)
	dst = strconv.AppendInt(dst, p.number, 10)
	dst = append(dst, `,"identifier":`...)
	dst = appendOptional(dst, p.Identifier)
	dst = append(dst, `,"name":`...)
	dst = webhooks.AppendStringHTML(dst, p.Name)
	dst = append(dst, `,"phone_number":`...)
	dst = appendOptional(dst, p.Phone)
	dst = append(dst, `,"thumbnail":`...)
	dst = webhooks.AppendStringHTML(dst, givenText(p.given, "thumbnail", p.AvatarURL))
	dst = append(dst, `,"blocked":`...)
	return strconv.AppendBool(dst, givenBool(p.given, "blocked", false))
}

// appendSender appends who wrote or types, as it stands by itself. The system is
// nobody.
func appendSender(dst []byte, p *party, account *domain.Account) []byte {
	switch {
	case p.Role == domain.System:
		return append(dst, "null"...)
	case p.isContact():
		dst = appendPlainContact(append(dst, '{'), p, account)
		return append(dst, '}')
	}
	dst = appendIDAndName(dst, p)
	if p.isBot() {
		return append(dst, `,"type":"agent_bot"}`...)
	}
	dst = append(dst, `,"email":`...)
	dst = webhooks.AppendStringHTML(dst, p.Email)
	return append(dst, `,"type":"user"}`...)
}

// appendInnerSender appends the same within a conversation, and an assignee.
func appendInnerSender(dst []byte, p *party) []byte {
	if p.isContact() {
		return appendInnerContact(dst, p)
	}
	return appendAgent(dst, p)
}

// appendAgent appends a user or a bot as they stand within a conversation.
func appendAgent(dst []byte, p *party) []byte {
	dst = appendIDAndName(dst, p)
	if !p.isBot() {
		dst = append(dst, `,"available_name":`...)
		dst = webhooks.AppendStringHTML(dst, givenText(p.given, "available_name", p.Name))
	}
	dst = append(dst, `,"avatar_url":`...)
	dst = webhooks.AppendStringHTML(dst, p.AvatarURL)
	if p.isBot() {
		return append(dst, `,"type":"agent_bot"}`...)
	}
	dst = append(dst, `,"type":"user","availability_status":`...)
	switch status := textIn(p.given, "availability_status"); status {
	case "online", "busy", "offline":
		dst = append(dst, '"')
		dst = append(dst, status...)
		dst = append(dst, '"')
	default:
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"thumbnail":`...)
	dst = webhooks.AppendStringHTML(dst, givenText(p.given, "thumbnail", p.AvatarURL))
	return append(dst, '}')
}

func appendIDAndName(dst []byte, p *party) []byte {
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, p.number, 10)
	dst = append(dst, `,"name":`...)
	return webhooks.AppendStringHTML(dst, p.Name)
}

// appendObject appends an open object.
func appendObject(dst []byte, a domain.Attributes) []byte {
	dst = append(dst, '{')
	for i := range a {
		dst = appendMember(dst, a[i].Key, a[i].Value)
	}
	return append(dst, '}')
}

// appendMember appends a member to an object that is not closed yet.
func appendMember(dst []byte, key string, value json.RawMessage) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(webhooks.AppendStringHTML(dst, key), ':')
	return webhooks.AppendRawHTML(dst, value)
}

// appendGivenObject appends the object under key as it was given, or an empty one.
func appendGivenObject(dst []byte, given domain.Attributes, key string) []byte {
	if o := givenObject(given, key); o != nil {
		return webhooks.AppendRawHTML(dst, o)
	}
	return append(dst, "{}"...)
}

// A contactInbox is Chatwoot's row for a contact in an inbox. We have none: what
// is not given is derived from the two.
type contactInbox struct {
	id           int64
	sourceID     string
	pubsubToken  string
	hmacVerified bool
	given        domain.Attributes
}

// newContactInbox returns the row, as far as it is given with the conversation or
// the contact. The token of a visitor opens their websocket in Chatwoot; this one
// is derived and opens nothing.
func newContactInbox(account, inbox, customer string, given domain.Attributes) contactInbox {
	row := contactInbox{
		id:           givenID(given, 0),
		sourceID:     textIn(given, "source_id"),
		pubsubToken:  textIn(given, "pubsub_token"),
		hmacVerified: givenBool(given, "hmac_verified", false),
		given:        given,
	}
	if row.id != 0 && row.sourceID != "" && row.pubsubToken != "" {
		return row
	}
	const enough = 256 // for ids of usual length, so that they are joined without an allocation
	buf := make([]byte, 0, enough)
	for _, part := range [...]string{Name, account, inbox, customer} {
		buf = append(append(buf, part...), 0)
	}
	sum := sha512.Sum512(buf)
	token, id, number := sum[:tokenLength], uuid.UUID(sum[tokenLength:tokenLength+16]), sum[tokenLength+16:]
	if row.id == 0 {
		row.id = max(1, int64(binary.BigEndian.Uint32(number)>>1))
	}
	if row.sourceID == "" {
		id[6] = id[6]&0x0f | 0x80 // version 8: made by our own rule (RFC 9562, 5.8)
		id[8] = id[8]&0x3f | 0x80
		row.sourceID = id.String()
	}
	if row.pubsubToken == "" {
		for i := range token {
			token[i] = base58[int(token[i])%len(base58)]
		}
		row.pubsubToken = string(token)
	}
	return row
}

// How a pubsub_token looks: has_secure_token of Rails.
const (
	tokenLength = 24
	base58      = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
)

// givenContactInbox returns what is given of the row: with the conversation, or
// with the contact in any conversation.
func givenContactInbox(conversation, customer domain.Attributes) domain.Attributes {
	if row := objectIn(conversation, "contact_inbox"); row != nil {
		return row
	}
	return objectIn(customer, "contact_inbox")
}

// appendContactInbox appends the row; it was made with the conversation.
func appendContactInbox(dst []byte, s *scene) []byte {
	row := &s.inbox
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendInt(dst, row.id, 10)
	dst = append(dst, `,"contact_id":`...)
	dst = strconv.AppendInt(dst, s.customer.number, 10)
	dst = append(dst, `,"inbox_id":`...)
	dst = strconv.AppendInt(dst, s.room.inbox, 10)
	dst = append(dst, `,"source_id":`...)
	dst = webhooks.AppendStringHTML(dst, row.sourceID)
	created := givenTime(row.given, "created_at", s.c.CreatedAt)
	dst = append(dst, `,"created_at":`...)
	dst = webhooks.AppendMillis(dst, created)
	dst = append(dst, `,"updated_at":`...)
	dst = webhooks.AppendMillis(dst, givenTime(row.given, "updated_at", created))
	dst = append(dst, `,"hmac_verified":`...)
	dst = strconv.AppendBool(dst, row.hmacVerified)
	dst = append(dst, `,"pubsub_token":`...)
	dst = webhooks.AppendStringHTML(dst, row.pubsubToken)
	return append(dst, '}')
}

// personChanges returns what changed of a contact, of what Chatwoot shows; open
// are the attributes after it.
func personChanges(all []domain.Change, after domain.Attributes) []change {
	var changes []change
	for _, c := range all {
		if column := contactColumn(c.Key); column != "" {
			changes = append(changes, change{column, columnText(column, c.Previous), columnText(column, c.Current)})
		}
	}
	before := undone(after, all)
	return appendIfChanged(changes, "custom_attributes", appendObject(nil, before), appendObject(nil, after))
}

// contactColumn returns what Chatwoot calls a member of a person, or "".
func contactColumn(key string) string {
	switch key {
	case "name", "email", "identifier":
		return key
	case "phone":
		return "phone_number"
	case "avatar_url":
		return "avatar"
	default:
		return ""
	}
}

// columnText returns one side of a change as the body of a contact shows it:
// names and pictures are never null.
func columnText(column string, value json.RawMessage) []byte {
	s := decoded[string](value)
	if column == "name" || column == "avatar" {
		return webhooks.AppendStringHTML(nil, s)
	}
	return appendOptional(nil, s)
}

func ofContact(c domain.Change) bool { return contactColumn(c.Key) != "" || openKey(c.Key) != "" }

// undone returns open attributes as they were before the changes.
func undone(after domain.Attributes, changes []domain.Change) domain.Attributes {
	before := after
	for _, c := range slices.Backward(changes) {
		if key := openKey(c.Key); key != "" {
			c.Key, c.Current = key, c.Previous
			if len(c.Current) == 0 {
				c.Current = json.RawMessage("null")
			}
			before = before.Changed("", c)
		}
	}
	return before
}
