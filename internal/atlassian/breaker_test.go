package atlassian_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellows/internal/atlassian"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// transportFunc answers without a socket, so that a test may run in fake time.
type transportFunc func(*http.Request) (int, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// host is a host whose next answers a test sets.
type host struct {
	status int
	calls  int
	before func(context.Context) error // runs in each call
	client *atlassian.Client
	log    bytes.Buffer
}

func newHost(t *testing.T, config atlassian.BreakerConfig) *host {
	t.Helper()
	h := &host{status: 200, before: func(context.Context) error { return nil }}
	var err error
	h.client, err = atlassian.New(atlassian.Config{
		Hosts: []string{"api.test", "other.test"}, Breaker: config, Random: func() float64 { return 0.5 },
		Logger: slog.New(slog.NewTextHandler(&h.log, nil)),
		Transport: transportFunc(func(r *http.Request) (int, error) {
			h.calls++
			return h.status, h.before(r.Context())
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// post makes n unsafe calls that get status and returns the last one's error.
func (h *host) post(t *testing.T, n, status int) *atlassian.Error {
	t.Helper()
	return h.postTo(t, "https://api.test", "one", n, status)
}

func (h *host) postTo(t *testing.T, base, installation string, n, status int) *atlassian.Error {
	t.Helper()
	h.status = status
	var last *atlassian.Error
	for range n {
		c := call(base, "POST", "/x")
		c.Installation, c.Token = installation, tokens(time.Time{}, firstToken)
		if _, err := h.client.Do(t.Context(), c); err != nil {
			last = asError(t, err)
		} else {
			last = nil
		}
	}
	return last
}

func TestTheBreakerOpensAfterFiveFailuresAndClosesAfterATrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, atlassian.BreakerConfig{})
		if e := h.post(t, 5, 503); e.Stage != atlassian.Answered {
			t.Fatalf("the fifth failure: %v", e)
		}
		opened := time.Now()
		e := h.post(t, 1, 200)
		if e == nil || e.Stage != atlassian.BreakerOpen || !e.Until.Equal(opened.Add(15*time.Second)) || h.calls != 5 {
			t.Fatalf("open: %+v after %d calls", e, h.calls)
		}
		if e := h.postTo(t, "https://api.test", "two", 1, 200); e != nil {
			t.Errorf("another installation: %v", e)
		}
		if e := h.postTo(t, "https://other.test", "one", 1, 200); e != nil {
			t.Errorf("another host: %v", e)
		}
		time.Sleep(15*time.Second + 1)
		if e := h.post(t, 1, 500); e == nil || e.Status != 500 {
			t.Errorf("a failing trial: %v", e)
		}
		if e := h.post(t, 1, 200); e == nil || e.Stage != atlassian.BreakerOpen {
			t.Errorf("after a failed trial: %v", e)
		}
		time.Sleep(15*time.Second + 1)
		if e := h.post(t, 2, 200); e != nil {
			t.Errorf("after a good trial: %v", e)
		}
		if n := strings.Count(h.log.String(), "circuit breaker changed"); n != 5 { // open, half-open, open, half-open, closed
			t.Errorf("%d changes are logged:\n%s", n, &h.log)
		}
	})
}

func TestWhatTheBreakerCountsAsFailure(t *testing.T) {
	for status, opens := range map[int]bool{500: true, 502: true, 503: true, 504: true, 501: false, 429: false, 400: false, 403: false, 302: false} {
		h := newHost(t, atlassian.BreakerConfig{})
		h.post(t, 5, status)
		if e := h.post(t, 1, 200); (e != nil) != opens {
			t.Errorf("after five answers of %d: %v", status, e)
		}
	}
	h := newHost(t, atlassian.BreakerConfig{Failures: -1})
	if h.post(t, 30, 500); h.post(t, 1, 200) != nil {
		t.Error("a breaker that is switched off opens")
	}
	h = newHost(t, atlassian.BreakerConfig{Failures: 2})
	if h.post(t, 2, 500); h.post(t, 1, 200) == nil {
		t.Error("a breaker set to two failures does not open")
	}
}

func TestTheBreakerOpensWhenMostCallsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, atlassian.BreakerConfig{Failures: 100})
		for range 6 { // 18 calls, 12 of them failed
			h.post(t, 1, 200)
			h.post(t, 2, 500)
		}
		if e := h.post(t, 1, 200); e != nil {
			t.Fatalf("after 18 calls: %v", e)
		}
		if h.post(t, 1, 500); h.post(t, 1, 200) == nil {
			t.Error("20 calls of which 13 failed leave it closed")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, atlassian.BreakerConfig{Failures: 100})
		h.post(t, 19, 500)
		time.Sleep(2 * time.Minute)
		if h.post(t, 1, 500); h.post(t, 1, 200) != nil {
			t.Error("failures of two minutes ago count")
		}
	})
}

