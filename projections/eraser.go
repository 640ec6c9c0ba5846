package projections

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits of an Eraser. Each keeps one Step at a few milliseconds of the writer.
const (
	erasePage   = 4096                 // events that a Step reads at most
	eraseBatch  = 64                   // events that are overwritten in one transaction
	eraseBytes  = 256 << 10            // of what they had and have, likewise, but for a single one
	cleanBatch  = 16                   // streams whose read models are rewritten in one transaction
	maxPasses   = 16                   // over what is new since the last one; who goes on writing adds what is new
	erasureRest = 5 * time.Millisecond // between two Steps, for others
)

// defaultContentType is what a message is that has nothing left.
const defaultContentType = conversation.DefaultContentType

func isUUID(id string) bool { return webhooks.AsUUID(id) == id }

// removalOf returns the removal of a person who stays under a UUID: theirs are
// all ids that formats write as that UUID, and the id of their contact.
func removalOf(id, contactID string) *domain.Removal {
	return &domain.Removal{ID: id, Is: func(other string) bool {
		if other == "" {
			return false // nobody
		}
		as := webhooks.AsUUID(other)
		return as == id || as == contactID
	}}
}

// An Eraser takes people out of the log for good. What it is asked for is on
// record before it begins, so that it goes on where it was after a crash; what
// it has done it finds undone nowhere.
//
// It overwrites, in batches, every event that bears the person, and what was made
// of it; has all forget what they remember of the streams; does the same with
// what was decided meanwhile on what they remembered; tells of it on the
// contact's stream; and sees to it that the file has no copy.
//
// One goroutine at a time calls Step.
type Eraser struct {
	cfg  EraserConfig
	rung chan struct{}

	carry sync.RWMutex // held while something read of one stream goes into another

	work *erasing // the erasure under way, nil between two
}

// EraserConfig is what an eraser works with. All fields are required.
type EraserConfig struct {
	Log   eventstore.Store
	Codec *eventstore.Codec
	Store ErasureStore
	// Forget lets nothing be decided or shown any more on what was known of a
	// stream before the call.
	Forget func(ctx context.Context, stream string) error
	// Tell puts a contact.erased on a contact's stream, once for a key. It
	// returns a *eventstore.VersionError if that is not at the version.
	Tell  func(ctx context.Context, e *Erasure, key eventstore.Key, version int64, parts []contact.Part) error
	Clock func() time.Time
	Slog  *slog.Logger
}

// NewEraser returns an eraser.
func NewEraser(cfg EraserConfig) *Eraser {
	return &Eraser{cfg: cfg, rung: make(chan struct{}, 1)}
}

// Rung is the latch that Ring sets.
func (x *Eraser) Rung() <-chan struct{} { return x.rung }

// Ring says that there is a new erasure. It never waits.
func (x *Eraser) Ring() {
	select {
	case x.rung <- struct{}{}:
	default:
	}
}

// Carry is for whoever writes into one stream what it has read of another, as
// between reading and having written it. Then release is called.
func (x *Eraser) Carry() (release func()) {
	x.carry.RLock()
	return x.carry.RUnlock
}

// erasing is an erasure under way, as far as it is remembered. After a restart it
// begins anew, and finds what is done.
type erasing struct {
	Erasure

	who    *domain.Removal
	stage  stage
	finder *finder
	until  int64  // of the pass over the log
	dirty  bool   // the pass has found something
	passes int    // that were made
	stream string // that was forgotten last
	mark   string // of the sweep
}

type stage int

const (
	scanning   stage = iota // the log, up to until
	forgetting              // the streams that were touched
	cleaning                // what was made of them
	saying                  // that it is done, on the contact's stream
	sweeping                // read models
	flushing                // the write-ahead log
)

