// Package demo is a scenario that shows what bellows does: it has a simulator
// make things happen, and tells what was then seen from outside, in the
// simulator's ledger, the dead letters and the state of the queue. It knows
// the rules of examples/quickstart and starts nothing itself.
//
// # Failure handling
//
// Every step has a time in which it must be observed. The first that is not
// ends the scenario with an error that names the step and what was missing.
package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/queue"
	"bellows/internal/simulator"
)

// Config says what the scenario works with. All fields without a stated
// default are required.
type Config struct {
	// Simulator is the control of a simulator that plays Forge for an ingest
	// with the manifest of examples/quickstart. Nothing is installed in it and
	// its scheduled triggers are off.
	Simulator simulator.Client
	// Queue is that of the ingest.
	Queue *queue.Queue
	// Known tells what bellows knows of an installation.
	Known func(ctx context.Context, installation string) (Known, error)
	// Report is told of each step when it has ended.
	Report func(Step)
	// Bound is how long one step may take. Zero or less means 15 s.
	Bound time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) bound() time.Duration {
	if c.Bound <= 0 {
		return 15 * time.Second
	}
	return c.Bound
}

// Known is what bellows knows of an installation.
type Known struct {
	State        string    // empty: nothing
	TokenExpires time.Time // zero: it has no token
}

// Step is what was seen in one step.
type Step struct {
	Number   int      `json:"step"`
	Name     string   `json:"name"`
	Observed []string `json:"observed"`
	Seconds  float64  `json:"seconds"`
	// Error says what was not seen; empty if all was.
	Error string `json:"error,omitempty"`
}

// Totals are what the simulator and the queue counted in the end.
type Totals struct {
	Steps      int `json:"steps"`
	Deliveries int `json:"deliveries"` // calls of Forge's
	Calls      int `json:"calls"`      // calls to Atlassian
	Left       int `json:"left"`       // jobs that still wait or run
	Dead       int `json:"dead"`       // dead letters that are left
}

// scenario is one run.
type scenario struct {
	Config
	installation string
	observed     []string
	seen         []simulator.APICall  // in the step, so far
	delivered    []simulator.Delivery // likewise
	after        int64                // sequence in the ledger up to which all was seen
}

// step is one thing to show.
type step struct {
	name string
	run  func(*scenario, context.Context) error
}

var steps = []step{
	{"the app is installed", (*scenario).install},
	{"an issue is created, the app comments", (*scenario).comment},
	{"a scheduled trigger is due, the app calls", (*scenario).scheduled},
	{"an issue is handed over, the app comments as that person", (*scenario).impersonate},
	{"Forge sends an event twice, it is done once", (*scenario).twice},
	{"Atlassian says 429 with Retry-After, bellows obeys", (*scenario).limited},
	{"a call fails for good, is mended and replayed", (*scenario).letter},
}

// Run carries the scenario out. An error means that a step was not observed;
// it was reported too.
func Run(ctx context.Context, c Config) (Totals, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &scenario{Config: c}
	for i, next := range steps {
		if err := s.do(ctx, i+1, next); err != nil {
			return Totals{Steps: i}, fmt.Errorf("step %d was not observed: %s: %w", i+1, next.name, err)
		}
	}
	return s.totals(ctx)
}

func (s *scenario) do(ctx context.Context, number int, next step) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.bound(), fmt.Errorf("%v have passed", s.bound()))
	defer cancel()
	s.observed, s.seen, s.delivered = []string{}, nil, nil
	began := s.Now()
	err := next.run(s, ctx)
	done := Step{Number: number, Name: next.name, Observed: s.observed, Seconds: s.Now().Sub(began).Seconds()}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		done.Error = err.Error()
	}
	s.Report(done)
	return err
}

// saw notes what was observed.
func (s *scenario) saw(format string, args ...any) {
	s.observed = append(s.observed, fmt.Sprintf(format, args...))
}

func (s *scenario) totals(ctx context.Context) (Totals, error) {
	ctx, cancel := context.WithTimeout(ctx, s.bound())
	defer cancel()
	if err := s.quiet(ctx); err != nil {
		return Totals{}, err
	}
	ledger, err := s.Simulator.Ledger(ctx, simulator.LedgerQuery{})
	if err != nil {
		return Totals{}, err
	}
	stats, err := s.Queue.Stats(ctx)
	if err != nil {
		return Totals{}, err
	}
	t := Totals{
		Steps: len(steps), Deliveries: int(ledger.DeliveriesTotal), Calls: int(ledger.CallsTotal),
		Left: busy(stats), Dead: stats.Dead,
	}
	if t.Left > 0 || t.Dead > 0 {
		return t, fmt.Errorf("jobs are left behind: %d unfinished, %d dead", t.Left, t.Dead)
	}
	return t, nil
}

func busy(s queue.Stats) int { return s.Waiting + s.Running + s.Delayed + s.Held }
