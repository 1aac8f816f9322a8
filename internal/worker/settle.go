package worker

import (
	"context"
	"log/slog"
	"time"

	"bellows/internal/jobs"
)

// userTokenWait is how long a job waits for the next token of the user it acts
// as. Tokens of users come only when they call; nothing wakes their jobs.
const userTokenWait = time.Minute

// settle decides what becomes of the job and makes it so.
func (w *Worker) settle(ctx context.Context, a *attempt, f *jobs.Failure) {
	if a.settled {
		a.persistOrLog(ctx, "taking a job off the queue", a.d.Done)
		return
	}
	now := w.Now()
	decision := jobs.Decide(f, a.job, a.limits(), now, w.Random())
	if decision.Action == jobs.ActionWait && a.asUser {
		decision = jobs.Decision{Action: jobs.ActionDelay, Until: now.Add(userTokenWait)}
	}
	w.metrics.outcome(decision)
	a.tell(decision, f)
	switch decision.Action {
	case jobs.ActionDone:
		a.persistOrLog(ctx, "acknowledging a job", a.d.Done)
	case jobs.ActionDead:
		letter := a.letter(ctx, decision, f, now)
		a.persistOrLog(ctx, "storing a dead letter", func(ctx context.Context) error { return a.d.Dead(ctx, letter) })
	case jobs.ActionDelay:
		next := a.next(decision, f, now)
		a.persistOrLog(ctx, "delaying a job", func(ctx context.Context) error { return a.d.Delay(ctx, next, decision.Until) })
	case jobs.ActionWait:
		next := a.next(decision, f, now)
		a.persistOrLog(ctx, "holding a job", func(ctx context.Context) error { return a.d.Wait(ctx, next) })
		a.leaveTrace(ctx, next)
		w.held.note(ctx, next.Installation)
	case jobs.ActionReturn:
		next := a.next(decision, nil, now)
		a.persistOrLog(ctx, "returning a job", func(ctx context.Context) error { return a.d.Return(ctx, next) })
	}
}

// leaveTrace notes in the job's record that a later copy exists. A waiting copy
// cannot be found by the job's id, and after a restart JetStream does not know
// its message id for the job's either, so a redelivery of Forge's would look
// like a new event. When the note fails, or another copy was faster, nothing is
// worse than without it.
func (a *attempt) leaveTrace(ctx context.Context, next jobs.Job) {
	if !a.known {
		return
	}
	try, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	noted := a.effects
	noted.Run, noted.Generation = next.Run, next.Generation
	if _, err := a.w.Queue.SaveEffects(try, a.job.ID, noted, a.sequence, a.recordKept()); err != nil {
		a.w.log.Debug("noting that a job waits failed", "job", a.job.ID, "error", err)
	}
}

// next is the copy of the job that goes on later.
func (a *attempt) next(d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Job {
	next := a.job
	next.Generation++
	next.Deaths = a.d.Deaths()
	if f != nil {
		next.Remember(a.entry(a.job, d, f, now))
	}
	if d.Counts {
		next.Attempt++
		next.Deaths = 0 // the job came to an outcome: it kills no worker
	}
	return next
}

func (a *attempt) entry(job jobs.Job, d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Attempt {
	return jobs.Attempt{
		N: job.Attempt, At: now.UTC(), Outcome: d.String(), Step: f.Step, Status: f.Status, Method: f.Method, Path: f.Path, Error: f.Message, Rules: a.set.version(),
	}
}

func (a *attempt) letter(ctx context.Context, d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Letter {
	if !a.known {
		if err := a.persist(ctx, a.read); err != nil {
			a.w.log.Warn("reading the steps of a dead job failed: its letter has none", "job", a.job.ID, "error", err)
		}
	}
	job := a.job
	job.Deaths = a.d.Deaths()
	job.Remember(a.entry(job, d, f, now))
	return jobs.NewLetter(job, d.Reason, *f, a.effects, now)
}

// tell logs the outcome: nothing but a debug line for what is done.
func (a *attempt) tell(d jobs.Decision, f *jobs.Failure) {
	level := slog.LevelInfo
	switch d.Action {
	case jobs.ActionDone:
		level = slog.LevelDebug
	case jobs.ActionDead:
		level = slog.LevelWarn
	}
	attrs := []any{
		"job", a.job.ID, "event", a.job.Type, "installation", a.job.Installation, "rule", a.job.Rule, "attempt", a.job.Attempt,
		"trace", jobs.TraceID(a.job.Traceparent),
	}
	if f != nil {
		attrs = append(attrs, "step", f.Step, "status", f.Status, "method", f.Method, "path", f.Path, "error", f.Message)
	}
	if d.Action == jobs.ActionDelay {
		attrs = append(attrs, "until", d.Until.UTC().Format(time.RFC3339Nano))
	}
	a.w.log.Log(context.Background(), level, "job "+d.String(), attrs...)
}
