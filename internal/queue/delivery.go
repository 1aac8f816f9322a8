package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
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
	msg   jetstream.Msg
}

// Deaths is how many workers died holding this job, as far as can be seen.
func (d *Delivery) Deaths() int { return d.Job.Deaths + d.Deliveries - 1 }

// Key names the copy of the job in hand: the same for each delivery of one
// message.
func (d *Delivery) Key() string { return messageID(d.Job) }

// Adopt makes d settle the later delivery of the same message: the server
// handed the message out again although this worker still has it, as happens
// after the connection was lost.
func (d *Delivery) Adopt(later *Delivery) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.msg = later.msg
}

func (d *Delivery) current() jetstream.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.msg
}

// Fetch asks for up to n jobs and calls each for every one that comes, until
// there were n or wait has passed. It never cuts short what it has asked for:
// a job that were on its way would be lost to all workers until AckWait.
func (q *Queue) Fetch(ctx context.Context, n int, wait time.Duration, each func(*Delivery)) error {
	c, err := q.consumer(ctx, workers)
	if err != nil {
		return err
	}
	return q.fetch(c, n, each, jetstream.FetchMaxWait(wait))
}

func (q *Queue) consumer(ctx context.Context, name string) (jetstream.Consumer, error) {
	q.mu.Lock()
	c := q.shared
	q.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := q.js.Consumer(ctx, q.stream("JOBS"), name)
	if err != nil {
		return nil, fmt.Errorf("reading consumer %q: %w", name, err)
	}
	q.mu.Lock()
	q.shared = c
	q.mu.Unlock()
	return c, nil
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
	d := &Delivery{queue: q, msg: m, Deliveries: 1}
	sequence := uint64(0)
	if md, err := m.Metadata(); err == nil {
		d.Deliveries, sequence = int(md.NumDelivered), md.Sequence.Stream
	}
	installation, kind := q.address(m.Subject())
	d.Job, d.Err = jobs.Parse(installation, kind, m.Headers(), m.Data())
	if d.Job.ID == "" {
		d.Job.ID = fmt.Sprintf("message-%d", sequence)
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
func (d *Delivery) Working() error { return d.current().InProgress() }

// Done takes the job off the queue.
func (d *Delivery) Done(ctx context.Context) error {
	if err := d.current().DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledging job %q: %w", d.Job.ID, err)
	}
	return nil
}

// Delay stores job, a later copy of the one in hand, to be delivered at until,
// and takes this copy off the queue.
func (d *Delivery) Delay(ctx context.Context, job jobs.Job, until time.Time) error {
	q := d.queue
	m := &nats.Msg{Subject: q.delaySubject(job.ID), Header: job.Header(), Data: job.Data}
	// Not jetstream.WithScheduleAt: it cuts to whole seconds and fires up to a
	// second early (nats.go v1.55.0), and a wait the server asked for is a floor.
	m.Header.Set("Nats-Schedule", "@at "+until.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", q.jobSubject(job.Installation, string(job.Kind)))
	if _, err := q.store(ctx, "JOBS", m); err != nil {
		return err
	}
	return d.Done(ctx)
}

// Wait stores job, a later copy of the one in hand, in the lane of its
// installation where jobs wait for a token, and takes this copy off the queue.
func (d *Delivery) Wait(ctx context.Context, job jobs.Job) error {
	subject := d.queue.heldSubject(job.Installation, string(job.Kind))
	if _, err := d.queue.publish(ctx, subject, job, jetstream.WithMsgID(messageID(job))); err != nil {
		return err
	}
	return d.Done(ctx)
}

// Return stores later copies of the job in hand to be run at once, by any
// worker, and takes this copy off the queue. Unlike a negative acknowledgement
// it does not look like a crash. With several jobs it is how a job is split.
func (d *Delivery) Return(ctx context.Context, later ...jobs.Job) error {
	for _, job := range later {
		if _, err := d.queue.Publish(ctx, job); err != nil {
			return err
		}
	}
	return d.Done(ctx)
}

// Dead stores the dead letter and takes the job off the queue.
func (d *Delivery) Dead(ctx context.Context, l jobs.Letter) error {
	if err := d.queue.SaveLetter(ctx, l); err != nil {
		return err
	}
	return d.Done(ctx)
}
