package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"verbatim/webhooks"
)

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
	type place struct {
		endpoint string
		position int64
	}
	oldest := make(map[webhooks.Standing]place)
	err = each(ctx, s.read, `SELECT endpoint, count(*), min(position) FROM deliveries INDEXED BY deliveries_pending
		WHERE state = 'pending' GROUP BY endpoint`, nil, func(rows *sql.Rows) error {
		var id string
		var pending int
		var first int64
		if err := rows.Scan(&id, &pending, &first); err != nil {
			return err
		}
		how, ok := standing[id]
		if !ok {
			return nil
		}
		sum := out[how]
		sum.Pending += pending
		out[how] = sum
		if known, ok := oldest[how]; !ok || first < known.position {
			oldest[how] = place{id, first}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for how, first := range oldest {
		var at int64
		err := s.read.QueryRowContext(ctx, "SELECT created_at FROM deliveries WHERE endpoint = ? AND position = ? LIMIT 1",
			first.endpoint, first.position).Scan(&at)
		if errors.Is(err, sql.ErrNoRows) {
			continue // it was there a moment ago
		}
		if err != nil {
			return nil, fmt.Errorf("read the oldest delivery: %w", err)
		}
		sum := out[how]
		sum.Oldest = fromMicros(at)
		out[how] = sum
	}
	return out, nil
}
