package ingest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/forge"
	"bellows/internal/installations"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

// oauth makes a token that ends after a time from now.
func (h *house) oauth(name string, life time.Duration) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"jti":%q,"exp":%d}`, name, h.clock.now().Add(life).Unix())) + "." + part("signature of "+name)
}

// held is the system token in the vault; "" is none.
func (h *house) held() string {
	h.t.Helper()
	r := vault.NewReader(vault.ReaderConfig{
		Tokens: h.store.Bucket(store.Tokens), Meta: h.store.Bucket(store.TokensMeta), Keys: secret.Keyring{h.vault}, Now: h.clock.now})
	// No reader runs: a revision that it has not seen makes it read.
	got, err := r.Token(context.Background(), vault.Owner{Installation: installation}, 1<<40)
	if errors.Is(err, vault.ErrNoToken) {
		return ""
	}
	must(h.t, err)
	return got.Token.Reveal()
}

func token(values ...string) http.Header { return http.Header{forge.HeaderSystemToken: values} }

func TestWhichTokenOfACallIsKept(t *testing.T) {
	h := newHouse(t, nil)
	short, long := h.oauth("short", time.Hour), h.oauth("long", 2*time.Hour)
	for _, row := range []struct {
		name   string
		header http.Header
		want   string
	}{
		{"none, when none came", nil, ""},
		{"none, when it is empty", token(""), ""},
		{"none, when it is blank", token(" \t "), ""},
		{"none, when it is a scheme alone", token("Bearer"), ""},
		{"none, when it is a scheme and blanks", token("Bearer   "), ""},
		{"none, when it has blanks inside", token("one two"), ""},
		{"none, when it is not ASCII", token("tök\xffen"), ""},
		{"none, when it is beyond reason", token(strings.Repeat("x", 16<<10+1)), ""},
		{"the first", token(short), short},
		{"the one before, when there is none", nil, short},
		{"the one before, when it is empty", token(""), short},
		{"the one before, when it is a scheme alone", token("bearer "), short},
		{"the newer, with a scheme before it", token("bEARER  " + long + " "), long},
		{"the newest, when an older one comes", token(short), long},
		{"the newest, when one comes that is no JWT", token("opaque"), long},
	} {
		t.Run(row.name, func(t *testing.T) {
			job := h.job(call{body: `{}`, header: row.header})
			same(t, "a token", h.held() != "", row.want != "")
			if h.held() != row.want {
				t.Error("it is another token")
			}
			same(t, "a revision of the token in the job", job.TokenRevision != 0, row.want != "")
		})
	}
	for _, stream := range []string{"BELLOWS_JOBS", "BELLOWS_EFFECTS", "KV_BELLOWS_TOKENS", "KV_BELLOWS_TOKENS_META", "KV_BELLOWS_INSTALLATIONS"} {
		text := strings.Join(h.messages(stream), "\n")
		if strings.Contains(text, short) || strings.Contains(text, long) {
			t.Errorf("a token is in %s", stream)
		}
	}
	if text := h.logs.String(); strings.Contains(text, short) || strings.Contains(text, long) || strings.Contains(text, "Bearer ") {
		t.Error("a token is in the log")
	}
}

func TestACallThatIsRefusedLeavesTheVaultAlone(t *testing.T) {
	h := newHouse(t, nil)
	good := h.oauth("good", time.Hour)
	h.accept(call{body: `{}`, header: token(good)}, false)
	before := h.counts()
	for _, r := range refusals() {
		if r.call.header != nil {
			continue // without a token of Forge's, as others here are
		}
		r.call.header = token(h.oauth("planted", 4*time.Hour))
		if got := h.send(r.call); got.status != r.status {
			t.Errorf("%s: got %d, want %d", r.name, got.status, r.status)
		}
	}
	if h.held() != good {
		t.Error("another token took the place of the good one")
	}
	same(t, "tokens stored", h.counts()["KV_BELLOWS_TOKENS"], before["KV_BELLOWS_TOKENS"])
	same(t, "installations stored", h.counts()["KV_BELLOWS_INSTALLATIONS"], before["KV_BELLOWS_INSTALLATIONS"])
}

func TestADuplicateBringsItsTokenAllTheSame(t *testing.T) {
	h := newHouse(t, nil)
	h.accept(call{body: issueCreated}, false)
	h.finish(h.take())
	newest := h.oauth("newest", time.Hour)
	h.accept(call{body: retried(issueCreated, "1"), header: token(newest)}, true)
	if h.held() != newest {
		t.Error("the token of the redelivery was not kept")
	}
}

// noted is the record of the installation.
func (h *house) noted() installations.Installation {
	h.t.Helper()
	r := installations.NewReader(installations.ReaderConfig{Bucket: h.store.Bucket(store.Installations)})
	i, err := r.Get(context.Background(), installation, 1<<40)
	must(h.t, err)
	return i
}

func TestTheInstallationIsNotedBeforeItsFirstJob(t *testing.T) {
	h := newHouse(t, nil)
	job := h.job(call{body: `{}`, claims: func(c object) {
		app(c)["license"] = object{"active": true}
		c["context"] = object{"siteUrl": "https://heron.atlassian.net", "cloudId": cloudID}
	}})
	i := h.noted()
	same(t, "id", i.ID, installation)
	same(t, "app", i.AppID, appID)
	same(t, "version", i.AppVersion, "2.4.0")
	same(t, "environment", i.EnvironmentType+" "+i.EnvironmentID, "PRODUCTION prod-1")
	same(t, "site", i.Site, "https://heron.atlassian.net")
	same(t, "licence", string(i.License), `{"active":true}`)
	same(t, "state", i.State, installations.Active)
	same(t, "an install time", !i.InstalledAt.IsZero(), false)
	if len(i.Contexts) != 1 || i.Contexts[0] != (installations.Context{Name: "jira", APIBaseURL: "https://api.atlassian.com/ex/jira/" + cloudID, CloudID: cloudID}) {
		t.Errorf("contexts: %+v", i.Contexts)
	}
	if job.InstallationRevision == 0 {
		t.Error("the job does not say which record it needs")
	}

	h.accept(call{body: `{"eventType":"avi:forge:installed:app"}`, claims: func(c object) { app(c)["appVersion"] = "3.0.0" }}, false)
	i = h.noted()
	same(t, "version", i.AppVersion, "3.0.0")
	same(t, "an install time", !i.InstalledAt.IsZero(), true)
}
