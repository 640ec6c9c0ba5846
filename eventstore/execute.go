package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"verbatim/domain"
)

// Limits of Execute.
const (
	// MaxTries bounds how often a command is decided anew because its stream
	// moved on. Commands of one process wait for each other, so that only
	// another process can make them collide.
	MaxTries = 5
	// WarmAggregates bounds the states kept in memory: at a few kilobytes each,
	// some megabytes.
	WarmAggregates = 4096
	// SnapshotFrom is the length of a stream from which starting at a snapshot
	// beats reading it (100 events decode in half a millisecond).
	SnapshotFrom = 200
	// SnapshotEvery is how many events lie between two snapshots.
	SnapshotEvery = 100
)

// Rules are an aggregate: what may happen and what it changes, as pure
// functions, and the name and schema of its state.
type Rules[S, C any, E domain.Event] struct {
	Kind   string // of its streams: "conversation"
	Schema int    // of S in a snapshot
	Decide func(S, C, time.Time) ([]E, error)
	Evolve func(S, E) S
}

// Aggregates executes commands on the aggregates of one kind.
type Aggregates[S, C any, E domain.Event] struct {
	rules Rules[S, C, E]
	store Store
	codec *Codec
	clock func() time.Time
	warm  *lru[warm[S]]
	turns turns
}

// warm is an aggregate's state as it was last seen here. It may be behind the
// stream; the expected version of an append finds that out.
type warm[S any] struct {
	state   S
	version int64
	account string
}

// NewAggregates returns an executor of rules on a store. The clock tells the
// time of decisions.
func NewAggregates[S, C any, E domain.Event](
	store Store, codec *Codec, clock func() time.Time, rules Rules[S, C, E],
) *Aggregates[S, C, E] {
	return &Aggregates[S, C, E]{
		rules: rules, store: store, codec: codec, clock: clock,
		warm: newLRU(WarmAggregates, func(a, b warm[S]) bool { return a.version > b.version }),
	}
}

// An Order is a command on its way to an aggregate.
type Order[S, C any] struct {
	Account string
	ID      string // UUID of the aggregate
	Command C
	// Prepare, if set, makes the command instead, once for each try, from the
	// state it will be decided on: for commands that bear what must be read at
	// that very version.
	Prepare func(ctx context.Context, s S) (C, error)
	// IfVersion, if not nil, is the version that the caller insists on.
	IfVersion *int64
	Key       *Key
	Metadata  Metadata
}

// Done says what an order came to.
type Done[S any] struct {
	Stream   string
	Version  int64      // of the stream, after it
	State    S          // after it; of a replayed order, as it is now
	Events   []Recorded // what was appended, without digest and hash; none if there was nothing to do
	Replayed bool       // the same order was committed before; Events are those of then
}

// ErrKeyReused says that an idempotency key was used before for another request.
var ErrKeyReused = errors.New("the idempotency key was used for another request")

// A VersionError says that IfVersion is not the version of the stream.
type VersionError struct {
	Wanted int64
	Actual int64
}

// Error returns both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("version is %d, not %d", e.Actual, e.Wanted)
}

// Execute decides the order on the present state of its aggregate and appends
// what follows. It returns the rules' refusal as it is; *VersionError,
// ErrForeign, ErrKeyReused; and what Store.Append may return. An order with a
// Key that was committed before is not decided again.
func (a *Aggregates[S, C, E]) Execute(ctx context.Context, o Order[S, C]) (Done[S], error) {
	stream := StreamName(a.rules.Kind, o.ID)
	leave, err := a.turns.take(ctx, stream)
	if err != nil {
		return Done[S]{}, fmt.Errorf("wait for %s: %w", stream, err)
	}
	defer leave()

	if o.Key != nil {
		done, err := a.replay(ctx, o)
		if !errors.Is(err, ErrNotFound) {
			return done, err
		}
	}
	for try := 1; ; try++ {
		done, err := a.try(ctx, o, stream)
		switch {
		case err == nil:
			return done, nil
		case errors.Is(err, ErrKeyUsed):
			return a.replay(ctx, o)
		case errors.Is(err, ErrConflict) && try < MaxTries:
			continue
		default:
			return done, err
		}
	}
}

