package webhooks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

// The dispatcher turns pending deliveries into attempts, and attempts into what
// is on record. Three rules make it simple to reason about:
//
//   - The queue is the truth. What is in memory is a part of it, read or offered,
//     and may be forgotten at any time; lanes.go keeps track of which part.
//   - Of a lane only the head is ever under way, and the next one follows once
//     the outcome of the one before is on record. A crash therefore costs at most
//     one attempt twice, and never the order.
//   - All bookkeeping happens in Step, on one goroutine. Only attempts run beside
//     it, which read the log, sign, send, and leave what came of it for Step; and
//     one batch of outcomes at a time on its way into the queue.

// Defaults of Config.
const (
	// DefaultConcurrency: an attempt waits for its receiver nearly all the time,
	// so that the bound is memory, a body and a connection each, not processors.
	DefaultConcurrency = 128
	// DefaultSpare is for so many endpoints that hang at once: a breaker leaves
	// each of them one attempt, which must not be the only one of somebody else.
	DefaultSpare = 3 * DefaultConcurrency
	// DefaultPerEndpoint is more than most receivers serve at a time, and small
	// enough that one endpoint with a thousand lanes is not an attack.
	DefaultPerEndpoint = 16
	// DefaultLaneDepth is how many deliveries of a lane are kept in memory. A
	// lane sends one at a time: reading on once in 64 costs nothing.
	DefaultLaneDepth = 64
	// DefaultMaxLanes bounds the lanes in memory, at about a kilobyte each.
	DefaultMaxLanes = 10_000
	// DefaultPage is how many lanes one look at the queue reads.
	DefaultPage = 500
	// DefaultBacklog bounds what is offered and not yet taken up: a page of the
	// log for sixteen endpoints, some megabytes. What does not fit is read from
	// the queue.
	DefaultBacklog = 16_384
	// DefaultGrace is how long a stopping dispatcher waits for the attempts that
	// are under way: more than a healthy receiver takes, and so little that with
	// AbortTime, and what else there is to end, a program stops in less than the
	// 10 seconds after which supervisors such as Docker kill it.
	DefaultGrace = 5 * time.Second
	// DefaultUserAgent is sent unless Config names a version.
	DefaultUserAgent = "verbatim"
)

// Limits of the dispatcher.
const (
	// RecordBatch bounds the outcomes in one transaction: two turns of all
	// attempts, and still a transaction of milliseconds.
	RecordBatch = 256
	// MaxQueued bounds the deliveries in memory over all lanes, at about 700
	// bytes each: 35 MB.
	MaxQueued = 50_000
	// RefillBatch bounds the lanes that one Step reads on.
	RefillBatch = 64
	// TargetAge is how long an endpoint's settings are believed without asking
	// again: an old secret signs at most so much longer than it should.
	TargetAge = 30 * time.Second
	// ScanPause lies between two searches for lanes that found no room in
	// memory, and once more for every ScanPages that a search reads (10,000
	// lanes, some 50 ms): so much later than due may their attempts be.
	ScanPause = time.Second
	ScanPages = 20
	// Pause is how long the dispatcher waits after the queue failed it.
	Pause = time.Second
	// AttemptTimeout bounds rendering and sending together, as a last resort: a
	// sender gives up earlier.
	AttemptTimeout = 30 * time.Second
	// AbortTime is how long aborted attempts have to end when the grace is over,
	// and what they came to has to be put on record: a few commits.
	AbortTime = time.Second
)

// Forever is what Step returns when nothing will be due by the passing of time.
const Forever time.Duration = math.MaxInt64

