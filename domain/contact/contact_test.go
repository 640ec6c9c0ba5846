package contact_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/domaintest"
)

// rules are what these tests are about.
var rules = domaintest.Rules[contact.State, contact.Command, contact.Event]{Decide: contact.Decide, Evolve: contact.Evolve}

type scenario = domaintest.Scenario[contact.State, contact.Command, contact.Event]

func given(t *testing.T, events ...contact.Event) scenario {
	t.Helper()
	return rules.Given(t, events...)
}

// broken is a text that is not UTF-8.
const broken = "caf\xe9"

var (
	noon    = domaintest.Noon()
	account = domain.Account{ID: "acme", Number: 1, Name: "Acme"}
	ann     = domain.Person{
		ID: "ann", Role: domain.Customer, Number: 7, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee",
		Email: "ann@example.com", Attributes: attributes(`{"plan":"free"}`),
	}
	amy     = domain.Person{ID: "amy", Role: domain.Agent, Name: "Amy", FirstName: "Amy"}
	created = contact.Created{Account: account, Profile: ann}
	erased  = contact.Erased{By: amy, Events: 3}
)

func attributes(object string) domain.Attributes {
	var a domain.Attributes
	if err := json.Unmarshal([]byte(object), &a); err != nil {
		panic(err)
	}
	return a
}

func set[T any](v T) domain.Patch[T] { return domain.Patch[T]{Set: true, Value: &v} }

// large returns an object that is one byte too large.
func large() domain.Attributes {
	return attributes(`{"a":"` + strings.Repeat("x", domain.MaxAttributesLength+1-len(`{"a":""}`)) + `"}`)
}

func TestCreate(t *testing.T) {
	t.Parallel()

	t.Run("makes a person known", func(t *testing.T) {
		t.Parallel()
		given(t).When(contact.Create{Account: account, Profile: ann}).Then(created)
	})

	t.Run("completes the person", func(t *testing.T) {
		t.Parallel()
		given(t).
			When(contact.Create{Profile: domain.Person{ID: "c", Name: "Ann Lee"}}).
			Then(contact.Created{Profile: domain.Person{
				ID: "c", Role: domain.Customer, Name: "Ann Lee", FirstName: "Ann", LastName: "Lee",
			}})
	})

	t.Run("happens once", func(t *testing.T) {
		t.Parallel()
		again := contact.Create{Profile: ann}
		given(t, created).When(again).ThenRefused(contact.AlreadyCreated)
		given(t, created, erased).When(again).ThenRefused(contact.AlreadyCreated)
	})

	for field, p := range map[string]domain.Person{
		"id":         {Name: "Ann"},
		"role":       amy,
		"number":     {ID: "c", Number: -1},
		"email":      {ID: "c", Email: broken},
		"phone":      {ID: "c", Phone: strings.Repeat("1", domain.MaxNameLength+1)},
		"attributes": {ID: "c", Attributes: large()},
	} {
		t.Run("refuses a bad "+field, func(t *testing.T) {
			t.Parallel()
			given(t).When(contact.Create{Profile: p}).ThenFieldError(field)
		})
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()

	t.Run("says what changed and who the person is now", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Phone, now.Attributes = "+49", attributes(`{"plan":"gold"}`)
		given(t, created).
			When(contact.Update{Patch: domain.PersonPatch{Phone: set("+49"), Attributes: attributes(`{"plan":"gold"}`)}}).
			Then(contact.Updated{
				Changes: []domain.Change{
					{Key: "phone", Previous: json.RawMessage(`null`), Current: json.RawMessage(`"+49"`)},
					{Key: "attributes.plan", Previous: json.RawMessage(`"free"`), Current: json.RawMessage(`"gold"`)},
				},
				Profile: now,
			})
	})

	t.Run("starts from the update before", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Phone = "+49"
		given(t, created, contact.Updated{Profile: now}).
			When(contact.Update{Patch: domain.PersonPatch{Phone: set("+49")}}).
			ThenNothing()
	})

	t.Run("without a change is nothing", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(contact.Update{}).ThenNothing()
	})

	for field, p := range map[string]domain.PersonPatch{
		"email":      {Email: set(broken)},
		"avatar_url": {AvatarURL: set(strings.Repeat("x", domain.MaxURLLength+1))},
		"attributes": {Attributes: large()},
	} {
		t.Run("refuses a bad "+field, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(contact.Update{Patch: p}).ThenFieldError(field)
		})
	}

	t.Run("refuses a large patch, though what it makes is small", func(t *testing.T) {
		t.Parallel()
		removal := domain.Attributes{{Key: strings.Repeat("x", domain.MaxAttributesLength), Value: json.RawMessage("null")}}
		given(t, created).When(contact.Update{Patch: domain.PersonPatch{Attributes: removal}}).ThenFieldError("attributes")
	})

	t.Run("refuses what only becomes too large", func(t *testing.T) {
		t.Parallel()
		half := json.RawMessage(`"` + strings.Repeat("x", 40_000) + `"`)
		given(t, contact.Created{Profile: domain.Person{ID: "c", Attributes: domain.Attributes{{Key: "a", Value: half}}}}).
			When(contact.Update{Patch: domain.PersonPatch{Attributes: domain.Attributes{{Key: "b", Value: half}}}}).
			ThenFieldError("attributes")
	})
}

