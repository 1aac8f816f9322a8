package simulator

import (
	"slices"
	"strconv"
	"time"
)

// space is a Confluence space. Its id is a number in version 1 and in events,
// and the same digits as text in version 2.
type space struct {
	id        int64
	key, name string
}

// Kinds and states of content.
const (
	kindPage     = "page"
	kindBlogPost = "blogpost"
	kindComment  = "comment"

	statusCurrent = "current"
	statusTrashed = "trashed"
)

// content is a page, a blog post or a footer comment.
type content struct {
	id, kind, title, status string
	space                   *space
	container               *content // of a comment
	parent                  string   // of a page
	version                 int
	body, representation    string
	author, editor          string
	created, updated        time.Time
	properties              []*contentProperty
}

type contentProperty struct {
	id, key string
	value   any
	version int
}

func (st *site) space(ref string) *space {
	i := slices.IndexFunc(st.spaces, func(sp *space) bool { return sp.key == ref || sp.idText() == ref })
	if i < 0 {
		return nil
	}
	return st.spaces[i]
}

func (sp *space) idText() string { return strconv.FormatInt(sp.id, 10) }

// content finds content of one of the kinds by id; without kinds any will do.
func (st *site) content(id string, kinds ...string) *content {
	i := slices.IndexFunc(st.contents, func(c *content) bool {
		return c.id == id && (len(kinds) == 0 || slices.Contains(kinds, c.kind))
	})
	if i < 0 {
		return nil
	}
	return st.contents[i]
}

func (st *site) addContent(c content, author string, now time.Time) *content {
	c.id, c.status, c.version = st.newID(), statusCurrent, 1
	c.representation = or(c.representation, "storage")
	c.author, c.editor, c.created, c.updated = author, author, now, now
	st.contents = append(st.contents, &c)
	return &c
}

// touch counts a new version up.
func (c *content) touch(editor string, now time.Time) {
	c.version++
	c.editor, c.updated = editor, now
}

// commentsOf returns the current comments of a page or of a comment.
func (st *site) commentsOf(container *content) []*content {
	var all []*content
	for _, c := range st.contents {
		if c.kind == kindComment && c.container == container && c.status == statusCurrent {
			all = append(all, c)
		}
	}
	return all
}

func (c *content) property(ref string) *contentProperty {
	i := slices.IndexFunc(c.properties, func(p *contentProperty) bool { return p.key == ref || p.id == ref })
	if i < 0 {
		return nil
	}
	return c.properties[i]
}

func (c *content) removeProperty(p *contentProperty) {
	c.properties = slices.DeleteFunc(c.properties, func(other *contentProperty) bool { return other == p })
}
