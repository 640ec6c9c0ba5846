package webhooks_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/webhooks"
)

const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// An event's trace goes out with its webhook, over what an endpoint has set, and
// is not there where there is none.
func TestTheTraceOfAnEventIsSentAlong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, webhooks.Config{})
		sent := map[string]string{}
		b.answer = func(_ context.Context, r webhooks.Request) webhooks.Outcome {
			b.mu.Lock()
			defer b.mu.Unlock()
			sent[r.Headers["webhook-id"]] = r.Headers["traceparent"]
			return webhooks.Outcome{Status: 200}
		}
		b.body = func(d *webhooks.Delivery) ([]byte, error) {
			if d.Position == 1 {
				d.Trace = trace
			}
			return bodyOf(d), nil
		}
		id := b.target(1, func(t *webhooks.Target) { t.Headers = map[string]string{"Traceparent": "mine"} })
		with, without := b.plan(id, 1, 1), b.plan(id, 2, 2)
		b.end(b.run())
		if diff := cmp.Diff(map[string]string{with.WebhookID: trace, without.WebhookID: "mine"}, sent); diff != "" {
			t.Error(diff)
		}
		if d := b.now(with); d.Trace != "" {
			t.Error("it was kept")
		}
	})
}

// Whoever watches attempts is told of the beginning and of the end of each, of
// those too that never left the house.
func TestAttemptsAreWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var log []string
		var b *bench
		note := func(format string, args ...any) {
			b.mu.Lock()
			defer b.mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		b = newBench(t, webhooks.Config{
			Concurrency: 1,
			Begin: func(ctx context.Context, d *webhooks.Delivery, at time.Time) (context.Context, string, func(webhooks.Outcome)) {
				note("%d begins: attempt %d, trace %q, %v old", d.Position, d.Attempts+1, d.Trace, time.Since(at))
				return context.WithValue(ctx, key{}, d.Position), "ours", func(o webhooks.Outcome) { note("%d ends: %d%s", d.Position, o.Status, o.Fault) }
			},
		})
		b.answer = func(ctx context.Context, r webhooks.Request) webhooks.Outcome {
			note("%v is sent with %s", ctx.Value(key{}), r.Headers["traceparent"])
			return webhooks.Outcome{Status: 200}
		}
		b.body = func(d *webhooks.Delivery) ([]byte, error) {
			d.Trace = trace
			switch d.Position {
			case 2:
				return nil, errors.New("no body")
			case 3:
				return make([]byte, 100<<10), nil
			}
			return bodyOf(d), nil
		}
		id := b.target(1, func(t *webhooks.Target) {
			t.Settings.MaxBodyBytes, t.Settings.RetrySchedule = 64<<10, []string{"24h"}
		})
		for n := range 3 {
			b.plan(id, n, int64(n+1))
		}
		b.end(b.run())
		want := []string{
			"1 begins: attempt 1, trace \"" + trace + "\", 0s old", "1 is sent with ours", "1 ends: 200",
			"2 begins: attempt 1, trace \"" + trace + "\", 0s old", "2 ends: 0unrendered",
			"3 begins: attempt 1, trace \"" + trace + "\", 0s old", "3 ends: 0too_large",
		}
		slices.SortStableFunc(log, func(a, b string) int { return strings.Compare(a[:1], b[:1]) }) // lanes have no order
		if diff := cmp.Diff(want, log); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, webhooks.Config{})
		release := make(chan struct{})
		b.answer = func(context.Context, webhooks.Request) webhooks.Outcome {
			<-release
			return webhooks.Outcome{Status: 200}
		}
		if got := b.d.Load(); got != (webhooks.Load{}) {
			t.Errorf("at first %+v", got)
		}
		id := b.target(1, nil)
		for position := range int64(3) {
			b.plan(id, 1, position+1)
		}
		b.plan(id, 2, 4)
		stop := b.run()
		if got, want := b.d.Load(), (webhooks.Load{Lanes: 2, Deliveries: 2, UnderWay: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		close(release)
		synctest.Wait()
		b.end(stop)
		if got := b.d.Load(); got != (webhooks.Load{}) {
			t.Errorf("at last %+v", got)
		}
	})
}
