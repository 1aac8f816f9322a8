package rules

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"bellows/internal/config"
)

// param is one query parameter or header.
type param struct {
	name  string
	value template
}

// reserved are headers that the connection, the fence around outgoing calls or
// the choice of token decide, and never a rule.
var reserved = map[string]bool{
	"Accept-Encoding": true, "Authorization": true, "Connection": true, "Content-Length": true, "Cookie": true,
	"Expect": true, "Host": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true,
}

// reservedPrefixes begin headers of the same kind.
var reservedPrefixes = []string{"X-Forge-", "Proxy-"}

// badHeader says what is wrong with the name of a header; "" when nothing is.
func badHeader(name string) string {
	for _, c := range name {
		isAlnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !isAlnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", c) {
			return "is no name of a header"
		}
	}
	if name == "" {
		return "is no name of a header"
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if reserved[canonical] {
		return "is not for rules to set"
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(canonical, prefix) {
			return "is not for rules to set"
		}
	}
	return ""
}

// headers compiles the headers of a request.
func (c *compiler) headers(p place, shapes []config.Param) []param {
	var all []param
	seen := make(map[string]bool)
	for _, shape := range shapes {
		at := p.in(p.where + "header " + strconv.Quote(shape.Name.Value))
		name := textproto.CanonicalMIMEHeaderKey(shape.Name.Value)
		if reason := badHeader(shape.Name.Value); reason != "" {
			c.fail(at, shape.Name, 0, reason)
		} else if seen[name] {
			c.fail(at, shape.Name, 0, "stands twice")
		}
		seen[name] = true
		value := c.template(at, shape.Value)
		for _, pc := range value.pieces {
			if hasControl(pc.literal) {
				c.fail(at, shape.Value, 0, "the value has a line end or another control character")
			}
		}
		all = append(all, param{name, value})
	}
	return all
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// header writes the headers of a request, with the content types that a rule
// may leave out.
func (r *request) header(vars activation) (http.Header, *Error) {
	header := http.Header{"Accept": {"application/json"}}
	if r.body != nil {
		header.Set("Content-Type", "application/json")
	}
	for _, h := range r.headers {
		text, failed := h.value.render(vars, textOf)
		if failed != nil {
			return nil, failed
		}
		if hasControl(text) {
			return nil, h.value.fail("it has a line end or another control character")
		}
		header.Set(h.name, text)
	}
	return header, nil
}

// params compiles the query of a request.
func (c *compiler) params(p place, shapes []config.Param) []param {
	var all []param
	for _, shape := range shapes {
		at := p.in(p.where + "query " + strconv.Quote(shape.Name.Value))
		if shape.Name.Value == "" {
			c.fail(at, shape.Name, 0, "a parameter needs a name")
		}
		all = append(all, param{shape.Name.Value, c.template(at, shape.Value)})
	}
	return all
}

// values writes the query of a request.
func (r *request) values(vars activation) (url.Values, *Error) {
	values := make(url.Values, len(r.query))
	for _, q := range r.query {
		text, failed := q.value.render(vars, textOf)
		if failed != nil {
			return nil, failed
		}
		values.Add(q.name, text)
	}
	return values, nil
}
