package webhooks

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Header names of the Standard Webhooks specification
// (https://github.com/standard-webhooks/standard-webhooks), in lower case as it
// writes them.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

const (
	// Tolerance is how far a receiver lets the clocks be apart, and with it how
	// long a captured request can be played again: what the libraries of
	// Standard Webhooks use.
	Tolerance = 5 * time.Minute
	// MaxSignatures bounds how many signatures Verify looks at: two secrets of a
	// rotation, in two versions, and some room.
	MaxSignatures = 16

	secretPrefix  = "whsec_"
	secretBytes   = 32 // as long as the hash; the specification wants 24 to 64
	minSecretSize = 24
	maxSecretSize = 64
	version1      = "v1,"

	// Of Ed25519 (RFC 8032), where the receiver gets a key that cannot sign.
	privatePrefix = "whsk_"
	publicPrefix  = "whpk_"
	version1a     = "v1a,"
)

// Reasons for which Verify refuses a request.
var (
	// ErrUnsigned says that a header is missing or malformed.
	ErrUnsigned = errors.New("the request is not signed")
	// ErrTimestamp says that the request is older or newer than the tolerance.
	ErrTimestamp = errors.New("the timestamp is too far from now")
	// ErrSignature says that no signature is right for the body and a secret.
	ErrSignature = errors.New("no signature matches")
	// ErrSecret says that a secret is none: "whsec_" and 24 to 64 bytes in base64,
	// or a key that NewKeyPair returns.
	ErrSecret = errors.New("not a signing secret")
)

// NewSecret returns a new signing secret: "whsec_" and 32 bytes of rand in
// base64. A source that fails is a machine without chance, on which nothing can
// be signed: NewSecret panics, as crypto/rand itself does.
func NewSecret(rand io.Reader) string {
	var key [secretBytes]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		panic("webhooks: no random bytes: " + err.Error())
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(key[:])
}

// NewKeyPair returns a new key that signs, "whsk_" and an Ed25519 private key in
// base64, and the one that verifies, "whpk_" and the public key. It panics as
// NewSecret does.
func NewKeyPair(rand io.Reader) (private, public string) {
	key := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, key); err != nil {
		panic("webhooks: no random bytes: " + err.Error())
	}
	private = privatePrefix + base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(key))
	return private, PublicKey(private)
}

// isPrivate reports whether a secret is a private key.
func isPrivate(secret string) bool { return strings.HasPrefix(secret, privatePrefix) }

// PublicKey returns what a receiver verifies with: the public key of a private
// one, and a shared secret itself. It is "" for what is neither.
func PublicKey(secret string) string {
	if _, err := secretKey(secret); err == nil {
		return secret
	}
	private, err := keyOf(secret, privatePrefix, ed25519.PrivateKeySize)
	if err != nil {
		return ""
	}
	public, _ := ed25519.PrivateKey(private).Public().(ed25519.PublicKey)
	return publicPrefix + base64.StdEncoding.EncodeToString(public)
}

// Sign returns the headers webhook-id, webhook-timestamp and webhook-signature
// for a body, as Standard Webhooks 1 has them: for each secret one signature,
// separated by spaces, so that a receiver may change secrets while both sign. A
// shared secret gives "v1,<base64 of HMAC-SHA256 over id.timestamp.body>", a
// private key "v1a,<base64 of the Ed25519 signature of the same>".
func Sign(secrets []string, id string, timestamp time.Time, body []byte) (map[string]string, error) {
	if len(secrets) == 0 {
		return nil, ErrSecret
	}
	seconds := strconv.FormatInt(timestamp.Unix(), 10)
	const signatureLength = len(version1a) + 88 // base64 of 64 bytes
	signatures := make([]byte, 0, len(secrets)*(signatureLength+1))
	for i, secret := range secrets {
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		if isPrivate(secret) {
			key, err := keyOf(secret, privatePrefix, ed25519.PrivateKeySize)
			if err != nil {
				return nil, err
			}
			signatures = append(signatures, version1a...)
			signatures = base64.StdEncoding.AppendEncode(signatures, ed25519.Sign(key, content(id, seconds, body)))
			continue
		}
		key, err := secretKey(secret)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, version1...)
		signatures = base64.StdEncoding.AppendEncode(signatures, mac(key, id, seconds, body))
	}
	return map[string]string{HeaderID: id, HeaderTimestamp: seconds, HeaderSignature: string(signatures)}, nil
}

