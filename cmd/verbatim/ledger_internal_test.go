package main

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

// TestLedger puts entries in order, those that are too many for memory too, and
// leaves no file behind.
func TestLedger(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 6, 7, 8, 49, 1000} {
		folder := t.TempDir()
		l := ledger{folder: folder, run: 7}
		var want []entry
		for i := range n {
			e := entry{line: int64(i), version: int64(-i), known: 3, account: uint64(i) << 60}
			e.key[rand.N(16)] = byte(rand.N(4))
			want = append(want, e)
			if err := l.add(&e); err != nil {
				t.Fatal(err)
			}
		}
		slices.SortFunc(want, func(a, b entry) int { return a.compare(&b) })
		var got []entry
		for e, err := range l.all() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, *e)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d entries come out as others, or in another order", n)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("%d entries leave %v behind, %v", n, left, err)
		}
	}
}
