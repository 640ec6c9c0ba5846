package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/domain/contact"
	"verbatim/eventstore"
	"verbatim/projections"
)

// newEraser returns what takes people out of the log, and out of what is
// remembered of it.
func newEraser(a *app, codec *eventstore.Codec, conversations *httpapi.Conversations, contacts *httpapi.Contacts, histories ...*projections.Transcripts) *projections.Eraser {
	return projections.NewEraser(projections.EraserConfig{
		Log: a.store, Codec: codec, Store: a.metrics.Erasures(failAfterOverwriting(a.store)), Clock: time.Now, Slog: a.log,
		Forget: func(ctx context.Context, stream string) error {
			forget := contacts.Forget
			if kind, _ := eventstore.SplitStream(stream); kind == "conversation" {
				forget = conversations.Forget
			}
			if err := forget(ctx, stream); err != nil {
				return err
			}
			for _, t := range histories {
				t.Forget(stream)
			}
			a.rebuilder.Forget()
			return nil
		},
		Tell: func(ctx context.Context, e *projections.Erasure, key eventstore.Key, version int64, parts []contact.Part) error {
			_, err := contacts.Execute(ctx, eventstore.Order[contact.State, contact.Command]{
				Account: e.Account, ID: e.ContactID, Command: contact.Erase{By: e.By, Parts: parts},
				IfVersion: &version, Key: &key, Metadata: e.Metadata,
			})
			return err
		},
	})
}

type erasureView struct {
	ID            string `json:"id"`
	Contact       string `json:"contact"`
	State         string `json:"state"`
	Error         string `json:"error"`
	Events        int64  `json:"events"`
	Conversations int64  `json:"conversations"`
	Deliveries    int64  `json:"deliveries"`
	Snapshots     int64  `json:"snapshots"`
}

// erase takes a person out of the log for good, and waits until it is done.
func erase(ctx context.Context, sh *shell, args []string) error {
	var id, by string
	var dry bool
	define := func(fs *flag.FlagSet) {
		fs.StringVar(&id, "contact", "", "id of the person, as they were named as contact or customer")
		fs.StringVar(&by, "by", "", "who asks for it; it stays in the log (default: the operator)")
		fs.BoolVar(&dry, "dry-run", false, "count what there is, and do nothing")
	}
	return act(ctx, sh, "erase", args, nil, define, func(c *client, _ []string) error {
		if id == "" {
			return usage("erase wants --contact ID: the id of the person")
		}
		body := map[string]any{"dry_run": dry}
		if by != "" {
			body["by"] = map[string]string{"id": by, "name": by}
		}
		if dry {
			c.http.Timeout = 0 // it reads the whole log
		}
		var raw json.RawMessage
		if err := c.call(ctx, http.MethodPost, "/v1/contacts/"+url.PathEscape(id)+"/erase", body, &raw); err != nil {
			return err
		}
		var e erasureView
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
		if dry {
			return sh.printErasure(raw, &e, "would be overwritten")
		}
		return sh.awaitErasure(ctx, c, raw, e)
	})
}

// awaitErasure follows an erasure to its end and prints it as it is then.
func (sh *shell) awaitErasure(ctx context.Context, c *client, raw json.RawMessage, e erasureView) error {
	tick := time.NewTicker(jobPoll)
	defer tick.Stop()
	terminal, told := isTerminal(sh.err), ""
	for e.State == "running" {
		if terminal {
			fmt.Fprintf(sh.err, "\r%d events are overwritten", e.Events)
		}
		if e.Error != "" && e.Error != told {
			told = e.Error
			fmt.Fprintln(sh.err, told)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the erasure %s goes on with the server, without this command: %w", e.ID, ctx.Err())
		}
		if err := c.call(ctx, http.MethodGet, "/v1/erasures/"+url.PathEscape(e.ID), nil, &raw); err != nil {
			return err
		}
		e = erasureView{}
		if err := json.Unmarshal(raw, &e); err != nil {
			return err
		}
	}
	if terminal {
		fmt.Fprintln(sh.err)
	}
	if e.State != string(projections.ErasureDone) {
		return fmt.Errorf("the erasure %s is %s: %s", e.ID, e.State, e.Error)
	}
	return sh.printErasure(raw, &e, "were overwritten")
}

func (sh *shell) printErasure(raw json.RawMessage, e *erasureView, what string) error {
	if sh.json {
		_, err := fmt.Fprintln(sh.out, string(raw))
		return err
	}
	_, err := fmt.Fprintf(sh.out, "%s of %s and of the contact %s %s; %s thrown away, %s on record\n",
		many(e.Events, "event", "events"), many(e.Conversations, "conversation", "conversations"), e.Contact, what,
		many(e.Snapshots, "snapshot", "snapshots"), many(e.Deliveries, "delivery", "deliveries"))
	return err
}

// many returns a number of something.
func many(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}
