package tests_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"verbatim/adapters/httpapi"
	"verbatim/adapters/httpsender"
	"verbatim/adapters/messaging"
	"verbatim/adapters/sqlite"
	"verbatim/adapters/telemetry"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

// What is secret about an endpoint, and what its receiver answers.
const (
	queryToken   = "tok-in-the-query"
	headerSecret = "s3cret-of-a-header"
	answerSecret = "what-the-receiver-said"
	textSecret   = "what-the-customer-wrote"
)

// watched is a rig with its log, its spans and its metrics.
type watched struct {
	*rig
	log     *output
	logger  *slog.Logger
	metrics *telemetry.Metrics
	tracing *telemetry.Tracing
	spans   *tracetest.InMemoryExporter
}

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{rig: openRig(t), log: &output{}, metrics: telemetry.NewMetrics("test"), spans: tracetest.NewInMemoryExporter()}
	w.logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.tracing, err = telemetry.NewTracing(t.Context(), telemetry.TracingConfig{Version: "test", Exporter: w.spans})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run has the projections and a dispatcher follow the log until the test ends.
func (w *watched) run(t *testing.T, sender httpsender.Config, renderer webhooks.Renderer) {
	t.Helper()
	w.group = w.newGroup(w.logger)
	w.group.Report(w.tracing.Page)
	if renderer == nil {
		renderer = w.transcripts
	}
	d := webhooks.NewDispatcher(w.store, renderer, httpsender.New(sender), time.Now, webhooks.Config{
		Log: w.logger, Dialects: dialect.All(), Recorded: w.metrics.Recorded, Begin: w.tracing.Begin, Jitter: func() float64 { return 0 },
	})
	w.planned = d.Offer
	sub := messaging.New(messaging.Topic{DB: w.store.Readers(), Select: sqlite.SelectLog, Scan: sqlite.ScanEvent},
		w.group, w.store.Events(), w.logger)
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	for _, run := range []func(context.Context) error{sub.Run, d.Run} {
		parts.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); parts.Wait() })
}

