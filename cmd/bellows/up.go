package main

import (
	"context"
)

type upCmd struct {
	Data string `name:"data" default:"./bellows-data" placeholder:"DIR" help:"Folder for NATS' files and, where no key is given, the key pair."`
	machineFlags
}

// Help is shown after the one-line help.
func (upCmd) Help() string {
	return `NATS JetStream keeps its files in --data and syncs each message to disk before it is acknowledged. Without
vault flags a key pair is made there and kept. SIGTERM stops ingest, lets the worker drain, then stops NATS.

    bellows up --data /var/lib/bellows --manifest manifest.yml --config bellows.yaml

Forge calls ingest at --listen, behind something that ends TLS. Other commands, such as "bellows dlq list", reach
the NATS server at --nats.`
}

// Run runs everything until ctx ends.
func (c *upCmd) Run(ctx context.Context, t terminal) error {
	m, err := newMachine(c.machineFlags, c.Data, t)
	if err != nil {
		return err
	}
	return m.run(ctx, func(ctx context.Context, at addresses) error {
		t.print("ingest    %s   (private: %s)\nworker    (private: %s)\nNATS      %s\ndata      %s\n", at.Ingest, at.IngestOps, at.WorkerOps, at.NATS, c.Data)
		<-ctx.Done()
		return nil
	})
}
