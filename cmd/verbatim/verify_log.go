package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// A verification reads a log, and what is on record of deliveries, beside a
// server or without one. What is appended meanwhile it leaves to the next.
//
// The log is read once in its own order, which proves positions and chains; the
// deliveries are rendered a stream after the other, so that each history is taken
// on by what is new and nothing is held but those that are being told.
type verification struct {
	endpoint string
	from, to int64
	workers  int
	expected []expectation
	keep     time.Duration // of deliveries
	progress func(total int64) *progress

	log      *sqlite.Store
	codec    *eventstore.Codec
	dialects *webhooks.Dialects
	whole    bool // nothing of it is left out

	vouching vouching

	mu         sync.Mutex
	found      logReport
	damaged    map[string]int64 // the first version that is at fault, by stream; at most keptStreams
	targets    []*verifyTarget
	deliveries deliveryReport
	checkpoint int64            // of the plan
	parked     map[string]int64 // by stream, the version where the plan stands
}

// fault notes what is wrong with the log.
func (v *verification) fault(faults ...eventstore.Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range faults {
		v.found.Faults.add(f)
		if at, known := v.damaged[f.Stream]; f.Stream != "" && (known && f.Version < at || !known && len(v.damaged) < keptStreams) {
			v.damaged[f.Stream] = f.Version
		}
	}
}

// checkLog proves the log by itself.
func (v *verification) checkLog(ctx context.Context) error {
	v.damaged = make(map[string]int64)
	v.whole = v.from == 1 && v.to == projections.Newest
	checkpoints, err := v.log.Checkpoints(ctx) // before the head, which is ahead of them
	if err != nil {
		return err
	}
	v.checkpoint = checkpoints[(*projections.Plan)(nil).Name()]
	head, err := v.log.Head(ctx)
	if err != nil {
		return err
	}
	v.to = min(v.to, head)
	v.found.From, v.found.To = v.from, v.to
	for _, at := range checkpoints {
		if at > head {
			v.fault(eventstore.Fault{
				Position: head + 1, Defect: eventstore.CutOff,
				Detail: fmt.Sprintf("the log ends at %d, and was projected up to %d", head, at),
			})
			break
		}
	}
	if v.from > max(1, head) && v.found.Faults.Total == 0 { // of one that was cut off there is more to say
		return usage("--from %d is behind the end of the log, which ends at %d", v.from, head)
	}
	if v.whole {
		damages, err := v.log.CheckFile(ctx)
		if err != nil {
			return err
		}
		for _, d := range damages {
			v.fault(eventstore.Fault{Defect: eventstore.BrokenFile, Detail: d})
		}
	}
	if err := v.audit(ctx, head); err != nil {
		return err
	}
	v.found.Erased = int64(len(v.vouching.marked))
	return v.checkErasures(ctx)
}

// audit folds the log on one goroutine, and has the data of its events looked at
// by others.
func (v *verification) audit(ctx context.Context, head int64) error {
	var all sync.WaitGroup
	defer all.Wait()
	pages := make(chan []eventstore.Recorded, v.workers)
	for range v.workers {
		all.Go(func() {
			for page := range pages {
				for i := range page {
					v.fault(eventstore.Inspect(v.codec, &page[i])...)
				}
			}
		})
	}
	audit := eventstore.NewAudit(v.from-1, func(ctx context.Context, stream string, version int64) (*eventstore.Recorded, error) {
		r, found, err := v.log.EventOf(ctx, stream, version)
		if err != nil || !found {
			return nil, err
		}
		return &r, nil
	})
	err := v.fold(ctx, audit, pages)
	close(pages)
	if err != nil {
		return err
	}
	if due := audit.Next(); due <= v.to {
		v.fault(eventstore.Gap(due, v.to))
	}
	v.found.Streams = audit.Streams()
	if v.from == 1 {
		seal := audit.Seal()
		v.found.Seal = &seal
	}
	for _, e := range v.expected {
		switch {
		case e.Seal.Position > head:
			v.fault(eventstore.Fault{
				Position: head + 1, Defect: eventstore.CutOff, Detail: fmt.Sprintf("the log ends at %d, and was sealed at %d", head, e.Seal.Position),
			})
		case !e.Holds:
			v.fault(eventstore.Fault{
				Position: e.Seal.Position, Defect: eventstore.BrokenSeal, Detail: "the log up to here is not the one that was sealed",
			})
		}
	}
	return nil
}

// fold takes the audit through the log, and hands its events on in pages.
func (v *verification) fold(ctx context.Context, audit *eventstore.Audit, pages chan<- []eventstore.Recorded) error {
	shown := v.progress(max(0, v.to-v.from+1))
	defer shown.done()
	slices.SortFunc(v.expected, func(a, b expectation) int { return cmp.Compare(a.Seal.Position, b.Seal.Position) })
	due := 0 // of the expectations
	meet := func(seal eventstore.Seal) {
		for ; due < len(v.expected) && v.expected[due].Seal.Position <= seal.Position; due++ {
			v.expected[due].Holds = v.expected[due].Seal == seal
		}
	}
	meet(eventstore.Seal{})
	var page []eventstore.Recorded
	size := 0
	hand := func() bool {
		out := page
		page, size = make([]eventstore.Recorded, 0, pageEvents), 0
		return send(ctx, pages, out)
	}
	err := v.read(ctx, audit.Skip, func(r eventstore.Recorded) bool {
		faults, err := audit.Take(ctx, &r)
		if err != nil {
			return false
		}
		v.fault(faults...)
		meet(audit.Seal())
		v.found.Events++
		v.vouching.take(&r)
		shown.at(v.found.Events)
		page = append(page, r)
		size += len(r.Data) + len(r.Metadata)
		return size < auditBytes && len(page) < pageEvents || hand()
	})
	hand()
	return errors.Join(err, ctx.Err())
}

// auditBytes bounds the data of a page of events that is proven together.
const auditBytes = 4 << 20

// salvaged is how many positions are read one by one where a page cannot be read.
const salvaged = 512

// read reads the log event by event, past what cannot be read.
func (v *verification) read(ctx context.Context, skip func(position int64), take func(eventstore.Recorded) bool) error {
	for last := v.from - 1; last < v.to; {
		var broken error
		for r, err := range v.log.ReadLog(ctx, last) {
			if err == nil && r.Position <= last {
				err = fmt.Errorf("position %d stands behind %d", r.Position, last)
			}
			if err != nil {
				broken = err
				break
			}
			if r.Position > v.to || !take(r) {
				return ctx.Err()
			}
			last = r.Position
		}
		if broken == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		for end := min(last+salvaged, v.to); last < end; last++ {
			r, found, err := v.log.EventAt(ctx, last+1)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				v.fault(eventstore.Fault{Position: last + 1, Defect: eventstore.Unreadable, Detail: err.Error()})
				skip(last + 1)
				continue
			}
			if found && !take(r) {
				return ctx.Err()
			}
		}
	}
	return nil
}
