package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"verbatim/projections"
	"verbatim/webhooks"
)

var _ webhooks.Queue = (*Store)(nil)

const (
	plannedColumns = "id, webhook_id, endpoint, account, stream, lane, position, version, event_id, event, name, " +
		"dialect, history, state, due_at, created_at"
	plannedPlaces   = "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?"
	deliveryColumns = plannedColumns + ", reason, attempts, spent, ended_at, digest, bytes, replay"
)

func scanDelivery(row interface{ Scan(...any) error }) (webhooks.Delivery, error) {
	var d webhooks.Delivery
	var event []byte
	var state string
	var due, created int64
	var ended sql.NullInt64
	err := row.Scan(&d.ID, &d.WebhookID, &d.EndpointID, &d.Account, &d.Stream, &d.Lane, &d.Position, &d.Version, &event, &d.Event,
		&d.Name, &d.Dialect, &d.History, &state, &due, &created, &d.Reason, &d.Attempts, &d.Spent, &ended, &d.Digest,
		&d.Bytes, &d.Replay)
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

const (
	nextHead = "SELECT " + deliveryColumns + ` FROM deliveries INDEXED BY deliveries_pending
		WHERE state = 'pending' AND (endpoint, lane) > (?, ?) ORDER BY endpoint, lane, position, name LIMIT 1`
	oldestOfLane = "SELECT " + deliveryColumns + ` FROM deliveries INDEXED BY deliveries_pending
		WHERE state = 'pending' AND endpoint = ? AND lane = ? ORDER BY position, name LIMIT ?`
)

// Heads returns the oldest pending delivery of each lane; see webhooks.Queue.
// It hops through the index from lane to lane: a lane costs one look, however
// long it is.
func (s *Store) Heads(ctx context.Context, after webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	var heads []webhooks.Delivery
	for len(heads) < limit {
		head, err := s.deliveries(ctx, nextHead, after.EndpointID, after.Key)
		if err != nil || len(head) == 0 {
			return heads, err
		}
		heads = append(heads, head[0])
		after = webhooks.Lane{EndpointID: head[0].EndpointID, Key: head[0].Lane}
	}
	return heads, nil
}

// Next returns the pending deliveries of a lane, oldest first.
func (s *Store) Next(ctx context.Context, lane webhooks.Lane, limit int) ([]webhooks.Delivery, error) {
	return s.deliveries(ctx, oldestOfLane, lane.EndpointID, lane.Key, limit)
}

// Record commits attempts and the states they lead to; see webhooks.Queue.
func (s *Store) Record(ctx context.Context, reports []webhooks.Report) error {
	return s.write1(ctx, func(t *tx) error {
		for i := range reports {
			if err := record(t, &reports[i]); err != nil {
				return err
			}
			if err := keepNotices(t, &reports[i]); err != nil {
				return err
			}
		}
		return recordHealth(t, reports)
	})
}

// recordHealth keeps the last health of each endpoint in a batch. Of one that is
// well nothing is kept.
func recordHealth(t *tx, reports []webhooks.Report) error {
	seen := make(map[string]bool)
	for _, r := range slices.Backward(reports) {
		id, h := r.Delivery.EndpointID, r.Health
		if seen[id] || r.Attempt.Number == 0 {
			continue
		}
		seen[id] = true
		var err error
		if h == (webhooks.Health{}) {
			_, err = t.exec("DELETE FROM endpoint_health WHERE endpoint = ?", id)
		} else {
			_, err = t.exec(`INSERT INTO endpoint_health (endpoint, failures, failing_since, breaks, open_until) VALUES (?,?,?,?,?)
				ON CONFLICT (endpoint) DO UPDATE SET failures = excluded.failures, failing_since = excluded.failing_since,
					breaks = excluded.breaks, open_until = excluded.open_until`,
				id, h.Failures, micros(h.FailingSince), h.Breaks, microsOrZero(h.OpenUntil))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// microsOrZero is micros with 0 for the zero time.
func microsOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return micros(t)
}

// fromMicrosOrZero is fromMicros with the zero time for 0.
func fromMicrosOrZero(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return fromMicros(n)
}

const (
	redeliver = `UPDATE deliveries SET state = 'pending', reason = '', spent = attempts, due_at = ?1, owed_at = ?1, ended_at = NULL,
		digest = NULL, bytes = 0, replay = '' WHERE id = ?2`
	cancelPending = "UPDATE deliveries SET state = 'cancelled', reason = ?, ended_at = ? WHERE id = ? AND state = 'pending'"
)

// Redeliver makes a delivery due at once, whatever became of it, and reports
// whether there is one.
func (s *Store) Redeliver(ctx context.Context, id string, at time.Time) (found bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec(redeliver, micros(at), id)
		found = n > 0
		return err
	})
	return found, err
}

// Cancel ends a delivery that is pending, and reports whether it was.
func (s *Store) Cancel(ctx context.Context, id, reason string, at time.Time) (done bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec(cancelPending, reason, micros(at), id)
		done = n > 0
		return err
	})
	return done, err
}

