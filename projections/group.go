package projections

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"verbatim/domain"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// PageSize is how many events are projected into one page: large enough that
// the commit's cost is shared, small enough that a page is a few hundred
// kilobytes.
const PageSize = 1000

// MaxPoisonDetail bounds the bytes kept of why an event could not be projected.
const MaxPoisonDetail = 1000

// Group takes several projections over the log together: each event is read and
// decoded once, and the rows of all of them are committed in one page with all
// their checkpoints. A projection that is behind the others catches up by
// leaving out what it has seen. An event that a projection cannot take parks
// its stream there; other streams, and the other projections, go on.
//
// One goroutine at a time uses a Group, but for Position, Positions, Wait and
// Parked.
type Group struct {
	log   eventstore.Store
	codec *eventstore.Codec
	store Store
	clock func() time.Time
	slog  *slog.Logger

	members []*member
	rows    Rows
	fresh   []Parked // parked since the last page
	touched bool
	seen    int64 // Erasures of the store, when the group was loaded
	stale   bool  // not loaded since a page was dropped: what is remembered may be void

	report func(PageReport) // may be nil
	page   PageReport       // of the open page, if somebody wants it

	mu       sync.Mutex
	position int64         // committed by all members
	moved    chan struct{} // closed when position moves
	parked   map[parkedKey]Parked
	faults   map[string]Fault // by projection
}

// A Fault is what last went wrong with a projection.
type Fault struct {
	At       time.Time `json:"at"`
	Error    string    `json:"error"`
	Stream   string    `json:"stream,omitempty"` // that was parked, if that is what happened
	Position int64     `json:"position,omitempty"`
}

type member struct {
	Projection
	committed int64
	reached   int64
}

type parkedKey struct{ projection, stream string }

// NewGroup returns a group of projections, to be loaded before use. They see
// each event in the order given.
func NewGroup(
	log eventstore.Store, codec *eventstore.Codec, store Store, clock func() time.Time, logger *slog.Logger, ps ...Projection,
) *Group {
	g := &Group{
		log: log, codec: codec, store: store, clock: clock, slog: logger,
		moved: make(chan struct{}), parked: make(map[parkedKey]Parked), faults: make(map[string]Fault), stale: true,
	}
	for _, p := range ps {
		g.members = append(g.members, &member{Projection: p})
	}
	return g
}

// Load sets the group to where its projections have got. It is called before
// anything else, and again after a page could not be committed. Until it has
// succeeded nothing is projected: what a projection half remembers would be
// wrong for good.
func (g *Group) Load(ctx context.Context) error {
	g.stale = true
	g.seen = g.store.Erasures()
	checkpoints, err := g.store.Checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("load checkpoints: %w", err)
	}
	parked, err := g.store.Parked(ctx)
	if err != nil {
		return fmt.Errorf("load parked streams: %w", err)
	}
	for _, m := range g.members {
		m.committed = checkpoints[m.Name()]
		m.reached = m.committed
		if err := m.Load(ctx, m.committed); err != nil {
			return fmt.Errorf("load projection %s: %w", m.Name(), err)
		}
	}
	g.reset()
	g.mu.Lock()
	clear(g.parked)
	for _, p := range parked {
		g.parked[parkedKey{p.Projection, p.Stream}] = p
		if g.faults[p.Projection].At.Before(p.At) {
			g.faults[p.Projection] = Fault{p.At, p.Error, p.Stream, p.Position}
		}
	}
	g.mu.Unlock()
	g.stale = false
	g.advance()
	return nil
}

// revive loads the group if that is still owed.
func (g *Group) revive(ctx context.Context) error {
	if !g.stale {
		return nil
	}
	return g.Load(ctx)
}

func (g *Group) reset() {
	g.rows = Rows{
		Inbox: make(map[string]InboxRow), Typing: make(map[TypingKey]TypingRow), Endpoints: make(map[string]EndpointRow),
		Held: make(map[string]int64),
	}
	g.fresh, g.touched, g.page = nil, false, PageReport{}
}

// Position returns the position up to which every projection has committed.
func (g *Group) Position() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.position
}

// Names returns the names of the projections, in order.
func (g *Group) Names() []string {
	names := make([]string, len(g.members))
	for i, m := range g.members {
		names[i] = m.Name()
	}
	return names
}

// Positions returns how far each projection has got.
func (g *Group) Positions(ctx context.Context) (map[string]int64, error) {
	return g.store.Checkpoints(ctx)
}

// Wait returns when everything up to position is projected, or with the
// context's error.
func (g *Group) Wait(ctx context.Context, position int64) error {
	for {
		g.mu.Lock()
		reached, moved := g.position >= position, g.moved
		g.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for position %d to be projected: %w", position, ctx.Err())
		}
	}
}