// Step does one batch. worked says whether there is more to do at once, and wait
// how long the next Step has to wait.
func (x *Eraser) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	if x.work == nil {
		e, found, err := x.cfg.Store.RunningErasure(ctx)
		if err != nil || !found {
			return false, webhooks.Forever, err
		}
		if x.work, err = x.begin(ctx, e); err != nil {
			return false, webhooks.Pause, err
		}
	}
	err = x.step(ctx, x.work)
	switch {
	case err == nil:
		return true, erasureRest, nil
	case errors.Is(err, eventstore.ErrBusy), errors.Is(err, errReaders):
		return false, webhooks.Pause, nil
	}
	failed := x.work
	x.work = nil // it begins anew
	if poison, ok := errors.AsType[*poisonError](err); ok {
		// Nothing will make it pass but another program, or another log.
		err = x.cfg.Store.EndErasure(ctx, failed.ID, ErasureFailed, poison.Error(), x.cfg.Clock())
		x.cfg.Slog.Error("a person could not be erased", "erasure", failed.ID, "contact", failed.ContactID, "error", poison)
	}
	return false, webhooks.Pause, err
}

// poisonError is an event that cannot be read.
type poisonError struct{ err error }

func (e *poisonError) Error() string { return e.err.Error() }

// errReaders says that the write-ahead log could not be emptied.
var errReaders = errors.New("somebody reads from the write-ahead log")

// told is the key under which contact.erased is in the log.
func (e *Erasure) told() eventstore.Key {
	return eventstore.Key{Name: "erasure " + e.ID} // no client can have a key with a blank in it
}

func (x *Eraser) begin(ctx context.Context, e Erasure) (*erasing, error) {
	w := &erasing{Erasure: e, who: e.Removal()}
	if _, err := x.cfg.Log.FindCommand(ctx, e.Account, e.told().Name); err == nil {
		// What came behind it is not this erasure's.
		w.stage = sweeping
		return w, x.cfg.Store.ErasureTold(ctx, e.ID, e.ErasureCounts)
	} else if !errors.Is(err, eventstore.ErrNotFound) {
		return nil, err
	}
	var err error
	if w.finder, err = newFinder(ctx, x.cfg.Log, x.cfg.Codec, &w.Erasure); err != nil {
		return nil, err
	}
	w.until, err = x.cfg.Log.Head(ctx)
	return w, err
}

func (x *Eraser) step(ctx context.Context, w *erasing) error {
	switch w.stage {
	case scanning:
		return x.scan(ctx, w)
	case forgetting:
		return x.forget(ctx, w)
	case cleaning:
		return x.clean(ctx, w)
	case saying:
		return x.tell(ctx, w)
	case sweeping:
		next, err := x.cfg.Store.Sweep(ctx, w.mark)
		if err != nil {
			return err
		}
		if w.mark = next; next == "" {
			w.stage = flushing
		}
		return nil
	case flushing:
		if err := x.cfg.Store.Flush(ctx); err != nil {
			x.cfg.Slog.Warn("what was overwritten is still in the write-ahead log; it is tried again", "erasure", w.ID, "error", err)
			return errors.Join(errReaders, x.cfg.Store.EndErasure(ctx, w.ID, ErasureRunning,
				"readers are in the way of emptying the write-ahead log; it is tried again", x.cfg.Clock()))
		}
		if err := x.cfg.Store.EndErasure(ctx, w.ID, ErasureDone, "", x.cfg.Clock()); err != nil {
			return err
		}
		x.cfg.Slog.Info("a person was erased", "erasure", w.ID, "contact", w.ContactID)
		x.work = nil
		return nil
	default:
		panic("projections: an erasure at no stage")
	}
}

// scan overwrites the next batch that the log has of the person.
func (x *Eraser) scan(ctx context.Context, w *erasing) error {
	batch, after, err := w.finder.next(ctx, w.until)
	if err != nil {
		return err
	}
	if err := x.overwrite(ctx, w, batch); err != nil {
		return err // and what is found comes again
	}
	w.dirty = w.dirty || len(batch) > 0
	if w.finder.after = after; after < w.until {
		return nil
	}
	w.passes++
	w.stage, w.stream = forgetting, ""
	if w.passes > 1 && !w.dirty {
		w.stage = cleaning
	}
	return nil
}

func (x *Eraser) overwrite(ctx context.Context, w *erasing, batch []Left) error {
	if len(batch) == 0 {
		return nil
	}
	return x.cfg.Store.Overwrite(ctx, w.ID, batch)
}

