package config

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Bounds of what a route may ask for. Forge ends a call from a front end after
// 25 s (developer.atlassian.com, Forge Remote contract, 2026-08-22).
const (
	maxKeep           = 30 * 24 * time.Hour
	maxForwardTimeout = 25 * time.Second
)

// segmentPattern is a literal segment of a route's path.
var segmentPattern = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()+,=:@-]+$`)

func (p *parser) routes(node *yaml.Node) []Route {
	var routes []Route
	var all []named
	for _, item := range p.items(node, "routes") {
		route := p.route(item)
		routes, all = append(routes, route), append(all, named{route.Name, route.Pos})
	}
	p.unique("route", all)
	p.sameRoutes(routes)
	return routes
}

// sameRoutes reports routes that answer the same method on the same path.
func (p *parser) sameRoutes(routes []Route) {
	first := make(map[string]string)
	for _, route := range routes {
		for _, method := range route.Methods {
			place := method + " " + route.Path
			if name, taken := first[place]; taken && route.Path != "" {
				p.failed.Add(route.Pos, "routes %q and %q both answer %s", name, route.Name, place)
				break
			}
			first[place] = route.Name
		}
	}
}

func (p *parser) route(node *yaml.Node) Route {
	route := Route{Pos: at(node), Methods: []string{"POST"}}
	seen := p.fields(node, "a route", map[string]field{
		"name":    func(n *yaml.Node) { route.Name = p.name(n, "the name of a route") },
		"path":    func(n *yaml.Node) { route.Path = p.routePath(n) },
		"methods": func(n *yaml.Node) { route.Methods = p.methods(n) },
		"enqueue": func(n *yaml.Node) { route.Enqueue = p.enqueue(n) },
		"forward": func(n *yaml.Node) { route.Forward = p.forward(n) },
	})
	if node.Kind != yaml.MappingNode {
		return route
	}
	for _, needed := range []string{"name", "path"} {
		if !seen[needed] {
			p.fail(node, "a route needs %q", needed)
		}
	}
	if seen["enqueue"] == seen["forward"] {
		p.fail(node, "a route needs either \"enqueue\" or \"forward\"")
	}
	return route
}

func (p *parser) routePath(node *yaml.Node) string {
	text, ok := p.scalar(node, "path")
	if ok {
		if reason := badRoutePath(text.Value); reason != "" {
			p.fail(node, "path is %s, %s", kindOf(node), reason)
		}
	}
	return text.Value
}

// badRoutePath says what is wrong with the path of a route; "" when nothing is.
func badRoutePath(path string) string {
	rest, rooted := strings.CutPrefix(path, "/")
	if !rooted {
		return "want a leading slash"
	}
	if rest == "" {
		return ""
	}
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		switch {
		case segment == "**" && i < len(segments)-1:
			return "want ** only at the end"
		case segment == "*" || segment == "**":
		case segment == "." || segment == "..":
			return "want no . or .. segments"
		case segment == "":
			return "want no empty segments"
		case !segmentPattern.MatchString(segment):
			return "want plain characters, * or ** as segments"
		}
	}
	return ""
}

func (p *parser) methods(node *yaml.Node) []string {
	var read []string
	for _, item := range p.items(node, "methods") {
		method := p.choice(item, "a method", methods...)
		if method != "" && slices.Contains(read, method) {
			p.fail(item, "the method %q stands twice", method)
			continue
		}
		read = append(read, method)
	}
	if node.Kind == yaml.SequenceNode && len(read) == 0 {
		p.fail(node, "methods is an empty list, want at least one")
	}
	return read
}

func (p *parser) enqueue(node *yaml.Node) *Enqueue {
	enqueue := &Enqueue{}
	p.fields(node, "enqueue", map[string]field{
		"keep": func(n *yaml.Node) { enqueue.Keep = p.duration(n, "keep", maxKeep) },
	})
	return enqueue
}

func (p *parser) forward(node *yaml.Node) *Forward {
	forward := &Forward{}
	seen := p.fields(node, "forward of a route", map[string]field{
		"url":      func(n *yaml.Node) { forward.URL = p.forwardURL(n, false) },
		"timeout":  func(n *yaml.Node) { forward.Timeout = p.duration(n, "timeout", maxForwardTimeout) },
		"max_body": func(n *yaml.Node) { forward.MaxBody = p.size(n) },
	})
	if node.Kind == yaml.MappingNode && !seen["url"] {
		p.fail(node, "forward needs \"url\"")
	}
	return forward
}

func (p *parser) size(node *yaml.Node) int64 {
	text, ok := p.scalar(node, "max_body")
	if !ok {
		return 0
	}
	size, err := ParseSize(text.Value)
	if err != nil {
		p.fail(node, "max_body is %s, %v", kindOf(node), err)
	}
	return size
}

// forwardURL reads where a route or a rule forwards to. The URL is not shown when it is
// wrong, since it may hold a password.
func (p *parser) forwardURL(node *yaml.Node, query bool) string {
	text, ok := p.scalar(node, "url")
	if !ok {
		return ""
	}
	parsed, err := url.Parse(text.Value)
	switch {
	case err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https":
		p.fail(node, "url is not absolute, want http://host or https://host")
	case parsed.User != nil:
		p.fail(node, "url has a user, want it without")
	case parsed.Fragment != "" || !query && (parsed.RawQuery != "" || parsed.ForceQuery):
		p.fail(node, "url has a query or a fragment, want it without")
	}
	return text.Value
}
