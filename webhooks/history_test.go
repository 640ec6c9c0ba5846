package webhooks_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// Whatever is edited and deleted between two bodies, what was replaced among the
// fragments is what would be encoded from nothing, for every way of writing.
func TestFragmentsAreReplacedInTheMiddle(t *testing.T) {
	t.Parallel()
	ways := []webhooks.Fragment{
		{Key: "a@1/one", Separator: ",", Append: item},
		{Key: "a@1/two", Separator: `\n`, Append: func(dst []byte, m *webhooks.Message) []byte {
			if m.DeletedAt != nil {
				return dst
			}
			return append(dst, m.Text...) // which may be nothing
		}},
		{Key: "b@1", Append: item},
	}
	rapid.Check(t, func(t *rapid.T) {
		var warm webhooks.History
		var events []conversation.Event
		apply := func(e conversation.Event) {
			events = append(events, e)
			warm.Apply(recordedAt(int64(len(events)), e), e)
		}
		apply(conversation.Created{})
		text := rapid.StringMatching(`[a-z]{0,40}`)
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			id := fmt.Sprint(rapid.IntRange(0, len(warm.Messages)).Draw(t, "message"))
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0, 1:
				apply(conversation.MessagePosted{
					MessageID: fmt.Sprint(len(warm.Messages)), Text: text.Draw(t, "text"), Private: rapid.IntRange(0, 3).Draw(t, "private") == 0,
				})
			case 2:
				apply(conversation.MessageEdited{MessageID: id, Text: text.Draw(t, "edited")})
			default:
				apply(conversation.MessageDeleted{MessageID: id})
			}
			if rapid.Bool().Draw(t, "a body is made") {
				warm.Items(&ways[rapid.IntRange(0, len(ways)-1).Draw(t, "way")], -1, 0)
			}
		}
		var cold webhooks.History
		for i, e := range events {
			cold.Apply(recordedAt(int64(i+1), e), e)
		}
		for i := range ways {
			for _, last := range []int{-1, 0, 1, 3} {
				for _, most := range []int{0, 1, 50} {
					got, want := warm.Items(&ways[i], last, most), cold.Items(&ways[i], last, most)
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Fatalf("%s, last %d, %d bytes (-from nothing +replaced):\n%s", ways[i].Key, last, most, diff)
					}
				}
			}
			// All of them at once and looked for one by one are the same.
			all, one := warm.Items(&ways[i], -1, 0), warm.Items(&ways[i], len(events), 0)
			if diff := cmp.Diff(one, all, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s (-one by one +at once):\n%s", ways[i].Key, diff)
			}
		}
	})
}

func TestAHistoryKnowsItsBeginningItsAgentAndItsEnds(t *testing.T) {
	t.Parallel()
	ann, bob := domain.Person{ID: "ann", Role: domain.Agent}, domain.Person{ID: "bob", Role: domain.Bot}
	cal := domain.Person{ID: "cal", Role: domain.Customer}
	opened := conversation.Created{Customer: cal, Subject: "s", Attributes: domain.Attributes{{Key: "k", Value: json.RawMessage("1")}}}
	for _, c := range []struct {
		about    string
		events   []conversation.Event
		agent    *domain.Person
		closings int
		last     string
	}{
		{about: "nobody has come"},
		{about: "the customer is no agent", events: []conversation.Event{conversation.MessagePosted{MessageID: "1", Author: cal}}, last: "1"},
		{
			about: "the system is no agent", last: "1",
			events: []conversation.Event{conversation.MessagePosted{MessageID: "1", Author: domain.Person{ID: "x", Role: domain.System}}},
		},
		{about: "who was assigned", events: []conversation.Event{conversation.Assigned{Agent: ann}}, agent: &ann},
		{about: "who was the last to be", events: []conversation.Event{conversation.Assigned{Agent: ann}, conversation.Assigned{Agent: bob}}, agent: &bob},
		{about: "who has left", events: []conversation.Event{conversation.Assigned{Agent: ann}, conversation.Unassigned{Previous: ann}}, agent: &ann},
		{
			about: "who wrote last", agent: &bob, last: "2",
			events: []conversation.Event{
				conversation.Assigned{Agent: ann}, conversation.MessagePosted{MessageID: "1", Author: bob}, conversation.MessagePosted{MessageID: "2", Author: cal},
			},
		},
		{
			about: "a note is no public message and makes nobody the agent, a tombstone is", last: "1",
			events: []conversation.Event{
				conversation.MessagePosted{MessageID: "1", Author: cal},
				conversation.MessagePosted{MessageID: "2", Author: ann, Private: true},
				conversation.MessageDeleted{MessageID: "1"},
			},
		},
		{
			about: "closed twice, and changed since", closings: 2,
			events: []conversation.Event{
				conversation.Closed{},
				conversation.Reopened{},
				conversation.Closed{},
				conversation.CustomerUpdated{Customer: ann},
				conversation.AttributesChanged{Changes: []domain.Change{{Key: "attributes.k", Current: json.RawMessage("2")}, {Key: "subject", Current: json.RawMessage(`"t"`)}}},
			},
		},
	} {
		var h webhooks.History
		for i, e := range append([]conversation.Event{opened}, c.events...) {
			h.Apply(recordedAt(int64(i+1), e), e)
		}
		if diff := cmp.Diff(opened, h.Opened); diff != "" {
			t.Errorf("%s: %s", c.about, diff)
		}
		if diff := cmp.Diff(c.agent, h.Agent); diff != "" || h.Closings != c.closings {
			t.Errorf("%s: %d closings, %s", c.about, h.Closings, diff)
		}
		last := ""
		if m := h.LastPublic(); m != nil {
			last = m.ID
		}
		if last != c.last {
			t.Errorf("%s: last is %q", c.about, last)
		}
	}
}

