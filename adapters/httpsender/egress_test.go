package httpsender_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/httpsender"
	"verbatim/domain"
	"verbatim/webhooks"
)

// A spelling is a host as a URL has it.
type spelling struct{ host, what string }

// private are hosts that say outright where they lead, and may not.
func private() []spelling {
	return []spelling{
		{"127.0.0.1", "loopback"},
		{"127.255.255.254", "loopback, the end"},
		{"localhost", "loopback by name"},
		{"LOCALHOST.", "loopback by name, rooted"},
		{"sub.localhost", "loopback by a name below it"},
		{"[::1]", "loopback of IPv6"},
		{"[0:0:0:0:0:0:0:1]", "loopback of IPv6, at length"},
		{"[::1%25lo]", "loopback of IPv6, with its zone"},
		{"[::ffff:127.0.0.1]", "loopback, mapped"},
		{"[::ffff:7f00:1]", "loopback, mapped, in hexadecimal"},
		{"[::ffff:127.0.0.1%25lo]", "loopback, mapped, with a zone"},
		{"[::127.0.0.1]", "loopback, IPv4-compatible"},
		{"[::7f00:1]", "loopback, IPv4-compatible, in hexadecimal"},
		{"[::ffff:0:127.0.0.1]", "loopback, IPv4-translated"},
		{"0.0.0.0", "this machine"},
		{"[::]", "this machine"},
		{"[::ffff:0.0.0.0]", "this machine, mapped"},
		{"0.1.2.3", "this network"},
		{"10.0.0.1", "private"},
		{"10.255.255.255", "private, the end"},
		{"172.16.0.1", "private"},
		{"172.31.255.255", "private, the end"},
		{"192.168.0.1", "private"},
		{"192.168.255.255", "private, the end"},
		{"[::ffff:10.0.0.1]", "private, mapped"},
		{"[::FFFF:C0A8:1]", "private, mapped, in capitals"},
		{"100.64.0.1", "a carrier's NAT"},
		{"100.127.255.255", "a carrier's NAT, the end"},
		{"100.100.100.200", "metadata of Alibaba"},
		{"169.254.0.1", "link-local"},
		{"169.254.169.254", "metadata"},
		{"[::ffff:169.254.169.254]", "metadata, mapped"},
		{"[::ffff:a9fe:a9fe]", "metadata, mapped, in hexadecimal"},
		{"[fd00:ec2::254]", "metadata of AWS over IPv6"},
		{"[fd20:ce::254]", "metadata of Google over IPv6"},
		{"168.63.129.16", "metadata of Azure, which looks public"},
		{"[::ffff:168.63.129.16]", "metadata of Azure, mapped"},
		{"192.0.0.1", "protocol assignments"},
		{"192.0.0.192", "metadata of Oracle's first cloud"},
		{"192.0.2.1", "documentation"},
		{"198.51.100.1", "documentation"},
		{"203.0.113.1", "documentation"},
		{"198.18.0.1", "benchmarks"},
		{"198.19.255.255", "benchmarks, the end"},
		{"192.88.99.1", "the relay of 6to4"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.255", "multicast, the end"},
		{"240.0.0.1", "reserved"},
		{"255.255.255.255", "broadcast"},
		{"[fe80::1]", "link-local of IPv6"},
		{"[fe80::1%25eth0]", "link-local of IPv6, with its zone"},
		{"[fe80::a9fe:a9fe]", "link-local of IPv6"},
		{"[febf::1]", "link-local of IPv6, the end"},
		{"[fec0::1]", "site-local"},
		{"[fc00::1]", "unique local"},
		{"[fd12:3456:789a::1]", "unique local"},
		{"[ff02::1]", "multicast of IPv6"},
		{"[ff0e::1]", "multicast of IPv6, global"},
		{"[64:ff9b::7f00:1]", "NAT64 of loopback"},
		{"[64:ff9b::10.0.0.1]", "NAT64 of private"},
		{"[64:ff9b::a9fe:a9fe]", "NAT64 of metadata"},
		{"[64:ff9b:1::7f00:1]", "local NAT64 of loopback"},
		{"[64:ff9b:1:a00:0:100::]", "local NAT64 of private"},
		{"[64:ff9b::8.8.8.8]", "NAT64, which has to be allowed"},
		{"[2002:7f00:1::]", "6to4 of loopback"},
		{"[2002:a00:1::1]", "6to4 of private"},
		{"[2002:a9fe:a9fe::1]", "6to4 of metadata"},
		{"[2001::1]", "Teredo"},
		{"[2001:0:7f00:1::80ff:fffe]", "Teredo of loopback"},
		{"[2001:2::1]", "benchmarks of IPv6"},
		{"[2001:10::1]", "ORCHID"},
		{"[2001:20::1]", "ORCHID, the second"},
		{"[2001:db8::1]", "documentation of IPv6"},
		{"[3fff::1]", "documentation of IPv6"},
		{"[3fff:fff:ffff::1]", "documentation of IPv6, the end"},
		{"[100::1]", "discard"},
		{"[5f00::1]", "segment routing"},
		{"[4000::1]", "outside what is assigned"},
	}
}

// odd are hosts that are addresses to some resolvers, and names to Go.
func odd() []spelling {
	return []spelling{
		{"127.0.0.1.", "rooted"},
		{"127.1", "short"},
		{"127.0.1", "short"},
		{"0", "this machine"},
		{"2130706433", "decimal"},
		{"2130706433.", "decimal, rooted"},
		{"017700000001", "octal"},
		{"0177.0.0.1", "octal in part"},
		{"0177.0.0.01", "octal in parts"},
		{"127.000.000.001", "with noughts before"},
		{"0x7f000001", "hexadecimal"},
		{"0x7f.1", "hexadecimal, short"},
		{"0X7F.0.0.0X1", "hexadecimal in capitals"},
		{"127.0.0.0x1", "hexadecimal at the end"},
		{"127.0.0.256", "out of range"},
		{"127.0.0.1.1", "a part too many"},
		{"10.1", "private, short"},
		{"0xa9fea9fe", "metadata, hexadecimal"},
		{"2852039166", "metadata, decimal"},
		{"１２７.０.０.１", "in wide digits"},
		{"127。0。0。1", "with the stops of Chinese"},
		{"①②⑦.0.0.1", "in circled digits"},
		{"ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost in circles"},
		{"⒈1.1.1", "a digit with its stop"},
		{"..", "nothing"},
	}
}

// public are hosts that may be sent to.
func public() []spelling {
	return []spelling{
		{"1.1.1.1", ""},
		{"8.8.8.8", ""},
		{"9.255.255.255", "before 10/8"},
		{"11.0.0.0", "behind 10/8"},
		{"100.63.255.255", "before 100.64/10"},
		{"100.128.0.0", "behind 100.64/10"},
		{"126.255.255.255", "before 127/8"},
		{"128.0.0.1", "behind 127/8"},
		{"168.63.129.17", "beside Azure's"},
		{"169.253.255.255", "before 169.254/16"},
		{"169.255.0.0", "behind 169.254/16"},
		{"172.15.255.255", "before 172.16/12"},
		{"172.32.0.0", "behind 172.16/12"},
		{"192.0.1.1", "behind 192.0.0/24"},
		{"192.167.255.255", "before 192.168/16"},
		{"192.169.0.0", "behind 192.168/16"},
		{"198.17.255.255", "before 198.18/15"},
		{"198.20.0.0", "behind 198.18/15"},
		{"223.255.255.255", "before multicast"},
		{"[::ffff:8.8.8.8]", "mapped"},
		{"[2606:4700:4700::1111]", ""},
		{"[2001:4860:4860::8888]", ""},
		{"[2a00:1450:4001:82a::200e]", ""},
		{"[2003::1]", "behind 6to4"},
	}
}

// The guard holds against real dials: if it let one through to this machine, the
// listener would know.
func TestPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	port := strconv.Itoa(listener(t, ":0", func(net.Conn) { reached.Store(true) }).Port)
	refused := func(c spelling, s *httpsender.Sender, want ...webhooks.Fault) {
		for _, scheme := range []string{"http://", "https://"} {
			u := scheme + c.host + ":" + port + "/hook"
			o := s.Send(t.Context(), webhooks.Request{URL: u})
			if o.Status != 0 || !slices.Contains(want, o.Fault) {
				t.Errorf("%s, %s: got %+v", u, c.what, o)
			}
			if o.Fault == webhooks.PrivateRange && !strings.Contains(o.Detail, "VERBATIM_ALLOW_PRIVATE_NETWORKS") {
				t.Errorf("%s, %s: the detail is %s", u, c.what, o.Detail)
			}
			err := httpsender.Egress{AllowHTTP: true}.Check(u)
			if f, ok := errors.AsType[*domain.FieldError](err); !ok || f.Field != "url" || f.Rule == "" {
				t.Errorf("%s, %s: checked with %v", u, c.what, err)
			}
		}
	}
	local := sender(t, httpsender.Config{
		Egress:   httpsender.Egress{AllowPrivate: []netip.Prefix{}, AllowHTTP: true},
		Resolver: nameServer(t, always("127.0.0.1")), // as a resolver with inet_aton does
	})
	nowhere := sender(t, httpsender.Config{
		Egress:   httpsender.Egress{AllowPrivate: []netip.Prefix{}, AllowHTTP: true},
		Resolver: nameServer(t, always()), // as one of names alone
	})
	for _, c := range private() {
		refused(c, local, webhooks.PrivateRange)
	}
	for _, c := range odd() {
		refused(c, local, webhooks.PrivateRange, webhooks.NameUnresolved)
		refused(c, nowhere, webhooks.PrivateRange, webhooks.NameUnresolved)
	}
	refused(spelling{"", "no host is this machine"}, local, webhooks.PrivateRange, webhooks.Unreachable)
	n := len(private()) + len(odd())
	if n < 60 {
		t.Errorf("%d spellings are few", n)
	}
	t.Logf("guard: %d spellings refused, over http and https each; %d public addresses beside them", n, len(public()))
	if reached.Load() {
		t.Error("this machine was reached")
	}
}

