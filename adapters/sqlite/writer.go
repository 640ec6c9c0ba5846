package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"verbatim/eventstore"
)

const (
	// queueLength bounds the jobs that wait for the writer: some milliseconds
	// of work at full speed. Beyond it a caller is told to come again.
	queueLength = 1024
	// maxGroup and maxGroupBytes bound one transaction: enough that the cost of
	// making it durable is shared, little enough that nobody waits long.
	maxGroup      = 256
	maxGroupBytes = 1 << 20
	// probeBytes is how much is written to find out whether there is room.
	probeBytes = 256 << 10
	// maxHeads bounds the streams whose last version and hash are remembered;
	// each takes about 200 bytes.
	maxHeads = 65_536
)

// writer is the one goroutine that writes. Jobs that wait are committed
// together in one transaction; each gets its own answer, and one that fails
// takes nothing with it.
type writer struct {
	queue     chan *job
	stopped   chan struct{}
	committed func([]eventstore.Recorded) // told of what each transaction appended, none if it was not kept
	grouped   func(Group)                 // told of each group; may be nil

	closing sync.RWMutex // held for writing while the queue is closed
	closed  bool

	failing atomic.Bool // something could not be written for want of room, or the like

	// Of the goroutine alone.
	conn     *sql.Conn
	tx       *tx
	position int64
	heads    map[string]head
	lost     bool // neither position nor heads are known
	voids    voids
}

// head is the end of a stream.
type head struct {
	version int64
	hash    [32]byte
	account string
}

// job is something to write. Exactly one of commit and do is set.
type job struct {
	ctx    context.Context
	commit *eventstore.Commit
	rows   []eventstore.Recorded // of commit, but for position, version and hash
	first  int64                 // answer to commit
	do     func(*tx) error       // done again if a neighbour's failure undid it
	only   bool                  // do is done once, in a transaction of its own
	size   int
	err    error
	done   chan struct{} // one slot
}

// A Group is jobs that were written together.
type Group struct {
	Jobs   int // commands, pages of projections, batches of attempts
	Events int // that were appended
	Took   time.Duration
}

// startWriter starts the goroutine on a connection of its own. committed is
// called when the log has got further, grouped, if not nil, after each group.
func startWriter(
	ctx context.Context, db *sql.DB, committed func([]eventstore.Recorded), grouped func(Group),
) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the writing connection: %w", err)
	}
	w := &writer{
		queue: make(chan *job, queueLength), stopped: make(chan struct{}), committed: committed, grouped: grouped,
		conn: conn, heads: make(map[string]head),
	}
	err = conn.Raw(func(dc any) error {
		c, ok := dc.(*sqlite3.SQLiteConn)
		if !ok {
			return fmt.Errorf("unexpected driver connection %T", dc)
		}
		w.tx = &tx{conn: c, statements: make(map[string]*sqlite3.SQLiteStmt)}
		for _, pragma := range []string{
			fmt.Sprintf("PRAGMA cache_size = -%d", cacheKiB),
			fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", checkpointPages),
		} {
			if err := w.tx.run(pragma); err != nil {
				return err
			}
		}
		return w.recover()
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	go w.loop()
	return w, nil
}

// recover forgets everything that is remembered of the file and reads the head.
func (w *writer) recover() error {
	clear(w.heads)
	w.position, w.lost = 0, true
	return w.tx.query(selectHead, nil, func(v []driver.Value) error {
		w.position, w.lost = v[0].(int64), false
		return nil
	})
}

// submit hands a job to the writer and waits for its answer.
func (w *writer) submit(j *job) error {
	if err := w.enqueue(j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-j.ctx.Done():
		// It may be committed all the same; the caller does not wait for it.
		return j.ctx.Err()
	}
}

func (w *writer) enqueue(j *job) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return eventstore.ErrClosed
	}
	select {
	case w.queue <- j:
		return nil
	default:
		return eventstore.ErrBusy
	}
}

