package conversation_test

import (
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// TestAuthors has the rules of who a person in a command is. Every command that
// names somebody has them; posting stands for all.
func TestAuthors(t *testing.T) {
	t.Parallel()
	so := []conversation.Event{created, said(amy, "hi"), said(ben, "yo")}
	for _, tt := range []struct {
		name   string
		author domain.Person
		want   domain.Person
	}{
		{"nobody is the customer", domain.Person{}, ann},
		{"a customer without an id is the customer", domain.Person{Role: domain.Customer}, ann},
		{"the customer by id", id(ann), ann},
		{"the customer says something new", domain.Person{Phone: "+49"}, with(ann, func(p *domain.Person) { p.Phone = "+49" })},
		{
			"the customer has another name today",
			domain.Person{FirstName: "Anna"},
			with(ann, func(p *domain.Person) { p.Name, p.FirstName, p.LastName = "Anna", "Anna", "" }),
		},
		{
			"the customer has other attributes today",
			domain.Person{Attributes: attributes(`{"mood":"good"}`)},
			with(ann, func(p *domain.Person) { p.Attributes = attributes(`{"mood":"good"}`) }),
		},
		{"a known agent by id", id(amy), amy},
		{"a known further customer by id", id(ben), ben},
		{"a known agent says something new", domain.Person{ID: "amy", Phone: "1"}, with(amy, func(p *domain.Person) { p.Phone = "1" })},
		{"a known agent turns bot", domain.Person{ID: "amy", Role: domain.Bot}, with(amy, func(p *domain.Person) { p.Role, p.IsBot = domain.Bot, true })},
		{"somebody new", domain.Person{ID: "new"}, domain.Person{ID: "new", Role: domain.Customer}},
		{"a new agent", domain.Person{ID: "new", Role: domain.Agent}, domain.Person{ID: "new", Role: domain.Agent}},
		{"a new bot is marked as one", domain.Person{ID: "new", Role: domain.Bot}, domain.Person{ID: "new", Role: domain.Bot, IsBot: true}},
		{
			"a whole name gives its parts",
			domain.Person{ID: "new", Name: " Mary  Ann Smith "},
			domain.Person{ID: "new", Role: domain.Customer, Name: " Mary  Ann Smith ", FirstName: "Mary", LastName: "Ann Smith"},
		},
		{
			"the parts give the whole name",
			domain.Person{ID: "new", FirstName: "Mary", LastName: "Smith"},
			domain.Person{ID: "new", Role: domain.Customer, Name: "Mary Smith", FirstName: "Mary", LastName: "Smith"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, so...).
				When(conversation.PostMessage{MessageID: "m-hello", Author: tt.author, Text: "hello"}).
				Then(said(tt.want, "hello"))
		})
	}

	for _, role := range []domain.Role{domain.Agent, domain.Bot, domain.System} {
		t.Run("the customer is no "+string(role), func(t *testing.T) {
			t.Parallel()
			given(t, so...).
				When(conversation.PostMessage{MessageID: "m", Author: domain.Person{ID: ann.ID, Role: role}, Text: "hello"}).
				ThenFieldError("author.role")
		})
	}
}

