package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/rules"
)

// keepEvery is how often the finished items of a step that may be repeated are
// stored while it goes on: a crash repeats that much.
const keepEvery = time.Second

// stepRun is a step on its way through the items of its list; a step without
// one has a single item, the job.
//
// Items are carried out in order, so how many are finished says which: a list
// of thousands makes a short record. The end of one item and the intent of the
// next are one write.
type stepRun struct {
	a      *attempt
	step   *rules.Step
	last   bool // nobody needs its result
	silent bool // its end goes without a record: the job's done mark says it

	record  jobs.Step // what is finished of it
	results []map[string]any
	size    int       // of the results in the record, bytes
	stored  time.Time // when the record was stored last
}

// run carries out what is not finished of the step, and gives its result to
// the steps after it.
func (s *stepRun) run(ctx context.Context) *jobs.Failure {
	s.record, s.stored = jobs.Step{Name: s.step.Name(), Partial: true}, time.Now()
	if old := s.a.effects.Find(s.step.Name()); old != nil && !old.Open {
		s.record = *old
	}
	if err := s.recall(); err != nil {
		return fatalIn(s.step.Name(), rules.Call{}, err)
	}
	if !s.record.Partial {
		s.a.input.Steps[s.step.Name()] = s.result()
		return nil
	}
	items, err := s.step.Items(s.a.input)
	if err != nil {
		return fatalIn(s.step.Name(), rules.Call{}, err)
	}
	for n := s.record.Items; n < len(items); n++ {
		if ctx.Err() != nil {
			return &jobs.Failure{Cause: jobs.CauseShutdown, Step: s.step.Name(), Message: "worker is stopping"}
		}
		t := turn{a: s.a, step: s.step, in: items[n], key: s.step.Key(items[n]), last: s.last}
		result, f := t.run(ctx)
		if f == nil && !s.a.settled {
			f = s.itemDone(ctx, &t, result)
		}
		if f != nil || s.a.settled {
			return f
		}
	}
	s.a.input.Steps[s.step.Name()] = s.result()
	return s.end(ctx)
}

// recall reads the results of what was finished by an earlier attempt.
func (s *stepRun) recall() error {
	if !s.step.Each() && !s.record.Partial {
		s.results = []map[string]any{resultOf(s.record)}
		return nil
	}
	for _, raw := range s.record.Results {
		s.size += len(raw)
		value, err := rules.DecodeEvent(raw)
		if err != nil {
			return fmt.Errorf("reading the record of step %q: %w", s.step.Name(), err)
		}
		result, _ := value.(map[string]any)
		s.results = append(s.results, result)
	}
	return nil
}

func (s *stepRun) result() map[string]any {
	if s.step.Each() {
		return rules.Collect(s.results)
	}
	if len(s.results) == 0 {
		return map[string]any{}
	}
	return s.results[0]
}

// itemDone notes that an item is finished.
func (s *stepRun) itemDone(ctx context.Context, t *turn, result map[string]any) *jobs.Failure {
	s.record.Items++
	s.results = append(s.results, result)
	s.record.Attempt, s.record.At, s.record.Worker = s.a.job.Attempt, s.a.w.Now().UTC(), s.a.w.Name
	s.record.Method, s.record.Path, s.record.Status = t.call.Method, jobs.Clip(t.call.Path, maxKeptPath), t.status
	if f := s.add(t, result); f != nil {
		return f
	}
	if !s.step.Each() {
		return nil // its end comes at once
	}
	s.a.effects = s.a.effects.Without(t.key).With(s.record)
	s.a.dirty = true
	guarded := t.intent && s.step.Safe()
	if guarded || s.step.Safe() && time.Since(s.stored) > keepEvery {
		return s.keep(ctx, s.a.effects)
	}
	return nil
}

// add puts the result of an item into the record, for later attempts. Of items
// beyond what can be kept later steps see the status alone, in this attempt as
// in the next.
func (s *stepRun) add(t *turn, result map[string]any) *jobs.Failure {
	if s.last {
		return nil
	}
	raw, err := encodeResult(result)
	if err == nil {
		err = s.a.fits(len(raw))
		if s.step.Each() && !s.step.Paginated() && (err != nil || s.size+len(raw) > maxKeptBody) {
			// Most rules need nothing of a thousand answers but that they came,
			// and the calls were made: the job must not die of their size.
			slim := map[string]any{"status": result["status"]}
			s.results[len(s.results)-1] = slim
			raw, err = encodeResult(slim)
		}
		s.size += len(raw)
	}
	if err != nil {
		return &jobs.Failure{Cause: jobs.CauseRejected, Step: s.step.Name(), Method: t.call.Method, Path: t.call.Path, Status: t.status, Message: err.Error()}
	}
	if s.step.Each() {
		s.record.Results = append(s.record.Results[:len(s.record.Results):len(s.record.Results)], raw)
	} else {
		s.record.Result = raw
	}
	return nil
}

// end records that the step is finished.
func (s *stepRun) end(ctx context.Context) *jobs.Failure {
	if s.silent && len(s.a.effects.Steps) == 0 {
		return nil
	}
	s.record.Partial = false
	if !s.step.Each() {
		s.record.Items = 0
	}
	if s.record.At.IsZero() { // there were no items
		s.record.Attempt, s.record.At, s.record.Worker = s.a.job.Attempt, s.a.w.Now().UTC(), s.a.w.Name
	}
	next := s.a.effects.With(s.record)
	if s.last {
		s.a.effects = next // goes out with the done mark
		return nil
	}
	return s.keep(ctx, next)
}

func (s *stepRun) keep(ctx context.Context, next jobs.Effects) *jobs.Failure {
	s.stored = time.Now()
	err := s.a.keep(ctx, next)
	if errors.Is(err, queue.ErrConflict) {
		return s.a.overtaken(s.step.Name(), s.step.Timeout())
	}
	if err != nil {
		// The call was made and cannot be recorded: for an unsafe one the
		// intent stays, and the job will be looked at by a person.
		return &jobs.Failure{Cause: jobs.CauseUnanswered, Safe: s.step.Safe(), Step: s.step.Name(), Method: s.record.Method, Path: s.record.Path,
			Status: s.record.Status, Message: "the answer could not be recorded: " + err.Error()}
	}
	return nil
}

const (
	// maxKeptBody is the largest result that is kept for later steps, in
	// bytes.
	maxKeptBody = 512 << 10
	// maxKeptAll bounds the results of all steps of a job: with its body, its
	// record must fit into the message of a dead letter.
	maxKeptAll = 1 << 20
	// maxKeptPath bounds the path in a record.
	maxKeptPath = 2000
)

// fits says why a result of n bytes cannot be kept.
func (a *attempt) fits(n int) error {
	if n > maxKeptBody {
		return fmt.Errorf("the answer has %d bytes, later steps can be given at most %d", n, maxKeptBody)
	}
	all := n
	for _, s := range a.effects.Steps {
		all += len(s.Result) + len(s.Body)
		for _, r := range s.Results {
			all += len(r) + 1
		}
	}
	if all > maxKeptAll {
		return fmt.Errorf("the answers that later steps can see have %d bytes together, at most %d are kept", all, maxKeptAll)
	}
	return nil
}
