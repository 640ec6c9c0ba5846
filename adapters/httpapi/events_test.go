package httpapi_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"verbatim/adapters/httpapi"
	"verbatim/eventstore"
)

func TestListEvents(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation() // positions 1 and 2
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(h.other)).is(201)
	for range 4 {
		h.do("POST", c+"/messages", object{"text": "<Hi> & bye"}).is(201)
	}
	positions := func(path, parameters string, options ...option) (all []int64) {
		for next := path + "?" + parameters; next != ""; {
			r := h.do("GET", next, nil, options...).is(200)
			for i := range r.get("data").([]any) {
				all = append(all, r.number(fmt.Sprintf("data.%d.position", i)))
			}
			next = ""
			if cursor, ok := r.get("page.next").(string); ok {
				next = path + "?limit=2&cursor=" + cursor
			}
		}
		return all
	}
	for _, tt := range []struct {
		path, parameters, want string
		options                []option
	}{
		{"/v1/events", "limit=2", "[1 2 5 6 7 8]", nil},
		{"/v1/events", "after=5&limit=2", "[6 7 8]", nil},
		{"/v1/events", "after=8", "[]", nil},
		{"/v1/events", "limit=1000", "[3 4]", []option{as(h.other)}},
		{c + "/events", "limit=2", "[2 5 6 7 8]", nil},
		{c + "/events", "after=6&limit=1", "[7 8]", nil},
	} {
		if got := fmt.Sprint(positions(tt.path, tt.parameters, tt.options...)); got != tt.want {
			t.Errorf("%s?%s: %s, want %s", tt.path, tt.parameters, got, tt.want)
		}
	}
	// What is listed is the recorded event, in the format that import reads.
	body := string(h.do("GET", "/v1/events", nil).is(200).body)
	for r, err := range h.store.ReadLog(t.Context(), 4) {
		if err != nil {
			t.Fatal(err)
		}
		line, err := eventstore.AppendLine(nil, &r)
		if err != nil || !strings.Contains(body, string(line)) {
			t.Errorf("%v: the list does not have %s", err, line)
		}
	}
}

// A listener reads an event stream in the background.
type listener struct {
	t      testing.TB
	events chan streamed
	cancel context.CancelFunc
	ended  chan struct{}
}

type streamed struct{ id, event, data string }

func (h *house) listen(path string, options ...option) *listener {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.http.URL+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.key)
	req.Header.Set("Accept", "text/event-stream")
	for _, o := range options {
		o(req)
	}
	res, err := h.http.Client().Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		h.t.Fatalf("%s: %d %s", path, res.StatusCode, res.Header)
	}
	l := &listener{h.t, make(chan streamed, 4096), cancel, make(chan struct{})}
	go func() {
		defer close(l.ended)
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		var e streamed
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch {
			case lines.Text() == ":":
				e.event = "heartbeat"
				l.events <- e
				e = streamed{}
			case name == "id":
				e.id = value
			case name == "event":
				e.event = value
			case name == "data":
				e.data = value
			case lines.Text() == "" && e.id != "":
				l.events <- e
				e = streamed{}
			}
		}
	}()
	h.t.Cleanup(func() {
		cancel()
		<-l.ended
	})
	return l
}

// next returns the ids of the next n events.
func (l *listener) next(n int) (ids []string) {
	l.t.Helper()
	for len(ids) < n {
		select {
		case e := <-l.events:
			if e.event == "heartbeat" {
				continue // a slow machine
			}
			r, err := eventstore.ParseLine([]byte(e.data))
			if err != nil || fmt.Sprint(r.Position) != e.id || r.Type != e.event {
				l.t.Fatalf("%+v: %v", e, err)
			}
			ids = append(ids, e.id)
		case <-time.After(10 * time.Second):
			l.t.Fatalf("no more events after %v", ids)
		}
	}
	return ids
}

// quiet ends the test if there are events left.
func (l *listener) quiet() {
	l.t.Helper()
	select {
	case e := <-l.events:
		if e.event != "heartbeat" {
			l.t.Fatalf("one event more: %+v", e)
		}
	default:
	}
}

func TestStreamEvents(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation() // 1, 2
	account, one := h.listen("/v1/events"), h.listen(c+"/events")
	if got := fmt.Sprint(account.next(2), one.next(1)); got != "[1 2] [2]" {
		t.Error(got)
	}
	// Live, and only what is the caller's.
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(h.other)).is(201) // 3, 4
	d := h.conversation()                                                           // 5
	for range 3 {
		h.do("POST", c+"/messages", object{"text": "line\nbreak"}).is(201) // 6, 7, 8
	}
	h.do("POST", d+"/close", nil).is(200) // 9
	if got := fmt.Sprint(account.next(5), one.next(3)); got != "[5 6 7 8 9] [6 7 8]" {
		t.Error(got)
	}
	// Whoever comes back gets what they missed, once.
	account.cancel()
	<-account.ended
	h.do("POST", c+"/close", nil).is(200) // 10
	back, oneBack := h.listen("/v1/events", header("Last-Event-ID", "7")), h.listen(c+"/events?after=7")
	h.do("POST", c+"/reopen", nil).is(200) // 11
	if got := fmt.Sprint(back.next(4), oneBack.next(3), one.next(2)); got != "[8 9 10 11] [8 10 11] [10 11]" {
		t.Error(got)
	}
	back.quiet()
	oneBack.quiet()
	one.quiet()
}

