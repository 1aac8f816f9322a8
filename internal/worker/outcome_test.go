package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/worker"
)

func TestAJobThatSucceedsIsDone(t *testing.T) {
	w := newWorld(t)
	newest := w.token(installation, time.Now().Add(2*time.Hour))
	w.start(nil)
	w.publish(w.job("d1", "test:post"))
	got := w.calls("/post/d1", 1)[0]
	w.done("d1")
	if got.method != "POST" || got.token != newest || got.body != `{"attempt":1}` {
		t.Errorf("got %+v", got)
	}
}

func TestAJobThatNoRuleMatchesIsDoneWithoutACall(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.publish(w.job("n1", "test:nobody"))
	w.empty()
	if w.stats().Dead != 0 || len(w.api.calls) != 0 {
		t.Errorf("dead letters %d, calls %d: want none", w.stats().Dead, len(w.api.calls))
	}
}

func TestStepsSeeEarlierAnswersAndAreRecorded(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.publish(w.job("s1", "test:chain"))
	w.calls("/mark/s1", 1)
	w.done("s1")
	if got := w.calls("/make/s1", 1)[0].body; got != `{"found":"7"}` {
		t.Errorf("body of the second step: got %s", got)
	}
	e := w.effects("s1")
	if len(e.Steps) != 3 || e.Open() != nil || e.Find("make").Status != 200 || e.Find("find").Body != nil {
		t.Errorf("record: got %+v", e)
	}
}

func TestSeveralRulesBecomeAJobEachOnceAlsoWhenSplitTwice(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("m1", "test:several"))
	w.takeAndDie() // as if a worker had split it and died before it could say so
	for _, rule := range []string{"first", "second"} {
		child := w.job(jobs.RuleID("m1", rule), "test:several")
		child.Rule = rule
		w.publish(child)
	}
	w.start(nil)
	l := w.wantLetter(jobs.RuleID("m1", "faulty"), jobs.ReasonFatal)
	w.calls("/first", 1)
	w.calls("/second", 1)
	w.calls("/faulty", 0)
	if l.Rule != "faulty" || !w.effects("m1").Done {
		t.Errorf("letter of rule %q, done %v", l.Rule, w.effects("m1").Done)
	}
}

// Each row is a first answer and what becomes of a POST and a GET.
var answers = []struct {
	name       string
	answer     func(http.ResponseWriter, *http.Request, call) bool
	post, get  jobs.Reason // "": done in the end
	calls      int         // of the POST
	floor      time.Duration
	uncounted  bool
	wantStatus int
}{
	{name: "200", answer: status(200), calls: 1},
	{name: "429 with Retry-After 1", answer: status(429, "Retry-After", "1"), calls: 2, floor: time.Second, uncounted: true},
	{name: "429 with Retry-After 0", answer: status(429, "Retry-After", "0"), calls: 2, uncounted: true},
	{name: "503 with Retry-After", answer: status(503, "Retry-After", "1"), calls: 2, floor: time.Second, uncounted: true},
	{name: "500", answer: status(500), calls: 2, floor: 700 * time.Millisecond},
	{name: "503", answer: status(503), calls: 2},
	{name: "408", answer: status(408), calls: 2},
	{name: "425", answer: status(425), calls: 2},
	{name: "502", answer: status(502), post: jobs.ReasonUnknownEffect, calls: 1, wantStatus: 502},
	{name: "504", answer: status(504), post: jobs.ReasonUnknownEffect, calls: 1, wantStatus: 504},
	{name: "no answer", answer: hangUp, post: jobs.ReasonUnknownEffect, calls: 1},
	{name: "400", answer: status(400), post: jobs.ReasonRejected, get: jobs.ReasonRejected, calls: 1, wantStatus: 400},
	{name: "404", answer: status(404), post: jobs.ReasonRejected, get: jobs.ReasonRejected, calls: 1, wantStatus: 404},
	{name: "409", answer: status(409), post: jobs.ReasonRejected, get: jobs.ReasonRejected, calls: 1, wantStatus: 409},
	{name: "302", answer: status(302, "Location", "/elsewhere"), post: jobs.ReasonRejected, get: jobs.ReasonRejected, calls: 1, wantStatus: 302},
	{name: "501", answer: status(501), post: jobs.ReasonRejected, get: jobs.ReasonRejected, calls: 1, wantStatus: 501},
}

