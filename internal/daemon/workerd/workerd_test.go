package workerd_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bellows/examples/quickstart"
	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/queue"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey(t *testing.T) secret.PrivateKey {
	t.Helper()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// good are options that a worker starts with, on free ports; NATS is not there.
func good(t *testing.T) workerd.Options {
	t.Helper()
	return workerd.Options{
		Flags: workerd.Flags{
			VaultKey: newKey(t).Text(), Concurrency: 1, GraphQLURL: "http://127.0.0.1:1/graphql", APIHost: []string{"127.0.0.1:1"},
			ImpersonationPerMinute: 1000, DrainTimeout: time.Second, EgressListen: "127.0.0.1:0",
		},
		NATS: queue.Options{URL: "nats://127.0.0.1:1", Logger: slog.New(slog.DiscardHandler)}, Replicas: 1, OpsListen: "127.0.0.1:0",
		Config: write(t, "bellows.yaml", string(quickstart.Rules)), Log: slog.New(slog.DiscardHandler),
	}
}

// report runs a worker that ends by itself, and returns what a person reads.
func report(t *testing.T, o workerd.Options) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := workerd.Run(ctx, o)
	if err == nil {
		t.Fatal("it ran until it was stopped, want a refusal")
	}
	var out bytes.Buffer
	daemon.Report(&out, "worker", err)
	return out.String()
}

// refused is report for what is refused without any network.
func refused(t *testing.T, o workerd.Options) string {
	t.Helper()
	o.Listening = func(net.Addr) { t.Error("it listens") }
	return report(t, o)
}

func TestAWorkerWithoutAKeyThatItCanReadIsRefused(t *testing.T) {
	t.Parallel()
	text := newKey(t).Text()
	file := write(t, "vault.key", text)
	for _, row := range []struct{ name, key, file, says, hint string }{
		{"none", "", "", "--vault-key-file is missing", daemon.KeygenHint},
		{"both", text, file, "--vault-key and --vault-key-file are both given", ""},
		{"a file that is not there", "", file + ".none", "reading --vault-key-file: ", daemon.KeygenHint},
		{"one of two cut short", text + "," + text[:len(text)-4], "", "worker: error: ", daemon.KeygenHint},
	} {
		o := good(t)
		o.VaultKey, o.VaultKeyFile = row.key, row.file
		got := refused(t, o)
		if !strings.Contains(got, row.says) || row.hint != "" && !strings.Contains(got, "worker: hint: "+row.hint) {
			t.Errorf("%s: got %q", row.name, got)
		}
		if strings.Contains(got, text[len(text)-20:len(text)-4]) {
			t.Errorf("%s: %q repeats the key", row.name, got)
		}
	}
}

func TestAWorkerWithoutRulesThatItCanReadIsRefused(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.Config = filepath.Join(t.TempDir(), "none.yaml")
	if got := refused(t, o); !strings.Contains(got, "none.yaml") || !strings.Contains(got, "worker: hint: say where the rule file is with --config") {
		t.Errorf("a file that is not there: got %q", got)
	}
	o.Config = write(t, "bellows.yaml", strings.NewReplacer("event.issue.key", "evnt.issue.key", "event.atlassianId", "event.").Replace(string(quickstart.Rules)))
	if got := refused(t, o); strings.Count(got, "worker: error: "+o.Config+":") < 3 {
		t.Errorf("three faults: got %q, want each at its place", got)
	}
}

// keep seals a token of an installation to key, as ingest does.
func keep(t *testing.T, nats queue.Options, key secret.PublicKey) {
	t.Helper()
	b, err := daemon.Reach(t.Context(), nats)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Queue.Close()
	if err := b.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	token := part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(time.Hour).Unix())) + ".x"
	w := vault.NewWriter(vault.WriterConfig{Tokens: b.Store.Bucket(store.Tokens), Meta: b.Store.Bucket(store.TokensMeta), Key: key})
	if _, err := w.Keep(t.Context(), vault.Owner{Installation: "inst-1"}, secret.NewToken(token)); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyThatOpensNoStoredTokenIsToldAtTheStart(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.NATS.URL = embeddedtest.Run(t).URL()
	right := newKey(t)
	keep(t, o.NATS, right.Public())
	got := report(t, o)
	for _, want := range []string{
		"worker: error: running worker: checking vault keys: ", `installation "inst-1"`, "none of the 1 private keys given belongs to the public key that ingest seals to",
		"worker: hint: give the worker the private key that belongs to ingest's public key",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}

	o.VaultKey += "," + right.Text()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- workerd.Run(ctx, o) }()
	if !beats(ctx, t, o.NATS) {
		t.Error("with the right key beside the wrong one: no worker came up")
	}
	stop()
	if err := <-worked; err != nil {
		t.Errorf("with the right key beside the wrong one: %v", err)
	}
}

// beats waits for the heartbeat of a worker, which comes after its checks.
func beats(ctx context.Context, t *testing.T, nats queue.Options) bool {
	t.Helper()
	b, err := daemon.Reach(ctx, nats)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Queue.Close()
	for ctx.Err() == nil {
		if nodes, err := b.Store.Bucket(store.Nodes).List(ctx); err == nil && len(nodes) == 1 {
			return true
		}
		time.Sleep(10 * time.Millisecond) // between two looks
	}
	return false
}
