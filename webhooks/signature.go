package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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
)

// Reasons for which Verify refuses a request.
var (
	// ErrUnsigned says that a header is missing or malformed.
	ErrUnsigned = errors.New("the request is not signed")
	// ErrTimestamp says that the request is older or newer than the tolerance.
	ErrTimestamp = errors.New("the timestamp is too far from now")
	// ErrSignature says that no signature is right for the body and a secret.
	ErrSignature = errors.New("no signature matches")
	// ErrSecret says that a secret is none: "whsec_" and 24 to 64 bytes in base64.
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

// Sign returns the headers webhook-id, webhook-timestamp and webhook-signature
// for a body, as Standard Webhooks 1 has them: for each secret one signature
// "v1,<base64 of HMAC-SHA256 over id.timestamp.body>", separated by spaces, so
// that a receiver may change secrets while both sign.
func Sign(secrets []string, id string, timestamp time.Time, body []byte) (map[string]string, error) {
	if len(secrets) == 0 {
		return nil, ErrSecret
	}
	seconds := strconv.FormatInt(timestamp.Unix(), 10)
	const signatureLength = len(version1) + 44 // base64 of 32 bytes
	signatures := make([]byte, 0, len(secrets)*(signatureLength+1))
	for i, secret := range secrets {
		key, err := secretKey(secret)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = append(signatures, version1...)
		signatures = base64.StdEncoding.AppendEncode(signatures, mac(key, id, seconds, body))
	}
	return map[string]string{HeaderID: id, HeaderTimestamp: seconds, HeaderSignature: string(signatures)}, nil
}

// Verify returns nil if the request was signed with one of the secrets, at most
// tolerance away from now. The headers come from get, for example the Get of an
// http.Header; the body is the bytes as they came, before any decoding.
// Otherwise the error wraps ErrUnsigned, ErrTimestamp, ErrSignature or
// ErrSecret. It compares in constant time.
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
		key, err := secretKey(secret)
		if err != nil {
			return err
		}
		// Compared as text: base64 writes the same bytes in several ways.
		want := base64.StdEncoding.AppendEncode(nil, mac(key, id, seconds, body))
		rest := signatures
		for range MaxSignatures {
			var one string
			one, rest, _ = strings.Cut(rest, " ")
			if encoded, ok := strings.CutPrefix(one, version1); ok {
				matched = hmac.Equal([]byte(encoded), want) || matched
			}
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
