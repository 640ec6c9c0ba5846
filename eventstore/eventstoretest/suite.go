package eventstoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"verbatim/eventstore"
)

// Suite holds an engine to what eventstore.Store promises. open returns an empty
// store and sees to its end when t is over; the suite closes one earlier if it
// is an io.Closer, so that to close it twice must do no harm.
//
// Every test ends with a reading of the whole log: positions and versions
// without a gap, digests and hashes that match.
func Suite(t *testing.T, open func(t *testing.T) eventstore.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s eventstore.Store)
	}{
		{"an empty log", testEmpty},
		{"what is appended is read", testAppend},
		{"data are bytes", testData},
		{"times are microseconds", testTimes},
		{"a commit at the wrong version is refused", testConflict},
		{"a commit of several streams is all or nothing", testSeveralStreams},
		{"a stream belongs to an account", testForeign},
		{"an event id is used once", testDuplicate},
		{"a duplicate among neighbours is refused alone", testDuplicateAmongNeighbours},
		{"a refused commit leaves no gap", testNoGaps},
		{"a command is found by its key", testKey},
		{"a key is taken once", testKeyRace},
		{"a refused commit does not take its key", testKeyOfRefused},
		{"limits", testLimits},
		{"reading from a place on", testReadFrom},
		{"reading may stop at any event and begin anew", testReadAgain},
		{"reading ends although appends go on", testReadEnds},
		{"reading keeps little in memory", testReadLarge},
		{"a context that is done", testDoneContext},
		{"readers see no gap while others write", testReadersBesideWriters},
		{"snapshots", testSnapshots},
		{"import keeps what it is given", testImport},
		{"import goes on behind a log", testImportBehind},
		{"import refuses", testImportRefuses},
		{"import names the event at fault", testImportNumber},
		{"export and import make the same log", testCopy},
		{"64 writers on one stream", testOneStream},
		{"64 writers on 64 streams", testManyStreams},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			test.run(t, s)
			verify(t, s)
		})
	}
	t.Run("any use gives the answers of Memory", func(t *testing.T) {
		t.Parallel()
		testModel(t, open)
	})
}

// account is who owns the streams of a test, unless it says otherwise.
const account = "acme"

// at is when everything happens; its nanoseconds are not kept.
func at() time.Time { return time.Date(2024, 2, 29, 23, 59, 59, 123_456_789, time.UTC) }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func newStream() string { return eventstore.StreamName("thing", newID().String()) }

func draft() eventstore.Draft {
	return eventstore.Draft{ID: newID(), Type: "thing.happened", Schema: 1, Time: at(), Data: []byte(`{"a":1}`)}
}

func drafts(n int) []eventstore.Draft {
	ds := make([]eventstore.Draft, n)
	for i := range ds {
		ds[i] = draft()
	}
	return ds
}

// commit is one of n events to one stream.
func commit(stream string, expected int64, n int) eventstore.Commit {
	return eventstore.Commit{
		Account: account,
		Appends: []eventstore.Append{{Stream: stream, Expected: expected, Events: drafts(n)}},
	}
}

func mustAppend(t *testing.T, s eventstore.Store, c eventstore.Commit) (first int64) {
	t.Helper()
	first, err := s.Append(t.Context(), c)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return first
}

// fill appends n events to a stream that is at a version, in commits as large
// as they may be.
func fill(t *testing.T, s eventstore.Store, stream string, version, n int) {
	t.Helper()
	for n > 0 {
		k := min(n, eventstore.MaxCommitSize)
		mustAppend(t, s, commit(stream, int64(version), k))
		version, n = version+k, n-k
	}
}

