package projections

import (
	"context"
	"fmt"
	"sort"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// A life is an endpoint as it was behind each of its events, as far as they were
// read: for those who plan what happened before now.
type life struct {
	stream string
	row    EndpointRow // as far as it is known
	steps  []step
}

// A step is an endpoint as it was behind a position.
type step struct {
	behind int64
	row    EndpointRow
}

// read takes in what has become of the endpoint since, up to a version of its
// stream.
func (l *life) read(ctx context.Context, log eventstore.Store, codec *eventstore.Codec, version int64) error {
	if l.row.Version >= version {
		return nil
	}
	for r, err := range log.ReadStream(ctx, l.stream, l.row.Version) {
		if err != nil {
			return err
		}
		if r.Version > version {
			break
		}
		event, err := codec.Decode(&r)
		if err != nil {
			return err
		}
		e, ok := event.(endpoint.Event)
		if !ok {
			return fmt.Errorf("position %d: %s does not belong here", r.Position, r.Type)
		}
		l.take(webhooks.Fact{Recorded: &r, Event: event}, e)
	}
	return nil
}

// take takes what is known of the endpoint on by its next event.
func (l *life) take(f webhooks.Fact, e endpoint.Event) {
	if l.row = l.row.Evolve(f, e); !isNote(e) {
		l.steps = append(l.steps, step{f.Position, l.row})
	}
}

// at returns the step by which the endpoint is told what happened at a position:
// the last one before it. What lies before all of them is told as of the first.
func (l *life) at(position int64) int {
	return max(0, sort.Search(len(l.steps), func(i int) bool { return l.steps[i].behind >= position })-1)
}

// next returns the first position at or behind which the endpoint becomes
// another, or Newest.
func (l *life) next(position int64) int64 {
	i := sort.Search(len(l.steps), func(i int) bool { return l.steps[i].behind >= position })
	if i == len(l.steps) {
		return Newest
	}
	return l.steps[i].behind
}

// begins returns where the endpoint began in the log other than where it was
// registered, oldest first.
func (l *life) begins() (out []beginning) {
	id := ""
	for i := range l.steps {
		if row := &l.steps[i].row; row.Backfill != id {
			id = row.Backfill
			out = append(out, beginning{l.steps[i].behind, row.Start.From, id})
		}
	}
	return out
}

// A beginning is where an endpoint began in the log, and since when.
type beginning struct {
	begun, from int64
	backfill    string
}

// target returns what an endpoint was to the plan as of a step, as if it had always
// been there, and whether it was there. Settings in a dialect that nobody speaks
// tell nothing: what falls to them is told as the endpoint was set next, and not at
// all if it was deleted instead.
func (p *Plan) target(l *life, at int) (planTarget, bool) {
	for i := at; i < len(l.steps); i++ {
		row := l.steps[i].row
		if row.Deleted {
			return planTarget{}, false
		}
		if t := p.aim(&row); t.fault == nil {
			t.from, t.hold, t.mute = 0, nil, i > at
			return t, true
		}
	}
	t := p.aim(&l.steps[at].row)
	t.from, t.hold = 0, nil
	return t, true
}

// maxSteps bounds what is remembered of lives while parked streams are taken up
// again: some megabytes, and hundreds of endpoints that changed dozens of times.
// When there are more all of them are dropped; what is asked for is read again.
const maxSteps = 10_000

// A hindsight is the endpoints as they were at events that are taken up again. It
// is made for the first of them, and dropped behind the last.
type hindsight struct {
	streams map[string][]string // of endpoints, by account
	lives   map[string]*life    // by stream
	steps   int                 // of all of them
	holds   map[string]Hold     // backfills, as they are on record

	// What was last asked for:
	account     string
	from, until int64 // first and last position at which it is so
	targets     planAccount
}

// look returns the hindsight, which it makes if there is none.
func (p *Plan) look(ctx context.Context) (*hindsight, error) {
	if p.behind != nil {
		return p.behind, nil
	}
	holds, err := p.store.Holds(ctx)
	if err != nil {
		return nil, err
	}
	h := &hindsight{streams: make(map[string][]string), lives: make(map[string]*life), holds: make(map[string]Hold, len(holds))}
	for _, hold := range holds {
		h.holds[hold.ID] = hold
	}
	for stream, row := range p.endpoints {
		if row.ID != "" {
			h.streams[row.Account.ID] = append(h.streams[row.Account.ID], stream)
		}
	}
	p.behind = h
	return h, nil
}

// then returns what the plan asks of an account for an event of it that is taken up
// again: its endpoints as they were set when it happened, also those that were
// deleted since. Where they begin in the log is as it is now.
func (p *Plan) then(ctx context.Context, f webhooks.Fact) (*planAccount, error) {
	h, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	if h.account == f.Recorded.Account && h.from <= f.Position && f.Position <= h.until {
		return &h.targets, nil
	}
	h.account, h.from, h.until, h.targets = "", f.Position, Newest, planAccount{}
	for _, stream := range h.streams[f.Recorded.Account] {
		row := p.endpoints[stream]
		l, err := p.lifeOf(ctx, h, stream, row.Version)
		if err != nil {
			return nil, fmt.Errorf("endpoint %s as it was then: %w", row.ID, err)
		}
		h.until = min(h.until, l.next(f.Position))
		t, there := p.target(l, l.at(f.Position))
		if !there {
			continue
		}
		now := p.aim(&row)
		t.from, t.hold, t.gone, t.begins = now.from, now.hold, row.Deleted, l.begins()
		h.targets.add(t)
	}
	h.account = f.Recorded.Account
	h.targets.sort()
	return &h.targets, nil
}

// lifeOf returns the life of an endpoint as far as the plan has taken it.
func (p *Plan) lifeOf(ctx context.Context, h *hindsight, stream string, version int64) (*life, error) {
	if l := h.lives[stream]; l != nil {
		return l, nil
	}
	l := &life{stream: stream}
	if err := l.read(ctx, p.log, p.codec, version); err != nil {
		return nil, err
	}
	if h.steps += len(l.steps); h.steps > p.limit {
		clear(h.lives)
		h.steps = len(l.steps)
	}
	h.lives[stream] = l
	return l, nil
}

// owed reports whether an endpoint was owed what happened at a position before it
// began where it begins now.
func (h *hindsight) owed(t *planTarget, position int64) bool {
	var last Hold // the one that held when it happened
	for _, b := range t.begins {
		hold := h.holds[b.backfill]
		if b.from <= position && position <= hold.Cursor {
			return true
		}
		if b.begun < position {
			last = hold
		}
	}
	return position > t.number && !last.Open && position > last.Until
}
