package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

// pageSize and pageBytes are how many events, and about how much data, a reader
// holds in memory at a time. No read is left open between pages: the write-ahead
// log could not be taken in.
const (
	pageSize  = 512
	pageBytes = 8 << 20
	// firstPage is how many events of a stream are read at first, and pageGrowth
	// how many times more with each page behind it: most readers want one.
	firstPage  = 4
	pageGrowth = 8
)

var _ eventstore.Store = (*Store)(nil)

// Append commits c together with what else waits; see eventstore.Store.
func (s *Store) Append(ctx context.Context, c eventstore.Commit) (first int64, err error) {
	if s.writer == nil {
		return 0, errReadOnly
	}
	j, err := appending(ctx, &c)
	if err != nil {
		return 0, err
	}
	if err := s.writer.submit(j); err != nil {
		return 0, err
	}
	return j.first, nil
}

// appending returns the job of a commit, with everything about its events that
// does not depend on where they will stand: the writer has others waiting.
func appending(ctx context.Context, c *eventstore.Commit) (*job, error) {
	metadata, err := json.Marshal(c.Metadata)
	if err != nil {
		return nil, fmt.Errorf("append: encode metadata: %w", err)
	}
	j := &job{ctx: ctx, commit: c, done: make(chan struct{}, 1)}
	for i := range c.Appends {
		a := &c.Appends[i]
		for k := range i {
			if c.Appends[k].Stream == a.Stream {
				return nil, fmt.Errorf("append: %s stands twice in one commit", a.Stream)
			}
		}
		for k := range a.Events {
			d := &a.Events[k]
			if len(d.Data) > eventstore.MaxEventSize || len(j.rows) == eventstore.MaxCommitSize {
				return nil, eventstore.ErrTooLarge
			}
			data := bytes.Clone(d.Data) // the caller may go on to use it
			j.size += len(data)
			j.rows = append(j.rows, eventstore.Recorded{
				Stream: a.Stream, ID: d.ID, Type: d.Type, Schema: d.Schema, Time: fromMicros(micros(d.Time)),
				Account: c.Account, Data: data, Metadata: metadata, Digest: eventstore.Digest(data),
			})
		}
	}
	return j, nil
}

// SelectLog reads a page of the log: behind a position, at most so many events.
// Its rows are for ScanEvent.
const SelectLog = "SELECT " + eventColumns + " FROM events WHERE position > ? ORDER BY position LIMIT ?"

const (
	selectHead    = "SELECT ifnull(max(position), 0) FROM events"
	selectStream  = "SELECT " + eventColumns + " FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
	selectVersion = "SELECT ifnull(max(version), 0) FROM events WHERE stream = ?"
)

// ReadStream yields a stream's events; see eventstore.Store. Those at the end of
// the log it takes from memory one by one: most who read a stream want the next
// event of it, however many there are behind that.
func (s *Store) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		last := after
		r, left, ok := s.tail.ofStream(stream, last)
		for ; ok && left >= 0 && ctx.Err() == nil; left-- { // what is appended meanwhile may have no end
			if !yield(r, nil) {
				return
			}
			last = r.Version
			r, _, ok = s.tail.ofStream(stream, last)
		}
		for r, err := range s.pages(ctx, last, s.stream(ctx, stream)) {
			if !yield(r, err) {
				return
			}
		}
	}
}

// stream is a stream as a run, from the file.
func (s *Store) stream(ctx context.Context, stream string) run {
	return run{
		page: func(after int64, limit int) (*sql.Rows, error) {
			return s.read.QueryContext(ctx, selectStream, stream, after, limit)
		},
		first: firstPage,
		place: func(r *eventstore.Recorded) int64 { return r.Version },
		end:   func() *sql.Row { return s.read.QueryRowContext(ctx, selectVersion, stream) },
	}
}

// ReadLog yields the log's events; see eventstore.Store.
func (s *Store) ReadLog(ctx context.Context, after int64) iter.Seq2[eventstore.Recorded, error] {
	return s.pages(ctx, after, s.log(ctx))
}

// ReadPage appends the next events behind a place to a page, and says whether
// there may be more: of the log, behind a position, or of a stream if one is
// named, behind a version. It is for those who read by the page and have room.
func (s *Store) ReadPage(
	ctx context.Context, page []eventstore.Recorded, stream string, after int64,
) (_ []eventstore.Recorded, more bool, err error) {
	of := s.log(ctx)
	if stream != "" {
		of = s.stream(ctx, stream)
	}
	page, more, err = readPage(page, after, pageSize, of)
	if err != nil {
		return page, false, fmt.Errorf("read events: %w", errors.Join(err, ctx.Err()))
	}
	return page, more, nil
}

// log is the whole log as a run.
func (s *Store) log(ctx context.Context) run {
	return run{
		page: func(after int64, limit int) (*sql.Rows, error) {
			return s.read.QueryContext(ctx, SelectLog, after, limit)
		},
		first: pageSize,
		place: func(r *eventstore.Recorded) int64 { return r.Position },
		end:   func() *sql.Row { return s.read.QueryRowContext(ctx, selectHead) },
		tail:  &s.tail,
	}
}

