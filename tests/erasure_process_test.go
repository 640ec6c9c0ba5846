package tests_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestEraseCommand has the program take a person out of the log while it serves,
// killed in the middle of it: with everything around, deliveries that waited, and
// every format rebuilt from what is left.
func TestEraseCommand(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	database := "sqlite:" + folder
	s := startProcess(t, frail(t), folder, []string{"VERBATIM_FAIL_AT=after-overwriting:1"})
	key := s.key
	inbox := newHookInbox(t)
	var ep, conv struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", key,
		`{"url":"`+inbox.url+`","dialect":"verbatim@1","events":["conversation.message_posted"]}`, &ep)
	s.call(http.MethodPost, "/v1/endpoints/"+ep.ID+"/disable", key, "", nil)
	jon := `{"id":"` + jonsID + `","name":"SECRET Jon","email":"SECRET@x"}`
	s.call(http.MethodPost, "/v1/conversations", key,
		`{"customer":`+jon+`,"subject":"SECRET subject","attributes":{"ip":"SECRET ip"},"message":{"text":"SECRET one"}}`, &conv)
	said := 1
	for _, body := range []string{
		`{"text":"SECRET two","attachments":[{"url":"https://SECRET/file","file_type":"audio"}]}`,
		`{"text":"Amy answers","author":{"role":"agent","name":"Amy"}}`,
	} {
		s.call(http.MethodPost, "/v1/conversations/"+conv.ID+"/messages", key, body, nil)
		said++
	}
	s.call(http.MethodPost, "/v1/widget/triggered", key, `{"contact":`+jon+`,"conversation":"`+conv.ID+`","attributes":{"referer":"SECRET"}}`, nil)

	id := url.PathEscape(jonsID)
	if r := runCommand(t, "", "erase", "-database", database); r.code != 2 || !strings.Contains(r.errors, "-contact") {
		t.Errorf("without a contact: %+v", r)
	}
	if r := runCommand(t, "", "erase", "--json", "-database", database, "--contact", "nobody"); r.code != 1 || !strings.Contains(r.errors, "contact.not_found") {
		t.Errorf("of nobody: %+v", r)
	}
	run(t, "keys", "create", "-database", database, "--account", "other")
	if r := runCommand(t, "", "erase", "--json", "-database", database, "--account", "other", "--contact", jonsID); r.code != 1 || !strings.Contains(r.errors, "contact.not_found") {
		t.Errorf("of somebody in another account: %+v", r)
	}
	const events = 5 // contact.created, conversation.created, two messages, the widget
	var dry erasedView
	if err := json.Unmarshal([]byte(run(t, "erase", "--json", "--dry-run", "-database", database, "--contact", jonsID)), &dry); err != nil {
		t.Fatal(err)
	}
	if dry.ID != "" || dry.State != "" || !dry.DryRun || dry.Events != events || dry.Conversations != 1 || int(dry.Deliveries) != said {
		t.Errorf("a dry run says %+v", dry)
	}
	if len(copies(t, folder, theirs)) == 0 {
		t.Fatal("it is in no file")
	}

	var begun erasedView
	s.call(http.MethodPost, "/v1/contacts/"+id+"/erase", key, `{"by":{"id":"dpo","name":"Officer"}}`, &begun)
	<-s.done // it was killed behind the first batch
	if begun.State != "running" {
		t.Errorf("it began as %+v", begun)
	}
	s = startServer(t, folder)
	var ended erasedView
	poll(t, func() bool {
		s.call(http.MethodGet, "/v1/erasures/"+begun.ID, key, "", &ended)
		return ended.State != "running"
	})
	if ended.State != "done" || ended.Events != events || ended.Conversations != 1 || int(ended.Deliveries) != said {
		t.Fatalf("it ended as %+v", ended)
	}
	if left := copies(t, folder, theirs); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if len(copies(t, folder, "Amy answers")) == 0 {
		t.Error("what Amy said is gone")
	}

	// What waited goes out without them.
	s.call(http.MethodPost, "/v1/endpoints/"+ep.ID+"/enable", key, "", nil)
	inbox.await(said)
	if bodies := inbox.bodies(); strings.Contains(bodies, theirs) || !strings.Contains(bodies, "Amy answers") || !strings.Contains(bodies, "Deleted user") {
		t.Errorf("sent was %s", bodies)
	}
	for _, path := range []string{"/v1/contacts/" + id, "/v1/conversations/" + conv.ID, "/v1/conversations/" + conv.ID + "/messages", "/v1/conversations", "/v1/events"} {
		if status, b, err := s.try(http.MethodGet, path, key, ""); err != nil || status != 200 || strings.Contains(string(b), theirs) {
			t.Errorf("%s: %d %s %v", path, status, b, err)
		}
	}
	for _, refused := range [][3]string{
		{http.MethodPatch, "/v1/contacts/" + id, `{"name":"Jon"}`},
		{http.MethodPost, "/v1/widget/triggered", `{"contact":` + jon + `}`},
	} {
		if status, b, err := s.try(refused[0], refused[1], key, refused[2]); err != nil || status != http.StatusGone || !strings.Contains(string(b), "contact.erased") {
			t.Errorf("%v: %d %s %v", refused, status, b, err)
		}
	}

	// Every format is rebuilt from what is left; again there is nothing to do.
	for _, d := range dialects(t) {
		if out := rebuilt(t, database, d); strings.Contains(out, theirs) || out == "" {
			t.Errorf("rebuilt in %s: %s", d.Name(), out)
		}
	}
	if out := run(t, "erase", "-database", database, "--contact", jonsID); !strings.Contains(out, "0 events of 0 conversations") {
		t.Errorf("erased again: %s", out)
	}
	told := run(t, "export", "-database", database, "-")
	if n := strings.Count(told, `"type":"contact.erased"`); n != 1 || !strings.Contains(told, `"by":{"id":"dpo","role":"system","name":"Officer"`) {
		t.Errorf("it was told %d times: %s", n, told)
	}
	if n := strings.Count(told, `"erased":{"schema":1,"digest":"`); n != events {
		t.Errorf("%d lines are marked", n)
	}

	// Whoever comes back is welcome, also without a server the second time.
	s.call(http.MethodPost, "/v1/conversations", key, `{"customer":`+jon+`,"message":{"text":"SECRET again"}}`, nil)
	if s.stop() != 0 {
		t.Error(s.errs)
	}
	if out := run(t, "erase", "-database", database, "--contact", jonsID, "--by", "Officer"); !strings.Contains(out, "2 events of 1 conversation ") {
		t.Errorf("erased the second time: %s", out)
	}
	if left := copies(t, folder, theirs); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

type erasedView struct {
	ID            string
	State         string
	DryRun        bool `json:"dry_run"`
	Events        int64
	Conversations int64
	Deliveries    int64
}
