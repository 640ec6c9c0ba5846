package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

const (
	// spanPage is how many streams are handed out at a time, and rowsPage of how
	// many versions of one the deliveries are held in memory.
	spanPage = 256
	rowsPage = 256
)

// The state of a delivery that is owed and has no row yet, and why.
const (
	unplanned     = "unplanned"
	reasonParked  = "stream_parked"   // in the plan
	reasonPlanned = "not_planned_yet" // the plan is not that far, or the backfill
)

// A verifyTarget is an endpoint whose deliveries are verified.
type verifyTarget struct {
	account    string
	registered int64             // position
	since      time.Time         // likewise
	first      int64             // position: before it there are no deliveries
	backfills  []webhooks.Replay // oldest first, as they were when the verification began
	tally      *endpointTally
}

func (t *verifyTarget) id() string { return t.tally.Endpoint }

// unsent counts a delivery that was not delivered.
func (t *verifyTarget) unsent(state, reason string, tried bool) {
	at := slices.IndexFunc(t.tally.NeverSent, func(k *unsentKind) bool { return k.State == state && k.Reason == reason })
	if at < 0 {
		at = len(t.tally.NeverSent)
		t.tally.NeverSent = append(t.tally.NeverSent, &unsentKind{State: state, Reason: reason})
	}
	t.tally.NeverSent[at].Count++
	if tried {
		t.tally.NeverSent[at].Tried++
	}
}

// checkDeliveries renders again what was sent, and looks for what should have
// been.
func (v *verification) checkDeliveries(ctx context.Context) error {
	v.targets = []*verifyTarget{}
	ids, err := v.endpoints(ctx)
	if err != nil {
		return err
	}
	receivers, err := v.log.Receivers(ctx)
	if err != nil {
		return err
	}
	for _, id := range receivers { // one that was cut out of the log is not among those found there
		if !slices.Contains(ids, id) && (v.endpoint == "" || v.endpoint == id) {
			ids = append(ids, id)
		}
	}
	if v.endpoint != "" && len(ids) == 0 {
		return &fault{exit: exitFailed, code: "endpoint.not_found", err: fmt.Errorf("there is no endpoint %s", v.endpoint)}
	}
	for _, id := range ids {
		if err := v.addTarget(ctx, id); err != nil {
			return err
		}
	}
	parked, err := v.log.Parked(ctx)
	if err != nil {
		return err
	}
	v.parked = make(map[string]int64)
	for _, p := range parked {
		if p.Projection == (*projections.Plan)(nil).Name() {
			v.parked[p.Stream] = p.Version
		}
	}
	if len(v.targets) == 0 {
		return nil
	}
	return v.compareAll(ctx)
}

// endpoints finds the endpoints in the log, the deleted ones too.
func (v *verification) endpoints(ctx context.Context) (ids []string, err error) {
	for after := eventstore.StreamName("endpoint", ""); ; {
		spans, err := v.log.Spans(ctx, after, spanPage)
		if err != nil {
			return nil, err
		}
		for _, at := range spans {
			after = at.Stream
			kind, id := eventstore.SplitStream(after)
			if kind == "endpoint" && (v.endpoint == "" || v.endpoint == id) {
				ids = append(ids, id)
			}
			if kind > "endpoint" {
				spans = nil
			}
		}
		if len(spans) < spanPage {
			return ids, nil
		}
	}
}

// addTarget finds out what there is to verify of an endpoint, and the deliveries
// to it whose events are not in the log.
func (v *verification) addTarget(ctx context.Context, id string) error {
	course, err := v.course(ctx, id)
	if err != nil {
		v.incomparable("endpoint "+id, err)
		return ctx.Err()
	}
	row := course.Endpoint()
	t := &verifyTarget{
		account: row.Account.ID, registered: row.Number, since: row.CreatedAt,
		tally: &endpointTally{Endpoint: id, Dialect: row.Settings.Dialect},
	}
	if t.first, err = v.log.FirstDelivery(ctx, id, row.Number+1); err != nil {
		return err
	}
	if err := v.addBackfills(ctx, t); err != nil {
		return err
	}
	v.targets = append(v.targets, t)
	to := v.to
	if v.whole {
		to = projections.Newest // a log that was cut off is shorter than what was delivered of it
	}
	return v.log.Strays(ctx, id, v.from-1, to, func(d *webhooks.Delivery) {
		t.tally.Strays++
		v.deliveries.Strays = keepFirst(v.deliveries.Strays, goneOf(d), keptEach, gone.compare)
	})
}

