package telemetry_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"verbatim/adapters/telemetry"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	caller       = "00-" + callersTrace + "-" + callersSpan + "-01"
	unsampled    = "00-" + callersTrace + "-" + callersSpan + "-00"
	conversation = "conversation-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b"
)

// open returns tracing into memory.
func open(t *testing.T) (*telemetry.Tracing, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingConfig{Version: "1", Exporter: exporter})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tracing.Close(t.Context()) })
	return tracing, exporter
}

// attributes returns a span's attributes as text.
func attributes(s tracetest.SpanStub) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes {
		out[string(a.Key)] = a.Value.String()
	}
	return out
}

func TestARequestIsASpan(t *testing.T) {
	t.Parallel()
	tracing, exporter := open(t)
	var recorded string
	h := tracing.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded = r.Header.Get("Traceparent")
		_, _ = tracing.Log(failing{}).Append(r.Context(), eventstore.Commit{
			Appends: []eventstore.Append{{Stream: conversation, Events: make([]eventstore.Draft, 2)}},
		})
		_, _ = tracing.Log(failing{err: eventstore.ErrBusy}).Append(r.Context(), eventstore.Commit{})
		w.WriteHeader(http.StatusServiceUnavailable)
		tracing.Served(r.Context(), "POST /v1/conversations/{id}/messages", http.StatusServiceUnavailable, "req-1")
	}))
	r := httptest.NewRequest(http.MethodPost, "/v1/conversations/1/messages?token=secret", nil)
	r.Header.Set("Traceparent", caller)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if r.Header.Get("Traceparent") != caller {
		t.Error("the caller's request was changed")
	}
	spans := exporter.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans", len(spans))
	}
	request := spans[2]
	if got := request.SpanContext.TraceID().String(); got != callersTrace || request.Parent.SpanID().String() != callersSpan {
		t.Errorf("trace %s under %s", got, request.Parent.SpanID())
	}
	if want := "00-" + callersTrace + "-" + request.SpanContext.SpanID().String() + "-01"; recorded != want {
		t.Errorf("the request goes on as %s, want %s", recorded, want)
	}
	want := []string{
		"append map[verbatim.conversation:0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b verbatim.events:2 verbatim.position:1] ",
		"append map[verbatim.events:0 verbatim.position:1] busy",
		"POST /v1/conversations/{id}/messages map[http.request.method:POST http.response.status_code:503 http.route:/v1/conversations/{id}/messages verbatim.request_id:req-1] ",
	}
	for i, s := range spans {
		if s.SpanContext.TraceID() != request.SpanContext.TraceID() || i < 2 && s.Parent.SpanID() != request.SpanContext.SpanID() {
			t.Errorf("%s is elsewhere", s.Name)
		}
		if got := s.Name + " " + printed(attributes(s)) + " " + s.Status.Description; got != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
	}
}

func printed(m map[string]string) string {
	var b bytes.Buffer
	_, _ = io.WriteString(&b, "map[")
	first := true
	for _, k := range []string{
		"http.request.method", "http.response.status_code", "http.route", "verbatim.conversation", "verbatim.events", "verbatim.position", "verbatim.request_id",
	} {
		if v, ok := m[k]; ok {
			if !first {
				b.WriteByte(' ')
			}
			first = false
			b.WriteString(k + ":" + v)
		}
		delete(m, k)
	}
	for k := range m {
		b.WriteString(" and " + k)
	}
	return b.String() + "]"
}

