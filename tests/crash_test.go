package tests_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAcknowledgedMeansDurable kills a server in the middle of a burst of
// appends. Afterwards every message that was acknowledged is in the log, once,
// positions and versions have no gap, and each message's webhook arrives, in
// the order of its conversation, and as it is rebuilt.
func TestAcknowledgedMeansDurable(t *testing.T) {
	t.Parallel()
	const clients, enough = 16, 400
	folder := filepath.Join(t.TempDir(), "data")
	inbox := newHookInbox(t)
	s := startServer(t, folder)
	key := s.key
	s.call(http.MethodPost, "/v1/endpoints", key,
		`{"url":"`+inbox.url+`","dialect":"verbatim@1","events":["conversation.message_posted"],"history":"none"}`, nil)

	var mu sync.Mutex
	acknowledged := make(map[string]bool) // message ids
	var count atomic.Int64
	reached := make(chan struct{})
	var wg sync.WaitGroup
	for range clients {
		var c struct{ ID string }
		s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &c)
		wg.Go(func() {
			for n := 0; ; n++ {
				status, body, err := s.try(http.MethodPost, "/v1/conversations/"+c.ID+"/messages", key, fmt.Sprintf(`{"text":"message %d"}`, n))
				if err != nil {
					return // the server is gone
				}
				var m struct{ ID string }
				if status != http.StatusCreated || json.Unmarshal(body, &m) != nil {
					t.Errorf("%d %s", status, body)
					return
				}
				mu.Lock()
				acknowledged[m.ID] = true
				mu.Unlock()
				if count.Add(1) == enough {
					close(reached)
				}
			}
		})
	}
	select {
	case <-reached:
	case <-time.After(patience):
		t.Fatal("the burst did not get going")
	}
	s.kill()
	wg.Wait()

	again := startServer(t, folder)
	logged := make(map[string]int)
	for _, e := range checkLog(t, folder) {
		if e.Type == "conversation.message_posted" {
			logged[e.Data.MessageID]++
		}
	}
	for id := range acknowledged {
		if logged[id] != 1 {
			t.Errorf("message %s was acknowledged and is %d times in the log", id, logged[id])
		}
	}
	t.Logf("%d acknowledged, %d in the log", len(acknowledged), len(logged))
	inbox.await(len(logged))
	inbox.mu.Lock()
	defer inbox.mu.Unlock()
	for id := range logged {
		if len(inbox.byMessage[id]) != 1 {
			t.Errorf("message %s arrived under %d webhook ids", id, len(inbox.byMessage[id]))
		}
	}
	if code := again.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, again.errs)
	}
	inbox.got.proveAll(t, folder)
}

func exportLines(tb testing.TB, folder string) []string {
	tb.Helper()
	r := runCommand(tb, "", "export", "-database", "sqlite:"+folder, "-")
	if r.code != 0 {
		tb.Fatal(r.errors)
	}
	return strings.Split(strings.TrimSpace(r.out), "\n")
}

// hookInbox receives webhooks of messages and checks that the first arrival of
// each is in the order of its conversation.
type hookInbox struct {
	tb        testing.TB
	url       string
	mu        sync.Mutex
	changed   *sync.Cond
	byMessage map[string]map[string]bool // webhook ids by message id
	last      map[string]int64           // version by conversation
	got       received
	all       strings.Builder // every body
}

// bodies returns all that has arrived.
func (in *hookInbox) bodies() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.all.String()
}

func newHookInbox(tb testing.TB) *hookInbox {
	tb.Helper()
	in := &hookInbox{tb: tb, byMessage: make(map[string]map[string]bool), last: make(map[string]int64)}
	in.changed = sync.NewCond(&in.mu)
	srv := httptest.NewServer(http.HandlerFunc(in.take))
	tb.Cleanup(srv.Close)
	in.url = srv.URL
	return in
}

func (in *hookInbox) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var hook struct {
		Data struct {
			Conversation struct{ ID string }
			Change       struct {
				Version int64
				Message struct{ ID string }
			}
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &hook)
	}
	if err != nil || hook.Data.Change.Message.ID == "" {
		in.tb.Errorf("not a webhook of a message: %v %s", err, body)
		return
	}
	in.got.add(in.tb, r.Header.Get("webhook-id"), body)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.all.Write(body)
	id := hook.Data.Change.Message.ID
	if in.byMessage[id] == nil {
		in.byMessage[id] = make(map[string]bool)
		if c := hook.Data.Conversation.ID; hook.Data.Change.Version <= in.last[c] {
			in.tb.Errorf("version %d of %s arrived behind %d", hook.Data.Change.Version, c, in.last[c])
		} else {
			in.last[c] = hook.Data.Change.Version
		}
	}
	in.byMessage[id][r.Header.Get("webhook-id")] = true
	in.changed.Broadcast()
	w.WriteHeader(http.StatusNoContent)
}

// await returns when that many messages have arrived.
func (in *hookInbox) await(n int) {
	in.tb.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	if !await(in.changed, func() bool { return len(in.byMessage) >= n }) {
		in.tb.Errorf("%d of %d webhooks arrived", len(in.byMessage), n)
	}
}