func TestPublicAddressesAreNot(t *testing.T) {
	t.Parallel()
	for _, c := range public() {
		if err := (httpsender.Egress{}).Check("https://" + c.host + "/hook"); err != nil {
			t.Errorf("%s %s: %v", c.host, c.what, err)
		}
		addr := netip.MustParseAddr(strings.Trim(c.host, "[]"))
		if err := (httpsender.Egress{}).Admit(addr, false); err != nil {
			t.Errorf("%s %s: %v", c.host, c.what, err)
		}
		// Over plain http it is refused before a byte leaves.
		if err := (httpsender.Egress{AllowPrivate: loopback()}).Admit(addr, true); err == nil {
			t.Errorf("%s %s: plain http is admitted", c.host, c.what)
		}
	}
	for _, host := range []string{"example.com", "localhost.example.com", "1.example.com", "xn--bcher-kva.example", "a-1.b2", "0xff.example"} {
		if err := (httpsender.Egress{}).Check("https://" + host + "/hook"); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func prefixes(t *testing.T, networks ...string) []netip.Prefix {
	t.Helper()
	ps := []netip.Prefix{}
	for _, n := range networks {
		ps = append(ps, netip.MustParsePrefix(n))
	}
	return ps
}

// What is allowed is allowed in all its spellings, and nothing beside it.
func TestAllowedNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		network, addr string
		ok            bool
	}{
		{"10.1.0.0/16", "10.1.2.3", true},
		{"10.1.0.0/16", "::ffff:10.1.2.3", true},
		{"10.1.0.0/16", "10.2.0.1", false},
		{"10.1.2.3/16", "10.1.0.1", true},
		{"::ffff:10.1.0.0/112", "10.1.2.3", true},
		{"::ffff:10.1.0.0/112", "10.2.0.1", false},
		{"fd00::/8", "fd12::1", true},
		{"fd00::/8", "fc00::1", false},
		{"fe80::/10", "fe80::1%eth0", true},
		{"169.254.0.0/16", "fe80::1", false},
		{"::/0", "::1", true},
		{"::/0", "127.0.0.1", false},
		{"::/0", "::ffff:127.0.0.1", false},
		{"0.0.0.0/0", "::1", false},
		{"::1/128", "::", false},
		{"168.63.129.16/32", "168.63.129.16", true},
		// A translator gives no more than what it translates to.
		{"64:ff9b::/96", "64:ff9b::8.8.8.8", true},
		{"64:ff9b::/96", "64:ff9b::127.0.0.1", false},
		{"64:ff9b::/96", "64:ff9b::169.254.169.254", false},
		{"::/0", "64:ff9b::10.0.0.1", false},
	} {
		err := httpsender.Egress{AllowPrivate: prefixes(t, c.network)}.Admit(netip.MustParseAddr(c.addr), false)
		if c.ok != (err == nil) {
			t.Errorf("%s with %s: got %v", c.addr, c.network, err)
		}
	}
	both := httpsender.Egress{AllowPrivate: prefixes(t, "64:ff9b::/96", "10.1.0.0/16")}
	if err := both.Admit(netip.MustParseAddr("64:ff9b::10.1.2.3"), false); err != nil {
		t.Error(err)
	}
	// Behind the translator is the public internet, which plain http does not go to.
	if err := both.Admit(netip.MustParseAddr("64:ff9b::8.8.8.8"), true); err == nil {
		t.Error("plain http is admitted through NAT64")
	}
}

