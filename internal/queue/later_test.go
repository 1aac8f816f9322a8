package queue_test

import (
	"testing"
	"time"
)

func TestAJobPublishedForLaterComesOnceAndNotBefore(t *testing.T) {
	q := newQueue(t)
	at := time.Now().Add(500 * time.Millisecond)
	for _, want := range []bool{false, true} {
		duplicate, err := q.PublishAt(t.Context(), event("bb01"), at)
		must(t, err)
		if duplicate != want {
			t.Errorf("duplicate: got %v, want %v", duplicate, want)
		}
	}
	d := one(t, q)
	if time.Now().Before(at) {
		t.Error("the job came before its time")
	}
	if d.Job.ID != "bb01" || d.Deaths() != 0 {
		t.Errorf("got %+v", d.Job)
	}
	must(t, d.Done(t.Context()))
	none(t, q)
	for _, at := range []time.Time{{}, time.Now().Add(-time.Hour)} {
		_, err := q.PublishAt(t.Context(), event("bb02"), at)
		must(t, err)
	}
	must(t, one(t, q).Done(t.Context()))
	none(t, q)
}
