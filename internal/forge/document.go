package forge

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// maxTokenDepth bounds the nesting of a token's JSON. Samples have six
// levels.
const maxTokenDepth = 64

// fewMembers is up to how many members an object's names are compared one by
// one; above it a map finds duplicates, so that a large object costs no
// quadratic time before its signature is known.
const fewMembers = 32

var (
	errNotJSON   = errors.New("is not well-formed JSON")
	errNotUTF8   = errors.New("is not UTF-8")
	errNotObject = errors.New("is not a JSON object")
	errDuplicate = errors.New("has a member twice in one object")
)

type kind byte

const (
	kindLiteral kind = iota
	kindNumber
	kindString
	kindArray
	kindObject
)

// node is one JSON value. The nodes of an object's or array's members follow
// it; next leads from one to its sibling, or is 0 at the last.
type node struct {
	kind       kind
	escaped    bool
	keyEscaped bool
	key, value span // between the quotation marks for strings
	next       int
}

// document is a JSON object in parsed form, strict where tokens need it:
// UTF-8, no member twice in an object (names compared after unescaping, with
// regard to case), nothing after it. It can be used again for another text.
type document struct {
	lexer
	whole string // a copy of data, from which strings are cut
	nodes []node
}

// none is the index of a node that is not there.
const none = -1

// parse reads data, which may be overwritten afterwards.
func (d *document) parse(data []byte) error {
	d.lexer, d.nodes, d.whole = lexer{data: data}, d.nodes[:0], string(data)
	if !utf8.Valid(data) {
		return errNotUTF8
	}
	d.space()
	if d.peek() != '{' {
		return errNotObject
	}
	if err := d.add(0); err != nil {
		return err
	}
	d.space()
	if d.pos != len(d.data) {
		return errNotJSON
	}
	return nil
}

// add parses the value at pos into a new node.
func (d *document) add(depth int) error {
	if depth == maxTokenDepth {
		return errNotJSON
	}
	at := len(d.nodes)
	d.nodes = append(d.nodes, node{value: span{start: d.pos}})
	var err error
	switch c := d.peek(); {
	case c == '{':
		err = d.addObject(at, depth)
	case c == '[':
		err = d.addArray(at, depth)
	case c == '"':
		err = d.addString(at)
	default:
		err = d.addScalar(at, c)
	}
	return err
}

func (d *document) addScalar(at int, first byte) error {
	if first == '-' || first >= '0' && first <= '9' {
		d.nodes[at].kind = kindNumber
	}
	if !d.scalar() {
		return errNotJSON
	}
	d.nodes[at].value.end = d.pos
	return nil
}

func (d *document) addString(at int) error {
	value, escaped, err := d.string()
	d.nodes[at].kind, d.nodes[at].value, d.nodes[at].escaped = kindString, value, escaped
	return err
}

// string passes over a string that decodes to Unicode text.
func (d *document) string() (span, bool, error) {
	s, escaped, ok := d.text()
	if !ok {
		return s, false, errNotJSON
	}
	if escaped && hasLoneSurrogate(d.data[s.start:s.end]) {
		return s, false, errNotUTF8
	}
	return s, escaped, nil
}

func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			i++
			continue
		}
		r, size := unescape(raw[i:])
		if utf16.IsSurrogate(r) {
			return true
		}
		i += size
	}
	return false
}

func (d *document) addArray(at, depth int) error {
	d.nodes[at].kind = kindArray
	d.pos++
	if d.space(); d.eat(']') {
		return d.end(at)
	}
	for last := none; ; {
		d.space()
		last = d.link(last)
		if err := d.add(depth + 1); err != nil {
			return err
		}
		if d.space(); d.eat(']') {
			return d.end(at)
		}
		if !d.eat(',') {
			return errNotJSON
		}
	}
}

func (d *document) addObject(at, depth int) error {
	d.nodes[at].kind = kindObject
	d.pos++
	if d.space(); d.eat('}') {
		return d.end(at)
	}
	names := nameSet{doc: d, first: at + 1}
	for last := none; ; {
		d.space()
		last = d.link(last)
		if err := d.addMember(&names, depth); err != nil {
			return err
		}
		if d.space(); d.eat('}') {
			return d.end(at)
		}
		if !d.eat(',') {
			return errNotJSON
		}
	}
}

func (d *document) addMember(names *nameSet, depth int) error {
	at := len(d.nodes)
	key, escaped, err := d.string()
	if err != nil {
		return err
	}
	if d.space(); !d.eat(':') {
		return errNotJSON
	}
	d.space()
	if err := d.add(depth + 1); err != nil {
		return err
	}
	d.nodes[at].key, d.nodes[at].keyEscaped = key, escaped
	if !names.add(at) {
		return errDuplicate
	}
	return nil
}

// link makes the node that comes next the sibling of last.
func (d *document) link(last int) int {
	at := len(d.nodes)
	if last != none {
		d.nodes[last].next = at
	}
	return at
}

func (d *document) end(at int) error {
	d.nodes[at].value.end = d.pos
	return nil
}

// nameSet finds names that occur twice in one object.
type nameSet struct {
	doc   *document
	first int
	count int
	many  map[string]bool
}

// add reports whether the name of the member at is new in its object.
func (s *nameSet) add(at int) bool {
	s.count++
	if s.count <= fewMembers {
		return s.addFew(at)
	}
	if s.many == nil {
		s.many = make(map[string]bool, 4*fewMembers)
		for i := s.first; i != at; i = s.doc.nodes[i].next {
			s.many[s.doc.key(i)] = true
		}
	}
	name := s.doc.key(at)
	seen := s.many[name]
	s.many[name] = true
	return !seen
}

func (s *nameSet) addFew(at int) bool {
	name := s.doc.key(at)
	for i := s.first; i != at; i = s.doc.nodes[i].next {
		if s.doc.key(i) == name {
			return false
		}
	}
	return true
}

// key returns the decoded name of the member at.
func (d *document) key(at int) string {
	n := &d.nodes[at]
	raw := d.whole[n.key.start:n.key.end]
	if n.keyEscaped {
		return string(decoded([]byte(raw)))
	}
	return raw
}

// decoded returns the text that the inside of a JSON string stands for.
func decoded(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		r, size := unescape(raw[i:])
		out = utf8.AppendRune(out, r)
		i += size
	}
	return out
}

// member returns the index of an object's member, or none when there is no
// such member or no such object.
func (d *document) member(object int, name string) int {
	if object == none || d.nodes[object].kind != kindObject {
		return none
	}
	for i := d.firstOf(object); i > 0; i = d.nodes[i].next {
		if d.key(i) == name {
			return i
		}
	}
	return none
}

// firstOf returns the index of the first value in an object or array, or 0
// when it is empty.
func (d *document) firstOf(at int) int {
	if at+1 < len(d.nodes) && d.nodes[at+1].value.start < d.nodes[at].value.end {
		return at + 1
	}
	return 0
}

// raw returns the value's JSON text; for strings what is between the
// quotation marks.
func (d *document) raw(at int) string {
	return d.whole[d.nodes[at].value.start:d.nodes[at].value.end]
}

// stringAt returns what the string at stands for.
func (d *document) stringAt(at int) string {
	if d.nodes[at].escaped {
		return string(decoded([]byte(d.raw(at))))
	}
	return d.raw(at)
}

// isNull reports whether the value is the literal null.
func (d *document) isNull(at int) bool {
	return d.nodes[at].kind == kindLiteral && d.raw(at) == "null"
}
