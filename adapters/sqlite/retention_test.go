package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// round takes a janitor through a whole round and returns its steps.
func round(t *testing.T, j *webhooks.Janitor) (steps int) {
	t.Helper()
	for {
		worked, wait, err := j.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		steps++
		if !worked {
			if wait != webhooks.JanitorPause {
				t.Fatalf("it waits for %v", wait)
			}
			return steps
		}
		if wait != webhooks.JanitorBreath {
			t.Fatalf("it waits for %v in between", wait)
		}
	}
}

func states(t *testing.T, s *sqlite.Store, endpointID string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for before := (webhooks.Mark{}); ; {
		ds, next, err := s.Deliveries(t.Context(), endpointID, webhooks.Selection{}, before, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ds {
			counts[strings.TrimSuffix(string(ds[i].State)+" "+ds[i].Reason, " ")]++
		}
		if next == nil {
			return counts
		}
		before = *next
	}
}

func is(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// While a janitor removes thousands of old deliveries, a batch at a time, others
// append, and none of them waits for more than a batch.
func TestJanitorLeavesTheWriterToOthers(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const n = 2000
	ended := noon().Add(time.Hour)
	for first := 0; first < n; first += 500 {
		var ds []webhooks.Delivery
		var reports []webhooks.Report
		for i := range 500 {
			d := delivery("ep", fmt.Sprintf("s%d", i), int64(first+i+1), "a")
			ds = append(ds, d)
			d.State, d.EndedAt, d.Attempts = webhooks.Delivered, &ended, 1
			reports = append(reports, webhooks.Report{Delivery: d, Attempt: webhooks.Attempt{Number: 1, At: ended, Outcome: webhooks.Outcome{Status: 200, Detail: strings.Repeat("x", 500)}}})
		}
		commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: ds}})
		if err := s.Record(t.Context(), reports); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var appended atomic.Int64
	longest := make(chan time.Duration)
	begun := make(chan struct{})
	go func() {
		var worst time.Duration
		for version := int64(0); ctx.Err() == nil; version++ {
			start := time.Now()
			_, err := s.Append(context.Background(), eventstore.Commit{Account: "acme", Appends: []eventstore.Append{{
				Stream: "conversation-1", Expected: version,
				Events: []eventstore.Draft{{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: start, Data: []byte("{}")}},
			}}})
			if err != nil {
				t.Error(err)
				break
			}
			worst = max(worst, time.Since(start))
			if appended.Add(1) == 1 {
				close(begun)
			}
		}
		longest <- worst
	}()
	<-begun
	j := webhooks.NewJanitor(s, webhooks.Keeping{Deliveries: time.Hour}, func() time.Time { return ended.Add(2 * time.Hour) }, slog.New(slog.DiscardHandler))
	before := appended.Load()
	steps := round(t, j)
	during := appended.Load() - before
	stop()
	worst := <-longest
	t.Logf("%d steps, %d appends meanwhile, the longest took %v", steps, during, worst)
	is(t, "left", states(t, s, "ep"), map[string]int{})
	if least := n * 2 / webhooks.PruneBatch; steps <= least {
		t.Errorf("%d steps for %d rows", steps, 2*n)
	}
	if during == 0 || worst > 2*time.Second {
		t.Errorf("%d appends meanwhile, the longest took %v", during, worst)
	}
}

func TestJanitorKeepsWhatItShould(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	now := noon()
	var log bytes.Buffer
	keep := webhooks.Keeping{Deliveries: 24 * time.Hour, Pending: 48 * time.Hour, PendingCount: 150, Keys: eventstore.KeepKeys}
	j := webhooks.NewJanitor(s, keep, func() time.Time { return now }, slog.New(slog.NewTextHandler(&log, nil)))
	rows := func(ep string, disabled bool) projections.EndpointRow {
		return projections.EndpointRow{ID: ep, Disabled: disabled, UpdatedAt: now}
	}
	// Each has a delivery every twenty minutes for 100 hours.
	const n = 300
	for i, ep := range []string{"on", "off", "enabled"} {
		var ds []webhooks.Delivery
		for k := range n {
			d := delivery(ep, fmt.Sprintf("s%d", k%5), int64(i*1000+k+1), "a")
			d.CreatedAt = noon().Add(time.Duration(k) * 20 * time.Minute)
			d.DueAt = d.CreatedAt
			ds = append(ds, d)
		}
		commitPage(t, s, projections.Page{Rows: projections.Rows{
			Deliveries: ds, Endpoints: map[string]projections.EndpointRow{ep: rows(ep, i > 0)},
		}})
	}
	// The log knows that the last one was enabled a moment ago.
	for version, kind := range []string{"endpoint.disabled", "endpoint.enabled"} {
		if _, err := s.Append(t.Context(), eventstore.Commit{Account: "acme", Appends: []eventstore.Append{{
			Stream: "endpoint-enabled", Expected: int64(version),
			Events: []eventstore.Draft{{ID: uuid.Must(uuid.NewV7()), Type: kind, Schema: 1, Time: now, Data: []byte("{}")}},
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	untouched := map[string]int{"pending": n}
	now = noon().Add(47 * time.Hour) // nothing has been disabled for so long
	round(t, j)
	is(t, "at first", states(t, s, "off"), map[string]int{"pending": 150, "cancelled too many kept": 150})

	now = noon().Add(98*time.Hour + time.Minute) // what was cancelled then is too old as well
	round(t, j)
	is(t, "later", states(t, s, "off"), map[string]int{"pending": 149, "cancelled kept too long": 1})
	is(t, "enabled", states(t, s, "on"), untouched)
	is(t, "just enabled", states(t, s, "enabled"), untouched)
	for _, word := range []string{"endpoint=off", webhooks.ReasonExpired, webhooks.ReasonCrowded, "count=150"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("the log does not say %q:\n%s", word, &log)
		}
	}

	// For ever, and any number.
	j = webhooks.NewJanitor(s, webhooks.Keeping{}, func() time.Time { return now.AddDate(100, 0, 0) }, slog.New(slog.DiscardHandler))
	before := states(t, s, "off")
	if steps := round(t, j); steps != 1 {
		t.Errorf("%d steps to do nothing", steps)
	}
	is(t, "for ever", states(t, s, "off"), before)
}

// A janitor whose store fails it tries again, and a busy writer is no failure.
func TestJanitorTriesAgain(t *testing.T) {
	t.Parallel()
	s := &failingKeeper{Store: open(t, t.TempDir())}
	parked(t, s.Store, "ep", 0, 3)
	j := webhooks.NewJanitor(s, webhooks.Keeping{Deliveries: time.Hour, Pending: time.Hour}, func() time.Time { return noon().Add(9 * time.Hour) }, slog.New(slog.DiscardHandler))
	for _, err := range []error{errors.New("disk full"), eventstore.ErrBusy} {
		s.err = err
		worked, wait, got := j.Step(t.Context())
		if worked || wait != webhooks.Pause || (got != nil) != !errors.Is(err, eventstore.ErrBusy) {
			t.Errorf("%v: worked %t, wait %v, error %v", err, worked, wait, got)
		}
	}
	s.err = nil
	round(t, j)
	is(t, "left", states(t, s.Store, "ep"), map[string]int{})
}

type failingKeeper struct {
	*sqlite.Store
	err error
}

func (s *failingKeeper) PruneDeliveries(ctx context.Context, before time.Time, rows int) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.Store.PruneDeliveries(ctx, before, rows)
}
