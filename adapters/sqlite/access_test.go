package sqlite_test

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"verbatim/adapters/sqlite"
	"verbatim/domain"
	"verbatim/projections"
	"verbatim/webhooks"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	hour := func(n int) time.Time { return noon().Add(time.Duration(n) * time.Hour) }
	rotate := func(endpointID, secret string, at, previousUntil time.Time) {
		t.Helper()
		if err := s.AddSecret(t.Context(), endpointID, secret, at, previousUntil); err != nil {
			t.Fatal(err)
		}
	}
	sign := func(at time.Time, want ...string) {
		t.Helper()
		if got, err := s.Secrets(t.Context(), "ep-1", at); err != nil || !slices.Equal(got, want) {
			t.Errorf("at %v: %v, %v; want %v", at, got, err, want)
		}
	}
	sign(hour(0))
	rotate("ep-1", "first", hour(0), hour(0)) // there is none before it
	rotate("ep-2", "another's", hour(0), hour(0))
	sign(hour(0), "first")
	sign(hour(1000), "first")

	rotate("ep-1", "second", hour(10), hour(34))
	sign(hour(10), "second", "first")
	sign(hour(34).Add(-time.Microsecond), "second", "first")
	sign(hour(34), "second")

	// Rotated again before the first has ended: three sign, and none of those
	// before it longer than the last rotation says.
	rotate("ep-1", "third", hour(20), hour(22))
	sign(hour(20), "third", "second", "first")
	sign(hour(22), "third")

	// At once: a secret that leaked does not sign for another moment.
	rotate("ep-1", "fourth", hour(40), hour(40))
	sign(hour(40), "fourth")
	sign(hour(0), "fourth") // the others are not kept longer than needed
	if got, err := s.Secrets(t.Context(), "ep-2", hour(1000)); err != nil || !slices.Equal(got, []string{"another's"}) {
		t.Errorf("the other endpoint's: %v, %v", got, err)
	}

	// One that is known becomes the newest, once, also one that was to end.
	rotate("ep-1", "fourth", hour(50), hour(60))
	sign(hour(1000), "fourth")
	rotate("ep-1", "fifth", hour(70), hour(80))
	rotate("ep-1", "fourth", hour(71), hour(80))
	sign(hour(71), "fourth", "fifth")
	sign(hour(1000), "fourth")
}

