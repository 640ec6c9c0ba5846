package sqlite_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/projections"
	"verbatim/webhooks"
)

// parked plans n deliveries to an endpoint in three lanes, all of them parked an
// hour after noon, at positions behind first.
func parked(t *testing.T, s *sqlite.Store, endpointID string, first int64, n int) {
	t.Helper()
	ended := noon().Add(time.Hour)
	var ds []webhooks.Delivery
	var reports []webhooks.Report
	for i := range n {
		d := delivery(endpointID, fmt.Sprintf("s%d", i%3), first+1+int64(i), "a")
		ds = append(ds, d)
		d.State, d.Reason, d.EndedAt, d.Attempts = webhooks.Parked, webhooks.ReasonExhausted, &ended, 12
		reports = append(reports, webhooks.Report{Delivery: d})
	}
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: ds}})
	if err := s.Record(t.Context(), reports); err != nil {
		t.Fatal(err)
	}
}

func addJob(t *testing.T, s *sqlite.Store, id, endpointID string, sel webhooks.Selection) webhooks.Job {
	t.Helper()
	j, added, err := s.AddJob(t.Context(), webhooks.Job{
		ID: id, Kind: webhooks.RetryFailed, EndpointID: endpointID, Account: "acme", Selection: sel,
		State: webhooks.JobRunning, CreatedAt: noon().Add(2 * time.Hour),
	})
	if err != nil || !added {
		t.Fatalf("job %s: added %t, %v", id, added, err)
	}
	return j
}

func jobOf(t *testing.T, s *sqlite.Store, id string) webhooks.Job {
	t.Helper()
	j, found, err := s.Job(t.Context(), id)
	if err != nil || !found {
		t.Fatalf("job %s: found %t, %v", id, found, err)
	}
	return j
}

// worker is a worker at three o'clock that counts how often a lane is reloaded.
func worker(s *sqlite.Store) (*webhooks.Jobs, map[webhooks.Lane]int) {
	reloads := make(map[webhooks.Lane]int)
	clock := func() time.Time { return noon().Add(3 * time.Hour) }
	return webhooks.NewJobs(s, func(l webhooks.Lane) { reloads[l]++ }, clock, slog.New(slog.DiscardHandler)), reloads
}

func stepJobs(t *testing.T, w *webhooks.Jobs, want bool) {
	t.Helper()
	worked, wait, err := w.Step(t.Context())
	if err != nil || worked != want || worked && wait != webhooks.JobBreath || !worked && wait != webhooks.Forever {
		t.Fatalf("worked %t, wait %v, %v; want %t", worked, wait, err, want)
	}
}

// A job makes what is parked pending again, a batch a step, oldest first, and goes
// on where it was after a restart.
func TestJobGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*webhooks.JobBatch + 20
	parked(t, s, "ep", 0, n)
	parked(t, s, "other", 1000, 5)
	addJob(t, s, "job_1", "ep", webhooks.Selection{})
	w, reloads := worker(s)
	stepJobs(t, w, true)
	for i := range 3 {
		if got := reloads[webhooks.Lane{EndpointID: "ep", Key: fmt.Sprintf("s%d", i)}]; got != 1 {
			t.Errorf("lane %d was reloaded %d times", i, got)
		}
	}
	oldest, err := s.Next(t.Context(), webhooks.Lane{EndpointID: "ep", Key: "s0"}, n)
	if err != nil || len(oldest) != (webhooks.JobBatch+2)/3 || oldest[0].Position != 1 || oldest[0].Spent != 12 ||
		!oldest[0].DueAt.Equal(noon().Add(3*time.Hour)) || oldest[0].EndedAt != nil {
		t.Fatalf("%d pending, %v: %+v", len(oldest), err, oldest[0])
	}
	// One that was parked again meanwhile, behind where the job is, is not its business.
	again := oldest[0]
	ended := noon().Add(4 * time.Hour)
	again.State, again.Reason, again.EndedAt = webhooks.Parked, webhooks.ReasonExhausted, &ended
	late := delivery("ep", "s9", 900, "a")
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{late}}})
	late.State, late.Reason, late.EndedAt = webhooks.Parked, webhooks.ReasonTooLarge, &ended
	if err := s.Record(t.Context(), []webhooks.Report{{Delivery: again}, {Delivery: late}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir)
	w, _ = worker(s)
	j := jobOf(t, s, "job_1")
	if j.Done != webhooks.JobBatch || j.Total == nil || *j.Total != n || j.After != (webhooks.Mark{Position: webhooks.JobBatch, Name: "a"}) {
		t.Fatalf("after a restart: %+v", j)
	}
	stepJobs(t, w, true)
	stepJobs(t, w, true)
	stepJobs(t, w, false)
	j = jobOf(t, s, "job_1")
	if j.State != webhooks.JobDone || j.Done != n || j.EndedAt == nil {
		t.Errorf("at the end: %+v", j)
	}
	left, _, err := s.Deliveries(t.Context(), "ep", webhooks.Selection{States: []webhooks.State{webhooks.Parked}}, webhooks.Mark{}, 10)
	if err != nil || len(left) != 2 || left[0].ID != late.ID || left[1].ID != again.ID {
		t.Errorf("left: %v, %v", left, err)
	}
	if others, _, err := s.Deliveries(t.Context(), "other", webhooks.Selection{States: []webhooks.State{webhooks.Parked}}, webhooks.Mark{}, 10); err != nil || len(others) != 5 {
		t.Errorf("%d of the other endpoint are parked, %v", len(others), err)
	}
}

