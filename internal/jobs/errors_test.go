package jobs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"bellows/internal/jobs"
)

func TestErrorsOfHandlersAreFoundInAChainAndShowTheirCause(t *testing.T) {
	cause := errors.New("the export is not ready")
	for _, err := range []error{&jobs.RetryAfterError{After: time.Minute, Err: cause}, &jobs.FatalError{Err: cause}} {
		wrapped := fmt.Errorf("exporting: %w", err)
		if !errors.Is(wrapped, cause) || wrapped.Error() != "exporting: the export is not ready" {
			t.Errorf("got %v", wrapped)
		}
	}
	if got := (&jobs.RetryAfterError{After: time.Minute}).Error(); got != "asked for another try after 1m0s" {
		t.Errorf("without a cause: got %q", got)
	}
	if (&jobs.FatalError{}).Error() == "" {
		t.Error("a fatal error without a cause says nothing")
	}
}