// collect returns what a sequence yields up to its first error.
func collect(events iter.Seq2[eventstore.Recorded, error]) ([]eventstore.Recorded, error) {
	var all []eventstore.Recorded
	for r, err := range events {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

func readLog(t *testing.T, s eventstore.Store, after int64) []eventstore.Recorded {
	t.Helper()
	all, err := collect(s.ReadLog(t.Context(), after))
	if err != nil {
		t.Fatalf("read the log: %v", err)
	}
	return all
}

func readStream(t *testing.T, s eventstore.Store, stream string, after int64) []eventstore.Recorded {
	t.Helper()
	all, err := collect(s.ReadStream(t.Context(), stream, after))
	if err != nil {
		t.Fatalf("read %s: %v", stream, err)
	}
	return all
}

func head(t *testing.T, s eventstore.Store) int64 {
	t.Helper()
	n, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("read the head: %v", err)
	}
	return n
}

// unchanged runs do and checks that the log is as it was before.
func unchanged(t *testing.T, s eventstore.Store, do func()) {
	t.Helper()
	before := readLog(t, s, 0)
	do()
	same(t, before, readLog(t, s, 0))
}

func same(t *testing.T, want, got []eventstore.Recorded) {
	t.Helper()
	if diff := difference(want, got); diff != "" {
		t.Error(diff)
	}
}

// difference says where two runs of events differ first, or "". Events may be
// millions of bytes, which only the first that differs is worth looking into.
func difference(want, got []eventstore.Recorded) string {
	for i := range min(len(want), len(got)) {
		if !equal(&want[i], &got[i]) {
			return fmt.Sprintf("event %d of %d is another (-want +got):\n%.4000s", i+1, len(want), cmp.Diff(want[i], got[i]))
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("there are %d events; want %d", len(got), len(want))
	}
	return ""
}

func equal(a, b *eventstore.Recorded) bool {
	return a.Position == b.Position && a.Stream == b.Stream && a.Version == b.Version && a.ID == b.ID &&
		a.Type == b.Type && a.Schema == b.Schema && a.Time.Equal(b.Time) && a.Account == b.Account &&
		bytes.Equal(a.Data, b.Data) && bytes.Equal(a.Metadata, b.Metadata) && a.Digest == b.Digest && a.Hash == b.Hash
}

// verify reads the whole log, and each of its streams.
func verify(t *testing.T, s eventstore.Store) {
	t.Helper()
	log := readLog(t, s, 0)
	if got := head(t, s); got != int64(len(log)) {
		t.Errorf("the head is %d; there are %d events", got, len(log))
	}
	streams, ids := make(map[string][]eventstore.Recorded), make(map[uuid.UUID]bool)
	for i, r := range log {
		if r.Position != int64(i)+1 {
			t.Fatalf("event %d of the log has position %d", i+1, r.Position)
		}
		if ids[r.ID] {
			t.Errorf("position %d: the id %s is there twice", r.Position, r.ID)
		}
		ids[r.ID] = true
		if r.Digest != eventstore.Digest(r.Data) {
			t.Errorf("position %d: the digest is not that of the data", r.Position)
		}
		stream := streams[r.Stream]
		if r.Version != int64(len(stream))+1 {
			t.Fatalf("position %d: version %d follows %d of %s", r.Position, r.Version, len(stream), r.Stream)
		}
		var previous eventstore.Recorded
		if len(stream) > 0 {
			previous = stream[len(stream)-1]
			if previous.Account != r.Account {
				t.Errorf("position %d: %s changes its account", r.Position, r.Stream)
			}
		}
		if r.Hash != eventstore.Chain(previous.Hash, &r) {
			t.Errorf("position %d: the hash does not follow from that of version %d", r.Position, previous.Version)
		}
		streams[r.Stream] = append(stream, r)
	}
	for stream, want := range streams {
		same(t, want, readStream(t, s, stream, 0))
	}
}

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

// readPages is more than two pages of any engine.
const readPages = 1300

func testReadFrom(t *testing.T, s eventstore.Store) {
	long, other := newStream(), newStream()
	fill(t, s, long, 0, readPages)
	fill(t, s, other, 0, 30)
	fill(t, s, long, readPages, 30)
	log, stream := readLog(t, s, 0), readStream(t, s, long, 0)
	if len(log) != readPages+60 || len(stream) != readPages+30 {
		t.Fatalf("read %d and %d events; want %d and %d", len(log), len(stream), readPages+60, readPages+30)
	}
	for _, after := range []int64{-1, 1, 511, 512, 513, readPages - 1, readPages, readPages + 29, readPages + 30, readPages + 60, 1 << 62} {
		same(t, log[min(max(after, 0), int64(len(log))):], readLog(t, s, after))
		same(t, stream[min(max(after, 0), int64(len(stream))):], readStream(t, s, long, after))
	}
	same(t, log[readPages:readPages+30], readStream(t, s, other, 0))
}

func testReadAgain(t *testing.T, s eventstore.Store) {
	stream := newStream()
	fill(t, s, stream, 0, readPages)
	for _, events := range []iter.Seq2[eventstore.Recorded, error]{
		s.ReadLog(t.Context(), 10), s.ReadStream(t.Context(), stream, 10),
	} {
		for _, most := range []int{1, 512, 513, readPages, 3} {
			n := 0
			for r, err := range events {
				if err != nil {
					t.Fatal(err)
				}
				n++
				if r.Version != int64(10+n) {
					t.Fatalf("event %d is version %d; want %d", n, r.Version, 10+n)
				}
				if n == most {
					break
				}
			}
			if want := min(most, readPages-10); n != want {
				t.Errorf("read %d events; want %d", n, want)
			}
		}
	}
	// Whoever stops holds nothing up: any number of readers may.
	for range 100 {
		for range s.ReadLog(t.Context(), 0) {
			break
		}
	}
}

func testReadEnds(t *testing.T, s eventstore.Store) {
	stream := newStream()
	const before = 600
	fill(t, s, stream, 0, before)
	version := int64(before)
	for name, events := range map[string]iter.Seq2[eventstore.Recorded, error]{
		"log": s.ReadLog(t.Context(), 0), "stream": s.ReadStream(t.Context(), stream, 0),
	} {
		there, n := version, int64(0)
		for r, err := range events {
			if err != nil {
				t.Fatal(err)
			}
			if n++; r.Version != n {
				t.Fatalf("%s: event %d is version %d", name, n, r.Version)
			}
			if n > 3*there {
				t.Fatalf("%s: read %d events and no end; there were %d", name, n, there)
			}
			mustAppend(t, s, commit(stream, version, 1))
			version++
		}
		if n < there {
			t.Errorf("%s: read %d events of %d", name, n, there)
		}
	}
}

func testReadLarge(t *testing.T, s eventstore.Store) {
	stream := newStream()
	const n = 40
	for version := range int64(n) {
		c := commit(stream, version, 1)
		c.Appends[0].Events[0].Data = bytes.Repeat([]byte{byte('a' + version%26)}, 1<<20)
		mustAppend(t, s, c)
	}
	got := readStream(t, s, stream, 1)
	if len(got) != n-1 || !slices.IsSortedFunc(got, func(a, b eventstore.Recorded) int { return int(a.Version - b.Version) }) {
		t.Errorf("read %d large events; want %d in order", len(got), n-1)
	}
}

func testDoneContext(t *testing.T, s eventstore.Store) {
	stream := newStream()
	fill(t, s, stream, 0, readPages)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_, appending := s.Append(done, commit(newStream(), 0, 1))
	_, asking := s.Head(done)
	_, finding := s.FindCommand(done, account, "k")
	_, loading := s.LoadSnapshot(done, stream)
	log, logging := collect(s.ReadLog(done, 0))
	events, streaming := collect(s.ReadStream(done, stream, 0))
	_, importing := s.Import(done, sequence(line(newStream(), 1)))
	for i, err := range []error{appending, asking, finding, loading, logging, streaming, importing} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d: error is %v; want that of the context", i+1, err)
		}
	}
	if len(log)+len(events) > 0 {
		t.Errorf("read %d and %d events; want none", len(log), len(events))
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for r, err := range s.ReadLog(ctx, 0) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v; want that of the context", err)
			}
			if n < 3 {
				t.Errorf("the error came after %d events", n)
			}
			break
		}
		if n++; r.Position != int64(n) {
			t.Fatalf("event %d is at %d", n, r.Position)
		}
		if n == 3 {
			cancel()
		}
	}
	fill(t, s, stream, readPages, 1) // the store goes on
}

