package httpapi_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/httpapi"
	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
)

const hook = "https://example.com/hook"

// headers returns what is sent along to an endpoint.
func (h *house) headers(id string) map[string]string {
	h.t.Helper()
	h.settled()
	target, err := h.store.Target(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return target.Headers
}

// untold ends the test if one of the words stands in anything that can be read
// of an endpoint.
func (h *house) untold(id string, words ...string) {
	h.t.Helper()
	for _, path := range []string{"/v1/endpoints/" + id, "/v1/endpoints", "/v1/events"} {
		body := h.do("GET", path, nil).is(200).body
		for _, word := range words {
			if bytes.Contains(body, []byte(word)) {
				h.t.Errorf("%s tells %s: %s", path, word, body)
			}
		}
	}
	if strings.Contains(h.log.String(), words[0]) {
		h.t.Errorf("the log tells %s", words[0])
	}
}

func TestBasicAuth(t *testing.T) {
	t.Parallel()
	h := open(t)
	encoded := func(pair string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)) }
	made := h.do("POST", "/v1/endpoints", object{
		"url": hook, "dialect": "verbatim", "headers": object{"X-A": "a"}, "basic_auth": object{"username": "jön", "password": "w:nter"},
	}).is(201).has("basic_auth", true, "headers", "[X-A]")
	id, ep := made.text("id"), made.header.Get("Location")
	check := func(want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, h.headers(id)); diff != "" {
			t.Errorf("sent along (-want +got):\n%s", diff)
		}
	}
	check(map[string]string{"X-A": "a", "Authorization": encoded("jön:w:nter")})
	h.do("GET", ep, nil).is(200).has("basic_auth", true, "headers", "[X-A]")
	h.untold(id, "w:nter", "jön", encoded("jön:w:nter")[len("Basic "):])

	// Another password alone is no fact, and takes effect.
	h.do("PATCH", ep, object{"basic_auth": object{"username": "jon", "password": "snow"}}).is(200).version(1).has("basic_auth", true)
	check(map[string]string{"X-A": "a", "Authorization": encoded("jon:snow")})
	// Headers change beside it, or go.
	h.do("PATCH", ep, object{"headers": object{"X-B": "b"}}).is(200).version(2).has("headers", "[X-A X-B]", "basic_auth", true)
	check(map[string]string{"X-A": "a", "X-B": "b", "Authorization": encoded("jon:snow")})
	h.do("PATCH", ep, object{"headers": nil}).is(200).version(3).has("headers", nil, "basic_auth", true)
	check(map[string]string{"Authorization": encoded("jon:snow")})
	// One takes the place of the other, in one go.
	h.do("PATCH", ep, object{"basic_auth": nil, "headers": object{"Authorization": "Bearer t"}}).is(200).version(4).
		has("headers", "[Authorization]", "basic_auth", nil)
	check(map[string]string{"Authorization": "Bearer t"})
	h.do("PATCH", ep, object{"basic_auth": object{"username": "u", "password": ""}, "headers": object{"Authorization": nil}}).is(200).version(5).
		has("headers", nil, "basic_auth", true)
	check(map[string]string{"Authorization": encoded("u:")})
	h.do("PATCH", ep, object{"basic_auth": nil}).is(200).version(6).has("basic_auth", nil)
	check(map[string]string{})
}