// State returns the present state of an aggregate and its version, 0 if it does
// not exist. It returns ErrForeign for one of another account.
func (a *Aggregates[S, C, E]) State(ctx context.Context, account, id string) (S, int64, error) {
	w, err := a.refresh(ctx, StreamName(a.rules.Kind, id), warm[S]{})
	if err == nil && w.version > 0 && w.account != account {
		err = ErrForeign
	}
	return w.state, w.version, err
}

// Forget lets nothing be decided any more on what was known of a stream before
// the call: events of it were overwritten. It waits for the order that is being
// decided on it.
func (a *Aggregates[S, C, E]) Forget(ctx context.Context, stream string) error {
	leave, err := a.turns.take(ctx, stream)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", stream, err)
	}
	defer leave()
	a.warm.void(stream)
	return nil
}

func (a *Aggregates[S, C, E]) try(ctx context.Context, o Order[S, C], stream string) (Done[S], error) {
	w, ok := a.warm.get(stream)
	if !ok {
		var err error
		if w, err = a.refresh(ctx, stream, w); err != nil {
			return Done[S]{}, err
		}
	}
	events, at, err := a.decide(ctx, o, w)
	if ok && (err != nil || len(events) == 0) {
		// Nothing will be appended that could find out that the state is
		// behind: a no is only given on what the stream says now.
		fresh, rerr := a.refresh(ctx, stream, w)
		if rerr != nil {
			return Done[S]{}, rerr
		}
		if fresh.version != w.version {
			w = fresh
			events, at, err = a.decide(ctx, o, w)
		}
	}
	if err != nil {
		if o.Key != nil {
			// The state may be that after this very order: whoever else was
			// given it too has committed it meanwhile.
			if done, rerr := a.replay(ctx, o); !errors.Is(rerr, ErrNotFound) {
				return done, rerr
			}
		}
		return Done[S]{Stream: stream, Version: w.version, State: w.state}, err
	}
	if len(events) == 0 && o.Key == nil {
		return Done[S]{Stream: stream, Version: w.version, State: w.state}, nil
	}
	return a.commit(ctx, o, stream, w, events, at)
}

func (a *Aggregates[S, C, E]) decide(ctx context.Context, o Order[S, C], w warm[S]) ([]E, time.Time, error) {
	at := a.clock().UTC().Truncate(time.Microsecond)
	if w.version > 0 && w.account != o.Account {
		return nil, at, ErrForeign
	}
	if o.IfVersion != nil && *o.IfVersion != w.version {
		return nil, at, &VersionError{*o.IfVersion, w.version}
	}
	c := o.Command
	if o.Prepare != nil {
		var err error
		if c, err = o.Prepare(ctx, w.state); err != nil {
			return nil, at, err
		}
	}
	events, err := a.rules.Decide(w.state, c, at)
	return events, at, err
}

func (a *Aggregates[S, C, E]) commit(
	ctx context.Context, o Order[S, C], stream string, w warm[S], events []E, at time.Time,
) (Done[S], error) {
	meta, err := json.Marshal(o.Metadata)
	if err != nil {
		return Done[S]{}, fmt.Errorf("encode metadata: %w", err)
	}
	done := Done[S]{Stream: stream, Version: w.version, State: w.state, Events: make([]Recorded, len(events))}
	drafts := make([]Draft, len(events))
	for i, e := range events {
		id, err := uuid.NewV7()
		if err != nil {
			return Done[S]{}, fmt.Errorf("make an event id: %w", err)
		}
		name, schema, data, err := a.codec.Encode(e)
		if err != nil {
			return Done[S]{}, err
		}
		drafts[i] = Draft{ID: id, Type: name, Schema: schema, Time: at, Data: data}
		done.Version++
		done.State = a.rules.Evolve(done.State, e)
		done.Events[i] = Recorded{
			Stream: stream, Version: done.Version, ID: id, Type: name, Schema: schema,
			Time: at, Account: o.Account, Data: data, Metadata: meta,
		}
	}
	c := Commit{Account: o.Account, Metadata: o.Metadata, Key: o.Key}
	c.Appends = []Append{{Stream: stream, Expected: w.version, Events: drafts}}
	first, err := a.store.Append(ctx, c)
	if err != nil {
		a.warm.remove(stream) // whether or not it was committed, this state may be behind
		return Done[S]{}, fmt.Errorf("append to %s: %w", stream, err)
	}
	for i := range done.Events {
		done.Events[i].Position = first + int64(i)
	}
	if done.Version > 0 {
		a.warm.put(stream, warm[S]{done.State, done.Version, o.Account})
	}
	if done.Version >= SnapshotFrom && done.Version/SnapshotEvery > w.version/SnapshotEvery {
		a.snapshot(stream, done.Version, done.State)
	}
	return done, nil
}

