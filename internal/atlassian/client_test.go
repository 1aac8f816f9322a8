package atlassian_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/secret"
)

func TestAnAnswerIsGivenWhole(t *testing.T) {
	server, _ := counting(t, answer(201, `{"id":"7"}`, "Set-Cookie", "session=1", "X-Trace", "t", "X-Echo", "Bearer "+firstToken))
	got, err := newClient(t, server).Do(t.Context(), call(server.URL, "POST", "/x"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != 201 || string(got.Body) != `{"id":"7"}` || got.Header.Get("X-Trace") != "t" {
		t.Errorf("got %+v", got)
	}
	if got.Header.Get("Set-Cookie") != "" || got.Header.Get("X-Echo") != "Bearer [secret]" {
		t.Errorf("header shows too much: %v", got.Header)
	}
}

func TestAnAnswerNeverEchoesTheToken(t *testing.T) {
	server, _ := counting(t, answer(200, `{"you sent":"`+firstToken+`"}`))
	got, err := newClient(t, server).Do(t.Context(), call(server.URL, "GET", "/x"))
	if err != nil || string(got.Body) != `{"you sent":"[secret]"}` {
		t.Errorf("got %s, %v", got.Body, err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	target, arrived := counting(t, answer(200, ""))
	server, _ := counting(t, answer(302, "", "Location", target.URL))
	_, err := newClient(t, server, target).Do(t.Context(), call(server.URL, "GET", "/x"))
	if e := asError(t, err); e.Stage != atlassian.Answered || e.Status != 302 || arrived() != 0 {
		t.Errorf("got %v, and %d calls at the target", err, arrived())
	}
}

func TestAnswersAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1001)
	for name, handler := range map[string]http.HandlerFunc{
		"declared": answer(200, long, "Content-Length", "1001"),
		"streamed": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, long[:500])
			w.(http.Flusher).Flush()
			fmt.Fprint(w, long[500:])
		},
	} {
		server, arrived := counting(t, handler)
		_, err := newClientWith(t, atlassian.Config{MaxAnswer: 1000}, server).Do(t.Context(), call(server.URL, "GET", "/x"))
		if e := asError(t, err); e.Stage != atlassian.Unreadable || e.Status != 200 || !errors.Is(err, atlassian.ErrTooLong) || arrived() != 1 {
			t.Errorf("%s: got %v after %d calls", name, err, arrived())
		}
		if _, err := newClientWith(t, atlassian.Config{MaxAnswer: 1001}, server).Do(t.Context(), call(server.URL, "GET", "/x")); err != nil {
			t.Errorf("%s: an answer of exactly the limit: %v", name, err)
		}
	}
}

