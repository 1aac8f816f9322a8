package ingest_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"bellows/internal/ingest"
)

// app returns the app claim, to be changed.
func app(c object) object { return c["app"].(object) }

func development(c object) { app(c)["environment"].(object)["type"] = "DEVELOPMENT" }
func inSession(c object)   { c["principal"] = "557058:somebody" }
func inExtension(c object) { c["context"] = object{"extension": object{"type": "jira:issuePanel"}} }
func inPanel(c object)     { c["context"] = object{"moduleKey": "panel"} }
func panelType(c object)   { app(c)["module"].(object)["type"] = "jira:issuePanel" }
func macroType(c object)   { app(c)["module"].(object)["type"] = "xen:macro" }
func expired(c object)     { c["exp"] = c["iat"].(int64) - 60; c["iat"] = c["iat"].(int64) - 90 }
func otherApp(c object)    { c["aud"] = "ari:cloud:ecosystem::app/other"; app(c)["id"] = c["aud"] }
func otherAppID(c object)  { app(c)["id"] = "ari:cloud:ecosystem::app/other" }
func everyFault(c object)  { expired(c); development(c); inSession(c) }
func both(a, b func(object)) func(object) {
	return func(c object) { a(c); b(c) }
}

const tooLong = 1<<20 + 1

// long is a body over the limit whose length is not declared.
func long() io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat(" ", tooLong))) }

var elsewhere = jsonText(object{"eventType": "avi:jira:created:issue", "context": "ari:cloud:jira::site/00000000-0000-4000-8000-000000000000"})

// refusal is a call with at least the fault that must be told, and faults that
// are checked later.
type refusal struct {
	name   string
	call   call
	status int
	code   string
}

func refusals() []refusal {
	noToken := http.Header{"Authorization": nil}
	return []refusal{
		{"no such path", call{path: "/base/nothing", method: "GET", header: noToken, reader: long()}, 404, "not_found"},
		{"the path without its base", call{path: "/events"}, 404, "not_found"},
		{"a path below a hook", call{path: "/base/events/more"}, 404, "not_found"},
		{"the endpoint of a resolver", call{path: "/base/ui"}, 404, "not_found"},
		{"a path with dots", call{path: "/base/x/../events"}, 404, "not_found"},
		{"two slashes at the end", call{path: "/base/events//"}, 404, "not_found"},
		{"another method", call{method: "GET", header: noToken}, 405, "method_not_allowed"},
		{"a preflight", call{method: "OPTIONS", header: noToken}, 405, "method_not_allowed"},
		{"no token", call{header: noToken, reader: long()}, 401, "invalid_token"},
		{"an expired token of a front end elsewhere", call{claims: everyFault, body: elsewhere}, 401, "invalid_token"},
		{"a token of another app", call{claims: otherApp}, 401, "invalid_token"},
		{"a token that names another app inside", call{claims: otherAppID}, 401, "invalid_token"},
		{"a token of another environment, of a front end", call{claims: both(development, inSession), body: elsewhere}, 403, "environment_not_allowed"},
		{"a token with a user in session", call{claims: inSession, reader: long()}, 403, "front_end_token"},
		{"a token with an extension", call{claims: inExtension, body: elsewhere}, 403, "front_end_token"},
		{"a token of a module with a resolver, by type", call{claims: panelType}, 403, "front_end_token"},
		{"a token of a module with a resolver, by its other type", call{claims: macroType}, 403, "front_end_token"},
		{"a token of a module with a resolver, by key", call{module: "panel"}, 403, "front_end_token"},
		{"a token of a module with a resolver, by the key in its context", call{claims: inPanel}, 403, "front_end_token"},
		{"a long body of undeclared length", call{reader: long()}, 413, "body_too_large"},
		{"a body of another site", call{body: elsewhere}, 403, "tenant_mismatch"},
		{"a body of another workspace", call{claims: bitbucket, body: `{"workspace":{"uuid":"{00000000-0000-4000-8000-000000000000}"}}`}, 403, "tenant_mismatch"},
	}
}

func bitbucket(c object) {
	base := "https://api.bitbucket.org"
	app(c)["apiBaseUrl"] = base
	app(c)["installation"].(object)["contexts"] = []any{object{"name": "bitbucket", "apiBaseUrl": base, "workspaceId": "5e8b1c7a-0f24-4d93-a6b8-3c1d9e7f5042"}}
}

