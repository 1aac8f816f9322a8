package forge

import (
	"context"
	"time"
)

// The wait after a failed fetch by Run doubles from firstRetry to lastRetry.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = time.Minute
)

// Run loads the set, again and again until that has succeeded, and then polls
// it. It returns nil when ctx ends.
func (k *KeySet) Run(ctx context.Context) error {
	failures := 0
	for {
		f := k.refresh()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil
		}
		if f.err != nil {
			failures++
		} else {
			failures = 0
		}
		if !pause(ctx, pollDelay(failures, k.config.pollEvery())) {
			return nil
		}
	}
}

// pollDelay returns how long to wait for the next poll after so many failed
// ones in a row. It is never longer than every.
func pollDelay(failures int, every time.Duration) time.Duration {
	if failures == 0 {
		return every
	}
	wait := lastRetry
	if doublings := failures - 1; doublings < 7 {
		wait = min(lastRetry, firstRetry<<doublings)
	}
	return min(wait, every)
}

// pause waits, and reports whether ctx is still alive after it.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
