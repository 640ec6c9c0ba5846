// Package eventstoretest has what tests of the log need: a store in memory,
// which is the oracle of what a store does, and a suite that holds every other
// engine to it.
package eventstoretest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

// Memory is a log in memory. What it does is meant to be seen at a glance; it is
// not meant to be fast, and never forgets anything.
type Memory struct {
	mu        sync.RWMutex
	log       []eventstore.Recorded
	streams   map[string][]eventstore.Recorded
	ids       map[uuid.UUID]bool
	commands  map[[2]string]eventstore.Command // by account and key
	snapshots map[string]eventstore.Snapshot
}

var _ eventstore.Store = (*Memory)(nil)

// NewMemory returns an empty log.
func NewMemory() *Memory {
	return &Memory{
		streams:   make(map[string][]eventstore.Recorded),
		ids:       make(map[uuid.UUID]bool),
		commands:  make(map[[2]string]eventstore.Command),
		snapshots: make(map[string]eventstore.Snapshot),
	}
}

// Append commits c.
func (m *Memory) Append(ctx context.Context, c eventstore.Commit) (first int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(c); err != nil {
		return 0, err
	}
	metadata, err := json.Marshal(c.Metadata)
	if err != nil {
		return 0, fmt.Errorf("encode metadata: %w", err)
	}
	before := m.head()
	var command eventstore.Command
	for _, a := range c.Appends {
		for _, d := range a.Events {
			m.add(eventstore.Recorded{
				Stream: a.Stream, ID: d.ID, Type: d.Type, Schema: d.Schema, Time: d.Time, Account: c.Account,
				Data: d.Data, Metadata: metadata,
			})
		}
		command.Stream, command.Version = a.Stream, a.Expected+int64(len(a.Events))
	}
	if m.head() > before {
		first = before + 1
		command.First, command.Last = first, m.head()
	}
	if c.Key != nil {
		command.Key = *c.Key
		m.commands[[2]string{c.Account, c.Key.Name}] = command
	}
	return first, nil
}

// check returns why c cannot be committed.
func (m *Memory) check(c eventstore.Commit) error {
	streams, ids := make(map[string]bool), make(map[uuid.UUID]bool)
	for _, a := range c.Appends {
		if streams[a.Stream] {
			return fmt.Errorf("%s stands twice in one commit", a.Stream)
		}
		streams[a.Stream] = true
	}
	count := 0
	for _, a := range c.Appends {
		for _, d := range a.Events {
			if count++; count > eventstore.MaxCommitSize || len(d.Data) > eventstore.MaxEventSize {
				return eventstore.ErrTooLarge
			}
		}
	}
	for _, a := range c.Appends {
		version, account := m.end(a.Stream)
		if version > 0 && account != c.Account {
			return eventstore.ErrForeign
		}
		if version != a.Expected {
			return &eventstore.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: version}
		}
	}
	if c.Key != nil {
		if _, used := m.commands[[2]string{c.Account, c.Key.Name}]; used {
			return eventstore.ErrKeyUsed
		}
	}
	for _, a := range c.Appends {
		for _, d := range a.Events {
			if m.ids[d.ID] || ids[d.ID] {
				return eventstore.ErrDuplicate
			}
			ids[d.ID] = true
		}
	}
	return nil
}

// add gives r its place, its digest and its hash, and keeps it.
func (m *Memory) add(r eventstore.Recorded) {
	r = clone(r)
	r.Position = m.head() + 1
	r.Version, _ = m.end(r.Stream)
	r.Version++
	r.Time = r.Time.UTC().Truncate(time.Microsecond)
	r.Digest, r.Remains = r.Sealed()
	var previous [32]byte
	if stream := m.streams[r.Stream]; len(stream) > 0 {
		previous = stream[len(stream)-1].Hash
	}
	r.Hash = eventstore.Chain(previous, &r)
	m.log = append(m.log, r)
	m.streams[r.Stream] = append(m.streams[r.Stream], r)
	m.ids[r.ID] = true
}

func (m *Memory) head() int64 { return int64(len(m.log)) }

