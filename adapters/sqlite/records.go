package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"verbatim/webhooks"
)

// newest is behind every delivery there will be.
func newest() webhooks.Mark { return webhooks.Mark{Position: math.MaxInt64} }

// Deliveries returns an endpoint's deliveries that sel means, newest first, those
// before a mark (the zero one for the start), at most limit. next is where to go
// on from, nil at the end. It looks at webhooks.MaxLook deliveries at most, so
// that there may be a next where there are none yet.
func (s *Store) Deliveries(
	ctx context.Context, endpointID string, sel webhooks.Selection, before webhooks.Mark, limit int,
) (_ []webhooks.Delivery, next *webhooks.Mark, err error) {
	if before == (webhooks.Mark{}) {
		before = newest()
	}
	var q query
	var bottom *webhooks.Mark // of what is looked at, if there is more below
	if sel.Stream != "" {
		q, bottom, err = s.streamQuery(ctx, endpointID, &sel, before)
	} else {
		q, bottom, err = s.stateQuery(ctx, endpointID, &sel, before)
	}
	if err != nil {
		return nil, nil, err
	}
	ds, err := s.deliveries(ctx, q.text+" ORDER BY position DESC, name DESC LIMIT ?", append(q.args, limit+1)...)
	if err != nil {
		return nil, nil, err
	}
	if len(ds) > limit {
		ds = ds[:limit]
		at := webhooks.MarkOf(&ds[limit-1])
		return ds, &at, nil
	}
	return ds, bottom, nil
}

// query is the text of a query and its arguments.
type query struct {
	text string
	args []any
}

// and appends a condition.
func (q *query) and(condition string, args ...any) {
	q.text += " AND " + condition
	q.args = append(q.args, args...)
}

// selectStates returns a query for deliveries of an endpoint, or of one of its
// replays, in each of the states, which SQLite merges, each with the conditions
// that where adds. The index has each state in order: nothing is sorted.
func selectStates(columns, endpointID string, sel *webhooks.Selection, where func(*query)) query {
	var all query
	for i, state := range statesOf(sel) {
		one := query{
			"SELECT " + columns + " FROM deliveries INDEXED BY deliveries_state WHERE endpoint = ? AND state = ?",
			[]any{endpointID, string(state)},
		}
		if sel.Replay != "" {
			one = query{
				"SELECT " + columns + " FROM deliveries INDEXED BY deliveries_replay WHERE replay = ? AND replay <> '' AND state = ?",
				[]any{sel.Replay, string(state)},
			}
		}
		where(&one)
		if i > 0 {
			all.text += " UNION ALL "
		}
		all.text += one.text
		all.args = append(all.args, one.args...)
	}
	return all
}

func statesOf(sel *webhooks.Selection) []webhooks.State {
	states := []webhooks.State{webhooks.Cancelled, webhooks.Delivered, webhooks.Parked, webhooks.Pending}
	return slices.DeleteFunc(states, func(s webhooks.State) bool {
		return len(sel.States) > 0 && !slices.Contains(sel.States, s)
	})
}

// stateQuery selects along the index of states or that of replays, as far down as
// MaxLook allows if there are conditions that the index does not answer.
func (s *Store) stateQuery(
	ctx context.Context, endpointID string, sel *webhooks.Selection, before webhooks.Mark,
) (q query, bottom *webhooks.Mark, err error) {
	if sel.Picky() {
		if bottom, err = s.lookDown(ctx, endpointID, sel, before); err != nil {
			return q, nil, err
		}
	}
	return selectStates(deliveryColumns, endpointID, sel, func(q *query) {
		q.and("(position, name) < (?, ?)", before.Position, before.Name)
		if bottom != nil {
			q.and("(position, name) >= (?, ?)", bottom.Position, bottom.Name)
		}
		if sel.Replay != "" {
			q.and("endpoint = ?", endpointID) // which all of its own are
		}
		filter(q, sel)
	}), bottom, nil
}