// addBackfills finds what sends an endpoint the past, which is not for the plan to
// plan.
func (v *verification) addBackfills(ctx context.Context, t *verifyTarget) error {
	for before := ""; ; {
		page, err := v.log.Replays(ctx, t.account, t.id(), before, spanPage)
		if err != nil {
			return err
		}
		for i := range page {
			if before = page[i].ID; page[i].Kind == webhooks.Backfill {
				t.backfills = append(t.backfills, page[i])
				t.first = min(t.first, page[i].Selection.From)
			}
		}
		if len(page) < spanPage {
			slices.SortFunc(t.backfills, func(a, b webhooks.Replay) int { return cmp.Compare(a.Begun, b.Begun) })
			return nil
		}
	}
}

// owes reports whether the endpoint is owed what happened at a position, and
// whether that was planned when the verification began.
func (t *verifyTarget) owes(position, checkpoint int64) (owed, planned bool) {
	var now *webhooks.Replay // the last that had begun
	for i := range t.backfills {
		b := &t.backfills[i]
		open := b.To == 0 && b.EndedAt == nil
		if b.Begun < position {
			now = b
		}
		if b.Selection.From <= position && (position <= b.Cursor.Position || open) {
			return true, position <= b.Cursor.Position
		}
	}
	if now != nil && position <= now.To {
		return false, false // the backfill was ended before it came there
	}
	return position > t.registered, position <= checkpoint
}

func (v *verification) course(ctx context.Context, endpointID string) (*projections.Course, error) {
	return projections.NewCourse(ctx, v.log, v.codec, v.dialects, endpointID)
}

// incomparable notes why something could not be compared, once.
func (v *verification) incomparable(what string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := what + ": " + err.Error()
	if len(v.deliveries.Faults) < keptFaults && !slices.Contains(v.deliveries.Faults, text) {
		v.deliveries.Faults = append(v.deliveries.Faults, text)
	}
}

func goneOf(d *webhooks.Delivery) gone { return gone{d.ID, d.EndpointID, d.Position, d.Name} }

func (g gone) compare(other gone) int {
	return cmp.Or(cmp.Compare(g.Position, other.Position), cmp.Compare(g.Delivery, other.Delivery))
}

// compareAll hands stream after stream to the workers.
func (v *verification) compareAll(ctx context.Context) error {
	shown := v.progress(max(0, v.to-v.from+1))
	defer shown.done()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	var seen atomic.Int64
	spans := make(chan sqlite.Span, spanPage)
	for range v.workers {
		all.Go(func() {
			c, err := newComparer(ctx, v)
			for at := range spans {
				if err == nil {
					err = c.compare(ctx, at)
				}
				if err != nil {
					fail(err)
				}
				shown.at(seen.Add(at.Version))
			}
		})
	}
	if err := v.eachSpan(ctx, func(at sqlite.Span) bool { return send(ctx, spans, at) }); err != nil {
		fail(err)
	}
	close(spans)
	all.Wait()
	return context.Cause(ctx)
}

// eachSpan yields the streams that have something in the range.
func (v *verification) eachSpan(ctx context.Context, yield func(sqlite.Span) bool) error {
	for after := ""; ; {
		spans, err := v.log.Spans(ctx, after, spanPage)
		if err != nil {
			return err
		}
		for _, at := range spans {
			after = at.Stream
			if at.Last >= v.from && at.First <= v.to && !yield(at) {
				return nil
			}
		}
		if len(spans) < spanPage {
			return nil
		}
	}
}

// A comparer compares the deliveries of streams, one stream at a time.
type comparer struct {
	*verification

	transcripts *projections.Transcripts // of the stream alone
	courses     map[*verifyTarget]*projections.Course
	body        []byte

	// Of the stream:
	span    sqlite.Span
	targets []*verifyTarget         // of its account
	rows    map[int64][]*verifySent // by position
	rowsTo  int64                   // the version up to which they were read
	erased  int64                   // version of the first event out of which a person was erased; 0 if there is none
	broken  error                   // why it cannot be told further
}

// A verifySent is a delivery and whose it is.
type verifySent struct {
	sqlite.Sending

	to *verifyTarget
}

func newComparer(ctx context.Context, v *verification) (*comparer, error) {
	c := &comparer{
		verification: v, courses: make(map[*verifyTarget]*projections.Course),
		transcripts: projections.NewTranscripts(v.log, v.codec, v.dialects, 0),
	}
	for _, t := range v.targets {
		course, err := v.course(ctx, t.id())
		if err != nil {
			return nil, err
		}
		c.courses[t] = course
	}
	return c, nil
}

