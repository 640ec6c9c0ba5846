package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

const (
	// leastChunk is how many events are looked at together at least: asking for
	// what is on record of each of them costs as much as for fifty.
	leastChunk = 50
	// settleEvery is how often the receipt of a replay is written on while it is
	// being fed, and settleBatch how many deliveries at a time.
	settleEvery = time.Second
	settleBatch = 500
	// pausedRest is how often a paused replay is looked at: its endpoint may have
	// been deleted.
	pausedRest = time.Minute
	// maxReplayError bounds the bytes kept of why a replay does not go on.
	maxReplayError = 500
)

// Replays sends endpoints the past, a small batch of each replay in turn: it reads
// on in the log, makes deliveries pending, and commits them with how far it has
// got.
//
// What makes a backfill seamless: while it is open, the plan leaves its endpoint to
// it (Plan.leaves), and it plans from the log, in order, also what happens
// meanwhile. When it has come to the end of the log it closes, in a transaction
// in which the plan has not come past it; a page of the plan that still left the
// endpoint out is refused from then on. Whatever lies behind that place is planned
// as it happens.
//
// Ring and DryRun may be called from anywhere. Step belongs to one goroutine.
type Replays struct {
	log      eventstore.Store
	codec    *eventstore.Codec
	dialects *webhooks.Dialects
	store    webhooks.ReplayStore
	renderer webhooks.Renderer
	tell     Told
	clock    func() time.Time
	slog     *slog.Logger

	rung chan struct{}
	runs map[string]*replayRun // by id
	last string                // the one whose turn was last
}

// Told is told of what replays have committed; a *webhooks.Dispatcher is.
type Told interface {
	// Reload reads a lane again.
	Reload(lane webhooks.Lane)
	// Wake reads an endpoint again.
	Wake(endpointID string)
}

// A replayRun is what is remembered of a replay between its steps. It may be
// forgotten at any time.
type replayRun struct {
	state   webhooks.ReplayState
	course  *Course
	due     time.Time     // its next step
	settle  time.Time     // of its receipt
	held    webhooks.Mark // how far what was kept is in its place
	version int64         // of the one stream that it reads: what lies before is fed
}

// NewReplays returns a worker. The renderer makes the bodies of dry runs.
func NewReplays(
	log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects, store webhooks.ReplayStore,
	renderer webhooks.Renderer, tell Told, clock func() time.Time, logger *slog.Logger,
) *Replays {
	return &Replays{
		log: log, codec: codec, dialects: dialects, store: store, renderer: renderer, tell: tell, clock: clock, slog: logger,
		rung: make(chan struct{}, 1), runs: make(map[string]*replayRun),
	}
}

// Ring says that there is a new replay, or one that is to go on or to end.
func (w *Replays) Ring() {
	select {
	case w.rung <- struct{}{}:
	default:
	}
}

// Rung receives after Ring was called.
func (w *Replays) Rung() <-chan struct{} { return w.rung }

func (w *Replays) now() time.Time { return w.clock().UTC().Truncate(time.Microsecond) }

// Step does one batch of one replay. worked says whether there was one that was
// due, and wait how long the next Step has to wait: webhooks.Forever if there is
// nothing until Ring.
func (w *Replays) Step(ctx context.Context) (worked bool, wait time.Duration, err error) {
	open, err := w.store.OpenReplays(ctx)
	if err != nil {
		return false, webhooks.Pause, err
	}
	now := w.now()
	r, wait := w.next(open, now)
	if r == nil {
		return false, wait, nil
	}
	w.last = r.ID
	run := w.runs[r.ID]
	rest, err := w.step(ctx, run, *r, now)
	switch {
	case errors.Is(err, webhooks.ErrReplayMoved):
		rest, err = webhooks.LiveBreath, nil
	case errors.Is(err, eventstore.ErrBusy):
		rest, err = webhooks.Pause, nil
	case err != nil:
		rest, run.course = webhooks.Pause, nil
	}
	run.due = w.now().Add(rest)
	return true, min(rest, webhooks.ReplayBreath), err
}

