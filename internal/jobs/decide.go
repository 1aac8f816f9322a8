package jobs

import (
	"fmt"
	"time"
)

// Cause is why an attempt did not succeed.
type Cause int

// The causes, in no order; Decide has the order.
const (
	// CauseFatal is an error that no repetition mends: the handler or the
	// rule says so. It is the zero Cause, so that what nobody classified is
	// looked at by a person.
	CauseFatal Cause = iota
	// CauseCrashed: workers died holding the job.
	CauseCrashed
	// CauseShutdown: the worker stops and the next call was not sent.
	CauseShutdown
	// CauseHeld: a circuit breaker is open or a hold is in force, until Until.
	CauseHeld
	// CauseNoToken: there is no live token to call with, or the one used had
	// passed its expiry.
	CauseNoToken
	// CauseSettling: 401 or 403 shortly after an install, while Atlassian
	// still grants the app its permissions.
	CauseSettling
	// CauseLimited: 429, or 503 with Retry-After.
	CauseLimited
	// CauseNotSent: the connection could not be made, nothing was sent.
	CauseNotSent
	// CauseServer: 500, 503, 408 or 425.
	CauseServer
	// CauseUnanswered: sent and no answer, 502, 504, cut off by the drain, or
	// the worker died during the call. Whether it took effect is unknown.
	CauseUnanswered
	// CauseExchangeLimited: the limit of token exchanges is reached.
	CauseExchangeLimited
	// CauseRejected: Atlassian refuses for good: other statuses, a refused
	// token, a refused exchange, an unreadable answer.
	CauseRejected
	// CauseUndecodable: the data of the job is not what it should be.
	CauseUndecodable
	// CauseOther is any other error: it counts as an attempt.
	CauseOther
)

// Failure is what an attempt ended with, if not with success.
type Failure struct {
	Cause Cause
	// Safe says that the call may be sent again although its effect is not
	// known.
	Safe bool
	// Until is the end of a hold or of a breaker's cool-down.
	Until time.Time
	// RetryAfter is the wait that the server asked for; it counts only with
	// HasRetryAfter, and zero is legal.
	RetryAfter    time.Duration
	HasRetryAfter bool

	Step, Method, Path string
	Status             int
	Message            string
}

// Error makes a Failure an error, so that it can travel as one.
func (f *Failure) Error() string { return f.Message }

// Action is what becomes of a job.
type Action int

// The actions.
const (
	ActionDone   Action = iota // acknowledge it
	ActionDelay                // back into the queue at Until
	ActionWait                 // outside the queue until a token arrives
	ActionReturn               // back into the queue at once
	ActionDead                 // a dead letter with Reason
)

// Reason is why a job is dead.
type Reason string

// The reasons of dead letters.
const (
	ReasonCrashed       Reason = "crashed"        // workers died 5 times holding it
	ReasonExpired       Reason = "expired"        // older than its maximum age
	ReasonExhausted     Reason = "exhausted"      // its attempts are used up
	ReasonNoToken       Reason = "no_token"       // no token came within its maximum age
	ReasonRejected      Reason = "rejected"       // Atlassian refuses for good
	ReasonUnknownEffect Reason = "unknown_effect" // an unsafe call whose answer is lost
	ReasonFatal         Reason = "fatal"          // the rule or handler failed
	ReasonUndecodable   Reason = "undecodable"    // the body is not JSON
)

// Decision is what becomes of a job after an attempt.
type Decision struct {
	Action Action
	// Until is when a delayed job runs again.
	Until time.Time
	// Counts says that the attempt counts: the next one has the next number.
	Counts bool
	Reason Reason
}

// Limits bound how long a job is tried.
type Limits struct {
	// MaxAttempts; zero or negative means 10.
	MaxAttempts int
	// MaxAge from the start of the run; zero or negative means 24 hours.
	MaxAge time.Duration
}

// Defaults of Limits, and of the crash rule.
const (
	DefaultMaxAttempts = 10
	DefaultMaxAge      = 24 * time.Hour
	// MaxDeaths is how many workers may die holding a job.
	MaxDeaths = 5
	// AloneAfter is how many deaths make a job run alone in its worker, so
	// that the jobs beside it do not die with it.
	AloneAfter = 2
)

func (l Limits) maxAttempts() int {
	if l.MaxAttempts <= 0 {
		return DefaultMaxAttempts
	}
	return l.MaxAttempts
}

func (l Limits) maxAge() time.Duration {
	if l.MaxAge <= 0 {
		return DefaultMaxAge
	}
	return l.MaxAge
}

// Decide says what becomes of job after an attempt that ended at now with
// failure; nil is success. r in [0, 1) spreads the waits. The first line that
// fits holds:
//
//   - success: done
//   - workers died: dead, crashed
//   - no token and older than MaxAge: dead, no_token
//   - older than MaxAge: dead, expired
//   - the attempt would count and is the last: dead, exhausted; but an unsafe
//     call whose answer is lost is dead, unknown_effect, whatever its number
//   - shutdown before the call: return, not counted
//   - held: delay to the end of the hold, not counted
//   - no token: wait, not counted
//   - settling after an install: delay by backoff, not counted
//   - limited by the API or the exchange: delay, the server's wait as a
//     floor, not counted
//   - not sent, or a server error: delay by backoff, counted
//   - unanswered and safe: delay by backoff, counted
//   - unanswered and not safe: dead, unknown_effect
//   - rejected, fatal, undecodable: dead with that reason
//   - anything else: delay by backoff, counted
func Decide(failure *Failure, job Job, limits Limits, now time.Time, r float64) Decision {
	if failure == nil {
		return Decision{Action: ActionDone}
	}
	if failure.Cause == CauseCrashed {
		return dead(ReasonCrashed)
	}
	if now.Sub(job.Since) > limits.maxAge() {
		if failure.Cause == CauseNoToken {
			return dead(ReasonNoToken)
		}
		return dead(ReasonExpired)
	}
	d := outcome(failure, job.Attempt, now, r)
	if d.Counts && job.Attempt >= limits.maxAttempts() {
		return dead(ReasonExhausted)
	}
	return d
}

func outcome(f *Failure, attempt int, now time.Time, r float64) Decision {
	switch f.Cause {
	case CauseShutdown:
		return Decision{Action: ActionReturn}
	case CauseHeld:
		return Decision{Action: ActionDelay, Until: later(f.Until, now).Add(spread(time.Second, r))}
	case CauseNoToken:
		return Decision{Action: ActionWait}
	case CauseSettling:
		return Decision{Action: ActionDelay, Until: now.Add(spread(settlingWait, r))}
	case CauseLimited, CauseExchangeLimited:
		return Decision{Action: ActionDelay, Until: now.Add(limitedWait(f, r))}
	case CauseUnanswered:
		if !f.Safe {
			return dead(ReasonUnknownEffect)
		}
	case CauseRejected:
		return dead(ReasonRejected)
	case CauseFatal:
		return dead(ReasonFatal)
	case CauseUndecodable:
		return dead(ReasonUndecodable)
	}
	return Decision{Action: ActionDelay, Until: now.Add(Backoff(attempt, r)), Counts: true}
}

func dead(reason Reason) Decision { return Decision{Action: ActionDead, Reason: reason} }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// String says the decision in words, for histories and logs.
func (d Decision) String() string {
	switch d.Action {
	case ActionDone:
		return "done"
	case ActionDelay:
		return "delayed"
	case ActionWait:
		return "waiting for a token"
	case ActionReturn:
		return "returned"
	case ActionDead:
		return "dead: " + string(d.Reason)
	}
	return fmt.Sprintf("action %d", int(d.Action))
}