// Verify returns nil if the request was signed with one of the secrets, at most
// tolerance away from now. A secret is a shared one or a public key. The headers
// come from get, for example the Get of an http.Header; the body is the bytes as
// they came, before any decoding. Otherwise the error wraps ErrUnsigned,
// ErrTimestamp, ErrSignature or ErrSecret. It compares in constant time.
func Verify(secrets []string, get func(header string) string, body []byte, now time.Time, tolerance time.Duration) error {
	id, seconds, signatures := get(HeaderID), get(HeaderTimestamp), get(HeaderSignature)
	if id == "" || seconds == "" || signatures == "" {
		return fmt.Errorf("%w: %s, %s and %s are needed", ErrUnsigned, HeaderID, HeaderTimestamp, HeaderSignature)
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || at < 0 || strconv.FormatInt(at, 10) != seconds {
		return fmt.Errorf("%w: %s is not a number of seconds", ErrUnsigned, HeaderTimestamp)
	}
	if away := now.Unix() - at; away > int64(tolerance/time.Second) || -away > int64(tolerance/time.Second) {
		return ErrTimestamp
	}
	if len(secrets) == 0 {
		return ErrSecret
	}
	// Every secret is tried against every signature, whichever matched before:
	// how long it takes tells nothing.
	matched := false
	for _, secret := range secrets {
		matches, err := verifier(secret, id, seconds, body)
		if err != nil {
			return err
		}
		rest := signatures
		for range MaxSignatures {
			var one string
			one, rest, _ = strings.Cut(rest, " ")
			matched = matches(one) || matched
			if rest == "" {
				break
			}
		}
	}
	if !matched {
		return ErrSignature
	}
	return nil
}

// verifier returns what tells whether a signature, with its version, is one of
// that secret or public key.
func verifier(secret, id, seconds string, body []byte) (func(signature string) bool, error) {
	if strings.HasPrefix(secret, publicPrefix) {
		key, err := keyOf(secret, publicPrefix, ed25519.PublicKeySize)
		if err != nil {
			return nil, err
		}
		signed := content(id, seconds, body)
		return func(signature string) bool {
			encoded, ok := strings.CutPrefix(signature, version1a)
			raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
			return ok && err == nil && ed25519.Verify(key, signed, raw)
		}, nil
	}
	key, err := secretKey(secret)
	if err != nil {
		return nil, err
	}
	// Compared as text: base64 writes the same bytes in several ways.
	want := base64.StdEncoding.AppendEncode(nil, mac(key, id, seconds, body))
	return func(signature string) bool {
		encoded, ok := strings.CutPrefix(signature, version1)
		return ok && hmac.Equal([]byte(encoded), want)
	}, nil
}

// content is what is signed.
func content(id, seconds string, body []byte) []byte {
	return slices.Concat([]byte(id), []byte("."), []byte(seconds), []byte("."), body)
}

// keyOf returns the bytes behind a prefix, if they are as many as they must be.
func keyOf(secret, prefix string, size int) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, prefix)
	if !ok {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) != size {
		return nil, ErrSecret // the cause could quote the secret
	}
	return key, nil
}

func mac(key []byte, id, seconds string, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range [...]string{id, ".", seconds, "."} {
		_, _ = io.WriteString(h, part) // a hash does not fail
	}
	_, _ = h.Write(body)
	return h.Sum(nil)
}

func secretKey(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < minSecretSize || len(key) > maxSecretSize {
		return nil, ErrSecret // the cause could quote the secret
	}
	return key, nil
}