// TestImpliedRoles: somebody new without a role is what the command implies.
func TestImpliedRoles(t *testing.T) {
	t.Parallel()
	stranger := domain.Person{ID: "new"}
	agent := domain.Person{ID: "new", Role: domain.Agent}
	customer := domain.Person{ID: "new", Role: domain.Customer}
	hello := message(ann, "hello")
	hello.Playable = true
	for _, tt := range []struct {
		name    string
		command conversation.Command
		want    conversation.Event
	}{
		{"post", conversation.PostMessage{MessageID: "m-x", Author: stranger, Text: "x"}, said(customer, "x")},
		{"typing", conversation.SetTyping{Author: stranger, On: true}, typing(customer, false, noon.Add(conversation.DefaultTypingTTL))},
		{"read", conversation.MarkRead{By: stranger, UpTo: 1}, conversation.Read{By: customer, UpTo: 1}},
		{"play", conversation.PlayMessage{Message: hello, Viewer: stranger}, conversation.MessagePlayed{MessageID: hello.ID, Viewer: customer}},
		{"edit", conversation.EditMessage{Message: hello, Text: "x", By: stranger}, conversation.MessageEdited{MessageID: hello.ID, Previous: "hello", Text: "x", By: agent}},
		{"delete", conversation.DeleteMessage{Message: hello, By: stranger}, conversation.MessageDeleted{MessageID: hello.ID, By: agent}},
		{"status", conversation.ChangeStatus{To: conversation.Pending, By: &stranger}, conversation.StatusChanged{From: conversation.Open, To: conversation.Pending, By: &agent}},
		{"close", conversation.Close{By: &stranger}, conversation.Closed{From: conversation.Open, ClosedType: "solved", By: &agent}},
		{"assign", conversation.Assign{Agent: &stranger}, conversation.Assigned{Agent: agent}},
		{"assign by", conversation.Assign{Agent: &amy, By: &stranger}, conversation.Assigned{Agent: amy, By: &agent}},
		{
			"attributes",
			conversation.ChangeAttributes{Subject: set("Shoes"), By: &stranger},
			conversation.AttributesChanged{Changes: []domain.Change{change("subject", `null`, `"Shoes"`)}, By: &agent},
		},
		{
			"customer",
			conversation.UpdateCustomer{Patch: domain.PersonPatch{Phone: set("1")}, By: &stranger},
			conversation.CustomerUpdated{
				Changes:  []domain.Change{change("phone", `null`, `"1"`)},
				Customer: with(ann, func(p *domain.Person) { p.Phone = "1" }), By: &agent,
			},
		},
		{
			"activity",
			conversation.RecordActivity{Kind: conversation.TaskCompleted, By: &stranger},
			conversation.ActivityRecorded{Kind: conversation.TaskCompleted, Data: domain.Attributes{}, By: &agent},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			given(t, created, said(ann, "hello")).When(tt.command).Then(tt.want)
		})
	}
}

// TestPeopleAreRemembered: whoever took part is filled in when only their id is
// named later, from what was last said of them, whichever event named them.
func TestPeopleAreRemembered(t *testing.T) {
	t.Parallel()
	hello := message(ann, "hello")
	for name, e := range map[string]conversation.Event{
		"author":     said(amy, "hi"),
		"editor":     conversation.MessageEdited{MessageID: hello.ID, By: amy},
		"deleter":    conversation.MessageDeleted{MessageID: hello.ID, By: amy},
		"status":     conversation.StatusChanged{From: conversation.Open, To: conversation.Pending, By: &amy},
		"assignee":   conversation.Assigned{Agent: amy},
		"assigner":   conversation.Assigned{Agent: joe, By: &amy},
		"unassigner": conversation.Unassigned{Previous: joe, By: &amy},
		"attributes": conversation.AttributesChanged{By: &amy},
		"customer":   conversation.CustomerUpdated{Customer: ann, By: &amy},
		"reader":     conversation.Read{By: amy, UpTo: 1},
		"viewer":     conversation.MessagePlayed{MessageID: hello.ID, Viewer: amy},
		"activity":   conversation.ActivityRecorded{Kind: conversation.TaskCompleted, By: &amy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given(t, created, e).
				When(conversation.PostMessage{MessageID: "m-x", Author: id(amy), Text: "x"}).
				Then(said(amy, "x"))
		})
	}

	t.Run("typist", func(t *testing.T) {
		t.Parallel()
		given(t, created, typing(amy, false, noon), stopped(amy, false, conversation.StopExplicit)).
			When(conversation.PostMessage{MessageID: "m-x", Author: id(amy), Text: "x"}).
			Then(said(amy, "x"))
	})

	t.Run("closer and reopener", func(t *testing.T) {
		t.Parallel()
		given(t, created, conversation.Closed{By: &amy}, conversation.Reopened{By: joe}).
			When(conversation.Assign{Agent: &domain.Person{ID: joe.ID}, By: &domain.Person{ID: amy.ID}}).
			Then(conversation.Assigned{Agent: joe, By: &amy})
	})

	t.Run("as they were last named", func(t *testing.T) {
		t.Parallel()
		renamed := with(amy, func(p *domain.Person) { p.Name, p.LastName = "Amy Williams", "Williams" })
		given(t, created, said(amy, "hi"), said(joe, "hi"), said(renamed, "hi")).
			When(conversation.PostMessage{MessageID: "m-x", Author: id(amy), Text: "x"}).
			Then(said(renamed, "x"))
	})

	t.Run("not the system", func(t *testing.T) {
		t.Parallel()
		given(t, created, said(system, "hi")).
			When(conversation.PostMessage{MessageID: "m-x", Author: id(system), Text: "x"}).
			Then(said(domain.Person{ID: system.ID, Role: domain.Customer}, "x"))
	})
}

func with(p domain.Person, change func(*domain.Person)) domain.Person {
	change(&p)
	return p
}
