package projections_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// ailing is a plan that cannot take some events.
type ailing struct {
	*projections.Plan

	ill func(r *eventstore.Recorded) bool
}

func (a ailing) Project(ctx context.Context, f webhooks.Fact, rows *projections.Rows) error {
	if a.ill(f.Recorded) {
		return errInjected
	}
	return a.Plan.Project(ctx, f, rows)
}

// sorted returns what was planned, in the order in which nothing is parked.
func (s *rows) sorted() []webhooks.Delivery {
	return slices.SortedFunc(slices.Values(s.deliveries), func(a, b webhooks.Delivery) int {
		return cmp.Or(webhooks.MarkOf(&a).Compare(webhooks.MarkOf(&b)), cmp.Compare(a.ID, b.ID))
	})
}

// TestParkedStreamsArePlannedAsIfTheyHadNotBeen parks streams at random, while
// endpoints come, change and go, and takes them up again at random, over restarts
// too: what is planned is what is planned when nothing is parked.
func TestParkedStreamsArePlannedAsIfTheyHadNotBeen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		g := newRig()
		g.drawLog(t, false)
		catchUp(t, g.plan(nil))
		want := g.store.sorted()

		again := &rig{log: g.log, codec: g.codec, store: newRows()}
		sick := false
		var plan *projections.Plan
		limit := rapid.SampledFrom([]int{1, 3, 10_000}).Draw(t, "steps")
		start := func() *projections.Group {
			plan = projections.NewPlan(g.log, g.codec, again.store, echoes, nil)
			plan.SetStepLimit(limit)
			group := again.group(projections.NewEndpoints(again.store, nil), ailing{plan, func(r *eventstore.Recorded) bool {
				kind, _ := eventstore.SplitStream(r.Stream)
				return sick && kind != "endpoint"
			}})
			if err := group.Load(ctx); err != nil {
				t.Fatal(err)
			}
			return group
		}
		group := start()
		for r, err := range g.log.ReadLog(ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			sick = rapid.IntRange(0, 3).Draw(t, "sick") == 0
			group.Project(ctx, &r)
			switch rapid.IntRange(0, 9).Draw(t, "then") {
			case 0, 1:
				sick = rapid.Bool().Draw(t, "still")
				if err := group.Retry(ctx, true); err != nil {
					t.Fatal(err)
				}
			case 2:
				if err := group.Commit(ctx); err != nil {
					t.Fatal(err)
				}
				group = start()
			}
		}
		sick = false
		if err := group.Retry(ctx, true); err != nil {
			t.Fatal(err)
		}
		if parked := group.Parked(); len(parked) > 0 {
			t.Fatalf("parked: %+v", parked)
		}
		if known := plan.Remembered(); known != 0 {
			t.Errorf("%d steps are remembered behind the retry", known)
		}
		if diff := gocmp.Diff(want, again.store.sorted()); diff != "" {
			t.Errorf("planned (-never parked +parked):\n%s", diff)
		}
	})
}

// TestRetryTellsAsOfThen takes an event up again after its endpoint was set
// otherwise in every way: it is told as it would have been.
func TestRetryTellsAsOfThen(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	then := endpoint.Settings{Dialect: "double@1", Events: []string{"*"}, History: "last:3"}
	since := endpoint.Settings{
		Dialect: "echo@1", Events: []string{"conversation.created"}, History: "full", MaxBodyBytes: 4096, Ordering: endpoint.Unordered,
		Filters: endpoint.Filters{Channels: []string{"mail"}},
	}
	stays, deleted, joins := g.stream("endpoint"), g.stream("endpoint"), g.stream("endpoint")
	left := g.stream("endpoint")
	for _, ep := range []string{stays, deleted, left} {
		g.add(t, ep, registered(then))
	}
	g.add(t, stream, created())
	g.add(t, left, endpoint.Deleted{})
	at := g.add(t, stream, posted("m", jon, "hello"))
	g.add(t, stays, endpoint.Disabled{}, endpoint.Updated{Settings: since})
	g.add(t, deleted, endpoint.Deleted{})
	g.add(t, joins, registered(then))
	ill := true
	var told []webhooks.Delivery
	plan := projections.NewPlan(g.log, g.codec, g.store, echoes, func(ds []webhooks.Delivery) { told = append(told, ds...) })
	group := g.group(ailing{plan, func(r *eventstore.Recorded) bool { return ill && r.Position == at }})
	catchUp(t, group)
	if len(group.Parked()) != 1 {
		t.Fatalf("parked: %+v", group.Parked())
	}
	g.store.deliveries, told, ill = nil, nil, false
	if err := group.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprint(at, " first"), fmt.Sprint(at, " second")}
	for stream, want := range map[string][]string{stays: want, deleted: want, joins: {}, left: {}} {
		if diff := gocmp.Diff(want, g.store.planned(stream)); diff != "" {
			t.Errorf("planned for %s (-want +got):\n%s", stream, diff)
		}
	}
	for _, d := range told {
		if d.Dialect != "double@1" || d.History != "last:3" || d.Lane != stream || d.State != webhooks.Pending || d.Reason != "" {
			t.Errorf("told %+v", d)
		}
	}
	if diff := gocmp.Diff(g.store.deliveries, told); diff != "" {
		t.Errorf("told (-planned +told):\n%s", diff)
	}
}

