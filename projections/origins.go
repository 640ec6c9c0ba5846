package projections

import (
	"context"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits on what is remembered of conversations for filters.
const (
	// originMemory bounds it, in bytes: room for some 40,000 conversations with a
	// few labels each, and for 80 that bear the most and longest labels there can
	// be. When it is full all of it is dropped; what is asked for is read again.
	originMemory = 16 << 20
	originSize   = 256 // bytes of an origin, but for its texts: the struct, its stream's name, its place in the map
)

// An origin is what filters ask of a conversation: where it came in, which its
// first event says, and the labels it bears as of a version.
type origin struct {
	version int64
	inbox   string
	channel string
	labels  []string
}

// take takes the origin on by the next event of its stream.
func (o *origin) take(r *eventstore.Recorded, e domain.Event) {
	o.version = r.Version
	switch e := e.(type) {
	case conversation.Created:
		o.inbox, o.channel = e.Inbox.ID, e.Channel
	case conversation.AttributesChanged:
		o.labels = webhooks.Conversation{Labels: o.labels}.Evolve(r, e).Labels
	}
}

// telling reports whether an event of that type is one that an origin hangs on.
func telling(eventType string) bool {
	return eventType == (conversation.Created{}).EventType() || eventType == (conversation.AttributesChanged{}).EventType()
}

func (o *origin) size() int {
	n := originSize + len(o.inbox) + len(o.channel)
	for _, l := range o.labels {
		const header = 16 // of a string
		n += header + len(l)
	}
	return n
}

// origins remembers origins. It is taken on by the events that it sees, and
// reads what it has not seen.
type origins struct {
	log   eventstore.Store
	codec *eventstore.Codec
	known map[string]*origin // by stream
	size  int                // in bytes, as limit
	limit int
}

func newOrigins(log eventstore.Store, codec *eventstore.Codec) *origins {
	return &origins{log: log, codec: codec, known: make(map[string]*origin), limit: originMemory}
}

// see takes the conversation of f on, if f is the next event of one that is
// known or begins one.
func (m *origins) see(f webhooks.Fact) {
	o, known := m.known[f.Stream]
	switch {
	case known && o.version+1 == f.Version:
		m.size -= o.size()
	case f.Version == 1:
		o = &origin{}
	default:
		return
	}
	o.take(f.Recorded, f.Event)
	m.keep(f.Stream, o)
}

// asOf returns the origin of the conversation of f. Its labels are those as of f
// only if they are wanted: without them one event is read at most, and mostly
// none.
func (m *origins) asOf(ctx context.Context, f webhooks.Fact, labels bool) (*origin, error) {
	o, known := m.known[f.Stream]
	switch {
	case known && (!labels || o.version == f.Version):
		return o, nil
	case known && o.version < f.Version:
		m.size -= o.size()
		delete(m.known, f.Stream) // not to be found half taken on
	default:
		o = &origin{} // an older event than what is known begins from nothing, too
	}
	before := f.Version - 1
	if !labels {
		before = min(before, 1)
	}
	if err := m.read(ctx, o, f.Stream, before); err != nil {
		return nil, err
	}
	if before == f.Version-1 {
		o.take(f.Recorded, f.Event)
	}
	m.keep(f.Stream, o)
	return o, nil
}

// read takes o on to a version, in one scan.
func (m *origins) read(ctx context.Context, o *origin, stream string, version int64) error {
	if o.version >= version {
		return nil
	}
	for r, err := range m.log.ReadStream(ctx, stream, o.version) {
		if err != nil {
			return err
		}
		if r.Version > version {
			break
		}
		var event domain.Event
		if telling(r.Type) {
			if event, err = m.codec.Decode(&r); err != nil {
				return err
			}
		}
		o.take(&r, event)
		if r.Version == version {
			break
		}
	}
	return nil
}

func (m *origins) keep(stream string, o *origin) {
	if was, known := m.known[stream]; known && was != o {
		m.size -= was.size()
	}
	size := o.size()
	if m.size+size > m.limit {
		clear(m.known)
		m.size = 0
	}
	m.known[stream] = o
	m.size += size
}