func TestTheFirstCheckThatFailsAnswersAndNothingIsStored(t *testing.T) {
	h := newHouse(t, nil)
	before := h.counts()
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) {
			got := h.send(r.call)
			if got.status != r.status || got.code != r.code || got.message == "" {
				t.Errorf("got %d %s, want %d %s", got.status, got.text, r.status, r.code)
			}
			same(t, "Content-Type", got.header.Get("Content-Type"), "application/json")
			same(t, "X-Content-Type-Options", got.header.Get("X-Content-Type-Options"), "nosniff")
			same(t, "Cache-Control", got.header.Get("Cache-Control"), "no-store")
			same(t, "a WWW-Authenticate", got.header.Get("WWW-Authenticate") != "", r.status == 401)
			same(t, "Allow", got.header.Get("Allow"), map[bool]string{true: "POST"}[r.status == 405])
			same(t, "Retry-After", got.header.Get("Retry-After"), "")
		})
	}
	if after := h.counts(); !maps.Equal(after, before) {
		t.Errorf("stored: %v, before: %v", after, before)
	}
	if n := h.count("bellows_ingest_requests_total", "status=403", "code=front_end_token"); n != 6 {
		t.Errorf("counted %v refusals of front ends, want 6", n)
	}
	if n := h.count("bellows_ingest_refused_tokens_total", "check=aud"); n != 1 {
		t.Errorf("counted %v wrong audiences, want 1", n)
	}
}

// exchange writes a request as it stands and returns the status of the answer,
// 0 when there is none.
func exchange(t *testing.T, h *house, lines ...string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.server.URL, "http://"))
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	_, err = io.WriteString(conn, strings.Join(lines, "\r\n"))
	must(t, err)
	must(t, conn.(*net.TCPConn).CloseWrite())
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestLengthsAreJudgedAsDeclaredAndAsSent(t *testing.T) {
	h := newHouse(t, func(c *ingest.Config) { c.MaxBody = 100 })
	good := "Authorization: Bearer " + h.fit(call{})
	post := "POST /base/events HTTP/1.1\r\nHost: x"
	for _, row := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"over the limit is told before the token is looked at", []string{post, "Content-Length: 101", "", ""}, 413},
		{"a wrong method is told before the length", []string{"PUT /base/events HTTP/1.1\r\nHost: x", "Content-Length: 101", "", ""}, 405},
		{"the largest length there is", []string{post, "Content-Length: 9223372036854775807", "", ""}, 413},
		{"a negative length", []string{post, good, "Content-Length: -1", "", ""}, 400},
		{"two lengths", []string{post, good, "Content-Length: 2", "Content-Length: 3", "", "{} "}, 400},
		{"a body cut short", []string{post, good, "Content-Length: 50", "", `{"eventType":`}, 400},
		{"a chunk cut short", []string{post, good, "Transfer-Encoding: chunked", "", "20", `{"a":`}, 400},
		{"chunks without their end", []string{post, good, "Transfer-Encoding: chunked", "", "2", `{}`, ""}, 400},
		{"broken chunks", []string{post, good, "Transfer-Encoding: chunked", "", "zz", `{}`, "0", "", ""}, 400},
		{"chunks over the limit", []string{post, good, "Transfer-Encoding: chunked", "", "65", strings.Repeat("x", 101), "0", "", ""}, 413},
		{"exactly the limit", []string{post, good, "Content-Length: 100", "", `"` + strings.Repeat("x", 98) + `"`}, 202},
		{"chunks of exactly the limit", []string{post, good, "Transfer-Encoding: chunked", "", "64", `"` + strings.Repeat("y", 98) + `"`, "0", "", ""}, 202},
	} {
		before := len(h.messages("BELLOWS_JOBS"))
		if got := exchange(t, h, row.lines...); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
		if stored := len(h.messages("BELLOWS_JOBS")) - before; (stored == 1) != (row.want == 202) {
			t.Errorf("%s: stored %d jobs", row.name, stored)
		}
	}
}

