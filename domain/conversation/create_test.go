package conversation_test

import (
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

func TestCreate(t *testing.T) {
	t.Parallel()

	t.Run("opens the conversation with everything it was given", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(conversation.Create{
				Account: account, Inbox: inbox, Channel: "web", Customer: ann, Subject: "Shoes",
				Attributes: attributes(`{"referer":"https://example.com/?a=1&b=2","current_page":"/shoes"}`),
			}).
			Then(conversation.Created{
				Account: account, Inbox: inbox, Channel: "web", Customer: ann, Subject: "Shoes",
				Attributes: attributes(`{"referer":"https://example.com/?a=1&b=2","current_page":"/shoes"}`),
			})
	})

	t.Run("completes the customer", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(conversation.Create{Customer: domain.Person{ID: "c", FirstName: "Ann", LastName: "Lee"}}).
			Then(conversation.Created{Customer: domain.Person{
				ID: "c", Role: domain.Customer, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee",
			}})
	})

	t.Run("posts the first message of the customer", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(conversation.Create{
				Account: account, Inbox: inbox, Customer: ann,
				Message: &conversation.PostMessage{MessageID: "m-hello", Text: "hello"},
			}).
			Then(created, said(ann, "hello"))
	})

	t.Run("posts the first message of somebody else", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(conversation.Create{
				Account: account, Inbox: inbox, Customer: ann,
				Message: &conversation.PostMessage{MessageID: "m-hello", Author: rex, Text: "hello"},
			}).
			Then(created, said(rex, "hello"))
	})

	t.Run("happens once", func(t *testing.T) {
		t.Parallel()
		again := conversation.Create{Account: account, Inbox: inbox, Customer: ann}
		given(t, created).When(again).ThenRefused(conversation.AlreadyCreated)
		given(t, created, conversation.Closed{ClosedType: "solved"}).When(again).ThenRefused(conversation.AlreadyCreated)
	})
}

func TestCreateRefusesBadFields(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]conversation.Create{
		"customer.id":         {},
		"customer.role":       {Customer: amy},
		"customer.number":     {Customer: domain.Person{ID: "c", Number: -1}},
		"customer.attributes": {Customer: domain.Person{ID: "c", Attributes: attributesOfSize(domain.MaxAttributesLength + 1)}},
		"subject":             {Customer: ann, Subject: broken},
		"channel":             {Customer: ann, Channel: broken},
		"inbox.id":            {Customer: ann, Inbox: domain.Inbox{ID: broken}},
		"inbox.name":          {Customer: ann, Inbox: domain.Inbox{Name: broken}},
		"inbox.channel":       {Customer: ann, Inbox: domain.Inbox{Channel: broken}},
		"attributes":          {Customer: ann, Attributes: attributesOfSize(domain.MaxAttributesLength + 1)},
		"message.text":        {Customer: ann, Message: &conversation.PostMessage{}},
		"message.author.id":   {Customer: ann, Message: &conversation.PostMessage{Text: "hi", Author: domain.Person{Role: domain.Agent}}},
		"message.attachments[0].url": {Customer: ann, Message: &conversation.PostMessage{
			Attachments: []conversation.Attachment{{Name: "a.png"}},
		}},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			given(t).When(c).ThenFieldError(field)
		})
	}
}

// TestNothingBeforeCreate: a conversation that was never created is not found,
// whatever is asked of it.
func TestNothingBeforeCreate(t *testing.T) {
	t.Parallel()
	for name, c := range everyCommand() {
		if _, ok := c.(conversation.Create); ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given(t).When(c).ThenRefused(conversation.NotCreated)
		})
	}
}

// TestClosedIsFinal: once closed, a conversation only listens to a reopening; a
// clock that comes late is told nothing.
func TestClosedIsFinal(t *testing.T) {
	t.Parallel()
	for name, c := range everyCommand() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := given(t, created, said(ann, "hello"), conversation.Closed{ClosedType: "solved"})
			switch name {
			case "Create":
				closed.When(c).ThenRefused(conversation.AlreadyCreated)
			case "Reopen":
				closed.When(c).ThenAllowed()
			case "ExpireTyping":
				closed.When(c).ThenNothing()
			default:
				closed.When(c).ThenRefused(conversation.AlreadyClosed)
			}
		})
	}
}

// everyCommand returns one command of each type, such as an open conversation
// would allow.
func everyCommand() map[string]conversation.Command {
	return map[string]conversation.Command{
		"Create":           conversation.Create{Customer: ann},
		"PostMessage":      conversation.PostMessage{MessageID: "m", Text: "hi"},
		"EditMessage":      conversation.EditMessage{Message: message(ann, "hello"), Text: "hi", By: ann},
		"DeleteMessage":    conversation.DeleteMessage{Message: message(ann, "hello"), By: ann},
		"SetTyping":        conversation.SetTyping{On: true},
		"ExpireTyping":     conversation.ExpireTyping{AuthorID: ann.ID},
		"ChangeStatus":     conversation.ChangeStatus{To: conversation.Resolved},
		"Close":            conversation.Close{},
		"Reopen":           conversation.Reopen{By: amy},
		"Assign":           conversation.Assign{Agent: &amy},
		"ChangeAttributes": conversation.ChangeAttributes{Subject: set("Shoes")},
		"UpdateCustomer":   conversation.UpdateCustomer{Patch: domain.PersonPatch{Phone: set("1")}},
		"MarkRead":         conversation.MarkRead{UpTo: 1},
		"PlayMessage":      conversation.PlayMessage{Message: conversation.Message{ID: "m-hello", AuthorID: ann.ID, Playable: true}},
		"RecordActivity":   conversation.RecordActivity{Kind: conversation.FormSubmitted},
	}
}

func TestOutsideTheClosedSets(t *testing.T) {
	t.Parallel()
	panics := func(what string, f func()) {
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic; a fault of the program must not pass in silence", what)
			}
		}()
		f()
	}
	panics("Decide of no command", func() { _, _ = conversation.Decide(rules.Fold(created), nil, noon) })
	panics("Evolve of no event", func() { conversation.Evolve(rules.Fold(created), nil) })
}
