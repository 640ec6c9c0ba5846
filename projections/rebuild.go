package projections

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits of a rebuild. Each Step is a bounded piece of work, and holds the writer
// for two or three milliseconds at the most.
const (
	// RebuildEvents is how many events one Step folds: some tens of milliseconds
	// of one processor, in which nobody's writer is held.
	RebuildEvents = 4096
	// RebuildRows and RebuildBytes are how many rows wait in memory before some are
	// written, and about how much they take: a row that is changed again and again
	// is written once.
	RebuildRows  = 16_384
	RebuildBytes = 32 << 20
	// RebuildBatch is how many rows one transaction writes or removes, and
	// RebuildBreath how long the writer is left to others behind it.
	RebuildBatch  = 200
	RebuildBreath = 2 * time.Millisecond
	// RebuildCompare is how many rows one Step compares.
	RebuildCompare = 500
	// MaxRebuildFaults is how often in a row a Step may fail before the rebuild is
	// given up.
	MaxRebuildFaults = 10
	// MaxRebuildExamples bounds the rows that a report names.
	MaxRebuildExamples = 10
)

// Reasons for which nothing is rebuilt.
var (
	// ErrNoProjection says that there is no projection of that name.
	ErrNoProjection = errors.New("there is no such projection")
	// ErrNoReadModel says that a projection's rows have more than the log knows:
	// to make them anew would lose it.
	ErrNoReadModel = errors.New("the rows of this projection do not follow from the log alone")
	// ErrRebuilding says that the projection is being rebuilt already.
	ErrRebuilding = errors.New("this projection is being rebuilt")
	// ErrNotRebuilding says that there is no rebuild of it to be cancelled.
	ErrNotRebuilding = errors.New("this projection is not being rebuilt")
)

// A RebuildState is where a rebuild stands.
type RebuildState string

// The states. A rebuild waits until those before it have ended.
const (
	RebuildWaiting   RebuildState = "waiting"
	RebuildRunning   RebuildState = "running"
	RebuildDone      RebuildState = "done"
	RebuildFailed    RebuildState = "failed"
	RebuildCancelled RebuildState = "cancelled" // somebody did not want it any more
)

// RebuildStates returns all of them.
func RebuildStates() []RebuildState {
	return []RebuildState{RebuildWaiting, RebuildRunning, RebuildDone, RebuildFailed, RebuildCancelled}
}

// A RebuildPhase is what a rebuild that runs is at.
type RebuildPhase string

// The phases.
const (
	RebuildBuilding  RebuildPhase = "building"  // new rows, from position 0
	RebuildComparing RebuildPhase = "comparing" // them with those that serve
	RebuildSwapping  RebuildPhase = "swapping"
)

