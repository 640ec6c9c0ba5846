package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/httpapi"
	"verbatim/domain/endpoint"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
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

// An endpoint without events would be sent nothing: a list that is empty or
// removed is that of all of them, as the descriptions say.
func TestNoEventsAreAllEvents(t *testing.T) {
	t.Parallel()
	h := open(t)
	doc := h.do("GET", "/openapi.json", nil).is(200)
	for _, body := range []string{"RegisterEndpointInputBody", "ChangeEndpointInputBody"} {
		if words := doc.text("components.schemas." + body + ".properties.events.description"); !strings.Contains(words, "empty list") {
			t.Errorf("%s says of events: %s", body, words)
		}
	}
	ep := h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim", "events": []string{}}).
		is(201).has("events", "[*]").header.Get("Location")
	for _, none := range []any{[]string{}, nil} {
		h.do("PATCH", ep, object{"events": []string{"conversation.created"}}).is(200).has("events", "[conversation.created]")
		h.do("PATCH", ep, object{"events": none}).is(200).has("events", "[*]")
	}
}

func TestEndpointFilters(t *testing.T) {
	t.Parallel()
	h := open(t)
	all := `map[author_roles:[agent bot] channels:[web] form_ids:[f 7] inboxes:[site] labels:[vip] private:false product_ids:[17 1.50 a]]`
	ep := h.do("POST", "/v1/endpoints", `{"url":"https://example.com/hook","dialect":"verbatim","filters":{
		"inboxes":["site"],"channels":["web"],"labels":["vip"],"author_roles":["agent","bot"],"private":false,
		"product_ids":[17,1.50,"a"],"form_ids":["f",7]}}`).is(201).has("filters", all).header.Get("Location")
	h.do("GET", ep, nil).is(200).has("filters", all)

	// One alone changes, or goes.
	h.do("PATCH", ep, object{"filters": object{"labels": []string{"late"}}}).is(200).version(2).
		has("filters", strings.Replace(all, "vip", "late", 1))
	h.do("PATCH", ep, object{"filters": object{
		"inboxes": nil, "channels": []string{}, "labels": nil, "author_roles": nil, "product_ids": []any{"b", 2}, "form_ids": nil,
	}}).is(200).version(3).has("filters", "map[private:false product_ids:[b 2]]")
	h.do("PATCH", ep, object{"filters": object{"private": true, "product_ids": nil}}).is(200).version(4).has("filters", "map[private:true]")
	h.do("PATCH", ep, object{"filters": object{}}).is(200).version(4)
	h.do("PATCH", ep, object{"filters": object{"private": nil}}).is(200).version(5).has("filters", nil)
	h.do("PATCH", ep, object{"filters": object{"form_ids": []int{1}, "private": false}}).is(200).version(6).
		has("filters", "map[form_ids:[1] private:false]")
	h.do("PATCH", ep, object{"filters": nil}).is(200).version(7).has("filters", nil)
	h.do("POST", "/v1/endpoints", `{"url":"https://example.com/hook","dialect":"verbatim","filters":{
		"inboxes":null,"labels":[],"private":null,"product_ids":null}}`).is(201).has("filters", nil)
}

