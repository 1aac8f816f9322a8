package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellows/internal/forge"
)

// appEventPrefix begins the names of events that apps define themselves; no
// catalogue can have them.
const appEventPrefix = "avi:cloud:ecosystem::event/"

// maker makes one payload. It holds what the payload is about, so that the
// stores can be brought in line with what a caller has set.
type maker struct {
	*site               // nil for what happens outside a site
	name, verb, entity  string
	in                  Installation
	now                 time.Time
	set                 map[string]any
	issue               *issue
	comment             *comment
	page                *content
	random              *source
	actor, other        string
	appID, environment  string
	scopes              []string
	appName, appVersion string
}

// makeEvent makes the payload of an event of the catalogue, applies what the
// caller has set, and stores what the event says happened.
func (s *Simulator) makeEvent(name string, i Installation, set map[string]any) (any, error) {
	known := slices.ContainsFunc(forge.Events(), func(e forge.Event) bool { return e.Name == name })
	if !known && !strings.HasPrefix(name, appEventPrefix) {
		return nil, refuse(http.StatusNotFound, "making event: the catalogue has no %q, send a body with it", name)
	}
	m := s.newMaker(name, i, set)
	if m.site != nil {
		m.site.mu.Lock()
		defer m.site.mu.Unlock()
	}
	payload, err := setAll(clone(s.build(m)), set)
	if err != nil {
		return nil, err
	}
	m.adopt(payload)
	s.knowPerson(textAt(payload, "atlassianId"))
	return payload, nil
}

func (s *Simulator) newMaker(name string, i Installation, set map[string]any) *maker {
	m := &maker{
		name: name, in: i, now: s.now(), set: set, random: s.random, actor: firstPerson, other: secondPerson,
		appID: s.appUUID, environment: s.environmentID, appName: "Simulated app", appVersion: i.Version,
	}
	if parts := strings.SplitN(name, ":", 4); len(parts) == 4 {
		m.verb, m.entity = parts[2], parts[3]
	}
	for _, scope := range s.cfg.Manifest.Scopes {
		m.scopes = append(m.scopes, scope.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.site = s.sites[i.CloudID]
	return m
}

// build chooses the group of the event's name.
func (s *Simulator) build(m *maker) map[string]any {
	switch {
	case strings.HasPrefix(m.name, appEventPrefix):
		return m.appEvent()
	case strings.HasPrefix(m.name, "avi:forge:"):
		return m.lifecycle()
	case strings.HasPrefix(m.name, "avi:ecosystem.app_policy:"):
		return m.policy()
	case strings.HasPrefix(m.name, "avi:bitbucket:"):
		return s.bitbucketEvent(m)
	case m.site == nil:
		return m.plain()
	case strings.HasPrefix(m.name, "avi:jira:"):
		return m.jiraEvent()
	case strings.HasPrefix(m.name, "avi:jira-software:"):
		return m.softwareEvent()
	case strings.HasPrefix(m.name, "avi:jsm-entity:"):
		return m.serviceEvent()
	case strings.HasPrefix(m.name, "avi:confluence:"):
		return m.confluenceEvent()
	}
	return m.plain()
}

// plain is the payload of a name of which no more is documented.
func (m *maker) plain() map[string]any {
	return map[string]any{
		"eventType": m.name, "selfGenerated": false,
		memberName(m.entity): map[string]any{"id": m.random.uuid()},
	}
}

// memberName turns the last part of an event's name into a member's name:
// "field:context" and "component_link" become fieldContext and componentLink.
func memberName(entity string) string {
	words := strings.FieldsFunc(entity, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') })
	for i, w := range words {
		if i > 0 {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return or(strings.Join(words, ""), "entity")
}

// lifecycle is installed and upgraded. The string context was seen at real
// remotes; the documents list the rest.
func (m *maker) lifecycle() map[string]any {
	event := map[string]any{
		"id": m.in.ID, "eventType": m.name, "context": m.in.contextARI(m.in.Products[0]),
		"app":         map[string]any{"id": m.appID, "version": m.in.Version, "name": m.appName, "ownerAccountId": m.other},
		"environment": map[string]any{"id": m.environment},
	}
	if m.verb == "upgraded" {
		event["upgraderAccountId"] = m.in.Installer
		event["permissions"] = map[string]any{"scopes": m.scopes, "external": map[string]any{"fetch": map[string]any{"client": []any{}, "backend": []any{}}}}
	} else {
		event["installerAccountId"] = m.in.Installer
	}
	return event
}

// policy is an event of data security policies: CloudEvents, as documented.
func (m *maker) policy() map[string]any {
	data := map[string]any{"workspace": map[string]any{"cloudId": m.in.CloudID}}
	if strings.Contains(m.name, "container") {
		data["container"] = map[string]any{"product": m.in.Products[0], "id": "10001"}
	} else {
		data["objects"] = []any{map[string]any{"product": m.in.Products[0], "type": "issue", "ids": []string{"10002"}}}
	}
	return map[string]any{
		"specversion": "1.0", "type": m.name, "source": "atlassian.com/ecosystem", "id": m.random.uuid(),
		"time": m.now.UTC().Format(time.RFC3339), "data": data,
	}
}

// appEvent is an event that an app defines: it has no id and no time.
func (m *maker) appEvent() map[string]any {
	key := m.name[strings.LastIndexByte(m.name, '/')+1:]
	return map[string]any{
		"workspaceId": m.in.contextARI(m.in.Products[0]), "eventType": m.name, "name": key,
		"environmentId": m.environment, "environmentType": m.in.Environment, "environmentKey": strings.ToLower(m.in.Environment),
	}
}

// softwareEvent is a sprint's or a board's: no time is listed for them.
func (m *maker) softwareEvent() map[string]any {
	event := map[string]any{"eventType": m.name, "atlassianId": m.actor}
	if m.entity == "board" {
		event["board"] = map[string]any{"id": "9", "name": "SIM board", "type": "scrum"}
		return event
	}
	states := map[string]string{"created": "future", "closed": "closed"}
	event["sprint"] = map[string]any{
		"id": m.newID(), "originBoardId": "9", "name": "SIM sprint", "goal": "Simulate", "state": or(states[m.verb], "active"),
		"createDate": jiraTime(m.now), "startDate": jiraTime(m.now), "endDate": jiraTime(m.now.Add(14 * 24 * time.Hour)),
	}
	if m.verb == "updated" {
		event["oldValue"] = map[string]any{"goal": "Plan"}
	}
	return event
}

// serviceEvent is Jira Service Management's: the one group with a sequence
// number.
func (m *maker) serviceEvent() map[string]any {
	id := m.newID()
	number, _ := strconv.Atoi(id) // newID gives digits
	return map[string]any{
		"eventType": m.name, "entityId": id, "entityType": m.entity, "activationId": m.random.uuid(),
		"entityUpdateTimeStamp": wikiTime(m.now), "sequenceNumber": number,
	}
}
