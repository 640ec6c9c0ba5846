package webhooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/domain/endpoint"
	"verbatim/eventstore"
	"verbatim/webhooks"
	"verbatim/webhooks/dialect"
	"verbatim/webhooks/webhookstest"
)

func TestAnEndpointIsWhatItsEventsMadeOfIt(t *testing.T) {
	t.Parallel()
	var ep webhooks.Endpoint
	want := webhooks.Endpoint{ID: webhookstest.Endpoint(1), Dialect: "closer@1"}
	settings := func(url string) endpoint.Settings { return endpoint.Settings{URL: url, Dialect: "closer@1"} }
	for i, step := range []struct {
		event    endpoint.Event
		url      string
		disabled bool
	}{
		{endpoint.Registered{Settings: settings("https://u:p@a.example/x?y=z")}, "https://a.example/x", false},
		{endpoint.Failing{}, "https://a.example/x", false},
		{endpoint.Disabled{}, "https://a.example/x", true},
		{endpoint.Updated{Settings: settings("http://[::1]:80?token")}, "http://[::1]:80", true},
		{endpoint.Exhausted{}, "http://[::1]:80", true},
		{endpoint.SecretRotated{}, "http://[::1]:80", true},
		{endpoint.Enabled{}, "http://[::1]:80", false},
		{endpoint.Recovered{}, "http://[::1]:80", false},
		{endpoint.Updated{Settings: settings("https://u:p@a b/?token")}, "", false}, // no URL: nothing is told of it
		{endpoint.Deleted{}, "", false},
	} {
		n := int64(i) + 1
		r := recordedAt(n, step.event)
		r.Stream = eventstore.StreamName("endpoint", want.ID)
		ep = ep.Evolve(r, step.event)
		want.Version, want.URL, want.Disabled = n, step.url, step.disabled
		if diff := cmp.Diff(want, ep); diff != "" {
			t.Fatalf("version %d (-want +got):\n%s", n, diff)
		}
	}
	if small, large := (webhooks.Endpoint{}).Size(), ep.Size(); small <= 0 || large <= small {
		t.Errorf("sizes %d, %d", small, large)
	}
}

// tested is a receiver that remembers what it was sent.
type tested struct {
	answer  webhooks.Outcome
	request webhooks.Request
	bounded bool
}

func (r *tested) Send(ctx context.Context, request webhooks.Request) webhooks.Outcome {
	_, r.bounded = ctx.Deadline()
	r.request = request
	return r.answer
}

func (*tested) Body(context.Context, *webhooks.Delivery) ([]byte, error) {
	return nil, errors.New("not asked")
}

// sendTest sends a test to an endpoint, and returns what it came to and what the
// receiver was sent.
func sendTest(t *testing.T, target webhooks.Target, answer webhooks.Outcome) (webhooks.Outcome, string, *tested, error) {
	t.Helper()
	queue, to := webhookstest.NewQueue(), &tested{answer: answer}
	id := webhookstest.Endpoint(1)
	if err := queue.SetTarget(t.Context(), id, target); err != nil {
		t.Fatal(err)
	}
	d := webhooks.NewDispatcher(queue, to, to, webhookstest.Day, webhooks.Config{Dialects: dialect.All(), UserAgent: "verbatim/test"})
	o, webhookID, err := d.Test(t.Context(), "acme", id)
	return o, webhookID, to, err
}

