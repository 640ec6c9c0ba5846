package projections

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Plan turns events into deliveries: one for each event, endpoint that wants
// it, and name that the endpoint's dialect has for it. It remembers the
// endpoints as they were at its own place in the log, so that what is planned
// follows from the log alone, and planning twice plans nothing new. What was
// parked it plans for endpoints as they were at the event: see hindsight.
type Plan struct {
	log       eventstore.Store
	codec     *eventstore.Codec
	store     Store
	dialects  *webhooks.Dialects
	endpoints map[string]EndpointRow    // by stream
	accounts  map[string]*planAccount   // by id; those that have endpoints
	origins   *origins                  // of conversations
	words     []spoken                  // room for those of a candidate
	committed func([]webhooks.Delivery) // told of what was planned, after its commit
	planned   []webhooks.Delivery
	holds     map[string]*Hold // backfills, by id
	reached   int64            // what lies up to here is taken up again
	behind    *hindsight       // while something is
	now       time.Time        // when that began
	limit     int              // as maxSteps
}

// A planAccount is what the plan asks of an account for each of its events.
type planAccount struct {
	targets []planTarget // those that are not deleted, in the order in which they were registered
	origins bool         // some of them filter by conversations
	labels  bool         // by their labels, that is
}

// A planTarget is an endpoint with what follows from its settings.
type planTarget struct {
	id      string
	number  int64
	from    int64 // position of the first event that it is sent
	hold    *Hold // the backfill that sends it some of them; may be nil
	events  []string
	filters *endpoint.Filters // nil if there are none
	dialect webhooks.Dialect
	fault   error  // why there is no dialect
	view    string // of its deliveries

	ordering string

	// Of one as it was at an event before now:
	mute   bool        // nobody speaks the dialect that it was set to then
	gone   bool        // it was deleted since
	begins []beginning // other than where it was registered
}

// NewPlan returns the webhook plan. committed, if not nil, is told of planned
// deliveries in log order, after they were committed.
func NewPlan(
	log eventstore.Store, codec *eventstore.Codec, store Store, dialects *webhooks.Dialects,
	committed func([]webhooks.Delivery),
) *Plan {
	return &Plan{log: log, codec: codec, store: store, dialects: dialects, committed: committed, limit: maxSteps}
}

// Name returns "webhooks".
func (*Plan) Name() string { return "webhooks" }

// Load folds the endpoints up to the checkpoint; one that is parked here, up to
// where it stands.
func (p *Plan) Load(ctx context.Context, checkpoint int64) error {
	p.endpoints = make(map[string]EndpointRow)
	p.origins = newOrigins(p.log, p.codec)
	p.planned, p.reached, p.behind = nil, checkpoint, nil
	holds, err := p.store.Holds(ctx)
	if err != nil {
		return err
	}
	p.holds = make(map[string]*Hold, len(holds))
	for i := range holds {
		p.holds[holds[i].ID] = &holds[i]
	}
	parked, err := p.store.Parked(ctx)
	if err != nil {
		return err
	}
	stands := make(map[string]int64)
	for _, at := range parked {
		if at.Projection == p.Name() {
			stands[at.Stream] = at.Version
		}
	}
	streams, err := p.streams(ctx, checkpoint, parked)
	if err != nil {
		return err
	}
	for stream := range streams {
		for r, err := range p.log.ReadStream(ctx, stream, 0) {
			if err != nil {
				return err
			}
			if at, ok := stands[stream]; r.Position > checkpoint || ok && r.Version >= at {
				break
			}
			event, err := p.codec.Decode(&r)
			if err != nil {
				return err
			}
			if e, ok := event.(endpoint.Event); ok {
				p.endpoints[stream] = p.endpoints[stream].Evolve(webhooks.Fact{Recorded: &r, Event: event}, e)
			}
		}
	}
	p.index()
	return nil
}

// streams returns the streams of all endpoints there are up to the checkpoint.
// The rows name those that the endpoints projection has taken; what it has not,
// because it is behind or the stream is parked there, is found otherwise.
func (p *Plan) streams(ctx context.Context, checkpoint int64, parked []Parked) (map[string]bool, error) {
	streams := make(map[string]bool)
	add := func(stream string) {
		if kind, _ := eventstore.SplitStream(stream); kind == "endpoint" {
			streams[stream] = true
		}
	}
	rows, err := p.store.EndpointRows(ctx)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		add(eventstore.StreamName("endpoint", row.ID))
	}
	for _, at := range parked {
		add(at.Stream)
	}
	checkpoints, err := p.store.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	from := checkpoints[(*Endpoints)(nil).Name()]
	if from >= checkpoint {
		return streams, nil
	}
	for r, err := range p.log.ReadLog(ctx, from) {
		if err != nil {
			return nil, err
		}
		if r.Position > checkpoint {
			break
		}
		add(r.Stream)
	}
	return streams, nil
}

