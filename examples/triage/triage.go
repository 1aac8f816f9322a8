package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"bellows"
)

// issueEvent is what the handlers read of an event about an issue.
type issueEvent struct {
	SelfGenerated bool   `json:"selfGenerated"`
	AtlassianID   string `json:"atlassianId"` // who did it
	Issue         struct {
		Key    string `json:"key"`
		Fields struct {
			IssueType struct {
				Name string `json:"name"`
			} `json:"issuetype"`
		} `json:"fields"`
	} `json:"issue"`
}

// triage answers a bug report, and asks for a description where there is none.
// A property of the issue says what it found, for whoever looks for issues that
// lack something.
func triage(ctx context.Context, job *bellows.Job) error {
	var event issueEvent
	if err := job.Decode(&event); err != nil {
		return err
	}
	if event.SelfGenerated || event.Issue.Fields.IssueType.Name != "Bug" {
		return nil
	}
	app, key := job.App(), event.Issue.Key
	found, err := read(ctx, app, key)
	var status *bellows.StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return nil // the issue is gone: nothing is left to do
	}
	if err != nil {
		return err
	}
	state, text := "ready", fmt.Sprintf("Thank you. %s is in our queue.", key)
	if found.Fields.Description == nil {
		state, text = "incomplete", fmt.Sprintf("Thank you. Please describe in %s what you did and what happened.", key)
	}
	if !found.says(text) { // or this is a second event about the same issue
		// A step: were the call behind it to fail, the comment is not written
		// again.
		err := job.Step(ctx, "comment", func(ctx context.Context) error { return comment(ctx, app, key, text) })
		if err != nil {
			return err
		}
	}
	property := bellows.Pathf("/rest/api/3/issue/%s/properties/triage", key)
	return app.Do(ctx, http.MethodPut, property, map[string]string{"state": state}, nil)
}

// handOver writes a comment in the name of whoever handed the issue over, who
// is not there. The scope in the manifest allows it.
func handOver(ctx context.Context, job *bellows.Job) error {
	var event issueEvent
	if err := job.Decode(&event); err != nil {
		return err
	}
	return comment(ctx, job.As(event.AtlassianID), event.Issue.Key, "I have handed this over.")
}

// issue is what triage reads of an issue.
type issue struct {
	Fields struct {
		Description *struct{} `json:"description"` // a document, or null
		Comment     struct {
			Comments []struct {
				Body json.RawMessage `json:"body"`
			} `json:"comments"`
		} `json:"comment"`
	} `json:"fields"`
}

func read(ctx context.Context, client *bellows.Client, key string) (issue, error) {
	var found issue
	err := client.Do(ctx, http.MethodGet, bellows.Pathf("/rest/api/3/issue/%s", key)+"?fields=description,comment", nil, &found)
	return found, err
}

// says reports whether a comment with this text is there. The text has nothing
// in it that JSON would escape.
func (i issue) says(text string) bool {
	for _, c := range i.Fields.Comment.Comments {
		if bytes.Contains(c.Body, []byte(text)) {
			return true
		}
	}
	return false
}

func comment(ctx context.Context, client *bellows.Client, key, text string) error {
	path := bellows.Pathf("/rest/api/3/issue/%s/comment", key)
	return client.Do(ctx, http.MethodPost, path, map[string]any{"body": document(text)}, nil)
}

// document is a text in Atlassian's document format.
func document(text string) map[string]any {
	words := map[string]any{"type": "text", "text": text}
	paragraph := map[string]any{"type": "paragraph", "content": []any{words}}
	return map[string]any{"type": "doc", "version": 1, "content": []any{paragraph}}
}
