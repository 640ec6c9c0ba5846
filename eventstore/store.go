package eventstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
)

// Limits that every store keeps.
const (
	MaxEventSize  = 4 << 20 // bytes of one event's data: the largest text with every attachment, escaped
	MaxCommitSize = 1000    // events in one commit; a command decides a handful
	// KeepKeys is how long a store remembers the key of a command at least: longer
	// than a client's queue that is stuck over a long weekend tries again.
	KeepKeys = 7 * 24 * time.Hour
)

// Errors that callers branch on.
var (
	// ErrConflict says that the stream moved on; errors.As a *ConflictError.
	ErrConflict = errors.New("the stream has moved on")
	// ErrForeign says that the stream belongs to another account.
	ErrForeign = errors.New("the stream belongs to another account")
	// ErrDuplicate says that an event with that id is already in the log.
	ErrDuplicate = errors.New("an event with this id is already in the log")
	// ErrKeyUsed says that a command with that key was committed before.
	ErrKeyUsed = errors.New("a command with this key was committed before")
	// ErrNotFound says that there is no such command or snapshot.
	ErrNotFound = errors.New("not found")
	// ErrBusy says that the queue to the log is full; later is better.
	ErrBusy = errors.New("the log is busy")
	// ErrUnwritable says that nothing can be written just now, whatever it is:
	// the disk is full or fails, or the file is read only. It may pass.
	ErrUnwritable = errors.New("the log cannot be written")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrTooLarge says that an event or a commit is over its limit.
	ErrTooLarge = errors.New("larger than an event or a commit may be")
)

// A ConflictError says at which version the stream really is.
type ConflictError struct {
	Stream   string
	Expected int64
	Actual   int64
}

// Error returns what was expected and what was found.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: expected version %d, it is at %d", e.Stream, e.Expected, e.Actual)
}

// Is makes every ConflictError an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// A Draft is an event that is not yet in the log.
type Draft struct {
	ID     uuid.UUID
	Type   string
	Schema int
	Time   time.Time
	Data   []byte
}

// An Append adds events to one stream that is at version Expected; 0 is a
// stream that does not exist.
type Append struct {
	Stream   string
	Expected int64
	Events   []Draft
}

// A Key makes a command idempotent: its fingerprint tells the same request from
// another one that was given the same name.
type Key struct {
	Name        string
	Fingerprint [32]byte
}

// A Commit is what one command adds to the log: all of it or nothing. A commit
// without events is of use only to remember its Key.
type Commit struct {
	Account  string
	Metadata Metadata
	Appends  []Append // different streams
	Key      *Key
}

// A Command is a command that was committed under a key.
type Command struct {
	Key     Key
	Stream  string // the last stream it appended to
	First   int64  // positions of its events; both 0 if it had none
	Last    int64
	Version int64 // version of Stream after it
}

// A Snapshot is an aggregate's state at a version, kept to save reading its
// stream from the start. It may be thrown away at any time.
type Snapshot struct {
	Stream  string
	Version int64
	Schema  int
	State   []byte
}

// Store is the log. All methods may be called concurrently.
//
// Events are numbered by position in the order of their commits, and by version
// within their stream, both 1, 2, 3, … without a gap: a reader that has seen
// position N has seen all of 1…N.
type Store interface {
	// Append commits c and returns the position of its first event (0 if it
	// has none); the others follow without a gap. When it returns nil the
	// commit survives a power cut. On an error that wraps ErrConflict,
	// ErrForeign, ErrDuplicate, ErrKeyUsed, ErrTooLarge, ErrBusy or ErrClosed
	// nothing was committed; after any other, that of a done context among
	// them, it may have been.
	Append(ctx context.Context, c Commit) (first int64, err error)

	// ReadStream yields the events of a stream with versions above after, in
	// order, up to the end at some moment of the iteration. A stream that does
	// not exist is empty. It holds a bounded part of the stream in memory.
	ReadStream(ctx context.Context, stream string, after int64) iter.Seq2[Recorded, error]

	// ReadLog yields the events with positions above after, in order, up to the
	// head at some moment of the iteration. It holds a bounded part in memory.
	ReadLog(ctx context.Context, after int64) iter.Seq2[Recorded, error]

	// Head returns the last position in the log, 0 if it is empty.
	Head(ctx context.Context) (int64, error)

	// FindCommand returns the command that was committed under that key, or
	// ErrNotFound. A key is remembered for KeepKeys at least.
	FindCommand(ctx context.Context, account, key string) (Command, error)

	// LoadSnapshot returns the snapshot of a stream, or ErrNotFound.
	LoadSnapshot(ctx context.Context, stream string) (Snapshot, error)

	// SaveSnapshot keeps s in place of an older one, some time later or, under
	// load, not at all.
	SaveSnapshot(s Snapshot)

	// Import adds recorded events as they are: ids, times, versions and, where
	// the log is empty, positions (otherwise they follow the head). All of them
	// are added or, at the first error, none. Digest and Hash are made anew, but
	// for the Digest of an event that has Remains.
	// A fault of an event comes back as an *ImportError.
	Import(ctx context.Context, events iter.Seq2[Recorded, error]) (n int64, err error)
}

// An ImportError says which event of an import, counted from 1, could not be
// added and why.
type ImportError struct {
	Number int64
	Err    error
}

// Error returns number and reason.
func (e *ImportError) Error() string { return fmt.Sprintf("event %d: %v", e.Number, e.Err) }

// Unwrap returns the reason.
func (e *ImportError) Unwrap() error { return e.Err }

// Reasons of an ImportError, beside ErrDuplicate, ErrForeign and ErrTooLarge.
var (
	ErrPositionGap = errors.New("positions must be 1, 2, 3, … without a gap")
	ErrVersionGap  = errors.New("versions of a stream must be 1, 2, 3, … without a gap")
)
