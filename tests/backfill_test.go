package tests_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A pastReceiver takes everything, and holds it against what a receiver may
// expect: each webhook once, each conversation in order and without a gap. It
// remembers what came under which replay.
type pastReceiver struct {
	tb  testing.TB
	url string

	mu       sync.Mutex
	changed  *sync.Cond
	refuse   map[string]bool  // conversations
	strict   bool             // nothing may come twice, out of order, or with a gap
	versions map[string]int64 // last, by conversation
	seen     map[string]bool  // webhook-ids
	came     []pastHook
}

// A pastHook is a webhook as it came.
type pastHook struct {
	id, replay, conversation string
	position, version        int64
	digest                   [sha256.Size]byte
	bytes                    int
	taken                    bool
}

func newPastReceiver(tb testing.TB, strict bool) *pastReceiver {
	tb.Helper()
	r := &pastReceiver{tb: tb, strict: strict, refuse: make(map[string]bool), versions: make(map[string]int64), seen: make(map[string]bool)}
	r.changed = sync.NewCond(&r.mu)
	srv := httptest.NewServer(http.HandlerFunc(r.take))
	tb.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *pastReceiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var hook struct {
		Data struct {
			Conversation struct{ ID string }
			Change       struct{ Position, Version int64 }
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &hook)
	}
	if err != nil {
		r.tb.Error(err)
	}
	h := pastHook{
		req.Header.Get("webhook-id"), req.Header.Get("webhook-replay"), hook.Data.Conversation.ID,
		hook.Data.Change.Position, hook.Data.Change.Version, sha256.Sum256(body), len(body), true,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.taken = !r.refuse[h.conversation]; !h.taken {
		w.WriteHeader(http.StatusInternalServerError)
	}
	if r.strict {
		if r.seen[h.id] {
			r.tb.Errorf("%s, position %d, came twice", h.id, h.position)
		}
		if last := r.versions[h.conversation]; h.version != last+1 {
			r.tb.Errorf("version %d of %s, position %d, came behind %d", h.version, h.conversation, h.position, last)
		}
	}
	r.seen[h.id], r.versions[h.conversation] = true, h.version
	r.came = append(r.came, h)
	r.changed.Broadcast()
}

func (r *pastReceiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.came)
}

// await returns once so many have come.
func (r *pastReceiver) await(n int, longest time.Duration) {
	r.tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for end := time.Now().Add(longest); len(r.came) < n; {
		before := len(r.came)
		if !await(r.changed, func() bool { return len(r.came) > before }) || time.Now().After(end) {
			r.tb.Fatalf("%d of %d webhooks came", len(r.came), n)
		}
	}
}

// by returns what came under a replay.
func (r *pastReceiver) by(replay string) (hooks []pastHook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.came {
		if h.replay == replay {
			hooks = append(hooks, h)
		}
	}
	return hooks
}

// importHistory fills a new folder with so many events of so many conversations,
// one of each in turn, and returns the conversations.
func importHistory(t *testing.T, folder string, events, conversations int) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.ndjson")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(file)
	ids := make([]string, conversations)
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range events {
		n, version := i%conversations, 1+i/conversations
		at = at.Add(time.Second)
		kind, data := "conversation.message_posted", fmt.Sprintf(
			`{"message_id":"%s","author":{"id":"jon","role":"customer","name":"Jon Snow"},"text":"Message %d","content_type":"text"}`, uuidV7(t), i)
		if version == 1 {
			ids[n] = uuidV7(t).String()
			kind, data = "conversation.created", `{"account":{"id":"default","number":1,"name":"Default"},"inbox":{"id":"default","number":1,"name":"Default"},`+
				`"channel":"api","customer":{"id":"jon","role":"customer","name":"Jon Snow"}}`
		}
		fmt.Fprintf(out, `{"position":%d,"stream":"conversation-%s","version":%d,"id":"%s","type":"%s","schema":1,"time":"%s","account":"default","data":%s}`+"\n",
			i+1, ids[n], version, uuidV7(t), kind, at.Format(time.RFC3339), data)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, "", "import", "-database", "sqlite:"+folder, path); r.code != 0 {
		t.Fatal(r.errors)
	}
	return ids
}

