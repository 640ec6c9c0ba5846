package webhooks_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"verbatim/webhooks"
)

func vault(t *testing.T, fill byte) *webhooks.Vault {
	t.Helper()
	v, err := webhooks.NewVault(bytes.Repeat([]byte{fill}, webhooks.VaultKeySize))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAVaultOpensWhatItSealed(t *testing.T) {
	t.Parallel()
	v := vault(t, 1)
	for _, secret := range []string{"", secretA, secretB, `{"Authorization":"Basic Zm9vOmJhcg=="}`, "\x00\xff"} {
		sealed := v.Seal("ep-1", secret)
		if secret != "" && strings.Contains(sealed, secret) {
			t.Errorf("%q is in %q", secret, sealed)
		}
		got, err := v.Open("ep-1", sealed)
		if err != nil || got != secret {
			t.Errorf("%q: got %q, %v", secret, got, err)
		}
		if again := v.Seal("ep-1", secret); again != sealed {
			t.Errorf("%q is sealed in two ways", secret)
		}
		if v.Seal("ep-2", secret) == sealed || vault(t, 2).Seal("ep-1", secret) == sealed {
			t.Errorf("%q is sealed alike for others", secret)
		}
	}
}

func TestAVaultOpensNothingElse(t *testing.T) {
	t.Parallel()
	v := vault(t, 1)
	sealed := v.Seal("ep-1", secretA)
	changed := []byte(sealed)
	changed[len(changed)-5] ^= 1
	for name, open := range map[string]func() (string, error){
		"another label": func() (string, error) { return v.Open("ep-2", sealed) },
		"another key":   func() (string, error) { return vault(t, 2).Open("ep-1", sealed) },
		"changed":       func() (string, error) { return v.Open("ep-1", string(changed)) },
		"cut off":       func() (string, error) { return v.Open("ep-1", sealed[:len("sealed1:")+8]) },
		"no base64":     func() (string, error) { return v.Open("ep-1", "sealed1:!!") },
	} {
		if got, err := open(); !errors.Is(err, webhooks.ErrSealed) || got != "" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if got, err := v.Open("ep-1", secretA); err != nil || got != secretA {
		t.Errorf("what was never sealed: got %q, %v", got, err)
	}
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := webhooks.NewVault(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes", n)
		}
	}
}
