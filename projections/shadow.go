package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"verbatim/domain"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// A shadow is a rebuild under way.
type shadow struct {
	Rebuild

	*Rebuilder

	rows     *shadowRows
	group    *Group // of the one projection
	compared RowKey
	again    map[RowKey]bool // differed while their streams were a step apart
	faults   int             // in a row
}

// newShadowed returns the projection of a read model, nil if it is none.
func newShadowed(name string, rows Store) Projection {
	switch name {
	case (*Inbox)(nil).Name():
		return NewInbox(rows)
	case (*Typing)(nil).Name():
		return NewTyping(nil)
	case (*Endpoints)(nil).Name():
		return NewEndpoints(rows, nil)
	default:
		return nil
	}
}

func (b *Rebuilder) newShadow(ctx context.Context, r Rebuild) (*shadow, error) {
	s := &shadow{Rebuild: r, Rebuilder: b, rows: newShadowRows(b.cfg.Store, r.Projection), again: make(map[RowKey]bool)}
	s.group = NewGroup(b.cfg.Log, b.cfg.Codec, s.rows, b.cfg.Clock, b.cfg.Slog.With("rebuild", true), newShadowed(r.Projection, s.rows))
	return s, s.group.Load(ctx)
}

// step takes the rebuild one piece further.
func (s *shadow) step(ctx context.Context) (wait time.Duration, err error) {
	if s.Phase == RebuildSwapping {
		return 0, s.finish(ctx)
	}
	checkpoints, err := s.cfg.Store.Checkpoints(ctx)
	if err != nil {
		return 0, err
	}
	s.Target = checkpoints[s.Projection]
	if s.rows.full() || len(s.rows.waiting) > 0 && s.Position >= s.Target {
		return RebuildBreath, s.rows.flush(ctx, RebuildBatch)
	}
	if s.Position < s.Target {
		return 0, s.build(ctx, s.Target)
	}
	if s.Phase == RebuildBuilding {
		at := s.time()
		s.BuiltAt, s.Phase = &at, RebuildComparing
		return 0, nil
	}
	return 0, s.compare(ctx)
}

// build folds the next events, up to a position. They are read and decoded ahead
// of the folding, which costs about as much.
func (s *shadow) build(ctx context.Context, upTo int64) error {
	ctx, stop := context.WithCancel(ctx)
	ahead := make(chan decodedPage, rebuildAhead)
	var reader sync.WaitGroup
	reader.Go(func() { s.read(ctx, upTo, ahead) })
	defer reader.Wait()
	defer stop()
	var failed error
	for page := range ahead {
		for i := range page.events {
			e := &page.events[i]
			s.group.project(ctx, webhooks.Fact{Recorded: &e.recorded, Event: e.event}, e.err)
			s.rows.size += len(e.recorded.Data)
		}
		s.Events += int64(len(page.events))
		if failed = page.err; failed != nil || s.rows.size >= RebuildBytes {
			break // what was read ahead is read again
		}
	}
	if err := s.group.Commit(ctx); err != nil {
		return err
	}
	s.Position, s.Parked = s.rows.position, len(s.rows.parked)
	return failed
}

// How far events are read ahead: some pages, and of as many bytes as the log is
// read in at a time.
const (
	rebuildPage  = 256
	rebuildAhead = 4
)

// decodedPage is a piece of the log.
type decodedPage struct {
	events []decodedEvent
	err    error // behind them
}

type decodedEvent struct {
	recorded eventstore.Recorded
	event    domain.Event
	err      error
}

// read hands on the events of one Step, up to a position.
func (s *shadow) read(ctx context.Context, upTo int64, to chan<- decodedPage) {
	defer close(to)
	var page decodedPage
	hand := func() bool {
		select {
		case to <- page:
			page = decodedPage{}
			return true
		case <-ctx.Done():
			return false
		}
	}
	n, size := 0, 0
	for r, err := range s.cfg.Log.ReadLog(ctx, s.Position) {
		if err != nil {
			page.err = err
			break
		}
		if r.Position > upTo || n == RebuildEvents {
			break
		}
		event, err := s.group.decode(&r)
		page.events = append(page.events, decodedEvent{r, event, err})
		n++
		size += len(r.Data)
		if len(page.events) == rebuildPage || size >= RebuildBytes/rebuildAhead {
			if size = 0; !hand() {
				return
			}
		}
	}
	hand()
}

