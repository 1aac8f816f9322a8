package simulator

import (
	"net/http"
	"strings"
)

// wikiRoutes are the operations of Confluence's REST API that the simulator
// has: version 1 under /wiki/rest/api, version 2 under /wiki/api/v2.
var wikiRoutes = []route{
	{"GET", "/wiki/rest/api/user/current", (*apiRequest).wikiCurrentUser},
	{"GET", "/wiki/rest/api/space", (*apiRequest).wikiSpaces},
	{"GET", "/wiki/rest/api/content", (*apiRequest).wikiList},
	{"POST", "/wiki/rest/api/content", (*apiRequest).wikiCreate},
	{"GET", "/wiki/rest/api/content/{id}", (*apiRequest).wikiGet},
	{"PUT", "/wiki/rest/api/content/{id}", (*apiRequest).wikiUpdate},
	{"DELETE", "/wiki/rest/api/content/{id}", (*apiRequest).wikiTrash},
	{"GET", "/wiki/rest/api/content/{id}/child/comment", (*apiRequest).wikiComments},
	{"GET", "/wiki/rest/api/content/{id}/property", (*apiRequest).wikiProperties},
	{"POST", "/wiki/rest/api/content/{id}/property", (*apiRequest).wikiAddProperty},
	{"GET", "/wiki/rest/api/content/{id}/property/{property}", (*apiRequest).wikiProperty},
	{"PUT", "/wiki/rest/api/content/{id}/property/{property}", (*apiRequest).wikiSetProperty},
	{"DELETE", "/wiki/rest/api/content/{id}/property/{property}", (*apiRequest).wikiDropProperty},

	{"GET", "/wiki/api/v2/spaces", (*apiRequest).spacesV2},
	{"GET", "/wiki/api/v2/spaces/{space}", (*apiRequest).spaceV2},
	{"GET", "/wiki/api/v2/pages", (*apiRequest).pagesV2},
	{"POST", "/wiki/api/v2/pages", (*apiRequest).createPageV2},
	{"GET", "/wiki/api/v2/pages/{id}", (*apiRequest).pageV2},
	{"PUT", "/wiki/api/v2/pages/{id}", (*apiRequest).updatePageV2},
	{"DELETE", "/wiki/api/v2/pages/{id}", (*apiRequest).trashPageV2},
	{"GET", "/wiki/api/v2/pages/{id}/footer-comments", (*apiRequest).pageCommentsV2},
	{"GET", "/wiki/api/v2/pages/{id}/properties", (*apiRequest).propertiesV2},
	{"POST", "/wiki/api/v2/pages/{id}/properties", (*apiRequest).addPropertyV2},
	{"GET", "/wiki/api/v2/pages/{id}/properties/{property}", (*apiRequest).propertyV2},
	{"PUT", "/wiki/api/v2/pages/{id}/properties/{property}", (*apiRequest).setPropertyV2},
	{"DELETE", "/wiki/api/v2/pages/{id}/properties/{property}", (*apiRequest).dropPropertyV2},
	{"GET", "/wiki/api/v2/footer-comments", (*apiRequest).commentsV2},
	{"POST", "/wiki/api/v2/footer-comments", (*apiRequest).createCommentV2},
	{"GET", "/wiki/api/v2/footer-comments/{id}", (*apiRequest).commentV2},
	{"PUT", "/wiki/api/v2/footer-comments/{id}", (*apiRequest).updateCommentV2},
	{"DELETE", "/wiki/api/v2/footer-comments/{id}", (*apiRequest).deleteCommentV2},
}

// wikiError has the shape of errors in version 1.
func wikiError(status int, message string) reply {
	return reply{status: status, body: map[string]any{
		"statusCode": status, "message": message, "reason": http.StatusText(status),
		"data": map[string]any{"authorized": true, "valid": status != http.StatusBadRequest, "errors": []any{}, "successful": false},
	}}
}

const conflictText = "Version must be incremented when updating content"

type wikiBody struct {
	Type, Title, Status string
	Space               struct{ Key string }
	Ancestors           []map[string]any
	Container           map[string]any
	Version             struct{ Number int }
	Body                map[string]struct{ Value, Representation string }
}

// text returns the body in the first representation it is given in.
func (b wikiBody) text() (value, representation string) {
	for _, name := range []string{"storage", "atlas_doc_format", "wiki", "editor"} {
		if given, ok := b.Body[name]; ok {
			return given.Value, name
		}
	}
	return "", ""
}

func (q *apiRequest) wikiCreate() reply {
	var b wikiBody
	if !q.decode(&b) {
		return wikiError(http.StatusBadRequest, "Could not parse the request body as JSON")
	}
	value, representation := b.text()
	made := content{kind: b.Type, title: b.Title, body: value, representation: representation, space: q.space(b.Space.Key)}
	switch b.Type {
	case kindPage, kindBlogPost:
		if made.space == nil {
			return wikiError(http.StatusNotFound, "No space with key : "+b.Space.Key)
		}
		if strings.TrimSpace(b.Title) == "" {
			return wikiError(http.StatusBadRequest, "Title is required")
		}
		if n := len(b.Ancestors); n > 0 {
			made.parent = textAt(b.Ancestors[n-1], "id")
		}
	case kindComment:
		made.container = q.content(textAt(b.Container, "id"))
		if made.container == nil {
			return wikiError(http.StatusNotFound, "No container found with id "+textAt(b.Container, "id"))
		}
		made.space, made.title = made.container.space, "Re: "+made.container.title
	default:
		return wikiError(http.StatusBadRequest, "Unsupported content type: "+b.Type)
	}
	return ok(q.wikiView(q.addContent(made, q.actor.ID, q.now)))
}