// TestBackfillGoesOverToLive registers an endpoint that begins at the beginning,
// while messages are posted to old conversations and new ones at an even rate, and
// stops and starts the server in the middle. The receiver sees each webhook once,
// and each conversation in order, without a gap.
//
// BACKFILL_EVENTS=n is the length of the history, and BACKFILL_LIVE=n how many
// messages a second are posted meanwhile.
func TestBackfillGoesOverToLive(t *testing.T) {
	t.Parallel()
	events, live := int(number("BACKFILL_EVENTS", 3000)), int(number("BACKFILL_LIVE", 100))
	folder := filepath.Join(t.TempDir(), "data")
	conversations := importHistory(t, folder, events, max(10, events/100))
	receiver := newPastReceiver(t, true)
	s := startServer(t, folder)
	key := s.key
	var ep struct{ ID, Backfill string }
	began := time.Now()
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"start":"beginning"}`, &ep)
	longest := patience + time.Duration(events)*2*time.Millisecond
	receiver.await(events/10, longest)
	if code := s.stop(); code != 0 {
		t.Fatalf("exit %d: %s", code, s.errs)
	}
	s = startServer(t, folder)

	posting := time.Now()
	var posted atomic.Int64
	var posters sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	clients := max(8, live/5) // so that a command which waits a while delays no other
	for n := range clients {
		posters.Go(func() {
			tick := time.NewTicker(max(time.Duration(clients)*time.Second/time.Duration(live), time.Millisecond))
			defer tick.Stop()
			for i := n; ; i += clients {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				method, path, body := http.MethodPost, "/v1/conversations/"+conversations[i%len(conversations)]+"/messages", `{"text":"Live"}`
				if i%10 == 0 {
					path, body = "/v1/conversations", `{"customer":{"id":"jon","name":"Jon Snow"}}`
				}
				status, b, err := s.try(method, path, key, body)
				if err != nil || status >= 300 {
					t.Errorf("%s: %d %s %v", path, status, b, err)
					return
				}
				posted.Add(1)
			}
		})
	}
	var replay struct {
		State, Kind, Error string
		Position, To       int64
		Planned, Selected  int64
		Receipt            *struct {
			Delivered, Parked, Elsewhere int64
		}
	}
	show := func() {
		t.Helper()
		s.call(http.MethodGet, "/v1/replays/"+ep.Backfill, key, "", &replay)
	}
	pollFor(t, longest, func() bool { show(); return replay.To > 0 })
	switched := time.Since(began)
	before := posted.Load()
	poll(t, func() bool { return posted.Load() > before+50 }) // some come as they happen
	stop()
	posters.Wait()
	rate := float64(posted.Load()) / time.Since(posting).Seconds()
	total := events + int(posted.Load())
	receiver.await(total, longest)
	pollFor(t, longest, func() bool { show(); return replay.Receipt != nil })
	if replay.Kind != "backfill" || replay.State != "done" || replay.Receipt.Delivered != replay.Planned || replay.Receipt.Elsewhere != 0 {
		t.Errorf("in the end: %+v %+v", replay, replay.Receipt)
	}
	historic, asItHappened := receiver.by(ep.Backfill), receiver.by("")
	if len(historic) != int(replay.Planned) || len(historic)+len(asItHappened) != total || len(asItHappened) < 50 || receiver.count() != total {
		t.Errorf("%d of the backfill, %d as they happened, %d in all", len(historic), len(asItHappened), total)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit %d: %s", code, s.errs)
	}
	t.Logf("backfill: %d events of history and %d meanwhile, %.0f a second; it went over to live events after %s at %d, %d webhooks in all came after %s",
		events, posted.Load(), rate, switched.Round(time.Millisecond), replay.To, total, time.Since(began).Round(time.Millisecond))
}

// pollFor is poll with a patience of its own.
func pollFor(tb testing.TB, longest time.Duration, so func() bool) {
	tb.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(longest); !so(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatal("it did not come to be")
		}
	}
}

// TestEnabledElsewhere disables an endpoint, and enables it where it has missed
// nothing, from now on, and from the beginning.
func TestEnabledElsewhere(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	conversations := importHistory(t, folder, 40, 4)
	receiver := newPastReceiver(t, false)
	s := startServer(t, folder)
	var ep struct{ ID, Backfill string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none","events":["conversation.*"]}`, &ep)
	path := "/v1/endpoints/" + ep.ID
	say := func() {
		t.Helper()
		for _, id := range conversations {
			s.call(http.MethodPost, "/v1/conversations/"+id+"/messages", s.key, `{"text":"hello"}`, nil)
		}
	}
	// Where it begins elsewhere, what is under way is called off, arrived or not.
	disable := func() {
		t.Helper()
		pollFor(t, patience, func() bool {
			var pending struct{ Data []struct{} }
			s.call(http.MethodGet, path+"/deliveries?state=pending", s.key, "", &pending)
			return len(pending.Data) == 0
		})
		s.call(http.MethodPost, path+"/disable", s.key, "", nil)
	}
	if status, b, err := s.try(http.MethodPost, path+"/enable", s.key, `{"start":"beginning"}`); err != nil || status != http.StatusConflict {
		t.Errorf("an enabled endpoint begins elsewhere: %d %s %v", status, b, err)
	}
	say()
	receiver.await(4, patience)
	disable()
	say()
	s.call(http.MethodPost, path+"/enable", s.key, `{"start":"now"}`, nil)
	say()
	receiver.await(8, patience)
	disable()
	say()
	r := runCommand(t, "", "endpoints", "enable", "-database", database, "--json", "-start", "beginning", "-start-rate", "500", ep.ID)
	if err := json.Unmarshal([]byte(r.out), &ep); r.code != 0 || err != nil || ep.Backfill == "" {
		t.Fatalf("%d %s %s", r.code, r.out, r.errors)
	}
	say()
	if r := runCommand(t, "", "replays", "show", "-database", database, "-wait", ep.Backfill); r.code != 0 {
		t.Fatalf("%d %s %s", r.code, r.out, r.errors)
	}
	// 10 each of the past, 5 each since then.
	receiver.await(60, patience)
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	last := make(map[string]int64)
	for _, h := range receiver.came[8:] { // since it began anew
		if h.version <= last[h.conversation] {
			t.Errorf("version %d of %s came behind %d", h.version, h.conversation, last[h.conversation])
		}
		last[h.conversation] = h.version
	}
	if len(receiver.came) != 60 || len(receiver.seen) != 60 {
		t.Errorf("%d came, %d of them different", len(receiver.came), len(receiver.seen))
	}
	for _, id := range conversations {
		if last[id] != 15 {
			t.Errorf("%s came up to version %d", id, last[id])
		}
	}
}

