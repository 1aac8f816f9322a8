package rules_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"bellows/internal/config"
	"bellows/internal/manifest"
	"bellows/internal/rules"
)

// request writes a rule of one step with the given request, in flow form, on
// line 6.
func request(members string) string {
	return file("- name: r\n  on: avi:a:b\n  steps:\n  - request: {" + members + "}\n")
}

// render makes the request of the only step.
func render(tb testing.TB, text string, in rules.Input) (rules.Call, error) {
	tb.Helper()
	r, _ := mustCompile(tb, text).Rule("r")
	return r.Steps()[0].Render(in)
}

func mustRender(tb testing.TB, text string, in rules.Input) rules.Call {
	tb.Helper()
	call, err := render(tb, text, in)
	if err != nil {
		tb.Fatal(err)
	}
	return call
}

func TestARequestIsMade(t *testing.T) {
	call := mustRender(t, request(`method: POST, path: "/rest/api/3/issue/${event.issue.key}/comment", `+
		`query: {expand: [a, "${event.issue.id}"], notify: false}, headers: {x-job: "${job.id}-${job.attempt}"}, `+
		`body: {note: "${event.issue.key} seen", labels: "${event.issue.fields.labels}"}`), issueInput(t))
	same(t, "call", call, rules.Call{
		API: "product", Method: "POST", Path: "/rest/api/3/issue/PEL-42/comment",
		Query:  url.Values{"expand": {"a", "10417"}, "notify": {"false"}},
		Header: http.Header{"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Job": {"j1-2"}},
		Body:   []byte(`{"note":"PEL-42 seen","labels":["a","b"]}`),
	})
}

func TestARuleMayChooseItsContentTypes(t *testing.T) {
	call := mustRender(t, request(`method: PATCH, path: /x, headers: {accept: text/plain, content-type: application/json-patch+json}, body: []`), rules.Input{})
	same(t, "header", call.Header, http.Header{"Accept": {"text/plain"}, "Content-Type": {"application/json-patch+json"}})
	same(t, "body", string(call.Body), "[]")
}

func TestARequestWithoutBodyHasNoContentType(t *testing.T) {
	call := mustRender(t, request(`method: GET, path: /x`), rules.Input{})
	same(t, "header", call.Header, http.Header{"Accept": {"application/json"}})
	same(t, "body", call.Body, []byte(nil))
}

func TestGraphQLHasNoPath(t *testing.T) {
	call := mustRender(t, request(`api: graphql, body: {query: "query($a: ID!) { x(id: $a) }", variables: {a: "${event.a}"}}`),
		rules.Input{Event: map[string]any{"a": "1"}})
	same(t, "method, path", call.Method+call.Path, "POST")
	same(t, "body", string(call.Body), `{"query":"query($a: ID!) { x(id: $a) }","variables":{"a":"1"}}`)
}

// as writes a rule that acts as somebody.
func as(on, who string) string {
	return file("- name: r\n  on: " + on + "\n  as: " + who + "\n" + steps)
}

func TestARuleSaysWhoItActsAs(t *testing.T) {
	in := rules.Input{Event: map[string]any{"who": "712020:0aa1", "n": int64(5), "empty": "", "bad": "a\nb", "m": map[string]any{}}}
	for who, want := range map[string]string{
		"app":                 "app",
		"user":                "invoking",
		"{user: event.who}":   "712020:0aa1",
		"{user: \"'qm:a'\"}":  "qm:a",
		"{user: event.n}":     "it gives a value of type int, want an account id",
		"{user: event.m}":     "it gives a value of type map, want an account id",
		"{user: event.empty}": "it gives an empty account id",
		"{user: event.bad}":   "it gives a text that is no account id",
		"{user: event.none}":  "no such key: none",
	} {
		call, err := render(t, as("call:x", who), in)
		got := call.User
		switch {
		case err != nil:
			_, got, _ = strings.Cut(err.Error(), "): ")
			if !strings.HasPrefix(err.Error(), `rule "r", step "step-1": evaluating as (line 5, column 14): `) {
				t.Errorf("%s: got %v", who, err)
			}
		case call.AsInvoking:
			got += "invoking"
		case got == "":
			got = "app"
		}
		same(t, who, got, want)
	}
}

