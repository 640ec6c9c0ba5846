package telemetry_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"verbatim/adapters/telemetry"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var update = flag.Bool("update", false, "rewrite the table of metrics in docs/OPERATIONS.md")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// The table in the documentation is the list of what there is: a metric that
// comes, goes or is renamed is a difference somebody sees.
func TestEveryMetricIsListed(t *testing.T) {
	t.Parallel()
	const file, from, to = "../../docs/OPERATIONS.md", " -args -update -->\n", "<!-- /metrics -->"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(content), from)
	have, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", file)
	}
	want := "\n" + telemetry.Table(telemetry.NewMetrics("1").Families()) + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(before+from+want+to+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("%s (-want +got); run go test ./adapters/telemetry -args -update\n%s", file, diff)
	}
}

// sources are sources that a test scripts.
func sources() telemetry.Sources {
	return telemetry.Sources{
		Backlog: func(context.Context) (map[webhooks.Standing]webhooks.Backlog, error) {
			return map[webhooks.Standing]webhooks.Backlog{
				webhooks.Active:  {Endpoints: 3, Pending: 7, Oldest: time.Now().Add(-time.Minute)},
				webhooks.Failing: {}, webhooks.Disabled: {}, "strange": {Pending: 1},
			}, nil
		},
		Load:        func() webhooks.Load { return webhooks.Load{Lanes: 3, Deliveries: 5, UnderWay: 2} },
		Head:        func(context.Context) (int64, error) { return 10, nil },
		Streams:     func() int64 { return 4 },
		Projections: []string{"inbox", "webhooks"},
		Positions: func(context.Context) (map[string]int64, error) {
			return map[string]int64{"inbox": 10, "webhooks": 7, "of another version": 1}, nil
		},
		Parked: func() []projections.Parked {
			return []projections.Parked{{Projection: "webhooks"}, {Projection: "webhooks"}, {Projection: "of another version"}}
		},
		Replays: func(context.Context) ([]webhooks.Replay, error) {
			feeds := func(kind string, state webhooks.ReplayState, at, to int64) webhooks.Replay {
				return webhooks.Replay{
					ID: "rpl_secret", EndpointID: "ep-secret", Kind: kind, State: state, Phase: webhooks.PhaseFeed,
					Cursor: webhooks.Mark{Position: at}, To: to,
				}
			}
			stuck := feeds(webhooks.Again, webhooks.ReplayRunning, 2, 7)
			stuck.Error = "why"
			ends := feeds(webhooks.Again, webhooks.ReplayCancelled, 0, 7)
			ends.Phase, ends.Error = webhooks.PhaseDrain, "why"
			return []webhooks.Replay{
				stuck, ends, feeds(webhooks.Again, webhooks.ReplayPaused, 4, 7), feeds(webhooks.Backfill, webhooks.ReplayRunning, 1, 0),
				feeds("of another version", webhooks.ReplayRunning, 0, 9), feeds(webhooks.Again, "of another version", 0, 9),
			}, nil
		},
		Waiting:    func() int64 { return 6 },
		ReadModels: []string{"inbox", "typing", "endpoints"},
		Rebuilds: func(context.Context) (map[string]projections.Rebuild, error) {
			return map[string]projections.Rebuild{
				"inbox":              {State: projections.RebuildRunning, Position: 8, Differences: projections.Differences{Missing: 9}},
				"typing":             {State: projections.RebuildDone, Position: 9, Differences: projections.Differences{Missing: 1, Surplus: 2, Changed: 3}},
				"of another version": {State: projections.RebuildDone},
			}, nil
		},
	}
}

// scrape reads the metrics as Prometheus does.
func scrape(tb testing.TB, h http.Handler) map[string]*dto.MetricFamily {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("status %d: %s", w.Code, w.Body)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(w.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return families
}

// value returns a sample, or for a histogram how many there were.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	for _, m := range families[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName(), l.GetValue())
		}
		if !slices.Equal(has, labels) {
			continue
		}
		switch {
		case m.Counter != nil:
			return m.Counter.GetValue()
		case m.Gauge != nil:
			return m.Gauge.GetValue()
		case m.Histogram != nil:
			return float64(m.Histogram.GetSampleCount())
		}
	}
	return -1
}

