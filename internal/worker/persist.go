package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

const (
	// storeTimeout bounds one try to reach NATS. A server that was just started
	// again may never answer what it was asked first.
	storeTimeout = 2 * time.Second
	// storePause is the first wait between tries; it doubles up to storePauseMax.
	storePause    = 100 * time.Millisecond
	storePauseMax = 2 * time.Second
	// lastTries is how long settling is tried after the drain has ended. What
	// is not settled then is delivered again after the queue's AckWait.
	lastTries = 5 * time.Second
	// askFor is how long a question is asked before the attempt is given up.
	// What the answer decides has not begun then.
	askFor = 30 * time.Second
)

// repeat does a thing until it succeeds or goes on makes no sense: ctx ends,
// or the answer is one that another try does not change.
func (w *Worker) repeat(ctx context.Context, job string, do func(context.Context) error) error {
	for pause := storePause; ; pause = min(2*pause, storePauseMax) {
		try, cancel := context.WithTimeout(ctx, storeTimeout)
		err := do(try)
		cancel()
		if err == nil || errors.Is(err, queue.ErrConflict) || ctx.Err() != nil {
			return err
		}
		w.log.Warn("reaching NATS failed, trying again", "job", job, "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// persist tries until JetStream has confirmed, through lost connections too,
// for as long as the worker lives and lastTries more, whatever becomes of the
// job's own context. A conflict is an answer, not a failure to reach NATS.
func (a *attempt) persist(ctx context.Context, store func(context.Context) error) error {
	kept, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(a.w.last, cancel)()
	return a.w.repeat(kept, a.job.ID, store)
}

func (a *attempt) persistOrLog(ctx context.Context, doing string, store func(context.Context) error) {
	if err := a.persist(ctx, store); err != nil {
		a.w.log.Error(doing+" failed: it will be delivered again", "job", a.job.ID, "error", err)
	}
}

// ask is persist for a question that comes before anything was begun: it ends
// with the job's context, and after askFor.
func (a *attempt) ask(ctx context.Context, question func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return a.w.repeat(ctx, a.job.ID, question)
}

// read reads the job's record.
func (a *attempt) read(ctx context.Context) error {
	effects, sequence, err := a.w.Queue.Effects(ctx, a.job.ID)
	if err == nil {
		a.effects, a.sequence, a.known = effects, sequence, true
	}
	return err
}

// keep writes the job's record over the one that was read, and is sure of the
// outcome: a try whose answer was lost is followed by another, which then
// finds the first one's record and no foreign one. After ErrConflict a.effects
// is what another copy of the job has written.
func (a *attempt) keep(ctx context.Context, next jobs.Effects) error {
	next.Run, next.Generation = a.job.Run, a.job.Generation
	err := a.persist(ctx, func(ctx context.Context) error {
		sequence, err := a.w.Queue.SaveEffects(ctx, a.job.ID, next, a.sequence, a.recordKept())
		if err == nil {
			a.effects, a.sequence, a.dirty = next, sequence, false
		}
		return err
	})
	if !errors.Is(err, queue.ErrConflict) {
		return err
	}
	a.dirty = false // what is stored is another's, or this one
	if lost := a.persist(ctx, a.read); lost != nil {
		return lost
	}
	if sameRecord(a.effects, next) {
		return nil
	}
	return err
}

// recordKept is how long a record of steps is kept: longer than the job can
// live, and than its dead letter. Each write starts it anew.
func (a *attempt) recordKept() time.Duration { return a.limits().MaxAge + queue.LetterAge }

func sameRecord(a, b jobs.Effects) bool {
	first, err := json.Marshal(a)
	if err != nil {
		return false
	}
	second, err := json.Marshal(b)
	return err == nil && bytes.Equal(first, second)
}

// markDone keeps the mark that stops a later copy of this job from running. It
// goes over whatever other copies of the same run have written, and never over
// the record of a later run.
func (a *attempt) markDone(ctx context.Context) error {
	done := a.effects
	done.Done, done.Run, done.Generation = true, a.job.Run, a.job.Generation
	for i := range done.Steps {
		s := &done.Steps[i]
		s.Header, s.Body, s.Result, s.Results = nil, nil, nil, nil // nobody needs them any more
	}
	keep := doneKept
	if a.job.Run > 0 {
		keep = queue.RunKept // its letter may be replayed again as long as it is there
	}
	if !a.known {
		return a.persist(ctx, func(ctx context.Context) error { return a.w.Queue.MarkDone(ctx, a.job.ID, done, keep) })
	}
	for {
		err := a.persist(ctx, func(ctx context.Context) error {
			_, err := a.w.Queue.SaveEffects(ctx, a.job.ID, done, a.sequence, keep)
			return err
		})
		if !errors.Is(err, queue.ErrConflict) {
			return err
		}
		if err := a.persist(ctx, a.read); err != nil {
			return err
		}
		if a.effects.Run > a.job.Run || a.effects.Run == a.job.Run && a.effects.Done {
			return nil
		}
	}
}
