package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/jobs"
	"bellows/internal/queue"
)

func connect(t *testing.T, s *embedded.Server) *queue.Queue {
	t.Helper()
	q, err := queue.Connect(queue.Options{URL: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	if err := q.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return q
}

func newQueue(t *testing.T) *queue.Queue {
	t.Helper()
	return connect(t, embeddedtest.Run(t))
}

func event(id string) jobs.Job {
	now := time.Now().UTC()
	return jobs.Job{
		ID: id, Installation: "c0ffee00-1111", Kind: jobs.KindEvent, Source: "ari:app", Type: "avi:jira:created:issue",
		Subject: "ari:cloud:ecosystem::installation/c0ffee00-1111", Time: now, Since: now, Attempt: 1,
		Traceparent: "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01", Data: []byte(`{"eventType":"avi:jira:created:issue"}`),
	}
}

func publish(t *testing.T, q *queue.Queue, job jobs.Job) (duplicate bool) {
	t.Helper()
	duplicate, err := q.Publish(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return duplicate
}

// fetch returns the jobs that come within the wait, at most n.
func fetch(t *testing.T, q *queue.Queue, n int, wait time.Duration) []*queue.Delivery {
	t.Helper()
	var got []*queue.Delivery
	if err := q.Fetch(t.Context(), n, wait, func(d *queue.Delivery) { got = append(got, d) }); err != nil {
		t.Fatal(err)
	}
	return got
}

func one(t *testing.T, q *queue.Queue) *queue.Delivery {
	t.Helper()
	got := fetch(t, q, 1, 5*time.Second)
	if len(got) != 1 {
		t.Fatalf("fetched %d jobs, want 1", len(got))
	}
	return got[0]
}

func none(t *testing.T, q *queue.Queue) {
	t.Helper()
	for _, d := range fetch(t, q, 1, 50*time.Millisecond) {
		t.Errorf("job %q is still on the queue", d.Key())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAJobPublishedTwiceIsDeliveredOnceAndUnchanged(t *testing.T) {
	q := newQueue(t)
	job := event("aa01")
	job.History = []jobs.Attempt{{N: 1, At: job.Time, Outcome: "delayed", Error: "bad \"gateway\"\nline"}}
	if publish(t, q, job) {
		t.Error("the first copy is called a duplicate")
	}
	if !publish(t, q, job) {
		t.Error("the second copy is not called a duplicate")
	}
	d := one(t, q)
	if d.Err != nil || d.Job.ID != job.ID || d.Job.Installation != job.Installation || d.Job.Kind != job.Kind ||
		!d.Job.Time.Equal(job.Time) || d.Job.Traceparent != job.Traceparent || string(d.Job.Data) != string(job.Data) {
		t.Errorf("got %+v (%v), want %+v", d.Job, d.Err, job)
	}
	if len(d.Job.History) != 1 || d.Job.History[0].Error != job.History[0].Error {
		t.Errorf("history: got %+v", d.Job.History)
	}
	must(t, d.Done(t.Context()))
	none(t, q)
}

func TestADelayedJobComesBackNotBeforeItsTime(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa02"))
	d := one(t, q)
	next := d.Job
	next.Attempt, next.Generation = 2, 1
	until := time.Now().Add(400 * time.Millisecond)
	must(t, d.Delay(t.Context(), next, until))
	stats, err := q.Stats(t.Context())
	must(t, err)
	if stats.Delayed != 1 || stats.Waiting != 0 || stats.Running != 0 {
		t.Errorf("stats while delayed: got %+v", stats)
	}
	trace, err := q.Trace(t.Context(), d.Job)
	must(t, err)
	if !trace.Delayed || !trace.Gone() {
		t.Errorf("trace of the older copy: got %+v, want it delayed", trace)
	}
	again := one(t, q)
	if time.Now().Before(until) {
		t.Error("the job came before its time")
	}
	if again.Job.Attempt != 2 || again.Job.ID != "aa02" || again.Deaths() != 0 {
		t.Errorf("got %+v with %d deaths", again.Job, again.Deaths())
	}
	trace, err = q.Trace(t.Context(), again.Job)
	must(t, err)
	if trace.Gone() {
		t.Errorf("trace of the copy in hand: got %+v, want nothing", trace)
	}
	// A fired job carries the server's own headers; it must delay again.
	again.Job.Generation = 2
	must(t, again.Delay(t.Context(), again.Job, time.Now()))
	must(t, one(t, q).Done(t.Context()))
	none(t, q)
}

func TestAReturnedJobIsNoCrash(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa03"))
	for range 20 {
		d := one(t, q)
		if d.Deaths() != 0 {
			t.Fatalf("deaths: got %d, want 0", d.Deaths())
		}
		next := d.Job
		next.Generation++
		must(t, d.Return(t.Context(), next))
	}
	must(t, one(t, q).Done(t.Context()))
	none(t, q)
}

func TestWaitingJobsArePumpedInOrderOfAge(t *testing.T) {
	q := newQueue(t)
	for i := range 150 {
		publish(t, q, event(fmt.Sprintf("ab%03d", i)))
	}
	for _, d := range fetch(t, q, 150, 5*time.Second) {
		d.Job.Generation++
		must(t, d.Wait(t.Context(), d.Job))
	}
	held, err := q.Held(t.Context())
	must(t, err)
	if held["c0ffee00-1111"] != 150 {
		t.Fatalf("held: got %v, want 150", held)
	}
	none(t, q)
	// A pump that is told to stop leaves the rest where it is.
	count := 0
	n, err := q.PumpWhile(t.Context(), "c0ffee00-1111", func(jobs.Job) bool { count++; return count <= 2 })
	if err != nil || n != 2 {
		t.Fatalf("first pump: moved %d, %v, want 2", n, err)
	}
	n, err = q.Pump(t.Context(), "c0ffee00-1111")
	if err != nil || n != 148 {
		t.Fatalf("second pump: moved %d, %v, want 148", n, err)
	}
	for i, d := range fetch(t, q, 150, 5*time.Second) {
		if want := fmt.Sprintf("ab%03d", i); d.Job.ID != want {
			t.Fatalf("job %d: got %q, want %q", i, d.Job.ID, want)
		}
		must(t, d.Done(t.Context()))
	}
	held, err = q.Held(t.Context())
	if err != nil || len(held) != 0 {
		t.Errorf("held afterwards: got %v, %v", held, err)
	}
}

func die(t *testing.T, q *queue.Queue, reason jobs.Reason, effects jobs.Effects) {
	t.Helper()
	d := one(t, q)
	f := jobs.Failure{Status: 404, Method: "GET", Path: "/rest/api/3/issue/X-1", Message: "no such issue"}
	must(t, d.Dead(t.Context(), jobs.NewLetter(d.Job, reason, f, effects, time.Now())))
}

func letters(t *testing.T, q *queue.Queue, f queue.Filter) []string {
	t.Helper()
	var ids []string
	for l, err := range q.Letters(t.Context(), f) {
		must(t, err)
		ids = append(ids, l.ID)
	}
	return ids
}

func TestADeadLetterIsReplayedOnce(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa04"))
	die(t, q, jobs.ReasonRejected, jobs.Effects{})
	l, err := q.Letter(t.Context(), "aa04")
	must(t, err)
	if l.Reason != jobs.ReasonRejected || l.Status != 404 || l.Path != "/rest/api/3/issue/X-1" || string(l.Data) != string(event("").Data) ||
		l.Trace != "463ac35c9f6413ad48485a3953bb6124" {
		t.Errorf("letter: got %+v", l)
	}
	trace, err := q.Trace(t.Context(), event("aa04"))
	if err != nil || !trace.Dead {
		t.Errorf("trace of the dead job: got %+v, %v", trace, err)
	}
	must(t, q.Replay(t.Context(), l, time.Now(), false))
	must(t, q.Replay(t.Context(), l, time.Now(), false))
	d := one(t, q)
	if d.Job.Run != 1 || d.Job.Attempt != 1 || d.Job.Type != "avi:jira:created:issue" {
		t.Errorf("replayed job: got %+v", d.Job)
	}
	must(t, d.Done(t.Context()))
	none(t, q)
	if ids := letters(t, q, queue.Filter{}); len(ids) != 0 {
		t.Errorf("letters left: %v", ids)
	}
	if _, err := q.Letter(t.Context(), "aa04"); !errors.Is(err, queue.ErrNoLetter) {
		t.Errorf("reading a removed letter: got %v", err)
	}
}

func TestALaterLetterSurvivesTheRemovalOfAnEarlierOne(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa05"))
	die(t, q, jobs.ReasonFatal, jobs.Effects{})
	first, err := q.Letter(t.Context(), "aa05")
	must(t, err)
	must(t, q.Replay(t.Context(), first, time.Now(), false))
	die(t, q, jobs.ReasonRejected, jobs.Effects{})
	must(t, q.DropLetter(t.Context(), first))
	second, err := q.Letter(t.Context(), "aa05")
	must(t, err)
	if second.Run != 1 || second.Reason != jobs.ReasonRejected {
		t.Errorf("got run %d, reason %q, want 1 and rejected", second.Run, second.Reason)
	}
	// Whoever still has the first letter publishes run 1 again: that run has ended.
	stale, err := first.Replay(time.Now())
	must(t, err)
	trace, err := q.Trace(t.Context(), stale)
	if err != nil || !trace.Dead {
		t.Errorf("trace of the ended run: got %+v, %v, want it dead", trace, err)
	}
}

func TestAReplayKeepsFinishedStepsAndForgetsIntents(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa06"))
	effects := jobs.Effects{Steps: []jobs.Step{{Name: "find", Status: 200}, {Name: "comment", Open: true}}}
	_, err := q.SaveEffects(t.Context(), "aa06", effects, 0, queue.Forever)
	must(t, err)
	die(t, q, jobs.ReasonUnknownEffect, effects)
	l, err := q.Letter(t.Context(), "aa06")
	must(t, err)
	must(t, q.Replay(t.Context(), l, time.Now(), false))
	after, sequence, err := q.Effects(t.Context(), "aa06")
	must(t, err)
	if len(after.Steps) != 1 || after.Steps[0].Name != "find" || after.Run != 1 {
		t.Errorf("effects after the replay: got %+v", after)
	}
	// A second replay must not undo what the first run has begun.
	begun := after.With(jobs.Step{Name: "comment", Open: true})
	_, err = q.SaveEffects(t.Context(), "aa06", begun, sequence, queue.Forever)
	must(t, err)
	must(t, q.Replay(t.Context(), l, time.Now(), false))
	after, _, err = q.Effects(t.Context(), "aa06")
	must(t, err)
	if after.Open() == nil {
		t.Error("a second replay forgot the intent of the first")
	}
}

func TestEffectsAreSavedByCompareAndSet(t *testing.T) {
	q := newQueue(t)
	first, err := q.SaveEffects(t.Context(), "aa07", jobs.Effects{Generation: 1}, 0, queue.Forever)
	must(t, err)
	if _, err := q.SaveEffects(t.Context(), "aa07", jobs.Effects{}, 0, queue.Forever); !errors.Is(err, queue.ErrConflict) {
		t.Errorf("writing over a record: got %v, want a conflict", err)
	}
	if _, err := q.SaveEffects(t.Context(), "aa07", jobs.Effects{Done: true}, first, time.Minute); err != nil {
		t.Error(err)
	}
	trace, err := q.Trace(t.Context(), event("aa07"))
	if err != nil || !trace.Done {
		t.Errorf("trace: got %+v, %v, want it done", trace, err)
	}
}

func TestLettersAreFilteredNewestFirst(t *testing.T) {
	q := newQueue(t)
	for i := range 300 { // more than the first window
		job := event(fmt.Sprintf("ac%03d", i))
		if i%3 == 0 {
			job.Installation, job.Rule = "other", "triage"
		}
		reason := jobs.ReasonRejected
		if i%2 == 0 {
			reason = jobs.ReasonFatal
		}
		must(t, q.SaveLetter(t.Context(), jobs.NewLetter(job, reason, jobs.Failure{}, jobs.Effects{}, time.Now())))
	}
	all := letters(t, q, queue.Filter{})
	if len(all) != 300 || all[0] != "ac299" || all[299] != "ac000" {
		t.Fatalf("all: got %d from %v", len(all), all[:1])
	}
	for _, test := range []struct {
		filter queue.Filter
		want   int
	}{
		{queue.Filter{Reason: "fatal"}, 150}, {queue.Filter{Installation: "other"}, 100}, {queue.Filter{Rule: "triage", Reason: "fatal"}, 50},
		{queue.Filter{Event: "avi:jira:created:issue"}, 300}, {queue.Filter{Event: "x"}, 0},
		{queue.Filter{Since: time.Now().Add(time.Hour)}, 0}, {queue.Filter{Until: time.Now().Add(time.Hour)}, 300},
	} {
		if got := letters(t, q, test.filter); len(got) != test.want {
			t.Errorf("%+v: got %d, want %d", test.filter, len(got), test.want)
		}
	}
	for l, err := range q.Letters(t.Context(), queue.Filter{}) {
		must(t, err)
		if l.ID != "ac299" {
			t.Errorf("first of an interrupted listing: got %q", l.ID)
		}
		break
	}
}

func TestDuplicatesAreKnownOverARestartWhileTheJobIsStored(t *testing.T) {
	dir := t.TempDir()
	s := embeddedtest.RunIn(t, dir, -1)
	publish(t, connect(t, s), event("aa08"))
	s.Shutdown()
	q := connect(t, embeddedtest.RunIn(t, dir, -1))
	if !publish(t, q, event("aa08")) {
		t.Error("the same job after a restart is not called a duplicate")
	}
	must(t, one(t, q).Done(t.Context()))
	none(t, q)
}

func TestPublishingFailsAtOnceWhileNATSIsDownAndWorksAfterwards(t *testing.T) {
	dir := t.TempDir()
	s := embeddedtest.RunIn(t, dir, -1)
	q := connect(t, s)
	port := portOf(t, s.URL())
	s.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := q.Publish(ctx, event("aa09")); err == nil {
		t.Fatal("published without a server")
	}
	embeddedtest.RunIn(t, dir, port)
	must(t, q.Ready(t.Context()))
	publish(t, q, event("aa09"))
}

func TestASmallMaxPayloadIsRefusedWithTheLineThatMendsIt(t *testing.T) {
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1, MaxPayload: 1 << 20})
	must(t, err)
	defer s.Shutdown()
	q, err := queue.Connect(queue.Options{URL: s.URL()})
	must(t, err)
	defer q.Close()
	err = q.Ready(t.Context())
	if !errors.Is(err, queue.ErrPayloadTooSmall) || !strings.Contains(err.Error(), "max_payload: 8388608") {
		t.Errorf("got %v", err)
	}
}

func TestSetupTwiceChangesNothing(t *testing.T) {
	q := newQueue(t)
	publish(t, q, event("aa10"))
	must(t, q.Setup(t.Context(), 1))
	must(t, one(t, q).Done(t.Context()))
}

func portOf(t *testing.T, url string) int {
	t.Helper()
	var port int
	if _, err := fmt.Sscanf(url[strings.LastIndex(url, ":")+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	return port
}
