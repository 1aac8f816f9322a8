package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

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
	// handlerStep is how long a step of a handler is taken to last at most,
	// since it does not say.
	handlerStep = 30 * time.Second
)

// carryOut does what the job's rule says, behind what was finished before.
func (a *attempt) carryOut(ctx context.Context) *jobs.Failure {
	if f := a.recall(ctx); f != nil || a.settled {
		return f
	}
	var f *jobs.Failure
	if handler, ok := a.set.run[a.rule.Name()]; ok {
		f = a.handle(ctx, handler)
	} else if forward, ok := a.rule.Forward(); ok {
		f = a.forward(ctx, forward)
	} else {
		f = a.steps(ctx)
	}
	if a.settled {
		return nil
	}
	if f != nil {
		return a.leave(ctx, f)
	}
	if err := a.markDone(ctx); err != nil {
		a.w.log.Warn("keeping a done mark failed", "job", a.job.ID, "error", err)
	}
	return nil
}

// leave stores what was finished and is not stored yet, before the job goes
// elsewhere.
func (a *attempt) leave(ctx context.Context, f *jobs.Failure) *jobs.Failure {
	if !a.dirty {
		return f
	}
	err := a.keep(ctx, a.effects)
	switch {
	case errors.Is(err, queue.ErrConflict) && a.stale():
		a.settled = true
		return nil
	case err != nil:
		// What was begun and not safe still has its intent, so a person will
		// look at it; the rest is done again.
		a.w.log.Error("storing what was finished failed", "job", a.job.ID, "error", err)
	}
	return f
}

// steps carries out the steps of the job's rule that have not been finished.
func (a *attempt) steps(ctx context.Context) *jobs.Failure {
	steps := a.rule.Steps()
	for n, step := range steps {
		last := n == len(steps)-1
		s := &stepRun{a: a, step: step, last: last, silent: last && len(steps) == 1 && step.Safe()}
		if f := s.run(ctx); f != nil || a.settled {
			return f
		}
	}
	return nil
}

// recall reads the job's record when an earlier copy may have left one, and
// looks at an intent without an end.
func (a *attempt) recall(ctx context.Context) *jobs.Failure {
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
	return a.openIntent(*open)
}

// stale reports whether the record says that this copy of the job need not
// run: the job is done, or a later copy is at work.
func (a *attempt) stale() bool {
	return a.effects.Done && a.effects.Run >= a.job.Run || queue.Overtaken(a.job, a.effects)
}

// openIntent judges a call that was begun by another copy and has not been
// seen to end. One that may be made again, because a probe or its author says
// so, is.
func (a *attempt) openIntent(open jobs.Step) *jobs.Failure {
	limit, safe := intentGrace+handlerStep, false
	for _, s := range a.rule.Steps() {
		if s.Name() == open.Name || strings.HasPrefix(open.Name, s.Name()+"[") {
			limit, safe = intentGrace+s.Timeout(), s.Safe()
		}
	}
	if until := open.At.Add(limit); a.w.Now().Before(until) {
		return &jobs.Failure{Cause: jobs.CauseHeld, Until: until, Step: open.Name, Message: "another worker may still be making this call"}
	}
	if safe {
		return nil
	}
	return &jobs.Failure{
		Cause: jobs.CauseUnanswered, Step: open.Name, Method: open.Method, Path: open.Path,
		Message: fmt.Sprintf("worker %q ended during the call begun at %s: whether it took effect is not known", open.Worker, open.At.UTC().Format(time.RFC3339)),
	}
}

// begin stores the intent of a call. Of two copies of a job only one can: the
// record is written by compare-and-set.
func (a *attempt) begin(ctx context.Context, intent jobs.Step, timeout time.Duration) *jobs.Failure {
	intent.Open, intent.Attempt, intent.At, intent.Worker = true, a.job.Attempt, a.w.Now().UTC(), a.w.Name
	err := a.keep(ctx, a.effects.With(intent))
	if errors.Is(err, queue.ErrConflict) {
		return a.overtaken(intent.Name, timeout)
	}
	if err != nil {
		return a.broker(ctx, err)
	}
	return nil
}

// overtaken looks at the record that another copy of this job has written in
// the meantime. The copy with the lower generation is stale.
func (a *attempt) overtaken(step string, timeout time.Duration) *jobs.Failure {
	if a.stale() {
		a.settled = true
		return nil
	}
	until := a.w.Now().Add(timeout + intentGrace)
	return &jobs.Failure{Cause: jobs.CauseHeld, Until: until, Step: step, Message: "another copy of this job is at work"}
}

func fatalIn(step string, call rules.Call, err error) *jobs.Failure {
	return &jobs.Failure{Cause: jobs.CauseFatal, Step: step, Method: call.Method, Path: call.Path, Message: err.Error()}
}
