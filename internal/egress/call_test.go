package egress_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestACallGoesToTheAPIThatItsPathNames(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	for name, row := range map[string]struct{ method, path, want string }{
		"a product":              {"GET", "/jira/rest/api/3/issue/A-1?expand=names&fields=a%26b", "/ex/jira/cloud-1/rest/api/3/issue/A-1"},
		"another product":        {"PUT", "/confluence/wiki/rest/api/content/1", "/ex/confluence/cloud-1/wiki/rest/api/content/1"},
		"in other letters":       {"GET", "/Jira/rest", "/ex/jira/cloud-1/rest"},
		"escapes stay":           {"DELETE", "/jira/a%20b/%C3%BC/%40x", "/ex/jira/cloud-1/a%20b/%C3%BC/%40x"},
		"a slash at the end":     {"GET", "/jira/rest/", "/ex/jira/cloud-1/rest/"},
		"the base itself":        {"GET", "/jira/", "/ex/jira/cloud-1"},
		"storage":                {"POST", "/storage/kvs/v1", "/forge/storage/kvs/v1"},
		"forge":                  {"PATCH", "/forge/queues/v1/x", "/forge/queues/v1/x"},
		"graphql":                {"POST", "/graphql?q=one", "/graphql"},
		"a query is not decoded": {"GET", "/jira/search?jql=a%3D%22..%2F%22", "/ex/jira/cloud-1/search"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do(key, row.method, row.path, "")
			if a.status != 200 || a.body != `{"ok":true}` || a.header.Get("Bellows-Sent") != "" {
				t.Fatalf("got %+v", a)
			}
			got := b.upstream.only(t)
			_, query, _ := strings.Cut(row.path, "?")
			if got.method != row.method || got.path != row.want || got.query != query || got.bearer != systemOne {
				t.Errorf("got %+v, want %s %s?%s as the app", got, row.method, row.want, query)
			}
		})
	}
}

func TestBellowsAsChoosesTheToken(t *testing.T) {
	b := newBench(t)
	g := grant()
	key := b.issue(g)
	g.Principal = ""
	nobody := b.issue(g)
	for name, row := range map[string]struct{ as, path, token string }{
		"the app":                {"app", "/jira/x", systemOne},
		"the user in session":    {"user", "/jira/x", aliceOne},
		"an account":             {"user:" + bob, "/jira/x", bobsToken},
		"an account, in storage": {"user:" + bob, "/storage/x", bobsToken},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.do(key, "GET", row.path, "", "Bellows-As", row.as)
			if got := b.upstream.only(t); a.status != 200 || got.bearer != row.token {
				t.Errorf("got %d with token %q, want %q", a.status, got.bearer, row.token)
			}
		})
	}
	for _, as := range []string{"bob", "user:", "user:a b", "user:a,user:b", "app, user", "user:" + strings.Repeat("x", 256), "USER"} {
		b.do(key, "GET", "/jira/x", "", "Bellows-As", as).mustFail(t, 400, "bad_as", "false")
	}
	b.do(key, "GET", "/jira/x", "", "Bellows-As", "app", "Bellows-As", "user").mustFail(t, 400, "bad_as", "false")
	b.do(nobody, "GET", "/jira/x", "", "Bellows-As", "user").mustFail(t, 403, "no_principal", "false")
	refused := b.do(key, "GET", "/jira/x", "", "Bellows-As", "user:somebody")
	refused.mustFail(t, 403, "exchange_refused", "false")
	if !strings.Contains(refused.body, "user has no access") {
		t.Errorf("the refusal does not say why: %s", refused.body)
	}
	g = grant()
	g.Product = ""
	b.do(b.issue(g), "GET", "/storage/x", "", "Bellows-As", "user:"+bob).mustFail(t, 400, "no_product", "false")
	b.upstream.none(t)
}

func TestPathsThatCouldMeanAnotherAreRefused(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	for _, path := range []string{
		"/jira/..", "/jira/../../cloud-2/rest", "/jira/./x", "/jira/%2e%2e/x", "/jira/%2E./x", "/jira/.%2e/x", "/jira/%252e%252e/x", "/jira/%25252e%25252e/x",
		"/jira//x", "//jira/x", "/jira/x//", "/jira/a%2fb", "/jira/a%2Fb", "/jira/%252f", "/jira/a%5cb", "/jira/a\\b", "/jira/..\\x", "/jira/%255c",
		"/jira/..;x/y", "/jira/;x/y", "/jira/%3bx/y", "/jira/%00", "/jira/a%0d%0ab", "/jira/%20/x", "/jira/..%20/x", "/../jira/x", "/./jira/x",
		"/storage/../x", "/forge/%2e%2e/graphql", "/graphql/..", "/jira/%2525252525252e",
	} {
		b.do(key, "GET", path, "").mustFail(t, 400, "bad_path", "false")
	}
	for _, path := range []string{
		"/", "/bitbucket/x", "/cloud-2/x", "/ex/jira/cloud-2/x", "/%6aira/x", "/graphql/x", "/jobs/x", "/progress/x", "/127.0.0.1/x", "/jira@evil/x", "/jira:80/x",
	} {
		b.do(key, "POST", path, "").mustFail(t, 404, "not_found", "false")
	}
	b.upstream.none(t)
}

