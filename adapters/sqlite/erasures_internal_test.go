package sqlite

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"verbatim/eventstore"
	"verbatim/projections"
)

// TestSweepLeavesNoCopies: rows of read models are written again and again, in
// every length, and moved by that. Copies of them are left where they stood, even
// if all that is deleted is overwritten, and gone behind a sweep; of a large table
// nearly all of them.
func TestSweepLeavesNoCopies(t *testing.T) {
	t.Parallel()
	for rows, most := range map[int]float64{sweepRows: 0, 2 * sweepRows: 0.25} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			t.Parallel()
			testSweep(t, rows, most)
		})
	}
}

func testSweep(t *testing.T, rows int, most float64) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	chance := rand.New(rand.NewPCG(1, 2))
	id := func(k int) string { return fmt.Sprintf("0193%08x-%d", k*2654435761%1000, k) }
	write := func(do func(*tx) error) {
		t.Helper()
		if err := s.write1(t.Context(), do); err != nil {
			t.Fatal(err)
		}
	}
	put := func(x *tx, k int, text []byte) error {
		if _, err := x.exec(upsertInbox, id(k), "default", "open", k, text); err != nil {
			return err
		}
		_, err := x.exec("INSERT OR REPLACE INTO snapshots (stream, version, schema, state) VALUES (?,1,1,?)", id(k), text)
		return err
	}
	churn := func() {
		t.Helper()
		for range 20 {
			write(func(x *tx) error {
				for range rows / 2 {
					k, word := chance.IntN(rows), "other "
					if k%5 == 0 {
						word = "SECRET "
					}
					if err := put(x, k, bytes.Repeat([]byte(word), 20+chance.IntN(300))); err != nil {
						return err
					}
				}
				return nil
			})
		}
		write(func(x *tx) error {
			for k := 0; k < rows; k += 5 {
				if err := put(x, k, bytes.Repeat([]byte("gone "), 100)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	copies := func() int {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if wal, err := os.Stat(filepath.Join(dir, fileName+"-wal")); err != nil || wal.Size() != 0 {
			t.Fatalf("the write-ahead log is not empty: %v, %v", wal, err)
		}
		b, err := os.ReadFile(filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(b, []byte("SECRET"))
	}
	sum := func() (n int64) {
		t.Helper()
		err := s.read.QueryRowContext(t.Context(), "SELECT sum(length(row)) FROM inbox").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := 0
	for tries := 0; before == 0; tries++ {
		if tries == 20 {
			t.Fatal("nothing is ever left; the test shows nothing")
		}
		churn()
		before = copies()
	}
	size := sum()
	for mark, steps := "", 0; ; steps++ {
		if mark, err = s.Sweep(t.Context(), mark); err != nil {
			t.Fatal(err)
		}
		if mark == "" {
			break
		}
		if steps > 10*rows {
			t.Fatal("it never ends")
		}
	}
	left := copies()
	t.Logf("of %d copies, %d are left", before, left)
	if float64(left) > most*float64(before) {
		t.Errorf("of %d copies, %d are left", before, left)
	}
	if got := sum(); got != size {
		t.Errorf("rows had %d bytes, and have %d", size, got)
	}
}

// TestFlushWaitsForNobody: somebody who reads is not waited for, and what he reads
// stays.
func TestFlushWaitsForNobody(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	add := func(stream string) {
		t.Helper()
		if err := s.write1(t.Context(), func(x *tx) error {
			_, err := x.exec("INSERT INTO snapshots (stream, version, schema, state) VALUES (?,1,1,x'00')", stream)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	add("a")
	reader, err := s.read.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := reader.QueryRowContext(t.Context(), "SELECT count(*) FROM snapshots").Scan(&n); err != nil {
		t.Fatal(err)
	}
	add("b")
	if err := s.Flush(t.Context()); err == nil {
		t.Error("flushed under a reader")
	}
	add("c") // the writer is not held up
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestVoidRows: a page that was made before a row of it was rewritten is not
// committed; others are.
func TestVoidRows(t *testing.T) {
	t.Parallel()
	var v voids
	page := func(seen int64, ids ...string) *projections.Page {
		p := &projections.Page{Seen: seen, Rows: projections.Rows{Inbox: map[string]projections.InboxRow{}, Typing: map[projections.TypingKey]projections.TypingRow{}}}
		for _, id := range ids {
			p.Rows.Inbox[id] = projections.InboxRow{}
		}
		return p
	}
	if v.any(page(0, "a")) {
		t.Error("nothing was rewritten")
	}
	v.add("a")
	typing := page(0)
	typing.Rows.Typing[projections.TypingKey{Conversation: "a", AuthorID: "x"}] = projections.TypingRow{}
	for _, tt := range []struct {
		page *projections.Page
		want bool
	}{
		{page(0, "a"), true},
		{page(0, "b", "a"), true},
		{page(0, "b"), false},
		{page(0), false},
		{page(1, "a"), false},
		{typing, true},
	} {
		if got := v.any(tt.page); got != tt.want {
			t.Errorf("%+v: void is %t", tt.page, got)
		}
	}
	for n := range maxVoids + 1 {
		v.add(fmt.Sprint(n))
	}
	if !v.any(page(1, "unknown")) || v.any(page(1)) || v.any(page(v.count.Load(), "1")) || !v.any(page(v.count.Load()-1, fmt.Sprint(maxVoids))) {
		t.Error("with many of them, what was made before all of them is void, and nothing else")
	}
}

// TestRemainsTooShort: what cannot be what was left matches no digest.
func TestRemainsTooShort(t *testing.T) {
	t.Parallel()
	r := eventstore.Recorded{}
	r.Remains, r.Data = remainsOf([]byte("short"))
	if r.Intact() {
		t.Error("it is intact")
	}
	data := []byte(`{"a":1}`)
	want := eventstore.Remains{Schema: 3, Digest: eventstore.Digest(data)}
	if got, left := remainsOf(contentOf(&want, data)); *got != want || !bytes.Equal(left, data) {
		t.Errorf("kept was %+v, %s", got, left)
	}
}
