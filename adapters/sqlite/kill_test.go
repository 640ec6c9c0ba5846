package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
)

// TestSurvivesKill: what was acknowledged is in the log, once, however the
// process ended. A child appends and tells of each acknowledgement; it is killed
// in the middle of that, several times over the same folder.
func TestSurvivesKill(t *testing.T) {
	t.Parallel()
	const rounds, enough = 3, 250
	dir := t.TempDir()
	for round := range rounds {
		acknowledged := killAfter(t, dir, enough)
		s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		log := verifiedLog(t, s)
		for position, id := range acknowledged {
			if position > int64(len(log)) || log[position-1].ID != id {
				t.Errorf("round %d: position %d was acknowledged and is not in the log of %d events", round, position, len(log))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter runs a child that appends until that many events are acknowledged,
// kills it, and returns all that it acknowledged.
func killAfter(t *testing.T, dir string, enough int) map[int64]uuid.UUID {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+dir)
	child.Stderr = os.Stderr
	alive, err := child.StdinPipe() // so that the child does not outlive us
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := make(map[int64]uuid.UUID)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // a line that was cut off was not told
			break
		}
		var position int64
		var id string
		if _, err := fmt.Sscan(line, &position, &id); err != nil {
			t.Errorf("the child said %q: %v", line, err)
			break
		}
		if _, twice := acknowledged[position]; twice {
			t.Errorf("position %d was acknowledged twice", position)
		}
		acknowledged[position] = uuid.MustParse(id)
		if len(acknowledged) == enough {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") || len(acknowledged) < enough {
		t.Fatalf("the child ended with %v after %d acknowledgements; want it killed after %d", err, len(acknowledged), enough)
	}
	return acknowledged
}

// appendUntilKilled is the child.
func appendUntilKilled(dir string) int {
	s, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			stream := eventstore.StreamName("thing", uuid.Must(uuid.NewV7()).String())
			for version := int64(0); ; version++ {
				d := eventstore.Draft{
					ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: time.Now(), Data: []byte(`{}`),
				}
				position, err := s.Append(context.Background(), oneEvent(stream, version, d))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				fmt.Printf("%d %s\n", position, d.ID)
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
	return 1
}

func oneEvent(stream string, expected int64, d eventstore.Draft) eventstore.Commit {
	return eventstore.Commit{
		Account: "acme",
		Appends: []eventstore.Append{{Stream: stream, Expected: expected, Events: []eventstore.Draft{d}}},
	}
}

// appendOne appends an event to a stream that is at a version.
func appendOne(t *testing.T, s *sqlite.Store, stream string, expected int64) (position int64) {
	t.Helper()
	d := eventstore.Draft{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: time.Now(), Data: []byte(`{}`)}
	position, err := s.Append(t.Context(), oneEvent(stream, expected, d))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return position
}

// verifiedLog returns the log, and checks places, digests and hashes.
func verifiedLog(t *testing.T, s *sqlite.Store) []eventstore.Recorded {
	t.Helper()
	var log []eventstore.Recorded
	ends := make(map[string]eventstore.Recorded)
	for r, err := range s.ReadLog(t.Context(), 0) {
		if err != nil {
			t.Fatalf("read the log: %v", err)
		}
		end := ends[r.Stream]
		if r.Position != int64(len(log))+1 || r.Version != end.Version+1 {
			t.Errorf("position %d, version %d follows position %d, version %d", r.Position, r.Version, len(log), end.Version)
		}
		if r.Digest != eventstore.Digest(r.Data) || r.Hash != eventstore.Chain(end.Hash, &r) {
			t.Errorf("position %d does not match its digest and its hash", r.Position)
		}
		ends[r.Stream] = r
		log = append(log, r)
	}
	return log
}
