package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"bellows/internal/config"
	"bellows/internal/rules"
)

// warningsOf compiles a file against the examples in testdata.
func warningsOf(t *testing.T, text string) (all []string) {
	t.Helper()
	parsed, err := config.Parse("b.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	examples := make(map[string]any)
	events := []string{"avi:jira:updated:issue"} // without an example
	for _, e := range exampleEvents(t) {
		if name, ok := e.(map[string]any)["eventType"].(string); ok {
			examples[name], events = e, append(events, name)
		}
	}
	set, err := rules.CompileWith(parsed, rules.Options{Events: events, Examples: func(event string) (any, bool) {
		body, ok := examples[event]
		return body, ok
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range set.Warnings() {
		all = append(all, fmt.Sprintf("%d:%d: %s", w.Line, w.Column, w.Message))
	}
	return all
}

func TestAMemberThatTheExampleLacksIsToldOf(t *testing.T) {
	for when, want := range map[string]string{
		"event.issue.fields.issuetype.name == 'Bug'":                "",
		"event.isue.key == 'A'":                                     `5:9: rule "r": when: no example of avi:jira:created:issue has event.isue`,
		"event.issue.fields.issuetipe.name == 'Bug'":                `5:9: rule "r": when: no example of avi:jira:created:issue has event.issue.fields.issuetipe`,
		"true && event.issue['fields'].gone == 'Bug'":               `5:17: rule "r": when: no example of avi:jira:created:issue has event.issue.fields.gone`,
		"event.issue.key.part == 'x'":                               `5:9: rule "r": when: no example of avi:jira:created:issue has event.issue.key.part`,
		"event.issue.fields.assignee.accountId == 'x'":              "", // null in the example
		"event.?gone.orValue('') == 'x'":                            "",
		"event.issue.?gone.name.orValue('') == 'x'":                 "",
		"has(event.gone) && event.gone.name == 'x'":                 "",
		"has(event.gone.name)":                                      `5:13: rule "r": when: no example of avi:jira:created:issue has event.gone`,
		"event[?'gone'].hasValue() && event.gone == 1":              "",
		"event[job.id] == 1":                                        "",
		"event.all.exists(l, l == 'b')":                             `5:9: rule "r": when: no example of avi:jira:created:issue has event.all`,
		"installation.gone == 1":                                    "",
		"event.issue.fields.gone.a == 1 || event.issue.gone.b == 1": `5:9: rule "r": when: no example of avi:jira:created:issue has event.issue.fields.gone|5:43: rule "r": when: no example of avi:jira:created:issue has event.issue.gone`,
	} {
		got := warningsOf(t, file(rule("r", "avi:jira:created:issue", "when: "+when)))
		if strings.Join(got, "|") != want {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
}

func TestTemplatesAreComparedToo(t *testing.T) {
	got := warningsOf(t, file("- name: r\n  on: avi:jira:created:issue\n  steps:\n  - request: {method: GET, path: \"/a/${event.issue.kex}\"}\n"))
	same(t, "warnings", got, []string{`6:40: rule "r", step "step-1": path: no example of avi:jira:created:issue has event.issue.kex`})
}

func TestAPatternOfSeveralEventsNeedsOneThatHasTheMember(t *testing.T) {
	same(t, "one has it", warningsOf(t, file(rule("r", "avi:*:created:*", "when: event.content.id != ''"))), []string(nil))
	same(t, "none has it", len(warningsOf(t, file(rule("r", "avi:*:created:*", "when: event.contents.id != ''")))), 1)
	same(t, "each pattern", len(warningsOf(t, file(rule("r", "[avi:jira:created:issue, avi:confluence:created:page]", "when: event.content.id != ''")))), 1)
	same(t, "without example", warningsOf(t, file(rule("r", "avi:jira:updated:issue", "when: event.x == 1"))), []string(nil))
	same(t, "a schedule", warningsOf(t, file(rule("r", "scheduled:x", "when: event.x == 1"))), []string(nil))
}

func TestAnEventThatNobodySendsIsToldOf(t *testing.T) {
	same(t, "unknown", warningsOf(t, file(rule("r", "avi:jira:created:comment"))), []string{`4:7: rule "r": on: no event in the catalogue is named "avi:jira:created:comment"`})
	same(t, "unknown with *", len(warningsOf(t, file(rule("r", "avi:jira:*:comment")))), 1)
	same(t, "an app's own", warningsOf(t, file(rule("r", "avi:cloud:ecosystem::event/x/y"))), []string(nil))
}

func TestWithoutCatalogueNothingIsToldOf(t *testing.T) {
	same(t, "warnings", len(mustCompile(t, file(rule("r", "avi:a:b", "when: event.x == 1"))).Warnings()), 0)
}
