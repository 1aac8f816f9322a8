package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func isDone(h *house, id string) func() string {
	return func() string {
		if !h.done(id) {
			return "job " + id + " is not done"
		}
		return ""
	}
}

func TestAPermanentFailureIsALetterThatIsMendedAndReplayedOnce(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	h.api.answerWith(status(404))
	in := h.ingest()
	h.worker()
	s := h.newSite()
	a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "GONE-1"), Token: h.forge.systemToken(s, time.Now().Add(time.Hour))})
	l := h.letterOf(a.ID, 10*time.Second)
	if l.Reason != jobs.ReasonRejected || l.Status != 404 || l.Method != "POST" || !strings.HasSuffix(l.Path, "/rest/api/3/issue/GONE-1/comment") ||
		l.Event != "avi:jira:created:issue" || l.Rule != "comment" || l.Installation != s.ID || !strings.Contains(l.Error, "the API says 404") {
		t.Errorf("letter: got %+v", l)
	}
	h.api.answerWith(nil)
	for range 2 { // twice, also when it was done in between
		stdout, stderr, code := h.bellows("dlq", "replay", a.ID)
		t.Logf("replay: code %d, %s%s", code, stdout, stderr)
		eventually(t, 10*time.Second, isDone(h, a.ID))
	}
	eventually(t, 5*time.Second, h.quiet)
	if n := len(h.api.made("/GONE-1/comment")); n != 2 {
		t.Errorf("called %d times, want the failure and one more", n)
	}
	if n := len(h.letters()); n != 0 {
		t.Errorf("%d letters are left", n)
	}
}

func TestReplayingOneLetterManyTimesAtOnceRunsItOnce(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	h.api.answerWith(status(400))
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "MANY-1")})
	h.letterOf(a.ID, 10*time.Second)
	l, err := h.jobQueue().Letter(t.Context(), a.ID)
	must(t, err)
	h.api.answerWith(nil)
	ended := make(chan error)
	for range 8 {
		go func() { ended <- h.jobQueue().Replay(t.Context(), l, time.Now(), false) }()
	}
	for range 8 {
		must(t, <-ended)
	}
	eventually(t, 10*time.Second, isDone(h, a.ID))
	eventually(t, 5*time.Second, h.quiet)
	if n := len(h.api.made("/MANY-1/comment")); n != 2 {
		t.Errorf("called %d times, want the failure and one more", n)
	}
}

func TestTheSameEventAfterARestartOfNATSRunsOnce(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	body := issueEvent("avi:jira:created:issue", "SAME-1")
	first := h.deliver(in, delivery{Site: s, Body: body})
	eventually(t, 10*time.Second, isDone(h, first.ID))
	for try, between := range []func(){func() {}, func() { h.nats.kill(); h.startNATS() }} {
		between()
		var second answer
		eventually(t, 15*time.Second, func() string {
			second = h.deliver(in, delivery{Site: s, Body: again(body, try+1)})
			return expect("status", second.Status, 202)
		})
		if !second.Duplicate || second.ID != first.ID {
			t.Errorf("redelivery %d: got %+v, want a duplicate of %s", try+1, second, first.ID)
		}
	}
	eventually(t, 10*time.Second, h.quiet)
	if n := len(h.api.made("/SAME-1/comment")); n != 1 {
		t.Errorf("called %d times, want once", n)
	}
}

func TestEventsThatDifferByTimestampOnlyBothRun(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	for range 2 {
		if a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "TIME-1")}); a.Status != 202 || a.Duplicate {
			t.Errorf("got %+v", a)
		}
	}
	eventually(t, 10*time.Second, func() string { return expect("calls", len(h.api.made("/TIME-1/comment")), 2) })
}

func TestTwoIdenticalFirstDeliveriesWithoutTimeBothRun(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	body := `{"eventType":"avi:jira-software:created:sprint","sprint":{"id":7}}`
	first := h.deliver(in, delivery{Site: s, Body: body})
	second := h.deliver(in, delivery{Site: s, Body: body})
	if first.Duplicate || second.Duplicate || first.ID == second.ID {
		t.Errorf("got %+v and %+v, want two jobs", first, second)
	}
	eventually(t, 10*time.Second, func() string { return expect("calls", len(h.api.made("/rest/api/3/sprint")), 2) })
	third := h.deliver(in, delivery{Site: s, Body: again(body, 1)})
	if third.Status != 202 || !third.Duplicate || third.ID != second.ID {
		t.Errorf("a redelivery: got %+v, want a duplicate of %s", third, second.ID)
	}
	eventually(t, 10*time.Second, h.quiet)
	if n := len(h.api.made("/rest/api/3/sprint")); n != 2 {
		t.Errorf("called %d times, want twice", n)
	}
}

