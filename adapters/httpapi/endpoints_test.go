package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/webhooks"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	h := open(t)
	made := h.do("POST", "/v1/endpoints", object{
		"url": "https://example.com/hook", "dialect": "closer", "events": []string{"conversation.*", "*"},
		"filters": object{"inboxes": []string{"web"}}, "history": "last:5", "headers": object{"X-Token": "hidden", "X-B": "b"},
		"rate_limit": 10, "retry_schedule": []string{"5s", "1m"}, "ordering": "conversation", "start": "now",
	}).is(201).version(1)
	made.has("dialect", "closer@1", "events.0", "conversation.*", "filters.inboxes.0", "web", "history", "last:5",
		"headers", "[X-B X-Token]", "rate_limit", 10, "retry_schedule.1", "1m", "disabled", false, "version", 1, "number", 1)
	ep := made.header.Get("Location")
	if ep != "/v1/endpoints/"+made.text("id") || made.text("created_at") == "" {
		t.Error(ep)
	}
	secret := made.text("secret")
	if !strings.HasPrefix(secret, "whsec_") {
		t.Error(secret)
	}
	h.settled()
	id := made.text("id")
	target, err := h.store.Target(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"X-Token": "hidden", "X-B": "b"}, target.Headers); diff != "" || target.Secrets[0] != secret {
		t.Error(target.Secrets, diff)
	}
	for _, path := range []string{ep, "/v1/endpoints", "/v1/events"} {
		if body := h.do("GET", path, nil).is(200).body; bytes.Contains(body, []byte("hidden")) || bytes.Contains(body, []byte("whsec_")) {
			t.Errorf("%s tells a secret: %s", path, body)
		}
	}
	h.do("GET", ep, nil).is(200).version(1).has("url", "https://example.com/hook", "secret", nil)

	h.do("PATCH", ep, object{
		"url": "https://example.com/2", "rate_limit": nil, "filters": object{"channels": []string{"web"}},
		"headers": object{"X-B": nil, "X-C": "c"}, "events": []string{"conversation.created"},
	}).is(200).version(2).has("url", "https://example.com/2", "rate_limit", nil, "filters.inboxes.0", "web",
		"filters.channels.0", "web", "headers", "[X-C X-Token]", "events", "[conversation.created]")
	// New values alone are no fact, and take effect.
	h.do("PATCH", ep, object{"headers": object{"X-C": "d"}}, ifMatch(2)).is(200).version(2)
	if target, err = h.store.Target(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"X-Token": "hidden", "X-C": "d"}, target.Headers); diff != "" {
		t.Error(diff)
	}
	h.do("PATCH", ep, object{"headers": nil}).is(200).version(3).has("headers", nil)

	rotated := h.do("POST", ep+"/rotate-secret", nil).is(200).version(4)
	until, err := time.Parse(time.RFC3339Nano, rotated.text("previous_until"))
	if err != nil || time.Until(until).Round(time.Hour) != 24*time.Hour {
		t.Error(until, err)
	}
	secrets, err := h.store.Secrets(t.Context(), id, time.Now())
	if err != nil || !cmp.Equal(secrets, []string{rotated.text("secret"), secret}) {
		t.Error(secrets, err)
	}
	if secrets, _ = h.store.Secrets(t.Context(), id, until); !cmp.Equal(secrets, []string{rotated.text("secret")}) {
		t.Error(secrets)
	}
	h.do("POST", ep+"/rotate-secret", nil, ifMatch(1)).fails(412, "version_mismatch")
	if again, _ := h.store.Secrets(t.Context(), id, time.Now()); len(again) != 2 {
		t.Error("a refused rotation made a secret")
	}

	h.do("POST", ep+"/disable", object{"reason": "holiday"}).is(200).version(5).has("disabled", true, "disabled_reason", "holiday")
	h.do("POST", ep+"/disable", nil).is(200).version(5)
	h.do("POST", ep+"/enable", nil).is(200).version(6).has("disabled", false, "disabled_reason", nil)
	h.do("GET", "/v1/endpoints", nil).is(200).has("data.0.id", id, "data.0.version", 6, "data.1", nil)
	h.do("DELETE", ep, nil).is(204).version(7)
	h.do("GET", ep, nil).fails(404, "endpoint.not_found")
	h.do("DELETE", ep, nil).fails(404, "endpoint.not_found")
	h.do("GET", "/v1/endpoints", nil).is(200).has("data", "[]")
}

func TestListEndpoints(t *testing.T) {
	t.Parallel()
	h := open(t)
	for i := range 3 {
		h.do("POST", "/v1/endpoints", object{"url": fmt.Sprint("https://example.com/", i), "dialect": "verbatim"}).is(201).
			has("events", "[*]", "history", "full", "ordering", "conversation", "dialect", "verbatim@1")
	}
	first := h.do("GET", "/v1/endpoints?limit=2", nil).is(200).has("data.1.url", "https://example.com/1", "data.2", nil)
	h.do("GET", "/v1/endpoints?limit=2&cursor="+first.text("page.next"), nil).is(200).
		has("data.0.url", "https://example.com/2", "data.1", nil, "page", "map[]")
}

