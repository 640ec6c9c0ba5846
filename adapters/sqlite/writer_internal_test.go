package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	sqlite3 "github.com/mattn/go-sqlite3"

	"verbatim/eventstore"
	"verbatim/projections"
)

// bench is a store whose writer a test can hold, so that jobs gather into one
// group, in the order in which they are handed in.
type bench struct {
	*testing.T
	*Store
	rings atomic.Int32 // one for each group that appended events
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, Store: s}
	committed := s.writer.committed
	s.writer.committed = func(events []eventstore.Recorded) { // the writer looks at it only after a first job
		b.rings.Add(1)
		committed(events)
	}
	t.Cleanup(func() { _ = s.Close() })
	return b
}

// together hands in all jobs while the writer is held, and waits for their
// answers.
func (b *bench) together(jobs ...*job) {
	b.Helper()
	held, goOn := make(chan struct{}), make(chan struct{})
	hold := doing(func(*tx) error {
		close(held)
		<-goOn
		return nil
	})
	b.hand(hold)
	<-held
	for _, j := range jobs {
		b.hand(j)
	}
	close(goOn)
	for _, j := range jobs {
		<-j.done
	}
}

func (b *bench) hand(j *job) {
	b.Helper()
	if err := b.writer.enqueue(j); err != nil {
		b.Fatal(err)
	}
}

func doing(do func(*tx) error) *job {
	return &job{ctx: context.Background(), do: do, done: make(chan struct{}, 1)}
}

func appendJob(stream string, expected int64, n int) *job {
	a := eventstore.Append{Stream: stream, Expected: expected}
	for range n {
		a.Events = append(a.Events, eventstore.Draft{
			ID: uuid.Must(uuid.NewV7()), Type: "thing.happened", Schema: 1, Time: time.Now(), Data: []byte(`{}`),
		})
	}
	c := &eventstore.Commit{Account: "acme", Appends: []eventstore.Append{a}}
	j, err := appending(context.Background(), c)
	if err != nil {
		panic(err)
	}
	return j
}

// check reads the whole log: so many events, in place, and chained.
func (b *bench) check(want int) {
	b.Helper()
	count := 0
	ends := make(map[string]eventstore.Recorded)
	for r, err := range b.ReadLog(b.Context(), 0) {
		if err != nil {
			b.Fatal(err)
		}
		count++
		end := ends[r.Stream]
		if r.Position != int64(count) || r.Version != end.Version+1 || r.Hash != eventstore.Chain(end.Hash, &r) {
			b.Errorf("event %d is at %d, version %d of %s behind %d, or not chained", count, r.Position, r.Version, r.Stream, end.Version)
		}
		ends[r.Stream] = r
	}
	if count != want {
		b.Errorf("the log has %d events; want %d", count, want)
	}
}

// TestGroup: appends that wait are committed together, in the order in which
// they came, each seeing those before it.
func TestGroup(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var jobs []*job
	for i := range 32 {
		stream := fmt.Sprint("s-", i)
		jobs = append(jobs, appendJob(stream, 0, 1), appendJob(stream, 1, 2))
	}
	b.together(jobs...)
	for i, j := range jobs {
		if want := int64(i/2*3 + i%2 + 1); j.err != nil || j.first != want {
			t.Errorf("job %d: %v at %d; want %d", i, j.err, j.first, want)
		}
	}
	if got := b.rings.Load(); got != 1 {
		t.Errorf("64 appends that waited took %d transactions; want 1", got)
	}
	b.check(96)
}

// TestGroupIsBounded: what is too much for one transaction takes several.
func TestGroupIsBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var jobs []*job
	for range 2*maxGroup + 1 {
		jobs = append(jobs, appendJob(uuid.NewString(), 0, 1))
	}
	b.together(jobs...)
	if got := b.rings.Load(); got != 3 {
		t.Errorf("%d appends took %d transactions; want 3", len(jobs), got)
	}
	jobs = jobs[:0]
	for range 4 {
		j := appendJob(uuid.NewString(), 0, 1)
		j.size = maxGroupBytes / 2
		jobs = append(jobs, j)
	}
	b.together(jobs...)
	if got := b.rings.Load(); got != 5 {
		t.Errorf("appends of twice the size took %d transactions; want 2", got-3)
	}
	b.check(2*maxGroup + 5)
}

