package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

// ErrNoEndpoint says that there is no endpoint with that id.
var ErrNoEndpoint = errors.New("there is no such endpoint")

// A Course is what one endpoint is owed, event by event, whatever was planned for
// it: for those who tell it the past. It plans as Plan does, with the settings
// that the endpoint had at the time; what happened before it was registered, it
// is owed as it was registered. Settings in a dialect that nobody speaks give way
// to those that came next.
//
// One goroutine at a time uses a Course. It knows the endpoint as it was when
// the course was made, and what it was asked about the endpoint since.
type Course struct {
	life

	plan  Plan // of the one endpoint
	asNow bool
	now   int // index into steps, -1 before the first use
	rows  Rows
}

// NewCourse returns the course of an endpoint. It returns ErrNoEndpoint if there
// is none.
func NewCourse(
	ctx context.Context, log eventstore.Store, codec *eventstore.Codec, dialects *webhooks.Dialects, endpointID string,
) (*Course, error) {
	c := &Course{
		plan: Plan{log: log, codec: codec, dialects: dialects, origins: newOrigins(log, codec)},
		life: life{stream: eventstore.StreamName("endpoint", endpointID)}, now: -1,
	}
	if err := c.refresh(ctx); err != nil {
		return nil, err
	}
	if len(c.steps) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoEndpoint, endpointID)
	}
	return c, nil
}

// refresh takes in what has become of the endpoint since.
func (c *Course) refresh(ctx context.Context) error {
	c.now = -1 // settings that nobody could follow may have been replaced
	return c.read(ctx, c.plan.log, c.plan.codec, Newest)
}

// Endpoint returns the endpoint as far as it is known.
func (c *Course) Endpoint() EndpointRow { return c.steps[len(c.steps)-1].row }

// Begin returns the position of the first event that the endpoint is sent: the one
// behind its registration, or where it ever began before that.
func (c *Course) Begin() int64 {
	begin := c.steps[0].row.Number + 1
	for i := range c.steps {
		if start := c.steps[i].row.Start; start != nil {
			begin = min(begin, start.From)
		}
	}
	return begin
}

// isNews reports whether f changes what the endpoint is owed and was not there
// when the course was made.
func (c *Course) isNews(f webhooks.Fact) bool {
	e, ok := f.Event.(endpoint.Event)
	return ok && f.Stream == c.stream && f.Position > c.steps[len(c.steps)-1].behind && !isNote(e)
}

// AsNow makes the settings that the endpoint has now count for all times.
func (c *Course) AsNow() { c.steps, c.now, c.asNow = c.steps[len(c.steps)-1:], -1, true }

// Forget drops what is remembered of conversations, for one who has several
// courses and is done with a stream.
func (c *Course) Forget() { c.plan.origins = newOrigins(c.plan.log, c.plan.codec) }

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
// the log they cost least, and those of the endpoint itself that are newer than
// the course take it on. An event at which the dialect panics is an error: the plan
// has parked it, too.
func (c *Course) Owed(ctx context.Context, f webhooks.Fact) (_ []webhooks.Delivery, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if at := c.at(f.Position); at != c.now {
		account := &planAccount{}
		if t, there := c.plan.target(&c.life, at); there {
			account.add(t)
		}
		c.plan.accounts = map[string]*planAccount{c.steps[at].row.Account.ID: account}
		c.now = at
	}
	c.rows.Deliveries = c.rows.Deliveries[:0]
	if err := c.plan.planFor(ctx, f, false, &c.rows); err != nil {
		return nil, err
	}
	if e, ok := f.Event.(endpoint.Event); ok && f.Stream == c.stream && f.Version == c.row.Version+1 && !c.asNow {
		c.take(f, e)
		c.now = -1
	}
	return c.rows.Deliveries, nil
}
