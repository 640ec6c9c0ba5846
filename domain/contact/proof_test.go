package contact_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"verbatim/domain/contact"
)

// left is the digest of what an erasure left at a position.
func left(erasure int, position int64) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d of %d", position, erasure))
}

func TestLedger(t *testing.T) {
	t.Parallel()
	var l contact.Ledger
	h := sha256.New()
	before := left(1, 9)
	for _, position := range []int64{1, 2, 3, 7, 9, 10} {
		digest := left(2, position)
		var again *[32]byte
		if position == 9 {
			again = &before
		}
		l.Add(position, digest, again)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(position)))
		h.Write(digest[:])
	}
	want := []contact.Part{{
		Events: 6, Positions: "1-3 7 9-10", Proof: hex.EncodeToString(h.Sum(nil)),
		Again: []contact.Again{{Position: 9, Digest: hex.EncodeToString(before[:])}},
	}}
	if diff := cmp.Diff(want, l.Parts()); diff != "" {
		t.Errorf("the parts (-want +got):\n%s", diff)
	}
	var empty contact.Ledger
	if parts := empty.Parts(); parts != nil {
		t.Errorf("nothing is %v", parts)
	}
}

// TestLedgerOfMany: what one event has no room for is several.
func TestLedgerOfMany(t *testing.T) {
	t.Parallel()
	var l contact.Ledger
	const most = 320_000
	for n := range int64(most) {
		l.Add(1+3*n, left(1, n), nil)
	}
	parts := l.Parts()
	if len(parts) < 2 {
		t.Fatalf("all of it is %d parts", len(parts))
	}
	proofs, sum := contact.NewProofs(func(position int64) ([32]byte, bool) { return left(1, (position-1)/3), position%3 == 1 }), int64(0)
	for _, p := range parts {
		if len(p.Positions) > 3<<20 {
			t.Errorf("a part has %d bytes of positions", len(p.Positions))
		}
		sum += p.Events
		if err := proofs.Check(erasedOf(p)); err != nil {
			t.Error(err)
		}
	}
	if sum != most {
		t.Errorf("the parts have %d events", sum)
	}
}

func erasedOf(p contact.Part) contact.Erased {
	return contact.Erased{Events: p.Events, Positions: p.Positions, Proof: p.Proof, Again: p.Again}
}

// TestProofs has people erased out of the same few events one after the other.
// Each erasure can be proven behind all others; whatever is changed is found.
func TestProofs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := make(map[int64][32]byte)
		var told []contact.Erased
		for erasure := range rapid.IntRange(1, 4).Draw(t, "erasures") {
			var l contact.Ledger
			for position := int64(1); position <= 12; position++ {
				if !rapid.Bool().Draw(t, "theirs") {
					continue
				}
				var again *[32]byte
				if d, erased := now[position]; erased {
					again = &d
				}
				now[position] = left(erasure, position)
				l.Add(position, now[position], again)
			}
			for _, p := range l.Parts() {
				told = append(told, erasedOf(p))
			}
		}
		check := func() (failed int, covered map[int64]bool) {
			p := contact.NewProofs(func(position int64) ([32]byte, bool) { d, ok := now[position]; return d, ok })
			for _, e := range slices.Backward(told) {
				if p.Check(e) != nil {
					failed++
				}
			}
			covered = make(map[int64]bool)
			for position := range int64(14) {
				if p.Covered(position) {
					covered[position] = true
				}
			}
			return failed, covered
		}
		failed, covered := check()
		if failed > 0 || len(covered) != len(now) {
			t.Fatalf("%d of %v fail; covered are %v of %v", failed, told, covered, now)
		}
		if len(now) == 0 {
			return
		}
		position := rapid.SampledFrom(keys(now)).Draw(t, "changed")
		was := now[position]
		now[position] = left(99, position)
		if failed, _ := check(); failed == 0 {
			t.Fatalf("what is left at %d was changed, and nobody sees it: %v", position, told)
		}
		delete(now, position)
		if failed, _ := check(); failed == 0 {
			t.Fatalf("the mark at %d was taken away, and nobody sees it: %v", position, told)
		}
		now[position] = was
		now[13] = left(0, 13)
		if _, covered := check(); covered[13] {
			t.Fatal("a mark that nobody made is covered")
		}
	})
}

func keys(m map[int64][32]byte) []int64 {
	var out []int64
	for position := int64(1); position <= 12; position++ {
		if _, ok := m[position]; ok {
			out = append(out, position)
		}
	}
	return out
}

func TestProofsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	one := left(0, 1)
	var l contact.Ledger
	l.Add(1, one, nil)
	good := erasedOf(l.Parts()[0])
	for name, change := range map[string]func(*contact.Erased){
		"no number":          func(e *contact.Erased) { e.Positions = "x" },
		"a run to nowhere":   func(e *contact.Erased) { e.Positions = "1-" },
		"a run backwards":    func(e *contact.Erased) { e.Positions = "3-2" },
		"out of order":       func(e *contact.Erased) { e.Positions = "2 1" },
		"twice":              func(e *contact.Erased) { e.Positions = "1 1" },
		"none at all":        func(e *contact.Erased) { e.Positions = "" },
		"before the first":   func(e *contact.Erased) { e.Positions = "0" },
		"more than told":     func(e *contact.Erased) { e.Positions = "1-9000000000000000000" },
		"fewer than told":    func(e *contact.Erased) { e.Events = 2 },
		"no proof":           func(e *contact.Erased) { e.Proof = "" },
		"another proof":      func(e *contact.Erased) { e.Proof = strings.Repeat("0", 64) },
		"a digest too short": func(e *contact.Erased) { e.Again = []contact.Again{{Position: 1, Digest: "00"}} },
		"a digest too long":  func(e *contact.Erased) { e.Again = []contact.Again{{Position: 1, Digest: strings.Repeat("0", 66)}} },
		"no digest":          func(e *contact.Erased) { e.Again = []contact.Again{{Position: 1, Digest: strings.Repeat("x", 64)}} },
	} {
		p := contact.NewProofs(func(int64) ([32]byte, bool) { return one, true })
		e := good
		change(&e)
		if err := p.Check(e); err == nil || p.Covered(1) {
			t.Errorf("%s: %v, covered is %t", name, err, p.Covered(1))
		}
	}
	p := contact.NewProofs(func(int64) ([32]byte, bool) { return one, true })
	if err := p.Check(good); err != nil || !p.Covered(1) || p.Covered(2) {
		t.Error(err)
	}
	if err := p.Check(contact.Erased{}); err != nil {
		t.Error("nothing was erased:", err)
	}
}
