package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/jobs"
)

// readTimeout bounds one question: its answer is lost when the server dies
// between the two, or has just been started, and nobody would tell.
const readTimeout = 2 * time.Second

// last returns the newest message of a subject without a wildcard. It fails
// with jetstream.ErrMsgNotFound when there is none.
func (q *Queue) last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	return q.get(ctx, stream, map[string]any{"last_by_subj": subject})
}

// get asks the stream's leader, not a replica that may lag: what it answers
// decides whether a call is made.
func (q *Queue) get(ctx context.Context, stream string, request map[string]any) (*jetstream.RawStreamMsg, error) {
	body, err := marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := q.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+q.stream(stream), body)
	if err != nil {
		return nil, fmt.Errorf("reading stream %q: %w", q.stream(stream), err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *storedMessage      `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("reading stream %q: %w", q.stream(stream), err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return nil, fmt.Errorf("reading stream %q: %w", q.stream(stream), answer.Error)
	case answer.Message == nil:
		return nil, fmt.Errorf("reading stream %q: the answer has no message", q.stream(stream))
	}
	return answer.Message.raw()
}

// storedMessage is a message as the JetStream API gives it.
type storedMessage struct {
	Subject  string `json:"subject"`
	Sequence uint64 `json:"seq"`
	Header   []byte `json:"hdrs"`
	Data     []byte `json:"data"`
}

func (m *storedMessage) raw() (*jetstream.RawStreamMsg, error) {
	out := &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data, Header: nats.Header{}}
	if len(m.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil, fmt.Errorf("reading message %d of %q: %w", m.Sequence, m.Subject, err)
		}
		out.Header = h
	}
	return out, nil
}

// marshal leaves <, > and & as they are: a body must read as it was sent.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func unmarshal(m *jetstream.RawStreamMsg, v any) error {
	if err := json.Unmarshal(m.Data, v); err != nil {
		return fmt.Errorf("decoding message %d of %q: %w", m.Sequence, m.Subject, err)
	}
	return nil
}

// Trace is what is known of earlier copies of a job.
type Trace struct {
	Done    bool // a copy has ended well
	Dead    bool // a copy is a dead letter
	Delayed bool // a later copy waits for its time
	Begun   bool // a later copy has begun a call or finished a step
	Effects jobs.Effects
	// Sequence is that of the effects record, 0 if there is none.
	Sequence uint64
}

// Gone reports whether the copy in hand need not run: what it stands for has
// ended or goes on elsewhere.
func (t Trace) Gone() bool { return t.Done || t.Dead || t.Delayed || t.Begun }

// Overtaken reports whether a later copy of job has written e. That copy lives
// or has ended: the latest one is never dropped.
func Overtaken(job jobs.Job, e jobs.Effects) bool {
	return e.Run > job.Run || e.Run == job.Run && e.Generation > job.Generation
}

// Trace looks for earlier or later copies of job: its done mark, its dead
// letter of the same or a later run, a record of a later copy, and a delay of
// one.
func (q *Queue) Trace(ctx context.Context, job jobs.Job) (Trace, error) {
	var t Trace
	var err error
	if t.Effects, t.Sequence, err = q.Effects(ctx, job.ID); err != nil {
		return t, err
	}
	t.Done = t.Effects.Done && t.Effects.Run >= job.Run
	t.Begun = !t.Done && Overtaken(job, t.Effects)
	if t.Done || t.Begun {
		return t, nil
	}
	if t.Dead, err = q.isDead(ctx, job); err != nil || t.Dead {
		return t, err
	}
	t.Delayed, err = q.isDelayed(ctx, job)
	return t, err
}

func (q *Queue) isDead(ctx context.Context, job jobs.Job) (bool, error) {
	m, err := q.last(ctx, "DLQ", q.letterSubject(job.Installation, string(job.Kind), job.ID))
	if err != nil {
		return false, ignoreNotFound(err)
	}
	var l jobs.Letter
	if err := unmarshal(m, &l); err != nil {
		return false, err
	}
	return l.Run >= job.Run, nil
}

func (q *Queue) isDelayed(ctx context.Context, job jobs.Job) (bool, error) {
	waiting, sequence, err := q.waiting(ctx, job)
	return err == nil && sequence > 0 && later(waiting, job), err
}

// waiting returns the copy of job that waits for its time, and its sequence;
// 0 when none does.
func (q *Queue) waiting(ctx context.Context, job jobs.Job) (jobs.Job, uint64, error) {
	m, err := q.last(ctx, "JOBS", q.delaySubject(job.ID))
	if err != nil {
		return jobs.Job{}, 0, ignoreNotFound(err)
	}
	copied, err := jobs.Parse(job.Installation, job.Kind, m.Header, m.Data)
	return copied, m.Sequence, err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}
