package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const adminKey = "the operator's own key"

// A house is a whole program behind one HTTP server: store, projections, API.
type house struct {
	t           testing.TB
	store       *sqlite.Store
	group       *projections.Group
	rebuilder   *projections.Rebuilder
	eraser      *projections.Eraser
	transcripts *projections.Transcripts
	replays     *projections.Replays
	api         *httpapi.Server
	http        *httptest.Server
	log         *lockedBuffer
	now         func() time.Time
	projecting  *sync.Mutex

	key   string // of the account default
	keyID string
	other string // of another account
}

// open starts a house that closes with the test. Configure may change what it is
// made with.
func open(tb testing.TB, configure ...func(*httpapi.Config)) *house {
	tb.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, tb.TempDir(), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	h := &house{t: tb, store: store, log: &lockedBuffer{}, now: time.Now, projecting: &sync.Mutex{}}
	codec := eventstore.Catalogue()
	logger := slog.New(slog.NewTextHandler(h.log, nil))
	dialects := dialect.All()
	h.transcripts = projections.NewTranscripts(store, codec, dialects, projections.TranscriptMemory)
	h.group = projections.NewGroup(store, codec, store, time.Now, logger,
		projections.NewInbox(store), projections.NewTyping(nil), projections.NewEndpoints(store, nil),
		projections.NewPlan(store, codec, store, dialects, nil))
	h.rebuilder = projections.NewRebuilder(projections.RebuilderConfig{
		Log: store, Codec: codec, Store: store, Clock: time.Now, Slog: logger, Names: h.group.Names(),
		Between: h.between, Swapped: func(context.Context, string) {},
	})
	stop := h.project()
	h.replays = projections.NewReplays(store, codec, dialects, store, h.transcripts, nobody{}, func() time.Time { return h.now() }, logger)

	for _, id := range []string{"default", "other"} {
		if err := store.AddAccount(ctx, id, id); err != nil {
			tb.Fatal(err)
		}
	}
	h.key, h.keyID = h.newKey("default", "Tyrion")
	h.other, _ = h.newKey("other", "Cersei")

	conversations := eventstore.NewAggregates(store, codec, time.Now, eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
		Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
	})
	contacts := eventstore.NewAggregates(store, codec, time.Now, eventstore.Rules[contact.State, contact.Command, contact.Event]{
		Kind: "contact", Schema: contact.StateSchema, Decide: contact.Decide, Evolve: contact.Evolve,
	})
	h.eraser = projections.NewEraser(projections.EraserConfig{
		Log: store, Codec: codec, Store: store, Clock: time.Now, Slog: logger,
		Forget: func(ctx context.Context, stream string) error {
			h.transcripts.Forget(stream)
			return errors.Join(conversations.Forget(ctx, stream), contacts.Forget(ctx, stream))
		},
		Tell: func(ctx context.Context, e *projections.Erasure, key eventstore.Key, version int64, parts []contact.Part) error {
			_, err := contacts.Execute(ctx, eventstore.Order[contact.State, contact.Command]{
				Account: e.Account, ID: e.ContactID, Command: contact.Erase{By: e.By, Parts: parts},
				IfVersion: &version, Key: &key, Metadata: e.Metadata,
			})
			return err
		},
	})
	cfg := httpapi.Config{
		Conversations: conversations,
		Contacts:      contacts,
		Endpoints: eventstore.NewAggregates(store, codec, time.Now, eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		}),
		Log: store, Events: store.Events(), Transcripts: h.transcripts, Models: store, Access: access{store}, Projected: h.group,
		Rebuilder: h.rebuilder,
		Dialects:  dialects, Codec: codec,
		Tester:    noTester{},
		Eraser:    h.eraser,
		Replays:   h.replays,
		Key:       access{store}.Key,
		AdminKeys: []string{"", adminKey},
		CheckURL: func(url string) error {
			if strings.Contains(url, "//10.") {
				return &domain.FieldError{Field: "url", Rule: "must not be in a private network"}
			}
			return nil
		},
		Logger: logger, Version: "test",
	}
	for _, c := range configure {
		c(&cfg)
	}
	if h.api, err = httpapi.New(cfg); err != nil {
		tb.Fatal(err)
	}
	h.http = httptest.NewServer(h.api)
	tb.Cleanup(func() {
		h.api.Close()
		h.http.Close()
		stop()
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
		if strings.Contains(h.log.String(), "a request failed") && !tb.Failed() {
			tb.Errorf("the log has failures of our own:\n%s", h.log)
		}
	})
	return h
}

