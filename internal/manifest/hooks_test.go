package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"bellows/internal/manifest"
)

func paths(t *testing.T, m *manifest.Manifest, base *string) []string {
	t.Helper()
	hooks, err := m.Hooks(base)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, hook := range hooks {
		all = append(all, hook.Path+" "+hook.Endpoint)
	}
	return all
}

func TestHooksStandBelowTheBaseOfTheirRemote(t *testing.T) {
	same(t, "paths", paths(t, mustLoad(t), nil), []string{"/bye bye", "/forge nightly-endpoint", "/forge/echo events"})
}

func TestABasePathReplacesThoseOfTheRemotes(t *testing.T) {
	for base, want := range map[string][]string{
		"":         {"/ nightly-endpoint", "/bye bye", "/echo events"},
		"/":        {"/ nightly-endpoint", "/bye bye", "/echo events"},
		"api/v1":   {"/api/v1 nightly-endpoint", "/api/v1/bye bye", "/api/v1/echo events"},
		"/api/v1/": {"/api/v1 nightly-endpoint", "/api/v1/bye bye", "/api/v1/echo events"},
	} {
		same(t, "base "+base, paths(t, mustLoad(t), &base), want)
	}
}

func TestAnEndpointOfSeveralModulesIsOneHook(t *testing.T) {
	hooks, err := mustLoad(t).Hooks(nil)
	if err != nil {
		t.Fatal(err)
	}
	events := hooks[2]
	same(t, "triggers", len(events.Triggers), 2)
	same(t, "scheduled triggers", len(events.Scheduled), 1)
	same(t, "remote", events.Remote, "backend")
	same(t, "modules", events.Modules, []string{"events", "on-issue", "on-page", "often"})
	same(t, "system token", events.SystemToken, true)
	same(t, "user token", events.UserToken, false)
}

// twoRemotes has an endpoint on each of two remotes, called by a trigger.
func twoRemotes(baseA, baseB, routeA, routeB string) string {
	return fmt.Sprintf(`
app: {id: "ari:cloud:ecosystem::app/x"}
remotes: [{key: ra, baseUrl: %q}, {key: rb, baseUrl: %q}]
modules:
  endpoint:
    - {key: a, remote: ra, route: {path: %q}}
    - {key: b, remote: rb, route: {path: %q}}
  trigger:
    - {key: t, events: [x], endpoint: a}
    - {key: u, events: [x], endpoint: b}
`, baseA, baseB, routeA, routeB)
}

func TestTwoEndpointsOnOnePathConflict(t *testing.T) {
	m, err := manifest.Parse("m.yml", []byte(twoRemotes("https://h/a", "https://h/b", "/p", "/p")))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "paths", paths(t, m, nil), []string{"/a/p a", "/b/p b"})
	root := "/"
	_, err = m.Hooks(&root)
	if want := "m.yml:7:7: endpoints \"a\" and \"b\" share the path \"/p\", give each its own"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestABaseURLWithAVariableNeedsABasePath(t *testing.T) {
	m, err := manifest.Parse("m.yml", []byte(twoRemotes("${BASE_URL}", "https://h", "/p", "/q")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = m.Hooks(nil); err == nil || !strings.Contains(err.Error(), "m.yml:6:7: baseUrl of remote \"ra\" holds a variable") {
		t.Errorf("got %v", err)
	}
	base := "/x"
	same(t, "paths", paths(t, m, &base), []string{"/x/p a", "/x/q b"})
}

func TestABadBasePathIsRefused(t *testing.T) {
	for _, base := range []string{"/a/../b", "/a?b", "/a//b", "/%2e%2e"} {
		if hooks, err := mustLoad(t).Hooks(&base); err == nil {
			t.Errorf("base %q: got %v, want an error", base, hooks)
		}
	}
}

func TestAPathIsUnescaped(t *testing.T) {
	m, err := manifest.Parse("m.yml", []byte(twoRemotes("https://h/with%20space", "https://h", "/p%C3%A9", "/q")))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "paths", paths(t, m, nil), []string{"/q b", "/with space/pé a"})
}

func ExampleManifest_Hooks() {
	m, err := manifest.Parse("manifest.yml", []byte(`
app: {id: "ari:cloud:ecosystem::app/8b1c0c1e-2f53-4c68-9a39-1a2b3c4d5e6f"}
remotes: [{key: backend, baseUrl: "https://pelican.example.com/forge"}]
modules:
  endpoint: [{key: events, remote: backend, route: {path: /events}}]
  trigger: [{key: on-issue, endpoint: events, events: [avi:jira:created:issue]}]
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	hooks, _ := m.Hooks(nil)
	for _, hook := range hooks {
		fmt.Println("POST", hook.Path, "for", hook.Triggers[0].Events)
	}
	// Output: POST /forge/events for [avi:jira:created:issue]
}
