package domain

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// DeletedName is what a person is called whose data was erased, wherever
// something has to stand: the formats say nothing of people who were deleted.
const DeletedName = "Deleted user"

// ErasedValue stands in a change for a value that was erased: that there was one
// is a fact, and decides what formats call the change.
const ErasedValue = "erased"

// A Removal takes one person out of facts. What is left can be read and shown as
// before, and does not change when the same person is taken out again.
type Removal struct {
	// ID is the id under which the person stays, a UUID that tells nothing, unless
	// they go by another UUID.
	ID string
	// Is reports whether an id is one of the person's, ID among them.
	Is func(id string) bool
}

// Person returns p without what is theirs, if p is the person: id, role and
// numbers stay, so that what they were part of still hangs together. changed
// says whether there was anything to take out.
func (r *Removal) Person(p Person) (left Person, changed bool) {
	if !r.Is(p.ID) {
		return p, false
	}
	left = Person{ID: r.LeftID(p.ID), Role: p.Role, Number: p.Number, IsBot: p.IsBot, Attributes: GivenNumbers(p.Attributes)}
	if p.Equal(left) {
		return p, false // a name for somebody who never had one would say more than there was
	}
	left.Name = DeletedName
	return left, !p.Equal(left)
}

// LeftID returns what is left of an id of the person's.
func (r *Removal) LeftID(id string) string {
	const usual = 36 // characters of the one spelling that is ours
	if len(id) == usual && uuid.Validate(id) == nil {
		return id
	}
	return r.ID
}

// Optional is Person for somebody who need not be named.
func (r *Removal) Optional(p *Person) (left *Person, changed bool) {
	if p == nil {
		return nil, false
	}
	who, changed := r.Person(*p)
	if !changed {
		return p, false
	}
	return &who, true
}

// attributePrefix stands before the key of an open attribute in a change.
const attributePrefix = "attributes."

// erasedKey is the key of changes of open attributes, which anybody may have
// named anything.
const erasedKey = attributePrefix + ErasedValue

// WithoutValues returns the changes of a person, or of a conversation that is
// theirs, without values but of the keys that are kept: what was set stays told
// from what was not. Keys of open attributes go too, and changes that cannot be
// told from each other then are one. changed says whether that is less.
func WithoutValues(changes []Change, kept ...string) (left []Change, changed bool) {
	left = make([]Change, 0, len(changes))
	open := false
	for _, c := range changes {
		was := c
		key, isAttribute := strings.CutPrefix(c.Key, attributePrefix)
		switch {
		case slices.Contains(kept, c.Key):
		case !isAttribute:
			c.Previous, c.Current = erasedText(c.Key, c.Previous), erasedText(c.Key, c.Current)
		case Addressed(key):
			c.Previous, c.Current = givenNumber(c.Previous), givenNumber(c.Current)
		case open:
			changed = true
			continue
		default:
			open = true
			c = Change{erasedKey, json.RawMessage("null"), json.RawMessage("null")}
		}
		changed = changed || c.Key != was.Key || string(c.Previous) != string(was.Previous) || string(c.Current) != string(was.Current)
		left = append(left, c)
	}
	return left, changed
}

// erasedText returns what is left of one side of a change of a text.
func erasedText(key string, v json.RawMessage) json.RawMessage {
	switch {
	case len(v) == 0 || string(v) == "null" || string(v) == `""`:
		return v
	case key == "subject":
		return json.RawMessage(`""`) // what a conversation is called is what its last change says
	case key == "name":
		return json.RawMessage(`"` + DeletedName + `"`)
	default:
		return json.RawMessage(`"` + ErasedValue + `"`)
	}
}

// Addressed reports whether an attribute of that key is addressed to one format:
// its value is what that format would otherwise derive.
func Addressed(key string) bool {
	switch strings.ToLower(key) {
	case "closer", "talkus", "clarityflow", "chatwoot":
		return true
	default:
		return false
	}
}

// GivenNumbers returns of attributes the integer ids that they give to formats,
// and nothing else: a receiver that knows a conversation, a message or a person
// by such a number must go on to know them, and it says nothing of anybody.
func GivenNumbers(a Attributes) Attributes {
	var left Attributes
	for i := range a {
		if !Addressed(a[i].Key) {
			continue
		}
		if v := givenNumber(a[i].Value); string(v) != "null" {
			left = append(left, Attribute{a[i].Key, v})
		}
	}
	return left
}

// givenNumber returns the integer id in the value of an addressed attribute, as
// an object of its own, or null.
func givenNumber(v json.RawMessage) json.RawMessage {
	id := Attributes{{Key: "", Value: v}}.Object("").Get("id")
	if _, err := strconv.ParseInt(string(id), 10, 64); err != nil {
		return json.RawMessage("null")
	}
	return json.RawMessage(`{"id":` + string(id) + `}`)
}
