package httpsender

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"

	"verbatim/domain"
)

// Egress is where webhooks may go, and which way: to the public internet over
// https, and to what is named here. The zero Egress allows nothing else.
type Egress struct {
	// AllowPrivate are networks that may be reached although they are private,
	// local or reserved, over plain http too. That of NAT64, 64:ff9b::/96, may be
	// among them: the address behind each translated one must then be public or
	// allowed itself.
	AllowPrivate []netip.Prefix
	// AllowHosts are names or addresses that may be reached wherever they lead,
	// over plain http too.
	AllowHosts []string
	// AllowHTTP lets webhooks go over plain http to the public internet, where
	// anybody on the way can read them.
	AllowHTTP bool
	// Proxy, if not nil, is dialled instead of the receivers. It resolves their
	// names, and where these lead is for it to guard; an address that a URL names
	// outright is still refused here. As nobody sees where a name leads, plain
	// http to one needs AllowHTTP or AllowHosts.
	Proxy *url.URL
}

const (
	allowHint = "set VERBATIM_ALLOW_PRIVATE_NETWORKS or VERBATIM_ALLOW_HOSTS to send there"
	plainHint = "set VERBATIM_ALLOW_HTTP=true to send over plain http"
)

// errPlain says that a body would have gone over the public internet in the open.
var errPlain = errors.New("plain http is for private networks alone")

const (
	// azure looks public and is not: the platform answers there to every machine
	// in its network, and hands out what a guest needs to start
	// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
	azure = "168.63.129.16/32"
	// nat64 is the well-known prefix through which a network of IPv6 alone
	// reaches IPv4: the last 32 bits are the address (RFC 6052, 2.1).
	nat64 = "64:ff9b::/96"
)

// A guard decides which addresses may be dialled.
type guard struct {
	allow  []netip.Prefix
	public *ssrf.Guardian
	plain  bool // plain http, which does not go to public addresses
}

// guard returns the guard of connections over TLS, or of those over plain http.
// Any port may be named: receivers listen where they like.
func (e Egress) guard(plain bool) *guard {
	g := &guard{
		public: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix(azure))),
		plain:  plain && !e.AllowHTTP,
	}
	for _, p := range e.AllowPrivate {
		g.allow = append(g.allow, unmapped(p))
	}
	return g
}

// admit returns why an address may not be dialled. However an address is
// spelt, it is judged as the one that it is.
func (g *guard) admit(addr netip.Addr) error {
	addr = addr.WithZone("").Unmap()
	if slices.ContainsFunc(g.allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		if netip.MustParsePrefix(nat64).Contains(addr) {
			b := addr.As16()
			return g.admit(netip.AddrFrom4([4]byte(b[12:])))
		}
		return nil
	}
	if err := g.public.SafeAddr(addr); err != nil {
		return err
	}
	if g.plain {
		return errPlain
	}
	return nil
}

// control is for a net.Dialer, which asks it about each address that it is about
// to connect to.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil { // such as ":80", which is this machine
		return fmt.Errorf("%w: %q is none", ssrf.ErrProhibitedIP, address)
	}
	return g.admit(to.Addr())
}

// unmapped returns a prefix of IPv4 addresses in IPv6 as one of IPv4.
func unmapped(p netip.Prefix) netip.Prefix {
	const mappedBits = 96
	if addr := p.Addr(); addr.Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-mappedBits)
	}
	return p.Masked()
}

// A dialFunc connects.
type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dial returns what connects, for https or for plain http. The guard sees the
// address that is dialled, behind DNS: a name that changes its mind between a
// check and the call gains nothing.
func (e Egress) dial(free net.Dialer, plain bool) dialFunc {
	if e.Proxy != nil {
		return free.DialContext
	}
	guarded := free
	guarded.Control = e.guard(plain).control
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(address); err == nil && e.names(host) {
			return free.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// names reports whether a host is one of AllowHosts. No host is this machine,
// which nobody can name by leaving it out.
func (e Egress) names(host string) bool {
	host = canonical(host)
	return host != "" && slices.ContainsFunc(e.AllowHosts, func(h string) bool { return canonical(h) == host })
}

// canonical returns a host in the one spelling in which it is compared.
func canonical(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.Unmap().String()
	}
	return host
}

// Check returns a *domain.FieldError for a URL that could never be sent to: one
// that names a private address outright, by its number or as localhost, and is
// not allowed to, or one of plain http. Whoever registers it hears of it then,
// and not from attempts that fail. Names are not resolved; each dial looks at
// what they lead to.
func (e Egress) Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return refuse("must be an absolute URL such as https://example.com/hook")
	}
	host, plain := canonical(u.Hostname()), u.Scheme == "http"
	switch {
	case !plain && u.Scheme != "https":
		return refuse("must begin with https://")
	case strings.ContainsFunc(host, func(r rune) bool { return r >= 0x80 }):
		// Such a name is dialled in a form in which it can be an address: ① is 1.
		return refuse("must have its host in ASCII, such as xn--bcher-kva.example")
	case e.names(host):
		return nil
	}
	addresses, guard := outright(host), e.guard(plain)
	for _, a := range addresses {
		if err = guard.admit(a); err == nil {
			return nil // one way in is enough
		}
	}
	switch {
	case err != nil && !errors.Is(err, errPlain):
		return refuse(host + " is in a private or reserved network; " + allowHint)
	case len(addresses) == 0 && numeric(host):
		return refuse(host + " is neither a name nor an address such as 192.0.2.1")
	case err != nil, guard.plain && (len(e.AllowPrivate) == 0 || e.Proxy != nil): // no name leads to where plain http may go
		return refuse("must begin with https://; " + plainHint)
	}
	return nil
}

func refuse(rule string) error { return &domain.FieldError{Field: "url", Rule: rule} }

// isAddress reports whether a host is an address, and no name.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// outright returns the addresses that a host is without being looked up.
func outright(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") { // RFC 6761, 6.3
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

// numeric reports whether a host that is no address as Go has it may be one to
// others, as 127.1, 2130706433 and 0x7f.1 are to inet_aton: its last label is a
// number, which no top-level domain is
// (https://url.spec.whatwg.org/#ends-in-a-number-checker).
func numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
