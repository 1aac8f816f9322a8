package forge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bellows/internal/forge"
)

// wire is a key set's address without a socket, so that time can be faked
// around it: each fetch takes its answer from a function.
type wire struct {
	mu      sync.Mutex
	answer  func(number int) (status int, text string)
	fetches atomic.Int32
	// gate holds every answer back until something is received from it; nil
	// means no waiting.
	gate chan struct{}
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	number := int(w.fetches.Add(1))
	if w.gate != nil {
		select {
		case <-w.gate:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	w.mu.Lock()
	status, text := w.answer(number)
	w.mu.Unlock()
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// serve changes the answer.
func (w *wire) serve(answer func(int) (int, string)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func (w *wire) keySet(change func(*forge.KeySetConfig)) *forge.KeySet {
	config := forge.KeySetConfig{URL: "https://keys.example/jwks?secret=1", Client: &http.Client{Transport: w}}
	if change != nil {
		change(&config)
	}
	return forge.NewKeySet(config)
}

// having answers with a set of the keys with these ids.
func having(ids ...string) func(int) (int, string) {
	keys := []object{}
	for _, id := range ids {
		keys = append(keys, jwk(id, &signingKey().PublicKey))
	}
	text := keySetText(keys...)
	return func(int) (int, string) { return http.StatusOK, text }
}

func failing(int) (int, string) { return 0, "" }

// outcome names what Key answered.
func outcome(err error) string {
	var invalid *forge.InvalidTokenError
	var unavailable *forge.KeysUnavailableError
	switch {
	case err == nil:
		return "found"
	case errors.As(err, &invalid):
		return "unknown"
	case errors.As(err, &unavailable):
		return fmt.Sprintf("unavailable for %v", unavailable.RetryAfter)
	}
	return err.Error()
}

func ask(t *testing.T, keys *forge.KeySet, id string) string {
	t.Helper()
	key, err := keys.Key(t.Context(), id)
	if (key == nil) != (err != nil) {
		t.Errorf("key %v and error %v", key, err)
	}
	return outcome(err)
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func expectFetches(t *testing.T, w *wire, want int32) {
	t.Helper()
	if got := w.fetches.Load(); got != want {
		t.Errorf("got %d fetches, want %d", got, want)
	}
}

func TestAllWhoWaitShareOneFetch(t *testing.T) {
	signingKey() // outside the bubble
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("new"), gate: make(chan struct{})}
		keys := w.keySet(nil)
		var found, unknown atomic.Int32
		var group sync.WaitGroup
		for i := range 100 {
			group.Go(func() {
				id := [...]string{"new", "forged"}[i%2]
				if _, err := keys.Key(t.Context(), id); err == nil {
					found.Add(1)
				} else if outcome(err) == "unknown" {
					unknown.Add(1)
				}
			})
		}
		synctest.Wait() // all hundred wait
		close(w.gate)
		group.Wait()
		expectFetches(t, w, 1+1) // the one they met, or began, and one that began after all had asked
		if found.Load() != 50 || unknown.Load() != 50 {
			t.Errorf("found %d, unknown %d", found.Load(), unknown.Load())
		}
	})
}

func TestAFetchUnderWayProvesNothing(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		old, recent := having("old"), having("old", "new")
		w := &wire{gate: make(chan struct{}), answer: func(number int) (int, string) {
			if number == 1 {
				return old(1)
			}
			return recent(number)
		}}
		keys := w.keySet(nil)
		answers := make(chan string, 3)
		ask := func(id string) {
			_, err := keys.Key(t.Context(), id)
			answers <- id + " " + outcome(err)
		}
		go ask("gone")
		synctest.Wait() // the first fetch is under way
		go ask("new")
		go ask("also gone")
		synctest.Wait()
		w.gate <- struct{}{}
		expect(t, "the one who began the fetch", <-answers, "gone unknown")
		synctest.Wait()
		if len(answers) != 0 {
			t.Fatalf("answered by a fetch that began before: %s", <-answers)
		}
		w.gate <- struct{}{}
		got := map[string]bool{<-answers: true, <-answers: true}
		if !got["new found"] || !got["also gone unknown"] {
			t.Errorf("got %v", got)
		}
		expectFetches(t, w, 2)
	})
}

