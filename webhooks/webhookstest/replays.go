package webhookstest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"verbatim/webhooks"
)

// A ReplaySubject is a queue that keeps replays.
type ReplaySubject interface {
	Subject
	webhooks.ReplayStore
	AddReplay(ctx context.Context, r webhooks.Replay) (webhooks.Replay, bool, error)
	Replay(ctx context.Context, id string) (webhooks.Replay, bool, error)
	PauseReplay(ctx context.Context, id string) (bool, error)
	ResumeReplay(ctx context.Context, id string) (bool, error)
	CancelReplay(ctx context.Context, id string, at time.Time) (bool, error)
}

// ReplaySuite holds a store to the contract of webhooks.ReplayStore. open returns
// an empty one, closed by t.Cleanup. What has to do with the plan, which the store
// of the read models keeps, is not held here.
func ReplaySuite(t *testing.T, open func(t *testing.T) ReplaySubject) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s ReplaySubject)
	}{
		{"one runs for an endpoint at a time", testOneReplay},
		{"a replay is kept as it is", testReplayKept},
		{"a step makes deliveries pending and says which lanes", testReplayStep},
		{"a step from where the replay is no more changes nothing", testReplayMoved},
		{"what stands still stays so, whatever becomes of an attempt", testInTurn},
		{"what has ended is read up to the first that has not", testReplayEnded},
		{"an endpoint's deliveries are read in order", testDeliveriesInOrder},
		{"the last attempts say how fast an endpoint is", testRecentTook},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// replayOf is a replay of an endpoint that is to feed.
func replayOf(id string, n int) webhooks.Replay {
	return webhooks.Replay{
		ID: id, Kind: webhooks.Again, EndpointID: Endpoint(n), Account: "default", Key: "k-" + id,
		Selection: webhooks.ReplaySelection{From: 1, Since: Day(), Events: []string{"*"}, Conversation: "c", Only: webhooks.OnlyAll},
		Rate:      7, State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, Begun: 90, To: 80, CreatedAt: Day(),
	}
}

func addReplay(t *testing.T, s ReplaySubject, r webhooks.Replay) webhooks.Replay {
	t.Helper()
	kept, added, err := s.AddReplay(t.Context(), r)
	if err != nil || !added {
		t.Fatalf("%s: added %t, %v", r.ID, added, err)
	}
	return kept
}

func replayNow(t *testing.T, s ReplaySubject, id string) webhooks.Replay {
	t.Helper()
	r, found, err := s.Replay(t.Context(), id)
	if err != nil || !found {
		t.Fatalf("%s: found %t, %v", id, found, err)
	}
	return r
}

func stepReplay(t *testing.T, s ReplaySubject, before webhooks.Replay, step webhooks.ReplayStep) (webhooks.Replay, []webhooks.Lane) {
	t.Helper()
	after, lanes, err := s.StepReplay(t.Context(), before, step, Day().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return after, lanes
}

// delivered records that a delivery was accepted.
func delivered(t *testing.T, s ReplaySubject, d webhooks.Delivery) webhooks.Delivery {
	t.Helper()
	r := reportOf(d, webhooks.Outcome{Status: 200, Took: 10 * time.Millisecond}, Day().Add(time.Minute))
	r.Delivery.Bytes = 9
	record(t, s, r)
	return delivery(t, s, d.ID)
}

func testOneReplay(t *testing.T, s ReplaySubject) {
	t.Helper()
	ctx, at := t.Context(), Day().Add(time.Hour)
	addReplay(t, s, replayOf("rpl_1", 1))
	addReplay(t, s, replayOf("rpl_2", 2))
	can := func(what string, done bool, err error, want bool) {
		t.Helper()
		if err != nil || done != want {
			t.Errorf("%s: %t, %v", what, done, err)
		}
	}
	other, added, err := s.AddReplay(ctx, replayOf("rpl_3", 1))
	can("a second one", added, err, false)
	equal(t, "the one that runs", other.ID, "rpl_1")
	done, err := s.ResumeReplay(ctx, "rpl_1")
	can("resume what runs", done, err, false)
	done, err = s.PauseReplay(ctx, "rpl_1")
	can("pause", done, err, true)
	done, err = s.PauseReplay(ctx, "rpl_1")
	can("pause again", done, err, false)
	_, added, err = s.AddReplay(ctx, replayOf("rpl_3", 1))
	can("a second one beside one that is paused", added, err, false)
	done, err = s.ResumeReplay(ctx, "rpl_1")
	can("resume", done, err, true)
	done, err = s.CancelReplay(ctx, "rpl_1", at)
	can("cancel", done, err, true)
	done, err = s.CancelReplay(ctx, "rpl_1", at)
	can("cancel again", done, err, false)
	addReplay(t, s, replayOf("rpl_3", 1))

	// One that is cancelled has yet to be settled; one that is, is not open any more.
	ids := func() (ids []string) {
		open, err := s.OpenReplays(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range open {
			ids = append(ids, r.ID)
		}
		return ids
	}
	equal(t, "open", ids(), []string{"rpl_1", "rpl_2", "rpl_3"})
	settled := replayNow(t, s, "rpl_1")
	if settled.EndedAt == nil || !settled.EndedAt.Equal(at) {
		t.Errorf("cancelled at %v", settled.EndedAt)
	}
	step := webhooks.ReplayStep{After: settled}
	step.After.Phase = webhooks.PhaseNone
	stepReplay(t, s, settled, step)
	equal(t, "open", ids(), []string{"rpl_2", "rpl_3"})
	draining := replayNow(t, s, "rpl_2")
	step = webhooks.ReplayStep{After: draining}
	step.After.Phase = webhooks.PhaseDrain
	stepReplay(t, s, draining, step)
	done, err = s.PauseReplay(ctx, "rpl_2")
	can("pause what has fed everything", done, err, false)
}

func testReplayKept(t *testing.T, s ReplaySubject) {
	t.Helper()
	r := addReplay(t, s, replayOf("rpl_1", 1))
	equal(t, "as it was added", replayNow(t, s, "rpl_1"), r)
	after := r
	ended := Day().Add(2 * time.Hour)
	after.State, after.Phase, after.Error, after.Cursor, after.Settled = webhooks.ReplayFailed, webhooks.PhaseDrain, "why", webhooks.Mark{Position: 9, Name: "n"}, webhooks.Mark{Position: 8, Name: "m"}
	after.Counts = webhooks.ReplayCounts{SentAgain: 1, Planned: 2, Kept: 3, Left: 4}
	after.EndedAt = &ended
	d := Planned(Endpoint(1), Stream(1), 7, 1, "a")
	d.State, d.Digest, d.Bytes = webhooks.Delivered, make([]byte, 32), 5
	after.Receipt = after.Receipt.Add(&d)
	d.State, d.Reason = webhooks.Parked, webhooks.ReasonExhausted
	after.Receipt = after.Receipt.Add(&d)
	got, _ := stepReplay(t, s, r, webhooks.ReplayStep{After: after})
	equal(t, "what a step returns", got, after)
	equal(t, "as it is kept", replayNow(t, s, "rpl_1"), after)
	if _, found, err := s.Replay(t.Context(), "rpl_2"); found || err != nil {
		t.Errorf("one that is not there: %t, %v", found, err)
	}
}

func testReplayStep(t *testing.T, s ReplaySubject) {
	t.Helper()
	ep := Endpoint(1)
	old := func(stream int, position int64) webhooks.Delivery {
		d := Planned(ep, Stream(stream), position, position, "a")
		plan(t, s, d)
		return d
	}
	sent, parked, waits, changed := old(1, 1), old(2, 2), old(3, 3), old(4, 4)
	sent = delivered(t, s, sent)
	cancel(t, s, parked.ID, Day().Add(time.Minute))
	parked = delivery(t, s, parked.ID)
	fresh, there := Planned(ep, Stream(5), 5, 1, "a"), waits
	r := addReplay(t, s, replayOf("rpl_1", 1))
	seen := delivered(t, s, changed)
	changedSince := seen
	if !redeliver(t, s, changed.ID, Day().Add(2*time.Minute)) {
		t.Fatal("not found")
	}
	step := webhooks.ReplayStep{
		Again: []webhooks.Delivery{sent, parked, changedSince}, Fresh: []webhooks.Delivery{fresh, there}, After: r,
	}
	step.After.Cursor = webhooks.Mark{Position: 5}
	step.After.Counts.Left = 10
	after, lanes := stepReplay(t, s, r, step)
	equal(t, "counts", after.Counts, webhooks.ReplayCounts{SentAgain: 2, Planned: 1, Left: 12})
	equal(t, "lanes", lanes, []webhooks.Lane{laneOf(sent), laneOf(parked), laneOf(fresh)})
	at := Day().Add(time.Hour)
	for _, d := range []webhooks.Delivery{sent, parked} {
		want := d.Redelivered(at)
		want.Replay = "rpl_1"
		equal(t, "sent again", delivery(t, s, d.ID), want)
	}
	fresh.Replay = "rpl_1"
	equal(t, "planned", delivery(t, s, fresh.ID), fresh)
	equal(t, "left", delivery(t, s, waits.ID), waits)
	equal(t, "changed since", delivery(t, s, changed.ID).Replay, "")
	n, err := s.ReplayPending(t.Context(), "rpl_1", 10)
	if err != nil || n != 3 {
		t.Errorf("%d are pending, %v", n, err)
	}
	if n, err = s.ReplayPending(t.Context(), "rpl_1", 2); err != nil || n != 2 {
		t.Errorf("%d are pending up to 2, %v", n, err)
	}
	// A redelivery is nobody's.
	redeliver(t, s, sent.ID, at)
	equal(t, "redelivered", delivery(t, s, sent.ID).Replay, "")
	if n, err = s.ReplayPending(t.Context(), "rpl_1", 10); err != nil || n != 2 {
		t.Errorf("%d are pending, %v", n, err)
	}
}

func testReplayMoved(t *testing.T, s ReplaySubject) {
	t.Helper()
	r := addReplay(t, s, replayOf("rpl_1", 1))
	d := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	try := func(what string, before webhooks.Replay, unless ...webhooks.ParkedAt) {
		t.Helper()
		step := webhooks.ReplayStep{Fresh: []webhooks.Delivery{d}, Unless: unless, After: before}
		_, lanes, err := s.StepReplay(t.Context(), before, step, Day())
		if !errors.Is(err, webhooks.ErrReplayMoved) || len(lanes) > 0 {
			t.Errorf("%s: %v, lanes %v", what, err, lanes)
		}
		if _, err := s.Delivery(t.Context(), d.ID); err == nil {
			t.Fatalf("%s: it was planned", what)
		}
	}
	elsewhere := r
	elsewhere.Cursor.Position++
	try("another position", elsewhere)
	elsewhere = r
	elsewhere.Cursor.Name = "x"
	try("another name", elsewhere)
	elsewhere = r
	elsewhere.Phase = webhooks.PhaseDrain
	try("another phase", elsewhere)
	elsewhere = r
	elsewhere.ID = "rpl_9"
	try("another replay", elsewhere)
	try("a stream that is not parked", r, webhooks.ParkedAt{Stream: Stream(1), Version: 3})
	if done, err := s.PauseReplay(t.Context(), r.ID); err != nil || !done {
		t.Fatal(done, err)
	}
	try("paused", r)
}

func testInTurn(t *testing.T, s ReplaySubject) {
	t.Helper()
	ep := Endpoint(1)
	var ds []webhooks.Delivery
	for i := range int64(5) {
		ds = append(ds, Planned(ep, Stream(1), i+1, i+1, "a"))
	}
	plan(t, s, ds...)
	r := addReplay(t, s, replayOf("rpl_1", 1))
	delivered(t, s, ds[4])
	_, lanes := stepReplay(t, s, r, webhooks.ReplayStep{Cancel: ds[:1], Hold: ds[1:], Reason: webhooks.ReasonSkipped, After: r})
	equal(t, "lanes", lanes, []webhooks.Lane{laneOf(ds[0])})
	skipped := delivery(t, s, ds[0].ID)
	if skipped.State != webhooks.Cancelled || skipped.Reason != webhooks.ReasonSkipped || skipped.EndedAt == nil {
		t.Errorf("skipped: %+v", skipped)
	}
	equal(t, "what had ended", delivery(t, s, ds[4].ID).State, webhooks.Delivered)
	// Attempts that were under way: one failed, one was accepted.
	record(t, s, reportOf(ds[1], webhooks.Outcome{Status: 500}, Day()))
	still := delivery(t, s, ds[1].ID)
	if still.State != webhooks.Pending || still.Reason != webhooks.ReasonInTurn || !still.DueAt.Equal(webhooks.Never()) || still.Attempts != 1 {
		t.Errorf("after a failed attempt: %+v", still)
	}
	if d := delivered(t, s, ds[2]); d.State != webhooks.Delivered || d.Reason != "" {
		t.Errorf("after an attempt that was accepted: %+v", d)
	}
	// Its turn comes, with the whole schedule before it.
	after, _ := stepReplay(t, s, r, webhooks.ReplayStep{Again: []webhooks.Delivery{still}, After: r})
	want := still.Redelivered(Day().Add(time.Hour))
	want.Replay = r.ID
	equal(t, "in its turn", delivery(t, s, still.ID), want)
	equal(t, "counts", after.Counts, webhooks.ReplayCounts{Kept: 1})
	// One that somebody redelivered meanwhile is left.
	held := delivery(t, s, ds[3].ID)
	redeliver(t, s, held.ID, Day())
	after, _ = stepReplay(t, s, after, webhooks.ReplayStep{Again: []webhooks.Delivery{held}, After: after})
	equal(t, "counts", after.Counts, webhooks.ReplayCounts{Kept: 1, Left: 1})
}

func testReplayEnded(t *testing.T, s ReplaySubject) {
	t.Helper()
	r := addReplay(t, s, replayOf("rpl_1", 1))
	var ds []webhooks.Delivery
	for i := range int64(8) {
		ds = append(ds, Planned(Endpoint(1), Stream(int(i)), 1+i/2, 1, fmt.Sprint("name", i%2)))
	}
	after, _ := stepReplay(t, s, r, webhooks.ReplayStep{Fresh: ds, After: r})
	other := addReplay(t, s, replayOf("rpl_2", 2))
	stepReplay(t, s, other, webhooks.ReplayStep{Fresh: []webhooks.Delivery{delivered(t, s, planned1(t, s))}, After: other})
	ended := func(after webhooks.Mark, limit int) []webhooks.Mark {
		t.Helper()
		found, err := s.ReplayEnded(t.Context(), "rpl_1", after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var marks []webhooks.Mark
		for i := range found {
			marks = append(marks, webhooks.MarkOf(&found[i]))
		}
		return marks
	}
	mark := func(i int) webhooks.Mark { return webhooks.MarkOf(&ds[i]) }
	equal(t, "nothing", ended(webhooks.Mark{}, 10), []webhooks.Mark(nil))
	delivered(t, s, ds[0])
	cancel(t, s, ds[1].ID, Day())
	delivered(t, s, ds[2])
	delivered(t, s, ds[4])
	equal(t, "up to the pending one", ended(webhooks.Mark{}, 10), []webhooks.Mark{mark(0), mark(1), mark(2)})
	equal(t, "at most", ended(webhooks.Mark{}, 2), []webhooks.Mark{mark(0), mark(1)})
	equal(t, "behind", ended(mark(0), 10), []webhooks.Mark{mark(1), mark(2)})
	delivered(t, s, ds[3])
	for i := 5; i < 8; i++ {
		delivered(t, s, ds[i])
	}
	equal(t, "all", ended(mark(5), 10), []webhooks.Mark{mark(6), mark(7)})
	equal(t, "fed", after.Counts.Planned, int64(8))
}

// planned1 returns a delivery of another endpoint that is planned.
func planned1(t *testing.T, s ReplaySubject) webhooks.Delivery {
	t.Helper()
	d := Planned(Endpoint(2), Stream(99), 1, 1, "a")
	plan(t, s, d)
	return d
}

func testDeliveriesInOrder(t *testing.T, s ReplaySubject) {
	t.Helper()
	ep := Endpoint(1)
	var all []webhooks.Delivery
	for i := range int64(12) {
		d := Planned(ep, Stream(int(i%3)), 10-i/2, 1, fmt.Sprint("name", i%2))
		all = append(all, d)
	}
	plan(t, s, all...)
	plan(t, s, Planned(Endpoint(2), Stream(1), 7, 1, "name0"))
	for i, d := range all {
		switch i % 3 {
		case 0:
			delivered(t, s, d)
		case 1:
			cancel(t, s, d.ID, Day())
		}
	}
	marks := func(ds []webhooks.Delivery, err error) (out []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for i := range ds {
			if ds[i].EndpointID != ep {
				t.Errorf("%+v is another's", ds[i])
			}
			out = append(out, fmt.Sprint(ds[i].Position, " ", ds[i].Name, " ", ds[i].State))
		}
		return out
	}
	equal(t, "at positions", marks(s.DeliveriesAt(t.Context(), ep, []int64{9, 5, 77})), []string{
		"5 name0 cancelled", "5 name1 pending", "9 name0 pending", "9 name1 delivered",
	})
	equal(t, "at none", marks(s.DeliveriesAt(t.Context(), ep, []int64{})), []string(nil))
	equal(t, "in states behind", marks(s.DeliveriesBehind(t.Context(), ep, []webhooks.State{webhooks.Delivered, webhooks.Cancelled},
		webhooks.Mark{Position: 6, Name: "name1"}, 4)), []string{
		"7 name0 delivered", "7 name1 cancelled", "8 name0 cancelled", "9 name1 delivered",
	})
}

func testRecentTook(t *testing.T, s ReplaySubject) {
	t.Helper()
	if _, known, err := s.RecentTook(t.Context(), Endpoint(1)); known || err != nil {
		t.Errorf("of nothing: %t, %v", known, err)
	}
	for i := range int64(3) {
		d := Planned(Endpoint(1), Stream(1), i+1, i+1, "a")
		plan(t, s, d)
		delivered(t, s, d)
	}
	took, known, err := s.RecentTook(t.Context(), Endpoint(1))
	if err != nil || !known || took != 10*time.Millisecond {
		t.Errorf("%v %t, %v", took, known, err)
	}
}
