package sqlite_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
)

const database = "verbatim.db"

func newStream() string { return eventstore.StreamName("thing", uuid.Must(uuid.NewV7()).String()) }

func TestOpenMakesFolder(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"data", "a/b/c", "with space", "100%", "what?#now&then=1", "ünï:code"} {
		dir := filepath.Join(t.TempDir(), filepath.FromSlash(name))
		s := open(t, dir)
		appendOne(t, s, newStream(), 0)
		checkMode(t, dir, 0o700)
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range files {
			checkMode(t, filepath.Join(dir, f.Name()), 0o600)
			names = append(names, f.Name())
		}
		if got := strings.Join(names, " "); got != "serve.lock verbatim.db verbatim.db-shm verbatim.db-wal" {
			t.Errorf("%s holds %s", name, got)
		}
	}
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o; want %o: it holds signing secrets", path, got, want)
	}
}

func TestOpenInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{Info: sqlite.ServerInfo{PID: 1, Addr: "127.0.0.1:4711", Token: "t"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = sqlite.Open(t.Context(), dir, sqlite.Options{})
	if !errors.Is(err, sqlite.ErrInUse) {
		t.Fatalf("a second one opens with %v; want ErrInUse", err)
	}
	for _, want := range []string{dir, strconv.Itoa(os.Getpid()), "127.0.0.1:4711"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
	want := sqlite.ServerInfo{PID: os.Getpid(), Addr: "127.0.0.1:4711", Token: "t"}
	if got, serving := sqlite.Serving(dir); !serving || got != want {
		t.Errorf("serving: %t, %+v; want %+v", serving, got, want)
	}
	appendOne(t, s, newStream(), 0) // the first is none the worse
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, serving := sqlite.Serving(dir); serving || got != (sqlite.ServerInfo{}) {
		t.Errorf("after the end: %t, %+v; want nobody", serving, got)
	}
	open(t, dir)
	if _, serving := sqlite.Serving(filepath.Join(dir, "nowhere")); serving {
		t.Error("somebody serves from a folder that does not exist")
	}
}

// TestOpenBesideOnlookers: to look whether anybody serves keeps nobody from
// serving.
func TestOpenBesideOnlookers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var onlookers sync.WaitGroup
	for range 3 {
		onlookers.Go(func() {
			for ctx.Err() == nil {
				sqlite.Serving(dir)
			}
		})
	}
	for range 20 {
		s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Error(err)
			break
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	onlookers.Wait()
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, none := range []string{dir, filepath.Join(dir, "nowhere")} {
		if _, err := sqlite.Open(t.Context(), none, sqlite.Options{ReadOnly: true}); !errors.Is(err, sqlite.ErrNoDatabase) {
			t.Errorf("a folder without a database opens with %v; want ErrNoDatabase", err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("looking into a folder left %v in it, %v", files, err)
	}

	writer, stream := open(t, dir), newStream()
	appendOne(t, writer, stream, 0)
	beside, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	for version := range int64(3) { // what is committed meanwhile is seen too
		if got := verifiedLog(t, beside); len(got) != int(version)+1 {
			t.Errorf("read %d events; want %d", len(got), version+1)
		}
		appendOne(t, writer, stream, version+1)
	}

	ctx := t.Context()
	beside.SaveSnapshot(eventstore.Snapshot{Stream: stream, Version: 1, Schema: 1, State: []byte(`{}`)})
	_, appending := beside.Append(ctx, eventstore.Commit{})
	_, importing := beside.Import(ctx, func(func(eventstore.Recorded, error) bool) {})
	_, asking := beside.AskRetry(ctx, "")
	for i, err := range []error{
		appending, importing, asking,
		beside.CommitPage(ctx, &projections.Page{}), beside.Record(ctx, nil), beside.AddAccount(ctx, "a", "A"),
		beside.ExtendTyping(ctx, "c", "a", time.Now()),
	} {
		if !errors.Is(err, eventstore.ErrClosed) || !strings.Contains(err.Error(), "read only") {
			t.Errorf("call %d: error is %v; want that it is read only", i+1, err)
		}
	}
	for _, db := range []*sql.DB{beside.Readers(), writer.Readers()} {
		if _, err := db.ExecContext(ctx, "DELETE FROM events"); err == nil {
			t.Error("a reading connection has deleted the log")
		}
	}
	if got := verifiedLog(t, writer); len(got) != 4 {
		t.Errorf("the log has %d events; want 4", len(got))
	}
}

func TestNotOurs(t *testing.T) {
	t.Parallel()
	foreign := func(pragmas string) func(t *testing.T, file string) {
		return func(t *testing.T, file string) {
			t.Helper()
			raw(t, file, pragmas+"; CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('precious')")
		}
	}
	bytesOf := func(n int) func(t *testing.T, file string) {
		return func(t *testing.T, file string) {
			t.Helper()
			random := bytes.Repeat([]byte("\x93\x00verbatim\xff"), n/11+1)[:n]
			if err := os.WriteFile(file, random, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, write := range map[string]func(t *testing.T, file string){
		"a few bytes": bytesOf(10), "a page of bytes": bytesOf(4096), "many bytes": bytesOf(100_000),
		"a database":                            foreign("PRAGMA journal_mode = DELETE"),
		"a database with write-ahead logging":   foreign("PRAGMA journal_mode = WAL"),
		"a database of another application":     foreign("PRAGMA application_id = 4711"),
		"a database that says a version":        foreign("PRAGMA user_version = 1"),
		"a database with pages of another size": foreign("PRAGMA page_size = 512"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, database)
			write(t, file)
			before := fingerprint(t, file)
			for _, readOnly := range []bool{true, false} {
				if _, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: readOnly}); !errors.Is(err, sqlite.ErrNotOurs) {
					t.Errorf("read only %t: error is %v; want ErrNotOurs", readOnly, err)
				}
				if fingerprint(t, file) != before {
					t.Errorf("read only %t: the file is another", readOnly)
				}
			}
		})
	}
}

func fingerprint(t *testing.T, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// raw executes statements on a file as a foreign hand would.
func raw(t *testing.T, file, statements string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), statements, args...); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func TestOtherSchema(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, change  string
		serve, beside func(error) bool
	}{
		{
			"newer", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (4711, 1)",
			func(err error) bool { return errors.Is(err, sqlite.ErrNewer) },
			func(err error) bool { return errors.Is(err, sqlite.ErrNewer) },
		},
		{
			"older", "DELETE FROM goose_db_version WHERE version_id > 0; DROP TABLE events",
			func(err error) bool { return err != nil && !errors.Is(err, sqlite.ErrNewer) }, // the tables that are left are in the way
			func(err error) bool { return err != nil && strings.Contains(err.Error(), "up to date") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			written(t, dir, 1)
			file := filepath.Join(dir, database)
			raw(t, file, tt.change)
			before := fingerprint(t, file)
			if _, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: true}); !tt.beside(err) {
				t.Errorf("read only it opens with %v", err)
			}
			if _, err := sqlite.Open(t.Context(), dir, sqlite.Options{}); !tt.serve(err) {
				t.Errorf("it opens with %v", err)
			}
			if tt.name == "newer" && fingerprint(t, file) != before {
				t.Error("the file is another")
			}
		})
	}
}

