package sqlite_test

import (
	"testing"

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