func TestATestIsSignedAndSentAtOnce(t *testing.T) {
	t.Parallel()
	answer := webhooks.Outcome{Status: 418, Detail: "no\x00coffee" + strings.Repeat("x", 2*webhooks.MaxDetail), Took: time.Second}
	for name, contentType := range map[string]string{
		"verbatim@1": "application/json", "closer@1": "application/json", "chatwoot@1": "application/json",
		"cloudevents@1": "application/cloudevents+json",
	} {
		target := webhookstest.TargetOf("https://example.com/hook")
		target.Settings.Dialect, target.Disabled = name, true
		target.Headers = map[string]string{"X-Tenant": "7", "Webhook-Id": "mine"}
		o, webhookID, to, err := sendTest(t, target, answer)
		if err != nil {
			t.Fatal(err)
		}
		if o.Status != 418 || !strings.HasPrefix(o.Detail, "no coffee") || len(o.Detail) > webhooks.MaxDetail || o.Took != time.Second {
			t.Errorf("%s: came to %d, %d bytes, %s", name, o.Status, len(o.Detail), o.Took)
		}
		h := to.request.Headers
		if to.request.URL != "https://example.com/hook" || !to.bounded || h["x-tenant"] != "7" || h["user-agent"] != "verbatim/test" ||
			h["content-type"] != contentType || h[webhooks.HeaderID] != webhookID || !strings.HasPrefix(webhookID, "msg_") {
			t.Errorf("%s: sent %+v, bounded in time: %t", name, to.request, to.bounded)
		}
		get := func(name string) string { return h[name] }
		if err := webhooks.Verify(target.Secrets, get, to.request.Body, webhookstest.Day(), time.Minute); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var body struct {
			Type string
			Data struct{ Endpoint struct{ ID string } }
		}
		if err := json.Unmarshal(to.request.Body, &body); err != nil || !strings.HasSuffix(body.Type, webhooks.TestEvent) ||
			body.Data.Endpoint.ID != webhookstest.Endpoint(1) {
			t.Errorf("%s: sent %s, error %v", name, to.request.Body, err)
		}
	}
	if got, want := string(webhooks.AppendTest(nil, `e"`, webhookstest.Day())),
		`{"type":"endpoint.test","timestamp":"2026-03-01T12:00:00.123Z","data":{"endpoint":{"id":"e\""}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestATestOfWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	target := webhookstest.TargetOf("https://example.com/")
	target.Secrets = nil
	if _, _, to, err := sendTest(t, target, webhooks.Outcome{}); !errors.Is(err, webhooks.ErrSecret) || to.request.URL != "" {
		t.Errorf("without a secret: %v, sent %+v", err, to.request)
	}
	d := webhooks.NewDispatcher(webhookstest.NewQueue(), &tested{}, &tested{}, webhookstest.Day, webhooks.Config{})
	if _, _, err := d.Test(t.Context(), "acme", webhookstest.Endpoint(1)); !errors.Is(err, webhooks.ErrNoTarget) {
		t.Errorf("without an endpoint: %v", err)
	}
}

// A dialect's own signature is made with a shared secret. Where there is none but
// a private key, it is not made: nobody could check it.
func TestPrivateKeysAreNotForDialects(t *testing.T) {
	t.Parallel()
	private, public := webhooks.NewKeyPair(strings.NewReader(strings.Repeat("k", 64)))
	target := webhookstest.TargetOf("https://example.com/")
	target.Secrets = []string{private}
	spy := &signing{}
	queue, to := webhookstest.NewQueue(), &tested{}
	target.Settings.Dialect = spy.Name()
	if err := queue.SetTarget(t.Context(), webhookstest.Endpoint(1), target); err != nil {
		t.Fatal(err)
	}
	d := webhooks.NewDispatcher(queue, to, to, webhookstest.Day, webhooks.Config{Dialects: webhooks.NewDialects(spy)})
	for _, secrets := range [][]string{{private}, {private, webhooks.NewSecret(strings.NewReader(strings.Repeat("s", 64)))}} {
		target.Secrets = secrets
		if err := queue.SetTarget(t.Context(), webhookstest.Endpoint(1), target); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Test(t.Context(), "acme", webhookstest.Endpoint(1)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(secrets[1:], append([]string{}, spy.secrets...)); diff != "" {
			t.Errorf("signed with (-want +got):\n%s", diff)
		}
		get := func(name string) string { return to.request.Headers[name] }
		if err := webhooks.Verify([]string{public}, get, to.request.Body, webhookstest.Day(), time.Minute); err != nil {
			t.Error(err)
		}
	}
}

// signing is a dialect that signs.
type signing struct {
	webhooks.Dialect
	secrets []string
}

func (*signing) Name() string { return "signing@1" }

func (s *signing) Headers(_ string, _ time.Time, secrets []string, _ []byte) map[string]string {
	s.secrets = secrets
	return nil
}
