package egress_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/vault"
)

// ask makes a request as some Go client would.
func ask(t *testing.T, transport http.RoundTripper, method, rawURL, body string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, rawURL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Basic anything")
	r.Header.Set("X-Own", "1")
	response, err := transport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text), nil
}

func TestTheTransportReachesTheInstallationsAPIs(t *testing.T) {
	b := newBench(t)
	b.upstream.say(201, "made", "X-Answer", "1", "Set-Cookie", "a=b")
	app := b.server.Transport(grant(), egress.As{})
	for url, want := range map[string]string{
		b.upstream.URL + "/ex/jira/cloud-1/rest/api/3/issue?x=1": "/ex/jira/cloud-1/rest/api/3/issue",
		b.upstream.URL + "/ex/confluence/cloud-1/wiki":           "/ex/confluence/cloud-1/wiki",
		b.upstream.URL + "/ex/jira/cloud-1/":                     "/ex/jira/cloud-1",
		b.upstream.URL + "/forge/storage/kvs":                    "/forge/storage/kvs",
		b.upstream.URL + "/forge/queues":                         "/forge/queues",
		b.upstream.URL + "/forge/storages":                       "/forge/storages",
		b.upstream.URL + "/graphql":                              "/graphql",
		"/rest/api/3/issue?x=1":                                  "/ex/jira/cloud-1/rest/api/3/issue",
	} {
		response, text, err := ask(t, app, "POST", url, "body")
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if response.StatusCode != 201 || response.Status != "201 Created" || text != "made" || response.Header.Get("X-Answer") != "1" ||
			response.Header.Get("Set-Cookie") != "" || response.ContentLength != 4 || egress.Failure(response) != nil {
			t.Errorf("%s: got %+v %q", url, response, text)
		}
		got := b.upstream.only(t)
		if got.path != want || got.bearer != systemOne || got.body != "body" || got.header.Get("X-Own") != "1" {
			t.Errorf("%s: Atlassian got %+v, want %s", url, got, want)
		}
	}
	for as, want := range map[egress.As]string{{User: true}: aliceOne, {Account: bob}: bobsToken} {
		client := &http.Client{Transport: b.server.Transport(grant(), as)}
		base, err := b.server.BaseURL(t.Context(), grant(), "")
		b.must(err)
		response, err := client.Get(base + "/rest")
		b.must(err)
		_ = response.Body.Close()
		if got := b.upstream.only(t); got.bearer != want {
			t.Errorf("as %+v: got token %q, want %q", as, got.bearer, want)
		}
	}
}

func TestTheTransportLeavesTheInstallationNever(t *testing.T) {
	b := newBench(t)
	app := b.server.Transport(grant(), egress.As{})
	for _, url := range []string{
		b.upstream.URL + "/ex/jira/cloud-2/rest", b.upstream.URL + "/ex/jira/cloud-10/rest", b.upstream.URL + "/ex/jira/cloud-1/../cloud-2/rest",
		b.upstream.URL + "/ex/jira/cloud-1/%2e%2e/cloud-2", b.upstream.URL + "/ex/jira/cloud-1%2f..%2fcloud-2", b.upstream.URL + "/ex/jira/%63loud-1/x",
		b.upstream.URL + "/ex/jira/cloud-1/a%5cb", b.upstream.URL + "/ex/jira/cloud-1//x", b.upstream.URL + "/", b.upstream.URL + "/graphql/x", b.upstream.URL + "/forgery",
		strings.Replace(b.upstream.URL, "http://", "https://", 1) + "/ex/jira/cloud-1/x", strings.Replace(b.upstream.URL, "http://", "http://user@", 1) + "/ex/jira/cloud-1/x",
		"http://127.0.0.1:1/ex/jira/cloud-1/x", "https://evil.example/ex/jira/cloud-1/x", "//evil.example/x", "/../cloud-2/x", "mailto:x", "/rest?a=%zz",
	} {
		_, _, err := ask(t, app, "GET", url, "")
		mustBeStage(t, url, err, atlassian.Fenced)
	}
	for _, row := range []struct {
		method string
		as     egress.As
	}{{"OPTIONS", egress.As{}}, {"GET", egress.As{Account: "a b"}}} {
		_, _, err := ask(t, b.server.Transport(grant(), row.as), row.method, "/rest", "")
		mustBeStage(t, row.method, err, atlassian.Fenced)
	}
	g := grant()
	g.Principal = ""
	_, _, err := ask(t, b.server.Transport(g, egress.As{User: true}), "GET", "/rest", "")
	mustBeStage(t, "nobody in session", err, atlassian.Fenced)
	b.upstream.none(t)
}

