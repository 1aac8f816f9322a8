package ruletest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/rules"
)

// Interpret carries out the job as a worker does that nothing happens to: no
// crash, no lost answer, no hold. It knows nothing of finished steps, so that
// each job begins at the first.
func Interpret(_ context.Context, c Case) Outcome {
	i := interpreter{c: c}
	if forward, ok := c.Rule.Forward(); ok {
		return i.end(i.forward(forward))
	}
	results := make(map[string]any)
	i.c.Input.Steps = results
	for _, step := range c.Rule.Steps() {
		result, failure := i.step(step)
		if failure != nil {
			return i.end(failure)
		}
		results[step.Name()] = result
	}
	return i.end(nil)
}

type interpreter struct{ c Case }

// end decides what becomes of the job. The time and the spread are fixed, and
// make each delay the least it may be.
func (i interpreter) end(failure *jobs.Failure) Outcome {
	now := time.Unix(0, 0)
	attempt, _ := i.c.Input.Job["attempt"].(int64)
	job := jobs.Job{Attempt: int(max(attempt, 1)), Since: now}
	limits := jobs.Limits{MaxAttempts: i.c.Rule.MaxAttempts(), MaxAge: i.c.Rule.MaxAge()}
	decision := jobs.Decide(failure, job, limits, now, 0)
	outcome := Outcome{Action: decision.Action, Reason: decision.Reason}
	if failure != nil {
		outcome.Message = failure.Message
	}
	if decision.Action == jobs.ActionDelay {
		outcome.Delay = decision.Until.Sub(now)
	}
	return outcome
}

// forwardAPI marks the call by which a rule hands a job over.
const forwardAPI = "forward"

func (i interpreter) forward(forward rules.Forward) *jobs.Failure {
	answer, failure := i.do(rules.Call{API: forwardAPI, Method: http.MethodPost, Path: forward.URL})
	if failure != nil || answer.Status/100 == 2 {
		return failure
	}
	f := classify(answer, true, "the handler")
	if f.Cause == jobs.CauseRejected && answer.Status >= 500 {
		f.Cause = jobs.CauseServer // a handler's 501 may be the one before its next deployment
	}
	return f
}

func (i interpreter) step(step *rules.Step) (map[string]any, *jobs.Failure) {
	items, err := step.Items(i.c.Input)
	if err != nil {
		return nil, fatal(err)
	}
	var results []map[string]any
	for _, in := range items {
		result, failure := i.item(step, in)
		if failure != nil {
			return nil, failure
		}
		results = append(results, result)
	}
	if step.Each() {
		return rules.Collect(results), nil
	}
	return results[0], nil
}

// item makes the calls of a step for one item: the question first, then the
// request, then the other pages.
func (i interpreter) item(step *rules.Step, in rules.Input) (map[string]any, *jobs.Failure) {
	if found, failure := i.probe(step, in); found != nil || failure != nil {
		return found, failure
	}
	call, err := step.Render(in)
	if err != nil {
		return nil, fatal(err)
	}
	pager := step.Pages(in)
	for {
		answer, failure := i.do(call)
		if failure == nil {
			failure = judge(step, answer)
		}
		if failure != nil {
			return nil, failure
		}
		if pager == nil {
			return answer.View(), nil
		}
		next, more, err := pager.Next(call, answer)
		if err != nil {
			return nil, fatal(err)
		}
		if !more {
			return pager.Result(), nil
		}
		call = next
	}
}

// probe returns the result of the step when its effect is there.
func (i interpreter) probe(step *rules.Step, in rules.Input) (map[string]any, *jobs.Failure) {
	call, asks, err := step.Probe(in)
	if err != nil {
		return nil, fatal(err)
	}
	if !asks {
		return nil, nil
	}
	answer, failure := i.do(call)
	if failure != nil {
		return nil, failure
	}
	if !rules.Tells(answer.Status) {
		return nil, classify(answer, true, step.Name())
	}
	present, err := step.Present(in, answer)
	if err != nil {
		return nil, fatal(err)
	}
	if present {
		return rules.Found(answer), nil
	}
	return nil, nil
}

func (i interpreter) do(call rules.Call) (rules.Answer, *jobs.Failure) {
	answer, err := i.c.Do(call)
	if err != nil {
		return answer, fatal(err)
	}
	return answer, nil
}

// judge says whether an answer ends its job. What the rule says of a status
// comes before what it means elsewhere.
func judge(step *rules.Step, answer rules.Answer) *jobs.Failure {
	verdict, named := step.OnStatus(answer.Status)
	limited := classify(answer, step.Safe(), step.Name()).Cause == jobs.CauseLimited
	switch {
	case named && !limited && verdict == rules.VerdictDone, !named && answer.Status/100 == 2:
		return nil
	case named && !limited && verdict == rules.VerdictRetry:
		return &jobs.Failure{Cause: jobs.CauseOther, Step: step.Name(), Status: answer.Status, Message: message(step.Name(), answer)}
	case named && !limited:
		return &jobs.Failure{Cause: jobs.CauseRejected, Step: step.Name(), Status: answer.Status, Message: message(step.Name(), answer)}
	}
	return classify(answer, step.Safe(), step.Name())
}

// classify reads the status of an answer that is no success, for an app that
// was installed long ago and has a good token.
func classify(answer rules.Answer, safe bool, who string) *jobs.Failure {
	f := &jobs.Failure{Cause: jobs.CauseRejected, Safe: safe, Status: answer.Status, Message: message(who, answer)}
	seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	f.HasRetryAfter, f.RetryAfter = err == nil && seconds >= 0, time.Duration(max(seconds, 0))*time.Second
	switch answer.Status {
	case http.StatusTooManyRequests:
		f.Cause = jobs.CauseLimited
	case http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusRequestTimeout, http.StatusTooEarly:
		if f.Cause = jobs.CauseServer; answer.Status == http.StatusServiceUnavailable && f.HasRetryAfter {
			f.Cause = jobs.CauseLimited
		}
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		f.Cause = jobs.CauseUnanswered
	}
	return f
}

func message(who string, answer rules.Answer) string {
	return fmt.Sprintf("%s was answered with %d", who, answer.Status)
}

func fatal(err error) *jobs.Failure {
	return &jobs.Failure{Cause: jobs.CauseFatal, Message: err.Error()}
}
