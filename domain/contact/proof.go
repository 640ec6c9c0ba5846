package contact

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// maxPartSize is how many bytes of JSON the positions and digests of one Erased
// may have, about: half of what an event may be. Most erasures, up to some two
// hundred thousand events, are one.
const maxPartSize = 2 << 20

// A Part is what one Erased tells of an erasure: the events that were
// overwritten, in order of position.
type Part struct {
	Events    int64   // how many
	Positions string  // of them, as runs: "12-14 19"
	Proof     string  // see Erased
	Again     []Again // those of them that were remains before
}

// Again is an event out of which somebody had been erased before: what was left
// then proves that erasure, and is not there any more.
type Again struct {
	Position int64  `json:"position"`
	Digest   string `json:"digest"` // SHA-256 of what had been left, in hexadecimal digits
}

// A Ledger writes down what an erasure has overwritten.
type Ledger struct {
	parts []Part
	now   Part
	hash  hash.Hash
	runs  strings.Builder
	first int64 // of the run that is open
	last  int64
}

// Add adds an overwritten event, in order of position: the digest of what is left
// of it and, if it was remains before, of what had been left.
func (l *Ledger) Add(position int64, left [32]byte, before *[32]byte) {
	if l.hash == nil {
		l.hash = sha256.New()
	}
	if position != l.last+1 || l.now.Events == 0 {
		l.closeRun()
		l.first = position
	}
	l.last = position
	l.now.Events++
	digest(l.hash, position, left)
	if before != nil {
		l.now.Again = append(l.now.Again, Again{position, hex.EncodeToString(before[:])})
	}
	const again = 128 // bytes of an Again, at most
	if l.runs.Len()+again*len(l.now.Again) >= maxPartSize {
		l.closePart()
	}
}

func (l *Ledger) closeRun() {
	if l.first == 0 {
		return
	}
	if l.runs.Len() > 0 {
		l.runs.WriteByte(' ')
	}
	l.runs.WriteString(strconv.FormatInt(l.first, 10))
	if l.last > l.first {
		l.runs.WriteByte('-')
		l.runs.WriteString(strconv.FormatInt(l.last, 10))
	}
	l.first = 0
}

func (l *Ledger) closePart() {
	l.closeRun()
	l.now.Positions, l.now.Proof = l.runs.String(), hex.EncodeToString(l.hash.Sum(nil))
	l.parts = append(l.parts, l.now)
	l.now = Part{}
	l.hash.Reset()
	l.runs.Reset()
}

// Parts returns what was written down, nothing if that was nothing. The ledger is
// not to be used behind it.
func (l *Ledger) Parts() []Part {
	if l.now.Events > 0 {
		l.closePart()
	}
	return l.parts
}

// digest takes one event into a proof.
func digest(h hash.Hash, position int64, left [32]byte) {
	_ = binary.Write(h, binary.BigEndian, uint64(position)) // a hash does not fail
	_, _ = h.Write(left[:])
}

// A run is positions one behind the other, both ends included.
type run struct{ first, last int64 }

var errNoRuns = errors.New("its positions cannot be read")

// runsOf returns the runs that Positions names: ascending, without overlaps.
func runsOf(positions string) ([]run, error) {
	var runs []run
	end := int64(0)
	for text := range strings.FieldsSeq(positions) {
		from, to, isRun := strings.Cut(text, "-")
		first, err := strconv.ParseInt(from, 10, 64)
		last := first
		if err == nil && isRun {
			last, err = strconv.ParseInt(to, 10, 64)
		}
		if err != nil || first <= end || last < first {
			return nil, errNoRuns
		}
		end = last
		runs = append(runs, run{first, last})
	}
	return runs, nil
}

// Proofs checks what a log says of erasures against what stands in it. It is
// given every Erased of an account, from the last to the first.
type Proofs struct {
	left    func(position int64) (digest [32]byte, ok bool)
	before  map[int64][32]byte // what stood there before the erasures that were checked
	covered []run
	sorted  bool
}

// NewProofs returns a check. left returns the digest of what was left of the
// event at a position, and whether it is marked as one out of which somebody was
// erased.
func NewProofs(left func(position int64) (digest [32]byte, ok bool)) *Proofs {
	return &Proofs{left: left, before: make(map[int64][32]byte)}
}

// Check returns why what stands in the log is not what the erasure left, or nil.
func (p *Proofs) Check(e Erased) error {
	runs, err := runsOf(e.Positions)
	if err != nil {
		return err
	}
	h, events := sha256.New(), int64(0)
	for _, r := range runs {
		if events += r.last - r.first + 1; events > e.Events {
			break
		}
		for at := r.first; at <= r.last; at++ {
			left, again := p.before[at]
			if !again {
				var ok bool
				if left, ok = p.left(at); !ok {
					return fmt.Errorf("position %d is not marked as erased", at)
				}
			}
			digest(h, at, left)
		}
	}
	switch {
	case events != e.Events:
		return fmt.Errorf("%d events were erased, and its positions are those of others", e.Events)
	case events > 0 && hex.EncodeToString(h.Sum(nil)) != e.Proof:
		return errors.New("what is left of its events is not what the erasure left")
	}
	for _, a := range e.Again {
		before, err := hex.DecodeString(a.Digest)
		if err != nil || len(before) != sha256.Size {
			return errors.New("the digest of what was left before cannot be read")
		}
		p.before[a.Position] = [sha256.Size]byte(before)
	}
	p.covered, p.sorted = append(p.covered, runs...), false
	return nil
}

// Covered reports whether one of the erasures that were checked, and hold, is
// one of the event at a position. An event that is marked and not covered was
// marked by somebody else, or by an erasure that is still under way.
func (p *Proofs) Covered(position int64) bool {
	if !p.sorted {
		slices.SortFunc(p.covered, func(a, b run) int { return int(a.first - b.first) })
		joined := p.covered[:0]
		for _, r := range p.covered {
			if n := len(joined); n > 0 && r.first <= joined[n-1].last+1 {
				joined[n-1].last = max(joined[n-1].last, r.last)
			} else {
				joined = append(joined, r)
			}
		}
		p.covered, p.sorted = joined, true
	}
	_, found := slices.BinarySearchFunc(p.covered, position, func(r run, at int64) int {
		switch {
		case r.last < at:
			return -1
		case r.first > at:
			return 1
		default:
			return 0
		}
	})
	return found
}
