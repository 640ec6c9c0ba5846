package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"verbatim/webhooks"
)

var _ webhooks.JobStore = (*Store)(nil)

const jobColumns = "id, kind, endpoint, account, key, selection, state, error, total, done, position, name, created_at, ended_at"

func scanJob(row interface{ Scan(...any) error }) (webhooks.Job, error) {
	var j webhooks.Job
	var selection string
	var total, ended sql.NullInt64
	var created int64
	err := row.Scan(&j.ID, &j.Kind, &j.EndpointID, &j.Account, &j.Key, &selection, &j.State, &j.Error, &total, &j.Done,
		&j.After.Position, &j.After.Name, &created, &ended)
	if err != nil {
		return j, err
	}
	j.CreatedAt = fromMicros(created)
	if total.Valid {
		j.Total = &total.Int64
	}
	if ended.Valid {
		at := fromMicros(ended.Int64)
		j.EndedAt = &at
	}
	return j, json.Unmarshal([]byte(selection), &j.Selection)
}

func (s *Store) job(ctx context.Context, where string, args ...any) (webhooks.Job, bool, error) {
	j, err := scanJob(s.read.QueryRowContext(ctx, "SELECT "+jobColumns+" FROM jobs "+where, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return j, false, nil
	}
	if err != nil {
		return j, false, fmt.Errorf("read job: %w", err)
	}
	return j, true, nil
}

// Job returns a job, and whether there is one.
func (s *Store) Job(ctx context.Context, id string) (webhooks.Job, bool, error) {
	return s.job(ctx, "WHERE id = ?", id)
}

// JobByKey returns the last job that an account asked for with that idempotency
// key, and whether there is one.
func (s *Store) JobByKey(ctx context.Context, account, key string) (webhooks.Job, bool, error) {
	return s.job(ctx, "INDEXED BY jobs_key WHERE account = ? AND key = ? AND key <> '' ORDER BY id DESC LIMIT 1", account, key)
}

// NextJob returns the running job behind that id; see webhooks.JobStore.
func (s *Store) NextJob(ctx context.Context, after string) (webhooks.Job, bool, error) {
	return s.job(ctx, "INDEXED BY jobs_running WHERE state = 'running' ORDER BY id > ? DESC, id LIMIT 1", after)
}

// Jobs returns an account's jobs, those on an endpoint or ("") on all, newest
// first, those before an id ("" for the start), at most limit.
func (s *Store) Jobs(ctx context.Context, account, endpointID, before string, limit int) ([]webhooks.Job, error) {
	query, args := "SELECT "+jobColumns+" FROM jobs INDEXED BY jobs_account WHERE account = ?", []any{account}
	if endpointID != "" {
		query, args = "SELECT "+jobColumns+" FROM jobs INDEXED BY jobs_endpoint WHERE endpoint = ? AND account = ?", []any{endpointID, account}
	}
	if before != "" {
		query, args = query+" AND id < ?", append(args, before)
	}
	var out []webhooks.Job
	err := each(ctx, s.read, query+" ORDER BY id DESC LIMIT ?", append(args, limit), func(rows *sql.Rows) error {
		j, err := scanJob(rows)
		out = append(out, j)
		return err
	})
	return out, err
}

const countParked = "SELECT count(*) FROM deliveries INDEXED BY deliveries_state WHERE endpoint = ? AND state = 'parked'"

// AddJob keeps a job that begins to run, and returns it. If one of its kind runs
// for its endpoint, it is not kept, and that one is returned instead: added is
// false.
func (s *Store) AddJob(ctx context.Context, j webhooks.Job) (_ webhooks.Job, added bool, err error) {
	if j.Selection.All() {
		// The index alone knows how many there are. With conditions nobody does
		// without reading them all.
		var total int64
		err := s.read.QueryRowContext(ctx, countParked, j.EndpointID).Scan(&total)
		if err != nil {
			return j, false, fmt.Errorf("count parked deliveries: %w", err)
		}
		j.Total = &total
	}
	selection, err := json.Marshal(j.Selection)
	if err != nil {
		return j, false, fmt.Errorf("encode a selection: %w", err)
	}
	var total any
	if j.Total != nil {
		total = *j.Total
	}
	for {
		err := s.write1(ctx, func(t *tx) error {
			n, err := t.exec(`INSERT INTO jobs (id, kind, endpoint, account, key, selection, state, total, created_at)
				SELECT ?,?,?,?,?,?,?,?,? WHERE NOT EXISTS
					(SELECT 1 FROM jobs INDEXED BY jobs_running WHERE endpoint = ? AND kind = ? AND state = 'running')`,
				j.ID, j.Kind, j.EndpointID, j.Account, j.Key, string(selection), string(webhooks.JobRunning), total, micros(j.CreatedAt),
				j.EndpointID, j.Kind)
			added = n > 0
			return err
		})
		if err != nil || added {
			return j, added, err
		}
		other, found, err := s.job(ctx, "INDEXED BY jobs_running WHERE endpoint = ? AND kind = ? AND state = 'running'", j.EndpointID, j.Kind)
		if err != nil || found {
			return other, false, err
		}
		// It ended just now.
	}
}

// CancelJob ends a job that runs, and reports whether it did.
func (s *Store) CancelJob(ctx context.Context, id string, at time.Time) (done bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE jobs SET state = 'cancelled', ended_at = ? WHERE id = ? AND state = 'running'", micros(at), id)
		done = n > 0
		return err
	})
	return done, err
}

