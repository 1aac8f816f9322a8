package rules_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows/internal/config"
	"bellows/internal/rules"
)

// stepOf compiles a rule whose second step, behind one named find, has the
// given members, and returns that step.
func stepOf(tb testing.TB, on string, members ...string) *rules.Step {
	tb.Helper()
	r, _ := mustCompile(tb, withSecond(on, members...)).Rule("r")
	return r.Steps()[1]
}

func withSecond(on string, members ...string) string {
	return file("- name: r\n  on: " + on + "\n  product: jira\n  steps:\n" +
		"  - {name: find, request: {method: GET, path: /x}}\n" +
		"  - name: s\n    " + strings.Join(members, "\n    ") + "\n")
}

// paths renders the step for each of its items.
func paths(tb testing.TB, step *rules.Step, in rules.Input) (all []string) {
	tb.Helper()
	items, err := step.Items(in)
	if err != nil {
		tb.Fatal(err)
	}
	for _, item := range items {
		call, err := step.Render(item)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, step.Key(item)+" "+call.Path)
	}
	return all
}

func found(items ...any) rules.Input {
	return rules.Input{Steps: map[string]any{"find": map[string]any{"items": items}}, Event: map[string]any{"n": int64(7)}}
}

func TestAStepRunsForEachItem(t *testing.T) {
	step := stepOf(t, "avi:a:b", "for_each: steps.find.items", `request: {method: PUT, path: "/i/${item.key}/${index}/${event.n}"}`)
	in := found(map[string]any{"key": "A-1"}, map[string]any{"key": "A-2"})
	same(t, "paths", paths(t, step, in), []string{"s[0] /i/A-1/0/7", "s[1] /i/A-2/1/7"})
	same(t, "none", paths(t, step, found()), []string(nil))
	same(t, "each", step.Each(), true)
}

func TestAStepWithoutForEachRunsOnce(t *testing.T) {
	step := stepOf(t, "avi:a:b", `request: {method: GET, path: "/${event.n}"}`)
	same(t, "paths", paths(t, step, found()), []string{"s /7"})
	same(t, "each", step.Each(), false)
}

func TestItemsMayBeOfAnyKind(t *testing.T) {
	step := stepOf(t, "avi:a:b", `for_each: "['a', 1, true] + event.l.filter(x, x > 1)"`, `request: {method: PUT, path: "/${item}"}`)
	in := rules.Input{Event: map[string]any{"l": []any{int64(1), int64(2)}}}
	same(t, "paths", paths(t, step, in), []string{"s[0] /a", "s[1] /1", "s[2] /true", "s[3] /2"})
}

func TestAForEachThatGivesNoListIsFatal(t *testing.T) {
	many := make([]any, 1001)
	for _, c := range []struct {
		members []string
		in      rules.Input
		want    string
	}{
		{[]string{"for_each: steps.find.items"}, found(many...), "evaluating for_each (line 9, column 15): it gives 1001 items, at most 1000 are allowed"},
		{[]string{"for_each: steps.find.items", "max_items: 2"}, found(1, 2, 3), "it gives 3 items, at most 2 are allowed"},
		{[]string{"for_each: event.l.map(x, event.s)"}, hostileInput(), "its items: it is longer than 5242880 bytes"},
		{[]string{"for_each: event.l.map(a, event.l.map(b, event.l.map(c, c)))"}, hostileInput(), "limit exceeded"},
		{[]string{"for_each: event.n"}, found(), "it gives a value of type int, want a list"},
		{[]string{"for_each: event.gone"}, found(), "no such key: gone"},
		{[]string{"for_each: '[type(1)]'"}, found(), "its items: it gives a value of type type, which JSON does not have"},
	} {
		step := stepOf(t, "avi:a:b", append(c.members, "request: {method: GET, path: /x}")...)
		_, err := step.Items(c.in)
		var failed *rules.Error
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %s", c.members, err, c.want)
		}
	}
}

