package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var _ projections.Store = (*Store)(nil)

// Checkpoints returns how far each projection has got.
func (s *Store) Checkpoints(ctx context.Context) (map[string]int64, error) {
	out := make(map[string]int64)
	err := each(ctx, s.read, "SELECT projection, position FROM checkpoints", nil, func(rows *sql.Rows) error {
		var name string
		var position int64
		if err := rows.Scan(&name, &position); err != nil {
			return err
		}
		out[name] = position
		return nil
	})
	return out, err
}

// Parked returns the parked streams, oldest first.
func (s *Store) Parked(ctx context.Context) ([]projections.Parked, error) {
	return s.parked(ctx, "1")
}

// RetryWanted returns the parked streams that AskRetry named.
func (s *Store) RetryWanted(ctx context.Context) ([]projections.Parked, error) {
	return s.parked(ctx, "retry = 1")
}

func (s *Store) parked(ctx context.Context, where string) ([]projections.Parked, error) {
	var out []projections.Parked
	err := each(ctx, s.read,
		"SELECT projection, stream, position, version, error, attempts, time FROM parked WHERE "+where+" ORDER BY position",
		nil, func(rows *sql.Rows) error {
			var p projections.Parked
			var at int64
			if err := rows.Scan(&p.Projection, &p.Stream, &p.Position, &p.Version, &p.Error, &p.Attempts, &at); err != nil {
				return err
			}
			p.At = fromMicros(at)
			out = append(out, p)
			return nil
		})
	return out, err
}

// AskRetry marks parked streams to be tried again, those of one projection or
// all of them, and returns how many there are.
func (s *Store) AskRetry(ctx context.Context, projection string) (n int64, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err = t.exec("UPDATE parked SET retry = 1 WHERE ? IN ('', projection)", projection)
		return err
	})
	return n, err
}

