package atlassian_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"bellows/internal/atlassian"
)

func TestTheFenceLetsThrough(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	defer server.Close()
	client := newClient(t, server)
	for _, row := range []struct{ name, base, path, want string }{
		{"a path below a base", "/ex/jira/1", "/rest/api/3/issue/B-1", "/ex/jira/1/rest/api/3/issue/B-1"},
		{"a base with a slash at its end", "/ex/jira/1/", "/rest", "/ex/jira/1/rest"},
		{"an escaped slash in a segment", "/ex/jira/1", "/branch/a%2Fb", "/ex/jira/1/branch/a%2Fb"},
		{"a slash at the end", "/2.0", "/repositories/w/", "/2.0/repositories/w/"},
		{"the base itself", "/graphql", "", "/graphql"},
		{"no path at all", "", "", "/"},
		{"an escaped space", "/ex", "/a%20b", "/ex/a%20b"},
		{"an escaped percent sign", "/ex", "/100%25", "/ex/100%25"},
		{"an escaped question mark", "/ex", "/what%3F", "/ex/what%3F"},
		{"dots within a name", "/ex", "/a..b/.c/d.", "/ex/a..b/.c/d."},
		{"letters beyond ASCII, escaped", "/ex", "/%C3%A4", "/ex/%C3%A4"},
		{"an account id", "/ex", "/712020:0aa11bb2-1111", "/ex/712020:0aa11bb2-1111"},
	} {
		got = ""
		if _, err := client.Do(t.Context(), call(server.URL+row.base, "GET", row.path)); err != nil || got != row.want {
			t.Errorf("%s: arrived as %q (%v), want %q", row.name, got, err, row.want)
		}
	}
}