// A Config tunes a Dispatcher. The zero Config works.
type Config struct {
	// Concurrency is how many attempts may be under way at a time, those among
	// them whose outcome is not yet on record. Defaults to DefaultConcurrency.
	Concurrency int
	// Spare is how many more there may be for endpoints that have none under way,
	// one for each. Defaults to DefaultSpare, or to none beside a Concurrency that
	// is set.
	Spare int
	// PerEndpoint is how many of them may be at one endpoint, those not counted
	// whose outcome is known. Where many are under way an endpoint gets fewer, so
	// that some that hang do not hold back the others. Defaults to
	// DefaultPerEndpoint.
	PerEndpoint int
	// LaneDepth is how many deliveries of one lane are kept in memory. Defaults
	// to DefaultLaneDepth.
	LaneDepth int
	// MaxLanes is how many lanes are kept in memory. Defaults to DefaultMaxLanes.
	MaxLanes int
	// Page is how many lanes one look at the queue reads. Defaults to DefaultPage.
	Page int
	// Backlog is how many offered deliveries wait to be taken up. Defaults to
	// DefaultBacklog.
	Backlog int
	// Grace is how long Run waits for attempts when it is stopped. Defaults to
	// DefaultGrace, -1 is not at all.
	Grace time.Duration
	// UserAgent names the sender and its version, "verbatim/1.2.3". Defaults to
	// DefaultUserAgent.
	UserAgent string
	// Dialects add the headers that their receivers look for beside those of
	// Standard Webhooks. None are added if it is nil.
	Dialects *Dialects
	// Log is told what an operator must know, never a secret, a header or a
	// body. Defaults to none.
	Log *slog.Logger
	// Jitter draws from [0, 1). Defaults to math/rand/v2.
	Jitter func() float64
	// Go runs an attempt, or what puts attempts on record, by default on a
	// goroutine. A simulation may run it later or at once instead.
	Go func(work func())
	// Notice is told what happened to an endpoint, for its own stream to say, on
	// the goroutine of Step: it must not wait. To an endpoint that is to be
	// disabled nothing is sent until Wake, which must follow even if it could
	// not be disabled. Defaults to nobody.
	Notice func(Notice)
	// Recorded is told of every batch that was committed, on the goroutine of
	// Step: for metrics and for whoever watches. Defaults to nobody.
	Recorded func([]Report)
	// Begin is told of each attempt that is about to be sent, with the Trace of
	// its event, on the goroutine of the attempt. It returns the context to send
	// it in, the traceparent that goes with it, and what is told of its outcome.
	// Defaults to passing the event's own traceparent on.
	Begin func(ctx context.Context, d *Delivery, at time.Time) (sending context.Context, traceparent string, end func(Outcome))
}

func (c Config) withDefaults() Config {
	fill := func(to *int, value int) {
		if *to <= 0 {
			*to = value
		}
	}
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
		fill(&c.Spare, DefaultSpare)
	}
	fill(&c.PerEndpoint, DefaultPerEndpoint)
	fill(&c.LaneDepth, DefaultLaneDepth)
	fill(&c.MaxLanes, DefaultMaxLanes)
	fill(&c.Page, DefaultPage)
	fill(&c.Backlog, DefaultBacklog)
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.UserAgent == "" {
		c.UserAgent = DefaultUserAgent
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	if c.Go == nil {
		c.Go = func(work func()) { go work() }
	}
	if c.Notice == nil {
		c.Notice = func(Notice) {}
	}
	if c.Recorded == nil {
		c.Recorded = func([]Report) {}
	}
	return c
}

// A Dispatcher sends the pending deliveries of a queue, each lane in order and
// the lanes beside each other. There is one dispatcher to a queue.
//
// Offer, Wake and Reload may be called from anywhere. Step and Run belong to one
// goroutine.
type Dispatcher struct {
	queue    Queue
	renderer Renderer
	sender   Sender
	clock    func() time.Time
	cfg      Config
	wake     chan struct{} // rings when there is something for Step

	mailbox
	lanes

	busy       int       // attempts under way or not yet on record
	unrecorded []*flight // ended, not yet on record
	recording  []*flight // those before them, on their way into the queue
	stopping   bool
	load       load
	secretless map[string]struct{} // endpoints of which it was said that they have no secret
}

// mailbox is what others leave for Step.
type mailbox struct {
	mu      sync.Mutex
	offered []Delivery
	missed  bool // offers did not fit
	woken   map[string]struct{}
	reload  map[Lane]struct{}
	ended   []*flight
	filed   *error // what putting a batch on record came to, nil if that has not ended
}

// A flight is an attempt under way.
type flight struct {
	lane     *lane
	delivery Delivery // as it was before
	target   Target
	at       time.Time

	ended   time.Time
	outcome Outcome
	digest  []byte
	bytes   int64
	aborted bool          // by us: it says nothing about the receiver
	end     func(Outcome) // to be told of the outcome; may be nil
	report  Report        // once decided
}