// What cannot be sent is refused, and nothing of it is kept.
func TestBasicAuthRefusals(t *testing.T) {
	t.Parallel()
	h := open(t)
	made := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim", "headers": object{"authorization": "t"}}).is(201)
	ep := made.header.Get("Location")
	for _, c := range []struct {
		auth object
		at   string
	}{
		{object{"username": "a:b", "password": "c"}, "body.basic_auth.username"},
		{object{"username": "a\r\nb", "password": "c"}, "body.basic_auth.username"},
		{object{"username": "a", "password": "c\x7f"}, "body.basic_auth.password"},
		{object{"username": "", "password": ""}, "body.basic_auth"},
		{object{"username": "a", "password": strings.Repeat("c", 1024)}, "body.basic_auth"},
		{object{"username": "a"}, "body.basic_auth.password"},
		{object{"username": 7, "password": "c"}, "body.basic_auth.username"},
	} {
		for _, r := range []*reply{
			h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim", "basic_auth": c.auth}),
			h.do("PATCH", ep, object{"headers": nil, "basic_auth": c.auth}),
		} {
			r.fails(422, "invalid_field").at(c.at)
		}
	}
	fine := object{"username": "a", "password": "b"}
	h.do("PATCH", ep, object{"basic_auth": fine}).fails(422, "invalid_field").at("body.basic_auth")
	h.do("POST", "/v1/endpoints", object{
		"url": hook, "dialect": "verbatim", "basic_auth": fine, "headers": object{"Authorization": "x"},
	}).fails(422, "invalid_field").at("body.basic_auth")
	h.do("GET", ep, nil).is(200).version(1).has("headers", "[authorization]")
	if diff := cmp.Diff(map[string]string{"authorization": "t"}, h.headers(made.text("id"))); diff != "" {
		t.Error(diff)
	}
}

// An endpoint with v1a has a public key; nobody is shown the private one.
func TestPublicKeys(t *testing.T) {
	t.Parallel()
	h := open(t)
	registration := object{"url": hook, "dialect": "verbatim", "signature": "v1a"}
	made := h.do("POST", "/v1/endpoints", registration, idempotent("k")).is(201).has("signature", "v1a", "secret", nil)
	id, ep, first := made.text("id"), made.header.Get("Location"), made.text("public_key")
	if !strings.HasPrefix(first, "whpk_") {
		t.Error(first)
	}
	h.do("POST", "/v1/endpoints", registration, idempotent("k")).is(201).has("id", id, "public_key", first, "secret", nil)
	h.do("GET", ep, nil).is(200).has("public_keys", "["+first+"]", "public_key", nil)

	rotated := h.do("POST", ep+"/rotate-secret", nil, idempotent("r")).is(200).has("secret", nil)
	second := rotated.text("public_key")
	if second == first {
		t.Error("rotated to the same key")
	}
	h.do("POST", ep+"/rotate-secret", nil, idempotent("r")).is(200).has("public_key", second)
	h.do("GET", ep, nil).is(200).has("public_keys", "["+second+" "+first+"]")
	h.do("GET", "/v1/endpoints", nil).is(200).has("data.0.public_keys", nil, "data.0.signature", "v1a")

	// What is signed, both keys check.
	target, err := h.store.Target(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signed, err := webhooks.Sign(target.Secrets, "msg_1", now, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{first, second} {
		if err := webhooks.Verify([]string{key}, func(name string) string { return signed[name] }, []byte("{}"), now, time.Minute); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	third := h.do("POST", ep+"/rotate-secret", object{"overlap": "0s"}).is(200).text("public_key")
	h.do("GET", ep, nil).is(200).has("public_keys", "["+third+"]")
	h.untold(id, "whsk_", "whsec_")
	if bytes.Contains(made.body, []byte("whsk_")) || bytes.Contains(rotated.body, []byte("whsk_")) {
		t.Error("a private key was shown")
	}

	// The signature is pinned, and there are two.
	h.do("PATCH", ep, object{"signature": "v1"}).fails(422, "unknown_field")
	h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim", "signature": "v2"}).fails(422, "invalid_field").at("body.signature")
	h.do("GET", h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201).header.Get("Location"), nil).is(200).
		has("signature", "v1", "public_keys", nil)
}

// How long the secret before a new one signs can be said; at once means all of
// those before.
func TestRotationOverlap(t *testing.T) {
	t.Parallel()
	h := open(t)
	made := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201)
	id, ep := made.text("id"), made.header.Get("Location")
	rotate := func(body any, overlap time.Duration) string {
		t.Helper()
		r := h.do("POST", ep+"/rotate-secret", body).is(200)
		until, err := time.Parse(time.RFC3339Nano, r.text("previous_until"))
		if err != nil || (time.Until(until)-overlap).Abs() > time.Minute {
			t.Errorf("until %s, error %v; want %s from now", until, err, overlap)
		}
		return r.text("secret")
	}
	signing := func(in time.Duration, want ...string) {
		t.Helper()
		got, err := h.store.Secrets(t.Context(), id, time.Now().Add(in))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("in %s, error %v (-want +got):\n%s", in, err, diff)
		}
	}
	first := made.text("secret")
	second := rotate(object{}, 24*time.Hour)
	third := rotate(object{"overlap": "1h"}, time.Hour)
	signing(0, third, second, first)
	signing(2*time.Hour, third)
	fourth := rotate(object{"overlap": "0s"}, 0)
	signing(0, fourth)
	fifth := rotate(object{"overlap": "744h"}, 744*time.Hour)
	signing(700*time.Hour, fifth, fourth)

	for _, bad := range []any{"-1s", "745h", "a day", "24"} {
		h.do("POST", ep+"/rotate-secret", object{"overlap": bad}).fails(422, "invalid_field").at("body.overlap")
	}
	h.do("POST", ep+"/rotate-secret", object{"overlap": 24}).fails(422, "invalid_field").at("body.overlap")
	signing(0, fifth, fourth)
}

