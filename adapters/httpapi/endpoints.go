package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// errNotProjected says that the read models do not have the endpoint yet.
var errNotProjected = errors.New("the endpoint is not projected yet")

type (
	endpointDone  = eventstore.Done[endpoint.State]
	endpointOrder = eventstore.Order[endpoint.State, endpoint.Command]
)

func (s *Server) endpointRoutes() {
	const one = "/v1/endpoints/{id}"
	register(s, withStatus(operation(http.MethodPost, "register-endpoint", "/v1/endpoints", tagEndpoints,
		"Register an endpoint", "It is sent what happens from now on, or from start on: its history then goes out in order, and goes over to what happens without a gap. The signing secret is shown once; with the signature v1a, the public key is shown instead."),
		http.StatusCreated), s.registerEndpoint)
	register(s, withErrors(operation(http.MethodGet, "list-endpoints", "/v1/endpoints", tagEndpoints,
		"List endpoints", "In the order they were registered."), http.StatusBadRequest), s.listEndpoints)
	register(s, operation(http.MethodGet, "get-endpoint", one, tagEndpoints,
		"Read an endpoint", "All but the signing secret, the values of headers, and user name and password."), s.getEndpoint)
	register(s, operation(http.MethodPatch, "change-endpoint", one, tagEndpoints,
		"Change an endpoint", "A merge-patch (RFC 7396): null sets back to the default. Dialect and signature cannot change; register another endpoint."),
		s.changeEndpoint)
	register(s, operation(http.MethodDelete, "delete-endpoint", one, tagEndpoints,
		"Delete an endpoint", "Deliveries that wait are cancelled."), s.deleteEndpoint)
	register(s, withStatus(operation(http.MethodPost, "rotate-secret", one+"/rotate-secret", tagEndpoints,
		"Make a new signing secret", "It is shown once. The one before it signs beside it until the overlap is over. The body may be empty."),
		http.StatusOK), s.rotateSecret)
	register(s, withStatus(operation(http.MethodPost, "enable-endpoint", one+"/enable", tagEndpoints,
		"Let deliveries flow", "What was kept goes out. With start, the endpoint begins there instead: what was kept from before is skipped, "+
			"and what lies behind it and was not delivered goes out in order. The body may be empty."), http.StatusOK), s.enableEndpoint)
	test := withStatus(operation(http.MethodPost, "test-endpoint", one+"/test", tagEndpoints,
		"Send a test", "An event "+webhooks.TestEvent+" is signed and sent at once, also to an endpoint that is disabled, and what came of it is the answer. "+
			"It is no delivery: nothing is put on record or tried again."), http.StatusOK)
	// It changes no stream: there is no version to insist on, and no event to keep
	// an idempotency key with.
	test.Parameters = []*huma.Param{commonParameter("RequestID")}
	register(s, test, s.testEndpoint)
	register(s, withStatus(operation(http.MethodPost, "disable-endpoint", one+"/disable", tagEndpoints,
		"Hold deliveries back", "They are kept, and flow when it is enabled. The body may be empty."), http.StatusOK), s.disableEndpoint)
}

// EndpointPath is the endpoint a request is about.
type EndpointPath struct {
	ID string `path:"id" doc:"Id of the endpoint." example:"01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01"`
}

// filterNames are the members of filtersInput, for those who ask for another.
const filterNames = "inboxes, channels, labels, author_roles, private, product_ids, form_ids"

