package forge_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/forge"
)

const (
	appID        = "ari:cloud:ecosystem::app/0b6f2a9c-51d7-4e83-9c1a-7d20e4b8f611"
	installation = "a41c7e02-93bb-4d6f-8e15-2c9f60d7b3a8"
	cloudID      = "d2f90b17-6c3e-4a58-b7d1-84e5c0a9f326"
	workspaceID  = "5e8b1c7a-0f24-4d93-a6b8-3c1d9e7f5042"
	kid          = "forge/invocation-token/wf-1d0a7b52-3c9e-4f68-8a41-b6e2d90c7f35"
)

// issued is the iat of all tokens in testdata; their exp is 25 seconds later.
var issued = time.Unix(1800000000, 0)

// keys are made once: RSA keys take long to find.
var (
	signingKey = sync.OnceValue(func() *rsa.PrivateKey { return mustGenerate(2048) })
	otherKey   = sync.OnceValue(func() *rsa.PrivateKey { return mustGenerate(2048) })
)

func mustGenerate(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

type object = map[string]any

// jwk is a public key as Atlassian publishes it.
func jwk(id string, key *rsa.PublicKey) object {
	return object{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}
}

func keySetText(keys ...object) string {
	if keys == nil {
		keys = []object{}
	}
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// keyServer serves a key set over HTTP and counts.
type keyServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	paths  []string
}

func newKeyServer(t testing.TB, text string) *keyServer {
	s := new(keyServer)
	s.serve(text)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.paths = append(s.paths, r.URL.Path)
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) serve(text string) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

func (s *keyServer) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

func (s *keyServer) fetches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.paths...)
}

// recorder notes every URL that a client asks for.
type recorder struct {
	mu   sync.Mutex
	urls []string
}

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.urls = append(r.urls, request.URL.String())
	r.mu.Unlock()
	return http.DefaultTransport.RoundTrip(request)
}

// house is a verifier with its key server.
type house struct {
	*forge.Verifier
	server *keyServer
	keys   *forge.KeySet
	asked  *recorder
}

func newHouse(t testing.TB, change func(*forge.VerifierConfig)) *house {
	t.Helper()
	h := &house{server: newKeyServer(t, keySetText(jwk(kid, &signingKey().PublicKey))), asked: new(recorder)}
	now := func() time.Time { return issued.Add(3 * time.Second) }
	client := &http.Client{Transport: h.asked}
	h.keys = forge.NewKeySet(forge.KeySetConfig{URL: h.server.URL + "/jwks", Client: client, Now: now})
	config := forge.VerifierConfig{AppID: appID, Keys: h.keys, Now: now}
	if change != nil {
		change(&config)
	}
	verifier, err := forge.NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	h.Verifier = verifier
	return h
}

// load makes sure that the keys are there.
func (h *house) load(t testing.TB) {
	t.Helper()
	if _, err := h.keys.Key(t.Context(), kid); err != nil {
		t.Fatal(err)
	}
}

func header() object { return object{"alg": "RS256", "kid": kid} }

// claims reads a token's claims from testdata.
func claims(t testing.TB, name string) object {
	t.Helper()
	var out object
	if err := json.Unmarshal(readFile(t, filepath.Join("testdata", "fit", name+".json")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encode(part string) string { return base64.RawURLEncoding.EncodeToString([]byte(part)) }

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// sign makes a token of a header and claims that are JSON texts.
func sign(key *rsa.PrivateKey, header, claims string) string {
	signed := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func bearer(token string) []string { return []string{"Bearer " + token} }

// good is a token that a house accepts.
func good(t testing.TB) string {
	return sign(signingKey(), text(header()), text(claims(t, "trigger-jira")))
}

// with returns a copy of o in which the member at a dotted path is value, or
// is gone if value is gone. The path steps into arrays by [0].
func with(o object, path string, value any) object {
	o = maps.Clone(o)
	name, rest, deeper := strings.Cut(path, ".")
	switch {
	case name == "contexts" && deeper:
		list := append([]any(nil), o[name].([]any)...)
		list[0] = with(list[0].(object), rest, value)
		o[name] = list
	case deeper:
		o[name] = with(o[name].(object), rest, value)
	case value == gone:
		delete(o, name)
	default:
		o[name] = value
	}
	return o
}

type goneType struct{}

// gone as a value takes a member away.
var gone = goneType{}
