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

// A progress is one line on a terminal that says how far something has got. On
// what is no terminal it says nothing.
type progress struct {
	total int64 // 0 if it is not known
	unit  string
	n     atomic.Int64

	mu    sync.Mutex
	to    io.Writer // nil if nobody looks
	begun time.Time
	shown bool // the line is on the terminal

	stop, stopped chan struct{}
	ended         sync.Once
}

// newProgress returns the progress of a command towards so many things, shown
// until it is done; a total of 0 is not known.
func newProgress(sh *shell, total int64, unit string) *progress {
	p := &progress{total: total, unit: unit}
	if isTerminal(sh.err) {
		p.watch(sh.err)
	}
	return p
}

// watch shows the progress to somebody.
func (p *progress) watch(to io.Writer) {
	p.to, p.begun, p.stop, p.stopped = to, time.Now(), make(chan struct{}), make(chan struct{})
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
	fmt.Fprint(p.to, clearLine+p.line(p.n.Load(), time.Since(p.begun)))
}

// line says how far n is after some time.
func (p *progress) line(n int64, took time.Duration) string {
	rate := float64(n) / took.Seconds()
	if p.total <= 0 {
		return fmt.Sprintf("%d %s, %.0f/s", n, p.unit, rate)
	}
	line := fmt.Sprintf("%d of %d %s (%d %%), %.0f/s", n, p.total, p.unit, 100*n/p.total, rate)
	if n > 0 {
		left := time.Duration(float64(took) / float64(n) * float64(max(0, p.total-n)))
		line += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	return line
}

// at says that n of all are done. It may be called concurrently.
func (p *progress) at(n int64) { p.n.Store(n) }

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

// done shows nothing any more. It may be called again.
func (p *progress) done() {
	p.ended.Do(func() {
		if p.to != nil {
			close(p.stop)
			<-p.stopped
			p.aside(func() {})
		}
	})
}
