package projections_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// echo has each fact's own name for it, an opt-in if it is about an endpoint;
// double has two names for a message.
type echo struct {
	name   string
	double bool
}

func (d echo) Name() string { return d.name }

func (d echo) Vocabulary() []webhooks.EventType {
	return []webhooks.EventType{{Word: webhooks.Word{Name: "first"}}, {Word: webhooks.Word{Name: "second"}}}
}

func (d echo) Guide() string { return "" }

func (d echo) Words(e domain.Event) []webhooks.Word {
	if _, posted := e.(conversation.MessagePosted); d.double && posted {
		return []webhooks.Word{{Name: "first"}, {Name: "second"}}
	}
	_, optIn := e.(endpoint.Event)
	return []webhooks.Word{{Name: e.EventType(), OptIn: optIn}}
}

func (d echo) AppendBody(dst []byte, e *webhooks.PublicEvent) ([]byte, error) {
	return append(dst, e.Name...), nil
}

var echoes = webhooks.NewDialects(echo{"echo@1", false}, echo{"double@1", true}, echo{"echo@2", false})

// plan returns a group that plans, with the endpoints' rows or without.
func (g *rig) plan(told func([]webhooks.Delivery)) *projections.Group {
	return g.group(projections.NewEndpoints(g.store, nil), projections.NewPlan(g.log, g.codec, g.store, echoes, told))
}

// planned returns the positions and names planned for an endpoint.
func (s *rows) planned(stream string) []string {
	_, id := eventstore.SplitStream(stream)
	out := []string{}
	for _, d := range s.deliveries {
		if d.EndpointID == id {
			out = append(out, fmt.Sprint(d.Position, " ", d.Name))
		}
	}
	return out
}

func TestPlanPicks(t *testing.T) {
	t.Parallel()
	set := func(dialect string, events ...string) endpoint.Settings {
		return endpoint.Settings{Dialect: dialect, Events: events}
	}
	filtered := func(inboxes, channels []string) endpoint.Settings {
		return endpoint.Settings{
			Dialect: "echo@1", Events: []string{"*"}, Filters: endpoint.Filters{Inboxes: inboxes, Channels: channels},
		}
	}
	const (
		createdAt = "2 conversation.created"
		postedAt  = "3 conversation.message_posted"
		contactAt = "4 contact.created"
	)
	for name, c := range map[string]struct {
		settings endpoint.Settings
		want     []string
	}{
		"everything":               {set("echo@1", "*"), []string{createdAt, postedAt, contactAt}},
		"nothing":                  {set("echo@1"), []string{}},
		"one fact":                 {set("echo@1", "conversation.created"), []string{createdAt}},
		"a group":                  {set("echo@1", "conversation.*"), []string{createdAt, postedAt}},
		"another group":            {set("echo@1", "contact.*"), []string{contactAt}},
		"two ways":                 {set("echo@1", "*", "conversation.*", "conversation.created"), []string{createdAt, postedAt, contactAt}},
		"two names":                {set("double@1", "*"), []string{createdAt, "3 first", "3 second", contactAt}},
		"two names, by the fact":   {set("double@1", "conversation.message_posted"), []string{"3 first", "3 second"}},
		"one of two names":         {set("double@1", "second"), []string{"3 second"}},
		"a bare dialect":           {set("echo", "conversation.created"), []string{createdAt}},
		"its inbox":                {filtered([]string{"other", "shop"}, nil), []string{createdAt, postedAt, contactAt}},
		"another inbox":            {filtered([]string{"other"}, nil), []string{contactAt}},
		"its channel":              {filtered(nil, []string{"web"}), []string{createdAt, postedAt, contactAt}},
		"another channel":          {filtered(nil, []string{"mail"}), []string{contactAt}},
		"its inbox, other channel": {filtered([]string{"shop"}, []string{"mail"}), []string{contactAt}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig()
			ep := g.stream("endpoint")
			g.add(t, ep, registered(c.settings))
			stream := g.stream("conversation")
			g.add(t, stream, created(), posted("m", jon, "hello"))
			g.add(t, g.stream("contact"), contact.Created{Profile: jon})
			catchUp(t, g.plan(nil))
			if diff := cmp.Diff(c.want, g.store.planned(ep)); diff != "" {
				t.Errorf("planned (-want +got):\n%s", diff)
			}
			for _, d := range g.store.deliveries {
				if d.Dialect != "echo@1" && d.Dialect != "double@1" && d.Dialect != "echo@2" {
					t.Errorf("dialect %q is not pinned to a version", d.Dialect)
				}
			}
		})
	}
}

