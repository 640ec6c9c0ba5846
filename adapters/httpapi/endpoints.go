package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

const (
	// rotationOverlap is how long the secret before a new one still signs: long
	// enough to roll a receiver out by hand during a working day.
	rotationOverlap = 24 * time.Hour
	// maxHeaderValue is how long the value of a header may be that is sent along:
	// a large token. Servers refuse header blocks from 8 KiB on.
	maxHeaderValue = 4096

	startNow = "now"
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
		"Register an endpoint", "It is sent what happens from now on. The signing secret is shown once."),
		http.StatusCreated), s.registerEndpoint)
	register(s, withErrors(operation(http.MethodGet, "list-endpoints", "/v1/endpoints", tagEndpoints,
		"List endpoints", "In the order they were registered."), http.StatusBadRequest), s.listEndpoints)
	register(s, operation(http.MethodGet, "get-endpoint", one, tagEndpoints,
		"Read an endpoint", "All but the signing secret and the values of headers."), s.getEndpoint)
	register(s, operation(http.MethodPatch, "change-endpoint", one, tagEndpoints,
		"Change an endpoint", "A merge-patch (RFC 7396): null sets back to the default. The dialect cannot change; register another endpoint."),
		s.changeEndpoint)
	register(s, operation(http.MethodDelete, "delete-endpoint", one, tagEndpoints,
		"Delete an endpoint", "Deliveries that wait are cancelled."), s.deleteEndpoint)
	register(s, withStatus(operation(http.MethodPost, "rotate-secret", one+"/rotate-secret", tagEndpoints,
		"Make a new signing secret", "It is shown once. The one before it signs for another 24 hours beside it."),
		http.StatusOK), s.rotateSecret)
	register(s, withStatus(operation(http.MethodPost, "enable-endpoint", one+"/enable", tagEndpoints,
		"Let deliveries flow", ""), http.StatusOK), s.enableEndpoint)
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
		Events        []string          `json:"events,omitempty" doc:"Facts (conversation.created), groups (conversation.*), the dialect's own names, or *. Defaults to *."`
		Filters       filtersInput      `json:"filters,omitzero" doc:"An event must pass every one that is set. Facts about contacts pass those that are about conversations."`
		History       string            `json:"history,omitempty" doc:"none, full or last:N, where the dialect has one. Defaults to full."`
		Headers       map[string]string `json:"headers,omitempty" doc:"Sent along; the values are never shown again."`
		RateLimit     int               `json:"rate_limit,omitempty" doc:"Deliveries a second; 0 is no limit."`
		RetrySchedule []string          `json:"retry_schedule,omitempty" doc:"Delays between attempts: 5s, 1m, …"`
		Ordering      string            `json:"ordering,omitempty" doc:"conversation: first in, first out within a conversation."`
		Start         string            `json:"start,omitempty" doc:"now; to send what happened before, use POST …/replays."`
	}
}