func testReadersBesideWriters(t *testing.T, s eventstore.Store) {
	const writers, each = 8, 40
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			seen := int64(0)
			for ctx.Err() == nil {
				for r, err := range s.ReadLog(t.Context(), seen) {
					if err != nil || r.Position != seen+1 {
						t.Errorf("read position %d, %v behind %d", r.Position, err, seen)
						return
					}
					seen = r.Position
				}
				if at, err := s.Head(t.Context()); err != nil || at < seen {
					t.Errorf("the head is %d, %v; %d was read", at, err, seen)
					return
				}
			}
		})
	}
	atOnce(writers, func(int) {
		stream := newStream()
		for k := range int64(each) {
			first, err := s.Append(t.Context(), commit(stream, 2*k, 2))
			if err != nil {
				t.Errorf("append: %v", err)
				return
			}
			// What is acknowledged is there for everybody.
			if at, err := s.Head(t.Context()); err != nil || at < first+1 {
				t.Errorf("the head is %d, %v; %d was just appended", at, err, first+1)
			}
			if got, err := collect(s.ReadStream(t.Context(), stream, 2*k)); err != nil || len(got) != 2 || got[0].Position != first {
				t.Errorf("read back %d events, %v", len(got), err)
			}
		}
	})
	stop()
	readers.Wait()
}

