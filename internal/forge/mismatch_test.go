package forge_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"bellows/internal/forge"
)

func TestABodyThatNamesAnotherTenant(t *testing.T) {
	const other = "00000000-6c3e-4a58-b7d1-84e5c0a9f326"
	jira := forge.Invocation{Installation: installation, Contexts: []forge.Context{{Name: "jira", CloudID: cloudID}}}
	bitbucket := forge.Invocation{Installation: installation, Contexts: []forge.Context{{Name: "bitbucket", WorkspaceID: workspaceID}}}
	both := forge.Invocation{Installation: installation, Contexts: append(slices.Clone(jira.Contexts), bitbucket.Contexts...)}
	module := forge.Invocation{Module: forge.ModuleContext{CloudID: cloudID, WorkspaceID: workspaceID}}
	for _, test := range []struct {
		token forge.Invocation
		body  string
		want  string
	}{
		{jira, `{}`, ""},
		{jira, ``, ""},
		{jira, `{"context":"ari:cloud:jira::site/` + cloudID + `"}`, ""},
		{jira, `{"context":"ari:cloud:jira::site/` + strings.ToUpper(cloudID) + `"}`, ""},
		{jira, `{"context":"ari:cloud:confluence::site/` + cloudID + `"}`, ""},
		{jira, `{"context":"ari:cloud:jira::site/` + other + `"}`, "context"},
		{jira, `{"context":"ARI:cloud:JIRA::site/` + other + `"}`, "context"},
		{jira, `{"payload":{"eventType":"a","context":"ari:cloud:jira::site/` + other + `"}}`, "context"},
		{jira, `{"context":"ari:cloud:jira::site/` + other + `","payload":{"eventType":"a","context":"ari:cloud:jira::site/` + cloudID + `"}}`, "context"},
		{jira, `{"context":"ari:cloud:jira:` + cloudID + `:workspace/7"}`, ""},
		{jira, `{"context":"ari:cloud:jira:` + other + `:workspace/7"}`, "context"},
		{jira, `{"context":"ari:cloud:ecosystem::installation/` + installation + `"}`, ""},
		{jira, `{"context":"ari:cloud:ecosystem::installation/` + other + `"}`, "context"},
		{jira, `{"context":"ari:cloud:ecosystem::app/` + other + `"}`, ""},
		{jira, `{"context":"ari:cloud:townsquare::goal/` + other + `"}`, ""},
		{jira, `{"context":"` + other + `"}`, ""},
		{jira, `{"context":{"cloudId":"` + cloudID + `"}}`, ""},
		{jira, `{"context":{"cloudId":"` + other + `"}}`, "context.cloudId"},
		{jira, `{"workspace":{"uuid":"{` + other + `}"}}`, ""},
		{jira, `{"context":"ari:cloud:bitbucket::workspace/` + other + `"}`, ""},
		{bitbucket, `{"workspace":{"uuid":"{` + workspaceID + `}"}}`, ""},
		{bitbucket, `{"workspace":{"uuid":"` + strings.ToUpper(workspaceID) + `"}}`, ""},
		{bitbucket, `{"workspace":{"uuid":"{` + other + `}"}}`, "workspace.uuid"},
		{bitbucket, `{"context":"ari:cloud:bitbucket::workspace/` + other + `"}`, "context"},
		{bitbucket, `{"context":"ari:cloud:bitbucket::workspace/{` + workspaceID + `}"}`, ""},
		{bitbucket, `{"context":"ari:cloud:jira::site/` + other + `"}`, ""},
		{both, `{"workspace":{"uuid":"{` + workspaceID + `}"},"context":"ari:cloud:jira::site/` + cloudID + `"}`, ""},
		{both, `{"workspace":{"uuid":"{` + other + `}"},"context":"ari:cloud:jira::site/` + cloudID + `"}`, "workspace.uuid"},
		{module, `{"context":"ari:cloud:jira::site/` + other + `"}`, "context"},
		{module, `{"workspace":{"uuid":"` + workspaceID + `"}}`, ""},
		{forge.Invocation{}, `{"context":"ari:cloud:jira::site/` + other + `","workspace":{"uuid":"x"}}`, ""},
	} {
		if got := forge.ScanBody([]byte(test.body)).Mismatch(test.token); got != test.want {
			t.Errorf("%s: got %q, want %q", test.body, got, test.want)
		}
	}
}

