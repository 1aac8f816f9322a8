// Package rules says which job does what: it compiles the rules of a
// bellows.yaml, finds those that a job is for, and makes the request of each of
// their steps.
//
//	set, err := rules.Compile(file, manifest)          // at start; all faults at once
//	matched, skipped := set.Match("avi:jira:created:issue", "", "", in)
//	call, err := matched[0].Rule.Steps()[0].Render(in)  // for each step
//
// Expressions are CEL (github.com/google/cel-spec) with optional values and a
// few functions for texts, times, ARIs and Atlassian's document format. They
// see event, installation, invocation and job; those in a step also see steps,
// the results of the steps before, and item and index where the step has a
// for_each. Nothing in a job can make one costly: each
// evaluation ends at a fixed cost, and at a fixed time.
//
// The package makes requests and reads answers, and sends nothing: whoever
// carries a step out asks it for [Step.Items], for each of them [Step.Probe] and
// [Step.Present], [Step.Render], [Step.OnStatus] when an answer is no success,
// and [Pager.Next] for as long as there are pages.
//
// # What can go wrong
//
// Compile reports everything wrong with a file as one [*config.Error], at the
// line and column of the expression in it. When a job runs, a "when" that meets
// a member which the job does not have means that the rule is not for it, and
// is told as [Skipped]. Any other fault is a [*Error]: the job cannot succeed
// with these rules, however often it is tried.
package rules

import (
	"fmt"
	"slices"
	"time"

	"bellows/internal/config"
	"bellows/internal/manifest"
)

// Defaults for what a rule leaves out.
const (
	defaultMaxAttempts = 10
	defaultMaxAge      = 24 * time.Hour
	defaultTimeout     = 30 * time.Second
)

// Set is the compiled rules of one file. It is safe for concurrent use.
type Set struct {
	version  string
	warnings []config.Issue
	rules    []*Rule
	byName   map[string]*Rule
	index    index
}

// Rule is one compiled rule.
type Rule struct {
	name        string
	product     string
	maxAttempts int
	maxAge      time.Duration
	when        *expression // nil: always
	steps       []*Step
	forward     *Forward // nil: steps
}

// Input is what expressions see of a job. Values are those of JSON as
// [DecodeEvent] gives them: nil, bool, int64, float64, string, []any and
// map[string]any; a time.Time is a timestamp. A nil map has no members.
type Input struct {
	Event        any            // the body
	Installation map[string]any // id, cloudId, product, site, environment, appVersion, license
	Invocation   map[string]any // kind, module, route, principal, context, trace
	Job          map[string]any // id, attempt, received

	// Steps are the results of earlier steps by name: of a plain one the
	// status, headers and body of its answer, else what [Pager.Result] and
	// [Collect] give.
	Steps map[string]any

	// Item and Index, from 0, are the item that a step with for_each is at;
	// [Step.Items] sets them.
	Item  any
	Index int
}

// Options are what a rule file may be checked against. The zero Options check
// only the file itself.
type Options struct {
	// Manifest, unless nil, must have the scheduled triggers that patterns
	// name.
	Manifest *manifest.Manifest

	// Events are the names of all events there are, and Examples gives the
	// decoded body of one; ok is false when there is no example. What does not
	// fit them is told by [Set.Warnings]. Both may be nil.
	Events   []string
	Examples func(event string) (body any, ok bool)
}

// Compile compiles the rules of file. With a manifest, a pattern
// scheduled:<key> must name one of its scheduled triggers; without (nil) any
// key goes. The error is a [*config.Error] with everything that is wrong.
func Compile(file *config.File, m *manifest.Manifest) (*Set, error) {
	return CompileWith(file, Options{Manifest: m})
}

// CompileWith is Compile with more to check against.
func CompileWith(file *config.File, options Options) (*Set, error) {
	c := newCompiler(file.Name, options)
	set := &Set{version: file.Stamp, byName: make(map[string]*Rule, len(file.Rules)), index: newIndex()}
	for i, shape := range file.Rules {
		patterns := c.patterns(shape)
		c.consult(shape, patterns)
		rule := c.rule(shape)
		set.rules = append(set.rules, rule)
		set.byName[rule.name] = rule
		for _, p := range patterns {
			set.index.add(p, i)
		}
	}
	if err := c.failed.Err(); err != nil {
		return nil, err
	}
	_ = c.warned.Err() // puts them in order
	set.warnings = c.warned.Issues
	return set, nil
}

