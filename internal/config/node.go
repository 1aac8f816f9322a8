package config

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxNodes bounds how many nodes are read, since aliases inside aliases can
// make a small file a tree without end.
const maxNodes = 200_000

// parser walks the nodes of one file and collects what is wrong.
type parser struct {
	lines  [][]rune
	failed Error
	nodes  int
	note   func(what string, names []string) // may be nil
}

func (p *parser) fail(node *yaml.Node, format string, args ...any) {
	p.failed.Add(at(node), format, args...)
}

// at returns where node stands.
func at(node *yaml.Node) Pos { return Pos{node.Line, node.Column} }

// document returns the root node, or nil after reporting why there is none.
func (p *parser) document(data []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && len(first.Content) == 0 {
		p.failed.Add(Pos{1, 1}, "the file is empty, it needs at least \"version: 1\"")
		return nil
	}
	if err == nil {
		if err = decoder.Decode(&second); err == nil {
			p.fail(&second, "a second document starts here, only one is allowed")
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.syntaxError(err)
		return nil
	}
	return first.Content[0]
}

func (p *parser) syntaxError(err error) {
	if load := (*yaml.LoadError)(nil); errors.As(err, &load) {
		p.failed.Add(Pos{max(load.Mark.Line, 1), max(load.Mark.Column, 1)}, "not YAML: %s", load.Message)
		return
	}
	p.failed.Add(Pos{1, 1}, "not YAML: %v", err)
}

// real follows an alias to the node it stands for, and counts. It returns nil,
// after reporting it once, when there are too many.
func (p *parser) real(node *yaml.Node) *yaml.Node {
	p.nodes++
	if p.nodes == maxNodes {
		p.fail(node, "too many values, aliases included")
	}
	if p.nodes >= maxNodes {
		return nil
	}
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// field reads one member of a mapping.
type field func(*yaml.Node)

// elsewhere are members that belong in another kind of mapping, which is where.
type elsewhere struct {
	where string
	names []string
}

// fields reads a mapping by its known members and returns which were there.
// Members that are not known, stand twice or are null are reported.
func (p *parser) fields(node *yaml.Node, what string, known map[string]field, others ...elsewhere) map[string]bool {
	seen := make(map[string]bool)
	if p.note != nil {
		p.note(what, slices.Sorted(maps.Keys(known)))
	}
	if node.Kind != yaml.MappingNode {
		p.fail(node, "%s is %s, want a mapping", what, kindOf(node))
		return seen
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], p.real(node.Content[i+1])
		if value == nil {
			break
		}
		read, there := known[key.Value]
		switch {
		case seen[key.Value]:
			p.fail(key, "%q stands twice in %s", key.Value, what)
		case key.ShortTag() == "!!merge":
			p.fail(key, "merge keys (<<) are not allowed")
		case !there:
			p.unknown(key, what, known, others)
		case isNull(value):
			p.fail(value, "%q in %s has no value", key.Value, what)
		default:
			read(value)
		}
		seen[key.Value] = true
	}
	return seen
}

func (p *parser) unknown(key *yaml.Node, what string, known map[string]field, others []elsewhere) {
	for _, other := range others {
		if slices.Contains(other.names, key.Value) {
			p.fail(key, "%q belongs in %s, not in %s", key.Value, other.where, what)
			return
		}
	}
	names := slices.Sorted(maps.Keys(known))
	if near := nearest(key.Value, names); near != "" {
		p.fail(key, "unknown member %q in %s, did you mean %q?", key.Value, what, near)
		return
	}
	p.fail(key, "unknown member %q in %s, known are %s", key.Value, what, strings.Join(names, ", "))
}

// items returns the entries of a list, without aliases.
func (p *parser) items(node *yaml.Node, what string) []*yaml.Node {
	if node.Kind != yaml.SequenceNode {
		p.fail(node, "%s is %s, want a list", what, kindOf(node))
		return nil
	}
	var items []*yaml.Node
	for _, item := range node.Content {
		if item = p.real(item); item != nil {
			items = append(items, item)
		}
	}
	return items
}

// scalar reads any single value as text.
func (p *parser) scalar(node *yaml.Node, what string) (Text, bool) {
	if node.Kind != yaml.ScalarNode || isNull(node) {
		p.fail(node, "%s is %s, want a single value", what, kindOf(node))
		return Text{}, false
	}
	return p.textOf(node), true
}

// flag reads a boolean.
func (p *parser) flag(node *yaml.Node, what string) bool {
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!bool" {
		p.fail(node, "%s is %s, want true or false", what, kindOf(node))
		return false
	}
	var value bool
	return node.Decode(&value) == nil && value
}

// number reads a whole number from low to high.
func (p *parser) number(node *yaml.Node, what string, low, high int) int {
	var value int
	if node.Kind != yaml.ScalarNode || node.ShortTag() != "!!int" || node.Decode(&value) != nil || value < low || value > high {
		p.fail(node, "%s is %s, want a whole number from %d to %d", what, kindOf(node), low, high)
		return 0
	}
	return value
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// kindOf describes what was found instead of what was wanted.
func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(node):
		return "empty"
	}
	return quote(node.Value)
}

// quote shows a value of the file, shortened to what fits a message.
func quote(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return "\"" + strings.ReplaceAll(text, "\n", " ") + "\""
}

// nearest returns the name that differs from text by the fewest edits: at most
// one, or two in a word of six letters and more. It is "" when none is so near.
func nearest(text string, names []string) string {
	best, least := "", 2
	if len(text) >= 6 {
		least = 3
	}
	for _, name := range names {
		if d := distance(text, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
