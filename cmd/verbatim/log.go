package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"verbatim/adapters/sqlite"
	"verbatim/eventstore"
	"verbatim/projections"
)

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
	from := fs.Int64("from", 1, "first position; what begins behind the first event is imported behind a log that ends there")
	to := fs.Int64("to", projections.Newest, "last position")
	names, err := parse(fs, args, "FILE")
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	if *from < 1 || *to < *from {
		return usage("--from must be 1 or more, and --to not before it")
	}
	store, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	head, err := store.Head(ctx)
	if err != nil {
		return err
	}

	n := int64(0)
	shown := newProgress(sh, max(0, min(head, *to)-*from+1), "events exported")
	defer shown.done()
	err = sh.writeLines(names[0], func(out io.Writer) error {
		var line []byte
		for r, err := range store.ReadLog(ctx, *from-1) {
			if err != nil {
				return err
			}
			if r.Position > *to {
				break
			}
			if line, err = eventstore.AppendLine(line[:0], &r); err != nil {
				return err
			}
			if _, err := out.Write(append(line, '\n')); err != nil {
				return err
			}
			n++
			shown.at(n)
		}
		return nil
	})
	if err != nil || names[0] == "-" {
		return err
	}
	shown.done()
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{"exported": n})
		return nil
	}
	fmt.Fprintf(sh.out, "exported %d events to %s\n", n, names[0])
	return nil
}
