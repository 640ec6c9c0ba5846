//nolint:thelper // These are the tests themselves: a failure is where it says.
package eventstoretest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/eventstore"
)

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
	const n = 20
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