func testSnapshots(t *testing.T, s eventstore.Store) {
	a, b := newStream(), newStream()
	state := func(text string) []byte { return []byte(`{"is":"` + text + `"}`) }
	// A snapshot is kept some time later. Each marker is known by its version.
	marks := int64(0)
	settle := func() {
		t.Helper()
		marks++
		for range 1000 {
			s.SaveSnapshot(eventstore.Snapshot{Stream: b, Version: marks, Schema: 1, State: state("mark")})
			mustAppend(t, s, commit(newStream(), 0, 1))
			if got, err := s.LoadSnapshot(t.Context(), b); err == nil && got.Version == marks {
				return
			}
		}
		t.Fatal("a snapshot was not kept")
	}
	for _, step := range []struct {
		name       string
		save, want eventstore.Snapshot
	}{
		{
			"the first is kept",
			eventstore.Snapshot{Stream: a, Version: 200, Schema: 1, State: state("first")},
			eventstore.Snapshot{Stream: a, Version: 200, Schema: 1, State: state("first")},
		},
		{
			"an older one is not",
			eventstore.Snapshot{Stream: a, Version: 199, Schema: 1, State: state("older")},
			eventstore.Snapshot{Stream: a, Version: 200, Schema: 1, State: state("first")},
		},
		{
			"a newer one is",
			eventstore.Snapshot{Stream: a, Version: 300, Schema: 1, State: state("newer")},
			eventstore.Snapshot{Stream: a, Version: 300, Schema: 1, State: state("newer")},
		},
		{
			"one of another schema is, whatever its version",
			eventstore.Snapshot{Stream: a, Version: 250, Schema: 2, State: state("other")},
			eventstore.Snapshot{Stream: a, Version: 250, Schema: 2, State: state("other")},
		},
		{
			"and from there on it goes by version",
			eventstore.Snapshot{Stream: a, Version: 251, Schema: 2, State: state("last")},
			eventstore.Snapshot{Stream: a, Version: 251, Schema: 2, State: state("last")},
		},
	} {
		s.SaveSnapshot(step.save)
		settle()
		got, err := s.LoadSnapshot(t.Context(), a)
		if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", step.name, err, diff)
		}
	}
}

// line is an event as it would stand in a file, but for its position.
func line(stream string, version int64) eventstore.Recorded {
	return eventstore.Recorded{
		Stream: stream, Version: version, ID: newID(), Type: "thing.happened", Schema: 2,
		Time: at().Truncate(time.Microsecond).Add(time.Duration(-version) * time.Hour), Account: account,
		Data: fmt.Appendf(nil, `{"v":%d}`, version), Metadata: []byte(`{"actor":"import"}`),
	}
}

// lines is a file of n events in two streams, with their positions.
func lines(n int) []eventstore.Recorded {
	streams := [2]string{newStream(), newStream()}
	file := make([]eventstore.Recorded, n)
	for i := range file {
		file[i] = line(streams[i%2], int64(i/2)+1)
		file[i].Position = int64(i) + 1
	}
	return file
}

