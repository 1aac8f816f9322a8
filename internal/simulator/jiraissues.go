package simulator

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// jiraRoutes are the operations of Jira's REST API that the simulator has.
var jiraRoutes = []route{
	{"GET", "/rest/api/{v}/serverInfo", (*apiRequest).serverInfo},
	{"GET", "/rest/api/{v}/myself", (*apiRequest).myself},
	{"GET", "/rest/api/{v}/user", (*apiRequest).user},
	{"GET", "/rest/api/{v}/project/search", (*apiRequest).searchProjects},
	{"GET", "/rest/api/{v}/project/{project}", (*apiRequest).getProject},
	{"POST", "/rest/api/{v}/issue", (*apiRequest).createIssue},
	{"GET", "/rest/api/{v}/issue/{issue}", (*apiRequest).getIssue},
	{"PUT", "/rest/api/{v}/issue/{issue}", (*apiRequest).editIssue},
	{"DELETE", "/rest/api/{v}/issue/{issue}", (*apiRequest).deleteIssue},
	{"PUT", "/rest/api/{v}/issue/{issue}/assignee", (*apiRequest).assignIssue},
	{"GET", "/rest/api/{v}/issue/{issue}/transitions", (*apiRequest).listTransitions},
	{"POST", "/rest/api/{v}/issue/{issue}/transitions", (*apiRequest).transitionIssue},
	{"GET", "/rest/api/{v}/issue/{issue}/comment", (*apiRequest).listComments},
	{"POST", "/rest/api/{v}/issue/{issue}/comment", (*apiRequest).createComment},
	{"GET", "/rest/api/{v}/issue/{issue}/comment/{comment}", (*apiRequest).getComment},
	{"PUT", "/rest/api/{v}/issue/{issue}/comment/{comment}", (*apiRequest).editComment},
	{"DELETE", "/rest/api/{v}/issue/{issue}/comment/{comment}", (*apiRequest).deleteComment},
	{"GET", "/rest/api/{v}/issue/{issue}/properties", (*apiRequest).listProperties},
	{"GET", "/rest/api/{v}/issue/{issue}/properties/{property}", (*apiRequest).getProperty},
	{"PUT", "/rest/api/{v}/issue/{issue}/properties/{property}", (*apiRequest).setProperty},
	{"DELETE", "/rest/api/{v}/issue/{issue}/properties/{property}", (*apiRequest).deleteProperty},
}

// jiraError has the shape of Jira's errors that are about the whole request.
func jiraError(status int, messages ...string) reply {
	return reply{status: status, body: map[string]any{"errorMessages": messages, "errors": map[string]string{}}}
}

// jiraFieldErrors has the shape of those about single fields.
func jiraFieldErrors(errs map[string]string) reply {
	return reply{status: http.StatusBadRequest, body: map[string]any{"errorMessages": []string{}, "errors": errs}}
}

const (
	noSuchIssue  = "Issue does not exist or you do not have permission to see it."
	badJSON      = "There was an error parsing JSON. Check that your request body is valid."
	wantDocument = "Operation value must be an Atlassian Document (see the Atlassian Document Format)"
	wantString   = "Operation value must be a string"
)

// withIssue finds the issue of the path, or answers that there is none.
func (q *apiRequest) withIssue(serve func(*issue) reply) reply {
	if i := q.issue(q.vars["issue"]); i != nil {
		return serve(i)
	}
	return jiraError(http.StatusNotFound, noSuchIssue)
}

type issueBody struct {
	Fields map[string]any              `json:"fields"`
	Update map[string][]map[string]any `json:"update"`
}

func (q *apiRequest) createIssue() reply {
	var body issueBody
	if !q.decode(&body) {
		return jiraError(http.StatusBadRequest, badJSON)
	}
	errs := map[string]string{}
	p := q.project(body.Fields["project"])
	if p == nil {
		errs["project"] = "Specify a valid project ID or key"
	}
	kind, known := named(issueTypes, body.Fields["issuetype"])
	if !known {
		errs["issuetype"] = "Specify a valid issue type"
	}
	summary, _ := body.Fields["summary"].(string)
	if strings.TrimSpace(summary) == "" {
		errs["summary"] = "You must specify a summary of the issue."
	}
	fields := maps.Clone(body.Fields)
	for _, done := range []string{"project", "issuetype", "summary"} {
		delete(fields, done)
	}
	q.checkFields(fields, errs)
	if len(errs) > 0 {
		return jiraFieldErrors(errs)
	}
	i := q.addIssue(p, kind, summary, q.actor.ID, q.now)
	maps.Copy(i.fields, fields)
	return created(map[string]any{"id": i.id, "key": i.key, "self": q.issueURL(i)})
}

