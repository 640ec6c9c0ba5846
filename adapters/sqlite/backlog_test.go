package sqlite_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

func TestBacklog(t *testing.T) {
	t.Parallel()
	q := queue{open(t, t.TempDir())}
	backlog := func(want map[webhooks.Standing]webhooks.Backlog) {
		t.Helper()
		got, err := q.Backlog(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("backlog: %v (-want +got):\n%s", err, diff)
		}
	}
	backlog(map[webhooks.Standing]webhooks.Backlog{webhooks.Active: {}, webhooks.Failing: {}, webhooks.Disabled: {}})

	const well, slow, broken, off, gone = 1, 2, 3, 4, 5
	for n := well; n <= gone; n++ {
		target := webhookstest.TargetOf("https://example.com/")
		target.Disabled = n == off
		if err := q.SetTarget(t.Context(), webhookstest.Endpoint(n), target); err != nil {
			t.Fatal(err)
		}
	}
	day := webhookstest.Day()
	at := func(position int64) time.Time { return day.Add(time.Duration(position) * time.Minute) }
	planned := func(n, stream int, position int64) webhooks.Delivery {
		t.Helper()
		d := webhookstest.Planned(webhookstest.Endpoint(n), webhookstest.Stream(stream), position, position, "a")
		d.CreatedAt = day.AddDate(-3, 0, 0) // an event that was imported, say
		if err := q.CommitPage(t.Context(), &projections.Page{At: at(position), Rows: projections.Rows{Deliveries: []webhooks.Delivery{d}}}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := planned(slow, 1, 1)
	planned(well, 1, 4)
	planned(well, 2, 3) // an older one, in a lane behind
	planned(slow, 1, 2)
	failing := planned(broken, 1, 6)
	planned(off, 1, 5)
	planned(gone, 1, 1)
	if err := q.DeleteTarget(t.Context(), webhookstest.Endpoint(gone)); err != nil {
		t.Fatal(err)
	}
	backlog(map[webhooks.Standing]webhooks.Backlog{
		webhooks.Active: {Endpoints: 3, Pending: 5, Oldest: at(1)}, webhooks.Failing: {}, webhooks.Disabled: {Endpoints: 1, Pending: 1, Oldest: at(5)},
	})

	// One is delivered; another one's failure opens the breaker.
	first.State, first.Attempts, first.EndedAt = webhooks.Delivered, 1, &day
	failing.Attempts = 1
	err := q.Record(t.Context(), []webhooks.Report{
		{Delivery: first, Attempt: webhooks.Attempt{Number: 1, At: day, Outcome: webhooks.Outcome{Status: 200}}},
		{
			Delivery: failing, Attempt: webhooks.Attempt{Number: 1, At: day, Outcome: webhooks.Outcome{Status: 500}},
			Health: webhooks.Health{Failures: webhooks.BreakAfter, FailingSince: day, Breaks: 1, OpenUntil: day.Add(time.Minute)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	backlog(map[webhooks.Standing]webhooks.Backlog{
		webhooks.Active:   {Endpoints: 2, Pending: 3, Oldest: at(2)},
		webhooks.Failing:  {Endpoints: 1, Pending: 1, Oldest: at(6)},
		webhooks.Disabled: {Endpoints: 1, Pending: 1, Oldest: at(5)},
	})
}

// What is sent once more, or late on purpose, is owed since it was asked for, and
// goes on being so while attempts fail.
func TestBacklogOfThePast(t *testing.T) {
	t.Parallel()
	q := queue{open(t, t.TempDir())}
	day, ep := webhookstest.Day(), webhookstest.Endpoint(1)
	at := func(minute int) time.Time { return day.Add(time.Duration(minute) * time.Minute) }
	if err := q.SetTarget(t.Context(), ep, webhookstest.TargetOf("https://example.com/")); err != nil {
		t.Fatal(err)
	}
	owed := func(pending int, since time.Time) {
		t.Helper()
		got, err := q.Backlog(t.Context())
		if b := got[webhooks.Active]; err != nil || b.Pending != pending || !b.Oldest.Equal(since) {
			t.Errorf("%+v, %v; want %d since %v", b, err, pending, since)
		}
	}
	var ds []webhooks.Delivery
	for position := range int64(4) {
		d := webhookstest.Planned(ep, webhookstest.Stream(int(position)), position+1, 1, "a")
		d.CreatedAt = day.AddDate(-3, 0, 0)
		ds = append(ds, d)
	}
	if err := q.CommitPage(t.Context(), &projections.Page{At: at(1), Rows: projections.Rows{Deliveries: ds[:3]}}); err != nil {
		t.Fatal(err)
	}
	owed(3, at(1))
	end := func(d webhooks.Delivery, state webhooks.State) webhooks.Delivery {
		t.Helper()
		ended := at(2)
		d.State, d.EndedAt, d.Attempts = state, &ended, 1
		if err := q.Record(t.Context(), []webhooks.Report{{Delivery: d, Attempt: webhooks.Attempt{Number: 1, At: ended}}}); err != nil {
			t.Fatal(err)
		}
		return d
	}
	again, parked := end(ds[0], webhooks.Delivered), end(ds[1], webhooks.Parked)
	end(ds[2], webhooks.Delivered)
	owed(0, time.Time{})

	r := webhooks.Replay{ID: "rpl", EndpointID: ep, State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, CreatedAt: at(3)}
	if _, _, err := q.AddReplay(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	step := webhooks.ReplayStep{Again: []webhooks.Delivery{again}, After: r}
	if _, _, err := q.StepReplay(t.Context(), r, step, at(9)); err != nil {
		t.Fatal(err)
	}
	owed(1, at(9))
	step = webhooks.ReplayStep{Fresh: ds[3:], After: r}
	if _, _, err := q.StepReplay(t.Context(), r, step, at(8)); err != nil {
		t.Fatal(err)
	}
	owed(2, at(8))
	if _, err := q.Redeliver(t.Context(), ds[2].ID, at(7)); err != nil {
		t.Fatal(err)
	}
	owed(3, at(7))
	tried, _, _, err := q.Store.Delivery(t.Context(), ds[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	tried.Attempts, tried.DueAt = 2, at(600)
	if err := q.Record(t.Context(), []webhooks.Report{{Delivery: tried, Attempt: webhooks.Attempt{Number: 2, At: at(20)}}}); err != nil {
		t.Fatal(err)
	}
	owed(3, at(7))
	job := webhooks.Job{ID: "job", Kind: webhooks.RetryFailed, EndpointID: ep, State: webhooks.JobRunning, CreatedAt: at(5)}
	if _, _, err := q.AddJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.RetryParked(t.Context(), job, at(6)); err != nil {
		t.Fatal(err)
	}
	owed(4, at(6))
	if d, _, _, err := q.Store.Delivery(t.Context(), parked.ID); err != nil || d.State != webhooks.Pending || !d.DueAt.Equal(at(6)) {
		t.Errorf("%+v, %v", d, err)
	}
}

// What was pending before it was kept since when it is owed is owed since about
// then: nobody is three years late of a sudden.
func TestBacklogOfAnOlderFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := queue{s}
	day := webhookstest.Day()
	at := func(minute int) time.Time { return day.Add(time.Duration(minute) * time.Minute) }
	var ds []webhooks.Delivery
	for n := range 4 {
		ep := webhookstest.Endpoint(n)
		target := webhookstest.TargetOf("https://example.com/")
		target.Disabled = n == 1
		if err := q.SetTarget(t.Context(), ep, target); err != nil {
			t.Fatal(err)
		}
		d := webhookstest.Planned(ep, webhookstest.Stream(n), int64(n+1), 1, "a")
		d.CreatedAt = at(-1000)
		ds = append(ds, d)
	}
	ds[0].CreatedAt = at(7) // as it happened
	if err := q.CommitPage(t.Context(), &projections.Page{Rows: projections.Rows{Deliveries: []webhooks.Delivery{ds[0], ds[1], ds[3]}}}); err != nil {
		t.Fatal(err)
	}
	for i, end := range []webhooks.State{webhooks.Pending, webhooks.Parked} { // tried, and once more after it was redelivered
		d := ds[1]
		ended := at(3 + i)
		d.Attempts, d.State, d.DueAt = i+1, end, at(3+i)
		if end == webhooks.Parked {
			d.EndedAt = &ended
		}
		if err := q.Record(t.Context(), []webhooks.Report{{Delivery: d, Attempt: webhooks.Attempt{Number: i + 1, At: at(3 + i)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := q.Redeliver(t.Context(), ds[1].ID, at(5)); err != nil {
		t.Fatal(err)
	}
	r := webhooks.Replay{ID: "rpl", EndpointID: ds[2].EndpointID, State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, CreatedAt: at(6)}
	if _, _, err := q.AddReplay(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.StepReplay(t.Context(), r, webhooks.ReplayStep{Fresh: ds[2:3], After: r}, at(8)); err != nil {
		t.Fatal(err)
	}
	if err := q.DeleteTarget(t.Context(), ds[3].EndpointID); err != nil { // whose delivery, as old as its event, does not count
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, filepath.Join(dir, database), `DROP INDEX deliveries_pending; ALTER TABLE deliveries DROP COLUMN owed_at;
		CREATE INDEX deliveries_pending ON deliveries (endpoint, lane, position, name) WHERE state = 'pending';
		DELETE FROM goose_db_version WHERE version_id = 8`)
	got, err := open(t, dir).Backlog(t.Context())
	want := map[webhooks.Standing]webhooks.Backlog{
		webhooks.Active:   {Endpoints: 2, Pending: 2, Oldest: at(6)}, // when the replay was asked for
		webhooks.Disabled: {Endpoints: 1, Pending: 1, Oldest: at(4)}, // the last attempt before it was redelivered
		webhooks.Failing:  {},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("backlog: %v (-want +got):\n%s", err, diff)
	}
}

func TestGroupsAreTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var total sqlite.Group
	store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{Grouped: func(g sqlite.Group) {
		mu.Lock()
		defer mu.Unlock()
		if g.Jobs < 1 || g.Took <= 0 {
			t.Errorf("got %+v", g)
		}
		total.Jobs += g.Jobs
		total.Events += g.Events
	}})
	if err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for n := range 20 {
		clients.Go(func() {
			stream := webhookstest.Stream(n)
			for expected := range int64(2) { // the second of them is a conflict
				_, err := store.Append(t.Context(), eventstore.Commit{Account: "a", Appends: []eventstore.Append{{
					Stream: stream, Expected: expected, Events: []eventstore.Draft{
						{ID: webhookstest.ID("even", 4*n+2*int(expected)), Type: "a", Schema: 1, Time: noon(), Data: []byte("{}")},
						{ID: webhookstest.ID("even", 4*n+2*int(expected)+1), Type: "a", Schema: 1, Time: noon(), Data: []byte("{}")},
					},
				}}})
				if (err != nil) != (expected == 1) {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if total.Jobs != 40 || total.Events != 40 {
		t.Errorf("%d jobs, %d events", total.Jobs, total.Events)
	}
}

// BenchmarkBacklog counts what waits for sixteen endpoints in a thousand lanes.
func BenchmarkBacklog(b *testing.B) {
	for _, pending := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("pending=%d", pending), func(b *testing.B) {
			store, err := sqlite.Open(b.Context(), b.TempDir(), sqlite.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			rows := projections.Rows{Endpoints: map[string]projections.EndpointRow{}}
			for n := range 16 {
				id := webhookstest.Endpoint(n)
				rows.Endpoints[id] = projections.EndpointRow{ID: id, Settings: endpoint.Settings{URL: "https://example.com/"}}
			}
			for i := range pending {
				rows.Deliveries = append(rows.Deliveries,
					webhookstest.Planned(webhookstest.Endpoint(i%16), webhookstest.Stream(i%1000), int64(i+1), int64(i/1000+1), "a"))
				if len(rows.Deliveries) == projections.PageSize || i == pending-1 {
					if err := store.CommitPage(b.Context(), &projections.Page{Rows: rows}); err != nil {
						b.Fatal(err)
					}
					rows.Endpoints, rows.Deliveries = nil, rows.Deliveries[:0]
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				got, err := store.Backlog(b.Context())
				if err != nil || got[webhooks.Active].Pending != pending {
					b.Fatal(got, err)
				}
			}
		})
	}
}
