package rules_test

import (
	"errors"
	"strings"
	"testing"

	"bellows/internal/config"
	"bellows/internal/manifest"
)

// wrong is a rule file and the beginning of what must be said about it.
type wrong struct{ name, text, want string }

var wrongs = []wrong{
	{"on something else", file(rule("r", "jira:issue_created")), `4:7: rule "r": on: "jira:issue_created" is no pattern, want the name of an event`},
	{"on half a name", file(rule("r", "avi:jira")), `4:7: rule "r": on: "avi:jira" is no pattern, want the whole name`},
	{"on a glob in a part", file(rule("r", "[avi:a:b, 'avi:jira:cre*:issue']")), `4:17: rule "r": on: "avi:jira:cre*:issue" is no pattern, want * only as a whole part`},
	{"on a name with a space", file(rule("r", "'avi:jira:created issue'")), `4:7: rule "r": on: "avi:jira:created issue" is no pattern, want letters`},
	{"on a colon at the end", file(rule("r", "'avi:jira:created:'")), `4:7: rule "r": on: "avi:jira:created:" is no pattern, want no colon at the end`},
	{"on nothing scheduled", file(rule("r", "'scheduled:'")), `4:7: rule "r": on: "scheduled:" is no pattern, want scheduled:<key`},
	{"on a wildcard schedule", file(rule("r", "'scheduled:*'")), `4:7: rule "r": on: "scheduled:*" is no pattern`},
	{"on an unknown schedule", file(rule("r", "scheduled:weekly")), `4:7: rule "r": on: the manifest has no scheduledTrigger "weekly" that calls an endpoint, it has hourly, nightly`},
	{"on a call of nothing", file(rule("r", "'call:'")), `4:7: rule "r": on: "call:" is no pattern, want call:<name`},
	{"on preUninstall of something", file(rule("r", "preUninstall:x")), `4:7: rule "r": on: "preUninstall:x" is no pattern, preUninstall stands alone`},
	{"on the same twice", file(rule("r", "[avi:a:b, avi:a:b]")), `4:17: rule "r": on: "avi:a:b" stands twice`},
	{"the user of an event", file(rule("r", "[call:x, avi:a:b]", "as: user")), `5:7: rule "r": as: user needs a user, and a job of "avi:a:b" has none`},
	{"the user of a schedule", file(rule("r", "scheduled:nightly", "as: user")), `5:7: rule "r": as: user needs a user`},
	{"the user of an uninstall", file(rule("r", "preUninstall", "as: user")), `5:7: rule "r": as: user needs a user`},

	{"when of an unknown name", file(rule("r", "avi:a:b", "when: evnt.x == 1")), `5:9: rule "r": when: undeclared reference to 'evnt'`},
	{"when with steps", file(rule("r", "avi:a:b", "when: steps.a.status == 200")), `5:9: rule "r": when: undeclared reference to 'steps'`},
	{"when without end", file(rule("r", "avi:a:b", "when: event.x ==")), `5:19: rule "r": when: Syntax error`},
	{"when in a block", file(rule("r", "avi:a:b", "when: |\n    event.x == 1 &&\n      foo")), `7:7: rule "r": when: undeclared reference to 'foo'`},
	{"when in quotes", file(rule("r", "avi:a:b", `when: "'\"' == 'a' && foo"`)), `5:25: rule "r": when: undeclared reference to 'foo'`},
	{"when that is text", file(rule("r", "avi:a:b", "when: \"'a'\"")), `5:10: rule "r": when: it gives a value of type string, want true or false`},
	{"when that is a number", file(rule("r", "avi:a:b", "when: 1")), `5:9: rule "r": when: it gives a value of type int`},
	{"when of two types", file(rule("r", "avi:a:b", "when: 1 + 'a' == 2")), `5:11: rule "r": when: found no matching overload for '_+_' applied to '(int, string)'`},
	{"when with an unknown function", file(rule("r", "avi:a:b", "when: event.x.foo()")), `5:20: rule "r": when: undeclared reference to 'foo'`},
	{"when with a bad regular expression", file(rule("r", "avi:a:b", `when: event.x.matches('(')`)), `5:25: rule "r": when: invalid matches argument`},
	{"when with a bad time", file(rule("r", "avi:a:b", `when: timestamp('now') > event.x`)), `5:19: rule "r": when: invalid timestamp argument`},
	{"an account that is a number", file(rule("r", "avi:a:b", "as: {user: 1 + 2}")), `5:14: rule "r": as: it gives a value of type int, want an account id`},
	{"an account of an unknown name", file(rule("r", "avi:a:b", "as: {user: foo}")), `5:14: rule "r": as: undeclared reference to 'foo'`},

	{"when with an item", file(rule("r", "avi:a:b", "when: item == 1")), `5:9: rule "r": when: undeclared reference to 'item'`},
	{"an item without for_each", request(`method: GET, path: "/${item}"`), `6:38: rule "r", step "step-1": path: undeclared reference to 'item'`},
	{"a for_each over itself", withSecond("avi:a:b", "for_each: item", "request: {method: GET, path: /x}"), `9:15: rule "r", step "s": for_each: undeclared reference to 'item'`},
	{"a for_each of a number", withSecond("avi:a:b", "for_each: 1 + 2", "request: {method: GET, path: /x}"), `9:15: rule "r", step "s": for_each: it gives a value of type int, want a list`},
	{"items of a number", withSecond("avi:a:b", "paginate: {style: link, items: size(body)}", "request: {method: GET, path: /x}"), `9:36: rule "r", step "s": paginate.items: it gives a value of type int, want a list`},
	{"an unknown cursor", withSecond("avi:a:b", "paginate: {style: cursor, items: body.x, cursor: answer.x}", "request: {method: GET, path: /x}"), `9:54: rule "r", step "s": paginate.cursor: undeclared reference to 'answer'`},
	{"a body of no page", withSecond("avi:a:b", `request: {method: GET, path: "/${body.x}"}`), `9:38: rule "r", step "s": path: undeclared reference to 'body'`},
	{"an answer of no probe", withSecond("avi:a:b", `request: {method: GET, path: "/${answer.x}"}`), `9:38: rule "r", step "s": path: undeclared reference to 'answer'`},
	{"a probe of text", withSecond("avi:a:b", `unless: {request: {method: GET, path: /x}, present: "'x'"}`, "request: {method: POST, path: /x}"), `9:58: rule "r", step "s": unless.present: it gives a value of type string, want true or false`},
	{"a probe with a bad path", withSecond("avi:a:b", `unless: {request: {method: GET, path: x}, present: "true"}`, "request: {method: POST, path: /x}"), `9:43: rule "r", step "s": unless.path: a path must begin with a slash`},
	{"a step as the user of an event", withSecond("avi:a:b", "as: user", "request: {method: GET, path: /x}"), `9:9: rule "r", step "s": as: user needs a user, and a job of "avi:a:b" has none`},
	{"a step as an unknown account", withSecond("avi:a:b", "as: {user: foo}", "request: {method: GET, path: /x}"), `9:16: rule "r", step "s": as: undeclared reference to 'foo'`},
	{"a path without slash", request(`method: GET, path: rest/api`), `6:34: rule "r", step "step-1": path: a path must begin with a slash`},
	{"a path from the event", request(`method: GET, path: "${event.self}"`), `6:35: rule "r", step "step-1": path: a path must begin with a slash`},
	{"a path with dots", request(`method: GET, path: /a/../b`), `6:34: rule "r", step "step-1": path: a path must not have a . or .. segment`},
	{"a path with hidden dots", request(`method: GET, path: /a/%2e%2E/b`), `6:34: rule "r", step "step-1": path: a path must not have a . or .. segment`},
	{"a path with two slashes", request(`method: GET, path: /a//b`), `6:34: rule "r", step "step-1": path: a path must not have an empty segment`},
	{"a path with a query", request(`method: GET, path: "/a?b=${event.x}"`), `6:37: rule "r", step "step-1": path: a path must not have '?', use "query"`},
	{"a path with a fragment", request(`method: GET, path: "/a#b"`), `6:37: rule "r", step "step-1": path: a path must not have '#'`},
	{"a path with a space", request(`method: GET, path: "/a/${event.x}/b c"`), `6:50: rule "r", step "step-1": path: a path must not have ' ', write it escaped`},
	{"a path with a semicolon", request(`method: GET, path: "/a;b"`), `6:37: rule "r", step "step-1": path: a path must not have ';'`},
	{"a path with a backslash", request(`method: GET, path: '/a\b'`), `6:37: rule "r", step "step-1": path: a path must not have '\\'`},
	{"a path with an accent", request(`method: GET, path: /é`), `6:35: rule "r", step "step-1": path: a path must not have 'é'`},
	{"a path with a hidden slash", request(`method: GET, path: /a%2Fb`), `6:36: rule "r", step "step-1": path: a path must not have a %`},
	{"a path with a hidden percent", request(`method: GET, path: /a%25b`), `6:36: rule "r", step "step-1": path: a path must not have a %`},
	{"a path with half an escape", request(`method: GET, path: /a%2`), `6:36: rule "r", step "step-1": path: a path must not have a %`},
	{"a path that is not closed", request(`method: GET, path: "/a/${event.x"`), `6:38: rule "r", step "step-1": path: ${ has no }`},
	{"a path closed in a string", request(`method: GET, path: "/a/${'}"`), `6:38: rule "r", step "step-1": path: ${ has no }`},
	{"a path of nothing", request(`method: GET, path: "/a/${ }"`), `6:38: rule "r", step "step-1": path: ${} is empty`},
	{"a path of an unknown name", request(`method: GET, path: "/a/${event.x}/${foo}"`), `6:51: rule "r", step "step-1": path: undeclared reference to 'foo'`},

	{"a later step", file("- name: r\n  on: avi:a:b\n  steps:\n  - {name: a, request: {method: GET, path: \"/${steps.b.status}\"}}\n  - {name: b, request: {method: GET, path: /x}}\n"),
		`6:48: rule "r", step "a": path: no step before this one is named "b"`},
	{"a step that is not there", request(`method: POST, path: /x, body: {a: "${steps['fnd'].body}"}`), `6:52: rule "r", step "step-1": body.a: no step before this one is named "fnd"`},
	{"an optional step that is not there", request(`method: POST, path: /x, body: {a: "${steps.?fnd.?body}"}`), `6:52: rule "r", step "step-1": body.a: no step before`},
	{"a header of ours", request(`method: GET, path: /x, headers: {Authorization: x}`), `6:48: rule "r", step "step-1": header "Authorization": is not for rules to set`},
	{"a header of Forge's", request(`method: GET, path: /x, headers: {x-forge-oauth-system: x}`), `6:48: rule "r", step "step-1": header "x-forge-oauth-system": is not for rules`},
	{"a header of a proxy", request(`method: GET, path: /x, headers: {proxy-authorization: x}`), `6:48: rule "r", step "step-1": header "proxy-authorization": is not for rules`},
	{"a header of the connection", request(`method: GET, path: /x, headers: {host: x}`), `6:48: rule "r", step "step-1": header "host": is not for rules`},
	{"a header with a space", request(`method: GET, path: /x, headers: {"a b": x}`), `6:49: rule "r", step "step-1": header "a b": is no name of a header`},
	{"a header without a name", request(`method: GET, path: /x, headers: {"": x}`), `6:49: rule "r", step "step-1": header "": is no name of a header`},
	{"a header twice", request(`method: GET, path: /x, headers: {x-a: 1, X-A: 2}`), `6:56: rule "r", step "step-1": header "X-A": stands twice`},
	{"a header of two lines", request(`method: GET, path: /x, headers: {a: "b\nc"}`), `6:52: rule "r", step "step-1": header "a": the value has a line end`},
	{"a parameter without a name", request(`method: GET, path: /x, query: {"": x}`), `6:47: rule "r", step "step-1": query "": a parameter needs a name`},
	{"a parameter of an unknown name", request(`method: GET, path: /x, query: {q: "a ${foo}"}`), `6:54: rule "r", step "step-1": query "q": undeclared reference to 'foo'`},
	{"a body of text and expression", request(`method: POST, path: /x, body: "${event.x} y"`), `6:46: rule "r", step "step-1": body: a body must be a mapping`},
	{"a body of an unknown name", request(`method: POST, path: /x, body: {a: [1, {b: "é ${foo}"}]}`), `6:62: rule "r", step "step-1": body.a[1].b: undeclared reference to 'foo'`},
}

