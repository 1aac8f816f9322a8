package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/installations"
	"bellows/internal/jobs"
)

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Handler carries out jobs in Go; it stands beside the rules of the file and
// counts as one of them.
type Handler struct {
	// Name is unique among handlers and rules: 1 to 64 letters, digits, "_" or
	// "-". It is kept with each job, so a new name is a new handler.
	Name string
	// On are patterns as in a rule's "on"; at least one.
	On []string
	// MaxAttempts and MaxAge are as in a rule. Zero or negative means 10, and
	// 24 hours.
	MaxAttempts int
	MaxAge      time.Duration
	// Run carries out one attempt. What its error means for the job, the first
	// line that fits:
	//
	//   - nil: it is done
	//   - a jobs.FatalError in the chain, or a panic: dead, fatal
	//   - a jobs.RetryAfterError: a delay, which is no attempt
	//   - a POST or PATCH whose answer was lost outside a step that has ended,
	//     or a step of which is not known how it ended: dead, unknown_effect
	//   - an atlassian.Error: as for a rule's call
	//   - the worker stops: back to the queue
	//   - any other: an attempt
	Run func(context.Context, *Task) error
}

// Task is one attempt of a job for a [Handler]. It is good until Run returns;
// calls after that are refused.
type Task struct {
	a     *attempt
	grant ticket.Grant

	stepping sync.Mutex // held while a step runs

	mu    sync.Mutex
	over  bool          // Run has returned
	calls calls         // since the attempt began, less those of steps that ended
	end   *jobs.Failure // how the attempt ends, whatever Run returns
	// excused is the failed call of a step that is safe to be done again.
	excused *atlassian.Error
}

// calls is what is known of POST and PATCH calls.
type calls struct {
	refused int              // certainly without effect
	acted   bool             // one had its effect
	lost    *atlassian.Error // the last that may have had
}

// handle runs a handler.
func (a *attempt) handle(ctx context.Context, h Handler) *jobs.Failure {
	if a.w.Egress == nil {
		return &jobs.Failure{Cause: jobs.CauseFatal, Message: "this worker has no egress, which handlers need"}
	}
	t := &Task{a: a, grant: a.grant()}
	err := t.run(ctx, h)
	return t.failure(ctx, err)
}

// run also ends what the handler has left running, so that nothing changes the
// job's record afterwards.
func (t *Task) run(ctx context.Context, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { // also after a panic
		cancel()
		t.mu.Lock()
		t.over = true
		t.mu.Unlock()
		t.stepping.Lock() // waits for a step that some goroutine still does
		defer t.stepping.Unlock()
	}()
	return h.Run(ctx, t)
}

// Job returns the job. Its data is not to be changed.
func (t *Task) Job() jobs.Job { return t.a.job }

// Installation returns the installation that the job is of.
func (t *Task) Installation() installations.Installation { return t.a.installation }

// BaseURL returns where a product's API is. An empty product means the only
// one there is.
func (t *Task) BaseURL(ctx context.Context, product string) (string, error) {
	return t.a.w.Egress.BaseURL(ctx, t.grant, product)
}

// Enqueue stores a follow-up job, as egress.Server.Enqueue.
func (t *Task) Enqueue(ctx context.Context, f egress.FollowUp) (id string, duplicate bool, err error) {
	return t.a.w.Egress.Enqueue(ctx, t.grant, f)
}

// Progress tells how far the job is: report is any JSON of at most 16 KiB.
func (t *Task) Progress(ctx context.Context, report json.RawMessage) error {
	return t.a.w.Egress.Report(ctx, t.grant, report)
}

// Transport makes calls to the APIs of the job's installation, as
// egress.Server.Transport.
func (t *Task) Transport(as egress.As) http.RoundTripper {
	return &taskTransport{t: t, as: as, below: t.a.w.Egress.Transport(t.grant, as)}
}

// taskTransport notes what the task must know of its calls.
type taskTransport struct {
	t     *Task
	as    egress.As
	below http.RoundTripper
}

// RoundTrip makes one call.
func (c *taskTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.t.mu.Lock()
	over := c.t.over
	c.t.mu.Unlock()
	if over {
		return nil, &atlassian.Error{Stage: atlassian.Fenced, Method: r.Method, Path: r.URL.EscapedPath(), Err: errors.New("the attempt of this job has ended")}
	}
	response, err := c.below.RoundTrip(r)
	var e *atlassian.Error
	if err != nil {
		errors.As(err, &e)
	} else {
		e = egress.Failure(response)
	}
	c.t.note(c.as, r.Method, response, e)
	return response, err
}

// note keeps what a call tells of effects.
func (t *Task) note(as egress.As, method string, response *http.Response, e *atlassian.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if e != nil && (e.Stage == atlassian.NoToken || e.TokenExpired) {
		t.a.asUser = as.User && as.Account == ""
	}
	switch {
	case method == "" || repeats(method):
	case e == nil:
		t.calls.acted = t.calls.acted || response != nil && response.StatusCode/100 == 2
	case lost(e):
		t.calls.lost = e
	case e.Stage == atlassian.Unreadable:
		t.calls.acted = true
	default:
		t.calls.refused++
	}
}

// lost reports whether a call may have had its effect, and nobody knows.
func lost(e *atlassian.Error) bool {
	return e.Stage == atlassian.Unanswered || e.Stage == atlassian.Answered && (e.Status == http.StatusBadGateway || e.Status == http.StatusGatewayTimeout)
}

// failure says what the error of a handler means.
func (t *Task) failure(ctx context.Context, err error) *jobs.Failure {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end != nil || t.a.settled {
		return t.end
	}
	if err == nil {
		return nil
	}
	f := &jobs.Failure{Cause: jobs.CauseOther, Message: err.Error()}
	var dead *jobs.FatalError
	var later *jobs.RetryAfterError
	var call *atlassian.Error
	open := t.a.effects.Open()
	switch {
	case errors.As(err, &dead):
		f.Cause = jobs.CauseFatal
	case errors.As(err, &later):
		f.Cause, f.RetryAfter, f.HasRetryAfter = jobs.CauseLimited, max(later.After, 0), true
	case open != nil:
		f.Cause, f.Step, f.Message = jobs.CauseUnanswered, open.Name, fmt.Sprintf("step %q: how it ended is not known: %s", open.Name, f.Message)
	case t.calls.lost != nil:
		f.Cause, f.Method, f.Path, f.Status = jobs.CauseUnanswered, t.calls.lost.Method, t.calls.lost.Path, t.calls.lost.Status
	case errors.As(err, &call):
		return t.a.classify(ctx, err, "", repeats(call.Method) || call == t.excused)
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		f.Cause, f.Message = jobs.CauseShutdown, "worker is stopping"
	}
	return f
}
