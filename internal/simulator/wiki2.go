package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// errorV2 has the shape of errors in version 2 of Confluence's API.
func errorV2(status int, code, title string) reply {
	return reply{status: status, body: map[string]any{"errors": []any{
		map[string]any{"status": status, "code": code, "title": title, "detail": nil},
	}}}
}

func notFoundV2(what string) reply {
	return errorV2(http.StatusNotFound, "NOT_FOUND", "Not Found: there is no such "+what)
}

func resultsV2(results []any) reply {
	return ok(map[string]any{"results": results, "_links": map[string]any{}})
}

// bodyV2 is a page or a comment as version 2 takes it.
type bodyV2 struct {
	SpaceID         json.RawMessage `json:"spaceId"` // text, but numbers are taken too
	ParentID        string          `json:"parentId"`
	PageID          string          `json:"pageId"`
	BlogPostID      string          `json:"blogPostId"`
	ParentCommentID string          `json:"parentCommentId"`
	Status          string          `json:"status"`
	Title           string          `json:"title"`
	Version         struct {
		Number int `json:"number"`
	} `json:"version"`
	Body struct {
		Representation string `json:"representation"`
		Value          string `json:"value"`
	} `json:"body"`
}

// withV2 finds the content of the path among some kinds, or answers that
// there is none.
func (q *apiRequest) withV2(kinds []string, serve func(*content) reply) reply {
	if c := q.content(q.vars["id"], kinds...); c != nil && (c.status == statusCurrent || strings.Contains(q.query.Get("status"), c.status)) {
		return serve(c)
	}
	return notFoundV2(kinds[0])
}

func (q *apiRequest) viewV2(c *content) map[string]any {
	view := map[string]any{
		"id": c.id, "status": c.status, "title": c.title, "body": map[string]any{},
		"version": map[string]any{"number": c.version, "createdAt": wikiTime(c.updated), "authorId": c.editor, "message": "", "minorEdit": false},
		"_links":  map[string]any{"webui": "/spaces/" + c.space.key + "/pages/" + c.id, "base": "https://" + q.host + "/wiki"},
	}
	if q.query.Get("body-format") == c.representation || q.method != http.MethodGet {
		view["body"] = map[string]any{c.representation: map[string]any{"representation": c.representation, "value": c.body}}
	}
	switch {
	case c.kind != kindComment:
		view["spaceId"], view["authorId"], view["createdAt"] = c.space.idText(), c.author, wikiTime(c.created)
		view["parentId"], view["parentType"] = nil, nil
		if c.parent != "" {
			view["parentId"], view["parentType"] = c.parent, kindPage
		}
	case c.container.kind == kindComment:
		view["parentCommentId"] = c.container.id
	case c.container.kind == kindBlogPost:
		view["blogPostId"] = c.container.id
	default:
		view["pageId"] = c.container.id
	}
	return view
}

func (q *apiRequest) listV2(all []*content) reply {
	results := []any{}
	for _, c := range page(all, 0, q.number("limit", 25)) {
		results = append(results, q.viewV2(c))
	}
	return resultsV2(results)
}

func (q *apiRequest) pagesV2() reply {
	spaceID, title := q.query.Get("space-id"), q.query.Get("title")
	var found []*content
	for _, c := range q.contents {
		if c.kind == kindPage && c.status == or(q.query.Get("status"), statusCurrent) &&
			(spaceID == "" || c.space.idText() == spaceID) && (title == "" || c.title == title) {
			found = append(found, c)
		}
	}
	return q.listV2(found)
}

func (q *apiRequest) createPageV2() reply {
	var b bodyV2
	if !q.decode(&b) {
		return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "the body is not JSON")
	}
	sp := q.space(strings.Trim(string(b.SpaceID), `"`))
	if sp == nil {
		return notFoundV2("space")
	}
	if b.Title == "" && b.Status != "draft" {
		return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "Title is required")
	}
	c := q.addContent(content{
		kind: kindPage, title: b.Title, space: sp, parent: b.ParentID, body: b.Body.Value, representation: b.Body.Representation,
	}, q.actor.ID, q.now)
	return ok(q.viewV2(c))
}

func (q *apiRequest) pageV2() reply {
	return q.withV2([]string{kindPage}, func(c *content) reply { return ok(q.viewV2(c)) })
}

func (q *apiRequest) updatePageV2() reply {
	return q.withV2([]string{kindPage}, q.updateV2)
}

// updateV2 replaces a page or a comment under the lock of its version number.
func (q *apiRequest) updateV2(c *content) reply {
	var b bodyV2
	if !q.decode(&b) {
		return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "the body is not JSON")
	}
	if b.Version.Number != c.version+1 {
		return errorV2(http.StatusConflict, "CONFLICT", conflictText)
	}
	c.touch(q.actor.ID, q.now)
	c.title = or(b.Title, c.title)
	if b.Body.Representation != "" {
		c.body, c.representation = b.Body.Value, b.Body.Representation
	}
	return ok(q.viewV2(c))
}

func (q *apiRequest) trashPageV2() reply {
	return q.withV2([]string{kindPage}, func(c *content) reply {
		c.status = statusTrashed
		return noContent()
	})
}

func (q *apiRequest) pageCommentsV2() reply {
	return q.withV2([]string{kindPage}, func(c *content) reply { return q.listV2(q.commentsOf(c)) })
}

func (q *apiRequest) commentsV2() reply {
	var found []*content
	for _, c := range q.contents {
		if c.kind == kindComment && c.status == statusCurrent {
			found = append(found, c)
		}
	}
	return q.listV2(found)
}

func (q *apiRequest) createCommentV2() reply {
	var b bodyV2
	if !q.decode(&b) {
		return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "the body is not JSON")
	}
	container := q.content(or(b.PageID, or(b.BlogPostID, b.ParentCommentID)))
	if container == nil {
		return notFoundV2("page, blog post or comment to comment on")
	}
	if b.Body.Value == "" {
		return errorV2(http.StatusBadRequest, "INVALID_REQUEST_PARAMETER", "body is required")
	}
	return created(q.viewV2(q.addContent(content{
		kind: kindComment, title: "Re: " + container.title, space: container.space, container: container,
		body: b.Body.Value, representation: b.Body.Representation,
	}, q.actor.ID, q.now)))
}

func (q *apiRequest) commentV2() reply {
	return q.withV2([]string{kindComment}, func(c *content) reply { return ok(q.viewV2(c)) })
}

func (q *apiRequest) updateCommentV2() reply {
	return q.withV2([]string{kindComment}, q.updateV2)
}

func (q *apiRequest) deleteCommentV2() reply {
	return q.withV2([]string{kindComment}, func(c *content) reply {
		c.status = statusTrashed
		return noContent()
	})
}

func (sp *space) viewV2() map[string]any {
	return map[string]any{"id": sp.idText(), "key": sp.key, "name": sp.name, "type": "global", "status": statusCurrent}
}

func (q *apiRequest) spacesV2() reply {
	results := []any{}
	for _, sp := range page(q.spaces, 0, q.number("limit", 25)) {
		if keys := q.query.Get("keys"); keys == "" || slices.Contains(strings.Split(keys, ","), sp.key) {
			results = append(results, sp.viewV2())
		}
	}
	return resultsV2(results)
}

func (q *apiRequest) spaceV2() reply {
	sp := q.space(q.vars["space"])
	if sp == nil {
		return notFoundV2("space")
	}
	return ok(sp.viewV2())
}
