package worker_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/worker"
)

var allLetters queue.Filter

func (w *world) held(n int) {
	w.t.Helper()
	w.eventually(10*time.Second, func() string {
		if s := w.stats(); s.Held != n || s.Running != 0 || s.Waiting != 0 {
			return fmt.Sprintf("want %d held jobs, got %+v", n, s)
		}
		return ""
	})
}

// homeless is a job of an installation that has a record and no token.
func (w *world) homeless(id, event string) jobs.Job {
	w.t.Helper()
	must(w.t, w.store.Bucket("TOKENS_META").Purge(w.t.Context(), installation+".system"))
	return w.job(id, event)
}

func TestWithoutATokenAJobIsHeldOutsideTheSlotsAndWokenByOne(t *testing.T) {
	w := newWorld(t)
	job := w.homeless("h1", "test:post")
	r := w.start(func(c *worker.Config) { c.Concurrency = 1 })
	w.publish(job)
	w.held(1)
	if r.Running() != 0 {
		t.Error("a held job takes a slot")
	}
	w.calls("/post/h1", 0)
	w.writer = w.newWriter()
	token := w.token(installation, time.Now().Add(3*time.Hour))
	start := time.Now()
	got := w.calls("/post/h1", 1)[0]
	if got.token != token || got.body != `{"attempt":1}` {
		t.Errorf("got %+v, want the new token and the first attempt", got)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("woken after %s: by the scan and not by the token", took)
	}
	w.done("h1")
}

func TestAHeldJobIsKnownToARedeliveryAlthoughItsMessageIDIsForgotten(t *testing.T) {
	w := newWorld(t)
	job := w.homeless("h0", "test:get")
	w.start(nil)
	w.publish(job)
	w.held(1)
	// What ingest asks when Forge sends the event again after a restart of NATS.
	job.Redelivered = true
	w.eventually(5*time.Second, func() string {
		trace, err := w.queue.Trace(t.Context(), job)
		must(t, err)
		if !trace.Gone() {
			return fmt.Sprintf("the held copy is not seen: %+v", trace)
		}
		return ""
	})
	// The held copy itself is not taken for the older one.
	w.writer = w.newWriter()
	w.token(installation, time.Now().Add(3*time.Hour))
	w.calls("/look/h0", 1)
	w.done("h0")
}

func TestAHeldJobIsMovedOnceAndNotInCircles(t *testing.T) {
	w := newWorld(t)
	// Live for those who only look at its expiry, and too short to be used.
	job := w.homeless("h2", "test:post")
	w.writer = w.newWriter()
	w.token(installation, time.Now().Add(8*time.Second))
	w.start(nil)
	w.publish(job)
	w.held(1)
	for n := 2; n <= 6; n++ {
		w.publish(w.job(fmt.Sprintf("h2-%d", n), "test:post"))
		w.held(n)
	}
	if n := strings.Count(w.buffer.String(), `msg="job waiting for a token"`); n != 6 {
		t.Errorf("six jobs began to wait %d times, want once each", n)
	}
}

func TestAHeldJobEndsWhenItIsTooOld(t *testing.T) {
	w := newWorld(t)
	job := w.homeless("h3", "test:post")
	job.Since = time.Now().Add(-25 * time.Hour)
	w.start(nil)
	w.publish(job)
	w.wantLetter("h3", jobs.ReasonNoToken)
}

func TestAJobOfAUserWithoutTokenWaitsForItsTimeAndNotInCircles(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	call := func(id string) jobs.Job {
		job := w.job(id, "")
		job.Kind, job.Type, job.Route = jobs.KindCall, jobs.TypeCall, "hello"
		return job
	}
	job := call("h4")
	job.Principal = "557058:someone"
	w.publish(job)
	w.delayed()
	w.calls("/as-user", 0)
	w.publish(call("h5"))
	w.eventually(10*time.Second, func() string {
		if n := w.stats().Dead; n != 1 {
			return "the job without a user is not dead"
		}
		return ""
	})
}

func exchange(answer string) func(http.ResponseWriter, *http.Request, call) bool {
	return func(w http.ResponseWriter, r *http.Request, c call) bool {
		if r.URL.Path != "/graphql" {
			return false
		}
		_, _ = io.WriteString(w, answer)
		return true
	}
}

func TestAnImpersonatedCallUsesTheExchangedTokenAndOneExchange(t *testing.T) {
	w := newWorld(t)
	w.api.set(exchange(`{"data":{"offlineUserAuthToken":{"success":true,"errors":[],"authToken":{"token":"the-users-own-token","ttl":3600}}}}`))
	w.start(nil)
	for i := range 20 {
		w.publish(w.job(fmt.Sprintf("im%d", i), "test:account"))
	}
	for _, c := range w.calls("/as-account", 20) {
		if c.token != "the-users-own-token" {
			t.Errorf("called with %q", c.token)
		}
	}
	body := w.calls("/graphql", 1)[0].body
	if !strings.Contains(body, "ari:cloud:jira::site/cloud-1") || !strings.Contains(body, "557058:someone") {
		t.Errorf("exchange: got %s", body)
	}
	w.empty()
}

func TestARefusedExchangeIsRejectedWithItsMessage(t *testing.T) {
	w := newWorld(t)
	w.api.set(exchange(`{"data":{"offlineUserAuthToken":{"success":false,"errors":[{"message":"account is not here"}]}}}`))
	w.start(nil)
	w.publish(w.job("im", "test:account"))
	if l := w.wantLetter("im", jobs.ReasonRejected); !strings.Contains(l.Error, "account is not here") {
		t.Errorf("letter: got %q", l.Error)
	}
	w.calls("/as-account", 0)
}

func TestALimitedExchangeDelaysUncounted(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return c.path == "/graphql" && status(429, "Retry-After", "60")(out, r, c)
	})
	w.start(nil)
	w.publish(w.job("im", "test:account"))
	w.delayed()
	w.calls("/as-account", 0)
	if n := w.stats().Dead; n != 0 {
		t.Errorf("dead letters: %d", n)
	}
}