func TestOnlyListedMethodsAreCarried(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	for _, row := range [][3]string{
		{"OPTIONS", "/jira/x", "GET, HEAD, POST, PUT, PATCH, DELETE"}, {"TRACE", "/jira/x", "GET, HEAD, POST, PUT, PATCH, DELETE"},
		{"BREW", "/storage/x", "GET, HEAD, POST, PUT, PATCH, DELETE"}, {"get", "/jira/x", "GET, HEAD, POST, PUT, PATCH, DELETE"},
		{"GET", "/graphql", "POST"}, {"GET", "/jobs", "POST"}, {"POST", "/progress", "PUT"},
	} {
		a := b.do(key, row[0], row[1], "")
		a.mustFail(t, 405, "method_not_allowed", "false")
		if a.header.Get("Allow") != row[2] {
			t.Errorf("%s %s: Allow is %q, want %q", row[0], row[1], a.header.Get("Allow"), row[2])
		}
	}
	b.upstream.none(t)
}

func TestHarmlessHeadersPassAndOthersDoNot(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	pass := map[string]string{
		"Accept": "text/plain", "Content-Type": "application/x-custom", "X-Atlassian-Token": "no-check", "If-Match": `"1"`, "Accept-Language": "de",
		"Traceparent": trace, "User-Agent": "handler/1",
	}
	hold := map[string]string{
		"Cookie": "a=b", "X-Forge-Oauth-System": "stolen", "x-forge-oauth-user": "stolen", "X_Forge_Oauth_System": "stolen", "Proxy-Authorization": "Basic x",
		"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "evil", "Forwarded": "host=evil", "X-Http-Method-Override": "DELETE", "X_HTTP_Method_Override": "DELETE",
		"X-Original-Url": "/ex/jira/cloud-2", "X-Rewrite-Url": "/ex/jira/cloud-2", "Te": "trailers", "Keep-Alive": "1", "X-Named": "hop", "X_Named": "hop",
		"Connection": "x-named, keep-alive", "Bellows-Ticket": "x", "Bellows-As": "app", "Origin": "http://evil", "Via": "1.1 x", "Proxy-Connection": "close", "Sec-Fetch-Site": "none",
	}
	var header []string
	for _, all := range []map[string]string{pass, hold} {
		for name, value := range all {
			header = append(header, name, value)
		}
	}
	if a := b.do(key, "POST", "/jira/x", "body", header...); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	got := b.upstream.only(t)
	for name, value := range pass {
		if got.header.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
		}
	}
	for name := range hold {
		for _, spelled := range []string{name, http.CanonicalHeaderKey(name)} {
			if _, there := got.header[spelled]; there {
				t.Errorf("%s was passed on", name)
			}
		}
	}
	if got.bearer != systemOne || len(got.header["Authorization"]) != 1 || got.body != "body" {
		t.Errorf("got %+v", got)
	}
}

func TestTheAnswerIsAtlassiansLessCookiesAndConnectionHeaders(t *testing.T) {
	b := newBench(t)
	key := b.issue(grant())
	b.upstream.say(201, "plain", "Content-Type", "text/x-own", "Location", "/rest/1", "ETag", `"1"`, "Set-Cookie", "a=b", "Keep-Alive", "timeout=1",
		"X-Named", "hop", "Connection", "X-Named", "Bellows-Sent", "true", "X-Many", "1", "X-Many", "2")
	a := b.do(key, "POST", "/jira/x", "{}")
	if a.status != 201 || a.body != "plain" || a.header.Get("Content-Type") != "text/x-own" || a.header.Get("Location") != "/rest/1" || a.header.Get("ETag") != `"1"` ||
		len(a.header["X-Many"]) != 2 {
		t.Errorf("got %+v", a)
	}
	for _, name := range []string{"Set-Cookie", "Keep-Alive", "X-Named", "Connection", "Bellows-Sent"} {
		if a.header.Get(name) != "" {
			t.Errorf("%s came back: %q", name, a.header.Get(name))
		}
	}
	b.upstream.say(204, "")
	if a := b.do(key, "DELETE", "/jira/x", ""); a.status != 204 || a.body != "" {
		t.Errorf("got %+v", a)
	}
	b.upstream.say(200, "")
	if a := b.do(key, "HEAD", "/jira/x", ""); a.status != 200 || a.body != "" {
		t.Errorf("got %+v", a)
	}
}

func TestARefusalKeepsItsStatusAndBody(t *testing.T) {
	const body = `{"errorMessages":[],"errors":{"summary":"is required"}}`
	b := newBench(t)
	b.upstream.say(400, body, "Content-Type", "application/json;charset=UTF-8", "Set-Cookie", "a=b", "Location", "http://evil/")
	a := b.do(b.issue(grant()), "POST", "/jira/x", "{}")
	if a.status != 400 || a.body != body || a.header.Get("Content-Type") != "application/json;charset=UTF-8" || a.header.Get("Set-Cookie") != "" || a.header.Get("Bellows-Sent") != "" {
		t.Errorf("got %+v", a)
	}
	b.upstream.say(303, "", "Location", "http://evil/")
	if a := b.do(b.issue(grant()), "GET", "/jira/x", ""); a.status != 303 || a.header.Get("Location") != "" {
		t.Errorf("a redirect is passed on: %+v", a)
	}
}