// EndpointView is an endpoint as its account sees it.
type EndpointView struct {
	ID      string `json:"id"`
	Number  int64  `json:"number" doc:"Position of its registration in the log."`
	Version int64  `json:"version"`
	// Settings has the names of headers, never their values.
	endpoint.Settings

	Disabled       bool      `json:"disabled"`
	DisabledReason string    `json:"disabled_reason,omitempty"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
}

func newEndpointView(row *projections.EndpointRow) EndpointView {
	return EndpointView{
		ID: row.ID, Number: row.Number, Version: row.Version, Settings: row.Settings,
		Disabled: row.Disabled, DisabledReason: row.Reason, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
}

// endpointRegistered is a new endpoint and its secret.
type endpointRegistered struct {
	EndpointView

	Secret string `json:"secret,omitempty" doc:"Signs the webhooks; shown once. Absent when the request is repeated after the secret was replaced."`
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
		if secret, err = s.prepareRegistration(ctx, c, &o, settings, in.Body.Headers); err != nil {
			return nil, err
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
		Body: endpointRegistered{newEndpointView(&row), secret},
	}, err
}

// checkRegistration returns the settings of a new endpoint, or what is wrong
// with them. Nothing is kept of a registration that would be refused.
func (s *Server) checkRegistration(c *call, in *registerEndpointInput) (endpoint.Settings, error) {
	b := &in.Body
	settings := endpoint.Settings{
		URL: b.URL, Dialect: b.Dialect, Events: b.Events, Filters: b.Filters.filters(), History: b.History,
		Headers: slices.Sorted(maps.Keys(b.Headers)), RateLimit: b.RateLimit, RetrySchedule: b.RetrySchedule, Ordering: b.Ordering,
	}
	if c.ifExists || c.ifVersion != nil {
		wanted := int64(1)
		if c.ifVersion != nil {
			wanted = *c.ifVersion
		}
		return settings, &eventstore.VersionError{Wanted: wanted, Actual: 0}
	}
	if b.Start != "" && b.Start != startNow {
		return settings, &domain.FieldError{
			Field: "start", Rule: `must be "now" or absent; the command rebuild renders what happened before`,
		}
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
	secret = webhooks.NewSecret(rand.Reader)
	now := s.cfg.Clock()
	if err := s.cfg.Models.AddSecret(ctx, o.ID, secret, now, now); err != nil {
		return "", err
	}
	if len(headers) > 0 {
		err = s.cfg.Models.SetHeaders(ctx, o.ID, headers)
	}
	return secret, err
}

// checkHeaderValues returns a *domain.FieldError for what cannot be sent as the
// value of a header, or twice. Names are the domain's to check.
func checkHeaderValues(headers map[string]string) error {
	seen := make(map[string]bool, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		canonical := http.CanonicalHeaderKey(name)
		if seen[canonical] {
			return &domain.FieldError{Field: "headers." + name, Rule: "stands twice, in different case"}
		}
		seen[canonical] = true
		value := headers[name]
		if len(value) > maxHeaderValue {
			return &domain.FieldError{Field: "headers." + name, Rule: "must be at most " + strconv.Itoa(maxHeaderValue) + " bytes"}
		}
		for i := range len(value) {
			if c := value[i]; c < ' ' || c > '~' {
				return &domain.FieldError{Field: "headers." + name, Rule: "must be printable ASCII characters"}
			}
		}
	}
	return nil
}

func (s *Server) endpointOrder(c *call, id string) endpointOrder {
	return endpointOrder{Account: c.account, ID: id, IfVersion: c.ifVersion, Key: c.key, Metadata: c.meta}
}

// executeEndpoint runs an order. An endpoint of another account is not there.
func (s *Server) executeEndpoint(ctx context.Context, o endpointOrder) (endpointDone, error) {
	done, err := s.cfg.Endpoints.Execute(ctx, o)
	version, ok := errors.AsType[*eventstore.VersionError](err)
	if errors.Is(err, eventstore.ErrForeign) || ok && version.Actual == 0 {
		err = endpoint.NotRegistered
	}
	return done, err
}

// endpointAsOf returns an endpoint as of a version, straight from the log: its
// stream is a handful of events.
func (s *Server) endpointAsOf(ctx context.Context, stream string, version int64) (projections.EndpointRow, error) {
	var row projections.EndpointRow
	for r, err := range s.cfg.Log.ReadStream(ctx, stream, 0) {
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

// secretAsOf returns the secret that an order made, for an answer that is given
// again: a client that never got the first one has no other way to learn it. It
// is "" if the secret was replaced since.
func (s *Server) secretAsOf(ctx context.Context, done endpointDone) (string, error) {
	for r, err := range s.cfg.Log.ReadStream(ctx, done.Stream, done.Version) {
		if err != nil {
			return "", err
		}
		if r.Type == (endpoint.SecretRotated{}).EventType() || r.Type == (endpoint.Deleted{}).EventType() {
			return "", nil
		}
	}
	_, id := eventstore.SplitStream(done.Stream)
	target, err := s.target(ctx, id)
	if err != nil || len(target.Secrets) == 0 {
		return "", err
	}
	return target.Secrets[0], nil
}

// target returns the secrets and headers of an endpoint that is in the log.
func (s *Server) target(ctx context.Context, id string) (webhooks.Target, error) {
	if err := s.settle(ctx); err != nil {
		return webhooks.Target{}, err
	}
	target, err := s.cfg.Models.Target(ctx, id)
	if errors.Is(err, webhooks.ErrNoTarget) {
		err = errNotProjected
	}
	return target, err
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
	return &seen[EndpointView]{ETag: etag(row.Version), Body: newEndpointView(&row)}, err
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
		Events        patch[[]string]                 `json:"events,omitzero"`
		Filters       patch[filtersPatch]             `json:"filters,omitzero" doc:"Merged filter by filter; null removes one, or all."`
		History       patch[string]                   `json:"history,omitzero"`
		Headers       patch[map[string]patch[string]] `json:"headers,omitzero" doc:"Merged name by name; null removes one, or all."`
		RateLimit     patch[int]                      `json:"rate_limit,omitzero"`
		RetrySchedule patch[[]string]                 `json:"retry_schedule,omitzero"`
	}
}

func (in *changeEndpointInput) command() endpoint.Update {
	b := &in.Body
	cmd := endpoint.Update{
		URL: b.URL.Patch, Events: b.Events.Patch, History: b.History.Patch,
		RateLimit: b.RateLimit.Patch, RetrySchedule: b.RetrySchedule.Patch,
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
		if !in.Body.Headers.Set {
			return cmd, nil
		}
		return s.prepareHeaders(ctx, in, state, cmd)
	}
	return s.endpointAnswer(s.executeEndpoint(ctx, o))(ctx)
}

// prepareHeaders keeps the values of changed headers, and returns the command
// with the names of all. Nothing is kept if the command would be refused.
func (s *Server) prepareHeaders(
	ctx context.Context, in *changeEndpointInput, state endpoint.State, cmd endpoint.Update,
) (endpoint.Command, error) {
	headers := map[string]string{}
	if in.Body.Headers.Value != nil {
		target, err := s.target(ctx, in.ID)
		if err != nil {
			return cmd, err
		}
		maps.Copy(headers, target.Headers)
		for name, value := range *in.Body.Headers.Value {
			if value.Value == nil {
				delete(headers, name)
			} else {
				headers[name] = *value.Value
			}
		}
	}
	names := slices.Sorted(maps.Keys(headers))
	cmd.Headers = domain.Patch[[]string]{Set: true, Value: &names}
	if _, err := endpoint.Decide(state, cmd, s.cfg.Clock()); err != nil {
		return cmd, err
	}
	if err := checkHeaderValues(headers); err != nil {
		return cmd, err
	}
	return cmd, s.cfg.Models.SetHeaders(ctx, in.ID, headers)
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

type secretRotated struct {
	ID            string    `json:"id" doc:"Of the endpoint."`
	Secret        string    `json:"secret,omitempty" doc:"The new one; shown once. Absent when the request is repeated after it was replaced."`
	PreviousUntil time.Time `json:"previous_until" doc:"Until then the one before it signs too."`
	Version       int64     `json:"version"`
}

// rotateSecret keeps the new secret before the log says that there is one: the
// other way round, a crash in between would leave a rotation that never was.
func (s *Server) rotateSecret(ctx context.Context, in *EndpointPath) (*answer[secretRotated], error) {
	o := s.endpointOrder(callOf(ctx), in.ID)
	secret := ""
	o.Prepare = func(ctx context.Context, state endpoint.State) (endpoint.Command, error) {
		now := s.cfg.Clock().UTC().Truncate(time.Microsecond)
		cmd := endpoint.RotateSecret{PreviousUntil: now.Add(rotationOverlap)}
		if !state.Registered || state.Deleted || secret != "" {
			return cmd, nil // refused in a moment; or kept by an earlier try
		}
		secret = webhooks.NewSecret(rand.Reader)
		return cmd, s.cfg.Models.AddSecret(ctx, in.ID, secret, now, cmd.PreviousUntil)
	}
	done, err := s.executeEndpoint(ctx, o)
	if err != nil {
		return nil, err
	}
	if done.Replayed {
		if secret, err = s.secretAsOf(ctx, done); err != nil {
			return nil, err
		}
	}
	event, err := s.cfg.Codec.Decode(&done.Events[0])
	if err != nil {
		return nil, err
	}
	rotated, ok := event.(endpoint.SecretRotated)
	if !ok {
		return nil, errNoSuchEvent
	}
	_, id := eventstore.SplitStream(done.Stream)
	return &answer[secretRotated]{
		Written: written(done.Version, done.Replayed),
		Body:    secretRotated{id, secret, rotated.PreviousUntil, done.Version},
	}, nil
}

func (s *Server) enableEndpoint(ctx context.Context, in *EndpointPath) (*answer[EndpointView], error) {
	o := s.endpointOrder(callOf(ctx), in.ID)
	o.Command = endpoint.Enable{}
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
