package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bellows/internal/daemon"
	"bellows/internal/secret"
)

// Names of the key files, as documented.
const (
	keyFile    = "vault.key"
	publicFile = "vault.pub"
)

type keygenCmd struct {
	Out string `name:"out" required:"" placeholder:"DIR" help:"Folder for vault.key and vault.pub; it is made if it is missing."`
}

// Help is shown after the one-line help.
func (keygenCmd) Help() string {
	return `ingest seals tokens with vault.pub and cannot read them again; workers open them with vault.key. Keep
vault.key from everybody else, and keep a copy: what was sealed for it cannot be read without it.

    bellows keygen --out keys
    ingest --vault-public-key-file keys/vault.pub
    worker --vault-key-file keys/vault.key`
}

// Run makes a key pair.
func (c *keygenCmd) Run(t terminal) error {
	key, err := makeKeys(c.Out)
	if err != nil {
		return err
	}
	t.print("%s  for workers only\n%s  for ingest\n", filepath.Join(c.Out, keyFile), filepath.Join(c.Out, publicFile))
	t.print("public key: %s\n", key.Public().Text())
	return nil
}

// makeKeys writes a new key pair into dir. It never replaces a file.
func makeKeys(dir string) (secret.PrivateKey, error) {
	key, err := secret.GenerateKey()
	if err != nil {
		return key, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return key, fmt.Errorf("making folder for keys: %w", err)
	}
	for _, name := range []string{keyFile, publicFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return key, exists(filepath.Join(dir, name))
		}
	}
	if err := writeNew(filepath.Join(dir, keyFile), key.Text(), 0o600); err != nil {
		return key, err
	}
	return key, writeNew(filepath.Join(dir, publicFile), key.Public().Text(), 0o644)
}

// writeNew writes a line to a file that must not exist yet, whatever the umask
// is.
func writeNew(path, line string, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return exists(path)
	}
	if err != nil {
		return fmt.Errorf("writing key file: %w", err)
	}
	_, err = fmt.Fprintln(f, line)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing key file %q: %w", path, err)
	}
	return nil
}

func exists(path string) error {
	return &daemon.Hint{
		Err:  fmt.Errorf("writing key file: %q exists", path),
		Hint: "choose another folder with --out: tokens sealed for the old key could not be opened without it",
	}
}
