package projections_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

var errInjected = errors.New("injected")

// fill appends n events, turn about to some conversations, and returns their
// streams.
func (g *rig) fill(t tester, n, conversations int) []string {
	t.Helper()
	streams := make([]string, conversations)
	for i := range streams {
		streams[i] = g.stream("conversation")
	}
	for i := range n {
		e := domain.Event(posted(fmt.Sprint("m", i), jon, "hello"))
		if i < conversations {
			e = created()
		}
		g.add(t, streams[i%conversations], e)
	}
	return streams
}

// TestProjectedExactlyOnce cuts a log into pages in several ways and starts
// again, with nothing in memory, behind each page.
func TestProjectedExactlyOnce(t *testing.T) {
	t.Parallel()
	g := newRig()
	g.fill(t, 60, 7)
	for _, page := range []int{1, 2, 7, 59, 60, 61} {
		t.Run(fmt.Sprint(page), func(t *testing.T) {
			t.Parallel()
			g := &rig{log: g.log, codec: g.codec, store: newRows()}
			for {
				group := g.group(&counting{name: "a"}, &counting{name: "b"})
				if err := group.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				n := 0
				for r, err := range g.log.ReadLog(t.Context(), group.Position()) {
					if err != nil {
						t.Fatal(err)
					}
					group.Project(t.Context(), &r)
					if n++; n == page {
						break
					}
				}
				if err := group.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
			}
			for _, name := range []string{"a", "b"} {
				if diff := cmp.Diff(upTo(60), g.store.seen(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// TestAFailedPageComesAgain lets each page of a long log fail in each way that a
// commit can: refused, taken from under us, and committed although it says no.
func TestAFailedPageComesAgain(t *testing.T) {
	t.Parallel()
	g := newRig()
	const events = 2*projections.PageSize + 10
	g.fill(t, events, 3)
	for name, fault := range map[string]struct {
		err       error
		committed bool
	}{
		"refused":             {errInjected, false},
		"lost":                {projections.ErrLostCheckpoint, false},
		"committed after all": {context.DeadlineExceeded, true},
	} {
		for failing := range 3 {
			t.Run(fmt.Sprint(name, " page ", failing+1), func(t *testing.T) {
				t.Parallel()
				g := &rig{log: g.log, codec: g.codec, store: newRows()}
				asked := 0
				g.store.commit = func(*projections.Page) (bool, error) {
					if asked++; asked == failing+1 {
						return fault.committed, fault.err
					}
					return true, nil
				}
				var settled []bool
				group := g.group(&counting{name: "a", settle: func(ok bool) { settled = append(settled, ok) }}, &counting{name: "b"})
				if err := group.Load(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := int64(failing) * projections.PageSize
				if err := group.CatchUp(t.Context()); !errors.Is(err, fault.err) {
					t.Fatalf("catching up came to %v, want %v", err, fault.err)
				}
				if got := group.Position(); !fault.committed && got != before {
					t.Errorf("behind the failed page the group is at %d, want %d", got, before)
				}
				if err := group.CatchUp(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"a", "b"} {
					if diff := cmp.Diff(upTo(events), g.store.seen(name)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", name, diff)
					}
				}
				dropped := slices.Index(settled, false)
				if dropped != failing || slices.Contains(settled[dropped+1:], false) {
					t.Errorf("pages were settled as %v, want only number %d dropped", settled, failing+1)
				}
			})
		}
	}
}

// TestNothingIsProjectedUntilLoaded drops a page at a moment in which the rows
// cannot be read either: nothing may be made of what is half remembered.
func TestNothingIsProjectedUntilLoaded(t *testing.T) {
	t.Parallel()
	g := newRig()
	ep := g.stream("endpoint")
	g.add(t, ep, registered(endpoint.Settings{Dialect: "echo@1", Events: []string{"*"}}))
	group := g.group(
		projections.NewEndpoints(g.store, nil), projections.NewPlan(g.log, g.codec, g.store, echoes, nil))
	catchUp(t, group)

	broken := true
	g.store.commit = func(*projections.Page) (bool, error) {
		if broken {
			return false, errInjected
		}
		return true, nil
	}
	g.store.read = func() error {
		if broken {
			return errInjected
		}
		return nil
	}
	g.fill(t, 5, 1)
	follow := func() error { // as a subscription does, page by page
		for r, err := range g.log.ReadLog(t.Context(), group.Position()) {
			if err != nil {
				t.Fatal(err)
			}
			group.Project(t.Context(), &r)
		}
		err := group.Commit(t.Context())
		if err != nil {
			_ = group.Discard(t.Context()) // may fail as well
		}
		return err
	}
	for range 3 {
		if err := follow(); !errors.Is(err, errInjected) {
			t.Fatalf("a page that could not be committed came to %v", err)
		}
	}
	if err := group.Retry(t.Context(), true); !errors.Is(err, errInjected) {
		t.Errorf("retrying without being loaded came to %v", err)
	}
	if err := group.CatchUp(t.Context()); !errors.Is(err, errInjected) {
		t.Errorf("catching up without being loaded came to %v", err)
	}
	broken = false
	_ = follow() // this one may still be dropped, for the load
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	if got := len(g.store.deliveries); got != 5 {
		t.Errorf("%d deliveries were planned for 5 events", got)
	}
	if group.Position() != g.head(t) {
		t.Errorf("the group is at %d, the log at %d", group.Position(), g.head(t))
	}
}

// TestOneBehindCatchesUpAlone adds a projection to a group that has got far.
func TestOneBehindCatchesUpAlone(t *testing.T) {
	t.Parallel()
	g := newRig()
	g.fill(t, 30, 4)
	catchUp(t, g.group(&counting{name: "old"}))
	g.fill(t, 10, 2)
	var shown []int64
	group := g.group(
		&counting{name: "new"},
		&counting{name: "old", project: func(r *eventstore.Recorded) { shown = append(shown, r.Position) }})
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := group.Position(); got != 0 {
		t.Errorf("with one that has not begun, the group is at %d", got)
	}
	catchUp(t, group)
	for _, name := range []string{"new", "old"} {
		if diff := cmp.Diff(upTo(40), g.store.seen(name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(shown) != 10 || shown[0] != 31 {
		t.Errorf("the one in front was shown %v again", shown)
	}
	at, err := group.Positions(t.Context())
	if diff := cmp.Diff(map[string]int64{"new": 40, "old": 40}, at); err != nil || diff != "" {
		t.Errorf("positions, error %v (-want +got):\n%s", err, diff)
	}
}

// poisonRig is three conversations whose events take turns, and a projection
// that cannot take the second event of the first.
type poisonRig struct {
	*rig
	streams []string
	faulty  map[int64]bool // positions
	panics  bool
}

const poisoned = 4 // version 2 of the first of three streams

func newPoison(t *testing.T) *poisonRig {
	t.Helper()
	g := &poisonRig{rig: newRig(), faulty: map[int64]bool{poisoned: true}}
	g.streams = g.fill(t, 12, 3)
	return g
}

func (g *poisonRig) group() *projections.Group {
	return g.rig.group(&counting{name: "well"}, &counting{name: "ill", poison: func(r *eventstore.Recorded) error {
		switch {
		case !g.faulty[r.Position]:
			return nil
		case g.panics:
			panic("injected")
		default:
			return errInjected
		}
	}}, &counting{name: "behind"})
}

func TestPoisonParksItsStream(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		t.Run(fmt.Sprintf("panics %t", panics), func(t *testing.T) {
			t.Parallel()
			g := newPoison(t)
			g.panics = panics
			group := g.group()
			catchUp(t, group)

			detail := "injected"
			if panics {
				detail = "panic: injected"
			}
			want := []projections.Parked{{
				Projection: "ill", Stream: g.streams[0], Position: poisoned, Version: 2, Error: detail, Attempts: 1, At: noon,
			}}
			if diff := cmp.Diff(want, group.Parked()); diff != "" {
				t.Errorf("parked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(upTo(12, 4, 7, 10), g.store.seen("ill")); diff != "" {
				t.Errorf("what the ill one took (-want +got):\n%s", diff)
			}
			for _, name := range []string{"well", "behind"} {
				if diff := cmp.Diff(upTo(12), g.store.seen(name)); diff != "" {
					t.Errorf("what %s took (-want +got):\n%s", name, diff)
				}
			}

			// A restart changes nothing of it, and later events wait too.
			group = g.group()
			catchUp(t, group)
			g.add(t, g.streams[0], posted("late", jon, "hello"))
			g.add(t, g.streams[1], posted("late", jon, "hello"))
			if err := group.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, group.Parked()); diff != "" {
				t.Errorf("parked after a restart (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(upTo(14, 4, 7, 10, 13), g.store.seen("ill")); diff != "" {
				t.Errorf("what the ill one took after a restart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRetry(t *testing.T) {
	t.Parallel()
	g := newPoison(t)
	group := g.group()
	catchUp(t, group)
	parked := func() projections.Parked {
		t.Helper()
		kept, err := g.store.Parked(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(kept, group.Parked()); diff != "" {
			t.Fatalf("parked (-stored +remembered):\n%s", diff)
		}
		if len(kept) != 1 {
			t.Fatalf("parked are %+v, want one", kept)
		}
		return kept[0]
	}
	retry := func(all bool) {
		t.Helper()
		if err := group.Retry(t.Context(), all); err != nil {
			t.Fatal(err)
		}
	}

	// The fault is still there.
	retry(true)
	if p := parked(); p.Attempts != 2 || p.Position != poisoned {
		t.Errorf("after a retry that failed: %+v", p)
	}
	retry(false) // nobody asked
	if p := parked(); p.Attempts != 2 {
		t.Errorf("it was tried although nobody asked: %+v", p)
	}
	g.store.wanted[[2]string{"ill", g.streams[0]}] = true
	retry(false)
	retry(false) // asked once, tried once
	if p := parked(); p.Attempts != 3 {
		t.Errorf("after somebody asked: %+v", p)
	}

	// Another event of the stream is poison too: the one before it goes through.
	g.faulty = map[int64]bool{7: true}
	retry(true)
	if p := parked(); p.Attempts != 1 || p.Position != 7 || p.Version != 3 {
		t.Errorf("parked at another event: %+v", p)
	}

	// The page that releases it fails: everything is as it was.
	g.faulty = nil
	g.store.commit = func(*projections.Page) (bool, error) { return false, errInjected }
	if err := group.Retry(t.Context(), true); !errors.Is(err, errInjected) {
		t.Errorf("a retry that could not be committed came to %v", err)
	}
	if p := parked(); p.Position != 7 {
		t.Errorf("after a retry that could not be committed: %+v", p)
	}
	g.store.commit = nil
	retry(true)
	if left := group.Parked(); len(left) != 0 || len(g.store.parked) != 0 {
		t.Errorf("still parked: %+v", left)
	}
	g.add(t, g.streams[0], posted("late", jon, "hello"))
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(upTo(12, 4, 7, 10), 4, 7, 10, 13), g.store.seen("ill")); diff != "" {
		t.Errorf("what the ill one took, in its order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(upTo(13), g.store.seen("well")); diff != "" {
		t.Errorf("what the well one took (-want +got):\n%s", diff)
	}
}

// TestRetryOnlyUpToTheCheckpoint retries a stream whose last event nobody has
// projected: it comes with the log, once.
func TestRetryOnlyUpToTheCheckpoint(t *testing.T) {
	t.Parallel()
	g := newPoison(t)
	group := g.group()
	catchUp(t, group)
	g.add(t, g.streams[0], posted("late", jon, "hello"))
	g.faulty = nil
	if err := group.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(upTo(12, 4, 7, 10), 4, 7, 10), g.store.seen("ill")); diff != "" {
		t.Errorf("before the log (-want +got):\n%s", diff)
	}
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(upTo(12, 4, 7, 10), 4, 7, 10, 13), g.store.seen("ill")); diff != "" {
		t.Errorf("after the log (-want +got):\n%s", diff)
	}
}

// TestRetryBehindSomebodyElse retries with a group that does not know that its
// checkpoint was moved: what it would write is old.
func TestRetryBehindSomebodyElse(t *testing.T) {
	t.Parallel()
	g := newPoison(t)
	behind, ahead := g.group(), g.group()
	catchUp(t, behind)
	g.add(t, g.streams[1], posted("late", jon, "hello"))
	catchUp(t, ahead)
	g.faulty = nil
	if err := behind.Retry(t.Context(), true); !errors.Is(err, projections.ErrLostCheckpoint) {
		t.Errorf("a retry from an old checkpoint came to %v", err)
	}
	if err := behind.Retry(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 5, 6, 8, 9, 11, 12, 13, 4, 7, 10}, g.store.seen("ill")); diff != "" {
		t.Errorf("what the ill one took, in its order (-want +got):\n%s", diff)
	}
}

// TestUnknownEventParksEverywhere appends what this program does not know.
func TestUnknownEventParksEverywhere(t *testing.T) {
	t.Parallel()
	for name, draft := range map[string]eventstore.Draft{
		"type":     {Type: "conversation.teleported", Schema: 1, Data: []byte(`{}`)},
		"schema":   {Type: "conversation.closed", Schema: 2, Data: []byte(`{}`)},
		"shape":    {Type: "conversation.closed", Schema: 1, Data: []byte(`[]`)},
		"upcaster": {Type: "conversation.reopened", Schema: 1, Data: []byte(`{}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newRig()
			panics := func(json.RawMessage) (json.RawMessage, error) { panic("injected") }
			g.codec = eventstore.NewCodec(eventstore.KindOf[conversation.Created](), eventstore.KindOf[conversation.MessagePosted](),
				eventstore.KindOf[conversation.Closed](), eventstore.KindOf[conversation.Reopened](panics))
			streams := g.fill(t, 4, 2)
			draft.ID, draft.Time = g.id(), noon
			g.append(t, "default", streams[0], draft)
			g.add(t, streams[0], posted("late", jon, "hello"))
			g.add(t, streams[1], posted("late", jon, "hello"))
			group := g.group(&counting{name: "a"}, &counting{name: "b"})
			catchUp(t, group)
			if got := group.Parked(); len(got) != 2 || got[0].Position != 5 || got[1].Position != 5 {
				t.Errorf("parked are %+v, want position 5 in both", got)
			}
			for _, name := range []string{"a", "b"} {
				if diff := cmp.Diff(upTo(7, 5, 6), g.store.seen(name)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

func TestPoisonDetailIsBounded(t *testing.T) {
	t.Parallel()
	g := newRig()
	g.fill(t, 1, 1)
	group := g.group(&counting{name: "a", poison: func(*eventstore.Recorded) error {
		return errors.New("x" + strings.Repeat("é", projections.MaxPoisonDetail))
	}})
	catchUp(t, group)
	detail := group.Parked()[0].Error
	if len(detail) > projections.MaxPoisonDetail || len(detail) < projections.MaxPoisonDetail-utf8.UTFMax || !utf8.ValidString(detail) {
		t.Errorf("%d bytes are kept, valid: %t", len(detail), utf8.ValidString(detail))
	}
}

// TestStoppingIsNoPoison stops in the middle of a page in which a row must be
// read: the context is done, and nothing is parked for it.
func TestStoppingIsNoPoison(t *testing.T) {
	t.Parallel()
	g := newRig()
	streams := g.fill(t, 2, 1)
	catchUp(t, g.group(projections.NewInbox(g.store)))
	g.add(t, streams[0], posted("late", jon, "hello"))
	group := g.group(projections.NewInbox(g.store))
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for r, err := range g.log.ReadLog(t.Context(), group.Position()) {
		if err != nil {
			t.Fatal(err)
		}
		group.Project(stopped, &r)
	}
	if got := group.Parked(); len(got) != 0 {
		t.Errorf("parked are %+v", got)
	}
	if err := group.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := g.store.inboxRow(t, streams[0]).Conversation.Version; got != 3 {
		t.Errorf("the row is at version %d, want 3", got)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRig()
		g.fill(t, 5, 1)
		g.store.checkpoints["ahead"] = 4
		group := g.group(&counting{name: "ahead"}, &counting{name: "behind"})
		if err := group.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := group.Wait(t.Context(), 0); err != nil {
			t.Errorf("waiting for nothing came to %v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		results := map[int64]chan error{}
		for _, position := range []int64{2, 3, 6} {
			result := make(chan error, 1)
			results[position] = result
			go func() { result <- group.Wait(ctx, position) }()
		}
		returned := func() (out []int64) {
			synctest.Wait()
			for position, result := range results {
				select {
				case err := <-result:
					if (position == 6) != errors.Is(err, context.Canceled) {
						t.Errorf("waiting for %d came to %v", position, err)
					}
					out = append(out, position)
				default:
				}
			}
			slices.Sort(out)
			return out
		}
		n := 0
		for r, err := range g.log.ReadLog(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			group.Project(t.Context(), &r)
			if got := returned(); len(got) > 0 {
				t.Errorf("at position %d, before its commit, these no longer wait: %v", r.Position, got)
			}
			if err := group.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			var want []int64
			if n++; n == 2 || n == 3 {
				want = []int64{int64(n)}
			}
			if got := returned(); !slices.Equal(got, want) {
				t.Errorf("at position %d these no longer wait: %v, want %v", r.Position, got, want)
			}
		}
		stop()
		if got := returned(); !slices.Equal(got, []int64{6}) {
			t.Errorf("after the end these no longer wait: %v", got)
		}
	})
}

// all are the projections of the program, and one that counts.
func (g *rig) all(planned func([]webhooks.Delivery)) *projections.Group {
	return g.group(projections.NewInbox(g.store), projections.NewTyping(nil), projections.NewEndpoints(g.store, nil),
		projections.NewPlan(g.log, g.codec, g.store, echoes, planned), &counting{name: "count"})
}

// dump is everything that the rows say.
func (s *rows) dump() map[string]any {
	out := map[string]any{"typing": maps.Clone(s.typing), "checkpoints": maps.Clone(s.checkpoints)}
	for id, b := range s.inbox {
		out[id] = string(b)
	}
	for id, b := range s.endpoints {
		out[id] = string(b)
	}
	var deliveries []string
	for _, d := range s.deliveries {
		deliveries = append(deliveries, string(encoded(d)))
	}
	out["deliveries"] = deliveries
	return out
}

// drawSettings draws the settings of an endpoint.
func drawSettings(t *rapid.T) endpoint.Settings {
	one := func(name string, values ...[]string) []string {
		return rapid.SampledFrom(append(values, nil, nil)).Draw(t, name)
	}
	return endpoint.Settings{
		Dialect:      rapid.SampledFrom([]string{"echo@1", "double@1"}).Draw(t, "dialect"),
		Events:       rapid.SampledFrom([]([]string){{"*"}, {"*"}, {"conversation.created"}, {"conversation.message_*"}, {"second"}, {"endpoint.*", "*"}, {"endpoint.failing"}}).Draw(t, "events"),
		History:      rapid.SampledFrom([]string{"", "full", "none", "last:3"}).Draw(t, "history"),
		MaxBodyBytes: rapid.SampledFrom([]int{0, 0, 4096}).Draw(t, "bytes"),
		Filters: endpoint.Filters{
			Inboxes: one("inboxes", []string{"shop"}), Channels: one("channels", []string{"web"}),
			Labels: one("labels", []string{"vip"}, []string{"new", "late"}),
			AuthorRoles: rapid.SampledFrom([][]domain.Role{nil, nil, {domain.Agent}, {domain.Customer, domain.Bot}}).
				Draw(t, "roles"),
			Private:    rapid.SampledFrom([]*bool{nil, nil, new(true), new(false)}).Draw(t, "private"),
			ProductIDs: one("products", []string{"17"}, []string{"a"}), FormIDs: one("forms", []string{"7"}),
		},
	}
}

// drawLog fills a log at random: conversations that go on beside each other,
// somebody who opens the widget, and endpoints that come, change and go, or are
// there from the start and stay as they are.
func (g *rig) drawLog(t *rapid.T, steady bool) {
	type conv struct {
		stream string
		*talk
	}
	var convs []conv
	for range rapid.IntRange(1, 4).Draw(t, "conversations") {
		convs = append(convs, conv{g.stream("conversation"), newTalk()})
	}
	type end struct {
		stream  string
		version int
		deleted bool
	}
	var ends []*end
	for range rapid.IntRange(1, 3).Draw(t, "endpoints") {
		ends = append(ends, &end{stream: g.stream("endpoint")})
	}
	if steady {
		for _, e := range ends {
			g.add(t, e.stream, registered(drawSettings(t)))
		}
	}
	widget := g.stream("contact")
	for range rapid.IntRange(1, 60).Draw(t, "commands") {
		kind := rapid.IntRange(0, 7).Draw(t, "kind")
		if kind == 7 {
			g.add(t, widget, contact.WidgetTriggered{
				Contact: jon, Inbox: domain.Inbox{ID: rapid.SampledFrom([]string{"", "shop", "site"}).Draw(t, "widget")},
			})
			continue
		}
		if kind > 0 || steady {
			c := rapid.SampledFrom(convs).Draw(t, "conversation")
			if events := c.next(t); len(events) > 0 {
				g.add(t, c.stream, events...)
			}
			continue
		}
		e := rapid.SampledFrom(ends).Draw(t, "endpoint")
		if e.deleted {
			continue
		}
		settings := drawSettings(t)
		var event domain.Event = registered(settings)
		if e.version > 0 {
			event = rapid.SampledFrom([]domain.Event{
				endpoint.Updated{Settings: settings},
				endpoint.Disabled{Reason: "gone"},
				endpoint.Enabled{},
				endpoint.SecretRotated{PreviousUntil: noon},
				endpoint.Failing{Since: noon},
				endpoint.Recovered{Since: noon},
				endpoint.Exhausted{DeliveryID: "d", Attempts: 12},
				endpoint.Deleted{},
			}).Draw(t, "change")
		}
		_, e.deleted = event.(endpoint.Deleted)
		e.version++
		g.add(t, e.stream, event)
	}
}

// TestRowsFollowFromTheLog projects a log at random, cut into pages at random,
// with commits that fail, loads that fail, pages that are dropped and starts
// with nothing in memory: the rows are those of one pass in one go, and what the
// dispatcher was told is among them, once.
func TestRowsFollowFromTheLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig()
		g.drawLog(t, false)
		catchUp(t, g.all(nil))
		want := g.store.dump()

		again := &rig{log: g.log, codec: g.codec, store: newRows()}
		var told []webhooks.Delivery
		group := again.all(func(ds []webhooks.Delivery) { told = append(told, ds...) })
		unsure := false // whether a page was committed of which nobody was told
		calm := false
		again.store.commit = func(*projections.Page) (bool, error) {
			if calm {
				return true, nil
			}
			switch rapid.IntRange(0, 7).Draw(t, "commit") {
			case 0:
				return false, errInjected
			case 1:
				return false, projections.ErrLostCheckpoint
			case 2:
				unsure = true
				return true, context.Canceled
			default:
				return true, nil
			}
		}
		loading := false
		again.store.read = func() error {
			if !calm && loading && rapid.IntRange(0, 19).Draw(t, "read") == 0 {
				return errInjected
			}
			return nil
		}
		head := g.head(t)
		for step := 0; group.Position() < head; step++ {
			calm = step > 200
			loading = true
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				group = again.all(func(ds []webhooks.Delivery) { told = append(told, ds...) })
				if group.Load(context.Background()) != nil {
					continue
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "straight") == 0 {
				_ = group.CatchUp(context.Background())
				continue
			}
			loading = false
			page := rapid.IntRange(1, 12).Draw(t, "page")
			for r, err := range g.log.ReadLog(context.Background(), group.Position()) {
				if err != nil {
					t.Fatal(err)
				}
				group.Project(context.Background(), &r)
				if page--; page == 0 {
					break
				}
			}
			loading = true
			if rapid.IntRange(0, 9).Draw(t, "drop") == 0 {
				_ = group.Discard(context.Background())
				continue
			}
			_ = group.Commit(context.Background())
		}
		if parked := group.Parked(); len(parked) > 0 {
			t.Fatalf("parked: %+v", parked)
		}
		if diff := cmp.Diff(want, again.store.dump()); diff != "" {
			t.Fatalf("rows (-in one go +in pages):\n%s", diff)
		}
		if !unsure {
			var planned []webhooks.Delivery
			for _, d := range again.store.deliveries {
				if d.ID != "" {
					planned = append(planned, d)
				}
			}
			if diff := cmp.Diff(planned, told); diff != "" {
				t.Fatalf("what the dispatcher was told (-planned +told):\n%s", diff)
			}
		}
	})
}

// TestAnEventThatComesTwiceCountsOnce shows events again before their page is
// committed: by themselves, and by reading straight on with the page open.
func TestAnEventThatComesTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	g := newRig()
	g.fill(t, 10, 2)
	group := g.group(&counting{name: "a"})
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for r, err := range g.log.ReadLog(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			group.Project(t.Context(), &r)
			if r.Position == 5 {
				break
			}
		}
	}
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(10), g.store.seen("a")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestDiscard drops an open page; what it had parked is forgotten with it.
func TestDiscard(t *testing.T) {
	t.Parallel()
	g := newPoison(t)
	group := g.group()
	if err := group.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for r, err := range g.log.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		group.Project(t.Context(), &r)
	}
	if len(group.Parked()) != 1 {
		t.Errorf("in the open page parked are %+v", group.Parked())
	}
	for range 2 {
		if err := group.Discard(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(group.Parked()) != 0 || group.Position() != 0 || g.store.pages != 0 {
		t.Errorf("after it was dropped parked are %+v, the group is at %d", group.Parked(), group.Position())
	}
	g.faulty = nil
	if err := group.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(12), g.store.seen("ill")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
