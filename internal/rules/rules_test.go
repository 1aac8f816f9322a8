package rules_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bellows/internal/config"
	"bellows/internal/manifest"
	"bellows/internal/rules"
)

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func compile(text string, m *manifest.Manifest) (*rules.Set, error) {
	file, err := config.Parse("b.yaml", []byte(text))
	if err != nil {
		return nil, err
	}
	return rules.Compile(file, m)
}

func mustCompile(tb testing.TB, text string) *rules.Set {
	tb.Helper()
	set, err := compile(text, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

const steps = "  steps: [{request: {method: GET, path: /x}}]\n"

// rule writes a rule with a harmless step.
func rule(name, on string, members ...string) string {
	text := "- name: " + name + "\n  on: " + on + "\n"
	for _, member := range members {
		text += "  " + member + "\n"
	}
	return text + steps
}

func file(all ...string) string { return "version: 1\nrules:\n" + strings.Join(all, "") }

// event decodes one of the example events shared by the whole project.
func event(tb testing.TB, text string) any {
	tb.Helper()
	value, err := rules.DecodeEvent([]byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	return value
}

const issueCreated = `{
  "eventType": "avi:jira:created:issue", "selfGenerated": false, "timestamp": "1789372931412",
  "issue": {"id": "10417", "key": "PEL-42", "fields": {
    "summary": "Crate labels print twice", "issuetype": {"id": "10004", "name": "Bug", "hierarchyLevel": 0},
    "assignee": null, "labels": ["a", "b"]}},
  "atlassianId": "712020:0aa11bb2-1111-4c3d-8e4f-000000000001"
}`

func issueInput(tb testing.TB) rules.Input {
	return rules.Input{
		Event:        event(tb, issueCreated),
		Installation: map[string]any{"id": "i-1", "product": "jira", "license": nil},
		Invocation:   map[string]any{"kind": "event", "principal": ""},
		Job:          map[string]any{"id": "j1", "attempt": int64(2), "received": time.Unix(0, 0).UTC()},
	}
}

func names(matched []rules.Matched) (all []string) {
	for _, m := range matched {
		all = append(all, m.Rule.Name())
	}
	return all
}

func TestPatternsChooseTheRules(t *testing.T) {
	set := mustCompile(t, file(
		rule("exact", "avi:jira:created:issue"),
		rule("any-verb", "avi:jira:*:issue"),
		rule("any-thing", "avi:jira:created:*"),
		rule("any-product", "avi:*:created:*"),
		rule("twice", "[avi:jira:*:issue, avi:jira:created:issue]"),
		rule("page", "avi:confluence:created:page"),
		rule("app-event", "avi:cloud:ecosystem::event/8b1c/key"),
		rule("policy", "avi:ecosystem.app_policy:blocked:app_access_to_objects.v2"),
		rule("nightly", "scheduled:nightly"),
		rule("export", "call:export"),
		rule("last", "[preUninstall, scheduled:nightly]"),
	))
	for _, c := range []struct {
		jobType, scheduled, call string
		want                     []string
	}{
		{"avi:jira:created:issue", "", "", []string{"exact", "any-verb", "any-thing", "any-product", "twice"}},
		{"avi:jira:updated:issue", "", "", []string{"any-verb", "twice"}},
		{"avi:jira:created:comment", "", "", []string{"any-thing", "any-product"}},
		{"avi:confluence:created:page", "", "", []string{"any-product", "page"}},
		{"avi:jira:created:field:context", "", "", nil},
		{"avi:jira:created", "", "", nil},
		{"avi:cloud:ecosystem::event/8b1c/key", "", "", []string{"app-event"}},
		{"avi:ecosystem.app_policy:blocked:app_access_to_objects.v2", "", "", []string{"policy"}},
		{"bellows.scheduled", "nightly", "", []string{"nightly", "last"}},
		{"bellows.scheduled", "hourly", "", nil},
		{"bellows.call", "", "export", []string{"export"}},
		{"preUninstall", "", "", []string{"last"}},
		{"", "", "", nil},
		{"*", "", "", nil},
	} {
		matched, skipped := set.Match(c.jobType, c.scheduled, c.call, rules.Input{})
		same(t, c.jobType+c.scheduled+c.call, names(matched), c.want)
		same(t, "skipped", len(skipped), 0)
	}
}

func TestWhenDecides(t *testing.T) {
	for when, want := range map[string]string{
		"true": "matched", "false": "not",
		"event.issue.fields.issuetype.name == 'Bug' && !event.?selfGenerated.orValue(false)": "matched",
		"event.issue.fields.issuetype.name == 'Task'":                                        "not",
		"event.issue.fields.issuetype.hierarchyLevel < 0.5":                                  "matched",
		"installation.product == 'jira' && invocation.kind == 'event' && job.attempt == 2":   "matched",
		"has(event.issue.fields.summary)":                                                    "matched",
		"has(event.issue.nothing)":                                                           "not",
		"event.?nothing.hasValue()":                                                          "not",
		"event.issue.fields.labels.exists(l, l == 'b')":                                      "matched",

		"event.nothing == 1":                                 "skipped",
		"event.issue.fields.assignee.accountId == 'x'":       "skipped",
		"event.issue.fields.labels[7] == 'x'":                "skipped",
		"event.issue.fields.labels[job.attempt + 5] == 'x'":  "skipped",
		"event['nothing'] == 1":                              "skipped",
		"event[event.issue.key] == 1":                        "skipped",
		"event.?nothing.value() == 1":                        "skipped",
		"event.issue.key.part == 1":                          "skipped",
		"installation.license.active":                        "skipped",
		"event.nothing == 1 || event.issue.key == 'PEL-42'":  "matched",
		"event.issue.fields.labels.all(l, l.x == 1)":         "skipped",
		"event.nothing.startsWith('a')":                      "skipped",
		"size(event.nothing) == 0":                           "skipped",
		"event.nothing == 1 && event.issue.key == 'nothing'": "not",

		"event.issue.key":                           "failed",
		"event.issue.key + job.attempt == 'x'":      "failed",
		"1 / (job.attempt - 2) == 1":                "failed",
		"event.issue.key < 5":                       "failed",
		"event.issue.fields.labels['a'] == 'x'":     "failed",
		"timestamp(event.issue.key) < timestamp(0)": "failed",
	} {
		set := mustCompile(t, file(rule("r", "avi:jira:created:issue", "when: \""+when+"\"")))
		in := issueInput(t)
		got := "not"
		matched, skipped := set.Match("avi:jira:created:issue", "", "", in)
		switch {
		case len(skipped) == 1 && skipped[0].Rule == "r" && skipped[0].Reason != "":
			got = "skipped"
		case len(matched) == 1 && matched[0].Err != nil:
			got = "failed"
		case len(matched) == 1:
			got = "matched"
		}
		if got != want {
			t.Errorf("%s: got %s, want %s (%v %v)", when, got, want, matched, skipped)
		}
		checkApplies(t, set, in, want)
	}
}

// checkApplies compares Rule.Applies with what Match said.
func checkApplies(t *testing.T, set *rules.Set, in rules.Input, want string) {
	t.Helper()
	r, _ := set.Rule("r")
	holds, err := r.Applies(in)
	var failed *rules.Error
	errors.As(err, &failed)
	got := "not"
	switch {
	case failed != nil && failed.Missing:
		got = "skipped"
	case failed != nil:
		got = "failed"
	case holds:
		got = "matched"
	}
	same(t, "Applies", got, want)
}

func TestAFailedWhenNamesItsPlace(t *testing.T) {
	set := mustCompile(t, file(rule("r", "avi:a:b", "when: event.n + 1 == event.m")))
	matched, _ := set.Match("avi:a:b", "", "", rules.Input{Event: map[string]any{"n": "text", "m": "x"}})
	want := `rule "r": evaluating when (line 5, column 9): no such overload`
	if len(matched) != 1 || fmt.Sprint(matched[0].Err) != want {
		t.Errorf("got %v, want %s", matched, want)
	}
}

func TestARuleWithoutWhenAppliesToAnything(t *testing.T) {
	r, _ := mustCompile(t, file(rule("r", "avi:a:b"))).Rule("r")
	if holds, err := r.Applies(rules.Input{}); !holds || err != nil {
		t.Errorf("got %v, %v", holds, err)
	}
}

func TestHostileExpressionsAreStopped(t *testing.T) {
	list := make([]any, 1000)
	for i := range list {
		list[i] = int64(i)
	}
	in := rules.Input{Event: map[string]any{"l": list, "s": strings.Repeat("a", 200_000)}}
	for _, when := range []string{
		"event.l.all(a, event.l.all(b, event.l.all(c, a + b + c >= 0)))",
		"event.l.map(a, event.l.map(b, event.s + event.s)).size() > 0",
		"event.l.exists(a, event.s.matches('(a*)*(a*)*b'))",
		"event.l.all(a, !event.s.contains('aaaaab'))",
		"event.l.all(a, event.l == event.l + [])",
		"event.l.all(a, !([a] in [event.l, event.l]))",
	} {
		set := mustCompile(t, file(rule("r", "avi:a:b", "when: "+when)))
		matched, _ := set.Match("avi:a:b", "", "", in)
		if len(matched) != 1 || matched[0].Err == nil || !strings.Contains(matched[0].Err.Error(), "limit exceeded") {
			t.Errorf("%s: got %v, want a cost limit", when, matched)
		}
	}
}

func TestDeepExpressionsAreRefused(t *testing.T) {
	deep := strings.Repeat("(", 2000) + "true" + strings.Repeat(")", 2000)
	if _, err := compile(file(rule("r", "avi:a:b", "when: "+deep)), nil); err == nil {
		t.Error("got no error")
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	set := mustCompile(t, file(
		rule("plain", "avi:a:b"),
		rule("own", "avi:a:b", "max_attempts: 3", "max_age: 1h", "product: jira"),
		"- name: steps\n  on: avi:a:b\n  steps:\n"+
			"  - request: {method: GET, path: /x}\n"+
			"  - {name: post, timeout: 5s, request: {method: POST, path: /x}}\n"+
			"  - {name: again, repeatable: true, request: {method: POST, path: /x}}\n"+
			"  - request: {method: PATCH, path: /x}\n"+
			"  - request: {method: PUT, path: /x}\n"+
			"  - request: {method: DELETE, path: /x}\n"+
			"  - request: {method: HEAD, path: /x}\n"+
			"  - request: {api: graphql, body: {query: x}}\n",
	))
	plain, _ := set.Rule("plain")
	own, _ := set.Rule("own")
	same(t, "attempts", []int{plain.MaxAttempts(), own.MaxAttempts()}, []int{10, 3})
	same(t, "age", []time.Duration{plain.MaxAge(), own.MaxAge()}, []time.Duration{24 * time.Hour, time.Hour})
	same(t, "product", []string{plain.Product(), own.Product()}, []string{"", "jira"})
	r, _ := set.Rule("steps")
	var got []string
	for _, s := range r.Steps() {
		got = append(got, fmt.Sprintf("%s %v %v", s.Name(), s.Safe(), s.Timeout()))
	}
	same(t, "steps", got, []string{
		"step-1 true 30s", "post false 5s", "again true 30s", "step-4 false 30s",
		"step-5 true 30s", "step-6 true 30s", "step-7 true 30s", "step-8 false 30s",
	})
	if _, ok := set.Rule("nothing"); ok || len(set.Rules()) != 3 {
		t.Errorf("got %d rules", len(set.Rules()))
	}
}

func TestEventsAreDecoded(t *testing.T) {
	for text, want := range map[string]any{
		"":                           map[string]any{},
		" \n":                        map[string]any{},
		"null":                       nil,
		`{"a": 1, "b": [1.5, true]}`: map[string]any{"a": int64(1), "b": []any{1.5, true}},
		"9223372036854775807":        int64(9223372036854775807),
		"9223372036854775808":        9223372036854775808.0,
		"-9223372036854775808":       int64(-9223372036854775808),
		"1e3":                        1000.0,
		"1.0":                        1.0,
		`"x"`:                        "x",
	} {
		got, err := rules.DecodeEvent([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		same(t, text, got, want)
	}
	for _, text := range []string{"{", "{} {}", "{}]", "1e999", `{"a": [1e999]}`, "[-1e999]", "\xff", "x"} {
		if got, err := rules.DecodeEvent([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "decoding event: ") {
			t.Errorf("%q: got %v, %v, want an error", text, got, err)
		}
	}
}

// exampleEvents reads the events in testdata.
func exampleEvents(t *testing.T) map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("no events", err)
	}
	events := make(map[string]any)
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		events[filepath.Base(name)] = event(t, string(data))
	}
	return events
}

func TestRulesForDocumentedEvents(t *testing.T) {
	set := mustCompile(t, file(
		rule("high", "avi:jira:*:issue", "when: event.issue.fields.project.key == 'PEL'"),
		rule("page", "avi:confluence:created:page", "when: event.content.space.id > 0"),
		rule("merged", "avi:bitbucket:*:pullrequest", "when: event.pullrequest.id >= 1"),
	))
	got := make(map[string][]string)
	for name, e := range exampleEvents(t) {
		eventType, _ := e.(map[string]any)["eventType"].(string)
		matched, skipped := set.Match(eventType, "", "", rules.Input{Event: e})
		got[name] = names(matched)
		for _, m := range matched {
			if m.Err != nil {
				t.Errorf("%s: %v", name, m.Err)
			}
		}
		for _, s := range skipped {
			got[name] = append(got[name], "skipped "+s.Rule)
		}
		slices.Sort(got[name])
	}
	same(t, "matches", got, map[string][]string{
		"jira-issue-created.json":            {"high"},
		"confluence-page-created.json":       {"page"},
		"bitbucket-pullrequest-created.json": {"merged"},
		"scheduled-trigger.json":             nil,
	})
}
