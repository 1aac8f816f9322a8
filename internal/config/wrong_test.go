package config_test

import (
	"errors"
	"strings"
	"testing"

	"bellows/internal/config"
)

// wrong is a file and the beginning of what must be said about it.
type wrong struct{ name, text, want string }

// withRule puts members, from line 3 on, into a rule that lacks them.
func withRule(lines ...string) string {
	return "version: 1\nrules:\n- " + strings.Join(lines, "\n  ") + "\n"
}

// withStep puts members, from line 6 on, into a step of a rule that is right.
func withStep(lines ...string) string {
	return withRule("name: a", "on: avi:a:b", "steps:", "- "+strings.Join(lines, "\n    "))
}

// withRequest puts members, from line 7 on, into a request that lacks them.
func withRequest(lines ...string) string {
	return withStep("request:", "  "+strings.Join(lines, "\n      "))
}

// withRoute puts a route on line 2.
func withRoute(route string) string { return "version: 1\nroutes: [" + route + "]\n" }

const rest = "steps: [{request: {method: GET, path: /x}}]"

var wrongs = []wrong{
	{"empty", "", "1:1: the file is empty"},
	{"only a comment", "# x\n", "1:1: the file is empty"},
	{"no YAML", "rules: [\nb: }", "2:4: not YAML: "},
	{"a list", "- a\n", "1:1: the file is a list, want a mapping"},
	{"two documents", "version: 1\n---\nversion: 1\n", "2:1: a second document starts here"},
	{"no version", "rules: []\n", "1:1: \"version: 1\" is missing"},
	{"a later version", "version: 2\n", "1:10: version is \"2\""},
	{"an unknown member", "version: 1\nrulez: []\n", "2:1: unknown member \"rulez\" in the file, did you mean \"rules\"?"},
	{"a member like no other", "version: 1\nfoo: []\n", "2:1: unknown member \"foo\" in the file, known are routes, rules, version"},
	{"a member twice", "version: 1\nversion: 1\n", "2:1: \"version\" stands twice in the file"},
	{"a member without value", "version: 1\nrules:\n", "2:7: \"rules\" in the file has no value"},
	{"rules as a mapping", "version: 1\nrules: {a: b}\n", "2:8: rules is a mapping, want a list"},
	{"a rule as text", "version: 1\nrules: [a]\n", "2:9: a rule is \"a\", want a mapping"},
	{"merge keys", "version: 1\nrules:\n- <<: {name: a}\n  name: b\n  on: avi:a:b\n  " + rest + "\n", "3:3: merge keys (<<) are not allowed"},

	{"a rule without name", withRule("on: avi:a:b", rest), "3:3: a rule needs \"name\""},
	{"a rule without on", withRule("name: a", rest), "3:3: a rule needs \"on\""},
	{"a rule without steps", withRule("name: a", "on: avi:a:b"), "3:3: a rule needs either \"steps\" or \"forward\""},
	{"a rule with a bad name", withRule("name: a b", "on: avi:a:b", rest), "3:9: the name of a rule is \"a b\", want 1 to 64 letters"},
	{"two rules of one name", withRule("name: a", "on: avi:a:b", rest) + "- name: a\n  on: avi:a:b\n  " + rest, "6:3: the rule name \"a\" is taken (line 3)"},
	{"for_each in a rule", withRule("name: a", "on: avi:a:b", "for_each: event.x", rest), "5:3: \"for_each\" belongs in a step, not in a rule"},
	{"unless in a rule", withRule("name: a", "on: avi:a:b", "unless: {}", rest), "5:3: \"unless\" belongs in a step, not in a rule"},
	{"when in a step", withStep("when: event.x", "request: {method: GET, path: /x}"), "6:5: \"when\" belongs in a rule, not in a step"},
	{"a path in a step", withStep("method: GET", "path: /x"), "6:5: \"method\" belongs in the request, not in a step"},
	{"a timeout in a request", withRequest("method: GET", "path: /x", "timeout: 5s"), "9:7: \"timeout\" belongs in a step, not in a request"},
	{"steps and forward", withRule("name: a", "on: avi:a:b", "forward: {url: 'http://h'}", rest), "3:3: a rule needs either \"steps\" or \"forward\""},
	{"as of a forward", withRule("name: a", "on: avi:a:b", "as: app", "forward: {url: 'http://h'}"), "3:3: \"as\" says nothing in a rule with \"forward\""},
	{"product of a forward", withRule("name: a", "on: avi:a:b", "product: jira", "forward: {url: 'http://h'}"), "3:3: \"product\" says nothing in a rule with \"forward\""},
	{"a rule that forwards nowhere", withRule("name: a", "on: avi:a:b", "forward: {timeout: 5s}"), "5:12: forward needs \"url\""},
	{"a rule that forwards to a file", withRule("name: a", "on: avi:a:b", "forward: {url: 'file:///x'}"), "5:18: url is not absolute"},
	{"a rule that forwards to a fragment", withRule("name: a", "on: avi:a:b", "forward: {url: 'http://h/#x'}"), "5:18: url has a query or a fragment"},
	{"a rule that forwards a size", withRule("name: a", "on: avi:a:b", "forward: {url: 'http://h', max_body: 1MiB}"), "5:30: unknown member \"max_body\" in forward of a rule"},
	{"a for_each in braces", withStep("for_each: ${event.x}", "request: {method: GET, path: /x}"), "6:15: for_each is an expression as it stands"},
	{"an empty for_each", withStep("for_each: ''", "request: {method: GET, path: /x}"), "6:15: for_each is empty"},
	{"max_items without for_each", withStep("max_items: 5", "request: {method: GET, path: /x}"), "6:5: \"max_items\" says nothing without \"for_each\""},
	{"a million items", withStep("for_each: event.x", "max_items: 1000000", "request: {method: GET, path: /x}"), "7:16: max_items is \"1000000\", want a whole number from 1 to 10000"},
	{"an unknown style", withStep("paginate: {style: offset, items: body.x}", "request: {method: GET, path: /x}"), "6:23: style is \"offset\", want one of start_at, cursor, link"},
	{"a misspelt style", withStep("paginate: {style: start-at, items: body.x}", "request: {method: GET, path: /x}"), "6:23: style is \"start-at\", did you mean \"start_at\"?"},
	{"pages without style", withStep("paginate: {items: body.x}", "request: {method: GET, path: /x}"), "6:15: paginate needs \"style\""},
	{"pages without items", withStep("paginate: {style: link}", "request: {method: GET, path: /x}"), "6:15: paginate needs \"items\""},
	{"a total of a cursor", withStep("paginate: {style: cursor, items: body.x, total: body.n}", "request: {method: GET, path: /x}"), "6:15: \"total\" is only for style start_at"},
	{"a parameter of a link", withStep("paginate: {style: link, items: body.x, param: p}", "request: {method: GET, path: /x}"), "6:15: the link says all"},
	{"a parameter and a member", withStep("paginate: {style: cursor, items: body.x, param: p, member: m}", "repeatable: true", "request: {method: POST, path: /x, body: {}}"), "6:15: paginate has \"param\" and \"member\""},
	{"a member without body", withStep("paginate: {style: cursor, items: body.x, member: m}", "request: {method: GET, path: /x}"), "6:15: the request has no body to put \"member\" in"},
	{"a member with a hole", withStep("paginate: {style: cursor, items: body.x, member: 'a..b'}", "repeatable: true", "request: {method: POST, path: /x, body: {}}"), "6:54: member is \"a..b\", want names with dots between"},
	{"an empty parameter", withStep("paginate: {style: cursor, items: body.x, param: ''}", "request: {method: GET, path: /x}"), "6:53: param is \"\", want the name"},
	{"too many pages", withStep("paginate: {style: link, items: body.x, max_pages: 0}", "request: {method: GET, path: /x}"), "6:55: max_pages is \"0\""},
	{"pages of a PUT", withStep("paginate: {style: link, items: body.x}", "request: {method: PUT, path: /x}"), "6:15: a PUT request has no pages"},
	{"pages of a POST", withStep("paginate: {style: cursor, items: body.x}", "request: {method: POST, path: /x}"), "6:15: a POST that reads pages must say \"repeatable: true\""},
	{"pages of graphql by a parameter", withStep("paginate: {style: cursor, items: body.x}", "repeatable: true", "request: {api: graphql, body: {query: x}}"), "6:15: api graphql has no query parameters"},
	{"pages with a probe", withStep("paginate: {style: link, items: body.x}", "unless: {request: {method: GET, path: /x}, present: 'true'}", "request: {method: GET, path: /x}"), "7:13: a step that reads pages has no effect"},
	{"a probe without request", withStep("unless: {present: 'true'}", "request: {method: POST, path: /x}"), "6:13: unless needs \"request\""},
	{"a probe without condition", withStep("unless: {request: {method: GET, path: /x}}", "request: {method: POST, path: /x}"), "6:13: unless needs \"present\""},
	{"a probe that changes", withStep("unless: {request: {method: PUT, path: /x}, present: 'true'}", "request: {method: POST, path: /x}"), "6:23: the request of unless only asks, a PUT would change something"},
	{"statuses as a list", withStep("on_status: [404]", "request: {method: GET, path: /x}"), "6:16: on_status is a list, want a mapping"},
	{"no status", withStep("on_status: {4: done}", "request: {method: GET, path: /x}"), "6:17: \"4\" in on_status is no status, want one like 404 or a class like 5xx"},
	{"a status of the connection", withStep("on_status: {101: done}", "request: {method: GET, path: /x}"), "6:17: \"101\" in on_status is no status"},
	{"a class of ten", withStep("on_status: {40x: done}", "request: {method: GET, path: /x}"), "6:17: \"40x\" in on_status is no status"},
	{"a status twice", withStep("on_status: {404: done, 404: dead}", "request: {method: GET, path: /x}"), "6:28: \"404\" stands twice in on_status"},
	{"a status of the token", withStep("on_status: {401: done}", "request: {method: GET, path: /x}"), "6:17: 401 always means the same"},
	{"a status of a limit", withStep("on_status: {429: dead}", "request: {method: GET, path: /x}"), "6:17: 429 always means the same"},
	{"an unknown verdict", withStep("on_status: {404: ok}", "request: {method: GET, path: /x}"), "6:22: the verdict is \"ok\", want one of done, retry, dead"},
	{"an unsafe retry after a class", withStep("on_status: {5xx: retry}", "request: {method: POST, path: /x}"), "6:5: to retry 5xx may repeat what the request did"},
	{"an unsafe retry after an answer", withStep("on_status: {202: retry}", "request: {method: POST, path: /x}"), "6:5: to retry 202 may repeat"},
	{"an unsafe retry after a lost answer", withStep("on_status: {504: retry}", "request: {method: POST, path: /x}"), "6:5: to retry 504 may repeat"},
	{"storage as the user", withStep("as: user", "request: {api: storage, method: POST, path: /x}"), "6:9: api storage takes only the app's own token"},
	{"as of nobody in a step", withStep("as: admin", "request: {method: GET, path: /x}"), "6:9: as is \"admin\", want app, user or {user: expression}"},
	{"an empty on", withRule("name: a", "on: []", rest), "4:7: on is an empty list"},
	{"a mapping in on", withRule("name: a", "on: [{a: b}]", rest), "4:8: a pattern of on is a mapping"},
	{"an empty when", withRule("name: a", "on: avi:a:b", "when: ' '", rest), "5:9: when is empty"},
	{"a when in braces", withRule("name: a", "on: avi:a:b", "when: ${event.x}", rest), "5:9: when is an expression as it stands"},
	{"a when that is a list", withRule("name: a", "on: avi:a:b", "when: [a]", rest), "5:9: when is a list"},
	{"as of nobody", withRule("name: a", "on: avi:a:b", "as: admin", rest), "5:7: as is \"admin\", want app, user or {user: expression}"},
	{"as without user", withRule("name: a", "on: avi:a:b", "as: {}", rest), "5:7: as needs \"user\""},
	{"as with a misspelt user", withRule("name: a", "on: avi:a:b", "as: {usr: x}", rest), "5:7: as needs \"user\""},
	{"a product with a space", withRule("name: a", "on: avi:a:b", "product: Jira Cloud", rest), "5:12: product is \"Jira Cloud\""},
	{"no attempts", withRule("name: a", "on: avi:a:b", "max_attempts: 0", rest), "5:17: max_attempts is \"0\", want a whole number from 1 to 1000"},
	{"attempts as text", withRule("name: a", "on: avi:a:b", "max_attempts: '5'", rest), "5:17: max_attempts is \"5\""},
	{"an age without unit", withRule("name: a", "on: avi:a:b", "max_age: 5", rest), "5:12: max_age is \"5\", want a time above zero, like 30s"},
	{"an age of years", withRule("name: a", "on: avi:a:b", "max_age: 400d", rest), "5:12: max_age is \"400d\", want at most 720h"},
	{"an empty list of steps", withRule("name: a", "on: avi:a:b", "steps: []"), "5:10: steps is an empty list"},

	{"a step without request", withStep("name: s"), "6:5: a step needs \"request\""},
	{"two steps of one name", withRule("name: a", "on: avi:a:b", "steps:", "- {name: s, request: {method: GET, path: /x}}", "- {name: s, request: {method: GET, path: /x}}"), "7:5: the step name \"s\" is taken (line 6)"},
	{"a name that the file gives to an unnamed step", withRule("name: a", "on: avi:a:b", "steps:", "- {name: step-2, request: {method: GET, path: /x}}", "- {request: {method: GET, path: /x}}"), "7:5: the step name \"step-2\" is taken"},
	{"repeatable as text", withStep("repeatable: always", "request: {method: GET, path: /x}"), "6:17: repeatable is \"always\", want true or false"},
	{"a long timeout", withStep("timeout: 1h", "request: {method: GET, path: /x}"), "6:14: timeout is \"1h\", want at most 10m"},
	{"an unknown api", withRequest("method: GET", "path: /x", "api: prodct"), "9:12: api is \"prodct\", did you mean \"product\"?"},
	{"an unknown method", withRequest("method: FETCH", "path: /x"), "7:15: method is \"FETCH\", want one of GET"},
	{"a request without method", withRequest("path: /x"), "7:7: a request needs \"method\""},
	{"a GET with a body", withRequest("method: GET", "path: /x", "body: {a: 1}"), "9:13: a GET request cannot have a body"},
	{"graphql without body", withRequest("api: graphql"), "7:7: a request to graphql needs \"body\""},
	{"graphql by GET", withRequest("api: graphql", "method: GET", "body: {query: x}"), "7:7: a request to graphql is always a POST"},
	{"a query of mappings", withRequest("method: GET", "path: /x", "query: {a: {b: c}}"), "9:18: \"a\" in query is a mapping"},
	{"a query as a list", withRequest("method: GET", "path: /x", "query: [a]"), "9:14: query is a list, want a mapping"},
	{"a header of lists", withRequest("method: GET", "path: /x", "headers: {a: [b]}"), "9:20: \"a\" in headers is a list"},
	{"a header without value", withRequest("method: GET", "path: /x", "headers: {a: }"), "9:20: \"a\" in headers is empty"},
	{"a query parameter twice", withRequest("method: GET", "path: /x", "query: {a: 1, a: 2}"), "9:21: \"a\" stands twice in query"},
	{"a body of text", withRequest("method: POST", "path: /x", "body: hello"), "9:13: body is \"hello\", want a mapping, a list or one ${expression}"},
	{"a body of a number", withRequest("method: POST", "path: /x", "body: 5"), "9:13: body is \"5\""},
	{"a template as a key", withRequest("method: POST", "path: /x", "body: {'${event.x}': 1}"), "9:14: a key in body is a template"},
	{"a key twice in a body", withRequest("method: POST", "path: /x", "body: {a: {b: 1, b: 2}}"), "9:24: \"b\" stands twice in body"},
	{"a merge in a body", withRequest("method: POST", "path: /x", "body: {<<: {a: 1}}"), "9:14: merge keys (<<) are not allowed"},
	{"infinity in a body", withRequest("method: POST", "path: /x", "body: {a: .inf}"), "9:17: \".inf\" in body cannot be written in JSON"},
	{"a tag in a body", withRequest("method: POST", "path: /x", "body: {a: !secret x}"), "9:17: \"x\" in body has the tag !secret"},

	{"a route without name", withRoute("{path: /a, enqueue: {}}"), "2:10: a route needs \"name\""},
	{"a route without path", withRoute("{name: a, enqueue: {}}"), "2:10: a route needs \"path\""},
	{"a route that does nothing", withRoute("{name: a, path: /a}"), "2:10: a route needs either \"enqueue\" or \"forward\""},
	{"a route that does both", withRoute("{name: a, path: /a, enqueue: {}, forward: {url: 'http://h'}}"), "2:10: a route needs either"},
	{"a route without slash", withRoute("{name: a, path: a, enqueue: {}}"), "2:26: path is \"a\", want a leading slash"},
	{"a route with dots", withRoute("{name: a, path: /a/../b, enqueue: {}}"), "2:26: path is \"/a/../b\", want no . or .. segments"},
	{"a route with two slashes", withRoute("{name: a, path: /a//b, enqueue: {}}"), "2:26: path is \"/a//b\", want no empty segments"},
	{"a route with ** inside", withRoute("{name: a, path: '/a/**/b', enqueue: {}}"), "2:26: path is \"/a/**/b\", want ** only at the end"},
	{"a route with an escape", withRoute("{name: a, path: '/a%2Fb', enqueue: {}}"), "2:26: path is \"/a%2Fb\", want plain characters"},
	{"two routes on one path", withRoute("{name: a, path: /a, enqueue: {}}, {name: b, path: /a, enqueue: {}}"), "2:44: routes \"a\" and \"b\" both answer POST /a"},
	{"two routes of one name", withRoute("{name: a, path: /a, enqueue: {}}, {name: a, path: /b, enqueue: {}}"), "2:44: the route name \"a\" is taken (line 2)"},
	{"a method twice", withRoute("{name: a, path: /a, methods: [GET, GET], enqueue: {}}"), "2:45: the method \"GET\" stands twice"},
	{"no methods", withRoute("{name: a, path: /a, methods: [], enqueue: {}}"), "2:39: methods is an empty list"},
	{"a forward without url", withRoute("{name: a, path: /a, forward: {}}"), "2:39: forward needs \"url\""},
	{"a forward to a file", withRoute("{name: a, path: /a, forward: {url: 'file:///x'}}"), "2:45: url is not absolute"},
	{"a forward with a password", withRoute("{name: a, path: /a, forward: {url: 'http://u:p@h'}}"), "2:45: url has a user"},
	{"a forward with a query", withRoute("{name: a, path: /a, forward: {url: 'http://h/?a=b'}}"), "2:45: url has a query"},
	{"a forward with a bad size", withRoute("{name: a, path: /a, forward: {url: 'http://h', max_body: big}}"), "2:67: max_body is \"big\", want a size above zero"},
}

func TestWrongFilesAreRefusedWithPlaceAndReason(t *testing.T) {
	for _, w := range wrongs {
		t.Run(w.name, func(t *testing.T) {
			file, err := config.Parse("b.yaml", []byte(w.text))
			var failed *config.Error
			if !errors.As(err, &failed) || file != nil {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			if !strings.HasPrefix(err.Error(), "b.yaml:"+w.want) {
				t.Errorf("got  %s\nwant %s", err, w.want)
			}
		})
	}
}

func TestAPasswordInAURLIsNotShown(t *testing.T) {
	for _, url := range []string{"http://u:hunter2@h", "http://u:hunter2@h:port", "//u:hunter2@h"} {
		_, err := config.Parse("b", []byte(withRoute("{name: a, path: /a, forward: {url: '"+url+"'}}")))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}
