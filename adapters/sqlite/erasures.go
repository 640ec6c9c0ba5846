package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"verbatim/domain"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var _ projections.ErasureStore = (*Store)(nil)

const erasureColumns = "id, account, contact, person, key, asked_by, metadata, state, told, error, " +
	"events, streams, deliveries, snapshots, created_at, ended_at"

func scanErasure(row interface{ Scan(...any) error }) (projections.Erasure, error) {
	var e projections.Erasure
	var by, metadata string
	var created int64
	var ended sql.NullInt64
	err := row.Scan(&e.ID, &e.Account, &e.ContactID, &e.PersonID, &e.Key, &by, &metadata, &e.State, &e.Told, &e.Error,
		&e.Events, &e.Conversations, &e.Deliveries, &e.Snapshots, &created, &ended)
	if err != nil {
		return e, err
	}
	e.CreatedAt = fromMicros(created)
	if ended.Valid {
		at := fromMicros(ended.Int64)
		e.EndedAt = &at
	}
	return e, errors.Join(json.Unmarshal([]byte(by), &e.By), json.Unmarshal([]byte(metadata), &e.Metadata))
}

func (s *Store) erasure(ctx context.Context, where string, args ...any) (projections.Erasure, bool, error) {
	e, err := scanErasure(s.read.QueryRowContext(ctx, "SELECT "+erasureColumns+" FROM erasures "+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("read erasure: %w", err)
	}
	return e, true, nil
}

// Erasure returns an erasure, and whether there is one.
func (s *Store) Erasure(ctx context.Context, id string) (projections.Erasure, bool, error) {
	return s.erasure(ctx, "WHERE id = ?", id)
}

// ErasureByKey returns the last erasure that an account asked for with that
// idempotency key, and whether there is one.
func (s *Store) ErasureByKey(ctx context.Context, account, key string) (projections.Erasure, bool, error) {
	return s.erasure(ctx, "WHERE account = ? AND key = ? ORDER BY id DESC LIMIT 1", account, key)
}

// RunningErasure returns the oldest erasure that runs.
func (s *Store) RunningErasure(ctx context.Context) (projections.Erasure, bool, error) {
	return s.erasure(ctx, "WHERE state = 'running' ORDER BY id LIMIT 1")
}

// AddErasure keeps an erasure that begins to run, and returns it. If one of the
// same contact runs, it is not kept, and that one is returned instead: added is
// false.
func (s *Store) AddErasure(ctx context.Context, e projections.Erasure) (_ projections.Erasure, added bool, err error) {
	by, err := json.Marshal(e.By)
	if err != nil {
		return e, false, fmt.Errorf("encode who asked: %w", err)
	}
	metadata, err := json.Marshal(e.Metadata)
	if err != nil {
		return e, false, fmt.Errorf("encode metadata: %w", err)
	}
	for {
		err := s.write1(ctx, func(t *tx) error {
			n, err := t.exec(`INSERT INTO erasures (id, account, contact, person, key, asked_by, metadata, state, created_at)
				VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
				e.ID, e.Account, e.ContactID, e.PersonID, e.Key, string(by), string(metadata), string(e.State), micros(e.CreatedAt))
			added = n > 0
			return err
		})
		if err != nil || added {
			return e, added, err
		}
		other, found, err := s.erasure(ctx, "WHERE contact = ? AND state = 'running'", e.ContactID)
		if err != nil || found {
			return other, false, err
		}
		// It ended just now.
	}
}

const insertRemains = "INSERT INTO remains (position, erasure, before, content) VALUES (?,?,?,?)"

// remainsHead is what stands before what is left of an event: the version of its
// shape, and its digest.
const remainsHead = 4 + 32

// contentOf returns what is left of an event as it is kept.
func contentOf(r *eventstore.Remains, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, remainsHead+len(data)), uint32(r.Schema))
	b = append(b, r.Digest[:]...)
	return append(b, data...)
}

// remainsOf returns what contentOf was given. What is too short to be that is
// nothing, and matches no digest.
func remainsOf(content []byte) (*eventstore.Remains, []byte) {
	r := &eventstore.Remains{}
	if len(content) < remainsHead {
		return r, nil
	}
	r.Schema = int(binary.BigEndian.Uint32(content))
	copy(r.Digest[:], content[4:])
	return r, content[remainsHead:]
}

// forEver is the end of a time that has not ended.
const forEver = math.MaxInt64

// Overwrite overwrites events; see projections.ErasureStore. What stood there is
// overwritten where it stands, with as many bytes: see the table remains.
func (s *Store) Overwrite(ctx context.Context, erasureID string, left []projections.Left) error {
	contents := make([][]byte, len(left))
	for i := range left {
		l := &left[i]
		contents[i] = contentOf(&eventstore.Remains{Schema: l.Schema, Digest: eventstore.Digest(l.Data)}, l.Data)
	}
	return s.write1(ctx, func(t *tx) error {
		s.tail.add(nil) // whoever reads it from now on reads the file
		snapshots, seen := int64(0), make(map[string]bool)
		for i := range left {
			l := &left[i]
			var before any
			if l.Before != nil {
				before = l.Before[:]
				if _, err := t.exec("UPDATE remains SET content = zeroblob(length(content)) WHERE position = ?", l.Position); err != nil {
					return err
				}
			}
			if _, err := t.exec(insertRemains, l.Position, erasureID, before, contents[i]); err != nil {
				return err
			}
			if l.Before == nil {
				if _, err := t.exec("UPDATE events SET data = zeroblob(length(data)) WHERE position = ?", l.Position); err != nil {
					return err
				}
			}
			if seen[l.Stream] {
				continue
			}
			seen[l.Stream] = true
			n, err := t.exec("DELETE FROM snapshots WHERE stream = ?", l.Stream)
			if err != nil {
				return err
			}
			snapshots += n
			if _, err := t.exec(`INSERT INTO erased_streams (stream, erasure, until) VALUES (?,?,?)
				ON CONFLICT (stream) DO UPDATE SET erasure = excluded.erasure, until = excluded.until`, l.Stream, erasureID, forEver); err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE erasures SET events = events + ?, snapshots = snapshots + ? WHERE id = ?", len(left), snapshots, erasureID)
		return err
	})
}

// Overwritten yields what an erasure has overwritten. No read is left open while
// it does: the write-ahead log could not be taken in.
func (s *Store) Overwritten(ctx context.Context, erasureID string) iter.Seq2[projections.Overwritten, error] {
	return func(yield func(projections.Overwritten, error) bool) {
		page := make([]projections.Overwritten, 0, pageSize)
		for after := int64(0); ; {
			page = page[:0]
			err := each(ctx, s.read, `SELECT position, substr(content, 5, 32), before FROM remains INDEXED BY remains_erasure
				WHERE erasure = ? AND position > ? ORDER BY position LIMIT ?`, []any{erasureID, after, pageSize}, func(rows *sql.Rows) error {
				var o projections.Overwritten
				var digest, before []byte
				if err := rows.Scan(&o.Position, &digest, &before); err != nil {
					return err
				}
				copy(o.Digest[:], digest)
				if before != nil {
					o.Before = new([32]byte)
					copy(o.Before[:], before)
				}
				page = append(page, o)
				return nil
			})
			if err != nil {
				yield(projections.Overwritten{}, err)
				return
			}
			for _, o := range page {
				if !yield(o, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			after = page[len(page)-1].Position
		}
	}
}

// TouchedStreams returns streams that an erasure has overwritten events of.
func (s *Store) TouchedStreams(ctx context.Context, erasureID, after string, limit int) ([]string, error) {
	var out []string
	err := each(ctx, s.read, `SELECT stream FROM erased_streams INDEXED BY erased_streams_erasure
		WHERE erasure = ? AND stream > ? ORDER BY stream LIMIT ?`, []any{erasureID, after, limit}, func(rows *sql.Rows) error {
		var stream string
		err := rows.Scan(&stream)
		out = append(out, stream)
		return err
	})
	return out, err
}

// ofStream joins the deliveries of a stream, which the index of states finds.
const ofStream = ` FROM events AS e INDEXED BY events_stream
	CROSS JOIN endpoints AS p CROSS JOIN deliveries AS d INDEXED BY deliveries_state
	WHERE e.stream = ? AND p.account = e.account AND d.endpoint = p.id
		AND d.state IN ('cancelled', 'delivered', 'parked', 'pending') AND d.position = e.position`

// StreamCounts counts the deliveries and the snapshots of a stream.
func (s *Store) StreamCounts(ctx context.Context, stream string) (deliveries, snapshots int64, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT (SELECT count(*) "+ofStream+"), (SELECT count(*) FROM snapshots WHERE stream = ?)",
		stream, stream).Scan(&deliveries, &snapshots)
	if err != nil {
		return 0, 0, fmt.Errorf("count what there is of a stream: %w", err)
	}
	return deliveries, snapshots, nil
}

// cleanDetails is how many answers are blanked in one transaction.
const cleanDetails = 256

// CleanStreams rewrites what was made of streams; see projections.ErasureStore.
func (s *Store) CleanStreams(ctx context.Context, streams []string, who *domain.Removal) error {
	for _, stream := range streams {
		if err := s.cleanDetails(ctx, stream); err != nil {
			return err
		}
	}
	return s.write1(ctx, func(t *tx) error {
		for _, stream := range streams {
			kind, id := eventstore.SplitStream(stream)
			if _, err := t.exec("DELETE FROM snapshots WHERE stream = ?", stream); err != nil {
				return err
			}
			// Why an event could not be projected may quote it.
			if _, err := t.exec("UPDATE parked SET error = 'erased' WHERE stream = ?", stream); err != nil {
				return err
			}
			if kind != "conversation" {
				continue
			}
			if err := cleanInbox(t, id, who); err != nil {
				return err
			}
			if err := cleanTyping(t, id, who); err != nil {
				return err
			}
			s.writer.voids.add(id)
		}
		return nil
	})
}

// cleanDetails blanks what receivers answered to attempts to deliver of a stream.
// They are found before the writer's turn.
func (s *Store) cleanDetails(ctx context.Context, stream string) error {
	type attempt struct {
		delivery string
		number   int64
	}
	for {
		var found []attempt
		err := each(ctx, s.read, "SELECT a.delivery, a.number"+
			" FROM (SELECT d.id"+ofStream+") AS o CROSS JOIN attempts AS a ON a.delivery = o.id WHERE a.detail <> '' LIMIT ?",
			[]any{stream, cleanDetails}, func(rows *sql.Rows) error {
				var a attempt
				err := rows.Scan(&a.delivery, &a.number)
				found = append(found, a)
				return err
			})
		if err != nil || len(found) == 0 {
			return err
		}
		err = s.write1(ctx, func(t *tx) error {
			for _, a := range found {
				if _, err := t.exec("UPDATE attempts SET detail = '' WHERE delivery = ? AND number = ?", a.delivery, a.number); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// keptDetail returns what is kept of an answer: nothing, if the attempt was made
// before a person was erased from the stream. It may quote what was sent.
func keptDetail(t *tx, stream string, a *webhooks.Attempt) (detail string, err error) {
	detail = a.Outcome.Detail
	if detail == "" {
		return "", nil
	}
	err = t.query("SELECT until FROM erased_streams WHERE stream = ?", []any{stream}, func(v []driver.Value) error {
		if micros(a.At) <= v[0].(int64) {
			detail = ""
		}
		return nil
	})
	return detail, err
}

func cleanInbox(t *tx, id string, who *domain.Removal) error {
	var row []byte
	err := t.query("SELECT row FROM inbox WHERE conversation = ?", []any{id}, func(v []driver.Value) error {
		row = v[0].([]byte)
		return nil
	})
	if err != nil || row == nil {
		return err
	}
	var r projections.InboxRow
	if err := json.Unmarshal(row, &r); err != nil {
		return fmt.Errorf("read inbox row: %w", err)
	}
	b, err := json.Marshal(r.Without(who))
	if err != nil {
		return fmt.Errorf("encode inbox row: %w", err)
	}
	_, err = t.exec("UPDATE inbox SET row = ? WHERE conversation = ?", b, id)
	return err
}

// cleanTyping lets somebody who types do so under the id that is left of them.
func cleanTyping(t *tx, id string, who *domain.Removal) error {
	var theirs []string
	err := t.query("SELECT author FROM typing WHERE conversation = ?", []any{id}, func(v []driver.Value) error {
		if author := v[0].(string); who.Is(author) && who.LeftID(author) != author {
			theirs = append(theirs, author)
		}
		return nil
	})
	for _, author := range theirs {
		if err == nil {
			_, err = t.exec("UPDATE OR REPLACE typing SET author = ? WHERE conversation = ? AND author = ?", who.ID, id, author)
		}
	}
	return err
}

// maxVoids bounds the conversations whose rows are known to have been rewritten.
// With more of them every row is void that was made before.
const maxVoids = 16_384

// voids are the rows of read models that were rewritten because a person was
// erased. Only the writer changes them, and only in its turn.
type voids struct {
	count atomic.Int64     // grows with each
	from  int64            // count below which everything is void
	rows  map[string]int64 // count when the rows of a conversation were rewritten
}

func (v *voids) add(conversationID string) {
	now := v.count.Add(1)
	if v.rows == nil || len(v.rows) == maxVoids {
		v.rows, v.from = make(map[string]int64), now-1
	}
	v.rows[conversationID] = now
}

// any reports whether a row of the page was made before it was rewritten.
func (v *voids) any(p *projections.Page) bool {
	if p.Seen == v.count.Load() {
		return false
	}
	if p.Seen < v.from {
		return p.Rows.Len() > 0
	}
	for id := range p.Rows.Inbox {
		if v.rows[id] > p.Seen {
			return true
		}
	}
	for key := range p.Rows.Typing {
		if v.rows[key.Conversation] > p.Seen {
			return true
		}
	}
	return false
}

// Erasures returns how often rows were rewritten; see projections.Store.
func (s *Store) Erasures() int64 {
	if s.writer == nil {
		return 0
	}
	return s.writer.voids.count.Load()
}

// ErasureTold puts on record that the log tells of an erasure.
func (s *Store) ErasureTold(ctx context.Context, erasureID string, counts projections.ErasureCounts) error {
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE erasures SET told = 1, events = ?, streams = ?, deliveries = ? WHERE id = ?",
			counts.Events, counts.Conversations, counts.Deliveries, erasureID)
		return err
	})
}

// EndErasure ends an erasure, or says why it cannot go on.
func (s *Store) EndErasure(ctx context.Context, erasureID string, state projections.ErasureState, fault string, at time.Time) error {
	return s.write1(ctx, func(t *tx) error {
		var ended any
		if state != projections.ErasureRunning {
			ended = micros(at)
			_, err := t.exec("UPDATE erased_streams SET until = ? WHERE erasure = ? AND until = ?", micros(at), erasureID, forEver)
			if err != nil {
				return err
			}
		}
		_, err := t.exec("UPDATE erasures SET state = ?, error = ?, ended_at = ? WHERE id = ? AND state = 'running'",
			string(state), fault, ended, erasureID)
		return err
	})
}

// A swept table is one whose rows are written again and again, and moved when
// they are: where a page was laid out anew, a copy of a row may be left between
// those that are there, although all that is deleted is overwritten. Only a page
// that is free has none: all of it is zero.
type swept struct {
	name    string
	columns string // the first in order of which it stands
	primary int    // so many of them are the primary key
	spared  bool   // its rows can be done without
}

func sweptTables() []swept {
	return []swept{
		{"snapshots", "stream, version, schema, state", 1, true},
		{"inbox", "conversation, account, status, active_at, row", 1, false},
		{"typing", "conversation, author, account, until", 2, false},
	}
}

// sweepRows is how many rows are taken away in one transaction. A table that has
// no more is taken away whole, and has no page left that was not free. Of a larger
// one, neighbours of one batch are in the middle of the next: few pages are never
// free.
const (
	sweepRows  = 512
	sweepBytes = 1 << 20
)

// Sweep takes rows away, and writes again what cannot be done without; see
// projections.ErasureStore. A mark is the number of a table and a key.
func (s *Store) Sweep(ctx context.Context, after string) (next string, err error) {
	tables := sweptTables()
	mark := struct {
		Table int    `json:"table"`
		Key   string `json:"key"`
	}{}
	if after != "" {
		if err := json.Unmarshal([]byte(after), &mark); err != nil {
			return "", fmt.Errorf("read the mark of a sweep: %w", err)
		}
	}
	if mark.Table >= len(tables) {
		return "", nil
	}
	err = s.write1(ctx, func(t *tx) error {
		key, more, err := tables[mark.Table].sweep(t, mark.Key)
		if err != nil {
			return err
		}
		at := mark
		if at.Key = key; !more {
			at.Table, at.Key = at.Table+1, ""
		}
		b, err := json.Marshal(at)
		next = string(b)
		return err
	})
	return next, err
}

// sweep takes away the rows behind a key, and writes them again if they are not
// to be spared. It returns the key from which to go on, and whether there is more.
func (table *swept) sweep(t *tx, after string) (key string, more bool, err error) {
	rows, more, err := table.rows(t, after)
	if err != nil {
		return "", false, err
	}
	columns := strings.Split(table.columns, ", ")
	if after == "" && !more {
		if err := t.run("DELETE FROM " + table.name); err != nil { // all of it, which frees every page
			return "", false, err
		}
	} else {
		remove := "DELETE FROM " + table.name + " WHERE " + strings.Join(columns[:table.primary], " = ? AND ") + " = ?"
		for _, row := range rows {
			if _, err := t.exec(remove, row[:table.primary]...); err != nil {
				return "", false, err
			}
		}
	}
	if table.spared {
		return "", more, nil // the next are the first now
	}
	add := "INSERT INTO " + table.name + " (" + table.columns + ") VALUES (?" + strings.Repeat(",?", len(columns)-1) + ")"
	for _, row := range rows {
		if _, err := t.exec(add, row...); err != nil {
			return "", false, err
		}
	}
	if !more {
		return "", false, nil
	}
	return rows[len(rows)/2][0].(string), true, nil
}

// rows returns the rows behind a key, no more than are taken away at a time, and
// whether there are others.
func (table *swept) rows(t *tx, after string) (rows [][]any, more bool, err error) {
	size := 0
	key, _, _ := strings.Cut(table.columns, ",")
	err = t.query("SELECT "+table.columns+" FROM "+table.name+" WHERE "+key+" > ? ORDER BY "+key+" LIMIT ?",
		[]any{after, sweepRows + 1}, func(v []driver.Value) error {
			if more = len(rows) == sweepRows || size > sweepBytes; more {
				return nil
			}
			row := make([]any, len(v))
			for i := range v {
				row[i] = v[i]
				if b, ok := v[i].([]byte); ok {
					size += len(b)
				}
			}
			rows = append(rows, row)
			return nil
		})
	return rows, more, err
}

// Flush takes the write-ahead log into the file and cuts it to nothing; see
// projections.ErasureStore. Most of it is taken in without holding anybody up; for
// the rest the writer waits some milliseconds.
func (s *Store) Flush(ctx context.Context) (err error) {
	conn, err := s.read.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open a connection: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	var shadows int
	if err := conn.QueryRowContext(ctx, countShadows).Scan(&shadows); err != nil {
		return fmt.Errorf("look for shadows: %w", err)
	}
	if shadows > 0 {
		return errShadows
	}
	if err := checkpoint(ctx, conn, "PASSIVE"); err != nil && !errors.Is(err, errLogInUse) {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", flushWait.Milliseconds())); err != nil {
		return fmt.Errorf("shorten the wait: %w", err)
	}
	err = checkpoint(ctx, conn, "TRUNCATE")
	_, reset := conn.ExecContext(context.WithoutCancel(ctx), fmt.Sprintf("PRAGMA busy_timeout = %d", busyTimeout.Milliseconds()))
	return errors.Join(err, reset)
}

// flushWait is how long emptying the write-ahead log may hold up the writer.
const flushWait = 20 * time.Millisecond

// A table that is being built beside one that serves, or that served before, may
// have rows of people who are gone from that one. It goes when its rebuild ends.
const countShadows = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND (name GLOB '*" + shadowSuffix + "' OR name GLOB '*" + oldSuffix + "')"

var errShadows = errors.New("a read model is being rebuilt; the erasure ends behind it")

var errLogInUse = errors.New("the write-ahead log is in use")

// checkpoint takes the write-ahead log into the file.
func checkpoint(ctx context.Context, conn *sql.Conn, mode string) error {
	var busy, inLog, taken int64
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &inLog, &taken); err != nil {
		return fmt.Errorf("take in the write-ahead log: %w", err)
	}
	if busy != 0 {
		return errLogInUse
	}
	return nil
}