// compare compares the next rows. Where the old ones have gone on meanwhile, a row
// whose stream went on with them says nothing yet, and is looked at again.
func (s *shadow) compare(ctx context.Context) error {
	c, err := s.cfg.Store.CompareShadow(ctx, s.Projection, s.compared, RebuildCompare, s.cfg.Clock())
	if err != nil {
		return err
	}
	moved, err := s.moved(ctx, c.At)
	if err != nil {
		return err
	}
	for _, d := range c.Different {
		if moved[d.Stream] {
			s.again[d.Key] = true
		} else {
			s.Differences.add(d)
		}
	}
	s.Rows += c.Rows
	if s.compared = c.Next; c.Done {
		s.Phase = RebuildSwapping
	}
	return nil
}

// moved returns the streams that have events behind the new rows, up to a
// position.
func (s *shadow) moved(ctx context.Context, upTo int64) (map[string]bool, error) {
	streams := make(map[string]bool)
	if s.Position >= upTo {
		return streams, nil
	}
	for r, err := range s.cfg.Log.ReadLog(ctx, s.Position) {
		if err != nil {
			return nil, err
		}
		if r.Position > upTo {
			break
		}
		streams[r.Stream] = true
	}
	return streams, nil
}

// finish brings the new rows to exactly where the old ones are, while these stand
// still, and puts them in their place.
func (s *shadow) finish(ctx context.Context) error {
	err := s.cfg.Between(ctx, func(ctx context.Context) error {
		if s.State == RebuildDone {
			return nil // and what came behind it is made good
		}
		return s.exchange(ctx)
	})
	if s.State == RebuildDone {
		s.cfg.Swapped(ctx, s.Projection)
	}
	return err
}

func (s *shadow) exchange(ctx context.Context) error {
	checkpoints, err := s.cfg.Store.Checkpoints(ctx)
	if err != nil {
		return err
	}
	s.Target = checkpoints[s.Projection]
	if s.Target-s.Position > RebuildEvents {
		s.Phase = RebuildComparing // it is far behind all of a sudden: nobody waits for so much
		return nil
	}
	for s.Position < s.Target {
		if err := s.build(ctx, s.Target); err != nil {
			return err
		}
	}
	if err := s.group.Retry(ctx, true); err != nil {
		return err
	}
	for len(s.rows.waiting) > 0 {
		if err := s.rows.flush(ctx, RebuildBatch); err != nil {
			return err
		}
	}
	differences := s.Differences
	differences.Examples = slices.Clip(differences.Examples)
	for keys := range slices.Chunk(slices.SortedFunc(maps.Keys(s.again), RowKey.Compare), RebuildCompare) {
		c, err := s.cfg.Store.CompareRows(ctx, s.Projection, keys, s.cfg.Clock())
		if err != nil {
			return err
		}
		for _, d := range c.Different {
			differences.add(d)
		}
	}
	parked, err := s.cfg.Store.Parked(ctx)
	if err != nil {
		return err
	}
	at := s.time()
	report := s.Rebuild
	report.State, report.Phase, report.EndedAt, report.Differences = RebuildDone, "", &at, differences
	report.Parked, report.Released, report.Error = len(s.rows.parked), 0, ""
	for _, p := range parked {
		if _, still := s.rows.parked[p.Stream]; p.Projection == s.Projection && !still {
			report.Released++
		}
	}
	s.swap.Lock()
	defer s.swap.Unlock()
	s.mu.Lock()
	stays := s.void || s.under == ""
	s.mu.Unlock()
	if stays {
		return nil // and the next Step begins anew, or not at all
	}
	swap := Swap{At: s.Target, Parked: s.rows.sortedParked(), Report: report}
	if err := s.cfg.Store.SwapShadow(ctx, swap, at); err != nil {
		return fmt.Errorf("put new rows of %s in place: %w", s.Projection, err)
	}
	s.Rebuild = report
	s.show(report) // before anybody can cancel what is done
	return nil
}

// shadowRows is the Store of a shadow's group. Rows wait in memory until they are
// written, so that a page is always committed, and what is written together does
// not matter.
type shadowRows struct {
	keeper     ShadowStore
	projection string

	position int64
	parked   map[string]Parked // by stream
	waiting  map[RowKey]any    // an InboxRow, TypingRow or EndpointRow
	size     int               // bytes of events that those were made of, or about that
	order    []RowKey          // of those that wait, in which they are written
}