// write runs do in a transaction, together with its neighbours.
func (w *writer) write(ctx context.Context, do func(*tx) error) error {
	return w.submit(&job{ctx: ctx, do: do, done: make(chan struct{}, 1)})
}

// probe finds out whether there is room again, for as much as all but the largest
// groups need: a little more would be filled by the first commits, and whoever
// had been told that all is well would be told no again.
func (w *writer) probe(ctx context.Context) error {
	w.failing.Store(false) // set again by what fails from here on
	err := w.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT OR REPLACE INTO snapshots (stream, version, schema, state) VALUES ('', 0, 0, zeroblob(?))", probeBytes)
		return err
	})
	if err != nil {
		return err
	}
	return w.write(ctx, func(t *tx) error { return t.run("DELETE FROM snapshots WHERE stream = ''") })
}

// stop lets the writer finish what was handed to it.
func (w *writer) stop() error {
	w.closing.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.closing.Unlock()
	<-w.stopped
	return w.conn.Close()
}

func (w *writer) loop() {
	defer close(w.stopped)
	group := make([]*job, 0, maxGroup)
	for first := range w.queue {
		group = append(group[:0], first)
		size := first.size
	gather:
		for len(group) < maxGroup && size < maxGroupBytes {
			select {
			case j, ok := <-w.queue:
				if !ok {
					break gather
				}
				group = append(group, j)
				size += j.size
			default:
				break gather
			}
		}
		before, began := w.position, time.Now()
		// The connection is this goroutine's own; Raw only lends what is below
		// database/sql, whose calls would cost as much as SQLite's.
		err := w.conn.Raw(func(any) error {
			for _, j := range group {
				if j.only {
					j.err = w.transact(func() error { return j.do(w.tx) })
				}
			}
			w.commit(slices.DeleteFunc(slices.Clone(group), func(j *job) bool { return j.only }))
			return nil
		})
		if err != nil { // there is no connection any more, and nothing was done
			for _, j := range group {
				j.err = fmt.Errorf("commit: %w", err)
			}
		}
		if w.position != before {
			w.committed(w.tx.rows[:w.tx.inserted])
		}
		if w.grouped != nil {
			w.grouped(Group{Jobs: len(group), Events: int(w.position - before), Took: time.Since(began)})
		}
		w.answer(group)
	}
	w.tx.close()
}

// answer tells each job of a group what came of it.
func (w *writer) answer(group []*job) {
	for _, j := range group {
		if isUnwritable(j.err) {
			j.err = fmt.Errorf("%w: %w", eventstore.ErrUnwritable, j.err)
			w.failing.Store(true)
		}
		j.done <- struct{}{}
	}
}

