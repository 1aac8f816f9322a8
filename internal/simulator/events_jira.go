package simulator

import (
	"maps"
	"strconv"
	"strings"
)

// eventFields are the fields of an issue that events are documented to have.
var eventFields = []string{"summary", "issuetype", "creator", "created", "project", "reporter", "assignee", "updated", "status"}

// noActor are the parts of Jira whose events name no account.
var noActor = []string{"issuelink", "worklog", "attachment", "project", "field", "user", "provider", "expression"}

// jiraEvent makes the payload of an event avi:jira:….
func (m *maker) jiraEvent() map[string]any {
	event := map[string]any{
		"eventType": m.name, "selfGenerated": false, "timestamp": strconv.FormatInt(m.now.UnixMilli(), 10),
	}
	group, _, _ := strings.Cut(m.entity, ":")
	if !containsAny(group, noActor) {
		event["atlassianId"] = m.actor
	}
	switch {
	case m.verb == "commented" || m.entity == "comment":
		m.commentEvent(event)
	case m.entity == "issue" || m.entity == "issue-property":
		m.issueEvent(event)
	case m.entity == "issuelink":
		first, second := m.someIssue(), m.otherIssue()
		maps.Copy(event, map[string]any{
			"id": m.newID(), "sourceIssueId": first.id, "destinationIssueId": second.id,
			"sourceProjectId": textAt(first.fields, "project.id"), "destinationProjectId": textAt(second.fields, "project.id"),
			"issueLinkType": map[string]any{
				"id": "10000", "name": "Blocks", "outwardName": "blocks", "inwardName": "is blocked by",
				"isSubTaskLinkType": false, "isSystemLinkType": false,
			},
		})
	default:
		m.entityEvent(event)
	}
	return event
}

func containsAny(name string, list []string) bool {
	for _, each := range list {
		if name == each {
			return true
		}
	}
	return false
}

// someIssue returns the issue that the caller has named, or the newest one, or
// a new one where there is none.
func (m *maker) someIssue() *issue {
	for _, path := range []string{"issue.id", "issue.key", "worklog.issueId", "attachment.issueId", "sourceIssueId"} {
		if found := m.site.issue(textAt(m.set, path)); found != nil {
			return found
		}
		if ref, named := m.set[path]; named {
			text, _ := ref.(string)
			if found := m.site.issue(text); found != nil {
				return found
			}
			return m.makeIssue()
		}
	}
	if n := len(m.issues); n > 0 {
		return m.issues[n-1]
	}
	return m.makeIssue()
}

// otherIssue returns an issue that is not someIssue.
func (m *maker) otherIssue() *issue {
	for len(m.issues) < 2 {
		m.makeIssue()
	}
	return m.issues[len(m.issues)-2]
}

// makeIssue stores a new issue, in the project that a key given by the caller
// speaks of.
func (m *maker) makeIssue() *issue {
	p := m.projects[0]
	key, _ := m.set["issue.key"].(string)
	if prefix, _, ok := strings.Cut(key, "-"); ok {
		p = m.knowProject(map[string]any{"key": prefix, "name": prefix})
	}
	i := m.addIssue(p, issueTypes[0], "Simulated issue "+strconv.Itoa(p.issues+1), m.actor, m.now)
	i.key = or(key, i.key)
	return i
}

// knowProject returns the project that an event speaks of and adds it if it is
// new.
func (st *site) knowProject(ref map[string]any) *project {
	key := textAt(ref, "key")
	if p := st.project(map[string]any{"key": key}); p != nil || key == "" {
		return p
	}
	p := &project{id: or(textAt(ref, "id"), st.newID()), key: key, name: or(textAt(ref, "name"), key)}
	st.knowID(p.id)
	st.projects = append(st.projects, p)
	return p
}

// issueEvent fills in an event about an issue, and does to the issue what the
// event tells.
func (m *maker) issueEvent(event map[string]any) {
	users := []any{person(m.actor)}
	if m.verb == "created" {
		key, _ := m.set["issue.key"].(string)
		if m.issue = m.site.issue(key); m.issue == nil {
			m.issue = m.makeIssue()
		}
	} else {
		m.issue = m.someIssue()
	}
	switch m.verb {
	case "updated":
		from, to := m.moveStatus()
		event["jiraEventTypeName"] = "issue_generic"
		event["changelog"] = changelog("status", from["id"], from["name"], to["id"], to["name"])
		event["associatedStatuses"] = []any{
			map[string]any{"id": from["id"], "name": from["name"]}, map[string]any{"id": to["id"], "name": to["name"]},
		}
	case "assigned":
		event["changelog"] = changelog("assignee", at(m.issue.fields, "assignee.accountId"), nil, m.other, "Redacted")
		m.issue.fields["assignee"], m.issue.fields["updated"] = person(m.other), jiraTime(m.now)
		users = append(users, person(m.other))
	case "viewed":
		event["user"] = person(m.actor)
	}
	if m.entity == "issue-property" {
		event["property"] = map[string]any{"key": "simulated"}
	}
	event["issue"] = m.issueView(m.issue)
	if m.verb != "viewed" {
		event["associatedUsers"] = users
	}
}