// TestNeighbours: of a group each job is answered for itself, and one that fails
// takes nothing with it. They are done once without and once with one that fails
// in the database, which makes the writer do them one by one.
func TestNeighbours(t *testing.T) {
	t.Parallel()
	for _, oneByOne := range []bool{false, true} {
		t.Run(fmt.Sprintf("one by one %t", oneByOne), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			known := appendJob("known-1", 0, 2)
			b.together(known)
			failed := errors.New("this one fails")

			conflict, later, foreign := appendJob("a-1", 1, 1), appendJob("a-1", 2, 1), appendJob("known-1", 2, 1)
			foreign.commit.Account, foreign.rows[0].Account = "other", "other"
			key, taken := appendJob("a-2", 0, 1), appendJob("a-3", 0, 1)
			key.commit.Key, taken.commit.Key = &eventstore.Key{Name: "k"}, &eventstore.Key{Name: "k"}
			given, cancel := context.WithCancel(t.Context())
			cancel()
			gone := appendJob("a-4", 0, 1)
			gone.ctx = given
			duplicate := appendJob("a-5", 0, 3)
			duplicate.commit.Key = &eventstore.Key{Name: "of a duplicate"}
			duplicate.rows[2].ID = known.rows[0].ID
			page := func(name string, from, to int64, author string) *job {
				return doing(func(t *tx) error {
					if err := moveCheckpoint(t, projections.Checkpoint{Projection: name, From: from, To: to}); err != nil {
						return err
					}
					rows, err := encodeRows(&projections.Rows{Typing: map[projections.TypingKey]projections.TypingRow{
						{Conversation: "c", AuthorID: author}: {Account: "acme", Until: time.Now()},
					}}, time.Now())
					if err == nil {
						_, err = t.exec(rows[0].query, rows[0].args...)
					}
					return err
				})
			}
			lost := doing(func(t *tx) error {
				if err := page("p", 0, 3, "nobody").do(t); err != nil {
					return err
				}
				return moveCheckpoint(t, projections.Checkpoint{Projection: "p", From: 2, To: 3})
			})
			reused := doing(func(t *tx) error {
				_, err := t.exec("INSERT INTO accounts (id, number, name) VALUES ('a', 1, ''), ('b', 1, '')")
				return err
			})

			type step struct {
				name  string
				job   *job
				first int64
				fits  func(error) bool
			}
			well := func(err error) bool { return err == nil }
			is := func(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
			steps := []step{
				{"one to a new stream", appendJob("a-1", 0, 2), 3, well},
				{"one at the wrong version", conflict, 0, is(eventstore.ErrConflict)},
				{"one that follows within the group", later, 5, well},
				{"one of another account", foreign, 0, is(eventstore.ErrForeign)},
				{"one with a key", key, 6, well},
				{"one with the same key", taken, 0, is(eventstore.ErrKeyUsed)},
				{"one that nobody waits for", gone, 0, is(context.Canceled)},
				{"a page", page("q", 0, 7, "somebody"), 0, well},
				{"the next page", page("q", 7, 8, "another"), 0, well},
				{"one to a known stream", appendJob("known-1", 2, 1), 7, well},
			}
			rows := 2
			if oneByOne {
				steps = append(
					append([]step{{"a job that fails", doing(func(*tx) error { return failed }), 0, is(failed)}}, steps...),
					step{"one with a known id", duplicate, 0, is(eventstore.ErrDuplicate)},
					step{"a page behind a lost checkpoint", lost, 0, is(projections.ErrLostCheckpoint)},
					step{"a page without rows before it", page("q", 7, 9, "nobody"), 0, is(projections.ErrLostCheckpoint)},
					step{"rows that are not unique, but no events", reused, 0, func(err error) bool {
						e, ok := errors.AsType[sqlite3.Error](err)
						return ok && e.ExtendedCode == sqlite3.ErrConstraintUnique && !errors.Is(err, eventstore.ErrDuplicate)
					}},
					step{"one to the stream of the duplicate", appendJob("a-5", 0, 1), 8, well},
					step{"one behind it", appendJob("a-1", 3, 1), 9, well},
				)
			}
			var jobs []*job
			for _, s := range steps {
				jobs = append(jobs, s.job)
			}
			b.together(jobs...)
			want := int64(2)
			for _, s := range steps {
				if !s.fits(s.job.err) || s.job.err == nil && s.job.first != s.first {
					t.Errorf("%s: %v at %d; want it at %d", s.name, s.job.err, s.job.first, s.first)
				}
				if s.first > 0 {
					want = s.first + int64(len(s.job.commit.Appends[0].Events)) - 1
				}
			}
			if got := b.rings.Load(); got != 2 {
				t.Errorf("the bell rang %d times; want once for each group", got)
			}
			b.check(int(want))
			b.together(appendJob("known-1", 3, 1))
			b.check(int(want) + 1)

			if got, err := b.Checkpoints(t.Context()); err != nil || len(got) != 1 || got["q"] != 8 {
				t.Errorf("checkpoints are %v, %v; want q at 8", got, err)
			}
			if got, err := b.TypingDue(t.Context(), time.Now().Add(time.Hour), 10); err != nil || len(got) != rows {
				t.Errorf("rows are %v, %v; want %d", got, err, rows)
			}
			if _, err := b.FindCommand(t.Context(), "acme", "of a duplicate"); !errors.Is(err, eventstore.ErrNotFound) {
				t.Errorf("the key of the refused commit: %v; want ErrNotFound", err)
			}
		})
	}
}