// written makes a log of n events in one stream, and closes it.
func written(t *testing.T, dir string, n int64) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stream := newStream()
	for version := range n {
		appendOne(t, s, stream, version)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	const events = 70 // more than are checked
	for name, change := range map[string]string{
		"data of the last event":        "UPDATE events SET data = CAST('{\"a\":0}' AS BLOB) WHERE position = 70",
		"data of an event before it":    "UPDATE events SET data = CAST('{}x' AS BLOB) WHERE position = 30",
		"digest of the last event":      "UPDATE events SET digest = zeroblob(32) WHERE position = 70",
		"hash of the last event":        "UPDATE events SET hash = zeroblob(32) WHERE position = 70",
		"hash of the event before it":   "UPDATE events SET hash = zeroblob(32) WHERE position = 69",
		"time of the last event":        "UPDATE events SET time = time + 1 WHERE position = 70",
		"account of the last event":     "UPDATE events SET account = 'other' WHERE position = 70",
		"metadata of the last event":    "UPDATE events SET metadata = CAST('{\"actor\":\"x\"}' AS BLOB) WHERE position = 70",
		"id of the last event":          "UPDATE events SET id = zeroblob(16) WHERE position = 70",
		"type of the last event":        "UPDATE events SET type = 'thing.unhappened' WHERE position = 70",
		"the first event of a stream":   "UPDATE events SET time = time + 1, stream = 'thing-2', version = 1 WHERE position = 70",
		"what is no longer than it was": "UPDATE events SET data = CAST('[]' AS BLOB) WHERE position = 70",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			written(t, dir, events)
			raw(t, filepath.Join(dir, database), change)
			for _, readOnly := range []bool{true, false} {
				_, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: readOnly})
				if !errors.Is(err, sqlite.ErrDamaged) || !strings.Contains(err.Error(), "position ") {
					t.Errorf("read only %t: error is %v; want ErrDamaged and a position", readOnly, err)
				}
			}
			s, err := sqlite.Open(t.Context(), dir, sqlite.Options{ReadOnly: true, Damaged: true})
			if err != nil {
				t.Fatalf("to find out what is wrong: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir, stream := t.TempDir(), newStream()
	for round := range int64(4) {
		s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if position := appendOne(t, s, stream, 2*round); position != 3*round+1 {
			t.Errorf("round %d goes on at %d; want %d", round, position, 3*round+1)
		}
		appendOne(t, s, newStream(), 0)
		appendOne(t, s, stream, 2*round+1)
		if got := verifiedLog(t, s); len(got) != int(3*round+3) {
			t.Errorf("round %d: %d events; want %d", round, len(got), 3*round+3)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closed again: %v", err)
		}
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	// An import occupies the writer, so that the queue fills.
	begun, goOn, imported := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		_, err := s.Import(ctx, func(func(eventstore.Recorded, error) bool) {
			close(begun)
			<-goOn
		})
		imported <- err
	}()
	<-begun
	impatient, cancel := context.WithCancel(ctx)
	cancel()
	waiting := 0
	for ; ; waiting++ {
		d := eventstore.Draft{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: time.Now(), Data: []byte(`{}`)}
		_, err := s.Append(impatient, oneEvent(newStream(), 0, d))
		if errors.Is(err, eventstore.ErrBusy) {
			break
		}
		if !errors.Is(err, context.Canceled) || waiting > 100_000 {
			t.Fatalf("append %d: %v; want that of the context, and ErrBusy in the end", waiting, err)
		}
	}
	if err := s.AddAccount(ctx, "a", "A"); !errors.Is(err, eventstore.ErrBusy) {
		t.Errorf("another write: %v; want ErrBusy", err)
	}
	s.SaveSnapshot(eventstore.Snapshot{Stream: "s", Version: 1, Schema: 1}) // is dropped
	close(goOn)
	if err := <-imported; err != nil {
		t.Error(err)
	}
	// Nobody waits for those any more, and none of them was committed. The writer
	// passes over them before there is room in the queue again.
	for errors.Is(s.AddAccount(ctx, "a", "A"), eventstore.ErrBusy) {
		runtime.Gosched()
	}
	appendOne(t, s, newStream(), 0)
	if got := verifiedLog(t, s); len(got) != 1 {
		t.Errorf("%d of %d appends that were given up are in the log", len(got)-1, waiting)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Whoever appends while it closes is answered: durable, or refused.
	var writers sync.WaitGroup
	var mu sync.Mutex
	acknowledged := make(map[int64]bool)
	rung, stop := s.Events().Listen()
	defer stop()
	for range 8 {
		writers.Go(func() {
			stream := newStream()
			for version := int64(0); ; version++ {
				d := eventstore.Draft{ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: time.Now(), Data: []byte(`{}`)}
				position, err := s.Append(t.Context(), oneEvent(stream, version, d))
				if err != nil {
					if !errors.Is(err, eventstore.ErrClosed) {
						t.Errorf("append: %v; want ErrClosed", err)
					}
					return
				}
				mu.Lock()
				acknowledged[position] = true
				mu.Unlock()
			}
		})
	}
	<-rung
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writers.Wait()
	_, importing := s.Import(t.Context(), func(func(eventstore.Recorded, error) bool) {})
	for i, err := range []error{importing, s.AddAccount(t.Context(), "a", "A"), s.CommitPage(t.Context(), &projections.Page{})} {
		if !errors.Is(err, eventstore.ErrClosed) {
			t.Errorf("call %d: %v; want ErrClosed", i+1, err)
		}
	}
	s.SaveSnapshot(eventstore.Snapshot{Stream: "s", Version: 1, Schema: 1})
	if _, err := s.Head(t.Context()); err == nil {
		t.Error("a closed store says where its head is")
	}
	for _, err := range s.ReadLog(t.Context(), 0) {
		if err == nil {
			t.Error("a closed store is read")
		}
	}

	log := verifiedLog(t, open(t, dir))
	if len(log) < len(acknowledged) {
		t.Errorf("%d events of %d that were acknowledged", len(log), len(acknowledged))
	}
	for position := range acknowledged {
		if position > int64(len(log)) {
			t.Errorf("position %d was acknowledged and is not there", position)
		}
	}
}

func TestBellRings(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	rung, stop := s.Events().Listen()
	defer stop()
	silent := func(what string) {
		t.Helper()
		select {
		case <-rung:
			t.Errorf("the bell rang for %s", what)
		default:
		}
	}
	if err := s.AddAccount(t.Context(), "a", "A"); err != nil {
		t.Fatal(err)
	}
	silent("an account")
	stream := newStream()
	position := appendOne(t, s, stream, 0)
	<-rung // before the append returned, so that this never waits
	if _, err := s.Append(t.Context(), oneEvent(stream, 0, eventstore.Draft{})); !errors.Is(err, eventstore.ErrConflict) {
		t.Errorf("error is %v; want a conflict", err)
	}
	silent("a conflict")
	r := verifiedLog(t, s)[position-1]
	r.Version, r.ID = 2, uuid.Must(uuid.NewV7())
	if _, err := s.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) { yield(r, nil) }); err != nil {
		t.Fatal(err)
	}
	<-rung
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	silent("a ping")
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "verbatim")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	store, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		panic(err)
	}
	defer store.Close()
	first, err := store.Append(ctx, eventstore.Commit{Account: "default", Appends: []eventstore.Append{{
		Stream: "contact-0192f7a8-c1d2-7e5f-8a9b-0c1d2e3f4a5b",
		Events: []eventstore.Draft{{
			ID: uuid.Must(uuid.NewV7()), Type: "contact.created", Schema: 1, Time: time.Now(),
			Data: []byte(`{"account":{"id":"default"},"profile":{"id":"1","name":"Jon Snow"}}`),
		}},
	}}})
	fmt.Println(first, err)
	// Output: 1 <nil>
}
