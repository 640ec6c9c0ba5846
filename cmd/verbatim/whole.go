package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// wholeBytes is how much output is written at a time.
const wholeBytes = 256 << 10

// whole writes the lines of a rebuild so that what is written ends with an event
// whenever it ends, and says where to go on.
type whole struct {
	out     io.Writer
	pending []byte // lines that are not written yet
	next    int64  // the first position that is not done
	safe    int64  // the first position of which nothing is written
	first   int64
	shared  bool // out is the terminal that progress is shown on
	*progress
}

func newWhole(sh *shell, first, last int64) *whole {
	return &whole{out: sh.out, next: first, safe: first, first: first, shared: isTerminal(sh.out), progress: newProgress(sh, max(0, last-first+1), "positions")}
}

// write takes what became of the event at a position.
func (o *whole) write(lines []byte, position int64) error {
	if len(o.pending)+len(lines) > wholeBytes {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.next = position + 1
	if len(lines) > wholeBytes {
		if err := o.put(lines); err != nil { // without being copied
			return err
		}
	} else {
		o.pending = append(o.pending, lines...)
	}
	o.at(position - o.first + 1)
	return nil
}

func (o *whole) flush() error {
	err := o.put(o.pending)
	o.pending = o.pending[:0]
	return err
}

func (o *whole) put(lines []byte) (err error) {
	switch {
	case len(lines) == 0:
	case o.shared:
		o.aside(func() { _, err = o.out.Write(lines) })
	default:
		_, err = o.out.Write(lines)
	}
	if err != nil {
		return fmt.Errorf("%w; what is written is whole up to position %d: cut off what is behind that and go on with --from %d",
			err, o.safe-1, o.safe)
	}
	o.safe = o.next
	return nil
}

// end writes what is left and returns how it ended: as err says, and where to go
// on if it was told to stop.
func (o *whole) end(err error) error {
	unwritten := o.flush()
	o.done()
	if unwritten != nil {
		return errors.Join(err, unwritten)
	}
	if errors.Is(err, context.Canceled) {
		return &fault{exit: exitFailed, code: "interrupted", err: fmt.Errorf("interrupted; go on with --from %d: %w", o.next, err)}
	}
	return err
}
