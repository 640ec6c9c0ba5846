package main

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"verbatim/webhooks"
)

// What Verbatim signs is taken with what its registration answers, of both kinds,
// while two sign as well; anything else is not.
func TestReceiver(t *testing.T) {
	t.Parallel()
	secret, otherSecret := webhooks.NewSecret(rand.Reader), webhooks.NewSecret(rand.Reader)
	private, public := webhooks.NewKeyPair(rand.Reader)
	otherPrivate, otherPublic := webhooks.NewKeyPair(rand.Reader)
	const body = `{"type":"endpoint.test"}`
	for _, c := range []struct {
		name    string
		signing []string
		with    string
		sent    string
		age     time.Duration
		want    int
	}{
		{"a secret", []string{secret}, secret, body, 0, 204},
		{"two secrets", []string{otherSecret, secret}, secret, body, 0, 204},
		{"another secret", []string{otherSecret}, secret, body, 0, 401},
		{"a key", []string{private}, public, body, 0, 204},
		{"two keys", []string{otherPrivate, private}, public, body, 0, 204},
		{"another key", []string{private}, otherPublic, body, 0, 401},
		{"a secret for a key", []string{secret}, public, body, 0, 401},
		{"another body", []string{private}, public, body + " ", 0, 401},
		{"an old one", []string{private}, public, body, time.Hour, 401},
		{"nothing to check with", []string{private}, "", body + " ", time.Hour, 204},
	} {
		check, err := checker(c.with)
		if err != nil {
			t.Fatal(err)
		}
		headers, err := webhooks.Sign(c.signing, "msg_1", time.Now().Add(-c.age), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(c.sent))
		for name, value := range headers {
			request.Header.Set(name, value)
		}
		var out bytes.Buffer
		answer := httptest.NewRecorder()
		receiver(check, &out).ServeHTTP(answer, request)
		if answer.Code != c.want || strings.Contains(out.String(), "msg_1") != (c.want == 204) {
			t.Errorf("%s: answered %d and printed %q", c.name, answer.Code, out.String())
		}
	}
	if _, err := checker("whsec_!"); err == nil {
		t.Error("a secret that is none was taken")
	}
}
