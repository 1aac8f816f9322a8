package simulator_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/manifest"
	"bellows/internal/simulator"
)

const appID = "ari:cloud:ecosystem::app/7c1f9a52-3e0b-4d63-8a41-5b2f6e7d8c90"

const manifestText = `
app:
  id: ari:cloud:ecosystem::app/7c1f9a52-3e0b-4d63-8a41-5b2f6e7d8c90
  runtime: {name: nodejs22.x}
remotes:
  - {key: backend, baseUrl: "https://backend.example.com/forge", operations: [compute]}
permissions:
  scopes:
    read:jira-work: {allowImpersonation: true}
    write:jira-work: {allowImpersonation: true}
    read:confluence-content.all: {}
    write:confluence-content: {}
    read:app-system-token: {}
modules:
  trigger:
    - {key: on-issue, endpoint: events, events: ["avi:jira:created:issue", "avi:jira:updated:issue"]}
    - {key: on-life, endpoint: life, events: ["avi:forge:installed:app", "avi:forge:upgraded:app"]}
  scheduledTrigger:
    - {key: nightly, endpoint: tick, interval: hour}
  preUninstall:
    - {key: goodbye, endpoint: life}
  endpoint:
    - {key: events, remote: backend, route: {path: /events}, auth: {appSystemToken: {enabled: true}}}
    - {key: life, remote: backend, route: {path: /life}, auth: {appSystemToken: {enabled: true}}}
    - {key: tick, remote: backend, route: {path: /tick}}
`

// got is a call that the backend has received.
type got struct {
	path   string
	header http.Header
	body   []byte
}

// event decodes the body.
func (g got) event(t *testing.T) map[string]any {
	t.Helper()
	var event map[string]any
	if err := json.Unmarshal(g.body, &event); err != nil {
		t.Fatalf("body is no JSON object: %v: %s", err, g.body)
	}
	return event
}

// backend is a remote that answers what it is told to, then 202.
type backend struct {
	*httptest.Server
	calls chan got

	mu      sync.Mutex
	answers []http.HandlerFunc
}

func newBackend(t *testing.T) *backend {
	b := &backend{calls: make(chan got, 256)}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.calls <- got{r.URL.Path, r.Header.Clone(), body}
		b.mu.Lock()
		answer := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }
		if len(b.answers) > 0 {
			answer, b.answers = b.answers[0], b.answers[1:]
		}
		b.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

// answer adds answers to be given, in order.
func (b *backend) answer(answers ...http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, answers...)
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// next returns the next call, which must have arrived or arrive soon.
func (b *backend) next(t *testing.T) got {
	t.Helper()
	select {
	case g := <-b.calls:
		return g
	case <-time.After(10 * time.Second):
		t.Fatal("no call reached the backend")
		return got{}
	}
}

// none fails if a call is waiting.
func (b *backend) none(t *testing.T) {
	t.Helper()
	select {
	case g := <-b.calls:
		t.Fatalf("a call reached the backend: %s %s", g.path, g.body)
	default:
	}
}

// clock is a time that only a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 9, 14, 8, 2, 11, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// desk is a simulator that is served, and its backend.
type desk struct {
	*simulator.Simulator
	client  simulator.Client
	backend *backend
}

func parsed(t *testing.T) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse("manifest.yml", []byte(manifestText))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newDesk(t *testing.T, change func(*simulator.Config)) *desk {
	t.Helper()
	b := newBackend(t)
	server := httptest.NewUnstartedServer(nil)
	cfg := simulator.Config{
		Manifest: parsed(t), Remote: b.URL, PublicURL: "http://" + server.Listener.Addr().String(), TimeScale: 1e-6, Keys: 1, Seed: 1,
	}
	if change != nil {
		change(&cfg)
	}
	sim, err := simulator.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = sim.Handler()
	server.Start()
	t.Cleanup(server.Close)
	return &desk{Simulator: sim, client: simulator.Client{URL: server.URL}, backend: b}
}

// trigger makes an event through the control API.
func (d *desk) trigger(t *testing.T, r simulator.TriggerRequest) simulator.TriggerResult {
	t.Helper()
	result, err := d.client.Trigger(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// systemToken returns a token as a backend gets it.
func (d *desk) systemToken(t *testing.T) string {
	t.Helper()
	d.trigger(t, simulator.TriggerRequest{Event: "avi:jira:created:issue"})
	return d.backend.next(t).header.Get("X-Forge-Oauth-System")
}

// base returns the base URL of a product's API.
func (d *desk) base(product string) string {
	return d.client.URL + "/ex/" + product + "/" + d.Installations()[0].CloudID
}

// api calls an API and decodes the answer into a generic value.
func (d *desk) api(t *testing.T, token, method, url, body string) (*http.Response, map[string]any) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &answer); err != nil {
			t.Fatalf("%s %s answered %s", method, url, data)
		}
	}
	return res, answer
}

// must is api for a call that has to be answered with a status.
func (d *desk) must(t *testing.T, token string, want int, method, url, body string) map[string]any {
	t.Helper()
	res, answer := d.api(t, token, method, url, body)
	if res.StatusCode != want {
		t.Fatalf("%s %s: status is %d, want %d: %v", method, url, res.StatusCode, want, answer)
	}
	return answer
}

// keySet fetches the key set and returns the public keys by id.
func (d *desk) keySet(t *testing.T) map[string]*rsa.PublicKey {
	t.Helper()
	res, err := http.Get(d.client.URL + "/.well-known/jwks.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var set struct{ Keys []map[string]string }
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		t.Fatal(err)
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		if k["kty"] != "RSA" || k["alg"] != "RS256" || k["use"] != "sig" {
			t.Errorf("key %v is not for RS256 signatures", k)
		}
		n, e := decode(t, strings.TrimRight(k["n"], "=")), decode(t, strings.TrimRight(k["e"], "="))
		keys[k["kid"]] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	}
	return keys
}

func decode(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatalf("decoding %q: %v", text, err)
	}
	return data
}

// claimsOf verifies the signature of a token by hand and returns its claims.
func (d *desk) claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	token = strings.TrimPrefix(token, "Bearer ")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("token has %d parts", len(parts))
	}
	var header, claims map[string]any
	if err := json.Unmarshal(decode(t, parts[0]), &header); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(decode(t, parts[1]), &claims); err != nil {
		t.Fatal(err)
	}
	kid, _ := header["kid"].(string)
	key := d.keySet(t)[kid]
	if header["alg"] != "RS256" || key == nil || key.N.BitLen() != 2048 || !strings.HasPrefix(kid, "forge/invocation-token/wf-") {
		t.Fatalf("header is %v", header)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], decode(t, parts[2])); err != nil {
		t.Fatal(err)
	}
	return claims
}

// dig follows a dotted path through objects.
func dig(v any, path string) any {
	for _, name := range strings.Split(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}