// holds fails unless each sample is as expected: "name label value …" → value.
func holds(t *testing.T, families map[string]*dto.MetricFamily, want map[string]float64) {
	t.Helper()
	for what, v := range want {
		parts := strings.Split(what, "|")
		if got := value(families, "verbatim_"+parts[0], parts[1:]...); got != v {
			t.Errorf("%s is %v, want %v", what, got, v)
		}
	}
}

func report(number int, state webhooks.State, o webhooks.Outcome) webhooks.Report {
	created := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := created.Add(3 * time.Millisecond)
	r := webhooks.Report{
		Delivery: webhooks.Delivery{State: state, Attempts: number, CreatedAt: created},
		Attempt:  webhooks.Attempt{Number: number, Outcome: o},
	}
	if state != webhooks.Pending {
		r.Delivery.EndedAt = &ended
	}
	return r
}

// everything has every method told of everything, and of what there should not be.
func everything(m *telemetry.Metrics) {
	var reports []webhooks.Report
	for _, status := range []int{-1, 0, 1, 100, 200, 204, 302, 404, 410, 503, 600, 99999} {
		reports = append(reports, report(1, webhooks.Pending, webhooks.Outcome{Status: status, Took: time.Second}))
	}
	for _, fault := range append(webhooks.Faults(), "a new one") {
		reports = append(reports, report(2, "strange", webhooks.Outcome{Fault: fault}))
	}
	m.Recorded(reports)
	for _, status := range []int{-1, 0, 100, 200, 304, 404, 500, 1000} {
		m.Served("GET /v1/events", status, time.Millisecond, status == 200)
	}
	m.Served("", 404, 0, false)
	for _, err := range appendErrors() {
		_, _ = m.Log(failing{err: err}).Append(context.Background(), eventstore.Commit{})
	}
	m.Grouped(3, 5, time.Millisecond)
	m.Planned(2)
	pullsAndErasures(m)
}

// pullsAndErasures has replays, feeds and erasures counted, what succeeds and what
// does not.
func pullsAndErasures(m *telemetry.Metrics) {
	ctx := context.Background()
	for _, err := range []error{nil, io.ErrUnexpectedEOF} {
		for _, kind := range []string{webhooks.Again, webhooks.Backfill, "of another version"} {
			before := webhooks.Replay{Kind: kind, Counts: webhooks.ReplayCounts{SentAgain: 1, Left: 5}}
			step := webhooks.ReplayStep{After: before}
			step.After.Counts = webhooks.ReplayCounts{SentAgain: 2, Planned: 3, Kept: 4, Left: 9}
			_, _, _ = m.Replays(failingReplays{err: err}).StepReplay(ctx, before, step, time.Time{})
		}
		erasures := m.Erasures(failingErasures{err: err})
		_ = erasures.Overwrite(ctx, "ers_secret", make([]projections.Left, 3))
		for _, state := range []projections.ErasureState{projections.ErasureRunning, projections.ErasureDone, projections.ErasureFailed} {
			_ = erasures.EndErasure(ctx, "ers_secret", state, "", time.Time{})
		}
	}
	m.ErasureAsked()
	m.FeedPulled(4, nil)
	m.FeedPulled(3, nil)
	m.FeedPulled(0, nil)
	m.FeedPulled(0, io.ErrUnexpectedEOF)
}

type failingReplays struct {
	webhooks.ReplayStore

	err error
}

func (f failingReplays) StepReplay(
	_ context.Context, _ webhooks.Replay, step webhooks.ReplayStep, _ time.Time,
) (webhooks.Replay, []webhooks.Lane, error) {
	return step.After, nil, f.err
}

type failingErasures struct {
	projections.ErasureStore

	err error
}

func (f failingErasures) Overwrite(context.Context, string, []projections.Left) error { return f.err }

func (f failingErasures) EndErasure(context.Context, string, projections.ErasureState, string, time.Time) error {
	return f.err
}

func appendErrors() []error {
	return []error{
		nil, &eventstore.ConflictError{}, eventstore.ErrKeyUsed, eventstore.ErrDuplicate, eventstore.ErrForeign, eventstore.ErrTooLarge,
		fmt.Errorf("wrapped: %w", eventstore.ErrBusy), eventstore.ErrClosed, errors.New("the disk is full"), context.Canceled,
	}
}

type failing struct {
	eventstore.Store

	err error
}

func (f failing) Append(context.Context, eventstore.Commit) (int64, error) { return 1, f.err }

