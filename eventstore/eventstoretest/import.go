//nolint:thelper // These are the tests themselves: a failure is where it says.
package eventstoretest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"verbatim/eventstore"
)

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

// testImportErased: an event out of which a person was erased keeps the digest of
// what was appended, from which its hash follows, and what is left of it.
func testImportErased(t *testing.T, s eventstore.Store) {
	file := lines(6)
	mustImport(t, s, file)
	whole := readLog(t, s, 0)
	erased := slices.Clone(whole)
	for _, i := range []int{1, 4} {
		erased[i].Data = []byte(`{"left":true}`)
		erased[i].Remains = &eventstore.Remains{Schema: 7, Digest: eventstore.Digest(erased[i].Data)}
	}
	other := newStream()
	for i := range erased { // into another stream, behind the first ones
		erased[i].Stream, erased[i].Version, erased[i].ID = other, int64(i)+1, newID()
		if erased[i].Remains != nil {
			erased[i].Remains.Digest[0]++ // not to be believed
		}
	}
	mustImport(t, s, erased)
	var previous [32]byte
	for i, r := range readLog(t, s, 6) {
		if !r.Intact() || r.Hash != eventstore.Chain(previous, &r) {
			t.Errorf("event %d is not intact", i)
		}
		previous = r.Hash
		want := whole[i].Digest
		if r.Digest != want {
			t.Errorf("event %d has another digest than what was appended", i)
		}
		if (r.Remains != nil) != (i == 1 || i == 4) || r.Remains != nil && r.Remains.Schema != 7 || string(r.Data) != string(erased[i].Data) {
			t.Errorf("left of event %d is %s, %+v", i, r.Data, r.Remains)
		}
	}
	again := 0
	for r, err := range s.ReadStream(t.Context(), other, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Remains != nil && r.Intact() {
			again++
		}
	}
	if again != 2 {
		t.Errorf("the stream has %d events that are marked", again)
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
