package egress_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/impersonation"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

func TestAnUnsafeCallWithoutAnswerIsSentOnceAndSaysSo(t *testing.T) {
	for method, want := range map[string]int{"POST": 1, "PATCH": 1, "GET": 3, "PUT": 3, "DELETE": 3} {
		t.Run(method, func(t *testing.T) {
			b := newBench(t)
			b.upstream.behave(hangUp)
			b.do(b.issue(grant()), method, "/jira/x", "{}").mustFail(t, 502, "unanswered", "true")
			if n := len(b.upstream.requests()); n != want {
				t.Errorf("%s was sent %d times, want %d", method, n, want)
			}
		})
	}
}

func TestASlowAnswerIsATimeoutThatWasSent(t *testing.T) {
	b := newBench(t, func(c *egress.Config) { c.Timeout = 100 * time.Millisecond })
	release := make(chan struct{})
	defer close(release)
	b.upstream.behave(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	b.do(b.issue(grant()), "POST", "/jira/x", "{}").mustFail(t, 504, "unanswered", "true")
}

func TestAHostThatIsNotThereIsACallNotSentAndThenAnOpenBreaker(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.upstream.Close()
	for range 4 {
		b.do(key, "POST", "/jira/x", "{}").mustFail(t, 502, "not_sent", "false")
	}
	a := b.do(key, "POST", "/jira/x", "{}")
	a.mustFail(t, 503, "breaker_open", "false")
	if a.header.Get("Retry-After") != "15" {
		t.Errorf("Retry-After is %q, want the breaker's 15 s", a.header.Get("Retry-After"))
	}
}

func TestALimitIsPassedWithItsWait(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.upstream.say(429, `{"message":"slow down"}`, "Retry-After", "7", "RateLimit-Reason", "jira-burst-based")
	a := b.do(key, "POST", "/jira/x", "{}")
	if a.status != 429 || a.header.Get("Retry-After") != "7" || a.header.Get("RateLimit-Reason") != "jira-burst-based" || !strings.Contains(a.body, "slow down") {
		t.Errorf("got %+v", a)
	}
	b.upstream.say(503, "", "Retry-After", "0")
	if a := b.do(key, "POST", "/jira/x", "{}"); a.status != 503 || a.header.Get("Retry-After") != "0" || a.header.Get("Bellows-Sent") != "" {
		t.Errorf("got %+v", a)
	}
}

func TestWhatAnExpiredTokenGotIsNoAnswer(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.upstream.behave(func(w http.ResponseWriter, _ *http.Request) {
		b.clock.move(50 * time.Second)
		w.WriteHeader(404)
	})
	b.do(key, "GET", "/jira/x", "").status404(t)
	expiring := newBench(t, func(c *egress.Config) {
		c.Token = func(context.Context, vault.Owner, uint64) (vault.Held, error) {
			return vault.Held{Token: secret.NewToken(systemOne), Expires: c.Now().Add(time.Second)}, nil
		}
	})
	expiring.upstream.behave(func(w http.ResponseWriter, _ *http.Request) {
		expiring.clock.move(2 * time.Second)
		w.WriteHeader(404)
	})
	a := expiring.do(expiring.issue(grant()), "GET", "/jira/x", "")
	a.mustFail(t, 503, "no_token", "false")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

func (a answer) status404(t *testing.T) {
	t.Helper()
	if a.status != 404 || a.header.Get("Bellows-Sent") != "" {
		t.Errorf("got %+v, want Atlassian's 404", a)
	}
}

func TestALiveTokenThatWasRefusedIsReplacedOnce(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.upstream.behave(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Authorization"), systemOne) {
			b.keep("one", "", "a-newer-system-token-0123456789-abcdefghij") // no later expiry: it changes nothing
			w.WriteHeader(401)
		}
	})
	if a := b.do(key, "POST", "/jira/x", "{}"); a.status != 401 || a.header.Get("Bellows-Sent") != "" {
		t.Errorf("got %+v, want Atlassian's 401", a)
	}
	if n := len(b.upstream.requests()); n != 1 {
		t.Errorf("sent %d times with the same token, want once", n)
	}
	var asked []string
	b = newBench(t, func(c *egress.Config) {
		inner, forget := c.Exchange, c.Forget
		c.Exchange = func(ctx context.Context, r impersonation.Request) (secret.Token, time.Time, error) {
			if len(asked) > 0 {
				return secret.NewToken("a-second-token-of-bob-0123456789-abcdefghi"), time.Time{}, nil
			}
			return inner(ctx, r)
		}
		c.Forget = func(ctx context.Context, r impersonation.Request, digest string) {
			asked = append(asked, digest)
			forget(ctx, r, digest)
		}
	})
	b.upstream.behave(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Authorization"), bobsToken) {
			w.WriteHeader(401)
		}
	})
	if a := b.do(b.issue(grant()), "POST", "/jira/x", "{}", "Bellows-As", "user:"+bob); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	if len(asked) != 1 || asked[0] != secret.NewToken(bobsToken).Digest() {
		t.Errorf("forgot %q, want the refused token", asked)
	}
}