func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	srv := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// Names lead to this machine, but for one.
	resolver := nameServer(t, func(name string, _ int) []string {
		if name == "public.test" {
			return []string{"192.88.98.1"} // never dialled
		}
		return []string{"127.0.0.1"}
	})
	const sent, refused = true, false
	home := prefixes(t, "127.0.0.0/8")
	for _, c := range []struct {
		name, host    string
		egress        httpsender.Egress
		checked, sent bool
	}{
		{"to where is private", "127.0.0.1", httpsender.Egress{AllowPrivate: home}, true, sent},
		{"to localhost", "localhost", httpsender.Egress{AllowPrivate: home}, true, sent},
		{"to a name that is private", "hooks.test", httpsender.Egress{AllowPrivate: home}, true, sent},
		{"to a name that is public", "public.test", httpsender.Egress{AllowPrivate: home}, true, refused},
		{"to a public address", "1.1.1.1", httpsender.Egress{AllowPrivate: home}, false, refused},
		{"to a name, nothing private allowed", "public.test", httpsender.Egress{AllowPrivate: prefixes(t)}, false, refused},
		{"to a name that is private, which is not", "hooks.test", httpsender.Egress{AllowPrivate: prefixes(t), AllowHTTP: true}, true, refused},
		{"to a host", "hooks.test", httpsender.Egress{AllowPrivate: prefixes(t), AllowHosts: []string{"a", "HOOKS.test."}}, true, sent},
		{"to a host in capitals", "HOOKS.TEST.", httpsender.Egress{AllowPrivate: prefixes(t), AllowHosts: []string{"hooks.test"}}, true, sent},
		{"to a host's neighbour", "a.hooks.test", httpsender.Egress{AllowPrivate: prefixes(t), AllowHosts: []string{"hooks.test"}}, false, refused},
		{"to a host that is an address", "[::ffff:127.0.0.1]", httpsender.Egress{AllowPrivate: prefixes(t), AllowHosts: []string{"127.0.0.1"}}, true, sent},
		{"to no host", "", httpsender.Egress{AllowPrivate: home, AllowHosts: []string{"", "."}}, false, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := "http://" + c.host + ":" + port
			if err := c.egress.Check(u); c.checked != (err == nil) {
				t.Errorf("checked with %v", err)
			}
			o := sender(t, httpsender.Config{Egress: c.egress, Resolver: resolver}).Send(t.Context(), webhooks.Request{URL: u})
			if c.sent && o.Status != http.StatusOK || !c.sent && o.Fault != webhooks.PrivateRange {
				t.Errorf("got %+v", o)
			}
			if c.host == "public.test" && !strings.Contains(o.Detail, "VERBATIM_ALLOW_HTTP") {
				t.Errorf("the detail is %s", o.Detail)
			}
		})
	}
}