// record changes nothing about a delivery that is gone or has that attempt on
// record, and of one that has ended only the count of its attempts.
func record(t *tx, r *webhooks.Report) error {
	d, a := &r.Delivery, &r.Attempt
	if a.Number > 0 {
		detail, err := keptDetail(t, d.Stream, a)
		if err != nil {
			return err
		}
		added, err := t.exec(`INSERT INTO attempts (delivery, number, time, status, retry_after, fault, detail, took, digest,
				dns, connect, tls, first_byte)
			SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM deliveries WHERE id = ? ON CONFLICT DO NOTHING`,
			a.Number, micros(a.At), a.Outcome.Status, a.Outcome.RetryAfter.Microseconds(), string(a.Outcome.Fault),
			detail, a.Outcome.Took.Microseconds(), a.Digest, a.Outcome.Timing.DNS.Microseconds(), a.Outcome.Timing.Connect.Microseconds(),
			a.Outcome.Timing.TLS.Microseconds(), a.Outcome.Timing.FirstByte.Microseconds(), d.ID)
		if err != nil || added == 0 {
			return err
		}
	}
	var ended any
	if d.EndedAt != nil {
		ended = micros(*d.EndedAt)
	}
	changed, err := t.exec(recordState,
		string(d.State), string(d.State), d.Reason, d.Attempts, string(d.State), micros(d.DueAt), ended, d.Digest, d.Bytes, d.ID)
	if err == nil && changed == 0 {
		_, err = t.exec("UPDATE deliveries SET attempts = max(attempts, ?) WHERE id = ?", a.Number, d.ID)
	}
	return err
}

// recordState leaves a delivery that was told to stand still under way where it
// is, if it goes on.
const recordState = `UPDATE deliveries SET state = ?,
	reason = CASE WHEN ? = 'pending' AND reason = '` + webhooks.ReasonInTurn + `' THEN reason ELSE ? END, attempts = ?,
	due_at = CASE WHEN ? = 'pending' AND reason = '` + webhooks.ReasonInTurn + `' THEN due_at ELSE ? END,
	ended_at = ?, digest = ?, bytes = ? WHERE id = ? AND state = 'pending'`

// Target returns where and how to send to an endpoint. One whose backfill still
// puts in its place what was kept is as good as disabled.
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
	if row.Backfill != "" && !t.Disabled {
		if t.Disabled, err = s.putsInPlace(ctx, row.Backfill); err != nil {
			return t, err
		}
	}
	if t.Secrets, err = s.Secrets(ctx, endpointID, time.Now()); err != nil {
		return t, err
	}
	if t.Health, err = s.health(ctx, &row); err != nil {
		return t, err
	}
	var headers string
	err = s.read.QueryRowContext(ctx, "SELECT headers FROM endpoint_headers WHERE endpoint = ?", endpointID).Scan(&headers)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t, nil
	case err == nil:
		if headers, err = s.open(endpointID, headers); err == nil {
			err = json.Unmarshal([]byte(headers), &t.Headers)
		}
	}
	if err != nil {
		return t, fmt.Errorf("read endpoint headers: %w", err)
	}
	return t, nil
}

// Health returns how an endpoint has answered of late. One that was enabled since
// begins anew.
func (s *Store) Health(ctx context.Context, endpointID string) (webhooks.Health, error) {
	row, found, err := s.EndpointRow(ctx, endpointID)
	if err != nil || !found {
		return webhooks.Health{}, err
	}
	return s.health(ctx, &row)
}

func (s *Store) health(ctx context.Context, row *projections.EndpointRow) (webhooks.Health, error) {
	var h webhooks.Health
	var since, until int64
	err := s.read.QueryRowContext(ctx, "SELECT failures, failing_since, breaks, open_until FROM endpoint_health WHERE endpoint = ?",
		row.ID).Scan(&h.Failures, &since, &h.Breaks, &until)
	if errors.Is(err, sql.ErrNoRows) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("read endpoint health: %w", err)
	}
	h.FailingSince, h.OpenUntil = fromMicros(since), fromMicrosOrZero(until)
	if h.FailingSince.Before(row.EnabledAt) {
		return webhooks.Health{}, nil
	}
	return h, nil
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
	err = each(ctx, s.read, `SELECT number, time, status, retry_after, fault, detail, took, digest,
			dns, connect, tls, first_byte FROM attempts
		WHERE delivery = ? ORDER BY number`, []any{id}, func(rows *sql.Rows) error {
		var a webhooks.Attempt
		var at, after, took, dns, connect, tls, first int64
		if err := rows.Scan(&a.Number, &at, &a.Outcome.Status, &after, &a.Outcome.Fault, &a.Outcome.Detail, &took, &a.Digest,
			&dns, &connect, &tls, &first); err != nil {
			return err
		}
		a.At = fromMicros(at)
		a.Outcome.RetryAfter = time.Duration(after) * time.Microsecond
		a.Outcome.Took = time.Duration(took) * time.Microsecond
		a.Outcome.Timing = webhooks.Timing{
			DNS: time.Duration(dns) * time.Microsecond, Connect: time.Duration(connect) * time.Microsecond,
			TLS: time.Duration(tls) * time.Microsecond, FirstByte: time.Duration(first) * time.Microsecond,
		}
		attempts = append(attempts, a)
		return nil
	})
	return d, attempts, true, err
}
