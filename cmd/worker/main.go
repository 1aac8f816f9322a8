// Program worker takes jobs from NATS JetStream and carries them out against
// Atlassian's APIs. Any number of workers share the jobs.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(daemon.Exit(os.Stderr, "worker", run(ctx, os.Args[1:], os.Stdout, os.Stderr)))
}

const about = `Takes jobs from NATS JetStream and carries them out by the rules of --config against Atlassian's APIs, ` +
	`with the newest system token or an impersonated user's. What cannot be done becomes a dead letter.`

type flags struct {
	workerd.Flags
	OpsListen string `name:"ops-listen" default:"127.0.0.1:9465" help:"Private address for /livez, /readyz, /metrics and profiles."`
	Config    string `name:"config" default:"bellows.yaml" placeholder:"FILE" help:"The rule file."`
	daemon.NATS
	daemon.Replicas
	daemon.Log
}

// run works until ctx ends, then drains.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f flags
	if _, err := daemon.Parse(&f, "worker", about, args, stdout, stderr); err != nil {
		return err
	}
	log := f.Logger(stderr)
	return workerd.Run(ctx, workerd.Options{
		Flags: f.Flags, NATS: f.Options("bellows-worker", log), Replicas: f.Replicas.Replicas,
		OpsListen: f.OpsListen, Config: f.Config, Log: log,
	})
}
