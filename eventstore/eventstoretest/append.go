//nolint:thelper // These are the tests themselves: a failure is where it says.
package eventstoretest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/eventstore"
)

func testEmpty(t *testing.T, s eventstore.Store) {
	if got := head(t, s); got != 0 {
		t.Errorf("the head is %d; want 0", got)
	}
	for _, after := range []int64{-1, 0, 1, 1 << 62} {
		same(t, nil, readLog(t, s, after))
		same(t, nil, readStream(t, s, newStream(), after))
	}
	if _, err := s.FindCommand(t.Context(), account, "key"); !errors.Is(err, eventstore.ErrNotFound) {
		t.Errorf("find a command: %v; want ErrNotFound", err)
	}
	if _, err := s.LoadSnapshot(t.Context(), newStream()); !errors.Is(err, eventstore.ErrNotFound) {
		t.Errorf("load a snapshot: %v; want ErrNotFound", err)
	}
	if first := mustAppend(t, s, eventstore.Commit{Account: account}); first != 0 {
		t.Errorf("a commit of nothing is at %d; want 0", first)
	}
	if first := mustAppend(t, s, commit(newStream(), 0, 0)); first != 0 {
		t.Errorf("a commit of no events is at %d; want 0", first)
	}
}

func testAppend(t *testing.T, s eventstore.Store) {
	stream := newStream()
	first := eventstore.Draft{ID: newID(), Type: "thing.made", Schema: 3, Time: at(), Data: []byte(`{"b":[]}`)}
	second, third := draft(), draft()
	metadata := eventstore.Metadata{Actor: "key:<1>&", Command: "c", Correlation: "r", Causation: "a", Trace: "t"}
	position := mustAppend(t, s, eventstore.Commit{
		Account: account, Metadata: metadata,
		Appends: []eventstore.Append{{Stream: stream, Events: []eventstore.Draft{first, second}}},
	})
	if position != 1 {
		t.Errorf("the first event is at %d; want 1", position)
	}
	position = mustAppend(t, s, eventstore.Commit{
		Account: account,
		Appends: []eventstore.Append{{Stream: stream, Expected: 2, Events: []eventstore.Draft{third}}},
	})
	if position != 3 {
		t.Errorf("the third event is at %d; want 3", position)
	}
	got := readStream(t, s, stream, 0)
	if len(got) != 3 {
		t.Fatalf("read %d events; want 3", len(got))
	}
	for i, d := range []eventstore.Draft{first, second, third} {
		r := got[i]
		want := eventstore.Recorded{
			Position: int64(i) + 1, Stream: stream, Version: int64(i) + 1, ID: d.ID, Type: d.Type, Schema: d.Schema,
			Time: at().Truncate(time.Microsecond), Account: account, Data: d.Data,
			Metadata: r.Metadata, Digest: r.Digest, Hash: r.Hash,
		}
		if diff := cmp.Diff(want, r); diff != "" {
			t.Errorf("event %d (-want +got):\n%s", i+1, diff)
		}
		if i == 2 {
			metadata = eventstore.Metadata{}
		}
		if got := r.DecodeMetadata(); got != metadata {
			t.Errorf("event %d: metadata is %+v; want %+v", i+1, got, metadata)
		}
	}
	same(t, got, readLog(t, s, 0))
}

func testData(t *testing.T, s eventstore.Store) {
	stream := newStream()
	c := commit(stream, 0, 6)
	events := c.Appends[0].Events
	for i, data := range []string{
		`{}`, "{ \"a\" :\t1.0,\n\"a\":1e2}", `{"t":"<&>\u003c\u2028` + "\u2028" + `é😀"}`,
		"\x00\xff\xfe not JSON at all", strings.Repeat("x", 70_000), " ",
	} {
		events[i].Data = []byte(data)
	}
	mustAppend(t, s, c)
	for i, r := range readStream(t, s, stream, 0) {
		if !bytes.Equal(r.Data, events[i].Data) {
			t.Errorf("%.99q came back as %.99q", events[i].Data, r.Data)
		}
	}
	// What was read is the reader's to change.
	unchanged(t, s, func() {
		for _, r := range readLog(t, s, 0) {
			clear(r.Data)
			clear(r.Metadata)
		}
	})
}

