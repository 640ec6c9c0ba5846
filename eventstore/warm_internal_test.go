package eventstore

import (
	"context"
	"sync"
	"testing"
)

// TestTurnsForget: a stream that nobody waits for takes no memory, also when
// those who waited gave up.
func TestTurnsForget(t *testing.T) {
	t.Parallel()
	var all turns
	var streams sync.WaitGroup
	for _, stream := range []string{"a", "a", "a", "b", "b", "c"} {
		streams.Go(func() {
			for range 100 {
				leave, err := all.take(t.Context(), stream)
				if err != nil {
					t.Error(err)
					return
				}
				leave()
			}
		})
	}
	streams.Wait()

	leave, err := all.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.take(impatient, "a"); err == nil {
		t.Error("two have the turn")
	}
	leave()
	if n := len(all.streams); n > 0 {
		t.Errorf("%d streams are remembered; want none", n)
	}
}
