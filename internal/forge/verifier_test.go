package forge_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bellows/internal/forge"
)

func TestEveryKindOfRealTokenIsAccepted(t *testing.T) {
	h := newHouse(t, nil)
	names, err := filepath.Glob("testdata/fit/*.json")
	if err != nil || len(names) < 9 {
		t.Fatalf("found %d tokens, %v", len(names), err)
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if name == "isolated-cloud" {
			continue // see isolated_test.go
		}
		t.Run(name, func(t *testing.T) {
			token := sign(signingKey(), text(header()), string(readFile(t, path)))
			got, err := h.Verify(t.Context(), bearer(token))
			if err != nil {
				t.Fatal(err)
			}
			if !got.Verified() || got.AppID != appID || got.Installation != installation ||
				got.InstallationARI != "ari:cloud:ecosystem::installation/"+installation ||
				got.AppVersion != "2.4.0" || got.EnvironmentID != "c97d35e0-8a14-4b62-9f0d-e6b1a2873c45" ||
				got.ID != "9d4e1c20b7f85a63e0d2c41b6f7a8930e5d1c2b4" ||
				!got.IssuedAt.Equal(issued) || !got.ExpiresAt.Equal(issued.Add(25*time.Second)) {
				t.Errorf("got %+v", got)
			}
			if front := strings.HasPrefix(name, "ui-"); got.FrontEnd() != front {
				t.Errorf("FrontEnd: got %v", got.FrontEnd())
			}
		})
	}
	if got := h.server.fetches(); len(got) != 1 {
		t.Errorf("fetched %q, want one fetch", got)
	}
}

