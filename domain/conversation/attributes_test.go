package conversation_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

func TestChangeAttributes(t *testing.T) {
	t.Parallel()
	type labels = []string
	shoes := conversation.Created{Customer: ann, Subject: "Shoes", Attributes: attributes(
		`{"page":"/shoes","form":{"size":40,"colour":{"sole":"white","lace":"red"}},"list":[1,2]}`)}
	form := `{"size":40,"colour":{"sole":"white","lace":"red"}}`
	triaged := changed(
		change("priority", `null`, `"high"`),
		change("labels", `[]`, `["a","b"]`),
		change("team", `null`, `{"id":"t1","number":3,"name":"Sales"}`),
	)
	for _, tt := range []struct {
		name    string
		command conversation.ChangeAttributes
		want    []domain.Change // none: nothing happens
	}{
		{name: "of nothing"},

		{"subject", conversation.ChangeAttributes{Subject: set("Boots")}, []domain.Change{change("subject", `"Shoes"`, `"Boots"`)}},
		{"subject removed", conversation.ChangeAttributes{Subject: removed[string]()}, []domain.Change{change("subject", `"Shoes"`, `null`)}},
		{"subject emptied is removed", conversation.ChangeAttributes{Subject: set("")}, []domain.Change{change("subject", `"Shoes"`, `null`)}},
		{name: "subject as it is", command: conversation.ChangeAttributes{Subject: set("Shoes")}},

		{"priority", conversation.ChangeAttributes{Priority: set(conversation.Urgent)}, []domain.Change{change("priority", `"high"`, `"urgent"`)}},
		{"priority removed", conversation.ChangeAttributes{Priority: removed[conversation.Priority]()}, []domain.Change{change("priority", `"high"`, `null`)}},
		{name: "priority as it is", command: conversation.ChangeAttributes{Priority: set(conversation.High)}},

		{"labels", conversation.ChangeAttributes{Labels: set(labels{"c"})}, []domain.Change{change("labels", `["a","b"]`, `["c"]`)}},
		{"labels in another order", conversation.ChangeAttributes{Labels: set(labels{"b", "a"})}, []domain.Change{change("labels", `["a","b"]`, `["b","a"]`)}},
		{"labels removed", conversation.ChangeAttributes{Labels: removed[labels]()}, []domain.Change{change("labels", `["a","b"]`, `[]`)}},
		{"labels emptied", conversation.ChangeAttributes{Labels: set(labels{})}, []domain.Change{change("labels", `["a","b"]`, `[]`)}},
		{"labels count once", conversation.ChangeAttributes{Labels: set(labels{"b", "c", "b"})}, []domain.Change{change("labels", `["a","b"]`, `["b","c"]`)}},
		{name: "labels as they are, repeated", command: conversation.ChangeAttributes{Labels: set(labels{"a", "b", "a"})}},

		{"team", conversation.ChangeAttributes{Team: set(conversation.Team{ID: "t2"})}, []domain.Change{change("team", `{"id":"t1","number":3,"name":"Sales"}`, `{"id":"t2"}`)}},
		{"team removed", conversation.ChangeAttributes{Team: removed[conversation.Team]()}, []domain.Change{change("team", `{"id":"t1","number":3,"name":"Sales"}`, `null`)}},
		{name: "team as it is", command: conversation.ChangeAttributes{Team: set(conversation.Team{ID: "t1", Number: 3, Name: "Sales"})}},

		{"attribute added", conversation.ChangeAttributes{Attributes: attributes(`{"vip":true}`)}, []domain.Change{change("attributes.vip", `null`, `true`)}},
		{"attribute replaced", conversation.ChangeAttributes{Attributes: attributes(`{"page":["/"]}`)}, []domain.Change{change("attributes.page", `"/shoes"`, `["/"]`)}},
		{"attribute removed", conversation.ChangeAttributes{Attributes: attributes(`{"page":null}`)}, []domain.Change{change("attributes.page", `"/shoes"`, `null`)}},
		{name: "attribute as it is", command: conversation.ChangeAttributes{Attributes: attributes(`{"page":"/shoes","list":[1,2],"gone":null}`)}},
		{
			"attribute with what HTML escapes",
			conversation.ChangeAttributes{Attributes: attributes(`{"html":"<a href=\"?a&b\">","a<b":{"c>d":1}}`)},
			[]domain.Change{
				change("attributes.html", `null`, `"<a href=\"?a&b\">"`),
				change("attributes.a<b", `null`, `{"c>d":1}`),
			},
		},
		{
			"object merged into an object",
			conversation.ChangeAttributes{Attributes: attributes(`{"form":{"colour":{"lace":null,"tongue":"blue"},"width":"F"}}`)},
			[]domain.Change{change("attributes.form", form, `{"size":40,"colour":{"sole":"white","tongue":"blue"},"width":"F"}`)},
		},
		{name: "object merged without a change", command: conversation.ChangeAttributes{Attributes: attributes(`{"form":{"size":40,"colour":{"heel":null}}}`)}},
		{"object emptied of an attribute", conversation.ChangeAttributes{Attributes: attributes(`{"form":{"size":null}}`)}, []domain.Change{change("attributes.form", form, `{"colour":{"sole":"white","lace":"red"}}`)}},
		{"object in place of a text", conversation.ChangeAttributes{Attributes: attributes(`{"page":{"path":"/","query":null}}`)}, []domain.Change{change("attributes.page", `"/shoes"`, `{"path":"/"}`)}},
		{"object where nothing was", conversation.ChangeAttributes{Attributes: attributes(`{"new":{"a":null,"b":{"c":null}}}`)}, []domain.Change{change("attributes.new", `null`, `{"b":{}}`)}},
		{"text in place of an object", conversation.ChangeAttributes{Attributes: attributes(`{"form":"lost"}`)}, []domain.Change{change("attributes.form", form, `"lost"`)}},

		{
			"all at once, in a fixed order",
			conversation.ChangeAttributes{
				Attributes: attributes(`{"vip":true,"page":null}`), Team: removed[conversation.Team](),
				Labels: set(labels{"c"}), Priority: set(conversation.Low), Subject: set("Boots"),
			},
			[]domain.Change{
				change("subject", `"Shoes"`, `"Boots"`),
				change("priority", `"high"`, `"low"`),
				change("labels", `["a","b"]`, `["c"]`),
				change("team", `{"id":"t1","number":3,"name":"Sales"}`, `null`),
				change("attributes.vip", `null`, `true`),
				change("attributes.page", `"/shoes"`, `null`),
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := tt.command
			c.By = &amy
			o := given(t, shoes, triaged).When(c)
			if tt.want == nil {
				o.ThenNothing()
				return
			}
			o.Then(conversation.AttributesChanged{Changes: tt.want, By: &amy})
			// Once it has happened, the same is nothing.
			given(t, shoes, triaged, o.Events[0]).When(c).ThenNothing()
		})
	}
}

