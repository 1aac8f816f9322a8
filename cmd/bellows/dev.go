package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/simulator"
)

// Defaults of --manifest and --config, as ingest and worker have them.
const (
	defaultManifest = "manifest.yml"
	defaultRules    = "bellows.yaml"
)

// lookEvery is how often dev looks whether the rule file was edited.
const lookEvery = time.Second

type devCmd struct {
	Data            string  `name:"data" placeholder:"DIR" help:"Folder to keep everything in. Without it, one that is removed at the end."`
	SimulatorListen string  `name:"simulator-listen" default:"127.0.0.1:9470" help:"Address of the simulator."`
	TimeScale       float64 `name:"time-scale" default:"0.02" help:"Shrinks delays between deliveries, intervals and token lives: 0.02 makes an hour 72 s."`
	machineFlags
}

// Help is shown after the one-line help.
func (devCmd) Help() string {
	return `Like "bellows up", with a simulator of Forge and Atlassian in the same process: no account and no network is
needed. Where there is no manifest.yml or bellows.yaml here and none is named, a built-in one is used. The
key set, the GraphQL gateway and the API hosts are the simulator's. An edit of the rule file is used from the next
job on, without a restart; the log says which version, or what is wrong with it, and then the old rules stay.

    bellows dev
    bellows dev --manifest app/manifest.yml --config rules.yaml --log-level debug

Then, in another terminal:

    bellows trigger avi:jira:created:issue
    bellows dlq list`
}

// Run runs everything until ctx ends.
func (c *devCmd) Run(ctx context.Context, t terminal) error {
	if c.TimeScale <= 0 {
		return daemon.Misuse("bellows dev", "--time-scale is %v, want more than 0", c.TimeScale)
	}
	dir, remove, err := dataFolder(c.Data)
	if err != nil {
		return err
	}
	defer remove()
	if err := c.builtIn(dir); err != nil {
		return err
	}
	s, err := newSimulated(ctx, c.machineFlags, simulation{listen: c.SimulatorListen, timeScale: c.TimeScale, tokenLife: c.tokenLife()}, dir, t)
	if err != nil {
		return err
	}
	looks := time.NewTicker(lookEvery)
	defer looks.Stop()
	s.worker.Look = looks.C
	return s.run(ctx, func(ctx context.Context, at addresses) error {
		if err := s.tellInstalled(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		c.print(t, s, at)
		return s.sim.Run(ctx)
	})
}

// tokenLife shrinks Forge's four hours (changelog CHANGE-2160), but not below
// what a worker counts as alive: it hands no token out in its last ten seconds.
func (c *devCmd) tokenLife() time.Duration {
	return max(time.Duration(float64(systemTokenLife)*c.TimeScale), time.Minute)
}

// dataFolder returns the folder to keep everything in; remove takes it away
// again if it was made for this run.
func dataFolder(chosen string) (dir string, remove func(), err error) {
	if chosen != "" {
		return chosen, func() {}, nil
	}
	dir, err = os.MkdirTemp("", "bellows-")
	if err != nil {
		return "", nil, fmt.Errorf("making data folder: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// builtIn takes the built-in files for those that are neither named nor here.
func (c *devCmd) builtIn(dir string) error {
	needManifest := c.Ingest.Manifest == defaultManifest && missing(defaultManifest)
	needRules := c.Config == defaultRules && missing(defaultRules)
	if !needManifest && !needRules {
		return nil
	}
	m, r, err := writeQuickstart(filepath.Join(dir, "quickstart"))
	if needManifest {
		c.Ingest.Manifest = m
	}
	if needRules {
		c.Config = r
	}
	return err
}

func missing(name string) bool {
	_, err := os.Stat(name)
	return errors.Is(err, fs.ErrNotExist)
}

// tellInstalled delivers the lifecycle event of the installations that the
// simulator begins with, where the manifest asks for it: it brings the first
// token.
func (s *simulated) tellInstalled(ctx context.Context) error {
	for _, i := range s.sim.Installations() {
		_, err := s.sim.Trigger(ctx, simulator.TriggerRequest{Event: "avi:forge:installed:app", Installation: i.ID})
		if refused := (*simulator.Error)(nil); err != nil && !errors.As(err, &refused) {
			return fmt.Errorf("telling of the installation: %w", err)
		}
	}
	return nil
}

// print says all that a developer may want to copy.
func (c *devCmd) print(t terminal, s *simulated, at addresses) {
	t.print("bellows is ready for development, NOT FOR PRODUCTION: the simulator signs whatever it is asked for\n\n")
	t.print("ingest     %s\n", at.Ingest)
	for _, h := range s.hooks() {
		t.print("           POST %s\n", h)
	}
	t.print("private    %s (ingest)  %s (worker)\n", at.IngestOps, at.WorkerOps)
	t.print("NATS       %s\n", at.NATS)
	t.print("simulator  %s\n", s.url)
	t.print("  key set  %s/.well-known/jwks.json\n", s.url)
	t.print("  GraphQL  %s/graphql\n", s.url)
	t.print("  control  %s/_sim/state\n", s.url)
	for _, i := range s.sim.Installations() {
		for _, product := range i.Products {
			t.print("  API      %s/ex/%s/%s%s\n", s.url, product, i.CloudID, i.WorkspaceID)
		}
	}
	t.print("manifest   %s\nrules      %s   (edit it: the next job uses it)\n", s.ingest.Manifest, c.Config)
	t.print("keys       %s  %s\n", given(s.worker.VaultKeyFile), given(s.ingest.VaultPublicKeyFile))
	t.print("\n%s\n\n", c.commands(s, at))
}

func given(file string) string {
	if file == "" {
		return "(given as a flag)"
	}
	return file
}

func (s *simulated) hooks() []string {
	hooks, err := s.manifest.Hooks(s.ingest.BasePath)
	if err != nil {
		return nil // ingest would not run
	}
	paths := make([]string, 0, len(hooks))
	for _, h := range hooks {
		paths = append(paths, h.Path)
	}
	return paths
}

// commands are lines to copy into another terminal, with the flags that this
// run needs.
func (c *devCmd) commands(s *simulated, at addresses) string {
	trigger, look := "bellows trigger "+s.anEvent(), "bellows dlq list"
	if s.url != "http://127.0.0.1:9470" {
		trigger += " --simulator " + s.url
	}
	if at.NATS != "nats://127.0.0.1:4222" {
		look += " --nats " + at.NATS
	}
	if c.Prefix != "bellows" {
		look += " --prefix " + c.Prefix
	}
	return "try in another terminal:\n\n    " + trigger + "\n    " + look
}

// anEvent is the first event of a product that the manifest asks for.
func (s *simulated) anEvent() string {
	for _, t := range s.manifest.Triggers {
		for _, e := range t.Events {
			if !strings.HasPrefix(e, "avi:forge:") {
				return e
			}
		}
	}
	return "--list"
}