// settings of every limit are kept, changed, removed and refused.
func TestEndpointLimits(t *testing.T) {
	t.Parallel()
	h := open(t)
	made := h.do("POST", "/v1/endpoints", object{
		"url": hook, "dialect": "verbatim", "ordering": "none", "on_exhausted": "stop", "concurrency": 2, "max_body_bytes": 65536,
	}).is(201).has("ordering", "none", "on_exhausted", "stop", "concurrency", 2, "max_body_bytes", 65536, "signature", "v1")
	ep := made.header.Get("Location")
	h.do("PATCH", ep, object{"ordering": "conversation", "concurrency": 64, "max_body_bytes": 4096}).is(200).version(2).
		has("ordering", "conversation", "on_exhausted", "stop", "concurrency", 64, "max_body_bytes", 4096)
	c := h.conversation()
	for range 40 {
		h.do("POST", c+"/messages", object{"text": strings.Repeat("x", 100)}).is(201)
	}
	h.settled()
	newest := h.do("GET", ep+"/deliveries?limit=1", nil).is(200).has("data.0.history", "full,max:4096").text("data.0.id")
	payload := h.do("GET", "/v1/deliveries/"+newest+"/payload", nil).is(200).has("data.history.truncated", true)
	if len(payload.body) > 4096 {
		t.Errorf("%d bytes", len(payload.body))
	}
	h.do("PATCH", ep, object{"ordering": nil, "on_exhausted": nil, "concurrency": nil, "max_body_bytes": nil}).is(200).version(3).
		has("ordering", "conversation", "on_exhausted", "park", "concurrency", nil, "max_body_bytes", nil)
	for field, values := range map[string][]any{
		"ordering":       {"position", 1},
		"on_exhausted":   {"drop", true},
		"concurrency":    {-1, 65, 1.5, "2"},
		"max_body_bytes": {-1, 1, 4095, 64<<20 + 1},
	} {
		for _, value := range values {
			h.do("PATCH", ep, object{field: value}).fails(422, "invalid_field").at("body." + field)
			h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim", field: value}).fails(422, "invalid_field").at("body." + field)
		}
	}
	for _, name := range []string{"Accept", "X-Chatwoot-Signature", "Proxy-Authorization", "webhook-id", "TE"} {
		h.do("PATCH", ep, object{"headers": object{name: "x"}}).fails(422, "invalid_field").at("body.headers." + name)
	}
	h.do("GET", ep, nil).is(200).version(3)
}