func TestPlannedDelivery(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, stream := g.stream("endpoint"), g.stream("conversation")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "double@1", Events: []string{"second"}, History: "last:3"}))
	g.add(t, stream, created(), posted("m", jon, "hello"))
	var told []webhooks.Delivery
	catchUp(t, g.plan(func(ds []webhooks.Delivery) { told = append(told, ds...) }))
	_, id := eventstore.SplitStream(ep)
	var event eventstore.Recorded
	for r := range g.log.ReadStream(t.Context(), stream, 1) {
		event = r
	}
	want := []webhooks.Delivery{{
		ID: webhooks.DeliveryID(id, event.ID, "second"), WebhookID: webhooks.ID(id, event.ID, "second"),
		EndpointID: id, Account: "default", Stream: stream, Lane: stream, Position: 3, Version: 2, EventID: event.ID,
		Event: "conversation.message_posted", Name: "second", Dialect: "double@1", History: "last:3",
		State: webhooks.Pending, DueAt: event.Time, CreatedAt: event.Time,
	}}
	if diff := cmp.Diff(want, g.store.deliveries); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestPlanTellsOthersOfAnEndpoint: what happens to an endpoint is for the other
// endpoints of its account that ask for it, and "*" does not ask.
func TestPlanTellsOthersOfAnEndpoint(t *testing.T) {
	t.Parallel()
	g := newRig()
	streams := map[string]string{}
	for _, name := range []string{"echo@1", "*", "endpoint.*", "endpoint.failing", "conversation.*", "itself", "late", "unheard-of@1"} {
		streams[name] = g.stream("endpoint")
	}
	join := func(name, dialect string, events ...string) {
		g.add(t, streams[name], registered(endpoint.Settings{Dialect: dialect, Events: events}))
	}
	join("*", "echo@1", "*")                                // 1
	join("endpoint.*", "echo@1", "endpoint.*")              // 2
	join("endpoint.failing", "echo@1", "endpoint.failing")  // 3
	join("conversation.*", "echo@1", "conversation.*")      // 4
	join("unheard-of@1", "unheard-of@1", "endpoint.*", "*") // 5: stands in nobody's way
	join("itself", "echo@1", "endpoint.*", "*")             // 6
	itself := streams["itself"]
	g.add(t, itself, endpoint.Failing{Since: noon}, endpoint.Disabled{}, endpoint.Deleted{}) // 7, 8, 9
	join("late", "echo@1", "endpoint.*")                                                     // 10
	name, schema, data, err := g.codec.Encode(endpoint.Deleted{})
	if err != nil {
		t.Fatal(err)
	}
	g.append(t, "another", g.stream("endpoint"), eventstore.Draft{ID: g.id(), Type: name, Schema: schema, Time: noon, Data: data})
	group := g.plan(nil)
	catchUp(t, group)
	for _, parked := range group.Parked() {
		if kind, _ := eventstore.SplitStream(parked.Stream); parked.Position <= 10 && kind == "endpoint" {
			t.Errorf("parked: %+v", parked)
		}
	}
	want := map[string][]string{
		"endpoint.*": {
			"3 endpoint.registered", "4 endpoint.registered", "5 endpoint.registered", "6 endpoint.registered",
			"7 endpoint.failing", "8 endpoint.disabled", "9 endpoint.deleted", "10 endpoint.registered",
		},
		"endpoint.failing": {"7 endpoint.failing"},
	}
	for name, stream := range streams {
		if diff := cmp.Diff(append([]string{}, want[name]...), g.store.planned(stream)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, d := range g.store.deliveries {
		if d.Stream != d.Lane || d.Event != d.Name {
			t.Errorf("planned %+v", d)
		}
	}
}

// TestPlanPinsTheView: how much of a conversation a body shows, and in how many
// bytes, is what the endpoint was set to then.
func TestPlanPinsTheView(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]endpoint.Settings{
		"full":                   {History: "full"},
		"full,public":            {History: "full", Filters: endpoint.Filters{Private: new(false)}},
		"last:2,max:65536":       {History: "last:2", MaxBodyBytes: 1 << 16},
		"none,public,max:4096":   {History: "none", MaxBodyBytes: 4096, Filters: endpoint.Filters{Private: new(false)}},
		"last:nothing of a kind": {History: "last:nothing of a kind", MaxBodyBytes: 4096}, // each delivery says so
	} {
		g := newRig()
		s.Dialect, s.Events = "echo@1", []string{"conversation.created"}
		g.add(t, g.stream("endpoint"), registered(s))
		g.add(t, g.stream("conversation"), created())
		catchUp(t, g.plan(nil))
		if len(g.store.deliveries) != 1 || g.store.deliveries[0].History != want {
			t.Errorf("planned %+v, want the view %s", g.store.deliveries, want)
		}
	}
}

// TestPlanFollowsEndpoints plans with endpoints as they were at each event.
func TestPlanFollowsEndpoints(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, stream := g.stream("endpoint"), g.stream("conversation")
	settings := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, History: "none"}
	changed := settings
	changed.History = "full"
	say := func() int64 { return g.add(t, stream, posted(fmt.Sprint(g.head(t)), jon, "hello")) }

	g.add(t, stream, created()) // before there was anybody
	g.add(t, ep, registered(settings))
	first := say()
	g.add(t, ep, endpoint.Updated{Settings: changed})
	second := say()
	g.add(t, ep, endpoint.Disabled{Reason: "gone"})
	third := say() // waits for the endpoint
	g.add(t, ep, endpoint.Enabled{}, endpoint.SecretRotated{PreviousUntil: noon})
	fourth := say()
	other := g.stream("conversation")
	name, schema, data, err := g.codec.Encode(created())
	if err != nil {
		t.Fatal(err)
	}
	g.append(t, "another", other, eventstore.Draft{ID: g.id(), Type: name, Schema: schema, Time: noon, Data: data})
	g.add(t, ep, endpoint.Deleted{})
	say()

	want := []string{}
	for i, position := range []int64{first, second, third, fourth} {
		history := "full"
		if i == 0 {
			history = "none"
		}
		want = append(want, fmt.Sprint(position, " ", history))
	}
	got := func(s *rows) []string {
		out := []string{}
		for _, d := range s.deliveries {
			out = append(out, fmt.Sprint(d.Position, " ", d.History))
		}
		return out
	}
	catchUp(t, g.plan(nil))
	if diff := cmp.Diff(want, got(g.store)); diff != "" {
		t.Errorf("in one go (-want +got):\n%s", diff)
	}

	// Planned again, from the start, it is the same to the last id.
	again := &rig{log: g.log, codec: g.codec, store: newRows()}
	catchUp(t, again.plan(nil))
	if diff := cmp.Diff(g.store.deliveries, again.store.deliveries); diff != "" {
		t.Errorf("planned again (-first +again):\n%s", diff)
	}

	// The plan alone starts again behind each event, while the rows of the
	// endpoints are ahead of it, or were never made.
	for _, made := range []bool{true, false} {
		again = &rig{log: g.log, codec: g.codec, store: newRows()}
		if made {
			catchUp(t, again.group(projections.NewEndpoints(again.store, nil)))
		}
		for range g.head(t) {
			group := again.group(projections.NewPlan(again.log, again.codec, again.store, echoes, nil))
			if err := group.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			for r, err := range again.log.ReadLog(t.Context(), group.Position()) {
				if err != nil {
					t.Fatal(err)
				}
				group.Project(t.Context(), &r)
				break
			}
			if err := group.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(g.store.deliveries, again.store.deliveries); diff != "" {
			t.Errorf("with the endpoints' rows made: %t (-in one go +event by event):\n%s", made, diff)
		}
	}
}

// TestPlanWithAParkedEndpoint has an endpoint change in a way that this program
// does not know: it stays as it was, over a restart too, and others go on.
func TestPlanWithAParkedEndpoint(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, whole, stream := g.stream("endpoint"), g.stream("endpoint"), g.stream("conversation")
	settings := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}
	g.add(t, ep, registered(settings))
	g.add(t, whole, registered(settings))
	g.append(t, "default", ep, eventstore.Draft{
		ID: g.id(), Type: "endpoint.moved", Schema: 1, Time: noon, Data: []byte(`{}`),
	})
	g.add(t, ep, endpoint.Deleted{}) // waits behind it
	group := g.plan(nil)
	catchUp(t, group)
	if parked := group.Parked(); len(parked) != 2 || parked[0].Stream != ep || parked[1].Stream != ep {
		t.Fatalf("parked are %+v, want the endpoint in both", parked)
	}
	g.add(t, stream, created())
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	catchUp(t, g.plan(nil))
	g.add(t, stream, posted("m", jon, "hello"))
	catchUp(t, g.plan(nil))
	want := []string{"5 conversation.created", "6 conversation.message_posted"}
	for _, stream := range []string{ep, whole} {
		if diff := cmp.Diff(want, g.store.planned(stream)); diff != "" {
			t.Errorf("planned for %s (-want +got):\n%s", stream, diff)
		}
	}
}

