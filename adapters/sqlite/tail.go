package sqlite

import (
	"bytes"
	"sync"

	"verbatim/eventstore"
)

// Limits of the end of the log that is kept in memory: what projections and
// event streams, which follow the log closely, are behind at the most.
const (
	tailEvents = 4096
	tailBytes  = 8 << 20 // of data and metadata
)

// tail is the end of the log in memory: the events that this process appended
// last, without a gap. Whoever follows the log is spared asking the file for
// what was written to it a moment ago. Whatever changes events in the file has
// to forget them here.
type tail struct {
	mu     sync.RWMutex
	events []eventstore.Recorded
	bytes  int
}

// add adds what was committed last. It is called after every commit that took
// the log further; one whose events were not kept, as those of an import, makes
// the tail begin anew.
func (t *tail) add(events []eventstore.Recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.events)
	if len(events) == 0 || n > 0 && t.events[n-1].Position+1 != events[0].Position {
		t.events, t.bytes = nil, 0
	}
	t.events = append(t.events, events...)
	for i := range events {
		t.bytes += len(events[i].Data) + len(events[i].Metadata)
	}
	drop := max(0, len(t.events)-tailEvents)
	for i := range t.events[:drop] {
		t.bytes -= len(t.events[i].Data) + len(t.events[i].Metadata)
	}
	for t.bytes > tailBytes {
		t.bytes -= len(t.events[drop].Data) + len(t.events[drop].Metadata)
		drop++
	}
	clear(t.events[:drop]) // or what they hold would stay until the slice moves
	t.events = t.events[drop:]
}

// after appends a page of the events behind a position and says whether there
// are more. ok is false if the tail does not reach back so far.
func (t *tail) after(page []eventstore.Recorded, position int64) (_ []eventstore.Recorded, more, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.events) == 0 || position+1 < t.events[0].Position {
		return page, false, false
	}
	from := min(int(position+1-t.events[0].Position), len(t.events))
	to := min(from+pageSize, len(t.events))
	at := len(page)
	page = append(page, t.events[from:to]...)
	for i := at; i < len(page); i++ { // what a reader is given is the reader's
		page[i].Data, page[i].Metadata = bytes.Clone(page[i].Data), bytes.Clone(page[i].Metadata)
	}
	return page, to < len(t.events), true
}
