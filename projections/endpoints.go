package projections

import (
	"cmp"
	"context"
	"fmt"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Endpoints lists the endpoints of every account as they are now. There are
// few of them, so that all of them are remembered.
type Endpoints struct {
	store   Store
	known   map[string]EndpointRow // by stream
	changed func(id string)        // told after the commit
	touched []string
}

// NewEndpoints returns the endpoints projection. changed, if not nil, is told
// of each endpoint that is another now, after that was committed.
func NewEndpoints(store Store, changed func(id string)) *Endpoints {
	return &Endpoints{store: store, known: make(map[string]EndpointRow), changed: changed}
}

// Name returns "endpoints".
func (*Endpoints) Name() string { return "endpoints" }

// Load reads the rows that there are.
func (p *Endpoints) Load(ctx context.Context, _ int64) error {
	rows, err := p.store.EndpointRows(ctx)
	if err != nil {
		return err
	}
	clear(p.known)
	p.touched = nil
	for _, row := range rows {
		p.known[eventstore.StreamName("endpoint", row.ID)] = row
	}
	return nil
}

// Settle says what has changed; Load is called after a page was dropped.
func (p *Endpoints) Settle(committed bool) {
	if committed && p.changed != nil {
		for _, id := range p.touched {
			p.changed(id)
		}
	}
	p.touched = nil
}

// Project folds an endpoint's event into its row.
func (p *Endpoints) Project(_ context.Context, f webhooks.Fact, rows *Rows) error {
	e, ok := f.Event.(endpoint.Event)
	if !ok {
		return nil
	}
	row, known := p.known[f.Stream]
	if !known && f.Version > 1 {
		return fmt.Errorf("version %d of %s comes before its first", f.Version, f.Stream)
	}
	row = row.Evolve(f, e)
	p.known[f.Stream] = row
	if !isNote(e) {
		p.touched = append(p.touched, row.ID)
	}
	rows.Endpoints[row.ID] = row
	return nil
}

// isNote reports whether e only says what came of deliveries: the endpoint is as
// it was, and is sent what it was sent before.
func isNote(e endpoint.Event) bool {
	switch e.(type) {
	case endpoint.Failing, endpoint.Recovered, endpoint.Exhausted:
		return true
	case endpoint.Registered, endpoint.Updated, endpoint.SecretRotated, endpoint.Disabled, endpoint.Enabled, endpoint.Deleted:
	}
	return false
}

// Evolve returns the row after the fact e that f records: the endpoint as of it.
func (row EndpointRow) Evolve(f webhooks.Fact, e endpoint.Event) EndpointRow {
	before := row.UpdatedAt
	row.Version, row.UpdatedAt = f.Version, f.Time
	switch e := e.(type) {
	case endpoint.Registered:
		_, id := splitStream(f)
		row = EndpointRow{ // of a row that was there before the projection began anew nothing is left
			ID: id, Account: e.Account, Settings: e.Settings, Number: f.Position,
			Version: f.Version, CreatedAt: f.Time, UpdatedAt: f.Time,
		}
		if row.Account.ID == "" {
			row.Account.ID = f.Recorded.Account
		}
		row = row.begins(f, e.Start)
	case endpoint.Updated:
		row.Settings = e.Settings
	case endpoint.SecretRotated:
	case endpoint.Disabled:
		row.Disabled, row.Reason, row.Cause = true, e.Reason, cmp.Or(e.Cause, endpoint.ByHand)
	case endpoint.Enabled:
		row.Disabled, row.Reason, row.Cause, row.EnabledAt = false, "", "", f.Time
		row = row.begins(f, e.Start)
	case endpoint.Failing, endpoint.Recovered, endpoint.Exhausted:
		row.UpdatedAt = before
	case endpoint.Deleted:
		row.Deleted = true
	default:
		panic("projections: an event outside the closed set")
	}
	return row
}

// begins returns the row with where the endpoint begins in the log, if the fact f
// says so.
func (row EndpointRow) begins(f webhooks.Fact, s *endpoint.Start) EndpointRow {
	if s == nil {
		return row
	}
	start := *s
	if start.From == 0 {
		start.From = f.Position + 1
	}
	row.Start, row.Backfill = &start, webhooks.BackfillID(f.ID)
	return row
}

func splitStream(f webhooks.Fact) (kind, id string) { return eventstore.SplitStream(f.Stream) }
