package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/demo"
	"bellows/internal/simulator"
)

const (
	// demoLimit bounds all of it.
	demoLimit = 55 * time.Second
	// demoScale makes an hour 3.6 s and the minute between deliveries 60 ms.
	demoScale = 0.001
	// systemTokenLife is Forge's (changelog CHANGE-2160); the demo leaves it as
	// it is: scaled, a token would not outlive it.
	systemTokenLife = 4 * time.Hour
)

type demoCmd struct {
	JSON    bool `name:"json" help:"One JSON object a step."`
	Verbose bool `name:"verbose" short:"v" help:"Show the logs of the parts, on stderr."`
}

// Help is shown after the one-line help.
func (demoCmd) Help() string {
	return `Starts NATS, ingest, a worker and the simulator on free ports, in a temporary folder, and has things happen.
What it prints was seen in the simulator's ledger, the dead letters and the queue. Exit code 0 only if every
step was seen in its time. The app is that of examples/quickstart.

    bellows demo
    bellows demo --json | jq -c '[.step, .observed]'`
}

// Run runs the scenario.
func (c *demoCmd) Run(ctx context.Context, t terminal) error {
	ctx, cancel := context.WithTimeout(ctx, demoLimit)
	defer cancel()
	dir, remove, err := dataFolder("")
	if err != nil {
		return err
	}
	defer remove()
	flags, err := demoFlags(dir)
	if err != nil {
		return err
	}
	s, err := newSimulated(ctx, flags, simulation{listen: "127.0.0.1:0", timeScale: demoScale, tokenLife: systemTokenLife, bare: true}, dir, c.logs(t))
	if err != nil {
		return err
	}
	began := time.Now()
	finished := false
	err = s.run(ctx, func(ctx context.Context, _ addresses) error {
		err := s.withTimetable(ctx, func() error { return c.scenario(ctx, t, s, began) })
		finished = err == nil
		return err
	})
	if err == nil && !finished {
		err = fmt.Errorf("the demo was stopped: %w", ctx.Err())
	}
	return err
}

// withTimetable runs f while the simulator calls scheduled triggers.
func (s *simulated) withTimetable(ctx context.Context, f func() error) error {
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.sim.Run(ctx) }()
	err := f()
	stop()
	return errors.Join(err, <-ended)
}

// logs is the terminal that the parts write to.
func (c *demoCmd) logs(t terminal) terminal {
	if !c.Verbose {
		t.err = io.Discard
	}
	return t
}

// demoFlags put everything on free ports; what they leave out has the default
// that its room gives it.
func demoFlags(dir string) (machineFlags, error) {
	f := machineFlags{
		OpsListen: "127.0.0.1:0", WorkerOpsListen: "127.0.0.1:0", NATS: "nats://127.0.0.1:0", Prefix: "bellows",
		Log: daemon.Log{Format: "text", Level: "info"},
	}
	f.Ingest.Listen, f.Worker.EgressListen = "127.0.0.1:0", "127.0.0.1:0"
	f.Worker.DrainTimeout = 5 * time.Second
	var err error
	f.Ingest.Manifest, f.Config, err = writeQuickstart(filepath.Join(dir, "quickstart"))
	return f, err
}

// scenario runs the scenario against the machine and prints it.
func (c *demoCmd) scenario(ctx context.Context, t terminal, s *simulated, began time.Time) error {
	b, err := daemon.Reach(ctx, daemon.NATS{NATS: s.machine.server.URL(), Prefix: "bellows"}.Options("bellows-demo", nil))
	if err != nil {
		return err
	}
	defer b.Queue.Close()
	totals, err := demo.Run(ctx, demo.Config{
		Simulator: simulator.Client{URL: s.url},
		Queue:     b.Queue,
		Report:    func(step demo.Step) { c.report(t, step) },
		Known: func(ctx context.Context, installation string) (demo.Known, error) {
			return known(ctx, b, installation)
		},
	})
	if err != nil {
		return err
	}
	c.total(t, totals, time.Since(began))
	return nil
}

func known(ctx context.Context, b *daemon.Broker, installation string) (demo.Known, error) {
	all, err := readInstalled(ctx, b.Store)
	if err != nil {
		return demo.Known{}, err
	}
	for _, i := range all {
		if i.ID == installation {
			return demo.Known{State: i.State, TokenExpires: i.expires}, nil
		}
	}
	return demo.Known{}, nil
}

func (c *demoCmd) report(t terminal, step demo.Step) {
	if c.JSON {
		t.line(step)
		return
	}
	t.print("%d  %s  (%.1f s)\n", step.Number, step.Name, step.Seconds)
	for _, seen := range step.Observed {
		t.print("     %s\n", seen)
	}
}

func (c *demoCmd) total(t terminal, n demo.Totals, took time.Duration) {
	if c.JSON {
		t.line(struct {
			demo.Totals
			Seconds float64 `json:"seconds"`
			OK      bool    `json:"ok"`
		}{n, took.Seconds(), true})
		return
	}
	t.print("\nall %d steps were observed in %.1f s: %d calls of Forge's, %d calls to Atlassian, %d jobs left, %d dead letters left\n",
		n.Steps, took.Seconds(), n.Deliveries, n.Calls, n.Left, n.Dead)
}

// line writes v to stdout as one line of JSON.
func (t terminal) line(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		t.say("error: writing JSON: %v", err)
		return
	}
	t.print("%s\n", text)
}