func sequence(events ...eventstore.Recorded) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		for _, r := range events {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func mustImport(t *testing.T, s eventstore.Store, file []eventstore.Recorded) {
	t.Helper()
	if n, err := s.Import(t.Context(), sequence(file...)); err != nil || n != int64(len(file)) {
		t.Fatalf("imported %d events, %v; want %d", n, err, len(file))
	}
}

// imported checks that events are those of a file, from a position on.
func imported(t *testing.T, file, got []eventstore.Recorded, first int64) {
	t.Helper()
	want := slices.Clone(file)
	for i := range want {
		want[i].Position = first + int64(i)
		if i < len(got) {
			want[i].Digest, want[i].Hash = got[i].Digest, got[i].Hash // made anew, and proven by verify
		}
	}
	same(t, want, got)
}

func testImport(t *testing.T, s eventstore.Store) {
	mustImport(t, s, nil)
	file := lines(300)
	for i := range file {
		file[i].Digest[0], file[i].Hash[0] = 1, 1 // not to be believed
	}
	mustImport(t, s, file)
	imported(t, file, readLog(t, s, 0), 1)
	// Streams go on where the file left them, and their owner stays.
	mustAppend(t, s, commit(file[0].Stream, 150, 1))
	c := commit(file[1].Stream, 150, 1)
	c.Account = "other"
	if _, err := s.Append(t.Context(), c); !errors.Is(err, eventstore.ErrForeign) {
		t.Errorf("append to an imported stream of another account: %v; want ErrForeign", err)
	}
}

func testImportBehind(t *testing.T, s eventstore.Store) {
	known := newStream()
	fill(t, s, known, 0, 5)
	file := lines(20)
	for i := range file {
		file[i].Position = 7 * int64(20-i) // of no matter here
	}
	more := line(known, 6)
	mustImport(t, s, append(file, more))
	imported(t, append(file, more), readLog(t, s, 5), 6)
	mustImport(t, s, []eventstore.Recorded{line(known, 7)})
	fill(t, s, known, 7, 1)
}

func testImportRefuses(t *testing.T, s eventstore.Store) {
	broken := errors.New("the file is broken")
	for _, state := range []string{"empty", "not empty"} {
		if state == "not empty" {
			fill(t, s, newStream(), 0, 3)
		}
		known := readLog(t, s, 0)
		for _, tt := range []struct {
			name   string
			change func(file []eventstore.Recorded)
			number int64
			want   error
			only   string // a log of that state
		}{
			{"does not begin at 1", func(f []eventstore.Recorded) { f[0].Position = 2 }, 1, eventstore.ErrPositionGap, "empty"},
			{"has a gap", func(f []eventstore.Recorded) { f[6].Position = 8 }, 7, eventstore.ErrPositionGap, "empty"},
			{"has a position twice", func(f []eventstore.Recorded) { f[6].Position = 6 }, 7, eventstore.ErrPositionGap, "empty"},
			{"has a stream that begins late", func(f []eventstore.Recorded) { f[0].Version = 2 }, 1, eventstore.ErrVersionGap, ""},
			{"has a stream with a gap", func(f []eventstore.Recorded) { f[6].Version = 5 }, 7, eventstore.ErrVersionGap, ""},
			{"has a version twice", func(f []eventstore.Recorded) { f[6].Version = 3 }, 7, eventstore.ErrVersionGap, ""},
			{"has an id twice", func(f []eventstore.Recorded) { f[8].ID = f[1].ID }, 9, eventstore.ErrDuplicate, ""},
			{"has an id of the log", func(f []eventstore.Recorded) { f[5].ID = known[1].ID }, 6, eventstore.ErrDuplicate, "not empty"},
			{"has two accounts in a stream", func(f []eventstore.Recorded) { f[9].Account = "other" }, 10, eventstore.ErrForeign, ""},
			{
				"adds to a stream of another account",
				func(f []eventstore.Recorded) {
					f[9].Stream, f[9].Version, f[9].Account = known[0].Stream, 4, "other"
				},
				10, eventstore.ErrForeign, "not empty",
			},
			{
				"begins a stream that is there",
				func(f []eventstore.Recorded) { f[0].Stream = known[0].Stream },
				1, eventstore.ErrVersionGap, "not empty",
			},
			{
				"has an event that is too large",
				func(f []eventstore.Recorded) { f[4].Data = make([]byte, eventstore.MaxEventSize+1) },
				5, eventstore.ErrTooLarge, "",
			},
		} {
			if tt.only != "" && tt.only != state {
				continue
			}
			unchanged(t, s, func() {
				file := lines(12)
				tt.change(file)
				n, err := s.Import(t.Context(), sequence(file...))
				fault, ok := errors.AsType[*eventstore.ImportError](err)
				if n != 0 || !ok || fault.Number != tt.number || !errors.Is(err, tt.want) {
					t.Errorf("into a log that is %s, a file that %s: %d, %v; want 0 and event %d: %v",
						state, tt.name, n, err, tt.number, tt.want)
				}
			})
		}
		unchanged(t, s, func() {
			n, err := s.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) {
				for _, r := range lines(5) {
					if !yield(r, nil) {
						return
					}
				}
				yield(eventstore.Recorded{}, broken)
			})
			if n != 0 || !errors.Is(err, broken) {
				t.Errorf("a broken file: %d, %v; want 0 and its error", n, err)
			}
		})
		unchanged(t, s, func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n, err := s.Import(ctx, func(yield func(eventstore.Recorded, error) bool) {
				for _, r := range lines(5) {
					if r.Position == 4 {
						cancel()
					}
					if !yield(r, nil) {
						return
					}
				}
			})
			if n != 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("a context that ends meanwhile: %d, %v; want 0 and its error", n, err)
			}
		})
	}
	// What was refused left nothing behind in memory either.
	mustAppend(t, s, commit(newStream(), 0, 1))
}

