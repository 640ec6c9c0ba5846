package conversation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// broken is a text that is not UTF-8.
const broken = "caf\xe9"

// runes returns a text of n characters and 4n bytes: limits on texts count the
// former.
func runes(n int) string { return strings.Repeat("😀", n) }

// attributesOfSize returns an object that encodes to n bytes.
func attributesOfSize(n int) domain.Attributes {
	const around = len(`{"a":"","b":1}`)
	return domain.Attributes{
		{Key: "a", Value: json.RawMessage(`"` + strings.Repeat("x", n-around) + `"`)},
		{Key: "b", Value: json.RawMessage(`1`)},
	}
}

// attributesOfDepth returns n objects and lists within each other.
func attributesOfDepth(n int) domain.Attributes {
	inner := strings.Repeat(`[{"a":`, n/2) + "1" + strings.Repeat("}]", n/2)
	if n%2 == 0 {
		inner = "[" + strings.Repeat(`{"a":[`, n/2-1) + strings.Repeat("]}", n/2-1) + "]"
	}
	return attributes(`{"a":` + inner + `}`)
}

// TestTextLimits: each limit is allowed, one more is not, and it is characters
// that count.
func TestTextLimits(t *testing.T) {
	t.Parallel()
	file := func(a conversation.Attachment) conversation.Command {
		if a.URL == "" {
			a.URL = "https://example.com"
		}
		return conversation.PostMessage{Attachments: []conversation.Attachment{a}}
	}
	author := func(p domain.Person) conversation.Command {
		if p.ID == "" {
			p.ID = "x"
		}
		return conversation.PostMessage{Text: "hi", Author: p}
	}
	for _, tt := range []struct {
		field string
		most  int
		make  func(text string) conversation.Command
	}{
		{"text", 150_000, func(s string) conversation.Command { return conversation.PostMessage{Text: s} }},
		{"text", 150_000, func(s string) conversation.Command {
			return conversation.EditMessage{Message: message(ann, "hello"), Text: s, By: ann}
		}},
		{"content_type", 500, func(s string) conversation.Command {
			return conversation.PostMessage{Text: "hi", ContentType: s}
		}},
		{"reply_to", 128, func(s string) conversation.Command { return conversation.PostMessage{Text: "hi", ReplyTo: s} }},
		{"client_id", 128, func(s string) conversation.Command { return conversation.PostMessage{Text: "hi", ExternalID: s} }},
		{"attachments[0].url", 2048, func(s string) conversation.Command { return file(conversation.Attachment{URL: s}) }},
		{"attachments[0].name", 255, func(s string) conversation.Command { return file(conversation.Attachment{Name: s}) }},
		{"attachments[0].file_type", 255, func(s string) conversation.Command { return file(conversation.Attachment{FileType: s}) }},
		{"attachments[0].content_type", 255, func(s string) conversation.Command {
			return file(conversation.Attachment{ContentType: s})
		}},
		{"attachments[0].extension", 255, func(s string) conversation.Command { return file(conversation.Attachment{Extension: s}) }},
		{"author.id", 128, func(s string) conversation.Command { return author(domain.Person{ID: s}) }},
		{"author.name", 255, func(s string) conversation.Command { return author(domain.Person{Name: s}) }},
		{"author.avatar_url", 2048, func(s string) conversation.Command { return author(domain.Person{AvatarURL: s}) }},
		{"subject", 500, func(s string) conversation.Command { return conversation.ChangeAttributes{Subject: set(s)} }},
		{"labels[0]", 500, func(s string) conversation.Command { return conversation.ChangeAttributes{Labels: set([]string{s})} }},
		{"team.id", 128, func(s string) conversation.Command {
			return conversation.ChangeAttributes{Team: set(conversation.Team{ID: s})}
		}},
		{"team.name", 255, func(s string) conversation.Command {
			return conversation.ChangeAttributes{Team: set(conversation.Team{ID: "t", Name: s})}
		}},
		{"reason", 500, func(s string) conversation.Command {
			return conversation.ChangeStatus{To: conversation.Pending, Reason: s}
		}},
		{"type", 500, func(s string) conversation.Command { return conversation.Close{Type: s} }},
		{"email", 255, func(s string) conversation.Command {
			return conversation.UpdateCustomer{Patch: domain.PersonPatch{Email: set(s)}}
		}},
	} {
		t.Run(fmt.Sprintf("%s of %T", tt.field, tt.make("")), func(t *testing.T) {
			t.Parallel()
			given(t, created).When(tt.make(runes(tt.most))).ThenAllowed()
			given(t, created).When(tt.make(runes(tt.most + 1))).ThenFieldError(tt.field)
			given(t, created).When(tt.make(broken)).ThenFieldError(tt.field)
		})
	}

	for _, tt := range []struct {
		field string
		most  int
		make  func(text string) conversation.Create
	}{
		{"subject", 500, func(s string) conversation.Create { return conversation.Create{Customer: ann, Subject: s} }},
		{"channel", 500, func(s string) conversation.Create { return conversation.Create{Customer: ann, Channel: s} }},
		{"inbox.id", 128, func(s string) conversation.Create {
			return conversation.Create{Customer: ann, Inbox: domain.Inbox{ID: s}}
		}},
		{"inbox.name", 255, func(s string) conversation.Create {
			return conversation.Create{Customer: ann, Inbox: domain.Inbox{Name: s}}
		}},
		{"inbox.channel", 500, func(s string) conversation.Create {
			return conversation.Create{Customer: ann, Inbox: domain.Inbox{Channel: s}}
		}},
		{"customer.id", 128, func(s string) conversation.Create {
			return conversation.Create{Customer: domain.Person{ID: s}}
		}},
	} {
		t.Run(tt.field+" of a creation", func(t *testing.T) {
			t.Parallel()
			given(t).When(tt.make(runes(tt.most))).ThenAllowed()
			given(t).When(tt.make(runes(tt.most + 1))).ThenFieldError(tt.field)
			given(t).When(tt.make(broken)).ThenFieldError(tt.field)
		})
	}
}

