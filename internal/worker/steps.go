package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/rules"
)

const (
	// doneKept is how long a done mark is kept: longer than Forge may still
	// send an event again, see the queue's duplicate window.
	doneKept = 30 * time.Minute
	// intentGrace is added to a step's timeout before an intent without an end
	// is taken for a lost answer: the worker that began it may still live and
	// be about to write the end.
	intentGrace = 10 * time.Second
	// maxKeptBody is the largest answer that is kept for later steps, in bytes.
	maxKeptBody = 512 << 10
)

// steps carries out the steps of the job's rule that have not been finished.
func (a *attempt) steps(ctx context.Context) *jobs.Failure {
	steps := a.rule.Steps()
	if f := a.recall(ctx, steps); f != nil || a.settled {
		return f
	}
	for n, step := range steps {
		if done := a.effects.Find(step.Name()); done != nil {
			a.input.Steps[step.Name()] = answerOf(*done)
			continue
		}
		if ctx.Err() != nil {
			return &jobs.Failure{Cause: jobs.CauseShutdown, Step: step.Name(), Message: "worker is stopping"}
		}
		if f := a.step(ctx, step, n == len(steps)-1); f != nil || a.settled {
			return f
		}
	}
	if err := a.markDone(ctx); err != nil {
		a.w.log.Warn("keeping a done mark failed", "job", a.job.ID, "error", err)
	}
	return nil
}

// recall reads the job's record when an earlier copy may have left one, and
// looks at an intent without an end.
func (a *attempt) recall(ctx context.Context, steps []*rules.Step) *jobs.Failure {
	if !a.known {
		if err := a.ask(ctx, a.read); err != nil {
			return a.broker(ctx, err)
		}
	}
	if a.stale() {
		a.settled = true
		return nil
	}
	open := a.effects.Open()
	if open == nil {
		return nil
	}
	return a.openIntent(*open, steps)
}

// stale reports whether the record says that this copy of the job need not
// run: the job is done, or a later copy is at work.
func (a *attempt) stale() bool {
	return a.effects.Done && a.effects.Run >= a.job.Run || queue.Overtaken(a.job, a.effects)
}

// openIntent judges a call that was begun by another copy and has not been
// seen to end.
func (a *attempt) openIntent(open jobs.Step, steps []*rules.Step) *jobs.Failure {
	limit := intentGrace
	for _, s := range steps {
		if s.Name() == open.Name {
			limit += s.Timeout()
		}
	}
	if until := open.At.Add(limit); a.w.Now().Before(until) {
		return &jobs.Failure{Cause: jobs.CauseHeld, Until: until, Step: open.Name, Message: "another worker may still be making this call"}
	}
	return &jobs.Failure{
		Cause: jobs.CauseUnanswered, Step: open.Name, Method: open.Method, Path: open.Path,
		Message: fmt.Sprintf("worker %q ended during the call begun at %s: whether it took effect is not known", open.Worker, open.At.UTC().Format(time.RFC3339)),
	}
}

// step renders, guards, makes and records one call.
func (a *attempt) step(ctx context.Context, step *rules.Step, last bool) *jobs.Failure {
	call, request, f := a.prepare(ctx, step)
	if f != nil {
		return f
	}
	if !step.Safe() {
		if f := a.begin(ctx, step, call); f != nil || a.settled {
			return f
		}
	}
	answer, err := a.w.Call(ctx, request)
	if answer, err = usable(answer, err, last); err != nil {
		f := a.classify(ctx, err, step)
		return a.undo(ctx, step, f, err)
	}
	a.input.Steps[step.Name()] = answerView(answer)
	return a.finish(ctx, step, call, answer, last)
}

// prepare evaluates the expressions of a step and says where its call goes.
func (a *attempt) prepare(ctx context.Context, step *rules.Step) (rules.Call, atlassian.Call, *jobs.Failure) {
	call, err := step.Render(a.input)
	if err != nil {
		return call, atlassian.Call{}, &jobs.Failure{Cause: jobs.CauseFatal, Step: step.Name(), Message: err.Error()}
	}
	request, err := a.request(ctx, step, call)
	if err != nil {
		return call, request, &jobs.Failure{Cause: jobs.CauseFatal, Step: step.Name(), Method: call.Method, Path: call.Path, Message: err.Error()}
	}
	return call, request, nil
}

// begin stores the intent of an unsafe call. Of two copies of a job only one
// can: the record is written by compare-and-set.
func (a *attempt) begin(ctx context.Context, step *rules.Step, call rules.Call) *jobs.Failure {
	intent := jobs.Step{
		Name: step.Name(), Open: true, Attempt: a.job.Attempt, At: a.w.Now().UTC(), Worker: a.w.Name, Method: call.Method, Path: call.Path,
	}
	err := a.keep(ctx, a.effects.With(intent))
	if errors.Is(err, queue.ErrConflict) {
		return a.overtaken(step)
	}
	if err != nil {
		return a.broker(ctx, err)
	}
	return nil
}