// NewDispatcher returns a dispatcher of what is pending in queue. The clock
// tells the time of attempts.
func NewDispatcher(queue Queue, renderer Renderer, sender Sender, clock func() time.Time, cfg Config) *Dispatcher {
	cfg = cfg.withDefaults()
	return &Dispatcher{
		queue: queue, renderer: renderer, sender: sender, clock: clock, cfg: cfg,
		wake:    make(chan struct{}, 1),
		mailbox: mailbox{woken: make(map[string]struct{}), reload: make(map[Lane]struct{})},
		lanes:   newLanes(cfg.MaxLanes), secretless: make(map[string]struct{}),
	}
}

// Offer tells of deliveries that were just planned, after their commit, in log
// order and those of one event together, so that they need not be read again.
// It never waits: what finds no room is read from the queue in its turn.
//
// Deliveries planned behind the head of the log, by a redelivery or a replay,
// are not for Offer but for Reload or Wake.
func (d *Dispatcher) Offer(ds []Delivery) {
	if !slices.IsSortedFunc(ds, compareDeliveries) { // the names of one event
		ds = slices.Clone(ds)
		slices.SortFunc(ds, compareDeliveries)
	}
	d.mu.Lock()
	if !d.missed { // once one was, all that follow are: lanes have no holes
		fit := min(len(ds), d.cfg.Backlog-len(d.offered))
		d.offered = append(d.offered, ds[:fit]...)
		d.missed = fit < len(ds)
	}
	d.mu.Unlock()
	d.ring()
}

// Wake forgets what is known of an endpoint and reads it again: after it was
// changed, enabled, disabled or deleted, or after many of its deliveries were
// made pending again. No attempt begins behind it that does not know.
func (d *Dispatcher) Wake(endpointID string) {
	d.mu.Lock()
	d.woken[endpointID] = struct{}{}
	d.mu.Unlock()
	d.ring()
}

// isWoken reports whether there is something to take up of an endpoint.
func (d *Dispatcher) isWoken(endpointID string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, woken := d.woken[endpointID]
	return woken
}

// Reload reads a lane again: after a delivery behind its head was planned or
// made pending again.
func (d *Dispatcher) Reload(lane Lane) {
	d.mu.Lock()
	if len(d.reload) < d.cfg.Backlog {
		d.reload[lane] = struct{}{}
	} else {
		d.woken[lane.EndpointID] = struct{}{}
	}
	d.mu.Unlock()
	d.ring()
}

func (d *Dispatcher) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Dispatcher) now() time.Time { return d.clock().UTC().Truncate(time.Microsecond) }

// Step does one bounded piece of work: it has committed what attempts came to,
// takes up what was offered, reads on where memory has run out, and starts what is due
// as far as the limits go. worked says whether there was anything; if not, wait
// is how long nothing will be due, Forever if time alone changes nothing. The
// error is that of Queue.Record; the outcomes are kept for another Step. A
// queue that fails to be read is logged and asked again after Pause.
//
// Attempts started here live as long as ctx: one that it cuts off leaves no
// trace and is made again.
func (d *Dispatcher) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	recorded, err := d.record(ctx)
	now := d.now()
	took := d.takeUp(ctx, now)
	read := d.scan(ctx, now)
	read = d.refill(ctx, now) || read
	d.promote(now)
	started := d.start(ctx, now)
	d.weigh()
	return recorded || took || read || started, d.wait(now), err
}

// Run steps until ctx is done, and waits in between for an offer, the end of an
// attempt, or the time of the next one. Then it starts nothing more, waits for
// the attempts under way as long as Config.Grace, and records them. It returns
// nil, or an error if outcomes could not be recorded; those deliveries are sent
// again by the next dispatcher.
func (d *Dispatcher) Run(ctx context.Context) error {
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for ctx.Err() == nil {
		worked, wait, err := d.Step(work)
		wake, due := d.wake, (<-chan time.Time)(nil)
		switch {
		case err != nil:
			d.cfg.Log.ErrorContext(ctx, "attempts could not be recorded; trying again", "error", err)
			wait, wake = Pause, nil // rung or not, the queue needs its rest
		case worked:
			continue
		}
		if wait < Forever {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-due:
		}
	}
	return d.stop(ctx, abort)
}

