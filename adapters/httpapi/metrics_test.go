package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/httpapi"
)

func TestMetricsAreServedToWhoeverAsks(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) {
		cfg.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "up 1\n")
		})
	})
	r := h.do("GET", "/metrics", nil, header("Authorization", "")).is(200)
	if string(r.body) != "up 1\n" || r.header.Get("Content-Type") != "text/plain; version=0.0.4" {
		t.Errorf("%s: %s", r.header.Get("Content-Type"), r.body)
	}
	open(t).do("GET", "/metrics", nil).fails(404, "no_such_route")
}

// What is told of a request is its operation, never its own path.
func TestRequestsAreToldOf(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var served []string
	h := open(t, func(cfg *httpapi.Config) {
		cfg.Served = func(_ context.Context, s httpapi.Served) {
			mu.Lock()
			defer mu.Unlock()
			if s.Took <= 0 || s.Took > time.Minute {
				t.Errorf("it took %v", s.Took)
			}
			served = append(served, fmt.Sprint(s.Route, " ", s.Status, " ", s.Stream, " ", s.RequestID))
		}
	})
	c := h.conversation()
	served = nil
	id := header("X-Request-Id", "r")
	h.do("GET", c, nil, id).is(200)
	h.do("GET", "/livez", nil, id).is(200)
	h.do("GET", c, nil, id, as("wrong")).is(401)
	h.do("POST", c+"/messages", "{", id).is(400)
	h.do("PUT", c+"/typing", object{"author": object{"id": "a", "role": "agent"}, "state": "on"}, id).is(204)
	h.do("GET", "/v1/secret/path", nil, id).is(404)
	h.do("PATCH", "/livez", nil, id).is(405)
	h.do("BREW", c, nil, id).is(405)
	want := []string{
		"GET /v1/conversations/{id} 200 false r", "GET /livez 200 false r", "GET /v1/conversations/{id} 401 false r",
		"POST /v1/conversations/{id}/messages 400 false r", "PUT /v1/conversations/{id}/typing 204 false r",
		" 404 false r", " 405 false r", " 405 false r",
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff(want, served); diff != "" {
		t.Error(diff)
	}
}

func TestEventStreamsAreCounted(t *testing.T) {
	t.Parallel()
	ended := make(chan httpapi.Served, 1)
	h := open(t, func(cfg *httpapi.Config) {
		cfg.Served = func(_ context.Context, s httpapi.Served) {
			if s.Stream {
				ended <- s
			}
		}
	})
	h.conversation()
	l := h.listen("/v1/events")
	<-l.events // it is open
	if n := h.api.Streams(); n != 1 {
		t.Errorf("%d streams", n)
	}
	l.cancel()
	if s := <-ended; s.Route != "GET /v1/events" || s.Status != 200 {
		t.Errorf("got %+v", s)
	}
	if n := h.api.Streams(); n != 0 {
		t.Errorf("%d streams", n)
	}
}
