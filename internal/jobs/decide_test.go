package jobs_test

import (
	"testing"
	"time"

	"bellows/internal/jobs"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// row is one sentence: a job in some state, after a failure, is decided so.
type row struct {
	name    string
	job     jobs.Job
	failure *jobs.Failure
	want    jobs.Decision
}

func attempt(n int) jobs.Job { return jobs.Job{Attempt: n, Since: now.Add(-time.Minute)} }
func aged(age time.Duration, n int) jobs.Job {
	return jobs.Job{Attempt: n, Since: now.Add(-age)}
}

func after(cause jobs.Cause) *jobs.Failure  { return &jobs.Failure{Cause: cause} }
func safely(cause jobs.Cause) *jobs.Failure { return &jobs.Failure{Cause: cause, Safe: true} }
func heldFor(d time.Duration) *jobs.Failure {
	return &jobs.Failure{Cause: jobs.CauseHeld, Until: now.Add(d)}
}
func limited(d time.Duration) *jobs.Failure {
	return &jobs.Failure{Cause: jobs.CauseLimited, RetryAfter: d, HasRetryAfter: true}
}

func dies(reason jobs.Reason) jobs.Decision {
	return jobs.Decision{Action: jobs.ActionDead, Reason: reason}
}
func retries(in time.Duration) jobs.Decision {
	return jobs.Decision{Action: jobs.ActionDelay, Until: now.Add(in), Counts: true}
}
func delays(in time.Duration) jobs.Decision {
	return jobs.Decision{Action: jobs.ActionDelay, Until: now.Add(in)}
}

func TestDecide(t *testing.T) {
	const day = 24 * time.Hour
	waits, returns := jobs.Decision{Action: jobs.ActionWait}, jobs.Decision{Action: jobs.ActionReturn}
	for _, r := range []row{
		{"success is done", attempt(1), nil, jobs.Decision{}},
		{"success of an old job at its last attempt is done", aged(2*day, 10), nil, jobs.Decision{}},
		{"five deaths are a crash", attempt(1), after(jobs.CauseCrashed), dies(jobs.ReasonCrashed)},
		{"a crash of an old job is a crash", aged(2*day, 1), after(jobs.CauseCrashed), dies(jobs.ReasonCrashed)},
		{"too old is expired", aged(day+1, 1), after(jobs.CauseServer), dies(jobs.ReasonExpired)},
		{"as old as allowed is not expired", aged(day, 1), after(jobs.CauseServer), retries(time.Second)},
		{"too old without a token is no_token", aged(day+1, 1), after(jobs.CauseNoToken), dies(jobs.ReasonNoToken)},
		{"the last counted attempt exhausts", attempt(10), after(jobs.CauseServer), dies(jobs.ReasonExhausted)},
		{"the last safe lost answer exhausts", attempt(10), safely(jobs.CauseUnanswered), dies(jobs.ReasonExhausted)},
		{"an unsafe lost answer at the last attempt is unknown", attempt(10), after(jobs.CauseUnanswered), dies(jobs.ReasonUnknownEffect)},
		{"a limit at the last attempt does not count", attempt(10), limited(0), delays(50 * time.Millisecond)},
		{"shutdown returns", attempt(10), after(jobs.CauseShutdown), returns},
		{"a hold delays to its end and a little more", attempt(3), heldFor(15 * time.Second), delays(16 * time.Second)},
		{"a hold that has ended delays a little", attempt(3), heldFor(-time.Minute), delays(time.Second)},
		{"no token waits", attempt(10), after(jobs.CauseNoToken), waits},
		{"a fresh install delays", attempt(10), after(jobs.CauseSettling), delays(20 * time.Second)},
		{"429 is a floor", attempt(1), limited(10 * time.Second), delays(10*time.Second + 550*time.Millisecond)},
		{"a long 429 is not spread far", attempt(1), limited(time.Hour), delays(time.Hour + time.Second)},
		{"429 without a wait takes the default", attempt(1), after(jobs.CauseLimited), delays(30 * time.Second)},
		{"a limit of exchanges delays", attempt(10), &jobs.Failure{Cause: jobs.CauseExchangeLimited, RetryAfter: time.Second, HasRetryAfter: true}, delays(1100 * time.Millisecond)},
		{"not sent retries", attempt(2), after(jobs.CauseNotSent), retries(2 * time.Second)},
		{"500 retries also when unsafe", attempt(3), after(jobs.CauseServer), retries(4 * time.Second)},
		{"a safe lost answer retries", attempt(1), safely(jobs.CauseUnanswered), retries(time.Second)},
		{"an unsafe lost answer is unknown", attempt(1), after(jobs.CauseUnanswered), dies(jobs.ReasonUnknownEffect)},
		{"rejected", attempt(1), safely(jobs.CauseRejected), dies(jobs.ReasonRejected)},
		{"fatal", attempt(1), after(jobs.CauseFatal), dies(jobs.ReasonFatal)},
		{"a failure that nobody classified is fatal", attempt(1), &jobs.Failure{}, dies(jobs.ReasonFatal)},
		{"undecodable", attempt(1), after(jobs.CauseUndecodable), dies(jobs.ReasonUndecodable)},
		{"anything else counts", attempt(1), after(jobs.CauseOther), retries(time.Second)},
		{"a cause not listed counts", attempt(1), after(jobs.Cause(99)), retries(time.Second)},
	} {
		if got := jobs.Decide(r.failure, r.job, jobs.Limits{}, now, 0.5); got != r.want {
			t.Errorf("%s: got %v at +%v (counts %v), want %v at +%v (counts %v)", r.name,
				got, got.Until.Sub(now), got.Counts, r.want, r.want.Until.Sub(now), r.want.Counts)
		}
	}
}

func TestDecideObeysTheRulesOwnLimits(t *testing.T) {
	limits := jobs.Limits{MaxAttempts: 2, MaxAge: time.Hour}
	if got := jobs.Decide(after(jobs.CauseServer), attempt(2), limits, now, 0); got != dies(jobs.ReasonExhausted) {
		t.Errorf("second of two attempts: got %v", got)
	}
	if got := jobs.Decide(after(jobs.CauseServer), aged(time.Hour+1, 1), limits, now, 0); got != dies(jobs.ReasonExpired) {
		t.Errorf("older than an hour: got %v", got)
	}
}

func TestWaitsAreSpreadButNeverBelowTheServersFloor(t *testing.T) {
	for _, r := range []float64{0, 0.25, 0.5, 0.999999} {
		for _, floor := range []time.Duration{0, time.Second, time.Minute, 1847 * time.Second} {
			got := jobs.Decide(limited(floor), attempt(1), jobs.Limits{}, now, r)
			if wait := got.Until.Sub(now); wait < floor || wait > floor+2*time.Second {
				t.Errorf("Retry-After %v with r %v: waits %v", floor, r, wait)
			}
		}
	}
	if a, b := jobs.Backoff(5, 0), jobs.Backoff(5, 0.999999); a != 11200*time.Millisecond || b < 20*time.Second || b > 20800*time.Millisecond {
		t.Errorf("attempt 5 waits between %v and %v, want 11.2 s and 20.8 s", a, b)
	}
	want := []time.Duration{1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300}
	for i, mean := range want {
		if got := jobs.Backoff(i, 0.5); got != mean*time.Second {
			t.Errorf("attempt %d: mean wait %v, want %v", i, got, mean*time.Second)
		}
	}
	if got := jobs.Backoff(1<<40, 0.5); got != 5*time.Minute {
		t.Errorf("a huge attempt number: got %v", got)
	}
}
