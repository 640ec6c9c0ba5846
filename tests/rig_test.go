package tests_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/httpsender"
	"verbatim/adapters/messaging"
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

type (
	conversations = eventstore.Aggregates[conversation.State, conversation.Command, conversation.Event]
	contacts      = eventstore.Aggregates[contact.State, contact.Command, contact.Event]
	endpoints     = eventstore.Aggregates[endpoint.State, endpoint.Command, endpoint.Event]
)

// rig is everything between a command and a planned delivery, on a real file.
type rig struct {
	folder        string
	store         *sqlite.Store
	codec         *eventstore.Codec
	conversations *conversations
	contacts      *contacts
	endpoints     *endpoints
	dialects      *webhooks.Dialects
	group         *projections.Group
	transcripts   *projections.Transcripts
	replays       *projections.Replays
	planned       func([]webhooks.Delivery)
	changed       func(endpointID string)
	reload        func(webhooks.Lane)
}

// Reload and Wake tell whoever sends what replays have committed.
func (r *rig) Reload(l webhooks.Lane) {
	if r.reload != nil {
		r.reload(l)
	}
}

func (r *rig) Wake(id string) {
	if r.changed != nil {
		r.changed(id)
	}
}

func openRig(tb testing.TB) *rig {
	tb.Helper()
	return openRigWith(tb, dialect.All())
}

func openRigWith(tb testing.TB, dialects *webhooks.Dialects) *rig {
	tb.Helper()
	return openRigIn(tb, tb.TempDir(), dialects)
}

func openRigIn(tb testing.TB, dir string, dialects *webhooks.Dialects) *rig {
	tb.Helper()
	store, err := sqlite.Open(tb.Context(), dir, sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	r := &rig{folder: dir, store: store, codec: eventstore.Catalogue(), dialects: dialects}
	r.transcripts = projections.NewTranscripts(store, r.codec, dialects, projections.TranscriptMemory)
	r.conversations = eventstore.NewAggregates(store, r.codec, time.Now,
		eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
			Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
		})
	r.contacts = eventstore.NewAggregates(store, r.codec, time.Now,
		eventstore.Rules[contact.State, contact.Command, contact.Event]{
			Kind: "contact", Schema: contact.StateSchema, Decide: contact.Decide, Evolve: contact.Evolve,
		})
	r.endpoints = eventstore.NewAggregates(store, r.codec, time.Now,
		eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		})
	r.group = r.newGroup(slog.New(slog.DiscardHandler))
	r.replays = projections.NewReplays(store, r.codec, dialects, store, r.transcripts, r, time.Now, slog.New(slog.DiscardHandler))
	return r
}

func (r *rig) newGroup(logger *slog.Logger) *projections.Group {
	planned := func(ds []webhooks.Delivery) {
		if r.planned != nil {
			r.planned(ds)
		}
	}
	changed := func(id string) {
		if r.changed != nil {
			r.changed(id)
		}
	}
	return projections.NewGroup(r.store, r.codec, r.store, time.Now, logger,
		projections.NewInbox(r.store), projections.NewTyping(nil), projections.NewEndpoints(r.store, changed),
		projections.NewPlan(r.store, r.codec, r.store, r.dialects, planned))
}

// follow runs the projections until the test ends.
func (r *rig) follow(tb testing.TB) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	sub := messaging.New(messaging.Topic{DB: r.store.Readers(), Select: sqlite.SelectLog, Scan: sqlite.ScanEvent},
		r.group, r.store.Events(), slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			tb.Error("projections:", err)
		}
	})
}

// caughtUp waits until everything in the log is projected.
func (r *rig) caughtUp(tb testing.TB) {
	tb.Helper()
	head, err := r.store.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.group.Wait(tb.Context(), head); err != nil {
		tb.Fatal(err)
	}
}

func newID(tb testing.TB) string {
	tb.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return id.String()
}

func (r *rig) do(tb testing.TB, id string, c conversation.Command) {
	tb.Helper()
	_, err := r.conversations.Execute(context.Background(), eventstore.Order[conversation.State, conversation.Command]{
		Account: "default", ID: id, Command: c,
		Metadata: eventstore.Metadata{Actor: "key:0123456789ab", Correlation: "0192f7a8c1d24e5f8a9b0c1d2e3f4a5b"},
	})
	if err != nil {
		tb.Error(err)
	}
}

