package projections

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"sync"

	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Limits on the histories kept in memory.
const (
	// TranscriptMemory bounds their size together, in bytes, unless configured
	// otherwise. It is spent on the conversations that are being had; what falls
	// out is read again.
	TranscriptMemory = 64 << 20
	// FeedMemory is the bound of those that feeds are rendered from.
	FeedMemory = 16 << 20
	// cursorsPerStream is how many places in one conversation are kept: the
	// newest, and those of endpoints that are behind.
	cursorsPerStream = 4
	// streamSize is about how many bytes a stream takes beside what its cursors
	// point to: its name, and its places in the map and in the list.
	streamSize = 256
)

// Transcripts gives histories as of a version, straight from the log. A history
// that is taken on from where it was costs what is new, whatever its length.
type Transcripts struct {
	log      eventstore.Store
	codec    *eventstore.Codec
	dialects *webhooks.Dialects

	limit int // bytes

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
	cursors []*subject // by last use, newest first
	element *list.Element
	size    int // counted in Transcripts.size
}

// NewTranscripts returns histories from that log, and bodies in those dialects.
// It keeps about so many bytes of histories in memory; what it is asked for at
// the moment is kept in any case.
func NewTranscripts(log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects, memory int) *Transcripts {
	return &Transcripts{
		log: log, codec: codec, dialects: dialects, limit: memory,
		streams: make(map[string]*transcript), recent: list.New(),
	}
}

// Newest as a version stands for the last there is.
const Newest = int64(1<<63 - 1)

// A subject is what a stream is about, as of one of its versions: a conversation
// with its messages, a contact, or an endpoint.
type subject struct {
	version  int64
	history  webhooks.History
	contact  webhooks.Contact
	endpoint webhooks.Endpoint

	public webhooks.PublicEvent // room for the one that is on its way out
}

// apply takes the subject on by one event.
func (s *subject) apply(f *webhooks.Fact) error {
	kind, _ := splitStream(*f)
	if e, ok := f.Event.(conversation.Event); ok && kind == "conversation" {
		s.history.Apply(f.Recorded, e)
	} else if e, ok := f.Event.(contact.Event); ok && kind == "contact" {
		s.contact = s.contact.Evolve(f.Recorded, e)
	} else if e, ok := f.Event.(endpoint.Event); ok && kind == "endpoint" {
		s.endpoint = s.endpoint.Evolve(f.Recorded, e)
	} else {
		return fmt.Errorf("position %d: %s does not belong here", f.Position, f.Type)
	}
	s.version = f.Version
	return nil
}

func (s *subject) size() int { return s.history.Size() + s.contact.Size() + s.endpoint.Size() }

// With calls use with the history of a conversation as of a version, or as of
// its end if that comes first, and with the event of that version. The history
// is only valid during the call and must not be changed. An empty stream is a
// history of version 0 and a nil event.
func (t *Transcripts) With(
	ctx context.Context, stream string, version int64, use func(h *webhooks.History, last *webhooks.Fact) error,
) error {
	return t.with(ctx, stream, version, nil, func(s *subject, last *webhooks.Fact) error { return use(&s.history, last) })
}

// WithContact calls use with a contact as of a version, or as of the end of
// their stream if that comes first, and with the event of that version. An empty
// stream is a contact of version 0 and a nil event.
func (t *Transcripts) WithContact(
	ctx context.Context, stream string, version int64, use func(c webhooks.Contact, last *webhooks.Fact) error,
) error {
	return t.with(ctx, stream, version, nil, func(s *subject, last *webhooks.Fact) error { return use(s.contact, last) })
}