type filtersInput struct {
	Inboxes     []string      `json:"inboxes,omitempty" doc:"Ids: the conversation came in through one of them, or the opened widget belongs to one. An empty list lets every inbox pass."`
	Channels    []string      `json:"channels,omitempty" doc:"Names: the conversation came in through one of them. An empty list lets every channel pass."`
	Labels      []string      `json:"labels,omitempty" doc:"The conversation bears at least one of them as of the event: the change that adds the label passes, the one that takes the last of them away does not. An empty list lets every conversation pass."`
	AuthorRoles []domain.Role `json:"author_roles,omitempty" doc:"Parts played by those who post, edit or delete a message or type. Facts that name no author pass, as does everybody with an empty list."`
	Private     *bool         `json:"private,omitempty" doc:"Of messages, their edits and deletions, and typing: true lets only the private ones pass; false none of them, and private notes are not shown in histories either. Without it both pass. Other facts pass."`
	ProductIDs  filterIDs     `json:"product_ids,omitempty" doc:"Of activities of the kind product_purchased: data.product_id, data.product.id, one of data.product_ids or the id of one of data.products is among them. Compared as text, numbers as they are written. A purchase that names no product does not pass; activities of other kinds do, as does everything with an empty list."`
	FormIDs     filterIDs     `json:"form_ids,omitempty" doc:"Of activities of the kind form_submitted: data.form_id or data.form.id is among them, compared as product_ids are. A form without an id does not pass; activities of other kinds do, as does everything with an empty list."`
}

func (in *filtersInput) filters() endpoint.Filters {
	return endpoint.Filters{
		Inboxes: in.Inboxes, Channels: in.Channels, Labels: in.Labels, AuthorRoles: in.AuthorRoles, Private: in.Private,
		ProductIDs: in.ProductIDs, FormIDs: in.FormIDs,
	}
}

// filterIDs are ids of things that other systems have: they are sent as strings
// or numbers, and kept as texts.
type filterIDs []string

// Schema returns a list of strings and numbers.
func (filterIDs) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{
		OneOf: []*huma.Schema{{Type: huma.TypeString}, {Type: huma.TypeNumber}},
	}}
}

// UnmarshalJSON reads a list that its schema lets through.
func (ids *filterIDs) UnmarshalJSON(data []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	*ids = make(filterIDs, len(list))
	for i, raw := range list {
		if raw[0] != '"' {
			(*ids)[i] = string(raw)
		} else if err := json.Unmarshal(raw, &(*ids)[i]); err != nil {
			return err
		}
	}
	return nil
}

// idsPatch returns the patch of a list of texts that p is.
func idsPatch(p patch[filterIDs]) domain.Patch[[]string] {
	return domain.Patch[[]string]{Set: p.Set, Value: (*[]string)(p.Value)}
}

type registerEndpointInput struct {
	Body struct {
		URL           string            `json:"url" example:"https://example.com/hook"`
		Dialect       string            `json:"dialect" doc:"A format, with its version or without: then the newest." example:"verbatim@1"`
		Events        []string          `json:"events,omitempty" doc:"Facts (conversation.created), groups (conversation.*), the dialect's own names, or *. Defaults to *, and so does an empty list."`
		Filters       filtersInput      `json:"filters,omitzero" doc:"An event must pass every one that is set. Facts about contacts pass those that are about conversations."`
		History       string            `json:"history,omitempty" doc:"none, full or last:N, where the dialect has one. Defaults to full."`
		Headers       map[string]string `json:"headers,omitempty" doc:"Sent along; the values are never shown again."`
		BasicAuth     *basicAuth        `json:"basic_auth,omitempty" doc:"Sent along as the header Authorization; never shown again."`
		RateLimit     int               `json:"rate_limit,omitempty" doc:"Deliveries a second; 0 is no limit."`
		RetrySchedule []string          `json:"retry_schedule,omitempty" doc:"Delays between attempts: 5s, 1m, …"`
		Ordering      string            `json:"ordering,omitempty" doc:"conversation: first in, first out within a conversation; none: each delivery by itself, as fast as it goes. Defaults to conversation."`
		OnExhausted   string            `json:"on_exhausted,omitempty" doc:"When every attempt has failed, park: the delivery is parked and the next one follows; stop: it stays before those that follow until it is redelivered or cancelled. Defaults to park."`
		Concurrency   int               `json:"concurrency,omitempty" doc:"Attempts at a time, up to 64; 0 is the default, 16."`
		MaxBodyBytes  int               `json:"max_body_bytes,omitempty" doc:"Bytes of the largest body, 4096 to 67108864; 0 is the default, 8388608. In verbatim and cloudevents the history is cut to fit; what is larger all the same is parked."`
		Signature     string            `json:"signature,omitempty" doc:"v1: HMAC-SHA256 with a shared secret; v1a: Ed25519, which is checked with a public key. Defaults to v1."`
		Start         string            `json:"start,omitempty" doc:"now, beginning (of the log), position:N, or a time such as 2026-03-01T12:00:00Z: the first event that it is sent. Defaults to now." example:"beginning"`
		StartRate     int               `json:"start_rate,omitempty" minimum:"0" maximum:"10000" doc:"Deliveries a second of what had happened before; 0 is as fast as the endpoint takes them."`
	}
}

