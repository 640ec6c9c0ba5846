package telemetry

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"verbatim/projections"
	"verbatim/webhooks"
)

// Limits on what a scrape asks of the database.
const (
	// BacklogAge is how old the count of what is pending may be that a scrape
	// gets to see: scrapes are seldom closer than that, and those that are share
	// a count.
	BacklogAge = 10 * time.Second
	// backlogPause is how many times as long as it took a count is good for if
	// that is more: whatever waits, counting it takes one hundredth of one
	// processor at most.
	backlogPause = 100
	// sourceTimeout bounds each part of a scrape, which as a whole has ten
	// seconds unless it is configured otherwise.
	sourceTimeout = 4 * time.Second
)

// Parts of a scrape that may fail.
const (
	partBacklog     = "backlog"
	partProjections = "projections"
	partReplays     = "replays"
	partRebuilds    = "rebuilds"
)

func replayKinds() []string { return []string{webhooks.Again, webhooks.Backfill} }

// openReplayStates are the states of replays for which there is something to do.
func openReplayStates() []string {
	return []string{
		string(webhooks.ReplayRunning), string(webhooks.ReplayPaused), string(webhooks.ReplayCancelled), string(webhooks.ReplayFailed),
	}
}

// Sources are asked when somebody scrapes, because they know anyway.
type Sources struct {
	Backlog func(ctx context.Context) (map[webhooks.Standing]webhooks.Backlog, error)
	Load    func() webhooks.Load
	Head    func(ctx context.Context) (int64, error) // of the log
	Streams func() int64                             // event streams that are open

	Projections []string // names of those there are
	Positions   func(ctx context.Context) (map[string]int64, error)
	Parked      func() []projections.Parked

	Replays    func(ctx context.Context) ([]webhooks.Replay, error) // that are open
	Waiting    func() int64                                         // pulls of feeds that wait
	ReadModels []string                                             // projections that can be rebuilt
	Rebuilds   func(ctx context.Context) (map[string]projections.Rebuild, error)
}

// sources collects from Sources.
type sources struct {
	ask    Sources
	failed map[string]prometheus.Counter // by part

	head, lag, parked                   *prometheus.Desc
	endpoints, pending, oldest, counted *prometheus.Desc
	lanes, inLanes, underWay            *prometheus.Desc
	readers, waiting                    *prometheus.Desc
	replays, replayLag, replaysStuck    *prometheus.Desc
	rebuild, rebuilt, differences       *prometheus.Desc

	counting sync.Mutex // held by whoever counts the backlog

	mu        sync.Mutex
	backlog   map[webhooks.Standing]webhooks.Backlog
	countedAt time.Time // zero before the first time
	notBefore time.Time // of the next count
}

func (c *catalogue) sources(failed map[string]prometheus.Counter) *sources {
	projection := Label{Name: "projection", Of: "names of the projections, as /readyz lists them"}
	var standings []string
	for _, s := range webhooks.Standings() {
		standings = append(standings, string(s))
	}
	state := Label{Name: "state", Values: standings}
	kind := Label{Name: "kind", Values: replayKinds()}
	readModel := Label{Name: "projection", Of: "names of the projections that can be rebuilt"}
	var rebuildStates []string
	for _, s := range projections.RebuildStates() {
		rebuildStates = append(rebuildStates, string(s))
	}
	return &sources{
		failed: failed,
		head:   c.gauge("verbatim_log_position", "Last position in the log."),
		lag:    c.gauge("verbatim_projection_lag_events", "Events that a projection has yet to take.", projection),
		parked: c.gauge("verbatim_projection_parked_streams",
			"Streams that a projection could not take further; /readyz names them.", projection),
		endpoints: c.gauge("verbatim_endpoints", "Endpoints, by how they stand: `failing` is an open breaker.", state),
		pending:   c.gauge("verbatim_backlog_deliveries", "Deliveries that are pending, by how their endpoints stand.", state),
		oldest: c.gauge("verbatim_backlog_oldest_seconds",
			"For how long that has been owed which has waited longest, since it was planned or made pending again; 0 if nothing is.", state),
		counted: c.gauge("verbatim_backlog_counted_timestamp_seconds",
			"When endpoints and backlog were counted: "+BacklogAge.String()+" ago at most, or 100 times as long ago as it took."),
		lanes:    c.gauge("verbatim_lanes", "Lanes in memory."),
		inLanes:  c.gauge("verbatim_lane_deliveries", "Deliveries in memory, over all lanes."),
		underWay: c.gauge("verbatim_attempts_under_way", "Attempts under way, each in a lane of its own, or not yet on record."),
		readers:  c.gauge("verbatim_event_stream_readers", "Event streams (SSE) that are open."),
		waiting:  c.gauge("verbatim_feed_pulls_waiting", "Pulls of feeds that wait for something to happen."),
		replays: c.gauge("verbatim_replays",
			"Replays and backfills that are open: of those that are `cancelled` or `failed`, something is still on its way.",
			kind, Label{Name: "state", Values: openReplayStates()}),
		replayLag: c.gauge("verbatim_replay_lag_events",
			"Events of the log that replays which run or are paused have yet to come past, all of them together.", kind),
		replaysStuck: c.gauge("verbatim_replays_stuck",
			"Replays that run and cannot go on for now: their `error` says why.", kind),
		rebuild: c.gauge("verbatim_rebuild_state", "1 for how the last rebuild of a read model stands, else 0.",
			readModel, Label{Name: "state", Values: rebuildStates}),
		rebuilt: c.gauge("verbatim_rebuild_position",
			"Position up to which the new rows of a rebuild go, 0 if none runs: it ends at that of the projection.", readModel),
		differences: c.gauge("verbatim_rebuild_differences",
			"Rows that were not what the log says, as the last rebuild found that is done; 0 while another is on.", readModel),
	}
}

