// Program ingest takes Forge's calls from the internet, proves that they come
// from Forge, and stores each as a job in NATS JetStream before it answers.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"bellows/internal/daemon"
	"bellows/internal/daemon/ingestd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(daemon.Exit(os.Stderr, "ingest", run(ctx, os.Args[1:], os.Stdout, os.Stderr)))
}

const about = `Takes calls of Forge Remote over HTTP, verifies the invocation token of each, seals its tokens into the vault, ` +
	`and answers 2xx once NATS JetStream has stored the job. Needs only the vault's public key.`

type flags struct {
	ingestd.Flags
	OpsListen string `name:"ops-listen" default:"127.0.0.1:9464" help:"Private address for /livez, /readyz, /metrics and profiles."`
	Config    string `name:"config" default:"bellows.yaml" placeholder:"FILE" help:"The rule file. A wrong one is refused; the default may be absent."`
	// EgressURL is taken for the sake of scripts that serve several versions:
	// this one has no routes.
	EgressURL string `name:"egress-url" placeholder:"URL" hidden:"" help:"Where handlers reach Atlassian through bellows."`
	daemon.NATS
	daemon.Replicas
	daemon.Log
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f flags
	if _, err := daemon.Parse(&f, "ingest", about, args, stdout, stderr); err != nil {
		return err
	}
	log := f.Logger(stderr)
	return ingestd.Run(ctx, ingestd.Options{
		Flags: f.Flags, NATS: f.Options("bellows-ingest", log), Replicas: f.Replicas.Replicas, OpsListen: f.OpsListen, Config: f.Config, Log: log,
	})
}
