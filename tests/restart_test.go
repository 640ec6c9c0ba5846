package tests_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "github.com/mattn/go-sqlite3"
)

// nextEvent follows a server's event stream behind a position until an event of
// that type comes, and returns its line.
func (s *server) nextEvent(key, kind string, after string) string {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/events", nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Last-Event-ID", after)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if ok && strings.Contains(data, `"type":"`+kind+`"`) {
			return data
		}
	}
	s.tb.Fatalf("the stream ended before a %s: %v", kind, lines.Err())
	return ""
}

// TestTypingExpiresAfterARestart kills a server while somebody types. The next
// one says that they stopped: their time is up, whoever was away.
func TestTypingExpiresAfterARestart(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	key := s.key
	var c struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &c)
	s.call(http.MethodPut, "/v1/conversations/"+c.ID+"/typing", key, `{"author":{"role":"customer"},"state":"on","ttl":1}`, nil)
	s.kill()

	again := startServer(t, folder)
	line := again.nextEvent(key, "conversation.typing_stopped", "0")
	if !strings.Contains(line, `"reason":"expired"`) {
		t.Errorf("got %s", line)
	}
}

// TestPoisonParksItsStream lets a server meet events that it does not know, as
// a newer version would have written them. Their stream stands still, on record
// and on /readyz; another stream goes on. Once they can be taken, a retry
// delivers what waited.
func TestPoisonParksItsStream(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	inbox := newHookInbox(t)
	s := startServer(t, folder)
	key := s.key
	s.call(http.MethodPost, "/v1/endpoints", key,
		`{"url":"`+inbox.url+`","dialect":"verbatim@1","events":["conversation.message_posted"],"history":"none"}`, nil)
	var sick, well struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &sick)
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Jon Snow"}}`, &well)
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	rename := poison(t, folder, sick.ID, well.ID)
	rename("conversation.message_posted", "conversation.message_sung")

	again := startServer(t, folder)
	inbox.await(99) // all of the other conversation
	var ready struct {
		Status string
		Parked []struct{ Projection, Stream, Error string }
	}
	again.call(http.MethodGet, "/readyz", key, "", &ready)
	if ready.Status != "degraded" || len(ready.Parked) != 4 || ready.Parked[0].Stream != "conversation-"+sick.ID ||
		!strings.Contains(ready.Parked[0].Error, "message_sung") {
		t.Errorf("/readyz: %+v", ready)
	}
	if !strings.Contains(again.errs.String(), "parked") {
		t.Errorf("the log does not say it: %s", again.errs)
	}
	v := verify(t, folder, 3)
	if len(v.Log.Faults.First) != 2 || v.Log.Faults.First[0].Stream != "conversation-"+sick.ID || v.Log.Faults.First[0].Version != 2 {
		t.Errorf("of what somebody wrote into the log: %+v", v.Log.Faults)
	}
	rename("conversation.message_sung", "conversation.message_posted")
	r := runCommand(t, "", "projections", "retry", "--json", "-database", database)
	if r.code != 0 || !strings.Contains(r.out, `"streams":4`) {
		t.Errorf("retry: exit %d: %s%s", r.code, r.out, r.errors)
	}
	inbox.await(101)
	again.call(http.MethodGet, "/readyz", key, "", &ready)
	if ready.Status != "ok" || len(ready.Parked) != 0 {
		t.Errorf("after the retry: %+v", ready)
	}
	if code := again.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, again.errs)
	}
	inbox.got.proveAll(t, folder)
}

// poison adds two messages to a conversation that nobody has projected yet, and
// ninety-nine to another, while nobody serves from the folder, and returns what
// gives the first of them another name. Behind a hundred others it is not in the
// tail that is proven when the file is opened.
func poison(t *testing.T, folder, sick, well string) (rename func(from, to string)) {
	t.Helper()
	lines := make([]string, 0, 100)
	template := `{"position":1,"stream":"conversation-%s","version":%d,"id":"%s","type":"conversation.message_posted","schema":1,` +
		`"time":"2026-01-01T00:00:00Z","account":"default","data":{"message_id":"%s","author":{"id":"a","role":"customer"},` +
		`"text":"hello","content_type":"text"}}`
	for version := int64(2); version <= 3; version++ {
		lines = append(lines, fmt.Sprintf(template, sick, version, newID(t), newID(t)))
	}
	for version := int64(2); version <= 100; version++ {
		lines = append(lines, fmt.Sprintf(template, well, version, newID(t), newID(t)))
	}
	if r := runCommand(t, strings.Join(lines, "\n"), "import", "-database", "sqlite:"+folder, "-"); r.code != 0 {
		t.Fatal(r.errors)
	}
	return func(from, to string) {
		t.Helper()
		db, err := sql.Open("sqlite3", filepath.Join(folder, "verbatim.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		res, err := db.ExecContext(t.Context(), "UPDATE events SET type = ? WHERE stream = ? AND version = 2 AND type = ?",
			to, "conversation-"+sick, from)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			t.Fatal(n, err)
		}
	}
}

