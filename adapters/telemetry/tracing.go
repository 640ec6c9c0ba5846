package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// Limits on spans.
const (
	// MaxSpans is how many spans wait for the collector, at some kilobytes each.
	// Those that find no room are dropped: nothing ever waits for a collector.
	MaxSpans = 8192
	// ExportTimeout bounds one batch with all tries to send it.
	ExportTimeout = 10 * time.Second
	// FlushTimeout bounds what a stopping process waits for its last spans: it
	// comes last, when those who stop it may have waited for most of what they do.
	FlushTimeout = 2 * time.Second
	// complaintPause lies between two lines in the log about a collector that
	// does not take spans.
	complaintPause = time.Minute

	tracesPath = "/v1/traces" // below the endpoint, as OTLP has it
)

// A TracingConfig says where spans go.
type TracingConfig struct {
	// Endpoint is the base URL of a collector, http://localhost:4318; see
	// CheckEndpoint. What else the exporter can be told it reads from the
	// environment (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER,
	// OTEL_RESOURCE_ATTRIBUTES and others of the OpenTelemetry specification).
	Endpoint string
	// Version is the program's.
	Version string
	// Log is told, once a minute at most, that spans were lost. Defaults to none.
	Log *slog.Logger
	// Exporter takes the spans, each as it ends, in place of a collector: for
	// tests. Defaults to one over OTLP.
	Exporter sdktrace.SpanExporter
}

// CheckEndpoint returns why a URL cannot be that of a collector, or nil. What is
// secret goes into OTEL_EXPORTER_OTLP_HEADERS: a URL ends up in logs.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be a URL such as http://localhost:4318, without a user or a query")
	}
	return nil
}

// Tracing makes spans, one trace from a command to its deliveries: the request,
// the append, and each attempt; and, linked to them, the page in which the
// deliveries were planned. Its methods may be called concurrently and never wait.
type Tracing struct {
	provider   *sdktrace.TracerProvider
	exporter   sdktrace.SpanExporter
	tracer     trace.Tracer
	propagator propagation.TraceContext
}

// NewTracing returns tracing that has not yet talked to the collector; whether
// that is there is found out by the first spans.
func NewTracing(ctx context.Context, cfg TracingConfig) (*Tracing, error) {
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "verbatim"), attribute.String("service.version", cfg.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Tracing{exporter: cfg.Exporter}
	how := sdktrace.WithSyncer(t.exporter)
	if t.exporter == nil {
		client, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(cfg.Endpoint, "/")+tracesPath))
		if err != nil {
			return nil, fmt.Errorf("make the exporter of spans: %w", err)
		}
		if cfg.Log == nil {
			cfg.Log = slog.New(slog.DiscardHandler)
		}
		t.exporter = &calm{SpanExporter: client, log: cfg.Log}
		how = sdktrace.WithBatcher(t.exporter, sdktrace.WithMaxQueueSize(MaxSpans), sdktrace.WithExportTimeout(ExportTimeout))
	}
	t.provider = sdktrace.NewTracerProvider(how, sdktrace.WithResource(about))
	t.tracer = t.provider.Tracer("verbatim", trace.WithInstrumentationVersion(cfg.Version))
	return t, nil
}

// Close sends the spans that wait, for FlushTimeout at most, whether or not ctx
// is done: a process stops because it is. Those that the collector does not take
// in time are lost.
func (t *Tracing) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), FlushTimeout)
	defer cancel()
	if t.provider.Shutdown(ctx) != nil {
		_ = t.exporter.Shutdown(ctx) // ends the sending that is under way; lost spans are no reason to fail
	}
}

// Handler returns next with a span around each request under /v1/ that is not an
// event stream, which has no end worth waiting for. The request goes on with the
// span's traceparent in place of the caller's, so that what it appends is
// recorded as part of it.
func (t *Tracing) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") || strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
			next.ServeHTTP(w, r)
			return
		}
		ctx, span := t.tracer.Start(t.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header)), "request",
			trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		r = r.WithContext(ctx)
		r.Header = r.Header.Clone()
		t.propagator.Inject(ctx, propagation.HeaderCarrier(r.Header))
		next.ServeHTTP(w, r)
	})
}

// Served tells the span of a request what came of it. Route is the pattern of
// the operation, "" if there is none.
func (t *Tracing) Served(ctx context.Context, route string, status int, requestID string) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if method, pattern, ok := strings.Cut(route, " "); ok {
		span.SetName(route)
		span.SetAttributes(attribute.String("http.request.method", method), attribute.String("http.route", pattern))
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status), attribute.String("verbatim.request_id", requestID))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}

