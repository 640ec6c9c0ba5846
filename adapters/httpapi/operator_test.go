package httpapi_test

import "testing"

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
	h.do("POST", "/v1/keys", object{"account": "no such name"}, admin).fails(422, "invalid_field").at("body.account")
}

func TestOperatorSeesProjections(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.settled()
	h.do("GET", "/v1/projections", nil, as(adminKey)).is(200).has("head", 2, "projections.inbox", 2, "parked", "[]")
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
	} {
		r.fails(403, "operator_only")
	}
	h.do("GET", "/v1/conversations", nil).is(200)
	if h.head() != head {
		t.Error("the log moved")
	}
}