// compare compares what was sent of a stream. Its history is taken on event by
// event, whether a body is made of it or not.
func (c *comparer) compare(ctx context.Context, at sqlite.Span) error {
	c.span, c.targets, c.rowsTo, c.erased, c.broken = at, nil, 0, 0, nil
	last := int64(0)
	for r, err := range c.log.ReadStream(ctx, at.Stream, 0) {
		if err == nil && (r.Version <= last || r.Version > at.Version) {
			if r.Position > c.to {
				break // appended meanwhile
			}
			err = fmt.Errorf("position %d: version %d of %d comes behind %d", r.Position, r.Version, at.Version, last)
		}
		if err != nil {
			c.broken = err
			break
		}
		if last == 0 && !c.findTargets(r.Account) {
			return ctx.Err()
		}
		if r.Position > c.to {
			break
		}
		last = r.Version
		if err := c.event(ctx, &r); err != nil {
			return err
		}
	}
	for _, t := range c.targets {
		c.courses[t].Forget()
	}
	if c.broken == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return c.rest(ctx, last)
}

// findTargets finds the endpoints that may have been sent something of the
// stream, and reports whether there are any.
func (c *comparer) findTargets(account string) bool {
	for _, t := range c.verification.targets {
		if t.account == account && t.first <= c.span.Last {
			c.targets = append(c.targets, t)
		}
	}
	return len(c.targets) > 0
}

// rest says of the deliveries behind a version that no bodies can be made: the
// stream cannot be read further.
func (c *comparer) rest(ctx context.Context, last int64) error {
	c.incomparable(c.span.Stream, c.broken)
	if last == 0 {
		c.targets = c.verification.targets // whose it is cannot be read
	}
	for version := last + 1; version <= c.span.Version; version += rowsPage {
		if err := c.load(ctx, version); err != nil {
			return err
		}
		for position, rows := range c.rows {
			for _, row := range rows {
				if c.from <= position && position <= c.to {
					c.judge(ctx, row, nil)
				}
			}
		}
	}
	return nil
}

// load reads the deliveries of a page of versions.
func (c *comparer) load(ctx context.Context, version int64) error {
	c.rows, c.rowsTo = make(map[int64][]*verifySent), version+rowsPage-1
	for _, t := range c.targets {
		sendings, err := c.log.Sendings(ctx, c.span.Stream, version, c.rowsTo, t.id())
		if err != nil {
			return err
		}
		for _, s := range sendings {
			c.rows[s.Position] = append(c.rows[s.Position], &verifySent{s, t})
		}
	}
	return nil
}

// event compares what was sent of an event.
func (c *comparer) event(ctx context.Context, r *eventstore.Recorded) error {
	if c.erased == 0 && r.Remains != nil {
		c.erased = r.Version
	}
	var rows []*verifySent
	if r.Position >= c.from {
		if r.Version > c.rowsTo {
			if err := c.load(ctx, r.Version); err != nil {
				return err
			}
		}
		rows = c.rows[r.Position]
	}
	var fact *webhooks.Fact
	if r.Stream != c.span.Stream && c.broken == nil {
		c.broken = fmt.Errorf("position %d says that it is of %s", r.Position, r.Stream)
	}
	if c.broken == nil {
		if e, err := c.codec.Decode(r); err != nil {
			c.broken = err
		} else {
			fact = &webhooks.Fact{Recorded: r, Event: e}
		}
	}
	if fact != nil {
		if r.Position >= c.from {
			if err := c.findMissing(ctx, fact, rows); err != nil {
				return err
			}
		}
		if err := c.transcripts.Follow(fact); err != nil {
			c.broken, fact = err, nil
		}
	}
	for _, row := range rows {
		c.judge(ctx, row, fact)
	}
	return ctx.Err()
}

// findMissing finds what endpoints are owed for an event and have no delivery of.
func (c *comparer) findMissing(ctx context.Context, f *webhooks.Fact, rows []*verifySent) error {
	for _, t := range c.targets {
		if owed, _ := t.owes(f.Position, c.checkpoint); !owed {
			continue
		}
		owed, err := c.courses[t].Owed(ctx, *f)
		if err != nil {
			c.incomparable("what endpoint "+t.id()+" is owed", err)
			continue
		}
		for i := range owed {
			if slices.ContainsFunc(rows, func(row *verifySent) bool { return row.ID == owed[i].ID }) {
				continue
			}
			if err := c.judgeAbsent(ctx, t, &owed[i], f.Time); err != nil {
				return err
			}
		}
	}
	return nil
}

// judgeAbsent counts a delivery that is owed and not there.
func (c *comparer) judgeAbsent(ctx context.Context, t *verifyTarget, d *webhooks.Delivery, at time.Time) error {
	stands, parked := c.parked[d.Stream]
	pruned := false
	_, planned := t.owes(d.Position, c.checkpoint)
	if parked = parked && d.Version >= stands; !parked && planned {
		var err error
		if pruned, err = c.mayBePruned(ctx, t, at); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case parked:
		t.unsent(unplanned, reasonParked, false)
	case !planned:
		t.unsent(unplanned, reasonPlanned, false)
	case pruned:
		t.tally.Pruned++
	default:
		t.tally.Missing++
		c.deliveries.Missing = keepFirst(c.deliveries.Missing, goneOf(d), keptEach, gone.compare)
	}
	return nil
}

