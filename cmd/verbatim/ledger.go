package main

import (
	"bufio"
	"bytes"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"os"
	"slices"
)

// Limits of a ledger: 12 MiB of entries in memory, and for each run a small
// buffer while they are merged. A thousand million lines are 4,000 runs.
const (
	ledgerEntries = 1 << 18
	ledgerBuffer  = 4 << 10
)

// An entry is what a ledger keeps of a line: of which thing it is, and for the
// stream of an event its version, the version that the log has already, and a
// hash of whose it is.
type entry struct {
	key                  [16]byte
	line, version, known int64
	account              uint64
}

const entryBytes = 16 + 8 + 8 + 8 + 8

func (e *entry) compare(o *entry) int {
	if c := bytes.Compare(e.key[:], o.key[:]); c != 0 {
		return c
	}
	return cmp.Compare(e.line, o.line)
}

// A ledger puts entries in order of key and line, however many there are: those
// that are too many for memory go to a file of which nothing is left behind. The
// zero ledger keeps runs of ledgerEntries in the folder.
type ledger struct {
	folder string
	run    int // entries; 0 for ledgerEntries
	now    []entry
	file   *os.File
	ends   []int64 // of the runs in the file
}

func (l *ledger) add(e *entry) error {
	if l.run == 0 {
		l.run = ledgerEntries
	}
	l.now = append(l.now, *e)
	if len(l.now) < l.run {
		return nil
	}
	return l.spill()
}

func (l *ledger) sort() {
	slices.SortFunc(l.now, func(a, b entry) int { return a.compare(&b) })
}

// spill writes what is in memory as a run of its own.
func (l *ledger) spill() (err error) {
	if l.file == nil {
		if l.file, err = scratch(l.folder); err != nil {
			return err
		}
	}
	l.sort()
	out := bufio.NewWriter(l.file)
	var b [entryBytes]byte
	for i := range l.now {
		e := &l.now[i]
		copy(b[:], e.key[:])
		binary.BigEndian.PutUint64(b[16:], uint64(e.line))
		binary.BigEndian.PutUint64(b[24:], uint64(e.version))
		binary.BigEndian.PutUint64(b[32:], uint64(e.known))
		binary.BigEndian.PutUint64(b[40:], e.account)
		if _, err := out.Write(b[:]); err != nil {
			return err
		}
	}
	end := int64(len(l.now)) * entryBytes
	if len(l.ends) > 0 {
		end += l.ends[len(l.ends)-1]
	}
	l.ends, l.now = append(l.ends, end), l.now[:0]
	return out.Flush()
}

// scratch returns a file that only this process sees, and that goes with it.
func scratch(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, ".scratch-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// all yields the entries in order. Nothing can be added any more.
func (l *ledger) all() iter.Seq2[*entry, error] {
	return func(yield func(*entry, error) bool) {
		l.sort()
		all, start := []*merged{{now: l.now}}, int64(0)
		for _, end := range l.ends {
			all = append(all, &merged{in: bufio.NewReaderSize(io.NewSectionReader(l.file, start, end-start), ledgerBuffer)})
			start = end
		}
		var runs merge
		for _, run := range all {
			more, err := run.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if more {
				runs = append(runs, run)
			}
		}
		heap.Init(&runs)
		for len(runs) > 0 {
			if !yield(&runs[0].first, nil) {
				return
			}
			more, err := runs[0].next()
			switch {
			case err != nil:
				yield(nil, err)
				return
			case more:
				heap.Fix(&runs, 0)
			default:
				heap.Pop(&runs)
			}
		}
	}
}

func (l *ledger) close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// merged is a run that is read, from memory or from the file.
type merged struct {
	first entry
	now   []entry
	in    *bufio.Reader
}

// next reads the next entry, if there is one more.
func (m *merged) next() (more bool, err error) {
	if m.in == nil {
		if len(m.now) == 0 {
			return false, nil
		}
		m.first, m.now = m.now[0], m.now[1:]
		return true, nil
	}
	var b [entryBytes]byte
	if _, err := io.ReadFull(m.in, b[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	copy(m.first.key[:], b[:])
	m.first.line = int64(binary.BigEndian.Uint64(b[16:]))
	m.first.version = int64(binary.BigEndian.Uint64(b[24:]))
	m.first.known = int64(binary.BigEndian.Uint64(b[32:]))
	m.first.account = binary.BigEndian.Uint64(b[40:])
	return true, nil
}

// merge is a heap of runs by their first entries.
type merge []*merged

func (m *merge) Len() int           { return len(*m) }
func (m *merge) Less(i, j int) bool { return (*m)[i].first.compare(&(*m)[j].first) < 0 }
func (m *merge) Swap(i, j int)      { (*m)[i], (*m)[j] = (*m)[j], (*m)[i] }
func (m *merge) Push(x any)         { *m = append(*m, x.(*merged)) }

func (m *merge) Pop() any {
	last := (*m)[len(*m)-1]
	*m = (*m)[:len(*m)-1]
	return last
}