// checkFields brings fields into their stored form and notes what is wrong.
func (q *apiRequest) checkFields(fields map[string]any, errs map[string]string) {
	for name, value := range fields {
		switch name {
		case "description", "environment":
			stored, problem := q.storedText(value)
			if problem != "" {
				errs[name] = problem
			}
			fields[name] = stored
		case "assignee", "reporter":
			id := or(textAt(value, "accountId"), textAt(value, "id"))
			if _, known := q.people(id); id != "" && !known {
				errs[name] = "User '" + id + "' does not exist."
			}
			fields[name] = nil
			if id != "" {
				fields[name] = person(id)
			}
		case "labels":
			if _, isList := value.([]any); !isList {
				errs[name] = "data was not an array"
			}
		case "status", "created", "updated", "creator":
			errs[name] = "Field '" + name + "' cannot be set. It is not on the appropriate screen, or unknown."
		}
	}
}

// storedText takes rich text as the API version has it: a document in 3, text
// in 2. It is stored as a document.
func (q *apiRequest) storedText(value any) (stored any, problem string) {
	text, isText := value.(string)
	switch {
	case value == nil:
		return nil, ""
	case q.version == "3" && !isDocument(value):
		return nil, wantDocument
	case q.version == "3":
		return value, ""
	case !isText:
		return nil, wantString
	}
	return document(text), ""
}

// shownText is the other way round.
func (q *apiRequest) shownText(stored any) any {
	if q.version == "3" || stored == nil {
		return stored
	}
	return plainText(stored)
}

func (q *apiRequest) getIssue() reply {
	return q.withIssue(func(i *issue) reply {
		return ok(map[string]any{
			"expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
			"id":     i.id, "key": i.key, "self": q.issueURL(i), "fields": q.shownFields(i),
		})
	})
}

// shownFields picks the fields a request asks for; all of them by default.
func (q *apiRequest) shownFields(i *issue) map[string]any {
	all := object(i.fields)
	for _, name := range []string{"description", "environment"} {
		all[name] = q.shownText(all[name])
	}
	for _, name := range []string{"creator", "reporter", "assignee"} {
		if id := textAt(all, name+".accountId"); id != "" {
			all[name] = q.shownPerson(id)
		}
	}
	if all["labels"] == nil {
		all["labels"] = []any{}
	}
	all["comment"] = q.commentPage(i.comments, 0, len(i.comments))
	asked := strings.Split(q.query.Get("fields"), ",")
	if q.query.Get("fields") == "" || slices.Contains(asked, "*all") || slices.Contains(asked, "*navigable") {
		return all
	}
	shown := map[string]any{}
	for _, name := range asked {
		if value, known := all[name]; known {
			shown[name] = value
		}
	}
	return shown
}

func (q *apiRequest) editIssue() reply {
	return q.withIssue(func(i *issue) reply {
		var body issueBody
		if !q.decode(&body) {
			return jiraError(http.StatusBadRequest, badJSON)
		}
		errs := map[string]string{}
		fields := maps.Clone(body.Fields)
		if fields == nil {
			fields = map[string]any{}
		}
		if kind, wanted := fields["issuetype"]; wanted {
			if found, known := named(issueTypes, kind); known {
				fields["issuetype"] = q.self("issuetype", found)
			} else {
				errs["issuetype"] = "Specify a valid issue type"
			}
		}
		q.checkFields(fields, errs)
		q.updateFields(i, body.Update, fields, errs)
		if len(errs) > 0 {
			return jiraFieldErrors(errs)
		}
		maps.Copy(i.fields, fields)
		i.fields["updated"] = jiraTime(q.now)
		return noContent()
	})
}

// updateFields works out the update part of an edit: labels by add, remove
// and set, any other field by set.
func (q *apiRequest) updateFields(i *issue, update map[string][]map[string]any, fields map[string]any, errs map[string]string) {
	for name, operations := range update {
		for _, operation := range operations {
			for verb, value := range operation {
				labels, _ := clone(i.fields["labels"]).([]any)
				if earlier, set := fields["labels"].([]any); set {
					labels = earlier
				}
				switch {
				case verb == "set":
					fields[name] = value
				case name == "labels" && verb == "add":
					if !slices.Contains(labels, value) {
						fields[name] = append(labels, value)
					}
				case name == "labels" && verb == "remove":
					fields[name] = slices.DeleteFunc(labels, func(l any) bool { return l == value })
				default:
					errs[name] = "the simulator does not have the operation " + verb + " for this field"
				}
			}
		}
	}
}

func (q *apiRequest) deleteIssue() reply {
	return q.withIssue(func(i *issue) reply {
		q.removeIssue(i)
		return noContent()
	})
}

func (q *apiRequest) issueURL(i *issue) string {
	return q.base + "/rest/api/" + q.version + "/issue/" + i.id
}
