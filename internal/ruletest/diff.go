package ruletest

import (
	"encoding/json"
	"fmt"
	"net/textproto"
	"slices"
	"strings"

	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// compare returns why the test does not hold, or "".
func (t test) compare(outcome *Outcome, stub *stub) string {
	var out strings.Builder
	if reason := t.compareOutcome(outcome); reason != "" {
		out.WriteString(reason + "\n")
	}
	if t.Expect.Calls != nil {
		want, got := written(*t.Expect.Calls, stub.calls)
		if !slices.Equal(want, got) {
			out.WriteString("calls (- expected, + made):\n" + strings.Join(diff(want, got), "\n") + "\n")
		}
	}
	for _, request := range stub.missing {
		fmt.Fprintf(&out, "there is no answer to %s\n", request)
	}
	for i, used := range stub.used {
		if !used {
			fmt.Fprintf(&out, "nobody asked for answer %d, to %s\n", i+1, t.Answers[i].Request)
		}
	}
	return out.String()
}

func (t test) compareOutcome(got *Outcome) string {
	want := t.Expect
	words := describe(*got)
	switch {
	case want.Outcome != kindOf(*got):
		return fmt.Sprintf("outcome (- expected, + seen):\n- %s\n+ %s", want.Outcome, words)
	case want.Reason != "" && !strings.Contains(words, want.Reason):
		return fmt.Sprintf("outcome (- expected, + seen):\n- %s, with %q in its reason\n+ %s", want.Outcome, want.Reason, words)
	case got.Delay < t.delay:
		return fmt.Sprintf("outcome (- expected, + seen):\n- delay of at least %s\n+ %s", t.delay, words)
	}
	return ""
}

// kindOf is the word that tests use.
func kindOf(o Outcome) string {
	switch o.Action {
	case noMatch:
		return "no match"
	case jobs.ActionDone:
		return "done"
	case jobs.ActionDead:
		return "dead"
	}
	return "delay" // a job that waits or returns runs later, too
}

func describe(o Outcome) string {
	words := kindOf(o)
	if o.Reason != "" {
		words += ", " + string(o.Reason)
	}
	if o.Delay > 0 {
		words += " of " + o.Delay.String()
	}
	if o.Message != "" {
		words += ": " + o.Message
	}
	return words
}

// written writes the calls that are expected and those that were made, line by
// line, of the latter only what the test looks at.
func written(expected []callShape, made []rules.Call) (want, got []string) {
	for _, call := range expected {
		want = append(want, call.lines()...)
	}
	for i, call := range made {
		look := callShape{Exact: true}
		if i < len(expected) {
			look = expected[i]
		}
		got = append(got, actual(call, look).lines()...)
	}
	return want, got
}

// actual writes a call that was made as a test would.
func actual(call rules.Call, look callShape) callShape {
	c := callShape{Request: place(call), Query: make(map[string]any), Headers: make(map[string]string)}
	if look.API != "" {
		c.API = call.API
	}
	if look.As != "" {
		c.As = who(call)
	}
	for name, values := range call.Query {
		if _, looks := look.Query[name]; looks || look.Exact {
			c.Query[name] = oneOrAll(values)
		}
	}
	for name := range look.Headers {
		if values := call.Header.Values(name); len(values) > 0 {
			c.Headers[textproto.CanonicalMIMEHeaderKey(name)] = strings.Join(values, ", ")
		}
	}
	body, err := rules.DecodeEvent(call.Body)
	if len(call.Body) > 0 && err == nil && (look.Body != nil || look.Exact) {
		wanted, _ := plain(look.Body)
		c.Body = project(body, wanted, look.Exact)
	}
	return c
}

func who(call rules.Call) string {
	switch {
	case call.AsInvoking:
		return "user"
	case call.User != "":
		return call.User
	}
	return "app"
}

func oneOrAll(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

// project leaves of a value what wanted has: of a mapping the members, at
// every depth.
func project(value, wanted any, exact bool) any {
	if exact {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		members, ok := wanted.(map[string]any)
		if !ok {
			return v
		}
		left := make(map[string]any)
		for name, member := range v {
			if want, looks := members[name]; looks {
				left[name] = project(member, want, false)
			}
		}
		return left
	case []any:
		items, _ := wanted.([]any)
		left := make([]any, len(v))
		for i := range v {
			left[i] = v[i]
			if i < len(items) {
				left[i] = project(v[i], items[i], false)
			}
		}
		return left
	}
	return value
}

// lines writes a call so that equal ones have equal lines.
func (c callShape) lines() []string {
	lines := []string{c.Request}
	if c.API != "" {
		lines = append(lines, "  api: "+c.API)
	}
	if c.As != "" {
		lines = append(lines, "  as: "+c.As)
	}
	var parts []string
	for name, value := range c.Query {
		values, isList := value.([]any)
		if texts, ok := value.([]string); ok {
			for _, text := range texts {
				values = append(values, text)
			}
		} else if !isList {
			values = []any{value}
		}
		for i, one := range values {
			parts = append(parts, fmt.Sprintf("  query: %s[%d]=%v", name, i, one))
		}
	}
	for name, value := range c.Headers {
		parts = append(parts, "  header: "+textproto.CanonicalMIMEHeaderKey(name)+": "+value)
	}
	slices.Sort(parts)
	lines = append(lines, parts...)
	if c.Body == nil {
		return lines
	}
	body, err := plain(c.Body)
	data, marshalErr := json.MarshalIndent(body, "  ", "  ")
	if err != nil || marshalErr != nil {
		return append(lines, fmt.Sprintf("  body: %v", c.Body))
	}
	return append(lines, strings.Split("  body: "+string(data), "\n")...)
}

// maxCompared bounds the table of diff.
const maxCompared = 4_000_000

// diff lists the lines of both in order: those of want alone with "-", those of
// got alone with "+" (the longest common subsequence).
func diff(want, got []string) []string {
	if len(want)*len(got) > maxCompared {
		return firstDifference(want, got)
	}
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var all []string
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			all = append(all, "  "+want[i])
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			all = append(all, "- "+want[i])
			i++
		default:
			all = append(all, "+ "+got[j])
			j++
		}
	}
	return all
}

// firstDifference stands in for diff where there is too much to compare.
func firstDifference(want, got []string) []string {
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			return []string{fmt.Sprintf("  … line %d", i+1), "- " + want[i], "+ " + got[i]}
		}
	}
	return []string{fmt.Sprintf("  … %d lines are expected, %d were made", len(want), len(got))}
}
