package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"verbatim/webhooks"
)

// secretKeyFile is where the key of a data folder lies unless it is elsewhere.
const secretKeyFile = "secret.key"

// othersMay are the bits of a file's mode that let others than its owner in.
const othersMay = 0o077

// vault returns what seals the secrets of the data folder dir. The key is the one
// configured, or that of a file, which is made in the data folder the first time.
func (c *config) vault(dir string) (*webhooks.Vault, error) {
	encoded, from := c.SecretKey, "VERBATIM_SECRET_KEY"
	if encoded == "" {
		from = c.SecretKeyFile
		if from == "" {
			from = filepath.Join(dir, secretKeyFile)
		}
		var err error
		if encoded, err = readKeyFile(from, c.SecretKeyFile == ""); err != nil {
			return nil, &fault{exit: exitFailed, code: "secret_key", err: err}
		}
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err == nil && len(key) == webhooks.VaultKeySize {
		return webhooks.NewVault(key)
	}
	return nil, &fault{exit: exitUsage, code: "secret_key", err: fmt.Errorf(
		"%s: must be %d bytes in base64; make one with: head -c %d /dev/urandom | base64",
		from, webhooks.VaultKeySize, webhooks.VaultKeySize)}
}

// readKeyFile returns what is in a key's file, which nobody but its owner may
// read. It is made if it may be.
func readKeyFile(path string, mayMake bool) (string, error) {
	if mayMake {
		if err := makeKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("make the key of secrets: %w", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("read the key of secrets: %w", err)
	}
	if info.Mode().Perm()&othersMay != 0 {
		return "", fmt.Errorf("%s can be read by others; run: chmod 600 %s", path, path)
	}
	b, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("read the key of secrets: %w", err)
	}
	return string(b), nil
}

// makeKeyFile makes a key unless there is one. It is on the disk before anything
// is sealed with it, whole or not at all.
func makeKeyFile(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	key := make([]byte, webhooks.VaultKeySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, secretKeyFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it has its name by then, or is nobody's
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // not Rename: a key that is there stays
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // as above
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
