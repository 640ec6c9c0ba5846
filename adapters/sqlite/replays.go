package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"verbatim/projections"
	"verbatim/webhooks"
)

var _ webhooks.ReplayStore = (*Store)(nil)

const (
	replayColumns = "id, kind, endpoint, account, key, selection, rate, state, phase, error, begun, upto, position, name, counts, " +
		"settled_position, settled_name, receipt, created_at, ended_at"
	insertReplay = "INSERT INTO replays (" + replayColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)

func scanReplay(row interface{ Scan(...any) error }) (webhooks.Replay, error) {
	var r webhooks.Replay
	var selection, counts, receipt string
	var created int64
	var ended sql.NullInt64
	err := row.Scan(&r.ID, &r.Kind, &r.EndpointID, &r.Account, &r.Key, &selection, &r.Rate, &r.State, &r.Phase, &r.Error, &r.Begun, &r.To,
		&r.Cursor.Position, &r.Cursor.Name, &counts, &r.Settled.Position, &r.Settled.Name, &receipt, &created, &ended)
	if err != nil {
		return r, err
	}
	r.CreatedAt = fromMicros(created)
	if ended.Valid {
		at := fromMicros(ended.Int64)
		r.EndedAt = &at
	}
	return r, errors.Join(json.Unmarshal([]byte(selection), &r.Selection), json.Unmarshal([]byte(counts), &r.Counts),
		json.Unmarshal([]byte(receipt), &r.Receipt))
}

// replayValues returns the values of replayColumns.
func replayValues(r *webhooks.Replay) ([]any, error) {
	selection, err := json.Marshal(r.Selection)
	if err != nil {
		return nil, fmt.Errorf("encode a selection: %w", err)
	}
	counts, err := json.Marshal(r.Counts)
	if err != nil {
		return nil, fmt.Errorf("encode counts: %w", err)
	}
	receipt, err := json.Marshal(r.Receipt)
	if err != nil {
		return nil, fmt.Errorf("encode a receipt: %w", err)
	}
	return []any{
		r.ID, r.Kind, r.EndpointID, r.Account, r.Key, string(selection), r.Rate, string(r.State), string(r.Phase), r.Error, r.Begun, r.To,
		r.Cursor.Position, r.Cursor.Name, string(counts), r.Settled.Position, r.Settled.Name, string(receipt), micros(r.CreatedAt), endedAt(r.EndedAt),
	}, nil
}

func endedAt(at *time.Time) any {
	if at == nil {
		return nil
	}
	return micros(*at)
}

