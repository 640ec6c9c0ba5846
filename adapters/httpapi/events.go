package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"verbatim/eventstore"
)

// Limits on pages and streams of events.
const (
	maxEventsPage = 8 << 20 // bytes of a page; a single event may have 4 MiB
	maxEventsScan = 20_000  // events looked at for one page: those of other accounts cost time too
	streamBatch   = 256     // events written between two flushes
	streamTimeout = 30 * time.Second
	streamRetry   = 2 * time.Second // after which a client that lost its stream comes back
)

func (s *Server) eventRoutes() {
	const description = "A page of recorded events, oldest first; or, with Accept: text/event-stream, all of them and then each one " +
		"as it happens. An event's id in the stream is its position, which Last-Event-ID takes for ever. One behind the end of the " +
		"log is refused: this server was restored from an older copy, and of what happens up to there nothing would be seen."
	for _, op := range []huma.Operation{
		operation(http.MethodGet, "list-conversation-events", "/v1/conversations/{id}/events", tagEvents, "Read the events of a conversation", description),
		operation(http.MethodGet, "list-events", "/v1/events", tagEvents, "Read the events of the account", description),
	} {
		op = withErrors(op, http.StatusBadRequest)
		op.Responses = map[string]*huma.Response{"200": {
			Description: "OK",
			Content: map[string]*huma.MediaType{
				mediaJSON:           {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[list[eventLine]](), true, "")},
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString, Description: "id: position, event: type, data: the event as in a page."}},
			},
		}}
		if op.OperationID == "list-events" {
			register(s, op, func(ctx context.Context, in *EventsQuery) (*huma.StreamResponse, error) {
				return s.listEvents(ctx, in, "")
			})
			continue
		}
		register(s, op, func(ctx context.Context, in *listConversationEventsInput) (*huma.StreamResponse, error) {
			if _, err := s.own(ctx, in.ID); err != nil {
				return nil, err
			}
			return s.listEvents(ctx, &in.EventsQuery, eventstore.StreamName("conversation", in.ID))
		})
	}
}