func TestTriggerWidget(t *testing.T) {
	t.Parallel()

	t.Run("names the person as they are known", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(contact.TriggerWidget{Attributes: attributes(`{"current_page":"/?a&b"}`), Conversation: "c1"}).
			Then(contact.WidgetTriggered{Contact: ann, Attributes: attributes(`{"current_page":"/?a&b"}`), Conversation: "c1"})
	})

	t.Run("says where it was and what the conversation was like", func(t *testing.T) {
		t.Parallel()
		inbox := domain.Inbox{ID: "web", Number: 2, Name: "Website", Channel: "web"}
		current := json.RawMessage(`{"conversation":{"id":"c1"}}`)
		given(t, created).
			When(contact.TriggerWidget{Inbox: inbox, Conversation: "c1", CurrentConversation: current}).
			Then(contact.WidgetTriggered{Contact: ann, Inbox: inbox, Conversation: "c1", CurrentConversation: current})
	})

	t.Run("names the person as they were last known", func(t *testing.T) {
		t.Parallel()
		now := ann
		now.Phone = "+49"
		given(t, created, contact.Updated{Profile: now}).
			When(contact.TriggerWidget{}).
			Then(contact.WidgetTriggered{Contact: now})
	})

	t.Run("happens as often as it happens", func(t *testing.T) {
		t.Parallel()
		triggered := contact.WidgetTriggered{Contact: ann}
		given(t, created, triggered).When(contact.TriggerWidget{}).Then(triggered)
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		longest := strings.Repeat("é", domain.MaxIDLength)
		given(t, created).When(contact.TriggerWidget{Attributes: large()}).ThenFieldError("attributes")
		given(t, created).When(contact.TriggerWidget{Conversation: broken}).ThenFieldError("conversation")
		given(t, created).When(contact.TriggerWidget{Conversation: longest + "é"}).ThenFieldError("conversation")
		given(t, created).
			When(contact.TriggerWidget{Conversation: longest}).
			Then(contact.WidgetTriggered{Contact: ann, Conversation: longest})
	})

	for field, inbox := range map[string]domain.Inbox{
		"inbox.id":      {ID: strings.Repeat("é", domain.MaxIDLength+1)},
		"inbox.name":    {Name: strings.Repeat("é", domain.MaxNameLength+1)},
		"inbox.channel": {Channel: broken},
		"inbox.number":  {Number: -1},
	} {
		t.Run("refuses a bad "+field, func(t *testing.T) {
			t.Parallel()
			given(t, created).When(contact.TriggerWidget{Inbox: inbox}).ThenFieldError(field)
		})
	}

	t.Run("takes an inbox at its limits", func(t *testing.T) {
		t.Parallel()
		inbox := domain.Inbox{
			ID: strings.Repeat("é", domain.MaxIDLength), Name: strings.Repeat("é", domain.MaxNameLength),
			Channel: strings.Repeat("é", contact.MaxChannelLength),
		}
		given(t, created).When(contact.TriggerWidget{Inbox: inbox}).Then(contact.WidgetTriggered{Contact: ann, Inbox: inbox})
		inbox.Channel += "é"
		given(t, created).When(contact.TriggerWidget{Inbox: inbox}).ThenFieldError("inbox.channel")
	})

	t.Run("takes a current conversation up to its limit", func(t *testing.T) {
		t.Parallel()
		current := func(size int) json.RawMessage {
			return json.RawMessage(`{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}`)
		}
		largest := current(contact.MaxCurrentConversation)
		given(t, created).
			When(contact.TriggerWidget{Conversation: "c1", CurrentConversation: largest}).
			Then(contact.WidgetTriggered{Contact: ann, Conversation: "c1", CurrentConversation: largest})
		for name, bad := range map[string]contact.TriggerWidget{
			"too large":      {Conversation: "c1", CurrentConversation: current(contact.MaxCurrentConversation + 1)},
			"of none":        {CurrentConversation: json.RawMessage(`{}`)},
			"not an object":  {Conversation: "c1", CurrentConversation: json.RawMessage(`[]`)},
			"cut off":        {Conversation: "c1", CurrentConversation: json.RawMessage(`{"a":`)},
			"not valid text": {Conversation: "c1", CurrentConversation: json.RawMessage(`{"a":"` + broken + `"}`)},
		} {
			t.Log(name)
			given(t, created).When(bad).ThenFieldError("current_conversation")
		}
	})
}

