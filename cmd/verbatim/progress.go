package main

import (
	"fmt"
	"io"
	"time"
)

// Limits of a line of progress.
const (
	progressPause = 200 * time.Millisecond // between two looks of it, for the eye
	progressSkip  = 64                     // positions between two looks at the clock
)

// clearLine takes a terminal back to the beginning of its line, and that away.
const clearLine = "\r\x1b[K"

// progress shows how far a walk over positions has got, in one line of a
// terminal that is written again and again.
type progress struct {
	to          io.Writer // nil if nobody watches
	now         func() time.Time
	first, last int64 // positions
	began       time.Time
	shown       time.Time // when last; zero if it is not on the terminal
	skipped     int
}

// newProgress returns the progress from one position to another. It is shown if
// w is a terminal.
func newProgress(w io.Writer, first, last int64) *progress {
	p := &progress{now: time.Now, first: first, last: last}
	if isTerminal(w) {
		p.to = w
	}
	p.began = p.now()
	return p
}

// reach shows that all up to a position is done, if it is time to.
func (p *progress) reach(position int64) {
	if p.skipped++; p.to == nil || p.skipped < progressSkip {
		return
	}
	p.skipped = 0
	if now := p.now(); now.Sub(p.began) >= progressPause && now.Sub(p.shown) >= progressPause {
		p.show(position, now)
	}
}

func (p *progress) show(position int64, now time.Time) {
	p.shown = now
	done, all, took := position-p.first+1, p.last-p.first+1, now.Sub(p.began)
	rate := float64(done) / took.Seconds()
	left := time.Duration(float64(all-done) / rate * float64(time.Second))
	fmt.Fprintf(p.to, "%s%d of %d positions (%d %%), %.0f/s, %s left", clearLine, done, all, 100*done/all, rate, left.Round(time.Second))
}

// hide takes the line away, for something else to be written there.
func (p *progress) hide() {
	if !p.shown.IsZero() {
		fmt.Fprint(p.to, clearLine)
		p.shown = time.Time{}
	}
}