// between calls do while nothing is projected.
func (h *house) between(ctx context.Context, do func(context.Context) error) error {
	h.projecting.Lock()
	defer h.projecting.Unlock()
	return h.group.Between(ctx, do)
}

// nobody sends.
type nobody struct{}

func (nobody) Reload(webhooks.Lane) {}
func (nobody) Wake(string)          {}

// project keeps the read models at the head of the log until stop is called.
func (h *house) project() (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	if err := h.group.Load(ctx); err != nil {
		h.t.Fatal(err)
	}
	latch, deaf := h.store.Events().Listen()
	var done sync.WaitGroup
	done.Go(func() {
		for {
			h.projecting.Lock()
			err := h.group.CatchUp(ctx)
			h.projecting.Unlock()
			if errors.Is(err, projections.ErrOvertaken) || errors.Is(err, projections.ErrVoid) {
				continue // a backfill or an erasure came between
			} else if err != nil && ctx.Err() == nil {
				h.t.Error(err)
			}
			select {
			case <-latch:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
		deaf()
	}
}

func (h *house) newKey(account, name string) (plain, id string) {
	h.t.Helper()
	plain, key, err := httpapi.NewKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	key.Account, key.Name, key.CreatedAt = account, name, time.Now()
	if err := h.store.AddKey(context.Background(), sqlite.APIKey(key)); err != nil {
		h.t.Fatal(err)
	}
	return plain, key.ID
}

// head returns the last position in the log.
func (h *house) head() int64 {
	h.t.Helper()
	head, err := h.store.Head(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return head
}

// settled waits until everything in the log is projected.
func (h *house) settled() {
	h.t.Helper()
	if err := h.group.Wait(h.t.Context(), h.head()); err != nil {
		h.t.Fatal(err)
	}
}

// An option changes a request.
type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func idempotent(key string) option { return header("Idempotency-Key", key) }

func ifMatch(version int64) option {
	return header("If-Match", `"`+strconv.FormatInt(version, 10)+`"`)
}

func as(key string) option { return header("Authorization", "Bearer "+key) }

// A reply is an answer that was read.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   []byte
}

// do sends a request with the key of the account default. The body is JSON, or
// sent as it is if it is a string.
func (h *house) do(method, path string, body any, options ...option) *reply {
	h.t.Helper()
	r, err := h.send(method, path, body, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// send is do for goroutines, which must not end the test.
func (h *house) send(method, path string, body any, options ...option) (*reply, error) {
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(body)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.http.URL+path, content)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+h.key)
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(req)
	}
	res, err := h.http.Client().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return &reply{h.t, method + " " + path, res.StatusCode, res.Header, b}, err
}

// is ends the test unless the reply has that status.
func (r *reply) is(status int) *reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("%s: status %d, want %d: %s", r.what, r.status, status, r.body)
	}
	return r
}

// fails ends the test unless the reply is a problem with that status and code.
func (r *reply) fails(status int, code string) *reply {
	r.t.Helper()
	r.is(status)
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Fatalf("%s: a problem is %q", r.what, got)
	}
	var p httpapi.Problem
	r.into(&p)
	if p.Code != code || p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" || p.Detail == "" {
		r.t.Fatalf("%s: problem %s, want code %s", r.what, r.body, code)
	}
	if p.RequestID == "" || p.RequestID != r.header.Get("X-Request-Id") {
		r.t.Fatalf("%s: request id %q in the problem, %q in the header", r.what, p.RequestID, r.header.Get("X-Request-Id"))
	}
	return r
}