// stop waits for the attempts under way and records them.
func (d *Dispatcher) stop(ctx context.Context, abort func()) error {
	d.stopping = true
	grace := max(d.cfg.Grace, 0)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace+AbortTime)
	defer cancel()
	aborter := time.AfterFunc(grace, abort)
	defer aborter.Stop()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	var failed error
	for {
		worked, err := d.record(ctx)
		d.weigh()
		if d.busy == 0 {
			return nil
		}
		if err != nil {
			d.cfg.Log.ErrorContext(ctx, "attempts could not be recorded; trying again", "error", err)
			failed = err
			retry.Reset(Pause)
		} else if worked {
			continue
		}
		select {
		case <-d.wake:
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%d attempts are not on record: %w", d.busy, errors.Join(failed, ctx.Err()))
		}
	}
}

// record takes up what attempts came to, and has it put on record a batch at a
// time. Meanwhile others are made: a commit takes as long as some attempts.
func (d *Dispatcher) record(ctx context.Context) (worked bool, err error) {
	d.mu.Lock()
	ended, filed := d.ended, d.filed
	d.ended, d.filed = nil, nil
	d.mu.Unlock()
	for _, f := range ended {
		f.lane.outlet.busy--
		if f.aborted {
			d.land(f.lane)
			d.settle(f.lane)
			continue
		}
		d.decide(f)
		d.unrecorded = append(d.unrecorded, f)
	}
	if filed != nil {
		if err := *filed; err != nil {
			n := len(d.recording)
			d.unrecorded, d.recording = append(d.recording, d.unrecorded...), nil
			return len(ended) > 0, fmt.Errorf("record %d attempts: %w", n, err)
		}
		d.recorded()
	}
	if len(d.unrecorded) == 0 || len(d.recording) > 0 {
		return len(ended) > 0 || filed != nil, nil
	}
	n := min(len(d.unrecorded), RecordBatch)
	d.recording, d.unrecorded = slices.Clone(d.unrecorded[:n]), append([]*flight(nil), d.unrecorded[n:]...)
	reports := reportsOf(d.recording)
	d.cfg.Go(func() {
		err := d.queue.Record(ctx, reports)
		d.mu.Lock()
		d.filed = &err
		d.mu.Unlock()
		d.ring()
	})
	return true, nil
}

// recorded lets the lanes of a batch go on that is on record now.
func (d *Dispatcher) recorded() {
	batch := d.recording
	d.recording = nil
	for _, f := range batch {
		d.land(f.lane)
		d.conclude(f)
		d.settle(f.lane)
		d.tell(f)
	}
	d.cfg.Recorded(reportsOf(batch))
}

func reportsOf(batch []*flight) []Report {
	reports := make([]Report, len(batch))
	for i, f := range batch {
		reports[i] = f.report
	}
	return reports
}

// decide writes the report of an attempt that has ended, and what is to be told
// of its endpoint.
func (d *Dispatcher) decide(f *flight) {
	o := f.lane.outlet
	f.report.Attempt = Attempt{Number: f.delivery.Attempts + 1, At: f.at, Outcome: f.outcome, Digest: f.digest, Bytes: f.bytes}
	next := Decide(f.target.Settings, f.delivery, f.outcome, f.ended, d.cfg.Jitter())
	f.report.Delivery = f.delivery.After(f.report.Attempt, next, f.ended)
	before := o.health
	o.health = o.health.After(f.outcome, f.ended)
	f.report.Health = o.health

	notice := Notice{EndpointID: o.id, Account: f.delivery.Account, At: f.ended, Delivery: &f.report.Delivery, Outcome: f.outcome}
	tell := func(kind NoticeKind) {
		notice.Kind = kind
		f.report.Notices = append(f.report.Notices, notice)
	}
	if next.Reason == ReasonExhausted || next.Reason == ReasonTooLarge {
		tell(NoticeExhausted)
	}
	switch {
	case next.Disable:
		tell(NoticeGone)
	case o.health.Hopeless(f.ended):
		notice.Since = o.health.FailingSince
		tell(NoticeHopeless)
	case o.health.Broken() && !before.Broken():
		notice.Since = o.health.FailingSince
		tell(NoticeFailing)
	case before.Broken() && !o.health.Broken():
		notice.Since = before.FailingSince
		tell(NoticeRecovered)
	}
}

