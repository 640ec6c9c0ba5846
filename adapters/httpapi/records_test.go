package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/webhooks"
)

// told is what a dispatcher and a worker would be told.
type told struct {
	mu    sync.Mutex
	lanes []webhooks.Lane
	jobs  int
}

func (d *told) config(cfg *httpapi.Config) {
	cfg.Reload = func(l webhooks.Lane) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lanes = append(d.lanes, l)
	}
	cfg.JobAdded = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.jobs++
	}
}

// take returns what was told since it was last asked.
func (d *told) take() (lanes []webhooks.Lane, jobs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	lanes, jobs = d.lanes, d.jobs
	d.lanes, d.jobs = nil, 0
	return lanes, jobs
}

// hook registers an endpoint and returns its path.
func (h *house) hook() string {
	h.t.Helper()
	return h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim"}).is(201).header.Get("Location")
}

// end has the attempt of a delivery end.
func (h *house) end(id string, o webhooks.Outcome, state webhooks.State, reason string, due time.Time) {
	h.t.Helper()
	d, _, found, err := h.store.Delivery(h.t.Context(), id)
	if err != nil || !found {
		h.t.Fatal(found, err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	d.State, d.Reason, d.Attempts = state, reason, d.Attempts+1
	if state == webhooks.Pending {
		d.DueAt = due
	} else {
		d.EndedAt = &at
	}
	r := webhooks.Report{Delivery: d, Attempt: webhooks.Attempt{Number: d.Attempts, At: at, Outcome: o, Digest: []byte{1, 2}}}
	if err := h.store.Record(h.t.Context(), []webhooks.Report{r}); err != nil {
		h.t.Fatal(err)
	}
}

func ids(r *reply) []string {
	r.t.Helper()
	var list struct{ Data []struct{ ID string } }
	r.into(&list)
	var out []string
	for _, d := range list.Data {
		out = append(out, d.ID)
	}
	return out
}

func TestDeliveriesAreFiltered(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	a, b := h.conversation(), h.conversation()
	for range 2 {
		h.do("POST", a+"/messages", object{"text": "Hi"}).is(201)
		h.do("POST", b+"/messages", object{"text": "Ho"}).is(201)
	}
	list := ep + "/deliveries?"
	all := ids(h.do("GET", list, nil).is(200))
	conversation := strings.TrimPrefix(a, "/v1/conversations/")
	of := h.do("GET", list+"conversation="+conversation, nil).is(200).
		has("data.0.event", "conversation.message_posted", "data.0.lane", "conversation-"+conversation, "data.2.event", "conversation.created", "data.3", nil)
	mine := ids(of)
	h.end(mine[0], webhooks.Outcome{Status: 500}, webhooks.Parked, webhooks.ReasonExhausted, time.Time{})
	h.end(mine[1], webhooks.Outcome{Status: 200}, webhooks.Delivered, "", time.Time{})
	h.end(mine[2], webhooks.Outcome{Status: 500}, webhooks.Pending, webhooks.ReasonExhausted, webhooks.Never())
	created := of.text("data.1.created_at")
	at, err := time.Parse(time.RFC3339, created)
	if err != nil {
		t.Fatal(err)
	}
	after := url.QueryEscape(at.Add(time.Microsecond).Format(time.RFC3339Nano))
	for query, want := range map[string][]string{
		"state=parked":                                          mine[:1],
		"state=parked,delivered":                                mine[:2],
		"state=pending&conversation=" + conversation:            mine[2:],
		"event=conversation.created":                            {mine[2], all[len(all)-2-1]},
		"event=conversation.message_posted&state=parked":        mine[:1],
		"event=contact.*&state=parked":                          nil,
		"conversation=" + conversation + "&from=" + created:     mine[:2],
		"conversation=" + conversation + "&to=" + created:       mine[2:],
		"conversation=" + conversation + "&from=" + after:       mine[:1],
		"conversation=01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00":     nil,
		"from=" + created + "&to=" + after + "&state=delivered": mine[1:2],
	} {
		got := ids(h.do("GET", list+query, nil).is(200).has("page.next", nil))
		if query == "event=conversation.created" {
			if len(got) != 2 || !slices.Contains(got, mine[2]) {
				t.Errorf("%s: %v", query, got)
			}
			continue
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	// What stands still says so.
	h.do("GET", "/v1/deliveries/"+mine[2], nil).is(200).
		has("state", "pending", "due_at", nil, "reason", "exhausted", "attempt_count", 1)
	// Page by page it is the same.
	var paged []string
	for cursor := ""; ; {
		page := h.do("GET", list+"limit=2&cursor="+cursor, nil).is(200)
		paged = append(paged, ids(page)...)
		if page.get("page.next") == nil {
			break
		}
		cursor = page.text("page.next")
	}
	if !slices.Equal(paged, all) {
		t.Errorf("page by page %v, want %v", paged, all)
	}
	h.do("GET", list+"event=message_made", nil).fails(422, "invalid_field").at("query.event")
	h.do("GET", list+"from=yesterday", nil).fails(422, "invalid_field").at("query.from")
	h.do("GET", list+"to=2026", nil).fails(422, "invalid_field").at("query.to")
	h.do("GET", list+"state=parked,lost", nil).fails(422, "invalid_field").at("query.state[1]")
}

func TestAttemptsAreOnRecord(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	h.conversation()
	id := ids(h.do("GET", ep+"/deliveries", nil).is(200))[0]
	h.end(id, webhooks.Outcome{Fault: webhooks.TLSFailed, Detail: "no", Took: 20 * time.Millisecond, Timing: webhooks.Timing{
		DNS: 1500 * time.Microsecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond,
	}}, webhooks.Pending, "", time.Now())
	h.end(id, webhooks.Outcome{Status: 503, RetryAfter: time.Minute, Detail: "<busy>", Timing: webhooks.Timing{FirstByte: 4 * time.Millisecond}},
		webhooks.Pending, "", time.Now())
	h.do("GET", "/v1/deliveries/"+id, nil).is(200).has("attempt_count", 2,
		"attempts.0.number", 1, "attempts.0.fault", "tls", "attempts.0.detail", "no", "attempts.0.status", nil, "attempts.0.took_ms", 20,
		"attempts.0.dns_ms", 1.5, "attempts.0.connect_ms", 2, "attempts.0.tls_ms", 3, "attempts.0.first_byte_ms", nil,
		"attempts.0.digest", "0102", "attempts.0.retry_after", nil,
		"attempts.1.status", 503, "attempts.1.retry_after", 60, "attempts.1.first_byte_ms", 4, "attempts.1.dns_ms", nil)
}

func TestRedeliver(t *testing.T) {
	t.Parallel()
	var d told
	h := open(t, d.config)
	ep := h.hook()
	h.conversation()
	list := h.do("GET", ep+"/deliveries", nil).is(200)
	id := ids(list)[0]
	path := "/v1/deliveries/" + id
	h.end(id, webhooks.Outcome{Status: 200}, webhooks.Delivered, "", time.Time{})
	head := h.head()

	h.do("POST", path+"/redeliver", nil, idempotent("k")).is(202).
		has("id", id, "state", "pending", "webhook_id", list.text("data.0.webhook_id"), "attempt_count", 1, "endpoint_disabled", nil)
	lanes, _ := d.take()
	if want := (webhooks.Lane{EndpointID: strings.TrimPrefix(ep, "/v1/endpoints/"), Key: list.text("data.0.lane")}); !slices.Equal(lanes, []webhooks.Lane{want}) {
		t.Errorf("told of %v, want %v", lanes, want)
	}
	// The same request again does it no more, whatever became of it.
	h.end(id, webhooks.Outcome{Status: 200}, webhooks.Delivered, "", time.Time{})
	again := h.do("POST", path+"/redeliver", nil, idempotent("k")).is(202).has("state", "delivered")
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("it does not say that it was done before")
	}
	if lanes, _ := d.take(); len(lanes) > 0 {
		t.Errorf("told of %v", lanes)
	}
	h.do("POST", path+"/cancel", nil, idempotent("k")).fails(422, "idempotency_key_reused")
	h.do("POST", path+"/redeliver", nil).is(202).has("state", "pending")
	h.do("POST", path+"/redeliver", nil).is(202).has("state", "pending")

	h.do("POST", ep+"/disable", nil).is(200)
	h.do("POST", path+"/redeliver", nil).is(202).has("state", "pending", "endpoint_disabled", true)
	h.do("POST", path+"/redeliver", nil, as(h.other)).fails(404, "delivery.not_found")
	h.do("POST", "/v1/deliveries/dlv_0/redeliver", nil).fails(404, "delivery.not_found")
	h.do("DELETE", ep, nil).is(204)
	h.do("POST", path+"/redeliver", nil, idempotent("later")).fails(409, "endpoint.deleted")
	h.do("POST", path+"/redeliver", nil, idempotent("later")).fails(409, "endpoint.deleted") // what was refused is not remembered
	if h.head() != head+2 {
		t.Error("a redelivery is in the log")
	}
}

func TestCancelDelivery(t *testing.T) {
	t.Parallel()
	var d told
	h := open(t, d.config)
	ep := h.hook()
	h.conversation()
	id := ids(h.do("GET", ep+"/deliveries", nil).is(200))[0]
	path := "/v1/deliveries/" + id
	h.do("POST", path+"/cancel", nil, as(h.other)).fails(404, "delivery.not_found")
	h.do("POST", path+"/cancel", nil, idempotent("k")).is(200).has("state", "cancelled", "reason", "cancelled", "due_at", nil)
	if lanes, _ := d.take(); len(lanes) != 1 {
		t.Errorf("told of %v", lanes)
	}
	if h.do("POST", path+"/cancel", nil, idempotent("k")).is(200).header.Get("Idempotency-Replayed") != "true" {
		t.Error("it does not say that it was done before")
	}
	refused := h.do("POST", path+"/cancel", nil).fails(409, "delivery.not_pending")
	if !strings.Contains(refused.text("detail"), "is cancelled") {
		t.Errorf("it does not name the state: %s", refused.body)
	}
	h.do("POST", path+"/redeliver", nil).is(202).has("state", "pending", "reason", nil)
}

func TestRetryFailed(t *testing.T) {
	t.Parallel()
	var d told
	h := open(t, d.config)
	ep := h.hook()
	a := h.conversation()
	for range 3 {
		h.do("POST", a+"/messages", object{"text": "Hi"}).is(201)
	}
	all := ids(h.do("GET", ep+"/deliveries", nil).is(200))
	for i, id := range all {
		reason := webhooks.ReasonExhausted
		if i == 0 {
			reason = webhooks.ReasonTooLarge
		}
		h.end(id, webhooks.Outcome{Status: 500}, webhooks.Parked, reason, time.Time{})
	}
	worker := webhooks.NewJobs(h.store, func(webhooks.Lane) {}, time.Now, slog.New(slog.DiscardHandler))
	step := func() {
		t.Helper()
		if worked, _, err := worker.Step(t.Context()); err != nil || !worked {
			t.Fatal(worked, err)
		}
	}
	// What the conditions mean.
	body := object{"reasons": []string{"exhausted"}, "events": []string{"conversation.message_posted"}, "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
	first := h.do("POST", ep+"/retry-failed", body, idempotent("k")).is(202).
		has("kind", "retry_failed", "state", "running", "total", nil, "done", 0, "endpoint_id", strings.TrimPrefix(ep, "/v1/endpoints/"), "ended_at", nil)
	job := first.header.Get("Location")
	if job != "/v1/jobs/"+first.text("id") {
		t.Errorf("it is at %s", job)
	}
	if _, jobs := d.take(); jobs != 1 {
		t.Errorf("told of %d jobs", jobs)
	}
	running := h.do("POST", ep+"/retry-failed", nil).fails(409, "job.running")
	if running.header.Get("Location") != job || !strings.Contains(running.text("detail"), first.text("id")) {
		t.Errorf("which one runs? %s %s", running.header, running.body)
	}
	step()
	h.do("GET", job, nil).is(200).has("state", "done", "done", 2)
	h.do("GET", ep+"/deliveries?state=parked", nil).is(200).has("data.0.id", all[0], "data.1.event", "conversation.created", "data.3", nil)
	if again := h.do("POST", ep+"/retry-failed", body, idempotent("k")).is(202).has("id", first.text("id"), "done", 2); again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("it does not say that it was done before")
	}
	h.do("POST", job+"/cancel", nil).fails(409, "job.not_running")

	// All of it, of an endpoint that is disabled.
	h.do("POST", ep+"/disable", nil).is(200)
	second := h.do("POST", ep+"/retry-failed", nil).is(202).has("total", 3, "endpoint_disabled", true)
	h.do("GET", "/v1/jobs", nil).is(200).has("data.0.id", second.text("id"), "data.1.id", first.text("id"), "data.2", nil)
	page := h.do("GET", "/v1/jobs?limit=1&endpoint="+first.text("endpoint_id"), nil).is(200).has("data.0.id", second.text("id"), "data.1", nil)
	h.do("GET", "/v1/jobs?limit=1&endpoint="+first.text("endpoint_id")+"&cursor="+page.text("page.next"), nil).is(200).
		has("data.0.id", first.text("id"), "page.next", nil)
	h.do("GET", "/v1/jobs", nil, as(h.other)).is(200).has("data.0", nil)
	path := second.header.Get("Location")
	h.do("GET", path, nil, as(h.other)).fails(404, "job.not_found")
	h.do("POST", path+"/cancel", nil, as(h.other)).fails(404, "job.not_found")
	h.do("POST", path+"/cancel", nil, idempotent("stop")).is(200).has("state", "cancelled")
	h.do("POST", path+"/cancel", nil, idempotent("stop")).is(200).has("state", "cancelled")
	if worked, _, err := worker.Step(t.Context()); worked || err != nil {
		t.Error("a cancelled job goes on", err)
	}

	h.do("POST", ep+"/retry-failed", object{"events": []string{"message_made"}}).fails(422, "invalid_field").at("body.events[0]")
	h.do("POST", ep+"/retry-failed", object{"reasons": []string{"bored"}}).fails(422, "invalid_field").at("body.reasons[0]")
	h.do("POST", ep+"/retry-failed", object{"from": "yesterday"}).fails(422, "invalid_field").at("body.from")
	h.do("POST", ep+"/retry-failed", object{"since": "x"}).fails(422, "unknown_field").at("body.since")
	h.do("POST", ep+"/retry-failed", nil, as(h.other)).fails(404, "endpoint.not_found")
	h.do("GET", "/v1/jobs?cursor=--", nil).fails(400, "bad_cursor")
	h.do("DELETE", ep, nil).is(204)
	h.do("POST", ep+"/retry-failed", nil).fails(404, "endpoint.not_found")
}

// Pages in which nothing is found lead on.
func TestAnEmptyPageLeadsOn(t *testing.T) {
	t.Parallel()
	fake := &fewMatches{}
	h := open(t, func(cfg *httpapi.Config) { fake.ReadModels, cfg.Models = cfg.Models, fake })
	ep := h.hook()
	page := h.do("GET", ep+"/deliveries?state=parked", nil).is(200).has("data", "[]")
	h.do("GET", ep+"/deliveries?state=parked&cursor="+page.text("page.next"), nil).is(200).has("data", "[]", "page.next", nil)
	if want := "[{0 } {7 name}]"; fmt.Sprint(fake.asked) != want {
		t.Errorf("asked for %v, want %s", fake.asked, want)
	}
}

// fewMatches is a list that looks twice before it ends.
type fewMatches struct {
	httpapi.ReadModels

	asked []webhooks.Mark
}

func (f *fewMatches) Deliveries(
	_ context.Context, _ string, _ webhooks.Selection, before webhooks.Mark, _ int,
) ([]webhooks.Delivery, *webhooks.Mark, error) {
	f.asked = append(f.asked, before)
	if before == (webhooks.Mark{}) {
		return nil, &webhooks.Mark{Position: 7, Name: "name"}, nil
	}
	return nil, nil, nil
}