// What signs is nowhere in the folder in the open, also what was kept there
// before secrets were sealed.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const old, fresh, header = "whsec_the-old-secret-in-the-open", "whsec_the-fresh-secret", "Basic dGhlIGhlYWRlcg=="
	s := open(t, dir)
	keep := func(secret string, at time.Time) {
		t.Helper()
		if err := s.AddSecret(t.Context(), "ep-1", secret, at, at.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.SetHeaders(t.Context(), "ep-1", map[string]string{"Authorization": header}); err != nil {
			t.Fatal(err)
		}
	}
	keep(old, noon())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	vault := func(fill byte) *webhooks.Vault {
		v, err := webhooks.NewVault(bytes.Repeat([]byte{fill}, webhooks.VaultKeySize))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	reopen := func(o sqlite.Options) {
		t.Helper()
		var err error
		if s, err = sqlite.Open(t.Context(), dir, o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
	}
	reopen(sqlite.Options{Vault: vault(1)})
	keep(fresh, noon().Add(time.Minute))
	keep(fresh, noon().Add(time.Minute)) // it is found again although it is sealed
	got, err := s.Secrets(t.Context(), "ep-1", noon().Add(2*time.Minute))
	if err != nil || !slices.Equal(got, []string{fresh, old}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Another key is found out when the file is opened, by one who has no use for
	// secrets not at all.
	if _, err := sqlite.Open(t.Context(), dir, sqlite.Options{Vault: vault(2)}); !errors.Is(err, sqlite.ErrOtherKey) {
		t.Errorf("another key: got %v", err)
	}
	reopen(sqlite.Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", filepath.Join(dir, "verbatim.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "VACUUM"); err != nil { // free pages are the file system's
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, secret := range []string{old, fresh, header} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%q is in %s", secret, path)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// Headers alone tell that the key is another one, and so does a secret that has
// expired.
func TestAnotherKey(t *testing.T) {
	t.Parallel()
	vault := func(fill byte) sqlite.Options {
		v, err := webhooks.NewVault(bytes.Repeat([]byte{fill}, webhooks.VaultKeySize))
		if err != nil {
			t.Fatal(err)
		}
		return sqlite.Options{Vault: v}
	}
	for name, keep := range map[string]func(s *sqlite.Store) error{
		"headers": func(s *sqlite.Store) error {
			return s.SetHeaders(t.Context(), "ep-1", map[string]string{"X-A": "a"})
		},
		"secret": func(s *sqlite.Store) error {
			return s.AddSecret(t.Context(), "ep-1", "whsec_x", noon(), noon())
		},
	} {
		dir := t.TempDir()
		for _, fill := range []byte{1, 1, 2, 1} {
			s, err := sqlite.Open(t.Context(), dir, vault(fill))
			if other := fill != 1; errors.Is(err, sqlite.ErrOtherKey) != other || !other && err != nil {
				t.Errorf("%s: with key %d got %v", name, fill, err)
			}
			if err == nil {
				if err := errors.Join(keep(s), s.Close()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// How an endpoint fared before it was enabled no longer counts.
func TestHealthBeginsAnewWhenEnabled(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if h, err := s.Health(t.Context(), "nobody"); err != nil || h != (webhooks.Health{}) {
		t.Errorf("got %+v, %v", h, err)
	}
	failing := webhooks.Health{Failures: 12, FailingSince: noon(), Breaks: 1, OpenUntil: noon().Add(time.Minute)}
	for _, c := range []struct {
		enabled time.Time
		want    webhooks.Health
	}{
		{time.Time{}, failing},
		{noon(), failing},
		{noon().Add(time.Microsecond), webhooks.Health{}},
	} {
		row := projections.EndpointRow{ID: "ep-1", Account: domain.Account{ID: "acme"}, Version: 1, EnabledAt: c.enabled}
		page := &projections.Page{Rows: projections.Rows{
			Endpoints:  map[string]projections.EndpointRow{"ep-1": row},
			Deliveries: []webhooks.Delivery{{ID: "dlv_1", EndpointID: "ep-1", State: webhooks.Pending}},
		}}
		report := webhooks.Report{
			Delivery: webhooks.Delivery{ID: "dlv_1", EndpointID: "ep-1", State: webhooks.Pending},
			Attempt:  webhooks.Attempt{Number: 1}, Health: failing,
		}
		if err := errors.Join(s.CommitPage(t.Context(), page), s.Record(t.Context(), []webhooks.Report{report})); err != nil {
			t.Fatal(err)
		}
		h, err := s.Health(t.Context(), "ep-1")
		target, err2 := s.Target(t.Context(), "ep-1")
		if err != nil || err2 != nil || h != c.want || target.Health != c.want {
			t.Errorf("enabled at %s: %+v and %+v, %v, %v", c.enabled, h, target.Health, err, err2)
		}
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if _, found, err := s.Account(t.Context(), "default"); found || err != nil {
		t.Errorf("an account that is not there: %t, %v", found, err)
	}
	for _, a := range []domain.Account{{ID: "default", Name: "Default"}, {ID: "acme", Name: "Acme"}, {ID: "default", Name: "Other"}, {ID: "x"}} {
		if err := s.AddAccount(t.Context(), a.ID, a.Name); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []domain.Account{{ID: "default", Number: 1, Name: "Default"}, {ID: "acme", Number: 2, Name: "Acme"}, {ID: "x", Number: 3}} {
		if got, found, err := s.Account(t.Context(), want.ID); err != nil || !found || got != want {
			t.Errorf("%s: %+v, %t, %v; want %+v", want.ID, got, found, err, want)
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx := t.Context()
	if err := s.AddAccount(ctx, "acme", "Acme"); err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte("key"))
	first := sqlite.APIKey{ID: "b", Account: "acme", Name: "first", Hash: hash[:], CreatedAt: noon()}
	second := sqlite.APIKey{ID: "a", Account: "acme", Name: "second", Hash: hash[:], CreatedAt: noon().Add(time.Second)}
	for _, k := range []sqlite.APIKey{second, first} {
		if err := s.AddKey(ctx, k); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AddKey(ctx, first); err == nil {
		t.Error("a key was added twice")
	}
	stray := first
	stray.ID, stray.Account = "c", "nobody"
	if err := s.AddKey(ctx, stray); err == nil {
		t.Error("a key was added to an account that is not there")
	}
	list := func(want ...sqlite.APIKey) {
		t.Helper()
		got, err := s.Keys(ctx)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("keys: %v (-want +got):\n%s", err, diff)
		}
	}
	list(first, second)
	if got, found, err := s.Key(ctx, "a"); err != nil || !found || cmp.Diff(second, got) != "" {
		t.Errorf("a key: %+v, %t, %v", got, found, err)
	}
	if _, found, err := s.Key(ctx, "c"); found || err != nil {
		t.Errorf("a key that is not there: %t, %v", found, err)
	}
	end := noon().Add(time.Hour)
	first.RevokedAt = &end
	for _, tt := range []struct {
		id   string
		want bool
	}{{"b", true}, {"b", false}, {"c", false}} {
		if got, err := s.RevokeKey(ctx, tt.id, end); err != nil || got != tt.want {
			t.Errorf("revoke %s: %t, %v; want %t", tt.id, got, err, tt.want)
		}
		end = end.Add(time.Hour) // the second time changes nothing
	}
	revoked := noon().Add(time.Hour)
	first.RevokedAt = &revoked
	list(first, second)
}