// TestPlanOfAnEndpointNotTaken starts again while the endpoints projection has
// the endpoint parked from its first event on, so that there is no row of it.
func TestPlanOfAnEndpointNotTaken(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, stream := g.stream("endpoint"), g.stream("conversation")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}))
	g.add(t, stream, created())
	broken := &counting{name: "endpoints", poison: func(r *eventstore.Recorded) error {
		if r.Stream == ep {
			return errInjected
		}
		return nil
	}}
	with := func() *projections.Group {
		return g.group(broken, projections.NewPlan(g.log, g.codec, g.store, echoes, nil))
	}
	catchUp(t, with())
	g.add(t, stream, posted("m", jon, "hello"))
	catchUp(t, with())
	want := []string{"2 conversation.created", "3 conversation.message_posted"}
	if diff := cmp.Diff(want, g.store.planned(ep)); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
}

// TestPlanRetriesForThoseOfThen retries an event after an endpoint was
// registered that is younger than it.
func TestPlanRetriesForThoseOfThen(t *testing.T) {
	t.Parallel()
	g := newRig()
	then, since, stream := g.stream("endpoint"), g.stream("endpoint"), g.stream("conversation")
	settings := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}
	g.add(t, then, registered(settings))
	g.add(t, stream, created())
	broken := settings
	broken.Dialect = "unheard-of@1"
	faulty := g.stream("endpoint")
	g.add(t, faulty, registered(broken))
	g.add(t, stream, posted("m", jon, "hello")) // cannot be planned
	g.add(t, faulty, endpoint.Deleted{})
	g.add(t, since, registered(settings))
	g.add(t, stream, posted("n", jon, "hello"))
	group := g.plan(nil)
	catchUp(t, group)
	if parked := group.Parked(); len(parked) != 1 || parked[0].Position != 4 {
		t.Fatalf("parked are %+v, want position 4", parked)
	}
	if diff := cmp.Diff([]string{"2 conversation.created"}, g.store.planned(then)); diff != "" {
		t.Errorf("planned before the retry (-want +got):\n%s", diff)
	}
	if err := group.Retry(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	want := []string{"2 conversation.created", "4 conversation.message_posted", "7 conversation.message_posted"}
	if diff := cmp.Diff(want, g.store.planned(then)); diff != "" {
		t.Errorf("planned for the older endpoint (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[2:], g.store.planned(since)); diff != "" {
		t.Errorf("planned for the younger endpoint (-want +got):\n%s", diff)
	}
}

// TestEndpointRows folds endpoints and says which of them are others now.
func TestEndpointRows(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	_, id := eventstore.SplitStream(ep)
	settings := endpoint.Settings{URL: "https://a.example", Dialect: "echo@1", Events: []string{"*"}}
	moved := settings
	moved.URL = "https://b.example"
	at := noon.Add(clockStep)
	want := projections.EndpointRow{
		ID: id, Account: domain.Account{ID: "default"}, Settings: settings, Number: 1, CreatedAt: at, UpdatedAt: at,
	}
	var changed []string
	others := 0 // of the steps that make it another; the rest say what came of deliveries
	group := g.group(projections.NewEndpoints(g.store, func(id string) { changed = append(changed, id) }))
	for i, step := range []struct {
		event  domain.Event
		change func()
	}{
		{registered(settings), func() {}},
		{endpoint.Updated{Settings: moved}, func() { want.Settings = moved }},
		{endpoint.Failing{Since: noon}, nil},
		{endpoint.Disabled{Reason: "410", Cause: endpoint.ReceiverGone}, func() {
			want.Disabled, want.Reason, want.Cause = true, "410", endpoint.ReceiverGone
		}},
		{endpoint.Exhausted{DeliveryID: "d"}, nil},
		{endpoint.SecretRotated{PreviousUntil: noon}, func() {}},
		{endpoint.Enabled{}, func() { want.Disabled, want.Reason, want.Cause, want.EnabledAt = false, "", "", at }},
		{endpoint.Recovered{Since: noon}, nil},
		{endpoint.Disabled{}, func() { want.Disabled, want.Cause = true, endpoint.ByHand }}, // recorded before there were causes
		{endpoint.Deleted{}, func() { want.Deleted = true }},
	} {
		g.add(t, ep, step.event)
		g.add(t, g.stream("conversation"), created())
		if step.change != nil {
			step.change()
			others++
		}
		want.Version = int64(i) + 1
		if i%2 == 0 {
			group = g.group(projections.NewEndpoints(g.store, func(id string) { changed = append(changed, id) }))
		}
		catchUp(t, group)
		got, err := g.store.EndpointRows(t.Context())
		if diff := cmp.Diff([]projections.EndpointRow{want}, got); err != nil || diff != "" {
			t.Errorf("after %s, error %v (-want +got):\n%s", step.event.EventType(), err, diff)
		}
		if len(changed) != others || changed[others-1] != id {
			t.Errorf("after %s these were said to be others now: %v", step.event.EventType(), changed)
		}
	}

	// Begun anew over the rows that there are, each row says what it said then.
	again := &rig{log: g.log, codec: g.codec, store: g.store}
	clear(again.store.checkpoints)
	group = again.group(projections.NewEndpoints(again.store, nil))
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for r, err := range again.log.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		group.Project(t.Context(), &r)
		break
	}
	if err := group.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := again.store.EndpointRows(t.Context())
	if err != nil || len(got) != 1 || got[0].Deleted || got[0].Version != 1 || !slices.Equal(got[0].Settings.Events, settings.Events) {
		t.Errorf("begun anew the row is %+v, error %v", got, err)
	}
}
