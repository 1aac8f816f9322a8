package forge

import (
	"unicode/utf16"
	"unicode/utf8"
)

// lexer walks over JSON text (RFC 8259). It accepts exactly what
// encoding/json's Valid accepts: bytes in strings need not be UTF-8. Its
// methods return false when the text at pos is not what they look for.
type lexer struct {
	data []byte
	pos  int
}

// peek returns the next byte, or 0 at the end: 0 starts nothing in JSON.
func (l *lexer) peek() byte {
	if l.pos < len(l.data) {
		return l.data[l.pos]
	}
	return 0
}

func (l *lexer) space() {
	for l.pos < len(l.data) {
		switch l.data[l.pos] {
		case ' ', '\t', '\n', '\r':
			l.pos++
		default:
			return
		}
	}
}

// eat passes over c.
func (l *lexer) eat(c byte) bool {
	if l.peek() != c {
		return false
	}
	l.pos++
	return true
}

// span is a part of a text, end excluded.
type span struct{ start, end int }

// plain are the bytes that a string holds as they are: all but the quotation
// mark, the backslash and control characters.
var plain = func() (table [256]bool) {
	for c := range table {
		table[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return table
}()

// text passes over a string and returns what is between its quotation marks.
func (l *lexer) text() (s span, escaped, ok bool) {
	if !l.eat('"') {
		return s, false, false
	}
	s.start = l.pos
	for rest := l.data[l.pos:]; ; {
		i := 0
		for i < len(rest) && plain[rest[i]] {
			i++
		}
		l.pos += i
		if l.eat('"') {
			s.end = l.pos - 1
			return s, escaped, true
		}
		size := escapeSize(rest[i:])
		if size == 0 {
			return s, false, false
		}
		escaped = true
		l.pos += size
		rest = rest[i+size:]
	}
}

// escapeSize returns the length of the one escape that data starts with, or 0
// when it starts with none.
func escapeSize(data []byte) int {
	if len(data) < 2 || data[0] != '\\' {
		return 0
	}
	switch data[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(data) >= 6 && hex4(data[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 returns the value of four hexadecimal digits, or -1.
func hex4(digits []byte) rune {
	var r rune
	for _, c := range digits {
		v := hexValue(c)
		if v < 0 {
			return -1
		}
		r = r<<4 | v
	}
	return r
}

func hexValue(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// unescape decodes the escape that raw, a part of a string that text accepted,
// starts with. A surrogate without its pair is returned as it is.
func unescape(raw []byte) (r rune, size int) {
	if raw[1] != 'u' {
		return shortEscape(raw[1]), 2
	}
	r = hex4(raw[2:6])
	if utf16.IsSurrogate(r) && len(raw) >= 12 && raw[6] == '\\' && raw[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(raw[8:12])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}

func shortEscape(c byte) rune {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return rune(c)
}

// number passes over a number.
func (l *lexer) number() bool {
	_ = l.eat('-')
	if !l.eat('0') && !l.digits() {
		return false
	}
	if l.eat('.') && !l.digits() {
		return false
	}
	if l.eat('e') || l.eat('E') {
		_ = l.eat('+') || l.eat('-')
		return l.digits()
	}
	return true
}

func (l *lexer) digits() bool {
	start := l.pos
	for l.pos < len(l.data) && l.data[l.pos] >= '0' && l.data[l.pos] <= '9' {
		l.pos++
	}
	return l.pos > start
}

// literal passes over true, false or null.
func (l *lexer) literal() bool {
	var word string
	switch l.peek() {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return false
	}
	if len(l.data)-l.pos < len(word) || string(l.data[l.pos:l.pos+len(word)]) != word {
		return false
	}
	l.pos += len(word)
	return true
}

// scalar passes over a number or a literal.
func (l *lexer) scalar() bool {
	if c := l.peek(); c == '-' || c >= '0' && c <= '9' {
		return l.number()
	}
	return l.literal()
}