func TestResultsOfItemsAreCollected(t *testing.T) {
	one := map[string]any{"status": int64(200)}
	same(t, "plain", rules.Collect([]map[string]any{one, one}), map[string]any{"answers": []any{one, one}, "count": int64(2)})
	same(t, "none", rules.Collect(nil), map[string]any{"answers": []any{}, "count": int64(0)})
	first, second := map[string]any{"items": []any{"a"}}, map[string]any{"items": []any{"b", "c"}}
	same(t, "pages", rules.Collect([]map[string]any{first, second})["items"], []any{"a", "b", "c"})
}

func TestAStepMayActAsSomebodyElse(t *testing.T) {
	compiled := mustCompile(t, file("- name: r\n  on: call:x\n  as: {user: event.who}\n  product: jira\n  steps:\n"+
		"  - {name: rule, request: {method: GET, path: /x}}\n"+
		"  - {name: app, as: app, request: {method: GET, path: /x}}\n"+
		"  - {name: user, as: user, product: confluence, request: {method: GET, path: /x}}\n"+
		"  - {name: item, for_each: event.all, as: {user: item}, request: {method: GET, path: /x}}\n"+
		"  - {name: storage, request: {api: storage, method: POST, path: /v1/get}}\n"+
		"  - {name: forge, request: {api: forge, method: GET, path: /x}}\n"))
	in := rules.Input{Event: map[string]any{"who": "712020:a", "all": []any{"712020:b"}}}
	r, _ := compiled.Rule("r")
	var got []string
	for _, step := range r.Steps() {
		items, err := step.Items(in)
		if err != nil {
			t.Fatal(err)
		}
		call, err := step.Render(items[0])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %q %v %s", step.Name(), call.User, call.AsInvoking, step.Product()))
	}
	same(t, "calls", got, []string{
		`rule "712020:a" false jira`, `app "" false jira`, `user "" true confluence`, `item "712020:b" false jira`,
		`storage "" false jira`, `forge "" false jira`,
	})
}

func TestWhatAStatusMeans(t *testing.T) {
	step := stepOf(t, "avi:a:b", "on_status: {404: done, 4xx: dead, 5xx: retry, 202: retry, 408: retry}", "request: {method: GET, path: /x}")
	for status, want := range map[int]rules.Verdict{
		404: rules.VerdictDone, 400: rules.VerdictDead, 403: rules.VerdictDead, 500: rules.VerdictRetry, 504: rules.VerdictRetry,
		202: rules.VerdictRetry, 408: rules.VerdictRetry, 200: "", 301: "", 401: "", 425: "", 429: "", 0: "", 99: "",
	} {
		got, ok := step.OnStatus(status)
		if got != want || ok != (want != "") {
			t.Errorf("%d: got %q, %v, want %q", status, got, ok, want)
		}
	}
}

func TestAProbeAsksFirst(t *testing.T) {
	step := stepOf(t, "avi:a:b", "for_each: steps.find.items", "unless:", "  request: {method: GET, path: \"/i/${item}/properties/seen\", query: {a: \"${event.n}\"}}",
		"  present: answer.status == 200 && answer.body.value == item", `request: {method: POST, path: "/i/${item}/comment"}`)
	same(t, "safe", step.Safe(), true)
	items, err := step.Items(found("A-1"))
	if err != nil {
		t.Fatal(err)
	}
	call, ok, err := step.Probe(items[0])
	same(t, "probe", fmt.Sprint(call.Method, call.Path, call.Query, ok, err), "GET/i/A-1/properties/seenmap[a:[7]] true <nil>")
	for body, want := range map[string]bool{`{"value": "A-1"}`: true, `{"value": "A-2"}`: false} {
		present, err := step.Present(items[0], rules.Answer{Status: 200, Body: []byte(body)})
		if present != want || err != nil {
			t.Errorf("%s: got %v, %v", body, present, err)
		}
	}
	if present, err := step.Present(items[0], rules.Answer{Status: 404}); present || err != nil {
		t.Errorf("404: got %v, %v", present, err)
	}
}

