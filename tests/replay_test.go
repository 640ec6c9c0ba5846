package tests_test

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"verbatim/webhooks"
)

// replayShown is a replay as the API and the command line show it.
type replayShown struct {
	ID, State, Kind, Error                string
	Position, To                          int64
	Selected, Planned, Left               int64
	SentAgain                             int64 `json:"sent_again"`
	Pending, Delivered, Parked, Cancelled int64
	Receipt                               *receiptShown
	Complete                              bool
	Count, Bytes                          int64
	First, Last                           *struct{ Position int64 }
	Seconds                               *float64 `json:"estimated_seconds"`
	Basis                                 string   `json:"estimated_from"`
	Diff                                  *struct {
		Identical, Different int64
		NeverSent            int64 `json:"never_sent"`
	}
}

type receiptShown struct {
	Delivered, Parked, Cancelled, Elsewhere, Bytes int64
	First, Last                                    *struct{ Position int64 }
	Chain                                          string
	Failures                                       []struct{ State, Reason string }
}

// checkReceipt holds a receipt against what the receiver got by that replay.
func checkReceipt(t *testing.T, receiver *pastReceiver, r *replayShown) {
	t.Helper()
	var taken []pastHook
	last := make(map[string]int64)
	for _, h := range receiver.by(r.ID) {
		if h.version < last[h.conversation] {
			t.Errorf("version %d of %s came behind %d", h.version, h.conversation, last[h.conversation])
		}
		last[h.conversation] = h.version
		if h.taken {
			taken = append(taken, h)
		}
	}
	slices.SortFunc(taken, func(a, b pastHook) int { return cmp.Compare(a.position, b.position) })
	var chain webhooks.Digest
	bytes := int64(0)
	for _, h := range taken {
		chain = webhooks.Link(chain, h.id, h.digest[:])
		bytes += int64(h.bytes)
	}
	if r.Receipt == nil {
		t.Fatalf("%s has no receipt: %+v", r.ID, r)
	}
	if got := r.Receipt; got.Chain != hex.EncodeToString(chain[:]) || got.Bytes != bytes || got.Delivered != int64(len(taken)) {
		t.Errorf("the receipt says %+v; %d bodies came, %d bytes, chain %s", got, len(taken), bytes, chain)
	}
	if len(taken) > 0 && (r.Receipt.First == nil || r.Receipt.First.Position > taken[0].position || r.Receipt.Last.Position < taken[len(taken)-1].position) {
		t.Errorf("the receipt is about %+v to %+v", r.Receipt.First, r.Receipt.Last)
	}
}

