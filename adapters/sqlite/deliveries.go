package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"verbatim/webhooks"
)

var _ webhooks.Queue = (*Store)(nil)

const (
	plannedColumns = "id, webhook_id, endpoint, account, stream, position, version, event_id, event, name, " +
		"dialect, history, state, due_at, created_at"
	plannedPlaces   = "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?"
	deliveryColumns = plannedColumns + ", reason, attempts, ended_at, digest"
)

func scanDelivery(row interface{ Scan(...any) error }) (webhooks.Delivery, error) {
	var d webhooks.Delivery
	var event []byte
	var state string
	var due, created int64
	var ended sql.NullInt64
	err := row.Scan(&d.ID, &d.WebhookID, &d.EndpointID, &d.Account, &d.Stream, &d.Position, &d.Version, &event, &d.Event,
		&d.Name, &d.Dialect, &d.History, &state, &due, &created, &d.Reason, &d.Attempts, &ended, &d.Digest)
	if err != nil {
		return d, err
	}
	copy(d.EventID[:], event)
	d.State, d.DueAt, d.CreatedAt = webhooks.State(state), fromMicros(due), fromMicros(created)
	if ended.Valid {
		at := fromMicros(ended.Int64)
		d.EndedAt = &at
	}
	return d, nil
}

func (s *Store) deliveries(ctx context.Context, query string, args ...any) ([]webhooks.Delivery, error) {
	var out []webhooks.Delivery
	err := each(ctx, s.read, query, args, func(rows *sql.Rows) error {
		d, err := scanDelivery(rows)
		out = append(out, d)
		return err
	})
	return out, err
}

// Heads returns the oldest pending delivery of each lane; see webhooks.Queue.
// It hops through the index from lane to lane: a lane costs one look, however
// long it is.
func (s *Store) Heads(ctx context.Context, after webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	var heads []webhooks.Delivery
	for len(heads) < limit {
		head, err := s.deliveries(ctx, "SELECT "+deliveryColumns+` FROM deliveries INDEXED BY deliveries_pending
			WHERE state = 'pending' AND (endpoint, stream) > (?, ?) ORDER BY endpoint, stream, position, name LIMIT 1`,
			after.EndpointID, after.Stream)
		if err != nil || len(head) == 0 {
			return heads, err
		}
		heads = append(heads, head[0])
		after = webhooks.Lane{EndpointID: head[0].EndpointID, Stream: head[0].Stream}
	}
	return heads, nil
}

// Next returns the pending deliveries of a lane, oldest first.
func (s *Store) Next(ctx context.Context, lane webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	return s.deliveries(ctx, "SELECT "+deliveryColumns+` FROM deliveries INDEXED BY deliveries_pending
		WHERE state = 'pending' AND endpoint = ? AND stream = ? ORDER BY position, name LIMIT ?`,
		lane.EndpointID, lane.Stream, limit)
}

// Record commits attempts and the states they lead to; see webhooks.Queue.
func (s *Store) Record(ctx context.Context, reports []webhooks.Report) error {
	return s.write1(ctx, func(t *tx) error {
		for i := range reports {
			if err := record(t, &reports[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// record changes nothing about a delivery that has ended, is gone, or has that
// attempt on record.
func record(t *tx, r *webhooks.Report) error {
	d, a := &r.Delivery, &r.Attempt
	if a.Number > 0 {
		added, err := t.exec(`INSERT INTO attempts (delivery, number, time, status, retry_after, fault, detail, took, digest)
			SELECT id, ?, ?, ?, ?, ?, ?, ?, ? FROM deliveries WHERE id = ? AND state = 'pending' ON CONFLICT DO NOTHING`,
			a.Number, micros(a.At), a.Outcome.Status, a.Outcome.RetryAfter.Microseconds(), string(a.Outcome.Fault),
			a.Outcome.Detail, a.Outcome.Took.Microseconds(), a.Digest, d.ID)
		if err != nil || added == 0 {
			return err
		}
	}
	var ended any
	if d.EndedAt != nil {
		ended = micros(*d.EndedAt)
	}
	_, err := t.exec(`UPDATE deliveries SET state = ?, reason = ?, attempts = ?, due_at = ?, ended_at = ?, digest = ?
		WHERE id = ? AND state = 'pending'`,
		string(d.State), d.Reason, d.Attempts, micros(d.DueAt), ended, d.Digest, d.ID)
	return err
}

// Target returns where and how to send to an endpoint.
func (s *Store) Target(ctx context.Context, endpointID string) (webhooks.Target, error) {
	var t webhooks.Target
	row, found, err := s.EndpointRow(ctx, endpointID)
	if err != nil {
		return t, err
	}
	if !found || row.Deleted {
		return t, webhooks.ErrNoTarget
	}
	t.Settings, t.Disabled = row.Settings, row.Disabled
	if t.Secrets, err = s.Secrets(ctx, endpointID, time.Now()); err != nil {
		return t, err
	}
	var headers string
	err = s.read.QueryRowContext(ctx, "SELECT headers FROM endpoint_headers WHERE endpoint = ?", endpointID).Scan(&headers)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t, nil
	case err == nil:
		err = json.Unmarshal([]byte(headers), &t.Headers)
	}
	if err != nil {
		return t, fmt.Errorf("read endpoint headers: %w", err)
	}
	return t, nil
}

// Delivery returns a delivery and its attempts in order, and whether there is
// one.
func (s *Store) Delivery(ctx context.Context, id string) (webhooks.Delivery, []webhooks.Attempt, bool, error) {
	d, err := scanDelivery(s.read.QueryRowContext(ctx, "SELECT "+deliveryColumns+" FROM deliveries WHERE id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return d, nil, false, nil
	}
	if err != nil {
		return d, nil, false, fmt.Errorf("read delivery: %w", err)
	}
	var attempts []webhooks.Attempt
	err = each(ctx, s.read, `SELECT number, time, status, retry_after, fault, detail, took, digest FROM attempts
		WHERE delivery = ? ORDER BY number`, []any{id}, func(rows *sql.Rows) error {
		var a webhooks.Attempt
		var at, after, took int64
		if err := rows.Scan(&a.Number, &at, &a.Outcome.Status, &after, &a.Outcome.Fault, &a.Outcome.Detail, &took, &a.Digest); err != nil {
			return err
		}
		a.At = fromMicros(at)
		a.Outcome.RetryAfter = time.Duration(after) * time.Microsecond
		a.Outcome.Took = time.Duration(took) * time.Microsecond
		attempts = append(attempts, a)
		return nil
	})
	return d, attempts, true, err
}

// Deliveries returns an endpoint's deliveries in that state ("" for all),
// newest first, those before a position and name, at most limit.
func (s *Store) Deliveries(
	ctx context.Context, endpointID string, state webhooks.State, before int64, name string, limit int,
) ([]webhooks.Delivery, error) {
	query, args := "SELECT "+deliveryColumns+" FROM deliveries WHERE endpoint = ?", []any{endpointID}
	if before > 0 {
		query, args = query+" AND (position, name) < (?, ?)", append(args, before, name)
	}
	if state != "" {
		query, args = query+" AND state = ?", append(args, string(state))
	}
	return s.deliveries(ctx, query+" ORDER BY position DESC, name DESC LIMIT ?", append(args, limit)...)
}
