package worker

import (
	"context"
	"sync"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/vault"
)

const (
	// heldScan is how often a worker looks for waiting jobs that it does not
	// know of: other workers set jobs aside too.
	heldScan = 15 * time.Second
	// pumpTimeout bounds one move of an installation's waiting jobs.
	pumpTimeout = 5 * time.Minute
)

// heldLanes brings jobs that wait for a token back when one arrives, and those
// that have waited too long.
type heldLanes struct {
	w     *Worker
	woken chan string // installations to look at now

	mu    sync.Mutex
	known map[string]bool // :: installation → jobs of it wait, as far as this worker knows
}

func newHeldLanes(w *Worker) *heldLanes {
	return &heldLanes{w: w, woken: make(chan string, 1024), known: map[string]bool{}}
}

// note says that a job of an installation was set aside. A token may have come
// in the same moment: then it is woken at once.
func (h *heldLanes) note(ctx context.Context, installation string) {
	h.mu.Lock()
	h.known[installation] = true
	h.mu.Unlock()
	if h.live(ctx, installation) {
		h.wake(installation)
	}
}

// wake says that a newer token of an installation has arrived.
func (h *heldLanes) wake(installation string) {
	h.mu.Lock()
	known := h.known[installation]
	h.mu.Unlock()
	if !known {
		return
	}
	select {
	case h.woken <- installation:
	default: // so many are being woken that the next scan will find it
	}
}

// live reports whether a job of the installation would get a token now. It
// asks what the job will ask: what is nearly expired, or cannot be read, would
// only send the job round in circles.
func (h *heldLanes) live(ctx context.Context, installation string) bool {
	try, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := h.w.Tokens.Token(try, vault.Owner{Installation: installation}, 0)
	return err == nil
}

// run wakes lanes until ctx ends.
func (h *heldLanes) run(ctx context.Context) {
	ticker := time.NewTicker(heldScan)
	defer ticker.Stop()
	h.scan(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case installation := <-h.woken:
			h.pump(ctx, installation)
		case <-ticker.C:
			h.scan(ctx)
		}
	}
}

func (h *heldLanes) scan(ctx context.Context) {
	try, cancel := context.WithTimeout(ctx, storeTimeout)
	held, err := h.w.Queue.Held(try)
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			h.w.log.Warn("looking for waiting jobs failed", "error", err)
		}
		return
	}
	h.mu.Lock()
	clear(h.known)
	for installation := range held {
		h.known[installation] = true
	}
	h.mu.Unlock()
	for installation := range held {
		h.pump(ctx, installation)
	}
}

// pump moves all jobs of an installation that has a live token, and otherwise
// those that have waited longer than their rule allows: they come to an end.
func (h *heldLanes) pump(ctx context.Context, installation string) {
	try, cancel := context.WithTimeout(ctx, pumpTimeout)
	defer cancel()
	var n int
	var err error
	if h.live(ctx, installation) {
		n, err = h.w.Queue.Pump(try, installation)
	} else {
		n, err = h.w.Queue.PumpWhile(try, installation, h.expired)
	}
	if err != nil && ctx.Err() == nil {
		h.w.log.Warn("waking jobs failed", "installation", installation, "error", err)
	}
	if n > 0 {
		h.w.log.Info("jobs woken", "installation", installation, "jobs", n)
	}
}

func (h *heldLanes) expired(job jobs.Job) bool {
	limit := jobs.DefaultMaxAge
	if rule, ok := h.w.current.Load().rule(job.Rule); ok {
		limit = rule.MaxAge()
	}
	return h.w.Now().Sub(job.Since) > limit
}