// next returns the replay whose turn it is, or how long there is none.
func (w *Replays) next(open []webhooks.Replay, now time.Time) (next *webhooks.Replay, wait time.Duration) {
	known := make(map[string]*replayRun, len(open))
	wait = webhooks.Forever
	for i := range open {
		r := &open[i]
		run := w.runs[r.ID]
		if run == nil {
			run = &replayRun{}
		}
		if run.state != r.State {
			run.state, run.due = r.State, time.Time{} // somebody wants something else of it
		}
		known[r.ID] = run
		switch left := run.due.Sub(now); {
		case left > 0:
			wait = min(wait, left)
		case next == nil, next.ID <= w.last && r.ID > w.last:
			next = r
		}
	}
	w.runs = known
	return next, wait
}

// step takes a replay further, and returns how long it rests then.
func (w *Replays) step(ctx context.Context, run *replayRun, r webhooks.Replay, now time.Time) (rest time.Duration, err error) {
	target, err := w.store.Target(ctx, r.EndpointID)
	deleted := errors.Is(err, webhooks.ErrNoTarget)
	if err != nil && !deleted {
		return 0, err
	}
	feeding := r.Phase == webhooks.PhaseHold || r.Phase == webhooks.PhaseFeed
	switch {
	case deleted && feeding:
		return 0, w.end(ctx, r, webhooks.ReplayFailed, webhooks.ReasonDeleted, now)
	case r.State == webhooks.ReplayPaused:
		return pausedRest, nil
	case r.Phase == webhooks.PhaseHold: // also of one that was cancelled: what is kept is put in order first
		return webhooks.ReplayBreath, w.hold(ctx, run, r, now)
	case r.State == webhooks.ReplayCancelled && feeding:
		return 0, w.end(ctx, r, r.State, r.Error, now)
	case r.Phase == webhooks.PhaseRelease:
		return webhooks.ReplayBreath, w.release(ctx, run, r, deleted, now)
	case r.Phase == webhooks.PhaseDrain:
		return w.drain(ctx, r, now)
	}
	if !now.Before(run.settle) {
		run.settle = now.Add(settleEvery)
		if r, err = w.settle(ctx, r, now); err != nil {
			return 0, err
		}
	}
	if target.Disabled {
		return webhooks.ReplayRest, nil // it waits in the log, where it is kept for ever
	}
	return w.feed(ctx, run, r, now)
}

// commit commits a step and tells of it.
func (w *Replays) commit(ctx context.Context, r webhooks.Replay, step webhooks.ReplayStep, now time.Time) (webhooks.Replay, error) {
	after, lanes, err := w.store.StepReplay(ctx, r, step, now)
	if err != nil {
		return r, err
	}
	for _, l := range lanes {
		w.tell.Reload(l)
	}
	if r.Phase == webhooks.PhaseHold && after.Phase != webhooks.PhaseHold {
		w.tell.Wake(r.EndpointID) // its lanes flow
	}
	if after.Phase == webhooks.PhaseNone {
		w.slog.InfoContext(ctx, "replay ended", "replay", after.ID, "kind", after.Kind, "endpoint", after.EndpointID,
			"state", string(after.State), "delivered", after.Receipt.Delivered, "parked", after.Receipt.Parked)
	}
	return after, nil
}

// end lets a replay feed nothing more. A backfill goes over to live events where
// it is.
func (w *Replays) end(ctx context.Context, r webhooks.Replay, state webhooks.ReplayState, why string, now time.Time) error {
	step := webhooks.ReplayStep{After: r}
	step.After.State, step.After.Error, step.After.Phase = state, why, webhooks.PhaseDrain
	if step.After.EndedAt == nil {
		step.After.EndedAt = &now
	}
	if r.Kind == webhooks.Backfill {
		step.Close = webhooks.CloseWhereItIs
	}
	if r.Kind == webhooks.Backfill || state == webhooks.ReplayFailed {
		step.After.Phase = webhooks.PhaseRelease
	}
	_, err := w.commit(ctx, r, step, now)
	return err
}

// hold puts what was kept of an endpoint in its place: what lies before the
// beginning is skipped, what lies behind it stands still until its turn has come.
// Nothing is sent meanwhile: the queue says that the endpoint is disabled.
func (w *Replays) hold(ctx context.Context, run *replayRun, r webhooks.Replay, now time.Time) error {
	ds, err := w.store.DeliveriesBehind(ctx, r.EndpointID, []webhooks.State{webhooks.Pending}, run.held, webhooks.ReplayBatch)
	if err != nil {
		return err
	}
	step := webhooks.ReplayStep{Reason: webhooks.ReasonSkipped, After: r}
	held := run.held
	for i := range ds {
		held = webhooks.MarkOf(&ds[i])
		if ds[i].Position < r.Selection.From {
			step.Cancel = append(step.Cancel, ds[i])
		} else {
			step.Hold = append(step.Hold, ds[i])
		}
	}
	if len(ds) < webhooks.ReplayBatch {
		step.After.Phase = webhooks.PhaseFeed
	}
	if _, err = w.commit(ctx, r, step, now); err == nil {
		run.held = held
	}
	return err
}

