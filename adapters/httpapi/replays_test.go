package httpapi_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/webhooks"
)

// A replay is its account's alone, is asked for once under a key, and is paused,
// resumed and cancelled once.
func TestReplaysOverHTTP(t *testing.T) {
	t.Parallel()
	h := open(t)
	ep := h.hook()
	path := ep + "/replays"
	body := object{"only": "missing", "rate": 1, "since": "2020-01-01T00:00:00Z"}
	first := h.do("POST", path, body, idempotent("k")).is(201).
		has("kind", "replay", "state", "running", "selection.only", "missing", "rate", 1, "selected", 0, "receipt", nil, "endpoint_disabled", nil)
	at := first.header.Get("Location")
	if at != "/v1/replays/"+first.text("id") || !strings.HasPrefix(first.text("id"), "rpl_") {
		t.Errorf("it is at %s", at)
	}
	again := h.do("POST", path, body, idempotent("k")).is(201).has("id", first.text("id"))
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("it does not say that it was asked for before")
	}
	h.do("POST", path, object{"rate": 2}, idempotent("k")).fails(422, "idempotency_key_reused")
	running := h.do("POST", path, nil).fails(409, "replay.running")
	if running.header.Get("Location") != at || !strings.Contains(running.text("detail"), first.text("id")) {
		t.Errorf("which one runs? %s %s", running.header, running.body)
	}
	for _, of := range []string{at, at + "/pause", at + "/resume", at + "/cancel"} {
		method := "POST"
		if of == at {
			method = "GET"
		}
		h.do(method, of, nil, as(h.other)).fails(404, "replay.not_found")
	}
	h.do("POST", path, nil, as(h.other)).fails(404, "endpoint.not_found")
	h.do("GET", path, nil, as(h.other)).fails(404, "endpoint.not_found")
	h.do("GET", at, nil).is(200).has("pending", 0, "delivered", 0)
	h.do("POST", at+"/resume", nil).fails(409, "replay.not_paused")
	h.do("POST", at+"/pause", nil, idempotent("p")).is(200).has("state", "paused")
	h.do("POST", at+"/pause", nil, idempotent("p")).is(200).has("state", "paused")
	h.do("POST", at+"/pause", nil).fails(409, "replay.not_sending")
	h.do("POST", at+"/resume", nil).is(200).has("state", "running")
	h.do("POST", at+"/cancel", nil).is(200).has("state", "cancelled", "receipt", nil)
	h.do("POST", at+"/cancel", nil).fails(409, "replay.ended")

	h.do("POST", ep+"/disable", nil).is(200)
	second := h.do("POST", path, object{"to": 1}).is(201).has("endpoint_disabled", true, "selection.only", "all", "to", 1)
	page := h.do("GET", path+"?limit=1", nil).is(200).has("data.0.id", second.text("id"), "data.1", nil)
	h.do("GET", path+"?cursor="+page.text("page.next"), nil).is(200).has("data.0.id", first.text("id"), "data.1", nil)
	h.do("GET", path+"?cursor=--", nil).fails(400, "bad_cursor")
	h.do("GET", "/v1/replays/rpl_0", nil).fails(404, "replay.not_found")
	h.do("POST", path, object{"events": []string{"message_made"}}).fails(422, "invalid_field").at("body.events[0]")
	h.do("POST", path, object{"to": 1, "from": 2}).fails(422, "invalid_field").at("body.to")
	h.do("POST", path, object{"start": "x"}).fails(422, "unknown_field").at("body.start")
	h.do("POST", path, object{"cursor": "x"}).fails(422, "invalid_field").at("body.cursor")
	h.do("POST", path, object{"conversation": strings.TrimPrefix(ep, "/v1/endpoints/")}).fails(404, "conversation.not_found")
	h.do("POST", path, object{"dry_run": true, "cursor": "x"}).fails(400, "bad_cursor")
	h.do("DELETE", ep, nil).is(204)
	h.do("POST", path, nil).fails(404, "endpoint.not_found")
}

// An endpoint that begins in the past says what sends it its history, before and
// after that has begun, and each new beginning is another.
func TestAnEndpointBeginsInThePast(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	hook := func(more object) object {
		body := object{"url": "https://example.com/hook", "dialect": "verbatim"}
		maps.Copy(body, more)
		return body
	}
	made := h.do("POST", "/v1/endpoints", hook(object{"start": "beginning", "start_rate": 7}), idempotent("k")).is(201)
	id := made.text("backfill")
	h.do("POST", "/v1/endpoints", hook(object{"start": "beginning", "start_rate": 7}), idempotent("k")).is(201).has("backfill", id)
	h.do("GET", "/v1/replays/"+id, nil).is(200).has("kind", "backfill", "state", "running", "rate", 7, "selection.from", 1, "to", nil,
		"endpoint_id", made.text("id"))
	ep := "/v1/endpoints/" + made.text("id")
	h.do("POST", ep+"/replays", nil).fails(409, "replay.running")
	h.do("POST", ep+"/disable", nil).is(200)
	enabled := h.do("POST", ep+"/enable", object{"start": "2020-01-01T00:00:00Z"}).is(200)
	if enabled.text("backfill") == id {
		t.Error("it begins anew with the same backfill")
	}
	h.do("GET", "/v1/replays/"+enabled.text("backfill"), nil).is(200).has("state", "running", "selection.from", 1)
	h.do("GET", "/v1/replays/"+id, nil).is(200).has("state", "cancelled", "error", "the endpoint begins elsewhere")
	h.do("POST", "/v1/replays/"+enabled.text("backfill")+"/cancel", nil).is(200).has("state", "cancelled")
	at := time.Now()
	h.now = func() time.Time { at = at.Add(time.Minute); return at } // whatever rests is due
	for range 10 {
		if worked, _, err := h.replays.Step(t.Context()); err != nil || !worked {
			break
		}
	}
	h.do("GET", "/v1/replays/"+enabled.text("backfill"), nil).is(200).has("receipt.delivered", 0)
	h.do("POST", "/v1/endpoints", hook(object{"start": "now"})).is(201).has("backfill", nil)
}

