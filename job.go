package bellows

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"bellows/internal/egress"
	"bellows/internal/jobs"
	"bellows/internal/worker"
)

// Job is one attempt of a job. It is good until its handler returns. Fields
// that a job does not have are zero.
type Job struct {
	// ID is the same for every attempt, and for every delivery of the same
	// event.
	ID string
	// Type is the name of the event, "preUninstall", "bellows.scheduled" for a
	// scheduled trigger, or "bellows.call" for calls and follow-up jobs.
	Type string
	// Trigger is the key of the scheduled trigger, and Route the name of the
	// route that was called or of the follow-up job.
	Trigger, Route string
	// Attempt counts from 1. Waits that do not count leave it as it is.
	Attempt int
	// Received is when Forge's call was stored.
	Received time.Time
	// Principal is the account id of the user whose call this is. Events and
	// scheduled triggers have none.
	Principal string
	// AppVersion and Environment ("PRODUCTION", "STAGING", "DEVELOPMENT") are
	// those of the app that Forge called for.
	AppVersion, Environment string
	// Trace is the trace id of Forge's call, for logs and support requests.
	Trace string
	// Installation is whose job it is. It comes from the verified invocation
	// token, never from the body.
	Installation Installation

	data []byte
	task *worker.Task
}

// Installation is one installation of the app.
type Installation struct {
	ID string
	// Site is the address of the site, where a call has named it.
	Site string
	// Products are what the app is installed in; most often one.
	Products []Product
	// License is what Forge says of it, as it is. Nil means nothing.
	License json.RawMessage
}

// Product is a product that the app is installed in.
type Product struct {
	Name string // such as "jira"
	// CloudID is the site's, WorkspaceID that of a Bitbucket workspace.
	CloudID, WorkspaceID string
}

func newJob(task *worker.Task) *Job {
	j, i := task.Job(), task.Installation()
	job := &Job{
		ID: j.ID, Type: j.Type, Trigger: j.Trigger, Route: j.Route, Attempt: j.Attempt, Received: j.Time, Principal: j.Principal,
		AppVersion: j.AppVersion, Environment: j.Environment, Trace: jobs.TraceID(j.Traceparent),
		Installation: Installation{ID: j.Installation, Site: i.Site, License: slices.Clone(i.License)},
		data:         j.Data, task: task,
	}
	for _, c := range i.Contexts {
		job.Installation.Products = append(job.Installation.Products, Product{Name: c.Name, CloudID: c.CloudID, WorkspaceID: c.WorkspaceID})
	}
	return job
}

// Data is the body as Forge sent it, less any context token. It is a copy.
func (j *Job) Data() []byte { return slices.Clone(j.data) }

// Decode reads the body, which is JSON, into v as json.Unmarshal does. Its
// error is [Fatal]: the same body will not fit the next time either.
func (j *Job) Decode(v any) error {
	if err := json.Unmarshal(j.data, v); err != nil {
		return Fatal(fmt.Errorf("decoding the body of %q: %w", j.Type, err))
	}
	return nil
}

// App calls Atlassian as the app.
func (j *Job) App() *Client { return &Client{job: j} }

// User calls Atlassian as the user whose call this is, see Principal. On a job
// that has none its calls fail, and the job is dead.
func (j *Job) User() *Client { return &Client{job: j, as: egress.As{User: true}} }

// As calls Atlassian as an account that is not there, by its account id. The
// scopes of the manifest must allow impersonation.
func (j *Job) As(accountID string) *Client {
	return &Client{job: j, as: egress.As{Account: accountID}, account: true}
}

// Enqueue stores a follow-up job of the same installation, for the handlers and
// rules of "call:<name>", and returns its id. name is 1 to 64 letters, digits,
// "_" or "-"; data becomes its body, as JSON; it waits for delay, at most 30
// days. Asking again from the same job, in this attempt or another, for a job
// of the same name and data gives the same one.
func (j *Job) Enqueue(ctx context.Context, name string, data any, delay time.Duration) (id string, err error) {
	body, err := json.Marshal(data)
	if err != nil {
		return "", Fatal(fmt.Errorf("encoding the data of job %q: %w", name, err))
	}
	id, _, err = j.task.Enqueue(ctx, egress.FollowUp{Name: name, Data: body, Delay: delay})
	if err != nil {
		return "", fmt.Errorf("enqueuing job %q: %w", name, err)
	}
	return id, nil
}

// Progress tells whoever waits for the job how far it is: v is anything that
// is at most 16 KiB as JSON.
func (j *Job) Progress(ctx context.Context, v any) error {
	report, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding progress: %w", err)
	}
	if err := j.task.Progress(ctx, report); err != nil {
		return fmt.Errorf("reporting progress: %w", err)
	}
	return nil
}