// release cancels what stands still and will not be fed any more; of an endpoint
// that was deleted, all there is.
func (w *Replays) release(ctx context.Context, run *replayRun, r webhooks.Replay, deleted bool, now time.Time) error {
	if run.held.Position < r.Cursor.Position && !deleted {
		run.held = webhooks.Mark{Position: r.Cursor.Position}
	}
	ds, err := w.store.DeliveriesBehind(ctx, r.EndpointID, []webhooks.State{webhooks.Pending}, run.held, webhooks.ReplayBatch)
	if err != nil {
		return err
	}
	step := webhooks.ReplayStep{Reason: webhooks.ReasonSkipped, After: r}
	if deleted {
		step.Reason = webhooks.ReasonDeleted
	}
	held := run.held
	for i := range ds {
		held = webhooks.MarkOf(&ds[i])
		if deleted || ds[i].Reason == webhooks.ReasonInTurn {
			step.Cancel = append(step.Cancel, ds[i])
		}
	}
	if len(ds) < webhooks.ReplayBatch {
		step.After.Phase = webhooks.PhaseDrain
	}
	if _, err = w.commit(ctx, r, step, now); err == nil {
		run.held = held
	}
	return err
}

// settle writes the receipt on as far as everything has ended. If that is all
// that there will be, it is final.
func (w *Replays) settle(ctx context.Context, r webhooks.Replay, now time.Time) (webhooks.Replay, error) {
	pending, err := w.store.ReplayPending(ctx, r.ID, 1) // before: what ends meanwhile is seen behind it
	if err != nil {
		return r, err
	}
	ds, err := w.store.ReplayEnded(ctx, r.ID, r.Settled, settleBatch)
	if err != nil {
		return r, err
	}
	after := r
	for i := range ds {
		after.Receipt = after.Receipt.Add(&ds[i])
		after.Settled = webhooks.MarkOf(&ds[i])
	}
	switch all := pending == 0 && len(ds) < settleBatch; {
	case all && r.Phase == webhooks.PhaseDrain:
		after.Phase = webhooks.PhaseNone
		if after.State == webhooks.ReplayRunning {
			after.State, after.EndedAt = webhooks.ReplayDone, &now
		}
	case len(ds) == 0:
		return r, nil
	}
	return w.commit(ctx, r, webhooks.ReplayStep{After: after}, now)
}

// drain waits for what is on its way.
func (w *Replays) drain(ctx context.Context, r webhooks.Replay, now time.Time) (time.Duration, error) {
	before := r.Settled
	r, err := w.settle(ctx, r, now)
	if r.Settled != before {
		return webhooks.ReplayBreath, err
	}
	return webhooks.ReplayRest, err
}

// feed makes the next deliveries pending.
func (w *Replays) feed(ctx context.Context, run *replayRun, r webhooks.Replay, now time.Time) (time.Duration, error) {
	// What has happened since a backfill began is caught up without a pace: there
	// is more of it all the time, and it would have been sent as it happened.
	live := r.Kind == webhooks.Backfill && r.Cursor.Position >= r.Begun
	most := webhooks.ReplayBatch
	if !live {
		room, err := w.room(ctx, &r)
		if err != nil || room == 0 {
			return webhooks.ReplayPoll, err
		}
		most = room
	}
	if err := w.prepare(ctx, run, &r); err != nil {
		return w.stuck(ctx, r, err, now)
	}
	f, err := w.look(ctx, run, &r, most, now)
	if err != nil {
		return 0, err
	}
	step := webhooks.ReplayStep{Again: f.again, Fresh: f.fresh, Unless: f.unless, After: r}
	step.After.Cursor, step.After.Error = f.after, ""
	step.After.Counts.Left += f.left
	end := f.end && f.poison == nil
	if end && r.Kind != webhooks.Backfill {
		step.After.Phase = webhooks.PhaseDrain
	}
	if f.after != r.Cursor || step.After.Phase != r.Phase {
		if r, err = w.commit(ctx, r, step, now); err != nil {
			return 0, err
		}
		run.version = f.version
	}
	if f.poison != nil {
		run.course = nil // the endpoint may be set otherwise by the next time
		return w.stuck(ctx, r, f.poison, now)
	}
	if end && r.Kind == webhooks.Backfill {
		// Its lanes are told of before the plan may offer what comes behind: hence
		// a transaction of its own, with no deliveries.
		closing := webhooks.ReplayStep{Close: webhooks.CloseIfLevel, After: r}
		closing.After.Phase = webhooks.PhaseDrain
		if r, err = w.commit(ctx, r, closing, now); err != nil {
			return 0, err
		}
		w.slog.InfoContext(ctx, "backfill goes over to live events", "replay", r.ID, "endpoint", r.EndpointID, "position", r.To)
		return webhooks.ReplayBreath, nil
	}
	switch fed := len(f.again) + len(f.fresh); {
	case live, fed == 0:
		return webhooks.LiveBreath, nil
	case r.Rate > 0:
		return max(webhooks.LiveBreath, time.Duration(fed)*time.Second/time.Duration(r.Rate)-w.now().Sub(now)), nil
	default:
		return webhooks.ReplayBreath, nil
	}
}

