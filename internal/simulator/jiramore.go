package simulator

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
)

func (q *apiRequest) assignIssue() reply {
	return q.withIssue(func(i *issue) reply {
		var body struct {
			AccountID *string `json:"accountId"`
		}
		if !q.decode(&body) {
			return jiraError(http.StatusBadRequest, badJSON)
		}
		i.fields["assignee"] = nil
		if body.AccountID != nil {
			if _, known := q.people(*body.AccountID); !known {
				return jiraFieldErrors(map[string]string{"assignee": "User '" + *body.AccountID + "' does not exist."})
			}
			i.fields["assignee"] = person(*body.AccountID)
		}
		i.fields["updated"] = jiraTime(q.now)
		return noContent()
	})
}

// transitionIDs are the ids of the transitions to each of statuses.
var transitionIDs = []string{"11", "21", "31"}

func (q *apiRequest) listTransitions() reply {
	return q.withIssue(func(*issue) reply {
		var all []map[string]any
		for n, status := range statuses {
			all = append(all, map[string]any{
				"id": transitionIDs[n], "name": status["name"], "to": q.self("status", status),
				"hasScreen": false, "isGlobal": true, "isInitial": false, "isAvailable": true, "isConditional": false,
			})
		}
		return ok(map[string]any{"expand": "transitions", "transitions": all})
	})
}

func (q *apiRequest) transitionIssue() reply {
	return q.withIssue(func(i *issue) reply {
		var body map[string]any
		if !q.decode(&body) {
			return jiraError(http.StatusBadRequest, badJSON)
		}
		n := slices.Index(transitionIDs, textAt(body, "transition.id"))
		if n < 0 {
			return jiraError(http.StatusBadRequest, "It is not possible to perform this transition: it does not exist, or is not available from the current status.")
		}
		i.fields["status"] = q.self("status", statuses[n])
		i.fields["updated"] = jiraTime(q.now)
		return noContent()
	})
}

// commentBody reads the body of a comment; a reply says what is wrong.
func (q *apiRequest) commentBody() (any, *reply) {
	var request map[string]any
	if !q.decode(&request) {
		bad := jiraError(http.StatusBadRequest, badJSON)
		return nil, &bad
	}
	stored, problem := q.storedText(request["body"])
	if problem != "" {
		bad := jiraFieldErrors(map[string]string{"comment": "Comment body is not valid!"})
		return nil, &bad
	}
	if plainText(stored) == "" {
		bad := jiraError(http.StatusBadRequest, "Comment body can not be empty!")
		return nil, &bad
	}
	return stored, nil
}

func (q *apiRequest) listComments() reply {
	return q.withIssue(func(i *issue) reply {
		return ok(q.commentPage(i.comments, q.number("startAt", 0), q.number("maxResults", 100)))
	})
}

func (q *apiRequest) commentPage(all []*comment, start, limit int) map[string]any {
	shown := []map[string]any{}
	for _, c := range page(all, start, limit) {
		shown = append(shown, q.shownComment(c))
	}
	return map[string]any{"startAt": start, "maxResults": limit, "total": len(all), "comments": shown}
}

func (q *apiRequest) shownComment(c *comment) map[string]any {
	return map[string]any{
		"self": q.base + "/rest/api/" + q.version + "/comment/" + c.id, "id": c.id,
		"author": q.shownPerson(c.author), "updateAuthor": q.shownPerson(c.updateAuthor),
		"body": q.shownText(c.body), "created": jiraTime(c.created), "updated": jiraTime(c.updated), "jsdPublic": true,
	}
}

func (q *apiRequest) createComment() reply {
	return q.withIssue(func(i *issue) reply {
		body, bad := q.commentBody()
		if bad != nil {
			return *bad
		}
		return created(q.shownComment(q.addComment(i, q.actor.ID, body, q.now)))
	})
}

// withComment finds the comment of the path, or answers that there is none.
func (q *apiRequest) withComment(serve func(*issue, *comment) reply) reply {
	return q.withIssue(func(i *issue) reply {
		if c := i.comment(q.vars["comment"]); c != nil {
			return serve(i, c)
		}
		return jiraError(http.StatusNotFound, "Can not find a comment for the id: "+q.vars["comment"]+".")
	})
}

