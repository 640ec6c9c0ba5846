package projections

import (
	"context"
	"fmt"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// Endpoints lists the endpoints of every account as they are now. There are
// few of them, so that all of them are remembered.
type Endpoints struct {
	store Store
	known map[string]EndpointRow // by stream
}

// NewEndpoints returns the endpoints projection.
func NewEndpoints(store Store) *Endpoints {
	return &Endpoints{store, make(map[string]EndpointRow)}
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
	for _, row := range rows {
		p.known[eventstore.StreamName("endpoint", row.ID)] = row
	}
	return nil
}

// Settle does nothing: Load is called after a page was dropped.
func (*Endpoints) Settle(bool) {}

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
	row = row.evolve(f, e)
	p.known[f.Stream] = row
	rows.Endpoints[row.ID] = row
	return nil
}

func (row EndpointRow) evolve(f webhooks.Fact, e endpoint.Event) EndpointRow {
	row.Version, row.UpdatedAt = f.Version, f.Time
	switch e := e.(type) {
	case endpoint.Registered:
		_, row.ID = splitStream(f)
		row.Account, row.Settings, row.Number, row.CreatedAt = e.Account, e.Settings, f.Position, f.Time
		if row.Account.ID == "" {
			row.Account.ID = f.Recorded.Account
		}
	case endpoint.Updated:
		row.Settings = e.Settings
	case endpoint.SecretRotated:
	case endpoint.Disabled:
		row.Disabled, row.Reason = true, e.Reason
	case endpoint.Enabled:
		row.Disabled, row.Reason = false, ""
	case endpoint.Deleted:
		row.Deleted = true
	default:
		panic("projections: an event outside the closed set")
	}
	return row
}

func splitStream(f webhooks.Fact) (kind, id string) { return eventstore.SplitStream(f.Stream) }