// conclude takes what is on record into the lane, and tells the operator of
// what will not come back by itself.
func (d *Dispatcher) conclude(f *flight) {
	after := &f.report.Delivery
	switch after.State {
	case Pending:
		f.lane.queue[0] = *after
		return
	case Parked:
		d.cfg.Log.Warn("delivery parked", append(describe(after), slog.String("reason", after.Reason),
			slog.Int("attempts", after.Attempts), slog.Int("status", f.outcome.Status), slog.String("fault", string(f.outcome.Fault)))...)
	case Cancelled:
		d.cfg.Log.Info("delivery cancelled", append(describe(after), slog.String("reason", after.Reason))...)
	case Delivered:
	}
	d.drain(f.lane, 1)
}

// tell tells what an attempt meant for its endpoint. One that is to be disabled
// sleeps from here on.
func (d *Dispatcher) tell(f *flight) {
	for _, n := range f.report.Notices {
		d.cfg.Notice(n)
		switch {
		case n.Kind.Disables():
			d.sleep(f.lane.outlet)
			f.lane.outlet.asked = f.ended
		case n.Kind == NoticeRecovered:
			d.rouse(f.lane.outlet)
		}
	}
}

// describe names a delivery in the log of the program, under the same keys
// wherever one is spoken of.
func describe(d *Delivery) []any {
	return []any{
		slog.String("delivery", d.ID), slog.String("webhook_id", d.WebhookID), slog.String("endpoint", d.EndpointID),
		eventstore.About(d.Stream), slog.Int64("position", d.Position), slog.String("event", d.Name),
	}
}

// start begins attempts, endpoint after endpoint in turn, as far as the limits
// go.
func (d *Dispatcher) start(ctx context.Context, now time.Time) (started bool) {
	// passed counts the outlets in a row that could not take another one.
	for passed := 0; passed < len(d.turn) && d.busy < d.cfg.Concurrency+d.cfg.Spare && !d.stopping; {
		o := d.turn[0]
		d.turn = d.turn[1:]
		if len(o.ready) == 0 {
			o.inTurn = false
			continue
		}
		if o.busy >= d.share(o) {
			d.turn = append(d.turn, o)
			passed++
			continue
		}
		l := o.take()
		if l.place == ready {
			d.begin(ctx, l, now)
			started, passed = true, 0
		}
		d.turn = append(d.turn, o)
	}
	return started
}

// take takes the lane out of ready whose turn it is: the one that has waited
// longest, or, of an endpoint that is asked whether it is back, the one with the
// oldest delivery.
func (o *outlet) take() *lane {
	next := 0
	if o.health.Broken() {
		for i, l := range o.ready {
			if l.place == ready && (o.ready[next].place != ready || compareDeliveries(l.queue[0], o.ready[next].queue[0]) < 0) {
				next = i
			}
		}
	}
	l := o.ready[next]
	if next == 0 {
		o.ready = o.ready[1:]
	} else {
		o.ready = slices.Delete(o.ready, next, next+1)
	}
	return l
}

// share is how many attempts an endpoint may have under way just now: at most
// half as many as are free. N endpoints that hang then hold about N/(N+2) of the
// whole, and there is something left for the next one, which always gets one, if
// need be of what is to spare.
func (d *Dispatcher) share(o *outlet) int {
	if o.busy == 0 || o.health.Broken() {
		return 1
	}
	most := d.cfg.PerEndpoint
	if wanted := o.target.Settings.Concurrency; wanted > 0 {
		most = wanted
	}
	free := d.cfg.Concurrency - d.busy
	return min(most, free/2)
}

