// Package httpsender makes attempts over HTTP. It talks to addresses that
// strangers have given, and trusts neither them nor what answers there: private
// networks are refused after names were resolved, redirects are not followed,
// and of an answer only a bounded part is read.
package httpsender

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"verbatim/webhooks"
)

// Limits and defaults.
const (
	// DefaultTimeout is what Standard Webhooks recommends at least: 15 seconds
	// for a whole attempt.
	DefaultTimeout = 15 * time.Second
	// ConnectTimeout bounds the connection, and TLS again: a receiver that takes
	// longer to shake hands is away.
	ConnectTimeout = 5 * time.Second
	// BodyTimeout bounds the reading of an answer whose status is known already.
	BodyTimeout = 2 * time.Second
	// DrainLimit is how much of an answer is read so that its connection can be
	// used again; behind a longer one a new connection is cheaper.
	DrainLimit = 64 << 10
	// MaxHeaderBytes bounds the header of an answer.
	MaxHeaderBytes = 64 << 10

	maxIdle        = 256              // connections kept open over all receivers
	maxIdlePerHost = 64               // endpoints that share a host, or one that takes as much as it may, make no new ones
	idleTimeout    = 90 * time.Second // below that of common proxies' keep-alive peers
	farFuture      = 365 * 24 * time.Hour
)

// A Config says how to send. The zero Config works.
type Config struct {
	Egress
	// Proxy, if not nil, is dialled instead of the receivers. It resolves their
	// names itself, and what it reaches is for it to guard.
	Proxy *url.URL
	// Timeout bounds a whole attempt. Defaults to DefaultTimeout.
	Timeout time.Duration
	// UserAgent is sent with requests that name none. Defaults to
	// webhooks.DefaultUserAgent.
	UserAgent string
	// RootCAs are the authorities that receivers' certificates are held against.
	// Defaults to those of the system.
	RootCAs *x509.CertPool
}

// A Sender is a webhooks.Sender over HTTP/1.1 and HTTP/2. It may be used
// concurrently.
type Sender struct {
	secure    *http.Transport // over TLS
	plain     *http.Transport
	timeout   time.Duration
	userAgent string
}

var _ webhooks.Sender = (*Sender)(nil)

// New returns a sender.
func New(cfg Config) *Sender {
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = webhooks.DefaultUserAgent
	}
	s := &Sender{timeout: cfg.Timeout, userAgent: cfg.UserAgent}
	s.secure = cfg.transport(cfg.dial(false))
	s.plain = cfg.transport(cfg.dial(true))
	return s
}

func (cfg *Config) transport(dial dialFunc) *http.Transport {
	t := &http.Transport{
		Proxy:                  nil, // one from the environment would dial unguarded
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    ConnectTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // nothing is worth unpacking
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: MaxHeaderBytes,
	}
	if cfg.Proxy != nil {
		t.Proxy = http.ProxyURL(cfg.Proxy)
		t.DialContext = (&net.Dialer{Timeout: ConnectTimeout}).DialContext
	}
	return t
}

// Close closes the connections that are not in use.
func (s *Sender) Close() {
	s.secure.CloseIdleConnections()
	s.plain.CloseIdleConnections()
}

// Send posts a request and says what came of it. Only the first bytes of an
// answer are read; a redirect is an answer like others.
func (s *Sender) Send(ctx context.Context, r webhooks.Request) webhooks.Outcome {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	o := s.send(ctx, cancel, r)
	o.Took = time.Since(start)
	return o
}

func (s *Sender) send(ctx context.Context, cancel func(), r webhooks.Request) webhooks.Outcome {
	watch := &stopwatch{}
	ctx = httptrace.WithClientTrace(ctx, watch.trace())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return webhooks.Outcome{Fault: webhooks.Unreachable, Detail: "the URL is none"}
	}
	request.Header.Set("User-Agent", s.userAgent)
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	// Not sent, being empty, but net/http then tries once more when the receiver
	// had closed an idle connection: the webhook-id makes that safe.
	request.Header["X-Idempotency-Key"] = []string{}

	// Not http.Client: it follows redirects and keeps cookies.
	transport := s.secure
	if request.URL.Scheme == "http" {
		transport = s.plain
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		o := watch.fault(ctx, err)
		o.Timing = watch.timing()
		return o
	}
	defer answer.Body.Close()
	late := time.AfterFunc(BodyTimeout, cancel)
	defer late.Stop()
	detail, _ := io.ReadAll(io.LimitReader(answer.Body, webhooks.MaxDetail)) // what there is will do
	_, _ = io.CopyN(io.Discard, answer.Body, DrainLimit)
	return webhooks.Outcome{
		Status:     answer.StatusCode,
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
		Detail:     string(detail),
		Timing:     watch.timing(),
	}
}

// retryAfter reads the header of RFC 9110, 10.2.3: a number of seconds or a
// date. What is neither, or past, is 0.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(farFuture/time.Second) {
			return farFuture
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), farFuture)
}
