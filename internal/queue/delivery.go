package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/jobs"
)

// Delivery is one job in the hands of one worker. Exactly one of Done, Delay,
// Wait, Return and Dead ends it; each returns only after JetStream has
// confirmed, and after an error it may be called again.
type Delivery struct {
	// Job as it was stored. When Err is set it is only as far as it could be
	// read, with an id made from the message's place in the stream.
	Job jobs.Job
	// Err says why the message is not a job.
	Err error
	// Deliveries is how often this message was handed out, from 1.
	Deliveries int

	queue *Queue
	mu    sync.Mutex
	msgs  map[uint64]jetstream.Msg // :: place in the stream → its latest delivery
	moved atomic.Bool              // what comes after this copy is stored
}

// Deaths is how many workers died holding this job, as far as can be seen.
func (d *Delivery) Deaths() int { return d.Job.Deaths + d.Deliveries - 1 }

// Key names the copy of the job in hand: the same for each delivery of one
// message, and for each message that holds this copy.
func (d *Delivery) Key() string { return messageID(d.Job) }

// Adopt makes d settle a later delivery of the same copy too: the server
// handed the message out again although this worker still has it, as happens
// after the connection was lost, or the copy was stored twice.
func (d *Delivery) Adopt(later *Delivery) {
	news := later.messages()
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(d.msgs, news)
}

func (d *Delivery) messages() map[uint64]jetstream.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.msgs)
}

// Fetch asks for up to n jobs and calls each for every one that comes, until
// there were n or wait has passed. It never cuts short what it has asked for:
// a job that were on its way would be lost to all workers until AckWait.
func (q *Queue) Fetch(ctx context.Context, n int, wait time.Duration, each func(*Delivery)) error {
	c, err := q.consumer(ctx)
	if err != nil {
		return err
	}
	if err := q.fetch(c, n, each, jetstream.FetchMaxWait(wait)); err != nil {
		q.remember(nil) // it may be gone: the next fetch looks
		return err
	}
	return nil
}

// consumer finds the workers' consumer, and makes it anew when somebody has
// deleted it: its jobs are still in the stream.
func (q *Queue) consumer(ctx context.Context) (jetstream.Consumer, error) {
	q.mu.Lock()
	c := q.shared
	q.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := q.js.Consumer(ctx, q.stream("JOBS"), workers)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if err := q.createConsumer(ctx); err != nil {
			return nil, err
		}
		c, err = q.js.Consumer(ctx, q.stream("JOBS"), workers)
	}
	if err != nil {
		return nil, fmt.Errorf("reading consumer %q: %w", workers, err)
	}
	q.remember(c)
	return c, nil
}

func (q *Queue) remember(c jetstream.Consumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shared = c; c != nil {
		q.ackWait = c.CachedInfo().Config.AckWait
	}
}

// AckWait is how long a worker may be silent about a job before another worker
// gets it. Before the first fetch it is what this queue would ask for.
func (q *Queue) AckWait() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ackWait
}

func (q *Queue) fetch(c jetstream.Consumer, n int, each func(*Delivery), option jetstream.FetchOpt) error {
	batch, err := c.Fetch(n, option)
	if err != nil {
		return fmt.Errorf("fetching jobs: %w", err)
	}
	for m := range batch.Messages() {
		each(q.delivery(m))
	}
	if err := batch.Error(); err != nil {
		return fmt.Errorf("fetching jobs: %w", err)
	}
	return nil
}

func (q *Queue) delivery(m jetstream.Msg) *Delivery {
	d := &Delivery{queue: q, Deliveries: 1}
	sequence, stored := uint64(0), time.Time{}
	if md, err := m.Metadata(); err == nil {
		d.Deliveries, sequence, stored = int(md.NumDelivered), md.Sequence.Stream, md.Timestamp
	}
	d.msgs = map[uint64]jetstream.Msg{sequence: m}
	installation, kind := q.address(m.Subject())
	d.Job, d.Err = jobs.Parse(installation, kind, m.Headers(), m.Data())
	if d.Job.ID == "" {
		d.Job.ID = fmt.Sprintf("message-%d", sequence)
	}
	if d.Job.Since.IsZero() {
		d.Job.Since = stored // or it would be as old as can be, and expired
	}
	return d
}