// A Rebuild is a read model made anew beside the one that serves, and how far
// that has got.
type Rebuild struct {
	Projection string       `json:"projection"`
	State      RebuildState `json:"state"`
	Phase      RebuildPhase `json:"phase,omitempty"`
	Error      string       `json:"error,omitempty"` // why it failed, or what went wrong last
	Position   int64        `json:"position"`        // up to which the new rows go
	Target     int64        `json:"target"`          // up to which those go that serve
	Events     int64        `json:"events"`          // that were read
	Rows       int64        `json:"rows"`            // new ones that were compared
	// Differences are those between the new rows and the ones that they replace.
	Differences Differences `json:"differences"`
	// Parked is how many streams the new rows do not have to their end, for an
	// event of theirs cannot be projected; Released how many of the old rows' they
	// do have.
	Parked   int `json:"parked"`
	Released int `json:"released"`
	// Restarts is how often it began anew: because the program did, or because the
	// log was changed by an erasure.
	Restarts  int        `json:"restarts"`
	AskedAt   time.Time  `json:"asked_at"`
	StartedAt *time.Time `json:"started_at,omitempty"` // for the last time
	BuiltAt   *time.Time `json:"built_at,omitempty"`   // when it had caught up
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// Ended reports whether nothing more becomes of it.
func (r *Rebuild) Ended() bool { return r.State != RebuildWaiting && r.State != RebuildRunning }

// Differences count rows that were not what the log says.
type Differences struct {
	Missing  int64     `json:"missing"` // were not there
	Surplus  int64     `json:"surplus"` // should not have been there
	Changed  int64     `json:"changed"` // were others
	Examples []Example `json:"examples,omitempty"`
}

// Any reports whether there is any.
func (d *Differences) Any() bool { return d.Missing+d.Surplus+d.Changed > 0 }

// An Example is one of them.
type Example struct {
	Key  string     `json:"key"`
	Kind Difference `json:"kind"`
}

// A Difference is how a row that served differs from the one that the log makes.
type Difference string

// The differences.
const (
	RowMissing Difference = "missing"
	RowSurplus Difference = "surplus"
	RowChanged Difference = "changed"
)

func (d *Differences) add(row RowDifference) {
	switch row.Kind {
	case RowMissing:
		d.Missing++
	case RowSurplus:
		d.Surplus++
	case RowChanged:
		d.Changed++
	}
	if len(d.Examples) < MaxRebuildExamples {
		d.Examples = append(d.Examples, Example{row.Key.String(), row.Kind})
	}
}

// A RowKey names a row of a read model: its conversation or endpoint and, where
// there are more rows of one, the person.
type RowKey struct{ ID, Person string }

// String returns the key for people.
func (k RowKey) String() string {
	if k.Person == "" {
		return k.ID
	}
	return k.ID + " " + k.Person
}

// Compare returns -1, 0 or 1 as k is before, at or behind other.
func (k RowKey) Compare(other RowKey) int {
	return cmp.Or(cmp.Compare(k.ID, other.ID), cmp.Compare(k.Person, other.Person))
}

// A RowDifference is a row that differs.
type RowDifference struct {
	Key    RowKey
	Stream string // that it is made of
	Kind   Difference
}

// A Comparison is what came of looking at rows, at one moment.
type Comparison struct {
	At        int64 // checkpoint of the rows that serve, at that moment
	Rows      int64 // new ones that were looked at
	Different []RowDifference
	Next      RowKey // to go on behind
	Done      bool   // there are no more
}

// A Swap puts the new rows in the place of the old.
type Swap struct {
	At     int64    // both are as of this position
	Parked []Parked // by the new rows, in place of those of the old
	Report Rebuild
}

// ShadowStore keeps read models that are being made beside those that serve.
type ShadowStore interface {
	// Head returns the last position in the log.
	Head(ctx context.Context) (int64, error)
	// Checkpoints returns how far the projections that serve have got.
	Checkpoints(ctx context.Context) (map[string]int64, error)
	// Parked returns the streams that the projections that serve have parked.
	Parked(ctx context.Context) ([]Parked, error)
	// Rebuilds returns the last rebuild of each projection.
	Rebuilds(ctx context.Context) ([]Rebuild, error)
	// SaveRebuild keeps how a rebuild stands, in place of the last one.
	SaveRebuild(ctx context.Context, r Rebuild) error
	// OpenShadow makes the empty tables of a new read model.
	OpenShadow(ctx context.Context, projection string) error
	// ClearShadows removes at most limit rows of what is left of new read models
	// and of those that were replaced, and reports whether there may be more.
	ClearShadows(ctx context.Context, limit int) (more bool, err error)
	// WriteShadow writes rows of the new read models in one transaction.
	WriteShadow(ctx context.Context, rows *Rows) error
	// ShadowInboxRow returns the new row of a conversation, and whether there is one.
	ShadowInboxRow(ctx context.Context, conversationID string) (InboxRow, bool, error)
	// CompareShadow compares, as of one moment, the next rows behind a key, at most
	// limit of either kind. A row may say less than the log in what is no fact; see
	// Store's ExtendTyping.
	CompareShadow(ctx context.Context, projection string, after RowKey, limit int, now time.Time) (Comparison, error)
	// CompareRows compares the rows with those keys.
	CompareRows(ctx context.Context, projection string, keys []RowKey, now time.Time) (Comparison, error)
	// SwapShadow puts the new read model in the place of the one that serves, in
	// one transaction that does not hang on how many rows they have. It returns
	// ErrLostCheckpoint if the latter is not where s says.
	SwapShadow(ctx context.Context, s Swap, now time.Time) error
}

// RebuilderConfig is what a Rebuilder works with. All fields are required.
type RebuilderConfig struct {
	Log   eventstore.Store
	Codec *eventstore.Codec
	Store ShadowStore
	Clock func() time.Time
	Slog  *slog.Logger
	// Names are those of all projections.
	Names []string
	// Between calls do while nothing is projected, and has the projections that
	// serve forget their rows afterwards.
	Between func(ctx context.Context, do func(ctx context.Context) error) error
	// Swapped is told when a read model has rows that it did not have before.
	Swapped func(ctx context.Context, projection string)
}

// A Rebuilder makes read models anew from the log, one at a time, while the old
// rows serve: new tables are filled from position 0 and compared with the old
// ones, and take their place in one short transaction. What it has half done when
// the program ends is thrown away, and begun again.
//
// One goroutine at a time calls Step.
type Rebuilder struct {
	cfg  RebuilderConfig
	rung chan struct{}

	swap sync.Mutex // held while rows change places

	mu     sync.Mutex
	last   map[string]Rebuild // of each projection
	under  string             // the projection whose rebuild is under way; "" once that was cancelled or has ended
	void   bool               // what was folded is
	loaded bool

	now *shadow // under way; of the goroutine that steps
}

// NewRebuilder returns a rebuilder.
func NewRebuilder(cfg RebuilderConfig) *Rebuilder {
	return &Rebuilder{cfg: cfg, rung: make(chan struct{}, 1), last: make(map[string]Rebuild)}
}

// Rung is a latch that is set when there is something new to do.
func (b *Rebuilder) Rung() <-chan struct{} { return b.rung }

// ReadModels returns the names of the projections that can be rebuilt.
func (b *Rebuilder) ReadModels() []string {
	return slices.DeleteFunc(slices.Clone(b.cfg.Names), func(name string) bool { return newShadowed(name, nil) == nil })
}

// Ask has a projection rebuilt. It returns ErrNoProjection, ErrNoReadModel, or
// ErrRebuilding with the rebuild that is asked for already.
func (b *Rebuilder) Ask(ctx context.Context, projection string) (Rebuild, error) {
	if !slices.Contains(b.cfg.Names, projection) {
		return Rebuild{}, ErrNoProjection
	}
	if newShadowed(projection, nil) == nil {
		return Rebuild{}, ErrNoReadModel
	}
	if err := b.load(ctx); err != nil {
		return Rebuild{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, ok := b.last[projection]; ok && !r.Ended() {
		return r, ErrRebuilding
	}
	r := Rebuild{Projection: projection, State: RebuildWaiting, AskedAt: b.time()}
	if err := b.cfg.Store.SaveRebuild(ctx, r); err != nil {
		return Rebuild{}, err
	}
	b.last[projection] = r
	b.ring()
	return r, nil
}

func (b *Rebuilder) ring() {
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// Cancel ends the rebuild of a projection that waits or runs, for good: its new
// rows will not serve, and are cleared away. It returns ErrNoProjection, or
// ErrNotRebuilding with the last rebuild, if there was one.
func (b *Rebuilder) Cancel(ctx context.Context, projection string) (Rebuild, error) {
	if !slices.Contains(b.cfg.Names, projection) {
		return Rebuild{}, ErrNoProjection
	}
	if err := b.load(ctx); err != nil {
		return Rebuild{}, err
	}
	b.swap.Lock() // a swap that is under way is over, and was in time
	defer b.swap.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.last[projection]
	if !ok || r.Ended() {
		return r, ErrNotRebuilding
	}
	at := b.time()
	r.State, r.Phase, r.EndedAt = RebuildCancelled, "", &at
	if err := b.cfg.Store.SaveRebuild(ctx, r); err != nil {
		return Rebuild{}, err
	}
	b.last[projection] = r
	if b.under == projection {
		b.under = ""
	}
	b.ring()
	return r, nil
}

// Rebuilds returns the last rebuild of each projection, by name.
func (b *Rebuilder) Rebuilds(ctx context.Context) (map[string]Rebuild, error) {
	if err := b.load(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.last), nil
}

// Forget says that events in the log were overwritten: rows that were made of them
// must not come to serve. What is under way begins anew; a swap that is, is over
// when it returns.
func (b *Rebuilder) Forget() {
	b.mu.Lock()
	b.void = true
	b.mu.Unlock()
	b.swap.Lock()
	defer b.swap.Unlock()
}

// time is the time as it is kept, in whole microseconds.
func (b *Rebuilder) time() time.Time { return b.cfg.Clock().UTC().Truncate(time.Microsecond) }

// load reads what is on record, once. What ran when the program ended waits again.
func (b *Rebuilder) load(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loaded {
		return nil
	}
	kept, err := b.cfg.Store.Rebuilds(ctx)
	if err != nil {
		return err
	}
	for _, r := range kept {
		if r.State == RebuildRunning {
			r = r.again()
		}
		b.last[r.Projection] = r
	}
	b.loaded = true
	return nil
}

// again returns the rebuild as it begins anew.
func (r *Rebuild) again() Rebuild {
	return Rebuild{Projection: r.Projection, State: RebuildWaiting, Restarts: r.Restarts + 1, AskedAt: r.AskedAt, Error: r.Error}
}

// notYet returns the rebuild as it was before it began.
func (r *Rebuild) notYet() Rebuild {
	waiting := *r
	waiting.State, waiting.Phase, waiting.StartedAt = RebuildWaiting, "", nil
	return waiting
}

// next puts the rebuild that was asked for first of those that wait under way, on
// record too.
func (b *Rebuilder) next(ctx context.Context) (next Rebuild, found bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.last {
		if r.State == RebuildWaiting && (!found || cmp.Or(r.AskedAt.Compare(next.AskedAt), cmp.Compare(r.Projection, next.Projection)) < 0) {
			next, found = r, true
		}
	}
	if !found {
		return next, false, nil
	}
	at := b.time()
	next.State, next.Phase, next.StartedAt = RebuildRunning, RebuildBuilding, &at
	if err := b.cfg.Store.SaveRebuild(ctx, next); err != nil {
		return next, false, err
	}
	b.last[next.Projection], b.under = next, next.Projection
	return next, true, nil
}

// show says how the rebuild under way stands.
func (b *Rebuilder) show(r Rebuild) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.showLocked(r)
}

// showLocked is show for who holds mu. It returns false if the rebuild is not under
// way any more: one that was cancelled stays so.
func (b *Rebuilder) showLocked(r Rebuild) bool {
	if b.under != r.Projection {
		return false
	}
	r.Differences.Examples = slices.Clone(r.Differences.Examples)
	b.last[r.Projection] = r
	if r.State != RebuildRunning {
		b.under = ""
	}
	return true
}

// cancelled reports whether what was under way is so no more.
func (b *Rebuilder) cancelled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.under == ""
}

// voided reports whether what was folded is void, and forgets that it was.
func (b *Rebuilder) voided() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	void := b.void
	b.void = false
	return void
}

// Step does one piece of work. worked says whether there is more to do, and wait
// how long the next Step has to wait: webhooks.Forever if there is none until Rung.
func (b *Rebuilder) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	if err := b.load(ctx); err != nil {
		return false, webhooks.Pause, err
	}
	if b.now == nil {
		worked, wait, err = b.begin(ctx)
		if errors.Is(err, eventstore.ErrBusy) {
			return false, webhooks.Pause, nil
		}
		return worked, wait, err
	}
	s := b.now
	switch void := b.voided(); {
	case s.Ended(): // and is to be made known yet
	case b.cancelled():
		b.now = nil
		b.cfg.Slog.Info("the rebuild of a read model was cancelled", "projection", s.Projection, "position", s.Position)
		return true, 0, nil
	case void:
		b.abandon(s.Rebuild.again())
		return true, 0, nil
	}
	wait, err = s.step(ctx)
	switch {
	case err == nil:
		s.faults, s.Error = 0, ""
		b.show(s.Rebuild)
		if s.Ended() {
			b.now = nil
			b.report(&s.Rebuild)
		}
		return true, wait, nil
	case ctx.Err() != nil:
		return false, webhooks.Pause, err
	case errors.Is(err, eventstore.ErrBusy), errors.Is(err, ErrLostCheckpoint):
		return false, webhooks.Pause, nil
	case errors.Is(err, errLoadedAgain):
		b.abandon(s.Rebuild.again())
		return true, webhooks.Pause, err
	}
	s.faults++
	s.Error = err.Error()
	b.show(s.Rebuild)
	if s.faults < MaxRebuildFaults {
		return false, webhooks.Pause, err
	}
	at := b.time()
	failed := s.Rebuild
	failed.State, failed.Phase, failed.EndedAt = RebuildFailed, "", &at
	b.now = nil
	return false, webhooks.Pause, errors.Join(err, b.fail(ctx, failed))
}

