package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bellows/internal/daemon"
	"bellows/internal/embedded"
	"bellows/internal/secret"
)

// openData makes the folder of the data and takes it for this process: two
// NATS servers in one folder would destroy it.
func openData(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening data folder: %w", err)
	}
	if err := lock(f); err != nil {
		_ = f.Close()
		return nil, &daemon.Hint{
			Err:  fmt.Errorf("opening data folder: %q is used by another process (%w)", dir, err),
			Hint: "stop that one, or choose another folder with --data",
		}
	}
	return func() { _ = f.Close() }, nil
}

// startNATS runs the server in dir where address says.
func startNATS(dir, address string) (*embedded.Server, error) {
	host, port, err := listenAt(address)
	if err != nil {
		return nil, err
	}
	s, err := embedded.Start(embedded.Options{Dir: dir, Host: host, Port: port, SyncAlways: true})
	if taken := (*net.OpError)(nil); errors.As(err, &taken) {
		return nil, &daemon.Hint{Err: err, Hint: `is another NATS server or "bellows up" running there? choose another port with --nats nats://127.0.0.1:PORT; port 0 takes any free one`}
	}
	return s, err
}

// listenAt reads where the embedded server listens from the URL that clients
// are given. Port 0 means any free one.
func listenAt(address string) (host string, port int, err error) {
	wrong := func(why string) error {
		return daemon.Misuse("bellows up", "--nats is %s; this command brings its own NATS server, for another one run ingest and worker by themselves", why)
	}
	if strings.Contains(address, ",") {
		return "", 0, wrong("several servers, want one address to listen at")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "nats" || u.Hostname() == "" || u.Path != "" || u.User != nil {
		return "", 0, wrong("no address to listen at, want nats://HOST:PORT")
	}
	port = 4222
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port > 65535 {
			return "", 0, wrong("no address to listen at, want a port from 0 to 65535")
		}
	}
	if port == 0 {
		port = -1
	}
	return u.Hostname(), port, nil
}

// keepKeys returns the files of the key pair in dir and makes it if there is
// none.
func keepKeys(dir string) (key, public string, err error) {
	key, public = filepath.Join(dir, keyFile), filepath.Join(dir, publicFile)
	text, err := os.ReadFile(key)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := makeKeys(dir); err != nil {
			return "", "", err
		}
		return key, public, nil
	}
	if err != nil {
		return "", "", fmt.Errorf("reading vault key: %w", err)
	}
	if _, err := os.Stat(public); !errors.Is(err, fs.ErrNotExist) {
		return key, public, nil
	}
	ring, err := secret.ParseKeyring(string(text))
	if err != nil {
		return "", "", fmt.Errorf("reading %q: %w", key, err)
	}
	return key, public, writeNew(public, ring.Newest().Text(), 0o644)
}
