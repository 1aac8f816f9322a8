package forge

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// string passes over a string and appends its canonical form.
func (s *bodyScan) string() bool {
	inner, escaped, ok := s.text()
	if !ok {
		return false
	}
	if !escaped {
		s.canon = append(s.canon, s.data[inner.start-1:inner.end+1]...)
		return true
	}
	s.canon = append(s.canon, '"')
	s.canon = appendCanonical(s.canon, s.data[inner.start:inner.end])
	s.canon = append(s.canon, '"')
	return true
}

// appendCanonical appends the inside of a string with only those escapes that
// JSON needs, and surrogates that lack their pair. Different strings stay
// different.
func appendCanonical(out, raw []byte) []byte {
	for len(raw) > 0 {
		run := bytes.IndexByte(raw, '\\')
		if run < 0 {
			return append(out, raw...)
		}
		out = append(out, raw[:run]...)
		r, size := unescape(raw[run:])
		out = appendEscaped(out, r)
		raw = raw[run+size:]
	}
	return out
}

func appendEscaped(out []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(out, '\\', byte(r))
	case r < ' ' || utf16.IsSurrogate(r):
		return append(out, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
	}
	return utf8.AppendRune(out, r)
}
