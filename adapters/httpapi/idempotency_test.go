package httpapi_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
)

// The first answer again, byte for byte, whatever has happened since.
func TestRepeatedWritesAreAnsweredAgain(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	message := c + "/messages/" + h.do("POST", c+"/messages", object{"text": "Hi", "content_type": "audio"}).is(201).text("id")
	ep := "/v1/endpoints/" + h.do("POST", "/v1/endpoints", object{"url": "https://example.com/", "dialect": "verbatim"}).is(201).text("id")

	for i, w := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"POST", "/v1/conversations", object{"customer": object{}, "message": object{"text": "Hi"}}, 201},
		{"POST", c + "/messages", object{"text": "Hello"}, 201},
		{"PUT", c + "/status", object{"status": "pending"}, 200},
		{"PATCH", c, object{"subject": "S"}, 200},
		{"PATCH", c, object{"subject": "S"}, 200}, // nothing to do
		{"PATCH", c + "/customer", object{"name": "Lord Snow"}, 200},
		{"PUT", c + "/assignee", object{"agent": object{"name": "Bob"}}, 200},
		{"PUT", c + "/read", object{"by": object{}, "up_to": 2}, 200},
		{"PUT", c + "/typing", object{"state": "on"}, 204},
		{"POST", c + "/activities", object{"kind": "task_completed"}, 201},
		{"PATCH", message, object{"text": "Hi!"}, 200},
		{"POST", message + "/played", object{"by": object{}}, 204},
		{"DELETE", message, nil, 204},
		{"POST", c + "/close", nil, 200},
		{"POST", c + "/reopen", nil, 200},
		{"POST", "/v1/endpoints", object{"url": "https://example.com/2", "dialect": "closer", "headers": object{"X-A": "b"}}, 201},
		{"PATCH", ep, object{"rate_limit": 5}, 200},
		{"POST", ep + "/rotate-secret", nil, 200},
		{"POST", ep + "/disable", object{"reason": "r"}, 200},
		{"POST", ep + "/enable", nil, 200},
		{"DELETE", ep, nil, 204},
	} {
		name := fmt.Sprintf("%d %s %s", i, w.method, w.path)
		key := idempotent(fmt.Sprint("key-", i))
		first := h.do(w.method, w.path, w.body, key).is(w.status)
		// Something else happens in between.
		if r := h.do("POST", c+"/messages", object{"text": "meanwhile"}); r.status != 201 {
			r.fails(409, "conversation.already_closed")
		}
		head := h.head()
		again := h.do(w.method, w.path, w.body, key).is(w.status)
		if !bytes.Equal(first.body, again.body) {
			t.Errorf("%s: answered\n%s\nthen\n%s", name, first.body, again.body)
		}
		for _, same := range []string{"ETag", "Location", "Content-Type"} {
			if first.header.Get(same) != again.header.Get(same) {
				t.Errorf("%s: %s was %q, then %q", name, same, first.header.Get(same), again.header.Get(same))
			}
		}
		if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: replayed %q, then %q", name, first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"))
		}
		if h.head() != head {
			t.Errorf("%s: the repeat was recorded", name)
		}
	}
}

// A message's client_id makes a resend safe by itself.
func TestClientIDIsAKey(t *testing.T) {
	t.Parallel()
	h := open(t)
	c, d := h.conversation(), h.conversation()
	body := object{"text": "Hi", "client_id": "c-1"}
	first := h.do("POST", c+"/messages", body).is(201)
	again := h.do("POST", c+"/messages", body).is(201)
	if !bytes.Equal(first.body, again.body) || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%s, then %s", first.body, again.body)
	}
	h.do("POST", d+"/messages", body).is(201) // of another conversation
	h.do("POST", c+"/messages", object{"text": "Other", "client_id": "c-1"}).fails(422, "idempotency_key_reused")
	h.do("GET", c, nil).has("message_count", 1)
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	h.do("POST", c+"/close", nil).is(200)
	h.do("PUT", c+"/status", object{"status": "pending"}, idempotent("k")).fails(409, "conversation.already_closed")
	h.do("POST", c+"/reopen", nil).is(200)
	h.do("PUT", c+"/status", object{"status": "pending"}, idempotent("k")).is(200).has("status", "pending")
}

// While a request is under way, a second one with its key is told so.
func TestKeyInUse(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := open(t, func(cfg *httpapi.Config) {
		check := cfg.CheckURL
		cfg.CheckURL = func(url string) error {
			if url == "https://slow.example.com/" {
				close(entered)
				<-leave
			}
			return check(url)
		}
	})
	slow := object{"url": "https://slow.example.com/", "dialect": "verbatim"}
	done := make(chan *reply)
	go func() {
		r, err := h.send("POST", "/v1/endpoints", slow, idempotent("k"))
		if err != nil {
			t.Error(err)
		}
		done <- r
	}()
	select {
	case <-entered:
	case <-time.After(10 * time.Second):
		t.Fatal("the first request did not get there")
	}
	r := h.do("POST", "/v1/endpoints", slow, idempotent("k")).fails(409, "idempotency_key_in_use")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Other keys and other accounts are not concerned.
	h.do("POST", "/v1/conversations", object{"customer": jon}, idempotent("k"), as(h.other)).is(201)
	h.do("POST", "/v1/conversations", object{"customer": jon}, idempotent("l")).is(201)
	close(leave)
	(<-done).is(201)
}

// Of many requests with one key at a time, one is done; the others get its
// answer or are told to wait for it.
func TestConcurrentRequestsWithOneKey(t *testing.T) {
	t.Parallel()
	h := open(t)
	const writers = 16
	done := make(chan *reply, writers)
	for range writers {
		go func() {
			r, err := h.send("POST", "/v1/conversations", object{"customer": object{}}, idempotent("k"))
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
	}
	var first []byte
	for range writers {
		switch r := <-done; {
		case r == nil:
		case r.status == 409:
			r.fails(409, "idempotency_key_in_use")
		case first == nil:
			first = r.is(201).body
		case !bytes.Equal(first, r.is(201).body):
			t.Errorf("answered %s and %s", first, r.body)
		}
	}
	if h.head() != 2 {
		t.Errorf("the log has %d events, want a contact and a conversation", h.head())
	}
}
