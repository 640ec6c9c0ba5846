package webhooks

import "time"

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
	Delivery   *Delivery // after the attempt that told it
	Outcome    Outcome   // of that attempt
}
