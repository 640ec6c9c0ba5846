package tests_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/messaging"
	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

type (
	conversations = eventstore.Aggregates[conversation.State, conversation.Command, conversation.Event]
	endpoints     = eventstore.Aggregates[endpoint.State, endpoint.Command, endpoint.Event]
)

// rig is everything between a command and a planned delivery, on a real file.
type rig struct {
	store         *sqlite.Store
	codec         *eventstore.Codec
	conversations *conversations
	endpoints     *endpoints
	group         *projections.Group
	planned       func([]webhooks.Delivery)
}

func openRig(tb testing.TB) *rig {
	tb.Helper()
	store, err := sqlite.Open(tb.Context(), tb.TempDir(), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	h := &rig{store: store, codec: eventstore.Catalogue()}
	h.conversations = eventstore.NewAggregates(store, h.codec, time.Now,
		eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
			Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
		})
	h.endpoints = eventstore.NewAggregates(store, h.codec, time.Now,
		eventstore.Rules[endpoint.State, endpoint.Command, endpoint.Event]{
			Kind: "endpoint", Schema: endpoint.StateSchema, Decide: endpoint.Decide, Evolve: endpoint.Evolve,
		})
	h.group = h.newGroup(slog.New(slog.NewTextHandler(io.Discard, nil)))
	return h
}

func (h *rig) newGroup(logger *slog.Logger) *projections.Group {
	planned := func(ds []webhooks.Delivery) {
		if h.planned != nil {
			h.planned(ds)
		}
	}
	return projections.NewGroup(h.store, h.codec, h.store, time.Now, logger,
		projections.NewInbox(h.store), projections.NewTyping(nil), projections.NewEndpoints(h.store, nil),
		projections.NewPlan(h.store, h.codec, h.store, dialect.All(), planned))
}

// follow runs the projections until the test ends.
func (h *rig) follow(tb testing.TB) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	sub := messaging.New(messaging.Topic{DB: h.store.Readers(), Select: sqlite.SelectLog, Scan: sqlite.ScanEvent},
		h.group, h.store.Events(), slog.New(slog.NewTextHandler(io.Discard, nil)))
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
func (h *rig) caughtUp(tb testing.TB) {
	tb.Helper()
	head, err := h.store.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if err := h.group.Wait(tb.Context(), head); err != nil {
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

func (h *rig) do(tb testing.TB, id string, c conversation.Command) {
	tb.Helper()
	_, err := h.conversations.Execute(context.Background(), eventstore.Order[conversation.State, conversation.Command]{
		Account: "default", ID: id, Command: c,
		Metadata: eventstore.Metadata{Actor: "key:0123456789ab", Correlation: "0192f7a8c1d24e5f8a9b0c1d2e3f4a5b"},
	})
	if err != nil {
		tb.Error(err)
	}
}

func (h *rig) create(tb testing.TB) string {
	tb.Helper()
	id := newID(tb)
	h.do(tb, id, conversation.Create{
		Account: domain.Account{ID: "default", Number: 1, Name: "Default"},
		Inbox:   domain.Inbox{ID: "default", Number: 1, Name: "Default"}, Channel: "api",
		Customer: domain.Person{ID: newID(tb), Name: "Jon Snow", Email: "jon.snow@winterfell.com", Phone: "+48123456789"},
	})
	return id
}

func (h *rig) say(tb testing.TB, id string) {
	tb.Helper()
	h.do(tb, id, conversation.PostMessage{
		MessageID: newID(tb),
		Text:      "Hello, I have a question about my last order: it has not arrived yet. Can you help me?",
	})
}

func (h *rig) register(tb testing.TB, s endpoint.Settings) string {
	tb.Helper()
	id := newID(tb)
	_, err := h.endpoints.Execute(tb.Context(), eventstore.Order[endpoint.State, endpoint.Command]{
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
