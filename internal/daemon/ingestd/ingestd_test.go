package ingestd_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bellows/examples/quickstart"
	"bellows/internal/daemon"
	"bellows/internal/daemon/ingestd"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/queue"
	"bellows/internal/secret"
)

// write makes a file of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// publicKey is a new one.
func publicKey(t *testing.T) string {
	t.Helper()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key.Public().Text()
}

// good are options that ingest starts with, on free ports; NATS is not there.
func good(t *testing.T) ingestd.Options {
	t.Helper()
	return ingestd.Options{
		Flags: ingestd.Flags{
			Listen: "127.0.0.1:0", Manifest: write(t, "manifest.yml", string(quickstart.Manifest)), VaultPublicKey: publicKey(t),
			JWKSURL: "http://127.0.0.1:1/keys", MaxBody: 1 << 20,
		},
		NATS: queue.Options{URL: "nats://127.0.0.1:1", Logger: slog.New(slog.DiscardHandler)}, Replicas: 1, OpsListen: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	}
}

// refused runs ingest, which must not start, and returns what a person reads.
func refused(t *testing.T, o ingestd.Options) string {
	t.Helper()
	o.Listening = func(_, _ net.Addr) { t.Error("it listens") }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := ingestd.Run(ctx, o)
	if err == nil {
		t.Fatal("it ran until it was stopped, want a refusal at the start")
	}
	var out bytes.Buffer
	daemon.Report(&out, "ingest", err)
	return out.String()
}

// expectStart runs ingest until it listens, and stops it.
func expectStart(t *testing.T, o ingestd.Options) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	listens := false
	o.Listening = func(_, _ net.Addr) { listens = true; stop() }
	if err := ingestd.Run(ctx, o); err != nil || !listens {
		t.Errorf("listens: %t, error: %v", listens, err)
	}
}

func TestTheKeyIsGivenOnceAndWhole(t *testing.T) {
	t.Parallel()
	text := publicKey(t)
	file := write(t, "vault.pub", text+"\n")
	for _, row := range []struct {
		name, key, file string
		says            []string
	}{
		{"both", text, file, []string{"ingest: error: --vault-public-key and --vault-public-key-file are both given, want one"}},
		{"none", "", "", []string{"ingest: error: --vault-public-key-file is missing", "ingest: hint: " + daemon.KeygenHint}},
		{"a file that is not there", "", file + ".none", []string{"ingest: error: reading --vault-public-key-file: ", "ingest: hint: " + daemon.KeygenHint}},
		{"a key cut short", text[:len(text)-4], "", []string{"ingest: error: ", "ingest: hint: " + daemon.KeygenHint}},
		{"a file with something else", "", write(t, "vault.pub", "hello"), []string{"ingest: error: ", "ingest: hint: " + daemon.KeygenHint}},
	} {
		o := good(t)
		o.VaultPublicKey, o.VaultPublicKeyFile = row.key, row.file
		got := refused(t, o)
		for _, want := range row.says {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %q", row.name, got, want)
			}
		}
	}
	o := good(t)
	o.VaultPublicKey, o.VaultPublicKeyFile = "", file
	expectStart(t, o)
}

func TestAWrongRuleFileIsRefusedAndAnAbsentOneIsNot(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.Config = write(t, "bellows.yaml", "version: 1\nrules:\n  - name: a\n    onn: x\n")
	if got := refused(t, o); !strings.Contains(got, "ingest: error: "+o.Config+":4:5: ") {
		t.Errorf("got %q, want the place in the file", got)
	}
	o.Config = filepath.Join(t.TempDir(), "bellows.yaml")
	expectStart(t, o)
	o.Config = ""
	expectStart(t, o)
	o.Config = write(t, "bellows.yaml", string(quickstart.Rules))
	expectStart(t, o)
}

func TestABrokenManifestIsRefusedAtItsPlace(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.Manifest = write(t, "manifest.yml", strings.Replace(string(quickstart.Manifest), "endpoint: tick", "endpoint: tock", 1))
	if got := refused(t, o); !strings.Contains(got, "ingest: error: "+o.Manifest+":") || !strings.Contains(got, "tock") {
		t.Errorf("got %q, want the place and the endpoint that is not there", got)
	}
	o.Manifest = filepath.Join(t.TempDir(), "none.yml")
	if got := refused(t, o); !strings.Contains(got, "none.yml") {
		t.Errorf("got %q, want the name of the file", got)
	}
}

func TestABodyLargerThanNATSTakesIsRefusedWithTheLine(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.NATS.URL, o.MaxBody = embeddedtest.Run(t).URL(), 64<<20
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := ingestd.Run(ctx, o)
	var hint *daemon.Hint
	if !errors.As(err, &hint) {
		t.Fatalf("got %v, want a refusal with a remedy", err)
	}
	if !strings.Contains(err.Error(), "--max-body is 67108864 bytes") || !strings.Contains(hint.Hint, "max_payload: 135266304") {
		t.Errorf("got %q, hint %q", err, hint.Hint)
	}
}
