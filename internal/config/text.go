package config

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Pos is a place in a file. Line and Column count from 1, columns in
// characters. The zero Pos is no place.
type Pos struct{ Line, Column int }

// Text is a scalar of the file and where it stands.
type Text struct {
	Value string
	Pos   Pos

	style yaml.Style
	lines [][]rune // the whole file
}

// At returns the place in the file of the character of Value at offset, which
// counts characters from 0: also inside quotes, behind escapes, and on the
// lines of a block. An offset past the end is the end.
func (t Text) At(offset int) Pos {
	value := []rune(t.Value)
	offset = max(0, min(offset, len(value)))
	if t.lines == nil || t.Pos.Line > len(t.lines) {
		return t.Pos
	}
	s := scan{lines: t.lines, line: t.Pos.Line - 1, column: t.Pos.Column - 1}
	s.open(t.style)
	place := s.pos()
	for i, c := range value {
		var ok bool
		if place, ok = s.next(c); !ok {
			return t.Pos
		}
		if i == offset {
			return place
		}
	}
	if len(value) == 0 {
		return place
	}
	return Pos{place.Line, place.Column + 1}
}

// scan walks the raw text of a scalar in step with its value.
type scan struct {
	lines        [][]rune
	line, column int // count from 0
	escapes      bool
	doubled      bool // a single quote stands twice
}

func (s *scan) pos() Pos { return Pos{s.line + 1, s.column + 1} }

// raw returns the character here; '\n' at the end of a line, 0 at that of the
// file.
func (s *scan) raw() rune {
	switch {
	case s.line >= len(s.lines):
		return 0
	case s.column >= len(s.lines[s.line]):
		return '\n'
	}
	return s.lines[s.line][s.column]
}

func (s *scan) step() {
	if s.raw() == '\n' {
		s.line, s.column = s.line+1, 0
		return
	}
	s.column++
}

func (s *scan) blank() bool { return strings.ContainsRune(" \t\r\n", s.raw()) }

// open moves from where the node stands to the first character of its value:
// past a tag and an anchor, an opening quote, or the header of a block.
func (s *scan) open(style yaml.Style) {
	for style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && s.raw() != '\'' && s.raw() != '"' ||
		s.raw() == '!' || s.raw() == '&' {
		for !s.blank() && s.raw() != 0 {
			s.step()
		}
		for s.blank() {
			s.step()
		}
		if s.raw() == 0 {
			return
		}
	}
	switch {
	case style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		s.line, s.column = s.line+1, 0
	case style&yaml.DoubleQuotedStyle != 0:
		s.escapes = true
		s.step()
	case style&yaml.SingleQuotedStyle != 0:
		s.doubled = true
		s.step()
	}
}

// next moves past the raw text of one character of the value and returns where
// it began. ok is false when the two texts do not agree.
func (s *scan) next(c rune) (place Pos, ok bool) {
	if c == ' ' || c == '\n' || c == '\t' {
		place = s.pos()
		if s.blank() && (s.raw() == c || s.raw() == '\n') {
			s.step()
		} else if s.escapes && s.raw() == '\\' {
			s.escape()
		}
		return place, true // folding may have made it of nothing
	}
	for s.blank() || s.escapes && s.raw() == '\\' && s.foldsLine() {
		s.step()
	}
	place = s.pos()
	switch raw := s.raw(); {
	case s.escapes && raw == '\\':
		s.escape()
	case s.doubled && raw == '\'':
		s.step()
		s.step()
	case raw == c:
		s.step()
	default:
		return place, false
	}
	return place, true
}

// foldsLine reports whether the backslash here only escapes the end of its
// line.
func (s *scan) foldsLine() bool { return s.column == len(s.lines[s.line])-1 }

// escape moves past an escape of a double-quoted scalar.
func (s *scan) escape() {
	s.step()
	digits := map[rune]int{'x': 2, 'u': 4, 'U': 8}[s.raw()]
	for range 1 + digits {
		s.step()
	}
}

// textOf makes the Text of a scalar node.
func (p *parser) textOf(node *yaml.Node) Text {
	return Text{Value: node.Value, Pos: at(node), style: node.Style, lines: p.lines}
}

// splitLines cuts data into the lines that positions count.
func splitLines(data []byte) [][]rune {
	text := strings.TrimPrefix(string(data), "\ufeff")
	var lines [][]rune
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, []rune(strings.TrimSuffix(line, "\r")))
	}
	return slices.Clip(lines)
}
