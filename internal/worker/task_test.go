package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/egress"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/worker"
)

// handled runs a worker with a handler beside the rules.
func (w *world) handled(run func(context.Context, *worker.Task) error) *running {
	return w.start(func(c *worker.Config) {
		w.handlers(c)
		c.Handlers = []worker.Handler{{Name: "mine", On: []string{"avi:test:mine", "call:next"}, MaxAttempts: 3, Run: run}}
	})
}

// send makes a call as a REST client does that knows nothing of bellows.
func send(ctx context.Context, task *worker.Task, method, path string) error {
	r, err := http.NewRequestWithContext(ctx, method, path, nil)
	if err != nil {
		return err
	}
	response, err := task.Transport(egress.As{}).RoundTrip(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func TestAHandlersStepsStayFinished(t *testing.T) {
	w := newWorld(t)
	runs, results := atomic.Int32{}, make(chan string, 9)
	w.handled(func(ctx context.Context, task *worker.Task) error {
		for _, name := range []string{"one", "two"} {
			raw, err := task.Step(ctx, name, name == "two", func(ctx context.Context) (json.RawMessage, error) {
				return json.RawMessage(`"` + name + `"`), send(ctx, task, "POST", "/"+name)
			})
			if err != nil {
				return err
			}
			results <- string(raw)
		}
		if runs.Add(1) == 1 {
			return errors.New("not yet")
		}
		return nil
	})
	w.publish(w.job("t1", "test:mine"))
	w.done("t1")
	w.calls("/one", 1)
	w.calls("/two", 1)
	if close(results); len(results) != 4 {
		t.Errorf("got %d results, want 4", len(results))
	}
	for got := range results {
		if got != `"one"` && got != `"two"` {
			t.Errorf("result: got %s", got)
		}
	}
}

func post(ctx context.Context, task *worker.Task) error { return send(ctx, task, "POST", "/post") }

// step does do in a step, and failing does nothing but fail.
func step(safe bool, do func(context.Context, *worker.Task) error) func(context.Context, *worker.Task) error {
	return func(ctx context.Context, task *worker.Task) error {
		_, err := task.Step(ctx, "s", safe, func(ctx context.Context) (json.RawMessage, error) { return nil, do(ctx, task) })
		return err
	}
}

func failing(err error) func(context.Context, *worker.Task) error {
	return func(context.Context, *worker.Task) error { return err }
}

func TestWhatAHandlerReturnsDecides(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, call) bool // to the first call
		first  func(context.Context, *worker.Task) error           // in the first attempt; the others succeed
		dead   jobs.Reason
		number int // of the second attempt
	}{
		"any error":                          {first: failing(errors.New("no")), number: 2},
		"retry after":                        {first: failing(fmt.Errorf("later: %w", &jobs.RetryAfterError{})), number: 1},
		"fatal":                              {first: failing(fmt.Errorf("never: %w", &jobs.FatalError{Err: errors.New("no")})), dead: jobs.ReasonFatal},
		"panic":                              {first: func(context.Context, *worker.Task) error { panic("oh") }, dead: jobs.ReasonFatal},
		"a POST without answer":              {answer: hangUp, first: post, dead: jobs.ReasonUnknownEffect},
		"a POST that is refused for now":     {answer: status(500), first: post, number: 2},
		"502 to a POST in a step":            {answer: status(502), first: step(false, post), dead: jobs.ReasonUnknownEffect},
		"a refused POST in a step":           {answer: status(500), first: step(false, post), number: 2},
		"a POST in a safe step, unanswered":  {answer: hangUp, first: step(true, post), number: 2},
		"an error after the effect":          {first: step(false, func(ctx context.Context, t *worker.Task) error { return errors.Join(post(ctx, t), errors.New("no")) }), dead: jobs.ReasonUnknownEffect},
		"an error that is not the network's": {first: step(false, failing(errors.New("no"))), number: 2},
		"a deadline in an unsafe step":       {first: step(false, failing(context.DeadlineExceeded)), dead: jobs.ReasonUnknownEffect},
		"a URL elsewhere": {first: func(ctx context.Context, task *worker.Task) error {
			return send(ctx, task, "GET", "https://example.com/")
		}, dead: jobs.ReasonFatal},
		"a step in a step": {first: step(true, func(ctx context.Context, task *worker.Task) error { return step(true, post)(ctx, task) }), dead: jobs.ReasonFatal},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if row.answer != nil {
				w.api.set(first(1, row.answer))
			}
			attempts := make(chan int, 9)
			w.handled(func(ctx context.Context, task *worker.Task) error {
				attempts <- task.Job().Attempt
				if len(attempts) == 1 {
					return row.first(ctx, task)
				}
				return nil
			})
			w.publish(w.job("t", "test:mine"))
			if row.dead != "" {
				w.wantLetter("t", row.dead)
			} else {
				w.done("t")
			}
			if close(attempts); row.number > 0 {
				<-attempts
				if got := <-attempts; got != row.number {
					t.Errorf("second attempt: got number %d, want %d", got, row.number)
				}
			}
		})
	}
}

