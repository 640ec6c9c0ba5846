package httpapi_test

import (
	"strings"
	"testing"

	"verbatim/webhooks"
)

// erase takes the eraser to the end of what it has to do.
func (h *house) erase() {
	h.t.Helper()
	for {
		worked, wait, err := h.eraser.Step(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if !worked && wait == webhooks.Forever {
			return
		}
	}
}

func TestErasingAContact(t *testing.T) {
	t.Parallel()
	h := open(t)
	conv := h.conversation()
	h.do("POST", conv+"/messages", object{"text": "Winter is coming"}).is(201)
	const erase = "/v1/contacts/visitor-1/erase"

	h.do("POST", "/v1/contacts/nobody/erase", object{}).fails(404, "contact.not_found")
	h.do("POST", erase, object{}, header("Authorization", "Bearer "+h.other)).fails(404, "contact.not_found")
	h.do("POST", erase, object{}, header("If-Match", `"7"`)).fails(412, "version_mismatch")
	h.do("POST", erase, object{"by": object{"id": strings.Repeat("x", 200)}}).fails(422, "invalid_field")
	h.do("POST", erase, object{"dry_run": true}).is(200).
		has("events", 3, "conversations", 1, "dry_run", true, "id", nil, "state", nil, "created_at", nil, "contact", webhooks.AsUUID("visitor-1"))
	if got := h.do("GET", "/v1/contacts/visitor-1", nil).is(200).text("name"); got != "Jon Snow" {
		t.Errorf("after a dry run they are called %q", got)
	}

	// Of two who ask at a time, both are told of the one.
	first := h.do("POST", erase, object{"by": jon}, header("Idempotency-Key", "once")).is(202).has("state", "running")
	path := first.header.Get("Location")
	if h.do("POST", erase, nil).is(202).text("id") != first.text("id") {
		t.Error("two erasures run")
	}
	h.do("GET", path, nil, header("Authorization", "Bearer "+h.other)).fails(404, "erasure.not_found")
	h.do("GET", "/v1/erasures/x", nil).fails(404, "erasure.not_found")
	h.erase()
	h.do("GET", path, nil).is(200).has("state", "done", "events", 3, "conversations", 1)
	again := h.do("POST", erase, object{"by": jon}, header("Idempotency-Key", "once")).is(202).has("id", first.text("id"), "state", "done")
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("it is not said that it was asked for before")
	}

	// What is left, under the id that everybody knows them by.
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).
		has("id", webhooks.AsUUID("visitor-1"), "erased", true, "name", nil, "email", nil)
	h.do("GET", conv, nil).is(200).has("customer.name", "Deleted user", "customer.email", nil)
	m := h.do("GET", conv+"/messages", nil).is(200).has("data.0.text", "", "data.0.author.name", "Deleted user")
	if m.text("data.0.deleted_at") == "" {
		t.Error("the message is no tombstone")
	}
	h.settled()
	if list := h.do("GET", "/v1/conversations", nil).is(200); strings.Contains(string(list.body), "Winter") || strings.Contains(string(list.body), "Jon") {
		t.Errorf("the list has %s", list.body)
	}
	// Who asked was the person: they do not come back with that.
	events := h.do("GET", "/v1/events", nil).is(200)
	if strings.Contains(string(events.body), "Jon") || strings.Contains(string(events.body), "visitor-1") {
		t.Errorf("the log has %s", events.body)
	}

	// The conversation goes on, and a new one is welcome; the contact stays erased.
	h.do("POST", conv+"/messages", object{"text": "Hello?"}).is(201)
	h.do("PATCH", conv+"/customer", object{"name": "Jon"}).is(200).has("customer.name", "Jon")
	h.do("POST", "/v1/conversations", object{"customer": jon}).is(201).has("customer.name", "Jon Snow", "customer.id", "visitor-1")
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(2).has("name", nil)
	h.do("PATCH", "/v1/contacts/visitor-1", object{"name": "Jon"}).fails(410, "contact.erased")
	h.do("POST", "/v1/widget/triggered", object{"contact": jon}).fails(410, "contact.erased")
	h.do("POST", "/v1/contacts", object{"id": "visitor-1"}).fails(409, "contact.already_exists")
	h.do("POST", erase, nil).is(202)
	h.erase()
	h.do("GET", "/v1/contacts/visitor-1", nil).is(200).version(3).has("erased", true)
}
