package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress is seen to move on a terminal, now and then, and goes when it is
// done; on what is no terminal there is none.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var seen bytes.Buffer
		p := newProgress(&shell{err: &seen}, 1000, "events")
		time.Sleep(time.Second)
		p.at(100)
		p.done()
		if seen.Len() > 0 {
			t.Errorf("a file was told %q", seen.String())
		}
		p.w = &seen
		for n := range int64(500) {
			p.at(n)
		}
		if n := strings.Count(seen.String(), "\r"); n != 1 {
			t.Errorf("%d lines at one moment", n)
		}
		time.Sleep(time.Second)
		p.at(500)
		if !strings.HasSuffix(seen.String(), "500 of 1000 events (50 %), 250/s, 2s left") {
			t.Errorf("it says %q", seen.String())
		}
		if got := (&progress{unit: "lines"}).line(500, 2*time.Second); got != "500 lines, 250/s" {
			t.Errorf("where the end is not known it says %q", got)
		}
		p.done()
		if !strings.HasSuffix(seen.String(), "\r\x1b[K") {
			t.Errorf("it leaves %q", seen.String())
		}
	})
}
