package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress shows a line now and then, over the one before, and takes it away
// for what is written beside it and at its end.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var terminal bytes.Buffer
		p := &progress{total: 1000, unit: "positions"}
		p.watch(&terminal)
		wait := func() { time.Sleep(progressPause); synctest.Wait() }
		wait()
		p.at(250)
		wait()
		p.aside(func() { terminal.WriteString("a line\n") })
		p.aside(func() { terminal.WriteString("another\n") })
		wait()
		p.at(1000)
		p.done()
		p.done()
		const want = clearLine + "0 of 1000 positions (0 %), 0/s" +
			clearLine + "250 of 1000 positions (25 %), 625/s, 1s left" +
			clearLine + "a line\nanother\n" +
			clearLine + "250 of 1000 positions (25 %), 417/s, 2s left" + clearLine
		if got := terminal.String(); got != want {
			t.Errorf("shown: %q\nwant:  %q", got, want)
		}
	})
	if got := (&progress{unit: "lines"}).line(500, 2*time.Second); got != "500 lines, 250/s" {
		t.Errorf("where the end is not known it says %q", got)
	}
	var buffer bytes.Buffer
	nobody := newProgress(&shell{err: &buffer}, 100, "lines")
	nobody.at(50)
	nobody.done()
	if nobody.to != nil || buffer.Len() != 0 {
		t.Error("a buffer was taken for a terminal")
	}
}
