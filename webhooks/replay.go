package webhooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Limits of replays.
const (
	// ReplayBatch bounds the deliveries that one transaction of a replay changes:
	// two or three milliseconds that an append may have to wait.
	ReplayBatch = 100
	// ReplayLook bounds the events or deliveries that are read to find them.
	ReplayLook = 1000
	// ReplayAhead bounds the pending deliveries of a replay: enough for a sender to
	// be busy until the next look, and no more than can be sent to an end when
	// somebody pauses it.
	ReplayAhead = 1000
	// ReplayBreath lies between two batches, so that the writer is there for
	// others most of the time, and LiveBreath between those of a backfill that
	// catches up with the live events: shorter, for they go on.
	ReplayBreath = 20 * time.Millisecond
	LiveBreath   = 2 * time.Millisecond
	// ReplayPoll is how often a replay that is far enough ahead looks how far the
	// sender has got, and ReplayRest how often one that waits for its endpoint or
	// its last deliveries does.
	ReplayPoll = 100 * time.Millisecond
	ReplayRest = 500 * time.Millisecond
	// MaxReplayFailures bounds the deliveries that a receipt lists one by one: who
	// has more of them asks for the list of deliveries.
	MaxReplayFailures = 100
)

// ReplayHeader tells a receiver which replay a delivery is sent by.
const ReplayHeader = "webhook-replay"

// The kinds of replays.
const (
	Again    = "replay"   // somebody wants the past once more, or what is missing of it
	Backfill = "backfill" // an endpoint begins in the past, and goes over to live events
)

// A ReplayState is where a replay stands.
type ReplayState string

// The states. A replay is running or paused until it ends in one of the others.
const (
	ReplayRunning   ReplayState = "running"
	ReplayPaused    ReplayState = "paused"
	ReplayDone      ReplayState = "done"
	ReplayCancelled ReplayState = "cancelled" // somebody cancelled it, or a backfill began
	ReplayFailed    ReplayState = "failed"
)

// A ReplayPhase is what there is to do for a replay. It goes on in that order;
// one that has ended may have something left to do.
type ReplayPhase string

// The phases.
const (
	PhaseHold    ReplayPhase = "hold"    // of a backfill: what was kept is put in its place
	PhaseFeed    ReplayPhase = "feed"    // deliveries are made pending
	PhaseRelease ReplayPhase = "release" // what was kept and is not fed any more is cancelled
	PhaseDrain   ReplayPhase = "drain"   // they are on their way, and the receipt is written
	PhaseNone    ReplayPhase = ""        // the receipt is final
)

// Only is which of the deliveries that it could be about a replay sends.
type Only string

// The choices.
const (
	OnlyAll     Only = "all"     // each, whatever became of it; those that are pending are left
	OnlyMissing Only = "missing" // those of which nothing is on record
	OnlyFailed  Only = "failed"  // those that were given up; see Failed
)

// A ReplaySelection says what of the past is meant. What is empty in it selects
// all.
type ReplaySelection struct {
	From         int64     `json:"from,omitempty"` // positions, both included
	To           int64     `json:"to,omitempty"`
	Since        time.Time `json:"since,omitzero"`   // the event happened then or later
	Until        time.Time `json:"until,omitzero"`   // it happened before
	Events       []string  `json:"events,omitempty"` // as in Selection
	Conversation string    `json:"conversation,omitempty"`
	Only         Only      `json:"only,omitempty"`
}

// At reports whether an event at that position and time can be meant.
func (s *ReplaySelection) At(position int64, at time.Time) bool {
	return position >= s.From && (s.To == 0 || position <= s.To) &&
		(s.Since.IsZero() || !at.Before(s.Since)) && (s.Until.IsZero() || at.Before(s.Until))
}

// Match reports whether a delivery, there or yet to be planned, can be meant.
func (s *ReplaySelection) Match(d *Delivery) bool {
	return s.At(d.Position, d.CreatedAt) &&
		(len(s.Events) == 0 || Wants(s.Events, d.Event, Word{Name: d.Name})) &&
		(s.Conversation == "" || d.Stream == s.Stream())
}

// Stream returns the stream of the conversation that is meant, or "".
func (s *ReplaySelection) Stream() string {
	if s.Conversation == "" {
		return ""
	}
	return "conversation-" + s.Conversation
}

// Failed reports whether a delivery was given up: it is parked, or was cancelled
// because it had waited for too long. What somebody cancelled has not failed.
func Failed(d *Delivery) bool {
	return d.State == Parked || d.State == Cancelled && (d.Reason == ReasonExpired || d.Reason == ReasonCrowded)
}

// Owed reports whether a backfill sends a delivery that is there already: it is
// kept for it, or has ended without being accepted and without anybody having
// cancelled it by hand.
func Owed(d *Delivery) bool {
	switch d.State {
	case Pending:
		return d.Reason == ReasonInTurn
	case Parked:
		return true
	case Cancelled:
		return d.Reason != ReasonAsked
	case Delivered:
	}
	return false
}

