package sqlite

import (
	"context"
	"database/sql"

	"verbatim/webhooks"
)

// countOwed looks at every entry of an index, and at no row.
const countOwed = `SELECT endpoint, count(*), min(owed_at) FROM deliveries INDEXED BY deliveries_pending
	WHERE state = 'pending' GROUP BY endpoint`

// Backlog counts what is owed to endpoints, for each way to stand. It reads the whole
// of an index that has nothing but what is pending, and nothing else of it: its
// cost grows with what waits, not with what there ever was. What is owed to
// endpoints that were deleted, and is about to be cancelled, is not counted.
func (s *Store) Backlog(ctx context.Context) (map[webhooks.Standing]webhooks.Backlog, error) {
	out := make(map[webhooks.Standing]webhooks.Backlog)
	for _, how := range webhooks.Standings() {
		out[how] = webhooks.Backlog{}
	}
	broken := make(map[string]bool)
	err := each(ctx, s.read, "SELECT endpoint FROM endpoint_health WHERE breaks > 0", nil, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		broken[id] = true
		return err
	})
	if err != nil {
		return nil, err
	}
	endpoints, err := s.EndpointRows(ctx)
	if err != nil {
		return nil, err
	}
	standing := make(map[string]webhooks.Standing, len(endpoints))
	for _, row := range endpoints {
		how := webhooks.Active
		switch {
		case row.Deleted:
			continue
		case row.Disabled:
			how = webhooks.Disabled
		case broken[row.ID]:
			how = webhooks.Failing
		}
		standing[row.ID] = how
		sum := out[how]
		sum.Endpoints++
		out[how] = sum
	}
	err = each(ctx, s.read, countOwed, nil, func(rows *sql.Rows) error {
		var id string
		var pending int
		var owed int64
		if err := rows.Scan(&id, &pending, &owed); err != nil {
			return err
		}
		how, ok := standing[id]
		if !ok {
			return nil
		}
		sum := out[how]
		sum.Pending += pending
		if since := fromMicros(owed); sum.Oldest.IsZero() || since.Before(sum.Oldest) {
			sum.Oldest = since
		}
		out[how] = sum
		return nil
	})
	return out, err
}
