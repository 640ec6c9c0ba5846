package webhooks

import (
	"cmp"
	"container/heap"
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// lanes is the part of the queue that is in memory. Every lane stands in exactly
// one place, and moves when the dispatcher has done something with it. Where a
// lane is not in memory although it has something pending, outside says so, and
// nothing that is offered for such a lane is believed to be its head.
type lanes struct {
	most    int                // lanes that may be in memory
	outlets map[string]*outlet // as many as there are endpoints
	count   int                // lanes in memory now
	queued  int                // deliveries over all of them
	waiting laneHeap           // lanes whose time has not come, the next one first
	thin    []*lane            // lanes to read on
	turn    []*outlet          // outlets with lanes that are ready, in turn
	read    int64              // highest position that was read from the queue

	outside bool      // there may be lanes that are not in memory
	unseen  time.Time // when the first of them is due
	full    sweep     // through all lanes
	swept   time.Time // when it last began
	pages   int       // how many it read
	left    bool      // lanes were left out since then
	rescans []*outlet // outlets whose own lanes are to be read
}

// A sweep reads the heads of lanes, a page a Step.
type sweep struct {
	active bool
	after  Lane
	until  time.Time // not before; after a fault
}

// An outlet is an endpoint with its lanes.
type outlet struct {
	id     string
	lanes  map[string]*lane // by key
	ready  []*lane          // due, in the order in which they became so
	inTurn bool
	busy   int // attempts at it

	target  Target
	health  Health // target.Health, and what has come of attempts since
	known   bool
	asked   time.Time
	until   time.Time // not before; after a fault, or for its rate limit
	gone    bool      // deleted
	asleep  bool      // disabled, or without a secret: its lanes are not in memory
	outside bool      // its lanes are being read
	own     sweep
}

// place is where a lane stands.
type place int

const (
	nowhere  place = iota // on its way from one place to another
	waiting               // for its time, in lanes.waiting
	ready                 // in outlet.ready
	underWay              // its head is being attempted, or the outcome not yet on record
	thin                  // to be read on, in lanes.thin
	dropped               // no longer in memory; lists may still hold it
)

// A lane is a Lane of the queue with its oldest deliveries.
type lane struct {
	key    Lane
	outlet *outlet
	queue  []Delivery // the oldest pending ones, without a hole
	more   bool       // there may be others behind them
	stale  bool       // to be read again once nothing is under way
	place  place
	at     time.Time // while waiting
	index  int       // in the heap

	lastPosition int64 // of the last delivery that was in queue
	lastName     string
}

func newLanes(most int) lanes {
	return lanes{most: most, outlets: make(map[string]*outlet), outside: true}
}

func (s *lanes) outlet(id string) *outlet {
	o := s.outlets[id]
	if o == nil {
		o = &outlet{id: id, lanes: make(map[string]*lane)}
		s.outlets[id] = o
	}
	return o
}

// takeUp takes what others left: endpoints first, for they change what is
// believed of the offers.
func (d *Dispatcher) takeUp(ctx context.Context, now time.Time) (worked bool) {
	d.mu.Lock()
	offered, missed, woken, reload := d.offered, d.missed, slices.Sorted(maps.Keys(d.woken)), slices.Collect(maps.Keys(d.reload))
	d.offered, d.missed = nil, false
	clear(d.woken)
	clear(d.reload)
	d.mu.Unlock()

	for _, id := range woken {
		o := d.outlet(id)
		d.reopen(o)
		d.meet(ctx, o, now)
	}
	slices.SortFunc(reload, compareLanes)
	for _, key := range reload {
		if o := d.outlet(key.EndpointID); !o.asleep {
			if l := d.admit(key, now, now); l != nil {
				d.again(l)
			}
		}
	}
	for i := range offered {
		d.take(ctx, &offered[i], now)
	}
	if missed {
		// What did not fit may belong to any lane.
		for _, o := range d.outlets {
			for _, l := range o.lanes {
				l.more = true
			}
		}
		d.leaveOut(now)
	}
	return len(offered) > 0 || missed || len(woken) > 0 || len(reload) > 0
}

func compareLanes(a, b Lane) int {
	return cmp.Or(strings.Compare(a.EndpointID, b.EndpointID), strings.Compare(a.Key, b.Key))
}

func compareDeliveries(a, b Delivery) int {
	return cmp.Or(cmp.Compare(a.Position, b.Position), strings.Compare(a.Name, b.Name))
}

// take puts an offered delivery into its lane, if that is where it belongs.
func (d *Dispatcher) take(ctx context.Context, offer *Delivery, now time.Time) {
	o := d.outlet(offer.EndpointID)
	if o.asleep {
		if now.Sub(o.asked) < TargetAge {
			return // it is in the queue, where Wake will find it
		}
		d.reopen(o) // somebody may have enabled it without a word to us
	}
	d.meet(ctx, o, now)
	l := o.lanes[offer.Lane]
	if l == nil {
		// Something older than the offer may be pending outside; and what lies
		// before a position that was read may be over already.
		believed := !d.outside && !o.outside && offer.Position > d.read && d.queued < MaxQueued
		if l = d.admit(Lane{offer.EndpointID, offer.Lane}, offer.DueAt, now); l == nil {
			return
		}
		if believed {
			l.more = false
			d.fill(l, []Delivery{*offer})
		}
		d.settle(l)
		return
	}
	switch known := offer.Position < l.lastPosition || offer.Position == l.lastPosition && offer.Name <= l.lastName; {
	case l.more, l.stale, known:
	case len(l.queue) >= d.cfg.LaneDepth || d.queued >= MaxQueued:
		l.more = true
	default:
		d.fill(l, append(l.queue, *offer))
	}
}

// fill makes ds what is in memory of a lane.
func (s *lanes) fill(l *lane, ds []Delivery) {
	s.queued += len(ds) - len(l.queue)
	l.queue = ds
	if n := len(ds); n > 0 {
		l.lastPosition, l.lastName = ds[n-1].Position, ds[n-1].Name
	}
}

// drain takes the first n deliveries out of a lane.
func (s *lanes) drain(l *lane, n int) {
	clear(l.queue[:n])
	l.queue = l.queue[n:]
	s.queued -= n
	if len(l.queue) == 0 {
		l.queue = nil
	}
}

// admit returns the lane, new in memory if it was not there, or nil if there is
// no room for it.
func (s *lanes) admit(key Lane, due, now time.Time) *lane {
	o := s.outlet(key.EndpointID)
	if l := o.lanes[key.Key]; l != nil {
		return l
	}
	if s.count >= s.most {
		victim := s.victim(o, due, now)
		if victim == nil {
			s.leaveOut(due)
			return nil
		}
		s.leaveOut(victim.queueDue())
		s.drop(victim)
	}
	l := &lane{key: key, outlet: o, more: true}
	o.lanes[key.Key] = l
	s.count++
	return l
}

// victim returns the lane whose place in memory one of o that is due then may
// take, or nil. What is due goes before what is not; of what is due, the
// endpoint with the most lanes gives way to those with fewer, so that one which
// hangs does not fill the memory for all.
func (s *lanes) victim(o *outlet, due, now time.Time) *lane {
	if due.After(now) {
		return nil
	}
	if n := len(s.waiting); n > 0 && s.waiting[n-1].at.After(now) {
		return s.waiting[n-1] // a leaf of the heap: not the farthest, but far, and found at once
	}
	largest := o
	for _, other := range s.outlets {
		n, most := len(other.lanes), len(largest.lanes)
		if n > most || n == most && largest != o && other.id < largest.id {
			largest = other
		}
	}
	if len(largest.lanes) <= len(o.lanes)+1 {
		return nil // nothing would be gained
	}
	for len(largest.ready) > 0 {
		l := largest.ready[len(largest.ready)-1]
		largest.ready = largest.ready[:len(largest.ready)-1]
		if l.place == ready {
			return l
		}
	}
	return nil
}

// queueDue is when there is something to do for a lane.
func (l *lane) queueDue() time.Time {
	if l.place == waiting {
		return l.at
	}
	return l.queue[0].DueAt
}

// leaveOut notes that a lane that is due then is not in memory.
func (s *lanes) leaveOut(due time.Time) {
	if !s.outside || due.Before(s.unseen) {
		s.unseen = due
	}
	s.outside, s.left = true, true
}

// drop takes a lane out of memory.
func (s *lanes) drop(l *lane) {
	if l.place == waiting {
		heap.Remove(&s.waiting, l.index)
	}
	s.fill(l, nil)
	l.place = dropped
	delete(l.outlet.lanes, l.key.Key)
	s.count--
	if l.outlet.gone && len(l.outlet.lanes) == 0 && !l.outlet.own.active {
		delete(s.outlets, l.outlet.id)
	}
}

// settle puts a lane with which something was done where it belongs now.
func (s *lanes) settle(l *lane) {
	if l.place == underWay || l.place == dropped {
		return
	}
	if l.place == waiting {
		heap.Remove(&s.waiting, l.index)
	}
	wasThin := l.place == thin
	l.place = nowhere
	if l.stale {
		s.fill(l, nil)
		l.stale, l.more = false, true
	}
	switch {
	case l.outlet.asleep, len(l.queue) == 0 && !l.more:
		s.drop(l)
	case len(l.queue) == 0:
		l.place = thin
		if !wasThin {
			s.thin = append(s.thin, l)
		}
	default:
		s.postpone(l, later(l.queue[0].DueAt, l.outlet.until))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// postpone lets a lane wait until then; promote finds it when that has come.
func (s *lanes) postpone(l *lane, until time.Time) {
	l.place, l.at = waiting, until
	heap.Push(&s.waiting, l)
}

// promote makes ready what has come due.
func (s *lanes) promote(now time.Time) {
	for len(s.waiting) > 0 && !s.waiting[0].at.After(now) {
		l := heap.Pop(&s.waiting).(*lane)
		if len(l.queue) == 0 { // its reading had failed
			l.place = thin
			s.thin = append(s.thin, l)
			continue
		}
		l.place = ready
		l.outlet.ready = append(l.outlet.ready, l)
		if !l.outlet.inTurn {
			l.outlet.inTurn = true
			s.turn = append(s.turn, l.outlet)
		}
	}
}

// again has a lane read from the queue, as soon as nothing of it is under way.
func (s *lanes) again(l *lane) {
	l.stale = true
	s.settle(l)
}

// sleep forgets the lanes of an endpoint that is disabled.
func (s *lanes) sleep(o *outlet) {
	o.asleep = true
	for _, stream := range slices.Sorted(maps.Keys(o.lanes)) {
		if l := o.lanes[stream]; l.place != underWay { // settle drops those that are
			s.drop(l)
		}
	}
	o.ready = nil
}

// rouse lets the lanes of an endpoint that is well again wait no longer than for
// their own time.
func (s *lanes) rouse(o *outlet) {
	for _, key := range slices.Sorted(maps.Keys(o.lanes)) {
		if l := o.lanes[key]; l.place == waiting && len(l.queue) > 0 {
			s.settle(l)
		}
	}
}

// reopen forgets what is known of an endpoint and has its lanes read again.
func (s *lanes) reopen(o *outlet) {
	o.known, o.gone, o.asleep, o.outside = false, false, false, true
	s.reread(o)
	if !o.own.active {
		s.rescans = append(s.rescans, o)
	}
	o.own = sweep{active: true, after: Lane{EndpointID: o.id}}
}

// reread has the lanes of an endpoint that are in memory read again.
func (s *lanes) reread(o *outlet) {
	o.ready = nil
	for _, key := range slices.Sorted(maps.Keys(o.lanes)) {
		s.again(o.lanes[key])
	}
}

// scan reads one page of lanes that are not in memory.
func (d *Dispatcher) scan(ctx context.Context, now time.Time) bool {
	if len(d.rescans) > 0 {
		o := d.rescans[0]
		if o.own.until.After(now) {
			return false
		}
		if d.page(ctx, &o.own, o.id, now) && !o.own.active {
			d.rescans = d.rescans[1:]
			o.outside = false
			if len(o.lanes) == 0 && !o.known && !o.asleep {
				delete(d.outlets, o.id) // nothing to remember
			}
		}
		return true
	}
	if !d.full.active && !d.sweepAt().After(now) {
		d.full = sweep{active: true}
		d.swept, d.pages, d.left = now, 0, false
		d.unseen = never()
	}
	if !d.full.active || d.full.until.After(now) {
		return false
	}
	d.pages++
	if d.page(ctx, &d.full, "", now) && !d.full.active {
		d.outside = d.left
	}
	return true
}

// sweepAt is when the next search for lanes outside makes sense. The more it
// reads, the less often it is made.
func (s *lanes) sweepAt() time.Time {
	switch {
	case !s.outside:
		return never()
	case s.swept.IsZero():
		return time.Time{}
	default:
		return later(s.unseen, s.swept.Add(ScanPause*time.Duration(1+s.pages/ScanPages)))
	}
}

// never is behind every time that there will be.
func never() time.Time { return time.Unix(1<<40, 0) }

// page reads a page of a sweep, through the lanes of one endpoint if only names
// it. It reports whether that went well.
func (d *Dispatcher) page(ctx context.Context, s *sweep, only string, now time.Time) bool {
	heads, err := d.queue.Heads(ctx, s.after, d.cfg.Page)
	if err == nil && d.meetAll(ctx, heads, only, now) {
		heads, err = d.queue.Heads(ctx, s.after, d.cfg.Page) // as they are since
	}
	if err != nil {
		d.cfg.Log.ErrorContext(ctx, "pending deliveries could not be read; trying again", "error", err)
		s.until = now.Add(Pause)
		return false
	}
	s.until = time.Time{}
	s.active = len(heads) == d.cfg.Page
	full := false // for the endpoint of the head before
	for i := range heads {
		head := &heads[i]
		if only != "" && head.EndpointID != only {
			s.active = false
			break
		}
		full = full && s.after.EndpointID == head.EndpointID
		s.after = Lane{head.EndpointID, head.Lane}
		d.read = max(d.read, head.Position)
		o := d.outlet(head.EndpointID)
		if o.asleep {
			if only == "" {
				continue
			}
			s.active = false
			break
		}
		if o.lanes[head.Lane] != nil {
			continue // what is in memory is at least as new
		}
		l := d.admit(s.after, head.DueAt, now)
		if l == nil {
			full = full || !head.DueAt.After(now)
			continue
		}
		d.fill(l, []Delivery{*head})
		d.settle(l)
	}
	// Where the page ends, there may be many more lanes of the same endpoint. If
	// none of them would be taken, the search goes on behind them.
	if o := d.outlets[s.after.EndpointID]; o != nil && (o.asleep || full) && only == "" {
		s.after.Key = lastKey
	}
	return true
}

// meet asks for the settings of an endpoint that is not known yet, so that what
// is read of its lanes is newer: one that is told to begin elsewhere has its lanes
// put in order before its settings say that they may flow. It reports whether
// the endpoint is known only since. One that cannot be read is left to begin, which
// says what is wrong, and is not asked for again with every offer.
func (d *Dispatcher) meet(ctx context.Context, o *outlet, now time.Time) bool {
	if o.known || o.gone || o.asleep || o.until.After(now) {
		return false
	}
	_, err := d.target(ctx, o, now)
	if err != nil && !o.gone {
		o.until = now.Add(Pause)
	}
	return err == nil
}

// meetAll meets the endpoints of heads, up to the first that is another than only
// if that is set.
func (d *Dispatcher) meetAll(ctx context.Context, heads []Delivery, only string, now time.Time) (met bool) {
	for i := range heads {
		if only != "" && heads[i].EndpointID != only {
			break
		}
		if i == 0 || heads[i].EndpointID != heads[i-1].EndpointID {
			met = d.meet(ctx, d.outlet(heads[i].EndpointID), now) || met
		}
	}
	return met
}

// lastKey is behind the key of every lane.
const lastKey = "\U0010ffff"

// refill reads on where memory has run out.
func (d *Dispatcher) refill(ctx context.Context, now time.Time) (worked bool) {
	for range min(len(d.thin), RefillBatch) {
		l := d.thin[0]
		d.thin = d.thin[1:]
		if l.place != thin {
			continue
		}
		worked = true
		l.place = nowhere
		limit := d.cfg.LaneDepth
		if d.queued >= MaxQueued {
			limit = 1
		}
		ds, err := d.queue.Next(ctx, l.key, limit)
		if err != nil {
			d.cfg.Log.ErrorContext(ctx, "a lane could not be read; trying again",
				"endpoint", l.key.EndpointID, "lane", l.key.Key, "error", err)
			d.postpone(l, now.Add(Pause))
			continue
		}
		d.fill(l, ds)
		l.more = len(ds) == limit
		d.read = max(d.read, l.lastPosition)
		d.settle(l)
	}
	return worked
}

// wait is how long there will be nothing to do unless somebody rings.
func (d *Dispatcher) wait(now time.Time) time.Duration {
	next := never()
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if len(d.thin) > 0 || len(d.unrecorded) > 0 && len(d.recording) == 0 {
		return 0
	}
	if len(d.waiting) > 0 {
		sooner(d.waiting[0].at)
	}
	switch {
	case len(d.rescans) > 0:
		sooner(d.rescans[0].own.until)
	case d.full.active:
		sooner(d.full.until)
	default:
		sooner(d.sweepAt())
	}
	return max(next.Sub(now), 0) // never is more than Forever away, and Sub says Forever
}

// laneHeap is a heap of waiting lanes by their time.
type laneHeap []*lane

// Len returns how many lanes wait.
func (h *laneHeap) Len() int { return len(*h) }

// Less reports whether one lane is due before another.
func (h *laneHeap) Less(i, j int) bool { return (*h)[i].at.Before((*h)[j].at) }

// Swap exchanges two lanes.
func (h *laneHeap) Swap(i, j int) {
	(*h)[i], (*h)[j] = (*h)[j], (*h)[i]
	(*h)[i].index, (*h)[j].index = i, j
}

// Push appends a lane; use heap.Push.
func (h *laneHeap) Push(x any) {
	l := x.(*lane) //nolint:forcetypeassert // only lanes are pushed
	l.index = len(*h)
	*h = append(*h, l)
}

// Pop takes the last lane; use heap.Pop.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
