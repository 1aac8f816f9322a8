package workerd_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/store"
	"bellows/internal/worker"
)

func TestAnEgressPortThatIsTakenIsToldWithItsFlag(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := good(t)
	o.EgressListen = taken.Addr().String()
	if got := refused(t, o); !strings.Contains(got, "worker: error: listening at --egress-listen: ") || !strings.Contains(got, "worker: hint: choose another address with --egress-listen") {
		t.Errorf("got %q", got)
	}
	for _, url := range []string{"worker:9466", "ftp://worker", "http://u:p@worker", "http://worker?a=b"} {
		o := good(t)
		o.EgressURL = url
		if got := refused(t, o); !strings.Contains(got, "--egress-url is no http or https URL") {
			t.Errorf("%s: got %q", url, got)
		}
	}
}

func TestHandlersThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	o := good(t)
	o.Config, o.Handlers = "", []worker.Handler{{Name: "a"}}
	if got := refused(t, o); !strings.Contains(got, `handler "a" has no pattern`) {
		t.Errorf("got %q", got)
	}
}

// ask makes a request of a handler to the egress port.
func ask(t *testing.T, r *http.Request, method, path, body string) int {
	t.Helper()
	asked, err := http.NewRequestWithContext(t.Context(), method, r.Header.Get("Bellows-Egress")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	asked.Header.Set("Authorization", "Bearer "+r.Header.Get("Bellows-Ticket"))
	answer, err := http.DefaultClient.Do(asked)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// publish stores a job of an installation, as ingest does.
func publish(ctx context.Context, t *testing.T, nats queue.Options) *daemon.Broker {
	t.Helper()
	b, err := daemon.Reach(ctx, nats)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Queue.Close)
	record := installations.Installation{ID: "inst-1", LastSeen: time.Now(), Contexts: []installations.Context{{Name: "jira", APIBaseURL: "http://127.0.0.1:1"}}}
	revision, err := installations.NewWriter(installations.WriterConfig{Bucket: b.Store.Bucket(store.Installations)}).Note(ctx, record)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	_, err = b.Queue.Publish(ctx, jobs.Job{ID: "j1", Installation: "inst-1", Kind: jobs.KindEvent, Type: "avi:a:b", Time: now, Since: now, Attempt: 1,
		InstallationRevision: revision, Data: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheEgressPortServesForwardedJobsAndClosesAfterTheDrain(t *testing.T) {
	t.Parallel()
	type visit struct {
		host           string
		progress, jobs int
	}
	visits := make(chan visit, 9)
	handler := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		v := visit{host: strings.TrimPrefix(r.Header.Get("Bellows-Egress"), "http://")}
		v.progress = ask(t, r, http.MethodPut, "/progress", `{"done":3}`)
		v.jobs = ask(t, r, http.MethodPost, "/jobs", `{"name":"next"}`)
		visits <- v
	}))
	defer handler.Close()
	followed := make(chan string, 9)
	o := good(t)
	key := newKey(t)
	o.VaultKey, o.NATS.URL = key.Text(), embeddedtest.Run(t).URL()
	keep(t, o.NATS, key.Public())
	o.Config = write(t, "bellows.yaml", "version: 1\nrules: [{name: hand-over, on: avi:a:b, forward: {url: '"+handler.URL+"'}}]\n")
	o.Handlers = []worker.Handler{{Name: "mine", On: []string{"call:next"}, Run: func(_ context.Context, task *worker.Task) error {
		followed <- task.Job().Route
		return nil
	}}}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	worked := make(chan error, 1)
	go func() { worked <- workerd.Run(ctx, o) }()

	b := publish(ctx, t, o.NATS)
	v := <-visits
	if v.progress != http.StatusNoContent || v.jobs != http.StatusAccepted {
		t.Errorf("progress answered with %d, jobs with %d", v.progress, v.jobs)
	}
	if route := <-followed; route != "next" {
		t.Errorf("follow-up: got route %q", route)
	}
	entry, err := b.Store.Bucket(store.Results).Get(ctx, "j1")
	if err != nil || string(entry.Value) != `{"state":"running","progress":{"done":3}}` {
		t.Errorf("progress: got %s, %v", entry.Value, err)
	}
	stop()
	if err := <-worked; err != nil {
		t.Errorf("running: %v", err)
	}
	if c, err := net.Dial("tcp", v.host); err == nil {
		c.Close()
		t.Error("the egress port is open after the worker has stopped")
	}
}