// replay answers an order that was committed before under the same key.
func (a *Aggregates[S, C, E]) replay(ctx context.Context, o Order[S, C]) (Done[S], error) {
	c, err := a.store.FindCommand(ctx, o.Account, o.Key.Name)
	if err != nil {
		return Done[S]{}, err
	}
	if c.Key.Fingerprint != o.Key.Fingerprint {
		return Done[S]{}, ErrKeyReused
	}
	// The stream is that of then: an order that creates has a new id each time.
	done := Done[S]{Stream: c.Stream, Version: c.Version, Replayed: true}
	for r, err := range a.store.ReadLog(ctx, c.First-1) {
		if err != nil {
			return Done[S]{}, err
		}
		if r.Position > c.Last { // at once, if it had no events
			break
		}
		if r.Stream == c.Stream {
			done.Events = append(done.Events, r)
		}
	}
	w, err := a.refresh(ctx, c.Stream, warm[S]{})
	done.State = w.state
	return done, err
}

// refresh returns the present state of a stream, read on from what is known of
// it: what is handed in, what is warm, or a snapshot.
func (a *Aggregates[S, C, E]) refresh(ctx context.Context, stream string, w warm[S]) (warm[S], error) {
	mark := a.warm.begun()
	if w.version == 0 {
		if known, ok := a.warm.get(stream); ok {
			w = known
		} else if s, err := a.store.LoadSnapshot(ctx, stream); err == nil && s.Schema == a.rules.Schema {
			// A snapshot that does not decode is as good as none: the stream has
			// everything.
			var state S
			if json.Unmarshal(s.State, &state) == nil {
				w.state, w.version = state, s.Version
			}
		} else if err != nil && !errors.Is(err, ErrNotFound) {
			return w, err
		}
	}
	for r, err := range a.store.ReadStream(ctx, stream, w.version) {
		if err != nil {
			return w, fmt.Errorf("read %s: %w", stream, err)
		}
		fact, err := a.codec.Decode(&r)
		if err != nil {
			return w, fmt.Errorf("read %s: %w", stream, err)
		}
		e, ok := fact.(E)
		if !ok {
			return w, fmt.Errorf("read %s: position %d: %s does not belong here", stream, r.Position, r.Type)
		}
		w.state, w.version, w.account = a.rules.Evolve(w.state, e), r.Version, r.Account
	}
	if w.version > 0 && w.account == "" { // a snapshot with nothing behind it
		for r, err := range a.store.ReadStream(ctx, stream, w.version-1) {
			if err != nil {
				return w, fmt.Errorf("read %s: %w", stream, err)
			}
			w.account = r.Account
		}
	}
	if w.version > 0 {
		a.warm.putSince(mark, stream, w)
	}
	return w, nil
}

func (a *Aggregates[S, C, E]) snapshot(stream string, version int64, state S) {
	b, err := json.Marshal(state)
	if err != nil {
		panic("eventstore: a state does not encode: " + err.Error())
	}
	a.store.SaveSnapshot(Snapshot{Stream: stream, Version: version, Schema: a.rules.Schema, State: b})
}
