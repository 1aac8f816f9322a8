package rules

import (
	"slices"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"bellows/internal/config"
)

// Step is one compiled step of a rule.
type Step struct {
	name     string
	product  string
	timeout  time.Duration
	safe     bool
	request  request
	each     *expression // nil: once
	maxItems int
	pages    *pages // nil: one answer is all
	probe    *probe // nil: nothing is asked first
	onStatus map[int]Verdict
}

// request is a compiled request and as whom it is made.
type request struct {
	identity
	api     string
	method  string
	path    path
	query   []param
	headers []param
	body    *body // nil: none
}

// identity says on whose behalf a request is made.
type identity struct {
	as      config.AsKind
	account *expression // nil unless as is AsAccount
}

// Name returns the step's name, which is unique in its rule.
func (s *Step) Name() string { return s.name }

// Key names what the step does for one Input that Items gave: the step's name,
// with the index of the item behind it where the step has a for_each. It is
// the same whenever the job is tried again.
func (s *Step) Key(in Input) string {
	if s.each == nil {
		return s.name
	}
	return s.name + "[" + strconv.Itoa(in.Index) + "]"
}

// Product returns the product to call where the app is installed in several,
// be it the step or the rule that says it; "" for the only one.
func (s *Step) Product() string { return s.product }

// Safe reports whether the request may be sent again when its answer was lost:
// its method is GET, HEAD, PUT or DELETE, the rule says it is repeatable, or a
// probe tells whether its effect is there.
func (s *Step) Safe() bool { return s.safe }

// Timeout returns how long to wait for the answer: 30 s unless the rule says
// otherwise.
func (s *Step) Timeout() time.Duration { return s.timeout }

// Verdict is what an answer means for its step.
type Verdict = config.Verdict

// The verdicts.
const (
	VerdictDone  = config.VerdictDone
	VerdictRetry = config.VerdictRetry
	VerdictDead  = config.VerdictDead
)

// transient are statuses of the class 4xx that say nothing about the request.
// A rule that means one of them names it.
var transient = []int{401, 408, 425, 429}

// OnStatus returns what the rule says that an answer with the status means;
// ok is false when it says nothing. A status that is named comes before its
// class, and 4xx does not stand for 401, 408, 425 and 429.
func (s *Step) OnStatus(status int) (verdict Verdict, ok bool) {
	if verdict, ok = s.onStatus[status]; ok || slices.Contains(transient, status) {
		return verdict, ok
	}
	verdict, ok = s.onStatus[status/100]
	return verdict, ok
}

// rule compiles one rule.
func (c *compiler) rule(shape config.Rule) *Rule {
	rule := &Rule{
		name: shape.Name, product: shape.Product,
		maxAttempts: orDefault(shape.MaxAttempts, defaultMaxAttempts), maxAge: orDefault(shape.MaxAge, defaultMaxAge),
	}
	at := place{rule: shape.Name}
	if shape.When != nil {
		rule.when = c.when(at.in("when"), *shape.When)
	}
	if shape.Forward != nil {
		rule.forward = &Forward{URL: shape.Forward.URL, Timeout: orDefault(shape.Forward.Timeout, defaultTimeout)}
	}
	who := identity{as: shape.As.Kind}
	if shape.As.Account != nil {
		who.account = c.account(at.in("as"), *shape.As.Account)
	}
	var earlier []string
	for _, s := range shape.Steps {
		if s.Product == "" {
			s.Product = shape.Product
		}
		rule.steps = append(rule.steps, c.step(place{rule: shape.Name, step: s.Name, earlier: earlier, sees: seesSteps}, s, who))
		earlier = append(earlier, s.Name)
	}
	return rule
}

func orDefault[T comparable](value, otherwise T) T {
	if value == *new(T) {
		return otherwise
	}
	return value
}

// when compiles a condition.
func (c *compiler) when(p place, text config.Text) *expression {
	return c.typed(p, text, "true or false", types.BoolType)
}

// typed compiles an expression that must give a value of one type.
func (c *compiler) typed(p place, text config.Text, want string, wanted *cel.Type) *expression {
	expr, output := c.expression(p, text, 0, text.Value)
	if expr != nil && output.Kind() != wanted.Kind() && output.Kind() != types.DynType.Kind() {
		c.fail(p, text, 0, "it gives a value of type "+cel.FormatCELType(output)+", want "+want)
	}
	return expr
}

// step compiles one step; who is on whose behalf the rule calls.
func (c *compiler) step(p place, shape config.Step, who identity) *Step {
	step := &Step{
		name: shape.Name, product: shape.Product, safe: shape.Safe(),
		timeout: orDefault(shape.Timeout, defaultTimeout), maxItems: orDefault(shape.MaxItems, defaultMaxItems),
		onStatus: make(map[int]Verdict, len(shape.OnStatus)),
	}
	if shape.ForEach != nil {
		step.each = c.typed(p.in("for_each"), *shape.ForEach, "a list", cel.ListType(cel.DynType))
		p = p.with(seesItem)
	}
	step.request = c.request(p, shape.Request, c.identity(p, shape, who))
	if shape.Unless != nil {
		step.probe = c.probe(p, *shape.Unless, step.request.identity)
	}
	if shape.Paginate != nil {
		step.pages = c.pages(p, *shape.Paginate)
	}
	for _, on := range shape.OnStatus {
		step.onStatus[on.Status] = on.Verdict
	}
	return step
}

// identity compiles on whose behalf a step calls, where it does not call as
// its rule does.
func (c *compiler) identity(p place, shape config.Step, who identity) identity {
	if shape.As != nil {
		who = identity{as: shape.As.Kind}
		if shape.As.Account != nil {
			who.account = c.account(p.in("as"), *shape.As.Account)
		}
	} else if who.account != nil {
		who.account = &expression{who.account.program, who.account.part}
		who.account.step = p.step
	}
	return who
}

// request compiles a request. Forge's own APIs take only the app's token
// ("Accessing Forge storage from a remote", 2026-08-22).
func (c *compiler) request(p place, shape config.Request, who identity) request {
	if shape.API == config.APIStorage || shape.API == config.APIForge {
		who = identity{}
	}
	r := request{
		identity: who, api: shape.API, method: shape.Method,
		query: c.params(p, shape.Query), headers: c.headers(p, shape.Headers),
	}
	if shape.API != config.APIGraphQL || shape.Path.Value != "" {
		r.path = c.path(p.in(p.where+"path"), shape.Path)
	}
	if shape.Body != nil {
		r.body = c.lone(p.in(p.where+"body"), *shape.Body)
	}
	return r
}
