package httpsender

import (
	"context"
	"net/netip"
)

// Admit returns why a dial to an address would be refused, over plain http or
// over TLS.
func (e Egress) Admit(addr netip.Addr, plain bool) error {
	return e.guard(plain).control("tcp", netip.AddrPortFrom(addr, 443).String(), nil)
}

// Watched returns a context as attempts have it.
func Watched(ctx context.Context) context.Context { return new(stopwatch).watch(ctx) }
