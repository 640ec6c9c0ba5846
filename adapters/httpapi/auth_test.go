package httpapi_test

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"verbatim/adapters/httpapi"
)

func TestNewKey(t *testing.T) {
	t.Parallel()
	plain, key, err := httpapi.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(plain))
	if !regexp.MustCompile(`^vbt_[a-z0-9]{12}_[A-Za-z0-9_-]{43}$`).MatchString(plain) ||
		!strings.HasPrefix(plain, "vbt_"+key.ID+"_") || string(key.Hash) != string(sum[:]) {
		t.Errorf("%s %+v", plain, key)
	}
	if _, _, err := httpapi.NewKey(iotest.ErrReader(errors.New("no chance"))); err == nil {
		t.Error("a key without chance")
	}
}

func TestOperatorActsForAnAccount(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(adminKey)).is(201).has("account.id", "default")
	h.do("POST", "/v1/conversations", object{"customer": jon}, as(adminKey), header("Verbatim-Account", "other")).
		is(201).has("account.id", "other", "account.number", 2)
	// A key acts for its own account and no other.
	h.do("POST", "/v1/conversations", object{"customer": jon}, header("Verbatim-Account", "other")).is(201).has("account.id", "default")
	h.do("GET", "/v1/conversations", nil, header("Authorization", "bearer "+h.key)).is(200)
}
