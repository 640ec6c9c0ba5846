//nolint:thelper // These are the tests themselves: a failure is where it says.
package eventstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
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
		{"reading many large events", testReadLarge},
		{"a context that is done", testDoneContext},
		{"readers see no gap while others write", testReadersBesideWriters},
		{"snapshots", testSnapshots},
		{"import keeps what it is given", testImport},
		{"import goes on behind a log", testImportBehind},
		{"import keeps what an erasure left", testImportErased},
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
		if !r.Intact() {
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
