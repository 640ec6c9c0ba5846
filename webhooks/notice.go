package webhooks

import (
	"context"
	"strconv"
	"time"
)

// A NoticeKind is what happened to an endpoint.
type NoticeKind string

// The kinds.
const (
	NoticeGone      NoticeKind = "gone"      // the receiver answered 410: the endpoint is to be disabled
	NoticeHopeless  NoticeKind = "hopeless"  // nothing but failures for DisableAfter: it is to be disabled
	NoticeFailing   NoticeKind = "failing"   // the breaker has opened
	NoticeRecovered NoticeKind = "recovered" // it has closed
	NoticeExhausted NoticeKind = "exhausted" // a delivery was given up
)

// Disables reports whether the endpoint is to be disabled.
func (k NoticeKind) Disables() bool { return k == NoticeGone || k == NoticeHopeless }

// A Notice is something that an endpoint's own stream should say.
type Notice struct {
	EndpointID string
	Account    string
	Kind       NoticeKind
	At         time.Time
	Since      time.Time // first of the failures in a row, where that is what it is about
	Delivery   *Delivery // after the attempt that told it; kept are its ID, Name, Stream, Attempts and Reason
	Outcome    Outcome   // of that attempt; kept are its Status and Fault
}

// Key names the notice: an attempt tells each kind once.
func (n *Notice) Key() string {
	return n.Delivery.ID + "/" + strconv.Itoa(n.Delivery.Attempts) + "/" + string(n.Kind)
}

// Kept returns what is kept of a notice: nothing of what the receiver said, for
// that stands with the attempt and goes with it.
func (n *Notice) Kept() Notice {
	kept, d := *n, n.Delivery
	kept.Delivery = &Delivery{ID: d.ID, Name: d.Name, Stream: d.Stream, Attempts: d.Attempts, Reason: d.Reason}
	kept.Outcome = Outcome{Status: n.Outcome.Status, Fault: n.Outcome.Fault}
	return kept
}

// A NoticeKeeper has the notices that were recorded with their attempts and that
// the endpoints' streams do not say yet.
type NoticeKeeper interface {
	// Notices returns the oldest of them, at most limit, in the order in which they
	// were recorded, as Kept.
	Notices(ctx context.Context, limit int) ([]Notice, error)
	// Said forgets the notice with that key, if there is one.
	Said(ctx context.Context, key string) error
}
