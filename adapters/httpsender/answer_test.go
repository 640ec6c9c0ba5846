package httpsender_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/httpsender"
	"verbatim/webhooks"
)

// protocols start a receiver each, over plain HTTP/1.1 and over HTTP/2.
func protocols() map[string]func(*testing.T, http.HandlerFunc) (url string, roots *x509.CertPool) {
	return map[string]func(*testing.T, http.HandlerFunc) (string, *x509.CertPool){
		"HTTP/1.1": func(t *testing.T, h http.HandlerFunc) (string, *x509.CertPool) {
			t.Helper()
			return receiver(t, h).URL, nil
		},
		"HTTP/2": func(t *testing.T, h http.HandlerFunc) (string, *x509.CertPool) {
			t.Helper()
			srv, roots := secureReceiver(t, true, func(w http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor != 2 {
					t.Errorf("it came over %s", r.Proto)
				}
				h(w, r)
			})
			return srv.URL, roots
		},
	}
}

// patience is far below what the sender waits for an answer, and far above what
// one takes that has come.
const patience = httpsender.DefaultTimeout / 3

// The status counts, though the rest of the answer never comes.
func TestAnAnswerThatNeverEnds(t *testing.T) {
	t.Parallel()
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, roots := start(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
			for _, cfg := range []httpsender.Config{{BodyTimeout: brief}, {Timeout: longer}} {
				cfg.RootCAs = roots
				o := post(t, sender(t, cfg), url)
				if diff := cmp.Diff(webhooks.Outcome{Status: 200, Detail: "half"}, o); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// One that comes byte by byte is read for as long as any other.
func TestAnAnswerThatTrickles(t *testing.T) {
	t.Parallel()
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, roots := start(t, func(w http.ResponseWriter, r *http.Request) {
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for r.Context().Err() == nil {
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
					<-tick.C
				}
			})
			s := sender(t, httpsender.Config{BodyTimeout: brief, RootCAs: roots})
			o := s.Send(t.Context(), webhooks.Request{URL: url})
			if o.Status != http.StatusOK || strings.Trim(o.Detail, "x") != "" || o.Took > patience {
				t.Errorf("got %+v", o)
			}
		})
	}
}

func TestOnlyTheBeginningOfALongAnswerIsRead(t *testing.T) {
	t.Parallel()
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var written atomic.Int64
			over := make(chan struct{})
			url, roots := start(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(over)
				_, _ = io.Copy(io.Discard, r.Body)
				for {
					n, err := w.Write(make([]byte, 8<<10))
					written.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			o := post(t, sender(t, httpsender.Config{RootCAs: roots}), url)
			if o.Status != http.StatusOK || len(o.Detail) != webhooks.MaxDetail {
				t.Errorf("status %d, %d bytes", o.Status, len(o.Detail))
			}
			<-over
			// Over HTTP/1.1 the kernel takes some megabytes before it says no.
			most := int64(32 << 20)
			if roots != nil {
				most = 4 * httpsender.DrainLimit
			}
			if n := written.Load(); n > most {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

// An answer is read to its end, and its connection used again, up to the limit
// and not a byte further.
func TestTheLimitOfAnAnswer(t *testing.T) {
	t.Parallel()
	for size, reused := range map[int]bool{
		0: true, webhooks.MaxDetail: true, webhooks.MaxDetail + 1: true,
		httpsender.DrainLimit: true, httpsender.DrainLimit + 1: false, 2 * httpsender.DrainLimit: false,
	} {
		srv := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, size))
		})
		s := sender(t, httpsender.Config{})
		ctx, again := reuse(t.Context())
		for range 2 {
			if o := s.Send(ctx, webhooks.Request{URL: srv.URL}); o.Status != http.StatusOK || len(o.Detail) != min(size, webhooks.MaxDetail) {
				t.Errorf("%d bytes: status %d, %d kept", size, o.Status, len(o.Detail))
			}
		}
		if diff := cmp.Diff([]bool{false, reused}, *again); diff != "" {
			t.Errorf("%d bytes: %s", size, diff)
		}
	}
}

