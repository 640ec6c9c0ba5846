package webhooks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

func recordedAt(n int64, e domain.Event) *eventstore.Recorded {
	return &eventstore.Recorded{
		Position: 10 * n, Version: n, Stream: webhookstest.Stream(1), Type: e.EventType(), Schema: 1,
		Time: webhookstest.Day().Add(time.Duration(n) * time.Second), Account: "acme",
	}
}

// item leaves private messages out, as some formats do.
func item(dst []byte, m *webhooks.Message) []byte {
	if m.Private {
		return dst
	}
	return fmt.Appendf(dst, "{%s:%s:%t}", m.ID, m.Text, m.DeletedAt != nil)
}

// naive is what Items returns, encoded from nothing.
func naive(h *webhooks.History, last, most int) (items string, count int) {
	var all []string
	size := 0
	for i := len(h.Messages) - 1; i >= 0; i-- {
		one := string(item(nil, &h.Messages[i]))
		if one == "" {
			continue
		}
		if last >= 0 && len(all) == last || most > 0 && len(all) > 0 && size+len(one)+1 > most {
			break
		}
		all = append([]string{one}, all...)
		size += len(one) + 1
	}
	return strings.Join(all, ","), len(all)
}

// Fragments are an economy: with or without, at every version and in every
// order of asking, the items are the same.
func TestItemsAreTheSameWithAndWithoutFragments(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h webhooks.History
		n := int64(0)
		apply := func(e conversation.Event) {
			n++
			h.Apply(recordedAt(n, e), e)
		}
		apply(conversation.Created{Customer: domain.Person{ID: "c"}})
		message := func() string { return fmt.Sprintf("m%d", rapid.IntRange(0, len(h.Messages)).Draw(t, "message")) }
		text := rapid.StringMatching(`[a-z]{0,12}`)
		for range rapid.IntRange(0, 40).Draw(t, "events") {
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0, 1:
				apply(conversation.MessagePosted{
					MessageID: fmt.Sprintf("m%d", len(h.Messages)), Text: text.Draw(t, "text"),
					Private: rapid.IntRange(0, 3).Draw(t, "private") == 0,
				})
			case 2:
				apply(conversation.MessageEdited{MessageID: message(), Text: text.Draw(t, "edited")})
			case 3:
				apply(conversation.MessageDeleted{MessageID: message()})
			default:
				last, most := rapid.IntRange(-1, 5).Draw(t, "last"), rapid.IntRange(0, 60).Draw(t, "bytes")
				dialect := rapid.SampledFrom([]string{"a@1", "b@1"}).Draw(t, "dialect")
				want, count := naive(&h, last, most)
				got := h.Items(&webhooks.Fragment{Key: dialect, Separator: ",", Append: item}, last, most)
				if string(got.Bytes) != want || got.Count != count {
					t.Fatalf("last %d, %d bytes: got %d %s, want %d %s", last, most, got.Count, got.Bytes, count, want)
				}
				if _, all := naive(&h, -1, 0); got.Left != all-count {
					t.Fatalf("last %d, %d bytes: %d are said to be left out, of %d there are %d", last, most, got.Left, all, count)
				}
				if count > 0 {
					if first := item(nil, &h.Messages[got.From]); len(first) == 0 || !strings.HasPrefix(want, string(first)) {
						t.Fatalf("from %d is not the first of %s", got.From, want)
					}
				}
			}
		}
	})
}

