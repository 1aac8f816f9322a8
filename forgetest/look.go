package forgetest

import (
	"context"
	"strings"

	"bellows/internal/queue"
	"bellows/internal/simulator"
)

// Call is a call that one of Atlassian's APIs got.
type Call struct {
	Method string
	// Path is below the product's API, escaped.
	Path  string
	Query string
	// Body is what was sent, at most its first 4 KiB.
	Body string
	// Actor is "app", or the id of the account in whose name it was made.
	Actor string
	// Status is the answer's; zero means that none came.
	Status int
}

// Calls are the calls that were made, oldest first. Those that bellows makes by
// itself, for tokens, are left out.
func (a *App) Calls() []Call {
	var calls []Call
	bot := a.sim.State().Bot
	for _, c := range a.sim.Ledger(context.Background(), simulator.LedgerQuery{After: a.after}).Calls {
		path, ok := belowProduct(c.Path)
		if !ok {
			continue
		}
		call := Call{Method: c.Method, Path: path, Query: c.Query, Body: c.Body, Actor: c.Actor, Status: c.Status}
		if call.Actor == bot {
			call.Actor = "app"
		}
		calls = append(calls, call)
	}
	return calls
}

// belowProduct takes /ex/<product>/<site> off a path.
func belowProduct(path string) (rest string, ok bool) {
	parts := strings.SplitN(path, "/", 5)
	if len(parts) != 5 || parts[1] != "ex" {
		return "", false
	}
	return "/" + parts[4], true
}

// Forget makes Calls leave out what was called so far.
func (a *App) Forget() {
	ledger := a.sim.Ledger(context.Background(), simulator.LedgerQuery{})
	for _, c := range ledger.Calls {
		a.after = max(a.after, c.Sequence)
	}
}

// DeadLetter is a job that could not be done.
type DeadLetter struct {
	// Reason is one of crashed, expired, exhausted, no_token, rejected,
	// unknown_effect, fatal, undecodable.
	Reason string
	// Event is the type of the job, Handler the name of its handler or rule.
	Event, Handler string
	// Error is what its last attempt ended with; Status, Method and Path are
	// those of the call that failed, if it was one.
	Error        string
	Status       int
	Method, Path string
	// Attempts is how many there were.
	Attempts int
}

// DeadLetters are all dead letters, newest first.
func (a *App) DeadLetters() []DeadLetter {
	ctx, cancel := context.WithTimeout(context.Background(), a.config.timeout())
	defer cancel()
	var letters []DeadLetter
	for l, err := range a.queue.Letters(ctx, queue.Filter{}) {
		if err != nil {
			a.fail("reading dead letters: %v", err)
			return letters
		}
		letters = append(letters, DeadLetter{
			Reason: string(l.Reason), Event: l.Event, Handler: l.Rule, Error: l.Error,
			Status: l.Status, Method: l.Method, Path: l.Path, Attempts: l.Attempts,
		})
	}
	return letters
}

// Replay runs the jobs of all dead letters again, behind the steps they have
// finished.
func (a *App) Replay() {
	ctx, cancel := context.WithTimeout(context.Background(), a.config.timeout())
	defer cancel()
	for l, err := range a.queue.Letters(ctx, queue.Filter{}) {
		if err == nil {
			err = a.queue.Replay(ctx, l, l.At, false)
		}
		if err != nil {
			a.fail("replaying dead letters: %v", err)
			return
		}
	}
}
