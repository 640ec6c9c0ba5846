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
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"code.dny.dev/ssrf"

	"verbatim/domain"
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
	maxIdlePerHost = 16               // as many as there are attempts to one endpoint
	idleTimeout    = 90 * time.Second // below that of common proxies' keep-alive peers
	farFuture      = 365 * 24 * time.Hour
)

// A Config says how to send. The zero Config works.
type Config struct {
	// AllowPrivate are networks that may be sent to although they are private,
	// local or reserved. Defaults to none.
	AllowPrivate []netip.Prefix
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
	transport *http.Transport
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
	dialer := &net.Dialer{
		Timeout: ConnectTimeout,
		// Control sees the address that is dialled, behind DNS: a name that
		// changes its mind between a check and the call gains nothing.
		Control: guardian(cfg.AllowPrivate).Safe,
	}
	return &Sender{
		transport: &http.Transport{
			Proxy:                  nil, // a proxy from the environment would dial unguarded
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
			TLSHandshakeTimeout:    ConnectTimeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // nothing is worth unpacking
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: MaxHeaderBytes,
		},
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
	}
}

// Close closes the connections that are not in use.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

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
	answer, err := s.transport.RoundTrip(request)
	if err != nil {
		return fault(ctx, err)
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
	}
}

// fault says why there was no answer.
func fault(ctx context.Context, err error) webhooks.Outcome {
	o := webhooks.Outcome{Fault: webhooks.Unreachable, Detail: err.Error()}
	var timeout net.Error
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork):
		o.Fault = webhooks.PrivateRange
		o.Detail += "; " + allowHint
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		o.Fault = webhooks.TimedOut
	}
	if len(o.Detail) > webhooks.MaxDetail {
		o.Detail = o.Detail[:webhooks.MaxDetail]
	}
	return o
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

const allowHint = "set VERBATIM_ALLOW_PRIVATE_NETWORKS to send there"

// guardian refuses every address that is not on the public internet, but those
// in allow. Any port may be named: receivers listen where they like.
func guardian(allow []netip.Prefix) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		const mappedBits = 96
		if addr := p.Addr(); addr.Is4In6() && p.Bits() >= mappedBits {
			p = netip.PrefixFrom(addr.Unmap(), p.Bits()-mappedBits)
		}
		if p = p.Masked(); p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// CheckURL returns a *domain.FieldError for a URL that names a private address
// outright, by its number or as localhost, unless it is in allow: whoever
// registers it hears of it then, and not from attempts that fail. Names are not
// resolved; Send looks at what they lead to, each time. A URL that is none at
// all is for the endpoint's own rules.
func CheckURL(raw string, allow []netip.Prefix) error {
	u, err := url.Parse(raw)
	if err != nil {
		return &domain.FieldError{Field: "url", Rule: "must be an absolute URL such as https://example.com/hook"}
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	var addresses []netip.Addr
	if addr, err := netip.ParseAddr(host); err == nil {
		addresses = []netip.Addr{addr.WithZone("").Unmap()}
	} else if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, 6.3
		addresses = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	guard := guardian(allow)
	for _, a := range addresses {
		if guard.SafeAddr(a) == nil {
			return nil // one way in is enough
		}
	}
	if len(addresses) > 0 {
		return &domain.FieldError{Field: "url", Rule: host + " is in a private or reserved network; " + allowHint}
	}
	return nil
}
