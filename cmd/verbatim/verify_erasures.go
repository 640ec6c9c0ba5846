package main

import (
	"context"
	"fmt"
	"slices"
	"unique"

	"verbatim/domain/contact"
	"verbatim/eventstore"
)

// A marked event is one out of which somebody was erased. They are remembered, 16
// bytes each, until all erasures are known.
type marked struct {
	position int64
	account  unique.Handle[string]
}

// vouching is what the log says of erasures, as it is read.
type vouching struct {
	marked   []marked
	erasures []int64 // positions of what says that somebody was erased
}

func (w *vouching) take(r *eventstore.Recorded) {
	if r.Remains != nil {
		w.marked = append(w.marked, marked{r.Position, unique.Make(r.Account)})
	}
	if r.Type == (contact.Erased{}).EventType() {
		w.erasures = append(w.erasures, r.Position)
	}
}

// checkErasures holds what is left of erased events against the erasures that the
// log tells of, the last first: whatever nobody vouches for, somebody else has
// changed. While an erasure is under way that cannot be told, and is not.
func (v *verification) checkErasures(ctx context.Context) error {
	if !v.whole {
		return nil // what vouches may lie outside
	}
	_, underWay, err := v.log.RunningErasure(ctx)
	if err != nil {
		return err
	}
	for r, err := range v.log.ReadLog(ctx, v.to) { // an erasure may have come to its end meanwhile
		if err != nil {
			return err
		}
		if r.Type == (contact.Erased{}).EventType() {
			v.vouching.erasures = append(v.vouching.erasures, r.Position)
		}
	}
	var faults []eventstore.Fault
	if !underWay {
		if faults, err = v.unvouched(ctx); err == nil && len(faults) > 0 {
			_, underWay, err = v.log.RunningErasure(ctx)
		}
	}
	if err != nil {
		return err
	}
	if v.found.Erasing = underWay; !underWay {
		v.fault(faults...)
	}
	return nil
}

// unvouched returns what no erasure vouches for.
func (v *verification) unvouched(ctx context.Context) (faults []eventstore.Fault, err error) {
	left := func(position int64) (digest [32]byte, ok bool) {
		r, found, fails := v.log.EventAt(ctx, position)
		if fails != nil || !found || r.Remains == nil {
			err = fails
			return digest, false
		}
		return r.Remains.Digest, true
	}
	proofs := make(map[unique.Handle[string]]*contact.Proofs)
	for _, position := range slices.Backward(v.vouching.erasures) {
		r, found, err := v.log.EventAt(ctx, position)
		if err != nil || !found {
			return nil, err
		}
		event, err := v.codec.Decode(&r)
		e, ok := event.(contact.Erased)
		if err != nil || !ok || e.Proof == "" {
			continue // a fault of its own, or of a time when nothing was proven
		}
		account := unique.Make(r.Account)
		if proofs[account] == nil {
			proofs[account] = contact.NewProofs(left)
		}
		if err := proofs[account].Check(e); err != nil {
			faults = append(faults, eventstore.Fault{
				Position: r.Position, Stream: r.Stream, Version: r.Version, Defect: eventstore.Unvouched, Detail: fmt.Sprintf("of its erasure: %v", err),
			})
		}
	}
	for _, m := range v.vouching.marked {
		if p := proofs[m.account]; p == nil || !p.Covered(m.position) {
			faults = append(faults, eventstore.Fault{
				Position: m.position, Defect: eventstore.Unvouched, Detail: "its data was overwritten, and no erasure vouches for it",
			})
		}
	}
	return faults, err
}