func TestOnlyOneCallTriesAndTheOthersComeBackSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, atlassian.BreakerConfig{CoolDown: time.Second})
		h.post(t, 5, 500)
		time.Sleep(time.Second + 1)
		finish, trial := make(chan struct{}), make(chan *atlassian.Error)
		h.before = func(context.Context) error { <-finish; return nil }
		go func() { trial <- h.post(t, 1, 200) }()
		synctest.Wait()
		h.before = func(context.Context) error { return nil }
		e := h.post(t, 1, 200)
		if e == nil || e.Stage != atlassian.BreakerOpen || !e.Until.Equal(time.Now().Add(time.Second)) {
			t.Errorf("beside the trial: %+v", e)
		}
		close(finish)
		if e := <-trial; e != nil {
			t.Errorf("the trial: %v", e)
		}
		if e := h.post(t, 1, 200); e != nil {
			t.Errorf("after the trial: %v", e)
		}
	})
}

func TestACallThatItsCallerEndedIsNoFailure(t *testing.T) {
	h := newHost(t, atlassian.BreakerConfig{Failures: 1})
	ctx, cancel := context.WithCancel(t.Context())
	h.before = func(inner context.Context) error { cancel(); <-inner.Done(); return inner.Err() }
	c := call("https://api.test", "POST", "/x")
	c.Token = tokens(time.Time{}, firstToken)
	if _, err := h.client.Do(ctx, c); asError(t, err).Stage != atlassian.Unanswered {
		t.Fatalf("got %v", err)
	}
	h.before = func(inner context.Context) error { <-inner.Done(); return inner.Err() }
	if e := func() *atlassian.Error {
		c.Timeout = time.Millisecond
		_, err := h.client.Do(t.Context(), c)
		return asError(t, err)
	}(); e.Stage != atlassian.Unanswered {
		t.Errorf("the caller's end opened the breaker: %v", e)
	}
	if _, err := h.client.Do(t.Context(), c); asError(t, err).Stage != atlassian.BreakerOpen {
		t.Errorf("a timeout is no failure: %v", err)
	}
}

func TestARepeatThatTheBreakerStopsTellsTheRealFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t, atlassian.BreakerConfig{Failures: 2})
		h.status = 503
		c := call("https://api.test", "GET", "/x")
		c.Token = tokens(time.Time{}, firstToken)
		_, err := h.client.Do(t.Context(), c)
		if e := asError(t, err); e.Stage != atlassian.Answered || e.Status != 503 || h.calls != 2 {
			t.Errorf("got %v after %d calls", err, h.calls)
		}
	})
}

func TestIdleBreakersAreForgotten(t *testing.T) {
	h := newHost(t, atlassian.BreakerConfig{Failures: 1, Limit: 2})
	h.postTo(t, "https://api.test", "a", 1, 500)
	if e := h.postTo(t, "https://api.test", "a", 1, 500); e.Stage != atlassian.BreakerOpen {
		t.Fatalf("got %v", e)
	}
	h.postTo(t, "https://api.test", "b", 1, 200)
	if e := h.postTo(t, "https://api.test", "a", 1, 500); e.Stage != atlassian.BreakerOpen {
		t.Errorf("within the limit it is forgotten: %v", e)
	}
	h.postTo(t, "https://api.test", "b", 1, 200)
	h.postTo(t, "https://api.test", "c", 1, 200)
	if e := h.postTo(t, "https://api.test", "a", 1, 200); e != nil {
		t.Errorf("over the limit it is kept: %v", e)
	}
}
