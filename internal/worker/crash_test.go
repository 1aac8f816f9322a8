package worker_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/worker"
)

func TestARedeliveredJobWithADoneMarkIsNotRun(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("c1", "test:get"))
	w.takeAndDie() // after its call, before its acknowledgement
	must(t, w.queue.MarkDone(t.Context(), "c1", jobs.Effects{Done: true}, time.Minute))
	w.start(nil)
	w.done("c1")
	w.calls("/look/c1", 0)
}

func TestARedeliveredSafeJobIsRepeated(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("c2", "test:get"))
	w.takeAndDie()
	w.start(nil)
	w.calls("/look/c2", 1)
	w.done("c2")
}

func intent(at time.Time) jobs.Effects {
	return jobs.Effects{Steps: []jobs.Step{{Name: "post", Open: true, Attempt: 1, At: at, Worker: "another", Method: "POST", Path: "/post"}}}
}

func TestAnOldOpenIntentIsAnUnknownEffectAndNeverSentAgain(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("c3", "test:post"))
	w.takeAndDie()
	_, err := w.queue.SaveEffects(t.Context(), "c3", intent(time.Now().Add(-time.Hour)), 0, queue.Forever)
	must(t, err)
	w.start(nil)
	l := w.wantLetter("c3", jobs.ReasonUnknownEffect)
	if len(l.Steps) != 1 || !l.Steps[0].Open || l.Step != "post" {
		t.Errorf("letter: got step %q, steps %+v", l.Step, l.Steps)
	}
	w.calls("/post/c3", 0)
}

func TestWhileAnotherWorkerMayStillBeCallingTheJobIsDelayed(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("c4", "test:post"))
	w.takeAndDie()
	_, err := w.queue.SaveEffects(t.Context(), "c4", intent(time.Now()), 0, queue.Forever)
	must(t, err)
	r := w.start(nil)
	w.delayed()
	w.calls("/post/c4", 0)
	r.drained()
	// Once it cannot be any more, the job has an unknown effect.
	w.start(func(c *worker.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	later := w.job("c4", "test:post")
	later.Generation = 1
	w.publish(later)
	w.eventually(10*time.Second, func() string {
		if w.stats().Dead != 1 {
			return "the job is not dead"
		}
		return ""
	})
	w.calls("/post/c4", 0)
}

func TestAnUnansweredUnsafeCallKeepsItsIntentOverAReplayDecision(t *testing.T) {
	w := newWorld(t)
	w.api.set(first(1, hangUp))
	w.start(nil)
	w.publish(w.job("c5", "test:post"))
	w.wantLetter("c5", jobs.ReasonUnknownEffect)
	w.calls("/post/c5", 1)
	l, err := w.queue.Letter(t.Context(), "c5")
	must(t, err)
	for range 3 { // a person decides to send it again, once
		must(t, w.queue.Replay(t.Context(), l, time.Now(), false))
	}
	w.calls("/post/c5", 2)
	w.done("c5")
	if e := w.effects("c5"); e.Run != 1 {
		t.Errorf("run: got %d, want 1", e.Run)
	}
}

func TestAReplayStartsBehindFinishedStepsUnlessToldOtherwise(t *testing.T) {
	w := newWorld(t)
	w.api.set(func(out http.ResponseWriter, r *http.Request, c call) bool {
		return c.method == "PUT" && len(w.api.made(c.path)) == 1 && status(404)(out, r, c)
	})
	w.start(nil)
	for id, fromStart := range map[string]bool{"r1": false, "r2": true} {
		w.publish(w.job(id, "test:chain"))
		w.wantLetter(id, jobs.ReasonRejected)
		l, err := w.queue.Letter(t.Context(), id)
		must(t, err)
		must(t, w.queue.Replay(t.Context(), l, time.Now(), fromStart))
		w.calls("/mark/"+id, 2)
		w.done(id)
	}
	w.calls("/make/r1", 1)
	w.calls("/make/r2", 2)
}

func TestAStaleCopyEndsWhenALaterOneWaits(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("c6", "test:post"))
	w.takeAndDie() // it stored a later copy and died before it acknowledged this one
	later := w.job("c6", "test:post")
	later.Generation = 1
	w.publish(later)
	d := w.takeAndDie()
	later.Generation, later.Attempt = 2, 2
	must(t, d.Delay(t.Context(), later, time.Now().Add(3*time.Second)))
	w.start(nil)
	if got := w.calls("/post/c6", 1)[0].body; got != `{"attempt":2}` {
		t.Errorf("got %s: the stale copy ran", got)
	}
	w.done("c6")
}

