package eventstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unique"
)

// auditedStreams bounds the streams whose last event an Audit remembers, at some
// 180 bytes each: 45 MB. When there are more, all are dropped; of a stream that
// goes on, the event before is found again in the log.
const auditedStreams = 1 << 18

// A Defect is a kind of thing that can be wrong with a log.
type Defect string

// The defects.
const (
	MissingPosition Defect = "position"    // positions are missing, or stand twice
	MissingVersion  Defect = "version"     // the version is not the next one of the stream
	ForeignAccount  Defect = "account"     // the event before in the stream is another account's
	ChangedData     Defect = "data"        // the data is not what was appended, or what an erasure left
	BrokenHash      Defect = "hash"        // the hash is not that of the header, the digest and the hash before
	Undecodable     Defect = "undecodable" // nobody can say what happened
	Unreadable      Defect = "unreadable"  // the store cannot read the event
	Unvouched       Defect = "unvouched"   // data was erased, and no erasure is on record that did it
	BrokenSeal      Defect = "seal"        // the log up to there is not the one that was sealed
	CutOff          Defect = "cut_off"     // the log once went further than it does
	BrokenFile      Defect = "file"        // what the events are kept in is damaged
)

// A Fault is something that is wrong with a log, and where. What is about no
// single event has no stream.
type Fault struct {
	Position int64  `json:"position"`
	Stream   string `json:"stream,omitempty"`
	Version  int64  `json:"version,omitempty"`
	Defect   Defect `json:"defect"`
	Detail   string `json:"detail"`
}

// faultOf returns a fault of an event.
func faultOf(r *Recorded, d Defect, format string, args ...any) Fault {
	return Fault{r.Position, r.Stream, r.Version, d, fmt.Sprintf(format, args...)}
}

// Inspect returns what is wrong with an event by itself: with its data.
func Inspect(codec *Codec, r *Recorded) (faults []Fault) {
	switch {
	case r.Intact():
	case r.Remains != nil:
		faults = append(faults, faultOf(r, ChangedData, "the data is not what the erasure left"))
	default:
		faults = append(faults, faultOf(r, ChangedData, "the data is not what was appended"))
	}
	if _, err := codec.Decode(r); err != nil {
		faults = append(faults, faultOf(r, Undecodable, "%v", err))
	}
	return faults
}

// An Audit is told a log event by event, in the order of positions, and says
// where an event does not follow from those before it. What is wrong with an
// event by itself, Inspect says.
type Audit struct {
	next    int64 // position
	before  func(ctx context.Context, stream string, version int64) (*Recorded, error)
	heads   map[string]auditHead
	streams int64
	seal    Seal
}

// auditHead is the last event of a stream.
type auditHead struct {
	version int64
	hash    [32]byte
	account unique.Handle[string]
}

// NewAudit returns an audit of a log behind a position. before returns an event
// of the log, nil if it is not there: streams are more than are remembered, and
// begin before the audit does. Without it, the audit begins at the first position
// and remembers every stream.
func NewAudit(after int64, before func(ctx context.Context, stream string, version int64) (*Recorded, error)) *Audit {
	return &Audit{next: after + 1, before: before, heads: make(map[string]auditHead), seal: Seal{Position: after}}
}

// Take takes the next event and returns what is wrong with its place. The audit
// goes on from what the event says of itself: a fault is told once.
func (a *Audit) Take(ctx context.Context, r *Recorded) (faults []Fault, err error) {
	switch {
	case r.Position > a.next:
		faults = append(faults, Gap(a.next, r.Position-1))
	case r.Position < a.next:
		faults = append(faults, faultOf(r, MissingPosition, "position %d comes behind %d", r.Position, a.next-1))
	}
	a.next = r.Position + 1
	h, known := a.heads[r.Stream]
	if !known && r.Version > 1 && a.before != nil {
		h, err = a.find(ctx, r)
	}
	switch {
	case err != nil:
		faults = append(faults, faultOf(r, Unreadable, "the event before it in its stream: %v", err))
	case r.Version != h.version+1:
		faults = append(faults, faultOf(r, MissingVersion, "version %d, where %d was due", r.Version, h.version+1))
	default:
		if h.version > 0 && h.account.Value() != r.Account {
			faults = append(faults, faultOf(r, ForeignAccount, "account %q, the event before it has %q", r.Account, h.account.Value()))
		}
		if Chain(h.hash, r) != r.Hash {
			faults = append(faults, faultOf(r, BrokenHash, "its hash does not follow: it was changed, or the event before it in its stream"))
		}
	}
	if r.Version == 1 {
		a.streams++
	}
	if !known && len(a.heads) == auditedStreams && a.before != nil {
		clear(a.heads)
	}
	a.heads[r.Stream] = auditHead{r.Version, r.Hash, unique.Make(r.Account)}
	a.seal = a.seal.Then(r)
	return faults, ctx.Err()
}

// find returns the event before r in its stream, which is not remembered.
func (a *Audit) find(ctx context.Context, r *Recorded) (h auditHead, err error) {
	before, err := a.before(ctx, r.Stream, r.Version-1)
	if err != nil || before == nil || before.Position >= r.Position {
		return h, err
	}
	return auditHead{before.Version, before.Hash, unique.Make(before.Account)}, nil
}

// Gap is the fault of a log that lacks positions.
func Gap(from, to int64) Fault {
	f := Fault{Position: from, Defect: MissingPosition, Detail: fmt.Sprintf("positions %d to %d are not there", from, to)}
	if from == to {
		f.Detail = fmt.Sprintf("position %d is not there", from)
	}
	return f
}

// Skip passes over a position of which nothing can be said.
func (a *Audit) Skip(position int64) { a.next = max(a.next, position+1) }

// Next returns the position that is due.
func (a *Audit) Next() int64 { return a.next }

// Streams returns how many streams have begun.
func (a *Audit) Streams() int64 { return a.streams }

// Seal returns the seal of the log up to the last event that was taken. It is
// that of the whole log only if the audit began at the first position.
func (a *Audit) Seal() Seal { return a.seal }

// A Seal stands for a log up to a position: SHA-256 over the seal before it and
// the hash of the event there; that of the empty log is zero. The chain of a
// stream can be made anew from where an event was changed, and so can those that
// follow it in time; who noted the seal sees it. Erasures leave it as it is, and
// a log that is exported and imported has the same.
type Seal struct {
	Position int64
	Hash     [32]byte
}

// Then returns the seal behind the next event.
func (s Seal) Then(r *Recorded) Seal {
	var b [64]byte
	copy(b[:32], s.Hash[:])
	copy(b[32:], r.Hash[:])
	return Seal{r.Position, sha256.Sum256(b[:])}
}

// String returns "POSITION:HASH", the hash in hexadecimal digits.
func (s Seal) String() string {
	return strconv.FormatInt(s.Position, 10) + ":" + hex.EncodeToString(s.Hash[:])
}

// MarshalText is String, for JSON.
func (s Seal) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseSeal reads what String wrote.
func ParseSeal(text string) (s Seal, err error) {
	position, digits, _ := strings.Cut(text, ":")
	s.Position, err = strconv.ParseInt(position, 10, 64)
	hash, bad := hex.DecodeString(digits)
	if err = errors.Join(err, bad); err != nil || s.Position < 0 || len(hash) != len(s.Hash) {
		return s, fmt.Errorf("%q is not a seal: a position, a colon, and %d hexadecimal digits", text, 2*len(s.Hash))
	}
	copy(s.Hash[:], hash)
	return s, nil
}
