package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

const (
	// storeTimeout bounds one try to reach NATS.
	storeTimeout = 5 * time.Second
	// storePause is the first wait between tries; it doubles up to storePauseMax.
	storePause    = 100 * time.Millisecond
	storePauseMax = 2 * time.Second
	// lastTries is how long settling is tried after the drain has ended. What
	// is not settled then is delivered again after queue.AckWait.
	lastTries = 5 * time.Second
)

// settle decides what becomes of the job and makes it so.
func (w *Worker) settle(ctx context.Context, a *attempt, f *jobs.Failure) {
	if a.settled {
		a.persistOrLog(ctx, "taking a job off the queue", a.d.Done)
		return
	}
	now := w.Now()
	decision := jobs.Decide(f, a.job, a.limits(), now, w.Random())
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
		w.held.note(next.Installation)
	case jobs.ActionReturn:
		next := a.next(decision, nil, now)
		a.persistOrLog(ctx, "returning a job", func(ctx context.Context) error { return a.d.Return(ctx, next) })
	}
}

// next is the copy of the job that goes on later.
func (a *attempt) next(d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Job {
	next := a.job
	next.Generation++
	next.Deaths = a.d.Deaths()
	if f != nil {
		next.Remember(entry(a.job, d, f, now))
	}
	if d.Counts {
		next.Attempt++
		next.Deaths = 0 // the job came to an outcome: it kills no worker
	}
	return next
}

func entry(job jobs.Job, d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Attempt {
	return jobs.Attempt{
		N: job.Attempt, At: now.UTC(), Outcome: d.String(), Step: f.Step, Status: f.Status, Method: f.Method, Path: f.Path, Error: f.Message,
	}
}

func (a *attempt) letter(ctx context.Context, d jobs.Decision, f *jobs.Failure, now time.Time) jobs.Letter {
	if !a.known {
		effects, _, err := a.w.Queue.Effects(ctx, a.job.ID)
		if err != nil {
			a.w.log.Warn("reading the steps of a dead job failed: its letter has none", "job", a.job.ID, "error", err)
		}
		a.effects = effects
	}
	job := a.job
	job.Deaths = a.d.Deaths()
	job.Remember(entry(job, d, f, now))
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

func (a *attempt) persistOrLog(ctx context.Context, doing string, store func(context.Context) error) {
	if err := a.persist(ctx, store); err != nil {
		a.w.log.Error(doing+" failed: it will be delivered again", "job", a.job.ID, "error", err)
	}
}

// persist tries until JetStream has confirmed, through lost connections too,
// for as long as the worker lives and lastTries more. A conflict is an answer,
// not a failure to reach NATS.
func (a *attempt) persist(ctx context.Context, store func(context.Context) error) error {
	var deadline <-chan time.Time
	cut := ctx.Done()
	base := context.WithoutCancel(ctx)
	for pause := storePause; ; pause = min(2*pause, storePauseMax) {
		try, cancel := context.WithTimeout(base, storeTimeout)
		err := store(try)
		cancel()
		if err == nil || errors.Is(err, queue.ErrConflict) {
			return err
		}
		a.w.log.Warn("reaching NATS failed, trying again", "job", a.job.ID, "error", err)
		select {
		case <-cut:
			cut = nil
			deadline = time.After(lastTries)
		case <-deadline:
			return err
		case <-time.After(pause):
		}
	}
}
