package worker_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/worker"
)

const memberText = `version: 1
rules:
  - name: each
    on: avi:test:each
    steps:
      - {name: find, timeout: 5s, request: {method: GET, path: "/list/${job.id}"}}
      - {name: make, timeout: 5s, for_each: steps.find.body.items, request: {method: POST, path: "/make/${job.id}/${item}", body: {n: "${index}"}}}
      - {name: sum, timeout: 5s, request: {method: PUT, path: "/sum/${job.id}", body: {count: "${steps.make.count}", ids: "${steps.make.answers.map(a, a.body.id).join('')}"}}}
  - name: unless
    on: avi:test:unless
    steps:
      - name: make
        timeout: 1s
        unless: {request: {method: GET, path: "/there/${job.id}"}, present: answer.status == 200}
        request: {method: POST, path: "/make/${job.id}"}
      - {name: sum, timeout: 5s, request: {method: PUT, path: "/sum/${job.id}", body: {found: "${steps.make.?present.orValue(false)}"}}}
  - name: status
    on: avi:test:status
    steps:
      - {name: put, timeout: 5s, on_status: {404: done, 409: retry, 500: dead, 4xx: done}, request: {method: PUT, path: "/put/${job.id}"}}
      - {name: post, timeout: 5s, on_status: {409: retry}, request: {method: POST, path: "/post/${job.id}", body: {saw: "${steps.put.status}"}}}
  - name: pages
    on: avi:test:pages
    steps:
      - {name: read, timeout: 5s, paginate: {style: cursor, items: body.items}, request: {method: GET, path: "/pages/${job.id}"}}
      - {name: sum, timeout: 5s, request: {method: PUT, path: "/sum/${job.id}", body: {pages: "${steps.read.pages}", items: "${steps.read.items}"}}}
  - name: product
    on: call:product
    steps:
      - {name: a, product: jira, timeout: 5s, request: {method: GET, path: "/a"}}
      - {name: b, product: confluence, timeout: 5s, request: {method: GET, path: "/b"}}
      - {name: c, timeout: 5s, request: {api: graphql, body: {query: "{a}"}}}
`

func members(t *testing.T) func(*worker.Config) {
	set := compile(t, memberText)
	return func(c *worker.Config) { c.Rules = set }
}

func list(text string) func(http.ResponseWriter, *http.Request, call) bool {
	return func(out http.ResponseWriter, _ *http.Request, c call) bool {
		if !strings.HasPrefix(c.path, "/list/") {
			return false
		}
		_, _ = io.WriteString(out, text)
		return true
	}
}

func TestEachItemIsFinishedForItself(t *testing.T) {
	w := newWorld(t)
	refuse := first(1, status(500))
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return list(`{"items": ["a", "b", "c"]}`)(out, r, c) || c.path == "/make/e1/b" && refuse(out, r, c)
	})
	w.start(members(t))
	w.publish(w.job("e1", "test:each"))
	w.done("e1")
	for path, n := range map[string]int{"/list/e1": 1, "/make/e1/a": 1, "/make/e1/b": 2, "/make/e1/c": 1} {
		w.calls(path, n)
	}
	if got := w.calls("/make/e1/c", 1)[0].body; got != `{"n":2}` {
		t.Errorf("third item: got %s", got)
	}
	if got := w.calls("/sum/e1", 1)[0].body; got != `{"count":3,"ids":"777"}` {
		t.Errorf("result: got %s", got)
	}
	e := w.effects("e1")
	if s := e.Find("make"); e.Open() != nil || s == nil || s.Partial || s.Items != 3 {
		t.Errorf("record: got %+v", e)
	}
}

func TestOfAListTheItemInFlightIsAnUnknownEffectAndTheOthersAreKept(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return list(`{"items": ["a", "b", "c"]}`)(out, r, c) || c.path == "/make/e2/b" && hangUp(out, r, c)
	})
	w.start(members(t))
	w.publish(w.job("e2", "test:each"))
	l := w.wantLetter("e2", jobs.ReasonUnknownEffect)
	e := jobs.Effects{Steps: l.Steps}
	if s, open := e.Find("make"), e.Open(); s == nil || !s.Partial || s.Items != 1 || open == nil || open.Name != "make[1]" {
		t.Fatalf("steps: got %+v", l.Steps)
	}
	w.api.set(list(`{"items": ["other"]}`)) // what was read stays read
	stored, err := w.queue.Letter(t.Context(), "e2")
	must(t, err)
	must(t, w.queue.Replay(t.Context(), stored, time.Now(), false))
	w.done("e2")
	for path, n := range map[string]int{"/list/e2": 1, "/make/e2/a": 1, "/make/e2/b": 2, "/make/e2/c": 1, "/sum/e2": 1} {
		w.calls(path, n)
	}
}

