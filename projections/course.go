package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// ErrNoEndpoint says that there is no endpoint with that id.
var ErrNoEndpoint = errors.New("there is no such endpoint")

// A Course is what one endpoint is owed, event by event, whatever was planned for
// it: for those who tell it the past. It plans as Plan does, with the settings
// that the endpoint had at the time; what happened before it was registered, it
// is owed as it was registered.
//
// One goroutine at a time uses a Course. It knows the endpoint as it was when
// the course was made.
type Course struct {
	plan   Plan // of the one endpoint
	stream string
	steps  []step
	now    int // index into steps, -1 before the first use
	rows   Rows
}

// A step is an endpoint as it was behind a position.
type step struct {
	behind int64
	row    EndpointRow
}

// NewCourse returns the course of an endpoint. It returns ErrNoEndpoint if there
// is none.
func NewCourse(
	ctx context.Context, log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects, endpointID string,
) (*Course, error) {
	c := &Course{
		plan:   Plan{log: log, codec: codec, dialects: dialects, origins: newOrigins(log, codec)},
		stream: eventstore.StreamName("endpoint", endpointID), now: -1,
	}
	var row EndpointRow
	for r, err := range log.ReadStream(ctx, c.stream, 0) {
		if err != nil {
			return nil, err
		}
		event, err := codec.Decode(&r)
		if err != nil {
			return nil, err
		}
		e, ok := event.(endpoint.Event)
		if !ok {
			return nil, fmt.Errorf("position %d: %s does not belong here", r.Position, r.Type)
		}
		row = row.Evolve(webhooks.Fact{Recorded: &r, Event: event}, e)
		if !isNote(e) {
			c.steps = append(c.steps, step{r.Position, row})
		}
	}
	if len(c.steps) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoEndpoint, endpointID)
	}
	return c, nil
}

// Endpoint returns the endpoint as it was when the course was made.
func (c *Course) Endpoint() EndpointRow { return c.steps[len(c.steps)-1].row }

// AsNow makes the settings that the endpoint has now count for all times.
func (c *Course) AsNow() { c.steps, c.now = c.steps[len(c.steps)-1:], -1 }

// Speak makes the endpoint be told everything in one version of its dialect,
// whatever version it is set to. A version that does not exist is an error, which
// names those that do.
func (c *Course) Speak(version int) error {
	steps := slices.Clone(c.steps)
	for i := range steps {
		settings := &steps[i].row.Settings
		dialect, err := c.plan.dialects.FindVersion(settings.Dialect, version)
		if err != nil {
			return err
		}
		settings.Dialect = dialect.Name()
	}
	c.steps, c.now = steps, -1
	return nil
}

// Owed returns the deliveries that an event makes for the endpoint, pending and
// due at once, until it is called again. Events may come in any order; in that of
// the log they cost least.
func (c *Course) Owed(ctx context.Context, f webhooks.Fact) ([]webhooks.Delivery, error) {
	// The first step behind which the event lies no longer, less one; what lies
	// before all of them is told as of the first.
	at := max(0, sort.Search(len(c.steps), func(i int) bool { return c.steps[i].behind >= f.Position })-1)
	if at != c.now {
		row := c.steps[at].row
		row.Number = 0 // as if it had always been there
		c.plan.endpoints = map[string]EndpointRow{c.stream: row}
		c.plan.index()
		c.now = at
	}
	c.rows.Deliveries = c.rows.Deliveries[:0]
	if err := c.plan.planFor(ctx, f, &c.rows); err != nil {
		return nil, err
	}
	return c.rows.Deliveries, nil
}
