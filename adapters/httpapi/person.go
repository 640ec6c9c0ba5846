package httpapi

import "verbatim/domain"

// personInput is a person as a client names them: a domain.Person of which
// nothing is required. The conversion in domain fails to compile when the two
// drift apart.
type personInput struct {
	ID         string            `json:"id,omitempty" doc:"A UUID or any string of up to 128 characters." example:"visitor-4711"`
	Role       domain.Role       `json:"role,omitempty" doc:"Defaults to what the place implies."`
	Number     int64             `json:"number,omitempty" minimum:"0" doc:"For formats that want an integer id."`
	Name       string            `json:"name,omitempty" doc:"Up to 255 characters; fills its two parts, or is filled by them." example:"Jon Snow"`
	FirstName  string            `json:"first_name,omitempty"`
	LastName   string            `json:"last_name,omitempty"`
	Email      string            `json:"email,omitempty" example:"jon.snow@winterfell.com"`
	Phone      string            `json:"phone,omitempty"`
	AvatarURL  string            `json:"avatar_url,omitempty"`
	Identifier string            `json:"identifier,omitempty" doc:"Your own id of the person."`
	IsBot      bool              `json:"is_bot,omitempty"`
	Attributes domain.Attributes `json:"attributes,omitempty" doc:"Open object; .closer, .talkus, .clarityflow and .chatwoot give values that those formats would derive."`
}

// named returns the person. Who is not a customer and has no id gets a new one;
// a customer without one is the conversation's own.
func (p personInput) named(implied domain.Role) domain.Person {
	out := domain.Person(p)
	role := out.Role
	if role == "" {
		role = implied
	}
	if out.ID == "" && role != domain.Customer {
		out.ID = newID()
	}
	return out
}

// by returns who asks, if somebody is named.
func by(p *personInput) *domain.Person {
	if p == nil {
		return nil
	}
	who := p.named(domain.Agent)
	return &who
}

// byOr returns who asks: whoever is named, or the holder of the key.
func byOr(p *personInput, c *call) domain.Person {
	if p == nil {
		return c.agent
	}
	return p.named(domain.Agent)
}

// PersonPatch is a merge-patch of a customer or a contact.
type PersonPatch struct {
	Name       patch[string]     `json:"name,omitzero"`
	FirstName  patch[string]     `json:"first_name,omitzero"`
	LastName   patch[string]     `json:"last_name,omitzero"`
	Email      patch[string]     `json:"email,omitzero" example:"jon@winterfell.com"`
	Phone      patch[string]     `json:"phone,omitzero"`
	AvatarURL  patch[string]     `json:"avatar_url,omitzero"`
	Identifier patch[string]     `json:"identifier,omitzero"`
	Attributes domain.Attributes `json:"attributes,omitempty" doc:"Merged key by key; null removes a key."`
}

func (p *PersonPatch) patch() domain.PersonPatch {
	return domain.PersonPatch{
		Name: p.Name.Patch, FirstName: p.FirstName.Patch, LastName: p.LastName.Patch, Email: p.Email.Patch,
		Phone: p.Phone.Patch, AvatarURL: p.AvatarURL.Patch, Identifier: p.Identifier.Patch, Attributes: p.Attributes,
	}
}
