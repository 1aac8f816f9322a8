package worker_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/config"
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

const killText = `version: 1
rules:
  - name: kill
    on: avi:test:kill
    max_attempts: 50
    steps:
      - {name: list, timeout: 1s, request: {method: GET, path: "/list/${job.id}"}}
      - {name: unsafe, timeout: 1s, request: {method: POST, path: "/unsafe/${job.id}"}}
      - {name: safe, timeout: 1s, request: {method: PUT, path: "/safe/${job.id}"}}
      - name: guarded
        timeout: 1s
        unless: {request: {method: GET, path: "/there/guarded/${job.id}"}, present: answer.status == 200}
        request: {method: POST, path: "/guarded/${job.id}"}
      - {name: each, timeout: 1s, for_each: steps.list.body.items, request: {method: POST, path: "/unsafe/${job.id}/${item}"}}
      - name: guarded-each
        timeout: 1s
        for_each: steps.list.body.items
        unless: {request: {method: GET, path: "/there/guarded/${job.id}/${item}"}, present: answer.status == 200}
        request: {method: POST, path: "/guarded/${job.id}/${item}"}
      - {name: last, timeout: 1s, for_each: steps.list.body.items, request: {method: PUT, path: "/safe/${job.id}/${item}"}}
`

// The worker that is killed is a process of its own: this test program, told by
// these variables to be one.
const envNATS, envAPI, envKey = "BELLOWS_TEST_NATS", "BELLOWS_TEST_API", "BELLOWS_TEST_KEY"

func TestMain(m *testing.M) {
	if os.Getenv(envNATS) != "" {
		fmt.Fprintln(os.Stderr, workUntilKilled())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func workUntilKilled() error {
	ctx := context.Background()
	api := os.Getenv(envAPI)
	ring, err := secret.ParseKeyring(os.Getenv(envKey))
	if err != nil {
		return err
	}
	q, err := queue.Connect(queue.Options{URL: os.Getenv(envNATS), AckWait: ackWait})
	if err != nil {
		return err
	}
	if err := q.Ready(ctx); err != nil {
		return err
	}
	st, err := store.New(q.NATS(), "bellows")
	if err != nil {
		return err
	}
	file, err := config.Parse("bellows.yaml", []byte(killText))
	if err != nil {
		return err
	}
	set, err := rules.Compile(file, nil)
	if err != nil {
		return err
	}
	client, err := atlassian.New(atlassian.Config{Hosts: []string{strings.TrimPrefix(api, "http://")}, Repeats: -1})
	if err != nil {
		return err
	}
	tokens := vault.NewReader(vault.ReaderConfig{Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Keys: ring})
	records := installations.NewReader(installations.ReaderConfig{Bucket: st.Bucket(store.Installations)})
	go func() { _ = tokens.Run(ctx) }()
	go func() { _ = records.Run(ctx) }()
	return worker.New(worker.Config{
		Name: fmt.Sprint(os.Getpid()), Queue: q, Rules: set, Call: client.Do, Tokens: tokens, Installation: records.Get, Concurrency: 4,
		Exchange: func(context.Context, impersonation.Request) (secret.Token, time.Time, error) {
			return secret.Token{}, time.Time{}, vault.ErrNoToken
		},
		Forget: func(context.Context, impersonation.Request, string) {},
	}).Run(ctx)
}

// begin starts a worker process.
func (w *world) begin() *exec.Cmd {
	w.t.Helper()
	program, err := os.Executable()
	must(w.t, err)
	child := exec.Command(program)
	child.Stderr = w.buffer
	child.Env = append(os.Environ(), envNATS+"="+w.nats.URL(), envAPI+"="+w.api.URL, envKey+"="+w.ring[0].Text())
	must(w.t, child.Start())
	return child
}

// kill ends it without a last word.
func kill(child *exec.Cmd) {
	_ = child.Process.Kill()
	_ = child.Wait()
}

// effectsOf counts what the API was told to do, and answers whether it was.
type effectsOf struct {
	mu      sync.Mutex
	made    map[string]int // :: path → times
	arrived chan struct{}
}

func (e *effectsOf) answer(out http.ResponseWriter, r *http.Request, c call) bool {
	select {
	case e.arrived <- struct{}{}:
	default:
	}
	time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // an API takes its time
	e.mu.Lock()
	defer e.mu.Unlock()
	if path, asks := strings.CutPrefix(c.path, "/there"); asks {
		if e.made[path] == 0 {
			return status(404)(out, r, c)
		}
		return false
	}
	e.made[c.path]++
	if strings.HasPrefix(c.path, "/list/") {
		_, _ = io.WriteString(out, `{"items":[1,2,3]}`)
		return true
	}
	return false
}

func TestWorkersKilledAHundredTimesBetweenAnyTwoSteps(t *testing.T) {
	const kills, jobsEach = 100, 2
	w := newWorld(t)
	e := &effectsOf{made: map[string]int{}, arrived: make(chan struct{}, 1)}
	w.api.set(e.answer)
	for n := range kills {
		for k := range jobsEach {
			w.publish(w.job(fmt.Sprintf("k%d", n*jobsEach+k), "test:kill"))
		}
		child := w.begin()
		select { // what is left in it came from the worker before
		case <-e.arrived:
		default:
		}
		select {
		case <-e.arrived:
		case <-time.After(20 * time.Second):
			kill(child)
			t.Fatalf("worker %d makes no call:\n%s", n, w.buffer)
		}
		time.Sleep(time.Duration(rand.Float64() * float64(80*time.Millisecond))) // anywhere in what it does
		kill(child)
	}
	last := w.begin()
	defer kill(last)
	w.eventually(90*time.Second, func() string {
		s := w.stats()
		if s.Dead = 0; s != (queue.Stats{}) {
			return fmt.Sprintf("jobs on their way: %+v", s)
		}
		return ""
	})
	w.judgeEffects(e, kills*jobsEach)
}

// judgeEffects looks what became of each job and of what it was to do.
func (w *world) judgeEffects(e *effectsOf, n int) {
	w.t.Helper()
	dead := map[string]jobs.Reason{}
	for l, err := range w.queue.Letters(w.t.Context(), allLetters) {
		must(w.t, err)
		if dead[l.ID] = l.Reason; l.Reason != jobs.ReasonUnknownEffect && l.Reason != jobs.ReasonCrashed {
			w.t.Errorf("job %s is dead: %s: %s", l.ID, l.Reason, l.Error)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	repeated := 0
	for k := range n {
		id := fmt.Sprintf("k%d", k)
		for _, kind := range []string{"/unsafe/", "/guarded/", "/safe/"} {
			for _, item := range []string{"", "/1", "/2", "/3"} {
				path := kind + id + item
				switch made := e.made[path]; {
				case made == 0 && dead[id] == "":
					w.t.Errorf("%s was never called and its job is done", path)
				case made > 1 && kind != "/safe/":
					w.t.Errorf("%s was called %d times", path, made)
				case made > 1:
					repeated++
				}
			}
		}
	}
	w.t.Logf("%d jobs: %d dead letters, %d safe calls repeated", n, len(dead), repeated)
	if repeated+len(dead) < 5 {
		w.t.Errorf("%d dead letters and %d repeated calls: the workers were hardly killed in the middle of something", len(dead), repeated)
	}
}
