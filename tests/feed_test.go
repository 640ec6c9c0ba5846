package tests_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatWasMissedIsPulled takes a receiver down and then its server, in the
// middle of what it is sent. By pull the receiver gets what it missed, from the
// position of the last event that it took, and by the cursor that the server kept;
// and when it is sent the rest after all, that is the same under the same ids.
func TestWhatWasMissedIsPulled(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	changed, down := sync.NewCond(&mu), false
	var took []string // webhook-id and body
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		defer changed.Broadcast()
		if err != nil || down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		took = append(took, r.Header.Get("Webhook-Id")+" "+string(body))
	}))
	t.Cleanup(receiver.Close)
	arrived := func(n int) []string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !await(changed, func() bool { return len(took) >= n }) {
			t.Fatalf("%d of %d came", len(took), n)
		}
		return slices.Clone(took)
	}

	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	key := s.key
	var ep, c struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.URL+`","dialect":"verbatim@1","retry_schedule":["1s"`+strings.Repeat(`,"1s"`, 19)+`]}`, &ep)
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &c)
	say := func(text string) {
		s.call(http.MethodPost, "/v1/conversations/"+c.ID+"/messages", key, `{"text":"`+text+`"}`, nil)
	}
	say("a girl has no name")
	position := func(took string) int64 {
		t.Helper()
		var b struct {
			Data struct{ Change struct{ Position int64 } }
		}
		_, body, _ := strings.Cut(took, " ")
		if err := json.Unmarshal([]byte(body), &b); err != nil {
			t.Fatal(err)
		}
		return b.Data.Change.Position
	}
	before := arrived(3) // the contact, in a lane of its own; the conversation, the message
	slices.SortFunc(before, func(a, b string) int { return int(position(a) - position(b)) })

	mu.Lock()
	down = true
	mu.Unlock()
	const missed = 5
	for i := range missed {
		say(fmt.Sprint("missed ", i))
	}
	command := func(args ...string) (got []string) {
		t.Helper()
		r := runCommand(t, "", append([]string{"feed", ep.ID, "-database", "sqlite:" + folder}, args...)...)
		if r.code != 0 {
			t.Fatalf("%v: %d %s", args, r.code, r.errors)
		}
		for line := range strings.Lines(r.out) {
			var item struct {
				WebhookID string `json:"webhook_id"`
				Body      json.RawMessage
			}
			if err := json.Unmarshal([]byte(line), &item); err != nil {
				t.Fatal(err)
			}
			got = append(got, item.WebhookID+" "+string(item.Body))
		}
		return got
	}
	after := fmt.Sprint(position(before[len(before)-1]))
	pulled := command("-after", after)
	first := command("-cursor", "crm", "-limit", "4")
	s.kill()
	if diff := cmp.Diff(slices.Concat(before, pulled), slices.Concat(first, command("-cursor", "crm"))); diff != "" {
		t.Errorf("by cursor (-before and behind +pulled):\n%s", diff)
	}
	if again := command("-cursor", "crm"); len(again) > 0 {
		t.Errorf("what was acknowledged comes again: %s", again)
	}

	mu.Lock()
	down = false
	mu.Unlock()
	s = startServer(t, folder)
	if diff := cmp.Diff(arrived(len(before) + missed)[len(before):], pulled); diff != "" {
		t.Errorf("(-sent +pulled):\n%s", diff)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
}
