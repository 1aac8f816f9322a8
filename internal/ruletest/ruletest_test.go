package ruletest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bellows/internal/jobs"
	"bellows/internal/rules"
	"bellows/internal/ruletest"
)

func triage(t *testing.T) *rules.Set {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "triage.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return compileText(t, "triage.yaml", string(data))
}

// failureOf runs one test, written as the lines of its mapping, and returns
// why it does not hold.
func failureOf(t *testing.T, lines string) string {
	t.Helper()
	text := "tests:\n  - name: t\n" + indent(lines)
	report, err := ruletest.RunText(context.Background(), triage(t), filepath.Join("testdata", "x_test.yaml"), []byte(text), ruletest.Options{})
	if err != nil || len(report.Results) != 1 {
		t.Fatalf("got %d results, %v of\n%s", len(report.Results), err, text)
	}
	return strings.TrimSpace(report.Results[0].Failure)
}

func indent(lines string) string {
	var out strings.Builder
	for line := range strings.Lines(strings.Trim(lines, "\n") + "\n") {
		out.WriteString("    " + line)
	}
	return out.String()
}

const answered = `
event_file: issue.json
answers: [{request: GET /rest/api/3/issue/PEL-42, body: {summary: Crates}}]
`

func TestTestsBesideARuleFileAreRun(t *testing.T) {
	report, err := ruletest.Run(context.Background(), filepath.Join("testdata", "triage.yaml"), ruletest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := report.Write(&out); err != nil {
		t.Fatal(err)
	}
	if want := "ok    one of two rules\nok    a bug is answered\n2 of 2 tests hold\n"; out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestARuleFileWithoutTestsIsAnEmptyReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b[1].yaml")
	if err := os.WriteFile(path, []byte("version: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := ruletest.Run(context.Background(), path, ruletest.Options{})
	if err != nil || len(report.Results) != 0 {
		t.Errorf("got %v, %v", report, err)
	}
}

func TestARuleFileThatIsWrongIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nrules: [{}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ruletest.Run(context.Background(), path, ruletest.Options{}); err == nil || !strings.Contains(err.Error(), "b.yaml:2:9: a rule needs") {
		t.Errorf("got %v", err)
	}
}

// differences are tests that do not hold, and what must be said of them.
var differences = map[string]struct{ lines, want string }{
	"another body": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42}, {request: POST /rest/api/3/issue/PEL-42/comment, body: {n: 4, list: [{a: 1}]}}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
  POST /rest/api/3/issue/PEL-42/comment
    body: {
      "list": [
        {
          "a": 1
        }
      ],
-     "n": 4
+     "n": 3
    }`},
	"another path": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-1, query: {expand: none}}, {request: POST /rest/api/3/issue/PEL-42/comment}]}`, `
calls (- expected, + made):
- GET /rest/api/3/issue/PEL-1
-   query: expand[0]=none
+ GET /rest/api/3/issue/PEL-42
+   query: expand[0]=names
  POST /rest/api/3/issue/PEL-42/comment`},
	"a call too many": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
+ POST /rest/api/3/issue/PEL-42/comment
+   body: {
+     "list": [
+       {
+         "a": 1,
+         "b": 2
+       }
+     ],
+     "n": 3,
+     "note": "Crates on https://example.atlassian.net"
+   }`},
	"a call too few": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42}, {request: POST /rest/api/3/issue/PEL-42/comment}, {request: GET /y, as: app}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
  POST /rest/api/3/issue/PEL-42/comment
- GET /y
-   as: app`},
	"an exact query": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42, query: {expand: names}, exact: true}, {request: POST /rest/api/3/issue/PEL-42/comment}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
    query: expand[0]=names
