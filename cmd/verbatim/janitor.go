package main

import (
	"context"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

// keeping is how long things are kept, as it is configured.
func (c *config) keeping() webhooks.Keeping {
	return webhooks.Keeping{
		Deliveries: c.KeepDeliveries, Pending: c.KeepPending, PendingCount: c.KeepCount, Keys: eventstore.KeepKeys,
	}
}

// steps takes a worker step by step until the context is done. In between it waits
// as long as the worker says; where that has nothing to do, a ring ends the wait.
func (a *app) steps(
	ctx context.Context, worker string, rung <-chan struct{}, step func(context.Context) (worked bool, wait time.Duration, err error),
) {
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for ctx.Err() == nil {
		worked, wait, err := step(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Error("a background task failed; it is tried again", "task", worker, "error", err)
		}
		wake, due := rung, (<-chan time.Time)(nil)
		if worked || err != nil {
			wake = nil // it wants its rest
		}
		if wait < webhooks.Forever {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-due:
		}
	}
}
