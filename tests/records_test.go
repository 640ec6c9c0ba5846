package tests_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhatWasGivenUpIsSentAgain has a receiver refuse a conversation until all of
// it is parked. Sent again with one command it arrives in order, under the ids
// that it had; and so does a single delivery, once more.
func TestWhatWasGivenUpIsSentAgain(t *testing.T) {
	t.Parallel()
	const messages = 3
	folder := filepath.Join(t.TempDir(), "data")
	receiver := newMoody(t)
	s := startServer(t, folder)
	var ep, c struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.*"],"retry_schedule":["0s"]}`, &ep)
	s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"}}`, &c)
	receiver.await(t, c.ID, 1, taken)
	receiver.setRefuse(c.ID)
	for range messages {
		s.call(http.MethodPost, "/v1/conversations/"+c.ID+"/messages", s.key, `{"text":"Valar morghulis"}`, nil)
	}
	database := "sqlite:" + folder
	command := func(args ...string) []string {
		t.Helper()
		r := runCommand(t, "", append(args, "--json", "-database", database)...)
		if r.code != 0 {
			t.Fatalf("%v: %d %s", args, r.code, r.errors)
		}
		return strings.Split(strings.TrimSuffix(r.out, "\n"), "\n")
	}
	list := func(state string) (rows []string) {
		t.Helper()
		for _, line := range command("deliveries", ep.ID, "-state", state, "-conversation", c.ID) {
			if line != "" {
				rows = append(rows, line)
			}
		}
		return rows
	}
	poll(t, func() bool { return len(list("parked")) == messages })
	refused := receiver.await(t, c.ID, 2*messages, func(a attempt) bool { return !a.taken })
	receiver.setRefuse("")

	var job struct {
		State       string
		Total, Done int
	}
	lines := command("endpoints", "retry-failed", ep.ID, "-wait", "-reasons", "exhausted")
	if err := json.Unmarshal([]byte(lines[0]), &job); err != nil || job.State != "done" || job.Done != messages {
		t.Fatalf("%v %s", err, lines)
	}
	sent := receiver.await(t, c.ID, 1+messages, taken)
	for i, a := range sent[len(refused):] {
		if want := refused[1+2*i]; !a.taken || a.id != want.id || a.version != int64(i+2) {
			t.Errorf("%d: got %+v, want %+v", i, a, want)
		}
	}

	poll(t, func() bool { return len(list("delivered")) == 1+messages })
	var oldest struct {
		ID        string
		WebhookID string `json:"webhook_id"`
	}
	rows := list("delivered")
	if err := json.Unmarshal([]byte(rows[len(rows)-1]), &oldest); err != nil {
		t.Fatal(err)
	}
	command("redeliver", oldest.ID)
	sent = receiver.await(t, c.ID, 2+messages, taken)
	if last := sent[len(sent)-1]; last.id != oldest.WebhookID || last.version != 1 {
		t.Errorf("got %+v, want %+v", last, oldest)
	}
	if r := runCommand(t, "", "redeliver", "dlv_0", "-database", database); r.code != 1 || !strings.Contains(r.errors, "delivery.not_found") {
		t.Errorf("an unknown delivery: %d %s", r.code, r.errors)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
	receiver.got.proveAll(t, folder)
}

// TestEndpointsAreTested sends an endpoint a test event from the command line,
// which fails where the endpoint does not accept it.
func TestEndpointsAreTested(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "data")
	receiver := newMoody(t)
	s := startServer(t, folder)
	var ep struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","events":[]}`, &ep)
	try := func() result {
		return runCommand(t, "", "endpoints", "test", ep.ID, "--json", "-database", "sqlite:"+folder)
	}
	if r := try(); r.code != 1 || !strings.Contains(r.errors, "answered 503") { // it is about no conversation
		t.Errorf("one that is refused: %d %s", r.code, r.errors)
	}
	receiver.setRefuse("another")
	if r := try(); r.code != 0 || !strings.Contains(r.out, `"accepted":true`) {
		t.Errorf("one that is accepted: %d %s %s", r.code, r.out, r.errors)
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.errs)
	}
}