// eventLine describes a recorded event, as eventstore.AppendLine writes it.
type eventLine struct {
	Position int64          `json:"position" doc:"Place in the whole log: 1, 2, 3, …"`
	Stream   string         `json:"stream" example:"conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"`
	Version  int64          `json:"version" doc:"Place in the stream: 1, 2, 3, …"`
	ID       string         `json:"id"`
	Type     string         `json:"type" example:"conversation.message_posted"`
	Schema   int            `json:"schema" doc:"Version of the shape of data."`
	Time     time.Time      `json:"time"`
	Account  string         `json:"account"`
	Data     map[string]any `json:"data"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// EventsQuery says where a page or a stream of events begins.
type EventsQuery struct {
	After       int64  `query:"after" minimum:"0" doc:"Only events behind this position."`
	LastEventID int64  `header:"Last-Event-ID" minimum:"0" doc:"As after; what a stream sends that was interrupted."` //nolint:tagliatelle // its name
	Cursor      string `query:"cursor" doc:"page.next of the page before."`
	Limit       int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type listConversationEventsInput struct {
	ConversationPath
	EventsQuery
}

// listEvents answers with a page or a stream of the account's events, or of one
// of its streams.
func (s *Server) listEvents(ctx context.Context, in *EventsQuery, stream string) (*huma.StreamResponse, error) {
	from, err := parseCursor(listEvents, in.Cursor)
	if err != nil {
		return nil, err
	}
	if err := s.notBehindTheEnd(ctx, in, from); err != nil {
		return nil, err
	}
	if in.Cursor == "" {
		from.Position = max(in.After, in.LastEventID)
	}
	what := selection{callOf(ctx).account, stream}
	if callOf(ctx).stream {
		return &huma.StreamResponse{Body: func(hc huma.Context) { s.stream(ctx, hc, what, from.Position) }}, nil
	}
	page, err := s.eventsPage(ctx, what, from, in.Limit)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", mediaJSON)
		_, _ = hc.BodyWriter().Write(page) // the client may be gone
	}}, nil
}

// notBehindTheEnd returns a problem if a client has seen more than this log has:
// the server was restored from an older copy, and what happens up to there would
// be kept from the client without a word.
func (s *Server) notBehindTheEnd(ctx context.Context, in *EventsQuery, from cursor) error {
	head, err := s.cfg.Log.Head(ctx) // of now: whatever the client has been told of is in it
	if err != nil {
		return err
	}
	for _, seen := range []struct {
		location string
		position int64
	}{{"query.after", in.After}, {"header.Last-Event-ID", in.LastEventID}, {"query.cursor", from.Position}} {
		if seen.position > head {
			p := newProblem(http.StatusUnprocessableEntity, codeInvalidField, "")
			p.pointAt(seen.location, notBehind(head))
			return p
		}
	}
	return nil
}

// A selection is the events of an account, or those of one of its streams.
type selection struct{ account, stream string }

func (w selection) has(r *eventstore.Recorded) bool {
	return r.Account == w.account && (w.stream == "" || r.Stream == w.stream)
}

// eventsPage returns a page of events as JSON. It may have fewer events than the
// limit, and even none, with more behind it.
func (s *Server) eventsPage(ctx context.Context, what selection, from cursor, limit int) ([]byte, error) {
	events := s.cfg.Log.ReadLog(ctx, from.Position)
	if what.stream != "" {
		events = s.cfg.Log.ReadStream(ctx, what.stream, from.Version)
	}
	out := []byte(`{"data":[`)
	next := cursor{List: listEvents, Position: from.Position, Version: from.Version}
	count, scanned, more := 0, 0, false
	for r, err := range events {
		if err != nil {
			return nil, err
		}
		if count == limit || scanned == maxEventsScan || len(out) > maxEventsPage {
			more = true
			break
		}
		scanned++
		if what.has(&r) && r.Position > from.Position {
			if count > 0 {
				out = append(out, ',')
			}
			if out, err = eventstore.AppendLine(out, &r); err != nil {
				return nil, err
			}
			count++
		}
		next.Position = max(next.Position, r.Position)
		if what.stream != "" {
			next.Version = r.Version
		}
	}
	end := page{}
	if more {
		end.Next = next.String()
	}
	b, err := json.Marshal(end)
	if err != nil {
		return nil, err
	}
	out = append(append(out, `],"page":`...), b...)
	return append(out, "}\n"...), nil
}

// stream writes events as they happen until the client goes, the server closes
// or the log cannot be read. The client then comes back with the last id it saw.
func (s *Server) stream(ctx context.Context, hc huma.Context, what selection, after int64) {
	s.streams.Add(1)
	defer s.streams.Add(-1)
	_, w := humago.Unwrap(hc)
	out := newEventWriter(w)
	defer out.end()
	if out.open() != nil {
		return
	}
	beat := time.NewTicker(s.cfg.Heartbeat)
	defer beat.Stop()
	f := &follower{Server: s, what: what, out: out, position: after, beat: beat.C}
	if err := f.run(ctx); err != nil && ctx.Err() == nil && !out.broken {
		s.logInternal(ctx, err)
	}
}

// A follower is one event stream.
type follower struct {
	*Server

	what     selection
	out      *eventWriter
	position int64 // up to which everything was looked at
	beat     <-chan time.Time
}

func (f *follower) run(ctx context.Context) error {
	for {
		select {
		case <-f.closing:
			return nil
		case <-ctx.Done():
			return nil
		case <-f.beat:
			if goesOn, err := f.heartbeat(ctx); !goesOn {
				return err
			}
		default:
		}
		page, moved, ok := f.tail.after(f.position, streamBatch)
		if !ok {
			if err := f.catchUp(ctx); err != nil {
				return err
			}
			continue
		}
		for i := range page {
			f.position = page[i].Position
			if !f.what.has(&page[i]) {
				continue
			}
			if err := f.out.event(&page[i]); err != nil {
				return err
			}
		}
		if err := f.out.flush(); err != nil {
			return err
		}
		if len(page) > 0 {
			continue
		}
		select {
		case <-moved:
		case <-f.beat:
			if goesOn, err := f.heartbeat(ctx); !goesOn {
				return err
			}
		case <-f.closing:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp writes what is in the log already.
func (f *follower) catchUp(ctx context.Context) error {
	events := f.cfg.Log.ReadLog(ctx, f.position)
	after := f.position
	if f.what.stream != "" {
		// What the stream has up to the head of now is read, so that afterwards
		// everything up to there was looked at.
		head, err := f.cfg.Log.Head(ctx)
		if err != nil {
			return err
		}
		events = f.cfg.Log.ReadStream(ctx, f.what.stream, 0)
		defer func() { f.position = max(f.position, head) }()
	}
	unflushed := 0
	for r, err := range events {
		if err != nil {
			return err
		}
		if r.Position > after && f.what.has(&r) {
			if err := f.out.event(&r); err != nil {
				return err
			}
		}
		f.position = max(f.position, r.Position)
		if unflushed++; unflushed < streamBatch {
			continue
		}
		unflushed = 0
		if err := f.out.flush(); err != nil {
			return err
		}
		select {
		case <-f.closing:
			return nil // and run sees it too
		case <-f.beat:
			if err := f.out.comment(); err != nil {
				return err
			}
		default:
		}
	}
	return f.out.flush()
}

// heartbeat shows that the stream lives, and reports whether it may go on.
func (f *follower) heartbeat(ctx context.Context) (goesOn bool, err error) {
	if !f.stillValid(ctx, callOf(ctx)) {
		return false, nil
	}
	err = f.out.comment()
	return err == nil, err
}

// An eventWriter writes server-sent events.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     []byte
	broken  bool // the client is gone
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	return &eventWriter{w: w, control: http.NewResponseController(w)}
}

// open begins the answer, so that the client knows that it is connected before
// anything has happened.
func (o *eventWriter) open() error {
	// A stream outlives the time in which a request must have been read.
	_ = o.control.SetReadDeadline(time.Time{})
	h := o.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	o.w.WriteHeader(http.StatusOK)
	o.buf = append(o.buf, "retry: "+strconv.FormatInt(streamRetry.Milliseconds(), 10)+"\n\n"...)
	return o.flush()
}

// event adds an event to what is written with the next flush.
func (o *eventWriter) event(r *eventstore.Recorded) error {
	o.buf = append(strconv.AppendInt(append(o.buf, "id: "...), r.Position, 10), "\nevent: "...)
	o.buf = append(append(o.buf, r.Type...), "\ndata: "...)
	var err error
	if o.buf, err = eventstore.AppendLine(o.buf, r); err != nil {
		return err
	}
	o.buf = append(o.buf, "\n\n"...)
	if len(o.buf) > maxEventsPage {
		return o.flush()
	}
	return nil
}

// comment shows that the stream lives.
func (o *eventWriter) comment() error {
	o.buf = append(o.buf, ":\n\n"...)
	return o.flush()
}

// flush sends what was added. A client that takes nothing for streamTimeout is
// given up.
func (o *eventWriter) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	_ = o.control.SetWriteDeadline(time.Now().Add(streamTimeout)) // not supported: then without
	_, err := o.w.Write(o.buf)
	if err == nil {
		err = o.control.Flush()
	}
	o.buf = o.buf[:0]
	if cap(o.buf) > maxEventsPage {
		o.buf = nil
	}
	o.broken = o.broken || err != nil
	return err
}

// end gives the connection back without a deadline.
func (o *eventWriter) end() { _ = o.control.SetWriteDeadline(time.Time{}) }
