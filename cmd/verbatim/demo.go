package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"verbatim/eventstore"
	"verbatim/webhooks"
)

const (
	// demoPace lies between two steps of the conversation: slow enough to read.
	demoPace = 900 * time.Millisecond
	// demoPatience is how long the demo waits for what should take milliseconds.
	demoPatience = 20 * time.Second
)

// demo plays the conversation of Closer's own documentation against a throw-away
// server: each event is shown as it is appended, each webhook as it arrives.
func demo(ctx context.Context, sh *shell, args []string) (err error) {
	fs := sh.flags("demo", "")
	cfg, finish, err := loadConfig(sh, fs, "addr", "log-level")
	if err != nil {
		return err
	}
	pace := fs.Duration("pace", demoPace, "pause between the steps of the conversation")
	exit := fs.Bool("exit", false, "end after the conversation instead of staying up")
	_, err = parse(fs, args)
	if err == nil {
		err = finish()
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "verbatim-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg.Database = "sqlite:" + dir
	cfg.AllowPrivate = []string{"127.0.0.0/8", "::1/128"} // the receiver is on this machine
	cfg.Proxy, cfg.SecretKey, cfg.SecretKeyFile = "", "", ""
	if err := cfg.check(); err != nil {
		return err
	}
	if _, set := sh.lookup("VERBATIM_LOG_LEVEL"); !set && cfg.LogLevel == "info" {
		cfg.LogLevel = "warn"
	}
	lc := &net.ListenConfig{}
	listener, err := lc.Listen(ctx, "tcp", cfg.Addr)
	if err != nil { // somebody else's; any port will do for a show
		if listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	app, err := newApp(ctx, cfg, cfg.logger(sh.err), listener)
	if err != nil {
		return err
	}
	key, err := app.makeFirstKey(ctx)
	if err != nil {
		return errors.Join(err, app.close(ctx))
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- app.run(running) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()

	s := &stage{
		screen: screen{out: sh.out}, pace: *pace,
		client: &client{base: "http://" + reachable(listener.Addr().String()), token: key, http: &http.Client{Timeout: clientTimeout}},
	}
	if err := s.play(running); err != nil {
		if ctx.Err() != nil {
			return nil // somebody has seen enough
		}
		return err
	}
	if *exit {
		return nil
	}
	s.invite()
	<-ctx.Done()
	return nil
}

// stage is a demo under way.
type stage struct {
	screen       screen
	pace         time.Duration
	client       *client
	endpoint     string
	conversation string
}

// screen takes turns: events and webhooks arrive when they do.
type screen struct {
	mu  sync.Mutex
	out io.Writer
}

func (s *screen) show(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *stage) play(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.screen.show("Verbatim %s on %s, a throw-away store, and a receiver of webhooks on this machine.\n", Version, s.client.base)

	received, err := s.receive(ctx)
	if err != nil {
		return err
	}
	follow, err := s.follow(ctx)
	if err != nil {
		return err
	}
	var created struct {
		ID string `json:"id"`
	}
	if err := s.send(ctx, http.MethodPost, "/v1/conversations", demoConversation, &created); err != nil {
		return err
	}
	s.conversation = created.ID
	path := "/v1/conversations/" + created.ID
	for _, step := range []struct{ method, path, body string }{
		{http.MethodPut, path + "/assignee", `{"agent":` + demoAgent + `}`},
		{http.MethodPost, path + "/messages", `{"author":{"role":"customer"},"text":"Hello"}`},
		{http.MethodPost, path + "/messages", `{"author":{"id":"77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03"},"text":"Hi!"}`},
		{http.MethodPost, path + "/messages", `{"author":{"role":"customer"},"text":"Nice to meet you"}`},
		{http.MethodPost, path + "/close", `{"type":"solved"}`},
	} {
		if err := s.rest(ctx); err != nil {
			return err
		}
		if err := s.send(ctx, step.method, step.path, step.body, nil); err != nil {
			return err
		}
	}
	// Two webhooks are owed: the thread was created, and closed with its history.
	sent := make(map[string][]byte)
	deadline := time.NewTimer(demoPatience)
	defer deadline.Stop()
	for len(sent) < 2 {
		select {
		case hook := <-received:
			sent[hook.id] = hook.body
		case <-deadline.C:
			return errors.New("the webhooks did not arrive in time")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.prove(ctx, sent); err != nil {
		return err
	}
	cancel()
	<-follow
	return nil
}

func (s *stage) rest(ctx context.Context) error {
	timer := time.NewTimer(s.pace)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stage) send(ctx context.Context, method, path, body string, answer any) error {
	s.screen.show("→ %s %s\n  %s", method, path, body)
	return s.client.call(ctx, method, path, json.RawMessage(body), answer)
}

// hook is a webhook that arrived.
type hook struct {
	id   string
	body []byte
}

// receive starts a receiver, registers it as an endpoint, and returns what
// arrives. The secret is shown once: on registration.
func (s *stage) receive(ctx context.Context) (<-chan hook, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	hooks := make(chan hook, 16)
	var secret string
	ready := make(chan struct{})
	server := &http.Server{ReadHeaderTimeout: readHeaderTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready
		body, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
		if err == nil {
			err = webhooks.Verify([]string{secret}, r.Header.Get, body, time.Now(), webhooks.Tolerance)
		}
		s.showHook(r.Header, body, err)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		hooks <- hook{r.Header.Get("webhook-id"), body}
	})}
	go func() { _ = server.Serve(listener) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })

	var registered struct{ ID, Secret string }
	body := `{"url":"http://` + listener.Addr().String() + `/hook","dialect":"closer@1","events":["*"]}`
	if err := s.send(ctx, http.MethodPost, "/v1/endpoints", body, &registered); err != nil {
		return nil, err
	}
	s.endpoint, secret = registered.ID, registered.Secret
	close(ready)
	return hooks, nil
}

func (s *stage) showHook(h http.Header, body []byte, invalid error) {
	var b strings.Builder
	b.WriteString("⇐ webhook\n")
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "user-agent"} {
		fmt.Fprintf(&b, "  %s: %s\n", name, h.Get(name))
	}
	if invalid == nil {
		b.WriteString("  signature: valid\n")
	} else {
		fmt.Fprintf(&b, "  signature: NOT valid: %v\n", invalid)
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "  ", "  ") != nil {
		pretty.Write(body)
	}
	s.screen.show("%s  %s", b.String(), pretty.String())
}

// follow shows the event stream until the context is done.
func (s *stage) follow(ctx context.Context) (ended <-chan struct{}, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.client.base+"/v1/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.client.token)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req) //nolint:bodyclose // closed where it is read
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			if r, err := eventstore.ParseLine([]byte(data)); err == nil {
				s.screen.show("● event %d  %s  (%s, version %d)", r.Position, r.Type, r.Stream, r.Version)
			}
		}
	}()
	return done, nil
}

