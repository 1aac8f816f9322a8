package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"bellows/internal/config"
)

// maxText bounds a rendered path, header or parameter, in bytes. Servers
// accept far less; it keeps an error from holding a whole event.
const maxText = 64 << 10

// template is text with expressions in it: "${" begins one, "}" ends it, and
// "$${" stands for a plain "${".
type template struct {
	pieces []piece
	part
}

// piece is literal text, or an expression.
type piece struct {
	literal string
	expr    *expression // nil: literal
}

// span is a piece that has been found but not compiled.
type span struct {
	text  string
	start int // offset of text in characters
	isCEL bool
}

// template compiles text.
func (c *compiler) template(p place, text config.Text) template {
	t := template{part: p.part(text.Pos)}
	spans, offset, reason := split([]rune(text.Value))
	if reason != "" {
		c.fail(p, text, offset, reason)
		return t
	}
	for _, s := range spans {
		if !s.isCEL {
			t.pieces = append(t.pieces, piece{literal: s.text})
			continue
		}
		if expr, _ := c.expression(p, text, s.start, s.text); expr != nil {
			t.pieces = append(t.pieces, piece{expr: expr})
		}
	}
	return t
}

// split cuts a template into its pieces. reason is not "" when it cannot be
// cut, because of what stands at offset.
func split(text []rune) (spans []span, offset int, reason string) {
	literal, start := []rune(nil), 0
	flush := func() {
		if len(literal) > 0 {
			spans = append(spans, span{text: string(literal), start: start})
		}
		literal = nil
	}
	for i := 0; i < len(text); {
		switch {
		case hasAt(text, i, "$${"):
			literal, i = append(literal, '$', '{'), i+3
		case hasAt(text, i, "${"):
			flush()
			end := endOf(text, i+2)
			if end < 0 {
				return nil, i, "${ has no }"
			}
			source := string(text[i+2 : end])
			if strings.TrimSpace(source) == "" {
				return nil, i, "${} is empty, want an expression in it"
			}
			spans = append(spans, span{text: source, start: i + 2, isCEL: true})
			i, start = end+1, end+1
		default:
			literal, i = append(literal, text[i]), i+1
		}
	}
	flush()
	return spans, 0, ""
}

func hasAt(text []rune, i int, word string) bool {
	for _, c := range word {
		if i >= len(text) || text[i] != c {
			return false
		}
		i++
	}
	return true
}

// endOf returns where the } stands that ends the expression from i on, or -1.
// Braces of CEL's own maps, and those in its strings and comments, do not end
// it.
func endOf(text []rune, i int) int {
	depth := 0
	for i < len(text) {
		switch c := text[i]; {
		case c == '\'' || c == '"':
			if i = endOfString(text, i); i < 0 {
				return -1
			}
			continue
		case hasAt(text, i, "//"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
			continue
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i
		case c == '}':
			depth--
		}
		i++
	}
	return -1
}

// endOfString returns what follows the CEL string whose quote is at i, or -1
// when it has no end. Strings have one quote or three; in raw ones a backslash
// is nothing special.
func endOfString(text []rune, i int) int {
	quote := string(text[i])
	raw := isRaw(text, i)
	if hasAt(text, i, quote+quote+quote) {
		quote += quote + quote
	}
	for i += len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && !raw:
			i++
		case hasAt(text, i, quote):
			return i + len(quote)
		}
	}
	return -1
}

// isRaw reports whether the quote at i belongs to r"…", br"…" or the like.
func isRaw(text []rune, i int) bool {
	for n := 1; n <= 2 && i >= n; n++ {
		switch text[i-n] {
		case 'r', 'R':
			return true
		case 'b', 'B':
		default:
			return false
		}
	}
	return false
}

// render writes the template with every value through the given function.
func (t template) render(vars activation, write func(ref.Val) (string, error)) (string, *Error) {
	var out strings.Builder
	for _, p := range t.pieces {
		text := p.literal
		if p.expr != nil {
			value, failed := p.expr.value(vars)
			if failed != nil {
				return "", failed
			}
			var err error
			if text, err = write(value); err != nil {
				return "", p.expr.fail("%v", err)
			}
		}
		if out.Len()+len(text) > maxText {
			return "", t.fail("it is longer than %d bytes", maxText)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// textOf writes a value inside a text. Maps, lists, null and the like have no
// such form.
func textOf(value ref.Val) (string, error) {
	switch v := value.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	case types.Double:
		if f := float64(v); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.FormatFloat(f, 'f', -1, 64), nil
		}
		return "", fmt.Errorf("it gives a number that is not finite")
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	}
	return "", fmt.Errorf("it gives a value of type %s, want a string, a number or a boolean", typeName(value))
}
