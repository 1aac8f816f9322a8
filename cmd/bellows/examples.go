package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"bellows/examples/quickstart"
	"bellows/internal/daemon"
	"bellows/internal/manifest"
	"bellows/internal/rules"
	"bellows/internal/simulator"
)

// exampleTimeout bounds the making of one example.
const exampleTimeout = 5 * time.Second

// examples are bodies of events, as the simulator delivers them: to a port of
// this process, since a body that was delivered is what a rule will see.
type examples struct {
	sim    *simulator.Simulator
	target string
	server *http.Server
	got    chan []byte
	known  map[string]any // :: event → decoded body; nil: there is none
}

// newExamples starts the simulator; the caller closes it.
func newExamples(ctx context.Context) (*examples, error) {
	m, err := manifest.Parse("manifest.yml", quickstart.Manifest)
	if err != nil {
		return nil, err
	}
	l, err := daemon.Listen("listen", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &examples{target: urlOf(l.Addr()) + "/event", got: make(chan []byte, 1), known: map[string]any{}}
	e.server = &http.Server{Handler: http.HandlerFunc(e.take), ReadHeaderTimeout: exampleTimeout}
	go func() { _ = e.server.Serve(l) }() // ends with close
	e.sim, err = simulator.New(simulator.Config{Manifest: m, Remote: e.target, PublicURL: e.target, Keys: 1, Seed: 1, Bare: true, NoSchedules: true})
	for _, products := range [][]string{{"jira", "confluence"}, {"bitbucket"}} {
		if err == nil {
			_, err = e.sim.Install(ctx, simulator.InstallRequest{Products: products, Silent: true})
		}
	}
	if err != nil {
		e.close()
		return nil, fmt.Errorf("making example events: %w", err)
	}
	return e, nil
}

func (e *examples) close() { _ = e.server.Close() }

// take receives a delivery.
func (e *examples) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-e.got: // of an event that several triggers name
	default:
	}
	e.got <- body
	w.WriteHeader(http.StatusNoContent)
}

// of gives the decoded body of an event; false when there is no example.
func (e *examples) of(ctx context.Context, event string) (any, bool) {
	body, ok := e.known[event]
	if !ok {
		body = e.make(ctx, event)
		e.known[event] = body
	}
	return body, body != nil
}

func (e *examples) make(ctx context.Context, event string) any {
	ctx, cancel := context.WithTimeout(ctx, exampleTimeout)
	defer cancel()
	result, err := e.sim.Trigger(ctx, simulator.TriggerRequest{Event: event, Target: e.target})
	if err != nil || !result.Delivered() {
		return nil // the rules are checked without
	}
	body, err := rules.DecodeEvent(<-e.got)
	if err != nil {
		return nil
	}
	return body
}

// eventNames are the names of the catalogue.
func eventNames() []string {
	all := simulator.Catalogue()
	names := make([]string, 0, len(all))
	for _, e := range all {
		names = append(names, e.Event)
	}
	return names
}
