package ruletest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// run runs one test.
func (t test) run(ctx context.Context, set *rules.Set, options Options) Result {
	result := Result{Name: t.Name, File: t.file, Line: t.line}
	if options.Run == nil {
		options.Run = Interpret
	}
	rule, outcome, err := t.choose(set)
	if err != nil {
		result.Failure = err.Error()
		return result
	}
	stub := newStub(t.Answers)
	if rule != nil && outcome == nil {
		got := options.Run(ctx, Case{Rule: rule, Input: t.input(), Do: stub.do})
		outcome = &got
	}
	result.Failure = t.compare(outcome, stub)
	return result
}

// input is what the rules see of the test's job. What the test does not say is
// what an ordinary job has.
func (t test) input() rules.Input {
	in := rules.Input{
		Event: t.event,
		Installation: map[string]any{
			"id": "11111111-2222-4333-8444-555555555555", "cloudId": "7e57c10d-0000-4000-8000-000000000001", "product": "jira",
			"site": "https://example.atlassian.net", "environment": "PRODUCTION", "appVersion": "1.0.0", "license": nil,
		},
		Invocation: map[string]any{"kind": "event", "module": "", "route": "", "principal": "", "context": map[string]any{}, "trace": "", "trigger": ""},
		Job:        map[string]any{"id": "0123456789abcdef", "attempt": int64(1), "received": "2026-01-02T03:04:05Z"},
		Steps:      map[string]any{},
	}
	maps.Copy(in.Installation, t.Installation)
	maps.Copy(in.Invocation, t.Invocation)
	maps.Copy(in.Job, t.Job)
	return in
}

// choose finds the rule of the test's job. A nil rule without error matches
// nothing; an outcome is there already when the rule's condition failed.
func (t test) choose(set *rules.Set) (*rules.Rule, *Outcome, error) {
	scheduled, call := "", ""
	switch kind, name, _ := strings.Cut(t.On, ":"); kind {
	case "scheduled":
		scheduled = name
	case "call":
		call = name
	}
	matched, skipped := set.Match(t.On, scheduled, call, t.input())
	var names []string
	for _, m := range matched {
		names = append(names, m.Rule.Name())
		if m.Rule.Name() == t.Rule || t.Rule == "" && len(matched) == 1 {
			if m.Err != nil {
				return m.Rule, &Outcome{Action: jobs.ActionDead, Reason: jobs.ReasonFatal, Message: m.Err.Error()}, nil
			}
			return m.Rule, nil, nil
		}
	}
	if _, known := set.Rule(t.Rule); t.Rule != "" && !known {
		return nil, nil, fmt.Errorf("there is no rule %q", t.Rule)
	}
	if len(matched) > 1 && t.Rule == "" {
		return nil, nil, fmt.Errorf("%d rules match, say which with \"rule\": %s", len(matched), strings.Join(names, ", "))
	}
	none := &Outcome{Action: noMatch}
	for _, s := range skipped {
		none.Message += fmt.Sprintf("\n  rule %q was left out: %s", s.Rule, s.Reason)
	}
	return nil, none, nil
}

// noMatch is the action of an Outcome when no rule is for the job.
const noMatch jobs.Action = -1

// stub answers calls with what a test says, and notes them.
type stub struct {
	calls   []rules.Call
	answers []answerShape
	used    []bool
	missing []string
}

func newStub(answers []answerShape) *stub {
	return &stub{answers: answers, used: make([]bool, len(answers))}
}

// place names a call as tests do.
func place(call rules.Call) string {
	if call.Path == "" {
		return call.Method + " " + call.API
	}
	return call.Method + " " + call.Path
}

// do answers with the first answer to that request that was not given yet. A
// call that only writes may go without one.
func (s *stub) do(call rules.Call) (rules.Answer, error) {
	s.calls = append(s.calls, call)
	for i, answer := range s.answers {
		if s.used[i] || answer.Request != place(call) {
			continue
		}
		s.used[i] = true
		return answer.made()
	}
	if call.API != "graphql" && call.Method != http.MethodGet && call.Method != http.MethodHead && !s.names(place(call)) {
		return rules.Answer{Status: http.StatusNoContent}, nil
	}
	s.missing = append(s.missing, place(call))
	return rules.Answer{}, fmt.Errorf("the test has no answer to %s", place(call))
}

func (s *stub) names(request string) bool {
	for _, answer := range s.answers {
		if answer.Request == request {
			return true
		}
	}
	return false
}

func (a answerShape) made() (rules.Answer, error) {
	answer := rules.Answer{Status: a.Status, Header: make(http.Header)}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	for name, value := range a.Headers {
		answer.Header.Set(name, value)
	}
	if a.Body == nil {
		return answer, nil
	}
	data, err := json.Marshal(a.Body)
	if err != nil {
		return answer, fmt.Errorf("the body of the answer to %s cannot be written in JSON", a.Request)
	}
	answer.Body = data
	return answer, nil
}