// TestHeadsOverflow: more streams than are remembered may be appended to, also
// while a group is open or a file is imported.
func TestHeadsOverflow(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	overflow := func() { // on the writer's own goroutine
		for i := range maxHeads + 1 {
			b.writer.heads[fmt.Sprint("elsewhere-", i)] = head{version: 1}
		}
	}
	remembered := func() (n int) {
		b.together(doing(func(*tx) error {
			n = len(b.writer.heads)
			return nil
		}))
		return n
	}
	b.together(appendJob("s-1", 0, 1), appendJob("s-2", 0, 1))
	b.together(
		appendJob("s-1", 1, 1),
		doing(func(*tx) error { overflow(); return nil }),
		appendJob("s-1", 2, 1), appendJob("s-2", 1, 1), appendJob("s-3", 0, 1), appendJob("s-3", 1, 1),
	)
	b.check(7)
	if n := remembered(); n > maxHeads {
		t.Errorf("%d streams are remembered; want at most %d", n, maxHeads)
	}
	b.together(appendJob("s-1", 3, 1), appendJob("s-2", 2, 1), appendJob("s-3", 2, 1))
	b.check(10)

	n, err := b.Import(t.Context(), func(yield func(eventstore.Recorded, error) bool) {
		r := eventstore.Recorded{
			Type: "thing.happened", Schema: 1, Time: time.Now(), Account: "acme", Data: []byte(`{}`), Metadata: []byte(`{}`),
		}
		for version := range int64(3) {
			for _, stream := range []string{"i-1", "i-2"} {
				r.Stream, r.Version, r.ID = stream, version+1, uuid.Must(uuid.NewV7())
				if !yield(r, nil) {
					return
				}
			}
			overflow()
		}
	})
	if n != 6 || err != nil {
		t.Errorf("imported %d, %v; want 6", n, err)
	}
	b.together(appendJob("i-1", 3, 1), appendJob("s-1", 4, 1))
	b.check(18)
}

// TestFullDisk: what could not be written was not committed, and is told so; the
// writer goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.together(appendJob("s-1", 0, 1))
	limit := func(pages int) {
		b.together(doing(func(t *tx) error {
			return t.query(fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil, func([]driver.Value) error { return nil })
		}))
	}
	limit(1) // SQLite makes it what there is
	large := appendJob("s-2", 0, 1)
	large.rows[0].Data = make([]byte, 1<<20)
	large.rows[0].Digest = eventstore.Digest(large.rows[0].Data)
	large.commit.Key = &eventstore.Key{Name: "k"}
	neighbour := appendJob("s-1", 1, 1)
	b.together(neighbour, large)
	if code(large.err) != sqlite3.ErrFull || !errors.Is(large.err, eventstore.ErrUnwritable) {
		t.Errorf("error is %v; want that the disk is full", large.err)
	}
	b.check(1 + committed(neighbour))
	limit(1 << 30)
	if committed(neighbour) == 0 {
		b.together(appendJob("s-1", 1, 1))
	}
	b.together(appendJob("s-2", 0, 1), appendJob("s-1", 2, 1))
	b.check(4)
	if _, err := b.FindCommand(t.Context(), "acme", "k"); !errors.Is(err, eventstore.ErrNotFound) {
		t.Errorf("the key: %v; want ErrNotFound", err)
	}
}

