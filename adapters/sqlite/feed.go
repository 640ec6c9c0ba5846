package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"verbatim/projections"
	"verbatim/webhooks"
)

// FeedCursors returns the cursors of an endpoint's feed, by name.
func (s *Store) FeedCursors(ctx context.Context, endpointID string) ([]projections.FeedCursor, error) {
	var out []projections.FeedCursor
	err := each(ctx, s.read, "SELECT name, position, item, time FROM feed_cursors WHERE endpoint = ? ORDER BY name", []any{endpointID},
		func(rows *sql.Rows) error {
			var c projections.FeedCursor
			var at int64
			err := rows.Scan(&c.Name, &c.After.Position, &c.After.Name, &at)
			c.At = fromMicros(at)
			out = append(out, c)
			return err
		})
	return out, err
}

// MoveFeedCursor keeps a cursor of an endpoint's feed. If it is only to go
// forward, one that is further already stays where it is. A new one is not kept,
// and false returned, if the endpoint has most others.
func (s *Store) MoveFeedCursor(ctx context.Context, endpointID string, c projections.FeedCursor, forward bool, most int) (kept bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		var is *webhooks.Mark
		var others int64
		err := t.query("SELECT name = ?, position, item FROM feed_cursors WHERE endpoint = ?", []any{c.Name, endpointID},
			func(v []driver.Value) error {
				if v[0].(int64) == 0 {
					others++
				} else {
					is = &webhooks.Mark{Position: v[1].(int64), Name: v[2].(string)}
				}
				return nil
			})
		kept = is != nil || others < int64(most)
		if err != nil || !kept || is != nil && forward && is.Compare(c.After) >= 0 {
			return err
		}
		_, err = t.exec(`INSERT INTO feed_cursors (endpoint, name, position, item, time) VALUES (?,?,?,?,?)
			ON CONFLICT (endpoint, name) DO UPDATE SET position = excluded.position, item = excluded.item, time = excluded.time`,
			endpointID, c.Name, c.After.Position, c.After.Name, micros(c.At))
		return err
	})
	return kept, err
}

// DropFeedCursor forgets a cursor, and reports whether there was one.
func (s *Store) DropFeedCursor(ctx context.Context, endpointID, name string) (dropped bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec("DELETE FROM feed_cursors WHERE endpoint = ? AND name = ?", endpointID, name)
		dropped = n > 0
		return err
	})
	return dropped, err
}
