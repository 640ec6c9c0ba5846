package httpsender_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// receiver returns a server over plain http.
func receiver(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// secureReceiver returns a server over TLS, of HTTP/2 if it is asked to be, and
// whom to trust to trust it: its certificate is for example.com and 127.0.0.1.
func secureReceiver(t *testing.T, http2 bool, h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.EnableHTTP2 = http2
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv, roots
}

// listener returns a server that does with each connection what it is told, and
// closes it then.
func listener(t *testing.T, address string, talk func(net.Conn)) *net.TCPAddr {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	talks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(ctx, func() { conn.Close() })
				defer stop()
				talk(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		talks.Wait()
	})
	return l.Addr().(*net.TCPAddr)
}

// saying returns the URL of a server that reads a request and then says what it
// is told, whatever that is.
func saying(t *testing.T, say func(io.Writer)) string {
	t.Helper()
	return "http://" + listener(t, "127.0.0.1:0", func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		say(conn)
	}).String()
}

// silence reads until nothing more comes.
func silence(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// nameServer returns a resolver that asks a server of ours alone. That answers
// the nth question for the addresses of a name, counted from 0, with what it is
// told.
func nameServer(t *testing.T, answer func(name string, n int) []string) *net.Resolver {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		asked := make(map[string]int)
		buf := make([]byte, 1<<12)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			name, kind, question := questionOf(buf[:n])
			key := name + string(rune(kind)) // A and AAAA are two questions
			addresses := answer(name, asked[key])
			asked[key]++
			if addresses != nil {
				_, _ = conn.WriteTo(answerTo(buf[:2], question, kind, addresses), from)
			}
		}
	}()
	// A question that nobody answers is asked again for longer than a test is.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
		if err == nil {
			context.AfterFunc(ctx, func() { c.Close() })
		}
		return c, err
	}}
}

// Kinds of records (RFC 1035, 3.2.2; RFC 3596, 2.1).
const (
	recordA    = 1
	recordAAAA = 28
)

// questionOf reads the one question of a query (RFC 1035, 4.1.2).
func questionOf(query []byte) (name string, kind uint16, question []byte) {
	const header = 12
	var labels []string
	at := header
	for query[at] != 0 {
		end := at + 1 + int(query[at])
		labels = append(labels, string(query[at+1:end]))
		at = end
	}
	at++
	return strings.ToLower(strings.Join(labels, ".")), binary.BigEndian.Uint16(query[at:]), query[header : at+4]
}

// answerTo writes an answer (RFC 1035, 4.1.3) with those of the addresses that
// are of the kind; if there are none, the name has none.
func answerTo(id, question []byte, kind uint16, addresses []string) []byte {
	var records []byte
	count := 0
	for _, a := range addresses {
		data := netip.MustParseAddr(a).AsSlice()
		if len(data) == net.IPv4len != (kind == recordA) {
			continue
		}
		count++
		records = append(records, 0xc0, 12) // the name of the question
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, for 0 seconds
		records = binary.BigEndian.AppendUint16(records, uint16(len(data)))
		records = append(records, data...)
	}
	answer := append([]byte{}, id...)
	answer = append(answer, 0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0) // an answer without error, to one question
	answer = append(answer, question...)
	return append(answer, records...)
}

// always answers each question with the same addresses.
func always(addresses ...string) func(string, int) []string {
	return func(string, int) []string { return append([]string{}, addresses...) }
}

// A proxy is one of HTTP: it makes tunnels, and passes requests on. Whatever it
// is asked for, it goes to the one receiver behind it.
type proxy struct {
	mu     sync.Mutex
	asked  []string // for what: "CONNECT host:port", "POST http://…"
	by     []string // the authorisation
	behind net.Addr
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI)
	p.by = append(p.by, r.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	receiver, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.behind.String())
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer receiver.Close()
	if r.Method != http.MethodConnect {
		w.Header().Set("Proxied", "yes")
		w.WriteHeader(http.StatusAccepted)
		return
	}
	client, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(receiver, rest)
		receiver.Close()
	})
	_, _ = io.Copy(client, receiver)
	client.Close()
	both.Wait()
}

func (p *proxy) seen() (asked, by []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.asked...), append([]string{}, p.by...)
}