// prove asks for the bodies again: rendered from the log they must be the very
// bytes that were sent.
func (s *stage) prove(ctx context.Context, sent map[string][]byte) error {
	type deliveryView struct {
		ID        string `json:"id"`
		WebhookID string `json:"webhook_id"`
		Event     string `json:"name"`
	}
	list, err := listAll[deliveryView](ctx, s.client, "/v1/endpoints/"+s.endpoint+"/deliveries")
	if err != nil {
		return err
	}
	for _, d := range list {
		var again json.RawMessage
		if err := s.client.call(ctx, http.MethodGet, "/v1/deliveries/"+d.ID+"/payload", nil, &again); err != nil {
			return err
		}
		if !bytes.Equal(again, sent[d.WebhookID]) {
			return fmt.Errorf("%s: the body rendered again is not the one that was sent", d.ID)
		}
		s.screen.show("✓ %s rendered again from the log: the same %d bytes", d.ID, len(again))
	}
	return nil
}

func (s *stage) invite() {
	s.screen.show(`
The server stays up until you press Ctrl-C. Try:

  export KEY=%s
  curl -s %s/v1/conversations -H "Authorization: Bearer $KEY"
  curl -s %s/v1/conversations/%s/messages -H "Authorization: Bearer $KEY"
  curl -s %s/v1/conversations/%s?at_version=3 -H "Authorization: Bearer $KEY"
  curl -s -X POST %s/v1/conversations -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \
    -d '{"customer":{"name":"Arya Stark"},"message":{"text":"Is anybody there?"}}'
  curl -sN %s/v1/events -H "Authorization: Bearer $KEY" -H "Accept: text/event-stream"
  curl -s %s/v1/endpoints/%s/deliveries -H "Authorization: Bearer $KEY"

The whole interface: %s/docs`,
		s.client.token, s.client.base, s.client.base, s.conversation, s.client.base, s.conversation,
		s.client.base, s.client.base, s.client.base, s.endpoint, s.client.base)
}

const demoAgent = `{"id":"77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03","role":"agent","first_name":"Bob","last_name":"Holmes",` +
	`"email":"bob.holmes@closer.app"}`

const demoConversation = `{"customer":{"id":"5b1e7a0e-3f5e-4a52-9a3c-0c1f0a6c7d01","first_name":"Jon","last_name":"Snow",` +
	`"email":"jon.snow@winterfell.com","phone":"+48123456789",` +
	`"attributes":{"closer":{"apiKey":"9c0a4f3e-5f0e-4a38-8a62-0a0f7d3b1c02","randomName":"Frosty Wolf"}}},` +
	`"attributes":{"current_page":"https://yourbusiness.com/","current_page_title":"Your business","screen_size":"1080x1920",` +
	`"browser_version":"67","browser_name":"Firefox","operating_system":"Mac OS X 10.14"}}`
