package projections_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// owed asks a course for everything in the log, in that order of positions.
func owed(t *testing.T, g *rig, c *projections.Course, order func([]eventstore.Recorded)) []webhooks.Delivery {
	t.Helper()
	var log []eventstore.Recorded
	for r, err := range g.log.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, r)
	}
	order(log)
	var out []webhooks.Delivery
	for i := range log {
		event, err := g.codec.Decode(&log[i])
		if err != nil {
			t.Fatal(err)
		}
		ds, err := c.Owed(t.Context(), webhooks.Fact{Recorded: &log[i], Event: event})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, ds...)
	}
	slices.SortFunc(out, func(a, b webhooks.Delivery) int { return webhooks.MarkOf(&a).Compare(webhooks.MarkOf(&b)) })
	return out
}

// TestCourse holds what an endpoint is owed against what was planned for it, and
// asks for what came before it was there.
func TestCourse(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, stream := g.stream("endpoint"), g.stream("conversation")
	settings := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, History: "none", Filters: endpoint.Filters{Labels: []string{"vip"}}}
	changed := settings
	changed.History = "full"
	label := conversation.AttributesChanged{Changes: []domain.Change{{Key: "labels", Current: json.RawMessage(`["vip"]`)}}}
	g.add(t, stream, created(), posted("0", jon, "too early"), label)
	before := g.add(t, stream, posted("1", jon, "before"))
	registeredAt := g.add(t, ep, registered(settings))
	g.add(t, g.stream("endpoint"), registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}})) // somebody else's
	then := g.add(t, stream, posted("2", jon, "then"))
	g.add(t, ep, endpoint.Updated{Settings: changed})
	later := g.add(t, stream, posted("3", jon, "later"))
	catchUp(t, g.plan(nil))
	_, id := eventstore.SplitStream(ep)
	var planned []webhooks.Delivery
	for _, d := range g.store.deliveries {
		if d.EndpointID == id {
			planned = append(planned, d)
		}
	}
	if len(planned) == 0 {
		t.Fatal("nothing was planned")
	}

	for name, order := range map[string]func([]eventstore.Recorded){
		"forwards": func([]eventstore.Recorded) {}, "backwards": slices.Reverse[[]eventstore.Recorded],
	} {
		c, err := projections.NewCourse(t.Context(), g.log, g.codec, echoes, id)
		if err != nil {
			t.Fatal(err)
		}
		if begin := c.Begin(); begin != registeredAt+1 {
			t.Errorf("it begins at %d, want %d", begin, registeredAt+1)
		}
		all := owed(t, g, c, order)
		behind := slices.DeleteFunc(slices.Clone(all), func(d webhooks.Delivery) bool { return d.Position < registeredAt })
		if diff := cmp.Diff(planned, behind); diff != "" {
			t.Errorf("%s (-planned +owed):\n%s", name, diff)
		}
		views := func(ds []webhooks.Delivery) (out []string) {
			for _, d := range ds {
				if d.Event == "conversation.message_posted" {
					out = append(out, fmt.Sprint(d.Position, " ", d.History))
				}
			}
			return out
		}
		want := []string{fmt.Sprint(before, " none"), fmt.Sprint(then, " none"), fmt.Sprint(later, " full")}
		if diff := cmp.Diff(want, views(all)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		c.AsNow()
		want = []string{fmt.Sprint(before, " full"), fmt.Sprint(then, " full"), fmt.Sprint(later, " full")}
		if diff := cmp.Diff(want, views(owed(t, g, c, order))); diff != "" {
			t.Errorf("%s, as it is now (-want +got):\n%s", name, diff)
		}
	}

	g.add(t, ep, endpoint.Deleted{})
	g.add(t, stream, posted("4", jon, "too late"))
	c, err := projections.NewCourse(t.Context(), g.log, g.codec, echoes, id)
	if err != nil || !c.Endpoint().Deleted {
		t.Fatal(c, err)
	}
	if ds := owed(t, g, c, func([]eventstore.Recorded) {}); ds[len(ds)-1].Position != later {
		t.Errorf("a deleted endpoint is owed %+v", ds[len(ds)-1])
	}
	earlier := g.stream("endpoint")
	g.add(t, earlier, endpoint.Registered{Settings: settings, Start: &endpoint.Start{From: before}}, endpoint.Disabled{}, endpoint.Enabled{Start: &endpoint.Start{}})
	_, id = eventstore.SplitStream(earlier)
	if c, err = projections.NewCourse(t.Context(), g.log, g.codec, echoes, id); err != nil || c.Begin() != before {
		t.Errorf("one that began before it was there begins at %d, want %d: %v", c.Begin(), before, err)
	}
	if _, err := projections.NewCourse(t.Context(), g.log, g.codec, echoes, g.id().String()); !errors.Is(err, projections.ErrNoEndpoint) {
		t.Errorf("an endpoint that is not there: %v", err)
	}
}

// TestCourseInAnotherVersion tells an endpoint everything in one version of its
// dialect, as if it had always been set to it.
func TestCourseInAnotherVersion(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep, stream := g.stream("endpoint"), g.stream("conversation")
	settings := endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}
	later := settings
	later.Dialect = "echo@2"
	g.add(t, ep, registered(settings))
	g.add(t, stream, created())
	g.add(t, ep, endpoint.Updated{Settings: later})
	g.add(t, stream, posted("1", jon, "hello"))
	_, id := eventstore.SplitStream(ep)
	c, err := projections.NewCourse(t.Context(), g.log, g.codec, echoes, id)
	if err != nil {
		t.Fatal(err)
	}
	said := func() (out []string) {
		for _, d := range owed(t, g, c, func([]eventstore.Recorded) {}) {
			out = append(out, d.Dialect+" "+d.WebhookID)
		}
		return out
	}
	before := said()
	if len(before) != 2 || !strings.HasPrefix(before[0], "echo@1 ") || !strings.HasPrefix(before[1], "echo@2 ") {
		t.Fatalf("it is owed %v", before)
	}
	if err := c.Speak(2); err != nil {
		t.Fatal(err)
	}
	want := []string{strings.Replace(before[0], "echo@1", "echo@2", 1), before[1]}
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Errorf("in version 2 (-want +got):\n%s", diff)
	}
	if err := c.Speak(3); err == nil || !strings.Contains(err.Error(), "echo@1, echo@2") {
		t.Errorf("in a version that does not exist: %v", err)
	}
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Errorf("after that (-want +got):\n%s", diff)
	}
}
