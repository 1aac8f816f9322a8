package rules_test

import (
	"net/url"
	gopath "path"
	"strings"
	"testing"
	"unicode/utf8"

	"bellows/internal/config"
	"bellows/internal/rules"
)

const base = "https://api.example.com/ex/jira/7e57c10d"

// pathOf compiles a rule with only a path and renders it for an event.
func pathOf(template string, event map[string]any) (string, error) {
	set, err := rules.Compile(&config.File{Rules: []config.Rule{{
		Name: "r", On: []config.Text{{Value: "avi:a:b"}},
		Steps: []config.Step{{Name: "s", Request: config.Request{API: config.APIProduct, Method: "GET", Path: config.Text{Value: template}}}},
	}}}, nil)
	if err != nil {
		return "", err
	}
	r, _ := set.Rule("r")
	call, err := r.Steps()[0].Render(rules.Input{Event: event})
	return call.Path, err
}

func TestAValueStaysInItsSegment(t *testing.T) {
	for value, want := range map[any]string{
		"PEL-42": "PEL-42", "a b": "a%20b", "a/b": "a%2Fb", "//evil.example": "%2F%2Fevil.example", "a?b#c": "a%3Fb%23c",
		"a%2fb": "a%252fb", "%": "%25", `a\b`: "a%5Cb", "a\r\nb": "a%0D%0Ab", "a;b": "a%3Bb", "a@b:c": "a%40b%3Ac", "é": "%C3%A9",
		"日本": "%E6%97%A5%E6%9C%AC", "...": "...", ".a": ".a", "a..": "a..", "712020:0aa1": "712020%3A0aa1", "-._~": "-._~", "$&'()*+,=": "%24%26%27%28%29%2A%2B%2C%3D",
		int64(-5): "-5", 3.0: "3", 1e20: "100000000000000000000", true: "true", " ": "%20",
	} {
		got, err := pathOf("/a/${event.v}/b", map[string]any{"v": value})
		if err != nil || got != "/a/"+want+"/b" {
			t.Errorf("%q: got %q, %v, want %q", value, got, err, want)
		}
		checkBelow(t, got, 3)
	}
}

func TestAStepUpwardsIsRefused(t *testing.T) {
	for _, value := range []string{
		"", ".", "..", "../..", "../../admin", "a/../b", "a/..", `..\..`, `a\..\b`, "%2e%2e", "%2E.", "%252e%252e", "..%2f..", "..%2f%zz", "%252e%252e%252f%zz",
		"a%2f..%2fb", "..;x", "..;/x", "a/..;v=1/b", ".. ", " ..", "..\x00", "..\r\n", "/..", "../", "./", "%5c..", "..%00",
	} {
		if got, err := pathOf("/a/${event.v}/b", map[string]any{"v": value}); err == nil {
			t.Errorf("%q: got %q, want an error", value, got)
		}
	}
}

func TestPiecesDoNotMakeAStepUpwards(t *testing.T) {
	event := map[string]any{"dot": ".", "empty": "", "pct": "%2", "e": "e", "x": "x"}
	for _, template := range []string{
		"/a/.${event.dot}", "/a/${event.dot}${event.dot}/b", "/a/${event.dot}./b", "/a/${event.empty}", "/a/${event.empty}/b", "/${event.empty}",
		"/a/${event.empty}${event.empty}/", "/a/${event.pct}${event.e}.", "/a/%2e${event.dot}",
	} {
		if got, err := pathOf(template, event); err == nil {
			t.Errorf("%s: got %q, want an error", template, got)
		}
	}
	for template, want := range map[string]string{
		"/": "/", "/a/": "/a/", "/a/${event.x}/": "/a/x/", "/${event.x}": "/x", "/a/.${event.x}.": "/a/.x.", "/a${event.empty}/b": "/a/b",
		"/${event.x}${event.x}/a%20b/(c)@d": "/xx/a%20b/(c)@d", "/a/$${x}": "",
	} {
		got, err := pathOf(template, event)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %q, %v, want %q", template, got, err, want)
		}
	}
}

// checkBelow checks that a path joined to a base stays below it, for every
// server that might read it, and has so many segments.
func checkBelow(t *testing.T, rendered string, segments int) {
	t.Helper()
	parsed, err := url.Parse(base + rendered)
	if err != nil {
		t.Fatalf("%q: %v", rendered, err)
	}
	if parsed.Host != "api.example.com" || parsed.User != nil || parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "" {
		t.Fatalf("%q: leaves its path: %+v", rendered, parsed)
	}
	if got := strings.Count(rendered, "/"); got != segments {
		t.Errorf("%q: got %d segments, want %d", rendered, got, segments)
	}
	plain := parsed.EscapedPath()
	for range 6 {
		if clean := gopath.Clean(strings.ReplaceAll(plain, `\`, "/")); !strings.HasPrefix(clean+"/", "/ex/jira/7e57c10d/") {
			t.Fatalf("%q: leaves its base as %q", rendered, clean)
		}
		next, err := url.PathUnescape(plain)
		if err != nil {
			return
		}
		plain = next
	}
}

func FuzzPath(f *testing.F) {
	values := []string{"PEL-42", "..", "../..", "%2e%2e", "//host", "a?b", "a#b", "\r\n", "@", "\\", "", "..%2f", ";", "é", "．．", "%", "\x00"}
	if len(values) == 0 {
		f.Fatal("no seeds")
	}
	for _, value := range values {
		f.Add("rest/", value, "/x/", value, "")
		f.Add("", value, ".", value, "/")
		f.Add("%2", value, "", "e", "a.")
	}
	f.Fuzz(func(t *testing.T, before, one, between, two, after string) {
		if strings.ContainsAny(before+between+after, "${}") || !utf8.ValidString(one+two) {
			t.Skip("literal text with an expression of its own")
		}
		rendered, err := pathOf("/"+before+"${event.one}"+between+"${event.two}"+after, map[string]any{"one": one, "two": two})
		if err == nil {
			checkBelow(t, rendered, 1+strings.Count(before+between+after, "/"))
		}
	})
}

func FuzzTemplate(f *testing.F) {
	seeds := []string{"${event.a}", "a ${'}'} b", "$${x}", "${{'a': {'b': 1}}}", "${r'\\'}", "${'''}'''}", "${\"\\\"}\"}", "${", "${}", "${1 // }\n}", "${b'}'}", "$$${1}"}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed, "value")
	}
	f.Fuzz(func(t *testing.T, template, value string) {
		if !utf8.ValidString(template) {
			t.Skip("no YAML file has such text")
		}
		set, err := rules.Compile(&config.File{Rules: []config.Rule{{
			Name: "r", On: []config.Text{{Value: "avi:a:b"}},
			Steps: []config.Step{{Name: "s", Request: config.Request{
				Method: "POST", Path: config.Text{Value: "/"},
				Query:   []config.Param{{Name: config.Text{Value: "q"}, Value: config.Text{Value: template}}},
				Headers: []config.Param{{Name: config.Text{Value: "h"}, Value: config.Text{Value: template}}},
			}}},
		}}}, nil)
		if err != nil {
			return
		}
		r, _ := set.Rule("r")
		call, err := r.Steps()[0].Render(rules.Input{Event: map[string]any{"a": value}})
		if err != nil {
			return
		}
		if strings.ContainsAny(call.Header.Get("h"), "\r\n\x00") {
			t.Errorf("a header of several lines: %q", call.Header)
		}
		if !strings.Contains(template, "${") && call.Query.Get("q") != template {
			t.Errorf("literal text changed: %q became %q", template, call.Query.Get("q"))
		}
	})
}
