package projections_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

func (g *rig) transcripts() *projections.Transcripts {
	return projections.NewTranscripts(g.log, g.codec, formats(), projections.TranscriptMemory)
}

// fold returns the history as of a version and the event of it, made from
// nothing.
func (g *rig) fold(t tester, stream string, version int64) (*webhooks.History, *webhooks.Fact) {
	t.Helper()
	h, last := &webhooks.History{}, (*webhooks.Fact)(nil)
	for r, err := range g.log.ReadStream(context.Background(), stream, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Version > version {
			break
		}
		e, err := g.codec.Decode(&r)
		if err != nil {
			t.Fatal(err)
		}
		h.Apply(&r, e.(conversation.Event))
		last = &webhooks.Fact{Recorded: &r, Event: e}
	}
	return h, last
}

// diff compares what is known of a conversation with the fold from nothing.
func (g *rig) diff(t tester, tr *projections.Transcripts, stream string, version int64) string {
	t.Helper()
	var out string
	err := tr.With(context.Background(), stream, version, func(h *webhooks.History, last *webhooks.Fact) error {
		want, wantLast := g.fold(t, stream, version)
		out = cmp.Diff(want, h, cmpopts.IgnoreUnexported(webhooks.History{}), cmpopts.EquateEmpty()) + cmp.Diff(wantLast, last)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// drawTalk appends a conversation at random and returns its stream.
func (g *rig) drawTalk(t *rapid.T, commands int) string {
	stream, talk := g.stream("conversation"), newTalk()
	for range commands {
		if events := talk.next(t); len(events) > 0 {
			g.add(t, stream, events...)
		}
	}
	return stream
}

// TestHistoryIsAFold asks for the versions of a conversation in any order, the
// last and what is behind it among them.
func TestHistoryIsAFold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig()
		stream := g.drawTalk(t, rapid.IntRange(1, 40).Draw(t, "commands"))
		head := g.head(t)
		tr := g.transcripts()
		for range rapid.IntRange(1, 25).Draw(t, "asked") {
			version := rapid.OneOf(rapid.Int64Range(0, head+1), rapid.Just(projections.Newest)).Draw(t, "version")
			if diff := g.diff(t, tr, stream, version); diff != "" {
				t.Fatalf("version %d of %d (-fold +history):\n%s", version, head, diff)
			}
		}
	})
}

// TestHistoryOfManyCursors goes back and forth more often than places are kept,
// while messages are edited and deleted.
func TestHistoryOfManyCursors(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	g.add(t, stream, created())
	for i := range 20 {
		g.add(t, stream, posted(fmt.Sprint("m", i), jon, "hello"))
	}
	for i := range 10 {
		g.add(t, stream,
			conversation.MessageEdited{MessageID: fmt.Sprint("m", i), Previous: "hello", Text: "bye", By: jon},
			conversation.MessageDeleted{MessageID: fmt.Sprint("m", 19-i), By: arya})
	}
	tr := g.transcripts()
	for _, version := range []int64{41, 3, 40, 10, 4, 41, 22, 23, 30, 1, 2, 31, 5, 6, 7, 41, 24, 25, 8, 41} {
		if diff := g.diff(t, tr, stream, version); diff != "" {
			t.Errorf("version %d (-fold +history):\n%s", version, diff)
		}
	}
}

// TestHistoryTakenOn asks only for what is new: a history that is known is not
// read again.
func TestHistoryTakenOn(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	g.add(t, stream, created())
	log := &countingLog{Store: g.log}
	tr := projections.NewTranscripts(log, g.codec, formats(), projections.TranscriptMemory)
	for i := range 30 {
		g.add(t, stream, posted(fmt.Sprint("m", i), jon, "hello"))
		if diff := g.diff(t, tr, stream, int64(i)+2); diff != "" {
			t.Fatal(diff)
		}
		if diff := g.diff(t, tr, stream, projections.Newest); diff != "" {
			t.Fatal(diff)
		}
	}
	if log.read > 3*31 { // each event once, and the last again for itself
		t.Errorf("%d events were read for 31", log.read)
	}
}

// countingLog counts the events that are read of streams, and may fail.
type countingLog struct {
	eventstore.Store
	read int
	fail error
}