// Who asks for one endpoint hears how it fares; one that was enabled begins anew.
func TestEndpointHealth(t *testing.T) {
	t.Parallel()
	h := open(t)
	made := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201).has("health", nil)
	id, ep := made.text("id"), made.header.Get("Location")
	h.conversation()
	h.settled()
	h.do("GET", ep, nil).is(200).has("health", nil)
	d := h.do("GET", ep+"/deliveries", nil).is(200).text("data.0.id")
	delivery, _, _, err := h.store.Delivery(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	health, attempt := webhooks.Health{}, 0
	fail := func(at time.Time) {
		t.Helper()
		attempt++
		o := webhooks.Outcome{Status: 503}
		health = health.After(o, at)
		report := webhooks.Report{Delivery: delivery, Attempt: webhooks.Attempt{Number: attempt, At: at, Outcome: o}, Health: health}
		if err := h.store.Record(t.Context(), []webhooks.Report{report}); err != nil {
			t.Fatal(err)
		}
	}
	fail(at)
	h.do("GET", ep, nil).is(200).has("health.failures", 1, "health.failing_since", at.Format(time.RFC3339Nano), "health.open_until", nil)
	for range webhooks.BreakAfter {
		fail(at)
	}
	h.do("GET", ep, nil).is(200).has("health.failures", 11, "health.open_until", at.Add(webhooks.FirstBreak).Format(time.RFC3339Nano))
	h.do("GET", "/v1/endpoints", nil).is(200).has("data.0.health", nil)

	h.do("POST", ep+"/disable", object{"reason": "being mended"}).is(200).has("disabled_cause", "manual", "health", nil)
	h.settled()
	h.do("GET", ep, nil).is(200).has("health.failures", 11, "disabled_cause", "manual", "disabled_reason", "being mended")
	h.do("POST", ep+"/enable", nil).is(200).has("disabled_cause", nil)
	h.settled()
	h.do("GET", ep, nil).is(200).has("health", nil)
	if target, err := h.store.Target(t.Context(), id); err != nil || target.Health != (webhooks.Health{}) {
		t.Errorf("enabled, it is as well as %+v, error %v", target.Health, err)
	}
	health = webhooks.Health{}
	fail(time.Now().UTC().Truncate(time.Microsecond))
	h.do("GET", ep, nil).is(200).has("health.failures", 1)
}