func (s *Store) replay(ctx context.Context, where string, args ...any) (webhooks.Replay, bool, error) {
	r, err := scanReplay(s.read.QueryRowContext(ctx, "SELECT "+replayColumns+" FROM replays "+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("read replay: %w", err)
	}
	return r, true, nil
}

func (s *Store) replays(ctx context.Context, where string, args ...any) (out []webhooks.Replay, err error) {
	err = each(ctx, s.read, "SELECT "+replayColumns+" FROM replays "+where, args, func(rows *sql.Rows) error {
		r, err := scanReplay(rows)
		out = append(out, r)
		return err
	})
	return out, err
}

// Replay returns a replay, and whether there is one.
func (s *Store) Replay(ctx context.Context, id string) (webhooks.Replay, bool, error) {
	return s.replay(ctx, "WHERE id = ?", id)
}

// ReplayByKey returns the last replay that an account asked for with that
// idempotency key, and whether there is one.
func (s *Store) ReplayByKey(ctx context.Context, account, key string) (webhooks.Replay, bool, error) {
	return s.replay(ctx, "INDEXED BY replays_key WHERE account = ? AND key = ? AND key <> '' ORDER BY id DESC LIMIT 1", account, key)
}

// Replays returns an account's replays, those on an endpoint or ("") on all,
// newest first, those before an id ("" for the start), at most limit.
func (s *Store) Replays(ctx context.Context, account, endpointID, before string, limit int) ([]webhooks.Replay, error) {
	where, args := "INDEXED BY replays_account WHERE account = ?", []any{account}
	if endpointID != "" {
		where, args = "INDEXED BY replays_endpoint WHERE endpoint = ? AND account = ?", []any{endpointID, account}
	}
	if before != "" {
		where, args = where+" AND id < ?", append(args, before)
	}
	return s.replays(ctx, where+" ORDER BY id DESC LIMIT ?", append(args, limit)...)
}

const runningReplay = "INDEXED BY replays_running WHERE endpoint = ? AND state IN ('running', 'paused')"

// AddReplay keeps a replay that begins to run. If there is one for its endpoint
// that has not ended, it is not kept, and that one is returned instead: added is
// false.
func (s *Store) AddReplay(ctx context.Context, r webhooks.Replay) (_ webhooks.Replay, added bool, err error) {
	values, err := replayValues(&r)
	if err != nil {
		return r, false, err
	}
	for {
		err := s.write1(ctx, func(t *tx) error {
			running, err := exists(t, "SELECT 1 FROM replays "+runningReplay, r.EndpointID)
			if added = !running; err == nil && added {
				_, err = t.exec(insertReplay, values...)
			}
			return err
		})
		if err != nil || added {
			return r, added, err
		}
		other, found, err := s.replay(ctx, runningReplay, r.EndpointID)
		if err != nil || found {
			return other, false, err
		}
		// It ended just now.
	}
}

// exists reports whether a query has an answer.
func exists(t *tx, query string, args ...any) (found bool, err error) {
	err = t.query(query, args, func([]driver.Value) error { found = true; return nil })
	return found, err
}

// PauseReplay lets a replay that feeds make nothing more pending, and reports
// whether it did.
func (s *Store) PauseReplay(ctx context.Context, id string) (bool, error) {
	return s.setReplay(ctx, "UPDATE replays SET state = 'paused' WHERE id = ? AND state = 'running' AND phase IN ('hold', 'feed')", id)
}

// ResumeReplay lets a paused replay go on, and reports whether it did.
func (s *Store) ResumeReplay(ctx context.Context, id string) (bool, error) {
	return s.setReplay(ctx, "UPDATE replays SET state = 'running' WHERE id = ? AND state = 'paused'", id)
}

// CancelReplay ends a replay, and reports whether it did.
func (s *Store) CancelReplay(ctx context.Context, id string, at time.Time) (bool, error) {
	return s.setReplay(ctx, "UPDATE replays SET state = 'cancelled', ended_at = ? WHERE id = ? AND state IN ('running', 'paused')", micros(at), id)
}

func (s *Store) setReplay(ctx context.Context, query string, args ...any) (done bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec(query, args...)
		done = n > 0
		return err
	})
	return done, err
}

// ReplayProgress counts what has become of the deliveries of a replay that are
// still its own, by their states. It reads the index alone.
func (s *Store) ReplayProgress(ctx context.Context, id string) (map[webhooks.State]int64, error) {
	out := make(map[webhooks.State]int64)
	err := each(ctx, s.read, `SELECT state, count(*) FROM deliveries INDEXED BY deliveries_replay
		WHERE replay = ? AND replay <> '' GROUP BY state`, []any{id}, func(rows *sql.Rows) error {
		var state webhooks.State
		var n int64
		err := rows.Scan(&state, &n)
		out[state] = n
		return err
	})
	return out, err
}

// OpenReplays returns the replays for which there is something to do; see
// webhooks.ReplayStore.
func (s *Store) OpenReplays(ctx context.Context) ([]webhooks.Replay, error) {
	return s.replays(ctx, "INDEXED BY replays_open WHERE phase <> '' ORDER BY id")
}

// Holds returns the backfills as the plan sees them.
func (s *Store) Holds(ctx context.Context) (out []projections.Hold, err error) {
	err = each(ctx, s.read, "SELECT id, position, upto FROM replays WHERE kind = 'backfill'", nil, func(rows *sql.Rows) error {
		var h projections.Hold
		err := rows.Scan(&h.ID, &h.Cursor, &h.Until)
		h.Open = h.Until == 0
		out = append(out, h)
		return err
	})
	return out, err
}

