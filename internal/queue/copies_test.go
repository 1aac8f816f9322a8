package queue_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/jobs"
	"bellows/internal/queue"
)

// generation is a later copy of an event, published as it is.
func generation(id string, run, n int) jobs.Job {
	job := event(id)
	job.Run, job.Generation = run, n
	return job
}

func TestAStaleCopyDoesNotPushALaterOneOutOfItsPlace(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("ba01"))
	stale := one(t, q)
	publish(t, q, generation("ba01", 0, 4))
	latest := one(t, q)
	must(t, latest.Delay(t.Context(), generation("ba01", 0, 5), time.Now().Add(300*time.Millisecond)))
	must(t, stale.Delay(t.Context(), generation("ba01", 0, 1), time.Now()))
	d := one(t, q)
	if d.Job.Generation != 5 {
		t.Errorf("the copy that comes back has generation %d, want 5", d.Job.Generation)
	}
	must(t, d.Done(t.Context()))
	none(t, q)
}

func TestTheNextCopyTakesThePlaceOfTheOneBefore(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("ba02"))
	first := one(t, q)
	must(t, first.Delay(t.Context(), generation("ba02", 0, 1), time.Now().Add(time.Hour)))
	publish(t, q, generation("ba02", 1, 0)) // a replay, which is later whatever its generation
	replayed := one(t, q)
	must(t, replayed.Delay(t.Context(), generation("ba02", 1, 1), time.Now()))
	if d := one(t, q); d.Job.Run != 1 {
		t.Errorf("got run %d, want 1", d.Job.Run)
	}
	stats, err := q.Stats(t.Context())
	must(t, err)
	if stats.Delayed != 0 {
		t.Errorf("%d copies wait, want none", stats.Delayed)
	}
}

func TestARecordOfALaterCopyMakesAnEarlierOneStale(t *testing.T) {
	q := newQueue(t)
	for _, test := range []struct {
		name            string
		run, generation int // of the record
		want            bool
	}{
		{"none", 0, 0, false}, {"same copy", 1, 2, false}, {"earlier copy", 1, 1, false}, {"earlier run", 0, 9, false},
		{"later copy", 1, 3, true}, {"later run", 2, 0, true},
	} {
		id := "bb" + test.name[:2] + test.name[len(test.name)-3:]
		_, err := q.SaveEffects(t.Context(), id, jobs.Effects{Run: test.run, Generation: test.generation}, 0, queue.Forever)
		must(t, err)
		trace, err := q.Trace(t.Context(), generation(id, 1, 2))
		must(t, err)
		if trace.Begun != test.want || trace.Gone() != test.want {
			t.Errorf("%s: got %+v, want stale %v", test.name, trace, test.want)
		}
	}
}

func TestOneDeliverySettlesEveryMessageOfItsCopy(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("ba03"))
	d := one(t, q)
	must(t, d.Working())
	// The same copy once more, as when the duplicate window was forgotten.
	must(t, q.NATS().PublishMsg(&nats.Msg{Subject: "bellows.jobs.c0ffee00-1111.event", Header: event("ba03").Header(), Data: event("ba03").Data}))
	other := one(t, q)
	if d.Key() != other.Key() {
		t.Fatalf("keys: %q and %q", d.Key(), other.Key())
	}
	d.Adopt(other)
	must(t, d.Done(t.Context()))
	must(t, d.Done(t.Context())) // settling again after an error is legal
	none(t, q)
	if stats, err := q.Stats(t.Context()); err != nil || stats.Running != 0 {
		t.Errorf("got %+v, %v", stats, err)
	}
}

func TestAcknowledgingAJobThatIsGoneIsNoError(t *testing.T) {
	q, err := queue.Connect(queue.Options{URL: embeddedtest.Run(t).URL(), AckWait: 300 * time.Millisecond})
	must(t, err)
	t.Cleanup(q.Close)
	must(t, q.Ready(t.Context()))
	must(t, q.Setup(t.Context(), 1))
	publish(t, q, event("ba04"))
	slow := one(t, q)
	if got := q.AckWait(); got != 300*time.Millisecond {
		t.Errorf("AckWait: got %s", got)
	}
	fast := one(t, q) // delivered again after AckWait
	if fast.Deaths() != 1 {
		t.Errorf("deaths: got %d, want 1", fast.Deaths())
	}
	must(t, fast.Done(t.Context()))
	must(t, slow.Done(t.Context()))
	none(t, q)
}

func TestAnExistingConsumerKeepsItsAckWait(t *testing.T) {
	s := embeddedtest.Run(t)
	connect(t, s)
	q, err := queue.Connect(queue.Options{URL: s.URL(), AckWait: time.Second})
	must(t, err)
	t.Cleanup(q.Close)
	must(t, q.Ready(t.Context()))
	must(t, q.Setup(t.Context(), 1))
	none(t, q)
	if got := q.AckWait(); got != 30*time.Second {
		t.Errorf("AckWait: got %s, want what the consumer has", got)
	}
}

func TestAMessageThatIsNoJobIsAsOldAsItIs(t *testing.T) {
	q := newQueue(t)
	must(t, q.NATS().Publish("bellows.jobs.c0ffee00-1111.event", []byte("?")))
	d := one(t, q)
	if age := time.Since(d.Job.Since); d.Err == nil || age > time.Minute || age < 0 {
		t.Errorf("got age %s, error %v", age, d.Err)
	}
	must(t, d.Done(t.Context()))
}
