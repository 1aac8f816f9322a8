package forge

import (
	"bytes"
	"cmp"
	"slices"
)

// bodyScan validates a body and writes its canonical form in the same pass.
//
// The canonical form of an object is written in the order of the text. When
// the object ends, its members are put in order where they are not yet; an
// inner object is in order before the outer one ends.
type bodyScan struct {
	lexer
	canon   []byte       // the canonical form so far
	spare   []byte       // room to put members in order
	members []memberSpan // of all objects that are open, innermost last
	cuts    []span       // what to take out of data, in order, apart

	side          []byte // values that root and payload point to
	root, payload captured
	payloads      int    // how many root members are named payload
	isObject      bool   // the payload is an object
	others        bool   // the root has a member that rules a wrapper out
	reduced       []byte // the payload without its context
}

// memberSpan is where a member stands in canon.
type memberSpan struct{ start, keyEnd, end int }

// level tells the two objects whose members mean something.
type level int

const (
	levelOther level = iota
	levelRoot
	levelPayload
)

// field is a member that means something at the root or under payload.
type field int

const (
	fieldOther field = iota
	fieldToken
	fieldRetry
	fieldContext
	fieldPayload
	fieldEventType
	fieldType
	fieldTimestamp
	fieldCreated
	fieldSequence
	fieldID
	fieldSpecVersion
	fieldWorkspace
	fieldCount
)

const tokenMember = "contextToken"

var fieldNames = map[string]field{
	tokenMember:        fieldToken,
	"retryContext":     fieldRetry,
	"context":          fieldContext,
	"payload":          fieldPayload,
	"eventType":        fieldEventType,
	"type":             fieldType,
	"timestamp":        fieldTimestamp,
	"eventCreatedDate": fieldCreated,
	"sequenceNumber":   fieldSequence,
	"id":               fieldID,
	"specversion":      fieldSpecVersion,
	"workspace":        fieldWorkspace,
}

// captured says where in side the values of an object's fields are. Of a
// member that occurs twice the last one counts, as it does for encoding/json.
type captured [fieldCount]span

func (s *bodyScan) get(c *captured, f field) []byte { return s.side[c[f].start:c[f].end] }

// value passes over the value at pos and appends its canonical form.
func (s *bodyScan) value(depth int, at level) bool {
	switch s.peek() {
	case '{':
		return depth < maxBodyDepth && s.object(depth, at)
	case '[':
		return depth < maxBodyDepth && s.array(depth)
	case '"':
		return s.string()
	}
	start := s.pos
	if !s.scalar() {
		return false
	}
	s.canon = append(s.canon, s.data[start:s.pos]...)
	return true
}

func (s *bodyScan) array(depth int) bool {
	s.pos++
	s.canon = append(s.canon, '[')
	if s.space(); s.eat(']') {
		s.canon = append(s.canon, ']')
		return true
	}
	for {
		s.space()
		if !s.value(depth+1, levelOther) {
			return false
		}
		s.space()
		if s.eat(']') {
			s.canon = append(s.canon, ']')
			return true
		}
		if !s.eat(',') {
			return false
		}
		s.canon = append(s.canon, ',')
	}
}

func (s *bodyScan) object(depth int, at level) bool {
	s.pos++
	s.canon = append(s.canon, '{')
	base, kept := len(s.members), s.pos // kept: where the last member that stays ends
	if s.space(); s.eat('}') {
		return s.close(base, at)
	}
	for more := true; more; {
		start := s.pos
		stays, ok := s.member(depth, at, base)
		if !ok {
			return false
		}
		end := s.pos
		s.space()
		if more = s.eat(','); more {
			s.space()
		}
		switch {
		case stays:
			kept = end
		case more:
			s.cut(span{start, s.pos})
		default:
			s.cut(span{kept, end})
		}
	}
	return s.eat('}') && s.close(base, at)
}

// member passes over a member. It does not stay in Data if it is a
// contextToken.
func (s *bodyScan) member(depth int, at level, base int) (stays, ok bool) {
	mark := len(s.canon)
	if len(s.members) > base {
		s.canon = append(s.canon, ',')
	}
	m := memberSpan{start: len(s.canon)}
	if s.peek() != '"' || !s.string() {
		return false, false
	}
	m.keyEnd = len(s.canon)
	if s.space(); !s.eat(':') {
		return false, false
	}
	s.canon = append(s.canon, ':')
	s.space()
	f := s.fieldOf(at, m)
	if !s.value(depth+1, s.levelOf(at, f)) {
		return false, false
	}
	m.end = len(s.canon)
	if s.note(at, f, m) {
		s.members = append(s.members, m)
	} else {
		s.canon = s.canon[:mark]
	}
	return f != fieldToken, true
}

