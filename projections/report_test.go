package projections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/projections"
)

// say appends an event with that trace to a new stream.
func (g *rig) traced(t *testing.T, trace string) {
	t.Helper()
	metadata := eventstore.Metadata{Actor: "key:1", Trace: trace}
	name, schema, data, err := g.codec.Encode(conversation.Closed{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.log.Append(context.Background(), eventstore.Commit{
		Account: "default", Metadata: metadata, Appends: []eventstore.Append{{
			Stream: g.stream("conversation"), Events: []eventstore.Draft{{ID: g.id(), Type: name, Schema: schema, Time: noon, Data: data}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func traceOf(n int) string {
	return fmt.Sprintf("00-0af7651916cd43dd8448eb211c8%05d-b7ad6b7169203331-01", n)
}

func TestPagesAreReported(t *testing.T) {
	t.Parallel()
	g := newRig()
	group := g.group(projections.NewTyping(nil))
	var reports []projections.PageReport
	group.Report(func(p projections.PageReport) { reports = append(reports, p) })
	g.traced(t, traceOf(1))
	g.traced(t, "")
	g.traced(t, traceOf(2))
	g.traced(t, traceOf(1))
	catchUp(t, group)
	for n := range projections.MaxPageTraces + 5 {
		g.traced(t, traceOf(n))
	}
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := group.CatchUp(t.Context()); err != nil { // nothing new
		t.Fatal(err)
	}
	var many []string
	for n := range projections.MaxPageTraces {
		many = append(many, traceOf(n))
	}
	want := []projections.PageReport{
		{Began: noon, Ended: noon, First: 1, Last: 4, Events: 4, Traces: []string{traceOf(1), traceOf(2)}},
		{Began: noon, Ended: noon, First: 5, Last: 41, Events: 37, Traces: many},
	}
	if diff := cmp.Diff(want, reports); diff != "" {
		t.Error(diff)
	}
	if names, _ := json.Marshal(group.Names()); string(names) != `["typing"]` {
		t.Errorf("names %s", names)
	}

	// A page that could not be committed is none.
	g.store.commit = func(*projections.Page) (bool, error) { return false, context.DeadlineExceeded }
	g.traced(t, "")
	if err := group.CatchUp(t.Context()); err == nil || len(reports) != 2 {
		t.Errorf("%d reports, %v", len(reports), err)
	}
	g.store.commit = nil
	if err := group.CatchUp(t.Context()); err != nil || len(reports) != 3 || reports[2].First != 42 || reports[2].Events != 1 {
		t.Errorf("%v: %+v", err, reports)
	}
}