func TestBodiesKeepTypes(t *testing.T) {
	in := issueInput(t)
	in.Event.(map[string]any)["html"] = "<a> & \"b\" \u2028"
	in.Event.(map[string]any)["big"] = int64(9007199254740993)
	in.Event.(map[string]any)["half"] = 0.5
	in.Event.(map[string]any)["whole"] = 3.0
	in.Event.(map[string]any)["n"] = int64(7)
	for value, want := range map[string]string{
		`5`: "5", `0x10`: "16", `1.50`: "1.5", `true`: "true", `null`: "null", `~`: "null", `"5"`: `"5"`, `2026-01-02`: `"2026-01-02"`,
		`"${event.n}"`: "7", `"${event.n + 1}"`: "8", `" ${event.n}"`: `" 7"`, `"${event.n}${event.n}"`: `"77"`,
		`"${event.big}"`: "9007199254740993", `"${event.half}"`: "0.5", `"${event.whole}"`: "3", `"${1u}"`: "1",
		`"${event.issue.fields.assignee}"`: "null", `"${event.selfGenerated}"`: "false",
		`"${event.issue.fields.issuetype}"`:             `{"hierarchyLevel":0,"id":"10004","name":"Bug"}`,
		`"${{'b': 1, 'a': [1, 'x', null]}}"`:            `{"a":[1,"x",null],"b":1}`,
		`"${{2: 'x', true: 'y'}}"`:                      `{"2":"x","true":"y"}`,
		`"${event.issue.fields.labels.map(l, {l: 1})}"`: `[{"a":1},{"b":1}]`,
		`"${timestamp('2026-01-02T03:04:05+01:00')}"`:   `"2026-01-02T02:04:05Z"`,
		`"${job.received}"`:                             `"1970-01-01T00:00:00Z"`,
		`"at ${job.received}"`:                          `"at 1970-01-01T00:00:00Z"`,
		`"${duration('90s')}"`:                          `"90s"`, `"${duration('1500ms')}"`: `"1.5s"`,
		`"${b'abc'}"`:                         `"YWJj"`,
		`"${event.html}"`:                     `"<a> & \"b\" \u2028"`,
		`"${event.?nothing.orValue('none')}"`: `"none"`,
		`"${event.?n}"`:                       "7",
		`"$${event.n} costs $5 {} }"`:         `"${event.n} costs $5 {} }"`,
		`"$$${event.n}"`:                      `"$${event.n}"`,
		`"${'}'}${\"{\"}"`:                    `"}{"`,
		`"${r'\\'}${'\\'' + '}'}"`:            `"\\'}"`,
		`"${'''it's } '''}"`:                  `"it's } "`,
		`{a: [{b: "${event.n}"}]}`:            `{"a":[{"b":7}]}`,
	} {
		call, err := render(t, request(`method: POST, path: /x, body: {v: `+value+`}`), in)
		if err != nil {
			t.Errorf("%s: %v", value, err)
			continue
		}
		same(t, value, string(call.Body), `{"v":`+want+`}`)
	}
}

func TestABodyMayBeOneExpression(t *testing.T) {
	call := mustRender(t, request(`method: POST, path: /x, body: "${event.l}"`), rules.Input{Event: map[string]any{"l": []any{int64(1)}}})
	same(t, "body", string(call.Body), "[1]")
}

func TestAnExpressionMayStandInABlock(t *testing.T) {
	call := mustRender(t, file("- name: r\n  on: avi:a:b\n  steps:\n  - request:\n      method: POST\n      path: /x\n"+
		"      body: |-\n        ${{'a': // the first }\n"+"        1}}\n"), rules.Input{})
	same(t, "body", string(call.Body), `{"a":1}`)
}

func TestEarlierAnswersAreSeen(t *testing.T) {
	set := mustCompile(t, file("- name: r\n  on: avi:a:b\n  steps:\n"+
		"  - {name: find, request: {method: GET, path: /x}}\n"+
		"  - {request: {method: POST, path: \"/y/${steps.find.body.issues[0].key}\", body: {s: \"${steps.find.status}\"}}}\n"+
		"  - {request: {method: GET, path: \"/z/${steps['step-2'].status}/${steps.?find.status.orValue(0)}\"}}\n"))
	r, _ := set.Rule("r")
	answer := map[string]any{"status": int64(200), "headers": map[string]any{}, "body": map[string]any{"issues": []any{map[string]any{"key": "A-1"}}}}
	in := rules.Input{Steps: map[string]any{"find": answer, "step-2": answer}}
	second, err := r.Steps()[1].Render(in)
	same(t, "error", err, nil)
	same(t, "second", second.Path+string(second.Body), `/y/A-1{"s":200}`)
	third, err := r.Steps()[2].Render(in)
	same(t, "error", err, nil)
	same(t, "third", third.Path, "/z/200/200")
}