func TestTheFenceRefusesPaths(t *testing.T) {
	server, arrived := counting(t, answer(200, ""))
	client := newClient(t, server)
	for name, path := range map[string]string{
		"no leading slash": "rest", "dot dot": "/../x", "dot": "/a/./b", "dot dot at the end": "/a/..",
		"empty segment": "/a//b", "two trailing slashes": "/a//", "only a slash": "/", "backslash": `/a\..\b`,
		"escaped dots": "/%2e%2e/x", "one escaped dot": "/.%2E/x", "escaped twice": "/%252e%252e/x", "escaped thrice": "/%25252e%25252e/x",
		"dots between escaped slashes": "/a%2F..%2Fb", "the same, small": "/a%2f..%2fb", "dots escaped with their slash": "/a%252F..", "dots behind an escaped backslash": "/a%5C..",
		"path parameter on dots": "/..;x=1/y", "escaped path parameter on dots": "/..%3Bx/y", "only a path parameter": "/;x/y",
		"control character": "/a\nb", "escaped control character": "/a%0d%0ab", "escaped null": "/a%00",
		"query": "/a?b=c", "fragment": "/a#b", "space": "/a b", "raw UTF-8": "/ä", "broken escape": "/a%zz",
		"escaped without end": "/%2525252525252525252e",
	} {
		_, err := client.Do(t.Context(), call(server.URL+"/ex/jira/1", "GET", path))
		if e := asError(t, err); e.Stage != atlassian.Fenced || strings.Contains(e.Error(), "b=c") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := arrived(); n != 0 {
		t.Errorf("%d refused calls arrived", n)
	}
}

func TestTheFenceRefusesBases(t *testing.T) {
	client, err := atlassian.New(atlassian.Config{Hosts: []string{"api.atlassian.com", "10.1.2.3:8443", "127.0.0.1:9470"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, base := range map[string]string{
		"another host": "https://evil.example", "a host that ends like it": "https://evilapi.atlassian.com", "a host below it": "https://x.api.atlassian.com",
		"another port": "https://api.atlassian.com:8443", "the http port": "https://api.atlassian.com:80", "a final dot": "https://api.atlassian.com./",
		"plain http": "http://api.atlassian.com", "plain http to a private address": "http://10.1.2.3:8443", "no scheme": "api.atlassian.com/x",
		"another scheme": "ftp://api.atlassian.com", "no host": "https:///x", "opaque": "https:api.atlassian.com", "nothing": "",
		"user information": "https://hunter2:swordfish@api.atlassian.com", "host as user information": "https://api.atlassian.com@evil.example",
		"a query": "https://api.atlassian.com/?swordfish", "an empty query": "https://api.atlassian.com/?", "a fragment": "https://api.atlassian.com/#swordfish",
		"dots in it": "https://api.atlassian.com/ex/../x", "escaped dots in it": "https://api.atlassian.com/ex/%2e%2e/x", "an escaped slash in it": "https://api.atlassian.com/ex%2fy",
		"another loopback port": "http://127.0.0.1:9471", "a broken URL": "https://api.atlassian.com:swordfish/%zz",
	} {
		_, err := client.Do(t.Context(), call(base, "GET", "/x"))
		if e := asError(t, err); e.Stage != atlassian.Fenced || strings.Contains(e.Error(), "swordfish") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHostsMatchWithTheDefaultPort(t *testing.T) {
	for _, row := range []struct {
		entry, base string
		allowed     bool
	}{
		{"api.test", "https://api.test", true},
		{"api.test", "https://api.test:443", true},
		{"api.test:443", "https://api.test", true},
		{"API.test", "https://Api.Test", true},
		{"api.test:8443", "https://api.test:8443", true},
		{"[::1]:80", "http://[::1]", true},
		{"localhost", "http://localhost:80", true},
		{"localhost", "http://localhost:8080", false},
		{"api.test:8443", "https://api.test", false},
		{"localhost:80", "https://localhost", false},
	} {
		stop := refusingTransport{}
		client, err := atlassian.New(atlassian.Config{Hosts: []string{row.entry}, Transport: stop})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Do(t.Context(), call(row.base, "POST", "/x"))
		if got := asError(t, err).Stage != atlassian.Fenced; got != row.allowed {
			t.Errorf("entry %q, base %q: allowed %v, want %v", row.entry, row.base, got, row.allowed)
		}
	}
	for _, entry := range []string{"", "https://api.test", "api.test/x", "user@api.test", "*.test", "api.test:", "api.test:http", "::1"} {
		if _, err := atlassian.New(atlassian.Config{Hosts: []string{entry}}); err == nil {
			t.Errorf("entry %q is accepted", entry)
		}
	}
}

func TestTheFenceRefusesMethodsAndHeaders(t *testing.T) {
	server, arrived := counting(t, answer(200, ""))
	client := newClient(t, server)
	for name, change := range map[string]func(*atlassian.Call){
		"no method":        func(c *atlassian.Call) { c.Method = "" },
		"small letters":    func(c *atlassian.Call) { c.Method = "get" },
		"CONNECT":          func(c *atlassian.Call) { c.Method = "CONNECT" },
		"split header":     func(c *atlassian.Call) { c.Header = http.Header{"X-A": {"b\r\nAuthorization: x"}} },
		"bad header name":  func(c *atlassian.Call) { c.Header = http.Header{"X A": {"b"}} },
		"no header name":   func(c *atlassian.Call) { c.Header = http.Header{"": {"b"}} },
		"newline in names": func(c *atlassian.Call) { c.Header = http.Header{"X\nA": {"b"}} },
	} {
		c := call(server.URL, "GET", "/x")
		change(&c)
		if _, err := client.Do(t.Context(), c); asError(t, err).Stage != atlassian.Fenced {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if n := arrived(); n != 0 {
		t.Errorf("%d refused calls arrived", n)
	}
}

func TestRequestsCarryOnlyWhatTheyShould(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r }))
	defer server.Close()
	c := call(server.URL, "POST", "/x")
	c.Body = []byte(`{}`)
	c.Query = map[string][]string{"q": {"a b", "&"}}
	c.Header = http.Header{"x-job": {"7"}, "authorization": {"Basic mine"}, "Cookie": {"a=b"}, "Host": {"evil.example"}, "accept-encoding": {"br"}, "Connection": {"close"}}
	if _, err := newClient(t, server).Do(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + firstToken, "X-Job": "7", "Cookie": "", "Accept-Encoding": "gzip", "Connection": "",
		"User-Agent": "bellows", "Accept": "application/json", "Content-Type": "application/json",
	} {
		if values := got.Header.Values(name); strings.Join(values, "|") != want {
			t.Errorf("header %s is %q, want %q", name, values, want)
		}
	}
	if got.Host != strings.TrimPrefix(server.URL, "http://") || got.RequestURI != "/x?q=a+b&q=%26" {
		t.Errorf("host %q, URI %q", got.Host, got.RequestURI)
	}
}

func FuzzPathsStayBelowTheBase(f *testing.F) {
	seeds := []string{"/a", "/%2e%2e/b", "/a%2fb", "/..;/c", "/%c0%ae%c0%ae/", "/a;b=c/d", "/%E0%80%AF", "/-._~!$&'()*+,;=:@"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	seen := &recordingTransport{}
	client, err := atlassian.New(atlassian.Config{Hosts: []string{"api.test"}, Transport: seen})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		seen.uri = ""
		_, _ = client.Do(t.Context(), call("https://api.test/ex/jira/1", "GET", path))
		if seen.uri == "" {
			return
		}
		below, ok := strings.CutPrefix(seen.uri, "/ex/jira/1")
		if !ok || strings.Count(below, "/") != strings.Count(path, "/") || strings.ContainsAny(below, "?#\\ \r\n") {
			t.Errorf("path %q goes to %q", path, seen.uri)
		}
		for segment := range strings.SplitSeq(below, "/") {
			plain, err := url.PathUnescape(segment)
			if err != nil {
				t.Fatalf("path %q goes to %q, which does not unescape", path, seen.uri)
			}
			for part := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
				if part == "." || part == ".." {
					t.Errorf("path %q goes to %q", path, seen.uri)
				}
			}
		}
	})
}
