package worker_test

import (
	"fmt"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

func (w *world) effects(id string) jobs.Effects {
	w.t.Helper()
	var e jobs.Effects
	w.eventually(15*time.Second, func() string { // a server that was just started may not answer
		var err error
		if e, _, err = w.queue.Effects(w.t.Context(), id); err != nil {
			return err.Error()
		}
		return ""
	})
	return e
}

// letter waits for the dead letter of a job.
func (w *world) letter(id string) jobs.Letter {
	w.t.Helper()
	var l queue.StoredLetter
	w.eventually(15*time.Second, func() string {
		var err error
		if l, err = w.queue.Letter(w.t.Context(), id); err != nil {
			return err.Error()
		}
		return ""
	})
	w.empty()
	return l.Letter
}

func (w *world) wantLetter(id string, reason jobs.Reason) jobs.Letter {
	w.t.Helper()
	l := w.letter(id)
	if l.Reason != reason {
		w.t.Errorf("dead letter: got reason %q (%s), want %q", l.Reason, l.Error, reason)
	}
	return l
}

func (w *world) stats() queue.Stats {
	w.t.Helper()
	var s queue.Stats
	w.eventually(15*time.Second, func() string {
		var err error
		if s, err = w.queue.Stats(w.t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
	return s
}

// empty waits until no job is in any lane.
func (w *world) empty() {
	w.t.Helper()
	w.eventually(15*time.Second, func() string {
		s := w.stats()
		s.Dead = 0
		if s != (queue.Stats{}) {
			return fmt.Sprintf("jobs on their way: %+v", s)
		}
		return ""
	})
}

// done waits until the job has a done mark and nothing is on the queue.
func (w *world) done(id string) {
	w.t.Helper()
	w.eventually(15*time.Second, func() string {
		if !w.effects(id).Done {
			return "job " + id + " has no done mark"
		}
		return ""
	})
	w.empty()
	if n := w.stats().Dead; n != 0 {
		w.t.Errorf("dead letters: got %d, want none", n)
	}
}

// delayed waits until one job waits for its time.
func (w *world) delayed() {
	w.t.Helper()
	w.eventually(10*time.Second, func() string {
		if s := w.stats(); s.Delayed != 1 || s.Running != 0 {
			return fmt.Sprintf("want one delayed job, got %+v", s)
		}
		return ""
	})
}

func (w *world) eventually(within time.Duration, holds func() string) {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for {
		missing := holds()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not within %s: %s", within, missing)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// calls waits until there were n calls of a path, and checks that there are no
// more.
func (w *world) calls(path string, n int) []call {
	w.t.Helper()
	w.eventually(15*time.Second, func() string {
		if got := len(w.api.made(path)); got < n {
			return fmt.Sprintf("%s was called %d times, want %d", path, got, n)
		}
		return ""
	})
	got := w.api.made(path)
	if len(got) != n {
		w.t.Errorf("%s was called %d times, want %d", path, len(got), n)
	}
	return got
}