func (p *Plan) index() {
	p.accounts, p.behind = make(map[string]*planAccount), nil
	for _, row := range p.endpoints {
		if row.ID == "" || row.Deleted {
			continue
		}
		account := p.accounts[row.Account.ID]
		if account == nil {
			account = &planAccount{}
			p.accounts[row.Account.ID] = account
		}
		account.add(p.aim(&row))
	}
	for _, account := range p.accounts {
		account.sort()
	}
}

func (a *planAccount) add(t planTarget) {
	a.targets = append(a.targets, t)
	if t.filters != nil {
		a.origins = a.origins || t.filters.AboutConversations()
		a.labels = a.labels || len(t.filters.Labels) > 0
	}
}

func (a *planAccount) sort() {
	slices.SortFunc(a.targets, func(a, b planTarget) int { return cmp.Compare(a.number, b.number) })
}

// aim returns the target that an endpoint is.
func (p *Plan) aim(row *EndpointRow) planTarget {
	t := planTarget{
		id: row.ID, number: row.Number, from: row.Number, hold: p.holds[row.Backfill],
		events: row.Settings.Events, view: viewOf(&row.Settings), ordering: row.Settings.Ordering,
	}
	if row.Start != nil {
		t.from = row.Start.From
	}
	if filters := row.Settings.Filters; !filters.Empty() {
		t.filters = &filters
	}
	if t.dialect, t.fault = p.dialects.Find(row.Settings.Dialect); t.fault != nil {
		t.fault = fmt.Errorf("endpoint %s: %w", row.ID, t.fault)
	}
	return t
}

// viewOf returns how much of a conversation an endpoint is shown, in no more
// bytes than it takes. One that is sent no private notes is not to find them in
// histories either.
func viewOf(s *endpoint.Settings) string {
	if !s.Filters.HidesNotes() && s.MaxBodyBytes == 0 {
		return s.History
	}
	last, err := endpoint.ParseHistory(s.History)
	if err != nil {
		return s.History // which no body can be made of: each delivery will say so
	}
	return webhooks.View{Last: last, Notes: !s.Filters.HidesNotes(), MaxBytes: s.MaxBodyBytes}.String()
}

// Settle hands on what was committed.
func (p *Plan) Settle(committed bool) {
	if committed && p.committed != nil && len(p.planned) > 0 {
		p.committed(p.planned)
	}
	p.planned = nil
}

// Project plans the deliveries of an event.
func (p *Plan) Project(ctx context.Context, f webhooks.Fact, rows *Rows) error {
	again := f.Position <= p.reached
	p.reached = max(p.reached, f.Position)
	if err := p.planFor(ctx, f, again, rows); err != nil {
		return err
	}
	if e, ok := f.Event.(endpoint.Event); ok {
		before := p.endpoints[f.Stream]
		row := before.Evolve(f, e)
		p.endpoints[f.Stream] = row
		if row.Backfill != before.Backfill {
			p.hold(f, &row, rows)
		}
		if !isNote(e) {
			p.index()
		}
	}
	return nil
}

// reach says that what lies up to that position is taken up again, now.
func (p *Plan) reach(position int64, now time.Time) { p.reached, p.now = max(p.reached, position), now }

// rest says that nothing more is taken up again for now.
func (p *Plan) rest() { p.behind = nil }

// hold leaves the endpoint of a row to the backfill that the fact f begins, until
// that goes over to live events.
func (p *Plan) hold(f webhooks.Fact, row *EndpointRow, rows *Rows) {
	b := webhooks.Replay{
		ID: row.Backfill, Kind: webhooks.Backfill, EndpointID: row.ID, Account: f.Recorded.Account,
		Selection: webhooks.ReplaySelection{From: row.Start.From}, Rate: row.Start.Rate,
		State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, Begun: f.Position,
		Cursor: webhooks.Mark{Position: row.Start.From - 1}, CreatedAt: f.Time,
	}
	if _, enabled := f.Event.(endpoint.Enabled); enabled {
		b.Phase = webhooks.PhaseHold // there may be deliveries that were kept
	}
	rows.Backfills = append(rows.Backfills, b)
	if p.holds[b.ID] == nil { // else the log is taken up anew
		p.holds[b.ID] = &Hold{ID: b.ID, Cursor: b.Cursor.Position, Open: true}
	}
}

