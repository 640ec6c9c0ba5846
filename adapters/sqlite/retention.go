package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var _ webhooks.RecordKeeper = (*Store)(nil)

const oldestEnded = `SELECT id, attempts FROM deliveries INDEXED BY deliveries_ended
	WHERE ended_at < ? ORDER BY ended_at, id LIMIT ?`

// PruneDeliveries removes deliveries that ended before then, with their attempts;
// see webhooks.RecordKeeper.
func (s *Store) PruneDeliveries(ctx context.Context, before time.Time, rows int) (n int, err error) {
	err = s.write1(ctx, func(t *tx) error {
		var ids []string
		left := rows
		err := t.query(oldestEnded, []any{micros(before), rows}, func(v []driver.Value) error {
			left -= 1 + int(v[1].(int64))
			if left >= 0 || len(ids) == 0 {
				ids = append(ids, v[0].(string))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := t.exec("DELETE FROM attempts WHERE delivery = ?", id); err != nil {
				return err
			}
			if _, err := t.exec("DELETE FROM deliveries WHERE id = ?", id); err != nil {
				return err
			}
		}
		n = len(ids)
		return nil
	})
	return n, err
}

// PruneJobs removes jobs that ended before then. There are few: they are found
// without an index.
func (s *Store) PruneJobs(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.prune(ctx, "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at < ? LIMIT ?)", before, limit)
}

// PruneKeys forgets idempotency keys from before then, oldest first.
func (s *Store) PruneKeys(ctx context.Context, before time.Time, limit int) (int, error) {
	return s.prune(ctx, pruneKeys, before, limit)
}

const pruneKeys = `DELETE FROM commands WHERE (account, key) IN
	(SELECT account, key FROM commands INDEXED BY commands_time WHERE time < ? ORDER BY time LIMIT ?)`

func (s *Store) prune(ctx context.Context, query string, before time.Time, limit int) (int, error) {
	var n int64
	err := s.write1(ctx, func(t *tx) (err error) {
		n, err = t.exec(query, micros(before), limit)
		return err
	})
	return int(n), err
}

// HeldEndpoints returns the endpoints that are disabled.
func (s *Store) HeldEndpoints(ctx context.Context) ([]webhooks.HeldEndpoint, error) {
	rows, err := s.EndpointRows(ctx)
	var held []webhooks.HeldEndpoint
	for i := range rows {
		if rows[i].Disabled && !rows[i].Deleted {
			held = append(held, webhooks.HeldEndpoint{ID: rows[i].ID, Since: rows[i].UpdatedAt})
		}
	}
	return held, err
}

const crowded = `SELECT position, name FROM deliveries INDEXED BY deliveries_state
	WHERE endpoint = ? AND state = 'pending' ORDER BY position DESC, name DESC LIMIT 1 OFFSET ?`

// Crowded returns the newest pending delivery that has keep others behind it. It
// counts in the index alone: a million take some tens of milliseconds, of a
// reader.
func (s *Store) Crowded(ctx context.Context, endpointID string, keep int) (m webhooks.Mark, found bool, err error) {
	err = s.read.QueryRowContext(ctx, crowded, endpointID, keep).Scan(&m.Position, &m.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("count pending deliveries: %w", err)
	}
	return m, true, nil
}

const oldestPending = `SELECT id, position, name, due_at, created_at FROM deliveries INDEXED BY deliveries_state
	WHERE endpoint = ? AND state = 'pending' AND (position, name) > (?, ?) AND (position, name) <= (?, ?)
	ORDER BY position, name LIMIT ?`

// CancelWaiting cancels deliveries that wait for a disabled endpoint; see
// webhooks.RecordKeeper.
func (s *Store) CancelWaiting(
	ctx context.Context, endpointID string, w webhooks.Waiting, reason string, at time.Time,
) (last webhooks.Mark, cancelled int, err error) {
	upTo := newest()
	if w.UpTo != nil {
		upTo = *w.UpTo
	}
	err = s.write1(ctx, func(t *tx) error {
		last, cancelled = w.After, 0
		held, err := isHeld(t, endpointID)
		if err != nil || !held {
			return err
		}
		var ids []string
		err = t.query(oldestPending, []any{endpointID, last.Position, last.Name, upTo.Position, upTo.Name, w.Limit},
			func(v []driver.Value) error {
				last = webhooks.Mark{Position: v[1].(int64), Name: v[2].(string)}
				d := webhooks.Delivery{DueAt: fromMicros(v[3].(int64)), CreatedAt: fromMicros(v[4].(int64))}
				if w.Before.IsZero() || d.WaitingSince().Before(w.Before) {
					ids = append(ids, v[0].(string))
				}
				return nil
			})
		if err != nil {
			return err
		}
		for _, id := range ids {
			if _, err := t.exec(cancelPending, reason, micros(at), id); err != nil {
				return err
			}
		}
		cancelled = len(ids)
		return nil
	})
	return last, cancelled, err
}

// isHeld reports whether an endpoint is disabled just now. The log has the last
// word: an endpoint that was enabled a moment ago keeps what it has, although the
// read models may not know of it yet.
func isHeld(t *tx, endpointID string) (held bool, err error) {
	err = t.query("SELECT row FROM endpoints WHERE id = ?", []any{endpointID}, func(v []driver.Value) error {
		var row projections.EndpointRow
		err := json.Unmarshal(v[0].([]byte), &row)
		held = row.Disabled && !row.Deleted
		return err
	})
	if err != nil || !held {
		return false, err
	}
	enabled, disabled := (endpoint.Enabled{}).EventType(), (endpoint.Disabled{}).EventType()
	err = t.query("SELECT type FROM events WHERE stream = ? AND type IN (?, ?) ORDER BY version DESC LIMIT 1",
		[]any{eventstore.StreamName("endpoint", endpointID), enabled, disabled}, func(v []driver.Value) error {
			held = v[0].(string) == disabled
			return nil
		})
	return held, err
}
