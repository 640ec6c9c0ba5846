package sqlite_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// recorded fills a store with events of some conversations and what is owed for
// them to two endpoints, in every state, some of it by a replay of each of them,
// and returns the deliveries as they are.
func recorded(t *testing.T, s *sqlite.Store, events int) []webhooks.Delivery {
	t.Helper()
	versions := make(map[string]int64)
	var ds []webhooks.Delivery
	for i := range events {
		stream := fmt.Sprintf("conversation-%d", i*i%7)
		at := noon().Add(time.Duration(i) * time.Minute)
		position, err := s.Append(t.Context(), eventstore.Commit{Account: "acme", Appends: []eventstore.Append{{
			Stream: stream, Expected: versions[stream],
			Events: []eventstore.Draft{{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: at, Data: []byte("{}")}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		versions[stream]++
		for _, name := range []string{"a", "b"}[:1+i%2] {
			d := delivery(fmt.Sprintf("ep-%d", i%3/2), stream, position, name)
			d.Version, d.CreatedAt, d.DueAt = versions[stream], at, at
			d.Event = []string{"conversation.created", "conversation.closed", "contact.created"}[i%3]
			if i%4 == 1 {
				d.Replay = "rpl-" + d.EndpointID
			}
			ds = append(ds, d)
		}
	}
	byReplay := make(map[string][]webhooks.Delivery)
	for i := range ds {
		byReplay[ds[i].Replay] = append(byReplay[ds[i].Replay], ds[i])
	}
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: byReplay[""]}})
	delete(byReplay, "")
	for id, fresh := range byReplay {
		r := webhooks.Replay{ID: id, EndpointID: fresh[0].EndpointID, State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, CreatedAt: noon()}
		if _, added, err := s.AddReplay(t.Context(), r); err != nil || !added {
			t.Fatal(added, err)
		}
		if _, _, err := s.StepReplay(t.Context(), r, webhooks.ReplayStep{Fresh: fresh, After: r}, noon()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range ds {
		d := &ds[i]
		d.State = []webhooks.State{webhooks.Pending, webhooks.Delivered, webhooks.Parked, webhooks.Cancelled, webhooks.Delivered}[i%5]
		switch d.State {
		case webhooks.Pending:
			continue
		case webhooks.Parked:
			d.Reason = []string{webhooks.ReasonExhausted, webhooks.ReasonTooLarge}[i%2]
		case webhooks.Delivered, webhooks.Cancelled:
		}
		ended := d.CreatedAt.Add(time.Second)
		d.EndedAt = &ended
		if err := s.Record(t.Context(), []webhooks.Report{{Delivery: *d}}); err != nil {
			t.Fatal(err)
		}
	}
	return ds
}

// Whatever is asked for, the pages of a list are what Match says, newest first,
// each delivery once.
func TestListsAreWhatIsSelected(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	all := recorded(t, s, 120)
	slices.SortFunc(all, func(a, b webhooks.Delivery) int { return webhooks.MarkOf(&b).Compare(webhooks.MarkOf(&a)) })
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	pick := func(n int, all ...string) (some []string) {
		for range chance.IntN(n + 1) {
			some = append(some, all[chance.IntN(len(all))])
		}
		return some
	}
	found := 0
	for range 300 {
		endpointID := fmt.Sprintf("ep-%d", chance.IntN(2))
		sel := webhooks.Selection{
			Events:  pick(2, "conversation.created", "conversation.*", "contact.created", "a", "b", "*", "never"),
			Reasons: pick(1, webhooks.ReasonExhausted, webhooks.ReasonTooLarge, ""),
		}
		for _, state := range pick(3, "pending", "delivered", "parked", "cancelled") {
			sel.States = append(sel.States, webhooks.State(state))
		}
		if chance.IntN(2) == 0 {
			sel.Stream = fmt.Sprintf("conversation-%d", chance.IntN(8))
		}
		if chance.IntN(2) == 0 {
			sel.Replay = fmt.Sprintf("rpl-ep-%d", chance.IntN(2)) // the other endpoint's has none of this one's
		}
		if chance.IntN(2) == 0 {
			sel.From = noon().Add(time.Duration(chance.IntN(120)) * time.Minute)
		}
		if chance.IntN(2) == 0 {
			sel.To = noon().Add(time.Duration(chance.IntN(120)) * time.Minute)
		}
		var want, got []webhooks.Delivery
		for i := range all {
			if all[i].EndpointID == endpointID && sel.Match(&all[i]) {
				want = append(want, all[i])
			}
		}
		found += len(want)
		limit := 1 + chance.IntN(20)
		for before := (webhooks.Mark{}); ; {
			page, next, err := s.Deliveries(t.Context(), endpointID, sel, before, limit)
			if err != nil || len(page) > limit {
				t.Fatalf("%d deliveries, %v", len(page), err)
			}
			got = append(got, page...)
			if next == nil {
				break
			}
			before = *next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s %+v (-want +got):\n%s", endpointID, sel, diff)
		}
	}
	if found == 0 {
		t.Error("nothing was ever selected")
	}
	// A mark of another conversation leads nowhere.
	sel := webhooks.Selection{Stream: "conversation-1"}
	got, next, err := s.Deliveries(t.Context(), "ep-0", sel, webhooks.Mark{Position: 1, Name: "a"}, 10)
	if err != nil || len(got) > 0 || next != nil {
		t.Errorf("got %v, %v, %v", got, next, err)
	}
}

// A conversation with more events than a request looks at is listed to its end.
func TestListOfALongConversation(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const n = webhooks.MaxLook + 7
	const stream = "conversation-1"
	for done := int64(0); done < n; {
		var drafts []eventstore.Draft
		for range min(n-done, eventstore.MaxCommitSize) {
			drafts = append(drafts, eventstore.Draft{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: noon(), Data: []byte("{}")})
		}
		if _, err := s.Append(t.Context(), eventstore.Commit{Account: "acme", Appends: []eventstore.Append{{Stream: stream, Expected: done, Events: drafts}}}); err != nil {
			t.Fatal(err)
		}
		done += int64(len(drafts))
	}
	first, last := delivery("ep", stream, 1, "a"), delivery("ep", stream, n, "a")
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{first, last}}})
	sel := webhooks.Selection{Stream: stream}
	page, next, err := s.Deliveries(t.Context(), "ep", sel, webhooks.Mark{}, 10)
	if diff := cmp.Diff([]webhooks.Delivery{last}, page); err != nil || next == nil || diff != "" {
		t.Fatalf("first page: next %v, %v (-want +got):\n%s", next, err, diff)
	}
	page, next, err = s.Deliveries(t.Context(), "ep", sel, *next, 10)
	if diff := cmp.Diff([]webhooks.Delivery{first}, page); err != nil || next != nil || diff != "" {
		t.Fatalf("second page: next %v, %v (-want +got):\n%s", next, err, diff)
	}
}
