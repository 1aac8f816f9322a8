package worker_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/jobs"
	"bellows/internal/store"
	"bellows/internal/worker"
)

// handlers gives the worker what handlers need, with a port of its own.
func (w *world) handlers(c *worker.Config) *egress.Server {
	w.t.Helper()
	st, err := store.New(c.Queue.NATS(), "bellows")
	must(w.t, err)
	c.Tickets = ticket.New(ticket.Config{Bucket: st.Bucket(store.Tickets)})
	c.Egress, err = egress.New(egress.Config{
		Tickets: c.Tickets, Call: c.Call, Token: c.Tokens.Token, Exchange: c.Exchange, Forget: c.Forget, Installation: c.Installation,
		Publish: c.Queue.PublishAt, GraphQLURL: c.GraphQLURL,
	})
	must(w.t, err)
	port := httptest.NewServer(c.Egress.Handler())
	w.t.Cleanup(port.Close)
	c.EgressURL = port.URL
	return c.Egress
}

// theirs is a handler in another process.
type theirs struct {
	*httptest.Server
	mu     sync.Mutex
	got    []forwarded
	answer func(http.ResponseWriter, *http.Request, forwarded)
}

type forwarded struct {
	header http.Header
	path   string
	event  map[string]any
}

func newTheirs(t *testing.T, answer func(http.ResponseWriter, *http.Request, forwarded)) *theirs {
	h := &theirs{answer: answer}
	h.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		f := forwarded{header: r.Header, path: r.URL.RequestURI()}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &f.event); err != nil {
			t.Errorf("body: %v: %s", err, body)
		}
		h.mu.Lock()
		h.got = append(h.got, f)
		h.mu.Unlock()
		if h.answer != nil {
			h.answer(out, r, f)
		}
	}))
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	return h
}

func (h *theirs) jobs() []forwarded {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]forwarded(nil), h.got...)
}

// serves runs a worker whose rule hands jobs to h.
func (w *world) serves(h *theirs) {
	w.start(func(c *worker.Config) {
		c.Rules = compile(w.t, `version: 1
rules:
  - {name: hand-over, on: avi:test:forward, max_attempts: 3, forward: {url: "`+h.URL+`/jobs?k=hidden", timeout: 2s}}
`)
		w.handlers(c)
	})
}

// ask calls the egress port with what came with the job.
func (f forwarded) ask(t *testing.T, bearer, path string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.header.Get(egress.HeaderEgress)+path, nil)
	must(t, err)
	r.Header.Set("Authorization", "Bearer "+bearer)
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	defer response.Body.Close()
	return response.StatusCode
}

func TestAForwardedJobCallsAtlassianWithItsTicketUntilItEnds(t *testing.T) {
	w := newWorld(t)
	h := newTheirs(t, func(out http.ResponseWriter, _ *http.Request, f forwarded) {
		if got := f.ask(t, f.header.Get(egress.HeaderTicket), "/jira/thing"); got != 200 {
			t.Errorf("a call while the job runs: got %d", got)
		}
		if got := f.ask(t, f.header.Get(egress.HeaderTicket), "/confluence/thing"); got != 404 {
			t.Errorf("a call to a product that is not there: got %d", got)
		}
	})
	token := w.token(installation, time.Now().Add(2*time.Hour))
	w.serves(h)
	job := w.job("f1", "test:forward")
	job.Traceparent, job.Subject = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "ari:installation"
	w.publish(job)
	w.done("f1")
	if got := w.calls("/thing", 1)[0]; got.token != token {
		t.Error("the call did not have the installation's token")
	}
	f := h.jobs()[0]
	for name, want := range map[string]any{
		"specversion": "1.0", "id": "f1", "source": "ari:app", "type": "avi:test:forward", "subject": "ari:installation", "installation": installation,
		"attempt": 1.0, "run": 0.0, "rule": "hand-over", "traceparent": job.Traceparent, "datacontenttype": "application/json",
	} {
		if f.event[name] != want {
			t.Errorf("event: %s: got %v, want %v", name, f.event[name], want)
		}
	}
	if data, _ := f.event["data"].(map[string]any); data["account"] != "557058:someone" {
		t.Errorf("event: data: got %v", f.event["data"])
	}
	if f.path != "/jobs?k=hidden" || f.header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" || f.header.Get("Traceparent") != job.Traceparent {
		t.Errorf("request: got %s, %v", f.path, f.header)
	}
	if got := f.ask(t, f.header.Get(egress.HeaderTicket), "/jira/thing"); got != 401 {
		t.Errorf("a call after the job: got %d, want 401", got)
	}
	w.calls("/thing", 1)
	if strings.Contains(w.buffer.String(), f.header.Get(egress.HeaderTicket)) {
		t.Error("the ticket is in the log")
	}
}

