package domain

import (
	"strings"
	"unicode/utf8"
)

// Role is the part a person plays in a conversation.
type Role string

// The roles. There are no others.
const (
	Customer Role = "customer"
	Agent    Role = "agent"
	Bot      Role = "bot"
	System   Role = "system"
)

// Valid reports whether r is one of the four roles.
func (r Role) Valid() bool {
	switch r {
	case Customer, Agent, Bot, System:
		return true
	default:
		return false
	}
}

// Limits on a person. They keep an event that names several people far below
// the size at which a log page stops fitting in memory.
const (
	MaxIDLength         = 128      // characters of an id given by a caller
	MaxNameLength       = 255      // characters of a name, e-mail, phone or identifier
	MaxURLLength        = 2048     // characters of a URL; what browsers and proxies carry
	MaxAttributesLength = 64 << 10 // bytes of an encoded attributes object
	MaxAttributesDepth  = 32       // objects and lists within each other; parsers of receivers give up from 64 on
)

// A Person is anyone a fact names: customer, agent, bot or the system itself.
// The shape is the same everywhere; all but ID are optional.
type Person struct {
	ID         string     `json:"id"`
	Role       Role       `json:"role,omitempty"`
	Number     int64      `json:"number,omitempty"`
	Name       string     `json:"name,omitempty"`
	FirstName  string     `json:"first_name,omitempty"`
	LastName   string     `json:"last_name,omitempty"`
	Email      string     `json:"email,omitempty"`
	Phone      string     `json:"phone,omitempty"`
	AvatarURL  string     `json:"avatar_url,omitempty"`
	Identifier string     `json:"identifier,omitempty"`
	IsBot      bool       `json:"is_bot,omitempty"`
	Attributes Attributes `json:"attributes,omitempty"`
}

// Completed returns p with what follows from what it says: the implied role if
// it names none, and the name and its two parts filling each other. A bot is
// marked as one.
func (p Person) Completed(implied Role) Person {
	if p.Role == "" {
		p.Role = implied
	}
	if p.Role == Bot {
		p.IsBot = true
	}
	if p.Name == "" {
		p.Name = strings.TrimSpace(p.FirstName + " " + p.LastName)
	} else if p.FirstName == "" && p.LastName == "" {
		first, last, _ := strings.Cut(strings.TrimSpace(p.Name), " ")
		p.FirstName, p.LastName = first, strings.TrimSpace(last)
	}
	return p
}

// FilledFrom returns p with every field it leaves open taken from known, the
// same person as the conversation last saw them.
func (p Person) FilledFrom(known Person) Person {
	fill := func(to *string, from string) {
		if *to == "" {
			*to = from
		}
	}
	if p.Name == "" && p.FirstName == "" && p.LastName == "" {
		p.Name, p.FirstName, p.LastName = known.Name, known.FirstName, known.LastName
	}
	fill(&p.Email, known.Email)
	fill(&p.Phone, known.Phone)
	fill(&p.AvatarURL, known.AvatarURL)
	fill(&p.Identifier, known.Identifier)
	if p.Role == "" {
		p.Role = known.Role
	}
	if p.Number == 0 {
		p.Number = known.Number
	}
	if p.Attributes == nil {
		p.Attributes = known.Attributes
	}
	p.IsBot = p.IsBot || known.IsBot
	return p
}

// Validate returns a *FieldError for the first field that breaks a limit, or nil.
func (p Person) Validate() error {
	if p.ID == "" {
		return &FieldError{"id", "must not be empty"}
	}
	if p.Role != "" && !p.Role.Valid() {
		return &FieldError{"role", "must be one of customer, agent, bot, system"}
	}
	if p.Number < 0 {
		return &FieldError{"number", "must not be negative"}
	}
	for _, f := range []struct {
		name, value string
		most        int
	}{
		{"id", p.ID, MaxIDLength},
		{"name", p.Name, MaxNameLength},
		{"first_name", p.FirstName, MaxNameLength},
		{"last_name", p.LastName, MaxNameLength},
		{"email", p.Email, MaxNameLength},
		{"phone", p.Phone, MaxNameLength},
		{"identifier", p.Identifier, MaxNameLength},
		{"avatar_url", p.AvatarURL, MaxURLLength},
	} {
		if err := Text(f.name, f.value, f.most); err != nil {
			return err
		}
	}
	return p.Attributes.Validate("attributes")
}

