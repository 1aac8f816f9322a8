package rules

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxLink bounds the address of a next page, and a cursor, in bytes: what
// servers take as the first line of a request.
const maxLink = 8 << 10

// link follows the address of the next page, from the Link header unless the
// rule says where it is; without one the list ends.
func (p *Pager) link(call Call, vars activation, answer Answer) (Call, bool, *Error) {
	address := nextLink(answer.Header.Values("Link"))
	if p.pages.more != nil {
		value, failed := p.pages.more.textOrNothing(vars)
		if failed != nil {
			return call, false, failed
		}
		address, _ = value.(string)
	}
	if address == "" {
		return call, false, nil
	}
	query, err := follow(address, call.Path)
	if err != nil {
		return call, false, p.pages.fail("following the link to the next page: %v", err)
	}
	call.Query = cloneQuery(call.Query)
	for name, values := range query {
		call.Query[name] = values
	}
	return call, true, nil
}

// follow reduces an address to its query. Where the call goes is never taken
// from an answer: the path stays that of the call, and the address only has to
// end in the same segment, since the same list has other addresses at the
// gateway than at a site, and a repository's name may stand for its UUID.
func follow(address, path string) (url.Values, error) {
	if len(address) > maxLink {
		return nil, fmt.Errorf("it is longer than %d bytes", maxLink)
	}
	if hasControl(address) {
		return nil, errors.New("it has a control character")
	}
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" || u.User != nil || u.Scheme != "" && u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("it is no address of a page")
	}
	if u.Path != "" && lastSegment(u.EscapedPath()) != lastSegment(path) {
		return nil, errors.New("it goes to another path than this one")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) == 0 {
		return nil, errors.New("it has no query that can be read")
	}
	return query, nil
}

// lastSegment returns the last segment of an escaped path, unescaped.
func lastSegment(path string) string {
	path = strings.TrimSuffix(path, "/")
	return decode(path[strings.LastIndexByte(path, '/')+1:])
}

// nextLink finds the address with rel="next" in the values of Link headers
// (RFC 8288, section 3); "" when there is none, or it cannot be read.
func nextLink(values []string) string {
	for _, text := range values {
		for len(text) <= 8*maxLink {
			var address, parameters string
			var ok bool
			if address, parameters, text, ok = cutLink(text); !ok {
				break
			}
			if isNext(parameters) {
				return strings.TrimSpace(address)
			}
		}
	}
	return ""
}

// cutLink cuts the first link off: its address, its parameters, and the rest
// behind the comma.
func cutLink(text string) (address, parameters, rest string, ok bool) {
	_, text, ok = strings.Cut(text, "<")
	if !ok {
		return "", "", "", false
	}
	if address, text, ok = strings.Cut(text, ">"); !ok {
		return "", "", "", false
	}
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ',' && !quoted:
			return address, text[:i], text[i+1:], true
		}
	}
	return address, text, "", true
}

// isNext reports whether the parameters of a link say rel="next". Of several
// rel only the first counts.
func isNext(parameters string) bool {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for relation := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(relation, "next") {
				return true
			}
		}
		return false
	}
	return false
}

// shorten cuts a value for an error.
func shorten(text string) string {
	if runes := []rune(text); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return text
}
