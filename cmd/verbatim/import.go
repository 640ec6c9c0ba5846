package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"os"
	"runtime"
	"sync"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
)

const (
	// maxLine bounds one line of an import: an event of the largest size, its
	// metadata and header.
	maxLine = eventstore.MaxEventSize + 1<<20
	// batchLines and batchBytes are how much is checked at a time by one of
	// those who check: enough for the handing over to cost nothing.
	batchLines = 256
	batchBytes = 1 << 20
	// maxCheckers bounds those who check, and with them the memory: each holds a
	// batch, and one more waits for it.
	maxCheckers = 16
)

// importEvents reads its input twice. The first time every line is checked, by
// itself and against all others and the log, and nothing is written. Only then
// is all of it written, in one transaction: whoever kills the program, or fills
// the disk, finds the log as it was.
func importEvents(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("import", "FILE")
	cfg, finish, err := loadConfig(sh, fs, "database")
	if err != nil {
		return err
	}
	dry := fs.Bool("dry-run", false, "only check; also beside a server")
	names, err := parse(fs, args, "FILE")
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	dir, err := cfg.folder()
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, dir, sqlite.Options{ReadOnly: *dry})
	if err != nil && (!*dry || !errors.Is(err, sqlite.ErrNoDatabase)) {
		return openFault(err)
	}
	im := &importing{sh: sh, codec: eventstore.Catalogue(), folder: dir}
	if *dry {
		im.folder = os.TempDir() // the other one is somebody else's, or nowhere
	}
	if store != nil {
		im.store = store
		defer func() { err = errors.Join(err, store.Close()) }()
	}
	in, err := openSource(sh, names[0], im.folder)
	if err != nil {
		return err
	}
	defer in.close()
	n, sum, err := im.check(ctx, in)
	if err == nil && !*dry {
		n, err = im.write(ctx, in, n, sum)
	}
	if err != nil {
		return importFault(err)
	}
	word := "imported"
	if *dry {
		word = "checked"
	}
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{word: n})
		return nil
	}
	fmt.Fprintf(sh.out, "%s %d events\n", word, n)
	return nil
}

// A source is the input of an import, which can be read twice.
type source struct {
	file       *os.File
	compressed bool
}

