package bellows

import (
	"fmt"
	"time"

	"bellows/internal/jobs"
)

// RetryAfter is the error of a handler that wants its job again after d at the
// earliest. The attempt does not count, so a job may wait in this way until it
// is too old; see [MaxAge]. Zero and less mean the least wait there is. To say
// why, wrap it:
//
//	return fmt.Errorf("the export is not ready: %w", bellows.RetryAfter(time.Minute))
func RetryAfter(d time.Duration) error { return &jobs.RetryAfterError{After: d} }

// Fatal makes err an error that no other try would mend: the job becomes a
// dead letter with its text. It is meant for what a person has to look at; a
// job that needs nothing done is finished with nil.
func Fatal(err error) error { return &jobs.FatalError{Err: err} }

// StatusError is an answer of Atlassian's with a status outside 2xx. To return
// it from a handler, wrapped or not, is to let the status decide; to treat one
// otherwise, look at it:
//
//	var status *bellows.StatusError
//	if errors.As(err, &status) && status.Status == http.StatusNotFound {
//		return nil // the issue is gone: nothing is left to do
//	}
type StatusError struct {
	Status int
	Method string
	// Path is that of the call, without the query.
	Path string
	// Message is what the answer says, at most 300 bytes of it. It may be
	// empty.
	Message string

	cause error
}

// Error tells the call, the status and the message.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("calling %s %q: status %d", e.Method, e.Path, e.Status)
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns what the worker decides by.
func (e *StatusError) Unwrap() error { return e.cause }