func accept(t *testing.T, h *house, claims object) forge.Invocation {
	t.Helper()
	got, err := h.Verify(t.Context(), bearer(sign(signingKey(), text(header()), text(claims))))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestContextsAndModule(t *testing.T) {
	h := newHouse(t, nil)
	const base = "https://api.atlassian.com/ex/"
	jira := forge.Context{Name: "jira", APIBaseURL: base + "jira/" + cloudID, CloudID: cloudID}
	bitbucket := forge.Context{Name: "bitbucket", APIBaseURL: "https://api.bitbucket.org", WorkspaceID: workspaceID}

	got := accept(t, h, claims(t, "trigger-without-cloud-id"))
	if len(got.Contexts) != 1 || got.Contexts[0] != jira || got.EnvironmentType != "DEVELOPMENT" {
		t.Errorf("cloud id from apiBaseUrl: got %+v", got)
	}
	got = accept(t, h, claims(t, "trigger-bitbucket"))
	if got.Contexts[0] != bitbucket || got.Module.WorkspaceID != workspaceID {
		t.Errorf("workspace ids without braces: got %+v", got)
	}
	got = accept(t, h, with(claims(t, "trigger-bitbucket"), "app.installation.contexts.workspaceId", gone))
	if got.Contexts[0] != bitbucket {
		t.Errorf("workspace id from context: got %+v", got.Contexts)
	}
	got = accept(t, h, with(claims(t, "trigger-multi-context"), "aud", []string{appID}))
	if len(got.Contexts) != 2 || got.Contexts[1].Name != "confluence" || got.Contexts[1].CloudID != cloudID {
		t.Errorf("two contexts: got %+v", got.Contexts)
	}
	elsewhere := with(claims(t, "ui-jira-issue-panel"), "app.installation.contexts", []any{object{"name": "jira", "apiBaseUrl": "http://127.0.0.1:9470/x"}})
	if got = accept(t, h, elsewhere); got.Contexts[0].CloudID != cloudID {
		t.Errorf("cloud id from context.cloudId: got %+v", got.Contexts)
	}
}

func TestFrontEndClaims(t *testing.T) {
	h := newHouse(t, nil)
	ui := claims(t, "ui-jira-issue-panel")
	got := accept(t, h, ui)
	if got.Principal != "557058:3f0c9a12-7b64-4e8d-a1c5-90d2e7b6f483" || got.ModuleType != "jira:issuePanel" || got.ModuleKey != "ledger-panel" {
		t.Errorf("got %+v", got)
	}
	m := got.Module
	if m.CloudID != cloudID || m.SiteURL != "https://heron-freight.atlassian.net" || m.ModuleKey != "ledger-panel" ||
		m.ExtensionType != "jira:issuePanel" || !m.HasExtension || !json.Valid(m.Raw) {
		t.Errorf("module context: got %+v", m)
	}
	if !accept(t, h, with(ui, "principal", gone)).FrontEnd() {
		t.Error("a context.extension alone is no front end")
	}
	if !accept(t, h, with(ui, "context.extension", gone)).FrontEnd() {
		t.Error("a principal alone is no front end")
	}
	for _, test := range []struct {
		license any
		active  bool
	}{
		{object{"active": true, "isActive": false}, true},
		{object{"active": false, "isActive": true}, false},
		{object{"active": nil, "isActive": true}, true},
		{object{"isActive": true}, true},
		{object{"active": "true"}, false},
		{object{}, false},
	} {
		got := accept(t, h, with(ui, "app.license", test.license)).License
		if got == nil || got.Active != test.active || string(got.Raw) != text(test.license) {
			t.Errorf("license %v: got %+v", test.license, got)
		}
	}
	for _, absent := range []any{gone, nil} {
		if got := accept(t, h, with(ui, "app.license", absent)).License; got != nil {
			t.Errorf("license %v: got %+v", absent, got)
		}
	}
}

func TestWhatATokenMayLookLike(t *testing.T) {
	h := newHouse(t, nil)
	base := claims(t, "trigger-jira")
	for name, token := range map[string]string{
		"typ":              sign(signingKey(), text(with(header(), "typ", "jwt")), text(base)),
		"foreign member":   sign(signingKey(), text(with(header(), "x5t", "abc")), text(with(base, "app.colour", []int{1}))),
		"white space":      sign(signingKey(), " {\"kid\":"+text(kid)+",\n\"alg\" : \"RS256\"} ", "\t"+text(base)+"\n"),
		"escaped name":     sign(signingKey(), text(header()), strings.Replace(text(base), `"iss"`, `"\u0069ss"`, 1)),
		"escaped value":    sign(signingKey(), text(header()), strings.Replace(text(base), `"2.4.0"`, `"2\u002e4.0"`, 1)),
		"names by case":    sign(signingKey(), text(header()), text(with(with(base, "ISS", "x"), "Aud", "y"))),
		"fraction":         sign(signingKey(), text(header()), text(with(base, "iat", 1800000000.25))),
		"no app.version":   sign(signingKey(), text(header()), text(with(base, "app.version", gone))),
		"odd app.version":  sign(signingKey(), text(header()), text(with(base, "app.version", 7))),
		"null cloudId":     sign(signingKey(), text(header()), text(with(base, "app.installation.contexts.cloudId", nil))),
		"five seconds off": sign(signingKey(), text(header()), text(with(with(base, "nbf", 1800000008), "iat", 1800000008))),
		"just not expired": sign(signingKey(), text(header()), text(with(with(base, "iat", 1799999980), "exp", 1799999999))),
		"many members":     sign(signingKey(), text(header()), text(with(base, "wide", wide(100)))),
	} {
		got, err := h.Verify(t.Context(), []string{"bEARER " + token})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.AppVersion != "2.4.0" || got.Contexts[0].CloudID != cloudID {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func wide(members int) object {
	o := object{}
	for i := range members {
		o[strings.Repeat("m", i+1)] = i
	}
	return o
}

func TestKeysThatCannotBeFetchedAreNoFaultOfTheToken(t *testing.T) {
	h := newHouse(t, nil)
	h.server.serve("no keys here")
	_, err := h.Verify(t.Context(), bearer(good(t)))
	var unavailable *forge.KeysUnavailableError
	if !errors.As(err, &unavailable) || unavailable.RetryAfter < time.Second || h.keys.Loaded() {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), h.server.URL) {
		t.Errorf("the error shows the address: %v", err)
	}
}

func TestWhatAVerifierNeeds(t *testing.T) {
	keys := forge.NewKeySet(forge.KeySetConfig{})
	for name, config := range map[string]forge.VerifierConfig{
		"no app id":       {Keys: keys},
		"another ARI":     {Keys: keys, AppID: "ari:cloud:ecosystem::installation/x"},
		"no keys":         {AppID: appID},
		"no placeholder":  {AppID: appID, Keys: keys, IsolatedCloud: "https://x.example/jwks"},
		"not a URL":       {AppID: appID, Keys: keys, IsolatedCloud: "{IC_LABEL}"},
		"not an HTTP URL": {AppID: appID, Keys: keys, IsolatedCloud: "file:///{IC_LABEL}"},
	} {
		if _, err := forge.NewVerifier(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	names, err := filepath.Glob("testdata/fit/*.json")
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range names {
		f.Add(text(header()), string(readFile(f, name)))
	}
	f.Fuzz(func(t *testing.T, header, claims string) {
		h := newHouse(t, nil)
		got, err := h.Verify(t.Context(), bearer(sign(signingKey(), header, claims)))
		if err != nil {
			if !strings.HasPrefix(outcome(err), "un") {
				t.Errorf("got %v", err)
			}
			return
		}
		var decoded struct{ Aud, Iss any }
		if json.Unmarshal([]byte(claims), &decoded) != nil || decoded.Iss != "forge/invocation-token" {
			t.Errorf("accepted %s", claims)
		}
		if !got.Verified() || got.AppID != appID || got.Installation == "" || strings.ContainsAny(got.Installation, ".*> ") || len(got.Contexts) == 0 {
			t.Errorf("got %+v", got)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := newHouse(b, nil)
	h.load(b)
	authorization := bearer(good(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(b.Context(), authorization); err != nil {
			b.Fatal(err)
		}
	}
}