// What a replay sent is listed, with the filters of every list, and no other's.
func TestTheDeliveriesOfAReplayAreListed(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.conversation()
	h.conversation()
	hook := object{"url": "https://example.com/hook", "dialect": "verbatim", "events": []string{"conversation.created"}, "start": "beginning"}
	made := h.do("POST", "/v1/endpoints", hook).is(201)
	other := h.do("POST", "/v1/endpoints", hook).is(201)
	h.do("GET", "/v1/replays/"+made.text("backfill"), nil).is(200)
	at := time.Now()
	h.now = func() time.Time { at = at.Add(time.Minute); return at } // whatever rests is due
	for range 10 {
		if _, _, err := h.replays.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	live := strings.TrimPrefix(h.conversation(), "/v1/conversations/")
	list := "/v1/endpoints/" + made.text("id") + "/deliveries"
	page := h.do("GET", list, nil).is(200).has("data.0.stream", "conversation-"+live, "data.0.replay", nil, "data.2.replay", made.text("backfill"), "data.3", nil)
	list += "?replay=" + made.text("backfill")
	h.do("GET", list, nil).is(200).has("data.0.id", page.text("data.1.id"), "data.1.id", page.text("data.2.id"), "data.2", nil)
	first := h.do("GET", list+"&limit=1&state=pending", nil).is(200).has("data.0.id", page.text("data.1.id"), "data.1", nil)
	h.do("GET", list+"&limit=1&state=pending&cursor="+first.text("page.next"), nil).is(200).has("data.0.id", page.text("data.2.id"), "page.next", nil)
	h.do("GET", list+"&state=delivered", nil).is(200).has("data", "[]")
	h.do("GET", list+"&conversation="+live, nil).is(200).has("data", "[]")
	for _, id := range []string{"rpl_0", other.text("backfill")} {
		h.do("GET", "/v1/endpoints/"+made.text("id")+"/deliveries?replay="+id, nil).
			fails(422, "invalid_field").at("query.replay").mentions("replays lists them")
	}
	// What was sent again since is not the replay's any more.
	h.do("POST", "/v1/deliveries/"+page.text("data.2.id")+"/redeliver", nil).is(202)
	h.do("GET", list, nil).is(200).has("data.0.id", page.text("data.1.id"), "data.1", nil)
}

// A dry run that finds more than it may look at says where it goes on.
func TestADryRunGoesOn(t *testing.T) {
	t.Parallel()
	var dry dryRuns
	h := open(t, dry.replace)
	ep := h.hook()
	page := h.do("POST", ep+"/replays", object{"dry_run": true, "diff": true}).is(200).
		has("complete", false, "count", 3, "bytes", 30, "diff.never_sent", 3, "first.position", 1, "estimated_seconds", nil)
	h.do("POST", ep+"/replays", object{"dry_run": true, "diff": true, "cursor": page.text("next")}).is(200).has("complete", true, "count", 3, "next", nil)
	if len(dry.from) != 2 || dry.from[0] != (webhooks.Mark{}) || dry.from[1] != (webhooks.Mark{Position: 9, Name: "n"}) {
		t.Errorf("looked from %v", dry.from)
	}
	h.do("POST", ep+"/replays", nil).is(201) // a dry run does not run
}

// dryRuns answers dry runs.
type dryRuns struct{ from []webhooks.Mark }

func (d *dryRuns) replace(cfg *httpapi.Config) { cfg.Replays = d }

func (*dryRuns) Ring() {}

func (d *dryRuns) DryRun(_ context.Context, r webhooks.Replay, diff bool) (webhooks.DryRun, error) {
	d.from = append(d.from, r.Cursor)
	out := webhooks.DryRun{Count: 3, Bytes: 30, First: webhooks.Place{Position: 1}}
	if diff {
		out.Diff = &webhooks.Diff{NeverSent: 3}
	}
	if r.Cursor == (webhooks.Mark{}) {
		out.Next = &webhooks.Mark{Position: 9, Name: "n"}
	}
	return out, nil
}