func TestAProbeThatCannotBeReadIsFatal(t *testing.T) {
	step := stepOf(t, "avi:a:b", `unless: {request: {method: GET, path: "/${event.gone}"}, present: answer.body.value == 1}`, "request: {method: POST, path: /x}")
	_, ok, err := step.Probe(found())
	if want := `rule "r", step "s": evaluating unless.path (line 9, column 47): no such key: gone`; !ok || fmt.Sprint(err) != want {
		t.Errorf("got %v, %v", ok, err)
	}
	_, err = step.Present(found(), rules.Answer{Status: 200, Body: []byte(`{}`)})
	if err == nil || !strings.Contains(err.Error(), "evaluating unless.present") {
		t.Errorf("got %v", err)
	}
}

func TestAStepWithoutProbeHasNothingToAsk(t *testing.T) {
	step := stepOf(t, "avi:a:b", "request: {method: POST, path: /x}")
	if _, ok, err := step.Probe(found()); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if present, err := step.Present(found(), rules.Answer{}); present || err != nil {
		t.Errorf("got %v, %v", present, err)
	}
	same(t, "safe", step.Safe(), false)
}

func TestSomeStatusesTellNothingOfTheEffect(t *testing.T) {
	for status, want := range map[int]bool{200: true, 204: true, 404: true, 400: true, 410: true, 401: false, 403: false, 408: false, 425: false, 429: false, 301: false, 500: false, 503: false} {
		same(t, fmt.Sprint(status), rules.Tells(status), want)
	}
}

func TestAnswersAreSeenByExpressions(t *testing.T) {
	answer := rules.Answer{Status: 200, Header: http.Header{"X-A": {"1", "2"}}, Body: []byte(`{"n": 1}`)}
	same(t, "JSON", answer.View(), map[string]any{"status": int64(200), "headers": map[string]any{"x-a": "1, 2"}, "body": map[string]any{"n": int64(1)}})
	for body, want := range map[string]any{"": nil, "plain": "plain", "\xff": "\ufffd", "1e999": nil, "null": nil, `"x"`: "x"} {
		same(t, body, rules.Answer{Body: []byte(body)}.View()["body"], want)
	}
}

func TestARuleMayForwardItsJobs(t *testing.T) {
	set := mustCompile(t, file(
		"- name: own\n  on: avi:a:b\n  forward: {url: \"http://127.0.0.1:3000/jobs?x=1\", timeout: 45s}\n",
		"- name: plain\n  on: avi:a:b\n  forward: {url: \"http://127.0.0.1:3000\"}\n",
		rule("steps", "avi:a:b"),
	))
	var got []string
	for _, r := range set.Rules() {
		forward, ok := r.Forward()
		got = append(got, fmt.Sprint(forward.URL, " ", forward.Timeout, " ", ok, " ", len(r.Steps())))
	}
	same(t, "forwards", got, []string{"http://127.0.0.1:3000/jobs?x=1 45s true 0", "http://127.0.0.1:3000 30s true 0", " 0s false 1"})
}

func TestTheVersionIsThatOfTheFile(t *testing.T) {
	one, other := mustCompile(t, file(rule("r", "avi:a:b"))), mustCompile(t, file(rule("q", "avi:a:b")))
	again := mustCompile(t, file(rule("r", "avi:a:b")))
	if one.Version() == "" || one.Version() != again.Version() || one.Version() == other.Version() {
		t.Errorf("got %q, %q, %q", one.Version(), again.Version(), other.Version())
	}
	set, err := rules.Compile(&config.File{}, nil)
	if err != nil || set.Version() != "" {
		t.Errorf("got %q, %v", set.Version(), err)
	}
}

func TestWhenAJobWasReceivedIsATime(t *testing.T) {
	set := mustCompile(t, file(rule("r", "avi:a:b", "when: job.received > timestamp('2026-01-01T00:00:00Z')")))
	for received, want := range map[any]int{
		"2026-11-22T13:06:10.5Z": 1, "2025-11-22T13:06:10Z": 0, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC): 1,
	} {
		job := map[string]any{"received": received}
		matched, _ := set.Match("avi:a:b", "", "", rules.Input{Job: job})
		same(t, fmt.Sprint(received), len(matched), want)
		same(t, "the job given", job["received"], received)
	}
}
