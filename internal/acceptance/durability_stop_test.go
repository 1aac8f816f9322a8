package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func TestSIGTERMDuringWorkLosesNothing(t *testing.T) {
	h := newHouse(t, setup{Rules: loadRules})
	h.api.answerWith(slowly(400 * time.Millisecond))
	in := h.ingest()
	l := &load{h: h, to: &current{p: in}, sites: h.warm(in, 2)}
	l.send(60, 0)
	first := h.worker("--concurrency", "8", "--drain-timeout", "10s")
	eventually(t, 10*time.Second, func() string {
		if n := len(h.api.made("")); n < 8 {
			return fmt.Sprintf("%d calls, want some work under way", n)
		}
		return ""
	})
	if code, took := first.stop(12 * time.Second); code != 0 || took > 10*time.Second {
		t.Errorf("the worker stopped with code %d after %s, want 0 within 10s", code, took)
	}
	h.worker()
	l.settled(20 * time.Second)
	if n := len(h.letters()); n != 0 {
		t.Errorf("%d dead letters, want none: every call was answered in time", n)
	}
	if code, took := in.stop(8 * time.Second); code != 0 {
		t.Errorf("ingest stopped with code %d after %s", code, took)
	}
}

func TestAnUnsafeCallThatTheDrainCutsIsNeverSentAgain(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	gate := make(chan struct{})
	h.api.answerWith(func(_ http.ResponseWriter, r *http.Request, c apiCall) bool {
		if strings.HasSuffix(c.Path, "/CUT-1/comment") || strings.HasSuffix(c.Path, "/CUT-2") {
			select {
			case <-gate:
			case <-r.Context().Done():
			}
		}
		return false
	})
	in := h.ingest()
	s := h.warm(in, 1)[0]
	first := h.worker("--drain-timeout", "300ms")
	unsafe := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "CUT-1")})
	safe := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", "CUT-2")})
	eventually(t, 5*time.Second, func() string {
		return expect("calls under way", len(h.api.made("/CUT-1/comment"))+len(h.api.made("/CUT-2")), 2)
	})
	if code, took := first.stop(8 * time.Second); code != 0 || took > 5*time.Second {
		t.Errorf("the worker stopped with code %d after %s", code, took)
	}
	if l := h.letterOf(unsafe.ID, time.Second); l.Reason != jobs.ReasonUnknownEffect {
		t.Errorf("the unsafe job: got reason %q", l.Reason)
	}
	close(gate)
	h.worker()
	eventually(t, 15*time.Second, func() string {
		if !h.done(safe.ID) {
			return "the safe job is not done"
		}
		return ""
	})
	eventually(t, 5*time.Second, h.quiet)
	if n := len(h.api.made("/CUT-1/comment")); n != 1 {
		t.Errorf("the unsafe call was made %d times", n)
	}
}

func TestTwentyRollingRestartsCrashNoJob(t *testing.T) {
	long(t)
	t.Parallel()
	h := newHouse(t, setup{Rules: loadRules})
	gate := make(chan struct{})
	h.api.answerWith(func(w http.ResponseWriter, r *http.Request, c apiCall) bool {
		if strings.HasSuffix(c.Path, "/find/LONG-1") {
			select {
			case <-gate:
			case <-r.Context().Done():
			}
			return false
		}
		return slowly(30*time.Millisecond)(w, r, c)
	})
	in := h.ingest()
	l := &load{h: h, to: &current{p: in}, sites: h.warm(in, 2)}
	flags := []string{"--drain-timeout", "250ms", "--concurrency", "8"}
	workers := []*process{h.worker(flags...), h.worker(flags...)}
	job := h.deliver(in, delivery{Site: l.sites[0], Body: issueEvent("avi:jira:deleted:issue", "LONG-1")})
	eventually(t, 5*time.Second, func() string {
		if len(h.api.made("/find/LONG-1")) == 0 {
			return "the long job has not begun"
		}
		return ""
	})
	ended := make(chan struct{})
	go func() { defer close(ended); l.send(120, 8*time.Second) }()
	for i := range 20 {
		if code, _ := workers[i%2].stop(8 * time.Second); code != 0 {
			t.Errorf("restart %d: exit code %d", i, code)
		}
		workers[i%2] = h.worker(flags...)
	}
	<-ended
	close(gate)
	eventually(t, 60*time.Second, func() string {
		if !h.done(job.ID) {
			return "the long job is not done"
		}
		return ""
	})
	l.settled(30 * time.Second)
	for _, letter := range h.letters() {
		t.Errorf("dead letter %s: %s: %s", letter.ID, letter.Reason, letter.Error)
	}
}
