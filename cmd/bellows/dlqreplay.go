package main

import (
	"context"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/queue"
)

type dlqReplayCmd struct {
	selection
	FromStart bool `name:"from-start" help:"Do finished steps again too."`
	daemon.NATS
}

// Help is shown after the one-line help.
func (dlqReplayCmd) Help() string {
	return `Mend the cause first; then the job runs again with all its attempts and with today's token. Steps that were
done stay done, unless --from-start is given. A letter is replayed once, also when two people do it at once.
The command ends when the jobs are in the queue and does not wait for them to run.

    bellows dlq replay 5f2c0c1e2f534c689a391a2b3c4d5e6f
    bellows dlq replay --all --reason rejected --rule triage-bugs --dry-run
    bellows dlq replay --all --since 2h --rate 20`
}

// Run replays dead letters.
func (c *dlqReplayCmd) Run(ctx context.Context, t terminal) error {
	if err := c.check("bellows dlq replay"); err != nil {
		return err
	}
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		return c.carryOut(ctx, b.Queue, t, "replay", func(ctx context.Context, l queue.StoredLetter) (bool, error) {
			if _, err := l.Replay(time.Now()); err != nil {
				t.say("warning: %v", err)
				return false, nil // what is no job cannot be published
			}
			return true, b.Queue.Replay(ctx, l, time.Now(), c.FromStart)
		})
	})
}

type dlqDropCmd struct {
	selection
	daemon.NATS
}

// Help is shown after the one-line help.
func (dlqDropCmd) Help() string {
	return `A dropped letter is gone, and so is its job.

    bellows dlq drop 5f2c0c1e2f534c689a391a2b3c4d5e6f
    bellows dlq drop --all --reason undecodable --dry-run`
}

// Run drops dead letters.
func (c *dlqDropCmd) Run(ctx context.Context, t terminal) error {
	if err := c.check("bellows dlq drop"); err != nil {
		return err
	}
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		return c.carryOut(ctx, b.Queue, t, "drop", func(ctx context.Context, l queue.StoredLetter) (bool, error) {
			return true, b.Queue.DropLetter(ctx, l)
		})
	})
}