// TestSettingsThatNobodySpeaksGiveWay parks what an endpoint is to be told in a
// dialect that there is not. Set to another, or deleted, it stands in nobody's way,
// and a course of it says what was planned.
func TestSettingsThatNobodySpeaksGiveWay(t *testing.T) {
	t.Parallel()
	g := newRig()
	well, mended, deleted := g.stream("endpoint"), g.stream("endpoint"), g.stream("endpoint")
	stream := g.stream("conversation")
	everything := []string{"*", "endpoint.*"}
	broken := endpoint.Settings{Dialect: "unheard-of@1", Events: everything}
	whole := endpoint.Settings{Dialect: "echo@1", Events: everything, History: "full"}
	g.add(t, well, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}))
	g.add(t, mended, registered(broken))
	g.add(t, deleted, registered(broken)) // of which nobody can tell mended
	at := g.add(t, stream, created())
	g.add(t, mended, endpoint.Disabled{}, endpoint.Updated{Settings: broken}, endpoint.Updated{Settings: whole})
	g.add(t, deleted, endpoint.Deleted{})
	group := g.plan(nil)
	catchUp(t, group)
	if parked := group.Parked(); len(parked) != 1 || parked[0].Position != at {
		t.Fatalf("parked: %+v", parked)
	}
	if err := group.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if parked := group.Parked(); len(parked) != 0 {
		t.Fatalf("parked still: %+v", parked)
	}
	for stream, want := range map[string][]string{
		well: {"4 conversation.created"}, mended: {"4 conversation.created", "8 endpoint.deleted"}, deleted: {},
	} {
		got := g.store.planned(stream)
		slices.Sort(got)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("planned for %s (-want +got):\n%s", stream, diff)
		}
		_, id := eventstore.SplitStream(stream)
		c, err := projections.NewCourse(t.Context(), g.log, g.codec, echoes, id)
		if err != nil {
			t.Fatal(err)
		}
		course := []string{}
		for _, d := range owed(t, g, c, func([]eventstore.Recorded) {}) {
			course = append(course, fmt.Sprint(d.Position, " ", d.Name))
		}
		if diff := gocmp.Diff(want, course); diff != "" {
			t.Errorf("owed to %s (-want +got):\n%s", stream, diff)
		}
	}
}

// panicky panics at what was posted.
type panicky struct{ echo }

func (d panicky) Words(e domain.Event) []webhooks.Word {
	if _, posted := e.(conversation.MessagePosted); posted {
		panic("injected")
	}
	return d.echo.Words(e)
}

// TestTheDeletedStandInNobodysWay takes up again what a dialect panics at that only
// an endpoint spoke that is deleted now.
func TestTheDeletedStandInNobodysWay(t *testing.T) {
	t.Parallel()
	g := newRig()
	well, ill, stream := g.stream("endpoint"), g.stream("endpoint"), g.stream("conversation")
	g.add(t, ill, registered(endpoint.Settings{Dialect: "panicky@1", Events: []string{"*"}}))
	g.add(t, well, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}))
	g.add(t, stream, created(), posted("m", jon, "hello"))
	dialects := webhooks.NewDialects(echo{"echo@1", false}, panicky{echo{"panicky@1", false}})
	group := g.group(projections.NewPlan(g.log, g.codec, g.store, dialects, nil))
	catchUp(t, group)
	for _, still := range []int{1, 0} {
		if err := group.Retry(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if parked := group.Parked(); len(parked) != still && still > 0 {
			t.Errorf("parked while it is there: %+v", parked)
		}
		if still > 0 {
			g.add(t, ill, endpoint.Deleted{})
			if err := group.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if parked := group.Parked(); len(parked) != 0 {
		t.Errorf("parked behind it: %+v", parked)
	}
	if diff := gocmp.Diff([]string{"3 conversation.created", "4 conversation.message_posted"}, g.store.planned(well)); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"3 conversation.created"}, g.store.planned(ill)); diff != "" {
		t.Errorf("planned for the deleted one (-want +got):\n%s", diff)
	}
}

// TestRetryGoesOnBehindAnEndpoint takes up streams before and behind a change of
// an endpoint that was parked itself: behind it the change holds.
func TestRetryGoesOnBehindAnEndpoint(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, History: "none"}))
	before := g.add(t, g.stream("conversation"), created())
	g.add(t, ep, endpoint.Updated{Settings: endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, History: "full"}})
	behind := g.add(t, g.stream("conversation"), created())
	ill := true
	plan := projections.NewPlan(g.log, g.codec, g.store, echoes, nil)
	group := g.group(ailing{plan, func(r *eventstore.Recorded) bool { return ill && r.Position > 1 }})
	catchUp(t, group)
	ill = false
	if err := group.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, d := range g.store.sorted() {
		got = append(got, fmt.Sprint(d.Position, " ", d.History))
	}
	if diff := gocmp.Diff([]string{fmt.Sprint(before, " none"), fmt.Sprint(behind, " full")}, got); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
}

// TestHindsightIsBounded takes a stream up again for more endpoints than are
// remembered at once.
func TestHindsightIsBounded(t *testing.T) {
	t.Parallel()
	g := newRig()
	const endpoints, limit = 10, 7
	then := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}
	for range endpoints {
		ep := g.stream("endpoint")
		g.add(t, ep, registered(then), endpoint.Updated{Settings: then}, endpoint.Failing{Since: noon})
	}
	stream := g.stream("conversation")
	g.add(t, stream, created(), posted("m", jon, "hello"))
	ill := true
	plan := projections.NewPlan(g.log, g.codec, g.store, echoes, nil)
	plan.SetStepLimit(limit)
	most := 0
	group := g.group(ailing{plan, func(r *eventstore.Recorded) bool {
		most = max(most, plan.Remembered())
		return ill && r.Stream == stream
	}})
	catchUp(t, group)
	ill = false
	if err := group.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if n := len(g.store.deliveries); n != 2*endpoints {
		t.Errorf("%d deliveries are planned, want %d", n, 2*endpoints)
	}
	if most == 0 || most > limit || plan.Remembered() != 0 {
		t.Errorf("%d steps were remembered at once, want at most %d, and %d are still", most, limit, plan.Remembered())
	}
}