// TestReplays sends what was delivered, what was given up and what was never
// planned, looks beforehand at what that would be, and proves afterwards what it
// was.
func TestReplays(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	const early, delivered, refused = 12, 6, 5
	conversations := importHistory(t, folder, early, 3)
	receiver := newPastReceiver(t, false)
	s := startServer(t, folder)
	key := s.key
	var ep struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"retry_schedule":["0s"]}`, &ep)
	say := func(id string, n int) {
		t.Helper()
		for range n {
			s.call(http.MethodPost, "/v1/conversations/"+id+"/messages", key, `{"text":"Valar morghulis"}`, nil)
		}
	}
	well, sick := conversations[0], conversations[1]
	say(well, delivered)
	receiver.await(delivered, patience)
	receiver.mu.Lock()
	receiver.refuse[sick] = true
	receiver.mu.Unlock()
	say(sick, refused)
	receiver.await(delivered+2*refused, patience)
	command := func(code int, args ...string) (r replayShown) {
		t.Helper()
		got := runCommand(t, "", append(args, "--json", "-database", database)...)
		if got.code != code {
			t.Fatalf("%v: exit %d: %s %s", args, got.code, got.out, got.errors)
		}
		if err := json.Unmarshal([]byte(cmp.Or(got.out, "{}")), &r); err != nil {
			t.Fatalf("%v: %v: %s", args, err, got.out)
		}
		return r
	}
	replay := func(args ...string) replayShown {
		t.Helper()
		return command(0, append([]string{"replay", "-endpoint", ep.ID}, args...)...)
	}
	poll(t, func() bool { return replay("-dry-run", "-only", "failed").Count == refused })
	receiver.mu.Lock()
	receiver.refuse[sick] = false
	receiver.mu.Unlock()

	// What it would be.
	would := replay("-dry-run", "-diff", "-rate", "10")
	if would.Count != early+delivered+refused || !would.Complete || would.Diff == nil || would.Diff.Identical != delivered ||
		would.Diff.NeverSent != early+refused || would.Diff.Different != 0 || would.First.Position != 1 ||
		would.Seconds == nil || *would.Seconds != float64(would.Count)/10 || would.Basis != webhooks.ByRate || would.Bytes == 0 {
		t.Errorf("it would be %+v", would)
	}
	if would := replay("-dry-run", "-only", "missing", "-conversation", well); would.Count != early/3 || would.Diff != nil {
		t.Errorf("missing of one conversation: %+v", would)
	}
	if would := replay("-dry-run", "-until", "2025-01-01T00:00:03Z"); would.Count != 2 || would.Basis != webhooks.BySpeed {
		t.Errorf("until a time: %+v", would)
	}
	if would := replay("-dry-run", "-since", "2025-01-01T00:00:03Z", "-to", fmt.Sprint(early), "-events", "conversation.created,conversation.message_posted"); would.Count != early-2 {
		t.Errorf("since a time: %+v", would)
	}
	if n := receiver.count(); n != delivered+2*refused {
		t.Errorf("a dry run has sent %d", n-delivered-2*refused)
	}

	// What was given up, what is missing, and all of it.
	failed := replay("-only", "failed", "-wait")
	checkReceipt(t, receiver, &failed)
	if failed.SentAgain != refused || failed.Planned != 0 || failed.State != "done" || failed.Receipt.Delivered != refused {
		t.Errorf("failed: %+v", failed)
	}
	missing := replay("-only", "missing", "-wait")
	checkReceipt(t, receiver, &missing)
	if missing.Planned != early || missing.SentAgain != 0 || missing.Receipt.Delivered != early {
		t.Errorf("missing: %+v", missing)
	}
	all := replay("-wait", "-rate", "500")
	checkReceipt(t, receiver, &all)
	if all.SentAgain != early+delivered+refused || all.Receipt.Delivered != all.SentAgain || all.Receipt.Bytes != would.Bytes {
		t.Errorf("all: %+v %+v", all, all.Receipt)
	}
	for _, h := range receiver.by(all.ID) {
		if !receiver.seen[h.id] {
			t.Errorf("%s has another id now", h.id)
		}
	}
	if len(receiver.seen) != early+delivered+refused {
		t.Errorf("%d webhook-ids for %d events", len(receiver.seen), early+delivered+refused)
	}
	// One that is sent by itself is nobody's replay, and a receipt does not change.
	before := receiver.count()
	var list struct{ Data []struct{ ID, Replay string } }
	s.call(http.MethodGet, "/v1/endpoints/"+ep.ID+"/deliveries?limit=1", key, "", &list)
	if list.Data[0].Replay != all.ID {
		t.Errorf("the last delivery is of %q", list.Data[0].Replay)
	}
	s.call(http.MethodPost, "/v1/deliveries/"+list.Data[0].ID+"/redeliver", key, "", nil)
	receiver.await(before+1, patience)
	if h := receiver.came[before]; h.replay != "" {
		t.Errorf("a redelivery comes as %+v", h)
	}
	again := command(0, "replays", "show", all.ID)
	checkReceipt(t, receiver, &again)

	// What is refused, and a replay that is held up by everything.
	for body, want := range map[string]string{
		`{"sender":"x"}`:                   "unknown_field",
		`{"only":"some"}`:                  "invalid_field",
		`{"events":["message_made"]}`:      "invalid_field",
		`{"from":9,"to":3}`:                "invalid_field",
		`{"since":"yesterday"}`:            "invalid_field",
		`{"diff":true}`:                    "invalid_field",
		`{"conversation":"` + ep.ID + `"}`: "conversation.not_found",
		`{"dry_run":true,"cursor":"x"}`:    "bad_cursor",
		`{"from":1000000}`:                 "invalid_field",
		`{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`: "invalid_field",
	} {
		status, b, err := s.try(http.MethodPost, "/v1/endpoints/"+ep.ID+"/replays", key, body)
		if err != nil || status < 400 || !strings.Contains(string(b), `"code":"`+want+`"`) {
			t.Errorf("%s: %d %s %v", body, status, b, err)
		}
	}
	slow := replay("-rate", "5")
	before = receiver.count()
	receiver.await(before+1, patience)
	command(0, "replays", "pause", slow.ID)
	if r := runCommand(t, "", "replay", "-endpoint", ep.ID, "-database", database); r.code != 1 ||
		!strings.Contains(r.errors, "replay.running") || !strings.Contains(r.errors, slow.ID) {
		t.Errorf("a second one: %d %s", r.code, r.errors)
	}
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	s = startServer(t, folder)
	paused := command(0, "replays", "show", slow.ID)
	if paused.State != "paused" || paused.Position == 0 || paused.Position >= paused.To || paused.Receipt != nil {
		t.Errorf("after a restart: %+v", paused)
	}
	command(0, "replays", "resume", slow.ID)
	slow = command(0, "replays", "show", "-wait", slow.ID)
	checkReceipt(t, receiver, &slow)
	ids := make(map[string]bool)
	for _, h := range receiver.by(slow.ID) {
		ids[h.id] = true
	}
	if n := len(receiver.by(slow.ID)); n != early+delivered+refused || len(ids) != n || slow.State != "done" {
		t.Errorf("%d came, %d of them different: %+v", n, len(ids), slow)
	}

	ended := replay("-rate", "1")
	command(0, "replays", "cancel", ended.ID)
	r := runCommand(t, "", "replays", "show", "-wait", "--json", "-database", database, ended.ID)
	if err := json.Unmarshal([]byte(r.out), &ended); err != nil || r.code != 1 || ended.State != "cancelled" || ended.Selected > 3 {
		t.Errorf("cancelled: %d %s %s", r.code, r.out, r.errors)
	}
	checkReceipt(t, receiver, &ended)
	for _, verb := range []string{"pause", "resume", "cancel"} {
		if r := runCommand(t, "", "replays", verb, "-database", database, ended.ID); r.code != 1 {
			t.Errorf("%s what has ended: %d", verb, r.code)
		}
	}
	rows := runCommand(t, "", "replays", "list", "-database", database, ep.ID)
	if rows.code != 0 || strings.Count(rows.out, "rpl_") != 5 {
		t.Errorf("the list: %s", rows.out)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit %d: %s", code, s.errs)
	}
}
