package simulator_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"bellows/internal/simulator"
)

const created, updated = "avi:jira:created:issue", "avi:jira:updated:issue"

func TestADeliveryHasEveryDocumentedClaimAndHeader(t *testing.T) {
	d := newDesk(t, nil)
	result := d.trigger(t, simulator.TriggerRequest{Event: created})
	if !result.Delivered() || len(result.Deliveries) != 1 || result.Deliveries[0].Last().Status != http.StatusAccepted {
		t.Fatalf("result is %+v", result)
	}
	g := d.backend.next(t)
	if g.path != "/forge/events" {
		t.Errorf("path is %q, want the baseUrl's and the route's", g.path)
	}
	i := d.Installations()[0]
	claims := d.claimsOf(t, g.header.Get("Authorization"))
	ari := "ari:cloud:ecosystem::installation/" + i.ID
	for path, want := range map[string]any{
		"aud": appID, "iss": "forge/invocation-token", "app.id": appID, "app.appVersion": "1.0.0", "app.version": "1",
		"app.installationId": ari, "app.installation.id": ari, "app.apiBaseUrl": d.base("jira"),
		"app.environment.type": "PRODUCTION", "app.module.type": "core:endpoint", "app.module.key": "events",
	} {
		if got := dig(claims, path); got != want {
			t.Errorf("claim %s is %v, want %v", path, got, want)
		}
	}
	contexts, _ := dig(claims, "app.installation.contexts").([]any)
	if len(contexts) != 2 || dig(contexts[0], "name") != "jira" || dig(contexts[1], "name") != "confluence" ||
		dig(contexts[1], "apiBaseUrl") != d.base("confluence") || dig(contexts[0], "cloudId") != i.CloudID {
		t.Errorf("contexts are %v", contexts)
	}
	if claims["exp"].(float64)-claims["iat"].(float64) != 25 || claims["nbf"] != claims["iat"] {
		t.Errorf("times are %v %v %v", claims["iat"], claims["nbf"], claims["exp"])
	}
	if environment, _ := dig(claims, "app.environment.id").(string); !regexp.MustCompile(`^ari:cloud:ecosystem::environment/[0-9a-f-]{36}/[0-9a-f-]{36}$`).MatchString(environment) {
		t.Errorf("environment is %q", environment)
	}
	if jti, _ := claims["jti"].(string); !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(jti) {
		t.Errorf("jti is %q", jti)
	}
	for _, absent := range []string{"principal", "context", "icLabel"} {
		if claims[absent] != nil {
			t.Errorf("claim %s is there", absent)
		}
	}
	for _, name := range []string{"X-B3-Traceid", "X-B3-Spanid"} {
		if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(g.header.Get(name)) {
			t.Errorf("%s is %q", name, g.header.Get(name))
		}
	}
	if g.header.Get("Content-Type") != "application/json" || g.header.Get("X-Forge-Oauth-System") == "" || g.header.Get("X-Forge-Oauth-User") != "" {
		t.Errorf("headers are %v", g.header)
	}
}

func TestASystemTokenGoesOnlyWhereTheManifestAsksForIt(t *testing.T) {
	d := newDesk(t, nil)
	if _, err := d.client.RunScheduled(context.Background(), simulator.ScheduledRequest{Key: "nightly"}); err != nil {
		t.Fatal(err)
	}
	g := d.backend.next(t)
	if g.path != "/forge/tick" || g.header.Get("X-Forge-Oauth-System") != "" {
		t.Errorf("%s got the token %q", g.path, g.header.Get("X-Forge-Oauth-System"))
	}
	if key := dig(g.event(t), "context.moduleKey"); key != "nightly" {
		t.Errorf("module key is %v", key)
	}
	if _, err := d.client.RunScheduled(context.Background(), simulator.ScheduledRequest{Empty: true}); err != nil {
		t.Fatal(err)
	}
	if g := d.backend.next(t); len(g.body) != 0 {
		t.Errorf("body is %q, want none", g.body)
	}
}

func TestAFailureIsDeliveredAgainWithItsReason(t *testing.T) {
	d := newDesk(t, nil)
	d.SetAnswerLimit(50 * time.Millisecond)
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}
	cut := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	d.backend.answer(hang, status(http.StatusUnauthorized), redirect, cut)
	result := d.trigger(t, simulator.TriggerRequest{Event: created})
	reasons := []string{"", "TIMEOUT_ERROR", "INVALID_FORGE_INVOCATION_TOKEN", "INVALID_REMOTE_INVOCATION_ERROR", "INVALID_REMOTE_INVOCATION_ERROR"}
	seen := map[any]bool{}
	var first string
	for n, reason := range reasons {
		g := d.backend.next(t)
		claims := d.claimsOf(t, g.header.Get("Authorization"))
		if seen[claims["jti"]] {
			t.Errorf("delivery %d has a used token", n)
		}
		seen[claims["jti"]] = true
		event := g.event(t)
		if n == 0 {
			first = string(g.body)
			if event["retryContext"] != nil {
				t.Errorf("the first delivery has a retryContext")
			}
			continue
		}
		if want := fmt.Sprintf(`%s,"retryContext":{"retryCount":%d,"retryReason":%q,"retryData":null}}`, strings.TrimSuffix(first, "}"), n, reason); string(g.body) != want {
			t.Errorf("delivery %d is\n%s, want\n%s", n, g.body, want)
		}
	}
	d.backend.none(t)
	last := result.Deliveries[0]
	if last.Outcome != simulator.OutcomeDelivered || len(last.Attempts) != 5 || last.Attempts[1].Status != 401 || last.Attempts[2].Status != 307 || last.Attempts[3].Error == "" {
		t.Errorf("delivery is %+v", last)
	}
}