// Version is a short hash of the text that the rules were read from: equal for
// equal files. It is "" when they were not read from text.
func (s *Set) Version() string { return s.version }

// Warnings are what is likely not meant, in the order of the file: a member
// that the example of an event lacks, an event that no catalogue has.
func (s *Set) Warnings() []config.Issue { return slices.Clone(s.warnings) }

// Rule returns the rule of that name.
func (s *Set) Rule(name string) (*Rule, bool) {
	rule, ok := s.byName[name]
	return rule, ok
}

// Rules returns all rules in the order of the file.
func (s *Set) Rules() []*Rule { return slices.Clone(s.rules) }

// Matched is a rule that a job is for.
type Matched struct {
	Rule *Rule

	// Err is nil, or the [*Error] that its "when" met instead of an answer: the
	// rule counts as matched, and its run as failed for good.
	Err error
}

// Skipped is a rule whose patterns fit a job, but whose "when" asked for a
// member that the job does not have.
type Skipped struct {
	Rule   string
	Reason string
}

// Match returns the rules that a job is for, in the order of the file. A job
// of a scheduled trigger has its key in scheduled, one of a call the name of
// its route in call; for others both are "" and jobType is the name of the
// event, or "preUninstall". Rules whose patterns do not fit cost nothing.
func (s *Set) Match(jobType, scheduled, call string, in Input) (matched []Matched, skipped []Skipped) {
	vars := in.activation()
	for _, i := range s.index.find(jobType, scheduled, call) {
		rule := s.rules[i]
		holds, err := rule.holds(vars)
		switch {
		case err == nil && holds:
			matched = append(matched, Matched{Rule: rule})
		case err == nil:
		case err.Missing:
			skipped = append(skipped, Skipped{Rule: rule.name, Reason: err.Error()})
		default:
			matched = append(matched, Matched{Rule: rule, Err: err})
		}
	}
	return matched, skipped
}

// Applies evaluates the rule's "when", which holds if there is none. The error
// is a [*Error]; one with Missing set means that the rule is not for the job.
func (r *Rule) Applies(in Input) (bool, error) {
	holds, err := r.holds(in.activation())
	if err != nil {
		return false, err
	}
	return holds, nil
}

func (r *Rule) holds(vars activation) (bool, *Error) {
	if r.when == nil {
		return true, nil
	}
	return r.when.truth(vars)
}

// Name returns the rule's name.
func (r *Rule) Name() string { return r.name }

// MaxAttempts returns after how many attempts that count a job of the rule is
// dead: 10 unless the rule says otherwise.
func (r *Rule) MaxAttempts() int { return r.maxAttempts }

// MaxAge returns how old a job of the rule may become: 24 h unless the rule
// says otherwise.
func (r *Rule) MaxAge() time.Duration { return r.maxAge }

// Product returns the product to call where the app is installed in several;
// "" for the only one.
func (r *Rule) Product() string { return r.product }

// Steps returns the rule's steps in their order; none for a rule that forwards
// its jobs.
func (r *Rule) Steps() []*Step { return slices.Clone(r.steps) }

// Forward is where a rule sends its jobs instead of making calls itself.
type Forward struct {
	URL     string        // called as it stands, by POST
	Timeout time.Duration // 30 s unless the rule says otherwise
}

// Forward returns where the rule's jobs go; ok is false when it has steps.
func (r *Rule) Forward() (forward Forward, ok bool) {
	if r.forward == nil {
		return Forward{}, false
	}
	return *r.forward, true
}

// Error is a fault of a rule while a job ran. Trying again does not help.
type Error struct {
	Rule  string
	Step  string // "" for the rule's "when"
	Where string // which part: when, as, path, body.fields.summary …

	// Pos is where the part stands in the rule file.
	Pos config.Pos

	// Missing says that the job does not have a member that was asked for.
	Missing bool

	// Reason is what was wrong; shortened, it may hold values of the event.
	Reason string
}

// Error names the rule, the step and the part with its place in the file.
func (e *Error) Error() string {
	where := fmt.Sprintf("rule %q", e.Rule)
	if e.Step != "" {
		where += fmt.Sprintf(", step %q", e.Step)
	}
	return fmt.Sprintf("%s: evaluating %s (line %d, column %d): %s", where, e.Where, e.Pos.Line, e.Pos.Column, e.Reason)
}
