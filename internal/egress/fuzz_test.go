package egress_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
	"bellows/internal/vault"
)

// exits are the places below which everything that leaves must be.
var exits = []string{
	"https://api.atlassian.com/ex/jira/cloud-1", "https://api.atlassian.com/ex/confluence/cloud-1",
	"https://api.atlassian.com/forge", "https://api.atlassian.com/graphql",
}

// gate is a transport that lets nothing out and looks at what wants to leave.
type gate struct {
	left func(*http.Request)
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	g.left(r)
	return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

func newGate(f *testing.F, out *gate) (*egress.Server, string) {
	f.Helper()
	client, err := atlassian.New(atlassian.Config{Transport: out})
	if err != nil {
		f.Fatal(err)
	}
	tickets := ticket.New(ticket.Config{Bucket: storetest.Open(f).Bucket(store.Tickets)})
	server, err := egress.New(egress.Config{
		Tickets: tickets, Call: client.Do,
		Token: func(context.Context, vault.Owner, uint64) (vault.Held, error) {
			return vault.Held{Token: secret.NewToken(systemOne)}, nil
		},
		Exchange: func(context.Context, impersonation.Request) (secret.Token, time.Time, error) {
			return secret.NewToken(bobsToken), time.Time{}, nil
		},
		Forget: func(context.Context, impersonation.Request, string) {},
		Installation: func(context.Context, string, uint64) (installations.Installation, error) {
			return installations.Installation{ID: "one", Contexts: []installations.Context{
				{Name: "jira", APIBaseURL: exits[0], CloudID: "cloud-1"}, {Name: "confluence", APIBaseURL: exits[1], CloudID: "cloud-1"},
			}}, nil
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	g := grant()
	g.Life = ticket.MaxLife
	key, err := tickets.Issue(storetest.Context(f), g)
	if err != nil {
		f.Fatal(err)
	}
	return server, key.Reveal()
}

// mustBeBelow wants u below one of the exits, for a server that unescapes the
// path as often as it likes, takes backslashes for slashes and drops path
// parameters.
func mustBeBelow(t *testing.T, r *http.Request) {
	t.Helper()
	if r.URL.User != nil || r.Host != "api.atlassian.com" || r.URL.Host != "api.atlassian.com" || r.URL.Scheme != "https" {
		t.Fatalf("left for %s (host %q)", r.URL, r.Host)
	}
	seen := r.URL.EscapedPath()
	for range 6 {
		if !isBelow(seen) {
			t.Fatalf("left for %q, which may be read as %q", r.URL.EscapedPath(), seen)
		}
		plain, err := url.PathUnescape(seen)
		if err != nil {
			break
		}
		seen = plain
	}
}

func isBelow(seen string) bool {
	var segments []string
	for segment := range strings.SplitSeq(strings.ReplaceAll(seen, `\`, "/"), "/") {
		name, _, _ := strings.Cut(segment, ";")
		segments = append(segments, strings.TrimSpace(name))
	}
	clean := path.Clean(strings.Join(segments, "/"))
	for _, exit := range exits {
		below := strings.TrimPrefix(exit, "https://api.atlassian.com")
		if clean == below || strings.HasPrefix(clean, below+"/") {
			return !strings.ContainsAny(seen, "\r\n\x00")
		}
	}
	return false
}

// corpus is what people try.
var corpus = []string{
	"/jira/rest/api/3/issue/A-1", "/jira", "/jira/", "/confluence/wiki/x", "/storage/kvs", "/forge/x", "/graphql", "/jobs", "/progress", "/", "",
	"/jira/../x", "/jira/%2e%2e/%2e%2e/cloud-2", "/jira/..%2f..%2fcloud-2", "/jira/..%5c..%5ccloud-2", "/jira/%252e%252e/x", "/jira//evil.example/x", "//evil.example/jira",
	"/jira/..;/x", "/jira/;/x", "/jira/..;a=b/cloud-2", "/jira/%3b..", "/jira/%00/x", "/jira/%0d%0aHost:evil", "/jira@evil.example/x", "/jira/.%2e/", "/storage/../graphql",
	"/jira/\u202e/x", "/jira/\uff0e\uff0e/x", "/jira/%c0%ae%c0%ae/x", "/jira/%uff0e/x", "/jira/a b", "/jira/?x#y", "/jira/x?../../y", "http://evil.example/jira/x", "/jira/%", "/jira/%2",
	"/jira/%20..%20/x", "/jira/%09../x", "/jira/%2525252e%2525252e/x", `/jira/\..\x`, "/JIRA/x", "/jira;x/y", "/jira:80/x", "*",
}

func FuzzThePortLeadsNowhereElse(f *testing.F) {
	if len(corpus) < 20 {
		f.Fatal("the corpus is empty")
	}
	for _, target := range corpus {
		f.Add("POST", target, "user:"+bob)
		f.Add("GET", target, "app")
	}
	out := &gate{}
	server, key := newGate(f, out)
	handler := server.Handler()
	f.Fuzz(func(t *testing.T, method, target, as string) {
		left := 0
		out.left = func(r *http.Request) { left++; mustBeBelow(t, r) }
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip() // net/http answers 400
		}
		r := (&http.Request{Method: method, URL: u, Host: "egress", Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}).WithContext(t.Context())
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Bellows-As", as)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if own := w.Header().Get("Bellows-Sent"); (left == 0) == (own == "") {
			t.Errorf("%s %q: status %d, Bellows-Sent %q, and %d calls left", method, target, w.Code, own, left)
		}
		if w.Code/100 == 3 || w.Header().Get("Location") != "" {
			t.Errorf("%s %q: redirected with %d", method, target, w.Code)
		}
	})
}

func FuzzTheTransportLeadsNowhereElse(f *testing.F) {
	for _, target := range corpus {
		f.Add(target)
		for _, exit := range exits {
			f.Add(exit + target)
		}
	}
	out := &gate{}
	server, _ := newGate(f, out)
	transport := server.Transport(grant(), egress.As{})
	f.Fuzz(func(t *testing.T, target string) {
		out.left = func(r *http.Request) { mustBeBelow(t, r) }
		r, err := http.NewRequestWithContext(t.Context(), "POST", target, strings.NewReader("{}"))
		if err != nil {
			t.Skip()
		}
		response, err := transport.RoundTrip(r)
		if err != nil {
			return
		}
		if response.StatusCode != 204 {
			t.Errorf("%q: got %d", target, response.StatusCode)
		}
	})
}
