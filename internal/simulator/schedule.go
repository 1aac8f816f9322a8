package simulator

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"bellows/internal/manifest"
)

// shortestInterval keeps a tiny time scale from calling without a pause.
const shortestInterval = 10 * time.Millisecond

// Schedules switches scheduled triggers on or off.
type Schedules struct {
	On bool `json:"on"`
}

// SetSchedules switches scheduled triggers on or off for Run.
func (s *Simulator) SetSchedules(to Schedules) Schedules {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedules = to.On
	s.wakeLocked()
	return to
}

// slot is one scheduled trigger of one installation.
type slot struct{ installation, trigger string }

// schedule is the timetable of Run.
type schedule struct {
	*Simulator
	due     map[slot]time.Time
	calls   sync.WaitGroup
	running sync.Map // :: slot → present while its call is under way
}

func newSchedule(s *Simulator) *schedule {
	return &schedule{Simulator: s, due: map[slot]time.Time{}}
}

// run calls what is due until ctx ends, and waits for calls under way.
func (sc *schedule) run(ctx context.Context) {
	defer sc.calls.Wait()
	for {
		next := sc.pass(ctx)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-sc.replan:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// pass starts every call that is due and returns how long nothing will be.
func (sc *schedule) pass(ctx context.Context) time.Duration {
	sc.mu.Lock()
	on := sc.schedules
	sc.mu.Unlock()
	now := sc.now()
	next := time.Hour // a change wakes run earlier
	seen := map[slot]bool{}
	for _, i := range sc.Installations() {
		if !on || i.State != stateInstalled {
			continue
		}
		for _, h := range sc.hooks {
			for _, t := range h.Scheduled {
				at := slot{i.ID, t.Key}
				seen[at] = true
				next = min(next, sc.visit(ctx, at, i, h, t, now))
			}
		}
	}
	for at := range sc.due {
		if !seen[at] {
			delete(sc.due, at)
		}
	}
	return next
}

// visit calls one slot if it is due and returns when it will be next.
func (sc *schedule) visit(ctx context.Context, at slot, i Installation, h manifest.Hook, t manifest.ScheduledTrigger, now time.Time) time.Duration {
	every := max(sc.cfg.scaled(t.Every()), shortestInterval)
	due, planned := sc.due[at]
	if !planned {
		due = now.Add(offset(at, every))
		sc.due[at] = due
	}
	if due.After(now) {
		return due.Sub(now)
	}
	for !due.After(now) {
		due = due.Add(every)
	}
	sc.due[at] = due
	if _, busy := sc.running.LoadOrStore(at, true); !busy {
		sc.calls.Go(func() {
			defer sc.running.Delete(at)
			sc.deliver(ctx, sc.scheduledCall(h, t.Key, i, ScheduledRequest{}))
		})
	}
	return due.Sub(now)
}

// offset spreads the installations over an interval; an installation keeps its
// place, as Forge staggers them.
func offset(at slot, every time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(at.installation + "/" + at.trigger)) // a hash never fails
	return time.Duration(h.Sum64() % uint64(every))
}
