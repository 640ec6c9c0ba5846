package tests_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const closerFixture = "fixtures/closer-conversation.ndjson"

// sample returns a body of Closer's own documentation, compact.
func sample(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("..", "webhooks", "dialect", "closer", "samples", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		tb.Fatal(err)
	}
	return compact.String()
}

// TestRebuildOfTheCloserConversation imports the conversation of Closer's page
// and renders its two bodies from the log: key for key, in order.
func TestRebuildOfTheCloserConversation(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "data")
	if r := runCommand(t, "", "import", "-database", database, closerFixture); r.code != 0 {
		t.Fatalf("import: %d %s", r.code, r.errors)
	}
	r := runCommand(t, "", "rebuild", "-database", database, "--dialect", "closer")
	if r.code != 0 {
		t.Fatalf("rebuild: %d %s", r.code, r.errors)
	}
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	want := []string{"ThreadCreatedEvent", "ThreadClosedEvent"}
	if len(lines) != len(want) {
		t.Fatalf("got %d bodies, want %d:\n%s", len(lines), len(want), r.out)
	}
	for i, name := range want {
		var got struct {
			Position     int64
			Event        string
			Conversation string
			Body         json.RawMessage
		}
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		if got.Event != name || string(got.Body) != sample(t, name) {
			t.Errorf("%s at %d:\n got %s\nwant %s", got.Event, got.Position, got.Body, sample(t, name))
		}
	}
	exported := runCommand(t, "", "export", "-database", database, "-")
	fixture, err := os.ReadFile(closerFixture)
	if err != nil {
		t.Fatal(err)
	}
	if exported.out != string(fixture) {
		t.Errorf("the export is not what was imported:\n%s", exported.out)
	}
}

// timestamps are the only values of the bodies that follow from when it is.
var timestamps = regexp.MustCompile(`"timestamp":\d+`)

// TestCloserConversationLive has the conversation over HTTP: the same two bodies
// arrive, signed as Standard Webhooks says, and the payload endpoint returns
// exactly what was sent.
func TestCloserConversationLive(t *testing.T) {
	t.Parallel()
	hooks := make(chan arrived, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		hooks <- arrived{r.Header.Clone(), body}
	}))
	t.Cleanup(receiver.Close)
	s := startServer(t, filepath.Join(t.TempDir(), "data"))

	var endpoint struct{ ID, Secret string }
	s.call(http.MethodPost, "/v1/endpoints", s.key, `{"url":"`+receiver.URL+`","dialect":"closer@1","events":["*"]}`, &endpoint)
	verifier, err := standardwebhooks.NewWebhook(endpoint.Secret)
	if err != nil {
		t.Fatal(err)
	}
	var conversation struct{ ID string }
	s.call(http.MethodPost, "/v1/conversations", s.key, closerCreate, &conversation)
	path := "/v1/conversations/" + conversation.ID
	s.call(http.MethodPut, path+"/assignee", s.key, `{"agent":`+closerAgent+`}`, nil)
	s.call(http.MethodPost, path+"/messages", s.key, `{"author":{"role":"customer"},"text":"Hello"}`, nil)
	s.call(http.MethodPost, path+"/messages", s.key, `{"author":{"id":"77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03"},"text":"Hi!"}`, nil)
	s.call(http.MethodPost, path+"/messages", s.key, `{"author":{"role":"customer"},"text":"Nice to meet you"}`, nil)
	s.call(http.MethodPost, path+"/close", s.key, `{}`, nil)

	bodies := make(map[string][]byte) // by webhook-id
	for _, name := range []string{"ThreadCreatedEvent", "ThreadClosedEvent"} {
		hook := receive(t, hooks)
		if err := verifier.Verify(hook.body, hook.header); err != nil {
			t.Errorf("%s: signature: %v", name, err)
		}
		got := timestamps.ReplaceAllString(string(hook.body), `"timestamp":0`)
		want := timestamps.ReplaceAllString(sample(t, name), `"timestamp":0`)
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		bodies[hook.header.Get("webhook-id")] = hook.body
	}

	var deliveries struct {
		Data []struct {
			ID        string
			WebhookID string `json:"webhook_id"`
		}
	}
	s.call(http.MethodGet, "/v1/endpoints/"+endpoint.ID+"/deliveries", s.key, "", &deliveries)
	if len(deliveries.Data) != len(bodies) {
		t.Fatalf("%d deliveries on record, want %d", len(deliveries.Data), len(bodies))
	}
	for _, d := range deliveries.Data {
		status, payload, err := s.try(http.MethodGet, "/v1/deliveries/"+d.ID+"/payload", s.key, "")
		if err != nil || status != http.StatusOK || !bytes.Equal(payload, bodies[d.WebhookID]) {
			t.Errorf("payload of %s: %d %v\n got %s\nsent %s", d.ID, status, err, payload, bodies[d.WebhookID])
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.errs)
	}
}

func receive(tb testing.TB, hooks <-chan arrived) arrived {
	tb.Helper()
	select {
	case hook := <-hooks:
		return hook
	case <-time.After(patience):
		tb.Fatal("no webhook came")
		return arrived{}
	}
}

const closerAgent = `{"id":"77aa4a2b-7d7a-4a0c-a9a5-3d0f6b8d9e03","role":"agent","first_name":"Bob","last_name":"Holmes",
	"email":"bob.holmes@closer.app"}`

const closerCreate = `{"customer":{"id":"5b1e7a0e-3f5e-4a52-9a3c-0c1f0a6c7d01","first_name":"Jon","last_name":"Snow",
	"email":"jon.snow@winterfell.com","phone":"+48123456789",
	"attributes":{"closer":{"apiKey":"9c0a4f3e-5f0e-4a38-8a62-0a0f7d3b1c02","randomName":"Frosty Wolf"}}},
	"attributes":{"current_page":"https://yourbusiness.com/","current_page_title":"Your business","screen_size":"1080x1920",
	"browser_version":"67","browser_name":"Firefox","operating_system":"Mac OS X 10.14"}}`