func TestAJobDoesNotDieOfTheAnswersToItsItems(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		if strings.HasPrefix(c.path, "/make/") {
			_, _ = fmt.Fprintf(out, `{"id": "x", "long": %q}`, strings.Repeat("x", 300<<10))
			return true
		}
		return list(`{"items": ["a", "b", "c"]}`)(out, r, c)
	})
	w.start(func(c *worker.Config) {
		c.Rules = compile(t, strings.ReplaceAll(memberText, "a.body.id", "has(a.body) ? a.body.id : string(a.status)"))
	})
	w.publish(w.job("e4", "test:each"))
	if got := w.calls("/sum/e4", 1)[0].body; got != `{"count":3,"ids":"x200200"}` {
		t.Errorf("result: got %s", got)
	}
	w.done("e4")
}

func TestAnEmptyListIsAStepWithoutCalls(t *testing.T) {
	w := newWorld(t)
	w.api.set(list(`{"items": []}`))
	w.start(members(t))
	w.publish(w.job("e3", "test:each"))
	if got := w.calls("/sum/e3", 1)[0].body; got != `{"count":0,"ids":""}` {
		t.Errorf("result: got %s", got)
	}
	w.done("e3")
}

// asked answers whether a POST to /make/… has had its effect, and lets first
// answer that POST.
func asked(w *world, post func(http.ResponseWriter, *http.Request, call) bool) {
	var there atomic.Bool
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		switch {
		case strings.HasPrefix(c.path, "/there/") && !there.Load():
			return status(404)(out, r, c)
		case strings.HasPrefix(c.path, "/make/"):
			there.Store(true)
			return post != nil && post(out, r, c)
		}
		return false
	})
}

func TestUnlessFindsOutWhatALostAnswerHid(t *testing.T) {
	w := newWorld(t)
	asked(w, hangUp)
	w.start(members(t))
	w.publish(w.job("u1", "test:unless"))
	if got := w.calls("/sum/u1", 1)[0].body; got != `{"found":true}` {
		t.Errorf("result: got %s", got)
	}
	w.done("u1")
	w.calls("/make/u1", 1)
	w.calls("/there/u1", 2)
}

func TestUnlessIsAskedAgainWhenAnIntentHasNoEnd(t *testing.T) {
	w := newWorld(t)
	asked(w, nil)
	for id, at := range map[string]time.Time{"u2": time.Now().Add(-time.Minute), "u3": time.Now()} {
		w.publish(w.job(id, "test:unless"))
		w.takeAndDie()
		_, err := w.queue.SaveEffects(t.Context(), id, jobs.Effects{Steps: []jobs.Step{{Name: "make", Open: true, Attempt: 1, At: at}}}, 0, queue.Forever)
		must(t, err)
	}
	w.start(members(t))
	if got := w.calls("/sum/u2", 1)[0].body; got != `{"found":false}` {
		t.Errorf("result: got %s", got)
	}
	w.calls("/make/u2", 1)
	w.delayed() // of the other the call may still be under way
	w.calls("/there/u3", 0)
	w.calls("/make/u3", 0)
}

func TestAProbeThatIsNotAnsweredMeansWhatItMeansElsewhere(t *testing.T) {
	w := newWorld(t)
	w.api.set(first(1, status(503)))
	w.start(members(t))
	w.publish(w.job("u4", "test:unless"))
	w.done("u4")
	w.calls("/there/u4", 2)
	w.calls("/make/u4", 0)
}

func TestWhatTheRuleSaysOfAStatusComesFirst(t *testing.T) {
	for code, want := range map[int]struct {
		put  int
		saw  string
		dead jobs.Reason
	}{
		404: {put: 1, saw: "404"}, 403: {put: 1, saw: "403"}, 409: {put: 2, saw: "200"}, 429: {put: 2, saw: "200"},
		500: {put: 1, dead: jobs.ReasonRejected}, 401: {put: 1, dead: jobs.ReasonRejected},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t)
			w.api.set(first(1, status(code, "Retry-After", "0")))
			w.start(members(t))
			w.publish(w.job("s", "test:status"))
			if want.dead != "" {
				w.wantLetter("s", want.dead)
			} else {
				w.done("s")
				if got := w.calls("/post/s", 1)[0].body; got != `{"saw":`+want.saw+`}` {
					t.Errorf("the next step: got %s, want %s", got, want.saw)
				}
			}
			w.calls("/put/s", want.put)
		})
	}
}