// Text returns a *FieldError unless value is valid UTF-8 of at most that many
// characters.
func Text(field, value string, most int) error {
	if !utf8.ValidString(value) {
		return &FieldError{field, "must be valid UTF-8"}
	}
	if len(value) > most && utf8.RuneCountInString(value) > most {
		return &FieldError{field, "must be at most " + itoa(most) + " characters"}
	}
	return nil
}

// Equal reports whether p and q say the same of a person.
func (p Person) Equal(q Person) bool {
	return p.ID == q.ID && p.Role == q.Role && p.Number == q.Number &&
		p.Name == q.Name && p.FirstName == q.FirstName && p.LastName == q.LastName &&
		p.Email == q.Email && p.Phone == q.Phone && p.AvatarURL == q.AvatarURL &&
		p.Identifier == q.Identifier && p.IsBot == q.IsBot && p.Attributes.Equal(q.Attributes)
}

// A PersonPatch is a merge-patch (RFC 7396) of what may change about a person.
type PersonPatch struct {
	Name       Patch[string] `json:"name"`
	FirstName  Patch[string] `json:"first_name"`
	LastName   Patch[string] `json:"last_name"`
	Email      Patch[string] `json:"email"`
	Phone      Patch[string] `json:"phone"`
	AvatarURL  Patch[string] `json:"avatar_url"`
	Identifier Patch[string] `json:"identifier"`
	Attributes Attributes    `json:"attributes"`
}

// Apply returns p after the patch and what changed. A new name alone renames
// both parts; new parts alone rename the whole. Attributes of a stranger are to
// be validated before, as for Merge.
func (c PersonPatch) Apply(p Person) (Person, []Change) {
	before := p
	p.Name = c.Name.Or(p.Name)
	p.FirstName = c.FirstName.Or(p.FirstName)
	p.LastName = c.LastName.Or(p.LastName)
	parts := c.FirstName.Set || c.LastName.Set
	switch {
	case c.Name.Set && !parts:
		p.FirstName, p.LastName = "", ""
	case parts && !c.Name.Set:
		p.Name = ""
	}
	p.Email = c.Email.Or(p.Email)
	p.Phone = c.Phone.Or(p.Phone)
	p.AvatarURL = c.AvatarURL.Or(p.AvatarURL)
	p.Identifier = c.Identifier.Or(p.Identifier)
	p.Attributes = p.Attributes.Merge(c.Attributes)
	p = p.Completed(before.Role)

	var changes []Change
	for _, f := range []struct{ key, before, after string }{
		{"name", before.Name, p.Name},
		{"first_name", before.FirstName, p.FirstName},
		{"last_name", before.LastName, p.LastName},
		{"email", before.Email, p.Email},
		{"phone", before.Phone, p.Phone},
		{"avatar_url", before.AvatarURL, p.AvatarURL},
		{"identifier", before.Identifier, p.Identifier},
	} {
		if change, ok := Changed(f.key, Optional(f.before), Optional(f.after)); ok {
			changes = append(changes, change)
		}
	}
	return p, append(changes, c.Attributes.Changes(before.Attributes, p.Attributes)...)
}

// Changes returns how the keys named in the patch differ from before to after,
// each as "attributes.KEY".
func (a Attributes) Changes(before, after Attributes) []Change {
	var changes []Change
	for _, at := range a {
		if change, ok := Changed("attributes."+at.Key, before.Get(at.Key), after.Get(at.Key)); ok {
			changes = append(changes, change)
		}
	}
	return changes
}

// Optional returns nil for "", so that an empty text reads as null in a Change.
func Optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