func TestErase(t *testing.T) {
	t.Parallel()

	t.Run("by an agent", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(contact.Erase{By: amy, Parts: []contact.Part{{Events: 3}}}).Then(erased)
	})

	t.Run("by the system, unless a role is named", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(contact.Erase{By: domain.Person{ID: "retention"}}).
			Then(contact.Erased{By: domain.Person{ID: "retention", Role: domain.System}})
	})

	t.Run("by the person does not name them again", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(contact.Erase{By: ann, Parts: []contact.Part{{Events: 3}}}).
			Then(contact.Erased{By: domain.Person{ID: "ann", Role: domain.Customer}, Events: 3})
	})

	t.Run("in as many events as it takes", func(t *testing.T) {
		t.Parallel()
		given(t, created).
			When(contact.Erase{By: amy, Parts: []contact.Part{
				{Events: 2, Positions: "1-2", Proof: "a"}, {Events: 1, Positions: "9", Proof: "b", Again: []contact.Again{{Position: 9, Digest: "c"}}},
			}}).
			Then(contact.Erased{By: amy, Events: 2, Positions: "1-2", Proof: "a"},
				contact.Erased{By: amy, Events: 1, Positions: "9", Proof: "b", Again: []contact.Again{{Position: 9, Digest: "c"}}})
	})

	t.Run("again, if the person came back", func(t *testing.T) {
		t.Parallel()
		given(t, created, erased).When(contact.Erase{By: amy, Parts: []contact.Part{{Events: 3}}}).Then(erased)
		given(t, created, erased).When(contact.Erase{By: amy}).Then()
		given(t).When(contact.Erase{By: amy}).ThenRefused(contact.NotCreated)
	})

	t.Run("refuses bad fields", func(t *testing.T) {
		t.Parallel()
		given(t, created).When(contact.Erase{}).ThenFieldError("by.id")
		given(t, created).When(contact.Erase{By: domain.Person{ID: "x", Role: "boss"}}).ThenFieldError("by.role")
	})

	t.Run("forgets all but who it was", func(t *testing.T) {
		t.Parallel()
		want := contact.State{Known: true, Erased: true, Profile: domain.Person{ID: "ann", Role: domain.Customer}}
		if diff := cmp.Diff(want, rules.Fold(created, erased)); diff != "" {
			t.Errorf("the state after it (-want +got):\n%s", diff)
		}
	})
}

func isNot[T contact.Event](e contact.Event) bool {
	_, is := e.(T)
	return !is
}