func TestModulesThatDoNotFitAreCountedOrRefused(t *testing.T) {
	lax := newHouse(t, nil)
	lax.accept(call{module: "some-function", body: `{}`}, false)
	same(t, "strange modules", lax.count("bellows_ingest_strange_modules_total"), 1)
	if !strings.Contains(lax.logs.String(), "some-function") {
		t.Error("the log does not name the module")
	}
	for _, module := range []string{"events", "on-issue", "on-page"} {
		lax.accept(call{module: module, body: `{"n":` + strconv.Quote(module) + `}`}, false)
	}
	lax.accept(call{module: "on-sprint", body: `{}`}, false) // a trigger of another endpoint
	same(t, "strange modules", lax.count("bellows_ingest_strange_modules_total"), 2)

	strict := newHouse(t, func(c *ingest.Config) { c.StrictModules = true })
	if got := strict.send(call{module: "some-function", body: `{}`}); got.status != 403 || got.code != "module_not_allowed" {
		t.Errorf("got %d %s, want 403 module_not_allowed", got.status, got.text)
	}
	strict.accept(call{module: "on-page", body: `{}`}, false)
}

func TestEnvironmentsThatMayCall(t *testing.T) {
	h := newHouse(t, func(c *ingest.Config) { c.Environments = []string{"development", "STAGING"} })
	h.accept(call{claims: development, body: `{}`}, false)
	if got := h.send(call{body: `{}`}); got.status != 403 || got.code != "environment_not_allowed" {
		t.Errorf("PRODUCTION where it is not allowed: got %d %s", got.status, got.text)
	}
}

func TestAKeySetThatCannotBeAskedIs503(t *testing.T) {
	h := newHouse(t, func(c *ingest.Config) { c.StoreTimeout = 300 * time.Millisecond })
	h.keys.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	down := h.send(call{body: `{}`})
	release := make(chan struct{})
	defer close(release)
	h.keys.answer(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	stalled := h.send(call{body: `{}`})
	for name, got := range map[string]reply{"down": down, "stalled": stalled} {
		seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != 503 || got.code != "keys_unavailable" || err != nil || seconds < 1 || got.took > 2*time.Second {
			t.Errorf("%s: got %d %s with Retry-After %q after %s", name, got.status, got.text, got.header.Get("Retry-After"), got.took)
		}
	}
}

func TestAnUnknownKeyIs401AfterTheKeySetWasAsked(t *testing.T) {
	h := newHouse(t, nil)
	r := h.request(call{body: `{}`})
	r.Header.Set("Authorization", "Bearer "+sign(object{"alg": "RS256", "kid": "forge/invocation-token/other"}, h.claims("events")))
	if got := h.do(r); got.status != 401 || got.code != "invalid_token" || !strings.Contains(got.message, "kid") {
		t.Errorf("got %d %s", got.status, got.text)
	}
}

func TestPathsAreServedWithAndWithoutASlash(t *testing.T) {
	h := newHouse(t, nil)
	for n, path := range []string{"/base/events", "/base/events/", "/base/mixed", "/base/mixed/", "/base/events?query=x", "/base/%65vents"} {
		job := h.job(call{path: path, body: fmt.Sprintf(`{"eventType":"avi:jira:created:issue","timestamp":%d}`, n+1)})
		if job.Route != "/base/events" && job.Route != "/base/mixed" {
			t.Errorf("%s: the job's route is %q", path, job.Route)
		}
	}
}

func TestBasePaths(t *testing.T) {
	for base, path := range map[string]string{"": "/events", "/": "/events", "/a/b/": "/a/b/events", "x": "/x/events"} {
		hooks := hooksUnder(t, base)
		h := newHouse(t, func(c *ingest.Config) { c.Hooks = hooks })
		h.accept(call{path: path, body: `{}`}, false)
		if got := h.send(call{path: "/base/events"}); got.status != 404 {
			t.Errorf("base %q: the manifest's own base answers %d", base, got.status)
		}
	}
}

func TestTheRootCanBeAHook(t *testing.T) {
	hooks := hooksUnder(t, "")
	hooks[0].Path = "/"
	h := newHouse(t, func(c *ingest.Config) { c.Hooks = hooks[:1] })
	h.accept(call{path: "/", body: `{}`}, false)
	h.accept(call{path: "/?", body: `{}`}, false)
}

func TestNothingToServeIsAnError(t *testing.T) {
	if _, err := ingest.New(ingest.Config{}); err == nil {
		t.Error("got no error")
	}
}
