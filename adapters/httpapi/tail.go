package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"verbatim/domain/contact"
	"verbatim/eventstore"
)

// Limits of a tail.
const (
	tailEvents = 4096     // a burst that the slowest listener may be behind before it reads the log itself
	tailBytes  = 16 << 20 // of their data; an event may have 4 MiB
	// tailPoll is how often the log is looked at although nobody rang: for what
	// another process wrote, and after an error.
	tailPoll = time.Second
)

// A tail keeps the newest events of the log in memory, so that each is read once
// and not once for each of a thousand listeners. It begins when somebody first
// listens.
type tail struct {
	log    eventstore.Store
	bell   *eventstore.Bell
	slog   *slog.Logger
	ctx    context.Context // the life of the goroutine
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	begun  bool                  // the goroutine was started, or never will be
	ready  bool                  // from and events mean something
	from   int64                 // position before the first of events
	events []eventstore.Recorded // consecutive; elements are never changed
	bytes  int                   // of their data
	moved  chan struct{}         // closed when there is more
}

func newTail(log eventstore.Store, bell *eventstore.Bell, logger *slog.Logger) *tail {
	t := &tail{log: log, bell: bell, slog: logger, moved: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// stop ends the reading and waits for its end.
func (t *tail) stop() {
	t.mu.Lock()
	t.begun = true
	t.mu.Unlock()
	t.cancel()
	t.done.Wait()
}

// after returns events behind a position, at most limit, and a channel that is
// closed when there are more. It reports false if the position lies before what
// is kept, and the log itself is to be read.
func (t *tail) after(position int64, limit int) (events []eventstore.Recorded, moved <-chan struct{}, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.begun {
		t.begun = true
		t.done.Go(t.run)
	}
	switch at := position - t.from; {
	case !t.ready:
		return nil, t.moved, true // nothing is known yet; it will be in a moment
	case at < 0:
		return nil, nil, false
	case at >= int64(len(t.events)):
		return nil, t.moved, true
	default:
		return t.events[at:min(at+int64(limit), int64(len(t.events)))], t.moved, true
	}
}

func (t *tail) run() {
	latch, stop := t.bell.Listen()
	defer stop()
	poll := time.NewTicker(tailPoll)
	defer poll.Stop()
	for {
		if err := t.read(); err != nil && t.ctx.Err() == nil {
			t.slog.Error("event streams cannot read the log", "error", err)
		}
		select {
		case <-latch:
		case <-poll.C:
		case <-t.ctx.Done():
			return
		}
	}
}

// read takes in what is new in the log.
func (t *tail) read() error {
	if !t.ready { // written by this goroutine alone
		head, err := t.log.Head(t.ctx)
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.from, t.ready = head, true
		t.wake()
		t.mu.Unlock()
	}
	for r, err := range t.log.ReadLog(t.ctx, t.from+int64(len(t.events))) {
		if err != nil {
			return err
		}
		t.add(r)
	}
	return nil
}

func (t *tail) add(r eventstore.Recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Type == (contact.Erased{}).EventType() {
		// What was erased in the log must not live on here.
		t.events, t.bytes, t.from = nil, 0, r.Position-1
	}
	t.events = append(t.events, r)
	t.bytes += len(r.Data)
	drop := 0
	for len(t.events)-drop > tailEvents || t.bytes > tailBytes {
		t.bytes -= len(t.events[drop].Data)
		drop++
	}
	// What listeners still hold stays as it is; append moves the rest to new
	// memory as soon as the old is used up.
	t.events = t.events[drop:]
	t.from += int64(drop)
	t.wake()
}

func (t *tail) wake() {
	close(t.moved)
	t.moved = make(chan struct{})
}
