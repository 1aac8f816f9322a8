package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"bellows/internal/daemon"
	"bellows/internal/manifest"
	"bellows/internal/simulator"
)

type simulatorCmd struct {
	Listen    string  `name:"listen" default:"127.0.0.1:9470" help:"Address of the simulator."`
	Manifest  string  `name:"manifest" default:"manifest.yml" placeholder:"FILE" help:"The Forge app's manifest."`
	Remote    string  `name:"remote" required:"" placeholder:"URL" help:"Your backend, such as http://127.0.0.1:8080. A path in it takes the place of the path in the manifest's baseUrl."`
	PublicURL string  `name:"public-url" placeholder:"URL" help:"Where your backend reaches the simulator. Default: its address."`
	TimeScale float64 `name:"time-scale" default:"1" help:"Shrinks delays between deliveries, intervals and token lives; never the 5 s that a backend has to answer."`
	daemon.Log
}

// Help is shown after the one-line help.
func (simulatorCmd) Help() string {
	return `Plays Forge and Atlassian for the backend of one app, in any language: signs invocation tokens, delivers
events with up to four repetitions, calls scheduled triggers, and answers the REST APIs of Jira and Confluence
and the GraphQL gateway from memory.

    bellows simulator --manifest manifest.yml --remote http://127.0.0.1:3000 --time-scale 0.01
    bellows trigger avi:jira:created:issue

Point your backend at its key set, <listen>/.well-known/jwks.json, and at <listen>/graphql; the base URL of the
APIs is in every invocation token. Control: <listen>/_sim/state, /_sim/ledger, /_sim/faults and others.`
}

// Run serves until ctx ends.
func (c *simulatorCmd) Run(ctx context.Context, t terminal) error {
	if c.TimeScale <= 0 {
		return daemon.Misuse("bellows simulator", "--time-scale is %v, want more than 0", c.TimeScale)
	}
	m, err := manifest.Load(c.Manifest)
	if err != nil {
		return err
	}
	l, err := daemon.Listen("listen", c.Listen)
	if err != nil {
		return err
	}
	public := c.PublicURL
	if public == "" {
		public = urlOf(l.Addr())
	}
	log := c.Logger(t.err)
	sim, err := simulator.New(simulator.Config{Manifest: m, Remote: c.Remote, PublicURL: public, TimeScale: c.TimeScale, Logger: log})
	if err != nil {
		_ = l.Close()
		return err
	}
	printSimulator(t, public)
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return sim.Run(inner) })
	group.Go(func() error { return daemon.Serve(inner, simulatorServer(inner, sim, log), l) })
	return group.Wait()
}

// simulatorServer serves sim; calls under way end with ctx, also those that
// were told to hang.
func simulatorServer(ctx context.Context, sim *simulator.Simulator, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: sim.Handler(), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func printSimulator(t terminal, public string) {
	public = strings.TrimSuffix(public, "/")
	t.print("key set   %s/.well-known/jwks.json\n", public)
	t.print("APIs      %s/ex/<product>/<cloud id>/…\n", public)
	t.print("GraphQL   %s/graphql\n", public)
	t.print("control   %s/_sim/state\n", public)
}