func TestARefusalThatIsToBeRetriedLeavesNoIntent(t *testing.T) {
	w := newWorld(t)
	refuse := first(1, status(409))
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return c.method == "POST" && refuse(out, r, c)
	})
	w.start(members(t))
	w.publish(w.job("s2", "test:status"))
	w.done("s2")
	w.calls("/post/s2", 2)
	w.calls("/put/s2", 1)
}

func TestPagesAreReadOnceAndGivenOn(t *testing.T) {
	w := newWorld(t)
	refuse := first(1, status(500))
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		switch {
		case c.method == "PUT":
			return refuse(out, r, c)
		case r.URL.Query().Get("nextPageToken") == "t1":
			_, _ = io.WriteString(out, `{"items": [3.0, {"a": 1.5}]}`)
		default:
			_, _ = io.WriteString(out, `{"items": [1, 2], "nextPageToken": "t1"}`)
		}
		return true
	})
	w.start(members(t))
	w.publish(w.job("p1", "test:pages"))
	w.done("p1")
	sums := w.calls("/sum/p1", 2)
	if sums[0].body != sums[1].body || sums[1].body != `{"pages":2,"items":[1,2,3,{"a":1.5}]}` && sums[1].body != `{"items":[1,2,3,{"a":1.5}],"pages":2}` {
		t.Errorf("result: got %s, and when read from the record %s", sums[0].body, sums[1].body)
	}
	w.calls("/pages/p1", 2)
}

func TestAStepNamesItsProduct(t *testing.T) {
	w := newWorld(t)
	w.start(func(c *worker.Config) {
		c.Rules = compile(t, memberText)
		c.Installation = several(w)
	})
	job := w.job("m1", "")
	job.Kind, job.Type, job.Route = jobs.KindCall, jobs.TypeCall, "product"
	w.publish(job)
	w.done("m1")
	w.calls("/a", 1)
	w.calls("/wiki/b", 1)
	w.calls("/graphql", 1)
}

func TestEachAttemptNamesTheVersionOfItsRules(t *testing.T) {
	w := newWorld(t)
	w.api.set(status(400))
	w.start(members(t))
	w.publish(w.job("v1", "test:pages"))
	if l, want := w.wantLetter("v1", jobs.ReasonRejected), compile(t, memberText).Version(); want == "" || l.History[0].Rules != want {
		t.Errorf("history: got %+v, want rules %q", l.History, want)
	}
}

func TestNewRulesAreForJobsThatBeginAndNotForThoseInHand(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return strings.HasPrefix(c.path, "/find/") && w.api.waitAtGate(out, r, c)
	})
	r := w.start(nil)
	w.publish(w.job("o1", "test:chain"))
	w.calls("/find/o1", 1)
	r.SetRules(compile(t, strings.ReplaceAll(ruleText, "/make/", "/other/")))
	w.api.release()
	w.calls("/mark/o1", 1)
	w.calls("/make/o1", 1)
	w.publish(w.job("o2", "test:chain"))
	w.calls("/mark/o2", 1)
	w.calls("/other/o2", 1)
	w.calls("/make/o2", 0)
}

func TestRecordsOfEarlierVersionsAreRead(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("r1", "test:chain"))
	w.takeAndDie()
	_, err := w.queue.SaveEffects(t.Context(), "r1", jobs.Effects{Steps: []jobs.Step{
		{Name: "find", Attempt: 1, Status: 200, Header: map[string]string{"x": "y"}, Body: []byte(`{"id":"old"}`)}}}, 0, queue.Forever)
	must(t, err)
	w.start(nil)
	if got := w.calls("/make/r1", 1)[0].body; got != `{"found":"old"}` {
		t.Errorf("got %s", got)
	}
	w.calls("/find/r1", 0)
	w.done("r1")
}

// several is the installation in two products.
func several(w *world) func(context.Context, string, uint64) (installations.Installation, error) {
	return func(_ context.Context, id string, _ uint64) (installations.Installation, error) {
		return installations.Installation{ID: id, Contexts: []installations.Context{
			{Name: "jira", APIBaseURL: w.api.URL + "/base", CloudID: "c"},
			{Name: "confluence", APIBaseURL: w.api.URL + "/base/wiki", CloudID: "c"},
		}}, nil
	}
}