// TestAttributesKeepTheirOrder: some formats pass open attributes on as a list.
func TestAttributesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := rules.Fold(conversation.Created{Customer: ann, Attributes: attributes(`{"z":1,"y":{"b":1,"a":2},"x":3}`)})
	for _, step := range []struct{ patch, want string }{
		{`{"x":4,"z":5}`, `{"z":5,"y":{"b":1,"a":2},"x":4}`},
		{`{"w":6,"y":{"a":7,"0":8}}`, `{"z":5,"y":{"b":1,"a":7,"0":8},"x":4,"w":6}`},
		{`{"z":null}`, `{"y":{"b":1,"a":7,"0":8},"x":4,"w":6}`},
		{`{"z":9,"y":{"b":null}}`, `{"y":{"a":7,"0":8},"x":4,"w":6,"z":9}`},
	} {
		events, err := conversation.Decide(s, conversation.ChangeAttributes{Attributes: attributes(step.patch)}, noon)
		if err != nil || len(events) != 1 {
			t.Fatalf("patch %s: got events %+v and error %v; want one event", step.patch, events, err)
		}
		s = conversation.Evolve(s, events[0])
		got, err := json.Marshal(s.Attributes)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, string(got)); diff != "" {
			t.Errorf("after patch %s (-want +got):\n%s", step.patch, diff)
		}
	}
}

