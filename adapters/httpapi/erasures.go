package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"verbatim/domain"
	"verbatim/domain/contact"
	"verbatim/eventstore"
	"verbatim/projections"
	"verbatim/webhooks"
)

// Eraser takes people out of the log; *projections.Eraser is one.
type Eraser interface {
	// Count says what an erasure would be about, and changes nothing.
	Count(ctx context.Context, e *projections.Erasure) (projections.ErasureCounts, error)
	// Ring says that there is a new erasure.
	Ring()
	// Carry is for whoever writes into one stream what it has read of another.
	Carry() (release func())
}

// erasureUnknown is the code for an erasure that is not there.
const erasureUnknown domain.Refusal = "erasure.not_found"

func (s *Server) erasureRoutes() {
	register(s, withStatus(operation(http.MethodPost, "erase-contact", "/v1/contacts/{id}/erase", tagContacts,
		"Erase a person",
		"For good: what they wrote, and all that is known of them, is overwritten wherever it stands, in conversations too; what others "+
			"wrote stays. It is done in the background. The body may be empty. A person who came back can be erased again. With dry_run "+
			"nothing is done: the answer, with status 200, counts what there is."),
		http.StatusAccepted), s.eraseContact)
	register(s, operation(http.MethodGet, "get-erasure", "/v1/erasures/{id}", tagContacts, "Read how far an erasure has got", ""), s.getErasure)
}

// ErasureView is an erasure as its account sees it.
type ErasureView struct {
	ID            string                   `json:"id,omitempty" doc:"Absent in a dry run." example:"ers_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
	Contact       string                   `json:"contact" doc:"The id under which the person stays: a UUID."`
	State         projections.ErasureState `json:"state,omitempty" enum:"running,done,failed" doc:"Done is what is in no file any more, but for copies that others made. Absent in a dry run."`
	Error         string                   `json:"error,omitempty" doc:"Why it failed, or cannot go on just now."`
	Events        int64                    `json:"events" doc:"That were overwritten, so far."`
	Conversations int64                    `json:"conversations" doc:"With such events. Known at the end."`
	Deliveries    int64                    `json:"deliveries" doc:"Of those conversations and of the contact: receivers may have been sent what was erased. Known at the end."`
	Snapshots     int64                    `json:"snapshots" doc:"That were thrown away, so far."`
	DryRun        bool                     `json:"dry_run,omitempty"`
	CreatedAt     *time.Time               `json:"created_at,omitempty"`
	EndedAt       *time.Time               `json:"ended_at,omitempty"`
}

func newErasureView(e *projections.Erasure) ErasureView {
	return ErasureView{
		ID: e.ID, Contact: e.PersonID, State: e.State, Error: e.Error, Events: e.Events, Conversations: e.Conversations,
		Deliveries: e.Deliveries, Snapshots: e.Snapshots, CreatedAt: &e.CreatedAt, EndedAt: e.EndedAt,
	}
}

type eraseBody struct {
	By     *personInput `json:"by,omitempty" doc:"Who asks; defaults to the holder of the key. It stays in the log."`
	DryRun bool         `json:"dry_run,omitempty" doc:"Count what there is, and do nothing. It reads the whole log: a second or two for a million events."`
}

type eraseInput struct {
	ContactPath
	Body *eraseBody
}

type erasureStarted struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true if it was asked for before, and not again."`
	Location string `header:"Location" doc:"Path of the erasure."`
	Body     ErasureView
}

func (s *Server) eraseContact(ctx context.Context, in *eraseInput) (*erasureStarted, error) {
	c, b := callOf(ctx), orZero(in.Body)
	id, version, err := s.findContact(ctx, c.account, in.ID)
	if err == nil && version == 0 {
		err = contact.NotCreated
	}
	if err == nil && c.ifVersion != nil && *c.ifVersion != version {
		err = &eventstore.VersionError{Wanted: *c.ifVersion, Actual: version}
	}
	if err != nil {
		return nil, err
	}
	// A log that was moved in may have a contact in a stream that is not named
	// after them.
	state, _, err := s.cfg.Contacts.State(ctx, c.account, id)
	if err != nil {
		return nil, err
	}
	e := projections.Erasure{
		ID: "ers_" + strings.ReplaceAll(newID(), "-", ""), Account: c.account, ContactID: id, PersonID: webhooks.AsUUID(state.Profile.ID),
		By: byOr(b.By, c), Metadata: c.meta, State: projections.ErasureRunning, CreatedAt: s.now(),
	}
	e.By, _ = e.Removal().Person(e.By) // what is erased must not come back with who asked
	if _, err := contact.Decide(contact.State{Known: true}, contact.Erase{By: e.By}, s.cfg.Clock()); err != nil {
		return nil, err
	}
	if b.DryRun {
		e.ErasureCounts, err = s.cfg.Eraser.Count(ctx, &e)
		view := newErasureView(&e)
		view.ID, view.State, view.CreatedAt, view.DryRun = "", "", nil, true
		return &erasureStarted{Status: http.StatusOK, Body: view}, err
	}
	if c.key != nil {
		e.Key = c.key.Name
	}
	again, err := s.once(ctx, func() (err error) {
		e, _, err = s.cfg.Models.AddErasure(ctx, e) // of two at a time, one does for both
		return err
	})
	if err == nil && again {
		var found bool
		if e, found, err = s.cfg.Models.ErasureByKey(ctx, c.account, c.key.Name); err == nil && !found {
			err = erasureUnknown // it was the one that ran already
		}
	}
	if err != nil {
		return nil, err
	}
	s.cfg.Eraser.Ring()
	out := changed(again, newErasureView(&e))
	return &erasureStarted{http.StatusAccepted, out.Replayed, "/v1/erasures/" + e.ID, out.Body}, nil
}

type erasurePath struct {
	ID string `path:"id" doc:"Id of the erasure." example:"ers_01931b3e7c1f7d2a9d5e0a6f3c2b1a00"`
}

type erasureAnswer struct{ Body ErasureView }

func (s *Server) getErasure(ctx context.Context, in *erasurePath) (*erasureAnswer, error) {
	e, found, err := s.cfg.Models.Erasure(ctx, in.ID)
	if err == nil && (!found || e.Account != callOf(ctx).account) {
		err = erasureUnknown
	}
	return &erasureAnswer{newErasureView(&e)}, err
}
