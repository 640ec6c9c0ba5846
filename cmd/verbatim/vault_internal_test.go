package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"verbatim/adapters/sqlite"
	"verbatim/webhooks"
)

// keyOf returns a key of n bytes as it is configured.
func keyOf(b byte, n int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, n))
}

// sealed returns something sealed with the vault of a configuration, which two
// vaults seal alike only if they have the same key.
func sealed(t *testing.T, c *config, dir string) string {
	t.Helper()
	v, err := c.vault(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v.Seal("a", "b")
}

func wantFault(t *testing.T, err error, exit int, words ...string) {
	t.Helper()
	f, ok := errors.AsType[*fault](err)
	if !ok || f.exit != exit || f.code != "secret_key" {
		t.Fatalf("got %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

// The key of a data folder is made once, for its owner alone.
func TestTheKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "folder")
	first := sealed(t, &config{}, dir)
	if again := sealed(t, &config{}, dir); again != first {
		t.Error("another start has another key")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 || files[0].Name() != "secret.key" {
		t.Fatalf("there are %v, error %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	if sealed(t, &config{}, t.TempDir()) == first {
		t.Error("two folders have one key")
	}
}

// Who starts at the same time has the same key.
func TestKeysOfTwoStarts(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := t.TempDir()
		got := make([]string, 8)
		var all sync.WaitGroup
		for i := range got {
			all.Go(func() {
				v, err := (&config{}).vault(dir)
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = v.Seal("a", "b")
			})
		}
		all.Wait()
		for _, one := range got {
			if one != got[0] {
				t.Fatal("two starts have two keys")
			}
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Fatalf("there are left %v, error %v", files, err)
		}
	}
}

func TestTheKeyMayBeConfigured(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := sealed(t, &config{SecretKey: " " + keyOf(1, 32) + "\n"}, dir)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(keyOf(1, 32)+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	if sealed(t, &config{SecretKeyFile: file}, dir) != want {
		t.Error("the key of the file is another one")
	}
	if sealed(t, &config{SecretKey: keyOf(1, 32), SecretKeyFile: "/nowhere"}, dir) != want {
		t.Error("the file is asked before the variable")
	}
	if _, err := os.Stat(filepath.Join(dir, "secret.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key was made that nobody uses: %v", err)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"x", keyOf(1, 31), keyOf(1, 33), keyOf(1, 64), strings.Repeat("!", 44), "whsec_" + keyOf(1, 32)} {
		_, err := (&config{SecretKey: key}).vault(t.TempDir())
		wantFault(t, err, exitUsage, "VERBATIM_SECRET_KEY", "32 bytes in base64", "head -c 32")
		if strings.Contains(err.Error(), key) && len(key) > 1 {
			t.Errorf("%v repeats the key", err)
		}
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = (&config{SecretKeyFile: file}).vault(t.TempDir())
		wantFault(t, err, exitUsage, file, "32 bytes in base64")
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, "secret.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (&config{}).vault(empty)
	wantFault(t, err, exitUsage, "secret.key")

	// One that is named is not made.
	missing := filepath.Join(t.TempDir(), "key")
	_, err = (&config{SecretKeyFile: missing}).vault(t.TempDir())
	wantFault(t, err, exitFailed, missing)
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	// A folder in which none can be made.
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = (&config{}).vault(filepath.Join(file, "folder"))
	wantFault(t, err, exitFailed)
}

// A key that others may read is none.
func TestKeysThatOthersMayRead(t *testing.T) {
	t.Parallel()
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644, 0o601, 0o620, 0o777} {
		dir := t.TempDir()
		file := filepath.Join(dir, "secret.key")
		if err := os.WriteFile(file, []byte(keyOf(1, 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*config{{}, {SecretKeyFile: file}} {
			_, err := c.vault(dir)
			wantFault(t, err, exitFailed, "can be read by others", "chmod 600 "+file)
		}
	}
}

// A server whose key is not that of its secrets does not start: every delivery
// would fail.
func TestAnotherKeyIsFoundOutAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	vault, err := (&config{}).vault(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), dir, sqlite.Options{Vault: vault})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := errors.Join(store.AddSecret(t.Context(), "e", webhooks.NewSecret(strings.NewReader(strings.Repeat("s", 32))), now, now), store.Close()); err != nil {
		t.Fatal(err)
	}
	start := func(key string) error {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a, err := newApp(context.Background(), &config{Database: "sqlite:" + dir, SecretKey: key}, slog.New(slog.DiscardHandler), listener)
		if err != nil {
			return openFault(err)
		}
		return a.close(context.Background())
	}
	wantFault(t, start(keyOf(7, 32)), exitFailed, "another key")
	if err := start(""); err != nil {
		t.Errorf("with its own key: %v", err)
	}
}