func TestWhatIsNoSpan(t *testing.T) {
	t.Parallel()
	tracing, exporter := open(t)
	var passed []string
	h := tracing.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		passed = append(passed, r.Header.Get("Traceparent"))
		tracing.Served(r.Context(), "GET /livez", http.StatusOK, "")
	}))
	for _, path := range []string{"/livez", "/metrics", "/docs/index.html"} {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	r := httptest.NewRequest(http.MethodGet, "/v1/events", nil)
	r.Header.Set("Accept", "text/event-stream")
	h.ServeHTTP(httptest.NewRecorder(), r)
	// A caller that does not want to be sampled is not, and its trace goes on.
	r = httptest.NewRequest(http.MethodGet, "/v1/events", nil)
	r.Header.Set("Traceparent", unsampled)
	h.ServeHTTP(httptest.NewRecorder(), r)
	if last := passed[len(passed)-1]; !strings.HasPrefix(last, "00-"+callersTrace+"-") || !strings.HasSuffix(last, "-00") {
		t.Errorf("an unsampled request goes on as %s", last)
	}
	// Nobody asked for these.
	_, _ = tracing.Log(failing{}).Append(t.Context(), eventstore.Commit{})
	tracing.Page(projections.PageReport{Events: 3, Traces: []string{unsampled, "nonsense"}})
	if spans := exporter.GetSpans(); len(spans) != 0 {
		t.Errorf("%d spans, the first %s", len(spans), spans[0].Name)
	}
}

func TestAnAttemptIsASpan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		outcome webhooks.Outcome
		status  string
		class   string
	}{
		{"delivered", webhooks.Outcome{Status: 204}, "204", ""},
		{"refused", webhooks.Outcome{Status: 500, Detail: "secret"}, "500", "status_5xx"},
		{"hung", webhooks.Outcome{Fault: webhooks.TimedOut, Detail: "secret"}, "", "timed_out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tracing, exporter := open(t)
			at := time.Now().Add(-time.Second)
			_, traceparent, end := tracing.Begin(t.Context(), &webhooks.Delivery{
				ID: "dlv_1", WebhookID: "msg_1", EndpointID: "e-1", Stream: conversation, Position: 7, Name: "closed", Attempts: 2, Trace: caller,
			}, at)
			end(c.outcome)
			span := exporter.GetSpans()[0]
			if span.Name != "deliver" || span.Parent.SpanID().String() != callersSpan || !span.StartTime.Equal(at) {
				t.Errorf("%s under %s at %s", span.Name, span.Parent.SpanID(), span.StartTime)
			}
			if want := "00-" + callersTrace + "-" + span.SpanContext.SpanID().String() + "-01"; traceparent != want {
				t.Errorf("sent along: %s, want %s", traceparent, want)
			}
			want := map[string]string{
				"verbatim.delivery": "dlv_1", "verbatim.webhook_id": "msg_1", "verbatim.endpoint": "e-1", "verbatim.position": "7",
				"verbatim.conversation": "0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b", "verbatim.event": "closed", "verbatim.attempt": "3",
			}
			if c.status != "" {
				want["http.response.status_code"] = c.status
			}
			if c.class != "" {
				want["error.type"] = c.class
			}
			if diff := cmp.Diff(want, attributes(span)); diff != "" || span.Status.Description != c.class {
				t.Errorf("status %v\n%s", span.Status, diff)
			}
		})
	}

	// An attempt of what nobody asked for is a trace of its own.
	tracing, exporter := open(t)
	_, traceparent, end := tracing.Begin(t.Context(), &webhooks.Delivery{Stream: conversation, Trace: "nonsense"}, time.Now())
	end(webhooks.Outcome{Status: 200})
	if span := exporter.GetSpans()[0]; span.Parent.IsValid() || !eventstore.ValidTrace(traceparent) {
		t.Errorf("under %v, sends %q", span.Parent, traceparent)
	}
}

func TestAPageIsLinkedToItsTraces(t *testing.T) {
	t.Parallel()
	tracing, exporter := open(t)
	began := time.Now()
	tracing.Page(projections.PageReport{
		Began: began, Ended: began.Add(time.Millisecond), First: 3, Last: 9, Events: 7, Deliveries: 2, Traces: []string{caller, unsampled},
	})
	span := exporter.GetSpans()[0]
	if len(span.Links) != 1 || span.Links[0].SpanContext.TraceID().String() != callersTrace || span.Parent.IsValid() ||
		span.SpanContext.TraceID().String() == callersTrace || span.EndTime.Sub(span.StartTime) != time.Millisecond {
		t.Errorf("got %+v", span)
	}
	want := map[string]string{
		"verbatim.events": "7", "verbatim.deliveries": "2", "verbatim.first_position": "3", "verbatim.position": "9",
	}
	if diff := cmp.Diff(want, attributes(span)); diff != "" {
		t.Error(diff)
	}
}

