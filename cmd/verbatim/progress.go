package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progressPause lies between two looks of a line of progress, for the eye.
const progressPause = 200 * time.Millisecond

// clearLine takes a terminal back to the beginning of its line, and that away.
const clearLine = "\r\x1b[K"

// progress shows how far a walk over positions has got, in one line of a
// terminal that is written again and again.
type progress struct {
	first, last int64 // positions
	next        atomic.Int64

	mu    sync.Mutex
	to    io.Writer // nil if nobody watches
	began time.Time
	shown bool // the line is on the terminal

	stop, stopped chan struct{}
}

// newProgress returns the progress from one position to another. It is shown
// until its end, if w is a terminal.
func newProgress(w io.Writer, first, last int64) *progress {
	p := &progress{first: first, last: last}
	p.next.Store(first)
	if isTerminal(w) {
		p.watch(w)
	}
	return p
}

// watch shows the progress to somebody.
func (p *progress) watch(to io.Writer) {
	p.to, p.began, p.stop, p.stopped = to, time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(p.stopped)
		tick := time.NewTicker(progressPause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.show()
			case <-p.stop:
				return
			}
		}
	}()
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	done, all, took := p.next.Load()-p.first, max(1, p.last-p.first+1), time.Since(p.began)
	fmt.Fprintf(p.to, "%s%d of %d positions (%d %%), %.0f/s", clearLine, done, all, 100*done/all, float64(done)/took.Seconds())
	if done > 0 {
		left := time.Duration(float64(took) / float64(done) * float64(all-done))
		fmt.Fprintf(p.to, ", %s left", left.Round(time.Second))
	}
}

// reach says that everything before a position is done.
func (p *progress) reach(next int64) { p.next.Store(next) }

// aside does something with the line off the terminal, which may be written to
// meanwhile.
func (p *progress) aside(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		p.shown = false
		fmt.Fprint(p.to, clearLine)
	}
	do()
}

// end shows nothing any more.
func (p *progress) end() {
	if p.to != nil {
		close(p.stop)
		<-p.stopped
		p.aside(func() {})
	}
}