func TestWhatCannotBeRenderedNamesItsPlace(t *testing.T) {
	deep := any("x")
	for range 300 {
		deep = []any{deep}
	}
	in := rules.Input{Event: map[string]any{
		"n": int64(1), "nil": nil, "l": []any{}, "half": 0.5, "empty": "", "up": "..", "crlf": "a\r\nX-Evil: 1", "deep": deep,
		"long": strings.Repeat("a", 100_000), "huge": strings.Repeat("a", 6<<20), "chan": make(chan int),
	}}
	for _, c := range []struct{ members, want string }{
		{`method: GET, path: "/a/${event.gone}"`, `evaluating path (line 6, column 40): no such key: gone`},
		{`method: GET, path: "/a/${event.nil}"`, `evaluating path (line 6, column 40): it gives a value of type null_type, want a string, a number or a boolean`},
		{`method: GET, path: "/a/${event.l}"`, `it gives a value of type list`},
		{`method: GET, path: "/a/${event.half}"`, `it gives a number that is not whole`},
		{`method: GET, path: "/a/${event.n / 0}"`, `division by zero`},
		{`method: GET, path: "/a/${event.empty}"`, `evaluating path (line 6, column 34): a segment is empty`},
		{`method: GET, path: "/a/${event.up}"`, `a segment is . or .. or holds one`},
		{`method: GET, path: "/a/.${event.empty}./b"`, `a segment is . or .. or holds one`},
		{`method: GET, path: "/a/${event.long}"`, `longer than 65536 bytes`},
		{`method: GET, path: /a, query: {q: "${event.gone}"}`, `evaluating query "q" (line 6, column 52): no such key: gone`},
		{`method: GET, path: /a, query: {q: "${event.l}"}`, `it gives a value of type list`},
		{`method: GET, path: /a, headers: {h: "${event.crlf}"}`, `evaluating header "h" (line 6, column 51): it has a line end`},
		{`method: POST, path: /a, body: {a: [1, {b: "${event.gone}"}]}`, `evaluating body.a[1].b (line 6, column 60): no such key: gone`},
		{`method: POST, path: /a, body: {a: "x ${event.nil}"}`, `it gives a value of type null_type`},
		{`method: POST, path: /a, body: {a: "${event.?gone}"}`, `it gives an optional without a value`},
		{`method: POST, path: /a, body: {a: "${event.huge}"}`, `it is longer than 5242880 bytes`},
		{`method: POST, path: /a, body: {a: "${[event.long].map(x, [x,x,x,x,x,x,x,x,x,x]).map(x, [x,x,x,x,x,x,x,x,x,x])}"}`, `it is longer than`},
		{`method: POST, path: /a, body: {a: "${event.deep}"}`, `it is nested more than 200 deep`},
		{`method: POST, path: /a, body: {a: "${type(1)}"}`, `it gives a value of type type, which JSON does not have`},
		{`method: POST, path: /a, body: {a: "${0.0 / 0.0}"}`, `it gives a number that is not finite`},
		{`method: POST, path: /a, body: {a: "${{1: 'x', '1': 'y'}}"}`, `it gives a map with two keys that are "1" in JSON`},
		{`method: POST, path: /a, body: {a: "${event.chan}"}`, `unsupported`},
	} {
		call, err := render(t, request(c.members), in)
		var failed *rules.Error
		if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), `rule "r", step "step-1": evaluating `) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.members, err, c.want)
		}
		same(t, "call", call, rules.Call{})
		if len(fmt.Sprint(err)) > 500 {
			t.Errorf("%s: the error is long: %d", c.members, len(err.Error()))
		}
	}
}

func ExampleStep_Render() {
	parsed, _ := config.Parse("bellows.yaml", []byte(`
version: 1
rules:
  - name: triage-bugs
    on: avi:jira:created:issue
    when: event.issue.fields.issuetype.name == 'Bug' && !event.?selfGenerated.orValue(false)
    steps:
      - name: comment
        request:
          method: POST
          path: /rest/api/3/issue/${event.issue.key}/comment
          body: {note: "${event.issue.key} seen", labels: "${event.issue.fields.labels}"}
`))
	set, err := rules.Compile(parsed, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	event, _ := rules.DecodeEvent([]byte(`{"issue": {"key": "PEL-42", "fields": {"issuetype": {"name": "Bug"}, "labels": ["a"]}}}`))
	in := rules.Input{Event: event}
	matched, _ := set.Match("avi:jira:created:issue", "", "", in)
	for _, step := range matched[0].Rule.Steps() {
		call, err := step.Render(in)
		fmt.Println(call.Method, call.Path, string(call.Body), err)
	}
	// Output: POST /rest/api/3/issue/PEL-42/comment {"note":"PEL-42 seen","labels":["a"]} <nil>
}

func ExampleCompile() {
	parsed, _ := config.Parse("bellows.yaml", []byte(`version: 1
rules:
  - name: nightly
    on: scheduled:nigthly
    when: evnt.x == 1
    steps:
      - request: {method: GET, path: "/rest/api/3/issue/${event.issue.}"}
`))
	_, err := rules.Compile(parsed, &manifest.Manifest{Scheduled: []manifest.ScheduledTrigger{{Key: "nightly"}}})
	fmt.Println(err)
	// Output:
	// bellows.yaml:4:9: rule "nightly": on: the manifest has no scheduledTrigger "nigthly" that calls an endpoint, it has nightly
	// bellows.yaml:5:11: rule "nightly": when: undeclared reference to 'evnt' (did you mean 'event'?)
	// bellows.yaml:7:71: rule "nightly", step "step-1": path: Syntax error: no viable alternative at input '.'
}
