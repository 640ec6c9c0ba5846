package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
)

// Bad input gets a clear problem, and the log is as it was.
//
//nolint:tparallel // each row looks whether it was the one that moved the log
func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	closed, another := h.conversation(), h.conversation()
	h.do("POST", closed+"/close", nil).is(200)
	foreign := "/v1/conversations/" + h.do("POST", "/v1/conversations", object{"customer": jon}, as(h.other)).is(201).text("id")
	message := h.do("POST", c+"/messages", object{"text": "Hi"}, idempotent("used")).is(201).text("id")
	ep := "/v1/endpoints/" + h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "closer"}).is(201).text("id")
	foreignEndpoint := "/v1/endpoints/" + h.do("POST", "/v1/endpoints",
		object{"url": "https://example.com/", "dialect": "closer"}, as(h.other)).is(201).text("id")
	revoked, revokedID := h.newKey("default", "")
	if _, err := h.store.RevokeKey(t.Context(), revokedID, time.Now()); err != nil {
		t.Fatal(err)
	}
	const unknown = "/v1/conversations/01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"
	const unknownEndpoint = "/v1/endpoints/01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a00"
	hook := func(changes object) object {
		body := object{"url": "https://example.com/", "dialect": "verbatim"}
		maps.Copy(body, changes)
		return body
	}
	long := strings.Repeat("x", 300)
	id := func(path string) string { return strings.TrimPrefix(path, "/v1/conversations/") }
	const widget, preview = "/v1/widget/triggered", "/v1/dialects/closer/preview"
	huge := object{"a": strings.Repeat("x", 70_000)}
	h.do("POST", "/v1/contacts", object{"id": "theirs"}, as(h.other)).is(201)

	type fault struct {
		name, method, path string
		body               any
		status             int
		code, location     string
		options            []option
	}
	faults := []fault{
		{name: "malformed JSON", method: "POST", path: c + "/messages", body: `{"text": "Hi"`, status: 400, code: "malformed_json"},
		{name: "two values", method: "POST", path: c + "/messages", body: `{"text": "Hi"} {}`, status: 400, code: "malformed_json"},
		{name: "no body", method: "POST", path: c + "/messages", status: 400, code: "malformed_json"},
		{name: "not an object", method: "POST", path: c + "/messages", body: `[]`, status: 422, code: "invalid_field", location: "body"},
		{name: "null", method: "POST", path: c + "/messages", body: `null`, status: 422, code: "invalid_field", location: "body"},
		{name: "unknown field", method: "POST", path: c + "/messages", body: object{"text": "Hi", "txt": 1}, status: 422, code: "unknown_field", location: "body.txt"},
		{name: "unknown field inside", method: "POST", path: c + "/messages", body: object{"text": "Hi", "author": object{"nme": 1}}, status: 422, code: "unknown_field", location: "body.author.nme"},
		{name: "unknown field in a list", method: "POST", path: c + "/messages", body: object{"attachments": []object{{"url": "u", "uri": "u"}}}, status: 422, code: "unknown_field", location: "body.attachments[0].uri"},
		{name: "unknown field of a patch", method: "PATCH", path: c, body: object{"team": object{"id": "x", "nme": "y"}}, status: 422, code: "unknown_field", location: "body.team.nme"},
		{name: "field in another case", method: "POST", path: c + "/messages", body: object{"text": "Hi", "Text": "Ho"}, status: 422, code: "unknown_field", location: "body.Text"},
		{name: "wrong type", method: "POST", path: c + "/messages", body: object{"text": 5}, status: 422, code: "invalid_field", location: "body.text"},
		{name: "wrong type of attributes", method: "POST", path: c + "/messages", body: object{"text": "Hi", "attributes": "x"}, status: 422, code: "invalid_field", location: "body.attributes"},
		{name: "number out of range", method: "PUT", path: c + "/read", body: `{"by":{},"up_to":9223372036854775808}`, status: 422, code: "invalid_field", location: "body"},
		{name: "fraction for a version", method: "PUT", path: c + "/read", body: object{"by": object{}, "up_to": 1.5}, status: 422, code: "invalid_field", location: "body.up_to"},
		{name: "too large", method: "POST", path: c + "/messages", body: `{"text":"` + strings.Repeat("x", httpapi.MaxBody) + `"}`, status: 413, code: "body_too_large"},
		{name: "text too long", method: "POST", path: c + "/messages", body: object{"text": strings.Repeat("x", 150_001)}, status: 422, code: "invalid_field", location: "body.text"},
		{name: "invalid UTF-8", method: "POST", path: c + "/messages", body: "{\"text\":\"\xff\"}", status: 400, code: "invalid_utf8"},
		{name: "form instead of JSON", method: "POST", path: c + "/messages", body: "text=Hi", status: 415, code: "unsupported_media_type", options: []option{header("Content-Type", "application/x-www-form-urlencoded")}},
		{name: "patch where none is", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 415, code: "unsupported_media_type", options: []option{header("Content-Type", "application/merge-patch+json")}},
		{name: "malformed media type", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 415, code: "unsupported_media_type", options: []option{header("Content-Type", ";;")}},
		{name: "compressed", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 415, code: "unsupported_media_type", options: []option{header("Content-Encoding", "gzip")}},

		{name: "message without a text", method: "POST", path: c + "/messages", body: object{}, status: 422, code: "invalid_field", location: "body.text"},
		{name: "role", method: "POST", path: c + "/messages", body: object{"text": "Hi", "author": object{"role": "king"}}, status: 422, code: "invalid_field", location: "body.author.role"},
		{name: "attachment without a URL", method: "POST", path: c + "/messages", body: object{"attachments": []object{{"name": "a"}}}, status: 422, code: "invalid_field", location: "body.attachments[0].url"},
		{name: "status", method: "PUT", path: c + "/status", body: object{"status": "gone"}, status: 422, code: "invalid_field", location: "body.status"},
		{name: "status closed", method: "PUT", path: c + "/status", body: object{"status": "closed"}, status: 422, code: "invalid_field", location: "body.status"},
		{name: "status missing", method: "PUT", path: c + "/status", body: object{}, status: 422, code: "invalid_field", location: "body.status"},
		{name: "status as it is", method: "PUT", path: c + "/status", body: object{"status": "open"}, status: 409, code: "conversation.status_unchanged"},
		{name: "snoozed until yesterday", method: "PUT", path: c + "/status", body: object{"status": "snoozed", "snoozed_until": "2019-06-14T08:07:44Z"}, status: 422, code: "invalid_field", location: "body.snoozed_until"},
		{name: "no time", method: "PUT", path: c + "/status", body: object{"status": "snoozed", "snoozed_until": "tomorrow"}, status: 422, code: "invalid_field", location: "body.snoozed_until"},
		{name: "agent missing", method: "PUT", path: c + "/assignee", body: object{}, status: 422, code: "invalid_field", location: "body.agent"},
		{name: "agent who is a customer", method: "PUT", path: c + "/assignee", body: object{"agent": object{"role": "customer"}}, status: 422, code: "invalid_field", location: "body.agent.role"},
		{name: "typing state", method: "PUT", path: c + "/typing", body: object{"state": "maybe"}, status: 422, code: "invalid_field", location: "body.state"},
		{name: "typing for an hour", method: "PUT", path: c + "/typing", body: object{"state": "on", "ttl": 3600}, status: 422, code: "invalid_field", location: "body.ttl"},
		{name: "typing by the system", method: "PUT", path: c + "/typing", body: object{"state": "on", "author": object{"role": "system"}}, status: 422, code: "invalid_field", location: "body.author.role"},
		{name: "read ahead", method: "PUT", path: c + "/read", body: object{"by": object{}, "up_to": 100}, status: 409, code: "conversation.read_ahead"},
		{name: "read by nobody", method: "PUT", path: c + "/read", body: object{"up_to": 1}, status: 422, code: "invalid_field", location: "body.by"},
		{name: "read by the system", method: "PUT", path: c + "/read", body: object{"by": object{"role": "system"}, "up_to": 1}, status: 422, code: "invalid_field", location: "body.by.role"},
		{name: "read up to nothing", method: "PUT", path: c + "/read", body: object{"by": object{}, "up_to": 0}, status: 422, code: "invalid_field", location: "body.up_to"},
		{name: "read, up to where", method: "PUT", path: c + "/read", body: object{"by": object{}}, status: 422, code: "invalid_field", location: "body.up_to"},
		{name: "played by nobody", method: "POST", path: c + "/messages/" + message + "/played", body: object{}, status: 422, code: "invalid_field", location: "body.by"},
		{name: "who played", method: "POST", path: c + "/messages/" + message + "/played", body: object{"by": object{"id": long}}, status: 422, code: "invalid_field", location: "body.by.id"},
		{name: "played, but what", method: "POST", path: c + "/messages/x/played", body: object{"by": object{}}, status: 404, code: "conversation.message_not_found"},
		{name: "played in another conversation", method: "POST", path: another + "/messages/" + message + "/played", body: object{"by": object{}}, status: 404, code: "conversation.message_not_found"},
		{name: "activity without a kind", method: "POST", path: c + "/activities", body: object{}, status: 422, code: "invalid_field", location: "body.kind"},
		{name: "activity's data", method: "POST", path: c + "/activities", body: object{"kind": "task_completed", "data": huge}, status: 422, code: "invalid_field", location: "body.data"},
		{name: "activity's data no object", method: "POST", path: c + "/activities", body: object{"kind": "task_completed", "data": []int{1}}, status: 422, code: "invalid_field", location: "body.data"},
		{name: "who acted", method: "POST", path: c + "/activities", body: object{"kind": "task_completed", "by": object{"email": long}}, status: 422, code: "invalid_field", location: "body.by.email"},
		{name: "activity", method: "POST", path: c + "/activities", body: object{"kind": "war"}, status: 422, code: "invalid_field", location: "body.kind"},
		{name: "customer missing", method: "POST", path: "/v1/conversations", body: object{}, status: 422, code: "invalid_field", location: "body.customer"},
		{name: "customer who is an agent", method: "POST", path: "/v1/conversations", body: object{"customer": object{"role": "agent"}}, status: 422, code: "invalid_field", location: "body.customer.role"},
		{name: "first message without a text", method: "POST", path: "/v1/conversations", body: object{"customer": object{}, "message": object{}}, status: 422, code: "invalid_field", location: "body.message.text"},
		{name: "customer's e-mail", method: "PATCH", path: c + "/customer", body: object{"email": long}, status: 422, code: "invalid_field", location: "body.email"},
		{name: "who deletes", method: "DELETE", path: c + "/messages/" + message + "?by=" + long, status: 422, code: "invalid_field", location: "query.by.id"},
		{name: "who deletes, half", method: "DELETE", path: c + "/messages/" + message + "?by=%7B", status: 422, code: "invalid_field", location: "query.by"},

		{name: "unknown conversation", method: "POST", path: unknown + "/messages", body: object{"text": "Hi"}, status: 404, code: "conversation.not_found"},
		{name: "unknown conversation read", method: "GET", path: unknown, status: 404, code: "conversation.not_found"},
		{name: "unknown conversation's messages", method: "GET", path: unknown + "/messages", status: 404, code: "conversation.not_found"},
		{name: "unknown conversation's events", method: "GET", path: unknown + "/events", status: 404, code: "conversation.not_found"},
		{name: "id that is none", method: "PUT", path: "/v1/conversations/1/status", body: object{"status": "open"}, status: 404, code: "conversation.not_found"},
		{name: "unknown message", method: "DELETE", path: c + "/messages/x", status: 404, code: "conversation.message_not_found"},
		{name: "unknown endpoint", method: "PATCH", path: unknownEndpoint, body: object{"rate_limit": 1}, status: 404, code: "endpoint.not_found"},
		{name: "unknown endpoint read", method: "GET", path: unknownEndpoint, status: 404, code: "endpoint.not_found"},
		{name: "unknown endpoint's deliveries", method: "GET", path: unknownEndpoint + "/deliveries", status: 404, code: "endpoint.not_found"},
		{name: "unknown endpoint's secret", method: "POST", path: unknownEndpoint + "/rotate-secret", status: 404, code: "endpoint.not_found"},
		{name: "unknown delivery", method: "GET", path: "/v1/deliveries/x", status: 404, code: "delivery.not_found"},
		{name: "foreign conversation", method: "POST", path: foreign + "/messages", body: object{"text": "Hi"}, status: 404, code: "conversation.not_found"},
		{name: "foreign conversation read", method: "GET", path: foreign, status: 404, code: "conversation.not_found"},
		{name: "foreign conversation's messages", method: "GET", path: foreign + "/messages", status: 404, code: "conversation.not_found"},
		{name: "foreign conversation's events", method: "GET", path: foreign + "/events", status: 404, code: "conversation.not_found"},
		{name: "foreign conversation's message", method: "DELETE", path: foreign + "/messages/" + message, status: 404, code: "conversation.not_found"},
		{name: "foreign endpoint", method: "DELETE", path: foreignEndpoint, status: 404, code: "endpoint.not_found"},
		{name: "foreign endpoint read", method: "GET", path: foreignEndpoint, status: 404, code: "endpoint.not_found"},
		{name: "foreign endpoint's headers", method: "PATCH", path: foreignEndpoint, body: object{"headers": object{"A": "b"}}, status: 404, code: "endpoint.not_found"},
		{name: "foreign endpoint's secret", method: "POST", path: foreignEndpoint + "/rotate-secret", status: 404, code: "endpoint.not_found"},

		{name: "missing key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "missing_key", options: []option{header("Authorization", "")}},
		{name: "basic", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "missing_key", options: []option{header("Authorization", "Basic "+h.key)}},
		{name: "wrong key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "invalid_key", options: []option{as(h.key + "x")}},
		{name: "unknown key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "invalid_key", options: []option{as("vbt_000000000000_x")}},
		{name: "no key of ours", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "invalid_key", options: []option{as("secret")}},
		{name: "revoked key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 401, code: "revoked_key", options: []option{as(revoked)}},
		{name: "operator for nobody", method: "GET", path: "/v1/conversations", status: 404, code: "account.not_found", options: []option{as(adminKey), header("Verbatim-Account", "x")}},

		{name: "reused key", method: "POST", path: c + "/messages", body: object{"text": "Other"}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "reused key, other path", method: "POST", path: closed + "/messages", body: object{"text": "Hi"}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "reused key, create", method: "POST", path: "/v1/conversations", body: object{"customer": object{}}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "empty key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 400, code: "bad_idempotency_key", options: []option{idempotent("")}},
		{name: "long key", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 400, code: "bad_idempotency_key", options: []option{idempotent(long)}},
		{name: "key with a blank", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 400, code: "bad_idempotency_key", options: []option{idempotent("a b")}},
		{name: "stale If-Match", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 412, code: "version_mismatch", options: []option{ifMatch(1)}},
		{name: "stale If-Match on an endpoint", method: "DELETE", path: ep, status: 412, code: "version_mismatch", options: []option{ifMatch(9)}},
		{name: "weak If-Match", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 400, code: "bad_if_match", options: []option{header("If-Match", `W/"2"`)}},
		{name: "If-Match without quotes", method: "POST", path: c + "/messages", body: object{"text": "Hi"}, status: 400, code: "bad_if_match", options: []option{header("If-Match", "2")}},
		{name: "message on a closed conversation", method: "POST", path: closed + "/messages", body: object{"text": "Hi"}, status: 409, code: "conversation.already_closed"},
		{name: "typing on a closed conversation", method: "PUT", path: closed + "/typing", body: object{"state": "on"}, status: 409, code: "conversation.already_closed"},
		{name: "closing a closed conversation", method: "POST", path: closed + "/close", status: 409, code: "conversation.already_closed"},
		{name: "reopening an open conversation", method: "POST", path: c + "/reopen", status: 409, code: "conversation.not_closed"},
		{name: "reopening by a customer", method: "POST", path: closed + "/reopen", body: object{"by": object{"role": "customer"}}, status: 403, code: "conversation.only_agents"},

		{name: "bad URL", method: "POST", path: "/v1/endpoints", body: hook(object{"url": "ftp://example.com"}), status: 422, code: "invalid_field", location: "body.url"},
		{name: "no URL", method: "POST", path: "/v1/endpoints", body: object{"dialect": "closer"}, status: 422, code: "invalid_field", location: "body.url"},
		{name: "private URL", method: "POST", path: "/v1/endpoints", body: hook(object{"url": "http://10.0.0.1/hook"}), status: 422, code: "invalid_field", location: "body.url"},
		{name: "change to a private URL", method: "PATCH", path: ep, body: object{"url": "http://10.0.0.1/hook"}, status: 422, code: "invalid_field", location: "body.url"},
		{name: "removed URL", method: "PATCH", path: ep, body: object{"url": nil}, status: 422, code: "invalid_field", location: "body.url"},
		{name: "unknown dialect", method: "POST", path: "/v1/endpoints", body: hook(object{"dialect": "raven"}), status: 422, code: "invalid_field", location: "body.dialect"},
		{name: "unknown version of a dialect", method: "POST", path: "/v1/endpoints", body: hook(object{"dialect": "closer@99"}), status: 422, code: "invalid_field", location: "body.dialect"},
		{name: "unknown event", method: "POST", path: "/v1/endpoints", body: hook(object{"events": []string{"*", "winter"}}), status: 422, code: "invalid_field", location: "body.events[1]"},
		{name: "change to an unknown event", method: "PATCH", path: ep, body: object{"events": []string{"winter"}}, status: 422, code: "invalid_field", location: "body.events[0]"},
		{name: "change of the dialect", method: "PATCH", path: ep, body: object{"dialect": "verbatim"}, status: 422, code: "unknown_field", location: "body.dialect"},
		{name: "start nowhere", method: "POST", path: "/v1/endpoints", body: hook(object{"start": "0"}), status: 422, code: "invalid_field", location: "body.start"},
		{name: "start before the log", method: "POST", path: "/v1/endpoints", body: hook(object{"start": "position:0"}), status: 422, code: "invalid_field", location: "body.start"},
		{name: "start behind the log", method: "POST", path: "/v1/endpoints", body: hook(object{"start": "position:100000"}), status: 422, code: "invalid_field", location: "body.start"},
		{name: "start in the future", method: "POST", path: "/v1/endpoints", body: hook(object{"start": "9000-01-01T00:00:00Z"}), status: 422, code: "invalid_field", location: "body.start"},
		{name: "pace of no start", method: "POST", path: "/v1/endpoints", body: hook(object{"start_rate": 5}), status: 422, code: "invalid_field", location: "body.start_rate"},
		{name: "pace below nothing", method: "POST", path: "/v1/endpoints", body: hook(object{"start": "beginning", "start_rate": -5}), status: 422, code: "invalid_field", location: "body.start_rate"},
		{name: "enabled where it is not", method: "POST", path: ep + "/enable", body: object{"start": "yesterday"}, status: 422, code: "invalid_field", location: "body.start"},
		{name: "enabled elsewhere while it is enabled", method: "POST", path: ep + "/enable", body: object{"start": "beginning"}, status: 409, code: "endpoint.already_enabled"},
		{name: "history", method: "POST", path: "/v1/endpoints", body: hook(object{"history": "some"}), status: 422, code: "invalid_field", location: "body.history"},
		{name: "schedule", method: "POST", path: "/v1/endpoints", body: hook(object{"retry_schedule": []string{"soon"}}), status: 422, code: "invalid_field", location: "body.retry_schedule[0]"},
		{name: "header of the sender's own", method: "POST", path: "/v1/endpoints", body: hook(object{"headers": object{"Webhook-Id": "x"}}), status: 422, code: "invalid_field", location: "body.headers.Webhook-Id"},
		{name: "header in two lines", method: "POST", path: "/v1/endpoints", body: hook(object{"headers": object{"A": "x\r\nB: y"}}), status: 422, code: "invalid_field", location: "body.headers.A"},
		{name: "header twice", method: "PATCH", path: ep, body: object{"headers": object{"X-A": "x", "x-a": "y"}}, status: 422, code: "invalid_field", location: "body.headers.x-a"},
		{name: "long header", method: "PATCH", path: ep, body: object{"headers": object{"X-A": strings.Repeat("x", 5000)}}, status: 422, code: "invalid_field", location: "body.headers.X-A"},

		{name: "contact who is known", method: "POST", path: "/v1/contacts", body: object{"id": "visitor-1"}, status: 409, code: "contact.already_exists"},
		{name: "contact who is an agent", method: "POST", path: "/v1/contacts", body: object{"role": "agent"}, status: 422, code: "invalid_field", location: "body.role"},
		{name: "contact's e-mail", method: "POST", path: "/v1/contacts", body: object{"email": long}, status: 422, code: "invalid_field", location: "body.email"},
		{name: "contact's id", method: "POST", path: "/v1/contacts", body: object{"id": long}, status: 422, code: "invalid_field", location: "body.id"},
		{name: "contact's attributes", method: "POST", path: "/v1/contacts", body: object{"attributes": huge}, status: 422, code: "invalid_field", location: "body.attributes"},
		{name: "contact's unknown field", method: "POST", path: "/v1/contacts", body: object{"mail": "x"}, status: 422, code: "unknown_field", location: "body.mail"},
		{name: "no contact", method: "POST", path: "/v1/contacts", status: 400, code: "malformed_json"},
		{name: "reused key, contact", method: "POST", path: "/v1/contacts", body: object{"id": "new"}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "unknown contact", method: "PATCH", path: "/v1/contacts/nobody", body: object{"name": "X"}, status: 404, code: "contact.not_found"},
		{name: "unknown contact read", method: "GET", path: "/v1/contacts/nobody", status: 404, code: "contact.not_found"},
		{name: "foreign contact", method: "PATCH", path: "/v1/contacts/theirs", body: object{"name": "X"}, status: 404, code: "contact.not_found"},
		{name: "foreign contact read", method: "GET", path: "/v1/contacts/theirs", status: 404, code: "contact.not_found"},
		{name: "contact's new e-mail", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"email": long}, status: 422, code: "invalid_field", location: "body.email"},
		{name: "contact's new attributes", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"attributes": huge}, status: 422, code: "invalid_field", location: "body.attributes"},
		{name: "contact's new id", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"id": "x"}, status: 422, code: "unknown_field", location: "body.id"},
		{name: "who changes a contact", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"by": object{}}, status: 422, code: "unknown_field", location: "body.by"},
		{name: "reused key, contact's change", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"name": "X"}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "stale If-Match on a contact", method: "PATCH", path: "/v1/contacts/visitor-1", body: object{"name": "X"}, status: 412, code: "version_mismatch", options: []option{ifMatch(9)}},

		{name: "widget of nobody", method: "POST", path: widget, body: object{}, status: 422, code: "invalid_field", location: "body.contact"},
		{name: "widget of an agent", method: "POST", path: widget, body: object{"contact": object{"id": "new", "role": "agent"}}, status: 422, code: "invalid_field", location: "body.contact.role"},
		{name: "widget, e-mail", method: "POST", path: widget, body: object{"contact": object{"id": "new", "email": long}}, status: 422, code: "invalid_field", location: "body.contact.email"},
		{name: "widget, e-mail of somebody known", method: "POST", path: widget, body: object{"contact": object{"id": "visitor-1", "email": long}}, status: 422, code: "invalid_field", location: "body.contact.email"},
		{name: "widget, attributes", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "attributes": huge}, status: 422, code: "invalid_field", location: "body.attributes"},
		{name: "widget, inbox without an id", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "inbox": object{"name": "Web"}}, status: 422, code: "invalid_field", location: "body.inbox.id"},
		{name: "widget, inbox's name", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "inbox": object{"id": "web", "name": long}}, status: 422, code: "invalid_field", location: "body.inbox.name"},
		{name: "widget, unknown conversation", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "conversation": id(unknown)}, status: 404, code: "conversation.not_found"},
		{name: "widget, conversation's id that is none", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "conversation": long}, status: 404, code: "conversation.not_found"},
		{name: "widget, foreign conversation", method: "POST", path: widget, body: object{"contact": object{"id": "new"}, "conversation": id(foreign)}, status: 404, code: "conversation.not_found"},
		{name: "widget, reused key", method: "POST", path: widget, body: object{"contact": object{"id": "new"}}, status: 422, code: "idempotency_key_reused", options: []option{idempotent("used")}},
		{name: "widget, If-Match of somebody new", method: "POST", path: widget, body: object{"contact": object{"id": "new"}}, status: 412, code: "version_mismatch", options: []option{ifMatch(1)}},
		{name: "widget, stale If-Match", method: "POST", path: widget, body: object{"contact": object{"id": "visitor-1"}}, status: 412, code: "version_mismatch", options: []option{ifMatch(9)}},

		{name: "unknown format", method: "GET", path: "/v1/dialects/raven", status: 404, code: "dialect.not_found"},
		{name: "unknown version of a format", method: "GET", path: "/v1/dialects/closer@99", status: 404, code: "dialect.not_found"},
		{name: "preview in an unknown format", method: "POST", path: "/v1/dialects/raven/preview", body: object{"conversation": id(c)}, status: 404, code: "dialect.not_found"},
		{name: "preview of nothing", method: "POST", path: preview, body: object{}, status: 422, code: "invalid_field", location: "body.conversation"},
		{name: "preview of an unknown conversation", method: "POST", path: preview, body: object{"conversation": id(unknown)}, status: 404, code: "conversation.not_found"},
		{name: "preview of a foreign conversation", method: "POST", path: preview, body: object{"conversation": id(foreign)}, status: 404, code: "conversation.not_found"},
		{name: "preview of an unknown event", method: "POST", path: preview, body: object{"conversation": id(c), "event": "winter"}, status: 422, code: "invalid_field", location: "body.event"},
		{name: "preview beyond the end", method: "POST", path: preview, body: object{"conversation": id(c), "at_version": 3}, status: 404, code: "conversation.version_not_found"},
		{name: "preview before the start", method: "POST", path: preview, body: object{"conversation": id(c), "at_version": 0}, status: 422, code: "invalid_field", location: "body.at_version"},
		{name: "preview of what has no word", method: "POST", path: preview, body: object{"conversation": id(c), "at_version": 2}, status: 422, code: "dialect.no_word"},
		{name: "preview of what never happened", method: "POST", path: preview, body: object{"conversation": id(c), "event": "ThreadClosedEvent"}, status: 422, code: "dialect.no_word"},
		{name: "preview of some history", method: "POST", path: preview, body: object{"conversation": id(c), "history": "some"}, status: 422, code: "invalid_field", location: "body.history"},

		{name: "bad cursor", method: "GET", path: "/v1/conversations?cursor=x", status: 400, code: "bad_cursor"},
		{name: "bad cursor of messages", method: "GET", path: c + "/messages?cursor=e30", status: 400, code: "bad_cursor"},
		{name: "bad cursor of events", method: "GET", path: "/v1/events?cursor=%00", status: 400, code: "bad_cursor"},
		{name: "bad cursor of endpoints", method: "GET", path: "/v1/endpoints?cursor=" + long, status: 400, code: "bad_cursor"},
		{name: "bad cursor of deliveries", method: "GET", path: ep + "/deliveries?cursor=--", status: 400, code: "bad_cursor"},
		{name: "unknown parameter", method: "GET", path: ep + "/deliveries?sate=parked", status: 422, code: "unknown_field", location: "query.sate"},
		{name: "unknown parameter of a stream", method: "GET", path: "/v1/events?form=3", status: 422, code: "unknown_field", location: "query.form", options: []option{header("Accept", "text/event-stream")}},
		{name: "unknown parameter beside known ones", method: "GET", path: ep + "/feed?cursor=h&ack=0&Limit=3", status: 422, code: "unknown_field", location: "query.Limit"},
		{name: "unknown parameter of a write", method: "POST", path: c + "/messages?dry_run=true", body: object{"text": "Hi"}, status: 422, code: "unknown_field", location: "query.dry_run"},
		{name: "unknown parameter of what takes none", method: "GET", path: "/v1/dialects/closer@1?limit=3", status: 422, code: "unknown_field", location: "query.limit"},
		{name: "long unknown parameter", method: "GET", path: c + "?" + long, status: 422, code: "unknown_field", location: "query." + long[:194] + "…"},
		{name: "query that is none", method: "GET", path: ep + "/deliveries?sa;te=parked", status: 422, code: "invalid_field", location: "query"},
		{name: "limit", method: "GET", path: "/v1/conversations?limit=201", status: 422, code: "invalid_field", location: "query.limit"},
		{name: "limit zero", method: "GET", path: "/v1/conversations?limit=0", status: 422, code: "invalid_field", location: "query.limit"},
		{name: "limit that is no number", method: "GET", path: c + "/messages?limit=x", status: 422, code: "invalid_field", location: "query.limit"},
		{name: "state of deliveries", method: "GET", path: ep + "/deliveries?state=lost", status: 422, code: "invalid_field", location: "query.state[0]"},
		{name: "last event id", method: "GET", path: "/v1/events", status: 422, code: "invalid_field", location: "header.Last-Event-ID", options: []option{header("Last-Event-ID", "x"), header("Accept", "text/event-stream")}},
		{name: "at_version beyond the end", method: "GET", path: c + "?at_version=3", status: 404, code: "conversation.version_not_found"},
		{name: "at_version before the start", method: "GET", path: c + "?at_version=0", status: 422, code: "invalid_field", location: "query.at_version"},

		{name: "no such route", method: "GET", path: "/v1/ravens", status: 404, code: "no_such_route"},
		{name: "no such route, no key", method: "GET", path: "/", status: 404, code: "no_such_route", options: []option{header("Authorization", "")}},
		{name: "route with a slash too many", method: "POST", path: c + "/messages/", body: object{"text": "Hi"}, status: 404, code: "no_such_route"},
		{name: "route that is not clean", method: "POST", path: "/v1//conversations", body: object{"customer": object{}}, status: 404, code: "no_such_route"},
		{name: "wrong method", method: "DELETE", path: c, status: 405, code: "method_not_allowed"},
		{name: "no CORS", method: "OPTIONS", path: c, status: 405, code: "method_not_allowed"},
	}
	h.settled()
	head := h.head()
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			h := *h
			h.t = t
			r := h.do(f.method, f.path, f.body, f.options...).fails(f.status, f.code)
			if f.location != "" {
				r.at(f.location)
			}
			if got := h.head(); got != head {
				t.Errorf("the log moved from %d to %d", head, got)
			}
			switch f.status {
			case http.StatusUnauthorized:
				if r.header.Get("WWW-Authenticate") != "Bearer" {
					t.Error(r.header)
				}
			case http.StatusMethodNotAllowed:
				if !strings.Contains(r.header.Get("Allow"), "GET") {
					t.Error(r.header)
				}
			}
			for _, leak := range []string{"sqlite", "json:", "goroutine", ".go:", "httpapi"} {
				if strings.Contains(string(r.body), leak) {
					t.Errorf("the problem speaks of %q: %s", leak, r.body)
				}
			}
		})
	}
	h.do("GET", ep, nil).is(200).version(1)
	// None of it was so bad that it had to be logged.
	if log := h.log.String(); log != "" {
		t.Errorf("the log has:\n%s", log)
	}
	if got := fmt.Sprint(h.do("GET", c, nil).is(200).number("version")); got != "2" {
		t.Error(got)
	}
}

