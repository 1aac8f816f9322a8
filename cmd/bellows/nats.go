package main

import (
	"context"
	"log/slog"

	"bellows/internal/daemon"
)

// withNATS reaches NATS, runs f and adds the remedy to an error where there is
// one.
func withNATS(ctx context.Context, flags daemon.NATS, f func(*daemon.Broker) error) error {
	b, err := daemon.Reach(ctx, flags.Options("bellows", slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer b.Queue.Close()
	return b.Explain(ctx, f(b))
}
