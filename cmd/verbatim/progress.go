package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressPause lies between two lines of progress: often enough to be seen to
// move, and seldom enough to cost nothing.
const progressPause = 200 * time.Millisecond

// A progress is one line on a terminal that says how far something has got. On
// what is no terminal it says nothing.
type progress struct {
	w     io.Writer // nil if nobody looks
	total int64
	unit  string
	begun time.Time

	mu    sync.Mutex
	shown time.Time
}

func newProgress(sh *shell, total int64, unit string) *progress {
	p := &progress{total: total, unit: unit, begun: time.Now()}
	p.shown = p.begun
	if isTerminal(sh.err) {
		p.w = sh.err
	}
	return p
}

// at says that n of all are done. It may be called concurrently.
func (p *progress) at(n int64) {
	if p.w == nil || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.shown) < progressPause || n <= 0 {
		return
	}
	p.shown = now
	left := time.Duration(float64(now.Sub(p.begun)) * float64(max(0, p.total-n)) / float64(n))
	fmt.Fprintf(p.w, "\r\x1b[K%d of %d %s, %v left", n, p.total, p.unit, left.Round(time.Second))
}

// done takes the line away.
func (p *progress) done() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