// mentions ends the test unless the answer has that text.
func (r *reply) mentions(text string) *reply {
	r.t.Helper()
	if !bytes.Contains(r.body, []byte(text)) {
		r.t.Fatalf("%s: %s does not mention %s", r.what, r.body, text)
	}
	return r
}

// at ends the test unless the problem points there.
func (r *reply) at(location string) *reply {
	r.t.Helper()
	var p httpapi.Problem
	r.into(&p)
	if len(p.Errors) == 0 || p.Errors[0].Location != location || p.Errors[0].Message == "" {
		r.t.Fatalf("%s: problem %s, want location %s", r.what, r.body, location)
	}
	return r
}

func (r *reply) into(v any) {
	r.t.Helper()
	if err := json.Unmarshal(r.body, v); err != nil {
		r.t.Fatalf("%s: %v: %s", r.what, err, r.body)
	}
}

// get returns a member of the answer, by its path: "customer.name", "data.0.id".
func (r *reply) get(path string) any {
	r.t.Helper()
	var v any
	r.into(&v)
	for name := range strings.SplitSeq(path, ".") {
		switch node := v.(type) {
		case map[string]any:
			v = node[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(node) {
				return nil
			}
			v = node[i]
		default:
			return nil
		}
	}
	return v
}

func (r *reply) text(path string) string {
	r.t.Helper()
	s, ok := r.get(path).(string)
	if !ok {
		r.t.Fatalf("%s: no text at %s: %s", r.what, path, r.body)
	}
	return s
}

func (r *reply) number(path string) int64 {
	r.t.Helper()
	n, ok := r.get(path).(float64)
	if !ok {
		r.t.Fatalf("%s: no number at %s: %s", r.what, path, r.body)
	}
	return int64(n)
}

// has ends the test unless the members have those values: path, value, ….
func (r *reply) has(pairs ...any) *reply {
	r.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		path, want := pairs[i].(string), pairs[i+1]
		if got := r.get(path); fmt.Sprint(got) != fmt.Sprint(want) {
			r.t.Fatalf("%s: %s is %v, want %v: %s", r.what, path, got, want, r.body)
		}
	}
	return r
}

// version ends the test unless the ETag is that version.
func (r *reply) version(v int64) *reply {
	r.t.Helper()
	if got, want := r.header.Get("ETag"), `"`+strconv.FormatInt(v, 10)+`"`; got != want {
		r.t.Fatalf("%s: ETag %s, want %s", r.what, got, want)
	}
	return r
}

type object = map[string]any

var jon = object{"id": "visitor-1", "name": "Jon Snow", "email": "jon.snow@winterfell.com"}

// conversation opens a conversation of Jon's and returns its path.
func (h *house) conversation() string {
	h.t.Helper()
	r := h.do("POST", "/v1/conversations", object{"customer": jon}).is(201)
	return "/v1/conversations/" + r.text("id")
}

// noTester reaches nobody.
type noTester struct{}

func (noTester) Test(context.Context, string, string) (webhooks.Outcome, string, error) {
	return webhooks.Outcome{}, "", webhooks.ErrNoTarget
}

// access gives the store's keys in the API's words.
type access struct{ *sqlite.Store }

func (a access) Key(ctx context.Context, id string) (httpapi.Key, bool, error) {
	k, found, err := a.Store.Key(ctx, id)
	return httpapi.Key(k), found, err
}

func (a access) Keys(ctx context.Context) (keys []httpapi.Key, err error) {
	kept, err := a.Store.Keys(ctx)
	for _, k := range kept {
		keys = append(keys, httpapi.Key(k))
	}
	return keys, err
}

func (a access) AddKey(ctx context.Context, k httpapi.Key) error {
	return a.Store.AddKey(ctx, sqlite.APIKey(k))
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// forget drops what was logged so far.
func (b *lockedBuffer) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}