func TestJobsTakeTurnsAndEnd(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const n = 3 * webhooks.JobBatch
	for i, ep := range []string{"ep-1", "ep-2", "ep-3"} {
		parked(t, s, ep, int64(i*1000), n)
		commitPage(t, s, projections.Page{Rows: projections.Rows{Endpoints: map[string]projections.EndpointRow{ep: {ID: ep}}}})
		addJob(t, s, fmt.Sprintf("job_%d", i+1), ep, webhooks.Selection{})
	}
	// One of a kind runs for an endpoint.
	other, added, err := s.AddJob(t.Context(), webhooks.Job{ID: "job_9", Kind: webhooks.RetryFailed, EndpointID: "ep-2", Account: "acme", CreatedAt: noon()})
	if err != nil || added || other.ID != "job_2" {
		t.Fatalf("a second job: %+v %t, %v", other, added, err)
	}
	w, _ := worker(s)
	for range 3 {
		stepJobs(t, w, true)
	}
	for i := range 3 {
		if j := jobOf(t, s, fmt.Sprintf("job_%d", i+1)); j.Done != webhooks.JobBatch {
			t.Errorf("job %d has done %d", i+1, j.Done)
		}
	}
	// The first is cancelled, the endpoint of the second deleted.
	at := noon().Add(5 * time.Hour)
	if done, err := s.CancelJob(t.Context(), "job_1", at); err != nil || !done {
		t.Fatal(done, err)
	}
	if done, err := s.CancelJob(t.Context(), "job_1", at); err != nil || done {
		t.Fatal("cancelled twice", err)
	}
	commitPage(t, s, projections.Page{Rows: projections.Rows{Endpoints: map[string]projections.EndpointRow{"ep-2": {ID: "ep-2", Deleted: true}}}})
	// A batch of the first that was on its way changes nothing any more.
	stale := jobOf(t, s, "job_1")
	stale.State, stale.EndedAt = webhooks.JobRunning, nil
	if after, lanes, err := s.RetryParked(t.Context(), stale, at); err != nil || after.State != webhooks.JobCancelled || len(lanes) > 0 {
		t.Errorf("after it was cancelled: %+v %v, %v", after, lanes, err)
	}
	for range 1 + 3 { // the second finds its endpoint gone; the third looks once more, at its end
		stepJobs(t, w, true)
	}
	stepJobs(t, w, false)
	for id, want := range map[string]webhooks.Job{
		"job_1": {State: webhooks.JobCancelled, Done: webhooks.JobBatch},
		"job_2": {State: webhooks.JobFailed, Done: webhooks.JobBatch, Error: webhooks.ReasonDeleted},
		"job_3": {State: webhooks.JobDone, Done: n},
	} {
		if j := jobOf(t, s, id); j.State != want.State || j.Done != want.Done || j.Error != want.Error || j.EndedAt == nil {
			t.Errorf("%s: %+v, want %+v", id, j, want)
		}
	}
	if _, added, err = s.AddJob(t.Context(), webhooks.Job{ID: "job_4", Kind: webhooks.RetryFailed, EndpointID: "ep-1", Account: "acme", Key: "k", CreatedAt: at}); err != nil || !added {
		t.Errorf("after the first has ended: %t, %v", added, err)
	}
	ids := func(account, ep, before string, limit int) (ids []string) {
		jobs, err := s.Jobs(t.Context(), account, ep, before, limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range jobs {
			ids = append(ids, jobs[i].ID)
		}
		return ids
	}
	for _, c := range []struct{ got, want []string }{
		{ids("acme", "", "", 10), []string{"job_4", "job_3", "job_2", "job_1"}},
		{ids("acme", "", "job_3", 1), []string{"job_2"}},
		{ids("acme", "ep-1", "", 10), []string{"job_4", "job_1"}},
		{ids("other", "ep-1", "", 10), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	if j, found, err := s.JobByKey(t.Context(), "acme", "k"); err != nil || !found || j.ID != "job_4" {
		t.Errorf("by its key: %+v %t, %v", j, found, err)
	}
	if _, found, err := s.JobByKey(t.Context(), "acme", ""); err != nil || found {
		t.Errorf("by no key: %t, %v", found, err)
	}
	// Those that have ended go in time.
	if n, err := s.PruneJobs(t.Context(), at, 100); n != 2 || err != nil { // at 3 o'clock
		t.Errorf("%d jobs went, %v", n, err)
	}
	if got := ids("acme", "", "", 10); !slices.Equal(got, []string{"job_4", "job_1"}) {
		t.Errorf("left: %v", got)
	}
}

// A job with conditions changes what they mean and nothing else, and looks past
// what they do not.
func TestJobWithASelection(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	all := recorded(t, s, 200)
	sel := webhooks.Selection{Events: []string{"conversation.*"}, Reasons: []string{webhooks.ReasonTooLarge}, From: noon().Add(30 * time.Minute)}
	if j := addJob(t, s, "job_1", "ep-0", sel); j.Total != nil {
		t.Errorf("it knows that there are %d", *j.Total)
	}
	var want []string
	for i := range all {
		d := &all[i]
		if d.EndpointID == "ep-0" && d.State == webhooks.Parked && sel.Match(d) && !d.EndedAt.After(noon().Add(2*time.Hour)) {
			want = append(want, d.ID)
		}
	}
	w, _ := worker(s)
	stepJobs(t, w, true)
	stepJobs(t, w, false)
	var got []string
	for i := range all {
		d, _, _, err := s.Delivery(t.Context(), all[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		if d.State != all[i].State {
			got = append(got, d.ID)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if j := jobOf(t, s, "job_1"); j.State != webhooks.JobDone || j.Done != int64(len(want)) || !j.Selection.From.Equal(sel.From) {
		t.Errorf("got %+v", j)
	}
}
