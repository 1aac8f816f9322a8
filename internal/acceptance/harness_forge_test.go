package acceptance

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	appID = "ari:cloud:ecosystem::app/0b6f2a9c-51d7-4e83-9c1a-7d20e4b8f611"
	// keyID names the key that signs invocation tokens.
	keyID = "forge/invocation-token/acceptance-key"
)

type object = map[string]any

// newKey makes an RSA key such as Forge signs with.
func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// signingKey is made once: RSA keys take long to find.
var signingKey = sync.OnceValue(newKey)

// forgeWorld is Forge's side: the key set, and the signing of tokens.
type forgeWorld struct {
	server *httptest.Server
	key    *rsa.PrivateKey

	mu      sync.Mutex
	keys    []object       // what the key set answers
	status  int            // its status; 0: 200
	fetches int            // how often it was asked
	tokens  map[string]int // :: installation → system tokens made
}

func newForge(t testing.TB) *forgeWorld {
	w := &forgeWorld{key: signingKey(), tokens: map[string]int{}}
	w.keys = []object{jwk(keyID, &w.key.PublicKey)}
	w.server = httptest.NewServer(http.HandlerFunc(w.serveKeys))
	t.Cleanup(w.server.Close)
	return w
}

func (w *forgeWorld) keySetURL() string { return w.server.URL + "/.well-known/jwks.json" }

func (w *forgeWorld) serveKeys(out http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fetches++
	if w.status != 0 {
		out.WriteHeader(w.status)
		return
	}
	_ = json.NewEncoder(out).Encode(object{"keys": w.keys})
}

// publish sets what the key set answers from now on: these keys with 200, or
// nothing with another status.
func (w *forgeWorld) publish(status int, keys ...object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status, w.keys = status, keys
	if status == http.StatusOK {
		w.status = 0
	}
}

// fetched is how often the key set was asked for.
func (w *forgeWorld) fetched() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fetches
}

// jwk is a public key as Atlassian publishes it.
func jwk(id string, key *rsa.PublicKey) object {
	return object{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}
}

// sign makes a token with this header and these claims, signed with RS256
// whatever the header says.
func sign(key *rsa.PrivateKey, header, claims object) string {
	signed := segment(header) + "." + segment(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func segment(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(jsonText(v))) }

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// site is an installation of the app on a Jira site.
type site struct {
	ID      string // installation id
	CloudID string
	BaseURL string // of its Jira API
}

var sites atomic.Int64

// newSite makes an installation whose APIs are the house's.
func (h *house) newSite() site {
	n := sites.Add(1)
	s := site{ID: fmt.Sprintf("a41c7e02-93bb-4d6f-8e15-%012d", n), CloudID: fmt.Sprintf("d2f90b17-6c3e-4a58-b7d1-%012d", n)}
	s.BaseURL = h.api.url() + "/ex/jira/" + s.CloudID
	return s
}

func (s site) ari() string { return "ari:cloud:ecosystem::installation/" + s.ID }

// fitHeader is the header of a good invocation token.
func fitHeader() object { return object{"alg": "RS256", "kid": keyID, "typ": "JWT"} }

// fitClaims are the claims of a good invocation token for a module, with an id
// of its own. They may be changed.
func (s site) fitClaims(module string) object {
	now := time.Now().Unix()
	return object{
		"iss": "forge/invocation-token", "aud": appID, "iat": now, "nbf": now, "exp": now + 25, "jti": randomHex(20),
		"app": object{
			"id": appID, "version": "7", "appVersion": "2.4.0", "installationId": s.ari(), "apiBaseUrl": s.BaseURL,
			"installation": object{"id": s.ari(), "contexts": []any{
				object{"name": "jira", "apiBaseUrl": s.BaseURL, "cloudId": s.CloudID}}},
			"environment": object{"type": "PRODUCTION",
				"id": "ari:cloud:ecosystem::environment/0b6f2a9c-51d7-4e83-9c1a-7d20e4b8f611/c97d35e0-8a14-4b62-9f0d-e6b1a2873c45"},
			"module": object{"type": "core:endpoint", "key": module},
		},
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// systemToken makes a token for the site that ends at expires. Each is another
// one.
func (w *forgeWorld) systemToken(s site, expires time.Time) string {
	w.mu.Lock()
	w.tokens[s.ID]++
	n := w.tokens[s.ID]
	w.mu.Unlock()
	return sign(w.key, object{"alg": "RS256"}, object{"exp": expires.Unix(), "sub": s.ID, "n": n, "jti": randomHex(8)})
}

// delivery is one call of Forge.
type delivery struct {
	Site   site
	Path   string      // empty: /forge/events
	FIT    string      // empty: a good one
	Token  string      // system token; empty: none
	Header http.Header // more headers, and instead of those made here
	Body   string
}

// answer is what ingest said. Status 0 means that there was no answer.
type answer struct {
	Status    int
	ID        string
	Duplicate bool
	Code      string // of an error
	Text      string
	Header    http.Header
	Took      time.Duration
}

// accepted reports whether Forge would consider the event delivered.
func (a answer) accepted() bool { return a.Status/100 == 2 }

// forgeClient waits as long as Forge does.
var forgeClient = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// deliver calls ingest as Forge does, once.
func (h *house) deliver(to *process, d delivery) answer {
	h.t.Helper()
	if d.Path == "" {
		d.Path = "/forge/events"
	}
	if d.FIT == "" {
		d.FIT = sign(h.forge.key, fitHeader(), d.Site.fitClaims("events"))
	}
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, to.url(d.Path), bytes.NewReader([]byte(d.Body)))
	must(h.t, err)
	r.Header.Set("Authorization", "Bearer "+d.FIT)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-b3-traceid", randomHex(16))
	r.Header.Set("x-b3-spanid", randomHex(8))
	if d.Token != "" {
		r.Header.Set("x-forge-oauth-system", d.Token)
	}
	for name, values := range d.Header {
		r.Header[name] = values
	}
	return send(r)
}

func send(r *http.Request) (a answer) {
	start := time.Now()
	defer func() { a.Took = time.Since(start) }()
	response, err := forgeClient.Do(r)
	if err != nil {
		a.Text = err.Error()
		return a
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.Text = err.Error()
		return a
	}
	var body struct {
		ID        string
		Duplicate bool
		Error     struct{ Code string }
	}
	_ = json.Unmarshal(text, &body)
	return answer{Status: response.StatusCode, ID: body.ID, Duplicate: body.Duplicate, Code: body.Error.Code, Text: string(text), Header: response.Header}
}

// issueEvent is the body of an issue event that nothing else equals.
func issueEvent(event, key string) string {
	return jsonText(object{
		"eventType": event, "timestamp": time.Now().UTC().Format(time.RFC3339Nano), "atlassianId": "557058:user-1",
		"issue": object{"id": "10001", "key": key, "fields": object{"summary": "Summary of " + key, "issuetype": object{"name": "Bug"}}},
	})
}

// again is the same event as Forge sends it after a failure.
func again(body string, count int) string {
	var event object
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		panic(err)
	}
	event["retryContext"] = object{"retryCount": count, "retryReason": "INVOCATION_ERROR"}
	return jsonText(event)
}
