package webhooks

import (
	"net/http"
	"time"

	"verbatim/domain/endpoint"
)

// Limits on how long a delivery waits.
const (
	// MaxRetryAfter bounds what a receiver can ask for: one that says "next
	// year" would never be sent to again, and nobody would notice.
	MaxRetryAfter = 24 * time.Hour
	// MaxJitter is the part of a delay by which chance shortens or lengthens it,
	// so that what failed together does not come back together.
	MaxJitter = 0.20
)

// Reasons for which a delivery ended, or stopped, without being accepted.
const (
	ReasonExhausted = "exhausted"        // every attempt of the schedule failed
	ReasonTooLarge  = "body too large"   // it would never be accepted, however often it is sent
	ReasonGone      = "gone"             // the receiver answered 410; its endpoint was disabled
	ReasonDeleted   = "endpoint deleted" // there is nobody to send to
	ReasonAsked     = "cancelled"        // somebody cancelled it
	ReasonExpired   = "kept too long"    // its endpoint was disabled for longer than deliveries are kept
	ReasonCrowded   = "too many kept"    // so many waited for a disabled endpoint that the oldest went
	ReasonSkipped   = "skipped"          // its endpoint begins behind it
	ReasonInTurn    = "in turn"          // it stands still until the history before it is on its way
)

// DefaultSchedule returns the delays before the second, the third, … attempt of
// an endpoint that names none; the first is made at once. The first minutes are
// for a deployment or a restart, the hours for an outage that somebody has to
// notice, the last day for one over a weekend's night: 12 attempts in 52 hours.
func DefaultSchedule() []time.Duration {
	return []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}
}

// ScheduleOf returns the delays that an endpoint is set to, or the default ones.
func ScheduleOf(s endpoint.Settings) []time.Duration {
	delays, err := endpoint.ParseSchedule(s.RetrySchedule)
	if err != nil || len(delays) == 0 {
		return DefaultSchedule()
	}
	return delays
}

// A Next is what follows from an attempt: the delivery has ended, or is due
// again.
type Next struct {
	State  State
	Reason string    // of a delivery that is parked, or that stands still
	DueAt  time.Time // of a delivery that is still pending
	// Disable says that the receiver wants nothing more: its endpoint is to be
	// disabled, and what is pending waits for somebody to enable it.
	Disable bool
}

// Never is when a delivery is due that stands still until somebody redelivers
// or cancels it.
func Never() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// Decide returns what follows when the attempt that comes after the
// d.Attempts made before, of which d.Spent do not count, ends at that time with outcome o, for an endpoint with those
// settings; jitter is a number drawn from [0, 1).
//
// A status of the 200s is delivered. 410 Gone disables the endpoint, as Standard
// Webhooks has it, and the delivery stays the first of its lane. A body that is
// too large is parked. Anything else, a redirect among it, is tried again: after
// the delay of the schedule, give or take MaxJitter of it, or after what a
// receiver that is overloaded (429, 502, 503, 504) asked for in Retry-After (RFC
// 9110, 10.2.3) if that is longer, but at most MaxRetryAfter. The schedule holds
// the delays between attempts, so that it allows one attempt more than it has
// delays; after the last the delivery is parked, or stands still before its lane
// if the endpoint wants that.
func Decide(s endpoint.Settings, d Delivery, o Outcome, at time.Time, jitter float64) Next {
	schedule, spent := ScheduleOf(s), d.Attempts-d.Spent
	switch {
	case o.Status >= 200 && o.Status <= 299:
		return Next{State: Delivered}
	case o.Status == http.StatusGone:
		return Next{State: Pending, Reason: ReasonGone, DueAt: at, Disable: true}
	case o.Fault == TooLarge:
		return Next{State: Parked, Reason: ReasonTooLarge}
	case spent >= len(schedule) && s.OnExhausted == endpoint.StopLane:
		return Next{State: Pending, Reason: ReasonExhausted, DueAt: Never()}
	case spent >= len(schedule):
		return Next{State: Parked, Reason: ReasonExhausted}
	}
	delay := float64(schedule[spent])
	delay += delay * MaxJitter * (2*min(max(jitter, 0), 1) - 1)
	switch o.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		delay = max(delay, float64(min(o.RetryAfter, MaxRetryAfter)))
	}
	// Whole microseconds are what a queue keeps.
	return Next{State: Pending, DueAt: at.Add(time.Duration(delay).Truncate(time.Microsecond))}
}

// After returns the delivery as it is after an attempt that ended at that time.
func (d Delivery) After(a Attempt, n Next, at time.Time) Delivery {
	d.Attempts, d.State, d.Reason = a.Number, n.State, n.Reason
	switch n.State {
	case Pending:
		d.DueAt = n.DueAt
	case Delivered:
		d.Digest, d.Bytes, d.EndedAt = a.Digest, a.Bytes, &at
	case Parked, Cancelled:
		d.EndedAt = &at
	}
	return d
}

// Redelivered returns the delivery as it is after somebody asked for it again at
// that time: due at once, with the whole schedule before it. It keeps its id and
// its webhook-id, and its attempts go on counting.
func (d Delivery) Redelivered(at time.Time) Delivery {
	d.State, d.Reason, d.EndedAt, d.Digest, d.Bytes = Pending, "", nil, nil, 0
	d.Spent, d.DueAt, d.Replay = d.Attempts, at, ""
	return d
}
