package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// progressPause is the least time between two lines of progress: quick enough
// for an eye, and too seldom to cost anything.
const progressPause = 200 * time.Millisecond

// progress tells whoever sits at the terminal how far a command has come. Where
// standard error is no terminal it tells nobody.
type progress struct {
	out   io.Writer // nil for nobody
	total int64     // 0 if it is not known
	unit  string
	next  time.Time
	shown bool
}

// newProgress returns the progress of a command towards total things called
// unit; a total of 0 is not known.
func newProgress(sh *shell, total int64, unit string) *progress {
	p := &progress{total: total, unit: unit}
	if f, ok := sh.err.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.out = f
		}
	}
	return p
}

// at says that n things are done.
func (p *progress) at(n int64) {
	if p.out == nil {
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	p.next, p.shown = now.Add(progressPause), true
	if p.total > 0 {
		fmt.Fprintf(p.out, "\r\x1b[K%d of %d %s (%d %%)", n, p.total, p.unit, n*100/p.total)
		return
	}
	fmt.Fprintf(p.out, "\r\x1b[K%d %s", n, p.unit)
}

// done takes the line of progress away.
func (p *progress) done() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}
