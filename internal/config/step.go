package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

// Step is one request of a rule, or one for each item of a list.
type Step struct {
	Name string // unique in the rule; "step-1" and so on where the file does not say

	// As is nil when the rule's holds.
	As *As

	// Product is "" when the rule's holds.
	Product string

	// ForEach is a CEL expression for the list whose items the request is made
	// for; nil: once.
	ForEach *Text

	// MaxItems is how many items ForEach may give; 0 when the file does not
	// say.
	MaxItems int

	// Paginate is nil when one answer is all.
	Paginate *Paginate

	// Unless is nil when nothing is asked first.
	Unless *Unless

	// OnStatus are statuses with a meaning of their own, in the order of the
	// file.
	OnStatus []OnStatus

	// Repeatable says that the request may be sent again when its answer was
	// lost.
	Repeatable bool

	// Timeout is 0 when the file does not say.
	Timeout time.Duration

	Request Request
	Pos     Pos
}

// Safe reports whether the step's request may be sent again when its answer
// was lost: its method is GET, HEAD, PUT or DELETE, the file says that it is
// repeatable, or a probe tells whether the effect is there.
func (s Step) Safe() bool {
	return s.Repeatable || s.Unless != nil || slices.Contains([]string{"GET", "HEAD", "PUT", "DELETE"}, s.Request.Method)
}

// Unless is a question asked before a step's request, which is left out when
// the answer says that its effect is there already.
type Unless struct {
	Request Request // GET, HEAD or POST

	// Present is a CEL expression over the answer.
	Present Text

	Pos Pos
}

// The values of a Paginate's style.
const (
	PagesStartAt = "start_at" // a number of items to leave out: startAt, maxResults, total
	PagesCursor  = "cursor"   // a text in each answer that asks for the next page
	PagesLink    = "link"     // the address of the next page
)

// Paginate says how to ask for the pages of a list.
type Paginate struct {
	Style string // one of the constants

	// Items is a CEL expression for the items of one page.
	Items Text

	// Param is the query parameter, and Member the path of the member of the
	// body, that asks for the next page; one of them is set but for PagesLink.
	Param  string
	Member []string

	Total  *Text // of PagesStartAt; nil when the file does not say
	Cursor *Text // of PagesCursor; nil when the file does not say
	Next   *Text // of PagesLink; nil: the Link header

	// MaxPages is 0 when the file does not say.
	MaxPages int

	Pos Pos
}

// Verdict is what an answer means for its step.
type Verdict string

// The verdicts.
const (
	VerdictDone  Verdict = "done"  // the step has done what it should
	VerdictRetry Verdict = "retry" // the job comes again later, which counts as an attempt
	VerdictDead  Verdict = "dead"  // the job is dead
)

// OnStatus gives a status a meaning of its own.
type OnStatus struct {
	// Status is from 200 to 599, or one digit from 2 to 5 for a class.
	Status  int
	Verdict Verdict
}

// Bounds of what a step may ask for.
const (
	maxItems = 10_000
	maxPages = 1000
)

// ownStatuses always mean the same: the token is refused, or a limit is
// reached.
var ownStatuses = []int{401, 429}

