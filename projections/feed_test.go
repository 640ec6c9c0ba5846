package projections_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
	"verbatim/projections"
	"verbatim/webhooks"
)

// feedOf opens the feed of an endpoint's stream.
func (g *rig) feedOf(t tester, stream string, clock func() time.Time) *projections.Feed {
	t.Helper()
	_, id := eventstore.SplitStream(stream)
	feed, err := projections.NewFeed(context.Background(), g.log, g.codec, echoes,
		projections.NewTranscripts(g.log, g.codec, echoes, 1<<20), clock, id)
	if err != nil {
		t.Fatal(err)
	}
	return feed
}

func mark(t tester, s string) webhooks.Mark {
	t.Helper()
	m, ok := projections.ParseFeedMark(s)
	if !ok {
		t.Fatalf("%q is no mark", s)
	}
	return m
}

// pulled is what was pulled, as planned tells what was planned.
func pulled(items []projections.FeedItem) []string {
	out := []string{}
	for _, i := range items {
		out = append(out, fmt.Sprint(i.Position, " ", i.Name))
	}
	return out
}

func events(t tester, log eventstore.Store) (out []eventstore.Recorded) {
	t.Helper()
	for r, err := range log.ReadLog(context.Background(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// TestFeedIsWhatIsPlanned pulls the feed of every endpoint of a log at random, in
// pages at random, while the log grows: whatever the pages, together they are what
// was planned for the endpoint, in the order in which it is sent.
func TestFeedIsWhatIsPlanned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := newRig()
		whole.drawLog(t, false)
		catchUp(t, whole.plan(nil))
		log := events(t, whole.log)
		var streams []string
		for _, r := range log {
			if r.Type == (endpoint.Registered{}).EventType() {
				streams = append(streams, r.Stream)
			}
		}
		if len(streams) == 0 {
			return
		}
		stream := rapid.SampledFrom(streams).Draw(t, "endpoint")
		begin := slices.IndexFunc(log, func(r eventstore.Recorded) bool { return r.Stream == stream }) + 1

		g := &rig{log: eventstoretest.NewMemory(), codec: whole.codec, store: newRows()}
		grow := func(n int) {
			n = min(n, len(log))
			if _, err := g.log.Import(context.Background(), func(yield func(eventstore.Recorded, error) bool) {
				for _, r := range log[:n] {
					if !yield(r, nil) {
						return
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			log = log[n:]
		}
		grow(begin + rapid.IntRange(0, len(log)).Draw(t, "at first"))
		feed := g.feedOf(t, stream, clock)
		next := mark(t, fmt.Sprint(rapid.IntRange(0, begin).Draw(t, "from")))
		var got []projections.FeedItem
		for {
			if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				feed = g.feedOf(t, stream, clock)
			}
			limit := rapid.IntRange(1, 9).Draw(t, "limit")
			page, err := feed.Read(context.Background(), next, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Items) > limit || page.Next.Compare(next) < 0 {
				t.Fatalf("a page of %d items at most, behind %v: %+v", limit, next, page)
			}
			if rapid.IntRange(0, 5).Draw(t, "lost") == 0 {
				continue // the answer never came; the question is asked again
			}
			got, next = append(got, page.Items...), mark(t, projections.FormatFeedMark(page.Next))
			if next != page.Next {
				t.Fatalf("%v comes back as %v", page.Next, next)
			}
			if page.More {
				continue
			}
			if len(log) == 0 {
				break
			}
			grow(rapid.IntRange(1, 5).Draw(t, "more"))
		}
		want := whole.store.planned(stream)
		slices.SortStableFunc(want, func(a, b string) int {
			position := func(s string) (p int64, name string) {
				if _, err := fmt.Sscan(s, &p, &name); err != nil {
					t.Fatal(err)
				}
				return p, name
			}
			p, n := position(a)
			q, m := position(b)
			return webhooks.Mark{Position: p, Name: n}.Compare(webhooks.Mark{Position: q, Name: m})
		})
		if diff := cmp.Diff(want, pulled(got)); diff != "" {
			t.Fatalf("(-planned +pulled):\n%s", diff)
		}
		ids := make(map[string]webhooks.Delivery)
		_, id := eventstore.SplitStream(stream)
		for _, d := range whole.store.deliveries {
			if d.EndpointID == id {
				ids[d.WebhookID] = d
			}
		}
		for _, item := range got {
			if diff := cmp.Diff(ids[item.WebhookID], item.Delivery); diff != "" {
				t.Fatalf("(-planned +pulled):\n%s", diff)
			}
			if string(item.Body) != item.Name || item.Fault != "" {
				t.Fatalf("the body of %s is %q, fault %q", item.Name, item.Body, item.Fault)
			}
		}
	})
}

func TestFeedMarks(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]webhooks.Mark{
		"0": {Position: 1}, "7": {Position: 8}, "7:b": {Position: 7, Name: "b"}, "7:a:b": {Position: 7, Name: "a:b"},
	} {
		got, ok := projections.ParseFeedMark(s)
		if !ok || got != want || projections.FormatFeedMark(got) != s {
			t.Errorf("%s is %v (%v), and that %s", s, got, ok, projections.FormatFeedMark(got))
		}
	}
	if got := projections.FormatFeedMark(webhooks.Mark{}); got != "0" {
		t.Errorf("the first mark is %s", got)
	}
	for _, s := range []string{"", "-1", "x", "7:", "7 ", "9223372036854775807", "9223372036854775808", "7:" + strings.Repeat("n", 65)} {
		if m, ok := projections.ParseFeedMark(s); ok {
			t.Errorf("%q is %v", s, m)
		}
	}
}

// lookLog counts the events that are read of it.
type lookLog struct {
	eventstore.Store
	from int64
	read int
}

func (l *lookLog) ReadLog(ctx context.Context, after int64) iter.Seq2[eventstore.Recorded, error] {
	l.from, l.read = after, 0
	return func(yield func(eventstore.Recorded, error) bool) {
		for r, err := range l.Store.ReadLog(ctx, after) {
			l.read++
			if !yield(r, err) {
				return
			}
		}
	}
}

// TestFeedIsBounded: a look reads behind its mark alone, and ends after so many
// events, so many bytes or so long, always with something done.
func TestFeedIsBounded(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "verbatim@1", Events: []string{"conversation.message_posted"}, History: "none"}))
	stream := g.stream("conversation")
	g.add(t, stream, created())
	read := slices.Repeat([]domain.Event{conversation.Read{By: jon, UpTo: 1}}, projections.FeedLook/50)
	for range 50 {
		g.add(t, stream, read...)
	}
	big := strings.Repeat("a", 300<<10)
	last := g.add(t, stream, posted("m", jon, "found"), posted("n", jon, big))
	for i := range 19 {
		last = g.add(t, stream, posted(fmt.Sprint(i), jon, big))
	}
	_, id := eventstore.SplitStream(ep)
	log, now := &lookLog{Store: g.log}, noon
	feed, err := projections.NewFeed(t.Context(), log, g.codec, formats(),
		projections.NewTranscripts(g.log, g.codec, formats(), 1<<20), func() time.Time { return now }, id)
	if err != nil {
		t.Fatal(err)
	}
	page, err := feed.Read(t.Context(), mark(t, "0"), 10)
	if err != nil || len(page.Items) > 0 || !page.More || page.Next != mark(t, fmt.Sprint(projections.FeedLook+1)) {
		t.Fatalf("%+v, %v", page, err)
	}
	page, err = feed.Read(t.Context(), page.Next, 1)
	if err != nil || len(page.Items) != 1 || !page.More || log.read != 3 || log.from != projections.FeedLook+1 {
		t.Fatalf("%d events behind %d were read for %+v, %v", log.read, log.from, page, err)
	}
	page, err = feed.Read(t.Context(), page.Next, 100)
	if err != nil || !page.More || len(page.Items) < 2 || len(page.Items) > projections.FeedBytes/len(big)+1 {
		t.Fatalf("%d items of %d bytes: %v", len(page.Items), len(big), err)
	}

	// A clock that runs out at once leaves one event a look.
	slow, err := projections.NewFeed(t.Context(), log, g.codec, formats(),
		projections.NewTranscripts(g.log, g.codec, formats(), 1<<20),
		func() time.Time { now = now.Add(projections.FeedTime); return now }, id)
	if err != nil {
		t.Fatal(err)
	}
	page, err = slow.Read(t.Context(), mark(t, fmt.Sprint(last-2)), 100)
	if err != nil || len(page.Items) != 1 || !page.More {
		t.Fatalf("%d items, %v", len(page.Items), err)
	}
	page, err = slow.Read(t.Context(), page.Next, 100)
	if err != nil || len(page.Items) != 1 || page.More || page.Next != mark(t, fmt.Sprint(last)) {
		t.Fatalf("%d items, %v", len(page.Items), err)
	}
}

