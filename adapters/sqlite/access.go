package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"verbatim/domain"
	"verbatim/webhooks"
)

// Secrets returns the signing secrets of an endpoint that still sign, newest
// first.
func (s *Store) Secrets(ctx context.Context, endpointID string, at time.Time) ([]string, error) {
	var out []string
	err := each(ctx, s.read, `SELECT secret FROM secrets WHERE endpoint = ? AND (expires_at IS NULL OR expires_at > ?)
		ORDER BY created_at DESC, secret`, []any{endpointID, micros(at)}, func(rows *sql.Rows) error {
		var sealed string
		if err := rows.Scan(&sealed); err != nil {
			return err
		}
		secret, err := s.open(endpointID, sealed)
		out = append(out, secret)
		return err
	})
	return out, err
}

// seal returns a secret of an endpoint as it is kept.
func (s *Store) seal(endpointID, secret string) string {
	if s.vault == nil {
		return secret
	}
	return s.vault.Seal(endpointID, secret)
}

// open returns what seal was given.
func (s *Store) open(endpointID, sealed string) (string, error) {
	if s.vault == nil {
		return sealed, nil
	}
	return s.vault.Open(endpointID, sealed)
}

// checkVault returns ErrOtherKey if what is sealed cannot be opened: somebody
// should hear of it now, and not from deliveries that fail. All of a database is
// sealed with one key, so that one secret tells for all of them.
func (s *Store) checkVault(ctx context.Context) error {
	var id, sealed string
	err := s.read.QueryRowContext(ctx, `SELECT endpoint, secret FROM secrets WHERE secret LIKE 'sealed%'
		UNION ALL SELECT endpoint, headers FROM endpoint_headers WHERE headers LIKE 'sealed%' LIMIT 1`).Scan(&id, &sealed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("read a secret: %w", err)
	}
	if _, err := s.open(id, sealed); errors.Is(err, webhooks.ErrSealed) {
		return ErrOtherKey
	} else if err != nil {
		return err
	}
	return nil
}

// sealAll seals what was kept before there was a vault.
func (s *Store) sealAll(ctx context.Context) error {
	for _, table := range []struct{ name, column string }{{"secrets", "secret"}, {"endpoint_headers", "headers"}} {
		var plain [][2]string
		err := each(ctx, s.read, "SELECT endpoint, "+table.column+" FROM "+table.name+" WHERE "+table.column+" NOT LIKE 'sealed%'",
			nil, func(rows *sql.Rows) error {
				var row [2]string
				err := rows.Scan(&row[0], &row[1])
				plain = append(plain, row)
				return err
			})
		if err != nil {
			return err
		}
		for _, row := range plain {
			err := s.write1(ctx, func(t *tx) error {
				_, err := t.exec("UPDATE "+table.name+" SET "+table.column+" = ? WHERE endpoint = ? AND "+table.column+" = ?",
					s.seal(row[0], row[1]), row[0], row[1])
				return err
			})
			if err != nil {
				return fmt.Errorf("seal %s: %w", table.name, err)
			}
		}
	}
	return nil
}

// AddSecret makes a secret the endpoint's newest; those before it still sign until
// previousUntil, if they would have until then.
func (s *Store) AddSecret(ctx context.Context, endpointID, secret string, at, previousUntil time.Time) error {
	return s.write1(ctx, func(t *tx) error {
		if _, err := t.exec("UPDATE secrets SET expires_at = ?1 WHERE endpoint = ?2 AND (expires_at IS NULL OR expires_at > ?1)",
			micros(previousUntil), endpointID); err != nil {
			return err
		}
		if _, err := t.exec("DELETE FROM secrets WHERE endpoint = ? AND expires_at <= ?", endpointID, micros(at)); err != nil {
			return err
		}
		_, err := t.exec(`INSERT INTO secrets (endpoint, secret, created_at) VALUES (?,?,?)
			ON CONFLICT (endpoint, secret) DO UPDATE SET created_at = excluded.created_at, expires_at = NULL`,
			endpointID, s.seal(endpointID, secret), micros(at))
		return err
	})
}

// SetHeaders keeps the headers that are sent along to an endpoint.
func (s *Store) SetHeaders(ctx context.Context, endpointID string, headers map[string]string) error {
	b, err := json.Marshal(headers)
	if err != nil {
		return fmt.Errorf("encode headers: %w", err)
	}
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO endpoint_headers (endpoint, headers) VALUES (?,?)
			ON CONFLICT (endpoint) DO UPDATE SET headers = excluded.headers`, endpointID, s.seal(endpointID, string(b)))
		return err
	})
}

// An APIKey lets its holder act for an account. The key itself is not kept.
type APIKey struct {
	ID        string
	Account   string
	Name      string
	Hash      []byte // SHA-256 of the key
	CreatedAt time.Time
	RevokedAt *time.Time
}

// Account returns an account, and whether there is one.
func (s *Store) Account(ctx context.Context, id string) (domain.Account, bool, error) {
	a := domain.Account{ID: id}
	err := s.read.QueryRowContext(ctx, "SELECT number, name FROM accounts WHERE id = ?", id).Scan(&a.Number, &a.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, fmt.Errorf("read account: %w", err)
	}
	return a, true, nil
}

// AddAccount makes an account with the next number, unless it is there.
func (s *Store) AddAccount(ctx context.Context, id, name string) error {
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec(`INSERT INTO accounts (id, number, name)
			SELECT ?, ifnull(max(number), 0) + 1, ? FROM accounts WHERE true ON CONFLICT DO NOTHING`, id, name)
		return err
	})
}

// AddKey keeps a key.
func (s *Store) AddKey(ctx context.Context, k APIKey) error {
	return s.write1(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO api_keys (id, account, name, hash, created_at) VALUES (?,?,?,?,?)",
			k.ID, k.Account, k.Name, k.Hash, micros(k.CreatedAt))
		return err
	})
}

// RevokeKey ends a key and reports whether it was one that still worked.
func (s *Store) RevokeKey(ctx context.Context, id string, at time.Time) (revoked bool, err error) {
	err = s.write1(ctx, func(t *tx) error {
		n, err := t.exec("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", micros(at), id)
		revoked = n > 0
		return err
	})
	return revoked, err
}

// Key returns a key by its id, and whether there is one.
func (s *Store) Key(ctx context.Context, id string) (APIKey, bool, error) {
	keys, err := s.keys(ctx, "WHERE id = ?", id)
	if err != nil || len(keys) == 0 {
		return APIKey{}, false, err
	}
	return keys[0], true, nil
}

// Keys returns all keys, oldest first.
func (s *Store) Keys(ctx context.Context) ([]APIKey, error) { return s.keys(ctx, "") }

func (s *Store) keys(ctx context.Context, where string, args ...any) ([]APIKey, error) {
	var out []APIKey
	err := each(ctx, s.read, "SELECT id, account, name, hash, created_at, revoked_at FROM api_keys "+where+" ORDER BY created_at, id",
		args, func(rows *sql.Rows) error {
			var k APIKey
			var created int64
			var revoked sql.NullInt64
			if err := rows.Scan(&k.ID, &k.Account, &k.Name, &k.Hash, &created, &revoked); err != nil {
				return err
			}
			k.CreatedAt = fromMicros(created)
			if revoked.Valid {
				at := fromMicros(revoked.Int64)
				k.RevokedAt = &at
			}
			out = append(out, k)
			return nil
		})
	return out, err
}
