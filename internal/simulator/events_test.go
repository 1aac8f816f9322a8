package simulator_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"bellows/internal/forge"
	"bellows/internal/simulator"
)

func TestEveryEventOfTheCatalogueCanBeTriggered(t *testing.T) {
	d := newDesk(t, nil)
	workspace, err := d.client.Install(t.Context(), simulator.InstallRequest{Products: []string{"bitbucket"}, Silent: true})
	if err != nil {
		t.Fatal(err)
	}
	events := simulator.Catalogue()
	if len(events) < 150 {
		t.Fatalf("the catalogue has %d events", len(events))
	}
	d.AddAccount(simulator.Account{ID: "x"})
	for _, e := range events {
		result := d.trigger(t, simulator.TriggerRequest{Event: e.Event, Target: d.backend.URL + "/hook"})
		if !result.Delivered() {
			t.Errorf("%s: %+v", e.Event, result)
			continue
		}
		g := d.backend.next(t)
		body := forge.ScanBody(g.body)
		if !body.JSON || body.EventType != e.Event {
			t.Errorf("%s: scanned as %q", e.Event, body.EventType)
		}
		timeless := strings.HasPrefix(e.Event, "avi:jira-software:") || strings.HasPrefix(e.Event, "avi:forge:") || strings.HasPrefix(e.Event, "avi:compass:")
		if body.Distinct == timeless {
			t.Errorf("%s: distinct is %v", e.Event, body.Distinct)
		}
		claims := d.claimsOf(t, g.header.Get("Authorization"))
		inWorkspace := strings.HasPrefix(e.Event, "avi:bitbucket:")
		if strings.HasSuffix(dig(claims, "app.installationId").(string), workspace.Installation.ID) != inWorkspace && !strings.HasPrefix(e.Event, "avi:forge") && !strings.HasPrefix(e.Event, "avi:ecosystem") && !strings.HasPrefix(e.Event, "avi:compass") {
			t.Errorf("%s: came for %v", e.Event, dig(claims, "app.installationId"))
		}
		if inWorkspace && body.WorkspaceUUID != workspace.Installation.WorkspaceID {
			t.Errorf("%s: workspace is %q", e.Event, body.WorkspaceUUID)
		}
	}
}

func TestEventsAreAboutTheSameThings(t *testing.T) {
	d := newDesk(t, nil)
	send := func(event string) map[string]any {
		t.Helper()
		d.trigger(t, simulator.TriggerRequest{Event: event, Target: d.backend.URL + "/hook"})
		return d.backend.next(t).event(t)
	}
	id := dig(send(created), "issue.id")
	for _, event := range []string{updated, "avi:jira:assigned:issue", "avi:jira:commented:issue", "avi:jira:deleted:comment", "avi:jira:viewed:issue"} {
		if got := dig(send(event), "issue.id"); got != id {
			t.Errorf("%s is about %v, want %v", event, got, id)
		}
	}
	for event, path := range map[string]string{
		"avi:jira:created:worklog": "worklog.issueId", "avi:jira:created:attachment": "attachment.issueId", "avi:jira:created:issuelink": "sourceIssueId",
	} {
		if got := dig(send(event), path); got == nil {
			t.Errorf("%s has no %s", event, path)
		}
	}
	token := d.systemToken(t)
	key := dig(send("avi:jira:commented:issue"), "issue.key").(string)
	url := d.base("jira") + "/rest/api/2/issue/" + key
	if list := d.must(t, token, 200, "GET", url+"/comment", ""); list["total"] != 1.0 {
		t.Errorf("comments are %v", list)
	}
	if got := dig(send("avi:jira:deleted:issue"), "issue.key"); got != key {
		t.Errorf("deleted is %v, want %v", got, key)
	}
	d.must(t, token, http.StatusNotFound, "GET", url, "")

	page := dig(send("avi:confluence:created:page"), "content.id").(string)
	if event := send("avi:confluence:updated:page"); dig(event, "content.id") != page || dig(event, "content.version.number") != 2.0 {
		t.Errorf("updated page is %v", event)
	}
	if event := send("avi:confluence:created:comment"); dig(event, "content.container.id") != page {
		t.Errorf("comment is %v", event)
	}
	if event := send("avi:confluence:trashed:page"); dig(event, "content.status") != "trashed" {
		t.Errorf("trashed page is %v", event)
	}
	d.must(t, token, http.StatusNotFound, "GET", d.base("confluence")+"/wiki/api/v2/pages/"+page, "")
}

func TestWhatIsSetIsStored(t *testing.T) {
	d := newDesk(t, nil)
	path, value, err := simulator.ParseSet(`atlassianId=712020:someone`)
	if err != nil || path != "atlassianId" || value != "712020:someone" {
		t.Errorf("parsed %q %v %v", path, value, err)
	}
	if _, value, _ := simulator.ParseSet(`a.b={"c":[1]}`); dig(value, "c") == nil {
		t.Errorf("parsed %v", value)
	}
	if _, _, err := simulator.ParseSet("no value"); err == nil {
		t.Error("no error")
	}
	set := map[string]any{path: value, "issue.id": "777777", "issue.fields.issuetype": map[string]any{"name": "Incident"}, "extra.a\\.b": 1}
	d.trigger(t, simulator.TriggerRequest{Event: created, Set: set})
	g := d.backend.next(t)
	if !bytes.Contains(g.body, []byte(`"extra":{"a.b":1}`)) {
		t.Errorf("body is %s", g.body)
	}
	found := d.must(t, g.header.Get("X-Forge-Oauth-System"), 200, "GET", d.base("jira")+"/rest/api/3/issue/777777", "")
	if dig(found, "fields.issuetype.name") != "Incident" {
		t.Errorf("issue is %v", found)
	}
	result := d.exchange(t, g.header.Get("X-Forge-Oauth-System"), "ari:cloud:jira::site/"+d.Installations()[0].CloudID, "712020:someone")
	if dig(result, "success") != true {
		t.Errorf("the actor of an event is not known: %v", result)
	}
}
