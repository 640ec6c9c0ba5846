package httpsender_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"verbatim/adapters/httpsender"
	"verbatim/webhooks"
)

func TestMain(m *testing.M) {
	// Before anything has looked: net/http looks once.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

func sender(t *testing.T, cfg httpsender.Config) *httpsender.Sender {
	t.Helper()
	if cfg.AllowPrivate == nil {
		cfg.AllowPrivate = loopback()
	}
	s := httpsender.New(cfg)
	t.Cleanup(s.Close)
	return s
}

func post(t *testing.T, s *httpsender.Sender, url string) webhooks.Outcome {
	t.Helper()
	o := s.Send(t.Context(), webhooks.Request{URL: url, Body: []byte(`{"a":1}`), Headers: map[string]string{
		"content-type": "application/json", "webhook-id": "msg_1", "x-key": "value",
	}})
	if o.Took <= 0 {
		t.Errorf("took %v", o.Took)
	}
	o.Took, o.Timing = 0, webhooks.Timing{}
	return o
}

func TestAnAnswerIsAnOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		want webhooks.Outcome
	}{
		{"200", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, webhooks.Outcome{Status: 200, Detail: "ok"}},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, webhooks.Outcome{Status: 204}},
		{"500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "oh no", http.StatusInternalServerError) }, webhooks.Outcome{Status: 500, Detail: "oh no\n"}},
		{"410", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }, webhooks.Outcome{Status: 410}},
		{"429 with seconds", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}, webhooks.Outcome{Status: 429, RetryAfter: 2 * time.Minute}},
		{"503 for ever", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", strings.Repeat("9", 40))
			w.WriteHeader(http.StatusServiceUnavailable)
		}, webhooks.Outcome{Status: 503, RetryAfter: 365 * 24 * time.Hour}},
		{"503 since yesterday", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", time.Now().Add(-24*time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusServiceUnavailable)
		}, webhooks.Outcome{Status: 503}},
		{"503 with nonsense", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "-5")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, webhooks.Outcome{Status: 503}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, post(t, sender(t, httpsender.Config{}), receiver(t, c.h).URL)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if got := post(t, sender(t, httpsender.Config{}), srv.URL).RetryAfter; got < 59*time.Minute || got > time.Hour {
		t.Errorf("got %v", got)
	}
}

func TestTheRequestIsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 2)
	srv := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"a":1}` || r.ContentLength != 7 {
			t.Errorf("body %s, %v", body, err)
		}
		got <- r
	})
	post(t, sender(t, httpsender.Config{UserAgent: "verbatim/1.2"}), srv.URL+"/hook?a=b")
	r := <-got
	if r.Method != http.MethodPost || r.URL.String() != "/hook?a=b" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
	want := http.Header{
		"Content-Type": {"application/json"}, "Webhook-Id": {"msg_1"}, "X-Key": {"value"},
		"User-Agent": {"verbatim/1.2"}, "Content-Length": {"7"},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Error(diff)
	}
	sender(t, httpsender.Config{}).Send(t.Context(), webhooks.Request{
		URL: srv.URL, Body: []byte(`{"a":1}`), Headers: map[string]string{"user-agent": "verbatim/9"},
	})
	if ua := (<-got).UserAgent(); ua != "verbatim/9" {
		t.Errorf("user agent %s", ua)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", httpsender.DrainLimit/2))
	})
	s := sender(t, httpsender.Config{})
	ctx, again := reuse(t.Context())
	for range 3 {
		if o := s.Send(ctx, webhooks.Request{URL: srv.URL, Body: []byte("{}")}); o.Status != http.StatusOK {
			t.Fatalf("got %+v", o)
		}
	}
	if diff := cmp.Diff([]bool{false, true, true}, *again); diff != "" {
		t.Error(diff)
	}
}

// A connection that the receiver closed while it was idle is not a failed
// attempt.
func TestAClosedIdleConnectionIsNoFailure(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s := sender(t, httpsender.Config{})
	for range 20 {
		if o := post(t, s, srv.URL); o.Status != http.StatusOK {
			t.Fatalf("got %+v", o)
		}
		srv.CloseClientConnections()
	}
}

// What a sender costs beside the transport alone, and its stopwatch of that.
func BenchmarkSend(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	body := []byte(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 2048)))
	b.Run("sender", func(b *testing.B) {
		s := httpsender.New(httpsender.Config{Egress: httpsender.Egress{AllowPrivate: loopback()}})
		defer s.Close()
		b.ReportAllocs()
		for b.Loop() {
			if o := s.Send(b.Context(), webhooks.Request{URL: srv.URL, Body: body}); o.Status != http.StatusOK {
				b.Fatalf("got %+v", o)
			}
		}
	})
	for name, watched := range map[string]func(context.Context) context.Context{
		"transport":               func(ctx context.Context) context.Context { return ctx },
		"transport and stopwatch": httpsender.Watched,
	} {
		b.Run(name, func(b *testing.B) {
			transport := &http.Transport{DisableCompression: true}
			defer transport.CloseIdleConnections()
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(watched(b.Context()), http.MethodPost, srv.URL, bytes.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err != nil {
					b.Fatal(err)
				}
				answer.Body.Close()
			}
		})
	}
}