func TestEveryLabelHasItsValuesFromAList(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3")
	m.Watch(sources())
	everything(m)
	known := map[string]telemetry.Family{}
	for _, f := range m.Families() {
		known[f.Name] = f
	}
	open := map[string][]string{
		"route": {"GET /v1/events", "none"}, "projection": {"inbox", "webhooks", "typing", "endpoints"}, "version": {"1.2.3"},
		"go_version": {strings.TrimSpace(goVersion(t))},
	}
	families := scrape(t, m.Handler())
	var all []*dto.MetricFamily
	for name, got := range families {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		all = append(all, got)
		f, ok := known[name]
		if !ok {
			t.Errorf("%s is not listed", name)
			continue
		}
		delete(known, name)
		if kind := strings.ToLower(got.GetType().String()); kind != f.Kind || got.GetHelp() != f.Help {
			t.Errorf("%s is a %s: %s", name, kind, got.GetHelp())
		}
		for _, metric := range got.GetMetric() {
			if len(metric.GetLabel()) != len(f.Labels) {
				t.Errorf("%s has the labels %v", name, metric.GetLabel())
			}
			for _, l := range metric.GetLabel() {
				at := slices.IndexFunc(f.Labels, func(k telemetry.Label) bool { return k.Name == l.GetName() })
				if at < 0 {
					t.Errorf("%s has a label %s", name, l.GetName())
					continue
				}
				values := f.Labels[at].Values
				if f.Labels[at].Of != "" {
					values = open[l.GetName()]
				}
				if !slices.Contains(values, l.GetValue()) {
					t.Errorf("%s{%s=%q} is not one of %q", name, l.GetName(), l.GetValue(), values)
				}
			}
		}
	}
	for name := range known {
		t.Errorf("%s is listed, and is not there", name)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func goVersion(t *testing.T) string {
	t.Helper()
	for _, m := range scrape(t, telemetry.NewMetrics("1").Handler())["go_info"].GetMetric() {
		return m.GetLabel()[0].GetValue()
	}
	t.Fatal("no go_info")
	return ""
}

// A fault that webhooks learns to tell apart is told apart here too.
func TestEveryFaultIsAnOutcome(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../../webhooks/delivery.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Fault" {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if found++; text != "" && !slices.Contains(webhooks.Faults(), webhooks.Fault(text)) {
			t.Errorf("webhooks.Faults() lacks %q", text)
		}
		return true
	})
	if found < 2 {
		t.Error("found no faults: the test looks in the wrong place")
	}
}