// What is packed stays packed, whether it was asked for or not.
func TestABombOfGzip(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	nothing := make([]byte, 1<<20)
	for range 32 {
		_, _ = z.Write(nothing)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, roots := start(t, func(w http.ResponseWriter, r *http.Request) {
				if asked := r.Header.Values("Accept-Encoding"); len(asked) > 0 {
					t.Errorf("it asked for %s", asked)
				}
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write(bomb.Bytes())
			})
			o := sender(t, httpsender.Config{RootCAs: roots}).Send(t.Context(), webhooks.Request{
				URL: url, Headers: map[string]string{"accept-encoding": "gzip, br"},
			})
			if o.Status != http.StatusOK || o.Detail != string(bomb.Bytes()[:webhooks.MaxDetail]) {
				t.Errorf("got status %d, %d bytes", o.Status, len(o.Detail))
			}
		})
	}
}

// Raw answers that are none. Each must end at once, without a status.
func TestAnAnswerThatIsNone(t *testing.T) {
	t.Parallel()
	endless := func(before, line string) func(io.Writer) {
		return func(w io.Writer) {
			_, err := io.WriteString(w, before)
			for err == nil {
				_, err = io.WriteString(w, strings.Repeat(line, 100))
			}
		}
	}
	once := func(s string) func(io.Writer) { return func(w io.Writer) { _, _ = io.WriteString(w, s) } }
	for name, say := range map[string]func(io.Writer){
		"nothing":                      once(""),
		"another protocol":             once("SSH-2.0-OpenSSH_9.6\r\n"),
		"no status":                    once("HTTP/1.1 \r\n\r\n"),
		"a status of two digits":       once("HTTP/1.1 20 OK\r\n\r\n"),
		"the status 000":               once("HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n"),
		"the status 099":               once("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"),
		"the status -20":               once("HTTP/1.1 -20 X\r\nContent-Length: 0\r\n\r\n"),
		"the end in the status":        once("HTTP/1.1 2"),
		"the end in the header":        once("HTTP/1.1 200 OK\r\nContent-Ty"),
		"the end before the body":      once("HTTP/1.1 200 OK\r\nContent-Type: a\r\n"),
		"a header that is none":        once("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
		"two lengths":                  once("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
		"endless status":               endless("HTTP/1.1 200 ", "OK"),
		"endless headers":              endless("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
		"an endless header":            endless("HTTP/1.1 200 OK\r\nX-A: ", "b"),
		"an endless folded header":     endless("HTTP/1.1 200 OK\r\nX-A: b\r\n", " c\r\n"),
		"endless interim answers":      endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
		"endless empty lines":          endless("", "\r\n"),
		"endless 100s, nobody asked":   endless("", "HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n"),
		"only interim answers and end": once("HTTP/1.1 102 Processing\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := sender(t, httpsender.Config{}).Send(t.Context(), webhooks.Request{URL: saying(t, say), Body: []byte("{}")})
			if o.Status != 0 || o.Fault != webhooks.Unreachable || o.Detail == "" || len(o.Detail) > webhooks.MaxDetail || o.Took > patience {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// Raw answers that have a status, and then go wrong: the status counts.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	for say, want := range map[string]webhooks.Outcome{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf":                                   {Status: 200, Detail: "half"},
		"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz":              {Status: 503, Detail: "half"},
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx":         {Status: 200},
		"HTTP/1.0 204 None\r\n\r\nmore than there may be":                                     {Status: 204},
		"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n":                                         {Status: 999},
		"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 2\r\n\r\nok": {Status: 202, Detail: "ok"},
	} {
		if diff := cmp.Diff(want, post(t, sender(t, httpsender.Config{}), saying(t, func(w io.Writer) { _, _ = io.WriteString(w, say) }))); diff != "" {
			t.Errorf("%q: %s", say, diff)
		}
	}
}

// A connection that has changed its protocol is nobody's to end but ours.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	addr := listener(t, "127.0.0.1:0", func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		silence(conn)
	})
	o := sender(t, httpsender.Config{}).Send(t.Context(), webhooks.Request{URL: "http://" + addr.String()})
	if o.Status != http.StatusSwitchingProtocols || o.Detail != "" || o.Took > patience {
		t.Errorf("got %+v", o)
	}
}

func TestHeadersWithoutEndOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"a long one": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", strings.Repeat("b", 2*httpsender.MaxHeaderBytes))
		},
		"many": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 1 << 12 {
				w.Header().Set("X-"+strconv.Itoa(i), strings.Repeat("b", 64))
			}
		},
		"interim answers": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", strings.Repeat("b", 1<<10))
			for r.Context().Err() == nil {
				w.WriteHeader(http.StatusEarlyHints)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv, roots := secureReceiver(t, true, h)
			o := sender(t, httpsender.Config{RootCAs: roots}).Send(t.Context(), webhooks.Request{URL: srv.URL})
			if o.Status != 0 || o.Fault != webhooks.Unreachable || o.Took > patience {
				t.Errorf("got %+v", o)
			}
		})
	}
}

