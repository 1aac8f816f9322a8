package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"bellows/internal/atlassian"
	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// turn is one item of a step on its way: the question whether its effect is
// there, its request, and the pages after that.
type turn struct {
	a    *attempt
	step *rules.Step
	in   rules.Input
	key  string // names the item in the job's record
	last bool   // nobody needs the body of its answer

	call   rules.Call // the last one that was made
	status int        // of its answer
	intent bool       // an intent was stored
}

func (t *turn) run(ctx context.Context) (map[string]any, *jobs.Failure) {
	found, asks, f := t.probe(ctx)
	if f != nil || found != nil {
		return found, f
	}
	if t.call, f = t.render(); f != nil {
		return nil, f
	}
	// What a probe guards has an intent too: while another worker may still be
	// making the call, asking would be too early.
	if !t.step.Safe() || asks && !repeats(t.call.Method) {
		t.intent = true
		intent := jobs.Step{Name: t.key, Method: t.call.Method, Path: jobs.Clip(t.call.Path, maxKeptPath)}
		if f := t.a.begin(ctx, intent, t.step.Timeout()); f != nil || t.a.settled {
			return nil, f
		}
	}
	return t.pages(ctx)
}

// repeats reports whether a method does the same when it is sent twice.
func repeats(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// probe asks whether the effect is there already, where the step has a
// question; found is then the result of the item.
func (t *turn) probe(ctx context.Context) (found map[string]any, asks bool, f *jobs.Failure) {
	call, asks, err := t.step.Probe(t.in)
	if err != nil {
		return nil, asks, fatalIn(t.step.Name(), call, err)
	}
	if !asks {
		return nil, false, nil
	}
	t.call = call
	answer, err := t.send(ctx, true)
	if err != nil {
		var e *atlassian.Error
		if !errors.As(err, &e) || e.Stage != atlassian.Answered || e.TokenExpired || !rules.Tells(e.Status) {
			return nil, true, t.a.classify(ctx, err, t.step.Name(), true)
		}
		answer = rules.Answer{Status: e.Status, Header: e.Header, Body: e.Body}
	}
	present, err := t.step.Present(t.in, answer)
	if err != nil {
		return nil, true, fatalIn(t.step.Name(), call, err)
	}
	if t.status = answer.Status; !present {
		return nil, true, nil
	}
	return rules.Found(answer), true, nil
}

func (t *turn) render() (rules.Call, *jobs.Failure) {
	call, err := t.step.Render(t.in)
	if err != nil {
		return call, fatalIn(t.step.Name(), call, err)
	}
	if _, err := t.a.request(t.step, call, t.step.Safe()); err != nil {
		return call, fatalIn(t.step.Name(), call, err)
	}
	return call, nil
}

// send makes the call at hand.
func (t *turn) send(ctx context.Context, safe bool) (rules.Answer, error) {
	request, err := t.a.request(t.step, t.call, safe)
	if err != nil {
		return rules.Answer{}, &atlassian.Error{Stage: atlassian.Fenced, Method: t.call.Method, Path: t.call.Path, Err: err}
	}
	answer, err := t.a.w.Call(ctx, request)
	if err != nil {
		return rules.Answer{}, err
	}
	t.status = answer.Status
	return rules.Answer{Status: answer.Status, Header: answer.Header, Body: answer.Body}, nil
}

// pages makes the request, and those for the pages after the first.
func (t *turn) pages(ctx context.Context) (map[string]any, *jobs.Failure) {
	pager := t.step.Pages(t.in)
	for {
		answer, err := t.send(ctx, t.step.Safe())
		if err != nil && pager == nil && t.last {
			answer, err = usable(answer, err)
		}
		answer, f, acted := t.judge(ctx, answer, err)
		if f != nil {
			t.undo(f, acted)
			return nil, f
		}
		t.status = answer.Status
		if pager == nil {
			return answer.View(), nil
		}
		next, more, err := pager.Next(t.call, answer)
		if err != nil {
			return nil, fatalIn(t.step.Name(), t.call, err)
		}
		if !more {
			return pager.Result(), nil
		}
		t.call = next
		if ctx.Err() != nil {
			return nil, &jobs.Failure{Cause: jobs.CauseShutdown, Step: t.step.Name(), Message: "worker is stopping"}
		}
	}
}

// usable accepts an answer that could not be read to its end when nobody needs
// it: the status says that the call was done.
func usable(answer rules.Answer, err error) (rules.Answer, error) {
	var e *atlassian.Error
	if errors.As(err, &e) && e.Stage == atlassian.Unreadable && e.Status/100 == 2 {
		return rules.Answer{Status: e.Status, Header: http.Header{}}, nil
	}
	return answer, err
}

// judge says what an answer means: what the rule says of its status comes
// before what it means elsewhere. acted says that the call had its effect, or
// may have had.
func (t *turn) judge(ctx context.Context, answer rules.Answer, err error) (got rules.Answer, f *jobs.Failure, acted bool) {
	if err == nil {
		verdict, named := t.step.OnStatus(answer.Status)
		if !named || verdict == rules.VerdictDone {
			return answer, nil, true
		}
		f = &jobs.Failure{Step: t.step.Name(), Safe: t.step.Safe(), Method: t.call.Method, Path: t.call.Path, Status: answer.Status,
			Message: fmt.Sprintf("%s was answered with %d", t.step.Name(), answer.Status)}
		t.apply(verdict, f, true)
		return answer, f, true
	}
	f = t.a.classify(ctx, err, t.step.Name(), t.step.Safe())
	var e *atlassian.Error
	known := errors.As(err, &e)
	acted = !known || e.Stage == atlassian.Unreadable || f.Cause == jobs.CauseUnanswered
	if !known || e.Stage != atlassian.Answered {
		return answer, f, acted
	}
	verdict, named := t.step.OnStatus(e.Status)
	fixed := f.Cause == jobs.CauseLimited || f.Cause == jobs.CauseNoToken || e.Status == http.StatusUnauthorized
	if !named || fixed {
		return answer, f, acted
	}
	if verdict == rules.VerdictDone {
		return rules.Answer{Status: e.Status, Header: e.Header, Body: e.Body}, nil, true
	}
	t.apply(verdict, f, acted)
	return answer, f, acted
}

// apply makes a failure what the rule says. An unsafe call that acted, or may
// have, is not made again whatever the rule says.
func (t *turn) apply(verdict rules.Verdict, f *jobs.Failure, acted bool) {
	switch {
	case verdict == rules.VerdictDead:
		f.Cause = jobs.CauseRejected
	case acted && !t.step.Safe():
		f.Cause = jobs.CauseUnanswered
	default:
		f.Cause = jobs.CauseOther
	}
}

// undo takes back the intent of a call that certainly had no effect, so that
// the next attempt may begin it again. A call that had one, or may have had,
// keeps its intent, unless a probe will tell.
func (t *turn) undo(f *jobs.Failure, acted bool) {
	if !t.intent || acted && !t.step.Safe() {
		return
	}
	t.a.effects = t.a.effects.Without(t.key)
	t.a.dirty = true
}
