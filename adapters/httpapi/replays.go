package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
)

// replayUnknown is the code for a replay that is not there.
const replayUnknown domain.Refusal = "replay.not_found"

// A Replayer does what is asked for in replays; *projections.Replays is one.
type Replayer interface {
	// Ring says that there is a new replay, or one that is to go on or to end.
	Ring()
	// DryRun says what a replay would do, as far as one request may look.
	DryRun(ctx context.Context, r webhooks.Replay, diff bool) (webhooks.DryRun, error)
}

func (s *Server) replayRoutes() {
	create := withStatus(recordOperation("replay", "/v1/endpoints/{id}/replays",
		"Send the past", "In the order of the log, under the webhook-ids that the events have for the endpoint, with the header "+
			webhooks.ReplayHeader+". What is on record is sent as it was planned; of what is not, the endpoint's settings of now decide. What is "+
			"pending already is left. The past goes out beside what happens meanwhile, each conversation first in, first out. To a disabled endpoint "+
			"nothing is sent until it is enabled. One replay or backfill runs for an endpoint at a time. It ends with a receipt, "+
			"which is kept for ever. With dry_run nothing is sent, and the answer is what would be."),
		http.StatusCreated)
	registry := s.api.OpenAPI().Components.Schemas
	answer := func(description string, t reflect.Type, name string) *huma.Response {
		return &huma.Response{
			Description: description,
			Content:     map[string]*huma.MediaType{mediaJSON: {Schema: registry.Schema(t, true, name)}},
		}
	}
	create.Responses = map[string]*huma.Response{
		"200": answer("What would be sent", reflect.TypeFor[dryRunView](), "DryRun"),
		"201": answer("Created", reflect.TypeFor[startedReplay](), "StartedReplay"),
	}
	register(s, create, s.replay)
	register(s, withErrors(operation(http.MethodGet, "list-replays", "/v1/endpoints/{id}/replays", tagDeliveries,
		"List an endpoint's replays and backfills", "Newest first."), http.StatusBadRequest), s.listReplays)
	register(s, operation(http.MethodGet, "get-replay", "/v1/replays/{id}", tagDeliveries,
		"Read how far a replay or a backfill has got", "Once everything that it sent has ended, with its receipt."), s.getReplay)
	for _, verb := range []struct{ name, summary, description string }{
		{
			"pause", "Let a replay send nothing more for now",
			"What is pending goes out, " + strconv.Itoa(webhooks.ReplayAhead) + " deliveries at most. During a backfill, what happens waits as well.",
		},
		{"resume", "Let a paused replay go on", ""},
		{
			"cancel", "End a replay",
			"What is pending goes out, " + strconv.Itoa(webhooks.ReplayAhead) + " deliveries at most. A backfill that is cancelled " +
				"sends no more of the history: its endpoint is sent what happens from now on.",
		},
	} {
		register(s, withStatus(recordOperation(verb.name+"-replay", "/v1/replays/{id}/"+verb.name, verb.summary, verb.description),
			http.StatusOK), s.changeReplay(verb.name))
	}
}

// replayBody is what of the past is to be sent.
type replayBody struct {
	From         int64         `json:"from,omitempty" minimum:"1" doc:"Only events at this position or behind it."`
	To           int64         `json:"to,omitempty" minimum:"1" doc:"Only events at this position or before it. Defaults to the end of the log as it is now."`
	Since        string        `json:"since,omitempty" format:"date-time" doc:"Only what happened then or later."`
	Until        string        `json:"until,omitempty" format:"date-time" doc:"Only what happened before."`
	Events       []string      `json:"events,omitempty" doc:"Only these events: facts, groups of them (conversation.*), or the dialect's own names."`
	Conversation string        `json:"conversation,omitempty" doc:"Only this conversation: its id."`
	Only         webhooks.Only `json:"only,omitempty" enum:"failed,missing,all" doc:"failed: what was given up, that is parked, or cancelled because it had waited for too long; missing: what nothing is on record of, be it that it was never planned or that it is no longer kept; all: both, and what was delivered or cancelled by hand. Defaults to all."`
	Rate         int           `json:"rate,omitempty" minimum:"0" maximum:"10000" doc:"Deliveries a second; 0 is as fast as the endpoint takes them."`
	DryRun       bool          `json:"dry_run,omitempty" doc:"Send nothing, and say what would be sent."`
	Diff         bool          `json:"diff,omitempty" doc:"In a dry run, compare the bodies that would be sent with those that were accepted."`
	Cursor       string        `json:"cursor,omitempty" doc:"In a dry run, next of the one before, with the same selection."`
}