// A header that trickles is bounded by the whole attempt's time.
func TestAHeaderThatTrickles(t *testing.T) {
	t.Parallel()
	url := saying(t, func(w io.Writer) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for _, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nX-A: "); err == nil; _, err = io.WriteString(w, "b") {
			<-tick.C
		}
	})
	o := sender(t, httpsender.Config{Timeout: longer}).Send(t.Context(), webhooks.Request{URL: url})
	if o.Status != 0 || o.Fault != webhooks.TimedOut || o.Took > patience {
		t.Errorf("got %+v", o)
	}
}

// Headers that are the transport's do not reach the wire, nor do they change
// what becomes of the attempt; everybody else's do.
func TestHeadersThatAreTheTransports(t *testing.T) {
	t.Parallel()
	forged := map[string]string{
		"Host": "forged.example", "content-length": "1", "Transfer-Encoding": "chunked", "TRAILER": "X-A", "TE": "trailers",
		"Connection": "close, X-Key", "Keep-Alive": "timeout=1", "Upgrade": "websocket", "HTTP2-Settings": "AAMAAABkAAQAAP__",
		"Expect": "100-continue", "Accept-Encoding": "gzip", "Content-Encoding": "gzip", "Proxy-Connection": "close",
		"Proxy-Authorization": "Basic eA==", "proxy-authenticate": "Basic",
	}
	for name, start := range protocols() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type seen struct {
				Host, Length, Body string
				Encoding           []string
				Header             http.Header
			}
			got := make(chan seen, 2)
			url, roots := start(t, func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got <- seen{r.Host, strconv.FormatInt(r.ContentLength, 10), string(body), r.TransferEncoding, r.Header}
			})
			s := sender(t, httpsender.Config{RootCAs: roots, UserAgent: "verbatim"})
			ctx, again := reuse(t.Context())
			headers := map[string]string{"X-Key": "value", "x-idempotency-key": "mine", "authorization": "Bearer a"}
			maps.Copy(headers, forged)
			for range 2 {
				if o := s.Send(ctx, webhooks.Request{URL: url, Headers: headers, Body: []byte(`{"a":1}`)}); o.Status != http.StatusOK {
					t.Fatalf("got %+v", o)
				}
				_, host, _ := strings.Cut(url, "://")
				want := seen{Host: host, Length: "7", Body: `{"a":1}`, Header: http.Header{
					"X-Key": {"value"}, "X-Idempotency-Key": {"mine"}, "Authorization": {"Bearer a"}, "User-Agent": {"verbatim"}, "Content-Length": {"7"},
				}}
				if diff := cmp.Diff(want, <-got); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff([]bool{false, true}, *again); diff != "" {
				t.Errorf("the connection was not used again: %s", diff)
			}
		})
	}
}

// A value that would end its line is refused, and not shown.
func TestAHeaderWithALineInIt(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	for _, headers := range []map[string]string{{"X-A": "secret\r\nX-B: c"}, {"X-A": "secret\x00"}, {"X A": "secret"}, {"X-A\r\n": "secret"}} {
		o := sender(t, httpsender.Config{}).Send(t.Context(), webhooks.Request{URL: srv.URL, Headers: headers})
		if o.Fault != webhooks.Unreachable || strings.Contains(o.Detail, "secret") {
			t.Errorf("%v: got %+v", headers, o)
		}
	}
}

// reuse returns a context under which it is noted of each attempt whether its
// connection was used before.
func reuse(ctx context.Context) (context.Context, *[]bool) {
	var again []bool
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { again = append(again, i.Reused) }}), &again
}
