// Package httpapi is the HTTP side of Verbatim: it turns requests into commands
// and queries, and what comes of them into JSON. It decides nothing about
// conversations; what it adds are keys, idempotency, problem documents, paging
// and event streams.
package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// The aggregates that requests are executed on.
type (
	// Conversations executes commands on conversations.
	Conversations = eventstore.Aggregates[conversation.State, conversation.Command, conversation.Event]
	// Contacts executes commands on contacts.
	Contacts = eventstore.Aggregates[contact.State, contact.Command, contact.Event]
	// Endpoints executes commands on endpoints.
	Endpoints = eventstore.Aggregates[endpoint.State, endpoint.Command, endpoint.Event]
)

// ReadModels is what requests read beside the log, and the little that they
// write there because it must be erasable or is no fact.
type ReadModels interface {
	// Inbox returns an account's conversations with that status ("" for all),
	// last active first, those before an active_at (0 for the start).
	Inbox(ctx context.Context, account, status string, before int64, limit int) ([]projections.InboxRow, error)
	// Endpoints returns an account's endpoints that are not deleted, in order of
	// their numbers, those above after.
	Endpoints(ctx context.Context, account string, after int64, limit int) ([]projections.EndpointRow, error)
	// EndpointRow returns an endpoint, also a deleted one, and whether there is one.
	EndpointRow(ctx context.Context, id string) (projections.EndpointRow, bool, error)
	// Deliveries returns an endpoint's deliveries that sel means, newest first, those
	// before a mark (the zero one for the start), and where to go on from, nil at the
	// end. It looks at a bounded number of them.
	Deliveries(ctx context.Context, endpointID string, sel webhooks.Selection, before webhooks.Mark, limit int) (
		[]webhooks.Delivery, *webhooks.Mark, error)
	// Delivery returns a delivery, its attempts, and whether there is one.
	Delivery(ctx context.Context, id string) (webhooks.Delivery, []webhooks.Attempt, bool, error)
	// Redeliver makes a delivery due at once, and reports whether there is one.
	Redeliver(ctx context.Context, id string, at time.Time) (bool, error)
	// Cancel ends a delivery that is pending, and reports whether it was.
	Cancel(ctx context.Context, id, reason string, at time.Time) (bool, error)
	// AddJob keeps a job that begins to run. If one of its kind runs for its endpoint
	// it returns that one instead, and false.
	AddJob(ctx context.Context, j webhooks.Job) (webhooks.Job, bool, error)
	// Job returns a job, and whether there is one.
	Job(ctx context.Context, id string) (webhooks.Job, bool, error)
	// JobByKey returns the last job that was asked for with an idempotency key, and
	// whether there is one.
	JobByKey(ctx context.Context, account, key string) (webhooks.Job, bool, error)
	// Jobs returns an account's jobs, those on an endpoint or ("") on all, newest
	// first, those before an id ("" for the start).
	Jobs(ctx context.Context, account, endpointID, before string, limit int) ([]webhooks.Job, error)
	// CancelJob ends a job that runs, and reports whether it did.
	CancelJob(ctx context.Context, id string, at time.Time) (bool, error)
	// FeedCursors returns the cursors of an endpoint's feed, by name.
	FeedCursors(ctx context.Context, endpointID string) ([]projections.FeedCursor, error)
	// MoveFeedCursor keeps a cursor of an endpoint's feed; if it is only to go
	// forward, one that is further already stays. A new one is not kept, and false
	// returned, if the endpoint has most others.
	MoveFeedCursor(ctx context.Context, endpointID string, c projections.FeedCursor, forward bool, most int) (bool, error)
	// DropFeedCursor forgets a cursor, and reports whether there was one.
	DropFeedCursor(ctx context.Context, endpointID, name string) (bool, error)
	// AddReplay keeps a replay that begins to run. If one for its endpoint has not
	// ended it returns that one instead, and false.
	AddReplay(ctx context.Context, r webhooks.Replay) (webhooks.Replay, bool, error)
	// Replay returns a replay, and whether there is one.
	Replay(ctx context.Context, id string) (webhooks.Replay, bool, error)
	// ReplayByKey returns the last replay that was asked for with an idempotency
	// key, and whether there is one.
	ReplayByKey(ctx context.Context, account, key string) (webhooks.Replay, bool, error)
	// Replays returns an account's replays, those on an endpoint or ("") on all,
	// newest first, those before an id ("" for the start).
	Replays(ctx context.Context, account, endpointID, before string, limit int) ([]webhooks.Replay, error)
	// ReplayProgress counts the deliveries of a replay by their states.
	ReplayProgress(ctx context.Context, id string) (map[webhooks.State]int64, error)
	// PauseReplay, ResumeReplay and CancelReplay report whether they could.
	PauseReplay(ctx context.Context, id string) (bool, error)
	ResumeReplay(ctx context.Context, id string) (bool, error)
	CancelReplay(ctx context.Context, id string, at time.Time) (bool, error)
	// FirstAt returns the position of the first event in the log that happened then
	// or later, or one behind the head.
	FirstAt(ctx context.Context, at time.Time) (int64, error)
	// Target returns the secrets that still sign, newest first, and the headers
	// of an endpoint, or webhooks.ErrNoTarget.
	Target(ctx context.Context, endpointID string) (webhooks.Target, error)
	// Health returns how an endpoint has answered of late.
	Health(ctx context.Context, endpointID string) (webhooks.Health, error)
	// AddSecret makes a secret the endpoint's newest; those before it still sign
	// until previousUntil, if they would have until then.
	AddSecret(ctx context.Context, endpointID, secret string, at, previousUntil time.Time) error
	// SetHeaders keeps the headers that are sent along to an endpoint.
	SetHeaders(ctx context.Context, endpointID string, headers map[string]string) error
	// ExtendTyping lets somebody who types do so until a later time.
	ExtendTyping(ctx context.Context, conversationID, authorID string, until time.Time) error
	// AddErasure keeps an erasure that begins to run. If one of its contact runs it
	// returns that one instead, and false.
	AddErasure(ctx context.Context, e projections.Erasure) (projections.Erasure, bool, error)
	// Erasure returns an erasure, and whether there is one.
	Erasure(ctx context.Context, id string) (projections.Erasure, bool, error)
	// ErasureByKey returns the last erasure that was asked for with an idempotency
	// key, and whether there is one.
	ErasureByKey(ctx context.Context, account, key string) (projections.Erasure, bool, error)
	// Account returns an account, and whether there is one.
	Account(ctx context.Context, id string) (domain.Account, bool, error)
}

