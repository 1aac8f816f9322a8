package acceptance

import (
	"context"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/secret"
)

// defaultManifest has a hook for events, one for a scheduled trigger, and a
// module of a front end, which may call neither.
const defaultManifest = `app:
  id: ` + appID + `
remotes:
  - key: backend
    baseUrl: https://remote.example.com/forge
    operations: [compute]
    auth: {appSystemToken: {enabled: true}}
permissions:
  scopes:
    read:app-system-token: {}
    write:jira-work: {allowImpersonation: true}
modules:
  jira:issuePanel:
    - key: panel
      resolver: {endpoint: panel-endpoint}
      title: Panel
  endpoint:
    - key: events
      remote: backend
      route: {path: /events}
      auth: {appSystemToken: {enabled: true}}
    - key: nightly-endpoint
      remote: backend
      route: {path: /nightly}
      auth: {appSystemToken: {enabled: true}}
    - key: panel-endpoint
      remote: backend
      route: {path: /panel}
  trigger:
    - key: on-issue
      endpoint: events
      events: [avi:jira:created:issue, avi:jira:updated:issue, avi:jira:deleted:issue, avi:jira-software:created:sprint]
  scheduledTrigger:
    - key: nightly
      interval: day
      endpoint: nightly-endpoint
`

// setup says how a house differs from the usual one.
type setup struct {
	Manifest string // empty: defaultManifest
	Rules    string // bellows.yaml; required
}

// house is one installation of bellows: NATS, the files, and the two worlds it
// stands between. Programs are started in it by its methods and end with the
// test.
type house struct {
	t   testing.TB
	dir string

	forge *forgeWorld // signs invocation tokens, serves the key set
	api   *apiWorld   // records calls and answers them

	manifest, rules, vaultKey, vaultPub string // files

	natsPort int
	nats     *process

	connect sync.Once
	queue   *queue.Queue
}

// newHouse writes the files and starts NATS.
func newHouse(t testing.TB, s setup) *house {
	t.Helper()
	if s.Manifest == "" {
		s.Manifest = defaultManifest
	}
	h := &house{t: t, dir: t.TempDir(), forge: newForge(t), api: newAPI(t), natsPort: freePort(t)}
	h.manifest = write(t, filepath.Join(h.dir, "manifest.yml"), s.Manifest)
	h.rules = write(t, filepath.Join(h.dir, "bellows.yaml"), s.Rules)
	key, err := secret.GenerateKey()
	must(t, err)
	h.vaultKey = write(t, filepath.Join(h.dir, "vault.key"), key.Text()+"\n")
	h.vaultPub = write(t, filepath.Join(h.dir, "vault.pub"), key.Public().Text()+"\n")
	h.startNATS()
	return h
}

// freePort finds a port that is free now. Another process may take it before
// it is used; tests that need no fixed port ask for port 0 instead.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// natsURL is where NATS is, whether it runs or not.
func (h *house) natsURL() string {
	return (&url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", itoa(h.natsPort))}).String()
}

// startNATS starts the NATS server with what the last one left on disk.
func (h *house) startNATS() {
	h.t.Helper()
	self, err := os.Executable()
	must(h.t, err)
	p := &process{t: h.t, name: "nats", path: self, env: []string{
		envNATSDir + "=" + filepath.Join(h.dir, "jetstream"), envNATSPort + "=" + itoa(h.natsPort)}}
	p.start()
	eventually(h.t, 20*time.Second, func() string {
		p.alive()
		if !strings.Contains(p.logs(), "ready nats://") {
			return "NATS does not run"
		}
		return ""
	})
	h.nats = p
}

// ingest starts the ingest program and waits until it is ready.
func (h *house) ingest(flags ...string) *process {
	h.t.Helper()
	return h.daemon("ingest", append([]string{
		"--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--manifest", h.manifest, "--vault-public-key-file", h.vaultPub,
		"--jwks-url", h.forge.keySetURL(), "--nats", h.natsURL(), "--log-format", "json", "--log-level", "debug"}, flags...))
}

// worker starts the worker program and waits until it is ready.
func (h *house) worker(flags ...string) *process {
	h.t.Helper()
	return h.daemon("worker", append([]string{
		"--ops-listen", "127.0.0.1:0", "--egress-listen", "127.0.0.1:0", "--config", h.rules, "--vault-key-file", h.vaultKey,
		"--api-host", h.api.host(), "--graphql-url", h.api.url() + "/graphql",
		"--nats", h.natsURL(), "--log-format", "json", "--log-level", "debug"}, flags...))
}

func (h *house) daemon(name string, args []string) *process {
	h.t.Helper()
	p := &process{t: h.t, name: name, path: program(h.t, name), args: args}
	p.start()
	p.awaitReady()
	return p
}

// bellows runs the tool to its end. --nats is given to it.
func (h *house) bellows(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	return runTool(h.t, program(h.t, "bellows"), append(args, "--nats", h.natsURL()))
}

// jobQueue is a connection of the test's own, to look into NATS.
func (h *house) jobQueue() *queue.Queue {
	h.t.Helper()
	h.connect.Do(func() {
		q, err := queue.Connect(queue.Options{URL: h.natsURL(), Name: "acceptance"})
		must(h.t, err)
		h.t.Cleanup(q.Close)
		h.queue = q
	})
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	must(h.t, h.queue.Ready(ctx))
	return h.queue
}

// letters returns all dead letters by job id.
func (h *house) letters() map[string]queue.StoredLetter {
	h.t.Helper()
	var found map[string]queue.StoredLetter
	h.asked(func(ctx context.Context) error {
		found = map[string]queue.StoredLetter{}
		for l, err := range h.jobQueue().Letters(ctx, queue.Filter{}) {
			if err != nil {
				return err
			}
			found[l.ID] = l
		}
		return nil
	})
	return found
}

// done reports whether a job has a done mark.
func (h *house) done(id string) bool {
	h.t.Helper()
	done := false
	h.asked(func(ctx context.Context) error {
		e, _, err := h.jobQueue().Effects(ctx, id)
		done = e.Done
		return err
	})
	return done
}

// stats counts jobs by state.
func (h *house) stats() queue.Stats {
	h.t.Helper()
	var s queue.Stats
	h.asked(func(ctx context.Context) (err error) { s, err = h.jobQueue().Stats(ctx); return err })
	return s
}

// asked repeats a question until NATS answers: a server that was just started
// may not answer the first.
func (h *house) asked(question func(context.Context) error) {
	h.t.Helper()
	eventually(h.t, 15*time.Second, func() string {
		ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Second)
		defer cancel()
		if err := question(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// quiet returns "" when no job waits, runs or is delayed any more.
func (h *house) quiet() string {
	s := h.stats()
	s.Dead = 0
	return expect("jobs on their way", s, queue.Stats{})
}

// letterOf waits for the dead letter of a job.
func (h *house) letterOf(id string, within time.Duration) jobs.Letter {
	h.t.Helper()
	var found queue.StoredLetter
	eventually(h.t, within, func() string {
		var ok bool
		if found, ok = h.letters()[id]; !ok {
			return "there is no dead letter of job " + id
		}
		return ""
	})
	return found.Letter
}
