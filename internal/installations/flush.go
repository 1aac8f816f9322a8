package installations

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// flushers is how many records a flush writes at once.
const flushers = 16

// Run stores the times of last calls, each at most once a minute, until ctx
// ends, and then returns nil. Call Flush after the last Note.
func (w *Writer) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.config.flushEvery())
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := w.flush(ctx, seenEvery); err != nil && ctx.Err() == nil {
				w.config.Logger.Warn("storing times of last calls failed", "error", err)
			}
		}
	}
}

// Flush stores all times of last calls that are not stored yet, however new.
func (w *Writer) Flush(ctx context.Context) error {
	return w.flush(ctx, time.Nanosecond)
}

// flush stores the times that are ahead of the stored ones by slack or more. It
// gives up at the first error: the times stay in memory.
func (w *Writer) flush(ctx context.Context, slack time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	due := w.due(slack)
	var group sync.WaitGroup
	next := make(chan Installation)
	for range min(flushers, len(due)) {
		group.Go(func() {
			for called := range next {
				if err := w.touch(ctx, called, slack); err != nil {
					cancel(fmt.Errorf("noting installation %q: %w", called.ID, err))
				}
			}
		})
	}
	for _, called := range due {
		if ctx.Err() != nil {
			break
		}
		next <- called
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

func (w *Writer) due(slack time.Duration) []Installation {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []Installation
	for _, n := range w.known {
		if n.seen.Sub(n.record.LastSeen) >= slack {
			called := n.record
			called.LastSeen = n.seen
			due = append(due, called)
		}
	}
	return due
}

// touch stores the time of a last call. Only the time is its own: whatever
// others have written meanwhile stays, and a record that they have removed is
// not made anew.
func (w *Writer) touch(ctx context.Context, called Installation, slack time.Duration) error {
	unlock, err := w.busy.Lock(ctx, called.ID)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = w.change(ctx, called.ID, func(stored Installation) (Installation, bool) {
		if stored.ID == "" {
			return stored, false
		}
		record := merged(stored, Installation{AsOf: called.AsOf, LastSeen: called.LastSeen})
		return record, record.LastSeen.Sub(stored.LastSeen) >= slack
	})
	return err
}
