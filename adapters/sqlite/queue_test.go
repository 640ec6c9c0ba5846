package sqlite_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// TestQueue runs the contract of a queue of deliveries on a real file.
func TestQueue(t *testing.T) {
	t.Parallel()
	webhookstest.QueueSuite(t, func(t *testing.T) webhookstest.Subject {
		t.Helper()
		store, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		return queue{store}
	})
}

// queue gives the suite what it needs beside the queue itself.
type queue struct{ *sqlite.Store }

func (q queue) Plan(ctx context.Context, ds []webhooks.Delivery) error {
	return q.CommitPage(ctx, &projections.Page{Rows: projections.Rows{Deliveries: ds}})
}

func (q queue) SetTarget(ctx context.Context, endpointID string, target webhooks.Target) error {
	// Deleting it first takes its secrets and headers with it.
	err := q.DeleteTarget(ctx, endpointID)
	if err == nil {
		row := projections.EndpointRow{ID: endpointID, Settings: target.Settings, Disabled: target.Disabled}
		err = q.commitEndpoint(ctx, row)
	}
	// The newest first: each is added as the newest there is.
	for i := len(target.Secrets) - 1; i >= 0 && err == nil; i-- {
		at := time.Now().Add(-time.Duration(i) * time.Minute)
		err = q.AddSecret(ctx, endpointID, target.Secrets[i], at, time.Now().Add(time.Hour))
	}
	if err == nil && target.Headers != nil {
		err = q.SetHeaders(ctx, endpointID, target.Headers)
	}
	return err
}

func (q queue) DeleteTarget(ctx context.Context, endpointID string) error {
	return q.commitEndpoint(ctx, projections.EndpointRow{ID: endpointID, Deleted: true})
}

func (q queue) commitEndpoint(ctx context.Context, row projections.EndpointRow) error {
	return q.CommitPage(ctx, &projections.Page{Rows: projections.Rows{
		Endpoints: map[string]projections.EndpointRow{row.ID: row},
	}})
}

var errNoDelivery = errors.New("no such delivery")

func (q queue) Delivery(ctx context.Context, id string) (webhooks.Delivery, error) {
	d, _, found, err := q.Store.Delivery(ctx, id)
	if err == nil && !found {
		err = errNoDelivery
	}
	return d, err
}

func (q queue) Attempts(ctx context.Context, id string) ([]webhooks.Attempt, error) {
	_, attempts, _, err := q.Store.Delivery(ctx, id)
	return attempts, err
}

// TestReplayStore runs the contract of a store of replays on a real file.
func TestReplayStore(t *testing.T) {
	t.Parallel()
	webhookstest.ReplaySuite(t, func(t *testing.T) webhookstest.ReplaySubject {
		t.Helper()
		return queue{open(t, t.TempDir())}
	})
}