// begin starts the attempt of a lane's head.
func (d *Dispatcher) begin(ctx context.Context, l *lane, now time.Time) {
	if l.outlet.until.After(now) {
		d.postpone(l, l.outlet.until)
		return
	}
	if d.isWoken(l.outlet.id) {
		d.postpone(l, now) // it is another now, and taken up first
		return
	}
	met := l.outlet.known
	target, err := d.target(ctx, l.outlet, now)
	switch {
	case errors.Is(err, ErrNoTarget):
		f := &flight{lane: l, delivery: l.queue[0]}
		f.report.Delivery = f.delivery
		f.report.Delivery.State, f.report.Delivery.Reason, f.report.Delivery.EndedAt = Cancelled, ReasonDeleted, &now
		d.launch(l)
		d.unrecorded = append(d.unrecorded, f)
	case err != nil:
		d.cfg.Log.ErrorContext(ctx, "an endpoint could not be read; trying again", "endpoint", l.key.EndpointID, "error", err)
		l.outlet.until = now.Add(Pause)
		d.postpone(l, l.outlet.until)
	case target.Disabled:
		d.sleep(l.outlet)
	case len(target.Secrets) == 0:
		// A log that is moved leaves its secrets behind. To try would be to give up
		// what can be sent as soon as there is a new one.
		if _, said := d.secretless[l.key.EndpointID]; !said {
			d.secretless[l.key.EndpointID] = struct{}{}
			d.cfg.Log.WarnContext(ctx, "an endpoint has no secret to sign with, and is sent nothing until it has a new one",
				"endpoint", l.key.EndpointID)
		}
		d.sleep(l.outlet)
	case !met:
		d.reread(l.outlet) // which was read before the settings were: see meet
	case now.Before(l.outlet.health.OpenUntil):
		d.postpone(l, l.outlet.health.OpenUntil)
	default:
		if rate := target.Settings.RateLimit; rate > 0 {
			// One at a time, evenly: a burst is what the receiver asked to be spared.
			l.outlet.until = now.Add(time.Second / time.Duration(rate))
		}
		f := &flight{lane: l, delivery: l.queue[0], target: target, at: now}
		d.launch(l)
		l.outlet.busy++
		d.cfg.Go(func() { d.attempt(ctx, f) })
	}
}

func (d *Dispatcher) launch(l *lane) {
	l.place = underWay
	d.busy++
}

func (d *Dispatcher) land(l *lane) {
	l.place = nowhere
	d.busy--
}

// target returns an endpoint's settings, as they were at most TargetAge ago.
func (d *Dispatcher) target(ctx context.Context, o *outlet, now time.Time) (Target, error) {
	switch {
	case o.gone:
		return Target{}, ErrNoTarget
	case o.known && now.Sub(o.asked) < TargetAge:
		return o.target, nil
	}
	target, err := d.queue.Target(ctx, o.id)
	switch {
	case errors.Is(err, ErrNoTarget):
		o.gone = true
		return Target{}, ErrNoTarget
	case err != nil:
		return Target{}, err
	}
	if !o.known {
		o.health = target.Health // from here on ours is newer
	}
	o.target, o.known, o.asked = target, true, now
	return target, nil
}

// attempt makes one attempt and leaves what came of it for Step.
func (d *Dispatcher) attempt(ctx context.Context, f *flight) {
	inTime, cancel := context.WithTimeout(ctx, AttemptTimeout)
	defer cancel()
	f.outcome, f.digest = d.try(inTime, f)
	f.outcome.Detail = printable(f.outcome.Detail)
	f.ended = d.now()
	f.aborted = f.outcome.Status == 0 && ctx.Err() != nil
	if f.outcome.Fault == Unrendered && !f.aborted {
		d.cfg.Log.ErrorContext(ctx, "a body could not be made",
			append(describe(&f.delivery), slog.String("dialect", f.delivery.Dialect), slog.String("error", f.outcome.Detail))...)
	}
	if f.end != nil {
		f.end(f.outcome)
	}
	d.mu.Lock()
	d.ended = append(d.ended, f)
	d.mu.Unlock()
	d.ring()
}

