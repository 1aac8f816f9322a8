package simulator

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

type project struct {
	id, key, name string
	issues        int // numbers given out
}

// issue is a stored issue. Its fields have the shape of an event's.
type issue struct {
	id, key    string
	fields     map[string]any
	comments   []*comment
	properties properties
}

type comment struct {
	id                   string
	author, updateAuthor string
	body                 any // an Atlassian document
	created, updated     time.Time
}

// properties are entity properties by key.
type properties map[string]json.RawMessage

// issueTypes and statuses are what every project has.
var (
	issueTypes = []map[string]any{
		{"id": "10004", "name": "Bug", "subtask": false, "hierarchyLevel": 0},
		{"id": "10001", "name": "Story", "subtask": false, "hierarchyLevel": 0},
		{"id": "10002", "name": "Task", "subtask": false, "hierarchyLevel": 0},
		{"id": "10003", "name": "Sub-task", "subtask": true, "hierarchyLevel": -1},
		{"id": "10000", "name": "Epic", "subtask": false, "hierarchyLevel": 1},
	}
	statuses = []map[string]any{
		{"id": "10001", "name": "To Do", "statusCategory": map[string]any{"id": 2, "key": "new", "name": "To Do"}},
		{"id": "3", "name": "In Progress", "statusCategory": map[string]any{"id": 4, "key": "indeterminate", "name": "In Progress"}},
		{"id": "10002", "name": "Done", "statusCategory": map[string]any{"id": 3, "key": "done", "name": "Done"}},
	}
)

// named finds an issue type, status or the like by id or name.
func named(list []map[string]any, ref any) (map[string]any, bool) {
	id, name := textAt(ref, "id"), textAt(ref, "name")
	for _, each := range list {
		if id != "" && each["id"] == id || id == "" && strings.EqualFold(textAt(each, "name"), name) {
			return each, true
		}
	}
	return nil, false
}

// self adds the address that events and answers have for a part of an issue.
func (st *site) self(kind string, entity map[string]any) map[string]any {
	copied := object(entity)
	copied["self"] = "https://" + st.host + "/rest/api/2/" + kind + "/" + textAt(entity, "id")
	return copied
}

func (st *site) project(ref any) *project {
	id, key := textAt(ref, "id"), textAt(ref, "key")
	for _, p := range st.projects {
		if id != "" && p.id == id || id == "" && p.key == key {
			return p
		}
	}
	return nil
}

func (st *site) projectFields(p *project) map[string]any {
	return st.self("project", map[string]any{
		"id": p.id, "key": p.key, "name": p.name, "projectTypeKey": "software", "simplified": false,
	})
}

// issue finds an issue by id or key.
func (st *site) issue(ref string) *issue {
	i := slices.IndexFunc(st.issues, func(i *issue) bool { return i.id == ref || strings.EqualFold(i.key, ref) })
	if i < 0 {
		return nil
	}
	return st.issues[i]
}

// addIssue stores a new issue with the fields every issue has. The caller
// adds others.
func (st *site) addIssue(p *project, kind map[string]any, summary, creator string, now time.Time) *issue {
	p.issues++
	i := &issue{id: st.newID(), key: p.key + "-" + strconv.Itoa(p.issues), properties: properties{}}
	i.fields = map[string]any{
		"summary": summary, "issuetype": st.self("issuetype", kind), "project": st.projectFields(p),
		"status": st.self("status", statuses[0]), "creator": person(creator), "reporter": person(creator),
		"assignee": nil, "created": jiraTime(now), "updated": jiraTime(now),
	}
	st.issues = append(st.issues, i)
	return i
}

// removeIssue takes an issue out, with its comments and properties.
func (st *site) removeIssue(i *issue) {
	st.issues = slices.DeleteFunc(st.issues, func(other *issue) bool { return other == i })
}

func (st *site) addComment(i *issue, author string, body any, now time.Time) *comment {
	c := &comment{id: st.newID(), author: author, updateAuthor: author, body: body, created: now, updated: now}
	i.comments = append(i.comments, c)
	i.fields["updated"] = jiraTime(now)
	return c
}

// comment finds a comment of an issue by id.
func (i *issue) comment(id string) *comment {
	at := slices.IndexFunc(i.comments, func(c *comment) bool { return c.id == id })
	if at < 0 {
		return nil
	}
	return i.comments[at]
}

// document makes an Atlassian document of plain text: a paragraph per line.
func document(text string) map[string]any {
	var paragraphs []any
	for _, line := range strings.Split(text, "\n") {
		paragraph := map[string]any{"type": "paragraph", "content": []any{}}
		if line != "" {
			paragraph["content"] = []any{map[string]any{"type": "text", "text": line}}
		}
		paragraphs = append(paragraphs, paragraph)
	}
	return map[string]any{"type": "doc", "version": 1, "content": paragraphs}
}

// plainText is what version 2 of the API shows for an Atlassian document. It
// keeps the words and the paragraphs, not the marks.
func plainText(node any) string {
	n, ok := node.(map[string]any)
	if !ok {
		text, _ := node.(string)
		return text
	}
	text := textAt(n, "text")
	children, _ := n["content"].([]any)
	parts := make([]string, 0, len(children))
	for _, child := range children {
		parts = append(parts, plainText(child))
	}
	separator := ""
	if n["type"] == "doc" {
		separator = "\n"
	}
	return text + strings.Join(parts, separator)
}

// isDocument reports whether a value can be an Atlassian document.
func isDocument(v any) bool {
	doc, ok := v.(map[string]any)
	if !ok || doc["type"] != "doc" {
		return false
	}
	_, hasContent := doc["content"].([]any)
	return hasContent && doc["version"] != nil
}
