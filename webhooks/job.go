package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"verbatim/eventstore"
)

// Limits of jobs.
const (
	// JobBatch bounds the deliveries that one transaction of a job changes: two or
	// three milliseconds that an append may have to wait.
	JobBatch = 100
	// JobLook bounds the deliveries that are read to find them.
	JobLook = 500
	// JobBreath lies between two batches, so that the writer is there for others
	// most of the time: a million deliveries take some minutes.
	JobBreath = 20 * time.Millisecond
)

// A JobState is where a job stands.
type JobState string

// The states. A job runs until it ends in one of the others.
const (
	JobRunning   JobState = "running"
	JobDone      JobState = "done"
	JobCancelled JobState = "cancelled" // somebody cancelled it; what it has done stays done
	JobFailed    JobState = "failed"
)

// RetryFailed is the kind of a job that makes deliveries that were parked
// pending again.
const RetryFailed = "retry_failed"

// A Job is work on deliveries of an endpoint that is too much for one request.
// It goes on where it was after a restart.
type Job struct {
	ID         string // "job_…", ascending in time
	Kind       string
	EndpointID string
	Account    string
	Key        string    // idempotency key of the request for it, or ""
	Selection  Selection // of the deliveries that had been parked when it was asked for
	State      JobState
	Error      string // why it failed
	Total      *int64 // deliveries that it is about, if that is known beforehand
	Done       int64  // of them
	After      Mark   // how far it has got
	CreatedAt  time.Time
	EndedAt    *time.Time
}

// Selects reports whether a delivery is among those that the job is about. One
// that was parked after the job was asked for, maybe because of it, is not: the
// job has an end.
func (j *Job) Selects(d *Delivery) bool {
	return d.State == Parked && d.EndedAt != nil && !d.EndedAt.After(j.CreatedAt) && j.Selection.Match(d)
}

// JobStore keeps jobs.
type JobStore interface {
	// NextJob returns the running job with the next higher id, the one with the
	// lowest after the last, and whether there is one.
	NextJob(ctx context.Context, after string) (Job, bool, error)
	// RetryParked takes a job further: it looks at JobLook deliveries at most, makes
	// JobBatch of them at most pending again, oldest first, and commits that
	// together with the job as it is after it. It returns the lanes that have
	// something new. A job that does not run any more changes nothing.
	RetryParked(ctx context.Context, j Job, at time.Time) (Job, []Lane, error)
}

// Jobs does what is asked for in jobs, a batch of each in turn.
//
// Ring may be called from anywhere. Step belongs to one goroutine.
type Jobs struct {
	store  JobStore
	reload func(Lane)
	clock  func() time.Time
	log    *slog.Logger
	wake   chan struct{}
	last   string // id of the job that was taken further last
}

// NewJobs returns a worker. reload is told of every lane that has something new,
// after its commit; Dispatcher.Reload is one.
func NewJobs(store JobStore, reload func(Lane), clock func() time.Time, log *slog.Logger) *Jobs {
	return &Jobs{store: store, reload: reload, clock: clock, log: log, wake: make(chan struct{}, 1)}
}

// Ring says that there is a new job.
func (w *Jobs) Ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Rung receives after Ring was called.
func (w *Jobs) Rung() <-chan struct{} { return w.wake }

// Step does one batch of one job. worked says whether there was one, and wait
// how long the next Step has to wait: Forever if there is none until Ring.
func (w *Jobs) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	before, found, err := w.store.NextJob(ctx, w.last)
	if err != nil {
		return false, Pause, err
	}
	if !found {
		return false, Forever, nil
	}
	w.last = before.ID
	after, lanes, err := w.store.RetryParked(ctx, before, w.clock().UTC().Truncate(time.Microsecond))
	switch {
	case errors.Is(err, eventstore.ErrBusy):
		return false, Pause, nil
	case err != nil:
		return false, Pause, err
	}
	for _, l := range lanes {
		w.reload(l)
	}
	if after.State != JobRunning {
		w.log.InfoContext(ctx, "job ended", "job", after.ID, "kind", after.Kind, "endpoint", after.EndpointID,
			"state", string(after.State), "done", after.Done)
	}
	return true, JobBreath, nil
}
