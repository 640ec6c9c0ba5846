package eventstore_test

import (
	"sync"
	"testing"

	"verbatim/eventstore"
)

func TestBell(t *testing.T) {
	t.Parallel()
	var b eventstore.Bell
	b.Ring() // nobody listens
	one, stopOne := b.Listen()
	other, stopOther := b.Listen()
	heard := func(what string, latch <-chan struct{}, want bool) {
		t.Helper()
		got := false
		select {
		case <-latch:
			got = true
		default:
		}
		if got != want {
			t.Errorf("%s: heard %t; want %t", what, got, want)
		}
	}
	heard("a ring before it listened", one, false)
	b.Ring()
	b.Ring()
	heard("a ring before the wait is kept", one, true)
	heard("two rings are one", one, false)
	heard("each listener has its own", other, true)
	stopOne()
	stopOne()
	b.Ring()
	heard("who has stopped hears nothing", one, false)
	heard("and the other does", other, true)
	stopOther()
}

// TestBellWakes: whoever rings after a change and whoever looks for it after
// each wake-up never miss each other.
func TestBellWakes(t *testing.T) {
	t.Parallel()
	var b eventstore.Bell
	const rings, listeners = 500, 4
	var mu sync.Mutex
	count := 0
	var woken sync.WaitGroup
	for range listeners {
		latch, stop := b.Listen()
		woken.Go(func() {
			defer stop()
			for {
				mu.Lock()
				n := count
				mu.Unlock()
				if n == rings {
					return
				}
				<-latch
			}
		})
	}
	for range rings {
		mu.Lock()
		count++
		mu.Unlock()
		b.Ring()
	}
	woken.Wait()
}
