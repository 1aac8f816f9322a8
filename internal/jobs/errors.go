package jobs

import (
	"fmt"
	"time"
)

// RetryAfterError is what a handler returns to be called again later: the job
// is delayed by After at least, and the attempt does not count.
type RetryAfterError struct {
	After time.Duration // zero or negative means the least wait there is
	Err   error         // why; may be nil
}

// Error says how long and why.
func (e *RetryAfterError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("asked for another try after %s", e.After)
	}
	return e.Err.Error()
}

// Unwrap returns why.
func (e *RetryAfterError) Unwrap() error { return e.Err }

// FatalError is what a handler returns when no other try would help: the job
// is dead.
type FatalError struct{ Err error }

// Error says why.
func (e *FatalError) Error() string {
	if e.Err == nil {
		return "the handler says that no other try would help"
	}
	return e.Err.Error()
}

// Unwrap returns why.
func (e *FatalError) Unwrap() error { return e.Err }