// openSource opens the input. What can be read only once is kept in the folder
// until the end.
func openSource(sh *shell, name, folder string) (_ *source, err error) {
	s := &source{compressed: isCompressed(name)}
	in := sh.in
	if name != "-" {
		if s.file, err = os.Open(name); err != nil { //nolint:gosec // the operator names the file
			return nil, err
		}
		info, err := s.file.Stat()
		if err != nil || info.Mode().IsRegular() {
			return s, err
		}
		defer s.file.Close() //nolint:errcheck // nothing was written
		in = s.file
	}
	if s.file, err = scratch(folder); err != nil {
		return nil, err
	}
	if _, err := io.Copy(s.file, in); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() { _ = s.file.Close() } // nothing was written that is to be kept

// lines yields the lines from the first one, each until the next is asked for.
func (s *source) lines() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var in io.Reader = s.file
		_, err := s.file.Seek(0, io.SeekStart)
		if err == nil && s.compressed {
			z, zerr := decompressed(s.file)
			if zerr == nil {
				defer z.Close()
			}
			in, err = z, zerr
		}
		if err != nil {
			yield(nil, err)
			return
		}
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 64<<10), maxLine)
		for scanner.Scan() {
			if !yield(scanner.Bytes(), nil) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// badLine is the error of a line that is wrong by itself.
func badLine(number int64, err error) error {
	return &fault{exit: exitFailed, code: "bad_line", line: number, err: fmt.Errorf("line %d: %w; nothing was imported", number, err)}
}

// importing checks lines and writes them to a log.
type importing struct {
	sh     *shell
	codec  *eventstore.Codec
	store  *sqlite.Store // nil for a log that is not there
	folder string        // for what is too much for memory
	run    int           // entries of the ledgers in memory; 0 for the usual
}

// check reads the input to its end and returns how many lines it has, and a sum
// of them. If one of them is wrong, it returns what is wrong with the first of
// those.
func (im *importing) check(ctx context.Context, in *source) (n int64, sum uint64, err error) {
	c := &checking{
		importing: im, ids: ledger{folder: im.folder, run: im.run}, streams: ledger{folder: im.folder, run: im.run},
	}
	defer func() { err = errors.Join(err, c.ids.close(), c.streams.close()) }()
	if im.store != nil {
		if c.head, err = im.store.Head(ctx); err != nil {
			return 0, 0, err
		}
	}
	c.sum.SetSeed(sumSeed)
	shown := newProgress(im.sh, 0, "lines checked")
	defer shown.done()
	for b := range im.parsed(ctx, in) {
		for i := range b.events {
			c.lines++
			c.sum.Write(b.line(i)) // it cannot fail
			if err = c.line(ctx, &b.events[i]); err != nil {
				break
			}
		}
		if err == nil && b.err != nil {
			c.lines++
			err = badLine(c.lines, b.err)
		}
		if err != nil {
			break
		}
		shown.at(c.lines)
	}
	if err == nil {
		err = ctx.Err()
	}
	// What a line has against those before it shows only now, and may stand
	// before the one that could not be read.
	if earlier := c.between(); earlier != nil {
		err = earlier
	}
	return c.lines, c.sum.Sum64(), err
}

// sumSeed makes the two sums of one run comparable, and those of others not.
var sumSeed = maphash.MakeSeed() //nolint:gochecknoglobals // it is the same throughout a run, whatever it is

// checking is what has been seen of the lines of an import.
type checking struct {
	*importing

	head         int64
	lines        int64
	sum          maphash.Hash
	ids, streams ledger
}

// line checks an event against the log, and remembers what it has to be held
// against other lines for.
func (c *checking) line(ctx context.Context, r *eventstore.Recorded) error {
	bad := func(reason error) error { return &eventstore.ImportError{Number: c.lines, Err: reason} }
	known := sqlite.Known{}
	if c.head > 0 {
		var err error
		if known, err = c.store.Known(ctx, r.Stream, r.ID); err != nil {
			return err
		}
	}
	switch {
	case c.head == 0 && r.Position != c.lines:
		return bad(fmt.Errorf("%w: %d should be %d", eventstore.ErrPositionGap, r.Position, c.lines))
	case len(r.Data) > eventstore.MaxEventSize:
		return bad(eventstore.ErrTooLarge)
	case known.ID:
		return bad(eventstore.ErrDuplicate)
	case known.Version > 0 && known.Account != r.Account:
		return bad(eventstore.ErrForeign)
	case r.Version <= known.Version:
		return bad(versionGap(r.Version, known.Version+1))
	}
	if err := c.ids.add(&entry{key: r.ID, line: c.lines}); err != nil {
		return err
	}
	e := entry{line: c.lines, version: r.Version, known: known.Version, account: maphash.String(sumSeed, r.Account)}
	stream := sha256.Sum256([]byte(r.Stream))
	copy(e.key[:], stream[:])
	return c.streams.add(&e)
}

func versionGap(version, want int64) error {
	return fmt.Errorf("%w: %d should be %d", eventstore.ErrVersionGap, version, want)
}

// between returns what the first line that does not go with those before it has
// against them, or nil.
func (c *checking) between() error {
	var first *eventstore.ImportError
	found := func(e *entry, reason error) {
		if first == nil || e.line < first.Number {
			first = &eventstore.ImportError{Number: e.line, Err: reason}
		}
	}
	var before entry
	for e, err := range c.ids.all() {
		if err != nil {
			return err
		}
		if before.line > 0 && e.key == before.key {
			found(e, fmt.Errorf("%w: it is that of line %d", eventstore.ErrDuplicate, before.line))
		}
		before = *e
	}
	before = entry{}
	for e, err := range c.streams.all() {
		if err != nil {
			return err
		}
		if before.line == 0 || e.key != before.key {
			before = entry{key: e.key, version: e.known, account: e.account}
		}
		switch {
		case e.account != before.account:
			found(e, eventstore.ErrForeign)
		case e.version != before.version+1:
			found(e, versionGap(e.version, before.version+1))
		}
		before = *e
	}
	if first == nil {
		return nil
	}
	return first
}

// A batch is some lines that follow each other, up to one that is wrong.
type batch struct {
	text   []byte
	ends   []int
	events []eventstore.Recorded
	err    error
	done   chan struct{}
}

func (b *batch) line(i int) []byte {
	start := 0
	if i > 0 {
		start = b.ends[i-1]
	}
	return b.text[start:b.ends[i]]
}

// parsed yields the lines in order, each checked by itself, until one is wrong.
// Reading and checking JSON is nearly all of the work, and shared.
func (im *importing) parsed(parent context.Context, in *source) iter.Seq[*batch] {
	return func(yield func(*batch) bool) {
		ctx, stop := context.WithCancel(parent)
		var all sync.WaitGroup
		defer all.Wait()
		defer stop()
		workers := min(runtime.GOMAXPROCS(0), maxCheckers)
		work, order := make(chan *batch), make(chan *batch, workers)
		for range workers {
			all.Go(func() {
				for b := range work {
					im.parse(b)
					close(b.done)
				}
			})
		}
		all.Go(func() {
			defer close(order)
			defer close(work)
			b := &batch{done: make(chan struct{})}
			hand := func() bool {
				ok := send(ctx, order, b) && send(ctx, work, b)
				b = &batch{done: make(chan struct{})}
				return ok
			}
			for line, err := range in.lines() {
				if err != nil {
					b.err = err
					break
				}
				b.text = append(b.text, line...)
				b.ends = append(b.ends, len(b.text))
				if (len(b.ends) == batchLines || len(b.text) >= batchBytes) && !hand() {
					return
				}
			}
			hand()
		})
		for b := range order {
			if _, err := receive(ctx, b.done); err != nil || !yield(b) || b.err != nil {
				return
			}
		}
	}
}

// parse reads and checks the lines of a batch.
func (im *importing) parse(b *batch) {
	b.events = make([]eventstore.Recorded, 0, len(b.ends))
	for i := range b.ends {
		r, err := eventstore.ParseLine(b.line(i))
		if err == nil {
			err = im.codec.Check(&r)
		}
		if err != nil {
			b.err = err
			return
		}
		b.events = append(b.events, r)
	}
}

// write adds the lines to the log, if they are those that were checked.
func (im *importing) write(ctx context.Context, in *source, lines int64, sum uint64) (int64, error) {
	shown := newProgress(im.sh, lines, "events imported")
	defer shown.done()
	return im.store.Import(ctx, func(yield func(eventstore.Recorded, error) bool) {
		var again maphash.Hash
		again.SetSeed(sumSeed)
		number := int64(0)
		for line, err := range in.lines() {
			number++
			var r eventstore.Recorded
			if err == nil {
				again.Write(line) // it cannot fail
				r, err = eventstore.ParseLine(line)
			}
			if err != nil {
				yield(r, badLine(number, err))
				return
			}
			if !yield(r, nil) {
				return
			}
			shown.at(number)
		}
		if number != lines || again.Sum64() != sum {
			yield(eventstore.Recorded{}, &fault{
				exit: exitFailed, code: "changed", err: errors.New("the file was changed while it was read; nothing was imported"),
			})
		}
	})
}

// importFault gives what was wrong with an import its name and its line: events
// are lines.
func importFault(err error) error {
	bad, ok := errors.AsType[*eventstore.ImportError](err)
	if !ok {
		return err
	}
	code := "bad_line"
	for sentinel, name := range map[error]string{
		eventstore.ErrPositionGap: "position_gap",
		eventstore.ErrVersionGap:  "version_gap",
		eventstore.ErrDuplicate:   "duplicate_id",
		eventstore.ErrForeign:     "foreign_stream",
		eventstore.ErrTooLarge:    "too_large",
	} {
		if errors.Is(err, sentinel) {
			code = name
		}
	}
	return &fault{
		exit: exitFailed, code: code, line: bad.Number,
		err: fmt.Errorf("line %d: %w; nothing was imported", bad.Number, bad.Err),
	}
}
