package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

const (
	// contentKept is how long a delivery without distinct content is
	// remembered: Forge sends it again within five minutes, and JetStream's
	// duplicate window is as long.
	contentKept = 20 * time.Minute
	// redelivery is the time between two deliveries of one call: 60 s, and up
	// to 5 s for the one that timed out ("Forge Remote essentials",
	// 2026-08-22).
	redelivery = 65 * time.Second
	// redeliverySlack is how much later than that a redelivery may come.
	redeliverySlack = time.Minute
)

// identify finds the id of the job that a call becomes. gone means that the
// same call was accepted before and its job needs no other copy.
func (s *Server) identify(ctx context.Context, c *call) (id string, gone bool, err error) {
	switch {
	case c.schedule != nil:
		id, err = s.identifyTick(ctx, c)
	case c.body.Distinct:
		id = jobs.EventID(c.inv.Installation, c.h.Endpoint, c.body.Digest)
	default:
		id, err = s.identifyContent(ctx, c)
	}
	if err != nil || !c.job.Redelivered {
		return id, false, err
	}
	c.job.ID = id
	trace, err := s.Queue.Trace(ctx, c.job)
	if err != nil {
		return id, false, fmt.Errorf("looking for an earlier copy: %w", err)
	}
	return id, trace.Gone(), nil
}

// identifyContent names a call whose content cannot tell two real ones apart.
// A first delivery is always a new job, and is remembered by its content; a
// redelivery takes the id remembered.
func (s *Server) identifyContent(ctx context.Context, c *call) (string, error) {
	key := jobs.ContentKey(c.inv.Installation, c.h.Endpoint, c.body.Digest)
	if c.body.Retry {
		record, _, err := s.Queue.Effects(ctx, key)
		if err != nil {
			return "", fmt.Errorf("looking for the first delivery: %w", err)
		}
		if record.Job != "" {
			return record.Job, nil
		}
	}
	id := jobs.CallID(c.inv.Installation, c.h.Endpoint, c.body.Digest, c.inv.ID)
	err := s.Queue.MarkDone(ctx, key, jobs.Effects{Job: id, At: c.job.Time}, contentKept)
	if err != nil {
		return "", fmt.Errorf("remembering the delivery: %w", err)
	}
	return id, nil
}

// identifyTick names a run of a scheduled trigger. Another call for the tick
// that was accepted last takes its id.
func (s *Server) identifyTick(ctx context.Context, c *call) (string, error) {
	every := s.Every(*c.schedule)
	key := jobs.ScheduleKey(c.inv.Installation, c.schedule.Key)
	for {
		record, sequence, err := s.Queue.Effects(ctx, key)
		if err != nil {
			return "", fmt.Errorf("looking for the last run: %w", err)
		}
		if record.Job != "" && c.job.Time.Sub(record.At) < sameTick(every, c.body.Retry, c.body.RetryCount) {
			c.job.Redelivered = true
			return record.Job, nil
		}
		id := jobs.CallID(c.inv.Installation, c.schedule.Key, c.body.Digest, c.inv.ID)
		_, err = s.Queue.SaveEffects(ctx, key, jobs.Effects{Job: id, At: c.job.Time}, sequence, max(every, contentKept))
		if errors.Is(err, queue.ErrConflict) {
			continue // another ingest took a call for this trigger just now
		}
		if err != nil {
			return "", fmt.Errorf("remembering the run: %w", err)
		}
		return id, nil
	}
}

// sameTick is how recent the last accepted run must be for a call to be of the
// same tick: half the interval, or for a redelivery as long as its first
// delivery may be ago.
func sameTick(every time.Duration, retry bool, count int) time.Duration {
	limit := every / 2
	if retry {
		limit = max(limit, time.Duration(min(max(count, 1), 10))*redelivery+redeliverySlack)
	}
	return limit
}
