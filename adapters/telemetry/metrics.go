// Package telemetry shows those who run the program how it does: metrics for
// Prometheus, and spans over OTLP. The rooms that are watched know neither; they
// have plain functions in their configurations, which are filled from here.
package telemetry

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// maxScrapes bounds the scrapes at a time: the route is open, and each of them
// reads from the database.
const maxScrapes = 4

// Outcomes of attempts beside the faults.
const (
	outcomeDelivered   = "delivered"
	outcomeRedirect    = "status_3xx"
	outcomeClientError = "status_4xx"
	outcomeServerError = "status_5xx"
	outcomeOddStatus   = "status_other"
	outcomeOther       = "other"
)

// Values of other labels.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed"

	attemptFirst = "first"
	attemptLater = "later"

	pullItems  = "items"
	pullEmpty  = "empty"
	pullFailed = "failed"

	appendCommitted = "committed"
	appendConflict  = "conflict"
	appendRefused   = "refused"
	appendBusy      = "busy"
	appendFailed    = "failed"

	// routeNone is the route of requests for what there is not. Their own paths
	// would be series that anybody can make.
	routeNone = "none"
)

func outcomes() []string {
	all := []string{outcomeDelivered, outcomeRedirect, outcomeClientError, outcomeServerError, outcomeOddStatus}
	for _, f := range webhooks.Faults() {
		all = append(all, string(f))
	}
	return append(all, outcomeOther)
}

// outcomeOf returns the class of an outcome.
func outcomeOf(o *webhooks.Outcome) string {
	switch class := o.Status / 100; {
	case class == 2:
		return outcomeDelivered
	case class == 3:
		return outcomeRedirect
	case class == 4:
		return outcomeClientError
	case class == 5:
		return outcomeServerError
	case o.Status != 0:
		return outcomeOddStatus
	case o.Fault == webhooks.NoFault:
		return outcomeOther
	default:
		return string(o.Fault)
	}
}

// Metrics counts and times. Its methods may be called concurrently, cost some
// hundred nanoseconds and never wait.
type Metrics struct {
	catalogue

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	appends        map[string]prometheus.Counter
	appendSeconds  prometheus.Observer
	events         prometheus.Counter
	groupSize      prometheus.Observer
	groupSeconds   prometheus.Observer
	planned        prometheus.Counter
	attempts       map[string]prometheus.Counter
	attemptTimes   [2]prometheus.Observer // delivered, failed
	latency        [2]prometheus.Observer // first, later
	ended          map[string]prometheus.Counter
	replayed       map[string]prometheus.Counter // by kind
	pulls          map[string]prometheus.Counter // by result
	pulledItems    prometheus.Counter
	erasuresAsked  prometheus.Counter
	erasuresEnded  map[string]prometheus.Counter // by state
	overwritten    prometheus.Counter
	sources        *sources
}