// room returns how many deliveries may be made pending now. With a rate that is
// what is due in a tenth of a second, and what waits is at most what is due in
// one: a receiver that was away is not sent all at once what it missed.
func (w *Replays) room(ctx context.Context, r *webhooks.Replay) (int, error) {
	ahead, most := webhooks.ReplayAhead, webhooks.ReplayBatch
	if r.Rate > 0 {
		ahead, most = min(ahead, max(r.Rate, leastChunk)), min(most, max(r.Rate/10, 1))
	}
	pending, err := w.store.ReplayPending(ctx, r.ID, ahead)
	return min(most, ahead-pending), err
}

// stuck puts on record why a replay does not go on, for now.
func (w *Replays) stuck(ctx context.Context, r webhooks.Replay, why error, now time.Time) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err() // that somebody stops is no fault of the replay
	}
	text := why.Error()
	if len(text) > maxReplayError {
		text = strings.ToValidUTF8(text[:maxReplayError], "")
	}
	if text == r.Error {
		return webhooks.Pause, nil
	}
	w.slog.ErrorContext(ctx, "a replay cannot go on; it is tried again", "replay", r.ID, "endpoint", r.EndpointID, "error", text)
	step := webhooks.ReplayStep{After: r}
	step.After.Error = text
	_, err := w.commit(ctx, r, step, now)
	return webhooks.Pause, err
}

// prepare makes what a replay plans with.
func (w *Replays) prepare(ctx context.Context, run *replayRun, r *webhooks.Replay) (err error) {
	if run.course != nil || r.Selection.Only == webhooks.OnlyFailed {
		return nil
	}
	if run.course, err = NewCourse(ctx, w.log, w.codec, w.dialects, r.EndpointID); err == nil && r.Kind != webhooks.Backfill {
		run.course.AsNow()
	}
	return err
}

// found is what a replay does next.
type found struct {
	again, fresh []webhooks.Delivery
	left         int64
	after        webhooks.Mark // how far was looked
	version      int64         // likewise, in the one stream that is read
	end          bool          // there is nothing behind it, or nothing that a backfill may look at yet

	plan   int64            // how far the plan has got
	parked map[string]int64 // what it has parked, by version
	unless []webhooks.ParkedAt
	poison error // of the event behind after
}

func (f *found) len() int { return len(f.again) + len(f.fresh) }

// look finds the next deliveries that a replay is about, most of them or some
// more.
func (w *Replays) look(ctx context.Context, run *replayRun, r *webhooks.Replay, most int, now time.Time) (found, error) {
	if r.Selection.Only == webhooks.OnlyFailed {
		return w.lookBack(ctx, r, most)
	}
	f := found{after: r.Cursor, version: run.version}
	var err error
	if f.plan, f.parked, err = w.store.PlanParked(ctx); err != nil {
		return f, err
	}
	var chunk []eventstore.Recorded
	looked := 0
	for rec, err := range w.events(ctx, run, r) {
		if err != nil {
			return f, err
		}
		if r.To > 0 && rec.Position > r.To {
			break
		}
		if rec.Position <= r.Cursor.Position {
			f.version = rec.Version
			continue
		}
		chunk = append(chunk, rec)
		looked++
		if len(chunk) >= max(most-f.len(), leastChunk) || looked == webhooks.ReplayLook {
			all, err := w.take(ctx, run, r, &f, chunk, most, now)
			if err != nil || !all || f.end || f.len() >= most || looked == webhooks.ReplayLook {
				return f, err
			}
			chunk = chunk[:0]
		}
	}
	all, err := w.take(ctx, run, r, &f, chunk, most, now)
	f.end = f.end || all
	return f, err
}

