package ingest_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

type object = map[string]any

var signingKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func sign(header, claims object) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(jsonText(v))) }
	signed := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, signingKey(), crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return hex.EncodeToString(b)
}

// claims are those of a good invocation token.
func (h *house) claims(module string) object {
	now := h.clock.now().Unix()
	ari, base := "ari:cloud:ecosystem::installation/"+installation, "https://api.atlassian.com/ex/jira/"+cloudID
	return object{
		"iss": "forge/invocation-token", "aud": appID, "iat": now, "nbf": now, "exp": now + 25, "jti": randomHex(20),
		"app": object{
			"id": appID, "version": "7", "appVersion": "2.4.0", "installationId": ari, "apiBaseUrl": base,
			"installation": object{"id": ari, "contexts": []any{object{"name": "jira", "apiBaseUrl": base, "cloudId": cloudID}}},
			"environment":  object{"type": "PRODUCTION", "id": "ari:cloud:ecosystem::environment/x/prod-1"},
			"module":       object{"type": "core:endpoint", "key": module},
		},
	}
}

// call is one request. Zero fields are those of a good event.
type call struct {
	method string // empty: POST
	path   string // empty: /base/events
	module string // in the token; empty: events
	claims func(object)
	header http.Header // a nil value takes a header away
	body   string
	reader io.Reader // instead of body, chunked
}

// reply is what ingest answered.
type reply struct {
	status    int
	id        string
	duplicate bool
	code      string
	message   string
	header    http.Header
	text      string
	took      time.Duration
}

// fit makes the invocation token of a call.
func (h *house) fit(c call) string {
	if c.module == "" {
		c.module = "events"
	}
	claims := h.claims(c.module)
	if c.claims != nil {
		c.claims(claims)
	}
	return sign(object{"alg": "RS256", "kid": keyID}, claims)
}

func (h *house) request(c call) *http.Request {
	h.t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.path == "" {
		c.path = "/base/events"
	}
	body := c.reader
	if body == nil {
		body = strings.NewReader(c.body)
	}
	r, err := http.NewRequestWithContext(h.t.Context(), c.method, h.server.URL+c.path, body)
	must(h.t, err)
	r.Header.Set("Authorization", "Bearer "+h.fit(c))
	r.Header.Set("Content-Type", "application/json")
	for name, values := range c.header {
		if r.Header[name] = values; values == nil {
			delete(r.Header, name)
		}
	}
	return r
}

func (h *house) send(c call) reply {
	h.t.Helper()
	return h.do(h.request(c))
}

func (h *house) do(r *http.Request) reply {
	h.t.Helper()
	start := time.Now()
	answer, err := h.server.Client().Do(r)
	must(h.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(h.t, err)
	var body struct {
		ID        string
		Duplicate bool
		Error     struct{ Code, Message string }
	}
	if len(text) > 0 {
		must(h.t, json.Unmarshal(text, &body))
	}
	return reply{
		status: answer.StatusCode, id: body.ID, duplicate: body.Duplicate, code: body.Error.Code, message: body.Error.Message,
		header: answer.Header, text: string(text), took: time.Since(start),
	}
}

// accept sends a call that must be stored, as a new job or as a known one.
func (h *house) accept(c call, duplicate bool) string {
	h.t.Helper()
	r := h.send(c)
	if r.status != http.StatusAccepted || r.id == "" || r.duplicate != duplicate {
		h.t.Fatalf("got %d %s, want 202 with duplicate %v", r.status, r.text, duplicate)
	}
	return r.id
}

// take gets the next job off the queue, as a worker would.
func (h *house) take() *queue.Delivery {
	h.t.Helper()
	var got *queue.Delivery
	must(h.t, h.queue.Fetch(context.Background(), 1, 5*time.Second, func(d *queue.Delivery) { got = d }))
	if got == nil {
		h.t.Fatal("there is no job")
	}
	return got
}

// finish ends a job well, as a worker would.
func (h *house) finish(d *queue.Delivery) jobs.Job {
	h.t.Helper()
	must(h.t, d.Err)
	must(h.t, h.queue.MarkDone(context.Background(), d.Job.ID, jobs.Effects{Done: true}, time.Hour))
	must(h.t, d.Done(context.Background()))
	return d.Job
}

// job sends a call that must become a new job, and returns that.
func (h *house) job(c call) jobs.Job {
	h.t.Helper()
	id := h.accept(c, false)
	job := h.finish(h.take())
	if job.ID != id {
		h.t.Fatalf("the job is %q, the answer said %q", job.ID, id)
	}
	return job
}