// with calls use with a subject as of a version. The event of that version is
// not read if it is given.
func (t *Transcripts) with(
	ctx context.Context, stream string, version int64, given *webhooks.Fact, use func(s *subject, last *webhooks.Fact) error,
) error {
	tr := t.enter(stream)
	defer t.leave(tr)
	s := tr.cursorFor(version)
	if given != nil && s.version >= version-1 {
		if s.version < version {
			if err := s.apply(given); err != nil {
				return err
			}
		}
		return use(s, given)
	}
	before := s.version
	last, err := t.takeOn(ctx, s, stream, version)
	if err == nil && last == nil && before > 0 {
		// There was nothing new: the last one is read again, for itself.
		last, err = t.takeOn(ctx, s, stream, before)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	return use(s, last)
}

// takeOn takes s on to a version, or to the end if that comes first, and returns
// the last event it read: the one of that version, if s was there already.
func (t *Transcripts) takeOn(ctx context.Context, s *subject, stream string, version int64) (last *webhooks.Fact, err error) {
	for r, err := range t.log.ReadStream(ctx, stream, min(s.version, version-1)) {
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
		f := &webhooks.Fact{Recorded: &r, Event: event}
		if r.Version > s.version {
			if err := s.apply(f); err != nil {
				return nil, err
			}
		}
		last = f
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
// to its version, its dialect and its view, and on nothing else. The delivery's
// Trace is set, so that it must be the caller's own.
func (t *Transcripts) Body(ctx context.Context, d *webhooks.Delivery) ([]byte, error) {
	body, err := t.appendBody(ctx, nil, d, nil, func(f *webhooks.Fact) { d.Trace = f.Trace() })
	if err != nil {
		return nil, err
	}
	return body, nil
}

// AppendBody appends what Body returns. The event, if it is given, is not read:
// while the history stands right before it, nothing is. What was appended before
// an error is to be cut off. A dialect that panics is an error, for those who have
// many bodies to make.
func (t *Transcripts) AppendBody(
	ctx context.Context, dst []byte, d *webhooks.Delivery, given *webhooks.Fact,
) (_ []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return t.appendBody(ctx, dst, d, given, func(*webhooks.Fact) {})
}

func (t *Transcripts) appendBody(
	ctx context.Context, dst []byte, d *webhooks.Delivery, given *webhooks.Fact, found func(*webhooks.Fact),
) ([]byte, error) {
	dialect, err := t.dialects.Find(d.Dialect)
	if err != nil {
		return dst, err
	}
	view, err := webhooks.ParseView(d.History)
	if err != nil {
		return dst, err
	}
	err = t.with(ctx, d.Stream, d.Version, given, func(s *subject, f *webhooks.Fact) error {
		if f == nil || f.Version != d.Version {
			return fmt.Errorf("%s has no version %d", d.Stream, d.Version)
		}
		found(f)
		e := &s.public
		*e = webhooks.PublicEvent{Fact: *f, Name: d.Name, View: view}
		defer func() { *e = webhooks.PublicEvent{} }() // or what it points to would stay in memory
		switch f.Event.(type) {
		case conversation.Event:
			e.History = &s.history
		case contact.Event:
			e.Contact = &s.contact
		case endpoint.Event:
			e.Endpoint = &s.endpoint
		}
		dst, err = dialect.AppendBody(dst, e)
		return err
	})
	return dst, err
}

// Follow takes what is known of a stream on by its next event, for one who reads
// the log in order and has no use for a body of this event. What is not known up
// to there is left to be read when it is wanted.
func (t *Transcripts) Follow(next *webhooks.Fact) error {
	t.mu.Lock()
	_, known := t.streams[next.Stream]
	t.mu.Unlock()
	if !known && next.Version > 1 {
		return nil
	}
	tr := t.enter(next.Stream)
	defer t.leave(tr)
	if s := tr.cursorFor(next.Version); s.version == next.Version-1 {
		return s.apply(next)
	}
	return nil
}

// drop throws out a stream, which nobody need be done with.
func (t *Transcripts) drop(tr *transcript) {
	t.recent.Remove(tr.element)
	delete(t.streams, tr.stream)
	t.size -= tr.size
}

// cursorFor returns the furthest subject that is not beyond the version: one to
// take on, or a new one.
func (tr *transcript) cursorFor(version int64) *subject {
	best := -1
	for i, s := range tr.cursors {
		if s.version <= version && (best < 0 || s.version > tr.cursors[best].version) {
			best = i
		}
	}
	if best == 0 {
		return tr.cursors[0]
	}
	var s *subject
	if best > 0 {
		s = tr.cursors[best]
		tr.cursors = slices.Delete(tr.cursors, best, best+1)
	} else {
		s = &subject{}
	}
	tr.cursors = slices.Insert(tr.cursors, 0, s)
	if len(tr.cursors) > cursorsPerStream {
		tr.cursors = slices.Delete(tr.cursors, cursorsPerStream, len(tr.cursors))
	}
	return s
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

// Forget forgets what is known of a stream: events of it were overwritten, or
// nothing more is expected of it. It waits for those who are using it.
func (t *Transcripts) Forget(stream string) {
	t.mu.Lock()
	tr, known := t.streams[stream]
	if known {
		t.drop(tr)
	}
	t.mu.Unlock()
	if known {
		tr.Lock()
		tr.cursors = nil
		tr.Unlock()
	}
}

// count is about how many bytes of memory the transcript takes.
func (tr *transcript) count() int {
	n := streamSize
	for _, s := range tr.cursors {
		n += s.size()
	}
	return n
}

func (t *Transcripts) leave(tr *transcript) {
	size := tr.count()
	tr.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams[tr.stream] != tr {
		return // thrown out meanwhile
	}
	t.size += size - tr.size
	tr.size = size
	for t.size > t.limit && t.recent.Len() > 1 {
		t.drop(t.recent.Back().Value.(*transcript))
	}
}