// moveStatus moves the issue to the next status and returns both.
func (m *maker) moveStatus() (from, to map[string]any) {
	for n, status := range statuses {
		if status["id"] == textAt(m.issue.fields, "status.id") {
			from, to = status, statuses[(n+1)%len(statuses)]
		}
	}
	if from == nil { // a status that a caller has made up
		from, _ = m.issue.fields["status"].(map[string]any)
		to = statuses[0]
	}
	m.issue.fields["status"], m.issue.fields["updated"] = m.self("status", to), jiraTime(m.now)
	return from, to
}

func changelog(field string, from, fromString, to, toString any) map[string]any {
	return map[string]any{"items": []any{map[string]any{
		"field": field, "fieldId": field, "from": from, "fromString": fromString, "to": to, "toString": toString,
	}}}
}

func (m *maker) issueView(i *issue) map[string]any {
	fields := map[string]any{}
	for _, name := range eventFields {
		fields[name] = i.fields[name]
	}
	return map[string]any{"id": i.id, "key": i.key, "fields": fields}
}

// commentEvent fills in an event about a comment: commented:issue comes for a
// new comment, deleted:comment for the last one there is.
func (m *maker) commentEvent(event map[string]any) {
	m.issue = m.someIssue()
	m.actor = m.other
	event["atlassianId"] = m.actor
	if n := len(m.issue.comments); m.verb == "deleted" && n > 0 {
		m.comment = m.issue.comments[n-1]
	} else {
		m.comment = m.addComment(m.issue, m.actor, document("A simulated comment"), m.now)
	}
	c := m.comment
	event["issue"] = m.issueView(m.issue)
	event["comment"] = map[string]any{
		"self": "https://" + m.host + "/rest/api/2/issue/" + m.issue.id + "/comment/" + c.id, "id": c.id,
		"author": person(c.author), "updateAuthor": person(c.updateAuthor), "body": c.body,
		"created": jiraTime(c.created), "updated": jiraTime(c.updated), "jsdPublic": true,
	}
	if m.verb != "deleted" {
		event["associatedUsers"] = []any{person(m.actor)}
	}
}

// entityEvent fills in an event about anything else in Jira.
func (m *maker) entityEvent(event map[string]any) {
	id := m.newID()
	switch m.entity {
	case "worklog":
		event["worklog"] = map[string]any{
			"id": id, "issueId": m.someIssue().id, "author": person(m.other), "updateAuthor": person(m.other),
			"started": jiraTime(m.now), "created": jiraTime(m.now), "updated": jiraTime(m.now), "timeSpent": "1h", "timeSpentSeconds": 3600,
		}
	case "attachment":
		event["attachment"] = map[string]any{
			"id": id, "issueId": m.someIssue().id, "fileName": "photo.png", "createDate": jiraTime(m.now),
			"size": 20480, "mimeType": "image/png", "author": person(m.other),
		}
	case "version":
		m.versions++
		event["version"] = map[string]any{
			"id": id, "projectId": m.projects[0].id, "name": "1." + strconv.Itoa(m.versions) + ".0",
			"released": m.verb == "released", "archived": m.verb == "archived",
		}
	case "project":
		p := m.projects[0]
		if m.verb == "created" {
			p = m.knowProject(map[string]any{"id": id, "key": "SIM" + id, "name": "Simulated " + id})
		}
		event["project"] = map[string]any{"id": p.id, "key": p.key, "name": p.name}
	case "user":
		event["user"] = person(m.other)
	case "field", "field:context", "field:context:configuration":
		maps.Copy(event, map[string]any{
			"id": id, "fieldId": "customfield_" + id, "fieldKey": "com.example__simulated", "name": "Simulated", "description": "",
			"projectIds": []any{}, "issueTypeIds": []any{},
		})
	case "configuration":
		event["property"] = map[string]any{"key": "jira.option.watching"}
	case "expression":
		maps.Copy(event, map[string]any{"extensionId": "simulated-condition", "workflowId": m.random.uuid(), "conditionId": m.random.uuid()})
	default:
		event[memberName(m.entity)] = map[string]any{"id": id, "name": "Simulated " + m.entity, "projectId": m.projects[0].id}
	}
}