func TestTraceparent(t *testing.T) {
	var random, zero [24]byte
	for i := range random {
		random[i] = byte(i + 1)
	}
	drawn, span := hex.EncodeToString(random[:16]), hex.EncodeToString(random[16:])
	const id64, id128 = "463ac35c9f6413ad", "463ac35c9f6413ad48485a3953bb6124"
	for _, test := range []struct{ trace, span, want string }{
		{id128, "a2fb4a1d1a96d312", "00-" + id128 + "-a2fb4a1d1a96d312-01"},
		{id64, "A2FB4A1D1A96D312", "00-0000000000000000" + id64 + "-a2fb4a1d1a96d312-01"},
		{id128, "", "00-" + id128 + "-" + span + "-01"},
		{id128, "0000000000000000", "00-" + id128 + "-" + span + "-01"},
		{"", "a2fb4a1d1a96d312", "00-" + drawn + "-" + span + "-01"},
		{strings.Repeat("0", 32), "a2fb4a1d1a96d312", "00-" + drawn + "-" + span + "-01"},
		{id64 + "0", "a2fb4a1d1a96d312", "00-" + drawn + "-" + span + "-01"},
		{"463ac35c9f6413a\n", "a2fb4a1d1a96d312", "00-" + drawn + "-" + span + "-01"},
	} {
		if got := forge.Traceparent(test.trace, test.span, random); got != test.want {
			t.Errorf("%q %q: got %s, want %s", test.trace, test.span, got, test.want)
		}
	}
	if got := forge.Traceparent("", "", zero); got != "00-00000000000000000000000000000001-0000000000000001-01" {
		t.Errorf("zero randomness: got %s", got)
	}
}

func TestTheCatalogue(t *testing.T) {
	events := forge.Events()
	byName := map[string]forge.Event{}
	count := map[string]int{}
	for i, e := range events {
		if i > 0 && events[i-1].Name >= e.Name {
			t.Errorf("%s and %s: not sorted, or twice", events[i-1].Name, e.Name)
		}
		byName[e.Name] = e
		count[e.Product]++
		if (e.Scope == "") != (e.Kind != forge.KindProduct) {
			t.Errorf("%s: scope %q and kind %q", e.Name, e.Scope, e.Kind)
		}
		if got := forge.ScanBody([]byte(`{"eventType":"` + e.Name + `"}`)).EventType; got != e.Name {
			t.Errorf("%s: not taken for an event name", e.Name)
		}
	}
	for product, want := range map[string]int{"jira": 58, "jira-software": 9, "jira-service-management": 11, "confluence": 79, "bitbucket": 20, "compass": 3, "forge": 4} {
		if count[product] != want {
			t.Errorf("%s: got %d events, want %d", product, count[product], want)
		}
	}
	for _, want := range []forge.Event{
		{Name: "avi:jira:created:issue", Product: "jira", Scope: "read:jira-work", Kind: "product"},
		{Name: "avi:jira:updated:field:context:configuration", Product: "jira", Scope: "manage:jira-configuration", Kind: "product"},
		{Name: "avi:jira:timetracking:provider:changed", Product: "jira", Scope: "manage:jira-configuration", Kind: "product"},
		{Name: "avi:jira:mentioned:comment", Product: "jira", Scope: "read:jira-work", Kind: "product"},
		{Name: "avi:confluence:deleted:space:V2", Product: "confluence", Scope: "read:confluence-space.summary write:confluence-space", Kind: "product"},
		{Name: "avi:confluence:trashed:page", Product: "confluence", Scope: "read:confluence-content.summary write:confluence-content", Kind: "product"},
		{Name: "avi:bitbucket:push:repository", Product: "bitbucket", Scope: "read:repository:bitbucket", Kind: "product"},
		{Name: "avi:bitbucket:updated:pullrequest-reviewer-status", Product: "bitbucket", Scope: "read:pullrequest:bitbucket", Kind: "product"},
		{Name: "avi:forge:installed:app", Product: "forge", Kind: "lifecycle"},
		{Name: "avi:ecosystem.app_policy:blocked:app_access_to_objects.v2", Product: "forge", Kind: "policy"},
	} {
		if byName[want.Name] != want {
			t.Errorf("got %+v, want %+v", byName[want.Name], want)
		}
	}
	for _, never := range []string{"avi:jira:created:comment", "avi:jira:updated:comment", "avi:forge:uninstalled:app"} {
		if _, ok := byName[never]; ok {
			t.Errorf("%s does not exist", never)
		}
	}
}
