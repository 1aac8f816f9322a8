package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/queue"
	"bellows/internal/rules"
)

// attempt is one delivery of a job on its way to an outcome.
type attempt struct {
	w   *Worker
	d   *queue.Delivery
	job jobs.Job
	set *ruleset // the rules when the attempt began

	rule         *rules.Rule
	installation installations.Installation
	input        rules.Input

	// effects is the job's record and sequence its place; known says that it
	// was read, or that it is known to be empty.
	effects  jobs.Effects
	sequence uint64
	known    bool
	// dirty says that effects has something that is not stored yet.
	dirty bool

	// asUser says that the call that was last prepared uses the token of the
	// user in session.
	asUser bool

	// settled says that run itself has taken the job off the queue's path:
	// nothing is left but to acknowledge.
	settled bool
}

func (w *Worker) attempt(d *queue.Delivery) *attempt {
	return &attempt{w: w, d: d, job: d.Job, set: w.current.Load()}
}

// limits are those of the rule. Before there is one, the job may be as old as
// any rule allows.
func (a *attempt) limits() jobs.Limits {
	rule := a.rule
	if rule == nil {
		rule, _ = a.set.rule(a.job.Rule)
	}
	if rule == nil {
		return jobs.Limits{MaxAge: a.set.longest}
	}
	return jobs.Limits{MaxAttempts: rule.MaxAttempts(), MaxAge: rule.MaxAge()}
}

// run carries the job out. Nil is success.
func (a *attempt) run(ctx context.Context) *jobs.Failure {
	if a.d.Err != nil {
		return &jobs.Failure{Cause: jobs.CauseUndecodable, Message: a.d.Err.Error()}
	}
	if gone, f := a.trace(ctx); gone || f != nil {
		return f
	}
	if f := a.decode(ctx); f != nil {
		return f
	}
	if f := a.choose(ctx); f != nil || a.rule == nil {
		return f
	}
	return a.carryOut(ctx)
}

// trace looks whether this copy of the job is stale, when there is a reason
// to ask. The common job, delivered once and never put back, asks nothing.
func (a *attempt) trace(ctx context.Context) (gone bool, f *jobs.Failure) {
	if a.d.Deliveries == 1 && !a.job.Redelivered && a.job.Run == 0 {
		a.known = a.job.Generation == 0 // the first copy has no record yet
		return false, nil
	}
	var t queue.Trace
	err := a.ask(ctx, func(ctx context.Context) (err error) { t, err = a.w.Queue.Trace(ctx, a.job); return err })
	if err != nil {
		return false, a.broker(ctx, err)
	}
	a.effects, a.sequence, a.known = t.Effects, t.Sequence, true
	if t.Gone() {
		a.w.log.Info("job has ended or goes on elsewhere", "job", a.job.ID, "done", t.Done, "dead", t.Dead, "delayed", t.Delayed, "begun", t.Begun)
		a.settled = true
		return true, nil
	}
	return false, nil
}

// broker classifies a failure to reach NATS while the job was not yet in the
// middle of anything: nothing was sent, so another attempt costs nothing.
func (a *attempt) broker(ctx context.Context, err error) *jobs.Failure {
	if ctx.Err() != nil {
		return &jobs.Failure{Cause: jobs.CauseShutdown, Message: "worker is stopping"}
	}
	return &jobs.Failure{Cause: jobs.CauseNotSent, Message: err.Error()}
}

// decode reads the body and the installation, which expressions see.
func (a *attempt) decode(ctx context.Context) *jobs.Failure {
	event, err := rules.DecodeEvent(a.job.Data)
	if err != nil {
		return &jobs.Failure{Cause: jobs.CauseUndecodable, Message: err.Error()}
	}
	a.installation, err = a.w.Installation(ctx, a.job.Installation, a.job.InstallationRevision)
	if err != nil {
		return a.broker(ctx, fmt.Errorf("reading installation %q: %w", a.job.Installation, err))
	}
	a.input = rules.Input{
		Event:        event,
		Installation: describeInstallation(a.installation, a.job),
		Invocation: map[string]any{
			"kind": string(a.job.Kind), "module": a.job.Module, "route": a.job.Route, "principal": a.job.Principal,
			"context": map[string]any{}, "trace": jobs.TraceID(a.job.Traceparent), "trigger": a.job.Trigger,
		},
		Job: map[string]any{
			"id": a.job.ID, "attempt": int64(a.job.Attempt), "received": a.job.Time.UTC().Format(time.RFC3339Nano),
		},
		Steps: map[string]any{},
	}
	return nil
}

// choose finds the rule of this job. Without one it matches: no rule is the
// end of the job, one becomes its rule, several split it into a job each.
func (a *attempt) choose(ctx context.Context) *jobs.Failure {
	if a.job.Rule != "" {
		rule, ok := a.set.rule(a.job.Rule)
		if !ok {
			return &jobs.Failure{Cause: jobs.CauseFatal, Message: fmt.Sprintf("rule %q is neither in the rule file nor a handler; put it back, or drop the job", a.job.Rule)}
		}
		return a.again(rule)
	}
	matched, skipped := a.set.match(a.job, a.input)
	for _, s := range skipped {
		a.w.metrics.skip(s.Rule)
		a.w.log.Debug("rule does not match: the event lacks a member", "job", a.job.ID, "rule", s.Rule, "reason", s.Reason)
	}
	switch len(matched) {
	case 0:
		a.w.metrics.Unmatched.Inc()
		return nil
	case 1:
		a.job.Rule, a.rule = matched[0].Rule.Name(), matched[0].Rule
		return fatal(matched[0].Err)
	}
	return a.split(ctx, matched)
}

// again takes up a rule that was chosen before. A condition that fails is
// fatal here too: of several rules that match, each fails in a job of its own.
// A replay comes after something was mended, so its first attempt asks whether
// the rule is for the job at all.
func (a *attempt) again(rule *rules.Rule) *jobs.Failure {
	holds, err := rule.Applies(a.input)
	var fault *rules.Error
	missing := errors.As(err, &fault) && fault.Missing
	switch {
	case err != nil && !missing:
		return fatal(err)
	case !holds && a.job.Run > 0 && a.job.Attempt == 1 && len(a.effects.Steps) == 0:
		a.w.metrics.Unmatched.Inc()
		return nil
	}
	a.rule = rule
	return nil
}

func fatal(err error) *jobs.Failure {
	if err == nil {
		return nil
	}
	return &jobs.Failure{Cause: jobs.CauseFatal, Message: err.Error()}
}

// split publishes one job for each rule, each with attempts and a dead letter
// of its own, and ends this one. Publishing again after a crash stores nothing
// new: the ids are made from the event and the rule.
func (a *attempt) split(ctx context.Context, matched []rules.Matched) *jobs.Failure {
	for _, m := range matched {
		child := a.job
		child.ID, child.Rule = jobs.RuleID(a.job.ID, m.Rule.Name()), m.Rule.Name()
		child.Generation, child.Deaths, child.Attempt = 0, 0, 1
		child.Redelivered = a.job.Redelivered || a.d.Deliveries > 1 || a.job.Generation > 0
		err := a.ask(ctx, func(ctx context.Context) error { _, err := a.w.Queue.Publish(ctx, child); return err })
		if err != nil {
			return a.broker(ctx, err)
		}
	}
	if err := a.markDone(ctx); err != nil {
		return a.broker(ctx, err)
	}
	a.settled = true
	return nil
}
