package httpsender_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"verbatim/adapters/httpsender"
	"verbatim/webhooks"
)

// Times that run out in a test that waits for it: one in which an address is
// dialled on the slowest machine, and one in which more happens before.
const (
	brief  = 100 * time.Millisecond
	longer = 5 * brief
)

// expect sends and says what is not as wanted of an attempt that fails.
func expect(t *testing.T, cfg httpsender.Config, url string, want webhooks.Fault, words string) webhooks.Outcome {
	t.Helper()
	o := sender(t, cfg).Send(t.Context(), webhooks.Request{URL: url, Body: []byte("{}")})
	if o.Status != 0 || o.Fault != want || !strings.Contains(o.Detail, words) || o.Took > patience {
		t.Errorf("%s: got %+v", url, o)
	}
	sane(t, o)
	return o
}

// sane holds the parts of an attempt's time against the whole.
func sane(t *testing.T, o webhooks.Outcome) {
	t.Helper()
	parts := []time.Duration{o.Timing.DNS, o.Timing.Connect, o.Timing.TLS, o.Timing.FirstByte}
	sum := time.Duration(0)
	for _, p := range parts {
		if p < 0 {
			t.Errorf("a part is negative: %+v", o)
		}
		sum += p
	}
	if sum > o.Took {
		t.Errorf("the parts are more than the whole: %+v", o)
	}
}

// outOfTime are the two times that may run out before there is a connection. The
// fault is the same.
func outOfTime() []httpsender.Config {
	return []httpsender.Config{{Timeout: brief}, {ConnectTimeout: brief}}
}

func TestANameThatLeadsNowhere(t *testing.T) {
	t.Parallel()
	o := expect(t, httpsender.Config{Resolver: nameServer(t, always())}, "http://nobody.test/", webhooks.NameUnresolved, "nobody.test")
	if strings.Contains(o.Detail, " on ") {
		t.Errorf("accounts are told of our name server: %s", o.Detail)
	}
	for _, cfg := range outOfTime() {
		cfg.Resolver = nameServer(t, func(string, int) []string { return nil }) // says nothing
		if o := expect(t, cfg, "https://silent.test/", webhooks.NameUnresolved, ""); o.Timing.DNS < brief/2 || o.Timing.Connect > 0 {
			t.Errorf("got %+v", o)
		}
	}
}

func TestAReceiverThatIsNotThere(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cfg := httpsender.Config{Resolver: nameServer(t, always("127.0.0.1"))}
	for _, url := range []string{"http://127.0.0.1:" + port, "https://127.0.0.1:" + port, "http://gone.test:" + port, "http://127.0.0.1:0/"} {
		expect(t, cfg, url, webhooks.Unreachable, "refused")
	}
	// One that hangs up, at any time.
	for _, talk := range []func(net.Conn){
		func(net.Conn) {},
		func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }, // reset
		func(conn net.Conn) { _, _ = bufio.NewReader(conn).ReadByte() },
	} {
		expect(t, httpsender.Config{}, "http://"+listener(t, "127.0.0.1:0", talk).String(), webhooks.Unreachable, "")
	}
}

func TestAReceiverThatHangs(t *testing.T) {
	t.Parallel()
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, roots := start(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			o := expect(t, httpsender.Config{Timeout: longer, RootCAs: roots}, url, webhooks.TimedOut, "deadline")
			if o.Timing.FirstByte != 0 {
				t.Errorf("there was no first byte: %+v", o)
			}
		})
	}
	// One that does not even read.
	deaf := listener(t, "127.0.0.1:0", func(conn net.Conn) {
		_ = conn.(*net.TCPConn).SetReadBuffer(1 << 10)
		_, _ = conn.Read(make([]byte, 1))
		<-t.Context().Done()
	})
	o := sender(t, httpsender.Config{Timeout: brief}).Send(t.Context(), webhooks.Request{URL: "http://" + deaf.String(), Body: make([]byte, 32<<20)})
	if o.Status != 0 || o.Fault != webhooks.TimedOut {
		t.Errorf("got %+v", o)
	}
}

