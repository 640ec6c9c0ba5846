package projections

import (
	"slices"
	"time"

	"verbatim/eventstore"
)

// MaxPageTraces bounds the traces that are remembered of a page: who looks at
// one of them finds the page, and a page of a thousand requests is no use to
// anybody who looks.
const MaxPageTraces = 32

// A PageReport says what a page that was committed was about.
type PageReport struct {
	Began, Ended time.Time // from the first event to the commit
	First, Last  int64     // positions
	Events       int
	Deliveries   int      // that were planned
	Traces       []string // W3C traceparents of its events, different ones, at most MaxPageTraces
}

// Report has f told of each page, after its commit, on the goroutine that
// projects; a parked stream that is taken up again is no page. It is called
// before anything else.
func (g *Group) Report(f func(PageReport)) { g.report = f }

func (p *PageReport) add(r *eventstore.Recorded, clock func() time.Time) {
	if p.Events == 0 {
		p.Began, p.First = clock(), r.Position
	}
	p.Last = r.Position
	p.Events++
	if len(p.Traces) == MaxPageTraces {
		return
	}
	if trace := r.Trace(); trace != "" && !slices.Contains(p.Traces, trace) {
		p.Traces = append(p.Traces, trace)
	}
}