// checkHeld returns projections.ErrOvertaken if a backfill is not as a page has
// it. One that begins with the page is.
func checkHeld(t *tx, rows *projections.Rows) error {
	for id, cursor := range rows.Held {
		as := slices.ContainsFunc(rows.Backfills, func(r webhooks.Replay) bool { return r.ID == id })
		err := t.query("SELECT upto, position FROM replays WHERE id = ?", []any{id}, func(v []driver.Value) error {
			as = v[0].(int64) == 0 && (cursor < 0 || v[1].(int64) == cursor)
			return nil
		})
		if err == nil && !as {
			err = fmt.Errorf("%s: %w", id, projections.ErrOvertaken)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// beginBackfill keeps a backfill that the plan begins, unless it is there
// already. What else sends that endpoint the past ends: it begins anew.
func beginBackfill(t *tx, r *webhooks.Replay) error {
	known, err := exists(t, "SELECT 1 FROM replays WHERE id = ?", r.ID)
	if err != nil || known {
		return err
	}
	values, err := replayValues(r)
	if err != nil {
		return err
	}
	// What a backfill before this one had kept standing still, this one takes over.
	// What it had not come to by now, nobody plans.
	if _, err := t.exec(`UPDATE replays SET state = 'cancelled', phase = 'drain', ended_at = ?, error = 'the endpoint begins elsewhere',
			upto = CASE WHEN upto = 0 THEN max(position, ?) ELSE upto END
		WHERE endpoint = ? AND phase IN ('hold', 'feed', 'release')`, micros(r.CreatedAt), r.Begun, r.EndpointID); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE replays SET state = 'cancelled', ended_at = ?, error = 'the endpoint begins elsewhere'
		WHERE endpoint = ? AND state IN ('running', 'paused')`, micros(r.CreatedAt), r.EndpointID); err != nil {
		return err
	}
	_, err = t.exec(insertReplay, values...)
	return err
}

// putsInPlace reports whether a backfill still puts in its place what was kept.
func (s *Store) putsInPlace(ctx context.Context, id string) (bool, error) {
	var n int
	err := s.read.QueryRowContext(ctx, "SELECT count(*) FROM replays WHERE id = ? AND phase = 'hold'", id).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("read replay: %w", err)
	}
	return n > 0, nil
}

// FirstAt returns the position of the first event in the log that happened then
// or later, or one behind the head. Times may run backwards where events were
// imported; positions do not.
func (s *Store) FirstAt(ctx context.Context, at time.Time) (position int64, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT coalesce((SELECT position FROM events WHERE time >= ? ORDER BY position LIMIT 1),
		(SELECT coalesce(max(position), 0) + 1 FROM events))`, micros(at)).Scan(&position)
	if err != nil {
		return 0, fmt.Errorf("find a time in the log: %w", err)
	}
	return position, nil
}

// ReplayPending counts the pending deliveries of a replay, up to limit.
func (s *Store) ReplayPending(ctx context.Context, id string, limit int) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_replay
		WHERE replay = ? AND replay <> '' AND state = 'pending' LIMIT ?)`, id, limit).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count pending deliveries: %w", err)
	}
	return n, nil
}

// ReplayEnded returns the deliveries of a replay behind a mark that have ended;
// see webhooks.ReplayStore.
func (s *Store) ReplayEnded(ctx context.Context, id string, after webhooks.Mark, limit int) ([]webhooks.Delivery, error) {
	upTo := newest()
	err := s.read.QueryRowContext(ctx, `SELECT position, name FROM deliveries INDEXED BY deliveries_replay
		WHERE replay = ? AND replay <> '' AND state = 'pending' ORDER BY position, name LIMIT 1`, id).Scan(&upTo.Position, &upTo.Name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read a replay's deliveries: %w", err)
	}
	return s.merged(ctx, []webhooks.State{webhooks.Cancelled, webhooks.Delivered, webhooks.Parked}, limit,
		"INDEXED BY deliveries_replay WHERE replay = ? AND replay <> '' AND state = ? AND (position, name) > (?, ?) AND (position, name) < (?, ?)",
		func(state webhooks.State) []any {
			return []any{id, string(state), after.Position, after.Name, upTo.Position, upTo.Name}
		})
}

// DeliveriesBehind returns deliveries of an endpoint behind a mark; see
// webhooks.ReplayStore.
func (s *Store) DeliveriesBehind(
	ctx context.Context, endpointID string, states []webhooks.State, after webhooks.Mark, limit int,
) ([]webhooks.Delivery, error) {
	return s.merged(ctx, states, limit,
		"INDEXED BY deliveries_state WHERE endpoint = ? AND state = ? AND (position, name) > (?, ?)",
		func(state webhooks.State) []any { return []any{endpointID, string(state), after.Position, after.Name} })
}

// merged reads deliveries in each of the states, each along an index that has a
// state in order, and returns the first of all of them.
func (s *Store) merged(
	ctx context.Context, states []webhooks.State, limit int, where string, args func(webhooks.State) []any,
) ([]webhooks.Delivery, error) {
	var all []webhooks.Delivery
	for _, state := range states {
		ds, err := s.deliveries(ctx, "SELECT "+deliveryColumns+" FROM deliveries "+where+" ORDER BY position, name LIMIT ?",
			append(args(state), limit)...)
		if err != nil {
			return nil, err
		}
		all = append(all, ds...)
	}
	sortDeliveries(all)
	return all[:min(limit, len(all))], nil
}

func sortDeliveries(ds []webhooks.Delivery) {
	slices.SortFunc(ds, func(a, b webhooks.Delivery) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), strings.Compare(a.Name, b.Name))
	})
}

const deliveriesAt = "SELECT " + deliveryColumns + ` FROM deliveries INDEXED BY deliveries_state
	WHERE endpoint = ? AND state IN ('cancelled', 'delivered', 'parked', 'pending') AND position IN (SELECT value FROM json_each(?))`

// DeliveriesAt returns the deliveries of an endpoint for the events at those
// positions, in order.
func (s *Store) DeliveriesAt(ctx context.Context, endpointID string, positions []int64) ([]webhooks.Delivery, error) {
	list, err := json.Marshal(positions)
	if err != nil {
		return nil, fmt.Errorf("encode positions: %w", err)
	}
	ds, err := s.deliveries(ctx, deliveriesAt, endpointID, string(list))
	sortDeliveries(ds)
	return ds, err
}

// PlanParked returns how far the plan has got, and the streams that it has parked;
// see webhooks.ReplayStore.
func (s *Store) PlanParked(ctx context.Context) (position int64, parked map[string]int64, err error) {
	// First: what is parked then is parked at that position or behind it.
	err = s.read.QueryRowContext(ctx, "SELECT position FROM checkpoints WHERE projection = ?", planName()).Scan(&position)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, nil, fmt.Errorf("read a checkpoint: %w", err)
	}
	parked = make(map[string]int64)
	err = each(ctx, s.read, "SELECT stream, version FROM parked WHERE projection = ?", []any{planName()}, func(rows *sql.Rows) error {
		var stream string
		var version int64
		err := rows.Scan(&stream, &version)
		parked[stream] = version
		return err
	})
	return position, parked, err
}

func planName() string { return (*projections.Plan)(nil).Name() }

// RecentTook returns how long the last attempts of an endpoint took that were
// accepted.
func (s *Store) RecentTook(ctx context.Context, endpointID string) (time.Duration, bool, error) {
	const look = 100
	var took sql.NullFloat64
	err := s.read.QueryRowContext(ctx, `SELECT avg(a.took) FROM
		(SELECT id, attempts FROM deliveries INDEXED BY deliveries_state
			WHERE endpoint = ? AND state = 'delivered' ORDER BY position DESC, name DESC LIMIT ?) AS d
		JOIN attempts AS a ON a.delivery = d.id AND a.number = d.attempts`, endpointID, look).Scan(&took)
	if err != nil {
		return 0, false, fmt.Errorf("read attempts: %w", err)
	}
	return time.Duration(took.Float64 * float64(time.Microsecond)), took.Valid, nil
}

const (
	sendAgain = `UPDATE deliveries SET state = 'pending', reason = '', spent = attempts, due_at = ?1, owed_at = ?1, ended_at = NULL,
		digest = NULL, bytes = 0, replay = ?2 WHERE id = ?3 AND state = ?4 AND reason = ?5`
	planFresh  = "INSERT INTO deliveries (" + plannedColumns + ", replay, owed_at) VALUES (" + plannedPlaces + ",?,?) ON CONFLICT DO NOTHING"
	standStill = "UPDATE deliveries SET due_at = ?, reason = '" + webhooks.ReasonInTurn + "' WHERE id = ? AND state = 'pending'"
)

// StepReplay commits a step of a replay; see webhooks.ReplayStore.
func (s *Store) StepReplay(
	ctx context.Context, before webhooks.Replay, step webhooks.ReplayStep, at time.Time,
) (after webhooks.Replay, lanes []webhooks.Lane, err error) {
	err = s.write1(ctx, func(t *tx) error {
		after, lanes = step.After, nil
		if err := stands(t, &before, step.Unless); err != nil {
			return err
		}
		if err := closeBackfill(t, &after, step.Close); err != nil {
			return err
		}
		seen := make(map[webhooks.Lane]bool)
		change := func(d *webhooks.Delivery, counts *int64, query string, args ...any) error {
			n, err := t.exec(query, args...)
			*counts += n
			if lane := (webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}); n > 0 && !seen[lane] {
				seen[lane] = true
				lanes = append(lanes, lane)
			}
			return err
		}
		for i := range step.Again {
			d := &step.Again[i]
			counts := &after.Counts.SentAgain
			if d.State == webhooks.Pending {
				counts = &after.Counts.Kept
			}
			if err := change(d, counts, sendAgain, micros(at), after.ID, d.ID, string(d.State), d.Reason); err != nil {
				return err
			}
		}
		for i := range step.Fresh {
			d := &step.Fresh[i]
			if err := change(d, &after.Counts.Planned, planFresh,
				d.ID, d.WebhookID, d.EndpointID, d.Account, d.Stream, d.Lane, d.Position, d.Version, d.EventID[:], d.Event, d.Name,
				d.Dialect, d.History, string(d.State), micros(d.DueAt), micros(d.CreatedAt), after.ID, micros(at)); err != nil {
				return err
			}
		}
		after.Counts.Left += int64(len(step.Again)+len(step.Fresh)) - (after.Counts.Fed() - step.After.Counts.Fed())
		var other int64
		for i := range step.Hold {
			d := &step.Hold[i]
			if err := change(d, &other, standStill, micros(webhooks.Never()), d.ID); err != nil {
				return err
			}
		}
		for i := range step.Cancel {
			d := &step.Cancel[i]
			if err := change(d, &other, cancelPending, step.Reason, micros(at), d.ID); err != nil {
				return err
			}
		}
		return updateReplay(t, &after)
	})
	if err != nil {
		return before, nil, err
	}
	return after, lanes, nil
}

// stands returns webhooks.ErrReplayMoved if a replay, or a stream on which a step
// relies, is not where the step began.
func stands(t *tx, before *webhooks.Replay, unless []webhooks.ParkedAt) error {
	there, err := exists(t, "SELECT 1 FROM replays WHERE id = ? AND state = ? AND phase = ? AND position = ? AND name = ?",
		before.ID, string(before.State), string(before.Phase), before.Cursor.Position, before.Cursor.Name)
	for i := 0; i < len(unless) && err == nil && there; i++ {
		there, err = exists(t, "SELECT 1 FROM parked WHERE projection = ? AND stream = ? AND version = ?",
			planName(), unless[i].Stream, unless[i].Version)
	}
	if err == nil && !there {
		err = fmt.Errorf("%s: %w", before.ID, webhooks.ErrReplayMoved)
	}
	return err
}

// closeBackfill lets a backfill go over to live events, if it is to.
func closeBackfill(t *tx, r *webhooks.Replay, how webhooks.Closing) error {
	if how == webhooks.StayOpen || r.To > 0 {
		return nil
	}
	plan := int64(0)
	err := t.query("SELECT position FROM checkpoints WHERE projection = ?", []any{planName()}, func(v []driver.Value) error {
		plan = v[0].(int64)
		return nil
	})
	if err == nil && how == webhooks.CloseIfLevel && plan > r.Cursor.Position {
		err = fmt.Errorf("%s: the plan has come past it: %w", r.ID, webhooks.ErrReplayMoved)
	}
	r.To = max(r.Cursor.Position, plan)
	return err
}

// updateReplay keeps what of a replay changes.
func updateReplay(t *tx, r *webhooks.Replay) error {
	counts, err := json.Marshal(r.Counts)
	if err != nil {
		return fmt.Errorf("encode counts: %w", err)
	}
	receipt, err := json.Marshal(r.Receipt)
	if err != nil {
		return fmt.Errorf("encode a receipt: %w", err)
	}
	_, err = t.exec(`UPDATE replays SET state = ?, phase = ?, error = ?, upto = ?, position = ?, name = ?, counts = ?,
		settled_position = ?, settled_name = ?, receipt = ?, ended_at = ? WHERE id = ?`,
		string(r.State), string(r.Phase), r.Error, r.To, r.Cursor.Position, r.Cursor.Name, string(counts),
		r.Settled.Position, r.Settled.Name, string(receipt), endedAt(r.EndedAt), r.ID)
	return err
}
