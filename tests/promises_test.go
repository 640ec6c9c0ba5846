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

	"verbatim/eventstore"
)

// Each promise of the product has a test that bears its name. Those that only
// the outside can see are here and in crash_test.go; the others stand in their
// rooms: TestProjectedExactlyOnce, TestBodyIsAPureFunctionOfTheLog,
// TestBadInputChangesNothing.

// TestOneOrder has 64 clients write to one conversation, and as many to one of
// their own, while a reader follows. What the reader sees is 1, 2, 3, … at every
// moment, and so are the versions of each stream: nothing is lost.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	const clients, each = 64, 20
	r := openRig(t)
	shared := r.create(t)
	own := r.createMany(t, clients)
	latch, stop := r.store.Events().Listen()
	defer stop()
	var wg sync.WaitGroup
	for _, id := range own {
		wg.Go(func() {
			for range each {
				r.say(t, shared)
				r.say(t, id)
			}
		})
	}
	const total = 1 + clients + 2*clients*each
	seen, versions := int64(0), make(map[string]int64)
	for seen < total {
		for e, err := range r.store.ReadLog(t.Context(), seen) {
			if err != nil {
				t.Fatal(err)
			}
			if seen++; e.Position != seen {
				t.Fatalf("position %d where %d was due", e.Position, seen)
			}
			if versions[e.Stream]++; e.Version != versions[e.Stream] {
				t.Fatalf("%s: version %d where %d was due", e.Stream, e.Version, versions[e.Stream])
			}
		}
		if seen < total {
			<-latch
		}
	}
	wg.Wait()
	if got := versions[eventstore.StreamName("conversation", shared)]; got != 1+clients*each {
		t.Errorf("the shared conversation is at version %d, want %d", got, 1+clients*each)
	}
}

// moody is a receiver that turns the messages of one conversation away until it
// is told otherwise, and remembers every attempt.
type moody struct {
	url string

	mu       sync.Mutex
	changed  *sync.Cond
	refuse   string        // conversation
	hold     chan struct{} // what comes waits until it is closed, if there is one
	held     int           // so many have waited
	attempts []attempt
	got      received
}

type attempt struct {
	id, conversation string
	version          int64
	taken            bool
}

func newMoody(tb testing.TB) *moody {
	tb.Helper()
	m := &moody{}
	m.changed = sync.NewCond(&m.mu)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var hook struct {
			Data struct {
				Conversation struct{ ID string }
				Change       struct{ Version int64 }
			}
		}
		if err == nil {
			err = json.Unmarshal(body, &hook)
		}
		if err != nil {
			tb.Error(err)
		}
		m.got.add(tb, r.Header.Get("webhook-id"), body)
		m.mu.Lock()
		defer m.mu.Unlock()
		if hold := m.hold; hold != nil {
			m.held++
			m.changed.Broadcast()
			m.mu.Unlock()
			<-hold
			m.mu.Lock()
		}
		a := attempt{r.Header.Get("webhook-id"), hook.Data.Conversation.ID, hook.Data.Change.Version, true}
		if a.conversation == m.refuse {
			a.taken = false
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		m.attempts = append(m.attempts, a)
		m.changed.Broadcast()
	}))
	tb.Cleanup(srv.Close)
	m.url = srv.URL
	return m
}

func (m *moody) setRefuse(conversation string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = conversation
}

// await returns the attempts for a conversation once enough of them are such.
func (m *moody) await(tb testing.TB, conversation string, n int, such func(attempt) bool) []attempt {
	tb.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var of []attempt
	enough := func() bool {
		of = slices.DeleteFunc(slices.Clone(m.attempts), func(a attempt) bool { return a.conversation != conversation })
		count := 0
		for _, a := range of {
			if such(a) {
				count++
			}
		}
		return count >= n
	}
	if !await(m.changed, enough) {
		tb.Fatalf("%d attempts for %s came, not enough of them", len(of), conversation)
	}
	return of
}