var memberPattern = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,9}$`)

func (p *parser) steps(node *yaml.Node) []Step {
	nodes := p.items(node, "steps")
	if len(nodes) == 0 && node.Kind == yaml.SequenceNode {
		p.fail(node, "steps is an empty list, want at least one")
	}
	steps := make([]Step, len(nodes))
	all := make([]named, len(nodes))
	for i, n := range nodes {
		steps[i] = p.step(n, fmt.Sprintf("step-%d", i+1))
		all[i] = named{steps[i].Name, steps[i].Pos}
	}
	p.unique("step", all)
	return steps
}

func (p *parser) step(node *yaml.Node, name string) Step {
	step := Step{Name: name, Pos: at(node)}
	seen := p.fields(node, "a step", map[string]field{
		"name":       func(n *yaml.Node) { step.Name = p.name(n, "the name of a step") },
		"as":         func(n *yaml.Node) { as := p.as(n); step.As = &as },
		"product":    func(n *yaml.Node) { step.Product = p.product(n) },
		"for_each":   func(n *yaml.Node) { step.ForEach = p.expression(n, "for_each") },
		"max_items":  func(n *yaml.Node) { step.MaxItems = p.number(n, "max_items", 1, maxItems) },
		"paginate":   func(n *yaml.Node) { step.Paginate = p.paginate(n) },
		"unless":     func(n *yaml.Node) { step.Unless = p.unless(n) },
		"on_status":  func(n *yaml.Node) { step.OnStatus = p.onStatus(n) },
		"repeatable": func(n *yaml.Node) { step.Repeatable = p.flag(n, "repeatable") },
		"timeout":    func(n *yaml.Node) { step.Timeout = p.duration(n, "timeout", maxTimeout) },
		"request":    func(n *yaml.Node) { step.Request = p.request(n) },
	}, ofRules, ofRequests)
	if node.Kind != yaml.MappingNode {
		return step
	}
	if !seen["request"] {
		p.fail(node, "a step needs \"request\"")
	}
	if seen["max_items"] && !seen["for_each"] {
		p.fail(node, "\"max_items\" says nothing without \"for_each\"")
	}
	p.agree(node, step)
	return step
}

// agree reports members of a step that do not go together.
func (p *parser) agree(node *yaml.Node, step Step) {
	method := step.Request.Method
	switch {
	case step.Paginate == nil || method == "":
	case method != "GET" && method != "POST":
		p.failed.Add(step.Paginate.Pos, "a %s request has no pages", method)
	case step.Unless != nil:
		p.failed.Add(step.Unless.Pos, "a step that reads pages has no effect to ask for")
	case !step.Safe():
		p.failed.Add(step.Paginate.Pos, "a POST that reads pages must say \"repeatable: true\"")
	}
	if step.Paginate != nil && step.Request.Body == nil && step.Paginate.Member != nil {
		p.failed.Add(step.Paginate.Pos, "the request has no body to put \"member\" in, want \"param\"")
	}
	if step.Paginate != nil && step.Paginate.Member == nil && step.Request.API == APIGraphQL {
		p.failed.Add(step.Paginate.Pos, "api graphql has no query parameters, want style cursor with \"member\"")
	}
	if step.As != nil && step.As.Kind != AsApp && (step.Request.API == APIStorage || step.Request.API == APIForge) {
		p.failed.Add(step.As.Pos, "api %s takes only the app's own token, want \"as: app\"", step.Request.API)
	}
	for _, on := range step.OnStatus {
		if on.Verdict == VerdictRetry && method != "" && !step.Safe() && mayHaveEffect(on.Status) {
			p.fail(node, "to retry %s may repeat what the request did: mark the step \"repeatable: true\" or give it \"unless\"", statusName(on.Status))
		}
	}
}

// mayHaveEffect reports whether a request answered with the status, or one of
// the class, may have been carried out. 500 and 503 are repeated anyway.
func mayHaveEffect(status int) bool {
	return status == 2 || status == 5 || status/100 == 2 || status > 500 && status != 503
}

func statusName(status int) string {
	if status < 10 {
		return strconv.Itoa(status) + "xx"
	}
	return strconv.Itoa(status)
}

func (p *parser) unless(node *yaml.Node) *Unless {
	unless := &Unless{Pos: at(node)}
	seen := p.fields(node, "unless", map[string]field{
		"request": func(n *yaml.Node) {
			unless.Request = p.request(n)
			if m := unless.Request.Method; m == "PUT" || m == "PATCH" || m == "DELETE" {
				p.fail(n, "the request of unless only asks, a %s would change something", m)
			}
		},
		"present": func(n *yaml.Node) {
			if text := p.expression(n, "present"); text != nil {
				unless.Present = *text
			}
		},
	})
	p.needs(node, "unless", seen, "request", "present")
	return unless
}

// needs reports which members a mapping lacks.
func (p *parser) needs(node *yaml.Node, what string, seen map[string]bool, names ...string) {
	for _, name := range names {
		if node.Kind == yaml.MappingNode && !seen[name] {
			p.fail(node, "%s needs %q", what, name)
		}
	}
}

// onStatus reads a mapping from statuses and classes to verdicts.
func (p *parser) onStatus(node *yaml.Node) []OnStatus {
	if node.Kind != yaml.MappingNode {
		p.fail(node, "on_status is %s, want a mapping", kindOf(node))
		return nil
	}
	var all []OnStatus
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], p.real(node.Content[i+1])
		if value == nil {
			break
		}
		on := OnStatus{Status: p.status(p.key(key, "on_status", seen), key)}
		on.Verdict = Verdict(p.choice(value, "the verdict", string(VerdictDone), string(VerdictRetry), string(VerdictDead)))
		all = append(all, on)
	}
	return all
}

// statusPattern is a status, or a class of them.
var statusPattern = regexp.MustCompile(`^[2-5]([0-9]{2}|xx)$`)

func (p *parser) status(text Text, node *yaml.Node) int {
	if !statusPattern.MatchString(text.Value) {
		p.fail(node, "%s in on_status is no status, want one like 404 or a class like 5xx", quote(text.Value))
		return 0
	}
	status, err := strconv.Atoi(text.Value)
	if err != nil {
		return int(text.Value[0] - '0')
	}
	if slices.Contains(ownStatuses, status) {
		p.fail(node, "%d always means the same: the token is refused, or a limit is reached", status)
	}
	return status
}