func TestAScheduledCallOfOneTickRunsOnce(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	tick := func() answer {
		return h.deliver(in, delivery{Site: s, Path: "/forge/nightly", Body: `{}`, FIT: sign(h.forge.key, fitHeader(), s.fitClaims("nightly"))})
	}
	first, second := tick(), tick()
	if first.Status != 202 || first.Duplicate || !second.Duplicate || first.ID != second.ID {
		t.Errorf("got %+v and %+v, want the second a duplicate", first, second)
	}
	eventually(t, 10*time.Second, isDone(h, first.ID))
	eventually(t, 10*time.Second, h.quiet)
	if n := len(h.api.made("/rest/api/3/nightly")); n != 1 {
		t.Errorf("called %d times, want once", n)
	}
}

func TestWithoutJetStreamIngestSays503AndRecovers(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.warm(in, 1)[0]
	h.nats.kill()
	body := issueEvent("avi:jira:created:issue", "DOWN-1")
	a := h.deliver(in, delivery{Site: s, Body: body})
	if a.Status != http.StatusServiceUnavailable || a.Took >= 5*time.Second || a.Header.Get("Retry-After") == "" {
		t.Errorf("got status %d after %s, Retry-After %q: want 503 under 5 s with one", a.Status, a.Took, a.Header.Get("Retry-After"))
	}
	h.startNATS()
	eventually(t, 15*time.Second, func() string {
		a = h.deliver(in, delivery{Site: s, Body: again(body, 1)})
		return expect("status", a.Status, 202)
	})
	eventually(t, 15*time.Second, func() string { return expect("calls", len(h.api.made("/DOWN-1/comment")), 1) })
}

func TestARestartOfEverythingLosesNoToken(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in, w := h.ingest(), h.worker()
	s := h.newSite()
	token := h.forge.systemToken(s, time.Now().Add(3*time.Hour))
	h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", "KEEP-1"), Token: token})
	eventually(t, 10*time.Second, func() string { return expect("calls", len(h.api.made("/KEEP-1")), 1) })
	for _, p := range []*process{in, w} {
		if code, _ := p.stop(10 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d", p.name, code)
		}
	}
	h.nats.kill()
	h.startNATS()
	in = h.ingest()
	h.worker()
	h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "KEEP-2")})
	eventually(t, 10*time.Second, func() string { return expect("calls", len(h.api.made("/KEEP-2/comment")), 1) })
	if got := h.api.made("/KEEP-2/comment")[0].Token; got != token {
		t.Error("the call was not made with the token from before the restart")
	}
}

func TestAHundredJobsOfOneAccountMakeOneExchange(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	s := h.warm(in, 1)[0]
	for i := range 100 {
		if a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:deleted:issue", fmt.Sprintf("USER-%d", i))}); !a.accepted() {
			t.Fatalf("got %+v", a)
		}
	}
	h.worker()
	h.worker()
	eventually(t, 20*time.Second, func() string { return expect("calls", len(h.api.made("/watch")), 100) })
	eventually(t, 10*time.Second, h.quiet)
	if n := len(h.api.exchanged()); n != 1 {
		t.Errorf("%d exchanges, want one", n)
	}
	for _, c := range h.api.made("/watch") {
		if c.Token != userToken("557058:user-1", 1) {
			t.Fatalf("called with %q, want the exchanged token", c.Token)
		}
	}
}

func TestWithoutATokenHeaderTheStoredTokenStays(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.newSite()
	early := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "NONE-1")})
	eventually(t, 10*time.Second, func() string { return expect("held jobs", h.stats().Held, 1) })
	token := h.forge.systemToken(s, time.Now().Add(time.Hour))
	h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", "NONE-2"), Token: token})
	eventually(t, 10*time.Second, isDone(h, early.ID)) // it waited for just this
	h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", "NONE-3")})
	eventually(t, 10*time.Second, func() string { return expect("calls", len(h.api.made("/NONE-3")), 1) })
	for _, path := range []string{"/NONE-1/comment", "/NONE-2", "/NONE-3"} {
		if calls := h.api.made(path); len(calls) != 1 || calls[0].Token != token {
			t.Errorf("%s: %d calls, want one with the token", path, len(calls))
		}
	}
}