// Buckets, in seconds. Each range is from what is measured when all is well to
// the limit that ends it.
func (*Metrics) buckets() (request, log, attempt, latency []float64) {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30},
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 120, 600, 3600, 21600, 86400, 259200}
}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics(version string) *Metrics {
	m := &Metrics{}
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	inRequest, inLog, inAttempt, inLatency := m.buckets()
	one := func(v *prometheus.HistogramVec) prometheus.Observer { return v.WithLabelValues() }

	build := m.gauge("verbatim_build_info", "1, with what runs.",
		Label{Name: "version", Of: "of the program"}, Label{Name: "go_version", Of: "it was built with"})
	m.registry.MustRegister(constant{prometheus.MustNewConstMetric(build, prometheus.GaugeValue, 1, version, runtime.Version()), build})

	route := Label{Name: "route", Of: "method and pattern of an operation in openapi.json, or `none`"}
	m.requests = m.counter("verbatim_http_requests_total", "Requests that were answered.",
		route, Label{Name: "status", Values: statusClasses()})
	m.requestSeconds = m.histogram("verbatim_http_request_duration_seconds",
		"Time from a request's header to the end of its answer. Event streams are not among them.", inRequest, route)

	values := []string{appendCommitted, appendConflict, appendRefused, appendBusy, appendFailed}
	m.appends = resolve(m.counter("verbatim_appends_total",
		"Appends to the log. A conflict is decided anew; refused is a key or an id that was used before, or too much; busy is a full queue.",
		Label{Name: "outcome", Values: values}), values)
	m.appendSeconds = one(m.histogram("verbatim_append_duration_seconds",
		"Time that an append which was committed waited for it, queue and disk included.", inLog))
	m.events = m.counter("verbatim_events_appended_total", "Events that were appended to the log.").WithLabelValues()
	m.groupSize = one(m.histogram("verbatim_group_size",
		"Jobs that were written together: commands, pages of projections, batches of attempts.",
		[]float64{1, 2, 4, 8, 16, 32, 64, 128, 256}))
	m.groupSeconds = one(m.histogram("verbatim_group_duration_seconds", "Time to write a group, until it was durable.", inLog))

	m.planned = m.counter("verbatim_deliveries_planned_total", "Deliveries that were planned.").WithLabelValues()
	values = outcomes()
	m.attempts = resolve(m.counter("verbatim_delivery_attempts_total",
		"Attempts on record, by what came of them. `unrendered` and `too_large` never left the house.",
		Label{Name: "outcome", Values: values}), values)
	values = []string{resultDelivered, resultFailed}
	vec := m.histogram("verbatim_delivery_attempt_duration_seconds", "Time that attempts took which left the house.", inAttempt,
		Label{Name: "result", Values: values})
	m.attemptTimes = [2]prometheus.Observer{vec.WithLabelValues(resultDelivered), vec.WithLabelValues(resultFailed)}
	vec = m.histogram("verbatim_delivery_latency_seconds",
		"Time from an event's decision to its delivery at the first attempt or at a later one. What was redelivered, or sent by a replay or a "+
			"backfill, is not among them; an event that was imported is as old as it says.", inLatency,
		Label{Name: "attempt", Values: []string{attemptFirst, attemptLater}})
	m.latency = [2]prometheus.Observer{vec.WithLabelValues(attemptFirst), vec.WithLabelValues(attemptLater)}
	values = []string{string(webhooks.Delivered), string(webhooks.Parked), string(webhooks.Cancelled)}
	m.ended = resolve(m.counter("verbatim_deliveries_ended_total",
		"Deliveries that ended, by the dispatcher's hand: `cancelled` are those whose endpoint was deleted.",
		Label{Name: "state", Values: values}), values)

	m.replayed = resolve(m.counter("verbatim_replay_deliveries_total", "Deliveries that replays and backfills sent on their way.",
		Label{Name: "kind", Values: replayKinds()}), replayKinds())
	values = []string{pullItems, pullEmpty, pullFailed}
	m.pulls = resolve(m.counter("verbatim_feed_pulls_total",
		"Pulls of feeds that were answered: with items, with none, or not, for a fault of ours.", Label{Name: "result", Values: values}), values)
	m.pulledItems = m.counter("verbatim_feed_items_total", "Items that were pulled from feeds.").WithLabelValues()
	m.erasuresAsked = m.counter("verbatim_erasures_asked_total", "People that somebody asked to be erased.").WithLabelValues()
	values = []string{string(projections.ErasureDone), string(projections.ErasureFailed)}
	m.erasuresEnded = resolve(m.counter("verbatim_erasures_ended_total",
		"Erasures that ended: `failed` is one that cannot go on by itself.", Label{Name: "state", Values: values}), values)
	m.overwritten = m.counter("verbatim_erasure_events_total", "Events that erasures have overwritten.").WithLabelValues()

	values = []string{partBacklog, partProjections, partReplays, partRebuilds}
	m.sources = m.catalogue.sources(resolve(m.counter("verbatim_collect_failures_total",
		"Scrapes that could not be told a part of what they asked.", Label{Name: "part", Values: values}), values))
	return m
}

// Families returns what metrics there are, but for those of Go and the process.
func (m *Metrics) Families() []Family { return slices.Clone(m.families) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		ErrorHandling:       promhttp.ContinueOnError, // what can be told is told
	})
}

func statusClasses() []string { return []string{"1xx", "2xx", "3xx", "4xx", "5xx"} }

// Served counts a request that was answered. Route is the pattern of the
// operation, "" if there is none; stream says that it was an event stream.
func (m *Metrics) Served(route string, status int, took time.Duration, stream bool) {
	if route == "" {
		route = routeNone
	}
	classes := statusClasses()
	m.requests.WithLabelValues(route, classes[min(max(status/100, 1), len(classes))-1]).Inc()
	if !stream {
		m.requestSeconds.WithLabelValues(route).Observe(took.Seconds())
	}
}

// Grouped counts jobs that were written together.
func (m *Metrics) Grouped(jobs, events int, took time.Duration) {
	m.groupSize.Observe(float64(jobs))
	m.groupSeconds.Observe(took.Seconds())
	m.events.Add(float64(events))
}

// Planned counts deliveries that were planned.
func (m *Metrics) Planned(n int) { m.planned.Add(float64(n)) }