// TestReadOnly: a file that cannot be written is read on, says so until it can,
// and goes on by itself.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.together(appendJob("s-1", 0, 1))
	readOnly := func(value int) {
		err := b.writer.conn.Raw(func(dc any) error {
			_, err := dc.(*sqlite3.SQLiteConn).Exec(fmt.Sprintf("PRAGMA query_only = %d", value), nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	readOnly(1)
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("before anybody wrote: %v", err)
	}
	refused := appendJob("s-1", 1, 1)
	b.hand(refused)
	if <-refused.done; code(refused.err) != sqlite3.ErrReadonly || !errors.Is(refused.err, eventstore.ErrUnwritable) {
		t.Errorf("error is %v; want that the file is read only", refused.err)
	}
	page := &projections.Page{Checkpoints: []projections.Checkpoint{{Projection: "p", To: 1}}}
	if err := b.CommitPage(t.Context(), page); !errors.Is(err, eventstore.ErrUnwritable) {
		t.Errorf("a page: %v", err)
	}
	if err := b.Ping(t.Context()); !errors.Is(err, eventstore.ErrUnwritable) {
		t.Errorf("after it: %v", err)
	}
	b.check(1)
	readOnly(0)
	if err := b.Ping(t.Context()); err != nil {
		t.Errorf("once it can be written: %v", err)
	}
	if b.writer.failing.Load() {
		t.Error("it is still said to fail")
	}
	b.together(appendJob("s-1", 1, 1))
	b.check(2)
}

// TestLostPlace: a writer that could not find out where the log ends does so
// before it writes again.
func TestLostPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.together(appendJob("s-1", 0, 2))
	b.together(doing(func(*tx) error {
		b.writer.position, b.writer.lost = 0, true // as recover leaves it when it fails
		clear(b.writer.heads)
		return nil
	}))
	b.together(appendJob("s-1", 2, 1))
	b.check(3)
}

func committed(j *job) int {
	if j.err != nil {
		return 0
	}
	return 1
}

// TestPagesAreBounded: a reader holds little in memory, however large the events.
func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const size, events = 1 << 20, 20
	for version := range int64(events) {
		j := appendJob("s-1", version, 1)
		j.rows[0].Data = make([]byte, size)
		j.rows[0].Digest = eventstore.Digest(j.rows[0].Data)
		b.together(j)
	}
	page, more, err := readPage(nil, 3, pageSize, run{page: func(after int64, limit int) (*sql.Rows, error) {
		return b.read.QueryContext(t.Context(), SelectLog, after, limit)
	}})
	if len(page) != pageBytes/size || !more || err != nil || page[0].Position != 4 {
		t.Errorf("a page has %d events, more: %t, %v; want %d of a megabyte each", len(page), more, err, pageBytes/size)
	}
	b.check(events)
}

// TestLostConnection: without a connection nothing is acknowledged.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.together(appendJob("s-1", 0, 1))
	if err := b.writer.conn.Close(); err != nil {
		t.Fatal(err)
	}
	j := appendJob("s-1", 1, 1)
	b.hand(j)
	if <-j.done; j.err == nil {
		t.Error("an append without a connection was acknowledged")
	}
	if _, err := b.Import(t.Context(), func(func(eventstore.Recorded, error) bool) {}); err == nil {
		t.Error("an import without a connection was acknowledged")
	}
	b.check(1)
}

// TestPragmas: a commit that is acknowledged survives a power cut, on the
// connection that makes it.
func TestPragmas(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ask := func(pragma string) (answer string) {
		b.together(doing(func(t *tx) error {
			return t.query("PRAGMA "+pragma, nil, func(v []driver.Value) error {
				answer = fmt.Sprint(v[0])
				return nil
			})
		}))
		return answer
	}
	for pragma, want := range map[string]string{
		"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "query_only": "0",
		"application_id": fmt.Sprint(applicationID),
	} {
		if got := ask(pragma); got != want {
			t.Errorf("the writer's %s is %s; want %s", pragma, got, want)
		}
	}
	for pragma, want := range map[string]string{"query_only": "1", "journal_mode": "wal"} {
		var got string
		if err := b.read.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("a reader's %s is %s, %v; want %s", pragma, got, err, want)
		}
	}
}
