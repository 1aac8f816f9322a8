package jobs

import "time"

const (
	// backoffBase is the mean wait after the first attempt.
	backoffBase = time.Second
	// backoffCap is the longest mean wait.
	backoffCap = 5 * time.Minute
	// limitedDefault is the mean wait after a 429 that names none: a gateway
	// limit seen without headers in April 2026 reset every minute.
	limitedDefault = 30 * time.Second
	// settlingWait is the mean wait while permissions are being granted after
	// an install ("Send Atlassian app and lifecycle events to a remote",
	// 2026-08-22: retry for up to about ten minutes).
	settlingWait = 20 * time.Second
	// limitedSpread is the most that is added to a wait the server asked for,
	// so that those who were refused together do not come back together.
	limitedSpread = 2 * time.Second
)

// Backoff is the wait after a counted attempt, from 1. The mean doubles from
// one second to five minutes:
//
//	attempt   1  2  3  4   5   6   7    8    9   10
//	seconds   1  2  4  8  16  32  64  128  256  300
//
// r in [0, 1) spreads it between 0.7 and 1.3 times the mean. Attempts below 1
// count as 1.
func Backoff(attempt int, r float64) time.Duration {
	mean := backoffCap
	if shift := max(attempt, 1) - 1; shift < 9 {
		mean = min(backoffBase<<shift, backoffCap)
	}
	return around(mean, r)
}

// around spreads mean between 0.7 and 1.3 times itself.
func around(mean time.Duration, r float64) time.Duration {
	return time.Duration(float64(mean) * (0.7 + 0.6*r))
}

// spread returns something between mean/2 and 3/2 mean.
func spread(mean time.Duration, r float64) time.Duration {
	return time.Duration(float64(mean) * (0.5 + r))
}

// limitedWait treats the server's wait as a floor: never earlier, a little
// later.
func limitedWait(f *Failure, r float64) time.Duration {
	if !f.HasRetryAfter {
		return around(limitedDefault, r)
	}
	extra := min(f.RetryAfter/10+100*time.Millisecond, limitedSpread)
	return f.RetryAfter + time.Duration(float64(extra)*r)
}