// TestFeedSaysWhatStandsInTheWay: what cannot be read is not passed over in
// silence, and what cannot be sent is shown without a body.
func TestFeedSaysWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}, MaxBodyBytes: len("conversation.created")}))
	stream, other := g.stream("conversation"), g.stream("conversation")
	g.add(t, stream, created())
	g.append(t, "default", other, eventstore.Draft{ID: g.id(), Type: "conversation.unheard_of", Schema: 1, Time: noon, Data: []byte("{}")})
	g.add(t, stream, posted("m", jon, "hello"))
	feed := g.feedOf(t, ep, clock)
	page, err := feed.Read(t.Context(), mark(t, "0"), 10)
	if err != nil || len(page.Items) != 1 || page.Next != mark(t, "2") || !page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	_, err = feed.Read(t.Context(), page.Next, 10)
	var inTheWay *projections.FeedError
	if !errors.As(err, &inTheWay) || inTheWay.Behind != mark(t, "3") {
		t.Fatalf("error %v", err)
	}
	page, err = feed.Read(t.Context(), inTheWay.Behind, 10)
	if err != nil || len(page.Items) != 1 || page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	if item := page.Items[0]; item.Body != nil || item.Fault != webhooks.TooLarge {
		t.Errorf("a body that is too large: %+v", item)
	}
}
