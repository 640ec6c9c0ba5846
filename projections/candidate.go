package projections

import (
	"context"
	"encoding/json"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// A candidate is a fact that may become deliveries. What endpoints ask of it is
// found out once, however many of them ask.
type candidate struct {
	webhooks.Fact

	account *planAccount
	words   []spoken
	origin  *origin  // of its conversation, once asked for
	named   []string // by an activity: the ids of products or forms, once asked for
	read    bool     // whether named is what the activity names
}

// spoken is what a dialect calls a candidate.
type spoken struct {
	dialect string
	words   []webhooks.Word
}

// wordsOf returns the dialect's words for the candidate.
func (c *candidate) wordsOf(d webhooks.Dialect) []webhooks.Word {
	name := d.Name()
	for i := range c.words {
		if c.words[i].dialect == name {
			return c.words[i].words
		}
	}
	words := d.Words(c.Event)
	c.words = append(c.words, spoken{name, words})
	return words
}

// pass reports whether the filters let the candidate through. What it says
// itself is asked first; of its conversation more may have to be read.
func (p *Plan) pass(ctx context.Context, c *candidate, filters *endpoint.Filters) (bool, error) {
	if !c.pass(filters) {
		return false, nil
	}
	if _, ok := conversationFact(c.Fact); !ok || !filters.AboutConversations() {
		return true, nil
	}
	if c.origin == nil {
		origin, err := p.origins.asOf(ctx, c.Fact, c.account.labels)
		if err != nil {
			return false, err
		}
		c.origin = origin
	}
	return filters.PassConversation(c.origin.inbox, c.origin.channel, c.origin.labels), nil
}

// pass reports whether the filters let through what the event itself says.
func (c *candidate) pass(filters *endpoint.Filters) bool {
	switch e := c.Event.(type) {
	case conversation.MessagePosted:
		return filters.PassMessage(e.Author.Role, e.Private)
	case conversation.MessageEdited:
		return filters.PassMessage(e.By.Role, e.Private)
	case conversation.MessageDeleted:
		return filters.PassMessage(e.By.Role, e.Private)
	case conversation.TypingStarted:
		return filters.PassMessage(e.Author.Role, e.Private)
	case conversation.TypingStopped:
		return filters.PassMessage(e.Author.Role, e.Private)
	case conversation.MessagePlayed:
		return !e.Private || !filters.HidesNotes()
	case conversation.ActivityRecorded:
		switch e.Kind {
		case conversation.ProductPurchased:
			return len(filters.ProductIDs) == 0 || filters.PassProducts(c.ids(productIDs, e.Data))
		case conversation.FormSubmitted:
			return len(filters.FormIDs) == 0 || filters.PassForms(c.ids(formIDs, e.Data))
		case conversation.AppointmentScheduled, conversation.TaskCompleted:
		}
	case contact.WidgetTriggered:
		return filters.PassInbox(e.Inbox.ID)
	}
	return true
}

// ids returns what find finds in the data of the candidate, an activity.
func (c *candidate) ids(find func(domain.Attributes) []string, data domain.Attributes) []string {
	if !c.read {
		c.named, c.read = find(data), true
	}
	return c.named
}

// productIDs returns the ids of the products that a purchase names.
func productIDs(data domain.Attributes) []string {
	ids := appendID(nil, data.Get("product_id"))
	ids = appendID(ids, data.Object("product").Get("id"))
	for _, id := range members(data.Get("product_ids")) {
		ids = appendID(ids, id)
	}
	for _, raw := range members(data.Get("products")) {
		var product domain.Attributes
		_ = json.Unmarshal(raw, &product) // what is no object names nothing
		ids = appendID(ids, product.Get("id"))
	}
	return ids
}

// formIDs returns the ids of the form that was submitted.
func formIDs(data domain.Attributes) []string {
	return appendID(appendID(nil, data.Get("form_id")), data.Object("form").Get("id"))
}

// members returns the members of a JSON list, or none.
func members(list json.RawMessage) (out []json.RawMessage) {
	if len(list) > 0 && list[0] == '[' {
		_ = json.Unmarshal(list, &out) // one that does not decode is as good as none
	}
	return out
}

// appendID appends the text of an id, if there is one: what a string says, or a
// number as it is written.
func appendID(ids []string, raw json.RawMessage) []string {
	if len(raw) == 0 {
		return ids
	}
	id := ""
	switch c := raw[0]; {
	case c == '"':
		_ = json.Unmarshal(raw, &id) // a string that does not decode is as good as none
	case c == '-' || '0' <= c && c <= '9':
		id = string(raw)
	}
	if id == "" {
		return ids
	}
	return append(ids, id)
}