// forget has all forget the streams that were touched. What was decided on them
// meanwhile, on what was remembered, is in the log when it is done: another pass
// finds it.
func (x *Eraser) forget(ctx context.Context, w *erasing) error {
	streams, err := x.cfg.Store.TouchedStreams(ctx, w.ID, w.stream, cleanBatch)
	if err != nil {
		return err
	}
	for _, stream := range streams {
		if err := x.cfg.Forget(ctx, stream); err != nil {
			return err
		}
		w.stream = stream
	}
	if len(streams) == cleanBatch {
		return nil
	}
	x.await()
	if w.passes >= maxPasses {
		w.stage, w.stream = cleaning, ""
		return nil
	}
	w.stage, w.dirty = scanning, false
	w.until, err = x.cfg.Log.Head(ctx)
	return err
}

// await waits for all who carry what they read before.
func (x *Eraser) await() {
	x.carry.Lock()
	defer x.carry.Unlock()
}

func (x *Eraser) clean(ctx context.Context, w *erasing) error {
	streams, err := x.cfg.Store.TouchedStreams(ctx, w.ID, w.stream, cleanBatch)
	if err != nil {
		return err
	}
	if len(streams) > 0 {
		if err := x.cfg.Store.CleanStreams(ctx, streams, w.who); err != nil {
			return err
		}
		w.stream = streams[len(streams)-1]
	}
	if len(streams) < cleanBatch {
		w.stage = saying
	}
	return nil
}

// tell tells of the erasure on the contact's stream, if that has come no further
// than the log was read.
func (x *Eraser) tell(ctx context.Context, w *erasing) error {
	var ledger contact.Ledger
	for o, err := range x.cfg.Store.Overwritten(ctx, w.ID) {
		if err != nil {
			return err
		}
		ledger.Add(o.Position, o.Digest, o.Before)
	}
	parts := ledger.Parts()
	counts, err := x.counts(ctx, w, parts)
	if err != nil {
		return err
	}
	err = x.cfg.Tell(ctx, &w.Erasure, w.told(), w.finder.version, parts)
	if _, moved := errors.AsType[*eventstore.VersionError](err); moved {
		w.stage, w.dirty = scanning, false
		w.until, err = x.cfg.Log.Head(ctx)
		return err
	}
	if err == nil {
		err = x.cfg.Store.ErasureTold(ctx, w.ID, counts)
	}
	if err == nil {
		w.stage = sweeping
	}
	return err
}

func (x *Eraser) counts(ctx context.Context, w *erasing, parts []contact.Part) (ErasureCounts, error) {
	var c ErasureCounts
	for _, p := range parts {
		c.Events += p.Events
	}
	for after := ""; ; {
		streams, err := x.cfg.Store.TouchedStreams(ctx, w.ID, after, cleanBatch)
		if err != nil || len(streams) == 0 {
			return c, err
		}
		for _, stream := range streams {
			if err := c.add(ctx, x.cfg.Store, stream); err != nil {
				return c, err
			}
		}
		after = streams[len(streams)-1]
	}
}

func (c *ErasureCounts) add(ctx context.Context, store ErasureStore, stream string) error {
	deliveries, snapshots, err := store.StreamCounts(ctx, stream)
	if kind, _ := eventstore.SplitStream(stream); kind == "conversation" {
		c.Conversations++
	}
	c.Deliveries += deliveries
	c.Snapshots += snapshots
	return err
}

// Count says what an erasure would be about, and changes nothing. It reads the
// log to its end: a million events take a second or two.
func (x *Eraser) Count(ctx context.Context, e *Erasure) (ErasureCounts, error) {
	var c ErasureCounts
	f, err := newFinder(ctx, x.cfg.Log, x.cfg.Codec, e)
	if err != nil {
		return c, err
	}
	head, err := x.cfg.Log.Head(ctx)
	if err != nil {
		return c, err
	}
	streams := make(map[string]bool)
	note := func(batch []Left) {
		c.Events += int64(len(batch))
		for i := range batch {
			streams[batch[i].Stream] = true
		}
	}
	for f.after < head {
		batch, after, err := f.next(ctx, head)
		if err != nil {
			return c, err
		}
		note(batch)
		f.after = after
	}
	for stream := range streams {
		if err := c.add(ctx, x.cfg.Store, stream); err != nil {
			return c, err
		}
	}
	return c, nil
}