// A Replay sends an endpoint the past: once more, or for the first time. It goes
// on where it was after a restart.
type Replay struct {
	ID         string // "rpl_…", ascending in time
	Kind       string
	EndpointID string
	Account    string
	Key        string // idempotency key of the request for it, or ""
	Selection  ReplaySelection
	Rate       int // deliveries a second; 0 is no limit
	State      ReplayState
	Phase      ReplayPhase
	Error      string // why it failed, or what keeps it from going on
	// Begun is the end of the log when it was asked for; of a backfill, the
	// position of the event that began it.
	Begun int64
	// To is the last position that it is about. Of a backfill it is 0 until it has
	// gone over to live events: what lies behind To is planned as it happens.
	To        int64
	Cursor    Mark // how far it has fed
	Counts    ReplayCounts
	Settled   Mark // how far its receipt is written
	Receipt   Receipt
	CreatedAt time.Time
	EndedAt   *time.Time
}

// Lag returns how many positions of a log with that head the replay has yet to come
// past. A backfill that has not gone over to live events goes to the head.
func (r *Replay) Lag(head int64) int64 {
	if r.Phase != PhaseHold && r.Phase != PhaseFeed || r.State != ReplayRunning && r.State != ReplayPaused {
		return 0
	}
	if r.To > 0 {
		head = r.To
	}
	return max(0, head-max(r.Cursor.Position, r.Selection.From-1))
}

// ReplayCounts is what a replay has done to deliveries.
type ReplayCounts struct {
	SentAgain int64 `json:"sent_again"` // made pending again
	Planned   int64 `json:"planned"`    // planned for the first time
	Kept      int64 `json:"kept"`       // of a backfill: kept while the endpoint was disabled, put in their place
	Left      int64 `json:"left"`       // selected and left alone: they were pending or, of a backfill, delivered
}

// Fed returns how many deliveries the replay has sent on their way.
func (c ReplayCounts) Fed() int64 { return c.SentAgain + c.Planned + c.Kept }

// Selected returns how many deliveries were found that it is about.
func (c ReplayCounts) Selected() int64 { return c.Fed() + c.Left }

// BackfillID returns the id of the backfill that an event of an endpoint begins.
func BackfillID(event uuid.UUID) string {
	return "rpl_" + strings.ReplaceAll(event.String(), "-", "")
}

// A Place is an event's place in the log.
type Place struct {
	Position int64     `json:"position"`
	Time     time.Time `json:"time"`
}

// A ReplayFailure is a delivery of a replay that was not accepted.
type ReplayFailure struct {
	DeliveryID string `json:"delivery_id"`
	WebhookID  string `json:"webhook_id"`
	Position   int64  `json:"position"`
	Event      string `json:"event"`
	State      State  `json:"state"`
	Reason     string `json:"reason"`
}

// A Receipt says what came of the deliveries that a replay made pending, in order
// of position, then of name.
type Receipt struct {
	Delivered int64 `json:"delivered"`
	Parked    int64 `json:"parked"`
	Cancelled int64 `json:"cancelled"`
	Bytes     int64 `json:"bytes"` // of the bodies that were accepted
	First     Place `json:"first,omitzero"`
	Last      Place `json:"last,omitzero"`
	// Chain is proof of what was accepted, and in which order: it begins as 32 zero
	// bytes, and is for each delivery the SHA-256 of itself, the webhook-id, and
	// the SHA-256 of the body. See Link.
	Chain    Digest          `json:"chain"`
	Failures []ReplayFailure `json:"failures,omitempty"` // the first MaxReplayFailures
}

// A Digest is a SHA-256, in hexadecimal where it is shown.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalJSON writes the digest in hexadecimal.
func (d Digest) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

var errNoDigest = errors.New("a digest is 64 hexadecimal digits")

// UnmarshalJSON reads a digest in hexadecimal.
func (d *Digest) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	sum, err := hex.DecodeString(s)
	if err != nil || len(sum) != len(d) {
		return errNoDigest
	}
	copy(d[:], sum)
	return nil
}

// Link returns the chain of a receipt behind one more body that was accepted,
// which has that digest.
func Link(chain Digest, webhookID string, digest []byte) Digest {
	h := sha256.New()
	_, _ = h.Write(chain[:]) // a hash does not fail
	_, _ = h.Write([]byte(webhookID))
	_, _ = h.Write(digest)
	return Digest(h.Sum(nil))
}

// Ended returns how many deliveries the receipt is about.
func (r Receipt) Ended() int64 { return r.Delivered + r.Parked + r.Cancelled }