// full reports whether some rows are to be written.
func (s *shadowRows) full() bool { return len(s.waiting) >= RebuildRows || s.size >= RebuildBytes }

var _ Store = (*shadowRows)(nil)

func newShadowRows(keeper ShadowStore, projection string) *shadowRows {
	return &shadowRows{keeper: keeper, projection: projection, parked: make(map[string]Parked), waiting: make(map[RowKey]any)}
}

// Checkpoints returns how far the new rows go.
func (s *shadowRows) Checkpoints(context.Context) (map[string]int64, error) {
	return map[string]int64{s.projection: s.position}, nil
}

func (s *shadowRows) sortedParked() []Parked {
	return slices.SortedFunc(maps.Values(s.parked), func(a, b Parked) int { return cmp.Compare(a.Position, b.Position) })
}

// Parked returns what the new rows do not have to its end.
func (s *shadowRows) Parked(context.Context) ([]Parked, error) { return s.sortedParked(), nil }

// RetryWanted returns nothing: nobody asks a shadow.
func (s *shadowRows) RetryWanted(context.Context) ([]Parked, error) { return nil, nil }

// Erasures stands still: a rebuild begins anew when somebody is erased.
func (*shadowRows) Erasures() int64 { return 0 }

// Holds returns nothing: nobody plans in a shadow.
func (*shadowRows) Holds(context.Context) ([]Hold, error) { return nil, nil }

// CommitPage keeps the rows until they are written.
func (s *shadowRows) CommitPage(_ context.Context, p *Page) error {
	for id, row := range p.Rows.Inbox {
		s.waiting[RowKey{ID: id}] = row
	}
	for key, row := range p.Rows.Typing {
		s.waiting[RowKey{key.Conversation, key.AuthorID}] = row
	}
	for id, row := range p.Rows.Endpoints {
		s.waiting[RowKey{ID: id}] = row
	}
	for _, r := range p.Released {
		delete(s.parked, r.Stream)
	}
	for _, r := range p.Parked {
		s.parked[r.Stream] = r
	}
	for _, c := range p.Checkpoints {
		s.position = c.To
	}
	return nil
}

// flush writes at most n of the rows that wait, neighbours together: conversations
// that began long ago, which are less likely to go on, first.
func (s *shadowRows) flush(ctx context.Context, n int) error {
	if len(s.order) == 0 {
		s.order = slices.SortedFunc(maps.Keys(s.waiting), RowKey.Compare)
	}
	keys := s.order[:min(n, len(s.order))]
	rows := Rows{Inbox: make(map[string]InboxRow), Typing: make(map[TypingKey]TypingRow), Endpoints: make(map[string]EndpointRow)}
	for _, key := range keys {
		switch row := s.waiting[key].(type) {
		case InboxRow:
			rows.Inbox[key.ID] = row
		case TypingRow:
			rows.Typing[TypingKey{key.ID, key.Person}] = row
		case EndpointRow:
			rows.Endpoints[key.ID] = row
		}
	}
	if err := s.keeper.WriteShadow(ctx, &rows); err != nil {
		return err
	}
	before := len(s.waiting)
	for _, key := range keys {
		delete(s.waiting, key)
	}
	if before > 0 {
		s.size = s.size / before * len(s.waiting)
	}
	s.order = s.order[len(keys):]
	return nil
}

// InboxRow returns the new row of a conversation.
func (s *shadowRows) InboxRow(ctx context.Context, conversationID string) (InboxRow, bool, error) {
	if row, ok := s.waiting[RowKey{ID: conversationID}].(InboxRow); ok {
		return row, true, nil
	}
	return s.keeper.ShadowInboxRow(ctx, conversationID)
}

var errLoadedAgain = errors.New("new rows are not loaded again; they are made anew")

// EndpointRows returns nothing, for nothing is there when the group is loaded.
func (s *shadowRows) EndpointRows(context.Context) ([]EndpointRow, error) {
	if s.position > 0 {
		return nil, errLoadedAgain
	}
	return nil, nil
}

// TypingDue returns nothing: nobody asks a shadow.
func (*shadowRows) TypingDue(context.Context, time.Time, int) ([]DueTyping, error) { return nil, nil }

// NextTyping returns nothing either.
func (*shadowRows) NextTyping(context.Context) (time.Time, error) { return time.Time{}, nil }
