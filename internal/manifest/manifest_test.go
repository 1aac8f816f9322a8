package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bellows/internal/manifest"
)

func mustLoad(tb testing.TB) *manifest.Manifest {
	tb.Helper()
	m, err := manifest.Load(filepath.Join("testdata", "manifest.yml"))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// same compares two values by what they print.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestAManifestIsRead(t *testing.T) {
	m := mustLoad(t)
	same(t, "app id", m.AppID, "ari:cloud:ecosystem::app/8b1c0c1e-2f53-4c68-9a39-1a2b3c4d5e6f")
	same(t, "remotes", m.Remotes, []manifest.Remote{
		{Key: "backend", BaseURL: "https://pelican.example.com/forge", Pos: manifest.Pos{Line: 6, Column: 5}},
		{Key: "regional", BaseURL: "https://us.example.com", Regions: map[string]string{"EU": "https://eu.example.com"}, Pos: manifest.Pos{Line: 10, Column: 5}},
		{Key: "theirs", Configurable: true, Pos: manifest.Pos{Line: 14, Column: 5}},
	})
	same(t, "scopes", m.Scopes, []manifest.Scope{
		{Name: "read:app-system-token"}, {Name: "write:jira-work", AllowImpersonation: true},
	})
	same(t, "endpoints of remotes", m.Endpoints, []manifest.Endpoint{
		{Key: "events", Remote: "backend", Route: "echo/", SystemToken: true, Pos: manifest.Pos{Line: 33, Column: 7}},
		{Key: "nightly-endpoint", Remote: "backend", SystemToken: true, UserToken: true, Pos: manifest.Pos{Line: 38, Column: 7}},
		{Key: "calls", Remote: "regional", Route: "/calls", SystemToken: true, UserToken: true, Pos: manifest.Pos{Line: 43, Column: 7}},
		{Key: "bye", Remote: "theirs", Route: "/bye", Pos: manifest.Pos{Line: 50, Column: 7}},
	})
	same(t, "modules with a resolver", m.Modules, []manifest.Module{
		{Type: "jira:issuePanel", Key: "panel", Endpoint: "calls", Pos: manifest.Pos{Line: 22, Column: 7}},
		{Type: "jira:issuePanel", Key: "local-panel", Pos: manifest.Pos{Line: 25, Column: 7}},
	})
}

func TestModulesThatReachNoRemoteAreLeftOut(t *testing.T) {
	m := mustLoad(t)
	same(t, "triggers", m.Triggers, []manifest.Trigger{
		{Key: "on-issue", Endpoint: "events", Events: []string{"avi:jira:created:issue", "avi:jira:updated:issue"}, Pos: manifest.Pos{Line: 54, Column: 7}},
		{Key: "on-page", Endpoint: "events", Events: []string{"avi:confluence:created:page"}, Pos: manifest.Pos{Line: 57, Column: 7}},
	})
	same(t, "pre-uninstall", m.PreUninstall, []manifest.PreUninstall{{Key: "cleanup", Endpoint: "bye", Pos: manifest.Pos{Line: 76, Column: 7}}})
}

func TestIntervals(t *testing.T) {
	m := mustLoad(t)
	same(t, "day", m.Scheduled[0].Every(), 24*time.Hour)
	same(t, "fiveMinute", m.Scheduled[1].Every(), 5*time.Minute)
	same(t, "hour", manifest.ScheduledTrigger{Interval: "hour"}.Every(), time.Hour)
	same(t, "week", manifest.ScheduledTrigger{Interval: "week"}.Every(), 7*24*time.Hour)
	same(t, "unknown", manifest.ScheduledTrigger{Interval: "year"}.Every(), time.Duration(0))
}