type replayInput struct {
	EndpointPath
	Body *replayBody
}

// selectionView is what of the past is meant.
type selectionView struct {
	From         int64         `json:"from,omitempty"`
	To           int64         `json:"to,omitempty"`
	Since        *time.Time    `json:"since,omitempty"`
	Until        *time.Time    `json:"until,omitempty"`
	Events       []string      `json:"events,omitempty"`
	Conversation string        `json:"conversation,omitempty"`
	Only         webhooks.Only `json:"only,omitempty" enum:"failed,missing,all"`
}

// receiptView is what came of a replay.
type receiptView struct {
	Delivered int64         `json:"delivered"`
	Parked    int64         `json:"parked"`
	Cancelled int64         `json:"cancelled"`
	Elsewhere int64         `json:"elsewhere" doc:"Deliveries that were sent again by somebody else meanwhile, or are no longer kept."`
	Bytes     int64         `json:"bytes" doc:"Of the bodies that were accepted."`
	First     *placeView    `json:"first,omitempty" doc:"The first event whose delivery is counted here."`
	Last      *placeView    `json:"last,omitempty"`
	Chain     string        `json:"chain" doc:"Proof of what was accepted. It begins as 32 zero bytes; for each delivered one, in order of position, then of name, it becomes the SHA-256 of itself, the webhook-id and the SHA-256 of the body. In hexadecimal."`
	Failures  []failureView `json:"failures" doc:"The first 100 deliveries that were not accepted."`
}

type placeView struct {
	Position int64     `json:"position"`
	Time     time.Time `json:"time"`
}

func newPlaceView(p webhooks.Place) *placeView {
	if p == (webhooks.Place{}) {
		return nil
	}
	return &placeView{p.Position, p.Time}
}

type failureView struct {
	DeliveryID string         `json:"delivery_id"`
	WebhookID  string         `json:"webhook_id"`
	Position   int64          `json:"position"`
	Event      string         `json:"event" doc:"The dialect's name of it."`
	State      webhooks.State `json:"state" enum:"parked,cancelled"`
	Reason     string         `json:"reason"`
}

