package main

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// fragile has one name for everything, and panics at messages while it is ill.
type fragile struct{ ill *bool }

func (fragile) Name() string { return "fragile@1" }
func (fragile) Vocabulary() []webhooks.EventType {
	return []webhooks.EventType{{Word: webhooks.Word{Name: "said"}}}
}
func (fragile) Guide() string { return "" }

func (d fragile) Words(e domain.Event) []webhooks.Word {
	if _, posted := e.(conversation.MessagePosted); posted && *d.ill {
		panic("ill")
	}
	return []webhooks.Word{{Name: "said"}}
}

func (fragile) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	return append(dst, e.Name...), nil
}

// TestVerifyTellsParkedFromMissing verifies a log of which a stream is parked in the
// plan. What waits there is not missing; and what made the plan panic, and does
// still, cannot be compared.
func TestVerifyTellsParkedFromMissing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	codec, ill := eventstore.Catalogue(), true
	dialects := webhooks.NewDialects(fragile{&ill})
	add := func(kind string, events ...domain.Event) (stream string) {
		t.Helper()
		stream = eventstore.StreamName(kind, uuid.Must(uuid.NewV7()).String())
		var drafts []eventstore.Draft
		for _, e := range events {
			name, schema, data, err := codec.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			drafts = append(drafts, eventstore.Draft{ID: uuid.Must(uuid.NewV7()), Type: name, Schema: schema, Time: time.Now(), Data: data})
		}
		if _, err := store.Append(ctx, eventstore.Commit{
			Account: "default", Appends: []eventstore.Append{{Stream: stream, Events: drafts}},
		}); err != nil {
			t.Fatal(err)
		}
		return stream
	}
	jon := domain.Person{ID: "jon", Role: domain.Customer}
	created := conversation.Created{Account: domain.Account{ID: "default"}, Customer: jon}
	add("endpoint", endpoint.Registered{
		Account: domain.Account{ID: "default"}, Settings: endpoint.Settings{Dialect: "fragile@1", Events: []string{"*"}},
	})
	sick := add("conversation", created,
		conversation.MessagePosted{MessageID: "m", Author: jon, ContentType: "text", Text: "hello"}, conversation.Closed{})
	well := add("conversation", created)
	group := projections.NewGroup(store, codec, store, time.Now, slog.New(slog.DiscardHandler),
		projections.NewEndpoints(store, nil), projections.NewPlan(store, codec, store, dialects, nil))
	if err := group.Load(ctx); err != nil {
		t.Fatal(err)
	}
	if err := group.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	if parked := group.Parked(); len(parked) != 1 || parked[0].Stream != sick || parked[0].Version != 2 {
		t.Fatalf("parked: %+v; not %s", parked, well)
	}
	check := func() *verifyReport {
		t.Helper()
		v := &verification{
			from: 1, to: projections.Newest, workers: 1, log: store, codec: codec, dialects: dialects,
			progress: func(total int64) *progress { return newProgress(&shell{err: io.Discard}, total, "events") },
		}
		if err := v.checkLog(ctx); err != nil {
			t.Fatal(err)
		}
		if err := v.checkDeliveries(ctx); err != nil {
			t.Fatal(err)
		}
		r := v.report()
		if tally := r.Deliveries.Endpoints[0]; tally.Missing > 0 || tally.Changed > 0 {
			t.Errorf("%+v", tally)
		}
		return r
	}
	waits := func(r *verifyReport) (n int64) {
		for _, kind := range r.Deliveries.Endpoints[0].NeverSent {
			if kind.State == unplanned && kind.Reason == reasonParked {
				n += kind.Count
			}
		}
		return n
	}
	r := check()
	if faults := r.Deliveries.Faults; r.Identical || waits(r) != 1 || len(faults) != 1 || !strings.Contains(faults[0], "panic: ill") {
		t.Errorf("while it is ill %d wait, and not comparable are %v", waits(r), faults)
	}
	ill = false
	if r := check(); !r.Identical || waits(r) != 2 {
		t.Errorf("when it is well %d wait: %+v", waits(r), r.Deliveries)
	}
	if err := group.Retry(ctx, true); err != nil {
		t.Fatal(err)
	}
	if r := check(); !r.Identical || waits(r) != 0 {
		t.Errorf("behind the retry %d wait: %+v", waits(r), r.Deliveries)
	}
}