// A snapshot is kept in the log, and is read again years later.
func TestASnapshotIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	until := webhookstest.Day().Add(time.Hour)
	ann := domain.Person{
		ID: "ann", Role: domain.Agent, Name: "Ann <&>", Number: 7,
		Attributes: domain.Attributes{{Key: "z", Value: json.RawMessage(`{"b":1,"a":"<"}`)}, {Key: "a", Value: json.RawMessage(`null`)}},
	}
	cal := domain.Person{ID: "cal", Role: domain.Customer, Email: "cal@x"}
	events := []conversation.Event{
		conversation.Created{Account: domain.Account{ID: "acme", Number: 1}, Inbox: domain.Inbox{ID: "i", Name: "I"}, Channel: "web", Customer: cal, Subject: "s"},
		conversation.MessagePosted{MessageID: "1", Author: cal, Text: "Hi"},
		conversation.Assigned{Agent: ann},
		conversation.MessagePosted{
			MessageID: "2", Author: ann, Text: "Hello\u2028 <b>", ContentType: "text", ReplyTo: "1", ExternalID: "e",
			Attachments:       []conversation.Attachment{{URL: "https://x/1.png", Size: 5, Width: 2}},
			ContentAttributes: domain.Attributes{{Key: "c", Value: json.RawMessage("[1]")}}, Attributes: domain.Attributes{{Key: "d", Value: json.RawMessage(`"e"`)}},
		},
		conversation.MessageEdited{MessageID: "2", Text: "Hello!"},
		conversation.MessagePosted{MessageID: "3", Author: ann, Text: "to ourselves", Private: true},
		conversation.AttributesChanged{Changes: []domain.Change{
			{Key: "labels", Current: json.RawMessage(`["x"]`)},
			{Key: "team", Current: json.RawMessage(`{"id":"t"}`)},
			{Key: "priority", Current: json.RawMessage(`"high"`)},
			{Key: "attributes.plan", Current: json.RawMessage(`"pro"`)},
		}},
		conversation.Read{By: cal, UpTo: 4},
		conversation.StatusChanged{From: conversation.Open, To: conversation.Snoozed, SnoozedUntil: &until},
		conversation.Closed{ClosedType: "solved"},
	}
	var h webhooks.History
	for i, e := range events {
		h.Apply(recordedAt(int64(i+1), e), e)
		want := h.Snapshot()
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got webhooks.Snapshot
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("version %d (-written +read):\n%s", i+1, diff)
		}
		// The history that it tells of has the same to say.
		told := got.History()
		if diff := cmp.Diff(want, told.Snapshot(), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("version %d (-snapshot +its history's):\n%s", i+1, diff)
		}
		if n := len(told.Messages); n > 1 || n == 1 && told.Messages[0].Private {
			t.Fatalf("version %d: tells of %d messages", i+1, n)
		}
		if told.Conversation.Messages != h.Conversation.Messages {
			t.Fatalf("version %d: counts %d messages", i+1, told.Conversation.Messages)
		}
	}
	if m := h.Snapshot().LastMessage; m == nil || m.Text != "Hello!" || m.EditedAt == nil {
		t.Errorf("got %+v", m)
	}
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
		conversation.Created{},
		conversation.MessagePosted{MessageID: "a"},
		conversation.MessagePosted{MessageID: "b"},
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
