package httpapi_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

func TestOperatorManagesKeys(t *testing.T) {
	t.Parallel()
	h := open(t)
	admin := as(adminKey)
	made := h.do("POST", "/v1/keys", object{"account": "acme", "account_name": "Acme", "name": "website"}, admin).is(201).
		has("account", "acme", "name", "website", "revoked_at", nil)
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(made.text("key"))).is(201).
		has("account.id", "acme", "account.name", "Acme", "account.number", 3)
	h.do("GET", "/v1/keys", nil, admin).is(200).has("data.2.id", made.text("id"), "data.2.key", nil, "data.2.hash", nil, "data.3", nil)
	h.do("DELETE", "/v1/keys/"+made.text("id"), nil, admin).is(204)
	h.do("GET", "/v1/conversations", nil, as(made.text("key"))).fails(401, "revoked_key")
	h.do("DELETE", "/v1/keys/"+made.text("id"), nil, admin).fails(404, "key.not_found")
	h.do("POST", "/v1/keys", object{}, admin, header("Verbatim-Account", "acme")).is(201).has("account", "acme")
	h.do("POST", "/v1/keys", object{}, admin).is(201).has("account", "default")
	h.do("POST", "/v1/keys", object{"account": "no such name"}, admin).fails(422, "invalid_field").at("body.account")
}

func TestOperatorSeesProjections(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.settled()
	h.do("GET", "/v1/projections", nil, as(adminKey)).is(200).has("head", 2, "projections.0.name", "inbox", "projections.0.position", 2,
		"projections.0.lag_events", 0, "projections.0.lag_seconds", 0, "projections.0.parked", 0, "projections.0.last_error", nil,
		"projections.3.name", "webhooks", "projections.4", nil, "parked", "[]")
	h.do("POST", "/v1/projections/retry", object{}, as(adminKey)).is(202).has("streams", 0)
}

func TestKeysAreNoOperators(t *testing.T) {
	t.Parallel()
	h := open(t)
	head := h.head()
	for _, r := range []*reply{
		h.do("GET", "/v1/keys", nil),
		h.do("POST", "/v1/keys", object{}),
		h.do("DELETE", "/v1/keys/"+h.keyID, nil),
		h.do("GET", "/v1/projections", nil),
		h.do("POST", "/v1/projections/retry", object{}),
		h.do("POST", "/v1/projections/inbox/rebuild", nil),
		h.do("DELETE", "/v1/projections/inbox/rebuild", nil),
	} {
		r.fails(403, "operator_only")
	}
	h.do("GET", "/v1/conversations", nil).is(200)
	if h.head() != head {
		t.Error("the log moved")
	}
}

// TestOperatorSeesWhatIsBehind: how far a projection is behind, for how long, and
// what went wrong.
func TestOperatorSeesWhatIsBehind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	h := open(t, func(cfg *httpapi.Config) { cfg.Clock = func() time.Time { return now } })
	if _, err := h.store.Append(t.Context(), eventstore.Commit{Account: "default", Appends: []eventstore.Append{{
		Stream: "conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01",
		Events: []eventstore.Draft{{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: now.Add(-time.Hour), Data: []byte("{}")}},
	}}}); err != nil {
		t.Fatal(err)
	}
	h.settled()
	h.do("GET", "/v1/projections", nil, as(adminKey)).is(200).has("projections.1.name", "typing", "projections.1.parked", 1,
		"projections.1.last_error.position", 1, "projections.1.last_error.stream", "conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01").
		mentions("unheard_of")
	h.projecting.Lock()
	defer h.projecting.Unlock()
	if _, err := h.store.Append(t.Context(), eventstore.Commit{Account: "default", Appends: []eventstore.Append{{
		Stream: "conversation-01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a02",
		Events: []eventstore.Draft{
			{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: now.Add(-90 * time.Second), Data: []byte("{}")},
			{ID: uuid.New(), Type: "conversation.unheard_of", Schema: 1, Time: now, Data: []byte("{}")},
		},
	}}}); err != nil {
		t.Fatal(err)
	}
	h.do("GET", "/v1/projections", nil, as(adminKey)).is(200).has("projections.0.lag_events", 2, "projections.0.lag_seconds", 90)
}

func TestOperatorRebuilds(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.settled()
	admin := as(adminKey)
	h.do("POST", "/v1/projections/inbox/rebuild", nil, admin).is(202).has("projection", "inbox", "state", "waiting")
	h.do("POST", "/v1/projections/inbox/rebuild", nil, admin).fails(409, "projection.rebuilding")
	h.do("POST", "/v1/projections/webhooks/rebuild", nil, admin).fails(409, "projection.no_read_model").mentions("verify")
	h.do("POST", "/v1/projections/outbox/rebuild", nil, admin).fails(404, "projection.not_found")
	for wait := time.Duration(0); wait != webhooks.Forever; {
		var err error
		if _, wait, err = h.rebuilder.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.do("GET", "/v1/projections", nil, admin).is(200).has("projections.0.rebuild.state", "done", "projections.0.rebuild.events", 2,
		"projections.0.rebuild.rows", 1, "projections.0.rebuild.differences.changed", 0, "projections.1.rebuild", nil)
	h.do("GET", "/v1/conversations", nil).is(200).has("data.0.customer.name", jon["name"])
	h.do("DELETE", "/v1/projections/inbox/rebuild", nil, admin).fails(409, "projection.not_rebuilding").mentions("is done")
	h.do("DELETE", "/v1/projections/typing/rebuild", nil, admin).fails(409, "projection.not_rebuilding").mentions("never was")
	h.do("DELETE", "/v1/projections/webhooks/rebuild", nil, admin).fails(409, "projection.not_rebuilding")
	h.do("DELETE", "/v1/projections/outbox/rebuild", nil, admin).fails(404, "projection.not_found")
	h.do("POST", "/v1/projections/inbox/rebuild", nil, admin).is(202)
	h.do("DELETE", "/v1/projections/inbox/rebuild", nil, admin).is(200).has("projection", "inbox", "state", "cancelled")
	h.do("DELETE", "/v1/projections/inbox/rebuild", nil, admin).fails(409, "projection.not_rebuilding").mentions("is cancelled")
	h.do("GET", "/v1/projections", nil, admin).is(200).has("projections.0.rebuild.state", "cancelled")
	h.do("POST", "/v1/projections/inbox/rebuild", nil, admin).is(202)
}
