package projections

import (
	"context"
	"fmt"
	"slices"

	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// originCache bounds the conversations whose inbox and channel are remembered
// for filters; an entry is two short strings.
const originCache = 16_384

// Plan turns events into deliveries: one for each event, endpoint that wants
// it, and name that the endpoint's dialect has for it. It remembers the
// endpoints as they were at its own place in the log, so that what is planned
// follows from the log alone, and planning twice plans nothing new.
type Plan struct {
	log       eventstore.Store
	codec     *eventstore.Codec
	store     Store
	dialects  *webhooks.Dialects
	endpoints map[string]EndpointRow    // by stream
	accounts  map[string][]EndpointRow  // those that are not deleted, by account
	origins   map[string][2]string      // inbox and channel by stream
	committed func([]webhooks.Delivery) // told of what was planned, after its commit
	planned   []webhooks.Delivery
}

// NewPlan returns the webhook plan. committed, if not nil, is told of planned
// deliveries in log order, after they were committed.
func NewPlan(
	log eventstore.Store, codec *eventstore.Codec, store Store, dialects *webhooks.Dialects,
	committed func([]webhooks.Delivery),
) *Plan {
	return &Plan{log: log, codec: codec, store: store, dialects: dialects, committed: committed}
}

// Name returns "webhooks".
func (*Plan) Name() string { return "webhooks" }

// Load folds the endpoints up to the checkpoint; one that is parked here, up to
// where it stands.
func (p *Plan) Load(ctx context.Context, checkpoint int64) error {
	p.endpoints = make(map[string]EndpointRow)
	p.origins = make(map[string][2]string)
	p.planned = nil
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
	p.accounts = make(map[string][]EndpointRow)
	for _, row := range p.endpoints {
		if row.ID != "" && !row.Deleted {
			p.accounts[row.Account.ID] = append(p.accounts[row.Account.ID], row)
		}
	}
	for _, rows := range p.accounts {
		slices.SortFunc(rows, func(a, b EndpointRow) int { return int(a.Number - b.Number) })
	}
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
	if e, ok := f.Event.(endpoint.Event); ok {
		p.endpoints[f.Stream] = p.endpoints[f.Stream].Evolve(f, e)
		p.index()
		return nil
	}
	at := len(rows.Deliveries)
	for _, ep := range p.accounts[f.Recorded.Account] {
		if ep.Number > f.Position {
			continue // f was parked when the endpoint was registered: it is older
		}
		if err := p.plan(ctx, f, ep, rows); err != nil {
			return err
		}
	}
	p.planned = append(p.planned, rows.Deliveries[at:]...)
	return nil
}

func (p *Plan) plan(ctx context.Context, f webhooks.Fact, ep EndpointRow, rows *Rows) error {
	dialect, err := p.dialects.Find(ep.Settings.Dialect)
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", ep.ID, err)
	}
	for _, word := range dialect.Words(f.Event) {
		if !webhooks.Wants(ep.Settings.Events, f.Type, word) {
			continue
		}
		pass, err := p.pass(ctx, f, ep.Settings.Filters)
		if err != nil {
			return err
		}
		if !pass {
			return nil
		}
		d := webhooks.Delivery{
			ID: webhooks.DeliveryID(ep.ID, f.ID, word.Name), WebhookID: webhooks.ID(ep.ID, f.ID, word.Name),
			EndpointID: ep.ID, Account: f.Recorded.Account, Stream: f.Stream, Position: f.Position, Version: f.Version,
			EventID: f.ID, Event: f.Type, Name: word.Name, Dialect: dialect.Name(), History: ep.Settings.History,
			State: webhooks.Pending, DueAt: f.Time, CreatedAt: f.Time,
		}
		d.Lane = webhooks.LaneOf(ep.Settings, &d)
		rows.Deliveries = append(rows.Deliveries, d)
	}
	return nil
}

// pass reports whether the filters let the conversation of f through. Where it
// came in is said by its first event.
func (p *Plan) pass(ctx context.Context, f webhooks.Fact, filters endpoint.Filters) (bool, error) {
	if len(filters.Inboxes) == 0 && len(filters.Channels) == 0 {
		return true, nil
	}
	if _, ok := conversationFact(f); !ok {
		return true, nil
	}
	origin, known := p.origins[f.Stream]
	if !known {
		for r, err := range p.log.ReadStream(ctx, f.Stream, 0) {
			if err != nil {
				return false, err
			}
			event, err := p.codec.Decode(&r)
			if err != nil {
				return false, err
			}
			if created, ok := event.(conversation.Created); ok {
				origin = [2]string{created.Inbox.ID, created.Channel}
			}
			break
		}
		if len(p.origins) >= originCache {
			clear(p.origins)
		}
		p.origins[f.Stream] = origin
	}
	return filters.Pass(origin[0], origin[1]), nil
}
