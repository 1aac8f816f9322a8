package impersonation

import (
	"sync"
	"time"
)

// limiter lets at most so many exchanges begin in any 60 seconds, by a log of
// when the last ones began, and none while the gateway asked to wait. It
// covers this process only.
type limiter struct {
	mu    sync.Mutex
	began []time.Time // a ring; empty when there is no limit
	next  int
	until time.Time
}

func newLimiter(perMinute int) *limiter {
	return &limiter{began: make([]time.Time, max(perMinute, 0))}
}

// take counts an exchange that begins now, or says how long there is no room.
func (l *limiter) take(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.until) {
		return &LimitedError{RetryAfter: l.until.Sub(now)}
	}
	if len(l.began) == 0 {
		return nil
	}
	// The oldest must be more than a minute away: at exactly a minute, both
	// ends of that minute would count.
	if room := l.began[l.next].Add(time.Minute + 1).Sub(now); !l.began[l.next].IsZero() && room > 0 {
		return &LimitedError{RetryAfter: room}
	}
	l.began[l.next] = now
	l.next = (l.next + 1) % len(l.began)
	return nil
}

// rest lets nothing begin before until.
func (l *limiter) rest(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until.After(l.until) {
		l.until = until
	}
}
