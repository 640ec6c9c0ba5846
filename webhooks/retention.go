package webhooks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"verbatim/eventstore"
)

// Limits of a Janitor.
const (
	// PruneBatch bounds the rows, deliveries and attempts together, that one
	// transaction removes, and CancelBatch the deliveries that one cancels: two or
	// three milliseconds that an append may have to wait.
	PruneBatch  = 200
	CancelBatch = 100
	// JanitorBreath lies between two batches: the writer is there for others most
	// of the time, and thousands of rows a second still go.
	JanitorBreath = 50 * time.Millisecond
	// JanitorPause lies between two rounds. Limits are kept to about a minute.
	JanitorPause = time.Minute
)

// Keeping is how long things are kept. A zero is for ever, or any number.
type Keeping struct {
	Deliveries   time.Duration // that have ended, with their attempts, after their end; jobs likewise
	Pending      time.Duration // that wait for a disabled endpoint
	PendingCount int           // of an endpoint that is disabled
	Keys         time.Duration // of requests that must not be done twice
}

// A HeldEndpoint is one that is disabled, so that its deliveries wait.
type HeldEndpoint struct {
	ID    string
	Since time.Time // it has not been changed since
}

// Waiting is which deliveries of a disabled endpoint are looked at, and which of
// them are cancelled.
type Waiting struct {
	After  Mark      // behind it
	UpTo   *Mark     // up to and with it; nil is up to the newest
	Before time.Time // those that have waited since before then; the zero time is all
	Limit  int       // so many are looked at
}

// WaitingSince returns since when a delivery has waited for its endpoint: since it
// was due, or, if it stands still, since it was created. One that was redelivered
// was due when somebody asked for it.
func (d Delivery) WaitingSince() time.Time {
	if d.DueAt.Before(Never()) {
		return d.DueAt
	}
	return d.CreatedAt
}

// RecordKeeper removes what is kept no longer. Every method commits one small
// transaction.
type RecordKeeper interface {
	// PruneDeliveries removes deliveries that ended before then, with their
	// attempts, oldest first, and returns how many. A batch has rows rows or fewer,
	// or else one delivery.
	PruneDeliveries(ctx context.Context, before time.Time, rows int) (int, error)
	// PruneJobs removes at most limit jobs that ended before then.
	PruneJobs(ctx context.Context, before time.Time, limit int) (int, error)
	// PruneKeys forgets at most limit idempotency keys from before then.
	PruneKeys(ctx context.Context, before time.Time, limit int) (int, error)
	// HeldEndpoints returns the endpoints that are disabled.
	HeldEndpoints(ctx context.Context) ([]HeldEndpoint, error)
	// Crowded returns the newest pending delivery of an endpoint that has keep
	// others behind it, and whether there is one.
	Crowded(ctx context.Context, endpointID string, keep int) (Mark, bool, error)
	// CancelWaiting looks at the oldest pending deliveries of an endpoint that w
	// means, cancels those that have waited for too long, and returns the last one
	// that it looked at and how many it cancelled. Nothing is looked at if the
	// endpoint is not disabled, or not any more.
	CancelWaiting(ctx context.Context, endpointID string, w Waiting, reason string, at time.Time) (last Mark, cancelled int, err error)
}

// A Janitor removes what is kept no longer, in rounds of small batches.
type Janitor struct {
	store  RecordKeeper
	keep   Keeping
	clock  func() time.Time
	log    *slog.Logger
	chores []chore // of this round, that are yet to be done
}

// A chore does one batch, and reports whether there may be more.
type chore func(ctx context.Context, now time.Time) (more bool, err error)

// NewJanitor returns a janitor.
func NewJanitor(store RecordKeeper, keep Keeping, clock func() time.Time, log *slog.Logger) *Janitor {
	return &Janitor{store: store, keep: keep, clock: clock, log: log}
}

// Step does one batch. worked says whether the round goes on, and wait how long
// the next Step has to wait. What failed is tried again.
func (j *Janitor) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	now := j.clock().UTC()
	if len(j.chores) == 0 {
		if j.chores, err = j.round(ctx, now); err != nil {
			return false, Pause, err
		}
	}
	if len(j.chores) > 0 {
		more, err := j.chores[0](ctx, now)
		switch {
		case errors.Is(err, eventstore.ErrBusy):
			return false, Pause, nil
		case err != nil:
			return false, Pause, err
		case !more:
			j.chores = j.chores[1:]
		}
	}
	if len(j.chores) == 0 {
		return false, JanitorPause, nil
	}
	return true, JanitorBreath, nil
}

// round returns what there is to do.
func (j *Janitor) round(ctx context.Context, now time.Time) ([]chore, error) {
	var chores []chore
	if j.keep.Deliveries > 0 {
		before := now.Add(-j.keep.Deliveries)
		chores = append(chores, prune(j.store.PruneDeliveries, before), prune(j.store.PruneJobs, before))
	}
	if j.keep.Keys > 0 {
		chores = append(chores, prune(j.store.PruneKeys, now.Add(-j.keep.Keys)))
	}
	if j.keep.Pending <= 0 && j.keep.PendingCount <= 0 {
		return chores, nil
	}
	held, err := j.store.HeldEndpoints(ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range held {
		if before := now.Add(-j.keep.Pending); j.keep.Pending > 0 && e.Since.Before(before) {
			chores = append(chores, j.expire(e.ID, before))
		}
		if j.keep.PendingCount > 0 {
			chores = append(chores, j.thinOut(e.ID))
		}
	}
	return chores, nil
}

func prune(remove func(context.Context, time.Time, int) (int, error), before time.Time) chore {
	return func(ctx context.Context, _ time.Time) (bool, error) {
		n, err := remove(ctx, before, PruneBatch)
		return n > 0, err
	}
}

// expire cancels what has waited for too long. The oldest stand in front: a batch
// in which nothing has expired is the last.
func (j *Janitor) expire(endpointID string, before time.Time) chore {
	w := Waiting{Before: before, Limit: CancelBatch}
	return j.cancel(endpointID, &w, ReasonExpired)
}

// thinOut cancels the oldest of more deliveries than are kept.
func (j *Janitor) thinOut(endpointID string) chore {
	w := Waiting{Limit: CancelBatch}
	cancel := j.cancel(endpointID, &w, ReasonCrowded)
	return func(ctx context.Context, now time.Time) (bool, error) {
		if w.UpTo == nil {
			upTo, crowded, err := j.store.Crowded(ctx, endpointID, j.keep.PendingCount)
			if err != nil || !crowded {
				return false, err
			}
			w.UpTo = &upTo
		}
		return cancel(ctx, now)
	}
}

func (j *Janitor) cancel(endpointID string, w *Waiting, reason string) chore {
	total := 0
	return func(ctx context.Context, now time.Time) (bool, error) {
		last, n, err := j.store.CancelWaiting(ctx, endpointID, *w, reason, now)
		if err != nil {
			return false, err
		}
		w.After = last
		total += n
		if n == 0 && total > 0 {
			j.log.WarnContext(ctx, "deliveries to a disabled endpoint were cancelled",
				"endpoint", endpointID, "reason", reason, "count", total)
		}
		return n > 0, nil
	}
}