// TestAttributeLimits: 64 KB, 32 levels and UTF-8, wherever there are attributes.
func TestAttributeLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		make  func(a domain.Attributes) conversation.Command
	}{
		{"attributes", func(a domain.Attributes) conversation.Command {
			return conversation.PostMessage{Text: "hi", Attributes: a}
		}},
		{"content_attributes", func(a domain.Attributes) conversation.Command {
			return conversation.PostMessage{Text: "hi", ContentAttributes: a}
		}},
		{"author.attributes", func(a domain.Attributes) conversation.Command {
			return conversation.PostMessage{Text: "hi", Author: domain.Person{Attributes: a}}
		}},
		{"by.attributes", func(a domain.Attributes) conversation.Command {
			return conversation.Close{By: &domain.Person{ID: "x", Attributes: a}}
		}},
		{"attributes", func(a domain.Attributes) conversation.Command {
			return conversation.ChangeAttributes{Attributes: a}
		}},
		{"data", func(a domain.Attributes) conversation.Command {
			return conversation.RecordActivity{Kind: conversation.TaskCompleted, Data: a}
		}},
		{"attributes", func(a domain.Attributes) conversation.Command {
			return conversation.UpdateCustomer{Patch: domain.PersonPatch{Attributes: a}}
		}},
	} {
		t.Run(fmt.Sprintf("%s of %T", tt.field, tt.make(nil)), func(t *testing.T) {
			t.Parallel()
			bare := given(t, conversation.Created{Customer: id(ann)})
			bare.When(tt.make(attributesOfSize(64 << 10))).ThenAllowed()
			bare.When(tt.make(attributesOfSize(64<<10 + 1))).ThenFieldError(tt.field)
			bare.When(tt.make(attributesOfDepth(32))).ThenAllowed()
			bare.When(tt.make(attributesOfDepth(33))).ThenFieldError(tt.field)
			bare.When(tt.make(attributes("{\"a\":[\"" + broken + "\"]}"))).ThenFieldError(tt.field)
		})
	}

	t.Run("hold for what a patch makes, not only for the patch", func(t *testing.T) {
		t.Parallel()
		half := attributesOfSize(40_000)
		other := domain.Attributes{{Key: "c", Value: half[0].Value}}
		given(t, conversation.Created{Customer: ann, Attributes: half}).
			When(conversation.ChangeAttributes{Attributes: other}).ThenFieldError("attributes")
		given(t, conversation.Created{Customer: domain.Person{ID: "c", Role: domain.Customer, Attributes: half}}).
			When(conversation.UpdateCustomer{Patch: domain.PersonPatch{Attributes: other}}).ThenFieldError("attributes")
	})
}

// TestPatchLimits: a patch is held against the limits before it is merged, which
// a small result would not show.
func TestPatchLimits(t *testing.T) {
	t.Parallel()
	removal := domain.Attributes{{Key: strings.Repeat("x", domain.MaxAttributesLength), Value: json.RawMessage("null")}}
	given(t, created).
		When(conversation.ChangeAttributes{Attributes: removal}).ThenFieldError("attributes")
	given(t, created).
		When(conversation.UpdateCustomer{Patch: domain.PersonPatch{Attributes: removal}}).ThenFieldError("attributes")
}

