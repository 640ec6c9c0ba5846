package sqlite_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/eventstore/eventstoretest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	eventstoretest.Suite(t, func(t *testing.T) eventstore.Store {
		t.Helper()
		return open(t, t.TempDir())
	})
}

// open opens a data folder to serve from it until the test is over.
func open(t *testing.T, dir string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// TestPages reads the log and a stream page by page: they are what is read one by
// one, and each event has its own bytes.
func TestPages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	served := open(t, dir)
	streams := []string{eventstore.StreamName("conversation", uuid.NewString()), eventstore.StreamName("conversation", uuid.NewString())}
	for i := range 1300 {
		_, err := served.Append(t.Context(), eventstore.Commit{Account: "a", Appends: []eventstore.Append{{
			Stream: streams[i%2], Expected: int64(i / 2),
			Events: []eventstore.Draft{{ID: uuid.New(), Type: "x", Schema: 1, Time: noon(), Data: fmt.Appendf(nil, `{"n":%d}`, i)}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	beside, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	for _, s := range []*sqlite.Store{served, beside} { // the end of the log is in memory for the one, and not for the other
		for _, stream := range append(streams, "") {
			one := s.ReadLog(t.Context(), 0)
			if stream != "" {
				one = s.ReadStream(t.Context(), stream, 0)
			}
			var want, got []eventstore.Recorded
			for r, err := range one {
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, r)
			}
			pages, after := 0, int64(0)
			for more := true; more; pages++ {
				before := len(got)
				if got, more, err = s.ReadPage(t.Context(), got, stream, after); err != nil {
					t.Fatal(err)
				}
				if len(got) > before {
					if after = got[len(got)-1].Position; stream != "" {
						after = got[len(got)-1].Version
					}
				}
			}
			if !reflect.DeepEqual(got, want) || pages < 2 {
				t.Fatalf("%d pages of %q: %d events, not the %d that are read one by one", pages, stream, len(got), len(want))
			}
			for i := range got { // what one of them has is nobody else's
				clear(got[i].Data)
				clear(got[i].Metadata)
				if i+1 < len(got) && !reflect.DeepEqual(want[i+1], got[i+1]) {
					t.Fatalf("position %d has bytes of the one before", got[i+1].Position)
				}
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, more, err := beside.ReadPage(ctx, nil, "", 0); err == nil || more {
		t.Errorf("nobody waits for it: %v, %v", more, err)
	}
}
