package acceptance

import (
	"testing"
	"time"
)

// rules with one unsafe, one safe and one impersonated call.
const mixedRules = `version: 1
rules:
  - name: comment
    on: avi:jira:created:issue
    steps:
      - name: comment
        timeout: 5s
        request: {method: POST, path: "/rest/api/3/issue/${event.issue.key}/comment", body: {job: "${job.id}"}}
  - name: look
    on: avi:jira:updated:issue
    steps:
      - name: look
        timeout: 5s
        request: {method: GET, path: "/rest/api/3/issue/${event.issue.key}"}
  - name: as-user
    on: avi:jira:deleted:issue
    as: {user: event.atlassianId}
    steps:
      - request: {method: PUT, path: "/rest/api/3/issue/${event.issue.key}/watch"}
  - name: sprint
    on: avi:jira-software:created:sprint
    steps:
      - request: {method: POST, path: "/rest/api/3/sprint", body: {job: "${job.id}"}}
  - name: nightly
    on: "scheduled:nightly"
    steps:
      - request: {method: POST, path: "/rest/api/3/nightly"}
`

func TestAnEventIsCalledOnceWithTheNewestToken(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	h.worker()
	s := h.newSite()
	h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", "OLD-1"), Token: h.forge.systemToken(s, time.Now().Add(time.Hour))})
	newest := h.forge.systemToken(s, time.Now().Add(2*time.Hour))
	a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:created:issue", "ABC-1"), Token: newest})
	if a.Status != 202 || a.ID == "" || a.Duplicate {
		t.Fatalf("got %+v, want 202 with an id", a)
	}
	eventually(t, 5*time.Second, func() string { return expect("calls", len(h.api.made("/issue/ABC-1/comment")), 1) })
	call := h.api.made("/issue/ABC-1/comment")[0]
	if call.Method != "POST" || call.Path != "/ex/jira/"+s.CloudID+"/rest/api/3/issue/ABC-1/comment" || call.Token != newest || call.Body != `{"job":"`+a.ID+`"}` {
		t.Errorf("got %+v", call)
	}
	eventually(t, 5*time.Second, h.quiet)
	if !h.done(a.ID) {
		t.Error("the job has no done mark")
	}
	if n := len(h.api.made("/issue/ABC-1/comment")); n != 1 {
		t.Errorf("called %d times, want once", n)
	}
}