func TestSchemes(t *testing.T) {
	t.Parallel()
	everything := httpsender.Egress{AllowPrivate: prefixes(t, "0.0.0.0/0", "::/0"), AllowHTTP: true, AllowHosts: []string{"a.test"}}
	for _, raw := range []string{
		"", "a.test", "//a.test/", "/hook", "https:", "https:///hook", "ftp://a.test/", "file:///etc/passwd", "gopher://a.test/",
		"unix:/var/run/docker.sock", "http+unix://a.test/", "httpss://a.test/", "data:,a", "http://[::1", "http://a b/",
		"http://%31%32%37.0.0.1/", "http://[127.0.0.1]:a/", "javascript:alert(1)",
	} {
		if err := everything.Check(raw); err == nil {
			t.Errorf("%s was taken", raw)
		}
		if o := sender(t, httpsender.Config{Egress: everything}).Send(t.Context(), webhooks.Request{URL: raw}); o.Status != 0 || o.Fault != webhooks.Unreachable || o.Detail == "" {
			t.Errorf("%s: got %+v", raw, o)
		}
	}
	for _, raw := range []string{"HTTPS://A.TEST/", "Http://a.test:81/b?c=d"} {
		if err := everything.Check(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// A name that led to a public address when it was registered, and at the first
// attempt, may lead home at the next. Here 127.0.0.2 stands for the public one.
func TestAnAnswerOfDNSThatChanges(t *testing.T) {
	t.Parallel()
	egress := httpsender.Egress{AllowPrivate: prefixes(t, "127.0.0.2/32")}
	for _, c := range []struct {
		name    string
		answers [][]string // to one dial after the other
		want    []int      // statuses; 0 for one that is refused
	}{
		{"at once", [][]string{{"127.0.0.2"}, {"127.0.0.1"}}, []int{200, 0}},
		{"and back", [][]string{{"127.0.0.1"}, {"127.0.0.2"}}, []int{0, 200}},
		{"to another spelling", [][]string{{"127.0.0.2"}, {"::ffff:127.0.0.1"}, {"64:ff9b::7f00:1"}, {"::1"}, {"::"}, {"0.0.0.0"}}, []int{200, 0, 0, 0, 0, 0}},
		{"to metadata", [][]string{{"127.0.0.2"}, {"169.254.169.254"}, {"fd00:ec2::254"}}, []int{200, 0, 0}},
		{"of several addresses one is private", [][]string{{"127.0.0.1", "127.0.0.2"}, {"127.0.0.2", "127.0.0.1"}, {"::1", "127.0.0.2"}, {"10.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"}}, []int{200, 200, 200, 200}},
		{"of several addresses all are private", [][]string{{"127.0.0.1", "127.0.0.3", "::1", "10.0.0.1"}}, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reached := make(chan string, 8)
			port := listener(t, "0.0.0.0:0", func(conn net.Conn) {
				reached <- conn.LocalAddr().(*net.TCPAddr).IP.String()
				buf := make([]byte, 1<<12)
				if _, err := conn.Read(buf); err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				}
			}).Port
			s := sender(t, httpsender.Config{Egress: egress, Resolver: nameServer(t, func(_ string, n int) []string {
				return append([]string{}, c.answers[min(n, len(c.answers)-1)]...)
			})})
			u := "http://rebind.test:" + strconv.Itoa(port) + "/hook"
			if err := egress.Check(u); err != nil {
				t.Fatal(err)
			}
			for i, want := range c.want {
				o := s.Send(t.Context(), webhooks.Request{URL: u})
				if o.Status != want || want == 0 && o.Fault != webhooks.PrivateRange {
					t.Errorf("attempt %d: got %+v", i, o)
				}
				if want == 0 {
					continue
				}
				if at := <-reached; at != "127.0.0.2" {
					t.Errorf("attempt %d reached %s", i, at)
				}
			}
			if len(reached) > 0 {
				t.Errorf("%s was reached", <-reached)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	elsewhere := receiver(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	to := []string{elsewhere.URL, "/elsewhere", "//" + elsewhere.Listener.Addr().String(), "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "://"}
	s := sender(t, httpsender.Config{}) // which may go there
	for _, header := range []string{"Location", "Content-Location", "Refresh", "Link", "Alt-Svc"} {
		for _, status := range []int{200, 201, 300, 301, 302, 303, 304, 305, 306, 307, 308, 399} {
			for _, there := range to {
				asked.Store(0)
				srv := saying(t, func(w io.Writer) {
					asked.Add(1)
					if header == "Refresh" {
						there = "0; url=" + there
					}
					_, _ = io.WriteString(w, "HTTP/1.1 "+strconv.Itoa(status)+" X\r\n"+header+": "+there+"\r\nContent-Length: 0\r\n\r\n")
				})
				o := s.Send(t.Context(), webhooks.Request{URL: srv})
				if o.Status != status || o.Fault != webhooks.NoFault {
					t.Errorf("%d with %s: %s: got %+v", status, header, there, o)
				}
				if asked.Load() != 1 {
					t.Errorf("%d with %s: %s: it was followed", status, header, there)
				}
			}
		}
	}
}

func throughProxy(t *testing.T, behind net.Addr, password string) (*url.URL, *proxy) {
	t.Helper()
	p := &proxy{behind: behind}
	u, err := url.Parse(receiver(t, p.ServeHTTP).URL)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		u.User = url.UserPassword("verbatim", password)
	}
	return u, p
}

func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	got := make(chan *http.Request, 2)
	srv, roots := secureReceiver(t, true, func(_ http.ResponseWriter, r *http.Request) { got <- r })
	via, p := throughProxy(t, srv.Listener.Addr(), "secret")
	s := sender(t, httpsender.Config{Egress: httpsender.Egress{Proxy: via, AllowPrivate: prefixes(t)}, RootCAs: roots, Resolver: nameServer(t, always())})
	// The name is one that we cannot resolve: the proxy does.
	o := s.Send(t.Context(), webhooks.Request{URL: "https://example.com/hook", Headers: map[string]string{"Proxy-Authorization": "forged"}})
	if o.Status != http.StatusOK || o.Timing.TLS <= 0 || o.Timing.Connect <= 0 {
		t.Errorf("got %+v", o)
	}
	if r := <-got; r.Host != "example.com" || r.Header.Get("Proxy-Authorization") != "" {
		t.Errorf("the receiver got %v", r)
	}
	asked, by := p.seen()
	if diff := cmp.Diff([][]string{{"CONNECT example.com:443"}, {"Basic dmVyYmF0aW06c2VjcmV0"}}, [][]string{asked, by}); diff != "" {
		t.Error(diff)
	}
}

// Through a proxy nobody here sees where a name leads.
func TestPlainHTTPThroughAProxy(t *testing.T) {
	t.Parallel()
	via, p := throughProxy(t, receiver(t, func(http.ResponseWriter, *http.Request) {}).Listener.Addr(), "")
	for _, c := range []struct {
		url    string
		egress httpsender.Egress
		sent   bool
	}{
		{"http://hooks.test/", httpsender.Egress{AllowPrivate: loopback()}, false},
		{"http://hooks.test/", httpsender.Egress{AllowPrivate: loopback(), AllowHTTP: true}, true},
		{"http://hooks.test/", httpsender.Egress{AllowPrivate: prefixes(t), AllowHosts: []string{"hooks.test"}}, true},
		{"http://127.0.0.1:9/", httpsender.Egress{AllowPrivate: loopback()}, true},
		{"http://10.0.0.1/", httpsender.Egress{AllowPrivate: loopback(), AllowHTTP: true}, false},
		{"http://1.1.1.1/", httpsender.Egress{AllowPrivate: loopback()}, false},
	} {
		c.egress.Proxy = via
		before, _ := p.seen()
		o := sender(t, httpsender.Config{Egress: c.egress}).Send(t.Context(), webhooks.Request{URL: c.url})
		after, _ := p.seen()
		checked := c.egress.Check(c.url) == nil
		if c.sent != (o.Status == http.StatusAccepted) || c.sent != checked || c.sent != (len(after) > len(before)) || !c.sent && o.Fault != webhooks.PrivateRange {
			t.Errorf("%s, %+v: got %+v", c.url, c.egress, o)
		}
	}
}

// What a name means inside is for the operator to know: whoever registers an
// endpoint hears that it leads where webhooks may not go, and not where that is.
func TestAnAddressBehindANameIsForTheLogAlone(t *testing.T) {
	t.Parallel()
	const inside = "10.11.12.13"
	for _, c := range []struct {
		host, address string
		egress        httpsender.Egress
		named         bool // in the detail
	}{
		{"vault.test", inside, httpsender.Egress{AllowPrivate: prefixes(t)}, false},
		{"vault.test", "93.184.216.34", httpsender.Egress{AllowPrivate: prefixes(t)}, false}, // over plain http alone
		{inside, inside, httpsender.Egress{AllowPrivate: prefixes(t)}, true},
		{"[::ffff:10.11.12.13]", inside, httpsender.Egress{AllowPrivate: prefixes(t)}, true},
	} {
		t.Run(c.host+" at "+c.address, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := sender(t, httpsender.Config{
				Egress: c.egress, Resolver: nameServer(t, always(c.address)), Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			o := s.Send(t.Context(), webhooks.Request{URL: "http://" + c.host + "/hook", Headers: map[string]string{"webhook-id": "msg_1"}})
			if o.Fault != webhooks.PrivateRange || !strings.Contains(o.Detail, strings.Trim(c.host, "[]")) && !c.named {
				t.Errorf("got %+v", o)
			}
			if strings.Contains(o.Detail, c.address) != c.named {
				t.Errorf("the detail is %s", o.Detail)
			}
			for _, words := range []string{"level=WARN", "webhook_id=msg_1", "host=", c.address} {
				if !strings.Contains(log.String(), words) {
					t.Errorf("no %s in the log: %s", words, &log)
				}
			}
		})
	}
}

// What a URL says outright is refused before the proxy hears of it.
func TestPrivateAddressesThroughAProxy(t *testing.T) {
	t.Parallel()
	via, p := throughProxy(t, receiver(t, func(http.ResponseWriter, *http.Request) {}).Listener.Addr(), "")
	s := sender(t, httpsender.Config{Egress: httpsender.Egress{Proxy: via, AllowPrivate: prefixes(t), AllowHTTP: true}})
	for _, c := range append(private(), odd()...) {
		for _, scheme := range []string{"http://", "https://"} {
			if o := s.Send(t.Context(), webhooks.Request{URL: scheme + c.host + "/hook"}); o.Fault != webhooks.PrivateRange {
				t.Errorf("%s%s %s: got %+v", scheme, c.host, c.what, o)
			}
		}
	}
	if asked, _ := p.seen(); len(asked) > 0 {
		t.Errorf("the proxy was asked for %v", asked)
	}
}

// TestMain sets HTTP_PROXY and its like, to where nobody is, for all tests of the
// package. Loopback would go past them anyway, hence the name.
func TestAProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	t.Parallel()
	if r, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: "http", Host: "example.com"}}); err != nil || r == nil {
		t.Fatalf("the environment has no proxy: %v, %v", r, err)
	}
	srv := receiver(t, func(http.ResponseWriter, *http.Request) {})
	secure, roots := secureReceiver(t, false, func(http.ResponseWriter, *http.Request) {})
	s := sender(t, httpsender.Config{RootCAs: roots, Resolver: nameServer(t, always("127.0.0.1"))})
	for scheme, addr := range map[string]net.Addr{"http": srv.Listener.Addr(), "https": secure.Listener.Addr()} {
		u := scheme + "://example.com:" + strconv.Itoa(addr.(*net.TCPAddr).Port)
		if o := post(t, s, u); o.Status != http.StatusOK {
			t.Errorf("%s: got %+v", u, o)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, c := range append(append(private(), odd()...), public()...) {
		f.Add("https://" + c.host + "/")
	}
	strict, lax := httpsender.Egress{}, httpsender.Egress{AllowPrivate: loopback(), AllowHTTP: true}
	f.Fuzz(func(t *testing.T, raw string) {
		if strict.Check(raw) == nil && lax.Check(raw) != nil {
			t.Errorf("%q: what nothing allows, more does not", raw)
		}
	})
}