// CommitPage commits a page with its checkpoints; see projections.Store. What
// can be done before the writer's turn is done before it.
func (s *Store) CommitPage(ctx context.Context, p *projections.Page) error {
	rows, err := encodeRows(&p.Rows, p.At)
	if err != nil {
		return err
	}
	return s.write1(ctx, func(t *tx) error {
		if s.writer.voids.any(p) {
			return errors.Join(projections.ErrVoid, projections.ErrLostCheckpoint)
		}
		for _, c := range p.Checkpoints {
			if err := moveCheckpoint(t, c); err != nil {
				return err
			}
		}
		for i := range rows {
			if _, err := t.exec(rows[i].query, rows[i].args...); err != nil {
				return err
			}
		}
		if err := checkHeld(t, &p.Rows); err != nil { // before one of them ends because another begins
			return err
		}
		for i := range p.Rows.Backfills {
			if err := beginBackfill(t, &p.Rows.Backfills[i]); err != nil {
				return err
			}
		}
		for _, r := range p.Released {
			if _, err := t.exec("DELETE FROM parked WHERE projection = ? AND stream = ?", r.Projection, r.Stream); err != nil {
				return err
			}
		}
		for i := range p.Parked {
			if err := park(t, &p.Parked[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func park(t *tx, r *projections.Parked) error {
	_, err := t.exec(`INSERT INTO parked (projection, stream, position, version, error, attempts, time)
		VALUES (?,?,?,?,?,?,?) ON CONFLICT (projection, stream) DO UPDATE SET position = excluded.position,
		version = excluded.version, error = excluded.error, attempts = excluded.attempts, time = excluded.time, retry = 0`,
		r.Projection, r.Stream, r.Position, r.Version, r.Error, r.Attempts, micros(r.At))
	return err
}

func moveCheckpoint(t *tx, c projections.Checkpoint) error {
	query, args := "UPDATE checkpoints SET position = ? WHERE projection = ? AND position = ?", []any{c.To, c.Projection, c.From}
	if c.From == 0 {
		query, args = `INSERT INTO checkpoints (position, projection) VALUES (?,?)
			ON CONFLICT (projection) DO UPDATE SET position = excluded.position WHERE position = 0`, args[:2]
	}
	n, err := t.exec(query, args...)
	if err == nil && n == 0 {
		err = fmt.Errorf("%s at %d: %w", c.Projection, c.From, projections.ErrLostCheckpoint)
	}
	return err
}

// statement is a statement that waits for its transaction.
type statement struct {
	query string
	args  []any
}

const (
	upsertInbox = `INSERT INTO inbox (conversation, account, status, active_at, row) VALUES (?,?,?,?,?)
		ON CONFLICT (conversation) DO UPDATE SET status = excluded.status, active_at = excluded.active_at, row = excluded.row`
	upsertTyping = `INSERT INTO typing (conversation, author, account, until) VALUES (?,?,?,?)
		ON CONFLICT (conversation, author) DO UPDATE SET until = excluded.until`
	deleteTyping   = "DELETE FROM typing WHERE conversation = ? AND author = ?"
	upsertEndpoint = `INSERT INTO endpoints (id, account, number, deleted, row) VALUES (?,?,?,?,?)
		ON CONFLICT (id) DO UPDATE SET deleted = excluded.deleted, row = excluded.row`
	insertDelivery = "INSERT INTO deliveries (" + plannedColumns + ", owed_at) VALUES (" + plannedPlaces + ",?) ON CONFLICT DO NOTHING"
	insertEnded    = "INSERT INTO deliveries (" + plannedColumns + ", owed_at, reason, ended_at) VALUES (" + plannedPlaces +
		",?,?,?) ON CONFLICT DO NOTHING"
)

// encodeRows returns the statements that write the rows, which were made at that
// time.
func encodeRows(rows *projections.Rows, at time.Time) ([]statement, error) {
	out := make([]statement, 0, rows.Len())
	add := func(query string, args ...any) { out = append(out, statement{query, args}) }
	for id, row := range rows.Inbox {
		b, err := json.Marshal(row)
		if err != nil {
			return nil, fmt.Errorf("encode inbox row: %w", err)
		}
		add(upsertInbox, id, row.Conversation.Account.ID, string(row.Conversation.Status), row.ActiveAt, b)
	}
	for key, row := range rows.Typing {
		if row.Until.IsZero() {
			add(deleteTyping, key.Conversation, key.AuthorID)
			continue
		}
		add(upsertTyping, key.Conversation, key.AuthorID, row.Account, micros(row.Until))
	}
	for id, row := range rows.Endpoints {
		b, err := json.Marshal(row)
		if err != nil {
			return nil, fmt.Errorf("encode endpoint row: %w", err)
		}
		add(upsertEndpoint, id, row.Account.ID, row.Number, row.Deleted, b)
		if row.Deleted {
			add("DELETE FROM secrets WHERE endpoint = ?", id)
			add("DELETE FROM endpoint_headers WHERE endpoint = ?", id)
			add("DELETE FROM endpoint_health WHERE endpoint = ?", id)
		}
	}
	for i := range rows.Deliveries {
		d := &rows.Deliveries[i]
		args := []any{
			d.ID, d.WebhookID, d.EndpointID, d.Account, d.Stream, d.Lane, d.Position, d.Version, d.EventID[:], d.Event, d.Name,
			d.Dialect, d.History, string(d.State), micros(d.DueAt), micros(d.CreatedAt), micros(at),
		}
		if d.State == webhooks.Pending {
			add(insertDelivery, args...)
		} else { // it has ended as it is planned
			add(insertEnded, append(args, d.Reason, endedAt(d.EndedAt))...)
		}
	}
	return out, nil
}

// InboxRow returns the row of a conversation.
func (s *Store) InboxRow(ctx context.Context, id string) (row projections.InboxRow, found bool, err error) {
	var b []byte
	err = s.read.QueryRowContext(ctx, "SELECT row FROM inbox WHERE conversation = ?", id).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &row)
	}
	if err != nil {
		return row, false, fmt.Errorf("read inbox row: %w", err)
	}
	return row, true, nil
}

// Inbox returns an account's conversations with that status ("" for all), last
// active first, those before an active_at (0 for the start), at most limit.
func (s *Store) Inbox(ctx context.Context, account, status string, before int64, limit int) ([]projections.InboxRow, error) {
	query, args := "SELECT row FROM inbox WHERE account = ?", []any{account}
	if status != "" {
		query, args = query+" AND status = ?", append(args, status)
	}
	if before > 0 {
		query, args = query+" AND active_at < ?", append(args, before)
	}
	var out []projections.InboxRow
	err := each(ctx, s.read, query+" ORDER BY active_at DESC LIMIT ?", append(args, limit), func(rows *sql.Rows) error {
		row, err := scanJSON[projections.InboxRow](rows)
		out = append(out, row)
		return err
	})
	return out, err
}

// EndpointRows returns all endpoints.
func (s *Store) EndpointRows(ctx context.Context) ([]projections.EndpointRow, error) {
	var out []projections.EndpointRow
	err := each(ctx, s.read, "SELECT row FROM endpoints ORDER BY number", nil, func(rows *sql.Rows) error {
		row, err := scanJSON[projections.EndpointRow](rows)
		out = append(out, row)
		return err
	})
	return out, err
}

// Endpoints returns an account's endpoints that are not deleted, those with
// numbers above after, at most limit.
func (s *Store) Endpoints(ctx context.Context, account string, after int64, limit int) ([]projections.EndpointRow, error) {
	var out []projections.EndpointRow
	err := each(ctx, s.read, "SELECT row FROM endpoints WHERE account = ? AND number > ? AND deleted = 0 ORDER BY number LIMIT ?",
		[]any{account, after, limit}, func(rows *sql.Rows) error {
			row, err := scanJSON[projections.EndpointRow](rows)
			out = append(out, row)
			return err
		})
	return out, err
}

// EndpointRow returns an endpoint, also a deleted one, and whether there is one.
func (s *Store) EndpointRow(ctx context.Context, id string) (projections.EndpointRow, bool, error) {
	var row projections.EndpointRow
	var b []byte
	err := s.read.QueryRowContext(ctx, "SELECT row FROM endpoints WHERE id = ?", id).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return row, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &row)
	}
	if err != nil {
		return row, false, fmt.Errorf("read endpoint: %w", err)
	}
	return row, true, nil
}

// TypingDue returns whose typing has run out, oldest first.
func (s *Store) TypingDue(ctx context.Context, at time.Time, limit int) ([]projections.DueTyping, error) {
	var out []projections.DueTyping
	err := each(ctx, s.read, "SELECT conversation, author, account, until FROM typing WHERE until <= ? ORDER BY until LIMIT ?",
		[]any{micros(at), limit}, func(rows *sql.Rows) error {
			var d projections.DueTyping
			var until int64
			if err := rows.Scan(&d.Conversation, &d.AuthorID, &d.Account, &until); err != nil {
				return err
			}
			d.Until = fromMicros(until)
			out = append(out, d)
			return nil
		})
	return out, err
}

// NextTyping returns when the next typing runs out, or the zero time.
func (s *Store) NextTyping(ctx context.Context) (time.Time, error) {
	var until sql.NullInt64
	if err := s.read.QueryRowContext(ctx, "SELECT min(until) FROM typing").Scan(&until); err != nil {
		return time.Time{}, fmt.Errorf("read typing: %w", err)
	}
	if !until.Valid {
		return time.Time{}, nil
	}
	return fromMicros(until.Int64), nil
}

// ExtendTyping lets somebody who types do so until a later time: that they went
// on is no new fact.
func (s *Store) ExtendTyping(ctx context.Context, conversationID, authorID string, until time.Time) error {
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec("UPDATE typing SET until = max(until, ?) WHERE conversation = ? AND author = ?",
			micros(until), conversationID, authorID)
		return err
	})
}

// write1 runs do in the writer's next transaction.
func (s *Store) write1(ctx context.Context, do func(*tx) error) error {
	if s.writer == nil {
		return errReadOnly
	}
	return s.writer.write(ctx, do)
}

var errReadOnly = fmt.Errorf("the store was opened to be read only: %w", eventstore.ErrClosed)

func scanJSON[T any](rows *sql.Rows) (T, error) {
	var v T
	var b sql.RawBytes
	if err := rows.Scan(&b); err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

// each calls scan for every row that the query answers.
func each(ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", firstWords(query), err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", firstWords(query), err)
		}
	}
	return rows.Err()
}
