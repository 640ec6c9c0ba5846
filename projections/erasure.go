package projections

import (
	"context"
	"iter"
	"time"

	"verbatim/domain"
	"verbatim/eventstore"
)

// ErasureState is where an erasure stands.
type ErasureState string

// The states.
const (
	ErasureRunning ErasureState = "running"
	ErasureDone    ErasureState = "done"
	ErasureFailed  ErasureState = "failed"
)

// An Erasure is a person on their way out of the log. It bears nothing of theirs.
type Erasure struct {
	ID        string
	Account   string
	ContactID string // of the contact's stream
	PersonID  string // the UUID under which the person stays
	Key       string // idempotency key of whoever asked, or ""
	By        domain.Person
	Metadata  eventstore.Metadata // of what is told of it
	State     ErasureState
	Told      bool   // contact.erased is in the log
	Error     string // why it failed, or cannot go on just now
	ErasureCounts

	CreatedAt time.Time
	EndedAt   *time.Time
}

// ErasureCounts say what an erasure is about.
type ErasureCounts struct {
	Events        int64 // overwritten
	Conversations int64 // with such events among theirs
	Deliveries    int64 // of the streams with such events
	Snapshots     int64 // likewise
}

// Removal returns what takes the person out of facts.
func (e *Erasure) Removal() *domain.Removal { return removalOf(e.PersonID, e.ContactID) }

// Left is what is left of an event.
type Left struct {
	Position int64
	Stream   string
	Schema   int
	Data     []byte
	Before   *[32]byte // digest of what had been left before, if anything had
}

// An Overwritten event is one that an erasure has overwritten.
type Overwritten struct {
	Position int64
	Digest   [32]byte // of what is left
	Before   *[32]byte
}

// ErasureStore keeps erasures, and does what they ask for.
type ErasureStore interface {
	// RunningErasure returns the oldest erasure that runs, and whether there is one.
	RunningErasure(ctx context.Context) (Erasure, bool, error)
	// Overwrite overwrites events, a batch in one transaction, throws away the
	// snapshots of their streams, and counts both.
	Overwrite(ctx context.Context, erasureID string, left []Left) error
	// Overwritten yields what an erasure has overwritten, in order of position.
	Overwritten(ctx context.Context, erasureID string) iter.Seq2[Overwritten, error]
	// TouchedStreams returns streams with such events, in order, those behind after.
	TouchedStreams(ctx context.Context, erasureID, after string, limit int) ([]string, error)
	// CleanStreams takes the person out of the read models of streams, throws away
	// their snapshots, and what receivers answered to attempts to deliver of them.
	CleanStreams(ctx context.Context, streams []string, who *domain.Removal) error
	// StreamCounts counts the deliveries and the snapshots of a stream.
	StreamCounts(ctx context.Context, stream string) (deliveries, snapshots int64, err error)
	// ErasureTold puts on record that contact.erased is in the log, and what there
	// was, but for the snapshots, which Overwrite counts.
	ErasureTold(ctx context.Context, erasureID string, counts ErasureCounts) error
	// Sweep rewrites some rows of read models, those behind a mark ("" at first), so
	// that where they once stood is free and zero. It returns the mark to go on from,
	// "" at the end.
	Sweep(ctx context.Context, after string) (next string, err error)
	// Flush empties the write-ahead log into the file. It fails while somebody reads
	// from it, and waits for nobody.
	Flush(ctx context.Context) error
	// EndErasure ends one that runs, or says why it cannot go on.
	EndErasure(ctx context.Context, erasureID string, state ErasureState, fault string, at time.Time) error
}

// Without returns the row without what is the person's: what it would be, had it
// been made of what the erasure leaves.
func (row InboxRow) Without(who *domain.Removal) InboxRow {
	c := &row.Conversation
	if who.Is(c.Customer.ID) {
		c.Subject, c.Attributes = "", domain.GivenNumbers(c.Attributes)
		if c.Attributes == nil {
			c.Attributes = domain.Attributes{}
		}
	}
	c.Customer, _ = who.Person(c.Customer)
	c.Assignee, _ = who.Optional(c.Assignee)
	if m := row.LastMessage; m != nil && who.Is(m.Author.ID) {
		at := m.CreatedAt
		if m.DeletedAt != nil {
			at = *m.DeletedAt
		}
		left := m.Deleted(at)
		left.Author, _ = who.Person(m.Author)
		left.ContentType, left.ExternalID, left.Attributes = defaultContentType, "", domain.GivenNumbers(m.Attributes)
		if !isUUID(left.ReplyTo) {
			left.ReplyTo = ""
		}
		row.LastMessage = &left
	}
	return row
}
