package main

import (
	"context"
	"fmt"
	"io"

	"verbatim/eventstore"
	"verbatim/eventstore/traffic"
)

// generate writes a log that was made up, for whoever wants to try something on
// one: import takes it.
func generate(ctx context.Context, sh *shell, args []string) error {
	fs := sh.flags("generate", "")
	var o traffic.Options
	fs.Int64Var(&o.Events, "events", 10_000, "how many events")
	fs.Int64Var(&o.Conversations, "conversations", 0, "in how many conversations; some are short, a few very long")
	fs.Int64Var(&o.Length, "length", 0, "events of each conversation, its contact's among them, instead")
	fs.Uint64Var(&o.Seed, "seed", 1, "the same seed makes the same log, byte for byte")
	name := fs.String("out", "-", "the file to write, compressed if its name ends in "+zstdSuffix)
	if _, err := parse(fs, args); err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return usage("generate: %w", err)
	}
	shown := newProgress(sh, o.Events, "events made up")
	defer shown.done()
	err := sh.writeLines(*name, func(out io.Writer) error {
		var line []byte
		for r, err := range traffic.Generate(eventstore.Catalogue(), o) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				line, err = eventstore.AppendLine(line[:0], &r)
			}
			if err != nil {
				return err
			}
			if _, err := out.Write(append(line, '\n')); err != nil {
				return err
			}
			shown.at(r.Position)
		}
		return nil
	})
	if err != nil || *name == "-" {
		return err
	}
	shown.done()
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{"generated": o.Events})
		return nil
	}
	fmt.Fprintf(sh.out, "generated %d events to %s\n", o.Events, *name)
	return nil
}