// TestDeliveredInOrderUnderOneID refuses the webhooks of one conversation. It
// holds back nothing but itself; after a kill and a restart its webhooks come,
// in order, each under one id over all attempts.
func TestDeliveredInOrderUnderOneID(t *testing.T) {
	t.Parallel()
	const messages = 5
	folder := filepath.Join(t.TempDir(), "data")
	receiver := newMoody(t)
	s := startServer(t, folder)
	key := s.key
	s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"retry_schedule":[`+schedule(30, "300ms")+`]}`, nil)
	var sick, well struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &sick)
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Jon Snow"}}`, &well)
	receiver.await(t, sick.ID, 1, taken)
	receiver.setRefuse(sick.ID)
	for n := range messages {
		for _, id := range []string{sick.ID, well.ID} {
			s.call(http.MethodPost, "/v1/conversations/"+id+"/messages", key, fmt.Sprintf(`{"text":"message %d"}`, n), nil)
		}
	}
	inOrder(t, receiver.await(t, well.ID, 1+messages, taken), 1+messages)
	receiver.await(t, sick.ID, 3, func(a attempt) bool { return !a.taken }) // it is tried again and again
	s.kill()
	receiver.setRefuse("")

	again := startServer(t, folder)
	inOrder(t, receiver.await(t, sick.ID, 1+messages, taken), 1+messages)
	if code := again.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, again.errs)
	}
}

func taken(a attempt) bool { return a.taken }

// schedule is a retry schedule of n equal delays.
func schedule(n int, delay string) string {
	return strings.TrimSuffix(strings.Repeat(`"`+delay+`",`, n), ",")
}

// inOrder holds the attempts of one conversation against the promise.
func inOrder(tb testing.TB, attempts []attempt, versions int64) {
	tb.Helper()
	ids := make(map[int64]string)
	due := int64(1)
	for _, a := range attempts {
		if known, ok := ids[a.version]; ok && known != a.id {
			tb.Errorf("version %d came under %s and under %s", a.version, known, a.id)
		}
		ids[a.version] = a.id
		switch {
		case a.version > due:
			tb.Errorf("version %d came before %d was taken", a.version, due)
		case a.version == due && a.taken:
			due++
		}
	}
	if due != versions+1 || len(ids) != int(versions) {
		tb.Errorf("%d versions came, %d were taken in order; want %d", len(ids), due-1, versions)
	}
}

// TestNothingIsDroppedInSilence has three endpoints: one that takes everything,
// one that is gone, one that fails for ever. Each delivery ends, or waits for its
// endpoint to be enabled, with a reason and every attempt on record; none is
// missing. That the endpoint is gone stands on its own stream.
func TestNothingIsDroppedInSilence(t *testing.T) {
	t.Parallel()
	const retries = 3
	s := startServer(t, filepath.Join(t.TempDir(), "data"))
	for _, test := range []struct {
		name, state, reason string
		status, attempts    int
	}{
		{"well", "delivered", "", http.StatusOK, 1},
		{"gone", "pending", "gone", http.StatusGone, 1},
		{"failing", "parked", "exhausted", http.StatusInternalServerError, 1 + retries},
	} {
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.status) }))
		t.Cleanup(receiver.Close)
		var endpoint struct{ ID string }
		s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.URL+`","dialect":"closer@1","retry_schedule":[`+schedule(retries, "10ms")+`]}`, &endpoint)
		var c struct{ ID string }
		s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"}}`, &c)
		type delivery struct {
			ID, State, Reason string
			Attempts          json.RawMessage
		}
		var list struct{ Data []delivery }
		poll(t, func() bool {
			s.call(http.MethodGet, "/v1/endpoints/"+endpoint.ID+"/deliveries", s.key, "", &list)
			return len(list.Data) == 1 && (list.Data[0].State != "pending" || list.Data[0].Reason != "")
		})
		var now struct {
			Disabled bool
			Cause    string `json:"disabled_cause"`
		}
		poll(t, func() bool {
			s.call(http.MethodGet, "/v1/endpoints/"+endpoint.ID, s.key, "", &now)
			return now.Disabled == (test.name == "gone")
		})
		if now.Disabled && now.Cause != "gone" {
			t.Errorf("%s: disabled for %q", test.name, now.Cause)
		}
		var whole struct {
			State, Reason string
			Attempts      []struct{ Number, Status int }
		}
		s.call(http.MethodGet, "/v1/deliveries/"+list.Data[0].ID, s.key, "", &whole)
		if whole.State != test.state || whole.Reason != test.reason || len(whole.Attempts) != test.attempts {
			t.Errorf("%s: %+v", test.name, whole)
		}
		for i, a := range whole.Attempts {
			if a.Number != i+1 || a.Status != test.status {
				t.Errorf("%s: attempt %d is %+v", test.name, i+1, a)
			}
		}
	}
}