// mayBePruned reports whether a delivery for an event of that time may have ended
// and been removed since. It ended when the event and its endpoint were there,
// and before all that is kept: what ended first is removed first.
func (c *comparer) mayBePruned(ctx context.Context, t *verifyTarget, at time.Time) (bool, error) {
	if at.Before(t.since) {
		at = t.since // the event was moved in from elsewhere
	}
	if c.keep == 0 || !at.Before(time.Now().Add(-c.keep)) {
		return false, nil
	}
	oldest, kept, err := c.log.OldestEnded(ctx)
	return !kept || !at.After(oldest), err
}

// judge renders what was sent and counts what it finds. Without a fact nothing
// can be rendered.
func (c *comparer) judge(ctx context.Context, row *verifySent, f *webhooks.Fact) {
	digests := row.Sent
	if row.Digest != nil {
		digests = append(slices.Clone(digests), row.Digest)
	}
	same, sum, why, err := c.again(ctx, row, digests, f)
	c.mu.Lock()
	defer c.mu.Unlock()
	if row.State != webhooks.Delivered {
		row.to.unsent(string(row.State), row.Reason, len(digests) > 0)
	}
	switch {
	case ctx.Err() != nil:
	case same:
		if row.State == webhooks.Delivered {
			row.to.tally.Identical++
		}
	case err == nil && c.erased > 0:
		row.to.tally.Erased++
	default:
		if damaged, ok := c.damaged[c.span.Stream]; ok && (f == nil || damaged <= f.Version) {
			why = causeLog
		}
		c.changed(row, why, sum, err)
	}
}

// again renders a delivery again, and reports whether all that was sent, if
// anything was, is the same. If it is not, why is as far as that can be told from
// the delivery.
func (c *comparer) again(
	ctx context.Context, row *verifySent, digests [][]byte, f *webhooks.Fact,
) (same bool, sum [sha256.Size]byte, why cause, err error) {
	unsent := len(digests) == 0 && row.State != webhooks.Delivered
	switch {
	case f == nil && unsent:
		return true, sum, "", nil
	case f == nil:
		return false, sum, causeUnmade, c.broken
	case row.Stream != f.Stream || row.Version != f.Version || row.EventID != f.ID || row.Event != f.Type:
		return false, sum, causeRecord, errors.New("it names another event than the log has there")
	case row.ID != webhooks.DeliveryID(row.EndpointID, f.ID, row.Name) || row.WebhookID != webhooks.ID(row.EndpointID, f.ID, row.Name):
		return false, sum, causeRecord, errors.New("its ids are those of another delivery")
	case unsent:
		return true, sum, "", nil
	case len(digests) == 0:
		return false, sum, causeRecord, errors.New("it was delivered, and no digest is on record")
	}
	if c.body, err = c.transcripts.AppendBody(ctx, c.body[:0], &row.Delivery, f); err != nil {
		return false, sum, causeUnmade, err
	}
	sum = sha256.Sum256(c.body)
	alike := 0
	for _, d := range digests {
		if bytes.Equal(d, sum[:]) {
			alike++
		}
	}
	if 0 < alike && alike < len(digests) {
		return false, sum, causeRecord, nil
	}
	return alike > 0, sum, causeRendering, nil
}

// changed notes a delivery that differs. The verification is locked.
func (c *comparer) changed(row *verifySent, why cause, sum [sha256.Size]byte, err error) {
	row.to.tally.Changed++
	at := slices.IndexFunc(c.deliveries.Changed, func(g *changeGroup) bool {
		return g.Dialect == row.Dialect && g.Event == row.Name && g.Cause == why
	})
	if at < 0 {
		at = len(c.deliveries.Changed)
		c.deliveries.Changed = append(c.deliveries.Changed, &changeGroup{Dialect: row.Dialect, Event: row.Name, Cause: why})
	}
	one := change{
		Delivery: row.ID, WebhookID: row.WebhookID, Endpoint: row.EndpointID, Position: row.Position, State: string(row.State),
		Recorded: hex.EncodeToString(row.Digest),
	}
	for _, d := range row.Sent {
		one.Attempted = append(one.Attempted, hex.EncodeToString(d))
	}
	if one.Rendered = hex.EncodeToString(sum[:]); err != nil {
		one.Rendered, one.Error = "", err.Error()
	}
	g := c.deliveries.Changed[at]
	g.Count++
	g.First = keepFirst(g.First, one, keptEach, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.Position, b.Position), cmp.Compare(a.Delivery, b.Delivery))
	})
}