func (l *countingLog) ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		for r, err := range l.Store.ReadStream(ctx, stream, after) {
			if l.read++; l.fail != nil && r.Version > 2 {
				yield(eventstore.Recorded{}, l.fail)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// TestHistoryThatBreaksOff fails in the middle, and goes on from there.
func TestHistoryThatBreaksOff(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	g.add(t, stream, created(), posted("a", jon, "hello"), posted("b", jon, "hello"), posted("c", jon, "hello"))
	log := &countingLog{Store: g.log, fail: errInjected}
	tr := projections.NewTranscripts(log, g.codec, formats(), projections.TranscriptMemory)
	unused := func(*webhooks.History, *webhooks.Fact) error { t.Error("used a history that broke off"); return nil }
	if err := tr.With(t.Context(), stream, 4, unused); !errors.Is(err, errInjected) || !strings.Contains(err.Error(), stream) {
		t.Errorf("a log that fails came to %v", err)
	}
	log.fail = nil
	if diff := g.diff(t, tr, stream, 4); diff != "" {
		t.Errorf("after that (-fold +history):\n%s", diff)
	}
	if err := tr.With(t.Context(), stream, 4, func(*webhooks.History, *webhooks.Fact) error { return errInjected }); !errors.Is(err, errInjected) {
		t.Errorf("the error of use came out as %v", err)
	}

	g.append(t, "default", stream, eventstore.Draft{ID: g.id(), Type: "conversation.teleported", Schema: 1, Time: noon, Data: []byte(`{}`)})
	if err := tr.With(t.Context(), stream, 5, unused); err == nil || !strings.Contains(err.Error(), "position 5") {
		t.Errorf("an unknown event came to %v", err)
	}
	odd := g.stream("conversation")
	g.add(t, odd, contact.Created{Profile: jon})
	if err := tr.With(t.Context(), odd, 1, unused); err == nil {
		t.Error("a contact's event in a conversation came to no error")
	}
}

func TestConversation(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("conversation")
	_, id := eventstore.SplitStream(stream)
	tr := g.transcripts()
	if c, found, err := tr.Conversation(t.Context(), id, projections.Newest); found || err != nil || c.Version != 0 {
		t.Errorf("one that is not there came to %+v, %t, %v", c, found, err)
	}
	g.add(t, stream, created(), posted("a", jon, "hello"), conversation.Assigned{Agent: arya})
	for version, assigned := range map[int64]bool{1: false, 2: false, 3: true, projections.Newest: true} {
		c, found, err := tr.Conversation(t.Context(), id, version)
		if err != nil || !found || c.Version != min(version, 3) || (c.Assignee != nil) != assigned {
			t.Errorf("version %d came to %+v, %t, %v", version, c, found, err)
		}
	}
}

// TestTranscriptsAreBounded keeps only what its memory has room for, the last
// used of it, and forgets nothing that would show.
func TestTranscriptsAreBounded(t *testing.T) {
	t.Parallel()
	g := newRig()
	const limit = 64 << 10
	tr := g.transcripts()
	tr.SetLimit(limit)
	var streams []string
	for i := range 30 {
		stream := g.stream("conversation")
		streams = append(streams, stream)
		g.add(t, stream, created())
		for k := range 5 {
			g.add(t, stream, posted(fmt.Sprint("m", k), jon, strings.Repeat("x", 500*(i%3))))
		}
	}
	for range 3 {
		for _, stream := range streams {
			if diff := g.diff(t, tr, stream, projections.Newest); diff != "" {
				t.Fatalf("-fold +history:\n%s", diff)
			}
			if kept, size := tr.Kept(); size > limit || kept == 0 {
				t.Fatalf("%d streams are kept, %d bytes", kept, size)
			}
		}
	}
	kept, _ := tr.Kept()
	if kept < 5 || kept == len(streams) {
		t.Errorf("%d streams of %d are kept", kept, len(streams))
	}

	// One that is larger than all the memory is kept alone.
	large := g.stream("conversation")
	g.add(t, large, created(), posted("m", jon, strings.Repeat("x", 2*limit)))
	if diff := g.diff(t, tr, large, projections.Newest); diff != "" {
		t.Fatalf("-fold +history:\n%s", diff)
	}
	if kept, size := tr.Kept(); kept != 1 || size < 2*limit {
		t.Errorf("beside one that is too large %d are kept, %d bytes", kept-1, size)
	}
}

// TestTranscriptsCountWhatTheyKeep holds the count, which is not made anew each
// time, against the truth while a conversation grows by messages, by edits and
// by bodies.
func TestTranscriptsCountWhatTheyKeep(t *testing.T) {
	t.Parallel()
	g := newRig()
	tr := g.transcripts()
	stream := g.stream("conversation")
	g.add(t, stream, created())
	check := func(when string) {
		t.Helper()
		if _, counted := tr.Kept(); counted != tr.SizeOf(stream) {
			t.Errorf("%s, %d bytes are counted of %d", when, counted, tr.SizeOf(stream))
		}
	}
	read := func() {
		t.Helper()
		if err := tr.With(t.Context(), stream, projections.Newest, func(*webhooks.History, *webhooks.Fact) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 300 {
		g.add(t, stream, posted(fmt.Sprint("m", i), jon, "hello"))
		read()
		check(fmt.Sprint("after message ", i))
	}
	before := tr.SizeOf(stream)
	for i := range 5 {
		g.add(t, stream, conversation.MessageEdited{MessageID: fmt.Sprint("m", i), Text: strings.Repeat("x", 10_000), By: jon})
		read()
		check(fmt.Sprint("after edit ", i))
	}
	if grown := tr.SizeOf(stream) - before; grown < 49_000 || grown > 51_000 {
		t.Errorf("five long edits count as %d bytes", grown)
	}
	head := g.add(t, stream, conversation.Closed{ClosedType: "solved"}) // every format has a word for it
	for _, d := range g.deliveries(t, stream) {
		if d.Version == head && d.History == "full" {
			body(t, tr, d)
			check("after a body of " + d.Dialect)
		}
	}
}

// deliveries returns one delivery for each version, dialect, name and history
// setting that there is.
func (g *rig) deliveries(t tester, stream string) []*webhooks.Delivery {
	t.Helper()
	var out []*webhooks.Delivery
	for _, name := range formats().Names() {
		d, err := formats().Find(name)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range g.log.ReadStream(context.Background(), stream, 0) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := g.codec.Decode(&r)
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range d.Words(e) {
				for _, history := range []string{"full", "none", "last:3", "full,public"} {
					out = append(out, &webhooks.Delivery{
						Stream: stream, Version: r.Version, Dialect: name, Name: event.Name, History: history,
					})
				}
			}
		}
	}
	return out
}

func body(t tester, tr *projections.Transcripts, d *webhooks.Delivery) []byte {
	t.Helper()
	b, err := tr.Body(context.Background(), d)
	if err != nil {
		t.Fatalf("%s version %d: %v", d.Dialect, d.Version, err)
	}
	return b
}

// TestBodyIsAPureFunctionOfTheLog renders every body of a conversation at random
// cold, each from nothing; then warm, in any order; and again, warm and cold,
// after the conversation and others have gone on. It is the same bytes, and what
// was handed out does not change.
func TestBodyIsAPureFunctionOfTheLog(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newRig()
		stream, talk := g.stream("conversation"), newTalk()
		goOn := func(commands int) {
			for range commands {
				if events := talk.next(t); len(events) > 0 {
					g.add(t, stream, events...)
				}
			}
		}
		g.drawTalk(t, 3)
		goOn(rapid.IntRange(1, 12).Draw(t, "commands"))
		owed := g.deliveries(t, stream)
		want := make(map[*webhooks.Delivery][]byte, len(owed))
		handed := make(map[*webhooks.Delivery][]byte, len(owed))
		for _, d := range owed {
			handed[d] = body(t, g.transcripts(), d)
			want[d] = bytes.Clone(handed[d])
			if len(want[d]) == 0 {
				t.Fatalf("%+v has no body", d)
			}
		}
		warm := g.transcripts()
		check := func(when string, tr *projections.Transcripts) {
			for _, d := range rapid.Permutation(owed).Draw(t, "order")[:min(len(owed), 40)] {
				if diff := cmp.Diff(string(want[d]), string(body(t, tr, d))); diff != "" {
					t.Fatalf("%s, version %d in %s, history %s (-first +now):\n%s", when, d.Version, d.Dialect, d.History, diff)
				}
			}
		}
		check("warm", warm)
		goOn(rapid.IntRange(1, 12).Draw(t, "more"))
		g.drawTalk(t, 3)
		for _, d := range g.deliveries(t, stream) {
			if rapid.IntRange(0, 3).Draw(t, "newer") == 0 {
				body(t, warm, d)
			}
		}
		check("after the log has grown, warm", warm)
		check("after the log has grown, cold", g.transcripts())
		for d, b := range handed {
			if !bytes.Equal(b, want[d]) {
				t.Fatalf("the body of version %d in %s changed after it was handed out", d.Version, d.Dialect)
			}
		}
	})
}

func TestBodyOfOtherStreams(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.stream("contact")
	moved := jon
	moved.Email = "jon.snow@winterfell.com"
	g.add(t, stream, contact.Created{Account: domain.Account{ID: "default", Number: 1}, Profile: jon})
	tr := g.transcripts()
	d := &webhooks.Delivery{Stream: stream, Version: 1, Dialect: "verbatim@1", Name: "contact.created"}
	first := body(t, tr, d)
	if !bytes.Contains(first, []byte("Jon Snow")) {
		t.Errorf("the body of a contact is %s", first)
	}
	g.add(t, stream, contact.Updated{Profile: moved})
	if diff := cmp.Diff(string(first), string(body(t, g.transcripts(), d))); diff != "" {
		t.Errorf("after the contact has gone on (-first +now):\n%s", diff)
	}

	stream = g.stream("endpoint")
	g.add(t, stream, registered(endpoint.Settings{URL: "https://a.example/?token=secret", Dialect: "closer@1"}), endpoint.Disabled{})
	d = &webhooks.Delivery{Stream: stream, Version: 2, Dialect: "verbatim@1", Name: "endpoint.disabled"}
	first = body(t, tr, d)
	if !bytes.Contains(first, []byte(`"url":"https://a.example/","dialect":"closer@1","disabled":true`)) {
		t.Errorf("the body of an endpoint is %s", first)
	}
	g.add(t, stream, endpoint.Updated{Settings: endpoint.Settings{URL: "https://b.example/"}}, endpoint.Enabled{})
	for _, tr := range []*projections.Transcripts{tr, g.transcripts()} {
		if diff := cmp.Diff(string(first), string(body(t, tr, d))); diff != "" {
			t.Errorf("after the endpoint has gone on (-first +now):\n%s", diff)
		}
	}
}

func TestBodyThatCannotBe(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream, other := g.stream("conversation"), g.stream("contact")
	g.add(t, stream, created())
	g.add(t, other, contact.Created{Profile: jon})
	whole := webhooks.Delivery{Stream: stream, Version: 1, Dialect: "verbatim@1", Name: "conversation.created"}
	tr := g.transcripts()
	for name, change := range map[string]func(d *webhooks.Delivery){
		"unknown dialect":             func(d *webhooks.Delivery) { d.Dialect = "unheard-of@1" },
		"unknown history":             func(d *webhooks.Delivery) { d.History = "some" },
		"a version too far":           func(d *webhooks.Delivery) { d.Version = 2 },
		"a version of nothing":        func(d *webhooks.Delivery) { d.Stream = g.stream("conversation") },
		"a version of a contact":      func(d *webhooks.Delivery) { d.Stream, d.Version = other, 2 },
		"a version of no contact":     func(d *webhooks.Delivery) { d.Stream = g.stream("contact") },
		"a stream that is none":       func(d *webhooks.Delivery) { d.Stream = "conversation" },
		"no version of a stream":      func(d *webhooks.Delivery) { d.Version = 0 },
		"a version far out of bounds": func(d *webhooks.Delivery) { d.Version = -7 },
	} {
		for range 2 { // cold, and when the stream is known
			d := whole
			change(&d)
			if b, err := tr.Body(t.Context(), &d); err == nil || b != nil {
				t.Errorf("%s came to %q, error %v", name, b, err)
			}
			body(t, tr, &whole)
		}
	}
}

// TestBodiesOfWhatWasRead renders as one does who reads the log in order: every
// body is the one made from nothing, nothing is read again, and what has fallen
// out of memory, or was never in it, is.
func TestBodiesOfWhatWasRead(t *testing.T) {
	t.Parallel()
	g := newRig()
	streams := g.fill(t, 60, 3)
	known := g.stream("contact")
	g.add(t, known, contact.Created{Profile: jon}, contact.Updated{Profile: jon}, contact.WidgetTriggered{Contact: jon})
	for _, test := range []struct {
		name   string
		memory int
		first  int64 // position of the first event that is followed
		reads  bool
	}{
		{"warm", projections.TranscriptMemory, 1, false},
		{"without memory", 0, 1, true},
		{"from the middle", projections.TranscriptMemory, g.head(t) / 2, true},
	} {
		log := &countingLog{Store: g.log}
		tr := projections.NewTranscripts(log, g.codec, formats(), test.memory)
		rendered := 0
		for r, err := range g.log.ReadLog(t.Context(), test.first-1) {
			if err != nil {
				t.Fatal(err)
			}
			e, err := g.codec.Decode(&r)
			if err != nil {
				t.Fatal(err)
			}
			f := &webhooks.Fact{Recorded: &r, Event: e}
			if r.Position%3 == 0 {
				if err := tr.Follow(f); err != nil {
					t.Fatal(err)
				}
				continue
			}
			d := &webhooks.Delivery{Stream: r.Stream, Version: r.Version, Dialect: "verbatim@1", Name: r.Type, History: "full"}
			got, err := tr.AppendBody(t.Context(), []byte("behind this "), d, f)
			if want := "behind this " + string(body(t, g.transcripts(), d)); err != nil || string(got) != want {
				t.Fatalf("%s, position %d: error %v (-want +got):\n%s", test.name, r.Position, err, cmp.Diff(want, string(got)))
			}
			rendered++
		}
		if rendered < 20 || (log.read > 0) != test.reads {
			t.Errorf("%s: %d events were read again for %d bodies", test.name, log.read, rendered)
		}
	}
	odd := &webhooks.Fact{Recorded: &eventstore.Recorded{Stream: streams[0], Version: 1, Position: 7}, Event: contact.Created{}}
	if err := g.transcripts().Follow(odd); err == nil || !strings.Contains(err.Error(), "position 7") {
		t.Errorf("a contact's event in a conversation came to %v", err)
	}
}

// mute panics at every body.
type mute struct{ echo }

func (mute) AppendBody([]byte, *webhooks.PublicEvent) ([]byte, error) { panic("injected") }

// A dialect that panics costs its own bodies, and nobody else's.
func TestABodyAtWhichADialectPanics(t *testing.T) {
	t.Parallel()
	g := newRig()
	stream := g.fill(t, 10, 1)[0]
	tr := projections.NewTranscripts(g.log, g.codec, webhooks.NewDialects(echo{"echo@1", false}, mute{echo{"mute@1", false}}), projections.TranscriptMemory)
	d := &webhooks.Delivery{Stream: stream, Version: 2, Dialect: "mute@1", Name: "first", History: "full"}
	for range 2 {
		if b, err := tr.AppendBody(t.Context(), nil, d, nil); err == nil || !strings.Contains(err.Error(), "injected") {
			t.Errorf("it came to %q, error %v", b, err)
		}
	}
	d.Dialect = "echo@1"
	if b, err := tr.AppendBody(t.Context(), nil, d, nil); err != nil || string(b) != "first" {
		t.Errorf("another dialect's came to %q, error %v", b, err)
	}
}

// TestTranscriptsAreSharedSafely asks from many sides at once, in a memory that
// is always too small, while the log grows.
func TestTranscriptsAreSharedSafely(t *testing.T) {
	t.Parallel()
	g := newRig()
	tr := g.transcripts()
	tr.SetLimit(20 << 10)
	streams := g.fill(t, 60, 4)
	type asked struct {
		d    *webhooks.Delivery
		want []byte
	}
	var all []asked
	for _, stream := range streams {
		for _, d := range g.deliveries(t, stream) {
			all = append(all, asked{d, body(t, g.transcripts(), d)})
		}
	}
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for i := range all {
				a := all[(i*(2*worker+1)+worker*37)%len(all)]
				own := *a.d // its trace is set
				b, err := tr.Body(context.Background(), &own)
				if err != nil || !bytes.Equal(b, a.want) {
					t.Errorf("version %d in %s has another body, error %v", a.d.Version, a.d.Dialect, err)
					return
				}
				_, id := eventstore.SplitStream(a.d.Stream)
				c, found, err := tr.Conversation(context.Background(), id, projections.Newest)
				if err != nil || !found || c.Version < a.d.Version || len(c.Labels) != 0 {
					t.Errorf("the conversation is %+v, error %v", c, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		g.add(t, streams[i%4], posted(fmt.Sprint("late", i), jon, "hello"))
	}
	wg.Wait()
}
