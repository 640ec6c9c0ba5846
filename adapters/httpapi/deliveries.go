package httpapi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// deliveryUnknown is the code for a delivery that is not there.
const deliveryUnknown domain.Refusal = "delivery.not_found"

func (s *Server) deliveryRoutes() {
	register(s, withErrors(operation(http.MethodGet, "list-deliveries", "/v1/endpoints/{id}/deliveries", tagDeliveries,
		"List an endpoint's deliveries", "Newest first. An endpoint that was deleted still has them. A page looks at "+
			strconv.Itoa(webhooks.MaxLook)+" deliveries at most, so that one with filters that match little may be short or empty "+
			"and still have a next one."),
		http.StatusBadRequest), s.listDeliveries)
	register(s, operation(http.MethodGet, "get-delivery", "/v1/deliveries/{id}", tagDeliveries,
		"Read a delivery with its attempts", ""), s.getDelivery)
	register(s, withStatus(recordOperation("redeliver", "/v1/deliveries/{id}/redeliver",
		"Send a delivery again", "Whatever became of it, with the same webhook-id and the whole schedule of attempts before it. It goes out "+
			"before what is younger in its conversation. Repeated with the same Idempotency-Key it is not sent once more, and the answer "+
			"shows the delivery as it is then."),
		http.StatusAccepted), s.redeliver)
	register(s, withStatus(recordOperation("cancel-delivery", "/v1/deliveries/{id}/cancel",
		"Cancel a delivery", "Only one that is pending. An attempt that is under way may still arrive; it is put on record."),
		http.StatusOK), s.cancelDelivery)
	op := operation(http.MethodGet, "get-delivery-payload", "/v1/deliveries/{id}/payload", tagDeliveries,
		"Read the exact bytes of a delivery", "Rendered from the log; the same as were sent, or will be.")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "OK",
		Content:     map[string]*huma.MediaType{mediaJSON: {Schema: bodySchema()}},
	}}
	register(s, op, s.getPayload)
}