func TestAnOpenIntentOfAHandlersStepIsAnUnknownEffect(t *testing.T) {
	w := newWorld(t)
	w.publish(w.job("t3", "test:mine"))
	w.takeAndDie()
	_, err := w.queue.SaveEffects(t.Context(), "t3", jobs.Effects{Steps: []jobs.Step{{Name: "s", Open: true, Attempt: 1, At: time.Now().Add(-time.Hour)}}}, 0, queue.Forever)
	must(t, err)
	w.handled(func(context.Context, *worker.Task) error { t.Error("the handler runs"); return nil })
	if l := w.wantLetter("t3", jobs.ReasonUnknownEffect); l.Step != "s" {
		t.Errorf("letter: got step %q", l.Step)
	}
}

func TestAHandlerEnqueuesJobsAndTakesThem(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 9)
	w.handled(func(ctx context.Context, task *worker.Task) error {
		if job := task.Job(); job.Kind == jobs.KindCall {
			got <- job.Route + string(job.Data)
			return nil
		}
		for _, want := range []bool{false, true} {
			if _, duplicate, err := task.Enqueue(ctx, egress.FollowUp{Name: "next", Data: []byte(`{"n":1}`), Delay: 300 * time.Millisecond}); err != nil || duplicate != want {
				t.Errorf("enqueue: duplicate %v, want %v; %v", duplicate, want, err)
			}
		}
		return nil
	})
	w.publish(w.job("t4", "test:mine"))
	if text := <-got; text != `next{"n":1}` {
		t.Errorf("got %s", text)
	}
	w.empty()
	if len(got) != 0 {
		t.Error("the follow-up ran twice")
	}
}

func TestHandlersStandBesideRulesAndMustDiffer(t *testing.T) {
	w := newWorld(t)
	ran := make(chan bool, 1)
	w.start(func(c *worker.Config) {
		w.handlers(c)
		c.Handlers = []worker.Handler{{Name: "mine", On: []string{"avi:test:*"}, Run: func(context.Context, *worker.Task) error { ran <- true; return nil }}}
	})
	w.publish(w.job("b1", "test:post"))
	<-ran
	w.calls("/post/"+jobs.RuleID("b1", "post"), 1)
	run := func(context.Context, *worker.Task) error { return nil }
	for want, handlers := range map[string][]worker.Handler{
		"name of a rule": {{Name: "post", On: []string{"avi:a:b"}, Run: run}},
		"two handlers":   {{Name: "a", On: []string{"avi:a:b"}, Run: run}, {Name: "a", On: []string{"avi:a:b"}, Run: run}},
		"is no pattern":  {{Name: "a", On: []string{"a b"}, Run: run}},
		"no pattern":     {{Name: "a", Run: run}},
		"not 1 to 64":    {{Name: "a b", On: []string{"avi:a:b"}, Run: run}},
		"nothing to run": {{Name: "a", On: []string{"avi:a:b"}}},
	} {
		set := compile(t, ruleText)
		if err := worker.CheckHandlers(handlers, set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := worker.New(worker.Config{Queue: w.queue, Handlers: handlers, Rules: set}).Run(t.Context()); err == nil {
			t.Errorf("%s: the worker runs", want)
		}
	}
}

func TestATaskIsGoodUntilItsHandlerReturns(t *testing.T) {
	w := newWorld(t)
	tasks := make(chan *worker.Task, 1)
	w.handled(func(_ context.Context, task *worker.Task) error { tasks <- task; return nil })
	w.publish(w.job("t5", "test:mine"))
	w.done("t5")
	task := <-tasks
	if err := send(t.Context(), task, "GET", "/late"); err == nil {
		t.Error("a call after the attempt is made")
	}
	if _, err := task.Step(t.Context(), "s", true, func(context.Context) (json.RawMessage, error) { return nil, nil }); err == nil {
		t.Error("a step after the attempt is done")
	}
	w.calls("/late", 0)
}