func mustBeStage(t *testing.T, what string, err error, want atlassian.Stage) *atlassian.Error {
	t.Helper()
	var e *atlassian.Error
	if !errors.As(err, &e) || e.Stage != want {
		t.Errorf("%s: got %v, want an atlassian.Error of stage %q", what, err, want)
		return &atlassian.Error{}
	}
	return e
}

func TestTheTransportsFailuresAreTyped(t *testing.T) {
	b := newBench(t, func(c *egress.Config) { c.MaxBody = 100 })
	app := b.server.Transport(grant(), egress.As{})
	b.upstream.say(429, `{"message":"slow down"}`, "Retry-After", "7")
	response, text, err := ask(t, app, "POST", "/rest", "{}")
	if err != nil || response.StatusCode != 429 || response.Header.Get("Retry-After") != "7" || !strings.Contains(text, "slow down") {
		t.Fatalf("got %+v %q, %v", response, text, err)
	}
	if e := egress.Failure(response); e == nil || e.Status != 429 || !e.HasRetryAfter || e.RetryAfter != 7*time.Second {
		t.Errorf("failure is %v", e)
	}
	b.upstream.behave(hangUp)
	_, _, err = ask(t, app, "POST", "/rest", "{}")
	mustBeStage(t, "no answer", err, atlassian.Unanswered)
	_, _, err = ask(t, app, "POST", "/rest", strings.Repeat("x", 101))
	mustBeStage(t, "long body", err, atlassian.Fenced)
	g := grant()
	g.Installation = "two"
	_, _, err = ask(t, b.server.Transport(g, egress.As{User: true}), "GET", "/rest", "")
	if e := mustBeStage(t, "no token", err, atlassian.NoToken); !errors.Is(e, vault.ErrNoToken) {
		t.Errorf("got %v, want vault.ErrNoToken in it", e)
	}
	b.nats.Shutdown()
	_, _, err = ask(t, b.server.Transport(g, egress.As{}), "GET", "/rest", "")
	mustBeStage(t, "no NATS", err, atlassian.NotSent)
}

func TestATransportIsSafeForConcurrentUse(t *testing.T) {
	b := newBench(t)
	var all sync.WaitGroup
	for _, installation := range []string{"one", "two"} {
		g := ticket.Grant{Owner: ticket.OwnerJob, Installation: installation, Job: "1", Product: "jira"}
		client := &http.Client{Transport: b.server.Transport(g, egress.As{})}
		base, err := b.server.BaseURL(t.Context(), g, "")
		b.must(err)
		for range 16 {
			all.Go(func() {
				response, err := client.Post(base+"/"+installation, "text/plain", strings.NewReader(installation))
				if err != nil {
					t.Error(err)
					return
				}
				_ = response.Body.Close()
			})
		}
	}
	all.Wait()
	for _, got := range b.upstream.requests() {
		if !strings.HasSuffix(got.path, "/"+got.body) || (got.bearer == systemOne) != (got.body == "one") {
			t.Errorf("calls were mixed up: %+v", got)
		}
	}
}

func TestBaseURLIsThatOfTheProduct(t *testing.T) {
	b := newBench(t)
	for name, want := range map[string]string{"": "/ex/jira/cloud-1", "confluence": "/ex/confluence/cloud-1"} {
		if got, err := b.server.BaseURL(t.Context(), grant(), name); err != nil || got != b.upstream.URL+want {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
	for _, g := range []ticket.Grant{{Installation: "one"}, {Installation: "one", Product: "bitbucket"}, {Installation: "three"}} {
		if got, err := b.server.BaseURL(t.Context(), g, ""); err == nil {
			t.Errorf("%+v: got %q", g, got)
		}
	}
}