// commit answers every job of a group. First all of them share one transaction
// without savepoints; should a statement fail, which a conflict does not, they
// are done again one by one, each in a savepoint of its own.
func (w *writer) commit(group []*job) {
	if len(group) == 0 {
		return
	}
	err := w.transact(func() error {
		for _, j := range group {
			if err := w.prepare(j); err != nil {
				return err
			}
		}
		return w.flush()
	})
	if err == nil {
		return
	}
	err = w.transact(func() error {
		for _, j := range group {
			if err := w.alone(j); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, j := range group {
			j.err = fmt.Errorf("commit: %w", err)
		}
	}
}

// transact runs do in a transaction. If that fails the writer knows nothing any
// more and reads the head again.
func (w *writer) transact(do func() error) error {
	if len(w.heads) > maxHeads {
		clear(w.heads) // only here, where the file has all that they knew
	}
	w.tx.rows, w.tx.inserted = w.tx.rows[:0], 0
	if w.lost {
		if err := w.recover(); err != nil {
			return err
		}
	}
	if err := w.tx.run("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := do()
	if err == nil {
		err = w.tx.run("COMMIT")
	}
	if err != nil {
		w.tx.rows, w.tx.inserted = w.tx.rows[:0], 0
		if !w.tx.conn.AutoCommit() {
			err = errors.Join(err, w.tx.run("ROLLBACK"))
		}
		err = errors.Join(err, w.recover())
	}
	return err
}

// alone does one job in a savepoint. The error it returns is one of the
// transaction; that of the job is in the job.
func (w *writer) alone(j *job) error {
	if err := w.tx.run("SAVEPOINT job"); err != nil {
		return err
	}
	err := w.prepare(j)
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		return w.tx.run("RELEASE job")
	}
	w.tx.rows = w.tx.rows[:w.tx.inserted]
	if w.tx.conn.AutoCommit() {
		return err // SQLite itself rolled everything back: the disk is full, or worse
	}
	if j.commit != nil && isDuplicate(err) {
		err = eventstore.ErrDuplicate
	}
	j.err = err
	if err := w.tx.run("ROLLBACK TO job"); err != nil {
		return err
	}
	if err := w.tx.run("RELEASE job"); err != nil {
		return err
	}
	return w.recover()
}

// prepare does what a job asks for, but for inserting events, which flush does
// for all. The error it returns is one of the database; a refusal is in the job.
func (w *writer) prepare(j *job) error {
	j.first = 0
	if j.err = j.ctx.Err(); j.err != nil {
		return nil //nolint:nilerr // it is in the job
	}
	if j.do != nil {
		return j.do(w.tx)
	}
	return w.append(j)
}

func (w *writer) append(j *job) error {
	c := j.commit
	ends := make([]head, len(c.Appends))
	for i := range c.Appends {
		a := &c.Appends[i]
		h, err := w.head(a.Stream)
		if err != nil {
			return err
		}
		switch {
		case h.version > 0 && h.account != c.Account:
			j.err = eventstore.ErrForeign
			return nil
		case h.version != a.Expected:
			j.err = &eventstore.ConflictError{Stream: a.Stream, Expected: a.Expected, Actual: h.version}
			return nil
		}
		ends[i] = h
	}
	count := int64(len(j.rows))
	if c.Key != nil {
		taken, err := w.remember(c, count)
		if err != nil {
			return err
		}
		if taken {
			j.err = eventstore.ErrKeyUsed
			return nil
		}
	}
	if count == 0 {
		return nil
	}
	j.first = w.position + 1
	rows := j.rows
	for i := range c.Appends {
		a := &c.Appends[i]
		h := ends[i]
		for _, r := range rows[:len(a.Events)] {
			w.position++
			h.version++
			r.Position, r.Version = w.position, h.version
			r.Hash = eventstore.Chain(h.hash, &r)
			h.hash, h.account = r.Hash, c.Account
			w.tx.rows = append(w.tx.rows, r)
		}
		rows = rows[len(a.Events):]
		w.heads[a.Stream] = h
	}
	return nil
}

// remember writes the command's key, or reports that it is taken.
func (w *writer) remember(c *eventstore.Commit, count int64) (taken bool, err error) {
	var first, last, version int64
	stream := ""
	if count > 0 {
		first, last = w.position+1, w.position+count
	}
	if n := len(c.Appends); n > 0 {
		stream, version = c.Appends[n-1].Stream, c.Appends[n-1].Expected+int64(len(c.Appends[n-1].Events))
	}
	changed, err := w.tx.exec(
		"INSERT INTO commands (account, key, fingerprint, stream, first, last, version, time) VALUES (?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
		c.Account, c.Key.Name, c.Key.Fingerprint[:], stream, first, last, version, micros(time.Now()))
	return changed == 0, err
}

func (w *writer) head(stream string) (head, error) {
	if h, ok := w.heads[stream]; ok {
		return h, nil
	}
	var h head
	err := w.tx.query(
		"SELECT version, hash, account FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1", []any{stream},
		func(v []driver.Value) error {
			h.version = v[0].(int64)
			copy(h.hash[:], v[1].([]byte))
			h.account = v[2].(string)
			return nil
		})
	return h, err
}

// flush inserts the events that were prepared, one by one: a statement with
// many rows would keep a journal of its own to be undone by.
func (w *writer) flush() error {
	for i := w.tx.inserted; i < len(w.tx.rows); i++ {
		if err := w.tx.insert(&w.tx.rows[i]); err != nil {
			return err
		}
	}
	w.tx.inserted = len(w.tx.rows)
	return nil
}

// isDuplicate reports whether a statement failed because an event's id is
// already in the log.
func isDuplicate(err error) bool {
	e, ok := errors.AsType[sqlite3.Error](err)
	return ok && e.ExtendedCode == sqlite3.ErrConstraintUnique
}

// isUnwritable reports whether an error is one of the medium and not of what was
// to be written.
func isUnwritable(err error) bool {
	switch code(err) {
	case sqlite3.ErrFull, sqlite3.ErrReadonly, sqlite3.ErrIoErr:
		return true
	default:
		return false
	}
}

// tx is the writing connection inside a transaction, below database/sql.
type tx struct {
	conn       *sqlite3.SQLiteConn
	statements map[string]*sqlite3.SQLiteStmt
	rows       []eventstore.Recorded // of the transaction that is open, or was last
	inserted   int                   // so many of rows are; the others are prepared
	args       []driver.Value
}

const (
	appendedColumns = "position, stream, version, id, type, schema, time, account, data, metadata, digest, hash"
	insertEvent     = "INSERT INTO events (" + appendedColumns + ") VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
	// eventColumns are those for ScanEvent. Data that was overwritten begins with a
	// zero, which no JSON does.
	eventColumns = appendedColumns + `, CASE WHEN data < x'01' THEN
		(SELECT r.content FROM remains AS r WHERE r.position = events.position ORDER BY r.id DESC LIMIT 1) END`
)

func (t *tx) insert(r *eventstore.Recorded) error {
	s, err := t.statement(insertEvent)
	if err != nil {
		return err
	}
	data := r.Data
	if r.Remains != nil {
		data = []byte{0}
		if _, err := t.exec(insertRemains, r.Position, "", nil, contentOf(r.Remains, r.Data)); err != nil {
			return err
		}
	}
	t.args = append(t.args[:0], r.Position, r.Stream, r.Version, r.ID[:], r.Type, int64(r.Schema), micros(r.Time),
		r.Account, data, r.Metadata, r.Digest[:], r.Hash[:])
	_, err = s.Exec(t.args)
	return err
}

// run executes a statement without arguments or answer.
func (t *tx) run(query string) error {
	_, err := t.exec(query)
	return err
}

// exec executes a statement and returns how many rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	s, err := t.statement(query)
	if err != nil {
		return 0, err
	}
	res, err := s.Exec(values(args))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", firstWords(query), err)
	}
	return res.RowsAffected()
}