// lookDown returns the place of the last delivery before a mark that a request
// may look at, nil if there are fewer. It reads the index alone.
func (s *Store) lookDown(ctx context.Context, endpointID string, sel *webhooks.Selection, before webhooks.Mark) (*webhooks.Mark, error) {
	q := selectStates("position, name", endpointID, sel, func(q *query) {
		q.and("(position, name) < (?, ?)", before.Position, before.Name)
	})
	var m webhooks.Mark
	err := s.read.QueryRowContext(ctx, q.text+" ORDER BY position DESC, name DESC LIMIT 1 OFFSET ?",
		append(q.args, webhooks.MaxLook-1)...).Scan(&m.Position, &m.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("look for deliveries: %w", err)
	}
	return &m, nil
}

// streamQuery selects along a stream of the log: for each of its events, as many
// of them as MaxLook allows, what is owed for it to the endpoint.
func (s *Store) streamQuery(
	ctx context.Context, endpointID string, sel *webhooks.Selection, before webhooks.Mark,
) (q query, bottom *webhooks.Mark, err error) {
	find, args := "SELECT version FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1", []any{sel.Stream}
	if before != newest() {
		find, args = "SELECT version FROM events WHERE position = ? AND stream = ?", []any{before.Position, sel.Stream}
	}
	var top int64
	if err := s.read.QueryRowContext(ctx, find, args...).Scan(&top); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return q, nil, fmt.Errorf("read a stream's versions: %w", err)
	}
	least := max(0, top-webhooks.MaxLook) // the version below those that are looked at
	if least > 0 {
		bottom = &webhooks.Mark{}
		err := s.read.QueryRowContext(ctx, "SELECT position FROM events WHERE stream = ? AND version = ?", sel.Stream, least+1).
			Scan(&bottom.Position)
		if err != nil {
			return q, nil, fmt.Errorf("read a stream's versions: %w", err)
		}
	}
	q = query{
		"SELECT " + prefixed("d.", deliveryColumns) + ` FROM events AS e INDEXED BY events_stream
			CROSS JOIN deliveries AS d INDEXED BY deliveries_state
			WHERE e.stream = ? AND e.version > ? AND e.version <= ? AND d.endpoint = ? AND d.position = e.position`,
		[]any{sel.Stream, least, top, endpointID},
	}
	q.and("(d.position, d.name) < (?, ?)", before.Position, before.Name)
	states := statesOf(sel)
	places := make([]string, len(states))
	for i, state := range states {
		places[i] = "?"
		q.args = append(q.args, string(state))
	}
	q.text += " AND d.state IN (" + strings.Join(places, ",") + ")"
	filter(&q, sel)
	q.text = "SELECT " + deliveryColumns + " FROM (" + q.text + ")"
	return q, bottom, nil
}

func prefixed(prefix, columns string) string {
	return prefix + strings.ReplaceAll(columns, ", ", ", "+prefix)
}

// filter adds what webhooks.Selection.Match asks for beside state and stream.
func filter(q *query, sel *webhooks.Selection) {
	if sel.Replay != "" {
		q.and("replay = ?", sel.Replay)
	}
	if !sel.From.IsZero() {
		q.and("created_at >= ?", micros(sel.From))
	}
	if !sel.To.IsZero() {
		q.and("created_at < ?", micros(sel.To))
	}
	if len(sel.Events) > 0 {
		var terms []string
		var args []any
		for _, n := range sel.Events {
			term := "event = ? OR name = ?"
			args = append(args, n, n)
			if group, isGroup := strings.CutSuffix(n, "*"); isGroup {
				term += " OR substr(event, 1, length(?)) = ?"
				args = append(args, group, group)
			}
			terms = append(terms, term)
		}
		q.and("("+strings.Join(terms, " OR ")+")", args...)
	}
	if len(sel.Reasons) > 0 {
		var args []any
		for _, r := range sel.Reasons {
			args = append(args, r)
		}
		q.and("reason IN (?"+strings.Repeat(",?", len(args)-1)+")", args...)
	}
}
