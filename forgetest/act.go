package forgetest

import (
	"context"
	"fmt"

	"bellows/internal/simulator"
)

// Trigger makes an event, as somebody's act in the product would, and returns
// when it was delivered and accepted. Each set is PATH=VALUE and changes its
// body: "issue.key=PEL-1", "issue.fields.summary=Crates". A value that is JSON
// is that value.
func (a *App) Trigger(event string, set ...string) {
	r := simulator.TriggerRequest{Event: event, Set: map[string]any{}}
	for _, text := range set {
		path, value, err := simulator.ParseSet(text)
		if err != nil {
			a.fail("triggering %q: %v", event, err)
			return
		}
		r.Set[path] = value
	}
	a.deliver(event, func(ctx context.Context) (simulator.TriggerResult, error) { return a.sim.Trigger(ctx, r) })
}

// Scheduled runs a scheduled trigger now, by its key in the manifest.
func (a *App) Scheduled(key string) {
	a.deliver(key, func(ctx context.Context) (simulator.TriggerResult, error) {
		return a.sim.RunScheduled(ctx, simulator.ScheduledRequest{Key: key})
	})
}

func (a *App) deliver(what string, how func(context.Context) (simulator.TriggerResult, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), a.config.timeout())
	defer cancel()
	result, err := how(ctx)
	switch {
	case err != nil:
		a.fail("triggering %q: %v", what, err)
	case len(result.Deliveries) == 0:
		a.fail("triggering %q: no module of the manifest is for it", what)
	case !result.Delivered():
		last := result.Deliveries[0].Last()
		a.fail("triggering %q: it was not accepted: status %d %s %s", what, last.Status, last.Answer, last.Error)
	}
}

// Person makes an account known to the site, by its account id, so that an
// event can be its act ("atlassianId=712020:ann") and the app can call in its
// name.
func (a *App) Person(accountID string) {
	a.sim.AddAccount(simulator.Account{ID: accountID})
}

// Fault makes calls to Atlassian fail.
type Fault struct {
	// Method and Path say which calls: empty means all. Path is a pattern over
	// the path below the product's API: * stands for anything but a slash, **
	// for anything.
	Method, Path string
	// Times is for how many calls. Zero or less means all that follow.
	Times int
	// Status and RetryAfter are the answer. A RetryAfter that is empty is left
	// out. With status zero the connection is dropped.
	Status     int
	RetryAfter string
	// Effect carries the call out all the same: only its answer is lost.
	Effect bool
}

// Fault adds a fault. One that was added earlier is taken first.
func (a *App) Fault(f Fault) {
	added := simulator.Fault{Method: f.Method, Path: f.Path, Times: f.Times, Status: f.Status, Drop: f.Status == 0, Effect: f.Effect}
	if f.RetryAfter != "" {
		added.Headers = map[string]string{"Retry-After": f.RetryAfter}
	}
	if _, err := a.sim.SetFault(added); err != nil {
		a.fail("setting a fault: %v", err)
	}
}

// String names a call on one line.
func (c Call) String() string {
	path := c.Path
	if c.Query != "" {
		path += "?" + c.Query
	}
	return fmt.Sprintf("%s %s as %s: %d", c.Method, path, c.Actor, c.Status)
}
