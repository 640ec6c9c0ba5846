package sqlite

import (
	"context"
	"database/sql"

	"verbatim/webhooks"
)

var _ webhooks.NoticeKeeper = (*Store)(nil)

// keepNotices keeps what a report tells of its endpoint.
func keepNotices(t *tx, r *webhooks.Report) error {
	for i := range r.Notices {
		n := &r.Notices[i]
		var since any
		if !n.Since.IsZero() {
			since = micros(n.Since)
		}
		d := n.Delivery
		_, err := t.exec(`INSERT INTO notices (key, endpoint, account, kind, time, since, delivery, name, stream, attempts, reason, status, fault)
			VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`,
			n.Key(), n.EndpointID, n.Account, string(n.Kind), micros(n.At), since,
			d.ID, d.Name, d.Stream, d.Attempts, d.Reason, n.Outcome.Status, string(n.Outcome.Fault))
		if err != nil {
			return err
		}
	}
	return nil
}

// Notices returns the oldest notices that are kept; see webhooks.NoticeKeeper.
func (s *Store) Notices(ctx context.Context, limit int) ([]webhooks.Notice, error) {
	var out []webhooks.Notice
	err := each(ctx, s.read, `SELECT endpoint, account, kind, time, since, delivery, name, stream, attempts, reason, status, fault
		FROM notices ORDER BY number LIMIT ?`, []any{limit}, func(rows *sql.Rows) error {
		n := webhooks.Notice{Delivery: &webhooks.Delivery{}}
		var at int64
		var since sql.NullInt64
		d := n.Delivery
		err := rows.Scan(&n.EndpointID, &n.Account, &n.Kind, &at, &since, &d.ID, &d.Name, &d.Stream, &d.Attempts, &d.Reason,
			&n.Outcome.Status, &n.Outcome.Fault)
		n.At = fromMicros(at)
		if since.Valid {
			n.Since = fromMicros(since.Int64)
		}
		out = append(out, n)
		return err
	})
	return out, err
}

// Said forgets a notice; see webhooks.NoticeKeeper.
func (s *Store) Said(ctx context.Context, key string) error {
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec("DELETE FROM notices WHERE key = ?", key)
		return err
	})
}