// events yields what a replay is about: the log, or one conversation of it.
func (w *Replays) events(ctx context.Context, run *replayRun, r *webhooks.Replay) iter.Seq2[eventstore.Recorded, error] {
	if stream := r.Selection.Stream(); stream != "" {
		return w.log.ReadStream(ctx, stream, run.version)
	}
	return w.log.ReadLog(ctx, max(r.Cursor.Position, r.Selection.From-1))
}

// take looks at a chunk of events, and reports whether it came to its end.
func (w *Replays) take(
	ctx context.Context, run *replayRun, r *webhooks.Replay, f *found, chunk []eventstore.Recorded, most int, now time.Time,
) (all bool, err error) {
	positions := make([]int64, 0, len(chunk))
	for i := range chunk {
		if w.meant(r, &chunk[i]) {
			positions = append(positions, chunk[i].Position)
		}
	}
	var rows []webhooks.Delivery
	if len(positions) > 0 {
		if rows, err = w.store.DeliveriesAt(ctx, r.EndpointID, positions); err != nil {
			return false, err
		}
	}
	for i := range chunk {
		e := &chunk[i]
		version, stands := f.parked[e.Stream]
		stands = stands && e.Version >= version && w.meant(r, e)
		if stands && r.Kind == webhooks.Backfill && e.Position > f.plan {
			f.end = true // the plan has yet to come by and leave it out itself
		}
		if f.end || f.len() >= most {
			return false, nil
		}
		of := 0
		for of < len(rows) && rows[of].Position <= e.Position {
			of++
		}
		switch at := (webhooks.ParkedAt{Stream: e.Stream, Version: version}); {
		case !w.meant(r, e):
		case !stands:
			if err := w.pick(ctx, run, r, f, e, rows[:of], now); err != nil {
				f.poison = fmt.Errorf("position %d: %w", e.Position, err)
				return false, nil
			}
		case !slices.Contains(f.unless, at): // the plan will plan it when the stream goes on
			f.unless = append(f.unless, at)
		}
		there(r, f, rows[:of])
		rows = rows[of:]
		f.after, f.version = webhooks.Mark{Position: e.Position}, e.Version
	}
	return true, nil
}

func (w *Replays) meant(r *webhooks.Replay, e *eventstore.Recorded) bool {
	return e.Account == r.Account && r.Selection.At(e.Position, e.Time)
}

// there adds what is on record of an event.
func there(r *webhooks.Replay, f *found, rows []webhooks.Delivery) {
	for i := range rows {
		switch d := &rows[i]; {
		case !r.Selection.Match(d), r.Selection.Only == webhooks.OnlyMissing:
		case r.Kind == webhooks.Backfill && webhooks.Owed(d), r.Kind != webhooks.Backfill && d.State != webhooks.Pending:
			f.again = append(f.again, *d)
		default:
			f.left++
		}
	}
}

// pick adds what an event means for a replay beside rows, what is on record of it. An
// event at which something panics cannot be taken, like any other.
func (w *Replays) pick(
	ctx context.Context, run *replayRun, r *webhooks.Replay, f *found, e *eventstore.Recorded, rows []webhooks.Delivery, now time.Time,
) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	event, err := w.codec.Decode(e)
	if err != nil {
		return err
	}
	fact := webhooks.Fact{Recorded: e, Event: event}
	if run.course.isNews(fact) {
		run.course = nil
		if err := w.prepare(ctx, run, r); err != nil {
			return err
		}
	}
	owed, err := run.course.Owed(ctx, fact)
	if err != nil {
		return err
	}
	for i := range owed {
		d := owed[i]
		known := slices.ContainsFunc(rows, func(row webhooks.Delivery) bool { return row.ID == d.ID })
		if !known && r.Selection.Match(&d) {
			d.DueAt = now
			f.fresh = append(f.fresh, d)
		}
	}
	return nil
}