func TestAFileThatCannotBeReadSaysWhy(t *testing.T) {
	_, err := manifest.Load(filepath.Join(t.TempDir(), "manifest.yml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "reading manifest ") {
		t.Errorf("got %v", err)
	}
}

func TestScopesMayBeAList(t *testing.T) {
	m, err := manifest.Parse("m", []byte("app: {id: 'ari:cloud:ecosystem::app/x'}\npermissions: {scopes: [storage:app, 'read:jira-work']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "scopes", m.Scopes, []manifest.Scope{{Name: "storage:app"}, {Name: "read:jira-work"}})
}

func TestMergedMappingsAreRead(t *testing.T) {
	m, err := manifest.Parse("m", []byte(`
app: {id: "ari:cloud:ecosystem::app/x"}
remotes: [{key: r, baseUrl: "https://h"}]
x-common: &common {remote: r, route: {path: /other}}
modules:
  endpoint:
    - <<: *common
      key: e
      route: {path: /mine}
`))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "remote", m.Endpoints[0].Remote, "r")
	same(t, "route", m.Endpoints[0].Route, "/mine")
}

// wrong is a manifest and the beginning of what must be said about it.
type wrong struct{ name, text, want string }

// withModules puts modules, from line 4 on, into a manifest that is right.
func withModules(lines ...string) string {
	return "app: {id: 'ari:cloud:ecosystem::app/x'}\n" +
		"remotes: [{key: r, baseUrl: 'https://h.example/b'}]\n" +
		"modules:\n  " + strings.Join(lines, "\n  ") + "\n"
}

var wrongs = []wrong{
	{"empty", "", "1:1: the manifest is empty"},
	{"only a comment", "# nothing\n", "1:1: the manifest is empty"},
	{"no mapping", "- a\n", "1:1: the manifest is no mapping"},
	{"no YAML", "app: [\nb: }", "2:4: not YAML: "},
	{"a tab", "app:\n\tid: x", "2:1: not YAML: "},
	{"no app", "modules: {}\n", "1:1: app.id is missing"},
	{"no app id", "app: {name: x}\n", "1:1: app.id is missing"},
	{"app id of another kind", "app:\n  id: ari:cloud:jira::site/1\n", "2:7: app.id \"ari:cloud:jira::site/1\" is no app"},
	{"app id with a tail", "app: {id: 'ari:cloud:ecosystem::app/a/b'}\n", "1:11: app.id "},
	{"app id as a list", "app: {id: [a]}\n", "1:11: \"id\" is no single value"},
	{"a key twice", "app: {id: 'ari:cloud:ecosystem::app/x'}\napp: {}\n", "2:1: \"app\" stands here again (first on line 1)"},
	{"remotes as a mapping", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: {a: b}\n", "2:10: remotes is no list"},
	{"a remote as text", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: [a]\n", "2:11: an entry of remotes is no mapping"},
	{"a remote without key", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: [{baseUrl: 'https://h'}]\n", "2:11: a remote has no key"},
	{"a remote without baseUrl", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: [{key: a}]\n", "2:11: remote \"a\" has no baseUrl"},
	{"a remote twice", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes:\n- {key: a, baseUrl: 'https://h'}\n- {key: a, baseUrl: 'https://h'}\n", "4:9: remote key \"a\" is taken (line 3)"},
	{"a relative baseUrl", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: [{key: a, baseUrl: h.example}]\n", "2:29: baseUrl \"h.example\" is no absolute URL"},
	{"regions without default", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes:\n- key: a\n  baseUrl: {EU: 'https://h'}\n", "4:12: baseUrl has no default region"},
	{"baseUrl as a list", "app: {id: 'ari:cloud:ecosystem::app/x'}\nremotes: [{key: a, baseUrl: []}]\n", "2:29: baseUrl is neither"},
	{"scopes as text", "app: {id: 'ari:cloud:ecosystem::app/x'}\npermissions: {scopes: all}\n", "2:23: permissions.scopes is neither"},
	{"modules as a list", "app: {id: 'ari:cloud:ecosystem::app/x'}\nmodules: []\n", "2:10: modules is no mapping"},
	{"an endpoint of nothing", withModules("endpoint: [{key: e}]"), "4:14: endpoint \"e\" names neither a remote nor a service"},
	{"an endpoint of an unknown remote", withModules("endpoint: [{key: e, remote: q}]"), "4:31: endpoint \"e\" names remote \"q\" which is not there"},
	{"an endpoint twice", withModules("endpoint:", "- {key: e, remote: r}", "- {key: e, remote: r}"), "6:11: module key \"e\" is taken (line 5)"},
	{"token as text", withModules("endpoint: [{key: e, remote: r, auth: {appSystemToken: {enabled: sure}}}]"), "4:67: \"enabled\" is neither true nor false"},
	{"a route with a query", withModules("endpoint: [{key: e, remote: r, route: {path: '/a?b'}}]"), "4:48: route.path \"/a?b\" has a query"},
	{"a route with dots", withModules("endpoint: [{key: e, remote: r, route: {path: /a/../b}}]"), "4:48: route.path \"/a/../b\" has an empty"},
	{"a route with hidden dots", withModules("endpoint: [{key: e, remote: r, route: {path: /a/%2e%2E/b}}]"), "4:48: route.path "},
	{"a route with a hidden slash", withModules("endpoint: [{key: e, remote: r, route: {path: /a%2Fb}}]"), "4:48: route.path \"/a%2Fb\" has a slash in disguise"},
	{"a route wrongly escaped", withModules("endpoint: [{key: e, remote: r, route: {path: /a%zz}}]"), "4:48: route.path \"/a%zz\" is wrongly escaped"},
	{"a trigger of an unknown endpoint", withModules("trigger: [{key: t, events: [a], endpoint: q}]"), "4:45: trigger \"t\" names endpoint \"q\" which is not there"},
	{"a trigger of nothing", withModules("trigger: [{key: t, events: [a]}]"), "4:13: trigger \"t\" names neither"},
	{"a trigger whose endpoint has no route", withModules("endpoint: [{key: e, remote: r}]", "trigger: [{key: t, events: [a], endpoint: e}]"), "5:45: trigger \"t\" calls endpoint \"e\" which has no route.path"},
	{"a trigger without events", withModules("endpoint: [{key: e, remote: r, route: {path: /p}}]", "trigger: [{key: t, endpoint: e}]"), "5:13: trigger \"t\" has no list of events"},
	{"an event without a name", withModules("endpoint: [{key: e, remote: r, route: {path: /p}}]", "trigger: [{key: t, endpoint: e, events: [{filter: {}}]}]"), "5:44: an event of trigger \"t\" has no name"},
	{"a trigger with an endpoint's key", withModules("endpoint: [{key: e, remote: r, route: {path: /p}}]", "trigger: [{key: e, endpoint: e, events: [a]}]"), "5:19: module key \"e\" is taken (line 4)"},
	{"an unknown interval", withModules("endpoint: [{key: e, remote: r}]", "scheduledTrigger: [{key: s, endpoint: e, interval: month}]"), "5:54: interval \"month\" of a scheduledTrigger is not known, use one of fiveMinute, hour, day, week"},
	{"no interval", withModules("endpoint: [{key: e, remote: r}]", "scheduledTrigger: [{key: s, endpoint: e}]"), "5:22: interval \"\" of a scheduledTrigger is not known"},
	{"a resolver of an unknown endpoint", withModules("jira:issuePanel: [{key: p, resolver: {endpoint: q}}]"), "4:51: jira:issuePanel \"p\" names endpoint \"q\""},
	{"pre-uninstall of an unknown endpoint", withModules("preUninstall: [{key: p, endpoint: q}]"), "4:37: preUninstall \"p\" names endpoint \"q\""},
	{"two hooks on one path", withModules("endpoint:", "- {key: a, remote: r, route: {path: /p}}", "- {key: b, remote: r, route: {path: p/}}",
		"trigger:", "- {key: t, events: [x], endpoint: a}", "- {key: u, events: [x], endpoint: b}"), "6:5: endpoints \"a\" and \"b\" share the path \"/p\""},
}

func TestWrongManifestsAreRefusedWithPlaceAndRemedy(t *testing.T) {
	for _, w := range wrongs {
		t.Run(w.name, func(t *testing.T) {
			m, err := manifest.Parse("m.yml", []byte(w.text))
			var failed *manifest.Error
			if !errors.As(err, &failed) || m != nil {
				t.Fatalf("got %v, want a *manifest.Error", err)
			}
			if !strings.HasPrefix(err.Error(), "m.yml:"+w.want) {
				t.Errorf("got  %s\nwant %s", err, w.want)
			}
		})
	}
}

func TestEverythingWrongIsToldAtOnceInOrder(t *testing.T) {
	_, err := manifest.Parse("m.yml", []byte(strings.Join([]string{
		"modules:",
		"  trigger: [{key: t, events: [x], endpoint: nowhere}]",
		"  endpoint: [{key: e, remote: nowhere}]",
		"app: {id: wrong}",
	}, "\n")))
	var lines []string
	for line := range strings.Lines(fmt.Sprint(err)) {
		lines = append(lines, strings.SplitAfterN(line, ":", 3)[1])
	}
	same(t, "lines", lines, []string{"2:", "3:", "4:"})
}

func TestUnknownMembersAreTolerated(t *testing.T) {
	text := withModules("endpoint: [{key: e, remote: r, futureMember: {a: 1}}]", "someday:newModule: {not: a list}") + "future: true\n"
	if _, err := manifest.Parse("m.yml", []byte(text)); err != nil {
		t.Error(err)
	}
}

func TestAMappingThatMergesItselfEnds(t *testing.T) {
	aliases := strings.Repeat("*a, ", 50)
	m, err := manifest.Parse("m.yml", []byte("app: &a {<<: ["+aliases+"], id: 'ari:cloud:ecosystem::app/x'}\n"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "app id", m.AppID, "ari:cloud:ecosystem::app/x")
}

func FuzzParse(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("testdata", "manifest.yml"))
	if err != nil || len(seed) == 0 || len(wrongs) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Add(string(seed))
	for _, w := range wrongs {
		f.Add(w.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := manifest.Parse("m", []byte(text))
		if err == nil {
			checkHooks(t, m)
			return
		}
		var failed *manifest.Error
		if !errors.As(err, &failed) || len(failed.Issues) == 0 {
			t.Fatalf("got %v, want issues", err)
		}
		for _, issue := range failed.Issues {
			if issue.Line < 1 || issue.Column < 1 || issue.Message == "" {
				t.Errorf("an issue without a place: %+v", issue)
			}
		}
	})
}

// checkHooks looks at what must hold for the hooks of any manifest.
func checkHooks(t *testing.T, m *manifest.Manifest) {
	hooks, err := m.Hooks(nil)
	if err != nil {
		return
	}
	seen := make(map[string]bool)
	for _, hook := range hooks {
		switch {
		case seen[hook.Path]:
			t.Errorf("two hooks on %q", hook.Path)
		case !strings.HasPrefix(hook.Path, "/"), hook.Path != "/" && strings.HasSuffix(hook.Path, "/"), strings.Contains(hook.Path, "//"):
			t.Errorf("a path that is not clean: %q", hook.Path)
		case len(hook.Triggers)+len(hook.Scheduled)+len(hook.PreUninstall) == 0:
			t.Errorf("a hook that nothing calls: %+v", hook)
		}
		seen[hook.Path] = true
	}
}
