package bellows

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Step does fn once for the job. When it has returned nil, that is stored, and
// a later attempt, a replay of last month's dead letter too, goes on behind it
// without calling fn. name, 1 to 200 bytes, tells the steps of a job apart.
// Steps run one after another: one within another is refused.
//
// Before fn an intent is stored. Where a worker dies during fn, or the answer
// of a POST or PATCH in it is lost, or something fails behind one that had its
// effect, nobody knows how things stand: the job becomes a dead letter,
// unknown_effect, for a person to decide. So make a step of each thing that
// must not be done twice, and of no more. [Repeatable] says that fn may be done
// again instead.
//
// The error of fn is returned; return it from the handler.
func (j *Job) Step(ctx context.Context, name string, fn func(ctx context.Context) error, options ...StepOption) error {
	_, err := StepValue(ctx, j, name, func(ctx context.Context) (struct{}, error) { return struct{}{}, fn(ctx) }, options...)
	return err
}

// StepValue is [Job.Step] for something that has a result, which a later
// attempt gets without doing it again: the key of an issue that was created,
// say. T must survive JSON, in at most 512 KiB.
func StepValue[T any](ctx context.Context, job *Job, name string, fn func(ctx context.Context) (T, error), options ...StepOption) (T, error) {
	var made, kept T
	ran, repeatable := false, slices.ContainsFunc(options, func(o StepOption) bool { return o.repeatable })
	raw, err := job.task.Step(ctx, name, repeatable, func(ctx context.Context) (json.RawMessage, error) {
		value, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		made, ran = value, true
		return encodeResult(name, value)
	})
	if err != nil || ran {
		return made, err
	}
	if err := json.Unmarshal(raw, &kept); err != nil {
		return kept, Fatal(fmt.Errorf("decoding the stored result of step %q: %w", name, err))
	}
	return kept, nil
}

// encodeResult fails for good: the step has had its effect, so it must not be
// done again.
func encodeResult(name string, value any) (json.RawMessage, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, Fatal(fmt.Errorf("encoding the result of step %q: %w", name, err))
	}
	return raw, nil
}

// StepOption says more about a step.
type StepOption struct {
	repeatable bool
}

// Repeatable says that doing the step twice does no harm: it only reads, or
// writes the same thing to the same place, or looks first. Then no intent is
// stored, and a step that was cut off is done again.
func Repeatable() StepOption { return StepOption{repeatable: true} }