// Watch has scrapes ask those who know. It is called once.
func (m *Metrics) Watch(s Sources) {
	m.sources.ask = s
	m.registry.MustRegister(m.sources)
}

// Describe sends what there is to tell.
func (s *sources) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.head, s.lag, s.parked, s.endpoints, s.pending, s.oldest, s.counted, s.lanes, s.inLanes, s.underWay, s.readers,
		s.waiting, s.replays, s.replayLag, s.replaysStuck, s.rebuild, s.rebuilt, s.differences,
	} {
		to <- d
	}
}

// Collect asks. What cannot be told is left out and counted.
func (s *sources) Collect(to chan<- prometheus.Metric) {
	tell := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	load := s.ask.Load()
	tell(s.lanes, float64(load.Lanes))
	tell(s.inLanes, float64(load.Deliveries))
	tell(s.underWay, float64(load.UnderWay))
	tell(s.readers, float64(s.ask.Streams()))
	tell(s.waiting, float64(s.ask.Waiting()))
	s.collectProjections(tell)
	s.collectReplays(tell)
	s.collectRebuilds(tell)
	s.collectBacklog(tell)
}

type teller func(d *prometheus.Desc, value float64, labels ...string)

func (s *sources) collectProjections(tell teller) {
	stand := make(map[string]int)
	for _, p := range s.ask.Parked() {
		stand[p.Projection]++
	}
	for _, name := range s.ask.Projections {
		tell(s.parked, float64(stand[name]), name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), sourceTimeout)
	defer cancel()
	// The head last: nobody is ahead of it.
	positions, err := s.ask.Positions(ctx)
	var head int64
	if err == nil {
		head, err = s.ask.Head(ctx)
	}
	if err != nil {
		s.failed[partProjections].Inc()
		return
	}
	tell(s.head, float64(head))
	for _, name := range s.ask.Projections {
		tell(s.lag, float64(head-positions[name]), name)
	}
}

func (s *sources) collectReplays(tell teller) {
	ctx, cancel := context.WithTimeout(context.Background(), sourceTimeout)
	defer cancel()
	open, err := s.ask.Replays(ctx)
	var head int64
	if err == nil {
		head, err = s.ask.Head(ctx)
	}
	if err != nil {
		s.failed[partReplays].Inc()
		return
	}
	for _, kind := range replayKinds() {
		var lag int64
		stuck, states := 0, make(map[string]int)
		for i := range open {
			r := &open[i]
			if r.Kind != kind {
				continue
			}
			states[string(r.State)]++
			lag += r.Lag(head)
			if r.State == webhooks.ReplayRunning && r.Error != "" {
				stuck++
			}
		}
		for _, state := range openReplayStates() {
			tell(s.replays, float64(states[state]), kind, state)
		}
		tell(s.replayLag, float64(lag), kind)
		tell(s.replaysStuck, float64(stuck), kind)
	}
}

func (s *sources) collectRebuilds(tell teller) {
	ctx, cancel := context.WithTimeout(context.Background(), sourceTimeout)
	defer cancel()
	last, err := s.ask.Rebuilds(ctx)
	if err != nil {
		s.failed[partRebuilds].Inc()
		return
	}
	for _, name := range s.ask.ReadModels {
		r := last[name]
		for _, state := range projections.RebuildStates() {
			is := 0.0
			if r.State == state {
				is = 1
			}
			tell(s.rebuild, is, name, string(state))
		}
		var position, differences int64
		switch d := &r.Differences; r.State {
		case projections.RebuildRunning:
			position = r.Position
		case projections.RebuildDone:
			differences = d.Missing + d.Surplus + d.Changed
		case projections.RebuildWaiting, projections.RebuildFailed, projections.RebuildCancelled:
		}
		tell(s.rebuilt, float64(position), name)
		tell(s.differences, float64(differences), name)
	}
}

func (s *sources) collectBacklog(tell teller) {
	s.count()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.countedAt.IsZero() {
		return
	}
	now := time.Now()
	for _, standing := range webhooks.Standings() {
		sum, age := s.backlog[standing], time.Duration(0)
		if !sum.Oldest.IsZero() {
			age = max(now.Sub(sum.Oldest), 0)
		}
		tell(s.endpoints, float64(sum.Endpoints), string(standing))
		tell(s.pending, float64(sum.Pending), string(standing))
		tell(s.oldest, age.Seconds(), string(standing))
	}
	const milli = 1000
	tell(s.counted, float64(s.countedAt.UnixMilli())/milli)
}

// count counts the backlog if that was long enough ago and nobody else does.
func (s *sources) count() {
	if !s.counting.TryLock() {
		return
	}
	defer s.counting.Unlock()
	s.mu.Lock()
	due := !time.Now().Before(s.notBefore)
	s.mu.Unlock()
	if !due {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sourceTimeout)
	defer cancel()
	began := time.Now()
	backlog, err := s.ask.Backlog(ctx)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notBefore = now.Add(max(BacklogAge, backlogPause*now.Sub(began)))
	if err != nil {
		s.failed[partBacklog].Inc()
		return
	}
	s.backlog, s.countedAt = backlog, now
}
