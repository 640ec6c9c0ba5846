package httpsender_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"verbatim/adapters/httpsender"
	"verbatim/domain"
	"verbatim/webhooks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func receiver(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
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

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := receiver(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		if o := post(t, sender(t, httpsender.Config{}), srv.URL); o.Status != status || o.Fault != webhooks.NoFault {
			t.Errorf("got %+v", o)
		}
	}
	if reached.Load() {
		t.Error("it was followed")
	}
}

func TestAReceiverThatHangs(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	s := sender(t, httpsender.Config{Timeout: 50 * time.Millisecond})
	if o := post(t, s, receiver(t, hang).URL); o.Status != 0 || o.Fault != webhooks.TimedOut || o.Detail == "" {
		t.Errorf("got %+v", o)
	}

	// One that is called off is told so at once.
	ctx, cancel := context.WithCancel(t.Context())
	srv := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if o := sender(t, httpsender.Config{}).Send(ctx, webhooks.Request{URL: srv.URL}); o.Status != 0 || o.Fault == webhooks.NoFault || o.Took > 10*time.Second {
		t.Errorf("got %+v", o)
	}
}

// The status counts, though the rest of the answer never comes.
func TestAnAnswerThatNeverEnds(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	s := sender(t, httpsender.Config{Timeout: 200 * time.Millisecond})
	if diff := cmp.Diff(webhooks.Outcome{Status: 200, Detail: "half"}, post(t, s, srv.URL)); diff != "" {
		t.Error(diff)
	}
}

func TestAReceiverThatRefuses(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := sender(t, httpsender.Config{})
	for url, want := range map[string]webhooks.Fault{
		"http://" + l.Addr().String():  webhooks.Unreachable,
		"https://" + l.Addr().String(): webhooks.Unreachable,
		"http://no-such-name.invalid/": webhooks.NameUnresolved,
		"":                             webhooks.Unreachable,
		"ftp://127.0.0.1/":             webhooks.Unreachable,
		"http://[::1":                  webhooks.Unreachable,
		"http://127.0.0.1:0/":          webhooks.Unreachable,
	} {
		o := s.Send(t.Context(), webhooks.Request{URL: url})
		if o.Status != 0 || o.Fault != want || o.Detail == "" || len(o.Detail) > webhooks.MaxDetail {
			t.Errorf("%s: got %+v", url, o)
		}
	}
}

func TestPrivateNetworksAreRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	srv := receiver(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := sender(t, httpsender.Config{Egress: httpsender.Egress{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}})
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "192.168.0.1", "169.254.169.254", "[fd00::1]", "0.0.0.0"} {
		o := s.Send(t.Context(), webhooks.Request{URL: "http://" + host + ":" + port})
		if o.Fault != webhooks.PrivateRange || !strings.Contains(o.Detail, "VERBATIM_ALLOW_PRIVATE_NETWORKS") {
			t.Errorf("%s: got %+v", host, o)
		}
	}
	if reached.Load() {
		t.Error("it was reached")
	}
	// A name is what it leads to.
	s = sender(t, httpsender.Config{Egress: httpsender.Egress{AllowPrivate: []netip.Prefix{netip.MustParsePrefix("::ffff:127.0.0.1/128"), netip.MustParsePrefix("::1/128")}}})
	if o := s.Send(t.Context(), webhooks.Request{URL: "http://localhost:" + port}); o.Status != http.StatusOK {
		t.Errorf("got %+v", o)
	}
}

func TestAProxyFromTheEnvironmentIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	srv := receiver(t, func(http.ResponseWriter, *http.Request) {})
	if o := post(t, sender(t, httpsender.Config{}), srv.URL); o.Status != http.StatusOK {
		t.Errorf("got %+v", o)
	}
}

func TestOnlyTheBeginningOfALongAnswerIsRead(t *testing.T) {
	t.Parallel()
	var written atomic.Int64
	srv := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 1024 {
			n, err := w.Write(make([]byte, 64<<10))
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	o := post(t, sender(t, httpsender.Config{}), srv.URL)
	if o.Status != http.StatusOK || len(o.Detail) != webhooks.MaxDetail {
		t.Errorf("status %d, %d bytes", o.Status, len(o.Detail))
	}
	srv.Close()
	if n := written.Load(); n > 32<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", httpsender.DrainLimit/2))
	})
	s := sender(t, httpsender.Config{})
	fresh := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			fresh++
		}
	}})
	for range 10 {
		if o := s.Send(ctx, webhooks.Request{URL: srv.URL, Body: []byte("{}")}); o.Status != http.StatusOK {
			t.Fatalf("got %+v", o)
		}
	}
	if fresh != 1 {
		t.Errorf("%d connections for ten requests", fresh)
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

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	if o := post(t, sender(t, httpsender.Config{}), srv.URL); o.Fault != webhooks.TLSFailed || !strings.Contains(o.Detail, "certificate") {
		t.Errorf("a stranger's certificate: got %+v", o)
	}
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	if o := post(t, sender(t, httpsender.Config{RootCAs: roots}), srv.URL); o.Status != http.StatusOK {
		t.Errorf("got %+v", o)
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		url   string
		allow []netip.Prefix
		ok    bool
	}{
		{"https://example.com/hook", nil, true},
		{"https://8.8.8.8/", nil, true},
		{"https://[2606:4700::1111]/", nil, true},
		{"https://localhost.example.com/", nil, true},
		{"http://localhost:8080/", nil, false},
		{"http://LOCALHOST./", nil, false},
		{"http://a.localhost/", nil, false},
		{"http://127.0.0.1/", nil, false},
		{"http://127.9.9.9:9/", nil, false},
		{"http://[::1]/", nil, false},
		{"http://[::ffff:10.0.0.1]/", nil, false},
		{"http://[fe80::1%25eth0]/", nil, false},
		{"http://169.254.169.254/latest", nil, false},
		{"http://10.2.0.1/", allow, false},
		{"http://10.1.2.3/", allow, true},
		{"http://[::ffff:10.1.2.3]/", allow, true},
		{"http://[fd12::1]/", allow, true},
		{"http://localhost/", allow, false},
		{"http://localhost/", loopback()[:1], true},
		{"http://localhost/", loopback()[1:], true},
		{"http://[::1", nil, false},
	} {
		err := httpsender.Egress{AllowPrivate: c.allow, AllowHTTP: true}.Check(c.url)
		if c.ok != (err == nil) {
			t.Errorf("%s: got %v", c.url, err)
			continue
		}
		if err == nil {
			continue
		}
		var f *domain.FieldError
		if !errors.As(err, &f) || f.Field != "url" || !strings.Contains(c.url, "[::1") && !strings.Contains(f.Rule, "VERBATIM_ALLOW_PRIVATE_NETWORKS") {
			t.Errorf("%s: got %#v", c.url, err)
		}
	}
}

func BenchmarkSend(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer srv.Close()
	s := httpsender.New(httpsender.Config{Egress: httpsender.Egress{AllowPrivate: loopback()}})
	defer s.Close()
	body := []byte(fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 2048)))
	b.ReportAllocs()
	for b.Loop() {
		if o := s.Send(b.Context(), webhooks.Request{URL: srv.URL, Body: body}); o.Status != http.StatusOK {
			b.Fatalf("got %+v", o)
		}
	}
}
