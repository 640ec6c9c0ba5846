package webhookstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// QueueSuite holds a queue to the contract of webhooks.Queue. open returns an
// empty one, closed by t.Cleanup.
func QueueSuite(t *testing.T, open func(t *testing.T) Subject) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, q Subject)
	}{
		{"an empty queue has nothing", testEmpty},
		{"heads are the oldest of each lane, lanes in order", testHeads},
		{"heads come in pages", testPages},
		{"a lane is in order of position, then of name", testNext},
		{"an attempt is on record with the state it led to", testRecord},
		{"a report that is made twice counts once", testRecordTwice},
		{"a report of what has ended is on record and changes no more", testRecordEnded},
		{"what an attempt tells of its endpoint is kept until it was said", testNotices},
		{"a cancelled delivery has no attempt", testCancel},
		{"a redelivery is due at once, in its place, with a whole schedule", testRedeliver},
		{"what is cancelled by hand has ended", testCancelByHand},
		{"what ended long ago goes, oldest first", testPrune},
		{"what waits for a disabled endpoint is bounded", testCancelWaiting},
		{"a delivery without order is a lane of its own", testUnordered},
		{"an endpoint's health is that of its last attempt", testHealth},
		{"a target is what was registered", testTarget},
		{"records and reads go on beside each other", testConcurrent},
		{"it does what the queue in memory does", testOracle},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

// Day is when the deliveries of this package are planned.
func Day() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC) }

// ID returns a UUID that is always the same for a kind and a number, and
// ascends with the number.
func ID(kind string, n int) uuid.UUID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	copy(id[:4], kind)
	id[6], id[8] = 0x80, id[8]&0x3f|0x80
	return id
}

// Planned returns the delivery of the event at a position to an endpoint.
func Planned(endpointID, stream string, position, version int64, name string) webhooks.Delivery {
	event := ID("evnt", int(position))
	return webhooks.Delivery{
		ID:         webhooks.DeliveryID(endpointID, event, name),
		WebhookID:  webhooks.ID(endpointID, event, name),
		EndpointID: endpointID,
		Account:    "default",
		Stream:     stream,
		Lane:       stream,
		Position:   position,
		Version:    version,
		EventID:    event,
		Event:      "conversation.message_posted",
		Name:       name,
		Dialect:    "verbatim@1",
		History:    endpoint.HistoryFull,
		State:      webhooks.Pending,
		DueAt:      Day(),
		CreatedAt:  Day(),
	}
}

// Endpoint returns the id of the endpoint with that number.
func Endpoint(n int) string { return ID("endp", n).String() }

// Stream returns the stream of the conversation with that number.
func Stream(n int) string { return "conversation-" + ID("conv", n).String() }

