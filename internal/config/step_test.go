package config_test

import (
	"path/filepath"
	"testing"
	"time"

	"bellows/internal/config"
)

func mustLoadFull(t *testing.T) *config.File {
	t.Helper()
	file, err := config.Load(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAStepThatReadsPagesIsRead(t *testing.T) {
	steps := mustLoadFull(t).Rules[0].Steps
	find, tokens, links := steps[0].Paginate, steps[1].Paginate, steps[2].Paginate
	same(t, "styles", []string{find.Style, tokens.Style, links.Style}, []string{config.PagesStartAt, config.PagesCursor, config.PagesLink})
	same(t, "items", find.Items.Value, "body.values")
	same(t, "member", find.Member, []string{"page", "startAt"})
	same(t, "total", find.Total.Value, "body.page.total")
	same(t, "pages", []int{find.MaxPages, tokens.MaxPages}, []int{7, 0})
	same(t, "param", tokens.Param, "token")
	same(t, "cursor", tokens.Cursor.Value, "body.next")
	same(t, "next", links.Next.Value, "body._links.next")
}

func TestWhatPagesLeaveOutIsWhatJiraSays(t *testing.T) {
	steps := mustLoadFull(t).Rules[0].Steps
	same(t, "params", []string{steps[4].Paginate.Param, steps[5].Paginate.Param, steps[2].Paginate.Param}, []string{"nextPageToken", "startAt", ""})
	if p := steps[4].Paginate; p.Cursor != nil || p.Total != nil || p.Next != nil {
		t.Errorf("got %+v", p)
	}
}

func TestAStepForEachItemIsRead(t *testing.T) {
	step := mustLoadFull(t).Rules[0].Steps[3]
	same(t, "for_each", step.ForEach.Value, "steps.find.items")
	same(t, "max_items", step.MaxItems, 50)
	same(t, "as", step.As.Account.Value, "item.assignee")
	same(t, "product", step.Product, "confluence")
	same(t, "timeout", step.Timeout, 5*time.Second)
	same(t, "probe", step.Unless.Request.Method+" "+step.Unless.Request.Path.Value, "GET /rest/api/3/issue/${item.key}/properties/seen")
	same(t, "condition", step.Unless.Present.Value, "answer.status == 200")
}

func TestStatusesAreRead(t *testing.T) {
	same(t, "on_status", mustLoadFull(t).Rules[0].Steps[2].OnStatus, []config.OnStatus{
		{Status: 404, Verdict: config.VerdictDone}, {Status: 5, Verdict: config.VerdictRetry}, {Status: 409, Verdict: config.VerdictDead},
	})
}

func TestARuleMayForwardItsJobs(t *testing.T) {
	rule := mustLoadFull(t).Rules[1]
	same(t, "forward", rule.Forward, &config.Forward{URL: "http://127.0.0.1:3000/jobs?from=bellows", Timeout: 30 * time.Second})
	same(t, "steps", len(rule.Steps), 0)
}

func TestStepsThatMayBeRepeatedAreSafe(t *testing.T) {
	for _, c := range []struct {
		step config.Step
		want bool
	}{
		{config.Step{Request: config.Request{Method: "GET"}}, true},
		{config.Step{Request: config.Request{Method: "PUT"}}, true},
		{config.Step{Request: config.Request{Method: "POST"}}, false},
		{config.Step{Request: config.Request{Method: "PATCH"}}, false},
		{config.Step{Request: config.Request{Method: "POST"}, Repeatable: true}, true},
		{config.Step{Request: config.Request{Method: "POST"}, Unless: &config.Unless{}}, true},
	} {
		same(t, c.step.Request.Method, c.step.Safe(), c.want)
	}
}

func TestAnUnsafeStepMayRetryWhatHadNoEffect(t *testing.T) {
	for _, statuses := range []string{"{409: retry}", "{4xx: retry}", "{3xx: retry}", "{500: retry, 503: retry}", "{5xx: dead, 2xx: done}"} {
		text := withStep("on_status: "+statuses, "request: {method: POST, path: /x}")
		if _, err := config.Parse("b", []byte(text)); err != nil {
			t.Errorf("%s: %v", statuses, err)
		}
	}
}

func TestTheStampTellsFilesApart(t *testing.T) {
	stamp := func(text string) string {
		file, err := config.Parse("b", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return file.Stamp
	}
	one, again, other := stamp("version: 1\n"), stamp("version: 1\n"), stamp("version: 1 # edited\n")
	if one != again || one == other || len(one) != 12 {
		t.Errorf("got %q, %q, %q", one, again, other)
	}
}
