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

// Pump moves all waiting jobs of an installation back among the runnable ones,
// oldest first, and returns how many. Several workers may pump the same
// installation: each job is moved once.
func (q *Queue) Pump(ctx context.Context, installation string) (int, error) {
	c, err := q.heldConsumer(ctx, installation)
	if err != nil {
		return 0, err
	}
	moved := 0
	for {
		n, err := q.pumpBatch(ctx, c)
		moved += n
		if err != nil || n == 0 {
			return moved, err
		}
	}
}

// PumpWhile is Pump for as long as move says so of the oldest waiting job. It
// looks before it takes, so a job that stays keeps its place.
func (q *Queue) PumpWhile(ctx context.Context, installation string, move func(jobs.Job) bool) (int, error) {
	stream, err := q.js.Stream(ctx, q.stream("JOBS"))
	if err != nil {
		return 0, fmt.Errorf("reading stream %q: %w", q.stream("JOBS"), err)
	}
	for moved := 0; ; moved++ {
		m, err := q.get(ctx, "JOBS", map[string]any{"seq": 1, "next_by_subj": q.heldSubject(installation, ">")})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return moved, nil
		}
		if err != nil {
			return moved, err
		}
		_, kind := q.address(m.Subject)
		job, err := jobs.Parse(installation, kind, m.Header, m.Data)
		if err == nil && !move(job) {
			return moved, nil
		}
		job.Generation++
		if _, err := q.Publish(ctx, job); err != nil {
			return moved, err
		}
		if err := stream.DeleteMsg(ctx, m.Sequence); err != nil && !gone(err) {
			return moved, fmt.Errorf("moving a waiting job: %w", err)
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

// pumpBatch moves one batch and returns how many it moved; 0 when the lane is
// empty.
func (q *Queue) pumpBatch(ctx context.Context, c jetstream.Consumer) (n int, err error) {
	batch, err := c.FetchNoWait(pumpBatch)
	if err != nil {
		return 0, fmt.Errorf("fetching waiting jobs: %w", err)
	}
	for m := range batch.Messages() {
		if err != nil {
			_ = m.Nak() // a waiting job's deliveries are not counted as crashes
			continue
		}
		d := q.delivery(m)
		job := d.Job
		job.Generation++
		if err = d.Return(ctx, job); err == nil {
			n++
		}
	}
	if err == nil && batch.Error() != nil && !errors.Is(batch.Error(), jetstream.ErrNoMessages) {
		err = fmt.Errorf("fetching waiting jobs: %w", batch.Error())
	}
	return n, err
}

// validToken reports whether s can be one token of a subject.
func validToken(s string) bool {
	return s != "" && !strings.ContainsAny(s, ".*> \t\r\n")
}