// overtaken looks at the record that another copy of this job has written in
// the meantime. The copy with the lower generation is stale.
func (a *attempt) overtaken(step *rules.Step) *jobs.Failure {
	if a.stale() {
		a.settled = true
		return nil
	}
	until := a.w.Now().Add(step.Timeout() + intentGrace)
	return &jobs.Failure{Cause: jobs.CauseHeld, Until: until, Step: step.Name(), Message: "another copy of this job is at work"}
}

// undo takes back the intent of a call that certainly had no effect, so that
// the next attempt may begin it again. A call that had one, or may have had,
// keeps its intent.
func (a *attempt) undo(ctx context.Context, step *rules.Step, f *jobs.Failure, err error) *jobs.Failure {
	var e *atlassian.Error
	acted := !errors.As(err, &e) || e.Stage == atlassian.Unreadable
	if step.Safe() || acted || f.Cause == jobs.CauseUnanswered {
		return f
	}
	if err := a.keep(ctx, a.effects.Without(step.Name())); err != nil {
		a.w.log.Error("taking back an intent failed: the job will be an unknown effect", "job", a.job.ID, "step", step.Name(), "error", err)
	}
	return f
}

// finish records a step that ended well. A job of one safe step records
// nothing here: its done mark and its acknowledgement say it.
func (a *attempt) finish(ctx context.Context, step *rules.Step, call rules.Call, answer *atlassian.Answer, last bool) *jobs.Failure {
	if last && step.Safe() && len(a.rule.Steps()) == 1 {
		return nil
	}
	record := jobs.Step{
		Name: step.Name(), Attempt: a.job.Attempt, At: a.w.Now().UTC(), Worker: a.w.Name,
		Method: call.Method, Path: call.Path, Status: answer.Status,
	}
	if !last {
		if len(answer.Body) > maxKeptBody {
			return &jobs.Failure{Cause: jobs.CauseRejected, Step: step.Name(), Method: call.Method, Path: call.Path, Status: answer.Status,
				Message: fmt.Sprintf("the answer has %d bytes, later steps can be given at most %d", len(answer.Body), maxKeptBody)}
		}
		record.Header, record.Body = plainHeader(answer.Header), bodyAsJSON(answer.Body)
	}
	next := a.effects.With(record)
	if last {
		a.effects = next // goes out with the done mark
		return nil
	}
	err := a.keep(ctx, next)
	if errors.Is(err, queue.ErrConflict) {
		return a.overtaken(step)
	}
	if err != nil {
		// The call was made and cannot be recorded: for an unsafe one the
		// intent stays, and the job will be looked at by a person.
		return &jobs.Failure{Cause: jobs.CauseUnanswered, Safe: step.Safe(), Step: step.Name(), Method: call.Method, Path: call.Path,
			Status: answer.Status, Message: "the answer could not be recorded: " + err.Error()}
	}
	return nil
}

// usable accepts an answer that could not be read to its end when nobody needs
// it: the status says that the call was done.
func usable(answer *atlassian.Answer, err error, last bool) (*atlassian.Answer, error) {
	var e *atlassian.Error
	if last && errors.As(err, &e) && e.Stage == atlassian.Unreadable && e.Status/100 == 2 {
		return &atlassian.Answer{Status: e.Status, Header: http.Header{}}, nil
	}
	return answer, err
}

// answerView is what expressions see of an answer.
func answerView(answer *atlassian.Answer) map[string]any {
	return answerOf(jobs.Step{Status: answer.Status, Header: plainHeader(answer.Header), Body: bodyAsJSON(answer.Body)})
}

func answerOf(s jobs.Step) map[string]any {
	header := make(map[string]any, len(s.Header))
	for name, value := range s.Header {
		header[name] = value
	}
	body, err := rules.DecodeEvent(s.Body)
	if err != nil {
		body = nil
	}
	return map[string]any{"status": int64(s.Status), "headers": header, "body": body}
}

// plainHeader has one value for each name, in small letters.
func plainHeader(h http.Header) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		m[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return m
}

// bodyAsJSON is the body, or the text of it as a JSON string.
func bodyAsJSON(body []byte) json.RawMessage {
	if len(body) == 0 {
		return nil
	}
	if json.Valid(body) {
		return body
	}
	text, err := json.Marshal(string(body))
	if err != nil {
		return nil
	}
	return text
}