func testTimes(t *testing.T, s eventstore.Store) {
	times := []time.Time{
		at(),
		at().In(time.FixedZone("", -7*3600)),
		time.Date(2019, 6, 14, 8, 7, 44, 789e6, time.UTC),
		time.Date(1969, 7, 20, 20, 17, 40, 1_999, time.UTC),
		time.Date(1, 1, 1, 0, 0, 0, 1_000, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
	}
	stream := newStream()
	c := commit(stream, 0, len(times))
	for i := range times {
		c.Appends[0].Events[i].Time = times[i]
	}
	mustAppend(t, s, c)
	for i, r := range readStream(t, s, stream, 0) {
		if want := times[i].UTC().Truncate(time.Microsecond); !r.Time.Equal(want) || r.Time.Location() != time.UTC {
			t.Errorf("%v came back as %v; want %v", times[i], r.Time, want)
		}
	}
}

func testConflict(t *testing.T, s eventstore.Store) {
	known, unknown := newStream(), newStream()
	fill(t, s, known, 0, 3)
	for _, want := range []eventstore.ConflictError{
		{Stream: known, Expected: 0, Actual: 3},
		{Stream: known, Expected: 2, Actual: 3},
		{Stream: known, Expected: 4, Actual: 3},
		{Stream: known, Expected: -1, Actual: 3},
		{Stream: unknown, Expected: 1, Actual: 0},
	} {
		for n := range 3 { // also a commit of no events is one at a version
			unchanged(t, s, func() {
				_, err := s.Append(t.Context(), commit(want.Stream, want.Expected, n))
				conflict, ok := errors.AsType[*eventstore.ConflictError](err)
				if !ok || *conflict != want || !errors.Is(err, eventstore.ErrConflict) {
					t.Errorf("%d events: error is %v; want %v", n, err, &want)
				}
			})
		}
	}
	fill(t, s, known, 3, 1)
}

func testSeveralStreams(t *testing.T, s eventstore.Store) {
	a, b, c := newStream(), newStream(), newStream()
	first := mustAppend(t, s, eventstore.Commit{Account: account, Appends: []eventstore.Append{
		{Stream: a, Events: drafts(2)}, {Stream: b}, {Stream: c, Events: drafts(1)},
	}})
	log := readLog(t, s, 0)
	if first != 1 || len(log) != 3 || log[1].Stream != a || log[2].Stream != c {
		t.Fatalf("at %d there are %d events; want 3 at 1, in the order of the commit", first, len(log))
	}
	for name, appends := range map[string][]eventstore.Append{
		"the last does not match":   {{Stream: a, Expected: 2, Events: drafts(1)}, {Stream: b, Events: drafts(2)}, {Stream: c, Events: drafts(1)}},
		"the first does not match":  {{Stream: a, Expected: 1, Events: drafts(1)}, {Stream: c, Expected: 1, Events: drafts(1)}},
		"a stream only looked at":   {{Stream: a, Expected: 2, Events: drafts(1)}, {Stream: c, Expected: 2}},
		"the same stream twice":     {{Stream: b, Events: drafts(1)}, {Stream: b, Expected: 1, Events: drafts(1)}},
		"the same stream not twice": {{Stream: b, Events: drafts(1)}, {Stream: b, Events: drafts(1)}},
	} {
		unchanged(t, s, func() {
			_, err := s.Append(t.Context(), eventstore.Commit{Account: account, Appends: appends})
			if err == nil || strings.Contains(name, "match") && !errors.Is(err, eventstore.ErrConflict) {
				t.Errorf("%s: error is %v", name, err)
			}
		})
	}
	mustAppend(t, s, eventstore.Commit{Account: account, Appends: []eventstore.Append{
		{Stream: c, Expected: 1, Events: drafts(1)}, {Stream: b, Events: drafts(1)}, {Stream: a, Expected: 2, Events: drafts(1)},
	}})
}

func testForeign(t *testing.T, s eventstore.Store) {
	ours, theirs := newStream(), newStream()
	fill(t, s, ours, 0, 2)
	for _, expected := range []int64{0, 1, 2, 3} {
		unchanged(t, s, func() {
			c := commit(ours, expected, 1)
			c.Account = "other"
			if _, err := s.Append(t.Context(), c); !errors.Is(err, eventstore.ErrForeign) {
				t.Errorf("at version %d: error is %v; want ErrForeign, whatever the version", expected, err)
			}
		})
	}
	unchanged(t, s, func() {
		c := commit(theirs, 0, 1)
		c.Account = "other"
		c.Appends = append(c.Appends, eventstore.Append{Stream: ours, Expected: 2, Events: drafts(1)})
		if _, err := s.Append(t.Context(), c); !errors.Is(err, eventstore.ErrForeign) {
			t.Errorf("with a stream of their own: error is %v; want ErrForeign", err)
		}
	})
	c := commit(theirs, 0, 1)
	c.Account = "other"
	mustAppend(t, s, c)
}

func testDuplicate(t *testing.T, s eventstore.Store) {
	stream := newStream()
	c := commit(stream, 0, 2)
	mustAppend(t, s, c)
	known := c.Appends[0].Events[0]
	for name, events := range map[string][]eventstore.Draft{
		"alone":                    {known},
		"behind new ones":          {draft(), draft(), known},
		"before a new one":         {known, draft()},
		"twice in the same commit": slices.Repeat(drafts(1), 2),
	} {
		for _, to := range []eventstore.Append{{Stream: stream, Expected: 2, Events: events}, {Stream: newStream(), Events: events}} {
			unchanged(t, s, func() {
				_, err := s.Append(t.Context(), eventstore.Commit{Account: account, Appends: []eventstore.Append{to}})
				if !errors.Is(err, eventstore.ErrDuplicate) {
					t.Errorf("%s: error is %v; want ErrDuplicate", name, err)
				}
			})
		}
	}
	fill(t, s, stream, 2, 1)
}

func testDuplicateAmongNeighbours(t *testing.T, s eventstore.Store) {
	const writers, each = 64, 4
	c := commit(newStream(), 0, 1)
	mustAppend(t, s, c)
	known := c.Appends[0].Events[0]
	var good atomic.Int64
	atOnce(writers, func(i int) {
		stream := newStream()
		for k := range int64(each) {
			c := commit(stream, 2*k, 2)
			if i%8 == 3 && k == 2 {
				c.Appends[0].Events[1].ID = known.ID
				c.Key = &eventstore.Key{Name: stream}
				if _, err := s.Append(t.Context(), c); !errors.Is(err, eventstore.ErrDuplicate) {
					t.Errorf("with a known id: error is %v; want ErrDuplicate", err)
				}
				if _, err := s.FindCommand(t.Context(), account, stream); !errors.Is(err, eventstore.ErrNotFound) {
					t.Errorf("the key of a refused commit: %v; want ErrNotFound", err)
				}
				return
			}
			if _, err := s.Append(t.Context(), c); err != nil {
				t.Errorf("beside a known id: %v", err)
				return
			}
			good.Add(2)
		}
	})
	if got := head(t, s); got != good.Load()+1 {
		t.Errorf("the head is %d; want %d", got, good.Load()+1)
	}
}

// atOnce runs do n times, all beside each other.
func atOnce(n int, do func(i int)) {
	var start, end sync.WaitGroup
	start.Add(n)
	for i := range n {
		end.Go(func() {
			start.Done()
			start.Wait()
			do(i)
		})
	}
	end.Wait()
}

func testNoGaps(t *testing.T, s eventstore.Store) {
	const writers, each = 16, 12
	contested := newStream()
	fill(t, s, contested, 0, 1)
	known := readLog(t, s, 0)[0].ID
	var committed atomic.Int64
	atOnce(writers, func(i int) {
		stream, version := newStream(), int64(0)
		for k := range each {
			c := commit(stream, version, 1+k%3)
			var want error
			switch (i + k) % 5 {
			case 0:
				c.Appends[0].Expected++
				want = eventstore.ErrConflict
			case 1:
				c.Appends[0].Events[0].ID = known
				want = eventstore.ErrDuplicate
			case 2:
				c.Appends = append(c.Appends, eventstore.Append{Stream: contested, Expected: 1})
				c.Account = "other"
				want = eventstore.ErrForeign
			}
			_, err := s.Append(t.Context(), c)
			if !errors.Is(err, want) {
				t.Errorf("error is %v; want %v", err, want)
			}
			if err == nil {
				version += int64(len(c.Appends[0].Events))
				committed.Add(int64(len(c.Appends[0].Events)))
			}
		}
	})
	if got := head(t, s); got != committed.Load()+1 {
		t.Errorf("the head is %d; want %d", got, committed.Load()+1)
	}
}

func key(name string) *eventstore.Key {
	return &eventstore.Key{Name: name, Fingerprint: eventstore.Digest([]byte("body of " + name))}
}

func testKey(t *testing.T, s eventstore.Store) {
	fill(t, s, newStream(), 0, 3)
	a, b := newStream(), newStream()
	twoStreams := commit(a, 0, 2)
	twoStreams.Appends = append(twoStreams.Appends, eventstore.Append{Stream: b, Events: drafts(3)})
	twoStreams.Key = key("two streams")
	mustAppend(t, s, twoStreams)
	more := commit(b, 3, 1)
	more.Key = key("more")
	mustAppend(t, s, more)
	noEvents := commit(b, 4, 0)
	noEvents.Key = key("no events")
	if first := mustAppend(t, s, noEvents); first != 0 {
		t.Errorf("a commit without events is at %d; want 0", first)
	}
	nothing := eventstore.Commit{Account: account, Key: key("nothing")}
	mustAppend(t, s, nothing)
	theirs := commit(newStream(), 0, 1)
	theirs.Account, theirs.Key = "other", &eventstore.Key{Name: "more", Fingerprint: eventstore.Digest([]byte("theirs"))}
	mustAppend(t, s, theirs)

	for _, tt := range []struct {
		account string
		want    eventstore.Command
	}{
		{account, eventstore.Command{Key: *twoStreams.Key, Stream: b, First: 4, Last: 8, Version: 3}},
		{account, eventstore.Command{Key: *more.Key, Stream: b, First: 9, Last: 9, Version: 4}},
		{account, eventstore.Command{Key: *noEvents.Key, Stream: b, Version: 4}},
		{account, eventstore.Command{Key: *nothing.Key}},
		{"other", eventstore.Command{Key: *theirs.Key, Stream: theirs.Appends[0].Stream, First: 10, Last: 10, Version: 1}},
	} {
		got, err := s.FindCommand(t.Context(), tt.account, tt.want.Key.Name)
		if err != nil {
			t.Errorf("find %q: %v", tt.want.Key.Name, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q of %s (-want +got):\n%s", tt.want.Key.Name, tt.account, diff)
		}
	}
	if _, err := s.FindCommand(t.Context(), "other", "nothing"); !errors.Is(err, eventstore.ErrNotFound) {
		t.Errorf("the key of another account: %v; want ErrNotFound", err)
	}

	again := commit(b, 4, 1)
	for _, name := range []string{"two streams", "more", "no events", "nothing"} {
		again.Key = key(name)
		for range 2 { // the fingerprint does not matter
			unchanged(t, s, func() {
				if _, err := s.Append(t.Context(), again); !errors.Is(err, eventstore.ErrKeyUsed) {
					t.Errorf("%q again: error is %v; want ErrKeyUsed", name, err)
				}
			})
			again.Key.Fingerprint[0]++
		}
	}
	empty := eventstore.Commit{Account: account, Key: key("nothing")}
	if _, err := s.Append(t.Context(), empty); !errors.Is(err, eventstore.ErrKeyUsed) {
		t.Errorf("a commit of nothing again: error is %v; want ErrKeyUsed", err)
	}
}

func testKeyRace(t *testing.T, s eventstore.Store) {
	const writers = 32
	var first atomic.Int64
	var won atomic.Int32
	atOnce(writers, func(int) {
		c := commit(newStream(), 0, 2)
		c.Key = key("one")
		switch at, err := s.Append(t.Context(), c); {
		case err == nil:
			won.Add(1)
			first.Store(at)
		case !errors.Is(err, eventstore.ErrKeyUsed):
			t.Errorf("error is %v; want ErrKeyUsed", err)
		}
	})
	c, err := s.FindCommand(t.Context(), account, "one")
	if err != nil || won.Load() != 1 || c.First != first.Load() || head(t, s) != 2 {
		t.Errorf("%d of %d commits with one key went through; the command is %+v, %v", won.Load(), writers, c, err)
	}
}

func testKeyOfRefused(t *testing.T, s eventstore.Store) {
	ours := newStream()
	fill(t, s, ours, 0, 1)
	known := readLog(t, s, 0)[0].ID
	conflict, duplicate, foreign := commit(ours, 0, 1), commit(ours, 1, 1), commit(ours, 1, 1)
	duplicate.Appends[0].Events[0].ID = known
	foreign.Account = "other"
	for _, tt := range []struct {
		c    eventstore.Commit
		want error
	}{
		{conflict, eventstore.ErrConflict}, {duplicate, eventstore.ErrDuplicate}, {foreign, eventstore.ErrForeign},
	} {
		tt.c.Key = key("k")
		if _, err := s.Append(t.Context(), tt.c); !errors.Is(err, tt.want) {
			t.Errorf("error is %v; want %v", err, tt.want)
		}
		if _, err := s.FindCommand(t.Context(), tt.c.Account, "k"); !errors.Is(err, eventstore.ErrNotFound) {
			t.Errorf("after %v the key is taken: %v", tt.want, err)
		}
	}
	good := commit(ours, 1, 1)
	good.Key = key("k")
	mustAppend(t, s, good)
}

func testLimits(t *testing.T, s eventstore.Store) {
	stream := newStream()
	large := commit(stream, 0, 2)
	large.Appends[0].Events[1].Data = bytes.Repeat([]byte{' '}, eventstore.MaxEventSize+1)
	many := commit(stream, 0, eventstore.MaxCommitSize)
	many.Appends = append(many.Appends, eventstore.Append{Stream: newStream(), Events: drafts(1)})
	for _, c := range []eventstore.Commit{large, many} {
		unchanged(t, s, func() {
			if _, err := s.Append(t.Context(), c); !errors.Is(err, eventstore.ErrTooLarge) {
				t.Errorf("error is %v; want ErrTooLarge", err)
			}
		})
	}
	large.Appends[0].Events[1].Data = large.Appends[0].Events[1].Data[1:]
	mustAppend(t, s, large)
	many.Appends[0].Expected, many.Appends = 2, many.Appends[:1]
	mustAppend(t, s, many)
}