// Parked returns the streams that stand still, in no order.
func (g *Group) Parked() []Parked {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Parked, 0, len(g.parked))
	for _, p := range g.parked {
		out = append(out, p)
	}
	return out
}

// Faults returns what last went wrong with each projection since the program began,
// or with streams that are parked.
func (g *Group) Faults() map[string]Fault {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.faults)
}

// failed notes that no projection could commit.
func (g *Group) failed(err error) {
	f := Fault{At: g.clock().UTC(), Error: cut(err)}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range g.members {
		g.faults[m.Name()] = f
	}
}

// cut returns what is kept of an error.
func cut(err error) string {
	detail := err.Error()
	if len(detail) > MaxPoisonDetail {
		detail = strings.ToValidUTF8(detail[:MaxPoisonDetail], "") // the cut may be within a character
	}
	return detail
}

// Project takes the group over one event, into the open page. It never fails:
// an event that a projection cannot take is parked. A context that is done does
// not end it in the middle: that somebody stops is no fault of the event.
func (g *Group) Project(ctx context.Context, r *eventstore.Recorded) {
	if g.stale {
		return // it comes again behind the next Load
	}
	event, err := g.decode(r)
	g.project(ctx, webhooks.Fact{Recorded: r, Event: event}, err)
}

// project is Project with what came of decoding the event.
func (g *Group) project(ctx context.Context, fact webhooks.Fact, err error) {
	if g.stale {
		return // it comes again behind the next Load
	}
	r := fact.Recorded
	ctx = context.WithoutCancel(ctx)
	g.touched = true
	if g.report != nil {
		g.page.add(r, g.clock)
	}
	for _, m := range g.members {
		if r.Position <= m.reached {
			continue
		}
		m.reached = r.Position
		if g.isParked(m.Name(), r.Stream) {
			continue
		}
		poison := err
		if poison == nil {
			poison = project(ctx, m, fact, &g.rows)
		}
		if poison != nil {
			g.park(m.Name(), r, poison, 1)
		}
	}
}

// decode returns the event of r. An upcaster that panics makes it poison like
// any other that does not decode.
func (g *Group) decode(r *eventstore.Recorded) (e domain.Event, err error) {
	defer func() {
		if v := recover(); v != nil {
			e, err = nil, fmt.Errorf("position %d: decode %s: panic: %v", r.Position, r.Type, v)
		}
	}()
	return g.codec.Decode(r)
}

// project runs one projection on one event; the deliveries it had planned when
// it failed are taken back. Other rows are written when nothing can fail any
// more.
func project(ctx context.Context, p Projection, f webhooks.Fact, rows *Rows) (err error) {
	planned := len(rows.Deliveries)
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
		if err != nil {
			rows.Deliveries = rows.Deliveries[:planned]
		}
	}()
	return p.Project(ctx, f, rows)
}

func (g *Group) isParked(projection, stream string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.parked[parkedKey{projection, stream}]
	return ok
}

func (g *Group) park(projection string, r *eventstore.Recorded, poison error, attempts int) {
	detail := cut(poison)
	p := Parked{projection, r.Stream, r.Position, r.Version, detail, attempts, g.clock().UTC()}
	g.slog.Error("a projection cannot take an event; its stream is parked there",
		slog.String("projection", projection), slog.Int64("position", r.Position), eventstore.About(r.Stream),
		slog.String("type", r.Type), slog.String("error", detail))
	g.fresh = append(g.fresh, p)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked[parkedKey{projection, r.Stream}] = p
	g.faults[projection] = Fault{p.At, detail, r.Stream, r.Position}
}

// Commit commits the open page. After an error the group is where it was
// before the page, and the events of the page come again.
func (g *Group) Commit(ctx context.Context) error {
	if g.stale {
		return errors.Join(errDropped, g.Load(ctx))
	}
	if !g.touched {
		return nil
	}
	page := &Page{Seen: g.seen, Rows: g.rows, Parked: g.fresh}
	for _, m := range g.members {
		if m.reached > m.committed {
			page.Checkpoints = append(page.Checkpoints, Checkpoint{m.Name(), m.committed, m.reached})
		}
	}
	return g.commit(ctx, page)
}

var errDropped = errors.New("the page was dropped before it was committed; its events come again")

func (g *Group) commit(ctx context.Context, page *Page) error {
	page.At = g.clock()
	if err := g.store.CommitPage(ctx, page); err != nil {
		g.failed(err)
		return errors.Join(fmt.Errorf("commit page: %w", err), g.drop(ctx))
	}
	for _, m := range g.members {
		m.Settle(true)
	}
	for _, m := range g.members {
		m.committed = m.reached
	}
	if g.report != nil && g.page.Events > 0 {
		g.page.Ended, g.page.Deliveries = g.clock(), len(page.Rows.Deliveries)
		g.report(g.page)
	}
	g.reset()
	g.advance()
	return nil
}

