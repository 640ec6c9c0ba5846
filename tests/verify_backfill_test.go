package tests_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// TestVerifyKnowsWhatABackfillOwes begins an endpoint in the past: what happened
// before it was there is owed to it, and missing if it is taken away.
func TestVerifyKnowsWhatABackfillOwes(t *testing.T) {
	t.Parallel()
	p := prove(t)
	folder, db := p.copy(t)
	// The key is of the folder that was copied: a new one is made for this.
	var key struct{ Key string }
	commandJSON(t, &key, "keys", "create", "--json", "-database", "sqlite:"+folder, "--account", "default", "--name", "test")
	receiver := newHookInbox(t)
	s := startServer(t, folder)
	var made struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", key.Key, `{"url":"`+receiver.url+`","dialect":"verbatim@1","history":"none",
		"events":["conversation.message_posted"],"start":"beginning"}`, &made)
	receiver.await(2 * provenMessages)
	poll(t, func() bool {
		var pending struct{ Data []struct{} }
		s.call(http.MethodGet, "/v1/endpoints/"+made.ID+"/deliveries?state=pending&limit=1", key.Key, "", &pending)
		return len(pending.Data) == 0
	})
	if code := s.stop(); code != 0 {
		t.Fatal(s.errs)
	}
	v := verify(t, folder, 0, "--endpoint", made.ID)
	if n := v.identical(t); n != 2*provenMessages || len(v.Deliveries.Endpoints) != 1 || len(v.Deliveries.Endpoints[0].NeverSent) > 0 {
		t.Errorf("%d are identical: %+v", n, v.Deliveries)
	}
	receiver.got.prove(t, folder, made.ID, false)
	set(t, db, "DELETE FROM deliveries WHERE endpoint = ? AND stream = ? AND version = 2", made.ID, p.talk)
	v = verify(t, folder, 3)
	if len(v.Deliveries.Missing) != 1 || v.Deliveries.Missing[0].Endpoint != made.ID {
		t.Errorf("missing: %+v", v.Deliveries.Missing)
	}
}

// commandJSON runs the program, which must do what it is told, and decodes what it
// prints.
func commandJSON(t *testing.T, answer any, args ...string) {
	t.Helper()
	r := runCommand(t, "", args...)
	if err := json.Unmarshal([]byte(r.out), answer); r.code != 0 || err != nil {
		t.Fatalf("%v: exit %d: %s%s", args, r.code, r.out, r.errors)
	}
}