func TestWhatIsCounted(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1")
	holds(t, scrape(t, m.Handler()), map[string]float64{ // from the start
		"replay_deliveries_total|kind|backfill": 0, "feed_pulls_total|result|failed": 0, "erasures_asked_total": 0,
		"erasures_ended_total|state|done": 0, "delivery_attempts_total|outcome|tls": 0, "deliveries_ended_total|state|parked": 0, "appends_total|outcome|busy": 0,
	})
	redelivered := report(3, webhooks.Delivered, webhooks.Outcome{Status: 200, Took: time.Millisecond})
	redelivered.Delivery.Spent = 2
	past := report(1, webhooks.Delivered, webhooks.Outcome{Status: 200, Took: time.Millisecond})
	past.Delivery.Replay = "rpl_1"
	m.Recorded([]webhooks.Report{
		report(1, webhooks.Delivered, webhooks.Outcome{Status: 204, Took: time.Millisecond}),
		report(2, webhooks.Delivered, webhooks.Outcome{Status: 200, Took: time.Millisecond}),
		redelivered, past,
		report(1, webhooks.Pending, webhooks.Outcome{Status: 410, Took: time.Second}),
		report(1, webhooks.Pending, webhooks.Outcome{Fault: webhooks.TimedOut, Took: time.Second}),
		report(12, webhooks.Parked, webhooks.Outcome{Fault: webhooks.Unrendered}),
		{Delivery: webhooks.Delivery{State: webhooks.Cancelled}}, // without an attempt
	})
	everything := telemetry.NewMetrics("1")
	everything.Served("GET /v1/events", 200, time.Hour, true)
	everything.Served("GET /v1/events", 503, time.Second, false)
	for _, err := range appendErrors() {
		_, _ = everything.Log(failing{err: err}).Append(t.Context(), eventstore.Commit{})
	}
	everything.Grouped(3, 5, time.Millisecond)
	everything.Planned(2)
	pullsAndErasures(everything)
	holds(t, scrape(t, m.Handler()), map[string]float64{
		"delivery_attempts_total|outcome|delivered":          4,
		"delivery_attempts_total|outcome|status_4xx":         1,
		"delivery_attempts_total|outcome|timed_out":          1,
		"delivery_attempts_total|outcome|unrendered":         1,
		"delivery_attempts_total|outcome|other":              0,
		"delivery_attempt_duration_seconds|result|delivered": 4,
		"delivery_attempt_duration_seconds|result|failed":    2,
		"delivery_latency_seconds|attempt|first":             1,
		"delivery_latency_seconds|attempt|later":             1,
		"deliveries_ended_total|state|delivered":             4,
		"deliveries_ended_total|state|parked":                1,
		"deliveries_ended_total|state|cancelled":             1,
	})
	holds(t, scrape(t, everything.Handler()), map[string]float64{
		"http_requests_total|route|GET /v1/events|status|2xx": 1,
		"http_requests_total|route|GET /v1/events|status|5xx": 1,
		"http_request_duration_seconds|route|GET /v1/events":  1,
		"appends_total|outcome|committed":                     1,
		"appends_total|outcome|conflict":                      1,
		"appends_total|outcome|refused":                       4,
		"appends_total|outcome|busy":                          1,
		"appends_total|outcome|failed":                        3,
		"append_duration_seconds":                             1,
		"group_size":                                          1,
		"group_duration_seconds":                              1,
		"events_appended_total":                               5,
		"deliveries_planned_total":                            2,
		"replay_deliveries_total|kind|replay":                 8,
		"replay_deliveries_total|kind|backfill":               8,
		"feed_pulls_total|result|items":                       2,
		"feed_pulls_total|result|empty":                       1,
		"feed_pulls_total|result|failed":                      1,
		"feed_items_total":                                    7,
		"erasures_asked_total":                                1,
		"erasures_ended_total|state|done":                     1,
		"erasures_ended_total|state|failed":                   1,
		"erasure_events_total":                                3,
	})
}

func TestWhatIsAsked(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1")
	s := sources()
	m.Watch(s)
	families := scrape(t, m.Handler())
	holds(t, families, map[string]float64{
		"log_position": 10, "projection_lag_events|projection|inbox": 0, "projection_lag_events|projection|webhooks": 3,
		"projection_parked_streams|projection|webhooks": 2, "projection_parked_streams|projection|inbox": 0,
		"lanes": 3, "lane_deliveries": 5, "attempts_under_way": 2, "event_stream_readers": 4,
		"backlog_deliveries|state|active": 7, "endpoints|state|active": 3, "endpoints|state|disabled": 0,
		"backlog_oldest_seconds|state|failing": 0, "collect_failures_total|part|backlog": 0,
		"feed_pulls_waiting":                6,
		"replays|kind|replay|state|running": 1, "replays|kind|replay|state|paused": 1, "replays|kind|replay|state|cancelled": 1,
		"replays|kind|replay|state|failed": 0, "replays|kind|backfill|state|running": 1, "replays|kind|backfill|state|paused": 0,
		"replay_lag_events|kind|replay": 5 + 3, "replay_lag_events|kind|backfill": 9,
		"replays_stuck|kind|replay": 1, "replays_stuck|kind|backfill": 0,
		"rebuild_state|projection|inbox|state|running": 1, "rebuild_state|projection|inbox|state|done": 0,
		"rebuild_state|projection|typing|state|done": 1, "rebuild_state|projection|endpoints|state|waiting": 0,
		"rebuild_position|projection|inbox": 8, "rebuild_position|projection|typing": 0, "rebuild_position|projection|endpoints": 0,
		"rebuild_differences|projection|inbox": 0, "rebuild_differences|projection|typing": 6,
	})
	if age := value(families, "verbatim_backlog_oldest_seconds", "state", "active"); age < 60 || age > 90 {
		t.Errorf("the oldest is %v s old", age)
	}

	// What cannot be told is left out and counted, and the rest is told.
	m = telemetry.NewMetrics("1")
	s.Backlog = func(context.Context) (map[webhooks.Standing]webhooks.Backlog, error) { return nil, io.ErrUnexpectedEOF }
	s.Head = func(context.Context) (int64, error) { return 0, io.ErrUnexpectedEOF }
	s.Rebuilds = func(context.Context) (map[string]projections.Rebuild, error) { return nil, io.ErrUnexpectedEOF }
	m.Watch(s)
	scrape(t, m.Handler())
	families = scrape(t, m.Handler())
	holds(t, families, map[string]float64{
		"lanes": 3, "collect_failures_total|part|backlog": 1, "feed_pulls_waiting": 6, "projection_parked_streams|projection|webhooks": 2,
	})
	for _, part := range []string{"projections", "replays", "rebuilds"} {
		if n := value(families, "verbatim_collect_failures_total", "part", part); n < 1 { // of the first scrape, at least
			t.Errorf("%s failed %v times", part, n)
		}
	}
	for _, name := range []string{
		"verbatim_backlog_deliveries", "verbatim_projection_lag_events", "verbatim_log_position",
		"verbatim_replays", "verbatim_replay_lag_events", "verbatim_rebuild_state",
	} {
		if families[name] != nil {
			t.Errorf("%s is told", name)
		}
	}
}