// fail gives the rebuild under way up, on record too.
func (b *Rebuilder) fail(ctx context.Context, r Rebuild) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.showLocked(r) {
		return nil
	}
	return b.cfg.Store.SaveRebuild(ctx, r)
}

// abandon leaves what is under way, to be cleared away with the next steps.
func (b *Rebuilder) abandon(r Rebuild) {
	b.now = nil
	b.show(r)
}

// begin clears away what is left of others, and begins the next rebuild.
func (b *Rebuilder) begin(ctx context.Context) (worked bool, wait time.Duration, err error) {
	more, err := b.cfg.Store.ClearShadows(ctx, RebuildBatch)
	if err != nil {
		return false, webhooks.Pause, err
	}
	if more {
		return true, RebuildBreath, nil
	}
	b.voided() // all that is folded is read from now on
	r, found, err := b.next(ctx)
	if err != nil {
		return false, webhooks.Pause, err
	}
	if !found {
		return false, webhooks.Forever, nil
	}
	if err := b.cfg.Store.OpenShadow(ctx, r.Projection); err != nil {
		b.show(r.notYet())
		return false, webhooks.Pause, err
	}
	b.now, err = b.newShadow(ctx, r)
	if err != nil {
		b.now = nil
		b.show(r.notYet())
		return false, webhooks.Pause, err
	}
	return true, 0, nil
}

func (b *Rebuilder) report(r *Rebuild) {
	log := b.cfg.Slog.Info
	if r.Differences.Any() {
		log = b.cfg.Slog.Warn
	}
	log("a read model was rebuilt", "projection", r.Projection, "position", r.Position, "events", r.Events, "rows", r.Rows,
		"missing", r.Differences.Missing, "surplus", r.Differences.Surplus, "changed", r.Differences.Changed,
		"parked", r.Parked, "took", r.EndedAt.Sub(*r.StartedAt).String())
}