func TestATicketReachesNoOtherInstallation(t *testing.T) {
	w := newWorld(t)
	other := newAPI(t) // of another installation
	h := newTheirs(t, func(_ http.ResponseWriter, _ *http.Request, f forwarded) {
		for _, path := range []string{"/" + other.URL + "/x", "/jira/../../x", "/jira//" + strings.TrimPrefix(other.URL, "http://") + "/x", "/" + installation + "2/x"} {
			if got := f.ask(t, f.header.Get(egress.HeaderTicket), path); got < 400 {
				t.Errorf("%s: got %d", path, got)
			}
		}
		if got := f.ask(t, f.header.Get(egress.HeaderTicket)+"x", "/jira/x"); got != 401 {
			t.Errorf("another ticket: got %d", got)
		}
	})
	w.serves(h)
	w.publish(w.job("f2", "test:forward"))
	w.done("f2")
	if len(other.calls) != 0 {
		t.Errorf("calls of another installation: %v", other.calls)
	}
}

func TestATicketLivesAsLongAsItsJobRuns(t *testing.T) {
	w := newWorld(t)
	h := newTheirs(t, func(_ http.ResponseWriter, r *http.Request, f forwarded) {
		w.api.waitAtGate(nil, r, call{})
		if got := f.ask(t, f.header.Get(egress.HeaderTicket), "/jira/late"); got != 200 {
			t.Errorf("a late call: got %d", got)
		}
	})
	w.start(func(c *worker.Config) {
		c.Rules = compile(t, "version: 1\nrules: [{name: slow, on: avi:test:forward, forward: {url: '"+h.URL+"', timeout: 1m}}]\n")
		w.handlers(c)
	})
	start := time.Now()
	w.publish(w.job("f3", "test:forward"))
	w.eventually(15*time.Second, func() string {
		if time.Since(start) < 4*ackWait {
			return "the ticket's first life is not over"
		}
		return ""
	})
	w.api.release()
	w.done("f3")
	w.calls("/late", 1)
}

func TestWhatAHandlerAnswersDecides(t *testing.T) {
	answer := func(code int, header ...string) func(http.ResponseWriter) {
		return func(out http.ResponseWriter) { status(code, header...)(out, nil, call{}) }
	}
	for name, row := range map[string]struct {
		first   func(http.ResponseWriter)
		dead    jobs.Reason
		attempt float64 // of the second call
	}{
		"204":                  {first: func(out http.ResponseWriter) { out.WriteHeader(204) }},
		"429":                  {first: answer(429, "Retry-After", "0"), attempt: 1},
		"503 with Retry-After": {first: answer(503, "Retry-After", "1"), attempt: 1},
		"503":                  {first: answer(503), attempt: 2},
		"501":                  {first: answer(501), attempt: 2},
		"no answer":            {first: func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, attempt: 2},
		"302":                  {first: answer(302, "Location", "/jobs"), dead: jobs.ReasonRejected},
		"422":                  {first: answer(422), dead: jobs.ReasonRejected},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var once sync.Once
			h := newTheirs(t, func(out http.ResponseWriter, _ *http.Request, _ forwarded) {
				once.Do(func() { row.first(out) })
			})
			w.serves(h)
			w.publish(w.job("a", "test:forward"))
			if row.dead != "" {
				l := w.wantLetter("a", row.dead)
				if strings.Contains(l.Error, "hidden") || !strings.Contains(l.Error, "the API refuses") || l.Path != "/jobs" {
					t.Errorf("letter: got error %q, path %q", l.Error, l.Path)
				}
			} else {
				w.done("a")
			}
			got := h.jobs()
			if row.attempt == 0 && len(got) != 1 || row.attempt > 0 && (len(got) != 2 || got[1].event["attempt"] != row.attempt) {
				t.Errorf("calls: got %d, want attempt %v in the second: %+v", len(got), row.attempt, got)
			}
		})
	}
}

func TestAHandlerThatIsNotThereExhaustsTheJob(t *testing.T) {
	w := newWorld(t)
	h := newTheirs(t, nil)
	w.serves(h)
	h.Close()
	w.publish(w.job("g", "test:forward"))
	if l := w.wantLetter("g", jobs.ReasonExhausted); l.Attempts != 3 || strings.Contains(l.Error, "hidden") || !strings.Contains(l.Error, "refused") {
		t.Errorf("letter: got %d attempts, %q", l.Attempts, l.Error)
	}
}