// TestBeforeAndAfter: nothing happens to a contact that is not known, and
// nothing more to one that is erased.
func TestBeforeAndAfter(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]contact.Command{
		"Update":        contact.Update{Patch: domain.PersonPatch{Phone: set("1")}},
		"TriggerWidget": contact.TriggerWidget{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given(t).When(c).ThenRefused(contact.NotCreated)
			given(t, created, erased).When(c).ThenRefused(contact.AlreadyErased)
		})
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
	panics("Decide of no command", func() { _, _ = contact.Decide(rules.Fold(created), nil, noon) })
	panics("Evolve of no event", func() { contact.Evolve(rules.Fold(created), nil) })
}

// TestProperties asks commands at random: the rules answer alike on a state and
// on its snapshot, change neither, and stop at the erasure.
func TestProperties(t *testing.T) {
	t.Parallel()
	text := rapid.SampledFrom([]string{"a", "", "<b&c>", broken})
	object := rapid.SampledFrom([]string{
		`null`, `{}`, `{"a":1}`, `{"a":null,"b":{"c":"<\u003c"}}`, `{"b":{"c":null,"<":2}}`, "{\"a\":\"\xff\"}",
	})
	person := rapid.Custom(func(t *rapid.T) domain.Person {
		p := rapid.SampledFrom([]domain.Person{ann, amy, {ID: "x"}, {}}).Draw(t, "person")
		p.Phone, p.Attributes = text.Draw(t, "phone"), attributes(object.Draw(t, "attributes"))
		return p
	})
	patch := rapid.Custom(func(t *rapid.T) domain.Patch[string] {
		return rapid.SampledFrom([]domain.Patch[string]{{}, {Set: true}, set(text.Draw(t, "text"))}).Draw(t, "patch")
	})
	command := rapid.Custom(func(t *rapid.T) contact.Command {
		a := attributes(object.Draw(t, "attributes"))
		return rapid.SampledFrom([]contact.Command{
			contact.Update{Patch: domain.PersonPatch{
				Name: patch.Draw(t, "name"), LastName: patch.Draw(t, "last name"), Email: patch.Draw(t, "email"), Attributes: a,
			}},
			contact.TriggerWidget{
				Inbox: domain.Inbox{ID: text.Draw(t, "inbox")}, Attributes: a, Conversation: text.Draw(t, "conversation"),
				CurrentConversation: rapid.SampledFrom([]json.RawMessage{nil, json.RawMessage(`{}`), json.RawMessage(`1`)}).Draw(t, "current"),
			},
			contact.Create{Account: account, Profile: person.Draw(t, "profile")},
			contact.Erase{By: person.Draw(t, "by"), Parts: []contact.Part{{Events: 1}}},
		}).Draw(t, "command")
	})
	rapid.Check(t, func(t *rapid.T) {
		var s contact.State
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			c := command.Draw(t, "next")
			before, asked := encoded(t, s), encoded(t, c)
			events, err := contact.Decide(s, c, noon)
			var restored contact.State
			if err := json.Unmarshal([]byte(before), &restored); err != nil {
				t.Fatal(err)
			}
			again, errAgain := contact.Decide(restored, c, noon)
			if encoded(t, events) != encoded(t, again) || !cmp.Equal(err, errAgain) {
				t.Fatalf("%+v came to %+v and %v; on a snapshot to %+v and %v", c, events, err, again, errAgain)
			}
			if encoded(t, s) != before || encoded(t, c) != asked {
				t.Fatalf("deciding %+v changed the state or the command", c)
			}
			if err != nil && len(events) != 0 || s.Erased && slices.ContainsFunc(events, isNot[contact.Erased]) {
				t.Fatalf("%+v came to %+v and %v; erased: %t", c, events, err, s.Erased)
			}
			for _, e := range events {
				s = contact.Evolve(s, e)
			}
			if !s.Known {
				continue
			}
			if err := s.Profile.Validate(); err != nil || s.Profile.Role != domain.Customer {
				t.Fatalf("%+v made the profile %+v: %v", c, s.Profile, err)
			}
		}
	})
}

func encoded(t *rapid.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%T does not encode: %v", v, err)
	}
	return string(b)
}