+   query: fields[0]=summary
+   query: fields[1]=labels
  POST /rest/api/3/issue/PEL-42/comment`},
	"a list of another length": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42}, {request: POST /rest/api/3/issue/PEL-42/comment, body: {list: []}}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
  POST /rest/api/3/issue/PEL-42/comment
    body: {
-     "list": []
+     "list": [
+       {
+         "a": 1,
+         "b": 2
+       }
+     ]
    }`},
	"another header": {answered + `expect: {calls: [{request: GET /rest/api/3/issue/PEL-42, headers: {x-job: a}}, {request: POST /rest/api/3/issue/PEL-42/comment, headers: {x-job: b}}]}`, `
calls (- expected, + made):
  GET /rest/api/3/issue/PEL-42
-   header: X-Job: a
  POST /rest/api/3/issue/PEL-42/comment
-   header: X-Job: b
+   header: X-Job: 0123456789abcdef`},
	"another outcome": {answered + `expect: {outcome: dead}`, `
outcome (- expected, + seen):
- dead
+ done`},
	"no answer": {`
event_file: issue.json
expect: {calls: [{request: GET /rest/api/3/issue/PEL-42}]}`, `
outcome (- expected, + seen):
- done
+ dead, fatal: the test has no answer to GET /rest/api/3/issue/PEL-42
there is no answer to GET /rest/api/3/issue/PEL-42`},
	"an answer too many": {`
event: {eventType: "avi:jira:deleted:issue"}
rule: other
answers: [{request: DELETE /x, status: 204}, {request: DELETE /x}, {request: GET /y}]
expect: {outcome: done}`, `
nobody asked for answer 2, to DELETE /x
nobody asked for answer 3, to GET /y`},
	"no match with a reason": {`
on: scheduled:nightly
expect: {outcome: done}`, `
outcome (- expected, + seen):
- done
+ no match: 
  rule "triage" was left out: rule "triage": evaluating when (line 5, column 11): no such key: issue`},
	"several rules": {`
event: {eventType: "avi:jira:deleted:issue", zero: 1}
expect: {outcome: done}`, `2 rules match, say which with "rule": other, another`},
	"a rule that is not there": {answered + "rule: trage\nexpect: {outcome: done}", `there is no rule "trage"`},
	"another reason": {answered + `expect: {outcome: dead, reason: rejected}`, `
outcome (- expected, + seen):
- dead
+ done`},
	"a shorter delay": {`
event_file: issue.json
answers: [{request: GET /rest/api/3/issue/PEL-42, status: 429, headers: {retry-after: "5"}}]
expect: {delay: 6s}`, `
outcome (- expected, + seen):
- delay of at least 6s
+ delay of 5s: find was answered with 429`},
}

func TestWhatDiffersIsShown(t *testing.T) {
	for name, c := range differences {
		t.Run(name, func(t *testing.T) {
			if got := failureOf(t, c.lines); got != strings.TrimSpace(c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(c.want))
			}
		})
	}
}

func TestEveryStatusHasItsOutcome(t *testing.T) {
	for status, want := range map[string]string{
		"200": "outcome: done", "204": "outcome: done", "301": "outcome: dead, reason: rejected", "400": "outcome: dead, reason: rejected",
		"404": "outcome: dead, reason: rejected", "408": "outcome: delay", "429": "outcome: delay", "500": "outcome: delay", "503": "outcome: delay",
		"502": "outcome: dead, reason: unknown_effect", "504": "outcome: dead, reason: unknown_effect",
	} {
		if failure := failureOf(t, `
event_file: issue.json
answers: [{request: GET /rest/api/3/issue/PEL-42, body: {summary: a}}, {request: POST /rest/api/3/issue/PEL-42/comment, status: `+status+`}]
expect: {`+want+`}`); failure != "" {
			t.Errorf("%s: %s", status, failure)
		}
	}
}

func TestAConditionThatFailsIsDead(t *testing.T) {
	if failure := failureOf(t, `
event: {eventType: "avi:jira:deleted:issue", zero: 0}
rule: another
expect: {calls: [], outcome: dead, reason: division by zero}`); failure != "" {
		t.Error(failure)
	}
}

