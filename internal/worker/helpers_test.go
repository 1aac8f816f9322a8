package worker_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/config"
	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/rules"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
	"bellows/internal/worker"
)

const (
	installation = "c0ffee00-1111"
	// ackWait is the silence after which a job goes to another worker here.
	ackWait = time.Second
)

// ruleText has a rule for each kind of job that the tests make.
const ruleText = `version: 1
rules:
  - name: look
    on: avi:test:get
    steps: [{name: look, timeout: 5s, request: {method: GET, path: "/look/${job.id}"}}]
  - name: post
    on: avi:test:post
    steps: [{name: post, timeout: 5s, request: {method: POST, path: "/post/${job.id}", body: {attempt: "${job.attempt}"}}}]
  - name: chain
    on: avi:test:chain
    steps:
      - {name: find, timeout: 5s, request: {method: GET, path: "/find/${job.id}"}}
      - {name: make, timeout: 5s, request: {method: POST, path: "/make/${job.id}", body: {found: "${steps.find.body.id}"}}}
      - {name: mark, timeout: 5s, request: {method: PUT, path: "/mark/${job.id}"}}
  - name: first
    on: avi:test:several
    steps: [{request: {method: POST, path: "/first"}}]
  - name: second
    on: avi:test:several
    steps: [{request: {method: POST, path: "/second"}}]
  - name: faulty
    on: avi:test:several
    when: 1 / int(event.zero) == 1
    steps: [{request: {method: POST, path: "/faulty"}}]
  - name: twice
    on: avi:test:twice
    max_attempts: 2
    steps: [{request: {method: POST, path: "/twice"}}]
  - name: as-account
    on: avi:test:account
    as: {user: event.account}
    steps: [{request: {method: POST, path: "/as-account"}}]
  - name: as-user
    on: call:hello
    as: user
    steps: [{request: {method: POST, path: "/as-user"}}]
  - name: patient
    on: avi:test:patient
    max_age: 4d
    steps: [{request: {method: POST, path: "/patient/${job.id}"}}]
`

// world is everything around a worker: NATS, the vault, and an API.
type world struct {
	t      *testing.T
	dir    string
	nats   *embedded.Server
	queue  *queue.Queue
	buffer *lines
	api    *api

	writer   *vault.Writer
	ring     secret.Keyring
	store    *store.Store
	records  *installations.Writer
	revision uint64 // of the installation's record
}

// newWorld has one installation with a live token.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), api: newAPI(t), buffer: &lines{}}
	w.nats = embeddedtest.RunIn(t, w.dir, -1)
	w.queue = w.connect()
	must(t, w.queue.Setup(t.Context(), 1))
	st, err := store.New(w.queue.NATS(), "bellows")
	must(t, err)
	must(t, st.Setup(t.Context(), 1))
	w.store = st
	key, err := secret.GenerateKey()
	must(t, err)
	w.ring = secret.Keyring{key}
	w.writer = vault.NewWriter(vault.WriterConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Key: key.Public()})
	w.records = installations.NewWriter(installations.WriterConfig{Bucket: st.Bucket(store.Installations)})
	w.install(installations.Installation{})
	w.token(installation, time.Now().Add(time.Hour))
	return w
}

func (w *world) connect() *queue.Queue {
	w.t.Helper()
	q, err := queue.Connect(queue.Options{URL: w.nats.URL(), Name: w.t.Name(), AckWait: ackWait})
	must(w.t, err)
	w.t.Cleanup(q.Close)
	must(w.t, q.Ready(w.t.Context()))
	return q
}

// install writes the record of the installation.
func (w *world) install(i installations.Installation) {
	w.t.Helper()
	i.ID, i.LastSeen = installation, time.Now()
	i.Contexts = []installations.Context{{Name: "jira", APIBaseURL: w.api.URL + "/base", CloudID: "cloud-1"}}
	revision, err := w.records.Note(w.t.Context(), i)
	must(w.t, err)
	w.revision = revision
}