// Projected says how far the read models have got; *projections.Group is one.
type Projected interface {
	Position() int64
	Positions(ctx context.Context) (map[string]int64, error)
	Wait(ctx context.Context, position int64) error
	Parked() []projections.Parked
	Names() []string
	Faults() map[string]projections.Fault
}

// Rebuilder makes read models anew; *projections.Rebuilder is one.
type Rebuilder interface {
	// Ask has a projection rebuilt. It returns projections.ErrNoProjection,
	// ErrNoReadModel, or ErrRebuilding with the rebuild that is asked for already.
	Ask(ctx context.Context, projection string) (projections.Rebuild, error)
	// Cancel ends a rebuild that waits or runs. It returns
	// projections.ErrNoProjection, or ErrNotRebuilding with the last rebuild.
	Cancel(ctx context.Context, projection string) (projections.Rebuild, error)
	// Rebuilds returns the last rebuild of each projection.
	Rebuilds(ctx context.Context) (map[string]projections.Rebuild, error)
}

// noRebuilder knows no projection.
type noRebuilder struct{}

func (noRebuilder) Ask(context.Context, string) (projections.Rebuild, error) {
	return projections.Rebuild{}, projections.ErrNoProjection
}

func (noRebuilder) Cancel(context.Context, string) (projections.Rebuild, error) {
	return projections.Rebuild{}, projections.ErrNoProjection
}

func (noRebuilder) Rebuilds(context.Context) (map[string]projections.Rebuild, error) { return nil, nil }