func TestTheTokenIsReplacedOnceWhenRefusedAlive(t *testing.T) {
	for _, row := range []struct {
		name     string
		statuses []int
		tokens   []string
		sent     int
		want     int // status of the error, 0 for success
	}{
		{"another token works", []int{401, 200}, []string{firstToken, secondToken}, 2, 0},
		{"another token is refused too", []int{401, 401}, []string{firstToken, secondToken}, 2, 401},
		{"no other token is known", []int{401}, []string{firstToken, firstToken}, 1, 401},
		{"403 is no reason to replace it", []int{403}, []string{firstToken, secondToken}, 1, 403},
	} {
		var handlers []http.HandlerFunc
		for _, status := range row.statuses {
			handlers = append(handlers, answer(status, ""))
		}
		server, arrived := counting(t, handlers...)
		c := call(server.URL, "POST", "/x")
		c.Token = tokens(noon.Add(time.Second), row.tokens...)
		_, err := newClient(t, server).Do(t.Context(), c)
		if arrived() != row.sent {
			t.Errorf("%s: sent %d times, want %d", row.name, arrived(), row.sent)
		}
		if row.want == 0 {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		if e := asError(t, err); e.Stage != atlassian.Answered || e.Status != row.want || e.TokenExpired {
			t.Errorf("%s: got %+v", row.name, e)
		}
	}
}

func TestTheTokenFunctionIsToldWhichTokenWasRefused(t *testing.T) {
	server, _ := counting(t, answer(401, ""), answer(200, ""))
	var asked []secret.Token
	c := call(server.URL, "GET", "/x")
	next := tokens(time.Time{}, firstToken, secondToken)
	c.Token = func(ctx context.Context, refused secret.Token) (secret.Token, time.Time, error) {
		asked = append(asked, refused)
		return next(ctx, refused)
	}
	if _, err := newClient(t, server).Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 2 || !asked[0].IsZero() || asked[1] != secret.NewToken(firstToken) {
		t.Errorf("asked %d times", len(asked))
	}
}

func TestAnExpiredTokenIsNeverSent(t *testing.T) {
	server, arrived := counting(t, answer(200, ""))
	for _, expires := range []time.Time{noon, noon.Add(-time.Hour)} {
		c := call(server.URL, "GET", "/x")
		c.Token = tokens(expires, firstToken)
		_, err := newClient(t, server).Do(t.Context(), c)
		if e := asError(t, err); e.Stage != atlassian.NoToken || !e.TokenExpired || arrived() != 0 {
			t.Errorf("expiry %s: got %+v", expires, e)
		}
	}
}

func TestATokenThatExpiresOnTheWayIsTold(t *testing.T) {
	for _, row := range []struct {
		status  int
		expired bool
	}{{401, true}, {403, true}, {404, true}, {400, false}, {409, false}} {
		var late atomic.Bool
		now := func() time.Time {
			if late.Load() {
				return noon.Add(time.Minute)
			}
			return noon
		}
		server, arrived := counting(t, func(w http.ResponseWriter, _ *http.Request) {
			late.Store(true)
			w.WriteHeader(row.status)
		})
		c := call(server.URL, "POST", "/x")
		c.Token = tokens(noon.Add(time.Second), firstToken, secondToken)
		_, err := newClientWith(t, atlassian.Config{Now: now}, server).Do(t.Context(), c)
		if e := asError(t, err); e.Stage != atlassian.Answered || e.Status != row.status || e.TokenExpired != row.expired || arrived() != 1 {
			t.Errorf("%d: got %+v after %d calls", row.status, e, arrived())
		}
	}
}

func TestWithoutATokenNothingIsSent(t *testing.T) {
	cause := errors.New("vault is away")
	server, arrived := counting(t, answer(401, ""))
	for name, token := range map[string]func(context.Context, secret.Token) (secret.Token, time.Time, error){
		"it fails": func(context.Context, secret.Token) (secret.Token, time.Time, error) {
			return secret.Token{}, time.Time{}, cause
		},
		"it is empty": tokens(time.Time{}, ""),
		"none at all": nil,
	} {
		c := call(server.URL, "GET", "/x")
		c.Token = token
		_, err := newClient(t, server).Do(t.Context(), c)
		if e := asError(t, err); e.Stage != atlassian.NoToken || e.TokenExpired || e.Status != 0 || arrived() != 0 {
			t.Errorf("%s: got %+v", name, e)
		}
		if name == "it fails" && !errors.Is(err, cause) {
			t.Errorf("the cause is lost: %v", err)
		}
	}
	c := call(server.URL, "GET", "/x")
	c.Token = func(_ context.Context, refused secret.Token) (secret.Token, time.Time, error) {
		if refused.IsZero() {
			return secret.NewToken(firstToken), time.Time{}, nil
		}
		return secret.Token{}, time.Time{}, cause
	}
	_, err := newClient(t, server).Do(t.Context(), c)
	if e := asError(t, err); e.Stage != atlassian.NoToken || e.Status != 401 || !errors.Is(err, cause) {
		t.Errorf("failing after a 401: got %+v", e)
	}
}

func TestSafeCallsAreRepeatedAtOnce(t *testing.T) {
	for _, row := range []struct {
		name   string
		method string
		first  http.HandlerFunc
		sent   int
	}{
		{"a GET after 500", "GET", answer(500, ""), 2},
		{"a PUT after 502", "PUT", answer(502, ""), 2},
		{"a DELETE after 503", "DELETE", answer(503, ""), 2},
		{"a GET after 504", "GET", answer(504, ""), 2},
		{"a GET whose connection was cut", "GET", cut, 2},
		{"a GET whose answer broke off", "GET", answer(200, "short", "Content-Length", "10"), 2},
		{"a POST after 500", "POST", answer(500, ""), 1},
		{"a POST after 503", "POST", answer(503, ""), 1},
		{"a POST whose connection was cut", "POST", cut, 1},
		{"a POST whose answer broke off", "POST", answer(200, "short", "Content-Length", "10"), 1},
		{"a GET after 503 with Retry-After", "GET", answer(503, "", "Retry-After", "0"), 1},
		{"a GET after 429", "GET", answer(429, ""), 1},
		{"a GET after 408", "GET", answer(408, ""), 1},
		{"a GET after 501", "GET", answer(501, ""), 1},
		{"a GET after 404", "GET", answer(404, ""), 1},
	} {
		server, arrived := counting(t, row.first, answer(200, ""))
		c := call(server.URL, row.method, "/x")
		if row.method != "DELETE" {
			c.Body = []byte(`{"a":1}`)
		}
		_, err := newClient(t, server).Do(t.Context(), c)
		if arrived() != row.sent || (err == nil) != (row.sent == 2) {
			t.Errorf("%s: sent %d times, want %d; %v", row.name, arrived(), row.sent, err)
		}
	}
}

// cut reads the request and closes the connection.
func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestRepeatsAreFew(t *testing.T) {
	for repeats, sent := range map[int]int{0: 3, 1: 2, -1: 1} {
		server, arrived := counting(t, answer(503, `{"message":"later"}`))
		_, err := newClientWith(t, atlassian.Config{Repeats: repeats}, server).Do(t.Context(), call(server.URL, "GET", "/x"))
		if e := asError(t, err); arrived() != sent || e.Status != 503 || e.Message != "later" {
			t.Errorf("Repeats %d: sent %d times, want %d; %v", repeats, arrived(), sent, err)
		}
	}
}

func TestRepeatsStayWithinTheTimeout(t *testing.T) {
	server, arrived := counting(t, answer(503, ""))
	c := call(server.URL, "GET", "/x")
	c.Timeout = 200 * time.Millisecond
	started := time.Now()
	client := newClientWith(t, atlassian.Config{Random: func() float64 { return 0.9 }}, server) // waits of 350 ms
	if _, err := client.Do(t.Context(), c); asError(t, err).Status != 503 || arrived() != 1 {
		t.Errorf("got %v after %d calls", err, arrived())
	}
	if took := time.Since(started); took > 190*time.Millisecond {
		t.Errorf("it waited %s for a repeat it could not make", took)
	}
}

func TestPostSendsOnceAndGivesEveryAnswer(t *testing.T) {
	for _, status := range []int{200, 302, 401, 429, 500, 503} {
		server, arrived := counting(t, answer(status, "body "+secondToken, "Retry-After", "3"))
		got, header, body, sent, err := newClient(t, server).Post(t.Context(), server.URL+"/graphql?q=1", secret.NewToken(firstToken), []byte(`{}`))
		if err != nil || got != status || header.Get("Retry-After") != "3" || string(body) != "body "+secondToken || !sent || arrived() != 1 {
			t.Errorf("%d: got %d, sent %v, %v, after %d calls", status, got, sent, err, arrived())
		}
	}
}

func TestPostTellsWhetherItWasSent(t *testing.T) {
	gone, _ := counting(t, answer(200, ""))
	gone.Close()
	cutting, arrived := counting(t, cut)
	long, _ := counting(t, answer(200, strings.Repeat("x", 2000)))
	client := newClientWith(t, atlassian.Config{MaxAnswer: 1000}, gone, cutting, long)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name  string
		ctx   context.Context
		url   string
		sent  bool
		stage atlassian.Stage
	}{
		{"nobody listens", t.Context(), gone.URL, false, atlassian.NotSent},
		{"the context has ended", over, long.URL, false, atlassian.NotSent},
		{"another host", t.Context(), "https://evil.example/graphql", false, atlassian.Fenced},
		{"dots", t.Context(), long.URL + "/a/../graphql", false, atlassian.Fenced},
		{"the connection is cut", t.Context(), cutting.URL, true, atlassian.Unanswered},
		{"the answer is too long", t.Context(), long.URL + "/", true, atlassian.Unreadable},
	} {
		_, _, _, sent, err := client.Post(row.ctx, row.url, secret.NewToken(firstToken), []byte(`{}`))
		if e := asError(t, err); sent != row.sent || e.Stage != row.stage || strings.Contains(err.Error(), firstToken) {
			t.Errorf("%s: sent %v, %v", row.name, sent, err)
		}
	}
	if arrived() != 1 {
		t.Errorf("the cut call was sent %d times", arrived())
	}
}
