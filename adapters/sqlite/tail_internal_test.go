package sqlite

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"verbatim/eventstore"
)

// TestTailReachesBackWithoutAGap holds what the tail answers against what was
// committed: everything behind a position, or a no.
func TestTailReachesBackWithoutAGap(t *testing.T) {
	t.Parallel()
	var tl tail
	no := func(after int64) {
		t.Helper()
		if page, _, ok := tl.after(nil, after); ok {
			t.Errorf("behind %d: %d events, want a no", after, len(page))
		}
	}
	yes := func(after, count int64) {
		t.Helper()
		page, _, ok := tl.after(nil, after)
		if !ok || len(page) != int(count) {
			t.Errorf("behind %d: %v, %d events, want %d", after, ok, len(page), count)
		}
		for i := range page {
			if page[i].Position != after+1+int64(i) {
				t.Errorf("behind %d: position %d at %d", after, page[i].Position, i)
			}
		}
	}
	no(0)
	tl.add(positions(11, 20)) // the process began behind 10
	no(9)
	yes(10, 10)
	yes(15, 5)
	yes(20, 0)
	tl.add(positions(21, 22))
	yes(19, 3)
	tl.add(nil) // an import
	no(22)
	tl.add(positions(40, 41))
	no(22)
	yes(39, 2)
	tl.add(positions(50, 50)) // an import and an append in one group
	no(41)
	yes(49, 1)
}

// TestTailOfAStream asks for the events of each stream one by one, over appends,
// imports and what is dropped: each is the right one, or not here.
func TestTailOfAStream(t *testing.T) {
	t.Parallel()
	var tl tail
	versions := make(map[string]int64)
	position := int64(0)
	found := 0
	for round := range 3*tailEvents/100 + 1 {
		var events []eventstore.Recorded
		for i := range 100 {
			position++
			stream := fmt.Sprint("s-", (int(position)*7+i)%13)
			versions[stream]++
			events = append(events, eventstore.Recorded{Position: position, Stream: stream, Version: versions[stream], Data: []byte(stream)})
		}
		if round == 5 {
			tl.add(nil) // as after an import
			if _, _, ok := tl.ofStream("s-1", 0); ok {
				t.Error("it has what it has forgotten")
			}
		}
		tl.add(events)
		for stream, last := range versions {
			for after := max(0, last-400); after <= last+1; after++ {
				r, more, ok := tl.ofStream(stream, after)
				if !ok {
					continue
				}
				found++
				if r.Stream != stream || r.Version != after+1 || int64(more) != last-r.Version || string(r.Data) != stream {
					t.Fatalf("behind %d of %s at %d: %s %d, %d more", after, stream, last, r.Stream, r.Version, more)
				}
			}
			if _, _, ok := tl.ofStream(stream, last-1); !ok {
				t.Fatalf("the last of %s is not here", stream)
			}
		}
	}
	if found < tailEvents {
		t.Errorf("%d were found", found)
	}
	kept := 0
	for _, positions := range tl.streams {
		kept += len(positions)
	}
	if kept != len(tl.events) {
		t.Errorf("%d events, %d of them found by their stream", len(tl.events), kept)
	}
}

// TestTailIsBounded fills it beyond both limits.
func TestTailIsBounded(t *testing.T) {
	t.Parallel()
	var tl tail
	for at := int64(1); at <= 3*tailEvents; at += 100 {
		tl.add(positions(at, at+99))
	}
	if len(tl.events) != tailEvents {
		t.Errorf("%d events are kept, want %d", len(tl.events), tailEvents)
	}
	last := tl.events[len(tl.events)-1].Position
	for i := range int64(40) {
		e := positions(last+1+i, last+1+i)
		e[0].Data = make([]byte, 1<<20)
		tl.add(e)
	}
	size := 0
	for i := range tl.events {
		size += len(tl.events[i].Data) + len(tl.events[i].Metadata)
	}
	if size > tailBytes || size != tl.bytes || size < tailBytes-1<<21 {
		t.Errorf("%d bytes are kept and %d counted; the limit is %d", size, tl.bytes, tailBytes)
	}
}

// TestTailEndsWithTheLog appends, imports and appends again: a reader of the log
// sees all of it, whatever of it is in memory.
func TestTailEndsWithTheLog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	want := int64(0)
	read := func() {
		t.Helper()
		for after := range want + 1 {
			next := after
			for r, err := range b.ReadLog(t.Context(), after) {
				if err != nil {
					t.Fatal(err)
				}
				if next++; r.Position != next || eventstore.Digest(r.Data) != r.Digest {
					t.Fatalf("behind %d: position %d where %d was due", after, r.Position, next)
				}
			}
			if next != want {
				t.Errorf("behind %d the log ends at %d, want %d", after, next, want)
			}
		}
	}
	for range 3 {
		for range 5 {
			if _, err := b.Append(t.Context(), *one()); err != nil {
				t.Fatal(err)
			}
			want++
		}
		read()
		n, err := b.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) {
			for range 4 {
				c := one()
				d := c.Appends[0].Events[0]
				if !yield(eventstore.Recorded{
					Position: want + 1, Stream: c.Appends[0].Stream, Version: 1, ID: d.ID, Type: d.Type, Schema: d.Schema,
					Time: d.Time, Account: c.Account, Data: d.Data, Metadata: []byte("{}"),
				}, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want += n
		read()
	}
}

// one is a commit of one event to a new stream.
func one() *eventstore.Commit {
	return appendJob(eventstore.StreamName("thing", uuid.NewString()), 0, 1).commit
}

// positions returns events with the positions from first to last.
func positions(first, last int64) []eventstore.Recorded {
	var out []eventstore.Recorded
	for p := first; p <= last; p++ {
		out = append(out, eventstore.Recorded{Position: p, Data: []byte("{}"), Metadata: []byte("{}")})
	}
	return out
}