// address reads installation and kind from a subject like
// bellows.jobs.<installation>.<kind>.
func (q *Queue) address(subject string) (string, jobs.Kind) {
	parts := strings.Split(strings.TrimPrefix(subject, q.prefix+"."), ".")
	if len(parts) < 3 {
		return "", ""
	}
	return parts[1], jobs.Kind(parts[2])
}

// Working tells the server that the worker is alive and still has the job. It
// does not wait for an answer.
func (d *Delivery) Working() error {
	var failed error
	for _, m := range d.messages() {
		if err := m.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// Done takes the job off the queue.
func (d *Delivery) Done(ctx context.Context) error {
	for _, m := range d.messages() {
		if err := m.DoubleAck(ctx); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return fmt.Errorf("acknowledging job %q: %w", d.Job.ID, err)
		}
	}
	return nil
}

// Delay stores job, a later copy of the one in hand, to be delivered at until,
// and takes this copy off the queue.
func (d *Delivery) Delay(ctx context.Context, job jobs.Job, until time.Time) error {
	return d.move(ctx, func() error { _, err := d.queue.schedule(ctx, job, until); return err })
}

// move stores what comes after this copy, and then takes this copy off the
// queue. What was stored once is not stored again when the second half has to
// be repeated: it may be on its way already.
func (d *Delivery) move(ctx context.Context, store func() error) error {
	if !d.moved.Load() {
		if err := store(); err != nil {
			return err
		}
		d.moved.Store(true)
	}
	return d.Done(ctx)
}

// schedule stores job to be delivered at until. A job has one place to wait in,
// and a stale copy must not push a later one out of it: workers drop what is
// stale, and the job would be lost with it. Then nothing is stored.
func (q *Queue) schedule(ctx context.Context, job jobs.Job, until time.Time) (stored bool, err error) {
	m := &nats.Msg{Subject: q.delaySubject(job.ID), Header: job.Header(), Data: job.Data}
	// Not jetstream.WithScheduleAt: it cuts to whole seconds and fires up to a
	// second early (nats.go v1.55.0), and a wait the server asked for is a floor.
	m.Header.Set("Nats-Schedule", "@at "+until.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", q.jobSubject(job.Installation, string(job.Kind)))
	for {
		waiting, sequence, err := q.waiting(ctx, job)
		if err != nil {
			return false, err
		}
		if sequence > 0 && !later(job, waiting) {
			return false, nil
		}
		_, err = q.store(ctx, "JOBS", m, jetstream.WithExpectLastSequencePerSubject(sequence))
		if !wrongSequence(err) {
			return err == nil, err
		}
	}
}

// later reports whether a is a later copy of the same job than b.
func later(a, b jobs.Job) bool {
	return a.Run > b.Run || a.Run == b.Run && a.Generation > b.Generation
}

// Wait stores job, a later copy of the one in hand, in the lane of its
// installation where jobs wait for a token, and takes this copy off the queue.
func (d *Delivery) Wait(ctx context.Context, job jobs.Job) error {
	subject := d.queue.heldSubject(job.Installation, string(job.Kind))
	return d.move(ctx, func() error {
		_, err := d.queue.publish(ctx, subject, job, jetstream.WithMsgID(messageID(job)))
		return err
	})
}

// Return stores later copies of the job in hand to be run at once, by any
// worker, and takes this copy off the queue. Unlike a negative acknowledgement
// it does not look like a crash. With several jobs it is how a job is split.
func (d *Delivery) Return(ctx context.Context, later ...jobs.Job) error {
	return d.move(ctx, func() error {
		for _, job := range later {
			if _, err := d.queue.Publish(ctx, job); err != nil {
				return err
			}
		}
		return nil
	})
}

// Dead stores the dead letter and takes the job off the queue.
func (d *Delivery) Dead(ctx context.Context, l jobs.Letter) error {
	return d.move(ctx, func() error { return d.queue.SaveLetter(ctx, l) })
}
