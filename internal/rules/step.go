package rules

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"bellows/internal/config"
)

// rule compiles one rule.
func (c *compiler) rule(shape config.Rule) *Rule {
	rule := &Rule{
		name: shape.Name, product: shape.Product,
		maxAttempts: shape.MaxAttempts, maxAge: shape.MaxAge,
	}
	if rule.maxAttempts == 0 {
		rule.maxAttempts = defaultMaxAttempts
	}
	if rule.maxAge == 0 {
		rule.maxAge = defaultMaxAge
	}
	at := place{rule: shape.Name}
	if shape.When != nil {
		rule.when = c.when(at.in("when"), *shape.When)
	}
	var account *expression
	if shape.As.Account != nil {
		account = c.account(at.in("as"), *shape.As.Account)
	}
	var earlier []string
	for _, s := range shape.Steps {
		step := c.step(place{rule: shape.Name, step: s.Name, earlier: earlier, inStep: true}, s)
		step.as, step.account = shape.As.Kind, account
		if account != nil {
			step.account = &expression{account.program, account.part}
			step.account.step = s.Name
		}
		rule.steps = append(rule.steps, step)
		earlier = append(earlier, s.Name)
	}
	return rule
}

// when compiles a condition.
func (c *compiler) when(p place, text config.Text) *expression {
	expr, output := c.expression(p, text, 0, text.Value)
	if expr != nil && !isOneOf(output, types.BoolType, types.DynType) {
		c.fail(p, text, 0, "it gives a value of type "+cel.FormatCELType(output)+", want true or false")
	}
	return expr
}

func isOneOf(output *cel.Type, wanted ...*cel.Type) bool {
	for _, t := range wanted {
		if output.Kind() == t.Kind() {
			return true
		}
	}
	return false
}

// step compiles one step.
func (c *compiler) step(p place, shape config.Step) *Step {
	request := shape.Request
	step := &Step{
		name: shape.Name, timeout: shape.Timeout, repeatable: shape.Repeatable,
		api: request.API, method: request.Method,
		query:   c.params(p, request.Query),
		headers: c.headers(p, request.Headers),
	}
	if step.timeout == 0 {
		step.timeout = defaultTimeout
	}
	if request.API != config.APIGraphQL || request.Path.Value != "" {
		step.path = c.path(p.in("path"), request.Path)
	}
	if request.Body != nil {
		step.body = c.lone(p.in("body"), *request.Body)
	}
	return step
}