// query calls each with every row of the answer.
func (t *tx) query(query string, args []any, each func([]driver.Value) error) error {
	s, err := t.statement(query)
	if err != nil {
		return err
	}
	rows, err := s.Query(values(args))
	if err != nil {
		return fmt.Errorf("%s: %w", firstWords(query), err)
	}
	defer rows.Close() //nolint:errcheck // a statement that was read to its end has nothing more to say
	row := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", firstWords(query), err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

func (t *tx) statement(query string) (*sqlite3.SQLiteStmt, error) {
	if s, ok := t.statements[query]; ok {
		return s, nil
	}
	prepared, err := t.conn.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", firstWords(query), err)
	}
	s, ok := prepared.(*sqlite3.SQLiteStmt)
	if !ok {
		return nil, fmt.Errorf("unexpected driver statement %T", prepared)
	}
	t.statements[query] = s
	return s, nil
}

func (t *tx) close() {
	for _, s := range t.statements {
		_ = s.Close() // the connection goes next
	}
}

// values turns arguments into what the driver takes.
func values(args []any) []driver.Value {
	out := make([]driver.Value, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case int:
			out[i] = int64(a)
		case bool:
			out[i] = int64(0)
			if a {
				out[i] = int64(1)
			}
		default:
			out[i] = a
		}
	}
	return out
}

func firstWords(query string) string {
	words := strings.Fields(query)
	return strings.Join(words[:min(3, len(words))], " ")
}
