package worker_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/worker"
)

func TestRunningJobsFinishWithinTheDrainTimeout(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	r := w.start(nil)
	w.publish(w.job("dr", "test:post"))
	w.calls("/post/dr", 1)
	r.stop()
	w.api.release()
	<-r.ended
	w.done("dr")
	w.calls("/post/dr", 1)
}

func TestAtTheEndOfTheDrainCallsAreCut(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	r := w.start(func(c *worker.Config) { c.DrainTimeout = 300 * time.Millisecond })
	w.publish(w.job("safe", "test:get"))
	w.publish(w.job("unsafe", "test:post"))
	w.calls("/look/safe", 1)
	w.calls("/post/unsafe", 1)
	if took := r.drained(); took > 4*time.Second {
		t.Errorf("drained in %s", took)
	}
	l, err := w.queue.Letter(t.Context(), "unsafe")
	must(t, err)
	if l.Reason != jobs.ReasonUnknownEffect {
		t.Errorf("the unsafe job: got reason %q", l.Reason)
	}
	if d := w.takeAndDie(); d.Job.ID != "safe" || d.Job.Attempt != 2 || d.Deaths() != 0 {
		t.Errorf("the safe job: got %q, attempt %d, %d deaths", d.Job.ID, d.Job.Attempt, d.Deaths())
	}
}

// notSent is a call that waits, for a connection say, until it is cut.
func notSent(begun chan<- string) func(context.Context, atlassian.Call) (*atlassian.Answer, error) {
	return func(ctx context.Context, c atlassian.Call) (*atlassian.Answer, error) {
		begun <- c.Path
		<-ctx.Done()
		return nil, &atlassian.Error{Stage: atlassian.NotSent, Method: c.Method, Path: c.Path, Err: ctx.Err()}
	}
}

func TestTwentyReturnsMakeNoCrashAndNoAttempt(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("tw", "test:post"))
	for range 20 {
		begun := make(chan string, 1)
		r := w.start(func(c *worker.Config) { c.Call, c.Concurrency, c.DrainTimeout = notSent(begun), 1, -1 })
		<-begun
		r.drained()
	}
	d := w.takeAndDie()
	if d.Job.Attempt != 1 || d.Job.Generation != 20 || d.Deaths() != 0 {
		t.Errorf("got attempt %d, generation %d, %d deaths", d.Job.Attempt, d.Job.Generation, d.Deaths())
	}
	if open := w.effects("tw"); open.Open() != nil {
		t.Error("an intent is left of a call that was not sent")
	}
}

func TestJobsThatArriveWhileStoppingAreReturnedOnceWithoutADeath(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	r := w.start(func(c *worker.Config) { c.Concurrency = 32 })
	w.publish(w.job("in-hand", "test:get"))
	w.calls("/look/in-hand", 1)
	r.stop() // its request for jobs is still open
	for i := range 20 {
		job := w.job(fmt.Sprintf("late%d", i), "test:patient")
		job.Since = time.Now().Add(-30 * time.Hour) // old, and its rule allows it
		w.publish(job)
	}
	w.eventually(5*time.Second, func() string {
		if n := r.Running(); n != 1 {
			return fmt.Sprintf("%d jobs in hand, want the one that runs", n)
		}
		if s := w.stats(); s.Waiting != 20 {
			return fmt.Sprintf("want 20 waiting jobs, got %+v", s)
		}
		return ""
	})
	w.api.release()
	<-r.ended
	n := 0
	must(t, w.queue.Fetch(t.Context(), 20, 5*time.Second, func(d *queue.Delivery) {
		n++
		if d.Deaths() != 0 || d.Job.Attempt != 1 || d.Job.Generation > 1 {
			t.Errorf("job %s: %d deaths, attempt %d, generation %d", d.Job.ID, d.Deaths(), d.Job.Attempt, d.Job.Generation)
		}
	}))
	if n != 20 {
		t.Errorf("%d jobs are back on the queue, want 20", n)
	}
	if dead := w.stats().Dead; dead != 0 {
		t.Errorf("dead letters: %d", dead)
	}
}

func (w *world) port() int {
	u, err := url.Parse(w.nats.URL())
	must(w.t, err)
	port, err := strconv.Atoi(u.Port())
	must(w.t, err)
	return port
}

func TestSettlingSurvivesARestartOfNATS(t *testing.T) {
	w := newWorld(t)
	port := w.port()
	w.api.set(w.api.waitAtGate)
	w.start(nil)
	ids := []string{"na", "nb", "nc"}
	for i, id := range ids {
		w.publish(w.job(id, []string{"test:post", "test:get", "test:chain"}[i]))
	}
	w.calls("/post/na", 1)
	w.calls("/look/nb", 1)
	w.calls("/find/nc", 1)
	w.nats.Shutdown()
	w.api.release()
	w.nats = embeddedtest.RunIn(t, w.dir, port)
	must(t, w.queue.Ready(t.Context()))
	for _, id := range ids {
		w.eventually(20*time.Second, func() string {
			if !w.effects(id).Done {
				return id + " is not done"
			}
			return ""
		})
	}
	w.empty()
	w.calls("/post/na", 1)
	w.calls("/make/nc", 1)
}

func TestADeletedConsumerIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	w.publish(w.job("b1", "test:get"))
	w.done("b1")
	_, err := w.queue.NATS().Request("$JS.API.CONSUMER.DELETE.BELLOWS_JOBS.workers", nil, 5*time.Second)
	must(t, err)
	w.publish(w.job("b2", "test:get"))
	w.calls("/look/b2", 1)
	w.done("b2")
}

func TestNoMoreJobsRunThanThereAreSlots(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	r := w.start(func(c *worker.Config) { c.Concurrency = 8 })
	for i := range 40 {
		w.publish(w.job(fmt.Sprintf("sl%d", i), "test:get"))
	}
	w.eventually(10*time.Second, func() string {
		if n := r.Running(); n != 8 {
			return fmt.Sprintf("%d jobs run, want 8", n)
		}
		return ""
	})
	if s := w.stats(); s.Running != 8 || s.Waiting != 32 {
		t.Errorf("got %+v, want no job taken without a slot", s)
	}
	w.api.release()
	w.empty()
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	if w.api.most > 8 {
		t.Errorf("%d calls at once, want at most 8", w.api.most)
	}
}

func TestAnIdleWorkerTakesAJobAtOnce(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	var quickest time.Duration
	for i := range 5 {
		id := fmt.Sprintf("id%d", i)
		start := time.Now()
		w.publish(w.job(id, "test:get"))
		took := w.calls("/look/"+id, 1)[0].at.Sub(start)
		if took > time.Second {
			t.Errorf("job %d was begun after %s", i, took)
		}
		if quickest == 0 || took < quickest {
			quickest = took
		}
		w.empty()
	}
	if quickest > 50*time.Millisecond {
		t.Errorf("the quickest job was begun after %s, want milliseconds", quickest)
	}
}

func TestManyJobsByManyWorkersAreCalledOnceEach(t *testing.T) {
	w := newWorld(t)
	for n := range 3 {
		w.start(func(c *worker.Config) { c.Name = fmt.Sprint("worker-", n) })
	}
	var publishing sync.WaitGroup
	for n := range 4 {
		publishing.Go(func() {
			for i := range 50 {
				w.publish(w.job(fmt.Sprintf("x%d-%d", n, i), "test:post"))
			}
		})
	}
	publishing.Wait()
	w.empty()
	for n := range 4 {
		for i := range 50 {
			w.calls(fmt.Sprintf("/post/x%d-%d", n, i), 1)
		}
	}
}