// TestLimitsSurviveStorage: a snapshot spells some characters longer than the
// log. What was within a limit when it was said must be so for ever.
func TestLimitsSurviveStorage(t *testing.T) {
	t.Parallel()
	html := attributes(`{"html":"` + strings.Repeat("<&>", 20_000) + `"}`)
	customer := with(ann, func(p *domain.Person) { p.Attributes = html })
	s := restored(t, rules.Fold(conversation.Created{Customer: customer, Attributes: html}))

	later := rules.In(t, s)
	later.When(conversation.PostMessage{MessageID: "m-hello", Text: "hello"}).Then(said(customer, "hello"))
	later.When(conversation.ChangeAttributes{Subject: set("Shoes")}).
		Then(changed(change("subject", `null`, `"Shoes"`)))
	later.When(conversation.ChangeAttributes{Attributes: html}).ThenNothing()
}

func TestAttachmentLimit(t *testing.T) {
	t.Parallel()
	files := make([]conversation.Attachment, 16)
	for i := range files {
		files[i].URL = "https://example.com"
	}
	given(t, created).When(conversation.PostMessage{Attachments: files[:15]}).ThenAllowed()
	given(t, created).When(conversation.PostMessage{Attachments: files}).ThenFieldError("attachments")
}

func TestLabelLimit(t *testing.T) {
	t.Parallel()
	labels := make([]string, 101)
	for i := range labels {
		labels[i] = fmt.Sprint("label ", i)
	}
	label := func(l ...string) conversation.Command { return conversation.ChangeAttributes{Labels: set(l)} }
	given(t, created).When(label(labels[:100]...)).ThenAllowed()
	given(t, created).When(label(labels...)).ThenFieldError("labels")
	// Repeats do not count, wherever they stand.
	given(t, created).When(label(append(labels[:100:100], labels[:100]...)...)).ThenAllowed()
}

// crowd returns n messages of as many people.
func crowd(role domain.Role, n int) []conversation.Event {
	out := make([]conversation.Event, n)
	for i := range out {
		name := fmt.Sprintf("%s-%d", role, i)
		out[i] = said(domain.Person{ID: name, Role: role}, name)
	}
	return out
}

// TestPeopleLimits: a conversation remembers 50 agents and bots and 50 further
// customers; the system and the customer are none of them.
func TestPeopleLimits(t *testing.T) {
	t.Parallel()
	opened := []conversation.Event{created}
	post := func(p domain.Person) conversation.Command {
		return conversation.PostMessage{MessageID: "m", Author: p, Text: "hi"}
	}
	crowds := func(n int) conversation.State {
		return rules.Fold(slices.Concat(opened, crowd(domain.Agent, n), crowd(domain.Customer, n))...)
	}
	oneLess, full := crowds(49), crowds(50)
	for _, tt := range []struct {
		name    string
		command conversation.Command
		refusal domain.Refusal // of a full conversation; none: it is allowed
	}{
		{"an agent more", post(amy), conversation.TooManyAgents},
		{"a bot more", post(rex), conversation.TooManyAgents},
		{"a customer more", post(ben), conversation.TooManyCustomers},
		{"the customer", post(ann), ""},
		{"the system", post(system), ""},
		{"a known agent", post(domain.Person{ID: "agent-0"}), ""},
		{"a known customer", post(domain.Person{ID: "customer-0"}), ""},
		{"a known agent as a bot", post(domain.Person{ID: "agent-0", Role: domain.Bot}), ""},
		{"a known agent as a customer", post(domain.Person{ID: "agent-0", Role: domain.Customer}), conversation.TooManyCustomers},
		{"a known customer as an agent", post(domain.Person{ID: "customer-0", Role: domain.Agent}), conversation.TooManyAgents},
		{"an assignee more", conversation.Assign{Agent: &amy}, conversation.TooManyAgents},
		{"a closer more", conversation.Close{By: &amy}, conversation.TooManyAgents},
		{"a reader more", conversation.MarkRead{By: ben, UpTo: 1}, conversation.TooManyCustomers},
		{"a typist more", conversation.SetTyping{Author: ben, On: true}, conversation.TooManyCustomers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rules.In(t, oneLess).When(tt.command).ThenAllowed()
			o := rules.In(t, full).When(tt.command)
			if tt.refusal == "" {
				o.ThenAllowed()
				return
			}
			o.ThenRefused(tt.refusal)
		})
	}

	t.Run("two at once need room for two", func(t *testing.T) {
		t.Parallel()
		two := conversation.Assign{Agent: &amy, By: &joe}
		given(t, after(opened, crowd(domain.Agent, 48)...)...).When(two).ThenAllowed()
		given(t, after(opened, crowd(domain.Agent, 49)...)...).When(two).ThenRefused(conversation.TooManyAgents)
	})

	t.Run("one in two parts needs room for one", func(t *testing.T) {
		t.Parallel()
		given(t, after(opened, crowd(domain.Agent, 49)...)...).
			When(conversation.Assign{Agent: &amy, By: &amy}).ThenAllowed()
	})
}
