// Package sqlite keeps the log, the read models and the deliveries in one
// SQLite file. One goroutine writes; commands that wait are committed together.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	fileName = "verbatim.db"
	lockName = "serve.lock"
	// applicationID marks the file as ours: "VRBT" in ASCII.
	applicationID = 0x56524254
	// readers is how many connections read beside the writer. More than the
	// cores only wait for each other.
	readers = 8
	// lockTries and lockPause bound the wait for those who only look whether
	// anybody serves, which takes them microseconds.
	lockTries = 100
	lockPause = time.Millisecond
	// checkedTail is how many of the last events are proven when the file is
	// opened: what a torn write or a foreign hand would have touched last.
	checkedTail = 64
	// cacheKiB is the page cache of the writer: the leaves of the indices that
	// appends touch.
	cacheKiB = 64 << 10
	// checkpointPages is after how many pages of the write-ahead log the file
	// itself is written: 16 MiB, so that a burst of commits pays for it seldom.
	checkpointPages = 4096
	// busyTimeout is how long a statement waits for whoever holds the file.
	busyTimeout = 5 * time.Second
)

// Errors of Open.
var (
	// ErrInUse says that another process serves from the data folder.
	ErrInUse = errors.New("another process serves from this data folder")
	// ErrNotOurs says that the file is not one of Verbatim's.
	ErrNotOurs = errors.New("the file is not a Verbatim database")
	// ErrNewer says that the file was written by a newer program.
	ErrNewer = errors.New("the database was written by a newer version of Verbatim")
	// ErrDamaged says that events do not match their digests.
	ErrDamaged = errors.New("the log does not match its digests")
	// ErrOtherKey says that secrets were sealed with another key than the vault's.
	ErrOtherKey = errors.New("its secrets were sealed with another key; serve with the one that was in use when they were made")
	// ErrNoDatabase says that there is nothing to read.
	ErrNoDatabase = errors.New("there is no Verbatim database in this folder")
)

// Options say how a store is opened.
type Options struct {
	// ReadOnly opens beside a process that serves. Nothing can be written.
	ReadOnly bool
	// Damaged, with ReadOnly, opens a log whose last events are not proven, too:
	// for one who finds out what is wrong with it.
	Damaged bool
	// Info is left for other processes while this one serves.
	Info ServerInfo
	// Vault seals secrets and headers of endpoints. Without one they are kept as
	// they are; what was kept so is sealed once there is one.
	Vault *webhooks.Vault
	// Grouped is told of each group that was written, or that could not be, on
	// the goroutine that writes: it must not wait. Defaults to nobody.
	Grouped func(Group)
}

// ServerInfo is what a serving process says of itself to others on the same
// machine that may read the data folder.
type ServerInfo struct {
	PID   int    `json:"pid"`
	Addr  string `json:"addr,omitempty"`
	Token string `json:"token,omitempty"` // lets the holder act as the operator
}

// Store is the log, its read models and its deliveries in a data folder.
type Store struct {
	dir    string
	vault  *webhooks.Vault // may be nil
	read   *sql.DB
	write  *sql.DB
	writer *writer
	lock   *os.File
	events eventstore.Bell
	tail   tail
	close  func() error // once; see Close
}

// Find returns ErrNoDatabase if the folder has none, or is not there.
func Find(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, fileName)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: %w", dir, ErrNoDatabase)
	}
	return nil
}

// Open opens the data folder, making it and bringing its tables up to date if
// it is not read only. It returns ErrInUse, ErrNotOurs, ErrNewer, ErrDamaged,
// ErrOtherKey, or ErrNoDatabase.
func Open(ctx context.Context, dir string, o Options) (_ *Store, err error) {
	s := &Store{dir: dir, vault: o.Vault}
	s.close = sync.OnceValue(s.closeAll)
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	file := filepath.Join(dir, fileName)
	if o.ReadOnly {
		if err := Find(dir); err != nil {
			return nil, err
		}
	} else {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make data folder: %w", err)
		}
		if s.lock, err = takeLock(dir, o.Info); err != nil {
			return nil, err
		}
		if err := ownFile(file); err != nil {
			return nil, err
		}
	}
	marked, err := hasMark(ctx, file)
	if err == nil && o.ReadOnly && !marked {
		err = ErrNotOurs
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	if s.read, err = sql.Open("sqlite3", dsn(file, "_query_only=1")); err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if o.ReadOnly {
		if err = s.checkSchema(ctx); err == nil && !o.Damaged {
			err = s.checkTail(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", file, err)
		}
		return s, nil
	}
	if s.write, err = sql.Open("sqlite3", dsn(file, "_txlock=immediate&_secure_delete=true")); err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	s.write.SetMaxOpenConns(1)
	if err := s.migrate(ctx, marked); err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	if err := s.checkTail(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	if s.writer, err = startWriter(ctx, s.write, s.committed, o.Grouped); err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	if s.vault != nil {
		err := s.checkVault(ctx)
		if err == nil {
			err = s.sealAll(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", file, err)
		}
	}
	return s, nil
}

// dsn sets every pragma where it counts for each connection. FULL makes a
// commit survive a power cut; the driver would make it NORMAL. Who writes also
// overwrites what is deleted, or a person who was erased could be found in pages
// that are free.
func dsn(file, more string) string {
	return uri(file) + "?_journal_mode=WAL&_synchronous=FULL&_foreign_keys=1&_stmt_cache_size=64" +
		"&_busy_timeout=" + strconv.FormatInt(busyTimeout.Milliseconds(), 10) + "&" + more
}

func uri(file string) string { return "file:" + (&url.URL{Path: file}).EscapedPath() }

// ownFile makes the file before SQLite does, so that nobody else can read it:
// it holds signing secrets.
func ownFile(file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("make database: %w", err)
	}
	return f.Close()
}

// takeLock makes sure that nobody else serves from the folder. The lock goes
// with the process, however it ends.
func takeLock(dir string, info ServerInfo) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // as above
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	for try := 1; ; try++ {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock data folder: %w", err), f.Close())
		}
		other, serving := Serving(dir)
		if serving || try == lockTries {
			return nil, errors.Join(
				fmt.Errorf("open %s: %w (process %d at %s); stop it, or read beside it with export, rebuild and verify",
					dir, ErrInUse, other.PID, other.Addr),
				f.Close())
		}
		time.Sleep(lockPause) // somebody only looked whether anybody serves
	}
	info.PID = os.Getpid()
	b, err := json.Marshal(info)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, b)); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data folder: %w", err), f.Close())
	}
	return f, nil
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// Serving returns what the process that serves from the folder says of itself,
// and whether there is one.
func Serving(dir string) (ServerInfo, bool) {
	var info ServerInfo
	f, err := os.Open(filepath.Join(dir, lockName)) //nolint:gosec // the operator names the folder
	if err != nil {
		return info, false
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return info, false
	}
	if err := json.NewDecoder(f).Decode(&info); err != nil {
		return info, true
	}
	return info, true
}

