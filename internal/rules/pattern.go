package rules

import (
	"regexp"
	"slices"
	"strings"

	"bellows/internal/config"
)

// kind is the kind of jobs that a pattern is for.
type kind int

const (
	eventKind kind = iota
	scheduledKind
	callKind
	preUninstallKind
)

// pattern is one entry of a rule's "on".
type pattern struct {
	kind     kind
	name     string   // of a trigger or a call
	segments []string // of an event's name; "*" is any one segment
}

const preUninstall = "preUninstall"

var (
	keyPattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	segmentPattern = regexp.MustCompile(`^[A-Za-z0-9._/-]*$`)
)

// parsePattern reads a pattern; reason is "" when it is right.
func parsePattern(text string) (p pattern, reason string) {
	prefix, rest, _ := strings.Cut(text, ":")
	switch prefix {
	case preUninstall:
		if text != preUninstall {
			return p, "preUninstall stands alone"
		}
		return pattern{kind: preUninstallKind}, ""
	case "scheduled":
		return pattern{kind: scheduledKind, name: rest}, badKey(rest, "scheduled:<key of a scheduledTrigger>")
	case "call":
		return pattern{kind: callKind, name: rest}, badKey(rest, "call:<name of a route>")
	case "avi":
		segments := strings.Split(text, ":")
		return pattern{kind: eventKind, segments: segments}, badSegments(segments)
	}
	return p, "want the name of an event (avi:…), scheduled:<key>, call:<name> or preUninstall"
}

func badKey(key, form string) string {
	if keyPattern.MatchString(key) {
		return ""
	}
	return "want " + form
}

// badSegments checks the name of an event. App events have an empty segment
// (avi:cloud:ecosystem::event/…), so one is allowed.
func badSegments(segments []string) string {
	if len(segments) < 3 {
		return "want the whole name of an event, like avi:jira:created:issue"
	}
	for _, segment := range segments {
		switch {
		case segment == "*":
		case strings.Contains(segment, "*"):
			return "want * only as a whole part between colons"
		case !segmentPattern.MatchString(segment):
			return "want letters, digits and . _ / - between colons"
		}
	}
	if segments[len(segments)-1] == "" {
		return "want no colon at the end"
	}
	return ""
}

// patterns reads a rule's patterns and reports those that are wrong.
func (c *compiler) patterns(shape config.Rule) []pattern {
	var all []pattern
	seen := make(map[string]bool)
	for _, text := range shape.On {
		p, reason := parsePattern(text.Value)
		switch {
		case reason != "":
			c.failed.Add(text.Pos, "rule %q: on: %q is no pattern, %s", shape.Name, text.Value, reason)
		case seen[text.Value]:
			c.failed.Add(text.Pos, "rule %q: on: %q stands twice", shape.Name, text.Value)
		case p.kind == scheduledKind && c.scheduled != nil && !slices.Contains(c.scheduled, p.name):
			c.failed.Add(text.Pos, "rule %q: on: the manifest has no scheduledTrigger %q that calls an endpoint, it has %s",
				shape.Name, p.name, listed(c.scheduled))
		case p.kind != callKind:
			c.noUser(shape, text.Value)
		}
		seen[text.Value] = true
		all = append(all, p)
	}
	return all
}

// noUser reports what acts as the invoking user in a rule for jobs that have
// none.
func (c *compiler) noUser(shape config.Rule, on string) {
	const message = "%s: user needs a user, and a job of %q has none, want app or {user: expression}"
	if shape.As.Kind == config.AsUser {
		c.failed.Add(shape.As.Pos, message, place{rule: shape.Name, where: "as"}, on)
	}
	for _, s := range shape.Steps {
		if s.As != nil && s.As.Kind == config.AsUser {
			c.failed.Add(s.As.Pos, message, place{rule: shape.Name, step: s.Name, where: "as"}, on)
		}
	}
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// index finds the rules whose patterns fit a job, without looking at others.
// Rules are numbers in the order of the file.
type index struct {
	scheduled    map[string][]int // :: trigger key → rules
	calls        map[string][]int // :: route name → rules
	preUninstall []int
	events       *branch
}

// branch is a tree over the segments of events' names.
type branch struct {
	next  map[string]*branch // :: segment → branch; "*" fits any
	rules []int              // whose pattern ends here
}

func newIndex() index {
	return index{scheduled: make(map[string][]int), calls: make(map[string][]int), events: &branch{}}
}

func (x *index) add(p pattern, rule int) {
	switch p.kind {
	case scheduledKind:
		x.scheduled[p.name] = append(x.scheduled[p.name], rule)
	case callKind:
		x.calls[p.name] = append(x.calls[p.name], rule)
	case preUninstallKind:
		x.preUninstall = append(x.preUninstall, rule)
	default:
		x.events.add(p.segments, rule)
	}
}

func (b *branch) add(segments []string, rule int) {
	for _, segment := range segments {
		if b.next == nil {
			b.next = make(map[string]*branch)
		}
		if b.next[segment] == nil {
			b.next[segment] = &branch{}
		}
		b = b.next[segment]
	}
	b.rules = append(b.rules, rule)
}

// find returns the rules for a job in the order of the file, each once.
func (x *index) find(jobType, scheduled, call string) []int {
	switch {
	case scheduled != "":
		return x.scheduled[scheduled]
	case call != "":
		return x.calls[call]
	case jobType == preUninstall:
		return x.preUninstall
	}
	found := x.events.find(strings.Split(jobType, ":"), nil)
	slices.Sort(found)
	return slices.Compact(found)
}

func (b *branch) find(segments []string, found []int) []int {
	if len(segments) == 0 {
		return append(found, b.rules...)
	}
	for _, key := range [2]string{segments[0], "*"} {
		if next := b.next[key]; next != nil {
			found = next.find(segments[1:], found)
		}
	}
	return found
}
