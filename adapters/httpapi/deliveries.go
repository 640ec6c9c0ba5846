package httpapi

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// deliveryUnknown is the code for a delivery that is not there.
const deliveryUnknown domain.Refusal = "delivery.not_found"

func (s *Server) deliveryRoutes() {
	register(s, withErrors(operation(http.MethodGet, "list-deliveries", "/v1/endpoints/{id}/deliveries", tagDeliveries,
		"List an endpoint's deliveries", "Newest first. An endpoint that was deleted still has them."),
		http.StatusBadRequest), s.listDeliveries)
	register(s, operation(http.MethodGet, "get-delivery", "/v1/deliveries/{id}", tagDeliveries,
		"Read a delivery with its attempts", ""), s.getDelivery)
	op := operation(http.MethodGet, "get-delivery-payload", "/v1/deliveries/{id}/payload", tagDeliveries,
		"Read the exact bytes of a delivery", "Rendered from the log; the same as were sent, or will be.")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "OK",
		Content:     map[string]*huma.MediaType{mediaJSON: {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}},
	}}
	register(s, op, s.getPayload)
}

// DeliveryView is a delivery as its account sees it.
type DeliveryView struct {
	ID           string         `json:"id" example:"dlv_01931b3e7c1f8d2a9d5e0a6f3c2b1a00"`
	WebhookID    string         `json:"webhook_id" doc:"The same over attempts, restarts and redeliveries."`
	EndpointID   string         `json:"endpoint_id"`
	Stream       string         `json:"stream"`
	Position     int64          `json:"position" doc:"Of the event in the log."`
	Version      int64          `json:"version" doc:"Of the event in its stream: the body is as of it."`
	EventID      string         `json:"event_id"`
	Event        string         `json:"event" doc:"Name of the fact."`
	Name         string         `json:"name" doc:"The dialect's name of it."`
	Dialect      string         `json:"dialect"`
	History      string         `json:"history,omitempty"`
	State        webhooks.State `json:"state" enum:"pending,delivered,parked,cancelled"`
	Reason       string         `json:"reason,omitempty" doc:"Why it ended, if not delivered."`
	AttemptCount int            `json:"attempt_count"`
	DueAt        *time.Time     `json:"due_at,omitempty" doc:"Of the next attempt, while it is pending."`
	CreatedAt    time.Time      `json:"created_at"`
	EndedAt      *time.Time     `json:"ended_at,omitempty"`
	Digest       string         `json:"digest,omitempty" doc:"SHA-256 of the bytes that were accepted, in hexadecimal."`
}

func newDeliveryView(d *webhooks.Delivery) DeliveryView {
	row := DeliveryView{
		ID: d.ID, WebhookID: d.WebhookID, EndpointID: d.EndpointID, Stream: d.Stream, Position: d.Position, Version: d.Version,
		EventID: d.EventID.String(), Event: d.Event, Name: d.Name, Dialect: d.Dialect, History: d.History, State: d.State,
		Reason: d.Reason, AttemptCount: d.Attempts, CreatedAt: d.CreatedAt, EndedAt: d.EndedAt, Digest: hex.EncodeToString(d.Digest),
	}
	if d.State == webhooks.Pending {
		row.DueAt = &d.DueAt
	}
	return row
}

type attemptRow struct {
	Number     int            `json:"number"`
	At         time.Time      `json:"at"`
	Status     int            `json:"status,omitempty" doc:"HTTP status; absent if there was no answer."`
	Fault      webhooks.Fault `json:"fault,omitempty" enum:"unreachable,timed_out,private_range,unrendered" doc:"Why there was no answer."`
	Detail     string         `json:"detail,omitempty" doc:"The fault in words, or the first bytes of the answer."`
	RetryAfter float64        `json:"retry_after,omitempty" doc:"Seconds, as the receiver asked."`
	TookMS     float64        `json:"took_ms" doc:"Milliseconds."`
	Digest     string         `json:"digest,omitempty" doc:"SHA-256 of the bytes that were sent, in hexadecimal."`
}

type deliveryWithAttempts struct {
	DeliveryView

	Attempts []attemptRow `json:"attempts"`
}

type listDeliveriesInput struct {
	EndpointPath
	State  string `query:"state" enum:"pending,delivered,parked,cancelled" doc:"Only those in this state."`
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listDeliveries(ctx context.Context, in *listDeliveriesInput) (*listAnswer[DeliveryView], error) {
	from, err := parseCursor(listDeliveries, in.Cursor)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	row, found, err := s.cfg.Models.EndpointRow(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !found || row.Account.ID != callOf(ctx).account {
		return nil, endpoint.NotRegistered
	}
	ds, err := s.cfg.Models.Deliveries(ctx, in.ID, webhooks.State(in.State), from.Position, from.Name, in.Limit+1)
	if err != nil {
		return nil, err
	}
	rows := make([]DeliveryView, len(ds))
	for i := range ds {
		rows[i] = newDeliveryView(&ds[i])
	}
	return newList(rows, in.Limit, func(last DeliveryView) cursor {
		return cursor{List: listDeliveries, Position: last.Position, Name: last.Name}
	}), nil
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
			RetryAfter: a.Outcome.RetryAfter.Seconds(), TookMS: float64(a.Outcome.Took.Microseconds()) / 1000,
			Digest: hex.EncodeToString(a.Digest),
		}
	}
	return out, nil
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