func TestTheBudgetSlides(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("known")}
		keys := w.keySet(nil)
		for range 3 {
			expect(t, "a burst", ask(t, keys, "forged"), "unknown")
		}
		time.Sleep(20 * time.Second)
		for range 3 {
			expect(t, "a second burst", ask(t, keys, "forged"), "unknown")
		}
		for range 1000 {
			expect(t, "a flood", ask(t, keys, "forged"), "unavailable for 40s")
			expect(t, "a known key in the flood", ask(t, keys, "known"), "found")
		}
		expectFetches(t, w, 6)
		time.Sleep(40*time.Second - time.Nanosecond)
		expect(t, "just before", ask(t, keys, "forged"), "unavailable for 1s")
		time.Sleep(1 * time.Nanosecond)
		for range 3 {
			expect(t, "as many as fell out of the minute", ask(t, keys, "forged"), "unknown")
		}
		expect(t, "no more", ask(t, keys, "forged"), "unavailable for 20s")
		expectFetches(t, w, 9)
	})
}

func TestABudgetOfOneAndOfNone(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("known")}
		one := w.keySet(func(c *forge.KeySetConfig) { c.FetchesPerMinute = 1 })
		expect(t, "the first", ask(t, one, "forged"), "unknown")
		expect(t, "the second", ask(t, one, "forged"), "unavailable for 1m0s")
		none := w.keySet(func(c *forge.KeySetConfig) { c.FetchesPerMinute = -1 })
		expect(t, "no budget", ask(t, none, "known"), "unavailable for 1m0s")
		expectFetches(t, w, 1)
	})
}

func TestKnownKeysServeThroughAnOutage(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("known")}
		keys := w.keySet(nil)
		expect(t, "before", ask(t, keys, "known"), "found")
		for _, bad := range []func(int) (int, string){
			failing,
			func(int) (int, string) {
				return http.StatusServiceUnavailable, keySetText(jwk("forged", &otherKey().PublicKey))
			},
			func(int) (int, string) { return http.StatusOK, keySetText() },
		} {
			w.serve(bad)
			expect(t, "an unknown key", ask(t, keys, "forged"), "unavailable for 1s")
			expect(t, "a known key", ask(t, keys, "known"), "found")
		}
		w.serve(having("next"))
		expect(t, "afterwards", ask(t, keys, "next"), "found")
		expect(t, "a key that is no longer in the set", ask(t, keys, "known"), "unknown")
	})
}

func TestAFetchOutlivesWhoWaits(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("known"), gate: make(chan struct{})}
		keys := w.keySet(nil)
		ctx, cancel := context.WithCancel(t.Context())
		impatient, patient := make(chan error, 1), make(chan error, 1)
		go func() { _, err := keys.Key(ctx, "known"); impatient <- err }()
		synctest.Wait()
		go func() { _, err := keys.Key(t.Context(), "known"); patient <- err }()
		synctest.Wait()
		cancel()
		err := <-impatient
		if !errors.Is(err, context.Canceled) || !strings.HasPrefix(outcome(err), "unavailable") {
			t.Errorf("who went away: got %v", err)
		}
		close(w.gate)
		if err := <-patient; err != nil {
			t.Errorf("who stayed: got %v", err)
		}
		expectFetches(t, w, 1)
	})
}

func TestAFetchThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: failing, gate: make(chan struct{})}
		keys := w.keySet(nil)
		start := time.Now()
		_, err := keys.Key(t.Context(), "x")
		if took := time.Since(start); took != 5*time.Second || !strings.HasPrefix(outcome(err), "unavailable") {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

func TestRunLoadsAndPolls(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: failing}
		var log bytes.Buffer
		keys := w.keySet(func(c *forge.KeySetConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- keys.Run(ctx) }()
		time.Sleep(3600 * time.Millisecond) // fetches at 0, 0.5, 1.5 and 3.5 s
		synctest.Wait()
		expectFetches(t, w, 4)
		if keys.Loaded() {
			t.Error("loaded without any key")
		}
		w.serve(having("first"))
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if expectFetches(t, w, 5); !keys.Loaded() {
			t.Error("not loaded")
		}
		w.serve(having("second"))
		expect(t, "until the poll", ask(t, keys, "first"), "found")
		time.Sleep(time.Hour)
		synctest.Wait()
		expectFetches(t, w, 6)
		expect(t, "after the poll", ask(t, keys, "second"), "found")
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: got %v", err)
		}
		if !strings.Contains(log.String(), "connection refused") || strings.Contains(log.String(), "secret") {
			t.Errorf("log: %s", log.String())
		}
	})
}

func TestPollsDoNotUseTheBudget(t *testing.T) {
	signingKey()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: having("known")}
		keys := w.keySet(func(c *forge.KeySetConfig) { c.PollEvery = time.Second; c.FetchesPerMinute = 1 })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- keys.Run(ctx) }()
		time.Sleep(9500 * time.Millisecond)
		expectFetches(t, w, 10)
		expect(t, "on demand", ask(t, keys, "forged"), "unknown")
		cancel()
		<-ended
	})
}