// token gives the installation a token and returns it.
func (w *world) token(owner string, expires time.Time) string {
	w.t.Helper()
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	text := part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"exp":%d,"n":%d}`, expires.Unix(), time.Now().UnixNano())) + "." + part("signature")
	_, err := w.writer.Keep(w.t.Context(), vault.Owner{Installation: owner}, secret.NewToken(text))
	must(w.t, err)
	return text
}

// running is a worker that runs.
type running struct {
	*worker.Worker
	stop  context.CancelFunc
	ended chan struct{}
}

// start runs a worker until the test ends; change may alter its Config.
func (w *world) start(change func(*worker.Config)) *running {
	w.t.Helper()
	q := w.connect()
	st, err := store.New(q.NATS(), "bellows")
	must(w.t, err)
	log := slog.New(slog.NewTextHandler(w.buffer, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := context.WithCancel(w.t.Context())
	tokens := vault.NewReader(vault.ReaderConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Keys: w.ring})
	records := installations.NewReader(installations.ReaderConfig{Bucket: st.Bucket(store.Installations)})
	client := w.newClient(atlassian.BreakerConfig{})
	exchanger, err := impersonation.New(impersonation.Config{URL: w.api.URL + "/graphql", Post: client.Post, Cache: st.Bucket(store.Exchanged), Keys: w.ring})
	must(w.t, err)
	c := worker.Config{
		Name: "worker-of-the-test", Queue: q, Rules: compile(w.t, ruleText), Call: client.Do, Tokens: tokens,
		Exchange: exchanger.Token, Forget: exchanger.Forget, Installation: records.Get, GraphQLURL: w.api.URL + "/graphql",
		Concurrency: 8, DrainTimeout: 10 * time.Second, Random: func() float64 { return 0 }, Logger: log,
	}
	if change != nil {
		change(&c)
	}
	r := &running{Worker: worker.New(c), stop: stop, ended: make(chan struct{})}
	readers, stopReaders := context.WithCancel(context.WithoutCancel(ctx))
	var side sync.WaitGroup
	side.Go(func() { _ = tokens.Run(readers) })
	side.Go(func() { _ = records.Run(readers) })
	go func() {
		defer close(r.ended)
		_ = r.Run(ctx)
		stopReaders()
		side.Wait()
	}()
	w.t.Cleanup(func() {
		stop()
		w.api.release()
		<-r.ended
		if w.t.Failed() {
			w.t.Log(w.buffer.String())
		}
	})
	return r
}

// newClient may call the world's API only, and repeats nothing by itself.
func (w *world) newClient(breaker atlassian.BreakerConfig) *atlassian.Client {
	w.t.Helper()
	c, err := atlassian.New(atlassian.Config{Hosts: []string{strings.TrimPrefix(w.api.URL, "http://")}, Repeats: -1, Breaker: breaker})
	must(w.t, err)
	return c
}

// drained stops the worker and tells how long it took.
func (r *running) drained() time.Duration {
	start := time.Now()
	r.stop()
	<-r.ended
	return time.Since(start)
}

func compile(t testing.TB, text string) *rules.Set {
	t.Helper()
	file, err := config.Parse("bellows.yaml", []byte(text))
	must(t, err)
	set, err := rules.Compile(file, nil)
	must(t, err)
	return set
}

// job makes a job of the installation that is as ingest makes it.
func (w *world) job(id, event string) jobs.Job {
	now := time.Now().UTC()
	return jobs.Job{
		ID: id, Installation: installation, Kind: jobs.KindEvent, Source: "ari:app", Type: "avi:" + event, Time: now, Since: now, Attempt: 1,
		ContentType: "application/json", InstallationRevision: w.revision, Data: []byte(`{"account":"557058:someone","zero":0}`),
	}
}

func (w *world) publish(job jobs.Job) {
	w.t.Helper()
	_, err := w.queue.Publish(w.t.Context(), job)
	must(w.t, err)
}

// takeAndDie takes one job from the queue as a worker that then dies.
func (w *world) takeAndDie() *queue.Delivery {
	w.t.Helper()
	var got *queue.Delivery
	w.eventually(10*time.Second, func() string {
		must(w.t, w.queue.Fetch(w.t.Context(), 1, time.Second, func(d *queue.Delivery) { got = d }))
		if got == nil {
			return "there is no job to take"
		}
		return ""
	})
	return got
}

// lines is a log that may be written while it is read.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWriter is a vault.Writer that remembers nothing.
func (w *world) newWriter() *vault.Writer {
	return vault.NewWriter(vault.WriterConfig{
		Tokens: w.store.Bucket(store.Tokens), Meta: w.store.Bucket(store.TokensMeta), Key: w.ring.Newest(), Recheck: -1})
}