// withContent finds the content of the path, or answers that there is none.
func (q *apiRequest) withContent(serve func(*content) reply) reply {
	if c := q.content(q.vars["id"]); c != nil && (c.status == statusCurrent || q.query.Get("status") == c.status) {
		return serve(c)
	}
	return wikiError(http.StatusNotFound, "No content found with id : "+q.vars["id"])
}

func (q *apiRequest) wikiGet() reply {
	return q.withContent(func(c *content) reply { return ok(q.wikiView(c)) })
}

func (q *apiRequest) wikiUpdate() reply {
	return q.withContent(func(c *content) reply {
		var b wikiBody
		if !q.decode(&b) {
			return wikiError(http.StatusBadRequest, "Could not parse the request body as JSON")
		}
		if b.Version.Number != c.version+1 {
			return wikiError(http.StatusConflict, conflictText)
		}
		c.touch(q.actor.ID, q.now)
		c.title = or(b.Title, c.title)
		if value, representation := b.text(); representation != "" {
			c.body, c.representation = value, representation
		}
		return ok(q.wikiView(c))
	})
}

func (q *apiRequest) wikiTrash() reply {
	return q.withContent(func(c *content) reply {
		c.status = statusTrashed
		return noContent()
	})
}

func (q *apiRequest) wikiComments() reply {
	return q.withContent(func(c *content) reply { return q.wikiPage(q.commentsOf(c)) })
}

func (q *apiRequest) wikiList() reply {
	kind := or(q.query.Get("type"), kindPage)
	var found []*content
	for _, c := range q.contents {
		key, title := q.query.Get("spaceKey"), q.query.Get("title")
		if c.kind == kind && c.status == or(q.query.Get("status"), statusCurrent) &&
			(key == "" || c.space.key == key) && (title == "" || c.title == title) {
			found = append(found, c)
		}
	}
	return q.wikiPage(found)
}

func (q *apiRequest) wikiPage(all []*content) reply {
	results := []any{}
	start, limit := q.number("start", 0), q.number("limit", 25)
	for _, c := range page(all, start, limit) {
		results = append(results, q.wikiView(c))
	}
	return q.wikiResults(results, start, limit)
}

func (q *apiRequest) wikiResults(results []any, start, limit int) reply {
	return ok(map[string]any{
		"results": results, "start": start, "limit": limit, "size": len(results),
		"_links": map[string]any{"base": "https://" + q.host + "/wiki", "context": "/wiki", "self": q.base + q.path},
	})
}

// wikiView is content in version 1. The body comes with expand only.
func (q *apiRequest) wikiView(c *content) map[string]any {
	view := map[string]any{
		"id": c.id, "type": c.kind, "status": c.status, "title": c.title,
		"space": map[string]any{"id": c.space.id, "key": c.space.key, "name": c.space.name, "type": "global", "status": statusCurrent},
		"version": map[string]any{
			"number": c.version, "when": wikiTime(c.updated), "by": q.wikiPerson(c.editor), "minorEdit": false,
		},
		"history": map[string]any{"latest": true, "createdBy": q.wikiPerson(c.author), "createdDate": wikiTime(c.created)},
		"_links":  map[string]any{"self": q.base + "/wiki/rest/api/content/" + c.id, "webui": "/spaces/" + c.space.key + "/pages/" + c.id},
	}
	if c.container != nil {
		view["container"] = map[string]any{"id": c.container.id, "type": c.container.kind, "title": c.container.title}
	}
	if strings.Contains(q.query.Get("expand"), "body."+c.representation) {
		view["body"] = map[string]any{c.representation: map[string]any{"value": c.body, "representation": c.representation}}
	}
	return view
}

func (q *apiRequest) wikiPerson(id string) map[string]any {
	a, _ := q.people(id)
	return map[string]any{
		"type": "known", "accountId": id, "accountType": or(a.Type, "atlassian"),
		"publicName": or(a.Name, id), "displayName": or(a.Name, id), "email": "",
	}
}

func (q *apiRequest) wikiCurrentUser() reply { return ok(q.wikiPerson(q.actor.ID)) }

func (q *apiRequest) wikiSpaces() reply {
	results := []any{}
	start, limit := q.number("start", 0), q.number("limit", 25)
	for _, sp := range page(q.spaces, start, limit) {
		results = append(results, map[string]any{"id": sp.id, "key": sp.key, "name": sp.name, "type": "global", "status": statusCurrent})
	}
	return q.wikiResults(results, start, limit)
}
