package webhooks_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	set := endpoint.Settings{RetrySchedule: []string{"10s", "20s"}}
	delivered := webhooks.Next{State: webhooks.Delivered}
	retry := func(d time.Duration) webhooks.Next { return webhooks.Next{State: webhooks.Pending, DueAt: at.Add(d)} }
	parked := func(reason string) webhooks.Next { return webhooks.Next{State: webhooks.Parked, Reason: reason} }
	gone := webhooks.Next{State: webhooks.Pending, Reason: webhooks.ReasonGone, DueAt: at, Disable: true}
	const middle = 0.5 // no jitter at all
	for _, c := range []struct {
		name   string
		before int
		o      webhooks.Outcome
		jitter float64
		want   webhooks.Next
	}{
		{"200", 0, webhooks.Outcome{Status: 200}, middle, delivered},
		{"299, the last time", 2, webhooks.Outcome{Status: 299}, middle, delivered},
		{"2xx does not wait", 0, webhooks.Outcome{Status: 202, RetryAfter: time.Hour}, middle, delivered},
		{"500", 0, webhooks.Outcome{Status: 500}, middle, retry(10 * time.Second)},
		{"500 again", 1, webhooks.Outcome{Status: 500}, middle, retry(20 * time.Second)},
		{"500 and out", 2, webhooks.Outcome{Status: 500}, middle, parked(webhooks.ReasonExhausted)},
		{"more attempts than the schedule has now", 9, webhooks.Outcome{Status: 500}, middle, parked(webhooks.ReasonExhausted)},
		{"gone", 0, webhooks.Outcome{Status: 410}, middle, gone},
		{"gone, the last time", 2, webhooks.Outcome{Status: 410}, middle, gone},
		{"too large", 0, webhooks.Outcome{Fault: webhooks.TooLarge}, middle, parked(webhooks.ReasonTooLarge)},
		{"a redirect", 0, webhooks.Outcome{Status: 302}, middle, retry(10 * time.Second)},
		{"not modified", 0, webhooks.Outcome{Status: 304}, middle, retry(10 * time.Second)},
		{"early hints", 0, webhooks.Outcome{Status: 103}, middle, retry(10 * time.Second)},
		{"a mistake of ours", 0, webhooks.Outcome{Status: 400}, middle, retry(10 * time.Second)},
		{"no answer", 0, webhooks.Outcome{Fault: webhooks.TimedOut}, middle, retry(10 * time.Second)},
		{"no body", 0, webhooks.Outcome{Fault: webhooks.Unrendered}, middle, retry(10 * time.Second)},
		{"429 asks for more", 0, webhooks.Outcome{Status: 429, RetryAfter: time.Minute}, middle, retry(time.Minute)},
		{"502 asks for more", 0, webhooks.Outcome{Status: 502, RetryAfter: time.Minute}, middle, retry(time.Minute)},
		{"503 asks for more", 0, webhooks.Outcome{Status: 503, RetryAfter: time.Minute}, middle, retry(time.Minute)},
		{"504 asks for more", 0, webhooks.Outcome{Status: 504, RetryAfter: time.Minute}, middle, retry(time.Minute)},
		{"500 may not ask", 0, webhooks.Outcome{Status: 500, RetryAfter: time.Minute}, middle, retry(10 * time.Second)},
		{"asked for less", 0, webhooks.Outcome{Status: 429, RetryAfter: time.Second}, middle, retry(10 * time.Second)},
		{"asked for years", 0, webhooks.Outcome{Status: 503, RetryAfter: 9000 * time.Hour}, middle, retry(webhooks.MaxRetryAfter)},
		{"asked for the past", 0, webhooks.Outcome{Status: 503, RetryAfter: -time.Hour}, middle, retry(10 * time.Second)},
		{"a fifth earlier", 0, webhooks.Outcome{Status: 500}, 0, retry(8 * time.Second)},
		{"a tenth later", 0, webhooks.Outcome{Status: 500}, 0.75, retry(11 * time.Second)},
		{"a fifth later", 1, webhooks.Outcome{Status: 500}, 1, retry(24 * time.Second)},
		{"less than no chance", 0, webhooks.Outcome{Status: 500}, -7, retry(8 * time.Second)},
	} {
		got := webhooks.Decide(set, webhooks.Delivery{Attempts: c.before}, c.o, at, c.jitter)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}

	again := webhooks.Delivery{Attempts: 7, Spent: 6}
	if got := webhooks.Decide(set, again, webhooks.Outcome{Status: 500}, at, middle); got != retry(20*time.Second) {
		t.Errorf("a redelivery begins the schedule anew; got %v", got)
	}
	set.OnExhausted = endpoint.StopLane
	stop := webhooks.Next{State: webhooks.Pending, Reason: webhooks.ReasonExhausted, DueAt: webhooks.Never()}
	if got := webhooks.Decide(set, webhooks.Delivery{Attempts: 2}, webhooks.Outcome{Status: 500}, at, middle); got != stop {
		t.Errorf("a lane that stops; got %v", got)
	}
}