func (r *rig) create(tb testing.TB) string {
	tb.Helper()
	id := newID(tb)
	r.do(tb, id, conversation.Create{
		Account: domain.Account{ID: "default", Number: 1, Name: "Default"},
		Inbox:   domain.Inbox{ID: "default", Number: 1, Name: "Default"}, Channel: "api",
		Customer: domain.Person{ID: newID(tb), Name: "Jon Snow", Email: "jon.snow@winterfell.com", Phone: "+48123456789"},
	})
	return id
}

func (r *rig) say(tb testing.TB, id string) {
	tb.Helper()
	r.do(tb, id, conversation.PostMessage{
		MessageID: newID(tb),
		Text:      "Hello, I have a question about my last order: it has not arrived yet. Can you help me?",
	})
}

func (r *rig) register(tb testing.TB, s endpoint.Settings) string {
	tb.Helper()
	id := newID(tb)
	now := time.Now()
	if err := r.store.AddSecret(tb.Context(), id, webhooks.NewSecret(rand.Reader), now, now); err != nil {
		tb.Fatal(err)
	}
	_, err := r.endpoints.Execute(tb.Context(), eventstore.Order[endpoint.State, endpoint.Command]{
		Account: "default", ID: id,
		Command: endpoint.Register{Account: domain.Account{ID: "default"}, Settings: s},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

func uuidV7(tb testing.TB) uuid.UUID {
	tb.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return id
}

// serveHTTP puts the HTTP interface before the rig and returns its URL and a
// key for it.
func (r *rig) serveHTTP(tb testing.TB) (url, key string) {
	tb.Helper()
	key = "operator"
	api, err := httpapi.New(httpapi.Config{
		Conversations: r.conversations, Contacts: r.contacts, Endpoints: r.endpoints, Eraser: r.eraser(r.store),
		Log: r.store, Events: r.store.Events(), Transcripts: r.transcripts, Models: r.store, Access: noAccess{},
		Projected: r.group, Dialects: r.dialects, Codec: r.codec, Tester: noTester{}, Replays: r.replays,
		Key:       func(context.Context, string) (httpapi.Key, bool, error) { return httpapi.Key{}, false, nil },
		AdminKeys: []string{key},
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.store.AddAccount(tb.Context(), "default", "Default"); err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewServer(api)
	tb.Cleanup(func() { api.Close(); server.Close() })
	return server.URL, key
}

// eraser returns an eraser of the rig, which tells store.
func (r *rig) eraser(store projections.ErasureStore) *projections.Eraser {
	return projections.NewEraser(projections.EraserConfig{
		Log: r.store, Codec: r.codec, Store: store, Clock: time.Now, Slog: slog.New(slog.DiscardHandler),
		Forget: func(ctx context.Context, stream string) error {
			r.transcripts.Forget(stream)
			return errors.Join(r.conversations.Forget(ctx, stream), r.contacts.Forget(ctx, stream))
		},
		Tell: func(ctx context.Context, e *projections.Erasure, key eventstore.Key, version int64, parts []contact.Part) error {
			_, err := r.contacts.Execute(ctx, eventstore.Order[contact.State, contact.Command]{
				Account: e.Account, ID: e.ContactID, Command: contact.Erase{By: e.By, Parts: parts},
				IfVersion: &version, Key: &key, Metadata: e.Metadata,
			})
			return err
		},
	})
}

// noAccess is for rigs whose only key is the operator's.
type noAccess struct{ httpapi.Access }

// noTester is for rigs in which nobody tests an endpoint.
type noTester struct{ httpapi.Tester }

// dispatch sends what is planned until the test ends.
func (r *rig) dispatch(tb testing.TB) {
	tb.Helper()
	r.dispatchWith(tb, httpsender.Config{}, webhooks.Config{})
}

// dispatchWith is dispatch by a sender and a dispatcher that are set so.
func (r *rig) dispatchWith(tb testing.TB, sending httpsender.Config, cfg webhooks.Config) *webhooks.Dispatcher {
	tb.Helper()
	sending.AllowPrivate = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	cfg.Dialects = r.dialects
	sender := httpsender.New(sending)
	d := webhooks.NewDispatcher(r.store, r.transcripts, sender, time.Now, cfg)
	r.planned, r.changed, r.reload = d.Offer, d.Wake, d.Reload
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			tb.Error("dispatcher:", err)
		}
		sender.Close()
	})
	return d
}
