package webhooks

import "time"

// Limits of an endpoint's health.
const (
	// BreakAfter is how many attempts in a row must fail before an endpoint is
	// left alone: more than one conversation's bad luck, fewer than a thousand
	// conversations would make in a minute.
	BreakAfter = 10
	// FirstBreak and LongestBreak bound how long it is left alone before one
	// delivery, the oldest, asks whether it is back. The break doubles with each
	// that finds it is not; the longest is what somebody who has just repaired
	// their receiver waits at most.
	FirstBreak   = 5 * time.Second
	LongestBreak = 5 * time.Minute
	// DisableAfter is how long an endpoint may do nothing but fail before it is
	// disabled: longer than the default schedule, and than a long weekend.
	DisableAfter = 5 * 24 * time.Hour
)

// Health is how an endpoint has answered of late. The zero Health is one of
// which nothing bad is known.
type Health struct {
	Failures     int       // in a row
	FailingSince time.Time // the first of them
	Breaks       int       // in a row
	OpenUntil    time.Time // until then nothing is sent; after it, one delivery at a time until one is accepted
}

// Broken reports whether the breaker is open: nothing but a probe may be sent,
// and that not before OpenUntil.
func (h Health) Broken() bool { return h.Breaks > 0 }

// After returns the health after an attempt that ended at that time with outcome
// o. What we failed at ourselves, a body that could not be made, says nothing
// about the endpoint.
func (h Health) After(o Outcome, at time.Time) Health {
	switch {
	case o.Status >= 200 && o.Status <= 299:
		return Health{}
	case o.Fault == Unrendered, o.Fault == TooLarge:
		return h
	}
	h.Failures++
	if h.FailingSince.IsZero() {
		h.FailingSince = at
	}
	// Attempts that were under way when the breaker opened do not open it wider.
	if h.Failures >= BreakAfter && !at.Before(h.OpenUntil) {
		h.OpenUntil = at.Add(min(FirstBreak<<min(h.Breaks, maxDoublings), LongestBreak))
		h.Breaks++
	}
	return h
}

// maxDoublings keeps the shift from running over.
const maxDoublings = 16

// Hopeless reports whether the endpoint has done nothing but fail for so long
// that it is to be disabled.
func (h Health) Hopeless(at time.Time) bool {
	return !h.FailingSince.IsZero() && at.Sub(h.FailingSince) >= DisableAfter
}
