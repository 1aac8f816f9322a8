package main

import (
	"context"

	"bellows/internal/daemon"
)

type setupCmd struct {
	daemon.NATS
	daemon.Replicas
}

// Help is shown after the one-line help.
func (setupCmd) Help() string {
	return `ingest and worker do this themselves when they start, where their NATS user may. Run it once with a user
that may, and they need no such right. What exists is never changed.

    bellows setup --nats nats://nats.example.com:4222 --nats-creds admin.creds --replicas 3`
}

// Run creates what is missing.
func (c *setupCmd) Run(ctx context.Context, t terminal) error {
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		if err := b.Setup(ctx, c.Replicas.Replicas); err != nil {
			return err
		}
		t.print("streams and buckets with prefix %q are there\n", b.Queue.Prefix())
		return nil
	})
}