// Recorded counts a batch of attempts; it is a webhooks.Config.Recorded.
func (m *Metrics) Recorded(reports []webhooks.Report) {
	for i := range reports {
		r := &reports[i]
		o := &r.Attempt.Outcome
		if r.Attempt.Number > 0 {
			class := outcomeOf(o)
			counter, known := m.attempts[class]
			if !known {
				counter = m.attempts[outcomeOther]
			}
			counter.Inc()
			if o.Took > 0 {
				result := 1
				if class == outcomeDelivered {
					result = 0
				}
				m.attemptTimes[result].Observe(o.Took.Seconds())
			}
		}
		d := &r.Delivery
		if ended, ok := m.ended[string(d.State)]; ok {
			ended.Inc()
		}
		if d.State == webhooks.Delivered && d.Spent == 0 && d.Replay == "" && d.EndedAt != nil {
			m.latency[min(max(d.Attempts-1, 0), 1)].Observe(max(d.EndedAt.Sub(d.CreatedAt), 0).Seconds())
		}
	}
}

// FeedPulled counts a pull of a feed; it is an httpapi.Config.FeedPulled.
func (m *Metrics) FeedPulled(items int, err error) {
	switch {
	case err != nil:
		m.pulls[pullFailed].Inc()
	case items == 0:
		m.pulls[pullEmpty].Inc()
	default:
		m.pulls[pullItems].Inc()
		m.pulledItems.Add(float64(items))
	}
}

// ErasureAsked counts a person that is to be erased.
func (m *Metrics) ErasureAsked() { m.erasuresAsked.Inc() }

// Replays returns a store whose replays are counted by what they send.
func (m *Metrics) Replays(s webhooks.ReplayStore) webhooks.ReplayStore { return countedReplays{s, m} }

type countedReplays struct {
	webhooks.ReplayStore

	metrics *Metrics
}

// StepReplay commits a step, and counts what it sent on its way.
func (c countedReplays) StepReplay(
	ctx context.Context, before webhooks.Replay, step webhooks.ReplayStep, at time.Time,
) (webhooks.Replay, []webhooks.Lane, error) {
	after, lanes, err := c.ReplayStore.StepReplay(ctx, before, step, at)
	if sent, known := c.metrics.replayed[before.Kind]; known && err == nil {
		sent.Add(float64(after.Counts.Fed() - before.Counts.Fed()))
	}
	return after, lanes, err
}

// Erasures returns a store whose erasures are counted.
func (m *Metrics) Erasures(s projections.ErasureStore) projections.ErasureStore {
	return countedErasures{s, m}
}

type countedErasures struct {
	projections.ErasureStore

	metrics *Metrics
}

// Overwrite overwrites events and counts them.
func (c countedErasures) Overwrite(ctx context.Context, erasureID string, left []projections.Left) error {
	err := c.ErasureStore.Overwrite(ctx, erasureID, left)
	if err == nil {
		c.metrics.overwritten.Add(float64(len(left)))
	}
	return err
}

// EndErasure ends an erasure and counts it, unless it goes on.
func (c countedErasures) EndErasure(
	ctx context.Context, erasureID string, state projections.ErasureState, fault string, at time.Time,
) error {
	err := c.ErasureStore.EndErasure(ctx, erasureID, state, fault, at)
	if ended, known := c.metrics.erasuresEnded[string(state)]; known && err == nil {
		ended.Inc()
	}
	return err
}

// Log returns a log whose appends are counted and timed.
func (m *Metrics) Log(log eventstore.Store) eventstore.Store { return timedLog{log, m} }

type timedLog struct {
	eventstore.Store

	metrics *Metrics
}

// Append appends and looks at the clock.
func (l timedLog) Append(ctx context.Context, c eventstore.Commit) (first int64, err error) {
	began := time.Now()
	first, err = l.Store.Append(ctx, c)
	l.metrics.appends[appendOf(err)].Inc()
	if err == nil {
		l.metrics.appendSeconds.Observe(time.Since(began).Seconds())
	}
	return first, err
}

// appendOf returns what came of an append, in a word.
func appendOf(err error) string {
	switch {
	case err == nil:
		return appendCommitted
	case errors.Is(err, eventstore.ErrConflict):
		return appendConflict
	case errors.Is(err, eventstore.ErrBusy):
		return appendBusy
	case errors.Is(err, eventstore.ErrKeyUsed), errors.Is(err, eventstore.ErrDuplicate),
		errors.Is(err, eventstore.ErrForeign), errors.Is(err, eventstore.ErrTooLarge):
		return appendRefused
	default:
		return appendFailed
	}
}

// constant is a collector of one metric that never changes.
type constant struct {
	prometheus.Metric

	desc *prometheus.Desc
}

// Describe sends what there is to tell.
func (c constant) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect tells it.
func (c constant) Collect(to chan<- prometheus.Metric) { to <- c.Metric }
