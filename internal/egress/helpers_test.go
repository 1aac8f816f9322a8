package egress_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
	"bellows/internal/vault"
)

const (
	alice = "712020:0aa11bb2-1111-4c3d-8e4f-000000000001"
	bob   = "712020:0aa11bb2-1111-4c3d-8e4f-000000000002"

	systemOne = "system-token-of-one-0123456789-abcdefghij"
	systemTwo = "system-token-of-two-0123456789-abcdefghij"
	aliceOne  = "alices-token-in-one-0123456789-abcdefghij"
	bobsToken = "exchanged-token-of-bob-0123456789-abcdefg"
	trace     = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
)

// seen is a request that reached Atlassian.
type seen struct {
	method, path, query, bearer, body string
	header                            http.Header
}

// upstream is Atlassian: it keeps what it was asked.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	all    []seen
	answer http.HandlerFunc
}

func newUpstream(t testing.TB) *upstream {
	t.Helper()
	u := &upstream{}
	u.behave(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"ok":true}`) })
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) behave(answer http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

// say makes it give one fixed answer; header is names and values in turn.
func (u *upstream) say(status int, body string, header ...string) {
	u.behave(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if r.URL.Path == "/graphql" && bytes.Contains(body, []byte("offlineUserAuthToken")) {
		u.exchange(w, body)
		return
	}
	u.mu.Lock()
	u.all = append(u.all, seen{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, bearer, string(body), r.Header.Clone()})
	answer := u.answer
	u.mu.Unlock()
	answer(w, r)
}

// exchange gives bob's token and nobody else's.
func (u *upstream) exchange(w http.ResponseWriter, body []byte) {
	if !bytes.Contains(body, []byte(bob)) || !bytes.Contains(body, []byte("ari:cloud:jira::site/cloud-1")) {
		_, _ = io.WriteString(w, `{"data":{"offlineUserAuthToken":{"success":false,"errors":[{"message":"user has no access"}],"authToken":null}}}`)
		return
	}
	fmt.Fprintf(w, `{"data":{"offlineUserAuthToken":{"success":true,"errors":null,"authToken":{"token":%q,"ttl":3600}}}}`, bobsToken)
}

func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]seen(nil), u.all...)
}

// only returns the one request there was, and forgets it.
func (u *upstream) only(t *testing.T) seen {
	t.Helper()
	all := u.requests()
	u.mu.Lock()
	u.all = nil
	u.mu.Unlock()
	if len(all) != 1 {
		t.Fatalf("Atlassian got %d requests, want one: %+v", len(all), all)
	}
	return all[0]
}

func (u *upstream) none(t *testing.T) {
	t.Helper()
	if all := u.requests(); len(all) != 0 {
		t.Fatalf("Atlassian got %+v, want nothing", all)
	}
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

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

// published is a follow-up job as it was to be stored.
type published struct {
	job jobs.Job
	at  time.Time
}

// bench is an egress port with everything real behind it.
type bench struct {
	t        testing.TB
	nats     *embedded.Server
	upstream *upstream
	clock    *clock
	vault    *vault.Writer
	client   *atlassian.Client
	tickets  *ticket.Tickets
	server   *egress.Server
	url      string

	mu        sync.Mutex
	log       bytes.Buffer
	published []published
	reports   []string
}

func newBench(t testing.TB, change ...func(*egress.Config)) *bench {
	t.Helper()
	b := &bench{t: t, nats: embeddedtest.Run(t), upstream: newUpstream(t), clock: &clock{now: time.Now()}}
	st := storetest.On(t, b.nats)
	key, err := secret.GenerateKey()
	b.must(err)
	b.vault = vault.NewWriter(vault.WriterConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Key: key.Public()})
	reader := vault.NewReader(vault.ReaderConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Keys: secret.Keyring{key}})
	b.client, err = atlassian.New(atlassian.Config{
		Hosts: []string{strings.TrimPrefix(b.upstream.URL, "http://")}, Now: b.clock.Now, Random: func() float64 { return 0 },
		Breaker: atlassian.BreakerConfig{Failures: 4},
	})
	b.must(err)
	t.Cleanup(b.client.CloseIdle)
	exchanger, err := impersonation.New(impersonation.Config{
		URL: b.upstream.URL + "/graphql", Post: b.client.Post, Cache: st.Bucket(store.Exchanged), Keys: secret.Keyring{key}, Now: b.clock.Now,
	})
	b.must(err)
	b.tickets = ticket.New(ticket.Config{Bucket: st.Bucket(store.Tickets), Now: b.clock.Now, Logger: b.logger()})
	config := egress.Config{
		Tickets: b.tickets, Call: b.client.Do, Token: reader.Token, Exchange: exchanger.Token, Forget: exchanger.Forget,
		Installation: installations.NewReader(installations.ReaderConfig{Bucket: st.Bucket(store.Installations)}).Get,
		Publish:      b.publish, Progress: b.progress,
		GraphQLURL: b.upstream.URL + "/graphql", StorageURL: b.upstream.URL + "/forge/storage", ForgeURL: b.upstream.URL + "/forge",
		Timeout: 10 * time.Second, Now: b.clock.Now, Logger: b.logger(),
	}
	for _, c := range change {
		c(&config)
	}
	b.server, err = egress.New(config)
	b.must(err)
	port := httptest.NewServer(b.server.Handler())
	t.Cleanup(port.Close)
	b.url = port.URL
	b.fill(st)
	return b
}

// fill makes two installations on two sites, with tokens.
func (b *bench) fill(st *store.Store) {
	b.t.Helper()
	notes := installations.NewWriter(installations.WriterConfig{Bucket: st.Bucket(store.Installations)})
	note := func(id string, contexts ...installations.Context) {
		_, err := notes.Note(storetest.Context(b.t), installations.Installation{
			ID: id, ARI: "ari:cloud:ecosystem::installation/" + id, AppID: "ari:cloud:ecosystem::app/a", AppVersion: "3.1.0",
			EnvironmentType: "PRODUCTION", Contexts: contexts, AsOf: time.Now(), LastSeen: time.Now(),
		})
		b.must(err)
	}
	note("one", b.context("jira", "cloud-1"), b.context("confluence", "cloud-1"))
	note("two", b.context("jira", "cloud-2"))
	b.keep("one", "", systemOne)
	b.keep("two", "", systemTwo)
	b.keep("one", alice, aliceOne)
}

func (b *bench) context(product, cloud string) installations.Context {
	return installations.Context{Name: product, APIBaseURL: b.upstream.URL + "/ex/" + product + "/" + cloud, CloudID: cloud}
}

func (b *bench) keep(installation, principal, token string) {
	b.t.Helper()
	_, err := b.vault.Keep(storetest.Context(b.t), vault.Owner{Installation: installation, Principal: principal}, secret.NewToken(token))
	b.must(err)
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Write takes the log.
func (b *bench) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *bench) logged() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

func (b *bench) publish(_ context.Context, job jobs.Job, at time.Time) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	duplicate := false
	for _, p := range b.published {
		duplicate = duplicate || p.job.ID == job.ID
	}
	b.published = append(b.published, published{job, at})
	return duplicate, nil
}

func (b *bench) progress(_ context.Context, g ticket.Grant, report json.RawMessage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reports = append(b.reports, g.Job+" "+string(report))
	return nil
}

func grant() ticket.Grant {
	return ticket.Grant{Owner: ticket.OwnerJob, Installation: "one", Principal: alice, Job: "0a1b2c", Product: "jira", Traceparent: trace}
}

func (b *bench) issue(g ticket.Grant) string {
	b.t.Helper()
	token, err := b.tickets.Issue(storetest.Context(b.t), g)
	b.must(err)
	return token.Reveal()
}

// answer is what a handler got.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is that of bellows' own error, or nothing.
func (a answer) code() string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal([]byte(a.body), &e)
	return e.Error.Code
}

// do asks the port; header is names and values in turn. Redirects are not
// followed.
func (b *bench) do(bearer, method, path, body string, header ...string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url, strings.NewReader(body))
	b.must(err)
	u, err := r.URL.Parse(path)
	b.must(err)
	// Parse cleans dot segments away: the path must go as it is written.
	r.URL.Opaque, r.URL.RawQuery = "//"+r.Host+strings.SplitN(path, "?", 2)[0], u.RawQuery
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	b.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	b.must(err)
	return answer{response.StatusCode, response.Header, string(text)}
}

// mustFail wants an error of bellows' own.
func (a answer) mustFail(t *testing.T, status int, code, sent string) {
	t.Helper()
	if a.status != status || a.code() != code || a.header.Get("Bellows-Sent") != sent || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %v %s; want %d, code %q, sent %q", a.status, a.header, a.body, status, code, sent)
	}
	for _, token := range []string{systemOne, systemTwo, aliceOne, bobsToken} {
		if strings.Contains(a.body+fmt.Sprint(a.header), token) {
			t.Errorf("the answer shows a token: %s", a.body)
		}
	}
}
