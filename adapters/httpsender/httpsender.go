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
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
	// DefaultConnectTimeout bounds the connection, with the name's resolution,
	// and TLS again: a receiver that takes longer to shake hands is away.
	DefaultConnectTimeout = 5 * time.Second
	// DefaultBodyTimeout bounds the reading of an answer whose status is known
	// already.
	DefaultBodyTimeout = 2 * time.Second
	// DrainLimit is how much of an answer is read, all told, so that its
	// connection can be used again; behind a longer one a new connection is
	// cheaper.
	DrainLimit = 64 << 10
	// MaxHeaderBytes bounds the header of an answer, interim ones with it.
	MaxHeaderBytes = 64 << 10

	maxIdle        = 256              // connections kept open over all receivers
	maxIdlePerHost = 64               // endpoints that share a host, or one that takes as much as it may, make no new ones
	idleTimeout    = 90 * time.Second // below that of common proxies' keep-alive peers
	farFuture      = 365 * 24 * time.Hour
)

// A Config says how to send. The zero Config works.
type Config struct {
	Egress
	// Timeout bounds a whole attempt. Defaults to DefaultTimeout.
	Timeout time.Duration
	// ConnectTimeout defaults to DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// BodyTimeout defaults to DefaultBodyTimeout.
	BodyTimeout time.Duration
	// UserAgent is sent with requests that name none. Defaults to
	// webhooks.DefaultUserAgent.
	UserAgent string
	// RootCAs are the authorities that receivers' certificates are held against.
	// Defaults to those of the system.
	RootCAs *x509.CertPool
	// Resolver resolves names. Defaults to that of the system. Nothing that it
	// answers is trusted.
	Resolver *net.Resolver
	// Log is told which address was refused, which the outcome says only of one
	// that the URL names itself. Defaults to none.
	Log *slog.Logger
}

// A Sender is a webhooks.Sender over HTTP/1.1 and HTTP/2. It may be used
// concurrently.
type Sender struct {
	secure      *http.Transport // over TLS
	plain       *http.Transport
	egress      Egress
	log         *slog.Logger
	timeout     time.Duration
	bodyTimeout time.Duration
	userAgent   string
}

var _ webhooks.Sender = (*Sender)(nil)

// New returns a sender.
func New(cfg Config) *Sender {
	cfg.Timeout = positive(cfg.Timeout, DefaultTimeout)
	cfg.ConnectTimeout = positive(cfg.ConnectTimeout, DefaultConnectTimeout)
	cfg.BodyTimeout = positive(cfg.BodyTimeout, DefaultBodyTimeout)
	if cfg.UserAgent == "" {
		cfg.UserAgent = webhooks.DefaultUserAgent
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Sender{
		secure: cfg.transport(false), plain: cfg.transport(true), egress: cfg.Egress, log: cfg.Log,
		timeout: cfg.Timeout, bodyTimeout: cfg.BodyTimeout, userAgent: cfg.UserAgent,
	}
}

func positive(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

func (cfg *Config) transport(plain bool) *http.Transport {
	t := &http.Transport{
		Proxy:                  nil, // one from the environment would dial unguarded
		OnProxyConnectResponse: proxied,
		DialContext:            cfg.dial(net.Dialer{Timeout: cfg.ConnectTimeout, Resolver: cfg.Resolver}, plain),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    cfg.ConnectTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // nothing is worth unpacking
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: MaxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			// A receiver that vanished without a word is found out soon after an
			// attempt was lost to it; one that merely is slow is not.
			SendPingTimeout: cfg.Timeout / 2,
			PingTimeout:     cfg.Timeout,
			// What is not read is not taken either.
			MaxReceiveBufferPerStream:     DrainLimit,
			MaxReceiveBufferPerConnection: maxIdlePerHost * DrainLimit,
		},
	}
	if cfg.Proxy != nil {
		t.Proxy = http.ProxyURL(cfg.Proxy)
	}
	return t
}

// proxied tells a proxy that refuses from a receiver that does.
func proxied(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy answered %q", answer.Status)
	}
	return nil
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
	var watch stopwatch
	request, err := http.NewRequestWithContext(watch.watch(ctx), http.MethodPost, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return webhooks.Outcome{Fault: webhooks.Unreachable, Detail: "the URL is none"}
	}
	if s.egress.Proxy != nil { // no guard of ours sees what it dials
		if err := s.egress.Check(r.URL); err != nil {
			return webhooks.Outcome{Fault: webhooks.PrivateRange, Detail: err.Error()}
		}
	}
	s.setHeaders(request, r.Headers)
	// Not http.Client: it follows redirects and keeps cookies.
	transport := s.secure
	if request.URL.Scheme == "http" {
		transport = s.plain
	}
	answer, err := transport.RoundTrip(request)
	at, timing := watch.stop()
	if err != nil {
		o := failure(ctx, at, request.URL.Hostname(), err)
		o.Timing = timing
		if o.Fault == webhooks.PrivateRange {
			s.log.WarnContext(ctx, "a webhook was not sent to where none may go",
				"webhook_id", r.Headers["webhook-id"], "host", request.URL.Hostname(), "error", err)
		}
		return o
	}
	o := webhooks.Outcome{
		Status:     answer.StatusCode,
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
		Timing:     timing,
	}
	defer answer.Body.Close()
	switch {
	case o.Status < 100 || o.Status > 999:
		return webhooks.Outcome{Fault: webhooks.Unreachable, Detail: "the answer has no status of HTTP", Timing: timing}
	case o.Status == http.StatusSwitchingProtocols:
		return o // the connection is a raw one now, which no context ends
	case answer.Body == http.NoBody:
		return o
	}
	late := time.AfterFunc(s.bodyTimeout, cancel)
	defer late.Stop()
	detail, _ := io.ReadAll(io.LimitReader(answer.Body, webhooks.MaxDetail)) // what there is will do
	_, _ = io.CopyN(io.Discard, answer.Body, DrainLimit-webhooks.MaxDetail)
	o.Detail = string(detail)
	return o
}

// setHeaders gives a request the headers that it was ordered with, but those
// that are about the connection and the body's way over it: these are the
// transport's to set, and over HTTP/2 some of them would make every attempt fail.
func (s *Sender) setHeaders(request *http.Request, headers map[string]string) {
	request.Header.Set("User-Agent", s.userAgent)
	for name, value := range headers {
		if !ours(name) {
			request.Header.Set(name, value)
		}
	}
	// Not sent, being empty, but net/http then tries once more when the receiver
	// had closed an idle connection: the webhook-id makes that safe.
	if _, given := request.Header["X-Idempotency-Key"]; !given {
		request.Header["X-Idempotency-Key"] = []string{}
	}
}

// ours reports whether a header is the transport's: those of RFC 9110, 7.6.1,
// the host, the body's framing and encoding, what asks for an answer that is
// packed or comes in two parts, and what is meant for a proxy.
func ours(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Trailer", "Te", "Connection", "Keep-Alive", "Upgrade",
		"Http2-Settings", "Expect", "Accept-Encoding", "Content-Encoding",
		"Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate":
		return true
	}
	return false
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
