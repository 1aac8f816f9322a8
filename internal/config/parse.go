package config

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Bounds of what a rule may ask for.
const (
	maxAttempts = 1000
	maxAge      = 30 * 24 * time.Hour // as long as a dead letter is kept
	maxTimeout  = 10 * time.Minute
)

var (
	namePattern    = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	productPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

// Parse reads and checks the file in data. name stands for it in errors, which
// are of type [*Error].
func Parse(name string, data []byte) (*File, error) {
	return parse(name, data, nil)
}

// parse is Parse; note, unless nil, is told the members of each mapping as it
// is read.
func parse(name string, data []byte, note func(what string, names []string)) (*File, error) {
	p := &parser{lines: splitLines(data), failed: Error{File: name}, note: note}
	sum := sha256.Sum256(data)
	file := &File{Name: name, Stamp: hex.EncodeToString(sum[:6])}
	if root := p.document(data); root != nil {
		p.file(file, root)
	}
	if err := p.failed.Err(); err != nil {
		return nil, err
	}
	return file, nil
}

func (p *parser) file(file *File, root *yaml.Node) {
	seen := p.fields(root, "the file", map[string]field{
		"version": func(n *yaml.Node) {
			if file.Version = 1; n.Value != "1" || n.Kind != yaml.ScalarNode {
				p.fail(n, "version is %s, this version of bellows reads 1", kindOf(n))
			}
		},
		"rules": func(n *yaml.Node) {
			for _, item := range p.items(n, "rules") {
				file.Rules = append(file.Rules, p.rule(item))
			}
			p.uniqueRules(file.Rules)
		},
		"routes": func(n *yaml.Node) { file.Routes = p.routes(n) },
	})
	if root.Kind == yaml.MappingNode && !seen["version"] {
		p.fail(root, "\"version: 1\" is missing")
	}
}

// named is a thing that must not share its name.
type named struct {
	name string
	pos  Pos
}

// unique reports names that stand twice.
func (p *parser) unique(what string, all []named) {
	first := make(map[string]Pos)
	for _, n := range all {
		if pos, twice := first[n.name]; twice && n.name != "" {
			p.failed.Add(n.pos, "the %s name %q is taken (line %d)", what, n.name, pos.Line)
			continue
		}
		first[n.name] = n.pos
	}
}

func (p *parser) uniqueRules(rules []Rule) {
	all := make([]named, len(rules))
	for i, rule := range rules {
		all[i] = named{rule.Name, rule.Pos}
	}
	p.unique("rule", all)
}

// name reads a name for a rule, a step or a route.
func (p *parser) name(node *yaml.Node, what string) string {
	text, ok := p.scalar(node, what)
	if ok && !namePattern.MatchString(text.Value) {
		p.fail(node, "%s is %s, want 1 to 64 letters, digits, _ or -", what, kindOf(node))
	}
	return text.Value
}

// on reads one pattern or a list of them.
func (p *parser) on(node *yaml.Node) []Text {
	nodes := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		nodes = p.items(node, "on")
		if len(nodes) == 0 {
			p.fail(node, "on is an empty list, want at least one pattern")
		}
	}
	var patterns []Text
	for _, n := range nodes {
		if text, ok := p.scalar(n, "a pattern of on"); ok {
			patterns = append(patterns, text)
		}
	}
	return patterns
}

// expression reads CEL source.
func (p *parser) expression(node *yaml.Node, what string) *Text {
	text, ok := p.scalar(node, what)
	switch {
	case !ok:
		return nil
	case strings.TrimSpace(text.Value) == "":
		p.fail(node, "%s is empty, want an expression", what)
		return nil
	case strings.HasPrefix(strings.TrimSpace(text.Value), "${"):
		p.fail(node, "%s is an expression as it stands, write it without ${ }", what)
		return nil
	}
	return &text
}

func (p *parser) as(node *yaml.Node) As {
	as := As{Pos: at(node)}
	if node.Kind == yaml.MappingNode {
		as.Kind = AsAccount
		seen := p.fields(node, "as", map[string]field{
			"user": func(n *yaml.Node) { as.Account = p.expression(n, "user") },
		})
		if !seen["user"] {
			p.fail(node, "as needs \"user\" with an expression for an account id")
		}
		return as
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.Value == "app":
	case node.Kind == yaml.ScalarNode && node.Value == "user":
		as.Kind = AsUser
	default:
		p.fail(node, "as is %s, want app, user or {user: expression}", kindOf(node))
	}
	return as
}

func (p *parser) product(node *yaml.Node) string {
	text, ok := p.scalar(node, "product")
	if ok && !productPattern.MatchString(text.Value) {
		p.fail(node, "product is %s, want a name like jira or confluence", kindOf(node))
	}
	return text.Value
}

func (p *parser) duration(node *yaml.Node, what string, most time.Duration) time.Duration {
	text, ok := p.scalar(node, what)
	if !ok {
		return 0
	}
	d, err := ParseDuration(text.Value)
	if err != nil {
		p.fail(node, "%s is %s, %v", what, kindOf(node), err)
		return 0
	}
	if d > most {
		p.fail(node, "%s is %s, want at most %s", what, kindOf(node), shortDuration(most))
	}
	return d
}

// shortDuration writes whole hours and minutes without their zero parts.
func shortDuration(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "0s")
	if cut, whole := strings.CutSuffix(text, "h0m"); whole {
		text = cut + "h"
	}
	return text
}

// choice reads one of several words.
func (p *parser) choice(node *yaml.Node, what string, words ...string) string {
	text, ok := p.scalar(node, what)
	if !ok || slices.Contains(words, text.Value) {
		return text.Value
	}
	if near := nearest(strings.ToUpper(text.Value), words); near != "" {
		p.fail(node, "%s is %s, did you mean %q?", what, kindOf(node), near)
	} else if near := nearest(strings.ToLower(text.Value), words); near != "" {
		p.fail(node, "%s is %s, did you mean %q?", what, kindOf(node), near)
	} else {
		p.fail(node, "%s is %s, want one of %s", what, kindOf(node), strings.Join(words, ", "))
	}
	return ""
}
