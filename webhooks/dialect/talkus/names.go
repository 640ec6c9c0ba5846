package talkus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"strings"
	"unicode"

	"verbatim/domain"
	"verbatim/webhooks"
)

// Ids are derived with a seed that says for what. Seeds, alphabets and the way
// from the one to the other are part of every body; they can never change.
const (
	seedVisitor = "talkus/visitor\x00"
	seedUser    = "talkus/user\x00"
	seedTeam    = "talkus/team\x00"
	seedColor   = "talkus/color\x00"
	seedAvatar  = "talkus/avatar\x00"
)

const (
	// meteorAlphabet is that of the ids of Meteor, on which Talkus is built: no
	// two of its characters look alike (Meteor, packages/random).
	meteorAlphabet = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz"
	meteorLength   = 17

	slackAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	slackLength   = 8 // behind the letter that says what it is the id of
)

// derived returns the id of so many characters that belongs to a seed and an id:
// 128 bits of a hash, written in the digits of an alphabet, the last first.
func derived(seed, id, alphabet string, length int) string {
	sum := sha256.Sum256([]byte(seed + id))
	high, low := binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])
	out := make([]byte, length)
	for i := range out {
		var rest uint64
		high, rest = high/uint64(len(alphabet)), high%uint64(len(alphabet))
		low, rest = bits.Div64(rest, low, uint64(len(alphabet)))
		out[i] = alphabet[rest]
	}
	return string(out)
}

// derivedHex is derived in hexadecimal digits.
func derivedHex(seed, id string, length int) string {
	sum := sha256.Sum256([]byte(seed + id))
	return hex.EncodeToString(sum[:])[:length]
}

// visitorID returns the visitor's id: as given, or the person's own if it is a
// Meteor id already, or else one that belongs to it for ever.
func visitorID(p *domain.Person) string {
	if id := given(p.Attributes, "visitorId"); isMeteorID(id) {
		return id
	}
	if isMeteorID(p.ID) {
		return p.ID
	}
	return derived(seedVisitor, p.ID, meteorAlphabet, meteorLength)
}

func isMeteorID(id string) bool {
	return len(id) == meteorLength && strings.Trim(id, meteorAlphabet) == ""
}

// visitorName returns what the visitor is called: as given, or as they call
// themselves, or by what they can be reached at, or by the beginning of their id,
// so that there always is a name.
func visitorName(p *domain.Person) string {
	const beginning = 4 // characters, enough to tell the visitors of a day apart
	for _, name := range [...]string{given(p.Attributes, "visitorName"), p.Name, p.Phone, p.Email} {
		if name != "" {
			return name
		}
	}
	return "Visitor " + visitorID(p)[:beginning]
}

// userName returns the name of the author of a message.
func userName(m *webhooks.Message) string {
	if name := given(m.Attributes, "userName"); name != "" {
		return name
	}
	return personName(&m.Author)
}

// personName returns what a person is called in the conversation.
func personName(p *domain.Person) string {
	if name := given(p.Attributes, "userName"); name != "" {
		return name
	}
	switch p.Role {
	case domain.Customer:
		return visitorName(p)
	case domain.Bot:
		return or(p.Name, or(p.Email, "Bot"))
	case domain.System:
		return or(p.Name, or(p.Email, "System"))
	case domain.Agent:
	}
	return or(p.Name, or(p.Email, "Agent"))
}

// userPicture returns the picture of the author of a message, or "".
func userPicture(m *webhooks.Message) string {
	return or(given(m.Attributes, "userPicture"), or(given(m.Author.Attributes, "userPicture"), m.Author.AvatarURL))
}

// channelName returns the name of the Slack channel of the conversation: as given
// by the conversation or its customer, or after the visitor as they were called
// when it was opened. A channel is not renamed when they give their name later.
func channelName(h *webhooks.History) string {
	c := &h.Conversation
	if name := or(given(c.Attributes, "channelName"), given(c.Customer.Attributes, "channelName")); name != "" {
		return name
	}
	visitor := &h.Opened.Customer
	name := or(given(h.Opened.Attributes, "visitorName"), visitorName(visitor))
	return "z-" + or(slackName(name), strings.ToLower(visitorID(visitor)))
}

// maxSlackName is how many characters the name of a channel may have in Slack,
// without the prefix of Talkus.
const maxSlackName = 80 - len("z-")

// slackName returns name as Slack would have it for a channel or a user: letters
// of any script in lower case, their marks, digits, and a hyphen for each run of anything else
// between them. It may be empty.
func slackName(name string) string {
	var b strings.Builder
	length, gap := 0, false
	for _, r := range name {
		if !unicode.In(r, unicode.Letter, unicode.Mark, unicode.Digit) && r != '_' {
			gap = length > 0
			continue
		}
		need := 1
		if gap {
			need = 2
		}
		if length+need > maxSlackName {
			break
		}
		if gap {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
		length, gap = length+need, false
	}
	return b.String()
}