// end returns the last version of a stream and whose it is.
func (m *Memory) end(stream string) (version int64, account string) {
	events := m.streams[stream]
	if len(events) == 0 {
		return 0, ""
	}
	return int64(len(events)), events[0].Account
}

func clone(r eventstore.Recorded) eventstore.Recorded {
	r.Data, r.Metadata = slices.Clone(r.Data), slices.Clone(r.Metadata)
	return r
}

// ReadStream yields the events of a stream as it is when the iteration begins.
func (m *Memory) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	return m.read(ctx, after, func() []eventstore.Recorded { return m.streams[stream] })
}

// ReadLog yields the events of the log as it is when the iteration begins.
func (m *Memory) ReadLog(ctx context.Context, after int64) iter.Seq2[eventstore.Recorded, error] {
	return m.read(ctx, after, func() []eventstore.Recorded { return m.log })
}

// read yields events from a place on. A slice that only grows may be read
// without the lock.
func (m *Memory) read(
	ctx context.Context, after int64, events func() []eventstore.Recorded,
) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		m.mu.RLock()
		all := events()
		m.mu.RUnlock()
		if err := ctx.Err(); err != nil {
			yield(eventstore.Recorded{}, err)
			return
		}
		for _, r := range all[min(max(after, 0), int64(len(all))):] {
			if !yield(clone(r), nil) {
				return
			}
		}
	}
}

// Head returns the last position.
func (m *Memory) Head(ctx context.Context) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.head(), ctx.Err()
}

// FindCommand returns a command by its key.
func (m *Memory) FindCommand(ctx context.Context, account, key string) (eventstore.Command, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Command{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.commands[[2]string{account, key}]
	if !ok {
		return c, eventstore.ErrNotFound
	}
	return c, nil
}

// LoadSnapshot returns the snapshot of a stream.
func (m *Memory) LoadSnapshot(ctx context.Context, stream string) (eventstore.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Snapshot{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	s, ok := m.snapshots[stream]
	if !ok {
		return s, eventstore.ErrNotFound
	}
	s.State = slices.Clone(s.State)
	return s, nil
}

// SaveSnapshot keeps s at once.
func (m *Memory) SaveSnapshot(s eventstore.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known, ok := m.snapshots[s.Stream]; ok && known.Schema == s.Schema && known.Version >= s.Version {
		return
	}
	s.State = slices.Clone(s.State)
	m.snapshots[s.Stream] = s
}

// Import adds recorded events as they are. It reads all of them before it looks
// at the log, so that they may come from this very store.
func (m *Memory) Import(ctx context.Context, events iter.Seq2[eventstore.Recorded, error]) (n int64, err error) {
	var all []eventstore.Recorded
	var broken error
	for r, err := range events {
		if broken = err; broken == nil {
			broken = ctx.Err()
		}
		if broken != nil {
			break
		}
		all = append(all, r)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	after := &Memory{log: slices.Clip(m.log), streams: maps.Clone(m.streams), ids: maps.Clone(m.ids)}
	for stream, events := range after.streams {
		after.streams[stream] = slices.Clip(events)
	}
	for i, r := range all {
		if err := after.checkImport(r, m.head() == 0); err != nil {
			return 0, &eventstore.ImportError{Number: int64(i) + 1, Err: err}
		}
		after.add(r)
	}
	if broken != nil {
		return 0, broken
	}
	m.log, m.streams, m.ids = after.log, after.streams, after.ids
	return int64(len(all)), nil
}

// checkImport returns why r cannot be the next event.
func (m *Memory) checkImport(r eventstore.Recorded, keepPositions bool) error {
	version, account := m.end(r.Stream)
	switch {
	case keepPositions && r.Position != m.head()+1:
		return eventstore.ErrPositionGap
	case len(r.Data) > eventstore.MaxEventSize:
		return eventstore.ErrTooLarge
	case version > 0 && account != r.Account:
		return eventstore.ErrForeign
	case r.Version != version+1:
		return eventstore.ErrVersionGap
	case m.ids[r.ID]:
		return eventstore.ErrDuplicate
	}
	return nil
}