func TestScheduleOf(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(webhooks.DefaultSchedule(), webhooks.ScheduleOf(endpoint.Settings{})); diff != "" {
		t.Error(diff)
	}
	got := webhooks.ScheduleOf(endpoint.Settings{RetrySchedule: []string{"1s", "24h"}})
	if diff := cmp.Diff([]time.Duration{time.Second, 24 * time.Hour}, got); diff != "" {
		t.Error(diff)
	}
	sum := time.Duration(0)
	for _, d := range webhooks.DefaultSchedule() {
		if d > endpoint.MaxRetryDelay || d <= 0 {
			t.Errorf("%v is no delay", d)
		}
		sum += d
	}
	if n := len(webhooks.DefaultSchedule()); n != 11 || sum.Round(time.Hour) != 52*time.Hour {
		t.Errorf("%d delays, %v; the comment says 12 attempts in 52 hours", n, sum)
	}
}

// Whatever receivers do, a delivery ends, in no more attempts than the schedule
// allows, and never goes back in time.
func TestEveryDeliveryEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schedule := rapid.SliceOfN(rapid.Map(rapid.Int64Range(0, int64(endpoint.MaxRetryDelay)),
			func(n int64) time.Duration { return time.Duration(n) }), 1, endpoint.MaxRetries).Draw(t, "schedule")
		settings := endpoint.Settings{}
		for _, d := range schedule {
			settings.RetrySchedule = append(settings.RetrySchedule, d.String())
		}
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		d := webhooks.Delivery{State: webhooks.Pending, DueAt: now}
		for n := 1; d.State == webhooks.Pending; n++ {
			if n > len(schedule)+1 {
				t.Fatalf("attempt %d on a schedule of %d delays", n, len(schedule))
			}
			o := webhooks.Outcome{
				Status:     rapid.SampledFrom([]int{0, 200, 302, 400, 429, 500, 503, 503, 503, 503}).Draw(t, "status"),
				RetryAfter: time.Duration(rapid.Int64().Draw(t, "retry after")),
			}
			next := webhooks.Decide(settings, d, o, now, rapid.Float64Range(0, 1).Draw(t, "jitter"))
			d = d.After(webhooks.Attempt{Number: n, At: now, Outcome: o, Digest: []byte{1}}, next, now)
			if d.Attempts != n {
				t.Fatalf("%d attempts after %d", d.Attempts, n)
			}
			switch d.State {
			case webhooks.Pending:
				delay := d.DueAt.Sub(now)
				least := schedule[n-1] - schedule[n-1]/5 - time.Microsecond
				most := max(schedule[n-1]+schedule[n-1]/5, webhooks.MaxRetryAfter)
				if delay < 0 || delay < least || delay > most || d.EndedAt != nil {
					t.Fatalf("due after %v on %v", delay, schedule[n-1])
				}
				now = d.DueAt
			case webhooks.Delivered:
				if d.Reason != "" || d.EndedAt == nil || d.Digest == nil || o.Status/100 != 2 {
					t.Fatalf("%+v", d)
				}
			case webhooks.Parked:
				if d.Reason == "" || d.EndedAt == nil || d.Digest != nil || o.Status/100 == 2 {
					t.Fatalf("%+v", d)
				}
			default:
				t.Fatalf("ended as %s", d.State)
			}
		}
	})
}