// Log returns a log whose appends are spans, within a trace that there is: what
// nobody asked for begins none.
func (t *Tracing) Log(log eventstore.Store) eventstore.Store { return tracedLog{log, t.tracer} }

type tracedLog struct {
	eventstore.Store

	tracer trace.Tracer
}

// Append appends in a span.
func (l tracedLog) Append(ctx context.Context, c eventstore.Commit) (first int64, err error) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return l.Store.Append(ctx, c)
	}
	ctx, span := l.tracer.Start(ctx, "append")
	defer span.End()
	first, err = l.Store.Append(ctx, c)
	if !span.IsRecording() {
		return first, err
	}
	events := 0
	for i := range c.Appends {
		events += len(c.Appends[i].Events)
		span.SetAttributes(about(c.Appends[i].Stream))
	}
	span.SetAttributes(attribute.Int("verbatim.events", events), attribute.Int64("verbatim.position", first))
	if err != nil {
		span.SetStatus(codes.Error, appendOf(err))
	}
	return first, err
}

// about names a stream as the program's log does.
func about(stream string) attribute.KeyValue {
	a := eventstore.About(stream)
	return attribute.String("verbatim."+a.Key, a.Value.String())
}

// Page makes the span of a page, linked to the traces of its events.
func (t *Tracing) Page(p projections.PageReport) {
	var links []trace.Link
	for _, traceparent := range p.Traces {
		if from := t.parse(traceparent); from.IsSampled() {
			links = append(links, trace.Link{SpanContext: from})
		}
	}
	if len(links) == 0 {
		return // nobody would find it
	}
	_, span := t.tracer.Start(context.Background(), "project", trace.WithNewRoot(),
		trace.WithTimestamp(p.Began), trace.WithLinks(links...), trace.WithAttributes(
			attribute.Int("verbatim.events", p.Events), attribute.Int("verbatim.deliveries", p.Deliveries),
			attribute.Int64("verbatim.first_position", p.First), attribute.Int64("verbatim.position", p.Last)))
	span.End(trace.WithTimestamp(p.Ended))
}

// Begin makes the span of an attempt, as a part of the trace that its event is a
// part of; it is a webhooks.Config.Begin.
func (t *Tracing) Begin(
	ctx context.Context, d *webhooks.Delivery, at time.Time,
) (sending context.Context, traceparent string, end func(webhooks.Outcome)) {
	if from := t.parse(d.Trace); from.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, from)
	}
	ctx, span := t.tracer.Start(ctx, "deliver", trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("verbatim.delivery", d.ID), attribute.String("verbatim.webhook_id", d.WebhookID),
			attribute.String("verbatim.endpoint", d.EndpointID), about(d.Stream), attribute.Int64("verbatim.position", d.Position),
			attribute.String("verbatim.event", d.Name), attribute.Int("verbatim.attempt", d.Attempts+1))
	}
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return ctx, carrier.Get("traceparent"), func(o webhooks.Outcome) {
		if o.Status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", o.Status))
		}
		// The class alone: words about a fault may hold what a stranger sent.
		if class := outcomeOf(&o); class != outcomeDelivered {
			span.SetAttributes(attribute.String("error.type", class))
			span.SetStatus(codes.Error, class)
		}
		span.End()
	}
}

// parse returns the span that a traceparent names, an invalid one if it is none.
func (t *Tracing) parse(traceparent string) trace.SpanContext {
	ctx := t.propagator.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// calm is an exporter that never fails: it drops what the collector does not
// take and says so, but not often.
type calm struct {
	sdktrace.SpanExporter

	log    *slog.Logger
	closed atomic.Bool

	mu   sync.Mutex
	lost int       // since it was last said
	next time.Time // when it may be said again
}

// Shutdown ends what is being sent, and drops what is still to come.
func (c *calm) Shutdown(ctx context.Context) error {
	c.closed.Store(true)
	return c.SpanExporter.Shutdown(ctx)
}

// ExportSpans sends spans or drops them.
func (c *calm) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if c.closed.Load() {
		return nil
	}
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += len(spans)
	if now := time.Now(); !now.Before(c.next) {
		c.log.WarnContext(ctx, "the collector does not take spans; they are lost", "spans", c.lost, "error", err)
		c.lost, c.next = 0, now.Add(complaintPause)
	}
	return nil
}
