package httpsender

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"code.dny.dev/ssrf"

	"verbatim/webhooks"
)

// A stopwatch sees where the time of one attempt goes, and how far it got. Its
// hooks may be called from several goroutines: two addresses of a name are tried
// beside each other.
type stopwatch struct {
	mu sync.Mutex

	dns, connect, handshake, wrote time.Time // when each began
	took                           webhooks.Timing
	unresolved, connected          bool
	tlsFailed                      bool
}

func (w *stopwatch) trace() *httptrace.ClientTrace {
	note := func(f func(now time.Time)) {
		now := time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		f(now)
	}
	return &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) { note(func(now time.Time) { w.dns = now }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			note(func(now time.Time) { w.took.DNS, w.unresolved = now.Sub(w.dns), i.Err != nil })
		},
		ConnectStart: func(string, string) {
			note(func(now time.Time) {
				if w.connect.IsZero() {
					w.connect = now
				}
			})
		},
		ConnectDone: func(_, _ string, err error) {
			note(func(now time.Time) { w.took.Connect, w.connected = now.Sub(w.connect), w.connected || err == nil })
		},
		TLSHandshakeStart: func() { note(func(now time.Time) { w.handshake = now }) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			note(func(now time.Time) { w.took.TLS, w.tlsFailed = now.Sub(w.handshake), err != nil })
		},
		GotConn:              func(httptrace.GotConnInfo) { note(func(time.Time) { w.connected = true }) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { note(func(now time.Time) { w.wrote = now }) },
		GotFirstResponseByte: func() { note(func(now time.Time) { w.took.FirstByte = now.Sub(w.begun(now)) }) },
	}
}

// begun is when the request was written. An answer may come before that.
func (w *stopwatch) begun(now time.Time) time.Time {
	if w.wrote.IsZero() {
		return now
	}
	return w.wrote
}

func (w *stopwatch) timing() webhooks.Timing {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.took
}

// fault says why there was no answer.
func (w *stopwatch) fault(ctx context.Context, err error) webhooks.Outcome {
	w.mu.Lock()
	unresolved, connected, tlsFailed := w.unresolved, w.connected, w.tlsFailed
	w.mu.Unlock()
	o := webhooks.Outcome{Fault: webhooks.Unreachable, Detail: err.Error()}
	var timeout net.Error
	var dns *net.DNSError
	late := errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, errPlain):
		o.Fault = webhooks.PrivateRange
		o.Detail += "; " + allowHint
	case errors.As(err, &dns), unresolved:
		o.Fault = webhooks.NameUnresolved
	case tlsFailed && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		o.Fault = webhooks.TLSFailed
	case late && !connected:
		o.Fault = webhooks.ConnectTimeout
	case late:
		o.Fault = webhooks.TimedOut
	}
	if len(o.Detail) > webhooks.MaxDetail {
		o.Detail = o.Detail[:webhooks.MaxDetail]
	}
	return o
}