func (s *bodyScan) fieldOf(at level, m memberSpan) field {
	name := s.canon[m.start+1 : m.keyEnd-1]
	if at != levelOther {
		return fieldNames[string(name)]
	}
	if string(name) == tokenMember {
		return fieldToken
	}
	return fieldOther
}

func (s *bodyScan) levelOf(at level, f field) level {
	if at != levelRoot || f != fieldPayload {
		return levelOther
	}
	s.payloads++
	s.isObject = s.peek() == '{'
	return levelPayload
}

// note keeps the value of a field and reports whether the member is part of
// the canonical form. The context under payload may turn out not to be.
func (s *bodyScan) note(at level, f field, m memberSpan) bool {
	if f == fieldToken {
		return false
	}
	if at == levelOther {
		return true
	}
	if at == levelRoot && (f == fieldOther || f > fieldPayload) {
		s.others = true
	}
	if f == fieldOther || f == fieldPayload {
		return true
	}
	c := &s.root
	if at == levelPayload {
		c = &s.payload
	}
	start := len(s.side)
	s.side = append(s.side, s.canon[m.keyEnd+len(":"):m.end]...)
	c[f] = span{start, len(s.side)}
	return f != fieldRetry && (f != fieldContext || at == levelPayload)
}

// close ends an object.
func (s *bodyScan) close(base int, at level) bool {
	list := s.members[base:]
	if !slices.IsSortedFunc(list, s.compare) {
		s.order(list)
	}
	if at == levelPayload && s.payload[fieldContext].end > 0 {
		s.reduce(list)
	}
	s.members = s.members[:base]
	s.canon = append(s.canon, '}')
	return true
}

// compare orders members by name, and those of one name as they stand.
func (s *bodyScan) compare(a, b memberSpan) int {
	if c := bytes.Compare(s.nameOf(a), s.nameOf(b)); c != 0 {
		return c
	}
	return cmp.Compare(a.start, b.start)
}

func (s *bodyScan) nameOf(m memberSpan) []byte { return s.canon[m.start+1 : m.keyEnd-1] }

// order sorts an object's members in list and in canon, where they are last.
func (s *bodyScan) order(list []memberSpan) {
	first := list[0].start
	slices.SortFunc(list, s.compare)
	s.spare = s.spare[:0]
	for i, m := range list {
		if i > 0 {
			s.spare = append(s.spare, ',')
		}
		shift := first + len(s.spare) - m.start
		list[i] = memberSpan{m.start + shift, m.keyEnd + shift, m.end + shift}
		s.spare = append(s.spare, s.canon[m.start:m.end]...)
	}
	copy(s.canon[first:], s.spare)
}

// reduce writes the payload's canonical form without its context.
func (s *bodyScan) reduce(list []memberSpan) {
	s.reduced = append(s.reduced[:0], '{')
	for _, m := range list {
		if string(s.nameOf(m)) == "context" {
			continue
		}
		if len(s.reduced) > len("{") {
			s.reduced = append(s.reduced, ',')
		}
		s.reduced = append(s.reduced, s.canon[m.start:m.end]...)
	}
	s.reduced = append(s.reduced, '}')
}

func (s *bodyScan) wrapped() bool { return s.payloads == 1 && s.isObject && !s.others }

// unwrapped returns the canonical form of a wrapped event.
func (s *bodyScan) unwrapped() []byte {
	if s.payload[fieldContext].end > 0 {
		return s.reduced
	}
	return s.canon[len(`{"payload":`) : len(s.canon)-len(`}`)]
}

// cut takes c out of Data, and with it the cuts inside.
func (s *bodyScan) cut(c span) {
	for len(s.cuts) > 0 && s.cuts[len(s.cuts)-1].start >= c.start {
		s.cuts = s.cuts[:len(s.cuts)-1]
	}
	s.cuts = append(s.cuts, c)
}

func (s *bodyScan) withoutCuts() []byte {
	if len(s.cuts) == 0 {
		return s.data
	}
	out, from := make([]byte, 0, len(s.data)), 0
	for _, c := range s.cuts {
		out = append(out, s.data[from:c.start]...)
		from = c.end
	}
	return append(out, s.data[from:]...)
}
