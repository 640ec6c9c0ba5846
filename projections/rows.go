// Package projections folds the log into what is read: rows of read models,
// planned deliveries, and histories as of a version. A projection turns an
// event into rows and knows no database; rows and checkpoint are committed
// together by whoever keeps them.
package projections

import (
	"context"
	"errors"
	"time"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// Rows is what a page of events changes in the read models. What is written
// twice in a page counts as it was written last.
type Rows struct {
	Inbox      map[string]InboxRow     // by conversation
	Typing     map[TypingKey]TypingRow // a zero Until ends it
	Endpoints  map[string]EndpointRow  // by id
	Deliveries []webhooks.Delivery     // in log order; one that is there already is left as it is
	Backfills  []webhooks.Replay       // that begin; one that is there already is left as it is
	// Held is the backfills that must still be open when the page is committed:
	// it leaves to them what they plan. If the page relies on how far one has got,
	// that is where it must be, else -1.
	Held map[string]int64
}

// Len returns how many rows there are.
func (r *Rows) Len() int {
	return len(r.Inbox) + len(r.Typing) + len(r.Endpoints) + len(r.Deliveries) + len(r.Backfills)
}

// An InboxRow is a conversation as the inbox lists it.
type InboxRow struct {
	Conversation webhooks.Conversation `json:"conversation"`
	// ActiveAt is the position of the last event that a reader of the inbox
	// would want to see on top: everything but typing and reading.
	ActiveAt    int64              `json:"active_at"`
	Attention   webhooks.Attention `json:"attention"`
	LastMessage *webhooks.Message  `json:"last_message,omitempty"` // newest that is not private; its text cut to MaxPreview
}

// MaxPreview is how many characters of the last message an inbox row has: two
// lines on a screen.
const MaxPreview = 280

// A TypingKey is a person typing in a conversation.
type TypingKey struct {
	Conversation string
	AuthorID     string
}

// A TypingRow is until when somebody types without another word of them.
type TypingRow struct {
	Account string
	Until   time.Time
}

// An EndpointRow is an endpoint as it is now.
type EndpointRow struct {
	ID        string            `json:"id"`
	Account   domain.Account    `json:"account"`
	Settings  endpoint.Settings `json:"settings"`
	Disabled  bool              `json:"disabled,omitempty"`
	Deleted   bool              `json:"deleted,omitempty"`
	Reason    string            `json:"reason,omitempty"` // why it is disabled, in words
	Cause     endpoint.Cause    `json:"cause,omitempty"`  // likewise
	Number    int64             `json:"number"`           // position of its registration
	Version   int64             `json:"version"`
	CreatedAt time.Time         `json:"created_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	// EnabledAt is when it was last enabled after it had been disabled: how it
	// fared before then no longer counts.
	EnabledAt time.Time `json:"enabled_at,omitzero"`
	// Start is where it last began, if that was not where it was registered, and
	// Backfill the id of what sends it what lies behind that.
	Start    *endpoint.Start `json:"start,omitempty"`
	Backfill string          `json:"backfill,omitempty"`
}

// A Checkpoint is how far a projection has got: from where, up to where.
type Checkpoint struct {
	Projection string
	From, To   int64
}

// A Parked stream is one that a projection could not take further: the event at
// Position failed, and what follows it in its stream waits.
type Parked struct {
	Projection string    `json:"projection"`
	Stream     string    `json:"stream"`
	Position   int64     `json:"position"`
	Version    int64     `json:"version"`
	Error      string    `json:"error"`
	Attempts   int       `json:"attempts"`
	At         time.Time `json:"at"`
}

// A Page is what projections made of a run of events. It is committed as a
// whole or not at all.
type Page struct {
	Checkpoints []Checkpoint
	At          time.Time // when it was made: what it plans is owed since then
	Seen        int64     // what Store.Erasures returned before anything was read for it
	Rows        Rows
	Parked      []Parked // new ones, or old ones that failed again
	Released    []Parked // streams that go on
}

// ErrLostCheckpoint says that somebody else has moved a checkpoint: the page
// was made from what is no longer so, and none of it was committed.
var ErrLostCheckpoint = errors.New("the checkpoint was moved by somebody else")

// ErrOvertaken says that a backfill on which a page relied has gone over to live
// events, or has got further: the page leaves out what is now its own to plan,
// or the other way round, and none of it was committed.
var ErrOvertaken = errors.New("a backfill has got further than the page knew")

// A Hold is a backfill as the plan sees it. What lies behind where the endpoint
// begins, up to Cursor, the backfill has planned; what lies behind that it will
// plan while it is open, and nobody once it is closed; what lies behind Until is
// the plan's.
type Hold struct {
	ID     string
	Cursor int64
	Until  int64
	Open   bool // Until is not known yet
}

// ErrVoid says that rows of the page were rewritten since they were read, because
// a person was erased. It comes with ErrLostCheckpoint: the events are projected
// once more, and nothing is wrong.
var ErrVoid = errors.New("rows of the page were rewritten meanwhile")

// Store keeps rows and checkpoints.
type Store interface {
	// Checkpoints returns how far each projection has got; one that is not in
	// the map has not begun.
	Checkpoints(ctx context.Context) (map[string]int64, error)
	// Parked returns the parked streams of all projections, oldest first.
	Parked(ctx context.Context) ([]Parked, error)
	// RetryWanted returns the parked streams that somebody asked to try again.
	RetryWanted(ctx context.Context) ([]Parked, error)
	// Erasures returns a number that grows when rows were rewritten because a
	// person was erased: what was remembered before of those rows is void.
	Erasures() int64
	// Holds returns all backfills there have been, in no order.
	Holds(ctx context.Context) ([]Hold, error)
	// CommitPage commits p in one transaction. It returns ErrLostCheckpoint if
	// a checkpoint is not where the page says it was, and ErrVoid with it if a
	// row of it is one that was rewritten since p.Seen; ErrOvertaken if a backfill
	// is not as the page says in Held. A backfill that begins ends other work on
	// its endpoint.
	CommitPage(ctx context.Context, p *Page) error
	// InboxRow returns the row of a conversation, and whether there is one.
	InboxRow(ctx context.Context, conversationID string) (InboxRow, bool, error)
	// EndpointRows returns all endpoints, the deleted ones included.
	EndpointRows(ctx context.Context) ([]EndpointRow, error)
	// TypingDue returns who types without having been heard of in time, oldest
	// first, at most limit.
	TypingDue(ctx context.Context, at time.Time, limit int) ([]DueTyping, error)
	// NextTyping returns when the next typing is due, or the zero time.
	NextTyping(ctx context.Context) (time.Time, error)
}

// A DueTyping is a typing that has run out.
type DueTyping struct {
	TypingKey
	TypingRow
}

// A Projection folds the log into rows.
type Projection interface {
	// Name names it and its checkpoint. It is data: a new name begins anew.
	Name() string
	// Load prepares the projection to go on behind that position.
	Load(ctx context.Context, checkpoint int64) error
	// Project adds to rows what f changes. An error parks the stream of f. It
	// makes no network call, sees its own uncommitted rows only through rows, and
	// writes and remembers nothing when it fails, but for deliveries, which are
	// taken back.
	Project(ctx context.Context, f webhooks.Fact, rows *Rows) error
	// Settle says that the rows handed out since the last call were committed,
	// or that they were dropped and what was remembered of them is void.
	Settle(committed bool)
}

// conversationFact returns the event of f if it is one of a conversation.
func conversationFact(f webhooks.Fact) (conversation.Event, bool) {
	e, ok := f.Event.(conversation.Event)
	return e, ok
}
