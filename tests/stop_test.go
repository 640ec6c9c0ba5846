package tests_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// killGrace is how long those who stop processes commonly wait before they kill:
// docker stop does so after 10 seconds, others later.
const killGrace = 10 * time.Second

// TestStoppingBesideAReceiverThatHangs: an attempt that hangs and a request that
// waits for another one hold a server up for less than those who stop it wait,
// and what did not come to an end is made again by the next one.
func TestStoppingBesideAReceiverThatHangs(t *testing.T) {
	t.Parallel()
	arrived, released := make(chan string, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived <- r.Header.Get("Webhook-Id")
		select {
		case <-released:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	await := func() string {
		select {
		case id := <-arrived:
			return id
		case <-time.After(patience):
			t.Fatal("nothing arrived")
			return ""
		}
	}
	folder := filepath.Join(t.TempDir(), "data")
	s := startServer(t, folder)
	var ep struct{ ID string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.URL+`","dialect":"verbatim","events":["conversation.created"]}`, &ep)
	s.call(http.MethodPost, "/v1/conversations", s.key, `{"customer":{"name":"Arya Stark"}}`, nil)
	id := await()
	tested := make(chan struct{})
	go func() {
		defer close(tested)
		_, _, _ = s.try(http.MethodPost, "/v1/endpoints/"+ep.ID+"/test", s.key, "") // it is cut off
	}()
	await()

	began := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatal("the server did not stop")
	}
	if took := time.Since(began); took >= killGrace {
		t.Errorf("stopping took %v", took)
	}
	<-tested
	close(released)

	startServer(t, folder)
	if again := await(); again != id {
		t.Errorf("what was under way was %s; %s came again", id, again)
	}
}