// DefaultHeartbeat is how often a silent event stream says that it lives. The
// proxies that are commonly put before a server cut a silent one after 30 or 60
// seconds.
const DefaultHeartbeat = 15 * time.Second

// Config is what a server works with. Fields are required unless they say what
// they default to.
type Config struct {
	Conversations *Conversations
	Contacts      *Contacts
	Endpoints     *Endpoints

	Log         eventstore.Store
	Events      *eventstore.Bell // rings after commits; streams wake on it
	Transcripts *projections.Transcripts
	Models      ReadModels
	Access      Access
	Projected   Projected
	Dialects    *webhooks.Dialects
	Codec       *eventstore.Codec
	Tester      Tester
	Eraser      Eraser
	Replays     Replayer

	// Rebuilder makes read models anew. Without one none can be.
	Rebuilder Rebuilder
	// Pulled are the histories of feeds, apart from those of deliveries: a receiver
	// that takes up a year must not throw out what is being sent just now. Defaults
	// to projections.FeedMemory of them.
	Pulled *projections.Transcripts

	// Key returns a key by its id, and whether there is one.
	Key func(ctx context.Context, id string) (Key, bool, error)
	// AdminKeys let the operator act for the account named in the header
	// Verbatim-Account, "default" if it names none. Empty ones are left out.
	// Defaults to none.
	AdminKeys []string
	// CheckURL returns a *domain.FieldError for a URL that webhooks may not be
	// sent to. Defaults to letting every URL pass.
	CheckURL func(url string) error
	// Reload is told of a lane in which a delivery was made pending or cancelled,
	// after that was committed. Defaults to nobody.
	Reload func(webhooks.Lane)
	// JobAdded is told that there is a new job. Defaults to nobody.
	JobAdded func()
	// Ready returns why the process cannot serve now, or nil. Defaults to nil.
	Ready func(ctx context.Context) error
	// Clock tells the time. Defaults to time.Now.
	Clock func() time.Time
	// Heartbeat is the pause between signs of life on a silent event stream.
	// Defaults to DefaultHeartbeat.
	Heartbeat time.Duration
	// Served is told of each request once it was answered. Defaults to nobody.
	Served func(ctx context.Context, s Served)
	// FeedPulled is told of each pull of a feed that was answered: how many items it
	// got, or why none. Defaults to nobody.
	FeedPulled func(items int, err error)
	// Metrics answers GET /metrics. Without it there is no such path.
	Metrics http.Handler
	// Version is the program's, for the health routes. Defaults to "dev".
	Version string
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	var errs []error
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Conversations", c.Conversations == nil},
		{"Contacts", c.Contacts == nil},
		{"Endpoints", c.Endpoints == nil},
		{"Log", c.Log == nil},
		{"Events", c.Events == nil},
		{"Transcripts", c.Transcripts == nil},
		{"Models", c.Models == nil},
		{"Access", c.Access == nil},
		{"Projected", c.Projected == nil},
		{"Dialects", c.Dialects == nil},
		{"Codec", c.Codec == nil},
		{"Tester", c.Tester == nil},
		{"Eraser", c.Eraser == nil},
		{"Replays", c.Replays == nil},
		{"Key", c.Key == nil},
	} {
		if f.missing {
			errs = append(errs, fmt.Errorf("httpapi: Config.%s is required", f.name))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) setDefaults() {
	if c.CheckURL == nil {
		c.CheckURL = func(string) error { return nil }
	}
	if c.Reload == nil {
		c.Reload = func(webhooks.Lane) {}
	}
	if c.JobAdded == nil {
		c.JobAdded = func() {}
	}
	if c.Rebuilder == nil {
		c.Rebuilder = noRebuilder{}
	}
	if c.Pulled == nil {
		c.Pulled = projections.NewTranscripts(c.Log, c.Codec, c.Dialects, projections.FeedMemory)
	}
	if c.FeedPulled == nil {
		c.FeedPulled = func(int, error) {}
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// Server answers HTTP requests. It is an http.Handler; timeouts for headers and
// idle connections are those of the http.Server that it is put into.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	api     huma.API
	openapi []byte
	queries map[string][]string // parameters that operations take there, sorted, by their routes
	admins  [][32]byte          // digests of AdminKeys
	running running             // idempotency keys of requests under way
	tail    *tail
	streams atomic.Int64  // event streams that are open
	waiting atomic.Int64  // pulls of feeds that wait for something to happen
	looks   chan struct{} // a slot for each look into a feed
	closing chan struct{}
	close   func()
}

// New returns a server. Close ends its event streams, and the waiting for feeds.
func New(cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	s := &Server{cfg: cfg, closing: make(chan struct{})}
	s.admins = digests(cfg.AdminKeys)
	s.tail = newTail(cfg.Log, cfg.Events, cfg.Logger)
	s.looks = make(chan struct{}, feedLooks)
	s.close = sync.OnceFunc(func() {
		close(s.closing)
		s.tail.stop()
	})
	s.routes()
	var err error
	if s.openapi, err = encodeOpenAPI(s.api); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the event streams and the waiting for feeds; what else is under way is the http.Server's to
// wait for. It may be called more than once.
func (s *Server) Close() { s.close() }

// routes registers every operation there is.
func (s *Server) routes() {
	s.mux = http.NewServeMux()
	s.api = humago.New(s.mux, newHumaConfig())
	s.conversationRoutes()
	s.messageRoutes()
	s.contactRoutes()
	s.erasureRoutes()
	s.eventRoutes()
	s.endpointRoutes()
	s.deliveryRoutes()
	s.feedRoutes()
	s.jobRoutes()
	s.replayRoutes()
	s.dialectRoutes()
	s.operatorRoutes()
	s.healthRoutes()
	s.metricsRoutes()
	s.docsRoutes()
	completeOpenAPI(s.api.OpenAPI())
	s.queries = queryParameters(s.api.OpenAPI())
}

// ServeHTTP answers a request: the route is found first, so that a mistyped
// path is told apart from a missing key; then who asks; then what is asked for is
// looked at, and the body read.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{method: r.Method, path: r.URL.Path, requestID: requestID(r), began: time.Now()}
	c.meta = eventstore.Metadata{Correlation: c.requestID, Trace: traceOf(r)}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	h := w.Header()
	h.Set(headerRequestID, c.requestID)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")

	out := &tracked{ResponseWriter: w}
	defer s.served(r.Context(), c, out)
	defer func() {
		if v := recover(); v != nil {
			s.recovered(out, r, v)
		}
	}()
	if err := s.serve(out, r, c); err != nil {
		s.writeProblem(out, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, c *call) error {
	if err := s.findRoute(r, c); err != nil {
		return err
	}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		if err := s.authenticate(r, c); err != nil {
			return err
		}
		if err := s.checkQuery(r, c); err != nil {
			return err
		}
		release, err := s.admit(w, r, c)
		if err != nil {
			return err
		}
		defer release()
	}
	// The only media types there are for an answer are decided here: huma's
	// negotiation has nothing to choose from, and slips on some headers.
	c.stream = r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	r.Header.Del("Accept")
	s.mux.ServeHTTP(w, r)
	return nil
}

// recovered answers a request whose handler panicked.
func (s *Server) recovered(w *tracked, r *http.Request, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v) // the server's own way to drop a connection
	}
	err := fmt.Errorf("panic: %v\n%s", v, debug.Stack())
	if w.written {
		s.logInternal(r.Context(), err)
		return
	}
	s.writeProblem(w, r, err)
}

// tracked remembers whether an answer has begun.
type tracked struct {
	http.ResponseWriter

	written bool
	status  int
}

// WriteHeader begins the answer.
func (t *tracked) WriteHeader(status int) {
	t.written = true
	if t.status == 0 && status >= http.StatusOK {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write begins the answer if nothing has.
func (t *tracked) Write(b []byte) (int, error) {
	t.written = true
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (t *tracked) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// newID returns a new UUIDv7: ids that ascend in time keep the log's index small.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic("httpapi: no random bytes: " + err.Error())
	}
	return id.String()
}
