package projections

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits on the histories kept in memory.
const (
	// TranscriptMemory bounds their size together. It is spent on the
	// conversations that are being had; what falls out is read again.
	TranscriptMemory = 64 << 20
	// cursorsPerStream is how many places in one conversation are kept: the
	// newest, and those of endpoints that are behind.
	cursorsPerStream = 4
)

// Transcripts gives histories as of a version, straight from the log. A history
// that is taken on from where it was costs what is new, whatever its length.
type Transcripts struct {
	log      eventstore.Store
	codec    *eventstore.Codec
	dialects *webhooks.Dialects

	limit int // TranscriptMemory

	mu      sync.Mutex
	streams map[string]*transcript
	recent  *list.List // of *transcript, last used first
	size    int
}

// transcript is what is kept of one stream. Its lock is held while a history
// of it is in use.
type transcript struct {
	sync.Mutex

	stream  string
	cursors []*webhooks.History // by last use, newest first
	element *list.Element
	size    int // counted in Transcripts.size
}

// NewTranscripts returns histories from that log, and bodies in those dialects.
func NewTranscripts(log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects) *Transcripts {
	return &Transcripts{
		log: log, codec: codec, dialects: dialects, limit: TranscriptMemory,
		streams: make(map[string]*transcript), recent: list.New(),
	}
}

// Newest as a version stands for the last there is.
const Newest = int64(1<<63 - 1)

// With calls use with the history of a conversation as of a version, or as of
// its end if that comes first, and with the event of that version. The history
// is only valid during the call and must not be changed. An empty stream is a
// history of version 0 and a nil event.
func (t *Transcripts) With(
	ctx context.Context, stream string, version int64, use func(h *webhooks.History, last *webhooks.Fact) error,
) error {
	tr := t.enter(stream)
	defer t.leave(tr)
	h := tr.cursorFor(version)
	before := h.Conversation.Version
	last, err := t.takeOn(ctx, h, stream, version)
	if err == nil && last == nil && before > 0 {
		// There was nothing new: the last one is read again, for itself.
		last, err = t.takeOn(ctx, h, stream, before)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	return use(h, last)
}

// takeOn takes h on to a version, or to the end if that comes first, and returns
// the last event it read: the one of that version, if h was there already.
func (t *Transcripts) takeOn(
	ctx context.Context, h *webhooks.History, stream string, version int64,
) (last *webhooks.Fact, err error) {
	for r, err := range t.log.ReadStream(ctx, stream, min(h.Conversation.Version, version-1)) {
		if err != nil {
			return nil, err
		}
		if r.Version > version {
			break
		}
		event, err := t.codec.Decode(&r)
		if err != nil {
			return nil, err
		}
		e, ok := event.(conversation.Event)
		if !ok {
			return nil, fmt.Errorf("position %d: %s does not belong here", r.Position, r.Type)
		}
		if r.Version > h.Conversation.Version {
			h.Apply(&r, e)
		}
		last = &webhooks.Fact{Recorded: &r, Event: event}
		if r.Version == version {
			break
		}
	}
	return last, nil
}

// Conversation returns a conversation as of a version without its messages, and
// false if there is none.
func (t *Transcripts) Conversation(ctx context.Context, id string, version int64) (webhooks.Conversation, bool, error) {
	var c webhooks.Conversation
	err := t.With(ctx, eventstore.StreamName("conversation", id), version, func(h *webhooks.History, _ *webhooks.Fact) error {
		c = h.Conversation
		return nil
	})
	return c, c.Version > 0, err
}

// Body renders the body of a delivery. It depends on the delivery's stream up
// to its version, its dialect and its history setting, and on nothing else.
func (t *Transcripts) Body(ctx context.Context, d *webhooks.Delivery) ([]byte, error) {
	dialect, err := t.dialects.Find(d.Dialect)
	if err != nil {
		return nil, err
	}
	last, err := endpoint.ParseHistory(d.History)
	if err != nil {
		return nil, err
	}
	var body []byte
	render := func(h *webhooks.History, f *webhooks.Fact) error {
		if f == nil || f.Version != d.Version {
			return fmt.Errorf("%s has no version %d", d.Stream, d.Version)
		}
		body, err = dialect.AppendBody(nil, d.Name, *f, h, last)
		return err
	}
	if kind, _ := eventstore.SplitStream(d.Stream); kind == "conversation" {
		err = t.With(ctx, d.Stream, d.Version, render)
	} else {
		err = t.withFact(ctx, d.Stream, d.Version, func(f *webhooks.Fact) error { return render(nil, f) })
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

// withFact calls use with one event of a stream that is no conversation.
func (t *Transcripts) withFact(ctx context.Context, stream string, version int64, use func(*webhooks.Fact) error) error {
	for r, err := range t.log.ReadStream(ctx, stream, version-1) {
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		event, err := t.codec.Decode(&r)
		if err != nil {
			return fmt.Errorf("read %s: %w", stream, err)
		}
		return use(&webhooks.Fact{Recorded: &r, Event: event})
	}
	return use(nil)
}

// cursorFor returns the furthest history that is not beyond the version: one to
// take on, or a new one.
func (tr *transcript) cursorFor(version int64) *webhooks.History {
	best := -1
	for i, h := range tr.cursors {
		if h.Conversation.Version <= version && (best < 0 || h.Conversation.Version > tr.cursors[best].Conversation.Version) {
			best = i
		}
	}
	h := &webhooks.History{}
	if best >= 0 {
		h = tr.cursors[best]
		tr.cursors = slices.Delete(tr.cursors, best, best+1)
	}
	tr.cursors = slices.Insert(tr.cursors, 0, h)
	if len(tr.cursors) > cursorsPerStream {
		tr.cursors = slices.Delete(tr.cursors, cursorsPerStream, len(tr.cursors))
	}
	return h
}

func (t *Transcripts) enter(stream string) *transcript {
	t.mu.Lock()
	tr, ok := t.streams[stream]
	if ok {
		t.recent.MoveToFront(tr.element)
	} else {
		tr = &transcript{stream: stream}
		tr.element = t.recent.PushFront(tr)
		t.streams[stream] = tr
	}
	t.mu.Unlock()
	tr.Lock()
	return tr
}

func (t *Transcripts) leave(tr *transcript) {
	size := 0
	for _, h := range tr.cursors {
		size += h.Size()
	}
	tr.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams[tr.stream] != tr {
		return // thrown out meanwhile
	}
	t.size += size - tr.size
	tr.size = size
	for t.size > t.limit && t.recent.Len() > 1 {
		oldest := t.recent.Back().Value.(*transcript)
		t.recent.Remove(oldest.element)
		delete(t.streams, oldest.stream)
		t.size -= oldest.size
	}
}
