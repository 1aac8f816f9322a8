package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/jobs"
)

// ErrConflict means that an effects record was changed by somebody else since
// it was read.
var ErrConflict = errors.New("the record was changed by another")

// Publish stores a job and returns after JetStream has acknowledged it.
// duplicate means that this copy of the job was stored before.
func (q *Queue) Publish(ctx context.Context, job jobs.Job) (duplicate bool, err error) {
	ack, err := q.publish(ctx, q.jobSubject(job.Installation, string(job.Kind)), job, jetstream.WithMsgID(messageID(job)))
	if err != nil {
		return false, err
	}
	return ack.Duplicate, nil
}

// PublishAt stores a job that is to be delivered at a time; where that is not
// after now, it is Publish. duplicate means that this job waits for its time
// already: it keeps the one it has.
func (q *Queue) PublishAt(ctx context.Context, job jobs.Job, at time.Time) (duplicate bool, err error) {
	if !at.After(time.Now()) {
		return q.Publish(ctx, job)
	}
	stored, err := q.schedule(ctx, job, at)
	return err == nil && !stored, err
}

func (q *Queue) publish(ctx context.Context, subject string, job jobs.Job, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	m := &nats.Msg{Subject: subject, Header: job.Header(), Data: job.Data}
	return q.store(ctx, "JOBS", m, options...)
}

func (q *Queue) store(ctx context.Context, stream string, m *nats.Msg, options ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	ack, err := q.js.PublishMsg(ctx, m, append(options, jetstream.WithExpectStream(q.stream(stream)))...)
	if err != nil {
		return nil, fmt.Errorf("storing in %q: %w", m.Subject, err)
	}
	return ack, nil
}

// messageID is the deduplication id: the job's own for its first copy, and one
// for each later copy, since the first stays in the window.
func messageID(job jobs.Job) string {
	if job.Run == 0 && job.Generation == 0 {
		return job.ID
	}
	return job.ID + "." + strconv.Itoa(job.Run) + "." + strconv.Itoa(job.Generation)
}

// Effects returns the effects record called id and its sequence, for
// [Queue.SaveEffects]. A record that does not exist is empty, with sequence 0.
func (q *Queue) Effects(ctx context.Context, id string) (jobs.Effects, uint64, error) {
	var e jobs.Effects
	m, err := q.last(ctx, "EFFECTS", q.effectSubject(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return e, 0, nil
	}
	if err != nil {
		return e, 0, err
	}
	if err := unmarshal(m, &e); err != nil {
		return e, 0, err
	}
	return e, m.Sequence, nil
}

const (
	// Forever keeps an effects record without a limit of time.
	Forever time.Duration = 0
	// RunKept is how long the record of a replayed job is kept: as long as the
	// letter it came from, so that replaying that letter again is known for
	// what it is.
	RunKept = LetterAge
)

// SaveEffects writes the record called id if its sequence is still last, and
// returns the new sequence; last is 0 for a record that must not exist. It
// fails with ErrConflict otherwise. The record is forgotten after keep, at
// least a second; Forever keeps it.
func (q *Queue) SaveEffects(ctx context.Context, id string, e jobs.Effects, last uint64, keep time.Duration) (uint64, error) {
	return q.saveEffects(ctx, id, e, keep, jetstream.WithExpectLastSequencePerSubject(last))
}

// MarkDone writes the record called id whatever it was before.
func (q *Queue) MarkDone(ctx context.Context, id string, e jobs.Effects, keep time.Duration) error {
	_, err := q.saveEffects(ctx, id, e, keep)
	return err
}

func (q *Queue) saveEffects(ctx context.Context, id string, e jobs.Effects, keep time.Duration, options ...jetstream.PublishOpt) (uint64, error) {
	data, err := marshal(e)
	if err != nil {
		return 0, err
	}
	if keep > 0 {
		options = append(options, jetstream.WithMsgTTL(max(keep.Round(time.Second), time.Second)))
	}
	ack, err := q.store(ctx, "EFFECTS", &nats.Msg{Subject: q.effectSubject(id), Data: data}, options...)
	if wrongSequence(err) {
		return 0, fmt.Errorf("saving effects of job %q: %w", id, ErrConflict)
	}
	if err != nil {
		return 0, fmt.Errorf("saving effects of job %q: %w", id, err)
	}
	return ack.Sequence, nil
}

func wrongSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}
