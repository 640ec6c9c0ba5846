package webhooks_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"verbatim/webhooks"
)

const secretA, secretB = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "whsec_OTg3NjU0MzIxMDk4NzY1NDMyMTA5ODc2NTQzMjEwOTg="

func header(headers map[string]string) http.Header {
	h := http.Header{}
	for k, v := range headers {
		h.Set(k, v)
	}
	return h
}

func signed(t *testing.T, secrets []string, at time.Time, body []byte) http.Header {
	t.Helper()
	headers, err := webhooks.Sign(secrets, "msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	return header(headers)
}

// The example of the specification's reference libraries.
func TestSignKnownVector(t *testing.T) {
	t.Parallel()
	headers, err := webhooks.Sign([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_p5jXN8AQM9LWM0D4loKWxJek",
		time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := headers[webhooks.HeaderSignature], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if headers[webhooks.HeaderTimestamp] != "1614265330" || headers[webhooks.HeaderID] != "msg_p5jXN8AQM9LWM0D4loKWxJek" {
		t.Errorf("got %v", headers)
	}
}

func TestTheReferenceLibraryTakesOurSignatures(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "{}", `{"a":"ü"}`, strings.Repeat("x", 1<<20)} {
		h := signed(t, []string{secretA, secretB}, time.Now(), []byte(body))
		for _, secret := range []string{secretA, secretB} {
			reference, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := reference.Verify([]byte(body), h); err != nil {
				t.Errorf("%d bytes: %v", len(body), err)
			}
			if err := reference.Verify([]byte(body+" "), h); err == nil {
				t.Error("it takes anything")
			}
		}
	}
}

func TestWeTakeTheSignaturesOfTheReferenceLibrary(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for range 20 {
		secret, body := webhooks.NewSecret(rand.Reader), []byte(rand.Text())
		reference, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := reference.Sign("msg_2", now, body)
		if err != nil {
			t.Fatal(err)
		}
		h := header(map[string]string{"webhook-id": "msg_2", "webhook-timestamp": strconv.FormatInt(now.Unix(), 10), "webhook-signature": signature})
		if err := webhooks.Verify([]string{secretA, secret}, h.Get, body, now, webhooks.Tolerance); err != nil {
			t.Error(err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	at, body := time.Unix(1_700_000_000, 0), []byte(`{"a":1}`)
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	good := signed(t, []string{secretA}, at, body).Get(webhooks.HeaderSignature)
	for _, c := range []struct {
		name   string
		change func(http.Header)
		now    time.Time
		body   string
		secret string
		want   error
	}{
		{name: "nothing wrong"},
		{name: "another body", body: `{"a":2}`, want: webhooks.ErrSignature},
		{name: "another secret", secret: secretB, want: webhooks.ErrSignature},
		{name: "another id", change: set("webhook-id", "msg_2"), want: webhooks.ErrSignature},
		{name: "another time", change: set("webhook-timestamp", "1700000001"), want: webhooks.ErrSignature},
		{name: "no id", change: set("webhook-id", ""), want: webhooks.ErrUnsigned},
		{name: "no time", change: set("webhook-timestamp", ""), want: webhooks.ErrUnsigned},
		{name: "no signature", change: set("webhook-signature", ""), want: webhooks.ErrUnsigned},
		{name: "a time that is none", change: set("webhook-timestamp", "yesterday"), want: webhooks.ErrUnsigned},
		{name: "a time in other clothes", change: set("webhook-timestamp", "+1700000000"), want: webhooks.ErrUnsigned},
		{name: "a negative time", change: set("webhook-timestamp", "-9223372036854775808"), want: webhooks.ErrUnsigned},
		{name: "a far time", change: set("webhook-timestamp", "9223372036854775807"), want: webhooks.ErrTimestamp},
		{name: "just not too old", now: at.Add(webhooks.Tolerance)},
		{name: "just not too new", now: at.Add(-webhooks.Tolerance)},
		{name: "too old", now: at.Add(webhooks.Tolerance + time.Second), want: webhooks.ErrTimestamp},
		{name: "too new", now: at.Add(-webhooks.Tolerance - time.Second), want: webhooks.ErrTimestamp},
		{name: "another version", change: set("webhook-signature", "v1a,"+strings.TrimPrefix(good, "v1,")), want: webhooks.ErrSignature},
		{name: "cut short", change: set("webhook-signature", good[:len(good)-4]), want: webhooks.ErrSignature},
		{name: "empty", change: set("webhook-signature", "v1,"), want: webhooks.ErrSignature},
		{name: "among others", change: set("webhook-signature", "v1a,x v1,AAAA  "+good+" v2,y")},
		{name: "behind too many", change: set("webhook-signature", strings.Repeat("v1,AAAA ", webhooks.MaxSignatures)+good), want: webhooks.ErrSignature},
		{name: "a secret that is none", secret: "whsec_short", want: webhooks.ErrSecret},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := signed(t, []string{secretA}, at, body)
			if c.change != nil {
				c.change(h)
			}
			now, sent, secret := at, body, secretA
			if !c.now.IsZero() {
				now = c.now
			}
			if c.body != "" {
				sent = []byte(c.body)
			}
			if c.secret != "" {
				secret = c.secret
			}
			if err := webhooks.Verify([]string{secret}, h.Get, sent, now, webhooks.Tolerance); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if err := webhooks.Verify(nil, signed(t, []string{secretA}, at, body).Get, body, at, webhooks.Tolerance); !errors.Is(err, webhooks.ErrSecret) {
		t.Errorf("no secret: %v", err)
	}
}

func TestEveryBitCounts(t *testing.T) {
	t.Parallel()
	at, body := time.Unix(1_700_000_000, 0), []byte(`{"type":"conversation.created"}`)
	h := signed(t, []string{secretA}, at, body)
	for i := range len(body) * 8 {
		tampered := bytes.Clone(body)
		tampered[i/8] ^= 1 << (i % 8)
		if err := webhooks.Verify([]string{secretA}, h.Get, tampered, at, webhooks.Tolerance); !errors.Is(err, webhooks.ErrSignature) {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	a, b := webhooks.NewSecret(rand.Reader), webhooks.NewSecret(rand.Reader)
	if a == b {
		t.Error("two secrets are the same")
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(a, "whsec_"))
	if err != nil || len(key) != 32 || !strings.HasPrefix(a, "whsec_") {
		t.Errorf("%s: %d bytes, %v", a, len(key), err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a secret without chance")
		}
	}()
	webhooks.NewSecret(iotest.ErrReader(errors.New("no chance")))
}

func TestSignNeedsASecret(t *testing.T) {
	t.Parallel()
	for _, secrets := range [][]string{
		nil,
		{""},
		{"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="},
		{"whsec_"},
		{"whsec_!"},
		{"whsec_AAAA"},
		{secretA, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))},
	} {
		if _, err := webhooks.Sign(secrets, "msg_1", time.Now(), nil); !errors.Is(err, webhooks.ErrSecret) {
			t.Errorf("%q: got %v", secrets, err)
		} else if len(secrets) > 0 && secrets[0] != "" && strings.Contains(err.Error(), secrets[0]) {
			t.Errorf("%v quotes the secret", err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	headers, err := webhooks.Sign([]string{secretA, secretB}, "msg_1", time.Unix(1_700_000_000, 0), []byte("{}"))
	if err != nil {
		f.Fatal(err)
	}
	good := headers[webhooks.HeaderSignature]
	f.Add("msg_1", "1700000000", good)
	f.Add("msg_1", "1700000000", "v1, v1,= v1,"+good)
	f.Add("", "-1", "v1a,")
	f.Add("msg_1", "99999999999999999999", strings.Repeat(" ", 100))
	f.Fuzz(func(t *testing.T, id, at, signatures string) {
		get := func(name string) string {
			return map[string]string{webhooks.HeaderID: id, webhooks.HeaderTimestamp: at, webhooks.HeaderSignature: signatures}[name]
		}
		err := webhooks.Verify([]string{secretB}, get, []byte("{}"), time.Unix(1_700_000_000, 0), webhooks.Tolerance)
		// Nobody finds a signature: who has one has found ours.
		if err == nil && (id != "msg_1" || at != "1700000000" || !strings.Contains(signatures, strings.Fields(good)[1])) {
			t.Errorf("%q %q %q is taken", id, at, signatures)
		}
	})
}

func ExampleVerify() {
	secret := "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" // shown once, when the endpoint was made

	// What a receiver gets: a body and three headers.
	body, now := []byte(`{"type":"conversation.created"}`), time.Unix(1_700_000_000, 0)
	headers, err := webhooks.Sign([]string{secret}, "msg_2f6c", now, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	request := http.Header{}
	for name, value := range headers {
		request.Set(name, value)
	}

	// What it does with them, before it reads the body.
	err = webhooks.Verify([]string{secret}, request.Get, body, now, webhooks.Tolerance)
	fmt.Println("as it was sent:", err)
	err = webhooks.Verify([]string{secret}, request.Get, append(body, ' '), now, webhooks.Tolerance)
	fmt.Println("tampered with:", err)
	err = webhooks.Verify([]string{secret}, request.Get, body, now.Add(time.Hour), webhooks.Tolerance)
	fmt.Println("played again:", err)
	// Output:
	// as it was sent: <nil>
	// tampered with: no signature matches
	// played again: the timestamp is too far from now
}

func BenchmarkSign(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			body := bytes.Repeat([]byte("x"), size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = webhooks.Sign([]string{secretA}, "msg_1", time.Unix(1_700_000_000, 0), body)
			}
		})
	}
}

func TestKeyPairsSignAndVerify(t *testing.T) {
	t.Parallel()
	seed := bytes.Repeat([]byte{7}, 64)
	private, public := webhooks.NewKeyPair(bytes.NewReader(seed))
	other, stranger := webhooks.NewKeyPair(bytes.NewReader(bytes.Repeat([]byte{8}, 64)))
	if !strings.HasPrefix(private, "whsk_") || !strings.HasPrefix(public, "whpk_") || webhooks.PublicKey(private) != public {
		t.Fatalf("got %s, %s", private, public)
	}
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	headers, err := webhooks.Sign([]string{private, secretA}, "msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	if got := headers[webhooks.HeaderSignature]; !strings.HasPrefix(got, "v1a,") || !strings.Contains(got, " v1,") {
		t.Errorf("got %s", got)
	}
	// What RFC 8032 says of the content, with the standard library alone.
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(headers[webhooks.HeaderSignature], "v1a,"), " ")
	signature, err := base64.StdEncoding.DecodeString(first)
	if err != nil || !ed25519.Verify(raw, []byte("msg_1.1614265330."+string(body)), signature) {
		t.Errorf("not a signature of id.timestamp.body: %v", err)
	}
	get := func(name string) string { return headers[name] }
	for _, c := range []struct {
		name    string
		secrets []string
		body    string
		want    error
	}{
		{"the public key", []string{public}, string(body), nil},
		{"the shared secret beside it", []string{secretA}, string(body), nil},
		{"a stranger's key and the right one", []string{stranger, public}, string(body), nil},
		{"a stranger's key", []string{stranger}, string(body), webhooks.ErrSignature},
		{"another body", []string{public}, string(body) + " ", webhooks.ErrSignature},
		{"a private key verifies nothing", []string{other}, string(body), webhooks.ErrSecret},
		{"half a key", []string{public[:20]}, string(body), webhooks.ErrSecret},
	} {
		if err := webhooks.Verify(c.secrets, get, []byte(c.body), at, time.Minute); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	for _, bad := range []string{"", "whsk_", "whsk_AAAA", public} {
		if _, err := webhooks.Sign([]string{bad}, "msg_1", at, body); !errors.Is(err, webhooks.ErrSecret) {
			t.Errorf("%q: got %v", bad, err)
		}
		if bad != public && webhooks.PublicKey(bad) != "" {
			t.Errorf("%q has a public key", bad)
		}
	}
	if webhooks.PublicKey(secretA) != secretA {
		t.Error("a shared secret verifies itself")
	}
}
