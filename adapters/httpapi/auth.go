package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"verbatim/domain"
)

const (
	keyPrefix      = "vbt_"
	keyIDBytes     = 6  // 12 hexadecimal characters: enough to tell keys apart, short enough to read out
	keySecretBytes = 32 // so that a plain SHA-256 is all the protection the hash needs

	headerAccount  = "Verbatim-Account"
	defaultAccount = "default"
	adminActor     = "admin"
)

// A Key lets its holder act for an account. The key itself is not kept.
type Key struct {
	ID        string
	Account   string
	Name      string
	Hash      []byte // SHA-256 of the key
	CreatedAt time.Time
	RevokedAt *time.Time
}

// NewKey returns a new key as it is shown to its holder, once, and what is to be
// kept of it; account, name and time are the caller's to fill in.
func NewKey(rand io.Reader) (plain string, key Key, err error) {
	var random [keyIDBytes + keySecretBytes]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return "", Key{}, fmt.Errorf("make a key: %w", err)
	}
	id := hex.EncodeToString(random[:keyIDBytes])
	plain = keyPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(random[keyIDBytes:])
	sum := sha256.Sum256([]byte(plain))
	return plain, Key{ID: id, Hash: sum[:]}, nil
}

// digests returns the SHA-256 of every key that is not empty: a variable that
// was never set must not let in who sends nothing.
func digests(keys []string) [][32]byte {
	var out [][32]byte
	for _, k := range keys {
		if k != "" {
			out = append(out, sha256.Sum256([]byte(k)))
		}
	}
	return out
}

// authenticate finds out who asks and for which account, or returns a problem.
func (s *Server) authenticate(r *http.Request, c *call) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if token == "" || !strings.EqualFold(scheme, "Bearer") {
		return unauthorized("missing_key", "send the header Authorization: Bearer vbt_…")
	}
	sum := sha256.Sum256([]byte(token))
	if s.isAdmin(sum) {
		return s.actAsAdmin(r, c)
	}
	rest, ours := strings.CutPrefix(token, keyPrefix)
	id, _, ok := strings.Cut(rest, "_")
	if !ours || !ok || len(id) != 2*keyIDBytes {
		return invalidKey()
	}
	key, found, err := s.cfg.Key(r.Context(), id)
	if err != nil {
		return fmt.Errorf("look up key: %w", err)
	}
	if !found || subtle.ConstantTimeCompare(key.Hash, sum[:]) != 1 {
		return invalidKey()
	}
	if key.RevokedAt != nil {
		return revokedKey()
	}
	c.account, c.keyID = key.Account, key.ID
	c.agent = domain.Person{ID: key.ID, Role: domain.Agent, Name: key.Name}
	c.meta.Actor = "key:" + key.ID
	return nil
}

// stillValid reports whether the key of a call that takes long was not revoked
// meanwhile. A look that fails is no reason to end the call.
func (s *Server) stillValid(ctx context.Context, c *call) bool {
	if c.keyID == "" {
		return true
	}
	key, found, err := s.cfg.Key(ctx, c.keyID)
	return err != nil || found && key.RevokedAt == nil
}

func (s *Server) isAdmin(sum [32]byte) bool {
	is := 0
	for i := range s.admins {
		is |= subtle.ConstantTimeCompare(s.admins[i][:], sum[:])
	}
	return is == 1
}

func (s *Server) actAsAdmin(r *http.Request, c *call) error {
	c.account = r.Header.Get(headerAccount)
	if c.account == "" {
		c.account = defaultAccount
	}
	_, found, err := s.cfg.Models.Account(r.Context(), c.account)
	if err != nil {
		return fmt.Errorf("look up account: %w", err)
	}
	if !found {
		return newProblem(http.StatusNotFound, "account.not_found", "the header "+headerAccount+" must name an account that exists")
	}
	c.agent = domain.Person{ID: adminActor, Role: domain.Agent, Name: "Admin"}
	c.meta.Actor = adminActor
	return nil
}

func invalidKey() *Problem {
	return unauthorized("invalid_key", "this key is not one of ours; it must read vbt_<id>_<secret>, as it was shown once")
}

func revokedKey() *Problem {
	return unauthorized("revoked_key", "this key was revoked; make another one with: verbatim keys create")
}

func unauthorized(code, detail string) *Problem {
	p := newProblem(http.StatusUnauthorized, code, detail)
	p.header("WWW-Authenticate", "Bearer")
	return p
}