// One that is called off is told so at once.
func TestAnAttemptThatIsCalledOff(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	if o := sender(t, httpsender.Config{}).Send(ctx, webhooks.Request{URL: srv.URL}); o.Status != 0 || o.Fault != webhooks.Unreachable || o.Took > patience {
		t.Errorf("got %+v", o)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		srv, roots := secureReceiver(t, http2, func(http.ResponseWriter, *http.Request) {})
		_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		trusting := httpsender.Config{RootCAs: roots, Resolver: nameServer(t, always("127.0.0.1"))}
		expect(t, httpsender.Config{}, srv.URL, webhooks.TLSFailed, "certificate")
		expect(t, trusting, "https://wrong.test:"+port, webhooks.TLSFailed, "wrong.test")
		for _, url := range []string{srv.URL, "https://example.com:" + port} {
			if o := post(t, sender(t, trusting), url); o.Status != http.StatusOK {
				t.Errorf("%s: got %+v", url, o)
			}
		}
	}
	plain := receiver(t, func(http.ResponseWriter, *http.Request) {})
	expect(t, httpsender.Config{}, strings.Replace(plain.URL, "http", "https", 1), webhooks.TLSFailed, "does not look like a TLS handshake")

	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	t.Cleanup(old.Close)
	expect(t, httpsender.Config{}, old.URL, webhooks.TLSFailed, "version")

	// One that shakes no hands, for as long as anybody waits.
	silent := "https://" + listener(t, "127.0.0.1:0", silence).String()
	for _, cfg := range outOfTime() {
		if o := expect(t, cfg, silent, webhooks.TLSFailed, ""); o.Timing.TLS < brief/2 {
			t.Errorf("got %+v", o)
		}
	}
	for name, talk := range map[string]func(net.Conn){
		"hangs up": func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1<<10)) },
		"rambles": func(conn net.Conn) {
			_, _ = io.WriteString(conn, strings.Repeat("\x16\x03\x03\x00\x00", 1<<10))
			silence(conn)
		},
	} {
		url := "https://" + listener(t, "127.0.0.1:0", talk).String()
		if o := expect(t, httpsender.Config{}, url, webhooks.TLSFailed, ""); o.Fault != webhooks.TLSFailed {
			t.Errorf("one that %s", name)
		}
	}
}

func TestFaultsOfAProxy(t *testing.T) {
	t.Parallel()
	through := func(addr net.Addr, cfg httpsender.Config) httpsender.Config {
		cfg.Proxy = &url.URL{Scheme: "http", Host: addr.String(), User: url.UserPassword("a", "secret")}
		return cfg
	}
	refusing := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	o := expect(t, through(refusing.Listener.Addr(), httpsender.Config{}), "https://hooks.test/", webhooks.Unreachable, `the proxy answered "403 Forbidden"`)
	if strings.Contains(o.Detail, "secret") {
		t.Errorf("the password is told: %s", o.Detail)
	}
	gone := receiver(t, func(http.ResponseWriter, *http.Request) {})
	gone.Close()
	o = expect(t, through(gone.Listener.Addr(), httpsender.Config{}), "https://hooks.test/", webhooks.Unreachable, "proxyconnect")
	if strings.Contains(o.Detail, "secret") {
		t.Errorf("the password is told: %s", o.Detail)
	}
	hanging := listener(t, "127.0.0.1:0", silence)
	o = expect(t, through(hanging, httpsender.Config{Timeout: brief}), "https://hooks.test/", webhooks.ConnectTimeout, "")
	if o.Timing.Connect < brief/2 {
		t.Errorf("got %+v", o)
	}
	// Hands were shaken, but with the proxy.
	secure, roots := secureReceiver(t, false, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	cfg := through(secure.Listener.Addr(), httpsender.Config{Timeout: longer, RootCAs: roots})
	cfg.Proxy.Scheme = "https"
	expect(t, cfg, "https://hooks.test/", webhooks.ConnectTimeout, "")
}

// Each part of the time is there when it happened, and not when it did not.
func TestTiming(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run("HTTP/2 "+strconv.FormatBool(http2), func(t *testing.T) {
			t.Parallel()
			srv, roots := secureReceiver(t, http2, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			s := sender(t, httpsender.Config{RootCAs: roots, Resolver: nameServer(t, always("127.0.0.1"))})
			attempts := 4
			if http2 {
				attempts-- // the last is one of HTTP/1.1 alone
			}
			for i := range attempts {
				o := s.Send(t.Context(), webhooks.Request{URL: "https://example.com:" + port, Body: []byte("{}")})
				if o.Status != http.StatusOK {
					t.Fatalf("got %+v", o)
				}
				sane(t, o)
				fresh := i == 0 || i == 3
				if (o.Timing.DNS > 0) != fresh || (o.Timing.Connect > 0) != fresh || (o.Timing.TLS > 0) != fresh || o.Timing.FirstByte <= 0 {
					t.Errorf("attempt %d: got %+v", i, o.Timing)
				}
				if i == 2 {
					srv.CloseClientConnections() // the next one is made behind a try that is lost
				}
			}
		})
	}
	srv := receiver(t, func(http.ResponseWriter, *http.Request) {})
	o := sender(t, httpsender.Config{}).Send(t.Context(), webhooks.Request{URL: srv.URL})
	sane(t, o)
	if o.Timing.DNS != 0 || o.Timing.TLS != 0 || o.Timing.Connect <= 0 || o.Timing.FirstByte <= 0 {
		t.Errorf("got %+v", o.Timing)
	}
}

// An attempt that resolves a name, and is given a connection meanwhile that
// another has done with, has spent no time on one.
func TestTimingOfAConnectionThatWasNotNeeded(t *testing.T) {
	t.Parallel()
	first, done, second := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var requests atomic.Int64
	srv := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 1 {
			close(first)
			<-done
			return
		}
		close(second)
	})
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	s := sender(t, httpsender.Config{Resolver: nameServer(t, func(_ string, n int) []string {
		if n > 0 {
			once.Do(func() { close(done) })
			<-second
		}
		return []string{"127.0.0.1"}
	})})
	r := webhooks.Request{URL: "http://hooks.test:" + port, Body: []byte("{}")}
	var both sync.WaitGroup
	both.Go(func() {
		if o := s.Send(t.Context(), r); o.Status != http.StatusOK || o.Timing.DNS <= 0 {
			t.Errorf("got %+v", o)
		}
	})
	<-first
	if o := s.Send(t.Context(), r); o.Status != http.StatusOK || o.Timing.DNS > 0 || o.Timing.FirstByte <= 0 {
		t.Errorf("got %+v", o)
	}
	both.Wait()
}