const nextParked = "SELECT " + deliveryColumns + " FROM deliveries INDEXED BY deliveries_state WHERE endpoint = ? AND state = 'parked' AND (position, name) > (?, ?)" +
	" ORDER BY position, name LIMIT ?"

// parkedBatch looks for the next deliveries that a job is about, and returns how
// far it has looked and whether that was the end.
func (s *Store) parkedBatch(ctx context.Context, j *webhooks.Job) (batch []webhooks.Delivery, after webhooks.Mark, finished bool, err error) {
	after = j.After
	for looked := 0; looked < webhooks.JobLook; looked += webhooks.JobBatch {
		ds, err := s.deliveries(ctx, nextParked, j.EndpointID, after.Position, after.Name, webhooks.JobBatch)
		if err != nil {
			return nil, after, false, err
		}
		for i := range ds {
			if len(batch) == webhooks.JobBatch {
				return batch, after, false, nil
			}
			after = webhooks.MarkOf(&ds[i])
			if j.Selects(&ds[i]) {
				batch = append(batch, ds[i])
			}
		}
		switch {
		case len(ds) < webhooks.JobBatch:
			return batch, after, true, nil
		case len(batch) == webhooks.JobBatch:
			return batch, after, false, nil
		}
	}
	return batch, after, false, nil
}

// RetryParked takes a job further; see webhooks.JobStore. What it is about is
// looked for before the writer's turn.
func (s *Store) RetryParked(ctx context.Context, j webhooks.Job, at time.Time) (webhooks.Job, []webhooks.Lane, error) {
	batch, after, finished, err := s.parkedBatch(ctx, &j)
	if err != nil {
		return j, nil, err
	}
	var out webhooks.Job
	var lanes []webhooks.Lane
	err = s.write1(ctx, func(t *tx) error {
		out, lanes = j, nil
		var deleted bool
		err := t.query("SELECT jobs.state, coalesce(endpoints.deleted, 0) FROM jobs LEFT JOIN endpoints ON endpoints.id = jobs.endpoint WHERE jobs.id = ?",
			[]any{j.ID}, func(v []driver.Value) error {
				out.State, deleted = webhooks.JobState(v[0].(string)), v[1].(int64) != 0
				return nil
			})
		switch {
		case err != nil || out.State != webhooks.JobRunning:
			return err
		case deleted:
			out.State, out.Error, out.EndedAt = webhooks.JobFailed, webhooks.ReasonDeleted, &at
		default:
			seen := make(map[webhooks.Lane]bool)
			for i := range batch {
				d := &batch[i]
				n, err := t.exec(redeliver+" AND state = 'parked' AND ended_at <= ?3", micros(at), d.ID, micros(j.CreatedAt))
				if err != nil {
					return err
				}
				out.Done += n
				lane := webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane}
				if n > 0 && !seen[lane] {
					seen[lane] = true
					lanes = append(lanes, lane)
				}
			}
			out.After = after
			if finished {
				out.State, out.EndedAt = webhooks.JobDone, &at
			}
		}
		var ended any
		if out.EndedAt != nil {
			ended = micros(*out.EndedAt)
		}
		_, err = t.exec("UPDATE jobs SET state = ?, error = ?, done = ?, position = ?, name = ?, ended_at = ? WHERE id = ?",
			string(out.State), out.Error, out.Done, out.After.Position, out.After.Name, ended, j.ID)
		return err
	})
	if err != nil {
		return j, nil, err
	}
	return out, lanes, nil
}
