package acceptance

import (
	"net/http"
	"testing"
	"time"
)

// browserFITs are what a browser may hold: well signed, for the right app.
func browserFITs(s site, module string) map[string]object {
	base := func() object { return s.fitClaims(module) }
	typed := func(kind, key string) object { return with(base(), "app.module", object{"type": kind, "key": key}) }
	return map[string]object{
		"a user in session":              with(base(), "principal", "557058:user-1"),
		"an extension":                   with(base(), "context", object{"cloudId": s.CloudID, "extension": object{"type": "jira:issuePanel"}}),
		"an empty extension":             with(base(), "context", object{"extension": object{}}),
		"an extension of another kind":   with(base(), "context", object{"extension": nil}),
		"the type of a panel":            typed("jira:issuePanel", module),
		"the key of a panel":             typed("core:endpoint", "panel"),
		"the key of a panel in context":  with(base(), "context", object{"moduleKey": "panel"}),
		"all that a panel's token shows": with(with(typed("jira:issuePanel", "panel"), "principal", "557058:user-1"), "context", object{"extension": object{"type": "jira:issuePanel"}}),
	}
}

func TestABrowsersTokenOpensNoHook(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	s := h.newSite()
	before := h.streams()
	for _, hook := range everyHook {
		for _, module := range []string{"events", "nightly-endpoint", "nightly", "on-issue"} {
			for name, claims := range browserFITs(s, module) {
				planted := h.forge.systemToken(s, time.Now().Add(4*time.Hour))
				a := h.post(in, hook, bearer(sign(h.forge.key, fitHeader(), claims)), issueEvent("avi:jira:created:issue", "FRONT-1"), planted)
				if a.Status != http.StatusForbidden || a.Code != "front_end_token" {
					t.Errorf("%s with %s of %s: got %d %s", hook, name, module, a.Status, a.Text)
				}
			}
		}
	}
	h.unchanged(before, "tokens of browsers")
	if a := h.deliver(in, delivery{Site: s, Path: "/forge/panel", Body: "{}"}); a.Status != http.StatusNotFound {
		t.Errorf("the endpoint of a resolver is served: got %d", a.Status)
	}
}

func TestOnlyAllowedEnvironmentsMayCall(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	production, both := h.ingest(), h.ingest("--environment", "PRODUCTION", "--environment", "DEVELOPMENT")
	s := h.newSite()
	fit := func(environment string) []string {
		return bearer(sign(h.forge.key, fitHeader(), with(s.fitClaims("events"), "app.environment.type", environment)))
	}
	before := h.streams()
	for _, environment := range []string{"DEVELOPMENT", "STAGING"} {
		for _, hook := range everyHook {
			a := h.post(production, hook, fit(environment), issueEvent("avi:jira:created:issue", "ENV-1"), "planted")
			if a.Status != http.StatusForbidden || a.Code != "environment_not_allowed" {
				t.Errorf("%s from %s: got %d %s", hook, environment, a.Status, a.Text)
			}
		}
	}
	h.unchanged(before, "other environments")
	for environment, want := range map[string]int{"DEVELOPMENT": 202, "PRODUCTION": 202, "STAGING": 403} {
		if a := h.post(both, "/forge/events", fit(environment), issueEvent("avi:jira:viewed:issue", "ENV-2"), ""); a.Status != want {
			t.Errorf("%s where PRODUCTION and DEVELOPMENT may call: got %d %s", environment, a.Status, a.Text)
		}
	}
}

func TestABodyCannotSpeakForAnotherTenant(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	mine, theirs := h.newSite(), h.newSite()
	before := h.streams()
	for name, context := range map[string]any{
		"a site":                         "ari:cloud:jira::site/" + theirs.CloudID,
		"a site, in capitals":            "ARI:CLOUD:JIRA::SITE/" + theirs.CloudID,
		"a site by id":                   object{"cloudId": theirs.CloudID},
		"another installation":           theirs.ari(),
		"a site's workspace, older form": "ari:cloud:jira:" + theirs.CloudID + ":workspace/x",
	} {
		for _, body := range []object{{"context": context}, {"payload": object{"eventType": "avi:jira:created:issue", "context": context}},
			{"payload": object{"eventType": "avi:jira:created:issue"}, "context": context}} {
			a := h.deliver(in, delivery{Site: mine, Body: jsonText(body)})
			if a.Status != http.StatusForbidden || a.Code != "tenant_mismatch" {
				t.Errorf("%s as %s: got %d %s", name, jsonText(body), a.Status, a.Text)
			}
		}
	}
	h.unchanged(before, "bodies of other tenants")
	a := h.deliver(in, delivery{Site: mine, Body: jsonText(object{"eventType": "avi:jira:viewed:issue", "context": "ari:cloud:jira::site/" + mine.CloudID})})
	if a.Status != http.StatusAccepted {
		t.Errorf("a body of its own site: got %d %s", a.Status, a.Text)
	}
}
