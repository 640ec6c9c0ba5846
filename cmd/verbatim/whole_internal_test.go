package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
)

// TestWholeLines breaks off an output wherever it can: what is written is whole
// lines, and where to go on is said.
func TestWholeLines(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 99_999) + "\n"
	write := func(out io.Writer, n int64) error {
		o := newWhole(&shell{out: out, err: io.Discard}, 11, 100)
		for position := int64(11); position < 11+n; position++ {
			if err := o.write([]byte(line), position); err != nil {
				return o.end(err)
			}
		}
		return o.end(context.Canceled)
	}
	for n := range int64(10) {
		var out bytes.Buffer
		err := write(&out, n)
		if out.String() != strings.Repeat(line, int(n)) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "go on with --from "+strconv.FormatInt(11+n, 10)) {
			t.Errorf("after %d lines there are %d bytes: %v", n, out.Len(), err)
		}
	}
	// Lines are gathered and written two at a time here; the third time fails.
	var out bytes.Buffer
	times := 0
	err := write(writerFunc(func(b []byte) (int, error) {
		if times++; times == 3 {
			out.Write(b[:10])
			return 10, io.ErrShortWrite
		}
		return out.Write(b)
	}), 9)
	if err == nil || !strings.Contains(err.Error(), io.ErrShortWrite.Error()) || !strings.Contains(err.Error(), "whole up to position 14") ||
		!strings.Contains(err.Error(), "--from 15") || out.Len() != 4*len(line)+10 {
		t.Errorf("after %d bytes: %v", out.Len(), err)
	}
}