func TestChangeAttributesRefusesBadFields(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]conversation.ChangeAttributes{
		"subject":     {Subject: set(broken)},
		"priority":    {Priority: set(conversation.Priority("asap"))},
		"labels[1]":   {Labels: set([]string{"a", broken})},
		"labels[0]":   {Labels: set([]string{""})},
		"team.id":     {Team: set(conversation.Team{Name: "Sales"})},
		"team.name":   {Team: set(conversation.Team{ID: "t", Name: broken})},
		"team.number": {Team: set(conversation.Team{ID: "t", Number: -1})},
		"attributes":  {Attributes: attributes("{\"a\":\"\xff\"}")},
		"by.id":       {Subject: set("Shoes"), By: &domain.Person{}},
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(c).ThenFieldError(field)
		})
	}
}

func TestUpdateCustomer(t *testing.T) {
	t.Parallel()

	t.Run("says what changed and who the customer is now", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Email, now.Phone, now.AvatarURL, now.Identifier = "", "+49", "https://example.com/ann.png", "crm-1"
		now.Attributes = attributes(`{"plan":"gold"}`)
		given(t, created).
			When(conversation.UpdateCustomer{By: &amy, Patch: domain.PersonPatch{
				Email: removed[string](), Phone: set("+49"), AvatarURL: set("https://example.com/ann.png"),
				Identifier: set("crm-1"), Attributes: attributes(`{"language":null,"plan":"gold"}`),
			}}).
			Then(conversation.CustomerUpdated{
				Changes: []domain.Change{
					change("email", `"ann@example.com"`, `null`),
					change("phone", `null`, `"+49"`),
					change("avatar_url", `null`, `"https://example.com/ann.png"`),
					change("identifier", `null`, `"crm-1"`),
					change("attributes.language", `"en"`, `null`),
					change("attributes.plan", `null`, `"gold"`),
				},
				Customer: now, By: &amy,
			})
	})

	t.Run("a new name renames both parts", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Name, now.FirstName, now.LastName = "Anna Berg", "Anna", "Berg"
		given(t, created).
			When(conversation.UpdateCustomer{Patch: domain.PersonPatch{Name: set("Anna Berg")}}).
			Then(conversation.CustomerUpdated{
				Changes: []domain.Change{
					change("name", `"Ann Lee"`, `"Anna Berg"`),
					change("first_name", `"Ann"`, `"Anna"`),
					change("last_name", `"Lee"`, `"Berg"`),
				},
				Customer: now,
			})
	})

	t.Run("is what later events say of them", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Phone = "+49"
		given(t, created, conversation.CustomerUpdated{Customer: now}).
			When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).
			Then(said(now, "hello"))
	})

	t.Run("without a change is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(conversation.UpdateCustomer{By: &amy}).ThenNothing()
		given(t, created).
			When(conversation.UpdateCustomer{Patch: domain.PersonPatch{
				Name: set(ann.Name), Email: set(ann.Email), Phone: removed[string](),
				Attributes: attributes(`{"language":"en"}`),
			}}).
			ThenNothing()
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		for field, c := range map[string]conversation.UpdateCustomer{
			"email":      {Patch: domain.PersonPatch{Email: set(broken)}},
			"attributes": {Patch: domain.PersonPatch{Attributes: attributesOfSize(domain.MaxAttributesLength + 1)}},
			"by.id":      {Patch: domain.PersonPatch{Email: set("x")}, By: &domain.Person{}},
		} {
			given(t, created).When(c).ThenFieldError(field)
		}
	})
}
