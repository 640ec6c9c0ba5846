package webhooks_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"verbatim/webhooks"
	"verbatim/webhooks/webhookstest"
)

// A delivery that a replay sends says so, one that no replay sends does not,
// whatever its endpoint is set to send along; a redelivery is nobody's replay.
func TestAReplayIsNamed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, webhooks.Config{})
		named := make(map[string]string)
		b.answer = func(_ context.Context, r webhooks.Request) webhooks.Outcome {
			name, there := r.Headers[webhooks.ReplayHeader]
			if !there {
				name = "none"
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			named[r.Headers[webhooks.HeaderID]] = name
			return webhooks.Outcome{Status: 200}
		}
		ep := b.target(1, func(target *webhooks.Target) { target.Headers = map[string]string{"Webhook-Replay": "mine"} })
		plain := b.plan(ep, 1, 1)
		replayed := webhookstest.Planned(ep, webhookstest.Stream(2), 2, 2, "a")
		replayed.Replay, replayed.DueAt = "rpl_1", time.Now().UTC()
		if err := b.queue.Plan(t.Context(), []webhooks.Delivery{replayed}); err != nil {
			t.Fatal(err)
		}
		stop := b.run()
		if named[plain.WebhookID] != "none" || named[replayed.WebhookID] != "rpl_1" {
			t.Errorf("sent as %v", named)
		}
		if d := b.now(replayed); d.State != webhooks.Delivered || d.Replay != "rpl_1" || d.Bytes != int64(len(bodyOf(&d))) {
			t.Errorf("on record is %+v", d)
		}
		if _, err := b.queue.Redeliver(t.Context(), replayed.ID, time.Now().UTC()); err != nil {
			t.Fatal(err)
		}
		b.d.Reload(webhooks.Lane{EndpointID: ep, Key: replayed.Lane})
		synctest.Wait()
		if named[replayed.WebhookID] != "none" {
			t.Errorf("sent again as %v", named)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	var r webhooks.Receipt
	var chain [sha256.Size]byte
	first := webhookstest.Planned("ep", "s", 7, 1, "a")
	for i := range 3 * webhooks.MaxReplayFailures {
		d := first
		d.Position += int64(i)
		switch i % 3 {
		case 0:
			sum := sha256.Sum256([]byte{byte(i)})
			d.State, d.Digest, d.Bytes = webhooks.Delivered, sum[:], 10
			chain = sha256.Sum256(append(append(append([]byte{}, chain[:]...), d.WebhookID...), sum[:]...))
		case 1:
			d.State, d.Reason = webhooks.Parked, webhooks.ReasonExhausted
		default:
			d.State, d.Reason = webhooks.Cancelled, webhooks.ReasonAsked
		}
		r = r.Add(&d)
	}
	const each = webhooks.MaxReplayFailures
	if r.Delivered != each || r.Parked != each || r.Cancelled != each || r.Bytes != 10*each || r.Ended() != 3*each ||
		r.First.Position != 7 || r.Last.Position != 6+3*each || len(r.Failures) != webhooks.MaxReplayFailures || r.Failures[1].State != webhooks.Cancelled {
		t.Errorf("%+v", r)
	}
	if r.Chain != chain {
		t.Errorf("the chain is %s, want %x", r.Chain, chain)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again webhooks.Receipt
	if err := json.Unmarshal(b, &again); err != nil || again.Chain != r.Chain || again.First != r.First {
		t.Errorf("%+v %v", again, err)
	}
	for _, bad := range []string{`{"chain":"00"}`, `{"chain":7}`, `{"chain":"zz"}`} {
		if err := json.Unmarshal([]byte(bad), &again); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
}

// What failed, what a backfill owes, and what a selection means.
func TestWhatAReplayMeans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state        webhooks.State
		reason       string
		failed, owed bool
	}{
		{webhooks.Delivered, "", false, false},
		{webhooks.Pending, "", false, false},
		{webhooks.Pending, webhooks.ReasonInTurn, false, true},
		{webhooks.Parked, webhooks.ReasonExhausted, true, true},
		{webhooks.Cancelled, webhooks.ReasonExpired, true, true},
		{webhooks.Cancelled, webhooks.ReasonCrowded, true, true},
		{webhooks.Cancelled, webhooks.ReasonSkipped, false, true},
		{webhooks.Cancelled, webhooks.ReasonAsked, false, false},
	} {
		d := webhooks.Delivery{State: c.state, Reason: c.reason}
		if webhooks.Failed(&d) != c.failed || webhooks.Owed(&d) != c.owed {
			t.Errorf("%s %q: failed %t, owed %t", c.state, c.reason, webhooks.Failed(&d), webhooks.Owed(&d))
		}
	}
	d := webhookstest.Planned("ep", "conversation-7", 5, 1, "message_made")
	at := d.CreatedAt
	for _, c := range []struct {
		sel  webhooks.ReplaySelection
		want bool
	}{
		{webhooks.ReplaySelection{}, true},
		{webhooks.ReplaySelection{From: 5, To: 5}, true},
		{webhooks.ReplaySelection{From: 6}, false},
		{webhooks.ReplaySelection{To: 4}, false},
		{webhooks.ReplaySelection{Since: at, Until: at.Add(1)}, true},
		{webhooks.ReplaySelection{Since: at.Add(1)}, false},
		{webhooks.ReplaySelection{Until: at}, false},
		{webhooks.ReplaySelection{Events: []string{"conversation.*"}, Conversation: "7"}, true},
		{webhooks.ReplaySelection{Events: []string{"message_made"}}, true},
		{webhooks.ReplaySelection{Events: []string{"contact.*"}}, false},
		{webhooks.ReplaySelection{Conversation: "8"}, false},
	} {
		if got := c.sel.Match(&d); got != c.want {
			t.Errorf("%+v: %t", c.sel, got)
		}
	}
}

// How far a replay is behind where it goes is what it has yet to come past, and
// nothing once it looks no further.
func TestHowFarAReplayIsBehind(t *testing.T) {
	t.Parallel()
	const head = 100
	for _, tt := range []struct {
		name string
		r    webhooks.Replay
		want int64
	}{
		{"a replay", webhooks.Replay{To: 80, Cursor: webhooks.Mark{Position: 30}}, 50},
		{"before its beginning", webhooks.Replay{To: 80, Selection: webhooks.ReplaySelection{From: 71}}, 10},
		{"paused", webhooks.Replay{State: webhooks.ReplayPaused, To: 80}, 80},
		{"a backfill", webhooks.Replay{Kind: webhooks.Backfill, Phase: webhooks.PhaseHold, Cursor: webhooks.Mark{Position: 30}}, 70},
		{"at its end", webhooks.Replay{To: 80, Cursor: webhooks.Mark{Position: 80}}, 0},
		{"behind its end", webhooks.Replay{To: 80, Cursor: webhooks.Mark{Position: 90}}, 0},
		{"fed", webhooks.Replay{Phase: webhooks.PhaseDrain, To: 80}, 0},
		{"cancelled", webhooks.Replay{State: webhooks.ReplayCancelled, To: 80}, 0},
	} {
		if tt.r.Phase == webhooks.PhaseNone {
			tt.r.Phase = webhooks.PhaseFeed
		}
		if tt.r.State == "" {
			tt.r.State = webhooks.ReplayRunning
		}
		if got := tt.r.Lag(head); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
