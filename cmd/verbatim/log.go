package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
)

const (
	// maxLine bounds one line of an import: an event of the largest size, its
	// metadata and header.
	maxLine = eventstore.MaxEventSize + 1<<20
	// progressEvery is how many events lie between two lines of progress.
	progressEvery = 100_000
)

func importEvents(ctx context.Context, sh *shell, args []string) error {
	fs := sh.flags("import", "FILE")
	cfg, finish, err := loadConfig(sh, fs, "database")
	if err != nil {
		return err
	}
	names, err := parse(fs, args, "FILE")
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	in := sh.in
	if names[0] != "-" {
		f, err := os.Open(names[0]) //nolint:gosec // the operator names the file
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // nothing was written
		in = f
	}
	dir, err := cfg.folder()
	if err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		return openFault(err)
	}
	n, err := store.Import(ctx, sh.lines(in))
	if err := errors.Join(importFault(err), store.Close()); err != nil {
		return err
	}
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{"imported": n})
		return nil
	}
	fmt.Fprintf(sh.out, "imported %d events\n", n)
	return nil
}

// lines reads recorded events, one a line. An event that this program does not
// know is refused here: once in the log it would stop every reader.
func (sh *shell) lines(in io.Reader) iter.Seq2[eventstore.Recorded, error] {
	codec := eventstore.Catalogue()
	return func(yield func(eventstore.Recorded, error) bool) {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 64<<10), maxLine)
		number := int64(0)
		for scanner.Scan() {
			number++
			r, err := eventstore.ParseLine(bytes.Clone(scanner.Bytes()))
			if err == nil {
				_, err = codec.Decode(&r)
			}
			if err != nil {
				yield(r, &fault{exit: exitFailed, code: "bad_line", line: number, err: fmt.Errorf("line %d: %w", number, err)})
				return
			}
			if !yield(r, nil) {
				return
			}
			if number%progressEvery == 0 {
				fmt.Fprintf(sh.err, "%d events read\n", number)
			}
		}
		if err := scanner.Err(); err != nil {
			number++
			yield(eventstore.Recorded{}, &fault{
				exit: exitFailed, code: "bad_line", line: number, err: fmt.Errorf("line %d: %w", number, err),
			})
		}
	}
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

func openFault(err error) error {
	for sentinel, name := range map[error]string{
		sqlite.ErrInUse: "in_use", sqlite.ErrNotOurs: "not_a_database", sqlite.ErrNewer: "newer_database",
		sqlite.ErrDamaged: "damaged", sqlite.ErrOtherKey: "secret_key", sqlite.ErrNoDatabase: "no_database",
	} {
		if errors.Is(err, sentinel) {
			return &fault{exit: exitFailed, code: name, err: err}
		}
	}
	return err
}

// openReader opens the store that the configuration names, beside a server if
// there is one.
func openReader(ctx context.Context, cfg *config) (*sqlite.Store, error) {
	dir, err := cfg.folder()
	if err != nil {
		return nil, err
	}
	store, err := sqlite.Open(ctx, dir, sqlite.Options{ReadOnly: true})
	if err != nil {
		return nil, openFault(err)
	}
	return store, nil
}

func exportEvents(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("export", "FILE")
	cfg, finish, err := loadConfig(sh, fs, "database")
	if err != nil {
		return err
	}
	names, err := parse(fs, args, "FILE")
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	store, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	n := int64(0)
	write := func(out io.Writer) error {
		var line []byte
		for r, err := range store.ReadLog(ctx, 0) {
			if err != nil {
				return err
			}
			if line, err = eventstore.AppendLine(line[:0], &r); err != nil {
				return err
			}
			if _, err := out.Write(append(line, '\n')); err != nil {
				return err
			}
			if n++; n%progressEvery == 0 {
				fmt.Fprintf(sh.err, "%d events written\n", n)
			}
		}
		return nil
	}
	if names[0] == "-" {
		out := bufio.NewWriter(sh.out)
		return errors.Join(write(out), out.Flush())
	}
	if err := writeFile(names[0], write); err != nil {
		return err
	}
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{"exported": n})
		return nil
	}
	fmt.Fprintf(sh.out, "exported %d events to %s\n", n, names[0])
	return nil
}

// writeFile writes a file as a whole or not at all.
func writeFile(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".verbatim-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name())) //nolint:gosec // made above
		}
	}()
	out := bufio.NewWriter(f)
	if err := errors.Join(write(out), out.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name) //nolint:gosec // the operator names the file
}