func TestOutcomesByAnswer(t *testing.T) {
	w := newWorld(t)
	answered := map[string]bool{}
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		var n int
		_, err := fmt.Sscanf(c.path[strings.LastIndex(c.path, "/")+2:], "%d", &n)
		must(t, err)
		w.api.mu.Lock()
		again := answered[c.path]
		answered[c.path] = true
		w.api.mu.Unlock()
		return !again && answers[n].answer(out, r, c)
	})
	w.start(func(c *worker.Config) {
		c.Concurrency, c.Call = 64, w.newClient(atlassian.BreakerConfig{Failures: -1}).Do
	})
	for n := range answers {
		w.publish(w.job(fmt.Sprintf("p%d", n), "test:post"))
		w.publish(w.job(fmt.Sprintf("g%d", n), "test:get"))
	}
	w.empty()
	for n, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			w := &world{t: t, queue: w.queue, api: w.api}
			for id, want := range map[string]jobs.Reason{fmt.Sprintf("p%d", n): test.post, fmt.Sprintf("g%d", n): test.get} {
				if want == "" {
					if !w.effects(id).Done {
						t.Errorf("job %s is not done", id)
					}
					continue
				}
				l := w.wantLetter(id, want)
				if l.Status != test.wantStatus || !strings.HasSuffix(l.Path, "/"+id) || l.Error == "" || len(l.History) != 1 {
					t.Errorf("letter: got status %d, path %q, error %q, history %v", l.Status, l.Path, l.Error, l.History)
				}
			}
			posts := w.calls(fmt.Sprintf("/post/p%d", n), test.calls)
			if len(posts) < 2 {
				return
			}
			if wait := posts[1].at.Sub(posts[0].at); wait < test.floor {
				t.Errorf("came back after %s, want at least %s", wait, test.floor)
			}
			want := `{"attempt":2}`
			if test.uncounted {
				want = `{"attempt":1}`
			}
			if posts[1].body != want {
				t.Errorf("body of the second call: got %s, want %s", posts[1].body, want)
			}
		})
	}
}

func TestTheLastOfTheAttemptsIsExhausted(t *testing.T) {
	w := newWorld(t)
	w.api.set(status(500))
	w.start(nil)
	w.publish(w.job("e1", "test:twice"))
	if l := w.wantLetter("e1", jobs.ReasonExhausted); l.Attempts != 2 || len(l.History) != 2 || l.Status != 500 {
		t.Errorf("letter: got %d attempts, status %d, history %v", l.Attempts, l.Status, l.History)
	}
	w.calls("/twice", 2)
}

func TestAJobOlderThanItsRuleAllowsIsExpired(t *testing.T) {
	w := newWorld(t)
	w.api.set(status(500))
	w.start(func(c *worker.Config) { c.Now = func() time.Time { return time.Now().Add(25 * time.Hour) } })
	w.token(installation, time.Now().Add(30*time.Hour))
	w.publish(w.job("x1", "test:post"))
	w.wantLetter("x1", jobs.ReasonExpired)
}

func TestWhatIsNoJobIsUndecodable(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	job := w.job("u1", "test:post")
	job.Data = []byte("<html>")
	w.publish(job)
	if l := w.wantLetter("u1", jobs.ReasonUndecodable); l.Encoding != "text" {
		t.Errorf("letter: got encoding %q", l.Encoding)
	}
	// A message that somebody else has put there.
	must(t, w.queue.NATS().Publish("bellows.jobs."+installation+".event", []byte("{}")))
	w.eventually(10*time.Second, func() string {
		if n := w.stats().Dead; n != 2 {
			return fmt.Sprintf("dead letters: got %d, want 2", n)
		}
		return ""
	})
	for l, err := range w.queue.Letters(t.Context(), allLetters) {
		must(t, err)
		if l.Reason != jobs.ReasonUndecodable {
			t.Errorf("letter %s: got reason %q", l.ID, l.Reason)
		}
	}
	w.empty()
}