// ReplayView is a replay or a backfill as its account sees it.
type ReplayView struct {
	ID         string               `json:"id" example:"rpl_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
	Kind       string               `json:"kind" enum:"replay,backfill" doc:"backfill: the history of an endpoint that begins in the past."`
	EndpointID string               `json:"endpoint_id"`
	State      webhooks.ReplayState `json:"state" enum:"running,paused,done,cancelled,failed"`
	Error      string               `json:"error,omitempty" doc:"Why it failed, or what keeps it from going on."`
	Selection  selectionView        `json:"selection"`
	Rate       int                  `json:"rate,omitempty" doc:"Deliveries a second."`
	Position   int64                `json:"position" doc:"How far in the log it has got."`
	To         int64                `json:"to,omitempty" doc:"Where it ends. Of a backfill, absent until it has gone over to what happens: what lies behind is sent as it happens."`
	Selected   int64                `json:"selected" doc:"Deliveries found so far that it is about."`
	SentAgain  int64                `json:"sent_again" doc:"Of them, made pending again."`
	Planned    int64                `json:"planned" doc:"Of them, planned for the first time."`
	Kept       int64                `json:"kept,omitempty" doc:"Of them, kept while the endpoint was disabled."`
	Left       int64                `json:"left" doc:"Of them, left as they are: they were pending already or, of a backfill, delivered."`
	Pending    *int64               `json:"pending,omitempty" doc:"On their way, where one replay is read that has not ended, as are the next three."`
	Delivered  *int64               `json:"delivered,omitempty"`
	Parked     *int64               `json:"parked,omitempty"`
	Cancelled  *int64               `json:"cancelled,omitempty"`
	CreatedAt  time.Time            `json:"created_at"`
	EndedAt    *time.Time           `json:"ended_at,omitempty"`
	Receipt    *receiptView         `json:"receipt,omitempty" doc:"Once everything that it sent has ended."`
}

func newSelectionView(sel *webhooks.ReplaySelection) selectionView {
	view := selectionView{
		From: sel.From, To: sel.To, Events: sel.Events, Conversation: sel.Conversation, Only: sel.Only,
	}
	if !sel.Since.IsZero() {
		view.Since = &sel.Since
	}
	if !sel.Until.IsZero() {
		view.Until = &sel.Until
	}
	return view
}

func newReplayView(r *webhooks.Replay) ReplayView {
	view := ReplayView{
		ID: r.ID, Kind: r.Kind, EndpointID: r.EndpointID, State: r.State, Error: r.Error,
		Selection: newSelectionView(&r.Selection), Rate: r.Rate, Position: r.Cursor.Position, To: r.To,
		Selected: r.Counts.Selected(), SentAgain: r.Counts.SentAgain, Planned: r.Counts.Planned, Kept: r.Counts.Kept, Left: r.Counts.Left,
		CreatedAt: r.CreatedAt, EndedAt: r.EndedAt,
	}
	if r.Phase != webhooks.PhaseNone {
		return view
	}
	view.Receipt = &receiptView{
		Delivered: r.Receipt.Delivered, Parked: r.Receipt.Parked, Cancelled: r.Receipt.Cancelled,
		Elsewhere: r.Counts.Fed() - r.Receipt.Ended(), Bytes: r.Receipt.Bytes,
		First: newPlaceView(r.Receipt.First), Last: newPlaceView(r.Receipt.Last), Chain: r.Receipt.Chain.String(),
		Failures: make([]failureView, len(r.Receipt.Failures)),
	}
	for i, f := range r.Receipt.Failures {
		view.Receipt.Failures[i] = failureView(f)
	}
	return view
}

// dryRunView is what a replay would send.
type dryRunView struct {
	DryRun    bool          `json:"dry_run"`
	Selection selectionView `json:"selection"`
	Complete  bool          `json:"complete" doc:"False if there was more than one request may look at: it goes on from next. What is counted is what lies before."`
	Next      string        `json:"next,omitempty" doc:"Send it as cursor, with the same selection, and add up."`
	Count     int64         `json:"count" doc:"Deliveries that would be sent."`
	Left      int64         `json:"left" doc:"Deliveries that are pending already, and would be left."`
	Bytes     int64         `json:"bytes" doc:"Of the bodies that would be sent, as they are made now."`
	Unmade    int64         `json:"unmade,omitempty" doc:"Deliveries whose bodies cannot be made."`
	First     *placeView    `json:"first,omitempty"`
	Last      *placeView    `json:"last,omitempty"`
	Seconds   *float64      `json:"estimated_seconds,omitempty" doc:"How long that would take. Absent if nothing tells."`
	Basis     string        `json:"estimated_from,omitempty" enum:"rate,rate_limit,recent" doc:"The rate asked for, the endpoint's limit, or how long its last attempts took."`
	Diff      *diffView     `json:"diff,omitempty"`
}

type diffView struct {
	Identical int64    `json:"identical" doc:"Bodies that are the same, byte for byte, as was accepted."`
	Different int64    `json:"different"`
	NeverSent int64    `json:"never_sent" doc:"Bodies of which nothing accepted is on record."`
	Examples  []string `json:"examples" doc:"The first 10 deliveries whose bodies are different."`
}

// replayAnswer is a replay or, of a dry run, what it would send.
type replayAnswer struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true if it was asked for before, and not again."`
	Location string `header:"Location" doc:"Path of the replay."`
	Body     any
}

// startedReplay is a replay that was asked for.
type startedReplay struct {
	ReplayView

	EndpointDisabled bool `json:"endpoint_disabled,omitempty" doc:"The endpoint is disabled: it begins when that is enabled."`
}

func replayPath(id string) string { return "/v1/replays/" + id }

func (s *Server) replay(ctx context.Context, in *replayInput) (*replayAnswer, error) {
	row, err := s.endpointRow(ctx, in.ID)
	if err == nil && row.Deleted {
		err = endpoint.NotRegistered
	}
	if err != nil {
		return nil, err
	}
	b, c := orZero(in.Body), callOf(ctx)
	r := webhooks.Replay{
		ID: "rpl_" + strings.ReplaceAll(newID(), "-", ""), Kind: webhooks.Again, EndpointID: row.ID, Account: c.account, Rate: b.Rate,
		State: webhooks.ReplayRunning, Phase: webhooks.PhaseFeed, CreatedAt: s.now(),
	}
	if c.key != nil {
		r.Key = c.key.Name
	}
	if err := s.checkEvents(&row, b.Events); err != nil {
		return nil, err
	}
	if err := s.aim(ctx, &r, &b); err != nil {
		return nil, err
	}
	if b.DryRun {
		return s.dryRun(ctx, r, &b)
	}
	again, err := s.once(ctx, func() error {
		kept, added, err := s.cfg.Models.AddReplay(ctx, r)
		if err != nil || added {
			return err
		}
		p := newProblem(http.StatusConflict, "replay.running",
			"the "+kept.Kind+" "+kept.ID+" of the endpoint has not ended; wait for its end, or cancel it")
		p.header("Location", replayPath(kept.ID))
		return p
	})
	if err != nil {
		return nil, err
	}
	if again {
		var found bool
		if r, found, err = s.cfg.Models.ReplayByKey(ctx, c.account, c.key.Name); err == nil && !found {
			err = replayUnknown
		}
		if err != nil {
			return nil, err
		}
	} else {
		s.cfg.Replays.Ring()
	}
	out := changed(again, startedReplay{newReplayView(&r), row.Disabled})
	return &replayAnswer{Status: http.StatusCreated, Replayed: out.Replayed, Location: replayPath(r.ID), Body: out.Body}, nil
}

