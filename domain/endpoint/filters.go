package endpoint

import (
	"slices"
	"strconv"

	"verbatim/domain"
)

// Filters narrow what an endpoint is sent: an event must pass every one that is
// set. An empty list lets everything pass. Facts about contacts pass the filters
// that are about conversations.
type Filters struct {
	// Inboxes are ids: the conversation came in through one of them, or the
	// widget that a contact opened belongs to one.
	Inboxes []string `json:"inboxes,omitempty"`
	// Channels are names: the conversation came in through one of them.
	Channels []string `json:"channels,omitempty"`
	// Labels: the conversation bears at least one of them as of the event, which
	// counts: the change that adds the label passes, the one that takes the last
	// of them away does not.
	Labels []string `json:"labels,omitempty"`
	// AuthorRoles are the parts played by those who post, edit or delete a message
	// or type. Facts that name no author pass.
	AuthorRoles []domain.Role `json:"author_roles,omitempty"`
	// Private is about messages, their edits and deletions, and typing: true lets
	// only the private ones pass, false none of them. With false the endpoint is
	// shown no private notes in histories either. Other facts pass.
	Private *bool `json:"private,omitempty"`
	// ProductIDs are about activities of the kind product_purchased: one of them
	// is data.product_id, data.product.id, in data.product_ids or the id of one of
	// data.products. Numbers are compared as they are written. A purchase that
	// names no product does not pass; activities of other kinds do.
	ProductIDs []string `json:"product_ids,omitempty"`
	// FormIDs are about activities of the kind form_submitted in the same way: one
	// of them is data.form_id or data.form.id.
	FormIDs []string `json:"form_ids,omitempty"`
}

// FiltersPatch is a merge-patch of the filters: one of them alone may change.
type FiltersPatch struct {
	Inboxes     domain.Patch[[]string]      `json:"inboxes"`
	Channels    domain.Patch[[]string]      `json:"channels"`
	Labels      domain.Patch[[]string]      `json:"labels"`
	AuthorRoles domain.Patch[[]domain.Role] `json:"author_roles"`
	Private     domain.Patch[bool]          `json:"private"`
	ProductIDs  domain.Patch[[]string]      `json:"product_ids"`
	FormIDs     domain.Patch[[]string]      `json:"form_ids"`
}

// Empty reports whether no filter is set.
func (f *Filters) Empty() bool {
	return !f.AboutConversations() && len(f.AuthorRoles) == 0 && f.Private == nil &&
		len(f.ProductIDs) == 0 && len(f.FormIDs) == 0
}

// AboutConversations reports whether one of the filters is about the
// conversation in which something happened.
func (f *Filters) AboutConversations() bool {
	return len(f.Inboxes) > 0 || len(f.Channels) > 0 || len(f.Labels) > 0
}

// PassConversation reports whether what happened in a conversation that came in
// through that inbox and channel, and bears those labels, is sent.
func (f *Filters) PassConversation(inbox, channel string, labels []string) bool {
	return f.PassInbox(inbox) && passes(f.Channels, channel) && passesAny(f.Labels, labels)
}

// PassInbox reports whether what came in through that inbox is sent.
func (f *Filters) PassInbox(inbox string) bool { return passes(f.Inboxes, inbox) }

// PassMessage reports whether a message, what was done to one, or typing is sent
// if it is by somebody who plays that part, and private or not.
func (f *Filters) PassMessage(author domain.Role, private bool) bool {
	return passes(f.AuthorRoles, author) && (f.Private == nil || *f.Private == private)
}

// PassProducts reports whether a purchase of those products is sent.
func (f *Filters) PassProducts(ids []string) bool { return passesAny(f.ProductIDs, ids) }

// PassForms reports whether what was submitted in those forms is sent.
func (f *Filters) PassForms(ids []string) bool { return passesAny(f.FormIDs, ids) }

func passes[T comparable](filter []T, value T) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}

func passesAny(filter, values []string) bool {
	return len(filter) == 0 || slices.ContainsFunc(values, func(v string) bool { return slices.Contains(filter, v) })
}

// HidesNotes reports whether private notes are kept from the endpoint.
func (f *Filters) HidesNotes() bool { return f.Private != nil && !*f.Private }

// patched returns f after the patch; nil removes all of f.
func (f *Filters) patched(p *FiltersPatch) Filters {
	if p == nil {
		return Filters{}
	}
	out := Filters{
		Inboxes: p.Inboxes.Or(f.Inboxes), Channels: p.Channels.Or(f.Channels), Labels: p.Labels.Or(f.Labels),
		AuthorRoles: p.AuthorRoles.Or(f.AuthorRoles), Private: f.Private,
		ProductIDs: p.ProductIDs.Or(f.ProductIDs), FormIDs: p.FormIDs.Or(f.FormIDs),
	}
	if p.Private.Set {
		out.Private = p.Private.Value // null is neither true nor false
	}
	return out
}

// normalFilters returns the filters as they are stored, or what is wrong with
// them. An empty list is none: the two must be stored alike, or an update that
// changes nothing would look like one that does.
func normalFilters(f Filters) (Filters, error) {
	for _, list := range []struct {
		name   string
		values *[]string
		things string
		most   int  // characters of one
		named  bool // nothing bears an empty one
	}{
		{"inboxes", &f.Inboxes, "ids", domain.MaxIDLength, false},
		{"channels", &f.Channels, "names", MaxChannelLength, false},
		{"labels", &f.Labels, "labels", MaxLabelLength, true},
		{"product_ids", &f.ProductIDs, "ids", domain.MaxIDLength, true},
		{"form_ids", &f.FormIDs, "ids", domain.MaxIDLength, true},
	} {
		field := "filters." + list.name
		if err := normalList(field, list.values, list.things); err != nil {
			return f, err
		}
		for i, value := range *list.values {
			if err := domain.Text(at(field, i), value, list.most); err != nil {
				return f, err
			}
			if value == "" && list.named {
				return f, &domain.FieldError{Field: at(field, i), Rule: "must not be empty"}
			}
		}
	}
	if err := normalList("filters.author_roles", &f.AuthorRoles, "roles"); err != nil {
		return f, err
	}
	for i, role := range f.AuthorRoles {
		if !role.Valid() {
			return f, &domain.FieldError{
				Field: at("filters.author_roles", i), Rule: "must be one of customer, agent, bot, system",
			}
		}
	}
	return f, nil
}

// normalList makes an empty list none, and complains of one that is too long.
func normalList[T any](field string, values *[]T, things string) error {
	if len(*values) > MaxFilterValues {
		return &domain.FieldError{Field: field, Rule: "must be at most " + strconv.Itoa(MaxFilterValues) + " " + things}
	}
	if len(*values) == 0 {
		*values = nil
	}
	return nil
}

// at returns the path of a member of a list.
func at(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
