package httpsender_test

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"verbatim/adapters/httpsender"
	"verbatim/webhooks"
)

// fullHouse returns the address of a listener that answers nobody: those who
// wait to be accepted are as many as may, and Linux lets the next one's call go
// unheard.
func fullHouse(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		conn, err := (&net.Dialer{Timeout: brief}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the house is never full")
	return ""
}

func TestAConnectionThatIsNotMadeInTime(t *testing.T) {
	t.Parallel()
	address := fullHouse(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range outOfTime() {
		for _, url := range []string{"http://" + address, "https://" + address} {
			if o := expect(t, cfg, url, webhooks.ConnectTimeout, ""); o.Timing.Connect < brief/2 || o.Timing.TLS > 0 {
				t.Errorf("%s: got %+v", url, o)
			}
		}
	}
	// The time is that of the name and of all its addresses together.
	cfg := httpsender.Config{ConnectTimeout: longer, Resolver: nameServer(t, always("127.0.0.1", "127.0.0.1"))}
	if o := expect(t, cfg, "http://full.test:"+port, webhooks.ConnectTimeout, ""); o.Timing.DNS <= 0 || o.Took > 3*longer {
		t.Errorf("got %+v", o)
	}
}