// try renders, signs and sends. A broken invariant in a dialect ends here: it
// costs its own delivery and not the process.
func (d *Dispatcher) try(ctx context.Context, f *flight) (o Outcome, digest []byte) {
	defer func() {
		if p := recover(); p != nil {
			d.cfg.Log.ErrorContext(ctx, "panic in an attempt", append(describe(&f.delivery), slog.String("stack", string(debug.Stack())))...)
			o = Outcome{Fault: Unrendered, Detail: fmt.Sprintf("panic: %v", p)}
		}
	}()
	delivery := f.delivery // the renderer's own
	body, err := d.renderer.Body(ctx, &delivery)
	trace := delivery.Trace
	if d.cfg.Begin != nil {
		ctx, trace, f.end = d.cfg.Begin(ctx, &delivery, f.at)
	}
	if err != nil {
		return Outcome{Fault: Unrendered, Detail: err.Error()}, nil
	}
	if most := f.target.Settings.BodyLimit(); len(body) > most {
		return Outcome{Fault: TooLarge, Detail: fmt.Sprintf("the body has %d bytes, and %d are allowed", len(body), most)}, nil
	}
	request, err := d.request(&f.target, f.delivery.Dialect, f.delivery.WebhookID, f.at, body)
	if err != nil {
		return Outcome{Fault: Unrendered, Detail: "sign: " + err.Error()}, nil
	}
	if f.delivery.Replay != "" {
		request.Headers[ReplayHeader] = f.delivery.Replay
	}
	if trace != "" {
		request.Headers["traceparent"] = trace // the receiver can join; never a tracestate, which is not kept
	}
	f.bytes = int64(len(body))
	sum := sha256.Sum256(body)
	return d.sender.Send(ctx, request), sum[:]
}

// request returns a body on its way to an endpoint, signed at that time. What the
// endpoint is set to send along gives way to what is ours.
func (d *Dispatcher) request(t *Target, dialect, webhookID string, at time.Time, body []byte) (Request, error) {
	signed, err := Sign(t.Secrets, webhookID, at, body)
	if err != nil {
		return Request{}, err
	}
	headers := make(map[string]string, len(t.Headers)+len(signed)+3)
	for name, value := range t.Headers {
		headers[strings.ToLower(name)] = value
	}
	headers["accept"] = "application/json"
	headers["content-type"] = "application/json"
	headers["user-agent"] = d.cfg.UserAgent
	maps.Copy(headers, d.cfg.Dialects.headers(dialect, webhookID, at, t.Secrets, body))
	maps.Copy(headers, signed)
	delete(headers, ReplayHeader) // which says what the endpoint cannot
	return Request{URL: t.Settings.URL, Headers: headers, Body: body}, nil
}

// Test sends a TestEvent to an endpoint of that account at once, disabled or not,
// and returns what came of it and the webhook-id that it bore. Nothing is put on
// record, and the endpoint is as well or as bad as it was. The error is
// ErrNoTarget, or that of the queue. It may be called from anywhere.
func (d *Dispatcher) Test(ctx context.Context, account, endpointID string) (o Outcome, webhookID string, err error) {
	target, err := d.queue.Target(ctx, endpointID)
	if err != nil {
		return o, "", err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return o, "", fmt.Errorf("make an id: %w", err)
	}
	at, dialect := d.now(), target.Settings.Dialect
	webhookID = ID(endpointID, id, TestEvent)
	var body []byte
	if w, ok := d.cfg.Dialects.find(dialect).(TestWriter); ok {
		body = w.AppendTest(nil, account, endpointID, id.String(), at)
	} else {
		body = AppendTest(nil, endpointID, at)
	}
	request, err := d.request(&target, dialect, webhookID, at, body)
	if err != nil {
		return o, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, AttemptTimeout)
	defer cancel()
	o = d.sender.Send(ctx, request)
	o.Detail = printable(o.Detail)
	return o, webhookID, nil
}

// printable returns the first MaxDetail bytes of s as text that every database
// takes: receivers answer with anything.
func printable(s string) string {
	if len(s) > MaxDetail {
		s = s[:MaxDetail]
		for i := 0; i < utf8.UTFMax && !utf8.ValidString(s); i++ {
			s = s[:len(s)-1] // a character that was cut in two
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r // bytes that are no character come as U+FFFD
	}, s)
	for len(s) > MaxDetail { // U+FFFD is longer than the byte it stands for
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