func TestOfTwoLiveCopiesOneMakesTheUnsafeCall(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	w.start(nil)
	w.publish(w.job("c7", "test:post"))
	w.calls("/post/c7", 1)
	w.start(func(c *worker.Config) { c.Name = "another" })
	for generation := 1; generation <= 3; generation++ {
		copied := w.job("c7", "test:post")
		copied.Generation = generation
		w.publish(copied)
	}
	w.eventually(10*time.Second, func() string {
		if s := w.stats(); s.Delayed != 1 || s.Running != 1 || s.Waiting != 0 {
			return "the other copies do not wait"
		}
		return ""
	})
	w.api.release()
	w.eventually(10*time.Second, func() string {
		if !w.effects("c7").Done {
			return "the job is not done"
		}
		return ""
	})
	w.calls("/post/c7", 1)
}

func TestFiveDeathsMakeAJobCrashedBeforeItRunsAgain(t *testing.T) {
	w := newWorld(t)
	job := w.job("k1", "test:get")
	job.Deaths = 4
	w.publish(job)
	w.takeAndDie()
	w.start(nil)
	w.wantLetter("k1", jobs.ReasonCrashed)
	w.calls("/look/k1", 0)
}

func TestAJobThatIsDoneDoesNotCrash(t *testing.T) {
	w := newWorld(t)
	job := w.job("k2", "test:get")
	job.Deaths = 4
	w.publish(job)
	w.takeAndDie()
	must(t, w.queue.MarkDone(t.Context(), "k2", jobs.Effects{Done: true}, time.Minute))
	w.start(nil)
	w.done("k2")
}

func TestTheThirdDeliveryRunsAlone(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	r := w.start(nil)
	w.publish(w.job("beside", "test:get"))
	w.calls("/look/beside", 1)
	poison := w.job("poison", "test:post")
	poison.Deaths = 2
	w.publish(poison)
	w.eventually(10*time.Second, func() string {
		if r.Running() != 2 {
			return "the worker does not hold both jobs"
		}
		return ""
	})
	w.publish(w.job("after", "test:get"))
	w.eventually(10*time.Second, func() string {
		if w.stats().Delayed != 1 {
			return "the job after it is not put aside"
		}
		return ""
	})
	w.calls("/post/poison", 0)
	w.calls("/look/after", 0)
	w.api.release()
	w.calls("/look/after", 1)
	w.calls("/post/poison", 1)
	w.empty()
}

func TestALongJobIsReportedAndNotGivenToAnother(t *testing.T) {
	w := newWorld(t)
	w.api.set(w.api.waitAtGate)
	w.start(nil)
	w.start(func(c *worker.Config) { c.Name = "another" })
	w.publish(w.job("l1", "test:get"))
	began := w.calls("/look/l1", 1)[0].at
	w.eventually(10*time.Second, func() string {
		if time.Since(began) < 3*ackWait {
			return "it has not run for long yet"
		}
		return ""
	})
	w.api.release()
	w.done("l1")
	w.calls("/look/l1", 1)
}

func TestAnIntentWhoseConfirmationIsLostIsNoUnknownEffect(t *testing.T) {
	w := newWorld(t)
	p := newProxy(t, w.nats.URL())
	w.start(func(c *worker.Config) {
		q, err := queue.Connect(queue.Options{URL: p.url(), AckWait: ackWait})
		must(t, err)
		t.Cleanup(q.Close)
		must(t, q.Ready(t.Context()))
		c.Queue = q
		find := c.Installation
		c.Installation = func(ctx context.Context, id string, atLeast uint64) (installations.Installation, error) {
			p.mute() // what is stored from here on is not confirmed
			return find(ctx, id, atLeast)
		}
	})
	w.publish(w.job("i1", "test:post"))
	w.eventually(10*time.Second, func() string {
		if e := w.effects("i1"); e.Open() == nil {
			return "the intent is not stored"
		}
		return ""
	})
	w.calls("/post/i1", 0)
	p.heal()
	if got := w.calls("/post/i1", 1)[0].body; got != `{"attempt":1}` {
		t.Errorf("got %s, want the first attempt", got)
	}
	w.done("i1")
}