// TargetOf returns an endpoint that is sent everything.
func TargetOf(url string) webhooks.Target {
	return webhooks.Target{
		Settings: endpoint.Settings{
			URL: url, Dialect: "verbatim@1", Events: []string{endpoint.AllEvents},
			History: endpoint.HistoryFull, Ordering: endpoint.PerConversation,
		},
		Secrets: []string{"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func plan(t *testing.T, q Subject, ds ...webhooks.Delivery) {
	t.Helper()
	if err := q.Plan(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
}

func heads(t *testing.T, q webhooks.Queue, after webhooks.Lane, limit int) []webhooks.Delivery {
	t.Helper()
	ds, err := q.Heads(t.Context(), after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func next(t *testing.T, q webhooks.Queue, l webhooks.Lane, limit int) []webhooks.Delivery {
	t.Helper()
	ds, err := q.Next(t.Context(), l, limit)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func record(t *testing.T, q webhooks.Queue, rs ...webhooks.Report) {
	t.Helper()
	if err := q.Record(t.Context(), rs); err != nil {
		t.Fatal(err)
	}
}

func delivery(t *testing.T, q Subject, id string) webhooks.Delivery {
	t.Helper()
	d, err := q.Delivery(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func attempts(t *testing.T, q Subject, id string) []webhooks.Attempt {
	t.Helper()
	as, err := q.Attempts(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

func redeliver(t *testing.T, q Subject, id string, at time.Time) bool {
	t.Helper()
	found, err := q.Redeliver(t.Context(), id, at)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func cancel(t *testing.T, q Subject, id string, at time.Time) bool {
	t.Helper()
	done, err := q.Cancel(t.Context(), id, webhooks.ReasonAsked, at)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func laneOf(d webhooks.Delivery) webhooks.Lane {
	return webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}
}

// reportOf is one more attempt of d, with that outcome.
func reportOf(d webhooks.Delivery, o webhooks.Outcome, at time.Time) webhooks.Report {
	a := webhooks.Attempt{Number: d.Attempts + 1, At: at, Outcome: o, Digest: []byte("0123456789abcdef0123456789abcdef")}
	n := webhooks.Decide(endpoint.Settings{}, d, o, at, 0)
	return webhooks.Report{Delivery: d.After(a, n, at), Attempt: a, Health: webhooks.Health{}.After(o, at)}
}

func testEmpty(t *testing.T, q Subject) {
	t.Helper()
	equal(t, "heads", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery(nil))
	equal(t, "next", next(t, q, webhooks.Lane{EndpointID: Endpoint(1), Key: Stream(1)}, 10), []webhooks.Delivery(nil))
	record(t, q)
	if _, err := q.Target(t.Context(), Endpoint(1)); !errors.Is(err, webhooks.ErrNoTarget) {
		t.Fatalf("target: got %v, want ErrNoTarget", err)
	}
}

func testHeads(t *testing.T, q Subject) {
	t.Helper()
	a := Planned(Endpoint(1), Stream(2), 9, 1, "a")
	b := Planned(Endpoint(1), Stream(2), 10, 2, "a") // behind a: 9 comes before 10
	c := Planned(Endpoint(1), Stream(1), 12, 1, "a")
	d := Planned(Endpoint(2), Stream(1), 3, 1, "b")
	e := Planned(Endpoint(2), Stream(1), 3, 1, "a") // the same event, before d by its name
	plan(t, q, a, b, c, d, e)
	equal(t, "all", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery{c, a, e})
	equal(t, "limited", heads(t, q, webhooks.Lane{}, 2), []webhooks.Delivery{c, a})
	equal(t, "after a lane", heads(t, q, laneOf(c), 10), []webhooks.Delivery{a, e})
	equal(t, "after an endpoint", heads(t, q, webhooks.Lane{EndpointID: Endpoint(1), Key: "\U0010ffff"}, 10), []webhooks.Delivery{e})
	equal(t, "before an endpoint", heads(t, q, webhooks.Lane{EndpointID: Endpoint(2)}, 10), []webhooks.Delivery{e})
	equal(t, "after all", heads(t, q, laneOf(d), 10), []webhooks.Delivery(nil))
	record(t, q, reportOf(a, webhooks.Outcome{Status: 200}, Day()))
	equal(t, "the next is the head", heads(t, q, laneOf(c), 1), []webhooks.Delivery{b})
	record(t, q, reportOf(b, webhooks.Outcome{Fault: webhooks.TooLarge}, Day()))
	equal(t, "a lane that ended is none", heads(t, q, laneOf(c), 1), []webhooks.Delivery{e})
}

func testPages(t *testing.T, q Subject) {
	t.Helper()
	const lanes, page = 1003, 100
	var ds []webhooks.Delivery
	for i := range lanes {
		ds = append(ds, Planned(Endpoint(i%7), Stream(i), int64(i+1), 1, "a"))
	}
	plan(t, q, ds...)
	seen := 0
	for after := (webhooks.Lane{}); ; {
		got := heads(t, q, after, page)
		for _, d := range got {
			if compareLanes(laneOf(d), after) <= 0 {
				t.Fatalf("%v comes after %v", laneOf(d), after)
			}
			after = laneOf(d)
			seen++
		}
		if len(got) < page {
			break
		}
	}
	equal(t, "lanes", seen, lanes)
}

func testNext(t *testing.T, q Subject) {
	t.Helper()
	lane := webhooks.Lane{EndpointID: Endpoint(1), Key: Stream(1)}
	var want []webhooks.Delivery
	for i := range int64(12) {
		want = append(want, Planned(lane.EndpointID, lane.Key, i+1, i+1, "a"))
	}
	want = append(want, Planned(lane.EndpointID, lane.Key, 12, 12, "b"))
	for i := range want { // planned backwards
		plan(t, q, want[len(want)-1-i])
	}
	plan(t, q, Planned(Endpoint(2), Stream(1), 1, 1, "a"), Planned(Endpoint(1), Stream(2), 50, 1, "a"))
	equal(t, "all", next(t, q, lane, 100), want)
	equal(t, "limited", next(t, q, lane, 5), want[:5])
	record(t, q, reportOf(want[0], webhooks.Outcome{Status: 200}, Day()), reportOf(want[2], webhooks.Outcome{Fault: webhooks.TooLarge}, Day()))
	equal(t, "without what ended", next(t, q, lane, 2), []webhooks.Delivery{want[1], want[3]})
}

func testRecord(t *testing.T, q Subject) {
	t.Helper()
	d := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	plan(t, q, d)
	failures := []webhooks.Outcome{
		{Status: 503, RetryAfter: 90 * time.Second, Detail: "busy\n\tü \U0001f600", Took: 1234567 * time.Microsecond},
		{Fault: webhooks.TimedOut, Detail: "no answer", Took: 15 * time.Second},
		{Fault: webhooks.Unreachable},
		{Fault: webhooks.PrivateRange},
		{Fault: webhooks.Unrendered, Detail: "no"},
	}
	var want []webhooks.Attempt
	at := Day()
	for _, o := range failures {
		at = at.Add(time.Hour)
		r := reportOf(d, o, at)
		record(t, q, r)
		d, want = r.Delivery, append(want, r.Attempt)
		equal(t, "delivery", delivery(t, q, d.ID), d)
		equal(t, "head", heads(t, q, webhooks.Lane{}, 1), []webhooks.Delivery{d})
	}
	r := reportOf(d, webhooks.Outcome{Status: 204, Took: time.Millisecond}, at)
	record(t, q, r)
	equal(t, "delivered", delivery(t, q, d.ID), r.Delivery)
	equal(t, "attempts", attempts(t, q, d.ID), append(want, r.Attempt))
	if got := delivery(t, q, d.ID); got.State != webhooks.Delivered || got.EndedAt == nil || len(got.Digest) == 0 {
		t.Fatalf("got %+v", got)
	}
}

func testRecordTwice(t *testing.T, q Subject) {
	t.Helper()
	a, b := Planned(Endpoint(1), Stream(1), 1, 1, "a"), Planned(Endpoint(1), Stream(2), 2, 1, "a")
	plan(t, q, a, b)
	first := reportOf(a, webhooks.Outcome{Status: 500}, Day())
	record(t, q, first)
	other := reportOf(b, webhooks.Outcome{Status: 200}, Day())
	record(t, q, first, other) // a batch of which one is on record
	equal(t, "a", delivery(t, q, a.ID), first.Delivery)
	equal(t, "b", delivery(t, q, b.ID), other.Delivery)
	equal(t, "attempts", attempts(t, q, a.ID), []webhooks.Attempt{first.Attempt})

	// The same attempt with another story: the first one counts.
	lie := reportOf(a, webhooks.Outcome{Status: 200}, Day().Add(time.Minute))
	record(t, q, lie)
	equal(t, "a", delivery(t, q, a.ID), first.Delivery)
	equal(t, "attempts", attempts(t, q, a.ID), []webhooks.Attempt{first.Attempt})
}

func testRecordEnded(t *testing.T, q Subject) {
	t.Helper()
	a := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	plan(t, q, a)
	done := reportOf(a, webhooks.Outcome{Status: 200}, Day())
	record(t, q, done)
	late := reportOf(done.Delivery, webhooks.Outcome{Status: 500}, Day().Add(time.Minute))
	late.Delivery.State = webhooks.Pending
	stranger := reportOf(Planned(Endpoint(1), Stream(1), 7, 7, "a"), webhooks.Outcome{Status: 200}, Day())
	record(t, q, late, stranger)
	want := done.Delivery
	want.Attempts = 2
	equal(t, "a", delivery(t, q, a.ID), want)
	equal(t, "attempts", attempts(t, q, a.ID), []webhooks.Attempt{done.Attempt, late.Attempt})
	equal(t, "heads", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery(nil))
}

func testNotices(t *testing.T, q Subject) {
	t.Helper()
	a := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	plan(t, q, a)
	r := reportOf(a, webhooks.Outcome{Status: 500, Detail: "whoever it was about"}, Day())
	for _, kind := range []webhooks.NoticeKind{webhooks.NoticeFailing, webhooks.NoticeExhausted} {
		r.Notices = append(r.Notices, webhooks.Notice{
			EndpointID: a.EndpointID, Account: a.Account, Kind: kind, At: Day(), Since: Day().Add(-time.Hour),
			Delivery: &r.Delivery, Outcome: r.Attempt.Outcome,
		})
	}
	record(t, q, r)
	record(t, q, r) // as if nobody knew whether it was committed
	notices := func(limit int) []webhooks.Notice {
		ns, err := q.Notices(t.Context(), limit)
		if err != nil {
			t.Fatal(err)
		}
		return ns
	}
	want := []webhooks.Notice{r.Notices[0].Kept(), r.Notices[1].Kept()}
	if want[0].Outcome.Detail != "" {
		t.Fatalf("kept %+v", want[0])
	}
	equal(t, "notices", notices(10), want)
	equal(t, "the oldest", notices(1), want[:1])
	for _, key := range []string{r.Notices[0].Key(), r.Notices[0].Key(), "nobody's"} {
		if err := q.Said(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, "what is left", notices(10), want[1:])
}

func testCancel(t *testing.T, q Subject) {
	t.Helper()
	a := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	plan(t, q, a)
	r := webhooks.Report{Delivery: a}
	at := Day().Add(time.Second)
	r.Delivery.State, r.Delivery.Reason, r.Delivery.EndedAt = webhooks.Cancelled, webhooks.ReasonDeleted, &at
	record(t, q, r)
	record(t, q, r)
	equal(t, "a", delivery(t, q, a.ID), r.Delivery)
	equal(t, "attempts", attempts(t, q, a.ID), []webhooks.Attempt(nil))
	equal(t, "heads", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery(nil))
}

func testRedeliver(t *testing.T, q Subject) {
	t.Helper()
	a, b := Planned(Endpoint(1), Stream(1), 1, 1, "a"), Planned(Endpoint(1), Stream(1), 2, 2, "a")
	plan(t, q, a, b)
	first := reportOf(a, webhooks.Outcome{Status: 500}, Day())
	second := reportOf(first.Delivery, webhooks.Outcome{Status: 200}, Day().Add(time.Hour))
	record(t, q, first)
	record(t, q, second)
	equal(t, "head", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery{b})

	at := Day().Add(2 * time.Hour)
	if redeliver(t, q, "dlv_unknown", at) {
		t.Fatal("a delivery that never was")
	}
	if !redeliver(t, q, a.ID, at) {
		t.Fatal("not redelivered")
	}
	want := second.Delivery.Redelivered(at)
	if want.Spent != 2 || want.EndedAt != nil || want.Digest != nil || !want.DueAt.Equal(at) {
		t.Fatalf("got %+v", want)
	}
	equal(t, "redelivered", delivery(t, q, a.ID), want)
	equal(t, "it goes before what is younger", next(t, q, laneOf(a), 10), []webhooks.Delivery{want, b})
	third := reportOf(want, webhooks.Outcome{Status: 200}, at)
	record(t, q, third)
	equal(t, "attempts", attempts(t, q, a.ID), []webhooks.Attempt{first.Attempt, second.Attempt, third.Attempt})

	// One that waits for its time need not wait any longer.
	waits := reportOf(b, webhooks.Outcome{Status: 500}, at)
	record(t, q, waits)
	redeliver(t, q, b.ID, at)
	equal(t, "at once", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery{waits.Delivery.Redelivered(at)})
}

func testCancelByHand(t *testing.T, q Subject) {
	t.Helper()
	a := Planned(Endpoint(1), Stream(1), 1, 1, "a")
	plan(t, q, a)
	at := Day().Add(time.Second)
	if cancel(t, q, "dlv_unknown", at) || !cancel(t, q, a.ID, at) || cancel(t, q, a.ID, at.Add(time.Second)) {
		t.Fatal("only what is pending is cancelled, once")
	}
	want := a
	want.State, want.Reason, want.EndedAt = webhooks.Cancelled, webhooks.ReasonAsked, &at
	equal(t, "a", delivery(t, q, a.ID), want)
	equal(t, "heads", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery(nil))
}

func testPrune(t *testing.T, q Subject) {
	t.Helper()
	// Each ends an hour after the one before, at its second attempt.
	var ds []webhooks.Delivery
	for i := range 5 {
		d := Planned(Endpoint(1), Stream(i), int64(10-i), 1, "a")
		plan(t, q, d)
		at := Day().Add(time.Duration(i) * time.Hour)
		first := reportOf(d, webhooks.Outcome{Status: 500}, at)
		second := reportOf(first.Delivery, webhooks.Outcome{Status: 200}, at)
		record(t, q, first)
		record(t, q, second)
		ds = append(ds, second.Delivery)
	}
	waits := Planned(Endpoint(1), Stream(9), 1, 1, "a")
	plan(t, q, waits)
	prune := func(before time.Duration, rows, want int) {
		t.Helper()
		got, err := q.PruneDeliveries(t.Context(), Day().Add(before), rows)
		if err != nil || got != want {
			t.Fatalf("pruned %d, %v; want %d", got, err, want)
		}
	}
	gone := func(ids ...int) {
		t.Helper()
		for i := range ds {
			_, err := q.Delivery(t.Context(), ds[i].ID)
			if got, want := err != nil, slices.Contains(ids, i); got != want {
				t.Errorf("%d is gone: %t, want %t", i, got, want)
			}
		}
	}
	prune(0, 100, 0) // before, not at
	prune(150*time.Minute, 6, 2)
	gone(0, 1)
	prune(150*time.Minute, 1, 1) // one, however many attempts it has
	gone(0, 1, 2)
	prune(150*time.Minute, 6, 0)
	if got := attempts(t, q, ds[0].ID); len(got) > 0 {
		t.Errorf("attempts of nothing: %v", got)
	}
	equal(t, "attempts of the others", len(attempts(t, q, ds[3].ID)), 2)
	// One that is redelivered has not ended.
	redeliver(t, q, ds[3].ID, Day())
	prune(24*time.Hour, 100, 1)
	gone(0, 1, 2, 4)
	equal(t, "what waits stays", delivery(t, q, waits.ID), waits)
}

func testCancelWaiting(t *testing.T, q Subject) {
	t.Helper()
	const n = 10
	var ds []webhooks.Delivery
	for i := range n {
		d := Planned(Endpoint(1), Stream(i%3), int64(i+1), 1, "a")
		d.CreatedAt = Day().Add(time.Duration(i) * time.Hour)
		d.DueAt = d.CreatedAt
		ds = append(ds, d)
	}
	plan(t, q, ds...)
	plan(t, q, Planned(Endpoint(2), Stream(1), 1, 1, "a"))
	target := TargetOf("https://example.com/")
	at := Day().Add(100 * time.Hour)
	cancel := func(w webhooks.Waiting, reason string, last int64, cancelled int) {
		t.Helper()
		m, got, err := q.CancelWaiting(t.Context(), Endpoint(1), w, reason, at)
		if err != nil || m.Position != last || got != cancelled {
			t.Fatalf("looked up to %d, cancelled %d, %v; want %d and %d", m.Position, got, err, last, cancelled)
		}
	}
	set := func(disabled bool) {
		t.Helper()
		target.Disabled = disabled
		if err := q.SetTarget(t.Context(), Endpoint(1), target); err != nil {
			t.Fatal(err)
		}
	}
	set(false)
	cancel(webhooks.Waiting{Limit: n}, webhooks.ReasonExpired, 0, 0) // it is not disabled
	set(true)

	// What was redelivered waits anew; what stands still has waited since it was made.
	redeliver(t, q, ds[1].ID, at)
	still := reportOf(ds[0], webhooks.Outcome{Status: 500}, Day())
	still.Delivery.DueAt = webhooks.Never()
	record(t, q, still)
	w := webhooks.Waiting{Before: Day().Add(4 * time.Hour), Limit: 3}
	cancel(w, webhooks.ReasonExpired, 3, 2)
	w.After = webhooks.Mark{Position: 3, Name: "a"}
	cancel(w, webhooks.ReasonExpired, 6, 1)
	want := ds[2]
	want.State, want.Reason, want.EndedAt = webhooks.Cancelled, webhooks.ReasonExpired, &at
	equal(t, "expired", delivery(t, q, ds[2].ID), want)
	equal(t, "at its time", delivery(t, q, ds[4].ID), ds[4])

	// Seven are left: 2 and 5 to 10.
	crowded := func(keep int, want int64) {
		t.Helper()
		m, found, err := q.Crowded(t.Context(), Endpoint(1), keep)
		if err != nil || found != (want > 0) || m.Position != want {
			t.Fatalf("crowded: %v %t, %v; want %d", m, found, err, want)
		}
	}
	crowded(7, 0)
	crowded(6, 2)
	crowded(4, 6)
	upTo := webhooks.Mark{Position: 6, Name: "a"}
	cancel(webhooks.Waiting{UpTo: &upTo, Limit: 2}, webhooks.ReasonCrowded, 5, 2)
	cancel(webhooks.Waiting{UpTo: &upTo, Limit: 2}, webhooks.ReasonCrowded, 6, 1)
	cancel(webhooks.Waiting{UpTo: &upTo, Limit: 2}, webhooks.ReasonCrowded, 0, 0)
	var left []int64
	for i := range 3 {
		for _, d := range next(t, q, webhooks.Lane{EndpointID: Endpoint(1), Key: Stream(i)}, n) {
			left = append(left, d.Position)
		}
	}
	slices.Sort(left)
	equal(t, "left", left, []int64{7, 8, 9, 10})
	equal(t, "of others nothing", len(heads(t, q, webhooks.Lane{EndpointID: Endpoint(2)}, n)), 1)
}

func testUnordered(t *testing.T, q Subject) {
	t.Helper()
	var want []webhooks.Delivery
	for i := range int64(3) {
		d := Planned(Endpoint(1), Stream(1), i+1, i+1, "a")
		d.Lane = webhooks.LaneOf(endpoint.Unordered, &d)
		want = append(want, d)
	}
	plan(t, q, want...)
	got := heads(t, q, webhooks.Lane{}, 10)
	equal(t, "lanes", len(got), len(want))
	for _, d := range want {
		equal(t, "lane", next(t, q, laneOf(d), 10), []webhooks.Delivery{d})
	}
}

func testHealth(t *testing.T, q Subject) {
	t.Helper()
	set := func() webhooks.Health {
		t.Helper()
		got, err := q.Target(t.Context(), Endpoint(1))
		if err != nil {
			t.Fatal(err)
		}
		return got.Health
	}
	if err := q.SetTarget(t.Context(), Endpoint(1), TargetOf("https://example.com/")); err != nil {
		t.Fatal(err)
	}
	equal(t, "at first", set(), webhooks.Health{})
	a, b := Planned(Endpoint(1), Stream(1), 1, 1, "a"), Planned(Endpoint(1), Stream(2), 2, 1, "a")
	plan(t, q, a, b)
	r := reportOf(a, webhooks.Outcome{Status: 500}, Day())
	r.Health = webhooks.Health{Failures: 12, FailingSince: Day(), Breaks: 2, OpenUntil: Day().Add(time.Minute)}
	record(t, q, r)
	equal(t, "failing", set(), r.Health)
	r = reportOf(b, webhooks.Outcome{Status: 200}, Day())
	record(t, q, r)
	equal(t, "recovered", set(), webhooks.Health{})
}

func testTarget(t *testing.T, q Subject) {
	t.Helper()
	want := TargetOf("https://example.com/hook?a=b")
	want.Settings.Headers = []string{"X-Key"}
	want.Settings.RetrySchedule = []string{"1s", "5m"}
	want.Headers = map[string]string{"X-Key": "välue"}
	want.Secrets = []string{want.Secrets[0], "whsec_OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg="}
	check := func(what string) {
		t.Helper()
		got, err := q.Target(t.Context(), Endpoint(1))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		equal(t, what, got, want)
	}
	set := func() {
		t.Helper()
		if err := q.SetTarget(t.Context(), Endpoint(1), want); err != nil {
			t.Fatal(err)
		}
	}
	set()
	check("registered")
	want.Disabled = true
	set()
	check("disabled")
	want.Disabled, want.Settings.URL = false, "https://example.org/"
	want.Secrets = want.Secrets[:1]
	set()
	check("changed")
	if err := q.DeleteTarget(t.Context(), Endpoint(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Target(t.Context(), Endpoint(1)); !errors.Is(err, webhooks.ErrNoTarget) {
		t.Fatalf("deleted: got %v, want ErrNoTarget", err)
	}
}

func testConcurrent(t *testing.T, q Subject) {
	t.Helper()
	const lanes, each = 8, 10
	var wg sync.WaitGroup
	for i := range lanes {
		var ds []webhooks.Delivery
		for j := range each {
			ds = append(ds, Planned(Endpoint(i), Stream(i), int64(1+i*each+j), int64(1+j), "a"))
		}
		plan(t, q, ds...)
	}
	fail := make(chan error, 3*lanes)
	for i := range lanes {
		wg.Go(func() {
			lane := webhooks.Lane{EndpointID: Endpoint(i), Key: Stream(i)}
			for range each {
				ds, err := q.Next(t.Context(), lane, 1)
				if err != nil || len(ds) != 1 {
					fail <- fmt.Errorf("next: %d deliveries, %w", len(ds), err)
					return
				}
				err = q.Record(t.Context(), []webhooks.Report{reportOf(ds[0], webhooks.Outcome{Status: 200}, Day())})
				if err != nil {
					fail <- err
					return
				}
				if _, err := q.Heads(t.Context(), webhooks.Lane{}, lanes); err != nil {
					fail <- err
				}
			}
		})
	}
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	equal(t, "heads", heads(t, q, webhooks.Lane{}, 10), []webhooks.Delivery(nil))
}

// testOracle does the same at random to q and to a queue in memory.
func testOracle(t *testing.T, q Subject) {
	t.Helper()
	const steps = 300
	ctx := context.Background()
	oracle := NewQueue()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 1))
	var planned []webhooks.Delivery
	position := int64(0)
	for range steps {
		lane := webhooks.Lane{EndpointID: Endpoint(chance.IntN(3)), Key: Stream(chance.IntN(4))}
		switch chance.IntN(4) {
		case 0:
			var ds []webhooks.Delivery
			for range 1 + chance.IntN(5) {
				position++
				d := Planned(Endpoint(chance.IntN(3)), Stream(chance.IntN(4)), position, position, "a")
				ds = append(ds, d)
				if chance.IntN(4) == 0 {
					ds = append(ds, Planned(d.EndpointID, d.Stream, position, position, "b"))
				}
			}
			plan(t, q, ds...)
			plan(t, oracle, ds...)
			planned = append(planned, ds...)
		case 1, 2:
			var rs []webhooks.Report
			for range 1 + chance.IntN(4) {
				if len(planned) == 0 {
					break
				}
				d, err := oracle.Delivery(ctx, planned[chance.IntN(len(planned))].ID)
				if err != nil {
					t.Fatal(err)
				}
				o := []webhooks.Outcome{{Status: 200}, {Fault: webhooks.TooLarge}, {Status: 500}, {Status: 410}, {Status: 503}}[chance.IntN(5)]
				rs = append(rs, reportOf(d, o, Day().Add(time.Duration(position)*time.Second)))
			}
			record(t, q, rs...)
			record(t, oracle, rs...)
		case 3:
			if len(planned) == 0 {
				break
			}
			id, at := planned[chance.IntN(len(planned))].ID, Day().Add(time.Duration(position)*time.Minute)
			act := []func(*testing.T, Subject, string, time.Time) bool{redeliver, cancel}[chance.IntN(2)]
			equal(t, "by hand", act(t, q, id, at), act(t, oracle, id, at))
		}
		limit := 1 + chance.IntN(6)
		equal(t, "next", next(t, q, lane, limit), next(t, oracle, lane, limit))
		equal(t, "heads", heads(t, q, lane, limit), heads(t, oracle, lane, limit))
	}
	for _, d := range planned {
		equal(t, "delivery", delivery(t, q, d.ID), delivery(t, oracle, d.ID))
		equal(t, "attempts", attempts(t, q, d.ID), attempts(t, oracle, d.ID))
	}
}