// EndpointView is an endpoint as its account sees it.
type EndpointView struct {
	ID      string `json:"id"`
	Number  int64  `json:"number" doc:"Position of its registration in the log."`
	Version int64  `json:"version"`
	// Settings has the names of headers, never their values.
	endpoint.Settings

	Disabled       bool           `json:"disabled"`
	DisabledReason string         `json:"disabled_reason,omitempty"`
	DisabledCause  endpoint.Cause `json:"disabled_cause,omitempty" enum:"manual,gone,failing" doc:"manual: somebody asked for it; gone: the receiver answered 410; failing: for days there was nothing but failures."`
	Backfill       string         `json:"backfill,omitempty" doc:"What sends it its history, if it began in the past: id of a replay."`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
	Health         *healthView    `json:"health,omitempty" doc:"How it has answered of late, where one endpoint is read: absent while nothing bad is known."`
	PublicKeys     []string       `json:"public_keys,omitempty" doc:"With the signature v1a, where one endpoint is read: those that check what is signed now, newest first."`
}

// healthView is how an endpoint has answered of late.
type healthView struct {
	Failures     int        `json:"failures" doc:"Attempts in a row that failed."`
	FailingSince time.Time  `json:"failing_since" doc:"The first of them."`
	OpenUntil    *time.Time `json:"open_until,omitempty" doc:"After so many failures the endpoint is left alone until then, when one delivery asks whether it is back."`
}

func newHealthView(h webhooks.Health) *healthView {
	if h.Failures == 0 {
		return nil
	}
	view := &healthView{Failures: h.Failures, FailingSince: h.FailingSince}
	if h.Broken() {
		view.OpenUntil = &h.OpenUntil
	}
	return view
}

