package rules

import (
	"slices"
	"strconv"
	"strings"

	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"bellows/internal/config"
)

// catalogue is what is known of events.
type catalogue struct {
	events  []string
	example func(event string) (any, bool)
}

// examples are the bodies of the events that one pattern is for.
type examples struct {
	pattern string
	bodies  []any
}

// consult looks up the examples for the patterns of a rule, and reports events
// that no catalogue has. Those that apps define are in none.
func (c *compiler) consult(shape config.Rule, patterns []pattern) {
	c.examples = nil
	for i, p := range patterns {
		if p.kind != eventKind || p.segments == nil {
			continue
		}
		found := examples{pattern: shape.On[i].Value}
		events := []string{found.pattern}
		if len(c.catalogue.events) > 0 {
			events = slices.DeleteFunc(slices.Clone(c.catalogue.events), func(name string) bool { return !p.fits(name) })
			if len(events) == 0 && !strings.HasPrefix(found.pattern, "avi:cloud:") {
				c.warned.Add(shape.On[i].Pos, "rule %q: on: no event in the catalogue is named %q", shape.Name, found.pattern)
			}
		}
		for _, event := range events {
			if c.catalogue.example == nil {
				break
			}
			if body, ok := c.catalogue.example(event); ok {
				found.bodies = append(found.bodies, body)
			}
		}
		c.examples = append(c.examples, found)
	}
}

// fits reports whether the pattern is for an event of that name.
func (p pattern) fits(name string) bool {
	segments := strings.Split(name, ":")
	return slices.EqualFunc(p.segments, segments, func(want, got string) bool { return want == "*" || want == got })
}

// compare warns about members of the event that no example has.
func (c *compiler) compare(p place, text config.Text, start int, reads []memberRead) {
	for _, read := range reads {
		for _, e := range c.examples {
			if lacked := e.lack(read.path); lacked > 0 {
				c.warned.Add(text.At(start+read.offset), "%s: no example of %s has %s", p, e.pattern, written(read.path[:lacked]))
				break
			}
		}
	}
}

// lack returns how much of path names something that none of the examples has;
// 0 when one has it all, or there is none.
func (e examples) lack(path []string) int {
	most := 0
	for _, body := range e.bodies {
		lacked := lacks(body, path)
		if lacked == 0 {
			return 0
		}
		most = max(most, lacked)
	}
	return most
}

// lacks walks into a value; 0 means that the path is there, or may be: nothing
// is known below null or in an empty list.
func lacks(value any, path []string) int {
	for i, name := range path {
		switch v := value.(type) {
		case nil:
			return 0
		case []any:
			if len(v) == 0 {
				return 0
			}
			value = v[0]
		case map[string]any:
			next, ok := v[name]
			if !ok {
				return i + 1
			}
			value = next
		default:
			return i + 1
		}
	}
	return 0
}

func written(path []string) string {
	text := "event"
	for _, name := range path {
		if _, err := strconv.Atoi(name); err == nil {
			text += "[" + name + "]"
			continue
		}
		text += member(name)
	}
	return text
}

// memberRead is a member of the event that an expression cannot do without.
type memberRead struct {
	offset int
	path   []string
}

// memberReads finds them: event.a.b, but not what stands behind ".?", nor what
// is below a member that the same expression tests with has() or ".?".
func memberReads(src string, checked *celast.AST) []memberRead {
	var reads []memberRead
	var tested [][]string
	visit := celast.NewExprVisitor(func(e celast.Expr) {
		path, _, tests, ok := read(e)
		switch {
		case ok && tests:
			tested = append(tested, path)
		case ok:
			reads = append(reads, memberRead{offsetOfRoot(src, checked, e), path})
		}
	})
	celast.PostOrderVisit(checked.Expr(), visit)
	all := slices.Clone(reads)
	return slices.DeleteFunc(reads, func(read memberRead) bool {
		longer := slices.ContainsFunc(all, func(other memberRead) bool {
			return other.offset == read.offset && len(other.path) > len(read.path)
		})
		return longer || slices.ContainsFunc(tested, func(test []string) bool {
			return len(test) <= len(read.path) && slices.Equal(test, read.path[:len(test)])
		})
	})
}

// read returns the path of a member of the event that e reads; tests says that
// it bears a member that is not there.
func read(e celast.Expr) (path []string, operand celast.Expr, tests, ok bool) {
	var name string
	switch e.Kind() {
	case celast.SelectKind:
		name, operand, tests = e.AsSelect().FieldName(), e.AsSelect().Operand(), e.AsSelect().IsTestOnly()
	case celast.CallKind:
		call := e.AsCall()
		args := call.Args()
		tests = call.FunctionName() != operators.Index
		if tests && call.FunctionName() != operators.OptIndex && call.FunctionName() != operators.OptSelect || len(args) != 2 || args[1].Kind() != celast.LiteralKind {
			return nil, nil, false, false
		}
		operand = args[0]
		switch literal := args[1].AsLiteral().(type) {
		case types.String:
			name = string(literal)
		case types.Int:
			name = strconv.FormatInt(int64(literal), 10)
		default:
			return nil, nil, false, false
		}
	default:
		return nil, nil, false, false
	}
	if operand.Kind() == celast.IdentKind {
		return []string{name}, operand, tests, operand.AsIdent() == "event"
	}
	before, _, optional, ok := read(operand)
	return append(slices.Clip(before), name), operand, tests, ok && !optional
}

// offsetOfRoot returns where the first name of a chain of members stands.
func offsetOfRoot(src string, checked *celast.AST, e celast.Expr) int {
	for {
		_, operand, _, ok := read(e)
		if !ok {
			break
		}
		e = operand
	}
	at := checked.SourceInfo().GetStartLocation(e.ID())
	return offsetOf(src, at.Line(), at.Column())
}