// What came of deliveries stands on the endpoint's stream, however many of them
// were given up, and changes nothing about it but its version.
func TestEndpointsThatFail(t *testing.T) {
	t.Parallel()
	var endpoints *httpapi.Endpoints
	h := open(t, func(cfg *httpapi.Config) { endpoints = cfg.Endpoints })
	made := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201)
	watching := h.do("POST", "/v1/endpoints", object{"url": hook + "/ops", "dialect": "verbatim", "events": []string{"endpoint.*"}}).is(201)
	id, ep := made.text("id"), made.header.Get("Location")
	say := func(c endpoint.Command) {
		t.Helper()
		_, err := endpoints.Execute(t.Context(), eventstore.Order[endpoint.State, endpoint.Command]{
			Account: "default", ID: id, Command: c, Metadata: eventstore.Metadata{Actor: "system:deliveries"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	say(endpoint.NoteFailing{Since: time.Now()})
	for i := range 3 {
		say(endpoint.NoteExhausted{DeliveryID: "d", Attempts: i + 1, Reason: webhooks.ReasonExhausted})
	}
	h.do("GET", ep, nil).is(200).version(5).has("updated_at", made.text("updated_at"))
	h.settled()
	h.do("GET", ep, nil).is(200).version(5).has("updated_at", made.text("updated_at"), "disabled", false)
	say(endpoint.Disable{Reason: "the receiver answered 410 Gone", Cause: endpoint.ReceiverGone})
	h.do("GET", ep, nil).is(200).version(6).has("disabled_cause", "gone", "disabled_reason", "the receiver answered 410 Gone")
	h.settled()
	h.do("GET", ep, nil).is(200).version(6).has("disabled_cause", "gone", "version", 6)
	// An answer that is given again is that of then.
	h.do("POST", ep+"/enable", nil, idempotent("e")).is(200).version(7).has("disabled", false)
	h.do("POST", ep+"/disable", nil).is(200).version(8)
	h.settled()
	h.do("POST", ep+"/enable", nil, idempotent("e")).is(200).version(7).has("disabled", false)

	h.do("GET", ep+"/deliveries", nil).is(200).has("data.0", nil)
	list := h.do("GET", watching.header.Get("Location")+"/deliveries", nil).is(200).
		has("data.0.event", "endpoint.disabled", "data.6.event", "endpoint.failing", "data.7", nil)
	h.do("GET", "/v1/deliveries/"+list.text("data.2.id")+"/payload", nil).is(200).has("type", "endpoint.disabled",
		"data.endpoint.id", id, "data.endpoint.url", hook, "data.endpoint.disabled", true, "data.change.cause", "gone",
		"data.change.actor", "system:deliveries", "data.change.version", 6)
	h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "closer", "events": []string{"endpoint.*"}}).
		fails(422, "invalid_field").at("body.events[0]")
	h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim", "events": []string{"endpoint.registered"}}).
		fails(422, "invalid_field").at("body.events[0]")
}

// tester is one that answers.
type tester struct {
	outcome     webhooks.Outcome
	err         error
	account, id string
}

func (s *tester) Test(_ context.Context, account, id string) (webhooks.Outcome, string, error) {
	s.account, s.id = account, id
	return s.outcome, "msg_1", s.err
}

func TestTestingAnEndpoint(t *testing.T) {
	t.Parallel()
	sender := &tester{}
	h := open(t, func(cfg *httpapi.Config) { cfg.Tester = sender })
	made := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201)
	id, ep := made.text("id"), made.header.Get("Location")
	h.do("POST", ep+"/disable", nil).is(200)
	head := h.head()
	sender.outcome = webhooks.Outcome{
		Status: 204, Took: 1500 * time.Microsecond,
		Timing: webhooks.Timing{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 4 * time.Millisecond},
	}
	h.do("POST", ep+"/test", nil).is(200).has("webhook_id", "msg_1", "accepted", true, "status", 204, "fault", nil, "detail", nil,
		"took_ms", 1.5, "dns_ms", 1, "connect_ms", 2, "tls_ms", 3, "first_byte_ms", 4)
	if sender.account != "default" || sender.id != id {
		t.Errorf("tested %q of %q", sender.id, sender.account)
	}
	sender.outcome = webhooks.Outcome{Status: 302, Detail: "elsewhere"}
	h.do("POST", ep+"/test", object{}).is(200).has("accepted", false, "status", 302, "detail", "elsewhere", "dns_ms", nil)
	sender.outcome = webhooks.Outcome{Fault: webhooks.NameUnresolved, Detail: "no such host"}
	h.do("POST", ep+"/test", nil).is(200).has("accepted", false, "status", nil, "fault", "dns", "took_ms", 0)
	if h.head() != head {
		t.Error("a test is in the log")
	}
	h.do("GET", ep+"/deliveries", nil).is(200).has("data", "[]")

	sender.id = ""
	h.do("POST", ep+"/test", nil, as(h.other)).fails(http.StatusNotFound, "endpoint.not_found")
	h.do("POST", "/v1/endpoints/01931b3e-7c1f-7d2a-9d5e-0a6f3c2b1a01/test", nil).fails(http.StatusNotFound, "endpoint.not_found")
	h.do("DELETE", ep, nil).is(204)
	h.do("POST", ep+"/test", nil).fails(http.StatusNotFound, "endpoint.not_found")
	if sender.id != "" {
		t.Errorf("sent to %s all the same", sender.id)
	}
}

// What the dispatcher cannot do is no answer of the receiver's.
func TestATestThatFails(t *testing.T) {
	t.Parallel()
	sender := &tester{err: webhooks.ErrNoTarget}
	h := open(t, func(cfg *httpapi.Config) { cfg.Tester = sender })
	ep := h.do("POST", "/v1/endpoints", object{"url": hook, "dialect": "verbatim"}).is(201).header.Get("Location")
	h.do("POST", ep+"/test", nil).fails(http.StatusServiceUnavailable, "not_ready")
	sender.err = fmt.Errorf("sign: %w", webhooks.ErrSecret)
	h.do("POST", ep+"/test", nil).fails(http.StatusConflict, "endpoint.no_secret")
	sender.err = errors.New("whsec_secret is broken")
	if r := h.do("POST", ep+"/test", nil).fails(http.StatusInternalServerError, "internal"); bytes.Contains(r.body, []byte("whsec_")) {
		t.Errorf("%s", r.body)
	}
	h.log.mu.Lock()
	h.log.buf.Reset()
	h.log.mu.Unlock()
}
