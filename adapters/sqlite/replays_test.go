package sqlite_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// backfill is one of an endpoint, begun at position 10 of the log.
func backfill(id, endpointID string) webhooks.Replay {
	return webhooks.Replay{
		ID: id, Kind: webhooks.Backfill, EndpointID: endpointID, Account: "acme", Selection: webhooks.ReplaySelection{From: 5},
		State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, Begun: 10, Cursor: webhooks.Mark{Position: 4}, CreatedAt: noon(),
	}
}

func hold(t *testing.T, s *sqlite.Store, id string) projections.Hold {
	t.Helper()
	holds, err := s.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range holds {
		if h.ID == id {
			return h
		}
	}
	t.Fatalf("no hold %s in %v", id, holds)
	return projections.Hold{}
}

// A page of the plan leaves to a backfill what is its own only while it is open,
// and where it relies on how far one has got, only while it is there.
func TestAPageRelyingOnABackfill(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	page := func(from, to int64, held map[string]int64, begins ...webhooks.Replay) error {
		return s.CommitPage(t.Context(), &projections.Page{
			Checkpoints: []projections.Checkpoint{{Projection: "webhooks", From: from, To: to}},
			Rows:        projections.Rows{Held: held, Backfills: begins, Deliveries: []webhooks.Delivery{delivery("other", "s", to, "a")}},
		})
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	refused := func(what string, err error, d webhooks.Delivery) {
		t.Helper()
		if !errors.Is(err, projections.ErrOvertaken) {
			t.Fatalf("%s: %v", what, err)
		}
		if _, _, found, err := s.Delivery(t.Context(), d.ID); found || err != nil {
			t.Fatalf("%s: something of it was committed: %t, %v", what, found, err)
		}
	}
	refused("one that is not there", page(0, 10, map[string]int64{"rpl_1": -1}), delivery("other", "s", 10, "a"))
	must("it begins with the page", page(0, 10, map[string]int64{"rpl_1": -1}, backfill("rpl_1", "ep")))
	if got := hold(t, s, "rpl_1"); got != (projections.Hold{ID: "rpl_1", Cursor: 4, Open: true}) {
		t.Errorf("the plan sees %+v", got)
	}
	must("it is open", page(10, 12, map[string]int64{"rpl_1": -1}))
	must("it is there", page(12, 12, map[string]int64{"rpl_1": 4}))
	refused("it is elsewhere", page(12, 13, map[string]int64{"rpl_1": 5}), delivery("other", "s", 13, "a"))

	// It closes where the plan has not come past it.
	r, _, err := s.Replay(t.Context(), "rpl_1")
	must("read", err)
	closing := webhooks.ReplayStep{Close: webhooks.CloseIfLevel, After: r}
	if _, _, err := s.StepReplay(t.Context(), r, closing, noon()); !errors.Is(err, webhooks.ErrReplayMoved) {
		t.Fatalf("it closes behind the plan: %v", err)
	}
	if !hold(t, s, "rpl_1").Open {
		t.Fatal("it is closed")
	}
	on := webhooks.ReplayStep{After: r}
	on.After.Cursor.Position = 14
	r, _, err = s.StepReplay(t.Context(), r, on, noon())
	must("go on", err)
	closing.After = r
	closing.After.Phase = webhooks.PhaseDrain
	r, _, err = s.StepReplay(t.Context(), r, closing, noon())
	must("close", err)
	if got := hold(t, s, "rpl_1"); r.To != 14 || got != (projections.Hold{ID: "rpl_1", Cursor: 14, Until: 14}) {
		t.Errorf("closed at %d; the plan sees %+v", r.To, got)
	}
	refused("it is closed", page(12, 13, map[string]int64{"rpl_1": -1}), delivery("other", "s", 13, "a"))
	refused("it is closed when another begins", page(12, 13, map[string]int64{"rpl_1": -1}, backfill("rpl_2", "ep")), delivery("other", "s", 13, "a"))
	must("without it", page(12, 13, nil))
	must("the log is taken up anew", page(13, 15, nil, backfill("rpl_1", "ep")))
	if hold(t, s, "rpl_1").Open {
		t.Error("it begins once more")
	}
	must("one begins", page(15, 16, nil, backfill("rpl_2", "ep")))
	must("others end it and each other", page(16, 17, map[string]int64{"rpl_2": -1, "rpl_3": -1}, backfill("rpl_3", "ep"), backfill("rpl_4", "ep")))
	if hold(t, s, "rpl_2").Open || hold(t, s, "rpl_3").Open || !hold(t, s, "rpl_4").Open {
		t.Error("it is not the last that is open")
	}
}

// A backfill that begins ends what else sends its endpoint the past, and closes one
// that is open; one that ends where it is closes at the plan.
func TestBackfillsBeginAndEnd(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	begin := func(r webhooks.Replay) {
		t.Helper()
		commitPage(t, s, projections.Page{Rows: projections.Rows{Backfills: []webhooks.Replay{r}}})
	}
	replay := func(id string) webhooks.Replay {
		t.Helper()
		r, found, err := s.Replay(t.Context(), id)
		if err != nil || !found {
			t.Fatal(found, err)
		}
		return r
	}
	_, added, err := s.AddReplay(t.Context(), webhooks.Replay{
		ID: "rpl_0", Kind: webhooks.Again, EndpointID: "ep", Account: "acme", State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, CreatedAt: noon(),
	})
	if err != nil || !added {
		t.Fatal(added, err)
	}
	begin(backfill("rpl_1", "ep"))
	if r := replay("rpl_0"); r.State != webhooks.ReplayCancelled || r.Phase != webhooks.PhaseDrain || r.EndedAt == nil || r.Error == "" {
		t.Errorf("the replay before it: %+v", r)
	}
	second := backfill("rpl_2", "ep")
	second.Begun = 15 // up to there the plan left to the first what that had not come to
	begin(second)
	if r := replay("rpl_1"); r.State != webhooks.ReplayCancelled || r.Phase != webhooks.PhaseDrain || r.To != 15 || hold(t, s, "rpl_1").Open {
		t.Errorf("the backfill before it: %+v", r)
	}
	commitPage(t, s, projections.Page{Checkpoints: []projections.Checkpoint{{Projection: "webhooks", To: 20}}})
	r := replay("rpl_2")
	end := webhooks.ReplayStep{Close: webhooks.CloseWhereItIs, After: r}
	if r, _, err = s.StepReplay(t.Context(), r, end, noon()); err != nil || r.To != 20 || r.Cursor.Position != 4 {
		t.Errorf("closed where it is: %+v, %v", r, err)
	}
	// The store of the read models has the endpoint disabled as long as what was kept is
	// put in its place.
	held := backfill("rpl_3", "kept")
	held.Phase = webhooks.PhaseHold
	commitPage(t, s, projections.Page{Rows: projections.Rows{
		Backfills: []webhooks.Replay{held}, Endpoints: map[string]projections.EndpointRow{"kept": {ID: "kept", Backfill: "rpl_3"}},
	}})
	target, err := s.Target(t.Context(), "kept")
	if err != nil || !target.Disabled {
		t.Errorf("while it holds: %+v, %v", target, err)
	}
	on := webhooks.ReplayStep{After: held}
	on.After.Phase = webhooks.PhaseFeed
	if _, _, err := s.StepReplay(t.Context(), held, on, noon()); err != nil {
		t.Fatal(err)
	}
	if target, err = s.Target(t.Context(), "kept"); err != nil || target.Disabled {
		t.Errorf("once it feeds: %+v, %v", target, err)
	}
	// Lists.
	page, err := s.Replays(t.Context(), "acme", "ep", "", 2)
	if err != nil || len(page) != 2 || page[0].ID != "rpl_2" || page[1].ID != "rpl_1" {
		t.Errorf("%v, %v", page, err)
	}
	page, err = s.Replays(t.Context(), "acme", "", "rpl_1", 2)
	if err != nil || len(page) != 1 || page[0].ID != "rpl_0" {
		t.Errorf("%v, %v", page, err)
	}
	if page, err = s.Replays(t.Context(), "other", "ep", "", 2); err != nil || len(page) != 0 {
		t.Errorf("%v, %v", page, err)
	}
}

// What the plan has parked is told with how far it has got, and a step that leaves
// a stream out relies on it.
func TestPlanParked(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if at, parked, err := s.PlanParked(t.Context()); at != 0 || len(parked) != 0 || err != nil {
		t.Errorf("at first: %d %v, %v", at, parked, err)
	}
	commitPage(t, s, projections.Page{
		Checkpoints: []projections.Checkpoint{{Projection: "webhooks", To: 20}, {Projection: "inbox", To: 7}},
		Parked: []projections.Parked{
			{Projection: "webhooks", Stream: "conversation-1", Position: 12, Version: 3, At: noon()},
			{Projection: "inbox", Stream: "conversation-2", Position: 5, Version: 2, At: noon()},
		},
		Rows: projections.Rows{Backfills: []webhooks.Replay{backfill("rpl_1", "ep")}},
	})
	at, parked, err := s.PlanParked(t.Context())
	if err != nil || at != 20 || len(parked) != 1 || parked["conversation-1"] != 3 {
		t.Errorf("got %d %v, %v", at, parked, err)
	}
	r, _, err := s.Replay(t.Context(), "rpl_1")
	if err != nil {
		t.Fatal(err)
	}
	step := webhooks.ReplayStep{Unless: []webhooks.ParkedAt{{Stream: "conversation-1", Version: 2}}, After: r}
	if _, _, err := s.StepReplay(t.Context(), r, step, noon()); !errors.Is(err, webhooks.ErrReplayMoved) {
		t.Errorf("parked at another version: %v", err)
	}
	step.Unless[0].Version = 3
	if _, _, err := s.StepReplay(t.Context(), r, step, noon()); err != nil {
		t.Errorf("parked there: %v", err)
	}
}

// A time is a position, also where times run backwards.
func TestFirstAt(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	first := func(at time.Time) int64 {
		t.Helper()
		p, err := s.FirstAt(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if got := first(noon()); got != 1 {
		t.Errorf("in an empty log: %d", got)
	}
	var drafts []eventstore.Draft
	for _, hours := range []int{3, 1, 2, 5} {
		drafts = append(drafts, eventstore.Draft{
			ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: noon().Add(time.Duration(hours) * time.Hour), Data: []byte(`{}`),
		})
	}
	if _, err := s.Append(t.Context(), eventstore.Commit{Account: "acme", Appends: []eventstore.Append{{Stream: "conversation-1", Events: drafts}}}); err != nil {
		t.Fatal(err)
	}
	for hours, want := range map[int]int64{0: 1, 3: 1, 4: 4, 5: 4, 6: 5} {
		if got := first(noon().Add(time.Duration(hours) * time.Hour)); got != want {
			t.Errorf("%d hours: %d, want %d", hours, got, want)
		}
	}
}
