package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"bellows"
	"bellows/forgetest"
)

// run runs the app of this folder.
func run(t *testing.T) *forgetest.App {
	t.Helper()
	var mux bellows.Mux
	register(&mux)
	return forgetest.Run(t, forgetest.Config{Manifest: "manifest.yml", Handlers: &mux})
}

// lines are calls without what the comments say.
func lines(calls []forgetest.Call) string {
	var text strings.Builder
	for _, c := range calls {
		text.WriteString(c.String() + "\n")
	}
	return text.String()
}

func TestABugIsAnsweredAndRemembered(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	want := `GET /rest/api/3/issue/PEL-1?fields=description%2Ccomment as app: 200
POST /rest/api/3/issue/PEL-1/comment as app: 201
PUT /rest/api/3/issue/PEL-1/properties/triage as app: 201
`
	calls := app.Calls()
	if got := lines(calls); got != want {
		t.Fatalf("got the calls\n%swant\n%s", got, want)
	}
	if !strings.Contains(calls[1].Body, "Please describe in PEL-1") || !strings.Contains(calls[2].Body, "incomplete") {
		t.Errorf("an issue without a description got %s and %s", calls[1].Body, calls[2].Body)
	}

	app.Forget()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	if got := lines(app.Calls()); strings.Contains(got, "POST") || !strings.Contains(got, "PUT") {
		t.Errorf("the second event about the same issue made the calls\n%s", got)
	}
}

func TestOnlyBugsOfOthersAreAnswered(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1", "issue.fields.issuetype.name=Task")
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-2", "selfGenerated=true")
	app.Wait()
	if calls := app.Calls(); len(calls) > 0 {
		t.Errorf("got the calls\n%swant none", lines(calls))
	}
}

func TestAHandOverIsToldInThePersonsName(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Person("712020:ann")
	app.Trigger("avi:jira:assigned:issue", "issue.key=PEL-1", "atlassianId=712020:ann")
	app.Wait()
	if got, want := lines(app.Calls()), "POST /rest/api/3/issue/PEL-1/comment as 712020:ann: 201\n"; got != want {
		t.Errorf("got the calls\n%swant\n%s", got, want)
	}
}

func TestTheCommentIsWrittenOnceWhateverFailsBehindIt(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Fault(forgetest.Fault{Method: http.MethodPut, Path: "/rest/api/3/issue/*/properties/triage", Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 1})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	var comments, puts int
	for _, c := range app.Calls() {
		switch c.Method {
		case http.MethodPost:
			comments++
		case http.MethodPut:
			puts++
		}
	}
	if comments != 1 || puts != 2 {
		t.Errorf("there were %d comments and %d tries to set the property, want 1 and 2:\n%s", comments, puts, lines(app.Calls()))
	}
}

func TestALostCommentIsForAPerson(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Fault(forgetest.Fault{Method: http.MethodPost, Path: "/rest/api/3/issue/*/comment", Effect: true})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	letters := app.DeadLetters()
	if len(letters) != 1 || letters[0].Reason != "unknown_effect" || letters[0].Handler != "triage" {
		t.Errorf("got the dead letters %+v, want one of triage, unknown_effect", letters)
	}
	if got := strings.Count(lines(app.Calls()), "POST"); got != 1 {
		t.Errorf("the comment was written %d times, want once", got)
	}
}

func TestAnIssueThatIsGoneNeedsNothing(t *testing.T) {
	t.Parallel()
	app := run(t)
	app.Fault(forgetest.Fault{Method: http.MethodGet, Path: "/rest/api/3/issue/PEL-1", Status: http.StatusNotFound})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	if got := lines(app.Calls()); strings.Count(got, "\n") != 1 || len(app.DeadLetters()) > 0 {
		t.Errorf("got the calls\n%sand the dead letters %+v, want one call and none", got, app.DeadLetters())
	}
}

// decoded is a call with its body as a value, so that white space and the order
// of members do not matter.
type decoded struct {
	method, path, query, actor string
	status                     int
	body                       any
}

func decode(t *testing.T, calls []forgetest.Call) []decoded {
	t.Helper()
	var list []decoded
	for _, c := range calls {
		d := decoded{method: c.Method, path: c.Path, query: c.Query, actor: c.Actor, status: c.Status}
		if c.Body != "" {
			if err := json.Unmarshal([]byte(c.Body), &d.body); err != nil {
				t.Fatalf("%s has a body that is not JSON: %v", c, err)
			}
		}
		list = append(list, d)
	}
	return list
}
