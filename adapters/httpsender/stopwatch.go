package httpsender

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"time"

	"code.dny.dev/ssrf"

	"verbatim/webhooks"
)

// A stage is how far an attempt has got.
type stage int

const (
	begun      stage = iota
	resolving        // the name, until an address is dialled
	connecting       // to one of the addresses, or through the proxy
	shaking          // hands
	shaken           // and not yet in use
	writing          // the request, on a connection that is ours
	waiting          // for the answer
	answered
	stages
)

// A stopwatch sees how far one attempt gets, and what time it spends where. Its
// hooks may be called from several goroutines: two addresses of a name are tried
// beside each other, and a connection is still being made when another one has
// become free.
type stopwatch struct {
	mu    sync.Mutex
	at    stage
	since time.Time
	took  [stages]time.Duration
}

// watch returns a context whose attempt w sees.
func (w *stopwatch) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:           func(string) { w.enter(begun, begun, answered) }, // also of the next connection if an idle one was dead
		DNSStart:          func(httptrace.DNSStartInfo) { w.enter(resolving, begun, begun) },
		ConnectStart:      func(string, string) { w.enter(connecting, begun, resolving) },
		TLSHandshakeStart: func() { w.enter(shaking, begun, shaken) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				w.enter(shaken, shaking, shaking)
			}
		},
		GotConn: func(i httptrace.GotConnInfo) {
			w.enter(writing, begun, shaken)
			if i.Reused {
				w.forget()
			}
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.enter(waiting, writing, writing) },
		GotFirstResponseByte: func() { w.enter(answered, writing, waiting) },
	})
}

// enter ends the stage that the attempt is in and begins another, if it is in
// one from first to last: what is left of a connection that was not needed in the
// end changes nothing.
func (w *stopwatch) enter(next, first, last stage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at < first || w.at > last {
		return
	}
	now := time.Now()
	if !w.since.IsZero() {
		w.took[w.at] += now.Sub(w.since)
	}
	w.at, w.since = next, now
	if next == begun {
		w.took = [stages]time.Duration{}
	}
}

// forget forgets a connection that was made in vain: another was used again.
func (w *stopwatch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = [stages]time.Duration{}
}

// stop ends the stage that the attempt is in for good.
func (w *stopwatch) stop() (at stage, t webhooks.Timing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at = w.at; at < writing {
		w.took[at] += time.Since(w.since)
	}
	w.at = stages // hears nothing more
	t = webhooks.Timing{DNS: w.took[resolving], Connect: w.took[connecting], TLS: w.took[shaking], FirstByte: w.took[waiting]}
	if at == answered && t.FirstByte == 0 { // the answer came before anybody saw that the request was written
		t.FirstByte = w.took[writing]
	}
	return at, t
}

// failure says why there was no answer to an attempt that got as far as that. A
// time that ran out is a fault of the stage in which it did, whoever's time it
// was. Where a host leads that may not be reached is not said, unless it is an
// address itself: whoever may register endpoints could ask for every name inside.
func failure(ctx context.Context, at stage, host string, err error) webhooks.Outcome {
	o := webhooks.Outcome{Fault: webhooks.Unreachable, Detail: err.Error()}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && lookup.Server != "" {
		o.Detail = strings.ReplaceAll(o.Detail, " on "+lookup.Server, "") // which is ours, and not for accounts
	}
	var timeout net.Error
	late := errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case errors.Is(err, errPlain):
		o.Fault = webhooks.PrivateRange
		if !isAddress(host) {
			o.Detail = host + ": " + errPlain.Error()
		}
		o.Detail += "; " + plainHint
	case errors.Is(err, ssrf.ErrProhibitedIP):
		o.Fault = webhooks.PrivateRange
		if !isAddress(host) {
			o.Detail = host + " leads into a private or reserved network"
		}
		o.Detail += "; " + allowHint
	case at == resolving:
		o.Fault = webhooks.NameUnresolved
	case at == shaking:
		o.Fault = webhooks.TLSFailed
	case late && at < writing:
		o.Fault = webhooks.ConnectTimeout
	case late:
		o.Fault = webhooks.TimedOut
	}
	if len(o.Detail) > webhooks.MaxDetail {
		o.Detail = o.Detail[:webhooks.MaxDetail]
	}
	return o
}