// lookBack finds the next deliveries that were given up before a replay was asked
// for.
func (w *Replays) lookBack(ctx context.Context, r *webhooks.Replay, most int) (found, error) {
	f := found{after: r.Cursor}
	for looked := 0; looked < webhooks.ReplayLook; looked += webhooks.ReplayBatch {
		ds, err := w.store.DeliveriesBehind(ctx, r.EndpointID,
			[]webhooks.State{webhooks.Cancelled, webhooks.Parked}, f.after, webhooks.ReplayBatch)
		if err != nil {
			return f, err
		}
		for i := range ds {
			d := &ds[i]
			switch {
			case d.Position > r.To:
				f.end = true
				return f, nil
			case f.len() == most:
				return f, nil
			}
			f.after = webhooks.MarkOf(d)
			if webhooks.Failed(d) && !d.EndedAt.After(r.CreatedAt) && r.Selection.Match(d) {
				f.again = append(f.again, *d)
			}
		}
		if len(ds) < webhooks.ReplayBatch {
			f.end = true
			return f, nil
		}
	}
	return f, nil
}

// DryRun says what a replay would do that was asked for now, as far as one
// request may look; r.Cursor is where it goes on. Bodies are made, so that their
// bytes are what would be sent; with diff they are compared with what was
// accepted.
func (w *Replays) DryRun(ctx context.Context, r webhooks.Replay, diff bool) (webhooks.DryRun, error) {
	var out webhooks.DryRun
	if diff {
		out.Diff = &webhooks.Diff{}
	}
	run := &replayRun{}
	if err := w.prepare(ctx, run, &r); err != nil {
		return out, err
	}
	for end := w.clock().Add(webhooks.DryRunTime); ; {
		f, err := w.look(ctx, run, &r, webhooks.ReplayBatch, w.now())
		if err == nil {
			err = f.poison
		}
		if err != nil {
			return out, err
		}
		run.version = f.version
		ds := slices.Concat(f.again, f.fresh)
		slices.SortFunc(ds, func(a, b webhooks.Delivery) int { return webhooks.MarkOf(&a).Compare(webhooks.MarkOf(&b)) })
		out.Left += f.left
		for i := range ds {
			if err := w.would(ctx, &out, &ds[i]); err != nil {
				return out, err
			}
		}
		if r.Cursor = f.after; f.end {
			break
		}
		if w.clock().After(end) {
			out.Next = &r.Cursor
			break
		}
	}
	return out, w.estimate(ctx, &r, &out)
}

// would adds a delivery to what a replay would do.
func (w *Replays) would(ctx context.Context, out *webhooks.DryRun, d *webhooks.Delivery) error {
	out.Count++
	at := webhooks.Place{Position: d.Position, Time: d.CreatedAt}
	if out.First == (webhooks.Place{}) {
		out.First = at
	}
	out.Last = at
	body, err := w.renderer.Body(ctx, d)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		out.Unmade++
		return nil //nolint:nilerr // it would not be sent, and says so
	}
	out.Bytes += int64(len(body))
	if out.Diff == nil {
		return nil
	}
	sum := eventstore.Digest(body)
	switch {
	case d.Digest == nil:
		out.Diff.NeverSent++
	case slices.Equal(d.Digest, sum[:]):
		out.Diff.Identical++
	default:
		out.Diff.Different++
		if len(out.Diff.Examples) < webhooks.MaxDiffExamples {
			out.Diff.Examples = append(out.Diff.Examples, d.ID)
		}
	}
	return nil
}

// estimate says how long it would take, if that can be known.
func (w *Replays) estimate(ctx context.Context, r *webhooks.Replay, out *webhooks.DryRun) error {
	target, err := w.store.Target(ctx, r.EndpointID)
	if err != nil {
		return err
	}
	rate, limit := r.Rate, target.Settings.RateLimit
	switch {
	case rate > 0 && (limit == 0 || rate <= limit):
		out.Estimated, out.Basis = time.Duration(out.Count)*time.Second/time.Duration(rate), webhooks.ByRate
	case limit > 0:
		out.Estimated, out.Basis = time.Duration(out.Count)*time.Second/time.Duration(limit), webhooks.ByRateLimit
	default:
		took, known, err := w.store.RecentTook(ctx, r.EndpointID)
		if err != nil || !known {
			return err
		}
		beside := cmp.Or(target.Settings.Concurrency, webhooks.DefaultPerEndpoint)
		out.Estimated, out.Basis = time.Duration(out.Count)*took/time.Duration(beside), webhooks.BySpeed
	}
	return nil
}