// An answer that is given again tells the secret only while it is the newest.
func TestReplacedSecretsAreNotToldAgain(t *testing.T) {
	t.Parallel()
	h := open(t)
	register := func() *reply {
		return h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim"}, idempotent("k")).is(201)
	}
	first := register()
	if again := register(); again.text("secret") != first.text("secret") {
		t.Error("the secret is not the first one")
	}
	h.do("POST", first.header.Get("Location")+"/rotate-secret", nil).is(200)
	register().has("secret", nil, "id", first.text("id"), "version", 1)
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim", "history": "last:2"}).is(201)
	c := h.conversation()
	for range 3 {
		h.do("POST", c+"/messages", object{"text": "Hi"}).is(201)
	}
	list := ep.header.Get("Location") + "/deliveries"
	all := h.do("GET", list, nil).is(200)
	if n := len(all.get("data").([]any)); n != 5 { // a contact, a conversation, three messages
		t.Fatalf("%d deliveries: %s", n, all.body)
	}
	all.has("data.0.event", "conversation.message_posted", "data.0.version", 4, "data.0.state", "pending", "data.0.attempt_count", 0,
		"data.0.dialect", "verbatim@1", "data.0.history", "last:2", "data.4.event", "contact.created")

	page := h.do("GET", list+"?limit=3", nil).is(200).has("data.3", nil)
	h.do("GET", list+"?limit=3&cursor="+page.text("page.next"), nil).is(200).
		has("data.0.id", all.text("data.3.id"), "data.1.id", all.text("data.4.id"), "data.2", nil, "page", "map[]")

	// One is delivered, at the second attempt.
	id := all.text("data.0.id")
	d, _, found, err := h.store.Delivery(t.Context(), id)
	if err != nil || !found {
		t.Fatal(found, err)
	}
	body, err := h.transcripts.Body(t.Context(), &d)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(body)
	at := time.Now().UTC().Truncate(time.Microsecond)
	first := webhooks.Report{Delivery: d, Attempt: webhooks.Attempt{
		Number: 1, At: at, Digest: digest[:],
		Outcome: webhooks.Outcome{Status: 503, RetryAfter: 90 * time.Second, Detail: "<busy>", Took: 1500 * time.Microsecond},
	}}
	first.Delivery.Attempts = 1
	second := webhooks.Report{Delivery: first.Delivery, Attempt: webhooks.Attempt{
		Number: 2, At: at, Digest: digest[:], Outcome: webhooks.Outcome{Status: 204, Took: time.Millisecond},
	}}
	second.Delivery.State, second.Delivery.Attempts, second.Delivery.EndedAt, second.Delivery.Digest = webhooks.Delivered, 2, &at, digest[:]
	for _, r := range []webhooks.Report{first, second} {
		if err := h.store.Record(context.Background(), []webhooks.Report{r}); err != nil {
			t.Fatal(err)
		}
	}
	h.do("GET", "/v1/deliveries/"+id, nil).is(200).has("state", "delivered", "attempt_count", 2, "due_at", nil,
		"digest", hex.EncodeToString(digest[:]), "webhook_id", d.WebhookID, "endpoint_id", ep.text("id"),
		"attempts.0.status", 503, "attempts.0.retry_after", 90, "attempts.0.detail", "<busy>", "attempts.0.took_ms", 1.5,
		"attempts.1.number", 2, "attempts.1.digest", hex.EncodeToString(digest[:]))
	h.do("GET", list+"?state=delivered", nil).is(200).has("data.0.id", id, "data.1", nil)

	payload := h.do("GET", "/v1/deliveries/"+id+"/payload", nil).is(200)
	if !bytes.Equal(payload.body, body) || payload.header.Get("Content-Type") != "application/json" ||
		payload.header.Get("Webhook-Id") != d.WebhookID {
		t.Errorf("payload %s %s, want %s", payload.header, payload.body, body)
	}

	// What was owed to an endpoint that is gone can still be read.
	h.do("DELETE", ep.header.Get("Location"), nil).is(204)
	h.do("GET", list+"?state=delivered", nil).is(200).has("data.0.id", id)
	h.do("GET", list, nil, as(h.other)).fails(404, "endpoint.not_found")
	for _, path := range []string{"/v1/deliveries/" + id, "/v1/deliveries/" + id + "/payload"} {
		h.do("GET", path, nil, as(h.other)).fails(404, "delivery.not_found")
	}
	h.do("GET", "/v1/deliveries/dlv_0", nil).fails(404, "delivery.not_found")
}
