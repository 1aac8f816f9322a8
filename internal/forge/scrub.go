package forge

import "bytes"

// scrub empties what looks like the value of a contextToken in text that is no
// JSON. It is a guess: the name, a closing quotation mark or none, a colon or
// an equals sign, then a quoted or a bare value; also in JSON that stands
// escaped inside a string. Text without the name is returned as it is.
func scrub(text []byte) []byte {
	at := bytes.Index(text, []byte(tokenMember))
	if at < 0 {
		return text
	}
	out := make([]byte, 0, len(text))
	for at >= 0 {
		value := valueAfter(text, at+len(tokenMember))
		out = append(out, text[:value.start]...)
		text = text[value.end:]
		at = bytes.Index(text, []byte(tokenMember))
	}
	return append(out, text...)
}

// valueAfter finds the value of a name that ends at i, without its quotation
// marks. It is an empty span when there is none.
func valueAfter(text []byte, i int) span {
	colon := passOver(text, i, "\\\"' \t\r\n")
	if colon == len(text) || text[colon] != ':' && text[colon] != '=' {
		return span{i, i}
	}
	start := passOver(text, colon+1, " \t\r\n")
	quote := passOver(text, start, `\`)
	if quote == len(text) || text[quote] != '"' && text[quote] != '\'' {
		return span{start, until(text, start, ",;&{}[]\"' \t\r\n")}
	}
	if quote > start {
		return span{quote + 1, until(text, quote+1, `\"'`)}
	}
	return span{quote + 1, endOfQuoted(text, quote+1, text[quote])}
}

// endOfQuoted finds the quotation mark that ends a string, or the text's end.
func endOfQuoted(text []byte, i int, quote byte) int {
	for i < len(text) && text[i] != quote {
		if text[i] == '\\' {
			i++
		}
		i++
	}
	return min(i, len(text))
}

func passOver(text []byte, i int, set string) int {
	for i < len(text) && bytes.IndexByte([]byte(set), text[i]) >= 0 {
		i++
	}
	return i
}

func until(text []byte, i int, set string) int {
	for i < len(text) && bytes.IndexByte([]byte(set), text[i]) < 0 {
		i++
	}
	return i
}