// Many attempts at once, over connections that each of them may take from
// another.
func TestTimingOfManyAtOnce(t *testing.T) {
	t.Parallel()
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, roots := start(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			s := sender(t, httpsender.Config{RootCAs: roots})
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					for range 8 {
						ctx, again := reuse(t.Context())
						o := s.Send(ctx, webhooks.Request{URL: url, Body: bytes.Repeat([]byte("x"), 1<<10)})
						used := len(*again) > 0 && (*again)[len(*again)-1]
						if o.Status != http.StatusOK || used && (o.Timing.Connect > 0 || o.Timing.TLS > 0) {
							t.Errorf("used again: %t, got %+v", used, o)
						}
						sane(t, o)
					}
				})
			}
			all.Wait()
		})
	}
}

// A receiver that vanishes without a word costs the attempts under way, and not
// those that come after.
func TestAConnectionOfHTTP2ThatDies(t *testing.T) {
	t.Parallel()
	srv, roots := secureReceiver(t, true, func(http.ResponseWriter, *http.Request) {})
	var dead atomic.Bool // the first connection, once it is
	lost := make(chan struct{})
	var first sync.Once
	// In between, what comes from the dead connection goes nowhere.
	between := listener(t, "127.0.0.1:0", func(near net.Conn) {
		mortal := false
		first.Do(func() { mortal = true })
		far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		var back sync.WaitGroup
		back.Go(func() { _, _ = io.Copy(near, far) })
		buf := make([]byte, 1<<12)
		for {
			n, err := near.Read(buf)
			if err != nil {
				break
			}
			if mortal && dead.Load() {
				continue
			}
			if _, err := far.Write(buf[:n]); err != nil {
				break
			}
		}
		far.Close()
		back.Wait()
		if mortal {
			close(lost)
		}
	})
	s := sender(t, httpsender.Config{RootCAs: roots, Timeout: longer})
	u := "https://" + between.String()
	if o := s.Send(t.Context(), webhooks.Request{URL: u}); o.Status != http.StatusOK {
		t.Fatalf("got %+v", o)
	}
	dead.Store(true)
	if o := s.Send(t.Context(), webhooks.Request{URL: u}); o.Fault != webhooks.TimedOut {
		t.Errorf("got %+v", o)
	}
	select {
	case <-lost:
	case <-time.After(patience):
		t.Fatal("nobody missed it")
	}
	if o := s.Send(t.Context(), webhooks.Request{URL: u}); o.Status != http.StatusOK {
		t.Errorf("got %+v", o)
	}
}