// Discard drops the open page.
func (g *Group) Discard(ctx context.Context) error {
	if !g.touched && !g.stale {
		return nil
	}
	return g.drop(ctx)
}

func (g *Group) drop(ctx context.Context) error {
	for _, m := range g.members {
		m.Settle(false)
	}
	return g.Load(ctx)
}

// Between commits the open page, calls do while nothing is projected, and then has
// all projections forget what they remember of their rows.
func (g *Group) Between(ctx context.Context, do func(ctx context.Context) error) error {
	if err := g.revive(ctx); err != nil {
		return err
	}
	if err := g.Commit(ctx); err != nil {
		return err
	}
	return errors.Join(do(ctx), g.Load(ctx))
}

func (g *Group) advance() {
	least := int64(-1)
	for _, m := range g.members {
		if least < 0 || m.committed < least {
			least = m.committed
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if least != g.position {
		g.position = least
		close(g.moved)
		g.moved = make(chan struct{})
	}
}

// CatchUp projects everything up to the head straight from the log, a page at a
// time. Between pages it looks whether the context is done.
func (g *Group) CatchUp(ctx context.Context) error {
	if err := g.revive(ctx); err != nil {
		return err
	}
	inPage := 0
	for r, err := range g.log.ReadLog(ctx, g.Position()) {
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		g.Project(ctx, &r)
		if inPage++; inPage == PageSize {
			inPage = 0
			if err := g.Commit(ctx); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("catch up: %w", err)
			}
		}
	}
	return g.Commit(ctx)
}

// Retry takes parked streams up again where they stopped: all of them, or those
// that somebody asked for. A stream that fails again stays parked, with one
// more attempt on record.
func (g *Group) Retry(ctx context.Context, all bool) error {
	if err := g.revive(ctx); err != nil {
		return err
	}
	if err := g.Commit(ctx); err != nil {
		return err
	}
	wantedBy := g.store.RetryWanted
	if all {
		wantedBy = g.store.Parked
	}
	wanted, err := wantedBy(ctx)
	if err != nil {
		return fmt.Errorf("load parked streams: %w", err)
	}
	defer g.rest()
	for _, p := range wanted {
		err := g.retry(ctx, p)
		for try := 1; errors.Is(err, ErrOvertaken) && try < maxOvertaken; try++ {
			err = g.retry(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxOvertaken is how often a stream is taken up again because a backfill got
// further meanwhile: a backfill steps, and leaves the writer to others in between.
const maxOvertaken = 10

// again is a projection that is told when what lies up to a position is taken up
// again, and when that is done.
type again interface {
	reach(position int64, now time.Time)
	rest()
}

func (g *Group) rest() {
	for _, m := range g.members {
		if p, ok := m.Projection.(again); ok {
			p.rest()
		}
	}
}

func (g *Group) retry(ctx context.Context, p Parked) error {
	var m *member
	for _, candidate := range g.members {
		if candidate.Name() == p.Projection {
			m = candidate
		}
	}
	if m == nil {
		return nil // a projection of another version of the program
	}
	key := parkedKey{p.Projection, p.Stream}
	g.mu.Lock()
	delete(g.parked, key)
	g.mu.Unlock()
	g.touched = true
	if p, ok := m.Projection.(again); ok {
		p.reach(m.committed, g.clock().UTC())
	}
	still := false
	for r, err := range g.log.ReadStream(ctx, p.Stream, p.Version-1) {
		if err != nil {
			return errors.Join(fmt.Errorf("retry %s: %w", p.Stream, err), g.drop(ctx))
		}
		if r.Position > m.committed {
			break
		}
		event, poison := g.decode(&r)
		if poison == nil {
			poison = project(context.WithoutCancel(ctx), m, webhooks.Fact{Recorded: &r, Event: event}, &g.rows)
		}
		if poison != nil {
			attempts := p.Attempts + 1
			if r.Position != p.Position {
				attempts = 1
			}
			g.park(m.Name(), &r, poison, attempts)
			still = true
			break
		}
	}
	// The checkpoint stays where it is; that it still is there says that nobody
	// else has gone on meanwhile.
	page := &Page{
		Checkpoints: []Checkpoint{{m.Name(), m.committed, m.committed}}, Seen: g.seen, Rows: g.rows, Parked: g.fresh,
	}
	if !still {
		page.Released = []Parked{p}
	}
	if err := g.commit(ctx, page); err != nil {
		return err
	}
	if !still {
		g.slog.Info("a parked stream goes on",
			slog.String("projection", p.Projection), eventstore.About(p.Stream), slog.Int64("position", p.Position))
	}
	return nil
}
