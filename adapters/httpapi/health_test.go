package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
	"verbatim/projections"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.settled()
	h.do("GET", "/livez", nil, header("Authorization", "")).is(200).has("status", "ok", "version", "test")
	h.do("GET", "/readyz", nil, header("Authorization", "")).is(200).has("status", "ok", "version", "test",
		"head", 2, "projected", 2, "projections.inbox", 2, "projections.webhooks", 2, "parked", "[]", "detail", nil)
}

// parkedGroup is a group in which something stands still.
type parkedGroup struct{ *projections.Group }

func (parkedGroup) Parked() []projections.Parked {
	return []projections.Parked{
		{Projection: "webhooks", Stream: "conversation-2", Position: 9, At: time.Now()},
		{Projection: "inbox", Stream: "conversation-1", Position: 7, At: time.Now()},
	}
}

func TestDegraded(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) {
		group, _ := cfg.Projected.(*projections.Group)
		cfg.Projected = parkedGroup{group}
	})
	h.do("GET", "/readyz", nil).is(200).has("status", "degraded", "parked.0.position", 7, "parked.1.projection", "webhooks")
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) {
		cfg.Ready = func(context.Context) error { return errors.New("stopping") }
	})
	h.do("GET", "/readyz", nil).is(503).has("status", "degraded")
	h.do("GET", "/livez", nil).is(200)
}

// Whoever is to make room is told that there is none.
func TestNotReadyWithoutRoom(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) {
		cfg.Ready = func(context.Context) error { return fmt.Errorf("%w: the disk is full", eventstore.ErrUnwritable) }
	})
	h.do("GET", "/readyz", nil).is(503).has("status", "degraded", "detail", "the log cannot be written: the disk is full")
}

// A list waits for the read models, but not for ever.
func TestListsDoNotWaitForEver(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) { cfg.Projected = stuckGroup{cfg.Projected} })
	h.conversation()
	start := time.Now()
	h.do("GET", "/v1/conversations", nil).is(200)
	if took := time.Since(start); took > 10*time.Second {
		t.Error(took)
	}
}

// stuckGroup never gets anywhere.
type stuckGroup struct{ httpapi.Projected }

func (stuckGroup) Wait(ctx context.Context, _ int64) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.New(httpapi.Config{}); err == nil {
		t.Error("a server out of nothing")
	}
}