func TestEachFailureToGetATokenIsToldApart(t *testing.T) {
	for name, row := range map[string]struct {
		err    error
		status int
		code   string
		wait   string
	}{
		"none there":               {vault.ErrNoToken, 503, "no_token", "30"},
		"cannot be read":           {vault.ErrUnreadable, 503, "no_token", "30"},
		"account refused":          {&impersonation.RefusedError{Message: "no"}, 403, "exchange_refused", ""},
		"too many exchanges":       {&impersonation.LimitedError{RetryAfter: 1500 * time.Millisecond}, 429, "exchange_limited", "2"},
		"gateway refuses the app":  {&impersonation.UpstreamError{Status: 401, Err: errors.New("x")}, 403, "exchange_refused", ""},
		"gateway is down":          {&impersonation.UpstreamError{Status: 503, HasRetryAfter: true, RetryAfter: 3 * time.Second, Err: errors.New("x")}, 502, "exchange_failed", "3"},
		"gateway does not answer":  {&impersonation.UpstreamError{Sent: true, Err: context.DeadlineExceeded}, 504, "exchange_failed", ""},
		"bellows' own store fails": {errors.New("nats: no responders at 10.0.0.7"), 503, "unavailable", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *egress.Config) {
				c.Token = func(context.Context, vault.Owner, uint64) (vault.Held, error) { return vault.Held{}, row.err }
			})
			a := b.do(b.issue(grant()), "POST", "/jira/x", "{}")
			a.mustFail(t, row.status, row.code, "false")
			if a.header.Get("Retry-After") != row.wait {
				t.Errorf("Retry-After is %q, want %q", a.header.Get("Retry-After"), row.wait)
			}
			if strings.Contains(a.body, "10.0.0.7") {
				t.Errorf("the answer tells of our machines: %s", a.body)
			}
			b.upstream.none(t)
		})
	}
}

func TestABodyOverTheLimitIsRefusedBeforeItIsSent(t *testing.T) {
	b := newBench(t, func(c *egress.Config) { c.MaxBody = 100 })
	key := b.issue(grant())
	if a := b.do(key, "POST", "/jira/x", strings.Repeat("x", 100)); a.status != 200 {
		t.Errorf("a body of the limit: got %+v", a)
	}
	if got := b.upstream.only(t); len(got.body) != 100 {
		t.Errorf("%d bytes arrived, want 100", len(got.body))
	}
	b.do(key, "POST", "/jira/x", strings.Repeat("x", 101)).mustFail(t, 413, "too_long", "false")
	b.do(key, "PUT", "/progress", `"`+strings.Repeat("x", 16<<10)+`"`).mustFail(t, 413, "too_long", "false")
	b.upstream.none(t)
}

func TestAnAnswerThatCannotBeReadWasSent(t *testing.T) {
	b := newBench(t, func(c *egress.Config) {
		inner := c.Call
		c.Call = func(ctx context.Context, call atlassian.Call) (*atlassian.Answer, error) {
			if _, err := inner(ctx, call); err != nil {
				return nil, err
			}
			return nil, &atlassian.Error{Stage: atlassian.Unreadable, Status: 200, Method: call.Method, Path: call.Path, Err: atlassian.ErrTooLong}
		}
	})
	b.do(b.issue(grant()), "POST", "/jira/x", "{}").mustFail(t, 502, "unreadable", "true")
}

func TestWithoutNATSTheHandlerMayTryAgain(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.nats.Shutdown()
	a := b.do(key, "GET", "/jira/x", "")
	a.mustFail(t, 503, "unavailable", "false")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("got %+v", a)
	}
	b.upstream.none(t)
}

func TestAQueryThatIsNotWellFormedIsRefused(t *testing.T) {
	b := newBench(t)
	b.do(b.issue(grant()), "GET", "/jira/x?a=%zz", "").mustFail(t, 400, "bad_query", "false")
	b.upstream.none(t)
}

func TestAServerThatLacksSomethingIsNotMade(t *testing.T) {
	if _, err := egress.New(egress.Config{}); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("got %v", err)
	}
}
