package queue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/jobs"
)

// ErrNoLetter means that there is no dead letter with the id asked for.
var ErrNoLetter = errors.New("no such dead letter")

// StoredLetter is a dead letter with its place in the stream.
type StoredLetter struct {
	jobs.Letter
	Sequence uint64
}

// SaveLetter stores a dead letter. There is never a second one of a job: a
// later letter takes the place of an earlier one.
func (q *Queue) SaveLetter(ctx context.Context, l jobs.Letter) error {
	data, err := marshal(l)
	if err != nil {
		return err
	}
	if !validToken(l.Installation) || !validToken(string(l.Kind)) {
		l.Installation, l.Kind = "unknown", "unknown" // a message that is no job
	}
	m := &nats.Msg{Subject: q.letterSubject(l.Installation, string(l.Kind), l.ID), Data: data, Header: nats.Header{}}
	for name, value := range l.Header {
		m.Header.Set(name, value)
	}
	m.Header.Set("bellows-reason", string(l.Reason))
	_, err = q.store(ctx, "DLQ", m)
	return err
}

// Letter returns the dead letter of the job with this id, or ErrNoLetter.
func (q *Queue) Letter(ctx context.Context, id string) (StoredLetter, error) {
	if !validToken(id) {
		return StoredLetter{}, fmt.Errorf("reading dead letter %q: %w", id, ErrNoLetter)
	}
	m, err := q.last(ctx, "DLQ", q.letterSubject("*", "*", id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return StoredLetter{}, fmt.Errorf("reading dead letter %q: %w", id, ErrNoLetter)
	}
	if err != nil {
		return StoredLetter{}, err
	}
	l := StoredLetter{Sequence: m.Sequence}
	return l, unmarshal(m, &l.Letter)
}

// Filter chooses dead letters. Zero fields choose all.
type Filter struct {
	Reason, Event, Rule, Installation string
	Since, Until                      time.Time
}

func (f Filter) match(l jobs.Letter) bool {
	return (f.Reason == "" || f.Reason == string(l.Reason)) &&
		(f.Event == "" || f.Event == l.Event) &&
		(f.Rule == "" || f.Rule == l.Rule) &&
		(f.Installation == "" || f.Installation == l.Installation) &&
		(f.Since.IsZero() || !l.At.Before(f.Since)) &&
		(f.Until.IsZero() || l.At.Before(f.Until))
}

// Windows in which the stream of dead letters is read from its end: small at
// first, since most readers want the newest few.
const (
	firstWindow = 128
	maxWindow   = 8192
)

// Letters gives the dead letters that f chooses, newest first. After an error
// it ends.
func (q *Queue) Letters(ctx context.Context, f Filter) iter.Seq2[StoredLetter, error] {
	return func(yield func(StoredLetter, error) bool) {
		stream, err := q.js.Stream(ctx, q.stream("DLQ"))
		if err != nil {
			yield(StoredLetter{}, fmt.Errorf("reading stream %q: %w", q.stream("DLQ"), err))
			return
		}
		state := stream.CachedInfo().State
		window := uint64(firstWindow)
		for end := state.LastSeq; end >= state.FirstSeq && end > 0; window = min(window*4, maxWindow) {
			start := max(state.FirstSeq, end-min(end, window)+1)
			letters, err := q.window(ctx, stream, start, end, f)
			for i := len(letters) - 1; i >= 0 && err == nil; i-- {
				if !yield(letters[i], nil) {
					return
				}
			}
			if err != nil {
				yield(StoredLetter{}, err)
				return
			}
			end = start - 1
		}
	}
}

// window reads the letters from start to end, both included, oldest first.
func (q *Queue) window(ctx context.Context, stream jetstream.Stream, start, end uint64, f Filter) ([]StoredLetter, error) {
	installation := f.Installation
	if !validToken(installation) {
		installation = "*"
	}
	c, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start,
		FilterSubject: q.letterSubject(installation, "*", "*"), InactiveThreshold: 10 * time.Second, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", err)
	}
	defer func() { _ = stream.DeleteConsumer(context.WithoutCancel(ctx), c.CachedInfo().Name) }()
	var found []StoredLetter
	for left := min(c.CachedInfo().NumPending, end-start+1); left > 0; {
		batch, err := c.FetchNoWait(int(min(left, 512)))
		if err != nil {
			return nil, fmt.Errorf("reading dead letters: %w", err)
		}
		n, err := collect(batch, end, f, &found)
		if err != nil || n == 0 {
			return found, err
		}
		left -= min(left, n)
	}
	return found, nil
}

// collect takes the letters of a batch; it returns 0 once the window's end is
// passed.
func collect(batch jetstream.MessageBatch, end uint64, f Filter, found *[]StoredLetter) (uint64, error) {
	n := uint64(0)
	past := false
	for m := range batch.Messages() {
		n++
		md, err := m.Metadata()
		if err != nil {
			return 0, fmt.Errorf("reading dead letters: %w", err)
		}
		if past = past || md.Sequence.Stream > end; past {
			continue
		}
		l := StoredLetter{Sequence: md.Sequence.Stream}
		raw := &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: l.Sequence, Data: m.Data()}
		if err := unmarshal(raw, &l.Letter); err != nil {
			return 0, err
		}
		if f.match(l.Letter) {
			*found = append(*found, l)
		}
	}
	if past {
		return 0, nil
	}
	return n, batch.Error()
}

// Replay publishes the job of a dead letter for its next run and then removes
// this very letter. Replaying it again, also from elsewhere and at the same
// time, does not run the job twice. fromStart forgets finished steps.
func (q *Queue) Replay(ctx context.Context, l StoredLetter, now time.Time, fromStart bool) error {
	job, err := l.Replay(now)
	if err != nil {
		return err
	}
	if err := q.prepareRun(ctx, job, l.Letter, fromStart); err != nil {
		return err
	}
	if _, err := q.Publish(ctx, job); err != nil {
		return err
	}
	return q.DropLetter(ctx, l)
}

// prepareRun writes the effects record that the next run starts from: the
// finished steps, and no intent, because whoever replays a letter has decided
// that its call may be sent again. A run that has already begun keeps its
// record.
func (q *Queue) prepareRun(ctx context.Context, job jobs.Job, l jobs.Letter, fromStart bool) error {
	old, sequence, err := q.Effects(ctx, job.ID)
	if err != nil {
		return err
	}
	if old.Run >= job.Run || (sequence == 0 && len(l.Steps) == 0) {
		return nil
	}
	next := jobs.Effects{Run: job.Run, Generation: job.Generation}
	for _, s := range l.Steps {
		if !s.Open && !fromStart {
			next.Steps = append(next.Steps, s)
		}
	}
	_, err = q.SaveEffects(ctx, job.ID, next, sequence, RunKept)
	if errors.Is(err, ErrConflict) {
		return nil // somebody else replays the same letter
	}
	return err
}

// DropLetter removes this very letter; a later one of the same job stays.
func (q *Queue) DropLetter(ctx context.Context, l StoredLetter) error {
	stream, err := q.js.Stream(ctx, q.stream("DLQ"))
	if err != nil {
		return fmt.Errorf("reading stream %q: %w", q.stream("DLQ"), err)
	}
	err = stream.DeleteMsg(ctx, l.Sequence)
	if err != nil && !gone(err) {
		return fmt.Errorf("removing dead letter %q: %w", l.ID, err)
	}
	return nil
}

// gone reports whether err says that a message was deleted already.
func gone(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == jetstream.JSErrCodeMessageNotFound || strings.Contains(api.Description, "not found") ||
			strings.Contains(api.Description, "deleted message")
	}
	return errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful)
}