// Who misspelt a parameter is told which there are; each fault is named.
func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.do("GET", "/v1/conversations?sate=open&limit=3&order=up", nil).fails(422, "unknown_field").
		has("errors.0.location", "query.order", "errors.1.location", "query.sate", "errors.2", nil).
		mentions("cursor, limit, status")
	h.do("GET", "/v1/dialects/closer@1?limit=3", nil).fails(422, "unknown_field").mentions("takes none")
	// Who asks comes first, and whatever is not of the API takes what it gets.
	h.do("GET", "/v1/conversations?sate=open", nil, header("Authorization", "")).fails(401, "missing_key")
	for _, path := range []string{"/livez", "/readyz", "/openapi.json", "/docs", "/docs/docs.css"} {
		h.do("GET", path+"?v=1", nil).is(200)
	}
}

// A body that ends before its length is no body.
func TestTruncatedBody(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	head := h.head()
	conn, err := net.Dial("tcp", h.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"text\":\"Hi\"}", c, h.key)
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	(&reply{t, "truncated", res.StatusCode, res.Header, body}).fails(400, "body_unreadable")
	if h.head() != head {
		t.Error("half a message was posted")
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	h := open(t)
	for _, path := range []string{"/v1/conversations", "/v1/nothing", "/livez", "/docs"} {
		r := h.do("GET", path, nil, header("Origin", "https://evil.example.com"))
		if r.header.Get("X-Content-Type-Options") != "nosniff" || r.header.Get("Cache-Control") != "no-store" ||
			r.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, r.header)
		}
	}
	// A header on which negotiation would slip.
	for _, accept := range []string{"a;q,", ";", "a;;q=,", "application/xml"} {
		h.do("GET", "/v1/conversations", nil, header("Accept", accept)).is(200)
	}
}

// What goes wrong on our side is told as little of as possible, and logged once.
func TestInternalErrors(t *testing.T) {
	t.Parallel()
	const secret = "the disk is on fire"
	h := open(t, func(cfg *httpapi.Config) {
		cfg.CheckURL = func(url string) error {
			if strings.HasSuffix(url, "panic") {
				panic(secret)
			}
			return fmt.Errorf("look up: %s", secret)
		}
	})
	for i, url := range []string{"https://example.com/error", "https://example.com/panic"} {
		head := h.head()
		r := h.do("POST", "/v1/endpoints", object{"url": url, "dialect": "verbatim"}, header("X-Request-Id", fmt.Sprint("req-", i))).
			fails(500, "internal")
		if strings.Contains(string(r.body), secret) || h.head() != head {
			t.Errorf("%s", r.body)
		}
		if log := h.log.String(); strings.Count(log, "request_id=req-"+fmt.Sprint(i)) != 1 || strings.Count(log, secret) != i+1 {
			t.Errorf("the log has:\n%s", log)
		}
	}
	h.log.buf.Reset() // or the end of the test takes offence
}