// What an endpoint is owed is what its filters let through, in the view that they
// leave.
func TestFilteredDeliveries(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.do("POST", "/v1/endpoints", object{
		"url": "https://example.com/", "dialect": "verbatim", "history": "last:2",
		"events":  []string{"conversation.message_posted", "conversation.activity_recorded"},
		"filters": object{"private": false, "labels": []string{"vip"}, "product_ids": []int{17}},
	}).is(201)
	c := h.conversation()
	h.do("POST", c+"/messages", object{"text": "too early"}).is(201)
	h.do("PATCH", c, object{"labels": []string{"vip"}}).is(200)
	h.do("POST", c+"/messages", object{"text": "a note", "private": true, "author": object{"role": "agent"}}).is(201)
	h.do("POST", c+"/messages", object{"text": "Hi"}).is(201)
	h.do("POST", c+"/activities", object{"kind": "product_purchased", "data": object{"product": object{"id": 18}}}).is(201)
	h.do("POST", c+"/activities", object{"kind": "product_purchased", "data": object{"products": []object{{"id": 18}, {"id": "17"}}}}).is(201)
	h.do("PATCH", c, object{"labels": []string{}}).is(200)
	h.do("POST", c+"/messages", object{"text": "too late"}).is(201)
	h.settled()
	list := h.do("GET", ep.header.Get("Location")+"/deliveries", nil).is(200).
		has("data.0.event", "conversation.activity_recorded", "data.1.event", "conversation.message_posted", "data.2", nil,
			"data.0.history", "last:2,public", "data.1.history", "last:2,public")
	for _, i := range []string{"0", "1"} {
		body := h.do("GET", "/v1/deliveries/"+list.text("data."+i+".id")+"/payload", nil).is(200).body
		if bytes.Contains(body, []byte("a note")) || !bytes.Contains(body, []byte("too early")) {
			t.Errorf("the body is %s", body)
		}
	}
}

// A refusal says what there is, and where the fault lies, on registering as on
// changing.
func TestRefusalsListWhatThereIs(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "closer"}).is(201).header.Get("Location")
	head := h.head()
	closer, err := dialect.All().Find("closer")
	if err != nil {
		t.Fatal(err)
	}
	events := append(webhooks.EventNames(closer), "*", "conversation.*", "contact.*", "conversation.message_posted", "contact.erased")
	filters := []string{}
	for f := range reflect.TypeFor[endpoint.Filters]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		filters = append(filters, name)
	}
	roles := []string{"customer", "agent", "bot", "system"}
	for _, c := range []struct {
		body           object
		code, location string
		list           []string
	}{
		{object{"events": []string{"*", "conversation.exploded"}}, "invalid_field", "body.events[1]", events},
		{object{"events": []string{"conversation.nothing.*"}}, "invalid_field", "body.events[0]", events},
		{object{"events": []string{"endpoint.deleted"}}, "invalid_field", "body.events[0]", events},
		{object{"filters": object{"inbox": "web"}}, "unknown_field", "body.filters.inbox", filters},
		{object{"filters": object{"Labels": []string{}}}, "unknown_field", "body.filters.Labels", filters},
		{object{"filters": object{"labels": []string{"a"}, "author": nil}}, "unknown_field", "body.filters.author", filters},
		{object{"filters": object{"author_roles": []string{"bot", "king"}}}, "invalid_field", "body.filters.author_roles[1]", roles},
		{object{"filters": object{"author_roles": "bot"}}, "invalid_field", "body.filters.author_roles", nil},
		{object{"filters": object{"private": "yes"}}, "invalid_field", "body.filters.private", nil},
		{object{"filters": object{"labels": []string{"a", ""}}}, "invalid_field", "body.filters.labels[1]", nil},
		{object{"filters": object{"labels": make([]string, 101)}}, "invalid_field", "body.filters.labels", nil},
		{object{"filters": object{"product_ids": []any{"a", true}}}, "invalid_field", "body.filters.product_ids[1]", nil},
		{object{"filters": object{"product_ids": []any{1, strings.Repeat("9", 129)}}}, "invalid_field", "body.filters.product_ids[1]", nil},
		{object{"filters": object{"form_ids": []any{object{}}}}, "invalid_field", "body.filters.form_ids[0]", nil},
	} {
		registration := object{"url": "https://example.com/", "dialect": "closer"}
		maps.Copy(registration, c.body)
		for _, r := range []*reply{h.do("POST", "/v1/endpoints", registration), h.do("PATCH", ep, c.body)} {
			var p httpapi.Problem
			r.fails(422, c.code).at(c.location).into(&p)
			_, said, _ := strings.Cut(p.Detail, ": ")
			names := strings.FieldsFunc(said, func(c rune) bool { return strings.ContainsRune(`,;:" `, c) })
			for _, name := range c.list {
				if !slices.Contains(names, name) {
					t.Errorf("%v: %q does not list %s", c.body, p.Detail, name)
				}
			}
		}
	}
	if h.head() != head {
		t.Error("what was refused is in the log")
	}
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