func TestAnotherRunnerMayCarryTheJobsOut(t *testing.T) {
	text := "tests:\n  - name: t\n" + indent(answered+"expect: {outcome: dead, reason: by hand, calls: [{request: GET /rest/api/3/issue/PEL-42}]}")
	run := func(_ context.Context, c ruletest.Case) ruletest.Outcome {
		call, err := c.Rule.Steps()[0].Render(c.Input)
		if err == nil {
			_, err = c.Do(call)
		}
		if err != nil {
			t.Error(err)
		}
		return ruletest.Outcome{Action: jobs.ActionDead, Reason: jobs.ReasonFatal, Message: "by hand"}
	}
	report, err := ruletest.RunText(context.Background(), triage(t), filepath.Join("testdata", "x"), []byte(text), ruletest.Options{Run: run})
	if err != nil || report.Failed() != 0 {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestATestThatFailsIsNamedWithItsPlace(t *testing.T) {
	text := "tests:\n  - name: good\n    event_file: none.json\n    expect: {outcome: done}\n  - name: bad\n    on: avi:jira:viewed:issue\n    expect: {outcome: done}\n"
	report, err := ruletest.RunText(context.Background(), triage(t), "dir/x_test.yaml", []byte(text), ruletest.Options{})
	if err == nil || !strings.Contains(err.Error(), `dir/x_test.yaml:2: reading test "good": open dir/none.json`) {
		t.Errorf("got %v", err)
	}
	var out strings.Builder
	if err := report.Write(&out); err != nil {
		t.Fatal(err)
	}
	want := "FAIL  bad (dir/x_test.yaml:5)\n      outcome (- expected, + seen):\n      - done\n      + no match\n0 of 1 tests hold\n"
	if out.String() != want || report.Failed() != 1 {
		t.Errorf("got\n%s", out.String())
	}
}

func TestTestFilesThatMeanNothingAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"": "there are none", "tests: []": "there are none", "test: []": "not found", "tests: [": "reading tests",
		"tests: [{expect: {outcome: done}}]":                                           "it needs a \"name\"",
		"tests: [{name: a, expect: {outcome: done}}]":                                  "it needs \"on\"",
		"tests: [{name: a, on: x, expect: {}}]":                                        "it expects nothing",
		"tests: [{name: a, on: x, expect: {outcome: fine}}]":                           `outcome is "fine", want done, no match, dead or delay`,
		"tests: [{name: a, on: x, expect: {delay: soon}}]":                             `delay is "soon", want a time`,
		"tests: [{name: a, on: x, expect: {delay: 5s, outcome: done}}]":                `expected to be "done" has no delay`,
		"tests: [{name: a, on: x, expect: {calls: [{request: /x}]}}]":                  `request is "/x", want a method and a path`,
		"tests: [{name: a, on: x, answers: [{request: GET}], expect: {calls: []}}]":    `request is "GET", want`,
		"tests: [{name: a, on: x, answers: [{request: GET /x, status: 42}]}]":          "an answer has the status 42",
		"tests: [{name: a, on: x, event: {}, event_file: y, expect: {outcome: done}}]": "want one of them",
		"tests: [{name: a, on: x, evnt: {}, expect: {outcome: done}}]":                 "evnt",
		"tests: [{name: a, on: x, event: {a: .inf}, expect: {outcome: done}}]":         "a value cannot be written in JSON",
	} {
		report, err := ruletest.RunText(context.Background(), triage(t), "x", []byte(text), ruletest.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || len(report.Results) != 0 {
			t.Errorf("%s: got %v, %v, want %s", text, report, err, want)
		}
	}
}

func FuzzRunText(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("testdata", "triage_test.yaml"))
	if err != nil || len(data) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Add(strings.ReplaceAll(string(data), "event_file: issue.json", `event: {eventType: "avi:jira:created:issue"}`))
	f.Add("tests: [{name: a, on: avi:jira:deleted:issue, rule: other, expect: {calls: []}}]")
	f.Add("tests:\n- &a {name: a, on: x, event: [*a], expect: {outcome: done}}")
	rulesText, err := os.ReadFile(filepath.Join("testdata", "triage.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "event_file") {
			t.Skip("it reads files")
		}
		set := compileText(t, "triage.yaml", string(rulesText))
		report, err := ruletest.RunText(context.Background(), set, "x", []byte(text), ruletest.Options{})
		if err == nil && len(report.Results) == 0 {
			t.Error("no tests, and no error")
		}
	})
}
