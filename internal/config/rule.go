package config

import (
	"encoding/json"
	"time"

	"go.yaml.in/yaml/v4"
)

// Rule says what to do for jobs of certain kinds. Exactly one of Steps and
// Forward is set.
type Rule struct {
	Name string // unique in the file; [A-Za-z0-9_-]{1,64}

	// On are the patterns of jobs it is for; at least one.
	On []Text

	// When is a CEL expression that must hold; nil when it always does.
	When *Text

	As As

	// Product is the product to call where the app is installed in several;
	// "" for the only one.
	Product string

	// MaxAttempts is 0 when the file does not say.
	MaxAttempts int

	// MaxAge is 0 when the file does not say.
	MaxAge time.Duration

	Steps   []Step
	Forward *Forward
	Pos     Pos // of the rule
}

// AsKind says on whose behalf a rule calls Atlassian.
type AsKind int

const (
	AsApp     AsKind = iota // the app itself; also when the file does not say
	AsUser                  // the user who caused the job
	AsAccount               // the account that an expression names
)

// As is a rule's or a step's "as".
type As struct {
	Kind AsKind

	// Account is the CEL expression for the account id; nil unless Kind is
	// AsAccount.
	Account *Text

	Pos Pos // zero when the file does not say
}

// The values of a request's api.
const (
	APIProduct = "product" // the REST API of the product; also when the file does not say
	APIStorage = "storage" // Forge storage
	APIForge   = "forge"   // other Forge REST APIs
	APIGraphQL = "graphql" // Atlassian's GraphQL gateway, which has one address
)

// Request is the template of one HTTP request.
type Request struct {
	API    string // one of the constants
	Method string // in capitals

	// Path is a template; its Value is "" for APIGraphQL without one.
	Path Text

	// Query and Headers hold templates, in the order of the file. A query
	// parameter may come several times.
	Query, Headers []Param

	// Body is nil when there is none.
	Body *Value

	Pos Pos
}

// Param is one query parameter or header.
type Param struct {
	Name, Value Text
}

// ValueKind is the kind of a Value.
type ValueKind int

const (
	ScalarValue  ValueKind = iota // null, a boolean or a number
	StringValue                   // a string, which may be a template
	ListValue                     // a list of values
	MappingValue                  // a mapping with literal keys
)

// Value is a tree for a JSON body.
type Value struct {
	Kind    ValueKind
	JSON    json.RawMessage // of a ScalarValue
	Text    Text            // of a StringValue
	Items   []Value         // of a ListValue
	Members []Member        // of a MappingValue, in the order of the file
	Pos     Pos
}

// Member is one entry of a MappingValue.
type Member struct {
	Key   string
	Value Value
}

// ofSteps and ofRules are members that people look for in the wrong place.
var (
	ofSteps = elsewhere{"a step", []string{"for_each", "max_items", "paginate", "unless", "on_status", "repeatable", "timeout", "request"}}
	ofRules = elsewhere{"a rule", []string{"on", "when", "forward", "max_attempts", "max_age"}}
)

func (p *parser) rule(node *yaml.Node) Rule {
	rule := Rule{Pos: at(node)}
	seen := p.fields(node, "a rule", map[string]field{
		"name":         func(n *yaml.Node) { rule.Name = p.name(n, "the name of a rule") },
		"on":           func(n *yaml.Node) { rule.On = p.on(n) },
		"when":         func(n *yaml.Node) { rule.When = p.expression(n, "when") },
		"as":           func(n *yaml.Node) { rule.As = p.as(n) },
		"product":      func(n *yaml.Node) { rule.Product = p.product(n) },
		"max_attempts": func(n *yaml.Node) { rule.MaxAttempts = p.number(n, "max_attempts", 1, maxAttempts) },
		"max_age":      func(n *yaml.Node) { rule.MaxAge = p.duration(n, "max_age", maxAge) },
		"steps":        func(n *yaml.Node) { rule.Steps = p.steps(n) },
		"forward":      func(n *yaml.Node) { rule.Forward = p.handler(n) },
	}, ofSteps)
	if node.Kind != yaml.MappingNode {
		return rule
	}
	for _, needed := range []string{"name", "on"} {
		if !seen[needed] {
			p.fail(node, "a rule needs %q", needed)
		}
	}
	if seen["steps"] == seen["forward"] {
		p.fail(node, "a rule needs either \"steps\" or \"forward\"")
	}
	for _, name := range []string{"as", "product"} {
		if seen["forward"] && !seen["steps"] && seen[name] {
			p.fail(node, "%q says nothing in a rule with \"forward\": each call of its handler says it", name)
		}
	}
	return rule
}

// handler reads where a rule forwards its jobs to.
func (p *parser) handler(node *yaml.Node) *Forward {
	forward := &Forward{}
	seen := p.fields(node, "forward of a rule", map[string]field{
		"url":     func(n *yaml.Node) { forward.URL = p.forwardURL(n, true) },
		"timeout": func(n *yaml.Node) { forward.Timeout = p.duration(n, "timeout", maxTimeout) },
	})
	if node.Kind == yaml.MappingNode && !seen["url"] {
		p.fail(node, "forward needs \"url\"")
	}
	return forward
}
