package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// duplicateWindow is how long JetStream remembers message ids. Forge sends
	// an event again up to four times, 60 s apart ("Forge Remote essentials",
	// 2026-08-22), and may be three minutes late itself.
	duplicateWindow = 20 * time.Minute
	// defaultAckWait is how long a worker may be silent about a job before
	// another worker gets it. Workers report every third of it.
	defaultAckWait = 30 * time.Second
	// maxAckPending is for all workers together. JetStream's default of 1,000
	// would be the cluster's concurrency limit.
	maxAckPending = 100_000
	// LetterAge is how long dead letters are kept.
	LetterAge = 30 * 24 * time.Hour
	// workers is the name of the consumer that all workers share.
	workers = "workers"
)

func (q *Queue) stream(name string) string { return strings.ToUpper(q.prefix) + "_" + name }

func (q *Queue) jobSubject(installation, kind string) string {
	return q.prefix + ".jobs." + installation + "." + kind
}

func (q *Queue) heldSubject(installation, kind string) string {
	return q.prefix + ".held." + installation + "." + kind
}

func (q *Queue) delaySubject(id string) string  { return q.prefix + ".delay." + id }
func (q *Queue) effectSubject(id string) string { return q.prefix + ".effects." + id }

func (q *Queue) letterSubject(installation, kind, id string) string {
	return q.prefix + ".dlq." + installation + "." + kind + "." + id
}

// Setup creates the streams and the consumer that are missing, with so many
// replicas (1, 3 or 5). What exists is left as it is.
func (q *Queue) Setup(ctx context.Context, replicas int) error {
	for _, c := range q.streams(max(replicas, 1)) {
		if err := q.createStream(ctx, c); err != nil {
			return err
		}
	}
	return q.createConsumer(ctx)
}

// createConsumer creates the workers' consumer unless it exists.
func (q *Queue) createConsumer(ctx context.Context) error {
	_, err := q.js.CreateConsumer(ctx, q.stream("JOBS"), jetstream.ConsumerConfig{
		Durable:       workers,
		FilterSubject: q.prefix + ".jobs.>",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       q.ackWait,
		MaxDeliver:    -1, // a worker counts deliveries itself and writes the dead letter
		MaxAckPending: maxAckPending,
	})
	if err != nil && !errors.Is(err, jetstream.ErrConsumerExists) {
		return fmt.Errorf("creating consumer %q of stream %q: %w", workers, q.stream("JOBS"), err)
	}
	return nil
}

func (q *Queue) createStream(ctx context.Context, c jetstream.StreamConfig) error {
	_, err := q.js.CreateStream(ctx, c)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return fmt.Errorf("creating stream %q: %w", c.Name, err)
	}
	return nil
}

func (q *Queue) streams(replicas int) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{{
		Name:              q.stream("JOBS"),
		Description:       "bellows: jobs that wait, are delayed, or wait for a token",
		Subjects:          []string{q.prefix + ".jobs.>", q.prefix + ".held.>", q.prefix + ".delay.>"},
		Retention:         jetstream.WorkQueuePolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		Duplicates:        duplicateWindow,
		AllowMsgSchedules: true,
		AllowDirect:       true,
	}, {
		Name:              q.stream("EFFECTS"),
		Description:       "bellows: intents, finished steps and done marks of jobs",
		Subjects:          []string{q.prefix + ".effects.>"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		AllowMsgTTL:       true,
		AllowDirect:       true,
	}, {
		Name:              q.stream("DLQ"),
		Description:       "bellows: dead letters",
		Subjects:          []string{q.prefix + ".dlq.>"},
		Retention:         jetstream.LimitsPolicy,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		MaxAge:            LetterAge,
		AllowDirect:       true,
	}}
}

// Stats is the state of the queue.
type Stats struct {
	Waiting int // runnable jobs that no worker holds
	Running int // jobs that a worker holds
	Delayed int // jobs that wait for a time
	Held    int // jobs that wait for a token
	Dead    int // dead letters
}

// Stats counts jobs by state.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	var s Stats
	c, err := q.js.Consumer(ctx, q.stream("JOBS"), workers)
	if err != nil {
		return s, fmt.Errorf("reading consumer %q: %w", workers, err)
	}
	info := c.CachedInfo()
	s.Waiting, s.Running = int(info.NumPending), info.NumAckPending
	stream, err := q.js.Stream(ctx, q.stream("JOBS"))
	if err != nil {
		return s, fmt.Errorf("reading stream %q: %w", q.stream("JOBS"), err)
	}
	held, err := stream.Info(ctx, jetstream.WithSubjectFilter(q.prefix+".held.>"))
	if err != nil {
		return s, fmt.Errorf("reading stream %q: %w", q.stream("JOBS"), err)
	}
	for _, n := range held.State.Subjects {
		s.Held += int(n)
	}
	s.Delayed = max(0, int(held.State.Msgs)-s.Waiting-s.Running-s.Held)
	letters, err := q.js.Stream(ctx, q.stream("DLQ"))
	if err != nil {
		return s, fmt.Errorf("reading stream %q: %w", q.stream("DLQ"), err)
	}
	s.Dead = int(letters.CachedInfo().State.Msgs)
	return s, nil
}
