package sqlite_test

import (
	"fmt"
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
	var ds []webhooks.Delivery
	day := webhookstest.Day()
	planned := func(n, stream int, position int64) webhooks.Delivery {
		d := webhookstest.Planned(webhookstest.Endpoint(n), webhookstest.Stream(stream), position, position, "a")
		d.CreatedAt = day.Add(time.Duration(position) * time.Minute)
		ds = append(ds, d)
		return d
	}
	first := planned(slow, 1, 1)
	planned(well, 1, 4)
	planned(well, 2, 3) // an older one, in a lane behind
	planned(slow, 1, 2)
	failing := planned(broken, 1, 6)
	planned(off, 1, 5)
	planned(gone, 1, 1)
	if err := q.Plan(t.Context(), ds); err != nil {
		t.Fatal(err)
	}
	if err := q.DeleteTarget(t.Context(), webhookstest.Endpoint(gone)); err != nil {
		t.Fatal(err)
	}
	at := func(position int64) time.Time { return day.Add(time.Duration(position) * time.Minute) }
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
