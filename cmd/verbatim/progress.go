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

// clearLine takes a terminal back to the beginning of its line, and that away.
const clearLine = "\r\x1b[K"

// A progress is one line on a terminal that says how far something has got. On
// what is no terminal it says nothing.
type progress struct {
	w     io.Writer // nil if nobody looks
	total int64     // 0 if it is not known
	unit  string
	begun time.Time

	mu    sync.Mutex
	next  time.Time // not before
	shown bool
}

// newProgress returns the progress of a command towards so many things; a total
// of 0 is not known.
func newProgress(sh *shell, total int64, unit string) *progress {
	p := &progress{total: total, unit: unit, begun: time.Now()}
	p.next = p.begun.Add(progressPause)
	if isTerminal(sh.err) {
		p.w = sh.err
	}
	return p
}

// at says that n of all are done. It may be called concurrently.
func (p *progress) at(n int64) {
	if p.w == nil || n <= 0 || !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressPause), true
	fmt.Fprint(p.w, clearLine+p.line(n, now.Sub(p.begun)))
}

// line says how far n is after some time.
func (p *progress) line(n int64, took time.Duration) string {
	rate := float64(n) / took.Seconds()
	if p.total == 0 {
		return fmt.Sprintf("%d %s, %.0f/s", n, p.unit, rate)
	}
	left := time.Duration(float64(max(0, p.total-n)) / rate * float64(time.Second))
	return fmt.Sprintf("%d of %d %s (%d %%), %.0f/s, %v left", n, p.total, p.unit, 100*n/p.total, rate, left.Round(time.Second))
}

// done takes the line away, for something else to be written there.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		fmt.Fprint(p.w, clearLine)
		p.shown = false
	}
}