func TestAConversationIsWhatItsEventsMadeOfIt(t *testing.T) {
	t.Parallel()
	until := webhookstest.Day().Add(time.Hour)
	ann, bob := domain.Person{ID: "ann"}, domain.Person{ID: "bob"}
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	var c webhooks.Conversation
	n := int64(0)
	apply := func(events ...conversation.Event) {
		for _, e := range events {
			n++
			c = c.Evolve(recordedAt(n, e), e)
		}
	}
	check := func(want webhooks.Conversation) {
		t.Helper()
		want.Version, want.UpdatedAt = n, webhookstest.Day().Add(time.Duration(n)*time.Second)
		if diff := cmp.Diff(want, c); diff != "" {
			t.Fatalf("version %d (-want +got):\n%s", n, diff)
		}
	}
	apply(conversation.Created{Account: domain.Account{ID: "a"}, Inbox: domain.Inbox{ID: "i"}, Channel: "web", Customer: ann, Subject: "s"})
	_, id := eventstore.SplitStream(webhookstest.Stream(1))
	want := webhooks.Conversation{
		ID: id, Number: 10, Status: conversation.Open, Account: domain.Account{ID: "a"}, Inbox: domain.Inbox{ID: "i"}, Channel: "web",
		Subject: "s", Labels: []string{}, Customer: ann, Attributes: domain.Attributes{}, CreatedAt: webhookstest.Day().Add(time.Second),
	}
	check(want)
	apply(conversation.MessagePosted{}, conversation.MessagePosted{Private: true}, conversation.TypingStarted{}, conversation.TypingStopped{},
		conversation.Read{}, conversation.MessagePlayed{}, conversation.ActivityRecorded{}, conversation.MessageEdited{}, conversation.MessageDeleted{})
	want.Messages = 2
	check(want)
	apply(conversation.StatusChanged{From: conversation.Open, To: conversation.Snoozed, SnoozedUntil: &until}, conversation.Assigned{Agent: bob})
	want.Status, want.SnoozedUntil, want.Assignee = conversation.Snoozed, &until, &bob
	check(want)
	apply(conversation.AttributesChanged{Changes: []domain.Change{
		{Key: "subject", Current: raw(`"t"`)},
		{Key: "priority", Current: raw(`"high"`)},
		{Key: "labels", Current: raw(`["x"]`)},
		{Key: "team", Current: raw(`{"id":"t"}`)},
		{Key: "attributes.plan", Current: raw(`"pro"`)},
	}}, conversation.CustomerUpdated{Customer: bob})
	want.Subject, want.Priority, want.Labels, want.Team = "t", conversation.High, []string{"x"}, &conversation.Team{ID: "t"}
	want.Attributes, want.Customer = domain.Attributes{{Key: "plan", Value: raw(`"pro"`)}}, bob
	check(want)
	apply(conversation.AttributesChanged{Changes: []domain.Change{
		{Key: "subject", Current: raw(`null`)},
		{Key: "priority", Current: raw(`null`)},
		{Key: "labels", Current: raw(`null`)},
		{Key: "team", Current: raw(`null`)},
		{Key: "attributes.plan", Current: raw(`null`)},
	}}, conversation.Unassigned{Previous: bob}, conversation.Closed{ClosedType: "solved"})
	closed := webhookstest.Day().Add(time.Duration(n) * time.Second)
	want.Subject, want.Priority, want.Labels, want.Team, want.Attributes, want.Assignee = "", "", []string{}, nil, domain.Attributes{}, nil
	want.Status, want.SnoozedUntil, want.ClosedType, want.ClosedAt = conversation.StatusEnded, nil, "solved", &closed
	check(want)
	apply(conversation.Reopened{By: bob})
	want.Status, want.ClosedType, want.ClosedAt = conversation.Open, "", nil
	check(want)
}

func TestOpenAttributesAreThoseOfNoFormat(t *testing.T) {
	t.Parallel()
	a := domain.Attributes{{Key: "closer"}, {Key: "plan"}, {Key: "Chatwoot"}, {Key: "talkus"}, {Key: "clarityflow"}, {Key: "closers"}}
	if diff := cmp.Diff(domain.Attributes{{Key: "plan"}, {Key: "closers"}}, webhooks.OpenAttributes(a)); diff != "" {
		t.Error(diff)
	}
	if len(a) != 6 || a[0].Key != "closer" {
		t.Error("the argument was changed")
	}
}

func TestAHistoryKnowsItsSize(t *testing.T) {
	t.Parallel()
	var h webhooks.History
	h.Apply(recordedAt(1, conversation.Created{}), conversation.Created{})
	empty := h.Size()
	for i := range int64(100) {
		e := conversation.MessagePosted{MessageID: fmt.Sprint(i), Text: strings.Repeat("x", 1000)}
		h.Apply(recordedAt(2+i, e), e)
	}
	full := h.Size()
	h.Items(&webhooks.Fragment{Key: "a@1", Separator: ",", Append: item}, -1, 0)
	if empty <= 0 || full-empty < 100_000 || h.Size()-full < 100_000 {
		t.Errorf("%d, %d, %d", empty, full, h.Size())
	}
	if h.Message("99") == nil || h.Message("100") != nil {
		t.Error("a message is found by its id")
	}
}

// Who has played a message is known of the history alone, each of them once.
func TestPlayedBy(t *testing.T) {
	t.Parallel()
	var h webhooks.History
	events := []conversation.Event{
		conversation.Created{}, conversation.MessagePosted{MessageID: "a"}, conversation.MessagePosted{MessageID: "b"},
		conversation.MessagePlayed{MessageID: "b", Viewer: domain.Person{ID: "ann"}},
	}
	for i, e := range events {
		h.Apply(recordedAt(int64(i+1), e), e)
	}
	first, size := h.PlayedBy("b"), h.Size()
	for i, id := range []string{"ann", "amy", "ann"} {
		e := conversation.MessagePlayed{MessageID: "b", Viewer: domain.Person{ID: id}}
		h.Apply(recordedAt(int64(len(events)+i+1), e), e)
	}
	if diff := cmp.Diff([][]string{{"ann"}, {"ann", "amy"}, nil}, [][]string{first, h.PlayedBy("b"), h.PlayedBy("a")}); diff != "" {
		t.Error(diff)
	}
	if h.Size() <= size {
		t.Error("what was played is not counted")
	}
}
