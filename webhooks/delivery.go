package webhooks

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"verbatim/domain/endpoint"
)

// A State is where a delivery stands.
type State string

// The states. A delivery is pending until it ends in one of the others.
const (
	Pending   State = "pending"
	Delivered State = "delivered"
	Parked    State = "parked"    // given up, kept, can be redelivered
	Cancelled State = "cancelled" // the endpoint is gone
)

// A Delivery is one event owed to one endpoint. Its body is not kept: it
// follows from the log, the dialect and the history setting, all of them
// pinned here.
type Delivery struct {
	ID         string // "dlv_…"
	WebhookID  string // "msg_…"; see ID
	EndpointID string
	Account    string
	Stream     string
	Lane       string // with EndpointID the lane it stands in; see LaneOf
	Position   int64
	Version    int64 // of the stream: the body is as of it
	EventID    uuid.UUID
	Event      string // name of the fact
	Name       string // the dialect's name of it
	Dialect    string
	History    string
	State      State
	Reason     string // why it ended, if not delivered
	Attempts   int
	Spent      int       // attempts made before it was last redelivered: the schedule began anew behind them
	DueAt      time.Time // of the next attempt
	CreatedAt  time.Time
	EndedAt    *time.Time
	Digest     []byte // SHA-256 of the bytes that were accepted
	Bytes      int64  // how many they were
	Replay     string // the replay that made it pending, or ""; until somebody redelivers it
	Trace      string // W3C traceparent of the event, once its body was made; not kept
}

// An Outcome is what an attempt told us. A failed attempt is no error.
type Outcome struct {
	Status     int           // HTTP status, 0 if there was no answer
	RetryAfter time.Duration // as the receiver asked, 0 if it did not
	Fault      Fault         // why there was no answer
	Detail     string        // the fault in words, or the first bytes of the answer; at most MaxDetail bytes
	Took       time.Duration
	Timing     Timing
}

// A Timing is where the time of an attempt went. What did not happen took none:
// a connection that was used again has no name resolved, no connection made and
// no TLS begun.
type Timing struct {
	DNS       time.Duration // the name was resolved
	Connect   time.Duration // the connection was made
	TLS       time.Duration // the handshake
	FirstByte time.Duration // from the request written to the first byte of the answer
}

// A Fault is a reason for which an attempt got no answer.
type Fault string

// The faults.
const (
	NoFault        Fault = ""
	NameUnresolved Fault = "dns"               // the name leads to no address
	Unreachable    Fault = "unreachable"       // no connection: refused, reset, no route
	ConnectTimeout Fault = "connect_timed_out" // no connection in time
	TLSFailed      Fault = "tls"               // the certificate or the handshake
	TimedOut       Fault = "timed_out"         // connected, and no answer in time
	PrivateRange   Fault = "private_range"     // the address is one that webhooks may not reach
	Unrendered     Fault = "unrendered"        // the body could not be made
	TooLarge       Fault = "too_large"         // the body is larger than the endpoint takes
)

// Faults returns all of them but NoFault.
func Faults() []Fault {
	return []Fault{
		NameUnresolved, Unreachable, ConnectTimeout, TLSFailed, TimedOut, PrivateRange, Unrendered, TooLarge,
	}
}

// MaxDetail bounds what is kept of a receiver's answer: enough for an error
// message and a stack, not for a page.
const MaxDetail = 4 << 10

// An Attempt is one try of a delivery, on record.
type Attempt struct {
	Number  int // 1, 2, 3, …
	At      time.Time
	Outcome Outcome
	Digest  []byte // SHA-256 of the bytes that were sent
	Bytes   int64  // how many they were; not kept of one that failed
}

// A Report is an attempt and where it leaves its delivery. A Number of 0 says
// that there was no attempt: the delivery was cancelled before it came to one.
type Report struct {
	Delivery Delivery // as it is after the attempt
	Attempt  Attempt
	Health   Health // of the endpoint after it
	Notices  []Notice
}

// A Lane is deliveries to one endpoint that go first in, first out.
type Lane struct {
	EndpointID string
	Key        string
}

// LaneOf returns the key of the lane that a delivery to an endpoint with that
// ordering stands in: its stream, or itself alone if the endpoint does not want
// its deliveries in order.
func LaneOf(ordering string, d *Delivery) string {
	if ordering == endpoint.Unordered {
		return d.ID
	}
	return d.Stream
}

// A Queue keeps deliveries and what came of them. A lane is in order of
// position, then of Name; lanes are in order of their endpoint, then of their
// stream, both compared as bytes. All methods may be called concurrently.
type Queue interface {
	// Heads returns the oldest pending delivery of every lane after the given
	// one, at most limit of them, lanes in order: fewer than limit are the last
	// there are. The zero Lane is before all; a Lane that does not exist stands
	// where it would.
	Heads(ctx context.Context, after Lane, limit int) ([]Delivery, error)
	// Next returns the pending deliveries of a lane, oldest first, at most limit
	// of them: fewer than limit are all there are.
	Next(ctx context.Context, lane Lane, limit int) ([]Delivery, error)
	// Record commits attempts, the states they lead to and the health of their
	// endpoints, all in one transaction. Of an endpoint the health of the last
	// attempt counts, whatever has become of its delivery. Of a delivery only
	// State, Reason, Attempts, DueAt, EndedAt, Digest and Bytes change, and only while
	// it is pending: one that was cancelled under way gets its attempt on record
	// and stays cancelled, and one that goes on but was told under way to stand
	// still (ReasonInTurn) stands still. A report changes no delivery if that is not there, or
	// if an attempt with its number is on record: a Record of which nobody knows
	// whether it was committed is made again. Its Notices are kept with it, each
	// once; see NoticeKeeper.
	Record(ctx context.Context, reports []Report) error
	// Target returns where and how to send to an endpoint: ErrNoTarget if it
	// was deleted or never was.
	Target(ctx context.Context, endpointID string) (Target, error)
}

// ErrNoTarget says that the endpoint of a delivery is gone.
var ErrNoTarget = errors.New("the endpoint was deleted")

// A Target is an endpoint as the dispatcher sees it.
type Target struct {
	Settings endpoint.Settings
	Disabled bool
	Secrets  []string          // signing secrets "whsec_…", newest first; those that still sign. Without any it is as good as disabled
	Headers  map[string]string // sent along
	Health   Health
}

// A Request is one signed body on its way out.
type Request struct {
	URL     string
	Headers map[string]string
	Body    []byte
}

// A Sender makes one attempt. It never fails: whatever happens is an Outcome. It
// gives up after a time of its own, and at once when ctx is done.
type Sender interface {
	Send(ctx context.Context, r Request) Outcome
}

// A Renderer makes the body of a delivery from the log.
type Renderer interface {
	// Body returns the bytes to send, which the caller does not change. The same
	// delivery has the same bytes for ever. The Trace of d is set if the event has
	// one. It may be called concurrently.
	Body(ctx context.Context, d *Delivery) ([]byte, error)
}