func local() httpsender.Config {
	return httpsender.Config{Egress: httpsender.Egress{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
}

// TestOneTraceFromCommandToDelivery posts a message with a caller's trace, and
// finds the request, the append, and the attempts, of which the first fails, in
// it; the page is linked to it, and the receiver can join.
func TestOneTraceFromCommandToDelivery(t *testing.T) {
	t.Parallel()
	const callersTrace, callersSpan = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	w := watch(t)
	got := make(chan string, 10)
	var asked atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Traceparent")
		if asked.Add(1) == 1 {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(receiver.Close)
	id := w.create(t)
	w.register(t, endpoint.Settings{
		URL: receiver.URL, Dialect: "verbatim@1", Events: []string{"conversation.message_posted"}, RetrySchedule: []string{"1s"},
	})
	w.run(t, local(), nil)
	w.caughtUp(t)

	api := w.api(t, func(cfg *httpapi.Config) {
		cfg.Served = func(ctx context.Context, s httpapi.Served) { w.tracing.Served(ctx, s.Route, s.Status, s.RequestID) }
	})
	server := httptest.NewServer(w.tracing.Handler(api))
	t.Cleanup(func() { api.Close(); server.Close() })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/conversations/"+id+"/messages",
		strings.NewReader(`{"text":"Hodor"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer operator")
	r.Header.Set("Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01")
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatal(answer, err)
	}
	_ = answer.Body.Close()
	joins := []string{<-got, <-got}

	by := map[string][]tracetest.SpanStub{}
	poll(t, func() bool {
		clear(by)
		for _, s := range w.spans.GetSpans() {
			by[s.Name] = append(by[s.Name], s)
		}
		return len(by["deliver"]) == 2 && len(by["project"]) > 0
	})
	const route = "POST /v1/conversations/{id}/messages"
	if len(by[route]) != 1 || len(by["append"]) != 1 {
		t.Fatalf("got %v", by)
	}
	request := by[route][0]
	if request.SpanContext.TraceID().String() != callersTrace || request.Parent.SpanID().String() != callersSpan {
		t.Errorf("the request is %s under %s", request.SpanContext.TraceID(), request.Parent.SpanID())
	}
	for i, s := range append(by["append"], by["deliver"]...) {
		if s.SpanContext.TraceID() != request.SpanContext.TraceID() || s.Parent.SpanID() != request.SpanContext.SpanID() {
			t.Errorf("%s is in %s under %s", s.Name, s.SpanContext.TraceID(), s.Parent.SpanID())
		}
		attributes := fmt.Sprint(s.Attributes)
		if !strings.Contains(attributes, id) {
			t.Errorf("%s does not say which conversation: %s", s.Name, attributes)
		}
		if s.Name == "deliver" {
			if want := "00-" + callersTrace + "-" + s.SpanContext.SpanID().String() + "-01"; joins[i-1] != want {
				t.Errorf("attempt %d went out with %s, want %s", i, joins[i-1], want)
			}
			for _, key := range []string{"verbatim.delivery", "verbatim.endpoint", "verbatim.event", "http.response.status_code"} {
				if !strings.Contains(attributes, key) {
					t.Errorf("an attempt without %s", key)
				}
			}
		}
	}
	linked := slices.ContainsFunc(by["project"], func(s tracetest.SpanStub) bool {
		return len(s.Links) == 1 && s.Links[0].SpanContext.SpanID() == request.SpanContext.SpanID()
	})
	if !linked {
		t.Errorf("no page is linked: %v", by["project"])
	}
	// The trace is on record with the event, and nowhere in what is signed.
	last := ""
	for r, err := range w.store.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		last = r.Trace()
	}
	if want := "00-" + callersTrace + "-" + request.SpanContext.SpanID().String() + "-01"; last != want {
		t.Errorf("on record is %q, want %s", last, want)
	}
}

// api is the HTTP interface of the rig, whose commands are traced.
func (w *watched) api(t *testing.T, configure func(*httpapi.Config)) *httpapi.Server {
	t.Helper()
	log := w.tracing.Log(w.metrics.Log(w.store))
	cfg := httpapi.Config{
		Conversations: eventstore.NewAggregates(log, w.codec, time.Now,
			eventstore.Rules[conversation.State, conversation.Command, conversation.Event]{
				Kind: "conversation", Schema: conversation.StateSchema, Decide: conversation.Decide, Evolve: conversation.Evolve,
			}),
		Contacts: eventstore.NewAggregates(log, w.codec, time.Now,
			eventstore.Rules[contact.State, contact.Command, contact.Event]{
				Kind: "contact", Schema: contact.StateSchema, Decide: contact.Decide, Evolve: contact.Evolve,
			}),
		Endpoints: w.endpoints,
		Log:       w.store, Events: w.store.Events(), Transcripts: w.transcripts, Models: w.store, Access: noAccess{},
		Projected: w.group, Dialects: dialect.All(), Codec: w.codec, Tester: noTester{}, Replays: w.replays,
		Eraser:    w.eraser(w.store),
		Key:       func(context.Context, string) (httpapi.Key, bool, error) { return httpapi.Key{}, false, nil },
		AdminKeys: []string{"operator"}, Logger: w.logger,
	}
	configure(&cfg)
	if err := w.store.AddAccount(t.Context(), "default", "Default"); err != nil {
		t.Fatal(err)
	}
	api, err := httpapi.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// renderer fails for those whose dialect it is told to.
type renderer struct {
	webhooks.Renderer
	fail func() error
}

func (r renderer) Body(ctx context.Context, d *webhooks.Delivery) ([]byte, error) {
	body, err := r.Renderer.Body(ctx, d)
	if r.fail != nil {
		err = r.fail()
	}
	return body, err
}

// TestNothingSecretIsTold has an endpoint with a secret header, and a token in
// the query of its URL, fail in every way there is until the delivery is parked.
// The log and the spans say which delivery it was, and nothing that is secret or
// that a stranger wrote.
func TestNothingSecretIsTold(t *testing.T) {
	t.Parallel()
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Location", "/?"+answerSecret)
			w.Header().Set("X-Answer", answerSecret)
			w.WriteHeader(n)
			_, _ = io.WriteString(w, answerSecret)
		}
	}
	drop := func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, answerSecret+"\r\n")
			_ = conn.Close()
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	for _, c := range []struct {
		name    string
		url     string // in place of the receiver's
		receive http.HandlerFunc
		tls     bool
		sender  func(*httpsender.Config)
		render  func() error
		limit   int
		want    string // in the log
		gone    bool   // it is not parked, and nothing is said
	}{
		{name: "500", receive: status(500), want: "status=500"},
		{name: "429", receive: status(429), want: "status=429"},
		{name: "302", receive: status(302), want: "status=302"},
		{name: "404", receive: status(404), want: "status=404"},
		{name: "410", receive: status(410), gone: true},
		{name: "nonsense", receive: drop, want: "fault="},
		{name: "hung", receive: hang, sender: func(c *httpsender.Config) { c.Timeout = 50 * time.Millisecond }, want: "fault=timed_out"},
		{name: "dns", url: "http://no-such-name.invalid", want: "fault=dns"},
		{name: "refused", url: refusing(t), want: "fault=unreachable"},
		{name: "tls", receive: status(200), tls: true, want: "fault=tls"},
		{name: "private", url: "http://10.0.0.1", want: "fault=private_range"},
		{name: "unrendered", receive: status(200), render: func() error { return errors.New("no body") }, want: "fault=unrendered"},
		{name: "panic", receive: status(200), render: func() error { panic("a broken invariant") }, want: "fault=unrendered"},
		{name: "too large", receive: status(200), limit: endpoint.MinBodyLimit, want: "fault=too_large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			url := c.url
			if c.receive != nil {
				receiver := httptest.NewUnstartedServer(c.receive)
				receiver.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
				if c.tls {
					receiver.StartTLS()
				} else {
					receiver.Start()
				}
				t.Cleanup(receiver.Close)
				url = receiver.URL
			}
			id := w.create(t)
			ep := w.register(t, endpoint.Settings{
				URL: url + "/hook?token=" + queryToken, Dialect: "verbatim@1", Events: []string{"conversation.message_posted"},
				RetrySchedule: []string{"1s"}, MaxBodyBytes: c.limit,
			})
			if err := w.store.SetHeaders(t.Context(), ep, map[string]string{"Authorization": "Bearer " + headerSecret}); err != nil {
				t.Fatal(err)
			}
			target, err := w.store.Secrets(t.Context(), ep, time.Now())
			if err != nil || len(target) != 1 {
				t.Fatal(target, err)
			}
			sender := local()
			if c.sender != nil {
				c.sender(&sender)
			}
			w.run(t, sender, renderer{w.transcripts, c.render})
			w.do(t, id, conversation.PostMessage{MessageID: newID(t), Text: textSecret + strings.Repeat(" Hodor", 1000)})

			if c.gone {
				poll(t, func() bool { return len(attemptsOf(t, w, ep)) > 0 })
			} else {
				poll(t, func() bool { return strings.Contains(w.log.String(), "delivery parked") })
			}
			log := w.log.String()
			told := log + fmt.Sprint(w.spans.GetSpans())
			for what, secret := range map[string]string{
				"the token in the query": queryToken, "the header": headerSecret, "the answer": answerSecret,
				"the text": textSecret, "the signing secret": target[0], "the address": url + "/hook",
			} {
				if strings.Contains(told, secret) {
					t.Errorf("%s is told:\n%s", what, told)
				}
			}
			if c.gone {
				return
			}
			line := regexp.MustCompile(`(?m)^.*delivery parked.*$`).FindString(log)
			for _, has := range []string{c.want, " delivery=dlv_", " webhook_id=msg_", " endpoint=" + ep, " conversation=" + id, " position=", " event=conversation.message_posted"} {
				if !strings.Contains(line, has) {
					t.Errorf("no %q in %s", has, line)
				}
			}
		})
	}
}

func attemptsOf(t *testing.T, w *watched, endpointID string) []webhooks.Attempt {
	t.Helper()
	ds, _, err := w.store.Deliveries(t.Context(), endpointID, webhooks.Selection{}, webhooks.Mark{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(ds) == 0 {
		return nil
	}
	_, attempts, _, err := w.store.Delivery(t.Context(), ds[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return attempts
}

// refusing returns the URL of a port on which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// TestMetricsOfAWholeRun scrapes the program after a run of everything: what it
// says of the run, and that no request can make a series of its own.
func TestMetricsOfAWholeRun(t *testing.T) {
	t.Parallel()
	var spans atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if n, _ := io.Copy(io.Discard, r.Body); r.URL.Path == "/v1/traces" {
			spans.Add(n)
		}
	}))
	t.Cleanup(collector.Close)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(receiver.Close)

	s := startServer(t, t.TempDir(), "-otlp-endpoint", collector.URL)
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.URL+`","dialect":"verbatim@1","events":["*"]}`, nil)
	var made struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Jon Snow"}}`, &made)
	for range 3 {
		s.call(http.MethodPost, "/v1/conversations/"+made.ID+"/messages", s.key, `{"text":"Hi"}`, nil)
	}
	for _, odd := range [][2]string{
		{http.MethodGet, "/v1/conversations/" + made.ID + "x"},
		{http.MethodGet, "/nothing/at/all"},
		{"BREW", "/coffee"},
		{http.MethodDelete, "/livez"},
		{http.MethodGet, "/docs/" + made.ID},
		{http.MethodGet, "/v1/../v1/events"},
	} {
		if _, _, err := s.try(odd[0], odd[1], s.key, ""); err != nil {
			t.Fatal(err)
		}
	}
	var text string
	poll(t, func() bool {
		_, b, err := s.try(http.MethodGet, "/metrics", "", "")
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
		return strings.Contains(text, `verbatim_deliveries_ended_total{state="delivered"} 5`+"\n") &&
			strings.Contains(text, `verbatim_projection_lag_events{projection="webhooks"} 0`+"\n")
	})
	for _, line := range []string{
		`verbatim_delivery_attempts_total{outcome="delivered"} 5`,
		`verbatim_delivery_latency_seconds_count{attempt="first"} 5`,
		`verbatim_deliveries_planned_total 5`,
		`verbatim_endpoints{state="active"}`, // counted at the first scrape, and not again so soon
		`verbatim_http_requests_total{route="POST /v1/conversations/{id}/messages",status="2xx"} 3`,
		`verbatim_http_requests_total{route="none",status="4xx"} 4`,
		`verbatim_appends_total{outcome="committed"} 6`,
		`verbatim_events_appended_total 6`,
		`verbatim_log_position 6`,
		`verbatim_build_info{`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no %s", line)
		}
	}
	for _, unbounded := range []string{made.ID, "coffee", "/at/all", "BREW", receiver.URL, "Jon"} {
		if strings.Contains(text, unbounded) {
			t.Errorf("%s is told", unbounded)
		}
	}
	_, doc, err := s.try(http.MethodGet, "/openapi.json", "", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`route="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		_, pattern, _ := strings.Cut(found[1], " ")
		if found[1] != "none" && found[1] != "GET /docs/{file}" && !bytes.Contains(doc, []byte(`"`+pattern+`": {`)) {
			t.Errorf("%q is no operation", found[1])
		}
	}
	if strings.Contains(text, "\nverbatim_collect_failures_total{part=\"backlog\"} 1") {
		t.Error("the backlog could not be counted")
	}
	if code := s.stop(); code != 0 || spans.Load() == 0 {
		t.Errorf("exit code %d, %d bytes of spans\n%s", code, spans.Load(), s.errs)
	}
}

// TestMetricsOfWhatWorksInTheBackground scrapes a program that has sent the past,
// made a read model anew, cancelled that, and erased somebody.
func TestMetricsOfWhatWorksInTheBackground(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	t.Cleanup(receiver.Close)
	folder := t.TempDir()
	s := startServer(t, folder)
	var made, ep, known struct{ ID, Backfill string }
	s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Jon Snow"}}`, &made)
	s.call(http.MethodPost, "/v1/endpoints", s.key,
		`{"url":"`+receiver.URL+`","dialect":"verbatim@1","events":["conversation.created"],"start":"beginning"}`, &ep)
	s.call(http.MethodGet, "/v1/endpoints/"+ep.ID+"/feed", s.key, "", nil)
	s.call(http.MethodGet, "/v1/endpoints/"+ep.ID+"/feed?after=2", s.key, "", nil)
	s.call(http.MethodPost, "/v1/contacts", s.key, `{"id":"ygritte","name":"Ygritte"}`, &known)
	s.call(http.MethodPost, "/v1/contacts/"+known.ID+"/erase", s.key, "{}", nil)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"inbox", "--wait"}, 0, ""},
		{[]string{"typing", "--cancel"}, 1, "projection.not_rebuilding"},
		{[]string{"inbox", "--cancel", "--wait"}, 2, "contradict"},
	} {
		r := runCommand(t, "", append(append([]string{"rebuild-projection"}, c.args...), "-database", "sqlite:"+folder)...)
		if r.code != c.code || !strings.Contains(r.errors, c.says) {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	var text string
	poll(t, func() bool {
		_, b, err := s.try(http.MethodGet, "/metrics", "", "")
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
		return strings.Contains(text, `verbatim_erasures_ended_total{state="done"} 1`+"\n") &&
			strings.Contains(text, `verbatim_deliveries_ended_total{state="delivered"} 1`+"\n") &&
			strings.Contains(text, `verbatim_replays{kind="backfill",state="running"} 0`+"\n")
	})
	for _, line := range []string{
		`verbatim_replay_deliveries_total{kind="backfill"} 1`,
		`verbatim_replay_deliveries_total{kind="replay"} 0`,
		`verbatim_replay_lag_events{kind="backfill"} 0`,
		`verbatim_delivery_latency_seconds_count{attempt="first"} 0`, // what was sent late on purpose says nothing of it
		`verbatim_feed_pulls_total{result="items"} 1`,
		`verbatim_feed_pulls_total{result="empty"} 1`,
		`verbatim_feed_items_total 1`,
		`verbatim_feed_pulls_waiting 0`,
		`verbatim_rebuild_state{projection="inbox",state="done"} 1`,
		`verbatim_rebuild_state{projection="typing",state="done"} 0`,
		`verbatim_rebuild_differences{projection="inbox"} 0`,
		`verbatim_erasures_asked_total 1`,
		`verbatim_erasure_events_total 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	for _, unbounded := range []string{made.ID, ep.ID, ep.Backfill, known.ID, receiver.URL} {
		if strings.Contains(text, unbounded) {
			t.Errorf("%s is told", unbounded)
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.errs)
	}
}