// aim sets what a replay is about, and where in the log that begins and ends.
func (s *Server) aim(ctx context.Context, r *webhooks.Replay, b *replayBody) error {
	var times webhooks.Selection
	if err := spanOf(&times, "since", b.Since, "until", b.Until); err != nil {
		return err
	}
	head, err := s.cfg.Log.Head(ctx)
	if err != nil {
		return err
	}
	wrong := func(field, rule string) error { return &domain.FieldError{Field: field, Rule: rule} }
	switch {
	case b.From > head:
		return wrong("from", "must be in the log, which ends at "+strconv.FormatInt(head, 10))
	case b.To > 0 && b.To < b.From:
		return wrong("to", "must not be before from")
	case b.Since != "" && b.Until != "" && !times.From.Before(times.To):
		return wrong("until", "must be after since")
	case !b.DryRun && b.Diff:
		return wrong("diff", "is for a dry run; send dry_run with it")
	case !b.DryRun && b.Cursor != "":
		return wrong("cursor", "is for a dry run; send dry_run with it")
	}
	if b.Conversation != "" {
		_, version, err := s.cfg.Conversations.State(ctx, r.Account, b.Conversation)
		if err != nil {
			return err
		}
		if version == 0 {
			return conversation.NotCreated
		}
	}
	r.Selection = webhooks.ReplaySelection{
		From: b.From, To: b.To, Since: times.From, Until: times.To, Events: b.Events, Conversation: b.Conversation, Only: b.Only,
	}
	if r.Selection.Only == "" {
		r.Selection.Only = webhooks.OnlyAll
	}
	r.Begun, r.To = head, head
	if b.To > 0 {
		r.To = min(b.To, head)
	}
	from := max(b.From, 1)
	if b.Since != "" {
		first, err := s.cfg.Models.FirstAt(ctx, times.From)
		if err != nil {
			return err
		}
		from = max(from, first)
	}
	r.Cursor = webhooks.Mark{Position: from - 1}
	if b.Cursor == "" {
		return nil
	}
	at, err := parseCursor(listReplayed, b.Cursor)
	if err != nil {
		return err
	}
	if next := (webhooks.Mark{Position: at.Position, Name: at.Name}); next.Compare(r.Cursor) > 0 {
		r.Cursor = next
	}
	return nil
}

func (s *Server) dryRun(ctx context.Context, r webhooks.Replay, b *replayBody) (*replayAnswer, error) {
	would, err := s.cfg.Replays.DryRun(ctx, r, b.Diff)
	if err != nil {
		return nil, err
	}
	view := dryRunView{
		DryRun: true, Selection: newSelectionView(&r.Selection), Complete: would.Next == nil,
		Count: would.Count, Left: would.Left, Bytes: would.Bytes, Unmade: would.Unmade,
		First: newPlaceView(would.First), Last: newPlaceView(would.Last), Basis: would.Basis,
	}
	if would.Next != nil {
		view.Next = cursor{List: listReplayed, Position: would.Next.Position, Name: would.Next.Name}.String()
	}
	if would.Basis != "" {
		seconds := would.Estimated.Seconds()
		view.Seconds = &seconds
	}
	if d := would.Diff; d != nil {
		view.Diff = &diffView{d.Identical, d.Different, d.NeverSent, append([]string{}, d.Examples...)}
	}
	return &replayAnswer{Status: http.StatusOK, Body: view}, nil
}

type listReplaysInput struct {
	EndpointPath
	Cursor string `query:"cursor" doc:"page.next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

func (s *Server) listReplays(ctx context.Context, in *listReplaysInput) (*listAnswer[ReplayView], error) {
	from, err := parseCursor(listReplays, in.Cursor)
	if err != nil {
		return nil, err
	}
	row, err := s.endpointRow(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	rs, err := s.cfg.Models.Replays(ctx, row.Account.ID, row.ID, from.Name, in.Limit+1)
	if err != nil {
		return nil, err
	}
	views := make([]ReplayView, len(rs))
	for i := range rs {
		views[i] = newReplayView(&rs[i])
	}
	return newList(views, in.Limit, func(last ReplayView) cursor { return cursor{List: listReplays, Name: last.ID} }), nil
}

type pathReplay struct {
	ID string `path:"id" doc:"Id of the replay." example:"rpl_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
}

