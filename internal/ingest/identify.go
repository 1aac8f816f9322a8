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
	// maxRetries is how often Forge sends a call again ("Forge Remote
	// essentials", 2026-08-22).
	maxRetries = 4
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
	id := jobs.CallID(c.inv.Installation, c.h.Endpoint, c.body.Digest, c.inv.ID)
	record := jobs.Effects{Job: id, At: c.job.Time}
	if c.body.Retry {
		return s.remembered(ctx, key, record, contentKept, func(jobs.Effects) bool { return true })
	}
	if err := s.Queue.MarkDone(ctx, key, record, contentKept); err != nil {
		return "", fmt.Errorf("remembering the delivery: %w", err)
	}
	return id, nil
}

// identifyTick names a run of a scheduled trigger. Another call for the tick
// that was accepted last takes its id.
func (s *Server) identifyTick(ctx context.Context, c *call) (string, error) {
	every := s.Every(*c.schedule)
	key := jobs.ScheduleKey(c.inv.Installation, c.schedule.Key)
	id := jobs.CallID(c.inv.Installation, c.schedule.Key, c.body.Digest, c.inv.ID)
	limit := sameTick(every, c.body.Retry, c.body.RetryCount)
	found, err := s.remembered(ctx, key, jobs.Effects{Job: id, At: c.job.Time}, max(every, contentKept), func(last jobs.Effects) bool {
		return c.job.Time.Sub(last.At) < limit
	})
	c.job.Redelivered = c.job.Redelivered || found != id
	return found, err
}

// remembered returns the id that key remembers if that is of the same call, or
// else has it remember record from now on. Of several who come at once with
// nothing remembered one has its way, and the others take its id.
func (s *Server) remembered(ctx context.Context, key string, record jobs.Effects, keep time.Duration, same func(jobs.Effects) bool) (string, error) {
	for {
		last, sequence, err := s.Queue.Effects(ctx, key)
		if err != nil {
			return "", fmt.Errorf("looking for an earlier delivery: %w", err)
		}
		if last.Job != "" && same(last) {
			return last.Job, nil
		}
		_, err = s.Queue.SaveEffects(ctx, key, record, sequence, keep)
		if errors.Is(err, queue.ErrConflict) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("remembering the delivery: %w", err)
		}
		return record.Job, nil
	}
}

// sameTick is how recent the last accepted run must be for a call to be of the
// same tick: half the interval, or for a redelivery as long as its first
// delivery may be ago, but no longer than the interval. A count of zero is one
// that could not be read.
func sameTick(every time.Duration, retry bool, count int) time.Duration {
	limit := every / 2
	if !retry {
		return limit
	}
	if count <= 0 || count > maxRetries {
		count = maxRetries
	}
	first := time.Duration(count)*redelivery + redeliverySlack
	if every > 0 {
		first = min(first, every)
	}
	return max(limit, first)
}
