package ingest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/forge"
	"bellows/internal/ingest"
	"bellows/internal/installations"
	"bellows/internal/manifest"
	"bellows/internal/queue"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

const (
	appID        = "ari:cloud:ecosystem::app/5d0f3b86-7a41-4c92-b1e7-90c8d2f6a354"
	installation = "6b1e94d0-2f57-4c83-9a0d-e8c17f35b264"
	cloudID      = "c07a5e19-84bd-4f20-a6e3-1d92b58f4c70"
	keyID        = "forge/invocation-token/wf-9f3e6c14-58b0-4d27-8a1c-b7d4e20f9563"
)

// theManifest has an endpoint of each sort, and two that serve several
// modules.
const theManifest = `app: {id: "` + appID + `"}
remotes:
  - {key: backend, baseUrl: "https://remote.example.com/base/"}
modules:
  macro:
    - {key: card, resolver: {endpoint: ui}}
  jira:issuePanel:
    - {key: panel, resolver: {endpoint: ui}}
  endpoint:
    - {key: events, remote: backend, route: {path: /events}}
    - {key: mixed, remote: backend, route: {path: mixed/}}
    - {key: ticks, remote: backend, route: {path: /ticks}}
    - {key: hourly-endpoint, remote: backend, route: {path: /hourly}}
    - {key: bye-endpoint, remote: backend, route: {path: /bye}}
    - {key: ui, remote: backend, route: {path: /ui}}
  trigger:
    - {key: on-issue, endpoint: events, events: ["avi:jira:created:issue"]}
    - {key: on-page, endpoint: events, events: ["avi:confluence:created:page"]}
    - {key: on-sprint, endpoint: mixed, events: ["avi:jira-software:created:sprint"]}
  scheduledTrigger:
    - {key: hourly, interval: hour, endpoint: hourly-endpoint}
    - {key: often, interval: fiveMinute, endpoint: mixed}
    - {key: daily, interval: day, endpoint: ticks}
    - {key: weekly, interval: week, endpoint: ticks}
  preUninstall:
    - {key: bye, endpoint: bye-endpoint}
    - {key: mixed-bye, endpoint: mixed}
`

// clock is a time that tests move. It is shared by ingest and the signer.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// buffer collects logs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// broker is a NATS server that can be stopped and started again.
type broker struct {
	t    testing.TB
	dir  string
	port int
	*embedded.Server
}

func newBroker(t testing.TB) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	b := &broker{t: t, dir: t.TempDir(), port: port}
	b.start()
	return b
}

func (b *broker) start() { b.Server = embeddedtest.RunIn(b.t, b.dir, b.port) }

// house is an ingest with everything around it.
type house struct {
	t       testing.TB
	clock   *clock
	logs    *buffer
	metrics *prometheus.Registry
	nats    *broker
	queue   *queue.Queue
	store   *store.Store
	vault   secret.PrivateKey
	keys    *keyServer
	server  *httptest.Server
}

// newHouse starts an ingest; change may change what it is told.
func newHouse(t testing.TB, change func(*ingest.Config)) *house {
	t.Helper()
	return newHouseOn(t, newBroker(t), "", change)
}

// newHouseOn starts an ingest at a broker, by another address of it if via is
// not empty.
func newHouseOn(t testing.TB, b *broker, via string, change func(*ingest.Config)) *house {
	t.Helper()
	h := &house{t: t, clock: &clock{}, logs: &buffer{}, metrics: prometheus.NewRegistry(), nats: b, keys: newKeyServer(t)}
	h.connect(via)
	key, err := secret.GenerateKey()
	must(t, err)
	h.vault = key
	c := h.config()
	if change != nil {
		change(&c)
	}
	s, err := ingest.New(c)
	must(t, err)
	h.server = httptest.NewUnstartedServer(nil)
	h.server.Config = s.HTTPServer()
	h.server.Start()
	t.Cleanup(h.server.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("ingest logged:\n%s", h.logs)
		}
	})
	return h
}

func (h *house) connect(via string) {
	h.t.Helper()
	if via == "" {
		via = h.nats.URL()
	}
	q, err := queue.Connect(queue.Options{URL: via, Name: h.t.Name()})
	must(h.t, err)
	h.t.Cleanup(q.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(h.t, q.Ready(ctx))
	st, err := store.New(q.NATS(), q.Prefix())
	must(h.t, err)
	must(h.t, q.Setup(ctx, 1))
	must(h.t, st.Setup(ctx, 1))
	h.queue, h.store = q, st
}

func (h *house) config() ingest.Config {
	m, err := manifest.Parse("manifest.yml", []byte(theManifest))
	must(h.t, err)
	hooks, err := m.Hooks(nil)
	must(h.t, err)
	log := slog.New(slog.NewTextHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keys := forge.NewKeySet(forge.KeySetConfig{URL: h.keys.URL, Now: h.clock.now, Logger: log})
	verifier, err := forge.NewVerifier(forge.VerifierConfig{AppID: m.AppID, Keys: keys, Now: h.clock.now, Logger: log})
	must(h.t, err)
	return ingest.Config{
		Hooks: hooks, FrontEnd: m.Modules, Verify: verifier.Verify, Queue: h.queue,
		Tokens: vault.NewWriter(vault.WriterConfig{
			Tokens: h.store.Bucket(store.Tokens), Meta: h.store.Bucket(store.TokensMeta), Key: h.vault.Public(), Now: h.clock.now}),
		Installations: installations.NewWriter(installations.WriterConfig{Bucket: h.store.Bucket(store.Installations), Now: h.clock.now}),
		Now:           h.clock.now, Logger: log, Metrics: ingest.NewMetrics(h.metrics),
	}
}

// keyServer serves the key set, or fails.
type keyServer struct {
	*httptest.Server
	mu    sync.Mutex
	serve http.HandlerFunc // nil: the key set
}

func newKeyServer(t testing.TB) *keyServer {
	k := &keyServer{}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		serve := k.serve
		k.mu.Unlock()
		if serve != nil {
			serve(w, r)
			return
		}
		public := signingKey().PublicKey
		_ = json.NewEncoder(w).Encode(object{"keys": []object{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
			"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
		}}})
	}))
	t.Cleanup(func() {
		k.CloseClientConnections()
		k.Close()
	})
	return k
}

func (k *keyServer) answer(f http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serve = f
}

func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