// bodySchema describes the body of a webhook: some formats send an object, and
// some a list of them. What is in it is for the format to say.
func bodySchema() *huma.Schema {
	return &huma.Schema{
		Description: "The body, as the format has it.",
		OneOf: []*huma.Schema{
			{Type: huma.TypeObject, AdditionalProperties: true},
			{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
		},
	}
}

// recordOperation returns what writes have in common that change no stream: there
// is no version to insist on.
func recordOperation(id, path, summary, description string) huma.Operation {
	op := operation(http.MethodPost, id, path, tagDeliveries, summary, description)
	op.Errors = slices.DeleteFunc(op.Errors, func(status int) bool { return status == http.StatusPreconditionFailed })
	op.Parameters = []*huma.Param{commonParameter("IdempotencyKey"), commonParameter("RequestID")}
	return op
}

// DeliveryView is a delivery as its account sees it.
type DeliveryView struct {
	ID           string         `json:"id" example:"dlv_01931b3e7c1f8d2a9d5e0a6f3c2b1a00"`
	WebhookID    string         `json:"webhook_id" doc:"The same over attempts, restarts and redeliveries."`
	EndpointID   string         `json:"endpoint_id"`
	Stream       string         `json:"stream"`
	Lane         string         `json:"lane" doc:"Deliveries of an endpoint with the same lane go first in, first out: it is the stream or, without order, the delivery itself."`
	Position     int64          `json:"position" doc:"Of the event in the log."`
	Version      int64          `json:"version" doc:"Of the event in its stream: the body is as of it."`
	EventID      string         `json:"event_id"`
	Event        string         `json:"event" doc:"Name of the fact."`
	Name         string         `json:"name" doc:"The dialect's name of it."`
	Dialect      string         `json:"dialect"`
	History      string         `json:"history,omitempty"`
	State        webhooks.State `json:"state" enum:"pending,delivered,parked,cancelled"`
	Reason       string         `json:"reason,omitempty" doc:"Why it ended, if not delivered; or why it stands still."`
	AttemptCount int            `json:"attempt_count"`
	DueAt        *time.Time     `json:"due_at" doc:"Of the next attempt. Null once it has ended, and of a pending one that stands still until somebody redelivers or cancels it."`
	CreatedAt    time.Time      `json:"created_at"`
	EndedAt      *time.Time     `json:"ended_at,omitempty"`
	Digest       string         `json:"digest,omitempty" doc:"SHA-256 of the bytes that were accepted, in hexadecimal."`
	Bytes        int64          `json:"bytes,omitempty" doc:"How many they were."`
	Replay       string         `json:"replay,omitempty" doc:"The replay or backfill that sends it."`
}

func newDeliveryView(d *webhooks.Delivery) DeliveryView {
	row := DeliveryView{
		ID: d.ID, WebhookID: d.WebhookID, EndpointID: d.EndpointID, Stream: d.Stream, Lane: d.Lane, Position: d.Position, Version: d.Version,
		EventID: d.EventID.String(), Event: d.Event, Name: d.Name, Dialect: d.Dialect, History: d.History, State: d.State,
		Reason: d.Reason, AttemptCount: d.Attempts, CreatedAt: d.CreatedAt, EndedAt: d.EndedAt, Digest: hex.EncodeToString(d.Digest),
		Bytes: d.Bytes, Replay: d.Replay,
	}
	if d.State == webhooks.Pending && d.DueAt.Before(webhooks.Never()) {
		row.DueAt = &d.DueAt
	}
	return row
}

// attemptRow is an attempt. What did not happen took no time: a connection that was
// used again has no name looked up, no connection made and no handshake.
type attemptRow struct {
	Number      int            `json:"number"`
	At          time.Time      `json:"at"`
	Status      int            `json:"status,omitempty" doc:"HTTP status; absent if there was no answer."`
	Fault       webhooks.Fault `json:"fault,omitempty" enum:"dns,unreachable,connect_timed_out,tls,timed_out,private_range,unrendered,too_large" doc:"Why there was no answer."`
	Detail      string         `json:"detail,omitempty" doc:"The fault in words, or the first 4096 bytes of the answer."`
	RetryAfter  float64        `json:"retry_after,omitempty" doc:"Seconds, as the receiver asked."`
	TookMS      float64        `json:"took_ms" doc:"Milliseconds."`
	DNSMS       float64        `json:"dns_ms,omitempty" doc:"Of them, until the name was looked up."`
	ConnectMS   float64        `json:"connect_ms,omitempty" doc:"Until the connection was made."`
	TLSMS       float64        `json:"tls_ms,omitempty" doc:"Of the handshake."`
	FirstByteMS float64        `json:"first_byte_ms,omitempty" doc:"From the request written to the first byte of the answer."`
	Digest      string         `json:"digest,omitempty" doc:"SHA-256 of the bytes that were sent, in hexadecimal."`
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type deliveryWithAttempts struct {
	DeliveryView

	Attempts []attemptRow `json:"attempts"`
}

type listDeliveriesInput struct {
	EndpointPath
	State        []string `query:"state" enum:"pending,delivered,parked,cancelled" doc:"Only those in one of these states, separated by commas."`
	Event        string   `query:"event" doc:"Only those of this event: the fact's name, a group of facts (conversation.*), or the dialect's own name."`
	Conversation string   `query:"conversation" doc:"Only those of this conversation: its id."`
	Replay       string   `query:"replay" doc:"Only those that this replay or backfill of the endpoint sent, and nothing since sent again: its id."`
	From         string   `query:"from" format:"date-time" doc:"Only those created then or later."`
	To           string   `query:"to" format:"date-time" doc:"Only those created before."`
	Cursor       string   `query:"cursor" doc:"page.next of the page before, with the same filters."`
	Limit        int      `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (in *listDeliveriesInput) selection() (webhooks.Selection, error) {
	sel := webhooks.Selection{Replay: in.Replay}
	for _, state := range in.State {
		sel.States = append(sel.States, webhooks.State(state))
	}
	if in.Event != "" {
		sel.Events = []string{in.Event}
	}
	if in.Conversation != "" {
		sel.Stream = eventstore.StreamName("conversation", in.Conversation)
	}
	err := span(&sel, in.From, in.To)
	return sel, err
}

// span sets the time in which deliveries were created.
func span(sel *webhooks.Selection, from, to string) error { return spanOf(sel, "from", from, "to", to) }

// spanOf is span for fields of other names.
func spanOf(sel *webhooks.Selection, fromField, from, toField, to string) error {
	for _, bound := range []struct {
		field, value string
		set          *time.Time
	}{{fromField, from, &sel.From}, {toField, to, &sel.To}} {
		if bound.value == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, bound.value)
		if err != nil {
			return &domain.FieldError{Field: bound.field, Rule: "must be a time such as 2026-03-01T12:00:00Z"}
		}
		*bound.set = at
	}
	return nil
}

// checkEvents returns a *domain.FieldError if the dialect of an endpoint has no
// such events.
func (s *Server) checkEvents(row *projections.EndpointRow, events []string) error {
	dialect, err := s.cfg.Dialects.Find(row.Settings.Dialect)
	if err != nil {
		return err
	}
	return webhooks.CheckEvents(dialect, s.cfg.Codec.Types(), events)
}

// endpointRow returns an endpoint of the account, also a deleted one.
func (s *Server) endpointRow(ctx context.Context, id string) (projections.EndpointRow, error) {
	if err := s.settle(ctx); err != nil {
		return projections.EndpointRow{}, err
	}
	row, found, err := s.cfg.Models.EndpointRow(ctx, id)
	if err == nil && (!found || row.Account.ID != callOf(ctx).account) {
		err = endpoint.NotRegistered
	}
	return row, err
}

func (s *Server) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*listAnswer[DeliveryView], error) {
	from, err := parseCursor(listDeliveries, in.Cursor)
	if err != nil {
		return nil, err
	}
	sel, err := in.selection()
	if err != nil {
		return nil, err
	}
	row, err := s.endpointRow(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if in.Event != "" {
		if err := s.checkEvents(&row, sel.Events); err != nil {
			if wrong, ok := errors.AsType[*domain.FieldError](err); ok {
				return nil, &domain.FieldError{Field: "event", Rule: wrong.Rule}
			}
			return nil, err
		}
	}
	if in.Replay != "" {
		r, found, err := s.cfg.Models.Replay(ctx, in.Replay)
		if err != nil {
			return nil, err
		}
		if !found || r.EndpointID != in.ID {
			return nil, &domain.FieldError{Field: "replay", Rule: "must be a replay or a backfill of this endpoint; GET …/replays lists them"}
		}
	}
	ds, next, err := s.cfg.Models.Deliveries(ctx, in.ID, sel, webhooks.Mark{Position: from.Position, Name: from.Name}, in.Limit)
	if err != nil {
		return nil, err
	}
	rows := make([]DeliveryView, len(ds))
	for i := range ds {
		rows[i] = newDeliveryView(&ds[i])
	}
	out := newList(rows, len(rows), nil)
	if next != nil {
		out.Body.Page.Next = cursor{List: listDeliveries, Position: next.Position, Name: next.Name}.String()
	}
	return out, nil
}

type pathDelivery struct {
	ID string `path:"id" doc:"Id of the delivery." example:"dlv_01931b3e7c1f8d2a9d5e0a6f3c2b1a00"`
}

// delivery returns a delivery of the account and its attempts.
func (s *Server) delivery(ctx context.Context, id string) (webhooks.Delivery, []webhooks.Attempt, error) {
	d, attempts, found, err := s.cfg.Models.Delivery(ctx, id)
	if err == nil && (!found || d.Account != callOf(ctx).account) {
		err = deliveryUnknown
	}
	return d, attempts, err
}

type deliveryAnswer struct{ Body deliveryWithAttempts }

func (s *Server) getDelivery(ctx context.Context, in *pathDelivery) (*deliveryAnswer, error) {
	d, attempts, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out := &deliveryAnswer{deliveryWithAttempts{newDeliveryView(&d), make([]attemptRow, len(attempts))}}
	for i, a := range attempts {
		out.Body.Attempts[i] = attemptRow{
			Number: a.Number, At: a.At, Status: a.Outcome.Status, Fault: a.Outcome.Fault, Detail: a.Outcome.Detail,
			RetryAfter: a.Outcome.RetryAfter.Seconds(), TookMS: milliseconds(a.Outcome.Took),
			DNSMS: milliseconds(a.Outcome.Timing.DNS), ConnectMS: milliseconds(a.Outcome.Timing.Connect),
			TLSMS: milliseconds(a.Outcome.Timing.TLS), FirstByteMS: milliseconds(a.Outcome.Timing.FirstByte),
			Digest: hex.EncodeToString(a.Digest),
		}
	}
	return out, nil
}

// recordChanged is the answer to a write that changes no stream.
type recordChanged[B any] struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true if it was done before, and not again."`
	Body     B
}

func changed[B any](again bool, body B) *recordChanged[B] {
	out := &recordChanged[B]{Body: body}
	if again {
		out.Replayed = "true"
	}
	return out
}

// redelivered is a delivery that is pending again.
type redelivered struct {
	DeliveryView

	EndpointDisabled bool `json:"endpoint_disabled,omitempty" doc:"It waits: the endpoint is disabled, and what is pending goes out when it is enabled."`
}

func (s *Server) redeliver(ctx context.Context, in *pathDelivery) (*recordChanged[redelivered], error) {
	d, _, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	var to endpoint.State
	again, err := s.once(ctx, func() error {
		if to, _, err = s.cfg.Endpoints.State(ctx, d.Account, d.EndpointID); err != nil {
			return err
		}
		if !to.Registered || to.Deleted {
			return newProblem(http.StatusConflict, "endpoint.deleted",
				"its endpoint was deleted: there is nobody to send it to; register another endpoint for what happens from now on")
		}
		found, err := s.cfg.Models.Redeliver(ctx, d.ID, s.now())
		if err == nil && !found {
			err = deliveryUnknown
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if again {
		if to, _, err = s.cfg.Endpoints.State(ctx, d.Account, d.EndpointID); err != nil {
			return nil, err
		}
	} else {
		s.cfg.Reload(webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane})
	}
	if d, _, err = s.delivery(ctx, in.ID); err != nil {
		return nil, err
	}
	return changed(again, redelivered{newDeliveryView(&d), to.Disabled}), nil
}

// now is the time as it is kept, in whole microseconds.
func (s *Server) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Microsecond) }

func (s *Server) cancelDelivery(ctx context.Context, in *pathDelivery) (*recordChanged[DeliveryView], error) {
	d, _, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	again, err := s.once(ctx, func() error {
		done, err := s.cfg.Models.Cancel(ctx, d.ID, webhooks.ReasonAsked, s.now())
		if err != nil || done {
			return err
		}
		if d, _, err = s.delivery(ctx, in.ID); err != nil {
			return err
		}
		return newProblem(http.StatusConflict, "delivery.not_pending",
			"the delivery is "+string(d.State)+"; only a pending one can be cancelled")
	})
	if err != nil {
		return nil, err
	}
	if !again {
		s.cfg.Reload(webhooks.Lane{EndpointID: d.EndpointID, Key: d.Lane})
	}
	if d, _, err = s.delivery(ctx, in.ID); err != nil {
		return nil, err
	}
	return changed(again, newDeliveryView(&d)), nil
}

type payloadAnswer struct {
	ContentType string `header:"Content-Type"`
	WebhookID   string `header:"webhook-id"` //nolint:tagliatelle // its name
	Body        []byte
}

func (s *Server) getPayload(ctx context.Context, in *pathDelivery) (*payloadAnswer, error) {
	d, _, err := s.delivery(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	body, err := s.cfg.Transcripts.Body(ctx, &d)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", d.ID, err)
	}
	return &payloadAnswer{mediaJSON, d.WebhookID, body}, nil
}