// TestEventsBehindTheEnd: whoever comes with a position that this log has not got
// to, as after the server was restored from an older copy, would miss what happens
// up to there, and is told.
func TestEventsBehindTheEnd(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	sse := header("Accept", "text/event-stream")
	pages := h.do("GET", "/v1/events?limit=1", nil).is(200).text("page.next")
	head, behind := fmt.Sprint(h.head()), fmt.Sprint(h.head()+1)
	text, err := base64.RawURLEncoding.DecodeString(pages)
	if err != nil {
		t.Fatal(err)
	}
	cursor := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(text), `"p":1`, `"p":`+behind, 1)))
	for _, path := range []string{"/v1/events", c + "/events"} {
		for _, accept := range []option{sse, header("Accept", "application/json")} {
			for _, beyond := range []string{behind, "99999"} {
				h.do("GET", path+"?after="+beyond, nil, accept).fails(422, "invalid_field").at("query.after").mentions("which is at " + head)
				h.do("GET", path, nil, accept, header("Last-Event-ID", beyond)).fails(422, "invalid_field").at("header.Last-Event-ID").
					mentions("which is at " + head)
			}
			h.do("GET", path+"?after=1", nil, accept, header("Last-Event-ID", behind)).fails(422, "invalid_field").at("header.Last-Event-ID")
			h.do("GET", path+"?cursor="+cursor, nil, accept).fails(422, "invalid_field").at("query.cursor")
		}
		h.do("GET", path+"?after="+head, nil).is(200).has("data", "[]")
	}
	// A position is there for everybody as soon as anybody knows of it.
	l := h.listen("/v1/events", header("Last-Event-ID", head))
	for range 50 {
		h.do("POST", c+"/messages", object{"text": "Hi"}).is(201)
		h.do("GET", "/v1/events?after="+l.next(1)[0], nil).is(200)
	}
}

// Each event exactly once, in order, whether it is read from the log or from
// memory, while it is written.
func TestStreamWhileWriting(t *testing.T) {
	t.Parallel()
	h := open(t)
	c := h.conversation()
	const messages = 300
	var listeners []*listener
	for i := range messages {
		if i%50 == 0 {
			listeners = append(listeners, h.listen("/v1/events?after=2"), h.listen(c+"/events?after=2"))
		}
		h.do("POST", c+"/messages", object{"text": "x"}).is(201)
	}
	for _, l := range listeners {
		got := l.next(messages)
		want := make([]string, messages)
		for i := range want {
			want[i] = fmt.Sprint(i + 3)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
		l.quiet()
	}
}

func TestStreamsLiveAndEnd(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) { cfg.Heartbeat = time.Millisecond })
	l := h.listen("/v1/events")
	select {
	case e := <-l.events:
		if e.event != "heartbeat" {
			t.Error(e)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no heartbeat")
	}
	h.api.Close()
	for {
		select {
		case <-l.events:
			continue
		case <-l.ended:
			return
		case <-time.After(10 * time.Second):
			t.Fatal("the stream does not end with the server")
		}
	}
}

// A server's time limit on reading a request does not cut its streams.
func TestStreamsOutliveTheReadTimeout(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) { cfg.Heartbeat = 100 * time.Millisecond })
	server := httptest.NewUnstartedServer(h.api)
	server.Config.ReadTimeout = 500 * time.Millisecond
	server.Start()
	defer server.Close()
	streams := *h
	streams.http = server
	l := streams.listen("/v1/events")
	for range 10 {
		select {
		case <-l.events:
		case <-l.ended:
			t.Fatal("the stream was cut")
		case <-time.After(10 * time.Second):
			t.Fatal("no heartbeat")
		}
	}
	l.cancel()
	<-l.ended
}

// A key that is revoked loses its streams too.
func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	h := open(t, func(cfg *httpapi.Config) { cfg.Heartbeat = time.Millisecond })
	plain, id := h.newKey("default", "soon gone")
	l, other := h.listen("/v1/events", as(plain)), h.listen("/v1/events", as(adminKey))
	if _, err := h.store.RevokeKey(t.Context(), id, time.Now()); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case <-l.events:
			continue
		case <-other.ended:
			t.Fatal("the operator's stream ended")
		case <-l.ended:
			return
		case <-time.After(10 * time.Second):
			t.Fatal("the stream goes on")
		}
	}
}
