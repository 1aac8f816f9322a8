package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v4"
)

// reader walks the nodes of one manifest and collects what is wrong.
type reader struct {
	name   string
	issues []Issue
}

func (r *reader) fail(pos Pos, format string, args ...any) {
	r.issues = append(r.issues, Issue{Line: pos.Line, Column: pos.Column, Message: fmt.Sprintf(format, args...)})
}

// document returns the root node, or nil after reporting why there is none.
func (r *reader) document(data []byte) *yaml.Node {
	var document yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&document)
	if errors.Is(err, io.EOF) || err == nil && len(document.Content) == 0 {
		r.fail(Pos{1, 1}, "the manifest is empty, it needs at least app.id and modules")
		return nil
	}
	if err != nil {
		r.fail(syntaxError(err))
		return nil
	}
	r.duplicates(&document)
	return document.Content[0]
}

// syntaxError takes the place and the bare reason out of a yaml error.
func syntaxError(err error) (Pos, string, any) {
	if load := (*yaml.LoadError)(nil); errors.As(err, &load) {
		return Pos{max(load.Mark.Line, 1), max(load.Mark.Column, 1)}, "not YAML: %v, mend it", load.Message
	}
	return Pos{1, 1}, "not YAML: %v, mend it", err
}

// duplicates reports keys that stand twice in one mapping. Aliased nodes are
// met where they are anchored.
func (r *reader) duplicates(node *yaml.Node) {
	seen := make(map[string]int)
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 && child.Kind == yaml.ScalarNode {
			if line, twice := seen[child.Value]; twice {
				r.fail(at(child), "%q stands here again (first on line %d), keep one", child.Value, line)
			}
			seen[child.Value] = child.Line
		}
		r.duplicates(child)
	}
}

// at returns where node stands.
func at(node *yaml.Node) Pos { return Pos{node.Line, node.Column} }

// real follows aliases to the node they stand for. nil stays nil.
func real(node *yaml.Node) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return node
}

// member is one entry of a mapping.
type member struct {
	key   *yaml.Node
	value *yaml.Node // never an alias
}

// members returns the entries of a mapping, with those it merges ("<<") behind
// its own. It is empty for anything else.
func members(node *yaml.Node) []member { return merge(node, make(map[*yaml.Node]bool)) }

// merge reads a mapping that is not yet in done: each is merged once, so that
// one which merges itself ends.
func merge(node *yaml.Node, done map[*yaml.Node]bool) []member {
	node = real(node)
	if node == nil || node.Kind != yaml.MappingNode || done[node] {
		return nil
	}
	done[node] = true
	var own, merged []member
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], real(node.Content[i+1])
		if key.ShortTag() != "!!merge" {
			own = append(own, member{key, value})
			continue
		}
		for _, source := range sources(value) {
			merged = append(merged, merge(source, done)...)
		}
	}
	return append(own, merged...)
}

// sources returns the mappings that the value of a merge key names.
func sources(value *yaml.Node) []*yaml.Node {
	if value != nil && value.Kind == yaml.SequenceNode {
		return value.Content
	}
	return []*yaml.Node{value}
}

// find follows the keys of path through mappings; nil when one is missing.
func find(node *yaml.Node, path ...string) *yaml.Node {
	node = real(node)
	for _, key := range path {
		var next *yaml.Node
		for _, m := range members(node) {
			if m.key.Value == key {
				next = m.value
				break // the mapping's own member stands before merged ones
			}
		}
		node = next
	}
	return node
}

// isNull reports whether there is nothing at node.
func isNull(node *yaml.Node) bool {
	return node == nil || node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// text returns the scalar at path under node, "" when it is absent. Anything
// but a scalar is reported.
func (r *reader) text(node *yaml.Node, path ...string) string {
	found := find(node, path...)
	if isNull(found) {
		return ""
	}
	if found.Kind != yaml.ScalarNode {
		r.fail(at(found), "%q is no single value, give a string", path[len(path)-1])
		return ""
	}
	return found.Value
}

// flag returns the boolean at path under node, false when it is absent.
func (r *reader) flag(node *yaml.Node, path ...string) bool {
	found := find(node, path...)
	if isNull(found) {
		return false
	}
	if found.Kind != yaml.ScalarNode || found.ShortTag() != "!!bool" {
		r.fail(at(found), "%q is neither true nor false, give one of them", path[len(path)-1])
		return false
	}
	var value bool
	return found.Decode(&value) == nil && value
}

// list returns the mappings of the list at path under node. Anything else
// found there is reported under the name what.
func (r *reader) list(node *yaml.Node, what string, path ...string) []*yaml.Node {
	found := find(node, path...)
	if isNull(found) {
		return nil
	}
	if found.Kind != yaml.SequenceNode {
		r.fail(at(found), "%s is no list, start each entry with \"- key: …\"", what)
		return nil
	}
	var entries []*yaml.Node
	for _, entry := range found.Content {
		entry = real(entry)
		if entry.Kind != yaml.MappingNode {
			r.fail(at(entry), "an entry of %s is no mapping, give it at least a key", what)
			continue
		}
		entries = append(entries, entry)
	}
	return entries
}
