package sqlite

import (
	"bytes"
	"sync"

	"verbatim/eventstore"
)

// Limits of the end of the log that is kept in memory: what projections and
// event streams, which follow the log closely, are behind at the most.
const (
	tailEvents = 16_384
	tailBytes  = 8 << 20 // of data and metadata
)

// tail is the end of the log in memory: the events that this process appended
// last, without a gap. Whoever follows the log is spared asking the file for
// what was written to it a moment ago. Whatever changes events in the file has
// to forget them here.
type tail struct {
	mu      sync.RWMutex
	events  []eventstore.Recorded
	bytes   int
	streams map[string][]int64 // positions of the events of each stream
}

// add adds what was committed last. It is called after every commit that took
// the log further; one whose events were not kept, as those of an import, makes
// the tail begin anew.
func (t *tail) add(events []eventstore.Recorded) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.events)
	if n == 0 || len(events) == 0 || t.events[n-1].Position+1 != events[0].Position {
		t.events, t.bytes, t.streams = nil, 0, make(map[string][]int64)
	}
	t.events = append(t.events, events...)
	for i := range events {
		t.bytes += len(events[i].Data) + len(events[i].Metadata)
		t.streams[events[i].Stream] = append(t.streams[events[i].Stream], events[i].Position)
	}
	drop := max(0, len(t.events)-tailEvents)
	for i := range t.events[:drop] {
		t.bytes -= len(t.events[i].Data) + len(t.events[i].Metadata)
	}
	for t.bytes > tailBytes {
		t.bytes -= len(t.events[drop].Data) + len(t.events[drop].Metadata)
		drop++
	}
	for i := range t.events[:drop] {
		stream := t.events[i].Stream
		if rest := t.streams[stream][1:]; len(rest) > 0 {
			t.streams[stream] = rest
		} else {
			delete(t.streams, stream)
		}
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
	for i := at; i < len(page); i++ {
		page[i] = given(page[i])
	}
	return page, to < len(t.events), true
}

// given returns an event for a reader: what a reader is given is the reader's.
func given(r eventstore.Recorded) eventstore.Recorded {
	r.Data, r.Metadata = bytes.Clone(r.Data), bytes.Clone(r.Metadata)
	return r
}

// ofStream returns the event of a stream behind a version, and how many more of
// that stream there are. ok is false if it is not here.
func (t *tail) ofStream(stream string, after int64) (_ eventstore.Recorded, more int, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	positions := t.streams[stream]
	if len(positions) == 0 {
		return eventstore.Recorded{}, 0, false
	}
	first := t.events[positions[0]-t.events[0].Position].Version
	at := after + 1 - first
	if at < 0 || at >= int64(len(positions)) {
		return eventstore.Recorded{}, 0, false
	}
	return given(t.events[positions[at]-t.events[0].Position]), len(positions) - 1 - int(at), true
}
