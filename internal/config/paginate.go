package config

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// Names that Atlassian's APIs use for pages (Jira REST API, "Pagination" and
// "Search for issues using JQL enhanced search", 2026-08-22).
const (
	defaultStartParam  = "startAt"
	defaultCursorParam = "nextPageToken"
)

// onlyFor are the members of a paginate that one style has.
var onlyFor = map[string]string{"total": PagesStartAt, "cursor": PagesCursor, "next": PagesLink}

func (p *parser) paginate(node *yaml.Node) *Paginate {
	pages := &Paginate{Pos: at(node)}
	seen := p.fields(node, "paginate", map[string]field{
		"style": func(n *yaml.Node) { pages.Style = p.choice(n, "style", PagesStartAt, PagesCursor, PagesLink) },
		"items": func(n *yaml.Node) {
			if text := p.expression(n, "items"); text != nil {
				pages.Items = *text
			}
		},
		"param":     func(n *yaml.Node) { pages.Param = p.param(n) },
		"member":    func(n *yaml.Node) { pages.Member = p.member(n) },
		"total":     func(n *yaml.Node) { pages.Total = p.expression(n, "total") },
		"cursor":    func(n *yaml.Node) { pages.Cursor = p.expression(n, "cursor") },
		"next":      func(n *yaml.Node) { pages.Next = p.expression(n, "next") },
		"max_pages": func(n *yaml.Node) { pages.MaxPages = p.number(n, "max_pages", 1, maxPages) },
	})
	if node.Kind != yaml.MappingNode {
		return pages
	}
	p.needs(node, "paginate", seen, "style", "items")
	p.styled(node, pages, seen)
	return pages
}

// styled reports members that the style does not have, and fills in what it
// may leave out.
func (p *parser) styled(node *yaml.Node, pages *Paginate, seen map[string]bool) {
	if pages.Style == "" {
		return
	}
	for _, name := range []string{"total", "cursor", "next"} {
		if seen[name] && onlyFor[name] != pages.Style {
			p.fail(node, "%q is only for style %s", name, onlyFor[name])
		}
	}
	asks := seen["param"] || seen["member"]
	switch {
	case pages.Style == PagesLink && asks:
		p.fail(node, "the link says all, leave \"param\" and \"member\" out")
	case seen["param"] && seen["member"]:
		p.fail(node, "paginate has \"param\" and \"member\", want one of them")
	case pages.Style == PagesStartAt && !asks:
		pages.Param = defaultStartParam
	case pages.Style == PagesCursor && !asks:
		pages.Param = defaultCursorParam
	}
}

func (p *parser) param(node *yaml.Node) string {
	text, ok := p.scalar(node, "param")
	if ok && (text.Value == "" || strings.Contains(text.Value, "${")) {
		p.fail(node, "param is %s, want the name of a query parameter", kindOf(node))
	}
	return text.Value
}

func (p *parser) member(node *yaml.Node) []string {
	text, ok := p.scalar(node, "member")
	if ok && !memberPattern.MatchString(text.Value) {
		p.fail(node, "member is %s, want names with dots between, like variables.after", kindOf(node))
	}
	return strings.Split(text.Value, ".")
}