func (q *apiRequest) getComment() reply {
	return q.withComment(func(_ *issue, c *comment) reply { return ok(q.shownComment(c)) })
}

func (q *apiRequest) editComment() reply {
	return q.withComment(func(_ *issue, c *comment) reply {
		body, bad := q.commentBody()
		if bad != nil {
			return *bad
		}
		c.body, c.updateAuthor, c.updated = body, q.actor.ID, q.now
		return ok(q.shownComment(c))
	})
}

func (q *apiRequest) deleteComment() reply {
	return q.withComment(func(i *issue, c *comment) reply {
		i.comments = slices.DeleteFunc(i.comments, func(other *comment) bool { return other == c })
		return noContent()
	})
}

func (q *apiRequest) listProperties() reply {
	return q.withIssue(func(i *issue) reply {
		keys := []map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(i.properties)) {
			keys = append(keys, map[string]any{"key": key, "self": q.issueURL(i) + "/properties/" + key})
		}
		return ok(map[string]any{"keys": keys})
	})
}

func (q *apiRequest) getProperty() reply {
	return q.withIssue(func(i *issue) reply {
		key := q.vars["property"]
		value, there := i.properties[key]
		if !there {
			return jiraError(http.StatusNotFound, "The property with key '"+key+"' does not exist.")
		}
		return ok(map[string]any{"key": key, "value": value})
	})
}

func (q *apiRequest) setProperty() reply {
	return q.withIssue(func(i *issue) reply {
		key := q.vars["property"]
		if len(key) > 255 || len(q.body) > 32_768 || !json.Valid(q.body) {
			return jiraError(http.StatusBadRequest, "The property must have a key of at most 255 characters and a JSON value of at most 32768.")
		}
		_, there := i.properties[key]
		i.properties[key] = slices.Clone(q.body)
		if there {
			return reply{status: http.StatusOK}
		}
		return reply{status: http.StatusCreated}
	})
}

func (q *apiRequest) deleteProperty() reply {
	return q.withIssue(func(i *issue) reply {
		key := q.vars["property"]
		if _, there := i.properties[key]; !there {
			return jiraError(http.StatusNotFound, "The property with key '"+key+"' does not exist.")
		}
		delete(i.properties, key)
		return noContent()
	})
}

func (q *apiRequest) serverInfo() reply {
	return ok(map[string]any{"baseUrl": "https://" + q.host, "deploymentType": "Cloud", "serverTitle": "Simulated Jira", "serverTime": jiraTime(q.now)})
}

func (q *apiRequest) myself() reply { return ok(q.shownPerson(q.actor.ID)) }

func (q *apiRequest) user() reply {
	id := q.query.Get("accountId")
	if _, known := q.people(id); !known {
		return jiraError(http.StatusNotFound, "Specified user does not exist or you do not have required permissions")
	}
	return ok(q.shownPerson(id))
}

func (q *apiRequest) shownPerson(id string) map[string]any {
	a, _ := q.people(id)
	return map[string]any{
		"self":      q.base + "/rest/api/" + q.version + "/user?accountId=" + id,
		"accountId": id, "accountType": or(a.Type, "atlassian"), "displayName": or(a.Name, id), "active": true, "timeZone": "Etc/UTC",
	}
}

func (q *apiRequest) searchProjects() reply {
	all := []map[string]any{}
	for _, p := range q.projects {
		all = append(all, q.projectFields(p))
	}
	start, limit := q.number("startAt", 0), q.number("maxResults", 50)
	return ok(map[string]any{
		"startAt": start, "maxResults": limit, "total": len(all), "isLast": start+limit >= len(all), "values": page(all, start, limit),
	})
}

func (q *apiRequest) getProject() reply {
	ref := q.vars["project"]
	for _, p := range q.projects {
		if p.id == ref || p.key == ref {
			return ok(q.projectFields(p))
		}
	}
	return jiraError(http.StatusNotFound, "No project could be found with key '"+ref+"'.")
}
