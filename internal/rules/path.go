package rules

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"unicode"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"bellows/internal/config"
)

// path is the template of a request's path. Segments are kept apart, so that
// no value can make one segment two, or none.
type path struct {
	segments []template
}

// path compiles and checks the template of a path.
func (c *compiler) path(p place, text config.Text) path {
	whole := c.template(p, text)
	if offset, reason := badPath([]rune(text.Value)); reason != "" {
		c.fail(p, text, offset, reason)
		return path{}
	}
	segments := []template{{part: whole.part}}
	for _, pc := range whole.pieces {
		for i, literal := range strings.Split(pc.literal, "/") {
			if i > 0 {
				segments = append(segments, template{part: whole.part})
			}
			last := &segments[len(segments)-1]
			if pc.expr != nil || literal != "" {
				last.pieces = append(last.pieces, piece{literal: literal, expr: pc.expr})
			}
		}
	}
	return path{segments[1:]} // before the first slash there is nothing
}

// literalChars may stand in a path as they are: those RFC 3986 allows in a
// segment, less ";", behind which some servers hide what follows from their
// own checks.
const literalChars = "-._~!$&'()*+,=:@/"

// badPath checks the literal text of a path, with "x" for each value; reason
// is "" when it is right. What is wrong with the template itself is reported by
// template.
func badPath(text []rune) (offset int, reason string) {
	spans, _, broken := split(text)
	if broken != "" {
		return 0, ""
	}
	if len(spans) == 0 || spans[0].isCEL || !strings.HasPrefix(spans[0].text, "/") {
		return 0, "a path must begin with a slash"
	}
	var plain strings.Builder
	for _, s := range spans {
		if s.isCEL {
			plain.WriteByte('x')
			continue
		}
		if i, bad := badLiteral([]rune(s.text)); bad != "" {
			return s.start + i, bad
		}
		plain.WriteString(s.text)
	}
	segments := strings.Split(plain.String()[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return 0, "a path must not have an empty segment"
		}
		if hasDots(segment) {
			return 0, "a path must not have a . or .. segment"
		}
	}
	return 0, ""
}

// badLiteral looks for a character that cannot stand in a path.
func badLiteral(text []rune) (offset int, reason string) {
	for i, c := range text {
		switch {
		case c < unicode.MaxASCII && (unicode.IsLetter(c) || unicode.IsDigit(c)) || strings.ContainsRune(literalChars, c):
		case c == '?' || c == '#':
			return i, fmt.Sprintf("a path must not have %q, use \"query\" for parameters", c)
		case c != '%':
			return i, fmt.Sprintf("a path must not have %q, write it escaped with %%", c)
		case len(text) < i+3 || strings.ContainsAny(decode(string(text[i:i+3])), "%/\\;\x00"):
			return i, "a path must not have a % that does not escape a plain character"
		}
	}
	return 0, ""
}

// render writes the path with its values escaped. It has as many segments as
// its template, and none that a server could take for a step upwards.
func (p path) render(vars activation) (string, *Error) {
	var out strings.Builder
	for _, segment := range p.segments {
		text, failed := segment.render(vars, segmentText)
		if failed != nil {
			return "", failed
		}
		switch {
		case text == "" && len(segment.pieces) > 0:
			return "", segment.fail("a segment is empty")
		case hasDots(text):
			return "", segment.fail("a segment is . or .. or holds one")
		}
		if out.WriteByte('/'); out.Len()+len(text) > maxText {
			return "", segment.fail("it is longer than %d bytes", maxText)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// segmentText escapes a value so that it stays in its segment.
func segmentText(value ref.Val) (string, error) {
	if f, isDouble := value.(types.Double); isDouble && float64(f) != math.Trunc(float64(f)) {
		return "", fmt.Errorf("it gives a number that is not whole")
	}
	text, err := textOf(value)
	return escape(text), err
}

// escape writes every byte but the unreserved ones of RFC 3986 as %XX.
func escape(text string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out.WriteByte(c)
			continue
		}
		out.Write([]byte{'%', hex[c>>4], hex[c&15]})
	}
	return out.String()
}

// hasDots reports whether a segment is "." or "..", or becomes a path with one
// for a server that unescapes it, were it several times.
func hasDots(segment string) bool {
	for {
		for element := range strings.FieldsFuncSeq(segment, func(c rune) bool { return c == '/' || c == '\\' }) {
			name, _, _ := strings.Cut(element, ";")
			name = strings.TrimFunc(name, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) })
			if name == "." || name == ".." {
				return true
			}
		}
		plain := decode(segment)
		if plain == segment {
			return false
		}
		segment = plain // shorter, so this ends
	}
}

// decode unescapes what is rightly escaped and leaves the rest, as a lenient
// server would.
func decode(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if plain, err := url.PathUnescape(text[i:min(i+3, len(text))]); err == nil && text[i] == '%' {
			out.WriteString(plain)
			i += 2
			continue
		}
		out.WriteByte(text[i])
	}
	return out.String()
}
