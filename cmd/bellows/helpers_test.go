package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// appID is that of the manifest in up_test.go.
const appID = "ari:cloud:ecosystem::app/8b1c0c1e-2f53-4c68-9a39-1a2b3c4d5e6f"

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // the tests' values are always encodable
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// unsignedToken is a system token as far as anybody but Atlassian can tell.
func unsignedToken(expires time.Time) string {
	return encode(map[string]any{"alg": "none"}) + "." + encode(map[string]any{"exp": expires.Unix(), "sub": "the-token"}) + ".x"
}

// signer signs invocation tokens and serves its key, without any code of the
// simulator's.
type signer struct {
	key  *rsa.PrivateKey
	keys *httptest.Server
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key}
	s.keys = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		e := big.NewInt(int64(key.E)).Bytes()
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "forge/invocation-token/wf-1",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(e),
		}}})
	}))
	t.Cleanup(s.keys.Close)
	return s
}

// sign makes the invocation token of one delivery.
func (s *signer) sign(t *testing.T, installation, apiBaseURL string) string {
	t.Helper()
	now := time.Now().Unix()
	head := encode(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "forge/invocation-token/wf-1"}) + "." + encode(map[string]any{
		"iss": "forge/invocation-token", "aud": appID, "iat": now, "nbf": now, "exp": now + 25, "jti": rand.Text(),
		"app": map[string]any{
			"id": appID, "version": "3", "appVersion": "3.0.0", "installationId": "ari:cloud:ecosystem::installation/" + installation, "apiBaseUrl": apiBaseURL,
			"environment": map[string]any{"type": "PRODUCTION", "id": "ari:cloud:ecosystem::environment/8b1c0c1e/e-1"},
			"module":      map[string]any{"type": "core:endpoint", "key": "events"},
			"installation": map[string]any{"id": "ari:cloud:ecosystem::installation/" + installation, "contexts": []any{
				map[string]any{"name": "jira", "apiBaseUrl": apiBaseURL, "cloudId": "c-1"},
			}},
		},
		"context": map[string]any{"cloudId": "c-1", "moduleKey": "on-issue"},
	})
	sum := sha256.Sum256([]byte(head))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return head + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// running is a command that runs until it is stopped.
type running struct {
	out  *screen
	errs *screen
	stop context.CancelFunc
	end  chan error
}

// screen is what a command has written so far.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.text.Write(p)
}

func (s *screen) read() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.changed
}

// start runs a command in the background and stops it when the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{out: newScreen(), errs: newScreen(), stop: stop, end: make(chan error, 1)}
	go func() { r.end <- run(ctx, args, strings.NewReader(""), r.out, r.errs) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-r.end:
		case <-time.After(20 * time.Second):
			t.Errorf("%v did not stop", args)
		}
		if t.Failed() {
			text, _ := r.errs.read()
			t.Logf("stderr of %v:\n%s", args, text)
		}
	})
	return r
}

// find waits until stdout has what the pattern's group stands for.
func (r *running) find(t *testing.T, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	deadline := time.After(20 * time.Second)
	for {
		text, changed := r.out.read()
		if found := wanted.FindStringSubmatch(text); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-changed:
		case err := <-r.end:
			r.end <- err
			t.Fatalf("it ended with %v before stdout had %q:\n%s", err, pattern, text)
		case <-deadline:
			t.Fatalf("stdout has no %q:\n%s", pattern, text)
		}
	}
}

// finish stops the command and returns its error.
func (r *running) finish(t *testing.T) error {
	t.Helper()
	r.stop()
	select {
	case err := <-r.end:
		r.end <- err // for the clean-up
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("it did not stop")
		return nil
	}
}