// replayOf returns a replay of the account.
func (s *Server) replayOf(ctx context.Context, id string) (webhooks.Replay, error) {
	r, found, err := s.cfg.Models.Replay(ctx, id)
	if err == nil && (!found || r.Account != callOf(ctx).account) {
		err = replayUnknown
	}
	return r, err
}

// replayNow returns a replay as it is now, with what has become of its deliveries.
func (s *Server) replayNow(ctx context.Context, id string) (ReplayView, error) {
	r, err := s.replayOf(ctx, id)
	if err != nil {
		return ReplayView{}, err
	}
	view := newReplayView(&r)
	if view.Receipt != nil {
		return view, nil
	}
	progress, err := s.cfg.Models.ReplayProgress(ctx, id)
	if err != nil {
		return view, err
	}
	count := func(state webhooks.State) *int64 { n := progress[state]; return &n }
	view.Pending, view.Delivered = count(webhooks.Pending), count(webhooks.Delivered)
	view.Parked, view.Cancelled = count(webhooks.Parked), count(webhooks.Cancelled)
	return view, nil
}

type replayShown struct{ Body ReplayView }

func (s *Server) getReplay(ctx context.Context, in *pathReplay) (*replayShown, error) {
	if err := s.settle(ctx); err != nil { // a backfill is there once its endpoint is projected
		return nil, err
	}
	view, err := s.replayNow(ctx, in.ID)
	return &replayShown{view}, err
}

// changeReplay pauses, resumes or cancels.
func (s *Server) changeReplay(verb string) func(context.Context, *pathReplay) (*recordChanged[ReplayView], error) {
	return func(ctx context.Context, in *pathReplay) (*recordChanged[ReplayView], error) {
		if err := s.settle(ctx); err != nil {
			return nil, err
		}
		r, err := s.replayOf(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		again, err := s.once(ctx, func() error {
			var done bool
			var err error
			code, wanted := "replay.not_paused", "one that is paused can be resumed"
			switch verb {
			case "pause":
				code, wanted = "replay.not_sending", "one that runs and has not sent everything can be paused"
				done, err = s.cfg.Models.PauseReplay(ctx, r.ID)
			case "cancel":
				code, wanted = "replay.ended", "one that runs or is paused can be cancelled"
				done, err = s.cfg.Models.CancelReplay(ctx, r.ID, s.now())
			default:
				done, err = s.cfg.Models.ResumeReplay(ctx, r.ID)
			}
			if err != nil || done {
				return err
			}
			if r, err = s.replayOf(ctx, in.ID); err != nil {
				return err
			}
			return newProblem(http.StatusConflict, code, "the "+r.Kind+" is "+string(r.State)+"; only "+wanted)
		})
		if err != nil {
			return nil, err
		}
		if !again {
			s.cfg.Replays.Ring()
		}
		view, err := s.replayNow(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return changed(again, view), nil
	}
}

const (
	startNow       = "now"
	startBeginning = "beginning"
	startPosition  = "position:"
)

// startOf returns where an endpoint begins, nil if that is where it is said.
func (s *Server) startOf(ctx context.Context, start string, rate int) (*endpoint.Start, error) {
	wrong := func(rule string) error { return &domain.FieldError{Field: "start", Rule: rule} }
	switch {
	case start == "" && rate != 0:
		return nil, &domain.FieldError{Field: "start_rate", Rule: "is for a start in the past; send start with it"}
	case start == "":
		return nil, nil //nolint:nilnil // nothing is said
	case start == startNow:
		return &endpoint.Start{}, nil
	case start == startBeginning:
		return &endpoint.Start{From: 1, Rate: rate}, nil
	}
	if digits, ok := strings.CutPrefix(start, startPosition); ok {
		head, err := s.cfg.Log.Head(ctx)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 1 || n > head+1 {
			return nil, wrong("must name a position from 1 to " + strconv.FormatInt(head+1, 10) + ", which is behind the end of the log")
		}
		return &endpoint.Start{From: n, Rate: rate}, nil
	}
	at, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return nil, wrong(`must be "now", "beginning", "position:N" or a time such as 2026-03-01T12:00:00Z`)
	}
	if at.After(s.now()) {
		return nil, wrong("must not be in the future")
	}
	first, err := s.cfg.Models.FirstAt(ctx, at)
	return &endpoint.Start{From: first, Rate: rate}, err
}