// A run is events in one order: that of the log or that of a stream.
type run struct {
	page  func(after int64, limit int) (*sql.Rows, error)
	first int // events in the first page
	place func(*eventstore.Recorded) int64
	end   func() *sql.Row // the last place there is
	tail  *tail           // of the log, if the run is the log's
}

// pages yields a run, page after page. Where it ends is asked for behind the
// first page: a reader that is slower than the writers would never come to an
// end, and most runs are one page.
func (s *Store) pages(ctx context.Context, after int64, of run) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		fail := func(err error) {
			yield(eventstore.Recorded{}, fmt.Errorf("read events: %w", errors.Join(err, ctx.Err())))
		}
		last, end := after, int64(0)
		page := make([]eventstore.Recorded, 0, 8)
		for limit := of.first; ; limit = min(limit*pageGrowth, pageSize) {
			var more bool
			var err error
			page, more, err = readPage(page[:0], last, limit, of)
			if err == nil && more && end == 0 {
				err = of.end().Scan(&end)
			}
			if err != nil {
				fail(err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
				if last = of.place(&page[i]); last == end {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// readPage appends the events behind a place, at most so many, and says whether
// there may be more than those.
func readPage(page []eventstore.Recorded, after int64, limit int, of run) (_ []eventstore.Recorded, more bool, err error) {
	if of.tail != nil {
		if kept, more, ok := of.tail.after(page, after); ok {
			return kept, more, nil
		}
	}
	rows, err := of.page(after, limit)
	if err != nil {
		return page, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	size, full, scan := 0, len(page)+limit, newEventScan()
	for rows.Next() {
		if err := scan.row(rows); err != nil {
			return page, false, err
		}
		page = append(page, scan.event)
		if size += len(scan.event.Data) + len(scan.event.Metadata); size >= pageBytes || len(page) == full {
			return page, true, nil
		}
	}
	return page, false, rows.Err()
}

// ScanEvent reads one row of the event columns, in their order.
func ScanEvent(row interface{ Scan(...any) error }, r *eventstore.Recorded) error {
	scan := newEventScan()
	err := scan.row(row)
	*r = scan.event
	return err
}

// An eventScan reads rows of the event columns one after the other. What rows are
// read into is made once: there are thirteen columns, and a million rows.
type eventScan struct {
	event   eventstore.Recorded
	schema  integer
	at      integer
	content []byte // what is left of an event out of which a person was erased; else nil
	into    []any
}

func newEventScan() *eventScan {
	s := &eventScan{}
	r := &s.event
	s.into = []any{
		(*integer)(&r.Position), &r.Stream, (*integer)(&r.Version), fixed(r.ID[:]), &r.Type, &s.schema, &s.at, &r.Account,
		(*handed)(&r.Data), (*handed)(&r.Metadata), fixed(r.Digest[:]), fixed(r.Hash[:]), &s.content,
	}
	return s
}

// row reads one row into event.
func (s *eventScan) row(row interface{ Scan(...any) error }) error {
	s.event.Remains = nil
	if err := row.Scan(s.into...); err != nil {
		return err
	}
	s.event.Schema, s.event.Time = int(s.schema), fromMicros(int64(s.at))
	if s.content != nil {
		s.event.Remains, s.event.Data = remainsOf(s.content)
	}
	return nil
}

// An integer is scanned without a look at what kind of number it is: the tables
// are strict.
type integer int64

// Scan takes what the driver read.
func (n *integer) Scan(src any) error {
	v, ok := src.(int64)
	if !ok {
		return fmt.Errorf("%T where an integer should be", src)
	}
	*n = integer(v)
	return nil
}

// handed is scanned into bytes that are kept as the driver hands them out: it
// copies those of each row into memory of their own (C.GoBytes), which database/sql
// does not know and would copy once more. A test holds the driver to it.
type handed []byte

// Scan takes what the driver read.
func (b *handed) Scan(src any) error {
	v, ok := src.([]byte)
	if !ok {
		return fmt.Errorf("%T where bytes should be", src)
	}
	*b = v
	return nil
}

// fixed is scanned into where its bytes are, as many as there is room for.
type fixed []byte

// Scan takes what the driver read; nothing of it is kept.
func (b fixed) Scan(src any) error {
	v, ok := src.([]byte)
	if !ok && src != nil {
		return fmt.Errorf("%T where bytes should be", src)
	}
	clear(b[copy(b, v):])
	return nil
}

// Head returns the last position.
func (s *Store) Head(ctx context.Context) (head int64, err error) {
	err = s.read.QueryRowContext(ctx, selectHead).Scan(&head)
	if err != nil {
		return 0, fmt.Errorf("read the head: %w", err)
	}
	return head, nil
}

// Known is what the log has of a stream and of an id.
type Known struct {
	Version int64  // of the stream, 0 if it does not exist
	Account string // that it belongs to
	ID      bool   // there is an event with the id
}

// Known returns what the log has of a stream and of an id.
func (s *Store) Known(ctx context.Context, stream string, id uuid.UUID) (k Known, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT ifnull((SELECT max(version) FROM events WHERE stream = ?1), 0),
		ifnull((SELECT account FROM events WHERE stream = ?1 AND version = 1), ''),
		EXISTS (SELECT 1 FROM events WHERE id = ?2)`, stream, id[:]).Scan(&k.Version, &k.Account, &k.ID)
	if err != nil {
		return k, fmt.Errorf("read the head of %s: %w", stream, err)
	}
	return k, nil
}

// FindCommand returns a command by its key.
func (s *Store) FindCommand(ctx context.Context, account, key string) (eventstore.Command, error) {
	c := eventstore.Command{Key: eventstore.Key{Name: key}}
	var fingerprint []byte
	err := s.read.QueryRowContext(ctx,
		"SELECT fingerprint, stream, first, last, version FROM commands WHERE account = ? AND key = ?", account, key,
	).Scan(&fingerprint, &c.Stream, &c.First, &c.Last, &c.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return c, eventstore.ErrNotFound
	}
	if err != nil {
		return c, fmt.Errorf("read command: %w", err)
	}
	copy(c.Key.Fingerprint[:], fingerprint)
	return c, nil
}

// LoadSnapshot returns the snapshot of a stream.
func (s *Store) LoadSnapshot(ctx context.Context, stream string) (eventstore.Snapshot, error) {
	snap := eventstore.Snapshot{Stream: stream}
	err := s.read.QueryRowContext(ctx, "SELECT version, schema, state FROM snapshots WHERE stream = ?", stream).
		Scan(&snap.Version, &snap.Schema, &snap.State)
	if errors.Is(err, sql.ErrNoRows) {
		return snap, eventstore.ErrNotFound
	}
	if err != nil {
		return snap, fmt.Errorf("read snapshot: %w", err)
	}
	return snap, nil
}

// SaveSnapshot keeps a snapshot with one of the next commits, unless the writer
// has enough to do.
func (s *Store) SaveSnapshot(snap eventstore.Snapshot) {
	if s.writer == nil {
		return
	}
	j := &job{ctx: context.Background(), size: len(snap.State), done: make(chan struct{}, 1)}
	j.do = func(t *tx) error {
		_, err := t.exec(`INSERT INTO snapshots (stream, version, schema, state) VALUES (?,?,?,?)
			ON CONFLICT (stream) DO UPDATE SET version = excluded.version, schema = excluded.schema, state = excluded.state
			WHERE excluded.version > version OR excluded.schema <> schema`,
			snap.Stream, snap.Version, snap.Schema, snap.State)
		return err
	}
	_ = s.writer.enqueue(j) // a full queue has better things to do
}

// Import adds recorded events in one transaction of their own; see
// eventstore.Store.
func (s *Store) Import(ctx context.Context, events iter.Seq2[eventstore.Recorded, error]) (n int64, err error) {
	if s.writer == nil {
		return 0, errReadOnly
	}
	err = s.writer.submit(&job{ctx: context.WithoutCancel(ctx), only: true, done: make(chan struct{}, 1), do: func(*tx) error {
		var err error
		n, err = s.writer.importAll(ctx, events)
		return err
	}})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// importAll checks and inserts events as they come, inside a transaction.
func (w *writer) importAll(ctx context.Context, events iter.Seq2[eventstore.Recorded, error]) (n int64, err error) {
	keep := w.position == 0
	for r, err := range events {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return n, err
		}
		n++
		if keep && r.Position != n {
			return n, &eventstore.ImportError{Number: n, Err: eventstore.ErrPositionGap}
		}
		h, err := w.head(r.Stream)
		switch {
		case err != nil:
			return n, err
		case len(r.Data) > eventstore.MaxEventSize:
			return n, &eventstore.ImportError{Number: n, Err: eventstore.ErrTooLarge}
		case h.version > 0 && h.account != r.Account:
			return n, &eventstore.ImportError{Number: n, Err: eventstore.ErrForeign}
		case r.Version != h.version+1:
			return n, &eventstore.ImportError{Number: n, Err: eventstore.ErrVersionGap}
		}
		w.position++
		r.Position = w.position
		r.Digest, r.Remains = r.Sealed()
		r.Hash = eventstore.Chain(h.hash, &r)
		w.heads[r.Stream] = head{r.Version, r.Hash, r.Account}
		if err := w.tx.insert(&r); err != nil {
			if isDuplicate(err) {
				err = &eventstore.ImportError{Number: n, Err: eventstore.ErrDuplicate}
			}
			return n, err
		}
		if len(w.heads) > maxHeads {
			clear(w.heads)
		}
	}
	return n, nil
}
