package simulator

import (
	"maps"
	"strings"
	"time"
)

// codeHost is the data of one Bitbucket workspace.
type codeHost struct {
	repository, project, actor string // UUIDs without braces
	pullRequests, comments     int
}

func newCodeHost(random *source) *codeHost {
	return &codeHost{repository: random.uuid(), project: random.uuid(), actor: random.uuid()}
}

func braced(uuid string) string { return "{" + uuid + "}" }

// bitbucketTime is the form of times in Bitbucket's events.
func bitbucketTime(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}

// bitbucketEvent makes the payload of an event avi:bitbucket:….
func (s *Simulator) bitbucketEvent(m *maker) map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := s.workspaces[m.in.WorkspaceID]
	if host == nil { // the app is installed in a site, not in a workspace
		host = newCodeHost(s.random)
	}
	user := map[string]any{"type": "user", "accountId": m.actor, "uuid": braced(host.actor)}
	event := map[string]any{
		"eventType": m.name, "timestamp": bitbucketTime(m.now), "selfGenerated": false, "actor": user,
		"repository": map[string]any{"uuid": braced(host.repository), "slug": "simulated"},
		"project":    map[string]any{"uuid": braced(host.project)},
		"workspace":  map[string]any{"uuid": braced(m.in.WorkspaceID)},
	}
	switch {
	case m.verb == "push":
		event["push"] = map[string]any{"changes": []any{map[string]any{
			"old": nil,
			"new": map[string]any{"type": "branch", "name": "main", "target": map[string]any{"hash": m.random.hex(12), "date": bitbucketTime(m.now)}},
		}}}
	case strings.HasPrefix(m.entity, "pullrequest"):
		m.pullRequest(host, user, event)
	case m.entity == "deployment": // documented without actor and project
		delete(event, "actor")
		delete(event, "project")
		state := map[string]string{"completed": "SUCCESSFUL", "started": "IN_PROGRESS"}[m.verb]
		maps.Copy(event, map[string]any{
			"pipeline":    map[string]any{"uuid": braced(m.random.uuid())},
			"deployment":  map[string]any{"uuid": braced(m.random.uuid()), "state": or(state, "PENDING")},
			"environment": map[string]any{"uuid": braced(m.random.uuid()), "name": "Production"},
		})
	case m.entity == "build-status":
		event["buildStatus"] = map[string]any{"key": "simulated", "state": "SUCCESSFUL", "commit": map[string]any{"hash": m.random.hex(12)}}
	case m.entity == "commit-comment":
		host.comments++
		event["comment"] = map[string]any{"id": host.comments}
		event["commit"] = map[string]any{"hash": m.random.hex(12)}
	}
	return event
}

// pullRequest fills in an event about a pull request: created makes a new
// one, the others are about the newest.
func (m *maker) pullRequest(host *codeHost, user, event map[string]any) {
	if host.pullRequests == 0 || m.verb == "created" && m.entity == "pullrequest" {
		host.pullRequests++
	}
	states := map[string]string{"fulfilled": "MERGED", "rejected": "DECLINED"}
	request := map[string]any{
		"id": host.pullRequests, "state": or(states[m.verb], "OPEN"),
		"source":      map[string]any{"branch": "simulated", "commit": map[string]any{"hash": m.random.hex(12)}},
		"destination": map[string]any{"branch": "main", "commit": map[string]any{"hash": m.random.hex(12)}},
	}
	event["pullrequest"] = request
	switch m.entity {
	case "pullrequest":
		author := maps.Clone(user)
		author["displayName"] = "Ada Simulated"
		maps.Copy(request, map[string]any{
			"title": map[string]any{"truncated": false, "value": "A simulated pull request"}, "author": author,
			"createdOn": bitbucketTime(m.now), "updatedOn": bitbucketTime(m.now), "commentCount": 0, "taskCount": 0,
		})
	case "pullrequest-comment":
		if host.comments == 0 || m.verb == "created" {
			host.comments++
		}
		event["comment"] = map[string]any{"id": host.comments}
	case "pullrequest-reviewer-status":
		event["reviewer"] = map[string]any{"type": "user", "accountId": m.other, "status": "approved"}
	}
}