func testImportNumber(t *testing.T, s eventstore.Store) {
	for _, number := range []int{1, 2, 64, 65, 128, 130, 257, 300} {
		file := lines(300)
		if number > 1 {
			file[number-1].ID = file[number/2-1].ID
		} else {
			c := commit(newStream(), 0, 1)
			c.Appends[0].Events[0].ID = file[0].ID
			mustAppend(t, s, c)
		}
		unchanged(t, s, func() {
			_, err := s.Import(t.Context(), sequence(file...))
			fault, ok := errors.AsType[*eventstore.ImportError](err)
			if !ok || fault.Number != int64(number) || !errors.Is(err, eventstore.ErrDuplicate) {
				t.Errorf("error is %v; want event %d: %v", err, number, eventstore.ErrDuplicate)
			}
		})
	}
	mustImport(t, s, lines(300))
}

// testCopy: what an engine keeps does not depend on the engine, hashes included.
func testCopy(t *testing.T, s eventstore.Store) {
	original := NewMemory()
	a, b := newStream(), newStream()
	fill(t, original, a, 0, 40)
	fill(t, original, b, 0, 40)
	fill(t, original, a, 40, 1)
	if n, err := s.Import(t.Context(), original.ReadLog(t.Context(), 0)); n != 81 || err != nil {
		t.Fatalf("imported %d events, %v; want 81", n, err)
	}
	same(t, readLog(t, original, 0), readLog(t, s, 0))

	again := NewMemory()
	if _, err := again.Import(t.Context(), s.ReadLog(t.Context(), 0)); err != nil {
		t.Fatal(err)
	}
	same(t, readLog(t, original, 0), readLog(t, again, 0))
}

// added is the one fact of the tallies that writers count together on.
type added struct {
	By int `json:"by"`
}

// EventType returns "tally.added".
func (added) EventType() string { return "tally.added" }

type tallies = eventstore.Aggregates[int, int, added]

// newTallies returns an executor of commands that say how much to add.
func newTallies(s eventstore.Store) *tallies {
	return eventstore.NewAggregates(s, eventstore.NewCodec(eventstore.KindOf[added]()), at, eventstore.Rules[int, int, added]{
		Kind: "tally", Schema: 1,
		Decide: func(_, by int, _ time.Time) ([]added, error) { return []added{{by}}, nil },
		Evolve: func(sum int, e added) int { return sum + e.By },
	})
}

func testOneStream(t *testing.T, s eventstore.Store) {
	const writers, each = 64, 5
	executors := [2]*tallies{newTallies(s), newTallies(s)} // as in two processes
	id := newID().String()
	var taken [writers*each + 1]atomic.Bool
	atOnce(writers, func(i int) {
		for range each {
			order := eventstore.Order[int, int]{Account: account, ID: id, Command: i}
			done, err := executors[i%2].Execute(t.Context(), order)
			for errors.Is(err, eventstore.ErrConflict) { // the other process was quicker MaxTries times
				done, err = executors[i%2].Execute(t.Context(), order)
			}
			if err != nil {
				t.Errorf("execute: %v", err)
				return
			}
			if taken[done.Version].Swap(true) {
				t.Errorf("version %d was given to two", done.Version)
			}
		}
	})
	const want = each * writers * (writers - 1) / 2
	for _, x := range executors {
		sum, version, err := x.State(t.Context(), account, id)
		if err != nil || sum != want || version != writers*each {
			t.Errorf("the sum is %d at version %d, %v; want %d at %d", sum, version, err, want, writers*each)
		}
	}
}

func testManyStreams(t *testing.T, s eventstore.Store) {
	const writers, each = 64, 10
	x := newTallies(s)
	atOnce(writers, func(i int) {
		id := newID().String()
		for k := range each {
			done, err := x.Execute(t.Context(), eventstore.Order[int, int]{Account: account, ID: id, Command: i})
			if err != nil || done.Version != int64(k)+1 || done.State != i*(k+1) {
				t.Errorf("execute: %d at version %d, %v; want %d at %d", done.State, done.Version, err, i*(k+1), k+1)
				return
			}
		}
	})
	if got := head(t, s); got != writers*each {
		t.Errorf("the head is %d; want %d", got, writers*each)
	}
}