// leaves reports whether an event is for the backfill of a target to plan, and
// not for the plan. One that is taken up again was parked before: a backfill that
// came past it has left it out.
func (t *planTarget) leaves(position int64, again bool, rows *Rows) bool {
	h := t.hold
	if h == nil || !h.Open && position > h.Until {
		return false
	}
	if h.Open {
		if again {
			rows.Held[h.ID] = h.Cursor
		} else if _, relies := rows.Held[h.ID]; !relies {
			rows.Held[h.ID] = -1
		}
	}
	return !again || position > h.Cursor
}

// planFor plans the deliveries of an event for the endpoints of its account. One
// that is taken up again is planned for them as they were when it happened.
func (p *Plan) planFor(ctx context.Context, f webhooks.Fact, again bool, rows *Rows) error {
	account := p.accounts[f.Recorded.Account]
	if again {
		var err error
		if account, err = p.then(ctx, f); err != nil {
			return err
		}
	}
	if account == nil {
		return nil
	}
	kind, subject := splitStream(f)
	c := candidate{Fact: f, account: account, words: p.words[:0]}
	if account.origins {
		if _, ok := conversationFact(f); ok {
			p.origins.see(f)
		}
	}
	at := len(rows.Deliveries)
	for i := range account.targets {
		t := &account.targets[i]
		if kind == "endpoint" && (t.id == subject || t.fault != nil || t.mute) {
			// An endpoint is told nothing of itself. And one whose dialect nobody
			// speaks must not stand in the way of another's being deleted.
			continue
		}
		wanted, skipped := p.wants(t, f.Position, again, rows)
		if !wanted {
			continue
		}
		n := len(rows.Deliveries)
		if err := p.planOne(ctx, &c, t, rows); err != nil {
			return err
		}
		if skipped {
			skip(rows.Deliveries[n:], p.now)
		}
	}
	p.words = c.words
	if p.committed != nil {
		p.planned = append(p.planned, rows.Deliveries[at:]...)
		if again {
			p.planned = slices.DeleteFunc(p.planned, func(d webhooks.Delivery) bool { return d.State != webhooks.Pending })
		}
	}
	return nil
}

// wants reports whether the plan plans an event for a target. What it had planned
// before the endpoint began elsewhere, had it not been parked, it plans as skipped:
// that is what would have become of it, and a backfill that comes to it sends it.
func (p *Plan) wants(t *planTarget, position int64, again bool, rows *Rows) (wanted, skipped bool) {
	if t.from <= position && !t.leaves(position, again, rows) {
		return true, false
	}
	skipped = again && p.behind.owed(t, position)
	return skipped, skipped
}

// planOne plans for one target. What makes a dialect panic is left out if the
// endpoint was deleted since: it would be cancelled, and must not keep others from
// theirs.
func (p *Plan) planOne(ctx context.Context, c *candidate, t *planTarget, rows *Rows) error {
	if t.gone {
		at := len(rows.Deliveries)
		defer func() {
			if recover() != nil {
				rows.Deliveries = rows.Deliveries[:at]
			}
		}()
	}
	return p.plan(ctx, c, t, rows)
}

// skip ends deliveries that are planned, and not to be sent.
func skip(ds []webhooks.Delivery, now time.Time) {
	for i := range ds {
		ds[i].State, ds[i].Reason, ds[i].EndedAt = webhooks.Cancelled, webhooks.ReasonSkipped, &now
	}
}

func (p *Plan) plan(ctx context.Context, c *candidate, t *planTarget, rows *Rows) error {
	if t.fault != nil {
		return t.fault
	}
	asked := false
	for _, word := range c.wordsOf(t.dialect) {
		if !webhooks.Wants(t.events, c.Type, word) {
			continue
		}
		if t.filters != nil && !asked {
			pass, err := p.pass(ctx, c, t.filters)
			if err != nil {
				return err
			}
			if !pass {
				return nil
			}
			asked = true
		}
		deliveryID, webhookID := webhooks.IDs(t.id, c.ID, word.Name)
		d := webhooks.Delivery{
			ID: deliveryID, WebhookID: webhookID, EndpointID: t.id, Account: c.Recorded.Account, Stream: c.Stream, Position: c.Position, Version: c.Version,
			EventID: c.ID, Event: c.Type, Name: word.Name, Dialect: t.dialect.Name(), History: t.view,
			State: webhooks.Pending, DueAt: c.Time, CreatedAt: c.Time,
		}
		d.Lane = webhooks.LaneOf(t.ordering, &d)
		rows.Deliveries = append(rows.Deliveries, d)
	}
	return nil
}