func newEndpointView(row *projections.EndpointRow) EndpointView {
	return EndpointView{
		ID: row.ID, Number: row.Number, Version: row.Version, Settings: row.Settings,
		Disabled: row.Disabled, DisabledReason: row.Reason, DisabledCause: row.Cause,
		Backfill: row.Backfill, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
}

// endpointRegistered is a new endpoint and its secret.
type endpointRegistered struct {
	EndpointView
	ShownSecret
}

func (s *Server) registerEndpoint(ctx context.Context, in *registerEndpointInput) (*createdAnswer[endpointRegistered], error) {
	c := callOf(ctx)
	o := s.endpointOrder(c, newID())
	again, err := s.wasDone(ctx, c)
	if err != nil {
		return nil, err
	}
	secret := ""
	if !again {
		var settings endpoint.Settings
		if settings, err = s.checkRegistration(c, in); err != nil {
			return nil, err
		}
		start, err := s.startOf(ctx, in.Body.Start, in.Body.StartRate)
		if err != nil {
			return nil, err
		}
		if in.Body.Start == startNow {
			start = nil // as if nothing had been said
		}
		if secret, err = s.prepareRegistration(ctx, c, &o, settings, in.Body.BasicAuth.among(in.Body.Headers)); err != nil {
			return nil, err
		}
		if register, ok := o.Command.(endpoint.Register); ok {
			register.Start = start
			o.Command = register
		}
	}
	done, err := s.cfg.Endpoints.Execute(ctx, o)
	if err != nil {
		return nil, err
	}
	if done.Replayed {
		if secret, err = s.secretAsOf(ctx, done); err != nil {
			return nil, err
		}
	}
	row, err := s.endpointAsOf(ctx, done.Stream, done.Version)
	return &createdAnswer[endpointRegistered]{
		Written: written(done.Version, done.Replayed), Location: "/v1/endpoints/" + row.ID,
		Body: endpointRegistered{newEndpointView(&row), show(secret)},
	}, err
}

// checkRegistration returns the settings of a new endpoint, or what is wrong
// with them. Nothing is kept of a registration that would be refused.
func (s *Server) checkRegistration(c *call, in *registerEndpointInput) (endpoint.Settings, error) {
	b := &in.Body
	settings := endpoint.Settings{
		URL: b.URL, Dialect: b.Dialect, Events: b.Events, Filters: b.Filters.filters(), History: b.History,
		Headers: slices.Sorted(maps.Keys(b.Headers)), BasicAuth: b.BasicAuth != nil,
		RateLimit: b.RateLimit, RetrySchedule: b.RetrySchedule, Ordering: b.Ordering, OnExhausted: b.OnExhausted,
		Concurrency: b.Concurrency, MaxBodyBytes: b.MaxBodyBytes, Signature: b.Signature,
	}
	if c.ifExists || c.ifVersion != nil {
		wanted := int64(1)
		if c.ifVersion != nil {
			wanted = *c.ifVersion
		}
		return settings, &eventstore.VersionError{Wanted: wanted, Actual: 0}
	}
	dialect, err := s.cfg.Dialects.Find(b.Dialect)
	if err != nil {
		return settings, err
	}
	settings.Dialect = dialect.Name()
	if err := webhooks.CheckEvents(dialect, s.cfg.Codec.Types(), settings.Events); err != nil {
		return settings, err
	}
	if _, err := endpoint.Decide(endpoint.State{}, endpoint.Register{Settings: settings}, s.cfg.Clock()); err != nil {
		return settings, err
	}
	if err := checkHeaderValues(b.Headers); err != nil {
		return settings, err
	}
	if err := b.BasicAuth.check(); err != nil {
		return settings, err
	}
	return settings, s.cfg.CheckURL(settings.URL)
}

// prepareRegistration keeps what must not be in the log, before the log says
// that the endpoint is there and the first delivery looks for it.
func (s *Server) prepareRegistration(
	ctx context.Context, c *call, o *endpointOrder, settings endpoint.Settings, headers map[string]string,
) (secret string, err error) {
	account, found, err := s.cfg.Models.Account(ctx, c.account)
	if err != nil {
		return "", err
	}
	if !found {
		account = domain.Account{ID: c.account}
	}
	o.Command = endpoint.Register{Account: account, Settings: settings}
	secret = newSecret(settings.Signature)
	now := s.cfg.Clock()
	if err := s.cfg.Models.AddSecret(ctx, o.ID, secret, now, now); err != nil {
		return "", err
	}
	if len(headers) > 0 {
		err = s.cfg.Models.SetHeaders(ctx, o.ID, headers)
	}
	return secret, err
}

func (s *Server) endpointOrder(c *call, id string) endpointOrder {
	return endpointOrder{Account: c.account, ID: id, IfVersion: c.ifVersion, Key: c.key, Metadata: c.meta}
}

// executeEndpoint runs an order, and waits until those who send have heard of what
// came of it, but not for long: what is posted after the answer finds the endpoint
// as the answer has it. An endpoint of another account is not there.
func (s *Server) executeEndpoint(ctx context.Context, o endpointOrder) (endpointDone, error) {
	done, err := s.cfg.Endpoints.Execute(ctx, o)
	version, ok := errors.AsType[*eventstore.VersionError](err)
	if errors.Is(err, eventstore.ErrForeign) || ok && version.Actual == 0 {
		err = endpoint.NotRegistered
	}
	if err == nil {
		_ = s.settle(ctx) // it has happened, seen or not
	}
	return done, err
}

// endpointAsOf returns an endpoint as of a version: what the read models have of
// it, taken on by what only the log has yet.
func (s *Server) endpointAsOf(ctx context.Context, stream string, version int64) (projections.EndpointRow, error) {
	_, id := eventstore.SplitStream(stream)
	row, found, err := s.cfg.Models.EndpointRow(ctx, id)
	if err != nil {
		return row, err
	}
	if !found || row.Version > version {
		row = projections.EndpointRow{}
	}
	for r, err := range s.cfg.Log.ReadStream(ctx, stream, row.Version) {
		if err != nil {
			return row, err
		}
		if r.Version > version {
			break
		}
		event, err := s.cfg.Codec.Decode(&r)
		if err != nil {
			return row, err
		}
		e, ok := event.(endpoint.Event)
		if !ok {
			return row, fmt.Errorf("read %s: position %d: %s does not belong here", stream, r.Position, r.Type)
		}
		row = row.Evolve(webhooks.Fact{Recorded: &r, Event: event}, e)
	}
	if row.Version == 0 {
		return row, errNoSuchEvent
	}
	return row, nil
}

type listEndpointsInput struct {
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listEndpoints(ctx context.Context, in *listEndpointsInput) (*listAnswer[EndpointView], error) {
	from, err := parseCursor(listEndpoints, in.Cursor)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	rows, err := s.cfg.Models.Endpoints(ctx, callOf(ctx).account, from.Position, in.Limit+1)
	if err != nil {
		return nil, err
	}
	views := make([]EndpointView, len(rows))
	for i := range rows {
		views[i] = newEndpointView(&rows[i])
	}
	return newList(views, in.Limit, func(last EndpointView) cursor {
		return cursor{List: listEndpoints, Position: last.Number}
	}), nil
}

func (s *Server) getEndpoint(ctx context.Context, in *EndpointPath) (*seen[EndpointView], error) {
	state, version, err := s.cfg.Endpoints.State(ctx, callOf(ctx).account, in.ID)
	if errors.Is(err, eventstore.ErrForeign) || err == nil && (version == 0 || state.Deleted) {
		err = endpoint.NotRegistered
	}
	if err != nil {
		return nil, err
	}
	row, err := s.endpointAsOf(ctx, eventstore.StreamName("endpoint", in.ID), version)
	if err != nil {
		return nil, err
	}
	view := newEndpointView(&row)
	health, err := s.cfg.Models.Health(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	view.Health = newHealthView(health)
	if row.Settings.Signature == endpoint.SignatureEd25519 {
		if view.PublicKeys, err = s.publicKeys(ctx, in.ID); err != nil {
			return nil, err
		}
	}
	return &seen[EndpointView]{ETag: etag(row.Version), Body: view}, nil
}

type filtersPatch struct {
	Inboxes     patch[[]string]      `json:"inboxes,omitzero"`
	Channels    patch[[]string]      `json:"channels,omitzero"`
	Labels      patch[[]string]      `json:"labels,omitzero"`
	AuthorRoles patch[[]domain.Role] `json:"author_roles,omitzero"`
	Private     patch[bool]          `json:"private,omitzero"`
	ProductIDs  patch[filterIDs]     `json:"product_ids,omitzero"`
	FormIDs     patch[filterIDs]     `json:"form_ids,omitzero"`
}

type changeEndpointInput struct {
	EndpointPath
	Body struct {
		URL           patch[string]                   `json:"url,omitzero"`
		Events        patch[[]string]                 `json:"events,omitzero" doc:"Replaced as a whole; an empty list is *, every event, and so is null."`
		Filters       patch[filtersPatch]             `json:"filters,omitzero" doc:"Merged filter by filter; null removes one, or all."`
		History       patch[string]                   `json:"history,omitzero"`
		Headers       patch[map[string]patch[string]] `json:"headers,omitzero" doc:"Merged name by name; null removes one, or all."`
		BasicAuth     patch[basicAuth]                `json:"basic_auth,omitzero" doc:"Replaced as a whole; null removes it."`
		RateLimit     patch[int]                      `json:"rate_limit,omitzero"`
		RetrySchedule patch[[]string]                 `json:"retry_schedule,omitzero"`
		Ordering      patch[string]                   `json:"ordering,omitzero" doc:"Of what happens from now on."`
		OnExhausted   patch[string]                   `json:"on_exhausted,omitzero"`
		Concurrency   patch[int]                      `json:"concurrency,omitzero"`
		MaxBodyBytes  patch[int]                      `json:"max_body_bytes,omitzero" doc:"The history of what happens from now on is cut to it; what is larger than it now is parked."`
	}
}

func (in *changeEndpointInput) command() endpoint.Update {
	b := &in.Body
	cmd := endpoint.Update{
		URL: b.URL.Patch, Events: b.Events.Patch, History: b.History.Patch,
		RateLimit: b.RateLimit.Patch, RetrySchedule: b.RetrySchedule.Patch,
		Ordering: b.Ordering.Patch, OnExhausted: b.OnExhausted.Patch,
		Concurrency: b.Concurrency.Patch, MaxBodyBytes: b.MaxBodyBytes.Patch,
		Filters: domain.Patch[endpoint.FiltersPatch]{Set: b.Filters.Set},
	}
	if f := b.Filters.Value; f != nil {
		cmd.Filters.Value = &endpoint.FiltersPatch{
			Inboxes: f.Inboxes.Patch, Channels: f.Channels.Patch, Labels: f.Labels.Patch,
			AuthorRoles: f.AuthorRoles.Patch, Private: f.Private.Patch,
			ProductIDs: idsPatch(f.ProductIDs), FormIDs: idsPatch(f.FormIDs),
		}
	}
	return cmd
}

func (s *Server) changeEndpoint(ctx context.Context, in *changeEndpointInput) (*answer[EndpointView], error) {
	if in.Body.URL.Value != nil {
		// It may look names up, which must not hold up others: before the order.
		if err := s.cfg.CheckURL(*in.Body.URL.Value); err != nil {
			return nil, err
		}
	}
	o := s.endpointOrder(callOf(ctx), in.ID)
	o.Prepare = func(ctx context.Context, state endpoint.State) (endpoint.Command, error) {
		cmd := in.command()
		if !state.Registered || state.Deleted {
			return cmd, nil // refused in a moment
		}
		if in.Body.Events.Value != nil {
			dialect, err := s.cfg.Dialects.Find(state.Settings.Dialect)
			if err != nil {
				return cmd, err
			}
			if err := webhooks.CheckEvents(dialect, s.cfg.Codec.Types(), *in.Body.Events.Value); err != nil {
				return cmd, err
			}
		}
		if !in.Body.Headers.Set && !in.Body.BasicAuth.Set {
			return cmd, nil
		}
		return s.prepareHeaders(ctx, in, state, cmd)
	}
	return s.endpointAnswer(s.executeEndpoint(ctx, o))(ctx)
}

// endpointAnswer returns what answers with the endpoint as of the version that
// an order led to.
func (s *Server) endpointAnswer(done endpointDone, err error) func(context.Context) (*answer[EndpointView], error) {
	return func(ctx context.Context) (*answer[EndpointView], error) {
		if err != nil {
			return nil, err
		}
		row, err := s.endpointAsOf(ctx, done.Stream, done.Version)
		return &answer[EndpointView]{
			Written: written(done.Version, done.Replayed), Body: newEndpointView(&row),
		}, err
	}
}

func (s *Server) deleteEndpoint(ctx context.Context, in *EndpointPath) (*doneAnswer, error) {
	o := s.endpointOrder(callOf(ctx), in.ID)
	o.Command = endpoint.Delete{}
	done, err := s.executeEndpoint(ctx, o)
	return &doneAnswer{Written: written(done.Version, done.Replayed)}, err
}

type enableBody struct {
	Start     string `json:"start,omitempty" doc:"now, beginning (of the log), position:N, or a time such as 2026-03-01T12:00:00Z: the first event that it is sent. Without it, what was kept goes out." example:"beginning"`
	StartRate int    `json:"start_rate,omitempty" minimum:"0" maximum:"10000" doc:"Deliveries a second of what had happened before; 0 is as fast as the endpoint takes them."`
}

type enableInput struct {
	EndpointPath
	Body *enableBody
}

func (s *Server) enableEndpoint(ctx context.Context, in *enableInput) (*answer[EndpointView], error) {
	o := s.endpointOrder(callOf(ctx), in.ID)
	b := orZero(in.Body)
	start, err := s.startOf(ctx, b.Start, b.StartRate)
	if err != nil {
		return nil, err
	}
	o.Command = endpoint.Enable{Start: start}
	return s.endpointAnswer(s.executeEndpoint(ctx, o))(ctx)
}

type disableBody struct {
	Reason string `json:"reason,omitempty" doc:"Up to 500 characters."`
}

type disableInput struct {
	EndpointPath
	Body *disableBody
}

func (s *Server) disableEndpoint(ctx context.Context, in *disableInput) (*answer[EndpointView], error) {
	o := s.endpointOrder(callOf(ctx), in.ID)
	o.Command = endpoint.Disable{Reason: orZero(in.Body).Reason}
	return s.endpointAnswer(s.executeEndpoint(ctx, o))(ctx)
}

// A Tester sends an endpoint of an account one test event, at once; *webhooks.Dispatcher
// is one. It returns what came of it and the webhook-id that the event bore, or
// webhooks.ErrNoTarget.
type Tester interface {
	Test(ctx context.Context, account, endpointID string) (webhooks.Outcome, string, error)
}

type testAnswer struct{ Body testView }

type testView struct {
	WebhookID   string         `json:"webhook_id" doc:"Of the event that was sent."`
	Accepted    bool           `json:"accepted" doc:"A delivery that is answered so counts as delivered."`
	Status      int            `json:"status,omitempty" doc:"HTTP status; absent if there was no answer."`
	Fault       webhooks.Fault `json:"fault,omitempty" enum:"dns,unreachable,connect_timed_out,tls,timed_out,private_range" doc:"Why there was no answer."`
	Detail      string         `json:"detail,omitempty" doc:"The fault in words, or the first bytes of the answer."`
	TookMS      float64        `json:"took_ms" doc:"Milliseconds, like those that follow: the parts of it that there were."`
	DNSMS       float64        `json:"dns_ms,omitempty" doc:"The name was resolved."`
	ConnectMS   float64        `json:"connect_ms,omitempty" doc:"The connection was made."`
	TLSMS       float64        `json:"tls_ms,omitempty" doc:"The handshake."`
	FirstByteMS float64        `json:"first_byte_ms,omitempty" doc:"From the request written to the first byte of the answer."`
}

func (s *Server) testEndpoint(ctx context.Context, in *EndpointPath) (*testAnswer, error) {
	account := callOf(ctx).account
	state, version, err := s.cfg.Endpoints.State(ctx, account, in.ID)
	if errors.Is(err, eventstore.ErrForeign) || err == nil && (version == 0 || state.Deleted) {
		err = endpoint.NotRegistered
	}
	if err == nil {
		err = s.settle(ctx)
	}
	if err != nil {
		return nil, err
	}
	o, webhookID, err := s.cfg.Tester.Test(ctx, account, in.ID)
	switch {
	case errors.Is(err, webhooks.ErrNoTarget):
		err = errNotProjected
	case errors.Is(err, webhooks.ErrSecret):
		err = newProblem(http.StatusConflict, "endpoint.no_secret",
			"the endpoint has no secret to sign with, as after its log was moved; POST …/rotate-secret makes one, and what waits is sent")
	}
	if err != nil {
		return nil, err
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &testAnswer{testView{
		WebhookID: webhookID, Accepted: o.Status >= 200 && o.Status <= 299, Status: o.Status, Fault: o.Fault, Detail: o.Detail,
		TookMS: ms(o.Took), DNSMS: ms(o.Timing.DNS), ConnectMS: ms(o.Timing.Connect), TLSMS: ms(o.Timing.TLS),
		FirstByteMS: ms(o.Timing.FirstByte),
	}}, nil
}