// Add returns the receipt with one more delivery, which has ended.
func (r Receipt) Add(d *Delivery) Receipt {
	at := Place{d.Position, d.CreatedAt}
	if r.First == (Place{}) {
		r.First = at
	}
	r.Last = at
	switch d.State {
	case Delivered:
		r.Delivered++
		r.Bytes += d.Bytes
		r.Chain = Link(r.Chain, d.WebhookID, d.Digest)
		return r
	case Parked:
		r.Parked++
	case Cancelled:
		r.Cancelled++
	case Pending:
		panic("webhooks: a receipt for what has not ended")
	}
	if len(r.Failures) < MaxReplayFailures {
		r.Failures = append(slices.Clip(r.Failures), ReplayFailure{d.ID, d.WebhookID, d.Position, d.Name, d.State, d.Reason})
	}
	return r
}

// A Closing is whether a step of a backfill goes over to live events.
type Closing int

// The choices.
const (
	StayOpen       Closing = iota
	CloseIfLevel           // if the plan has not come past it
	CloseWhereItIs         // whatever lies between it and the plan is sent by nobody
)

// A ReplayStep is what a replay does in one transaction.
type ReplayStep struct {
	Again  []Delivery // as they were read: made pending again, unless they have changed since
	Fresh  []Delivery // planned, unless they are there already
	Hold   []Delivery // pending: stand still until it is their turn
	Cancel []Delivery // pending: end
	Reason string     // why
	// Unless are parked streams of the plan. What is theirs was left out because
	// they are parked: if one is not any more, nothing is done.
	Unless []ParkedAt
	Close  Closing
	// After is the replay as it is then, but for its counts, to which what is done
	// is added, and To, which Close sets. Neither the state nor when it ended changes unless
	// it was running.
	After Replay
}

// ParkedAt is a stream that the plan has parked at a version.
type ParkedAt struct {
	Stream  string
	Version int64
}

// A DryRun is what a replay would do.
type DryRun struct {
	Count     int64 // deliveries that would be sent
	Left      int64 // that are pending already
	Bytes     int64 // of the bodies that would be sent
	Unmade    int64 // bodies that cannot be made
	First     Place
	Last      Place
	Diff      *Diff // if it was asked for
	Next      *Mark // where it goes on: there was more than one request may look at
	Estimated time.Duration
	Basis     string // of the estimate, "" if there is none
}

// A Diff compares the bodies that would be sent with those that were accepted.
type Diff struct {
	Identical int64
	Different int64
	NeverSent int64    // nothing on record was accepted
	Examples  []string // ids of the first MaxDiffExamples deliveries that are different
}

// Limits of a dry run.
const (
	// DryRunTime is how long one request may look: well below what clients and
	// proxies wait.
	DryRunTime      = 5 * time.Second
	MaxDiffExamples = 10
)

// What the time of a dry run is estimated from.
const (
	ByRate      = "rate"       // that of the replay
	ByRateLimit = "rate_limit" // that of the endpoint
	BySpeed     = "recent"     // how long its last attempts took
)

// ErrReplayMoved says that a replay is not where a step began any more, or that
// something that the step relied on is not so any more. Nothing was done.
var ErrReplayMoved = errors.New("the replay has moved on")

// ReplayStore keeps replays, and does what they ask for.
type ReplayStore interface {
	// OpenReplays returns the replays for which there is something to do, or will be when
	// they are resumed, in order of their ids.
	OpenReplays(ctx context.Context) ([]Replay, error)
	// StepReplay commits a step of a replay, and returns the replay as it is then
	// and the lanes in which something has changed. before is the replay as the step
	// knows it: if its state, phase or cursor has changed since, or if it cannot be closed, that is ErrReplayMoved.
	StepReplay(ctx context.Context, before Replay, step ReplayStep, at time.Time) (Replay, []Lane, error)
	// ReplayPending counts the pending deliveries of a replay, up to limit.
	ReplayPending(ctx context.Context, id string, limit int) (int, error)
	// ReplayEnded returns the deliveries of a replay behind a mark that have ended, in order, up
	// to the first that is pending, at most limit of them.
	ReplayEnded(ctx context.Context, id string, after Mark, limit int) ([]Delivery, error)
	// DeliveriesAt returns the deliveries of an endpoint for the events at those
	// positions, in order.
	DeliveriesAt(ctx context.Context, endpointID string, positions []int64) ([]Delivery, error)
	// DeliveriesBehind returns the deliveries of an endpoint in those states behind a
	// mark, in order, at most limit of them.
	DeliveriesBehind(ctx context.Context, endpointID string, states []State, after Mark, limit int) ([]Delivery, error)
	// PlanParked returns how far the plan has got at least, and the streams that it
	// has parked, each with the version at which it stands.
	PlanParked(ctx context.Context) (position int64, parked map[string]int64, err error)
	// RecentTook returns how long the last attempts of an endpoint took on average
	// that were accepted, and whether there were any.
	RecentTook(ctx context.Context, endpointID string) (time.Duration, bool, error)
	// Target is that of Queue.
	Target(ctx context.Context, endpointID string) (Target, error)
}