func TestAFaultOfTheRuleIsFatal(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	job := w.job("f1", "test:account")
	job.Data = []byte(`{}`) // as: event.account
	w.publish(job)
	w.wantLetter("f1", jobs.ReasonFatal)
	removed := w.job("f2", "test:post")
	removed.Rule = "no-longer-there"
	w.publish(removed)
	if l := w.wantLetter("f2", jobs.ReasonFatal); !strings.Contains(l.Error, "no-longer-there") {
		t.Errorf("letter: got %q", l.Error)
	}
}

func TestAPanicIsFatalAndTheWorkerLives(t *testing.T) {
	w := newWorld(t)
	w.start(func(c *worker.Config) {
		do := c.Call
		c.Call = func(ctx context.Context, call atlassian.Call) (*atlassian.Answer, error) {
			if strings.HasSuffix(call.Path, "/bad") {
				panic("out of luck")
			}
			return do(ctx, call)
		}
	})
	w.publish(w.job("bad", "test:get"))
	if l := w.wantLetter("bad", jobs.ReasonFatal); !strings.Contains(l.Error, "out of luck") {
		t.Errorf("letter: got %q", l.Error)
	}
	w.publish(w.job("good", "test:get"))
	w.calls("/look/good", 1)
}

func TestACallThatCouldNotBeSentIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	calls := 0
	w.start(func(c *worker.Config) {
		do := c.Call
		c.Call = func(ctx context.Context, call atlassian.Call) (*atlassian.Answer, error) {
			if calls++; calls == 1 {
				return nil, &atlassian.Error{Stage: atlassian.NotSent, Method: call.Method, Path: call.Path, Err: context.DeadlineExceeded}
			}
			return do(ctx, call)
		}
	})
	w.publish(w.job("ns", "test:post"))
	if got := w.calls("/post/ns", 1)[0].body; got != `{"attempt":2}` {
		t.Errorf("got %s, want the second attempt", got)
	}
	w.done("ns")
}

func TestAnOpenBreakerDelaysToItsEndUncounted(t *testing.T) {
	w := newWorld(t)
	until := time.Now().Add(time.Second)
	w.start(func(c *worker.Config) {
		do := c.Call
		c.Call = func(ctx context.Context, call atlassian.Call) (*atlassian.Answer, error) {
			if time.Now().Before(until) {
				return nil, &atlassian.Error{Stage: atlassian.BreakerOpen, Method: call.Method, Path: call.Path, Until: until}
			}
			return do(ctx, call)
		}
	})
	w.publish(w.job("br", "test:post"))
	got := w.calls("/post/br", 1)[0]
	if got.at.Before(until) || got.body != `{"attempt":1}` {
		t.Errorf("got %s at %s, want the first attempt after %s", got.body, got.at, until)
	}
	w.done("br")
}

func TestJustAfterAnInstallRefusalsAreDelays(t *testing.T) {
	for _, code := range []int{401, 403} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			w := newWorld(t)
			w.api.set(status(code))
			w.install(installations.Installation{InstalledAt: time.Now()})
			w.start(nil)
			w.publish(w.job("in", "test:get"))
			w.calls("/look/in", 1)
			w.delayed()
		})
	}
}

func TestARefusedTokenMakesThisJobDeadOnly(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return c.path == "/post/bad" && status(401)(out, r, c)
	})
	w.start(nil)
	w.publish(w.job("bad", "test:post"))
	w.wantLetter("bad", jobs.ReasonRejected)
	w.publish(w.job("good", "test:post"))
	w.calls("/post/good", 1)
}