// The backlog is counted as seldom as it is said.
func TestTheBacklogIsCountedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		counts, takes := 0, time.Duration(0)
		s := sources()
		s.Backlog = func(ctx context.Context) (map[webhooks.Standing]webhooks.Backlog, error) {
			counts++
			select {
			case <-time.After(takes):
				return map[webhooks.Standing]webhooks.Backlog{
					webhooks.Active: {Pending: counts}, webhooks.Failing: {}, webhooks.Disabled: {},
				}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		m := telemetry.NewMetrics("1")
		m.Watch(s)
		at := func(want int) {
			t.Helper()
			holds(t, scrape(t, m.Handler()), map[string]float64{"backlog_deliveries|state|active": float64(want)})
		}
		at(1)
		time.Sleep(telemetry.BacklogAge - time.Nanosecond)
		at(1)
		time.Sleep(time.Nanosecond)
		takes = time.Second
		at(2)
		time.Sleep(100*time.Second - time.Nanosecond)
		at(2)
		time.Sleep(time.Nanosecond)

		// Who scrapes while somebody counts does not wait for it.
		done := make(chan struct{})
		go func() { at(3); close(done) }()
		synctest.Wait()
		began := time.Now()
		at(2)
		if time.Since(began) > 0 {
			t.Error("it waited")
		}
		<-done

		// A count that takes too long is given up, and not made again at once.
		time.Sleep(time.Hour)
		takes = time.Hour
		at(3)
		at(3)
		if counts != 4 {
			t.Errorf("counted %d times", counts)
		}
	})
}

// What is measured on the way of a command must not cost it memory.
//
//nolint:paralleltest // AllocsPerRun counts what others allocate, too
func TestMeasuringAllocatesNothing(t *testing.T) {
	m := telemetry.NewMetrics("1")
	log, ctx := m.Log(failing{}), t.Context()
	reports := []webhooks.Report{report(1, webhooks.Delivered, webhooks.Outcome{Status: 200, Took: time.Millisecond})}
	for what, f := range map[string]func(){
		"append":   func() { _, _ = log.Append(ctx, eventstore.Commit{}) },
		"group":    func() { m.Grouped(1, 1, time.Millisecond) },
		"recorded": func() { m.Recorded(reports) },
		"planned":  func() { m.Planned(1) },
		"pulled":   func() { m.FeedPulled(1, nil) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkRecorded(b *testing.B) {
	m := telemetry.NewMetrics("1")
	reports := make([]webhooks.Report, webhooks.RecordBatch)
	for i := range reports {
		reports[i] = report(1, webhooks.Delivered, webhooks.Outcome{Status: 200, Took: time.Millisecond})
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Recorded(reports)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(reports)), "ns/report")
}

func BenchmarkAppend(b *testing.B) {
	ctx := b.Context()
	for name, log := range map[string]eventstore.Store{"bare": failing{}, "measured": telemetry.NewMetrics("1").Log(failing{})} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = log.Append(ctx, eventstore.Commit{})
			}
		})
	}
}

func BenchmarkServed(b *testing.B) {
	m := telemetry.NewMetrics("1")
	b.ReportAllocs()
	for b.Loop() {
		m.Served("POST /v1/conversations/{id}/messages", 201, time.Millisecond, false)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := telemetry.NewMetrics("1")
	m.Watch(sources())
	everything(m)
	b.ReportAllocs()
	for b.Loop() {
		scrape(b, m.Handler())
	}
}
