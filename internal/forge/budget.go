package forge

import (
	"sync"
	"time"
)

// budgetWindow is the span of time a fetch budget is counted over.
const budgetWindow = time.Minute

// budget allows at most limit fetches in any window of one minute, exactly: it
// remembers when each of them started.
type budget struct {
	limit int

	mu     sync.Mutex
	starts []time.Time
}

// take uses one fetch, or says that there is none left.
func (b *budget) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(now)
	if len(b.starts) >= b.limit {
		return false
	}
	b.starts = append(b.starts, now)
	return true
}

// wait returns how long it is until a fetch is allowed, at least a second: it
// is meant for a Retry-After header.
func (b *budget) wait(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(now)
	if b.limit == 0 {
		return budgetWindow
	}
	if len(b.starts) < b.limit {
		return time.Second
	}
	return max(time.Second, b.starts[0].Add(budgetWindow).Sub(now))
}

func (b *budget) forget(now time.Time) {
	gone := 0
	for gone < len(b.starts) && !b.starts[gone].Add(budgetWindow).After(now) {
		gone++
	}
	b.starts = b.starts[:copy(b.starts, b.starts[gone:])]
}
