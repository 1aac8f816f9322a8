package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bellows/examples/quickstart"
	"bellows/internal/daemon"
	"bellows/internal/forge"
	"bellows/internal/manifest"
	"bellows/internal/simulator"
)

// simulation says how the simulator of a machine behaves.
type simulation struct {
	listen    string
	timeScale float64
	tokenLife time.Duration // of system tokens; zero scales Forge's
	bare      bool          // nothing is installed, and scheduled triggers are off
}

// simulated is a machine with a simulator in the same process that plays Forge
// and Atlassian for it.
type simulated struct {
	*machine
	manifest *manifest.Manifest
	url      string // of the simulator
	listener net.Listener

	// sim and failed are set once ingest listens, before foreground runs.
	sim    *simulator.Simulator
	failed error
	server *http.Server
}

// newSimulated puts a simulator beside a machine. The simulator can only be
// made when ingest's address is known, and ingest must know the simulator's:
// so its port is opened first, and it is made in between.
func newSimulated(ctx context.Context, f machineFlags, o simulation, dir string, t terminal) (*simulated, error) {
	m, err := manifest.Load(f.Ingest.Manifest)
	if err != nil {
		return nil, err
	}
	l, err := daemon.Listen("simulator-listen", o.listen)
	if err != nil {
		return nil, err
	}
	s := &simulated{manifest: m, url: urlOf(l.Addr()), listener: l}
	s.pointAt(&f)
	if s.machine, err = newMachine(f, dir, t); err != nil {
		_ = l.Close()
		return nil, err
	}
	s.ingest.Every = func(t manifest.ScheduledTrigger) time.Duration {
		return time.Duration(float64(t.Every()) * o.timeScale) // else a scheduled call seems to be the one before, sent again
	}
	tell := s.ingest.Listening
	s.ingest.Listening = func(public, private net.Addr) {
		s.start(ctx, o, remoteOf(public, f.Ingest.BasePath), f.Logger(t.err).With("part", "simulator"))
		tell(public, private)
	}
	return s, nil
}

// pointAt makes the daemons use the simulator where they would use Atlassian.
func (s *simulated) pointAt(f *machineFlags) {
	if f.Ingest.JWKSURL == "" || f.Ingest.JWKSURL == forge.DefaultKeySetURL {
		f.Ingest.JWKSURL = s.url + "/.well-known/jwks.json"
	}
	f.Worker.GraphQLURL = s.url + "/graphql"
	if u, err := url.Parse(s.url); err == nil {
		f.Worker.APIHost = append(f.Worker.APIHost, u.Host)
	}
}

// remoteOf is the base URL that Forge would call.
func remoteOf(ingest net.Addr, basePath *string) string {
	if basePath == nil {
		return urlOf(ingest)
	}
	return urlOf(ingest) + "/" + strings.Trim(*basePath, "/")
}

// start makes the simulator and serves it.
func (s *simulated) start(ctx context.Context, o simulation, remote string, log *slog.Logger) {
	s.sim, s.failed = simulator.New(simulator.Config{
		Manifest: s.manifest, Remote: remote, PublicURL: s.url, TimeScale: o.timeScale, TokenLife: o.tokenLife,
		Bare: o.bare, NoSchedules: o.bare, Logger: log,
	})
	if s.failed != nil {
		return
	}
	s.server = simulatorServer(context.WithoutCancel(ctx), s.sim, log)
	go func() { _ = s.server.Serve(s.listener) }() // ends when run closes the server
}

// run is machine.run with the simulator: it answers until the worker has
// drained. foreground is called once everything is ready.
func (s *simulated) run(ctx context.Context, foreground func(context.Context, addresses) error) error {
	defer func() {
		_ = s.listener.Close()
		if s.server != nil {
			_ = s.server.Close() // what still waits for an answer waits for ever
		}
	}()
	return s.machine.run(ctx, func(ctx context.Context, at addresses) error {
		if s.failed != nil {
			return s.failed
		}
		if err := ready(ctx, at.IngestOps, at.WorkerOps); err != nil {
			if ctx.Err() != nil {
				return nil // asked to stop before all was ready
			}
			return err
		}
		return foreground(ctx, at)
	})
}

// writeQuickstart puts the built-in manifest and rules into dir, and leaves
// what is there as it is: somebody may have tried something.
func writeQuickstart(dir string) (manifestFile, rulesFile string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("making folder for built-in files: %w", err)
	}
	manifestFile, rulesFile = filepath.Join(dir, "manifest.yml"), filepath.Join(dir, "bellows.yaml")
	for name, data := range map[string][]byte{manifestFile: quickstart.Manifest, rulesFile: quickstart.Rules} {
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return "", "", fmt.Errorf("writing built-in file: %w", err)
		}
	}
	return manifestFile, rulesFile, nil
}
