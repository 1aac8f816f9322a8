package config

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ofRequests are members of a request that people look for in a step.
var ofRequests = elsewhere{"the request", []string{"api", "method", "path", "query", "headers", "body"}}

// methods are what a request may use.
var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"}

func (p *parser) request(node *yaml.Node) Request {
	request := Request{API: APIProduct, Pos: at(node)}
	seen := p.fields(node, "a request", map[string]field{
		"api": func(n *yaml.Node) {
			request.API = p.choice(n, "api", APIProduct, APIStorage, APIForge, APIGraphQL)
		},
		"method":  func(n *yaml.Node) { request.Method = p.choice(n, "method", methods...) },
		"path":    func(n *yaml.Node) { request.Path, _ = p.scalar(n, "path") },
		"query":   func(n *yaml.Node) { request.Query = p.params(n, "query", true) },
		"headers": func(n *yaml.Node) { request.Headers = p.params(n, "headers", false) },
		"body":    func(n *yaml.Node) { request.Body = p.body(n) },
	}, elsewhere{"a step", append([]string{"as", "product"}, ofSteps.names...)})
	if node.Kind == yaml.MappingNode {
		p.complete(node, &request, seen)
	}
	return request
}

// complete fills in what a request may leave out and reports what it may not.
func (p *parser) complete(node *yaml.Node, request *Request, seen map[string]bool) {
	if request.API == APIGraphQL {
		if !seen["method"] {
			request.Method = "POST"
		}
		if !seen["body"] {
			p.fail(node, "a request to graphql needs \"body\" with a query")
		}
		if request.Method != "POST" && request.Method != "" {
			p.fail(node, "a request to graphql is always a POST, leave \"method\" out")
		}
		return
	}
	for _, needed := range []string{"method", "path"} {
		if !seen[needed] {
			p.fail(node, "a request needs %q", needed)
		}
	}
	if bodyless := request.Method == "GET" || request.Method == "HEAD"; bodyless && request.Body != nil {
		p.failed.Add(request.Body.Pos, "a %s request cannot have a body", request.Method)
	}
}

// params reads a mapping from names to single values, or to lists of them.
func (p *parser) params(node *yaml.Node, what string, lists bool) []Param {
	if node.Kind != yaml.MappingNode {
		p.fail(node, "%s is %s, want a mapping", what, kindOf(node))
		return nil
	}
	var params []Param
	seen := make(map[string]bool)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := p.key(node.Content[i], what, seen), p.real(node.Content[i+1])
		if value == nil {
			break
		}
		values := []*yaml.Node{value}
		if lists && value.Kind == yaml.SequenceNode {
			values = p.items(value, what)
		}
		for _, n := range values {
			if text, ok := p.scalar(n, quote(key.Value)+" in "+what); ok {
				params = append(params, Param{Name: key, Value: text})
			}
		}
	}
	return params
}

// key reads the literal key of a mapping and reports a second use.
func (p *parser) key(node *yaml.Node, what string, seen map[string]bool) Text {
	text := p.textOf(node)
	switch {
	case node.Kind != yaml.ScalarNode || isNull(node):
		p.fail(node, "a key in %s is %s, want a name", what, kindOf(node))
	case node.ShortTag() == "!!merge":
		p.fail(node, "merge keys (<<) are not allowed")
	case seen[node.Value]:
		p.fail(node, "%s stands twice in %s", quote(node.Value), what)
	case strings.Contains(node.Value, "${"):
		p.fail(node, "a key in %s is a template, only values may be", what)
	}
	seen[node.Value] = true
	return text
}

// body reads the tree of a JSON body. A lone string must be one expression,
// which package rules checks.
func (p *parser) body(node *yaml.Node) *Value {
	value := p.value(node)
	isText := value.Kind == StringValue
	if value.Kind == ScalarValue || isText && !strings.HasPrefix(strings.TrimSpace(value.Text.Value), "${") {
		p.fail(node, "body is %s, want a mapping, a list or one ${expression}", kindOf(node))
	}
	return &value
}

func (p *parser) value(node *yaml.Node) Value {
	value := Value{Pos: at(node), JSON: json.RawMessage("null")}
	switch node.Kind {
	case yaml.MappingNode:
		value.Kind = MappingValue
		seen := make(map[string]bool)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := p.key(node.Content[i], "body", seen)
			if n := p.real(node.Content[i+1]); n != nil {
				value.Members = append(value.Members, Member{key.Value, p.value(n)})
			}
		}
	case yaml.SequenceNode:
		value.Kind = ListValue
		for _, n := range p.items(node, "a list in body") {
			value.Items = append(value.Items, p.value(n))
		}
	default:
		p.leaf(&value, node)
	}
	return value
}

// leaf reads a scalar of a body. Dates stay the text they were written as.
func (p *parser) leaf(value *Value, node *yaml.Node) {
	switch tag := node.ShortTag(); tag {
	case "!!str", "!!timestamp":
		value.Kind, value.Text = StringValue, p.textOf(node)
	case "!!null":
	case "!!bool", "!!int", "!!float":
		var plain any
		err := node.Decode(&plain)
		if err == nil {
			value.JSON, err = json.Marshal(plain)
		}
		if err != nil {
			p.fail(node, "%s in body cannot be written in JSON, quote it", kindOf(node))
		}
	default:
		p.fail(node, "%s in body has the tag %s, want a plain value", kindOf(node), tag)
	}
}
