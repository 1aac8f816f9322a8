package worker

import (
	"context"
	"sync"
	"time"

	"bellows/internal/queue"
)

const (
	// fetchWait is how long one request for jobs stays open. It bounds how
	// long a stop waits for jobs that are on their way.
	fetchWait = time.Second
	// fetchPause is the wait after a failed fetch.
	fetchPause = 250 * time.Millisecond
)

// take asks for jobs while there are free slots, until ctx ends. Several
// requests may be open at once, also when it returns; together they never ask
// for more than there are slots.
func (w *Worker) take(ctx, work context.Context, fetches, inHand *sync.WaitGroup) {
	for {
		n := w.slots.take(ctx)
		if n == 0 {
			break
		}
		fetches.Go(func() { w.fetch(ctx, work, n, inHand) })
	}
	w.stopping.Store(true)
}

// fetch hands up to n jobs to their goroutines and gives back the slots that
// were not used.
func (w *Worker) fetch(ctx, work context.Context, n int, inHand *sync.WaitGroup) {
	err := w.Queue.Fetch(work, n, fetchWait, func(d *queue.Delivery) {
		n--
		inHand.Go(func() {
			defer w.slots.give(1)
			w.deliver(work, d)
		})
	})
	if err != nil && ctx.Err() == nil {
		w.log.Warn("fetching jobs failed", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(fetchPause):
		}
	}
	w.slots.give(n)
}

// slots counts free places.
type slots struct {
	mu    sync.Mutex
	free  int
	freed chan struct{} // has one entry when something was given since the last take
}

func newSlots(n int) *slots {
	return &slots{free: n, freed: make(chan struct{}, 1)}
}

// take waits for at least one free slot and takes all that are free. It
// returns 0 when ctx ends first.
func (s *slots) take(ctx context.Context) int {
	for {
		if ctx.Err() != nil {
			return 0
		}
		s.mu.Lock()
		n := s.free
		s.free = 0
		s.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
		case <-s.freed:
		}
	}
}

func (s *slots) give(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.free += n
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// crowd lets jobs run beside each other or one alone. A job that must run
// alone waits until the others have ended; until it has ended itself no other
// may begin.
type crowd struct {
	mu     sync.Mutex
	inside int
	alone  bool
	left   chan struct{} // closed when the last one inside has left
}

// enter returns false when a job that must run alone runs or waits to: then
// the caller must not run here and now.
func (c *crowd) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.alone {
		return false
	}
	c.inside++
	return true
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside--
	if c.inside == 0 && c.left != nil {
		close(c.left)
		c.left = nil
	}
}

// enterAlone waits until all others have left. It returns false when another
// job is alone already.
func (c *crowd) enterAlone() bool {
	c.mu.Lock()
	if c.alone {
		c.mu.Unlock()
		return false
	}
	c.alone = true
	var empty chan struct{}
	if c.inside > 0 {
		empty = make(chan struct{})
		c.left = empty
	}
	c.mu.Unlock()
	if empty != nil {
		<-empty
	}
	return true
}

func (c *crowd) leaveAlone() {
	c.mu.Lock()
	c.alone = false
	c.mu.Unlock()
}
