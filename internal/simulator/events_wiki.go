package simulator

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// contentKinds are the parts of Confluence whose events carry content, and the
// type that the content has.
var contentKinds = []string{
	kindPage, kindBlogPost, kindComment, "whiteboard", "database", "folder", "embed", "custom_content", "task", "label", "attachment",
}

// confluenceEvent makes the payload of an event avi:confluence:….
func (m *maker) confluenceEvent() map[string]any {
	event := map[string]any{
		"eventType": m.name, "eventCreatedDate": wikiTime(m.now), "selfGenerated": false, "atlassianId": m.actor,
	}
	if slices.Contains(contentKinds, m.entity) {
		m.contentEvent(event)
		return event
	}
	switch m.entity {
	case "space:V2":
		event["space"] = spaceView(m.spaces[0])
	case "user", "group": // made asynchronously: they name no actor
		delete(event, "atlassianId")
		event["user"] = knownUser(m.other)
		if m.entity == "group" {
			delete(event, "user")
			event["group"] = map[string]any{"id": m.random.uuid(), "name": "simulated-group"}
		}
	case "search":
		maps.Copy(event, map[string]any{"query": "simulated", "accountType": "atlassian", "results": 3})
	default:
		event[memberName(m.entity)] = map[string]any{"id": m.newID(), "name": "simulated"}
	}
	return event
}

// contentEvent fills in an event that carries content, and does to the content
// what the event tells.
func (m *maker) contentEvent(event map[string]any) {
	event["suppressNotifications"] = false
	switch m.entity {
	case "label":
		delete(event, "suppressNotifications")
		m.page = m.somePage(kindPage)
		event["label"] = map[string]any{"prefix": "global", "name": "simulated", "owner": knownUser(m.actor)}
	case "task":
		m.page = m.somePage(kindPage)
		task := map[string]any{
			"id": 1, "uuid": m.random.uuid(), "status": "incomplete", "statusAsString": "UNCHECKED", "assignee": m.actor, "dueDate": nil,
		}
		if m.verb == "updated" {
			event["oldTask"] = maps.Clone(task)
			task["status"], task["statusAsString"] = "complete", "CHECKED"
		}
		event["task"] = task
	case "attachment":
		m.page = m.somePage(kindPage)
		event["attachment"] = map[string]any{
			"id": "att" + m.newID(), "type": "attachment", "status": statusCurrent, "title": "photo.png", "space": spaceView(m.page.space),
		}
	case kindComment:
		m.page = m.someComment()
	default:
		m.page = m.somePage(m.entity)
	}
	m.changeContent(event)
	event["content"] = contentView(m.page)
}

// changeContent does what the verb says.
func (m *maker) changeContent(event map[string]any) {
	c := m.page
	if c.kind != m.entity {
		return
	}
	switch m.verb {
	case "updated":
		event["updateTrigger"] = "edit_page"
		c.touch(m.actor, m.now)
	case "trashed":
		c.status = statusTrashed
	case "restored":
		c.status = statusCurrent
	case "moved":
		event["prevContent"] = contentView(c)
		c.touch(m.actor, m.now)
	case "copied":
		event["originContentId"] = c.id
		m.page = m.addContent(content{kind: c.kind, title: "Copy of " + c.title, space: c.space, body: c.body}, m.actor, m.now)
	case "children_reordered":
		event["oldSortedChildPageIds"], event["newSortedChildPageIds"] = []any{}, []any{}
	}
}

// somePage returns the content that the caller has named, or the newest of a
// kind, or a new one; created and initialized always make a new one.
func (m *maker) somePage(kind string) *content {
	fresh := kind == m.entity && (m.verb == "created" || m.verb == "initialized")
	if id, ok := m.set["content.id"].(string); ok {
		if c := m.site.content(id); c != nil {
			return c
		}
		fresh = true
	}
	for _, c := range slices.Backward(m.contents) {
		if !fresh && c.kind == kind && (c.status == statusCurrent || m.verb == "restored" || m.verb == "deleted") {
			return c
		}
	}
	title := "Simulated " + strings.ReplaceAll(kind, "_", " ") + " " + strconv.Itoa(len(m.contents)+1)
	return m.addContent(content{kind: kind, title: title, space: m.spaces[0], body: "<p>Simulated</p>"}, m.actor, m.now)
}

// someComment returns a comment on a page, new for created.
func (m *maker) someComment() *content {
	for _, c := range slices.Backward(m.contents) {
		if c.kind == kindComment && m.verb != "created" {
			return c
		}
	}
	page := m.somePage(kindPage)
	return m.addContent(content{
		kind: kindComment, title: "Re: " + page.title, space: page.space, container: page, body: "<p>A simulated comment</p>",
	}, m.other, m.now)
}

func spaceView(sp *space) map[string]any {
	return map[string]any{
		"id": sp.id, "key": sp.key, "alias": sp.key, "name": sp.name, "type": "global", "status": statusCurrent,
		"icon": map[string]any{"path": "/images/logo/default-space-logo-256.png", "width": 48, "height": 48, "isDefault": false},
	}
}

// knownUser repeats the account id in every name, as Confluence does for
// privacy.
func knownUser(account string) map[string]any {
	return map[string]any{
		"type": "known", "username": account, "accountId": account, "accountType": "atlassian", "email": account,
		"publicName": account, "displayName": account, "isExternalCollaborator": false,
		"profilePicture": map[string]any{"path": "/wiki/aa-avatar/" + account, "width": 48, "height": 48, "isDefault": false},
	}
}

// contentView is content in events: it never has the text.
func contentView(c *content) map[string]any {
	view := map[string]any{
		"id": c.id, "type": c.kind, "status": c.status, "title": c.title, "space": spaceView(c.space),
		"history": map[string]any{"latest": true, "createdBy": knownUser(c.author), "ownedBy": knownUser(c.author), "createdDate": wikiTime(c.created)},
		"version": map[string]any{"by": knownUser(c.editor), "when": wikiTime(c.updated), "number": c.version},
	}
	if c.container != nil {
		view["ancestors"], view["container"] = []any{}, contentView(c.container)
		view["extensions"] = map[string]any{"location": "footer"}
	}
	return view
}