// hasMark reports whether the file is marked as ours, and refuses one that is
// somebody else's: without a mark only an empty one is ours, to fill. It has a
// connection of its own, which cannot write: the pragmas of the others would
// turn a stranger's file to write-ahead logging.
func hasMark(ctx context.Context, file string) (marked bool, err error) {
	db, err := sql.Open("sqlite3", uri(file)+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var id, tables int64
	err = db.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_schema)").
		Scan(&id, &tables)
	switch {
	case code(err) == sqlite3.ErrNotADB:
		return false, ErrNotOurs
	case err != nil:
		return false, fmt.Errorf("read the file's mark: %w", err)
	case id == applicationID:
		return true, nil
	case tables > 0:
		return false, ErrNotOurs
	}
	return false, nil
}

func (s *Store) migrate(ctx context.Context, marked bool) error {
	if !marked {
		if _, err := s.write.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
			return fmt.Errorf("mark the file: %w", err)
		}
	}
	p, _, err := schema(ctx, s.write)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}

// checkSchema refuses a schema that is not the one this program reads.
func (s *Store) checkSchema(ctx context.Context) error {
	_, behind, err := schema(ctx, s.read)
	if err == nil && behind > 0 {
		err = fmt.Errorf("its schema is %d versions old; serve from the folder once to bring it up to date", behind)
	}
	return err
}

// schema returns the migrations and how many of them the file lacks.
func schema(ctx context.Context, db *sql.DB) (_ *goose.Provider, behind int64, err error) {
	scripts, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, 0, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, scripts)
	if err != nil {
		return nil, 0, fmt.Errorf("read migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if current > target {
		return nil, 0, fmt.Errorf("%w: its schema is %d, this program knows %d", ErrNewer, current, target)
	}
	return p, target - current, nil
}

// checkTail proves the last events: their digests, and the hash of each whose
// predecessor in its stream is among them.
func (s *Store) checkTail(ctx context.Context) error {
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	hashes := make(map[string]eventstore.Recorded)
	for r, err := range s.ReadLog(ctx, max(0, head-checkedTail)) {
		if err != nil {
			return err
		}
		before, ok := hashes[r.Stream]
		if !r.Intact() ||
			(r.Version == 1 || ok && before.Version == r.Version-1) && eventstore.Chain(before.Hash, &r) != r.Hash {
			return fmt.Errorf("%w: position %d, version %d of %s", ErrDamaged, r.Position, r.Version, r.Stream)
		}
		hashes[r.Stream] = r
	}
	return nil
}

// committed makes appended events known to those who follow the log.
func (s *Store) committed(events []eventstore.Recorded) {
	s.tail.add(events)
	s.events.Ring()
}

// Close stops the writer after what was handed to it, and closes the file. To
// close again does nothing.
func (s *Store) Close() error { return s.close() }

func (s *Store) closeAll() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.stop())
	}
	s.tail.add(nil) // a closed store is not read
	for _, db := range []*sql.DB{s.read, s.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if s.lock != nil {
		// To close the file would leave the lock to a child that is being started.
		errs = append(errs, s.lock.Truncate(0), syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN), s.lock.Close())
	}
	return errors.Join(errs...)
}

// Ping reports whether the file can be read, which the driver's own ping does
// not look at, and written: after a failure it tries, for a server that is told
// of no more writes while it is not well would never find out.
func (s *Store) Ping(ctx context.Context) error {
	if _, err := s.Head(ctx); err != nil {
		return err
	}
	if s.writer == nil || !s.writer.failing.Load() {
		return nil
	}
	return s.writer.probe(ctx)
}

// Readers returns the connections that read. What is sent through them cannot
// write.
func (s *Store) Readers() *sql.DB { return s.read }

// Events returns the bell that rings after each commit that appended events.
func (s *Store) Events() *eventstore.Bell { return &s.events }

// code returns SQLite's own number for an error, 0 if it is none of SQLite's.
func code(err error) sqlite3.ErrNo {
	if e, ok := errors.AsType[sqlite3.Error](err); ok {
		return e.Code
	}
	return 0
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }
