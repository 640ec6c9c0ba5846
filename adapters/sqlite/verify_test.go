package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/projections"
	"verbatim/webhooks"
)

// TestSpans goes through streams that were written in turns, in pages smaller
// than they are.
func TestSpans(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	streams := []string{"a-1", "b-1", "b-2"}
	for version := range int64(3) {
		for i, stream := range streams {
			if int(version) > i {
				continue // the first has one event, the second two, the third three
			}
			appendOne(t, s, stream, version)
		}
	}
	want := []sqlite.Span{{Stream: "a-1", First: 1, Last: 1, Version: 1}, {Stream: "b-1", First: 2, Last: 4, Version: 2}, {Stream: "b-2", First: 3, Last: 6, Version: 3}}
	for limit := 1; limit <= 4; limit++ {
		var got []sqlite.Span
		for after := ""; ; {
			page, err := s.Spans(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1].Stream
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d at a time (-want +got):\n%s", limit, diff)
		}
	}
	at, found, err := s.EventAt(t.Context(), 4)
	of, alike, err2 := s.EventOf(t.Context(), "b-1", 2)
	if err != nil || err2 != nil || !found || !alike || at.Position != 4 || of.ID != at.ID {
		t.Errorf("%+v %t %v, %+v %t %v", at, found, err, of, alike, err2)
	}
	if _, found, err := s.EventAt(t.Context(), 7); found || err != nil {
		t.Errorf("there is a position 7: %t, %v", found, err)
	}
	if faults, err := s.CheckFile(t.Context()); err != nil || faults != nil {
		t.Errorf("a sound file: %v, %v", faults, err)
	}
}

// TestSendings has a delivery with its attempts for each of those that a stream
// was sent, and for no other.
func TestSendings(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const stream, other = "a-1", "a-2"
	for version := range int64(4) {
		appendOne(t, s, stream, version)
		appendOne(t, s, other, version)
	}
	var ds []webhooks.Delivery
	for _, endpoint := range []string{"ep1", "ep2"} {
		for position := int64(1); position <= 8; position++ {
			d := delivery(endpoint, []string{other, stream}[position%2], position, "b")
			d.Version = (position + 1) / 2
			ds = append(ds, d)
		}
	}
	again := ds[2] // position 3, under another name
	again.ID, again.Name = "dlv_again", "a"
	lost := ds[0]
	lost.ID, lost.Position = "dlv_lost", 100
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: append(ds, again, lost)}})
	if _, kept, err := s.OldestEnded(t.Context()); kept || err != nil {
		t.Errorf("something ended: %t, %v", kept, err)
	}
	ended := noon().Add(time.Hour)
	failed := ds[2]
	failed.Attempts = 3
	done := failed
	done.State, done.Attempts, done.EndedAt, done.Digest = webhooks.Delivered, 4, &ended, []byte("good")
	report := func(d webhooks.Delivery, number int, digest string) webhooks.Report {
		return webhooks.Report{Delivery: d, Attempt: webhooks.Attempt{Number: number, At: noon(), Digest: []byte(digest)}}
	}
	unmade := report(failed, 3, "")
	unmade.Attempt.Digest = nil
	if err := s.Record(t.Context(), []webhooks.Report{
		report(failed, 1, "bad"), report(failed, 2, "bad"), unmade, report(done, 4, "good"), report(ds[4], 1, "under way"),
	}); err != nil {
		t.Fatal(err)
	}

	got, err := s.Sendings(t.Context(), stream, 2, 3, "ep1")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, one := range got {
		told = append(told, fmt.Sprintf("%d %s %s %q %q", one.Position, one.Name, one.State, one.Digest, one.Sent))
	}
	slices.Sort(told) // the names of one position come in any order
	if diff := cmp.Diff([]string{
		`3 a pending "" []`, `3 b delivered "good" ["bad"]`, `5 b pending "" ["under way"]`,
	}, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	receivers, err := s.Receivers(t.Context())
	if err != nil || !slices.Equal(receivers, []string{"ep1", "ep2"}) {
		t.Errorf("receivers %v, %v", receivers, err)
	}
	oldest, kept, err := s.OldestEnded(t.Context())
	if err != nil || !kept || !oldest.Equal(ended) {
		t.Errorf("%v %t %v, want %v", oldest, kept, err, ended)
	}
	for endpoint, want := range map[string]int64{"ep1": 1, "ep2": 1, "ep3": 9} {
		if first, err := s.FirstDelivery(t.Context(), endpoint, 9); err != nil || first != want {
			t.Errorf("%s: the first is at %d, %v; want %d", endpoint, first, err, want)
		}
	}
}

// TestStrays takes events away from below the deliveries, and finds those.
func TestStrays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	const n = 6
	var ds []webhooks.Delivery
	for version := range int64(n) {
		appendOne(t, s, "a-1", version)
		ds = append(ds, delivery("ep", "a-1", version+1, "a"), delivery("other", "a-1", version+1, "a"))
	}
	ds = append(ds, delivery("ep", "a-1", 1_000_000, "a"))
	commitPage(t, s, projections.Page{Rows: projections.Rows{Deliveries: ds}})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, filepath.Join(dir, database), "DELETE FROM events WHERE position IN (2, 5)")
	s = open(t, dir)
	for _, c := range []struct {
		after, to int64
		want      []int64
	}{
		{0, projections.Newest, []int64{2, 5, 1_000_000}}, {0, 4, []int64{2}}, {2, 4, nil}, {2, 999_999, []int64{5}}, {6, projections.Newest, []int64{1_000_000}},
	} {
		var got []int64
		err := s.Strays(t.Context(), "ep", c.after, c.to, func(d *webhooks.Delivery) { got = append(got, d.Position) })
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("behind %d, up to %d: %v, %v; want %v", c.after, c.to, got, err, c.want)
		}
	}
}
