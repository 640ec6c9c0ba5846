package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/webhooks"
)

// A worker is taken on as it says: it rests after its work and after a fault, and
// where it has nothing to do a ring ends the wait.
func TestSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		a := &app{log: slog.New(slog.DiscardHandler)}
		rung := make(chan struct{}, 1)
		start := time.Now()
		var at []time.Duration
		script := []struct {
			worked bool
			wait   time.Duration
			err    error
		}{
			{true, time.Second, nil},
			{false, 2 * time.Second, errors.New("disk full")},
			{false, webhooks.Forever, nil}, // rung at once
			{false, time.Minute, nil},
			{false, webhooks.Forever, nil}, // until the end
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.steps(ctx, "test", rung, func(context.Context) (bool, time.Duration, error) {
				s := script[len(at)]
				at = append(at, time.Since(start))
				return s.worked, s.wait, s.err
			})
		}()
		rung <- struct{}{}
		time.Sleep(time.Hour)
		stop()
		<-done
		want := []time.Duration{0, time.Second, 3 * time.Second, 3 * time.Second, 63 * time.Second}
		if len(at) != len(want) {
			t.Fatalf("steps at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Errorf("step %d at %v, want %v", i, at[i], want[i])
			}
		}
	})
}