// TestRetryIsToldAsOfThen parks a conversation, and has endpoints set otherwise,
// deleted, and begun elsewhere before a retry. What they are told of it then is what
// they would have been told, byte for byte, and a verification finds everything in
// its place, before the retry and behind it.
func TestRetryIsToldAsOfThen(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	s := startServer(t, folder)
	key := s.key
	endpoints, inboxes := make(map[string]string), make(map[string]*hookInbox) // by what becomes of it
	for _, name := range []string{"changed", "deleted", "elsewhere"} {
		inboxes[name] = newHookInbox(t)
		var made struct{ ID string }
		s.call(http.MethodPost, "/v1/endpoints", key, `{"url":"`+inboxes[name].url+
			`","dialect":"verbatim@1","events":["conversation.message_posted"],"history":"last:2"}`, &made)
		endpoints[name] = made.ID
	}
	var sick, well struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Arya Stark"}}`, &sick)
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":{"name":"Jon Snow"}}`, &well)
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	rename := poison(t, folder, sick.ID, well.ID)
	rename("conversation.message_posted", "conversation.message_sung")

	s = startServer(t, folder)
	path := func(name string) string { return "/v1/endpoints/" + endpoints[name] }
	for _, name := range slices.Sorted(maps.Keys(inboxes)) {
		inboxes[name].await(99) // all of the other conversation
		poll(t, func() bool {
			var pending struct{ Data []struct{} }
			s.call(http.MethodGet, path(name)+"/deliveries?state=pending&limit=1", key, "", &pending)
			return len(pending.Data) == 0
		})
	}
	s.call(http.MethodPatch, path("changed"), key,
		`{"events":["conversation.closed"],"history":"full","ordering":"none","filters":{"author_roles":["agent"]},"max_body_bytes":65536}`, nil)
	s.call(http.MethodDelete, path("deleted"), key, "", nil)
	s.call(http.MethodPost, path("elsewhere")+"/disable", key, "", nil)
	s.call(http.MethodPost, path("elsewhere")+"/enable", key, `{"start":"now"}`, nil)
	poll(t, func() bool {
		var ready struct{ Head, Projected int64 }
		s.call(http.MethodGet, "/readyz", key, "", &ready)
		return ready.Head == ready.Projected
	})
	rename("conversation.message_sung", "conversation.message_posted")

	unsent := func(state, reason string) map[string]int64 {
		t.Helper()
		v := verify(t, folder, 0)
		if n := v.identical(t); n < 3*99 {
			t.Errorf("%d are identical, %s", n, state)
		}
		out := make(map[string]int64)
		for _, e := range v.Deliveries.Endpoints {
			for _, kind := range e.NeverSent {
				if kind.State == state && kind.Reason == reason {
					out[e.Endpoint] += kind.Count
				}
			}
		}
		return out
	}
	parked := map[string]int64{endpoints["changed"]: 2, endpoints["deleted"]: 2, endpoints["elsewhere"]: 2}
	if diff := cmp.Diff(parked, unsent("unplanned", "stream_parked")); diff != "" {
		t.Errorf("while it is parked (-want +got):\n%s", diff)
	}
	r := runCommand(t, "", "projections", "retry", "--json", "-database", database)
	if r.code != 0 || !strings.Contains(r.out, `"streams":4`) {
		t.Errorf("retry: exit %d: %s%s", r.code, r.out, r.errors)
	}
	inboxes["changed"].await(101)
	cancelled := map[string]int64{endpoints["deleted"]: 2}
	poll(t, func() bool { return cmp.Equal(cancelled, unsent("cancelled", "endpoint deleted")) })
	if diff := cmp.Diff(map[string]int64{endpoints["elsewhere"]: 2}, unsent("cancelled", "skipped")); diff != "" {
		t.Errorf("skipped (-want +got):\n%s", diff)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
	v := verify(t, folder, 0)
	if n := v.identical(t); n != 101+2*99 {
		t.Errorf("%d are identical", n)
	}
	inboxes["changed"].got.prove(t, folder, endpoints["changed"], true)
	inboxes["deleted"].got.prove(t, folder, endpoints["deleted"], false)
	inboxes["elsewhere"].got.prove(t, folder, endpoints["elsewhere"], false)
}

// TestManagementWithAndWithoutAServer makes a key and an endpoint on the command
// line, beside a running server and without one.
func TestManagementWithAndWithoutAServer(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	r := runCommand(t, "", "keys", "create", "--json", "-database", database, "--account", "acme", "--name", "website")
	var made struct{ ID, Key, Account string }
	if err := json.Unmarshal([]byte(r.out), &made); r.code != 0 || err != nil || made.Account != "acme" {
		t.Fatalf("keys create: exit %d: %s%s", r.code, r.out, r.errors)
	}
	s := startServer(t, folder)
	r = runCommand(t, "", "endpoints", "create", "--json", "-database", database, "--account", "acme",
		"--url", "https://example.com/hook", "--dialect", "closer")
	var endpoint struct{ ID, Dialect, Secret string }
	if err := json.Unmarshal([]byte(r.out), &endpoint); r.code != 0 || err != nil || endpoint.Dialect != "closer@1" {
		t.Fatalf("endpoints create: exit %d: %s%s", r.code, r.out, r.errors)
	}
	var list struct{ Data []struct{ ID string } }
	s.call(http.MethodGet, "/v1/endpoints", made.Key, "", &list)
	if len(list.Data) != 1 || list.Data[0].ID != endpoint.ID {
		t.Errorf("the key's account has %+v", list.Data)
	}
	if r = runCommand(t, "", "keys", "revoke", "-database", database, made.ID); r.code != 0 {
		t.Errorf("keys revoke: exit %d: %s", r.code, r.errors)
	}
	if status, _, err := s.try(http.MethodGet, "/v1/endpoints", made.Key, ""); err != nil || status != http.StatusUnauthorized {
		t.Errorf("a revoked key: %d %v", status, err)
	}
	for _, bad := range [][]string{
		{"endpoints", "create", "-database", database, "--url", "https://example.com/", "--dialect", "morse"},
		{"endpoints", "show", "-database", database, endpoint.ID}, // of another account
	} {
		if r = runCommand(t, "", bad...); r.code != 1 {
			t.Errorf("%v: exit %d: %s%s", bad, r.code, r.out, r.errors)
		}
	}
	for _, bad := range [][]string{{"endpoints", "sing"}, {"rebuild"}, {"import"}, {"serve", "-database", "oracle:"}, {"dance"}} {
		if r = runCommand(t, "", bad...); r.code != 2 {
			t.Errorf("%v: exit %d: %s", bad, r.code, r.errors)
		}
	}
}

// TestTheFirstKeyIsShown: whatever was done to a data folder before, whoever serves
// it first is shown a key that works, once.
func TestTheFirstKeyIsShown(t *testing.T) {
	t.Parallel()
	database := imported(t, closerFixture)
	folder := strings.TrimPrefix(database, "sqlite:")
	if left := run(t, "keys", "list", "--json", "-database", database); left != "" {
		t.Errorf("a key was made that nobody was shown: %s", left)
	}
	s := startServer(t, folder)
	s.call(http.MethodGet, "/v1/endpoints", s.key, "", nil)
	s.stop()
	if again := startServer(t, folder); again.key != "" {
		t.Error("another key was made at the second start")
	}
}

// TestAskingSendsNothing lists without a server what a receiver that hangs is still
// owed: nothing goes out, and nobody waits for it.
func TestAskingSendsNothing(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	arrived, gone := make(chan struct{}, 100), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-gone
	}))
	t.Cleanup(func() { close(gone); receiver.Close() })
	s := startServer(t, folder)
	var ep struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.URL+`","dialect":"verbatim@1","events":["conversation.created"]}`, &ep)
	s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Jon"}}`, nil)
	<-arrived
	s.kill()
	for _, args := range [][]string{
		{"endpoints", "list"},
		{"endpoints", "show", ep.ID},
		{"deliveries", ep.ID},
		{"feed", ep.ID},
		{"keys", "list"},
		{"replays", "list", ep.ID},
		{"projections", "list"},
	} {
		run(t, append(args, "-database", "sqlite:"+folder, "-allow-private-networks", "127.0.0.0/8")...)
		if len(arrived) > 0 {
			t.Fatalf("%v had something sent", args)
		}
	}
}
