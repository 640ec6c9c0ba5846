package webhooks

import (
	"time"

	"verbatim/domain/endpoint"
)

// Limits on how long a delivery waits.
const (
	// MaxRetryAfter bounds what a receiver can ask for: one that says "next
	// year" would never be sent to again, and nobody would notice.
	MaxRetryAfter = 24 * time.Hour
	// MaxJitter is the part of a delay by which chance lengthens it, so that
	// what failed together does not come back together.
	MaxJitter = 0.10

	statusGone = 410 // RFC 9110, 15.5.11
)

// Reasons for which a delivery ended without being accepted.
const (
	ReasonGone      = "gone"             // the receiver answered 410
	ReasonExhausted = "exhausted"        // every attempt of the schedule failed
	ReasonDeleted   = "endpoint deleted" // there is nobody to send to
)

// DefaultSchedule returns the delays before the second, the third, … attempt of
// an endpoint that names none; the first is made at once. The first minutes are
// for a deployment or a restart, the hours for an outage that somebody has to
// notice, the last day for one over a weekend's night: 11 attempts in 47 hours.
func DefaultSchedule() []time.Duration {
	return []time.Duration{
		5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
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
	Reason string    // of a delivery that is parked
	DueAt  time.Time // of a delivery that is still pending
}

// Decide returns what follows when the attempt that comes after the d.Attempts
// made before ends at that time with outcome o. The schedule holds the delays
// between attempts, so that it allows one attempt more than it has delays;
// jitter is a number drawn from [0, 1).
//
// A status of the 200s is delivered. 410 Gone is final, as Standard Webhooks
// has it. Anything else, a redirect among it, is tried again: after the delay of
// the schedule, or after what the receiver asked for in Retry-After (RFC 9110,
// 10.2.3) if that is longer, but at most MaxRetryAfter.
func Decide(schedule []time.Duration, d Delivery, o Outcome, at time.Time, jitter float64) Next {
	switch {
	case o.Status >= 200 && o.Status <= 299:
		return Next{State: Delivered}
	case o.Status == statusGone:
		return Next{State: Parked, Reason: ReasonGone}
	case d.Attempts >= len(schedule):
		return Next{State: Parked, Reason: ReasonExhausted}
	}
	delay := max(schedule[d.Attempts], min(o.RetryAfter, MaxRetryAfter), 0)
	delay += time.Duration(float64(delay) * MaxJitter * min(max(jitter, 0), 1))
	// Whole microseconds are what a queue keeps.
	return Next{State: Pending, DueAt: at.Add(delay.Truncate(time.Microsecond))}
}

// After returns the delivery as it is after an attempt that ended at that time.
func (d Delivery) After(a Attempt, n Next, at time.Time) Delivery {
	d.Attempts, d.State, d.Reason = a.Number, n.State, n.Reason
	switch n.State {
	case Pending:
		d.DueAt = n.DueAt
	case Delivered:
		d.Digest, d.EndedAt = a.Digest, &at
	case Parked, Cancelled:
		d.EndedAt = &at
	}
	return d
}
