package simulator_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/simulator"
)

func TestTheLifeOfAnInstallation(t *testing.T) {
	d := newDesk(t, func(c *simulator.Config) { c.Bare = true })
	ctx := t.Context()
	if _, err := d.client.Trigger(ctx, simulator.TriggerRequest{Event: created}); err == nil {
		t.Error("an event came though the app is installed nowhere")
	}
	made, err := d.client.Install(ctx, simulator.InstallRequest{Products: []string{"confluence"}, Version: "3.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	first := made.Installation
	event := d.backend.next(t).event(t)
	if event["eventType"] != "avi:forge:installed:app" || event["id"] != first.ID || event["context"] != "ari:cloud:confluence::site/"+first.CloudID ||
		dig(event, "app.id") != appID[len(appID)-36:] || dig(event, "app.version") != "3.0.0" || event["installerAccountId"] == nil {
		t.Errorf("installed is %v", event)
	}
	if _, err := d.client.Lifecycle(ctx, first.ID, "upgrade", simulator.LifecycleRequest{Version: "3.1.0"}); err != nil {
		t.Fatal(err)
	}
	d.backend.none(t) // a minor version tells nobody
	if _, err := d.client.Lifecycle(ctx, first.ID, "upgrade", simulator.LifecycleRequest{}); err != nil {
		t.Fatal(err)
	}
	g := d.backend.next(t)
	if event := g.event(t); event["eventType"] != "avi:forge:upgraded:app" || dig(event, "app.version") != "4.0.0" {
		t.Errorf("upgraded is %v", event)
	}
	if claims := d.claimsOf(t, g.header.Get("Authorization")); dig(claims, "app.appVersion") != "4.0.0" {
		t.Errorf("claims are %v", claims)
	}
	d.backend.answer(status(500)) // a failure does not stop an uninstall, and is not tried again
	gone, err := d.client.Lifecycle(ctx, first.ID, "uninstall", simulator.LifecycleRequest{})
	if err != nil || gone.Installation.State != "uninstalled" || len(gone.Deliveries) != 1 || len(gone.Deliveries[0].Attempts) != 1 {
		t.Fatalf("uninstall is %+v, %v", gone, err)
	}
	g = d.backend.next(t)
	if event := g.event(t); g.path != "/forge/life" || dig(event, "context.moduleKey") != "goodbye" || dig(event, "context.cloudId") != first.CloudID {
		t.Errorf("preUninstall is %v", event)
	}
	again, err := d.client.Lifecycle(ctx, first.ID, "reinstall", simulator.LifecycleRequest{})
	if err != nil || again.Installation.ID == first.ID || again.Installation.CloudID != first.CloudID || again.Installation.Replaces != first.ID {
		t.Errorf("reinstall is %+v, %v", again, err)
	}
	if _, err := d.client.Lifecycle(ctx, first.ID, "upgrade", simulator.LifecycleRequest{}); err == nil {
		t.Error("what is uninstalled was upgraded")
	}
	if _, err := d.client.Install(ctx, simulator.InstallRequest{Products: []string{"jira", "bitbucket"}}); err == nil {
		t.Error("jira and bitbucket were installed together")
	}
}

func TestTheSameSeedGivesTheSameIDs(t *testing.T) {
	var bodies []string
	for range 2 {
		d := newDesk(t, func(c *simulator.Config) { c.Now, c.Seed = newClock().now, 7 })
		all := ""
		for _, event := range []string{created, updated, "avi:bitbucket:push:repository", "avi:confluence:created:page"} {
			d.trigger(t, simulator.TriggerRequest{Event: event, Target: d.backend.URL + "/x"})
			g := d.backend.next(t)
			var claims map[string]any
			if err := json.Unmarshal(decode(t, strings.Split(g.header.Get("Authorization"), ".")[1]), &claims); err != nil {
				t.Fatal(err)
			}
			all += string(g.body) + claims["jti"].(string) + g.header.Get("X-B3-Traceid") + dig(claims, "app.installationId").(string)
		}
		bodies = append(bodies, all)
	}
	if bodies[0] != bodies[1] {
		t.Errorf("two runs differ:\n%s\n%s", bodies[0], bodies[1])
	}
}

func TestTheLedgerTellsWhoDidWhat(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	url := d.base("jira") + "/rest/api/3/issue/SIM-1/comment"
	d.must(t, token, 201, "POST", url+"?x=1", `{"body":`+adfOf("hello")+`}`)
	d.must(t, "forged", 401, "GET", url, "")
	ledger, err := d.client.Ledger(t.Context(), simulator.LedgerQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if ledger.CallsTotal != 2 || ledger.DeliveriesTotal != 1 || len(ledger.Calls) != 2 || len(ledger.Deliveries) != 1 {
		t.Fatalf("ledger is %+v", ledger)
	}
	good, bad := ledger.Calls[0], ledger.Calls[1]
	if good.Method != "POST" || !strings.HasSuffix(good.Path, "/comment") || good.Query != "x=1" || !strings.Contains(good.Body, "hello") ||
		good.Actor != d.State().Bot || good.Installation != d.Installations()[0].ID || good.Token != "system" || good.Status != 201 || !good.Carried {
		t.Errorf("call is %+v", good)
	}
	if bad.Status != 401 || bad.Refused != "unknown token" || bad.Carried || bad.Actor != "" {
		t.Errorf("refused call is %+v", bad)
	}
	if text, _ := json.Marshal(ledger); strings.Contains(string(text), token) {
		t.Error("the ledger shows a token")
	}
	if later, err := d.client.Ledger(t.Context(), simulator.LedgerQuery{After: bad.Sequence}); err != nil || len(later.Calls) != 0 {
		t.Errorf("after the last call there is %+v, %v", later, err)
	}
}

func TestTheLedgerCanBeWaitedFor(t *testing.T) {
	d := newDesk(t, nil)
	found := make(chan simulator.Ledger, 1)
	go func() {
		ledger, err := d.client.Ledger(context.Background(), simulator.LedgerQuery{Wait: time.Minute})
		if err != nil {
			t.Error(err)
		}
		found <- ledger
	}()
	d.systemToken(t)
	if ledger := <-found; len(ledger.Deliveries) != 1 {
		t.Errorf("ledger is %+v", ledger)
	}
	if ledger, err := d.client.Ledger(t.Context(), simulator.LedgerQuery{After: 99, Wait: time.Millisecond}); err != nil || len(ledger.Deliveries) != 0 {
		t.Errorf("an expired wait gives %+v, %v", ledger, err)
	}
}

func TestResetStartsAgain(t *testing.T) {
	d := newDesk(t, nil)
	token := d.systemToken(t)
	before := d.Installations()[0]
	if _, err := d.client.SetFault(t.Context(), simulator.Fault{Status: 500}); err != nil {
		t.Fatal(err)
	}
	state, err := d.client.Reset(t.Context())
	if err != nil || len(state.Installations) != 1 || state.Installations[0].ID == before.ID || len(state.Faults) != 0 {
		t.Errorf("state is %+v, %v", state, err)
	}
	d.must(t, token, 401, "GET", d.base("jira")+"/rest/api/3/myself", "")
	if ledger := d.Ledger(t.Context(), simulator.LedgerQuery{}); ledger.DeliveriesTotal != 0 || ledger.CallsTotal != 1 {
		t.Errorf("ledger is %+v", ledger)
	}
}

func TestControlRefusesOtherWebPages(t *testing.T) {
	d := newDesk(t, nil)
	for origin, want := range map[string]int{"": 200, d.client.URL: 200, "https://evil.example.com": 403, "null": 403} {
		req, err := http.NewRequest("GET", d.client.URL+"/_sim/state", nil)
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("origin %q: status is %d, want %d", origin, res.StatusCode, want)
		}
	}
	d.must(t, "", 404, "GET", d.client.URL+"/_sim/nothing", "")
	d.must(t, "", 400, "POST", d.client.URL+"/_sim/trigger", "{")
	d.must(t, "", 404, "GET", d.client.URL+"/nothing", "")
}

func TestWhatCannotWorkIsRefused(t *testing.T) {
	for name, change := range map[string]func(*simulator.Config){
		"no manifest":         func(c *simulator.Config) { c.Manifest = nil },
		"no remote":           func(c *simulator.Config) { c.Remote = "" },
		"remote with a query": func(c *simulator.Config) { c.Remote += "?a=b" },
		"no public URL":       func(c *simulator.Config) { c.PublicURL = "127.0.0.1:9470" },
		"negative scale":      func(c *simulator.Config) { c.TimeScale = -1 },
	} {
		cfg := simulator.Config{Manifest: parsed(t), Remote: "http://127.0.0.1:1", PublicURL: "http://127.0.0.1:2", Keys: 1}
		change(&cfg)
		if _, err := simulator.New(cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestScheduledTriggersRunUntilTheEnd(t *testing.T) {
	d := newDesk(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for range 3 {
		g := d.backend.next(t)
		if g.path != "/forge/tick" {
			t.Errorf("path is %q", g.path)
		}
		if claims := d.claimsOf(t, g.header.Get("Authorization")); dig(claims, "app.module.key") != "tick" {
			t.Errorf("claims are %v", claims)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestScheduledTriggersCanBeOff(t *testing.T) {
	d := newDesk(t, func(c *simulator.Config) { c.NoSchedules = true })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	d.trigger(t, simulator.TriggerRequest{Event: created})
	if g := d.backend.next(t); g.path != "/forge/events" {
		t.Errorf("path is %q", g.path)
	}
	d.backend.none(t)
	if _, err := d.client.SetSchedules(t.Context(), simulator.Schedules{On: true}); err != nil {
		t.Fatal(err)
	}
	if g := d.backend.next(t); g.path != "/forge/tick" {
		t.Errorf("path is %q", g.path)
	}
	cancel()
	<-ended
}
