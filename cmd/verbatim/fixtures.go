package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
	"verbatim/eventstore/pseudonym"
	"verbatim/webhooks"
)

// fixtures has one thing to do, which is named nevertheless: what else could be
// done with fixtures would be done to files.
func fixtures(ctx context.Context, sh *shell, args []string) error {
	if len(args) > 0 && args[0] == "record" {
		return recordFixture(ctx, sh, args[1:])
	}
	names, err := parse(sh.flags("fixtures", "record"), args, "record")
	if err != nil {
		return err
	}
	return usage("fixtures does not know how to %s; it wants record", names[0])
}

func recordFixture(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("fixtures record", "")
	cfg, finish, err := loadConfig(sh, fs, "database")
	if err != nil {
		return err
	}
	id := fs.String("conversation", "", "the conversation; its customer's contact comes along")
	out := fs.String("out", "-", "the file to write, compressed if its name ends in "+zstdSuffix)
	seed := fs.String("seed", "", "pseudonyms follow from it: the same people in two fixtures have the same. Who knows it can try names; without one a key is drawn and forgotten")
	if _, err = parse(fs, args); err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	stream := eventstore.StreamName("conversation", *id)
	if kind, _ := eventstore.SplitStream(stream); kind == "" {
		return usage("--conversation must be the id of a conversation")
	}
	store, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	r, err := newRecording(ctx, store, stream)
	if err != nil {
		return err
	}
	key := sha256.Sum256([]byte(*seed))
	if *seed == "" {
		if _, err := rand.Read(key[:]); err != nil {
			return err
		}
	}
	n := int64(0)
	err = sh.writeLines(*out, func(out io.Writer) error {
		n, err = r.write(ctx, out, pseudonym.New(key))
		return err
	})
	if err != nil || *out == "-" {
		return err
	}
	if sh.json {
		sh.printJSON(sh.out, map[string]int64{"recorded": n})
		return nil
	}
	fmt.Fprintf(sh.out, "recorded %d events to %s\n", n, *out)
	return nil
}

// fixtureStart is when every fixture begins: what it tells is how much time went
// by, and not when.
var fixtureStart = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant, were it one

// A recording is a conversation and its customer's contact.
type recording struct {
	store    *sqlite.Store
	codec    *eventstore.Codec
	stream   string
	customer string // id of the customer
	contact  string // stream of their contact; empty if there is none
	begins   time.Time
}

func newRecording(ctx context.Context, store *sqlite.Store, stream string) (*recording, error) {
	r := &recording{store: store, codec: eventstore.Catalogue(), stream: stream}
	first, err := r.first(ctx, stream)
	if err != nil {
		return nil, err
	}
	created, ok := first.event.(conversation.Created)
	if !ok {
		return nil, &fault{exit: exitFailed, code: "not_found", err: fmt.Errorf("there is no %s in the log", stream)}
	}
	r.customer, r.begins = created.Customer.ID, first.Time
	// Where a contact is told by its person: see contactIDs in adapters/httpapi.
	for _, id := range []string{webhooks.AsUUID(r.customer), webhooks.AsUUID(first.Account + "\x00" + r.customer)} {
		name := eventstore.StreamName("contact", id)
		known, err := r.first(ctx, name)
		if err != nil {
			return nil, err
		}
		if known.event != nil && known.Account == first.Account {
			r.contact = name
			if known.Position < first.Position {
				r.begins = known.Time
			}
			break
		}
	}
	return r, nil
}

// happened is a recorded event and its fact.
type happened struct {
	eventstore.Recorded

	event domain.Event
}

// first returns the first event of a stream; one of a stream that is not there
// has none.
func (r *recording) first(ctx context.Context, stream string) (happened, error) {
	for h, err := range r.events(ctx, stream) {
		return h, err
	}
	return happened{}, nil
}

func (r *recording) events(ctx context.Context, stream string) iter.Seq2[happened, error] {
	return func(yield func(happened, error) bool) {
		for e, err := range r.store.ReadStream(ctx, stream, 0) {
			h := happened{Recorded: e}
			if err == nil {
				h.event, err = r.codec.Decode(&e)
			}
			if !yield(h, err) || err != nil {
				return
			}
		}
	}
}

// inOrder yields the events of both streams in the order of the log.
func (r *recording) inOrder(ctx context.Context) iter.Seq2[happened, error] {
	if r.contact == "" {
		return r.events(ctx, r.stream)
	}
	return func(yield func(happened, error) bool) {
		next, stop := iter.Pull2(r.events(ctx, r.contact))
		defer stop()
		known, err, more := next()
		for h, herr := range r.events(ctx, r.stream) {
			for more && err == nil && herr == nil && known.Position < h.Position {
				if !yield(known, nil) {
					return
				}
				known, err, more = next()
			}
			if herr == nil {
				herr = err
			}
			if !yield(h, herr) || herr != nil {
				return
			}
		}
		for more {
			if !yield(known, err) || err != nil {
				return
			}
			known, err, more = next()
		}
	}
}

// write writes the events with their pseudonyms, at positions from 1 on, and
// returns how many there are.
func (r *recording) write(ctx context.Context, out io.Writer, names *pseudonym.Maker) (n int64, err error) {
	names.Shift(fixtureStart.Sub(r.begins))
	if r.contact != "" { // its id follows from the person's
		_, id := eventstore.SplitStream(r.contact)
		names.Rename(id, webhooks.AsUUID(names.ID(r.customer)))
	}
	var line []byte
	for h, err := range r.inOrder(ctx) {
		if err != nil {
			return n, err
		}
		n++
		names.Renumber(h.Position, n)
		event, err := names.Recorded(r.codec, &h.Recorded, h.event)
		if err != nil {
			return n, fmt.Errorf("position %d: %w", h.Position, err)
		}
		event.Position = n
		if err := r.codec.Check(&event); err != nil {
			return n, fmt.Errorf("the fixture would not be imported: %w", err)
		}
		if line, err = eventstore.AppendLine(line[:0], &event); err != nil {
			return n, err
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return n, err
		}
	}
	return n, nil
}