// TestBackfillsAndCrashes kills the server again and again just after a step of a
// backfill is committed, before anybody is told. What came first of each event came
// in order, and nothing is missing.
func TestBackfillsAndCrashes(t *testing.T) {
	t.Parallel()
	const events = 1200
	folder := filepath.Join(t.TempDir(), "data")
	conversations := importHistory(t, folder, events, 12)
	receiver := newPastReceiver(t, false)
	s := startServer(t, folder)
	key := s.key
	var ep struct{ ID, Backfill string }
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"start":"beginning","start_rate":400}`, &ep)
	s.kill()
	for round := range 5 {
		crash := startProcess(t, frail(t), folder, []string{fmt.Sprint("VERBATIM_FAIL_AT=after-replay:", 1+round%3)})
		select {
		case <-crash.done:
		case <-time.After(patience):
			t.Fatalf("round %d: it was not killed\n%s", round, crash.errs)
		}
	}
	s = startServer(t, folder)
	for _, id := range conversations {
		s.call(http.MethodPost, "/v1/conversations/"+id+"/messages", key, `{"text":"hello"}`, nil)
	}
	total := events + len(conversations)
	receiver.mu.Lock()
	all := await(receiver.changed, func() bool { return len(receiver.seen) == total })
	first, last := make(map[string]bool), make(map[string]int64)
	for _, h := range receiver.came {
		if !first[h.id] && h.version != last[h.conversation]+1 {
			t.Errorf("version %d of %s came behind %d", h.version, h.conversation, last[h.conversation])
		}
		if !first[h.id] {
			first[h.id], last[h.conversation] = true, h.version
		}
	}
	receiver.mu.Unlock()
	if !all {
		t.Errorf("%d of %d events came", len(first), total)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit %d: %s", code, s.errs)
	}
}
