package httpsender

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"

	"verbatim/domain"
)

// Egress is where webhooks may go: to the public internet over https, and to
// what is named here. The zero Egress allows nothing else.
type Egress struct {
	// AllowPrivate are networks that may be reached although they are private,
	// local or reserved, over plain http too.
	AllowPrivate []netip.Prefix
	// AllowHosts are names that may be reached wherever they lead, over plain
	// http too.
	AllowHosts []string
	// AllowHTTP lets webhooks go over plain http to the public internet, where
	// anybody on the way can read them.
	AllowHTTP bool
}

const (
	allowHint = "set VERBATIM_ALLOW_PRIVATE_NETWORKS or VERBATIM_ALLOW_HOSTS to send there"
	plainHint = "set VERBATIM_ALLOW_HTTP=true to send over plain http"
)

// errPlain says that a body would have gone over the public internet in the open.
var errPlain = errors.New("plain http is for private networks alone")

// A dialFunc connects.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dial returns what connects, for https or for plain http. The guard sees the
// address that is dialled, behind DNS: a name that changes its mind between a
// check and the call gains nothing.
func (e Egress) dial(plain bool) dialFunc {
	free := &net.Dialer{Timeout: ConnectTimeout}
	guarded := &net.Dialer{Timeout: ConnectTimeout, Control: guardian(e.AllowPrivate).Safe}
	if plain && !e.AllowHTTP {
		safe := guarded.Control
		guarded.Control = func(network, address string, c syscall.RawConn) error {
			if err := safe(network, address, c); err != nil {
				return err
			}
			to, err := netip.ParseAddrPort(address)
			if err != nil || !e.private(to.Addr()) {
				return errPlain
			}
			return nil
		}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(address); err == nil && e.names(host) {
			return free.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// private reports whether an address is in one of AllowPrivate.
func (e Egress) private(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	return slices.ContainsFunc(e.AllowPrivate, func(p netip.Prefix) bool { return unmapped(p).Contains(addr) })
}

// names reports whether a host is one of AllowHosts.
func (e Egress) names(host string) bool {
	host = canonical(host)
	return slices.ContainsFunc(e.AllowHosts, func(h string) bool { return canonical(h) == host })
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// unmapped returns a prefix of IPv4 addresses in IPv6 as one of IPv4.
func unmapped(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if addr := p.Addr(); addr.Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked()
}

// guardian refuses every address that is not on the public internet, but those
// in allow. Any port may be named: receivers listen where they like.
func guardian(allow []netip.Prefix) *ssrf.Guardian {
	var v4, v6 []netip.Prefix
	for _, p := range allow {
		if p = unmapped(p); p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
}

// Check returns a *domain.FieldError for a URL that could never be sent to: one
// that names a private address outright, by its number or as localhost, and is
// not allowed to, or one of plain http. Whoever registers it hears of it then,
// and not from attempts that fail. Names are not resolved; each dial looks at
// what they lead to. A URL that is none at all is for the endpoint's own rules.
func (e Egress) Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return &domain.FieldError{Field: "url", Rule: "must be an absolute URL such as https://example.com/hook"}
	}
	host := canonical(u.Hostname())
	if e.names(host) {
		return nil
	}
	addresses := outright(host)
	guard := guardian(e.AllowPrivate)
	// One way in is enough.
	if len(addresses) > 0 && !slices.ContainsFunc(addresses, func(a netip.Addr) bool { return guard.SafeAddr(a) == nil }) {
		return &domain.FieldError{Field: "url", Rule: host + " is in a private or reserved network; " + allowHint}
	}
	if u.Scheme != "http" || e.AllowHTTP {
		return nil
	}
	open := len(e.AllowPrivate) == 0 // no name leads to where plain http may go
	if len(addresses) > 0 {
		open = !slices.ContainsFunc(addresses, e.private)
	}
	if open {
		return &domain.FieldError{Field: "url", Rule: "must begin with https://; " + plainHint}
	}
	return nil
}

// outright returns the addresses that a host is without being looked up.
func outright(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.WithZone("").Unmap()}
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, 6.3
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}