func TestForgeGivesUpAfterFourRedeliveries(t *testing.T) {
	d := newDesk(t, nil)
	for range 9 {
		d.backend.answer(status(http.StatusInternalServerError))
	}
	result := d.trigger(t, simulator.TriggerRequest{Event: created})
	if got := result.Deliveries[0]; got.Outcome != simulator.OutcomeLost || len(got.Attempts) != 5 || result.Delivered() {
		t.Errorf("delivery is %+v", got)
	}
	once := d.trigger(t, simulator.TriggerRequest{Event: created, DeliveryOptions: simulator.DeliveryOptions{Once: true}})
	if got := once.Deliveries[0]; got.Outcome != simulator.OutcomeLost || len(got.Attempts) != 1 {
		t.Errorf("delivery once is %+v", got)
	}
}

func TestALostAnswerBringsTheSameEventAgain(t *testing.T) {
	d := newDesk(t, nil)
	result := d.trigger(t, simulator.TriggerRequest{Event: created, DeliveryOptions: simulator.DeliveryOptions{LoseAnswers: 1, Wrapped: true}})
	if got := result.Deliveries[0]; len(got.Attempts) != 2 || !result.Delivered() {
		t.Fatalf("delivery is %+v", got)
	}
	first, second := d.backend.next(t).event(t), d.backend.next(t).event(t)
	if dig(second, "payload.issue.id") != dig(first, "issue.id") || dig(second, "payload.retryContext.retryReason") != "TIMEOUT_ERROR" || second["retryContext"] != nil {
		t.Errorf("second delivery is %v", second)
	}
}

func TestBodiesThatAreNotMade(t *testing.T) {
	d := newDesk(t, nil)
	raw := "not json"
	d.trigger(t, simulator.TriggerRequest{Event: created, Raw: &raw, ContentType: "text/plain", DeliveryOptions: simulator.DeliveryOptions{LoseAnswers: 1}})
	for range 2 {
		if g := d.backend.next(t); string(g.body) != raw || g.header.Get("Content-Type") != "text/plain" {
			t.Errorf("got %q", g.body)
		}
	}
	d.trigger(t, simulator.TriggerRequest{Event: created, Body: []byte(`{"a":{"b":1}}`), Set: map[string]any{"a.c": []any{}, "a.c.0": true}})
	if g := d.backend.next(t); string(g.body) != `{"a":{"b":1,"c":[true]}}` {
		t.Errorf("got %s", g.body)
	}
	large := `"` + strings.Repeat("x", 200_000) + `"`
	result := d.trigger(t, simulator.TriggerRequest{Event: created, Raw: &large})
	if got := result.Deliveries[0]; got.Outcome != simulator.OutcomeTooLarge || len(got.Attempts) != 0 {
		t.Errorf("delivery is %+v", got)
	}
	d.backend.none(t)
}

func TestWhereADeliveryGoes(t *testing.T) {
	other := newBackend(t)
	rows := []struct{ remote, target, path string }{
		{"", "", "/forge/events"},
		{"/", "", "/forge/events"},
		{"/dev/", "", "/dev/events"},
		{"/dev", "{other}", "/forge/events"},
		{"/dev", "{other}/hook/", "/hook/"},
	}
	for _, row := range rows {
		d := newDesk(t, func(c *simulator.Config) { c.Remote += row.remote })
		d.trigger(t, simulator.TriggerRequest{Event: created, Target: strings.ReplaceAll(row.target, "{other}", other.URL)})
		to := d.backend
		if row.target != "" {
			to = other
		}
		if got := to.next(t).path; got != row.path {
			t.Errorf("remote %q, target %q: path is %q, want %q", row.remote, row.target, got, row.path)
		}
	}
}

func TestTriggersThatAreRefused(t *testing.T) {
	d := newDesk(t, nil)
	rows := []struct {
		why    string
		status int
		r      simulator.TriggerRequest
	}{
		{"no trigger names it", 409, simulator.TriggerRequest{Event: "avi:jira:deleted:issue"}},
		{"not in the catalogue", 404, simulator.TriggerRequest{Event: "avi:jira:created:comment", Target: d.backend.URL + "/x"}},
		{"no such installation", 404, simulator.TriggerRequest{Event: created, Installation: "x"}},
		{"no such fault", 400, simulator.TriggerRequest{Event: created, DeliveryOptions: simulator.DeliveryOptions{Faults: []string{"x"}}}},
		{"target is no URL", 400, simulator.TriggerRequest{Event: created, Target: "localhost"}},
		{"path leads into a text", 400, simulator.TriggerRequest{Event: created, Set: map[string]any{"eventType.x": 1}}},
	}
	for _, row := range rows {
		_, err := d.client.Trigger(context.Background(), row.r)
		refused, ok := err.(*simulator.Error)
		if !ok || refused.Status != row.status {
			t.Errorf("%s: error is %v, want status %d", row.why, err, row.status)
		}
	}
	d.backend.none(t)
}
