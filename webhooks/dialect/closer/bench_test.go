package closer_test

import (
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect/closer"
	"verbatim/webhooks/webhookstest"
)

// A thread is a body as somebody would declare it for encoding/json.
type thread struct {
	Customer struct {
		ID             string   `json:"id"`
		APIKey         string   `json:"apiKey"`
		FirstName      string   `json:"firstName"`
		LastName       string   `json:"lastName"`
		RandomName     string   `json:"randomName"`
		BackOfficeData []string `json:"backOfficeData"`
		Email          string   `json:"email"`
		Phone          string   `json:"phone"`
	} `json:"customer"`
	Timestamp      int64     `json:"timestamp"`
	ClosedType     string    `json:"closedType"`
	Assignee       *struct{} `json:"assignee"`
	MessageHistory []message `json:"messageHistory"`
	EventType      string    `json:"eventType"`
}

type message struct {
	Author    author `json:"author"`
	Message   string `json:"message"`
	Timestamp int64  `json:"timestamp"`
}

type author struct {
	ID    string  `json:"id"`
	Role  string  `json:"role"`
	Email *string `json:"email"`
	Phone *string `json:"phone"`
}

// BenchmarkBody renders a closing, with all messages before it.
func BenchmarkBody(b *testing.B) {
	d := closer.New()
	role := func(r domain.Role) string {
		if r == domain.Customer {
			return "CUSTOMER"
		}
		return "ADVISER"
	}
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	var derived thread // what follows from the ids is not encoding
	webhookstest.BenchmarkBody(b, d, closer.ThreadClosed, func(e *webhooks.PublicEvent) any {
		if derived.Customer.ID == "" {
			parse(b, string(webhookstest.Body(b, d, e)), &derived)
		}
		h := e.History
		t := thread{Customer: derived.Customer, Timestamp: e.Time.UnixMilli(), ClosedType: "solved", EventType: e.Name}
		t.MessageHistory = make([]message, len(h.Messages))
		for i := range h.Messages {
			m := &h.Messages[i]
			t.MessageHistory[i] = message{
				author{m.Author.ID, role(m.Author.Role), optional(m.Author.Email), optional(m.Author.Phone)}, m.Text, m.CreatedAt.UnixMilli(),
			}
		}
		return t
	}, conversation.Closed{ClosedType: "solved"})
}
