package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"verbatim/adapters/sqlite"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
)

func rebuild(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("rebuild", "")
	cfg, finish, err := loadConfig(sh, fs, "database")
	if err != nil {
		return err
	}
	var sel selection
	fs.StringVar(&sel.dialect, "dialect", "", "render every event that this dialect has a name for, as if an endpoint wanted all of them")
	fs.StringVar(&sel.endpoint, "endpoint", "", "render what this endpoint was and would be sent")
	fs.StringVar(&sel.conversation, "conversation", "", "only this conversation")
	fs.Int64Var(&sel.from, "from", 1, "first position")
	fs.Int64Var(&sel.to, "to", projections.Newest, "last position")
	_, err = parse(fs, args)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	if (sel.dialect == "") == (sel.endpoint == "") {
		return usage("rebuild wants either --dialect or --endpoint")
	}
	dialects := dialect.All()
	if sel.dialect != "" {
		d, err := dialects.Find(sel.dialect)
		if err != nil {
			return usage("--%w", err)
		}
		sel.dialect = d.Name()
	}
	store, err := openReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	out := bufio.NewWriter(sh.out)
	return errors.Join(rebuildBodies(ctx, store, dialects, sel, out), out.Flush())
}

// selection is what of the log is rendered, and how.
type selection struct {
	dialect, endpoint, conversation string
	from, to                        int64
}

// rebuildBodies writes the body of every selected event as one line of NDJSON,
// in the order of the log. What an endpoint is sent is asked of the very plan
// that made its deliveries.
func rebuildBodies(
	ctx context.Context, log *sqlite.Store, dialects *webhooks.Dialects, sel selection, out io.Writer,
) error {
	codec := eventstore.Catalogue()
	transcripts := projections.NewTranscripts(log, codec, dialects, projections.TranscriptMemory)
	plan := projections.NewPlan(log, codec, log, dialects, nil)
	if err := plan.Load(ctx, 0); err != nil {
		return err
	}
	known := sel.endpoint == ""
	after := int64(0) // an endpoint's settings are events too: they are read from the start
	if sel.dialect != "" {
		after = sel.from - 1
	}
	events := log.ReadLog(ctx, after)
	if sel.dialect != "" && sel.conversation != "" {
		events = log.ReadStream(ctx, eventstore.StreamName("conversation", sel.conversation), 0)
	}
	var line []byte
	for r, err := range events {
		if err != nil {
			return err
		}
		if r.Position > sel.to {
			break
		}
		owed, err := owedFor(ctx, codec, dialects, plan, sel, &r)
		if err != nil {
			return err
		}
		known = known || r.Stream == eventstore.StreamName("endpoint", sel.endpoint)
		_, id := eventstore.SplitStream(r.Stream)
		if r.Position < sel.from || sel.conversation != "" && id != sel.conversation {
			continue
		}
		for i := range owed {
			body, err := transcripts.Body(ctx, &owed[i])
			if err != nil {
				return fmt.Errorf("position %d: %w", r.Position, err)
			}
			line = appendBodyLine(line[:0], &owed[i], id, body, sel.endpoint != "")
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
	}
	if !known {
		return &fault{exit: exitFailed, code: "endpoint.not_found", err: fmt.Errorf("there is no endpoint %s", sel.endpoint)}
	}
	return nil
}

// owedFor returns the deliveries that an event makes for the selection.
func owedFor(
	ctx context.Context, codec *eventstore.Codec, dialects *webhooks.Dialects, plan *projections.Plan, sel selection, r *eventstore.Recorded,
) ([]webhooks.Delivery, error) {
	event, err := codec.Decode(r)
	if err != nil {
		return nil, err
	}
	var owed []webhooks.Delivery
	if sel.dialect != "" {
		d, err := dialects.Find(sel.dialect)
		if err != nil {
			return nil, err
		}
		for _, word := range d.Words(event) {
			if word.OptIn {
				continue
			}
			owed = append(owed, webhooks.Delivery{
				Stream: r.Stream, Position: r.Position, Version: r.Version, EventID: r.ID, Event: r.Type, Name: word.Name,
				Dialect: sel.dialect, History: endpoint.HistoryFull,
			})
		}
		return owed, nil
	}
	var rows projections.Rows
	if err := plan.Project(ctx, webhooks.Fact{Recorded: r, Event: event}, &rows); err != nil {
		return nil, err
	}
	for i := range rows.Deliveries {
		if rows.Deliveries[i].EndpointID == sel.endpoint {
			owed = append(owed, rows.Deliveries[i])
		}
	}
	return owed, nil
}

// appendBodyLine writes the line by hand: an encoder would not leave the bytes
// of the body as they are.
func appendBodyLine(dst []byte, d *webhooks.Delivery, conversation string, body []byte, withID bool) []byte {
	dst = append(dst, `{"position":`...)
	dst = strconv.AppendInt(dst, d.Position, 10)
	dst = append(dst, `,"event":`...)
	dst = webhooks.AppendString(dst, d.Name)
	dst = append(dst, `,"conversation":`...)
	dst = webhooks.AppendString(dst, conversation)
	if withID {
		dst = append(dst, `,"webhook_id":`...)
		dst = webhooks.AppendString(dst, d.WebhookID)
	}
	dst = append(dst, `,"body":`...)
	dst = append(dst, json.RawMessage(body)...)
	return append(dst, "}\n"...)
}