func TestWrongRulesAreRefusedWithPlaceAndReason(t *testing.T) {
	m := &manifest.Manifest{Scheduled: []manifest.ScheduledTrigger{{Key: "hourly"}, {Key: "nightly"}}}
	for _, w := range wrongs {
		t.Run(w.name, func(t *testing.T) {
			set, err := compile(w.text, m)
			var failed *config.Error
			if !errors.As(err, &failed) || set != nil {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			if !strings.HasPrefix(err.Error(), "b.yaml:"+w.want) {
				t.Errorf("got  %s\nwant %s", err, w.want)
			}
		})
	}
}

func TestEverythingWrongIsToldAtOnceInOrder(t *testing.T) {
	_, err := compile(file(
		rule("a", "scheduled:gone", "when: foo", "as: {user: bar}"),
		"- name: b\n  on: avi:b\n  steps:\n  - request:\n      method: GET\n      path: a${baz}\n      headers: {host: \"${x}\"}\n",
	), &manifest.Manifest{})
	if err == nil {
		t.Fatal("got no error")
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		lines = append(lines, strings.Split(line, ":")[1])
	}
	same(t, "lines", lines, []string{"4", "5", "6", "9", "13", "13", "14", "14"})
}

func TestAScheduleIsNotCheckedWithoutAManifest(t *testing.T) {
	if _, err := compile(file(rule("r", "scheduled:any")), nil); err != nil {
		t.Error(err)
	}
	if _, err := compile(file(rule("r", "scheduled:any")), &manifest.Manifest{}); err == nil {
		t.Error("got no error with a manifest that has none")
	}
}