// collector is a collector that answers as a test scripts.
func collector(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// lines is a log that may be written to and read at once.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func send(t *testing.T, endpoint string, spans int) (log string, took time.Duration) {
	t.Helper()
	out := &lines{}
	tracing, err := telemetry.NewTracing(t.Context(), telemetry.TracingConfig{
		Endpoint: endpoint, Version: "1", Log: slog.New(slog.NewTextHandler(out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range spans {
		_, _, end := tracing.Begin(t.Context(), &webhooks.Delivery{Stream: conversation}, began)
		end(webhooks.Outcome{Status: 200})
	}
	// They would wait at least as long as it takes to give the collector up.
	if took := time.Since(began); took > telemetry.ExportTimeout {
		t.Errorf("%d spans took %v: somebody waits for the collector", spans, took)
	}
	began = time.Now()
	tracing.Close(t.Context())
	return out.String(), time.Since(began)
}

func TestSpansAreFlushedAtTheEnd(t *testing.T) {
	t.Parallel()
	var bytes atomic.Int64
	var path atomic.Value
	url := collector(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bytes.Add(int64(len(b)))
		path.Store(r.URL.Path)
	})
	log, _ := send(t, url+"/", 1)
	if bytes.Load() == 0 || path.Load() != "/v1/traces" || log != "" {
		t.Errorf("%d bytes to %v; log: %s", bytes.Load(), path.Load(), log)
	}
}

// A collector that is down costs spans and a line in the log.
func TestACollectorThatIsDown(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, took := send(t, "http://"+addr, 2*telemetry.MaxSpans)
	if took > 2*telemetry.FlushTimeout {
		t.Errorf("closing took %v", took)
	}
	if n := strings.Count(log, "\n"); n != 1 || !strings.Contains(log, "spans=") {
		t.Errorf("%d lines: %s", n, log)
	}
}

// One that hangs is not waited for, neither by those who make spans nor at the
// end.
func TestACollectorThatHangs(t *testing.T) {
	t.Parallel()
	released := make(chan struct{})
	url := collector(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	_, took := send(t, url, 2*telemetry.MaxSpans)
	close(released)
	if took > 2*telemetry.FlushTimeout {
		t.Errorf("closing took %v", took)
	}
}

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	for endpoint, ok := range map[string]bool{
		"http://localhost:4318": true, "https://otel.example.com/base/": true,
		"": false, "localhost:4318": false, "grpc://localhost:4317": false, "http://": false, "http://[::1": false,
		"http://user:secret@localhost": false, "http://localhost/?token=secret": false, "http://localhost/#secret": false,
	} {
		if err := telemetry.CheckEndpoint(endpoint); ok != (err == nil) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
}

func TestAnErrorOfTheLogIsPassedOn(t *testing.T) {
	t.Parallel()
	tracing, _ := open(t)
	wrong := errors.New("wrong")
	for _, log := range []eventstore.Store{tracing.Log(failing{err: wrong}), telemetry.NewMetrics("1").Log(failing{err: wrong})} {
		if first, err := log.Append(t.Context(), eventstore.Commit{}); first != 1 || !errors.Is(err, wrong) {
			t.Errorf("got %d, %v", first, err)
		}
	}
}

func BenchmarkAttemptSpan(b *testing.B) {
	tracing, err := telemetry.NewTracing(b.Context(), telemetry.TracingConfig{Version: "1", Exporter: tracetest.NewNoopExporter()})
	if err != nil {
		b.Fatal(err)
	}
	defer tracing.Close(b.Context())
	d := &webhooks.Delivery{ID: "dlv_1", WebhookID: "msg_1", EndpointID: "e-1", Stream: conversation, Trace: caller}
	b.ReportAllocs()
	for b.Loop() {
		_, _, end := tracing.Begin(b.Context(), d, time.Now())
		end(webhooks.Outcome{Status: 200})
	}
}