// A finder finds in the log what an erasure has to overwrite. It goes through the
// log in order, and remembers of each conversation what of it is the person's.
type finder struct {
	log     eventstore.Store
	codec   *eventstore.Codec
	who     *domain.Removal
	account string
	own     string                           // the contact's stream
	version int64                            // up to which that was read
	names   [][]byte                         // the person's ids; without them no event can be left unread
	after   int64                            // position up to which the log was taken
	rooms   map[string]*conversation.Removal // of conversations with something of theirs, by stream
}

func newFinder(ctx context.Context, log eventstore.Store, codec *eventstore.Codec, e *Erasure) (*finder, error) {
	f := &finder{
		log: log, codec: codec, who: e.Removal(), account: e.Account, own: eventstore.StreamName("contact", e.ContactID),
		rooms: make(map[string]*conversation.Removal),
	}
	for r, err := range log.ReadStream(ctx, f.own, 0) {
		if err != nil {
			return nil, err
		}
		event, err := codec.Decode(&r)
		if err != nil {
			return nil, &poisonError{err}
		}
		if created, ok := event.(contact.Created); ok && r.Remains == nil {
			f.names = [][]byte{[]byte(created.Profile.ID), []byte(e.PersonID), []byte(e.ContactID)}
		}
		break
	}
	return f, nil
}

// next returns what is left of the next events with something of the person's, up
// to a position, a batch of them, and the position up to which they were looked
// for.
func (f *finder) next(ctx context.Context, until int64) (batch []Left, after int64, err error) {
	after = f.after
	end, size := min(until, f.after+erasePage), 0
	for r, err := range f.log.ReadLog(ctx, f.after) {
		if err != nil {
			return nil, after, err
		}
		if r.Position > end {
			break
		}
		if r.Account == f.account {
			if batch, size, err = f.add(batch, size, &r); err != nil {
				return nil, after, err
			}
		}
		if r.Stream == f.own {
			f.version = r.Version
		}
		if after = r.Position; len(batch) == eraseBatch || size >= eraseBytes {
			break
		}
	}
	return batch, after, nil
}

// add adds what is left of an event, if that is less than there is.
func (f *finder) add(batch []Left, size int, r *eventstore.Recorded) ([]Left, int, error) {
	left, found, err := f.left(r)
	if err != nil || !found {
		return batch, size, err
	}
	return append(batch, left), size + len(r.Data) + len(left.Data), nil
}

// left returns what is left of an event, and whether that is less than there is.
func (f *finder) left(r *eventstore.Recorded) (Left, bool, error) {
	kind, _ := eventstore.SplitStream(r.Stream)
	room := f.rooms[r.Stream]
	if kind != "conversation" && kind != "contact" || room == nil && !f.mayName(r) {
		return Left{}, false, nil
	}
	event, err := f.codec.Decode(r)
	if err != nil {
		return Left{}, false, &poisonError{err}
	}
	var left domain.Event
	var changed bool
	switch e := event.(type) {
	case conversation.Event:
		known := room != nil
		if !known {
			room = conversation.NewRemoval(f.who)
		}
		left, changed = room.Apply(e)
		if !known && (changed || room.Concerns()) {
			f.rooms[r.Stream] = room
		}
	case contact.Event:
		left, changed = contact.Remove(f.who, e)
	}
	if !changed {
		return Left{}, false, nil
	}
	_, schema, data, err := f.codec.Encode(left)
	if err != nil {
		return Left{}, false, err
	}
	out := Left{Position: r.Position, Stream: r.Stream, Schema: schema, Data: data}
	if r.Remains != nil {
		out.Before = &r.Remains.Digest
	}
	return out, true, nil
}

// mayName reports whether an event may name the person, at a look. What has an
// escape in it may name anybody.
func (f *finder) mayName(r *eventstore.Recorded) bool {
	if f.names == nil || bytes.IndexByte(r.Data, '\\') >= 0 {
		return true
	}
	return slices.ContainsFunc(f.names, func(id []byte) bool { return bytes.Contains(r.Data, id) })
}
