package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/jobs"
)

// pumpBatch is how many waiting jobs are moved with one request.
const pumpBatch = 100

// Held returns how many jobs wait for a token, by installation.
func (q *Queue) Held(ctx context.Context) (map[string]int, error) {
	stream, err := q.js.Stream(ctx, q.stream("JOBS"))
	if err != nil {
		return nil, fmt.Errorf("reading stream %q: %w", q.stream("JOBS"), err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(q.prefix+".held.>"))
	if err != nil {
		return nil, fmt.Errorf("reading stream %q: %w", q.stream("JOBS"), err)
	}
	held := map[string]int{}
	for subject, n := range info.State.Subjects {
		installation, _ := q.address(subject)
		held[installation] += int(n)
	}
	return held, nil
}

// Pump moves the waiting jobs of an installation back among the runnable ones,
// oldest first, as long as move says so, and returns how many. Several workers
// may pump the same installation: each job is moved once.
func (q *Queue) Pump(ctx context.Context, installation string, move func(jobs.Job) bool) (int, error) {
	c, err := q.heldConsumer(ctx, installation)
	if err != nil {
		return 0, err
	}
	moved := 0
	for {
		n, more, err := q.pumpBatch(ctx, c, move)
		moved += n
		if err != nil || !more {
			return moved, err
		}
	}
}

func (q *Queue) heldConsumer(ctx context.Context, installation string) (jetstream.Consumer, error) {
	config := jetstream.ConsumerConfig{
		Durable:           "held-" + installation,
		FilterSubject:     q.heldSubject(installation, ">"),
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           defaultAckWait,
		MaxAckPending:     pumpBatch,
		InactiveThreshold: time.Minute, // a lane without waiting jobs needs no consumer
	}
	c, err := q.js.CreateOrUpdateConsumer(ctx, q.stream("JOBS"), config)
	if err != nil {
		return nil, fmt.Errorf("creating consumer %q: %w", config.Durable, err)
	}
	return c, nil
}

// pumpBatch moves one batch; more is false when the lane is empty or move
// said no.
func (q *Queue) pumpBatch(ctx context.Context, c jetstream.Consumer, move func(jobs.Job) bool) (n int, more bool, err error) {
	batch, err := c.FetchNoWait(pumpBatch)
	if err != nil {
		return 0, false, fmt.Errorf("fetching waiting jobs: %w", err)
	}
	fetched, stopped := 0, false
	for m := range batch.Messages() {
		fetched++
		d := q.delivery(m)
		if err != nil || stopped || !move(d.Job) {
			stopped = true
			_ = m.Nak() // a waiting job's deliveries are not counted as crashes
			continue
		}
		job := d.Job
		job.Generation++
		if err = d.Return(ctx, job); err == nil {
			n++
		}
	}
	if err == nil && batch.Error() != nil && !errors.Is(batch.Error(), jetstream.ErrNoMessages) {
		err = fmt.Errorf("fetching waiting jobs: %w", batch.Error())
	}
	return n, fetched > 0 && !stopped && err == nil, err
}

// validToken reports whether s can be one token of a subject.
func validToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, ".*> \t\r\n")
}
