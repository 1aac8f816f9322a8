package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"bellows/internal/atlassian"
	"bellows/internal/jobs"
	"bellows/internal/queue"
)

// maxStepName bounds the name of a handler's step in bytes.
const maxStepName = 200

// Step does a thing once for the job: when do has returned nil, its result is
// stored, and a later attempt or a replay gets that result and does not call
// do. A result is JSON of at most 512 KiB, or nil. Steps run one after
// another; one inside another, or beside it, is refused.
//
// Unless the step is safe to be done again, an intent is stored before do, and
// taken back when do fails without an effect: its calls were refused or not
// sent, or it fails otherwise than by the network. The job is unknown_effect
// when the intent stays, because
//
//   - the worker died during do,
//   - the answer of a POST or PATCH was lost, or one had its effect and do
//     failed after it,
//   - do failed on a connection that bellows knows nothing of, or on the end of
//     a context.
//
// The error is that of do, or says why the step could not be begun or
// recorded: then the attempt ends as that says, whatever Run returns.
func (t *Task) Step(ctx context.Context, name string, safe bool, do func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	if name == "" || len(name) > maxStepName {
		return nil, &jobs.FatalError{Err: fmt.Errorf("the name of a step has %d bytes, want 1 to %d", len(name), maxStepName)}
	}
	if !t.stepping.TryLock() {
		return nil, &jobs.FatalError{Err: fmt.Errorf("step %q was begun while another one runs", name)}
	}
	defer t.stepping.Unlock()
	if err := t.ended(); err != nil {
		return nil, err
	}
	if done := t.a.effects.Find(name); done != nil && !done.Open {
		return done.Result, nil
	}
	if !safe {
		if f := t.a.begin(ctx, jobs.Step{Name: name}, handlerStep); f != nil || t.a.settled {
			return nil, t.stop(f)
		}
	}
	before := t.swap(calls{})
	result, err := do(ctx)
	made := t.swap(before)
	if err != nil {
		t.failed(name, safe, made, err)
		return nil, err
	}
	return result, t.record(ctx, name, safe, result)
}

// ended says why no other step can begin.
func (t *Task) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return errors.New("the attempt of this job has ended")
	case t.a.settled:
		return errors.New("another copy of this job goes on")
	case t.end != nil:
		return t.end
	}
	return nil
}

func (t *Task) swap(next calls) calls {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.calls
	t.calls = next
	return old
}

// stop ends the attempt, whatever its handler returns.
func (t *Task) stop(f *jobs.Failure) error {
	t.mu.Lock()
	t.end = f
	t.mu.Unlock()
	return t.ended()
}

// failed decides what is left of a step that returned an error.
func (t *Task) failed(name string, safe bool, made calls, err error) {
	if safe {
		t.mu.Lock()
		defer t.mu.Unlock()
		errors.As(err, &t.excused)
		return // what was lost in it may be done again
	}
	if made.acted || made.lost != nil || made.refused == 0 && unclear(err) {
		return // the intent stays
	}
	t.a.effects = t.a.effects.Without(name)
	t.a.dirty = true
}

// unclear reports whether an error leaves open if something was done.
func unclear(err error) bool {
	var call *atlassian.Error
	if errors.As(err, &call) {
		return lost(call) || call.Stage == atlassian.Unreadable
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return false
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// record stores the result of a step.
func (t *Task) record(ctx context.Context, name string, safe bool, result json.RawMessage) error {
	if len(result) > 0 && !json.Valid(result) {
		return &jobs.FatalError{Err: fmt.Errorf("the result of step %q is not JSON", name)}
	}
	if err := t.a.fits(len(result)); err != nil {
		return &jobs.FatalError{Err: fmt.Errorf("keeping the result of step %q: %w", name, err)}
	}
	err := t.a.keep(ctx, t.a.effects.With(jobs.Step{
		Name: name, Attempt: t.a.job.Attempt, At: t.a.w.Now().UTC(), Worker: t.a.w.Name, Result: result,
	}))
	switch {
	case errors.Is(err, queue.ErrConflict):
		return t.stop(t.a.overtaken(name, handlerStep))
	case err != nil:
		return t.stop(&jobs.Failure{Cause: jobs.CauseUnanswered, Safe: safe, Step: name, Message: "the end of the step could not be recorded: " + err.Error()})
	}
	return nil
}
