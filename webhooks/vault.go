package webhooks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// VaultKeySize is the bytes of a vault's key.
const VaultKeySize = 32

// sealedPrefix marks what a vault sealed, and how.
const sealedPrefix = "sealed1:"

// ErrSealed says that something was sealed with another key, for another label,
// or has been changed since.
var ErrSealed = errors.New("a secret cannot be opened with this key")

// A Vault seals the secrets that lie in a database, so that a copy of it cannot
// sign: AES-256-GCM, with a nonce that is a MAC of what is sealed (as in RFC
// 5297). The same secret under the same label is sealed the same, so that a
// table may find it again; nothing else is told of it.
type Vault struct {
	aead     cipher.AEAD
	nonceKey []byte
}

// NewVault returns the vault of a key of VaultKeySize random bytes.
func NewVault(key []byte) (*Vault, error) {
	if len(key) != VaultKeySize {
		return nil, fmt.Errorf("a key has %d bytes, not %d", VaultKeySize, len(key))
	}
	var derived [2][]byte
	for i, use := range []string{"verbatim secrets: encryption", "verbatim secrets: nonces"} {
		var err error
		if derived[i], err = hkdf.Key(sha256.New, key, nil, use, VaultKeySize); err != nil {
			return nil, fmt.Errorf("derive a key: %w", err)
		}
	}
	block, err := aes.NewCipher(derived[0])
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return &Vault{aead, derived[1]}, nil
}

// Seal returns secret sealed for that label, as text.
func (v *Vault) Seal(label, secret string) string {
	mac := hmac.New(sha256.New, v.nonceKey)
	mac.Write([]byte(label + "\x00" + secret))
	nonce := mac.Sum(nil)[:v.aead.NonceSize()]
	return sealedPrefix + base64.StdEncoding.EncodeToString(v.aead.Seal(nonce, nonce, []byte(secret), []byte(label)))
}

// Open returns what was sealed for that label. What is not sealed is returned as
// it is: it was kept before there was a vault. The error is ErrSealed.
func (v *Vault) Open(label, text string) (string, error) {
	encoded, ok := strings.CutPrefix(text, sealedPrefix)
	if !ok {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) < v.aead.NonceSize() {
		return "", ErrSealed
	}
	nonce, sealed := raw[:v.aead.NonceSize()], raw[v.aead.NonceSize():]
	secret, err := v.aead.Open(nil, nonce, sealed, []byte(label))
	if err != nil {
		return "", ErrSealed
	}
	return string(secret), nil
}
