package forgetest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"bellows/internal/queue"
)

// lookPause is the wait between two looks at what cannot be waited for.
const lookPause = 10 * time.Millisecond

// Wait returns when no job is left: all are done, or dead letters. Jobs that
// wait, for a time or for a token, are waited for.
func (a *App) Wait() {
	var left queue.Stats
	err := a.until(context.Background(), func(ctx context.Context) (bool, error) {
		stats, err := a.queue.Stats(ctx)
		left = stats
		return err == nil && stats.Waiting+stats.Running+stats.Delayed+stats.Held == 0, err
	})
	if err != nil {
		a.fail("waiting for jobs to end: %v; %d wait to run, %d run, %d wait for a time, %d for a token", err, left.Waiting, left.Running, left.Delayed, left.Held)
	}
}

// until asks again and again until the answer is yes, a part of the app has
// ended, or the time is up.
func (a *App) until(ctx context.Context, yes func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, a.config.timeout())
	defer cancel()
	for {
		done, err := yes(ctx)
		if done || err != nil {
			return err
		}
		select {
		case err := <-a.ended:
			a.ended <- err // for whoever waits next
			return err
		case <-ctx.Done():
			return fmt.Errorf("%v have passed", a.config.timeout())
		case <-time.After(lookPause):
		}
	}
}

// ready waits until ingest takes events. The worker need not be: jobs wait for
// it.
func (a *App) ready(ctx context.Context, ops string) error {
	return a.until(ctx, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/readyz", nil)
		if err != nil {
			return false, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false, nil // it listens in a moment
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
}

// tail keeps the last text that was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// maxTail bounds a tail, in bytes.
const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = t.text[over:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
