package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

// asideWait is how long a job is put aside while another must run alone.
const asideWait = time.Second

// deliver carries out one delivery and settles it.
func (w *Worker) deliver(ctx context.Context, d *queue.Delivery) {
	if !w.hold(d) {
		return // this very copy is in hand already: it lives, and settles itself
	}
	defer w.release(d)
	a := w.attempt(d)
	switch {
	case w.stopping.Load():
		// It was on its way when the stop came, and has not begun. While
		// requests for jobs are open it would only come back.
		<-w.quiet
		w.settle(ctx, a, &jobs.Failure{Cause: jobs.CauseShutdown, Message: "worker is stopping"})
		return
	case d.Deaths() >= jobs.MaxDeaths:
		w.settle(ctx, a, a.crashed(ctx))
		return
	}
	leave, ok := w.join(d)
	if !ok {
		w.putAside(ctx, a)
		return
	}
	defer leave()
	w.settle(ctx, a, w.runSafely(ctx, a))
}

// crashed ends a job that was in the hands of too many dying workers, unless
// it has ended already and only its acknowledgement was lost.
func (a *attempt) crashed(ctx context.Context) *jobs.Failure {
	gone, f := a.trace(ctx)
	switch {
	case gone:
		return nil
	case f != nil && f.Cause == jobs.CauseShutdown:
		return f
	case f != nil: // not an attempt: the deaths must stay counted
		return &jobs.Failure{Cause: jobs.CauseHeld, Until: a.w.Now().Add(asideWait), Message: f.Message}
	}
	return &jobs.Failure{Cause: jobs.CauseCrashed, Message: fmt.Sprintf("%d workers died holding the job", a.d.Deaths())}
}

// hold notes that the delivery is in hand. It returns false for a second
// delivery of a copy that is.
func (w *Worker) hold(d *queue.Delivery) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if earlier, ok := w.running[d.Key()]; ok {
		earlier.Adopt(d)
		return false
	}
	w.running[d.Key()] = d
	w.metrics.Running.Inc()
	return true
}

func (w *Worker) release(d *queue.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, d.Key())
	w.metrics.Running.Dec()
}

// join lets the job run beside the others, or alone when workers have died
// with it. It returns false when it cannot run here now.
func (w *Worker) join(d *queue.Delivery) (leave func(), ok bool) {
	if d.Deaths() < jobs.AloneAfter {
		return w.crowd.leave, w.crowd.enter()
	}
	if !w.crowd.enterAlone() {
		return nil, false
	}
	w.log.Warn("running a job alone: workers died holding it", "job", d.Job.ID, "deaths", d.Deaths())
	return w.crowd.leaveAlone, true
}

// putAside delays a job for a moment, so that it is not beside one that may
// take this worker down.
func (w *Worker) putAside(ctx context.Context, a *attempt) {
	until := w.Now().Add(asideWait + time.Duration(w.Random()*float64(asideWait)))
	w.settle(ctx, a, &jobs.Failure{Cause: jobs.CauseHeld, Until: until, Message: "another job runs alone"})
}

// runSafely turns a panic into a fatal failure: the job is at fault, the
// worker lives on.
func (w *Worker) runSafely(ctx context.Context, a *attempt) (f *jobs.Failure) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("job panicked", "job", a.job.ID, "rule", a.job.Rule, "panic", p, "stack", string(debug.Stack()))
			f = &jobs.Failure{Cause: jobs.CauseFatal, Message: fmt.Sprintf("panic: %v", p)}
		}
	}()
	return a.run(ctx)
}
