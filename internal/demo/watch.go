package demo

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"bellows/internal/simulator"
)

const (
	// lookPause is the wait between two looks at what cannot be waited for.
	lookPause = 20 * time.Millisecond
	// ledgerWait is how long the simulator holds one question for its ledger.
	ledgerWait = time.Second
)

// await returns the first call of this step that wanted fits, once it is in
// the simulator's ledger.
func (s *scenario) await(ctx context.Context, what string, wanted func(simulator.APICall) bool) (simulator.APICall, error) {
	for {
		if found := s.matching(wanted); len(found) > 0 {
			return found[0], nil
		}
		if err := s.look(ctx, ledgerWait); err != nil {
			return simulator.APICall{}, fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

// look reads what is new in the ledger.
func (s *scenario) look(ctx context.Context, wait time.Duration) error {
	ledger, err := s.Simulator.Ledger(ctx, simulator.LedgerQuery{After: s.after, Wait: wait})
	if err != nil {
		return err
	}
	for _, c := range ledger.Calls {
		s.seen = append(s.seen, c)
		s.after = max(s.after, c.Sequence)
	}
	for _, d := range ledger.Deliveries {
		s.delivered = append(s.delivered, d)
		s.after = max(s.after, d.Sequence)
	}
	return nil
}

// awaitDelivery returns the first delivery of this step of an event, once it
// is in the simulator's ledger.
func (s *scenario) awaitDelivery(ctx context.Context, event string) (simulator.Delivery, error) {
	for {
		for _, d := range s.delivered {
			if d.Event == event {
				return accepted([]simulator.Delivery{d})
			}
		}
		if err := s.look(ctx, ledgerWait); err != nil {
			return simulator.Delivery{}, fmt.Errorf("waiting for a delivery of %q: %w", event, err)
		}
	}
}

// matching are the calls of this step, as far as they were seen.
func (s *scenario) matching(wanted func(simulator.APICall) bool) []simulator.APICall {
	var found []simulator.APICall
	for _, c := range s.seen {
		if wanted(c) {
			found = append(found, c)
		}
	}
	return found
}

// quiet waits until no job waits or runs any more, and then looks at the
// ledger once more: what has not been called by then never will be.
func (s *scenario) quiet(ctx context.Context) error {
	return s.until(ctx, "all jobs to end", func() (bool, error) {
		stats, err := s.Queue.Stats(ctx)
		if err != nil || busy(stats) > 0 {
			return false, err
		}
		return true, s.look(ctx, 0)
	})
}

// until asks again and again until the answer is yes.
func (s *scenario) until(ctx context.Context, what string, yes func() (bool, error)) error {
	for {
		done, err := yes()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(lookPause):
		}
	}
}

// trigger has the simulator deliver an event about an issue, and fails unless
// it was accepted.
func (s *scenario) trigger(ctx context.Context, event, issue string, options simulator.DeliveryOptions) (simulator.Delivery, error) {
	result, err := s.Simulator.Trigger(ctx, simulator.TriggerRequest{
		Event: event, Installation: s.installation, Set: map[string]any{"issue.key": issue}, DeliveryOptions: options,
	})
	if err != nil {
		return simulator.Delivery{}, err
	}
	return accepted(result.Deliveries)
}

func accepted(all []simulator.Delivery) (simulator.Delivery, error) {
	if len(all) != 1 {
		return simulator.Delivery{}, fmt.Errorf("there were %d deliveries, want one", len(all))
	}
	d := all[0]
	if last := d.Last(); d.Outcome != simulator.OutcomeDelivered || last.Status != http.StatusAccepted {
		return d, fmt.Errorf("%s was answered with %d: %s %s", d.Event, last.Status, last.Answer, last.Error)
	}
	return d, nil
}

// commentOn fits calls that write a comment on an issue.
func commentOn(issue string) func(simulator.APICall) bool {
	return func(c simulator.APICall) bool {
		return c.Method == http.MethodPost && strings.HasSuffix(c.Path, "/rest/api/3/issue/"+issue+"/comment")
	}
}

// answered narrows calls down to those that were answered with a status.
func answered(status int, wanted func(simulator.APICall) bool) func(simulator.APICall) bool {
	return func(c simulator.APICall) bool { return c.Status == status && wanted(c) }
}

// told writes a call as a person reads it.
func told(c simulator.APICall) string {
	path := c.Path
	if _, rest, ok := strings.Cut(strings.TrimPrefix(path, "/ex/"), "/"); ok && strings.HasPrefix(path, "/ex/") {
		if _, below, ok := strings.Cut(rest, "/"); ok {
			path = "/" + below
		}
	}
	return fmt.Sprintf("%s %s → %d", c.Method, path, c.Status)
}

// took is how long a backend took to answer.
func took(a simulator.Attempt) string {
	return time.Duration(a.DurationMS * float64(time.Millisecond)).Round(100 * time.Microsecond).String()
}
