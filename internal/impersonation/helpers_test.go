package impersonation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/impersonation"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

const (
	systemToken = "system-token-0123456789-abcdefghij"
	jiraSite    = "ari:cloud:jira::site/7e57c10d-0b1a-4c2d-9e3f-5a6b7c8d9e0f"
	workspace   = "ari:cloud:jira:7e57c10d-0b1a-4c2d-9e3f-5a6b7c8d9e0f:workspace/1"
	alice       = "712020:0aa11bb2-1111-4c3d-8e4f-000000000001"
)

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// gateway is a GraphQL gateway that gives tokens "user-1", "user-2"…, and
// keeps what it was asked.
type gateway struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []asked
	answer func(a asked, n int) (status int, header map[string]string, body string)
}

type asked struct {
	method, bearer, contentType, query string
	contexts                           []string
	account                            string
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{}
	g.grant("3600")
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Query     string
		Variables struct {
			Input struct {
				ContextIDs []string `json:"contextIds"`
				UserID     string   `json:"userId"`
			}
		}
	}
	_ = json.NewDecoder(r.Body).Decode(&body)
	a := asked{
		method: r.Method, bearer: r.Header.Get("Authorization"), contentType: r.Header.Get("Content-Type"),
		query: body.Query, contexts: body.Variables.Input.ContextIDs, account: body.Variables.Input.UserID,
	}
	g.mu.Lock()
	g.asked = append(g.asked, a)
	n, answer := len(g.asked), g.answer
	g.mu.Unlock()
	status, header, text := answer(a, n)
	for name, value := range header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// grant makes it give tokens with that ttl, written as it stands.
func (g *gateway) grant(ttl string) {
	g.behave(func(_ asked, n int) (int, map[string]string, string) {
		return 200, nil, fmt.Sprintf(`{"data":{"offlineUserAuthToken":{"success":true,"errors":null,"authToken":{"token":"%s","ttl":%s}}}}`, userToken(n), ttl)
	})
}

// say makes it give one fixed answer.
func (g *gateway) say(status int, body string, header ...string) {
	headers := map[string]string{}
	for i := 0; i < len(header); i += 2 {
		headers[header[i]] = header[i+1]
	}
	g.behave(func(asked, int) (int, map[string]string, string) { return status, headers, body })
}

func (g *gateway) behave(answer func(asked, int) (int, map[string]string, string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func (g *gateway) requests() []asked {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]asked(nil), g.asked...)
}

func (g *gateway) count() int { return len(g.requests()) }

func userToken(n int) string { return fmt.Sprintf("user-token-%d-0123456789", n) }

// bench is a gateway, a bucket, a key and a clock that exchangers share.
type bench struct {
	gateway *gateway
	bucket  *store.Bucket
	key     secret.PrivateKey
	clock   *clock
}

func newBench(t *testing.T) *bench {
	t.Helper()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return &bench{gateway: newGateway(t), bucket: storetest.Open(t).Bucket(store.Exchanged), key: key, clock: newClock()}
}

// worker makes an exchanger as another process would have it.
func (b *bench) worker(t *testing.T, change ...func(*impersonation.Config)) *impersonation.Exchanger {
	t.Helper()
	client, err := atlassian.New(atlassian.Config{Hosts: []string{strings.TrimPrefix(b.gateway.URL, "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	config := impersonation.Config{
		URL: b.gateway.URL + "/graphql", Post: client.Post, Cache: b.bucket,
		Keys: secret.Keyring{b.key}, Now: b.clock.Now,
	}
	for _, c := range change {
		c(&config)
	}
	x, err := impersonation.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func request() impersonation.Request {
	return impersonation.Request{
		Installation: "one", Context: jiraSite, Account: alice,
		System: func(context.Context) (secret.Token, error) { return secret.NewToken(systemToken), nil },
	}
}

// get asks for a token and wants that one.
func get(t *testing.T, x *impersonation.Exchanger, r impersonation.Request, want string) time.Time {
	t.Helper()
	token, expires, err := x.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if token.Reveal() != want {
		t.Fatalf("got %q, want %q", token.Reveal(), want)
	}
	return expires
}
