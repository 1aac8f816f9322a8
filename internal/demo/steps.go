package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"bellows/internal/queue"
	"bellows/internal/simulator"
)

// retryAfter is what the simulator asks bellows to wait.
const retryAfter = 2 * time.Second

// install has the app installed, and looks at what bellows then knows.
func (s *scenario) install(ctx context.Context) error {
	result, err := s.Simulator.Install(ctx, simulator.InstallRequest{})
	if err != nil {
		return err
	}
	s.installation = result.Installation.ID
	d, err := accepted(result.Deliveries)
	if err != nil {
		return err
	}
	s.saw("%s came from %s and was answered with %d in %s", d.Event, result.Installation.Site, d.Last().Status, took(d.Last()))
	var known Known
	err = s.until(ctx, "the installation to be known", func() (bool, error) {
		known, err = s.Known(ctx, s.installation)
		return known.State != "" && !known.TokenExpires.IsZero(), err
	})
	if err != nil {
		return err
	}
	s.saw("installation %s is %s, its system token is in the vault until %s", s.installation, known.State, known.TokenExpires.Local().Format("15:04"))
	return s.quiet(ctx)
}

// comment is the main way: an event in, a call out.
func (s *scenario) comment(ctx context.Context) error {
	d, err := s.trigger(ctx, "avi:jira:created:issue", "DEMO-1", simulator.DeliveryOptions{})
	if err != nil {
		return err
	}
	s.saw("%s for DEMO-1 was answered with %d in %s", d.Event, d.Last().Status, took(d.Last()))
	call, err := s.await(ctx, "the comment", commentOn("DEMO-1"))
	if err != nil {
		return err
	}
	return s.check(call, http.StatusCreated, "system")
}

// check tells a call that came, and fails unless it is as it must be.
func (s *scenario) check(call simulator.APICall, status int, token string) error {
	if call.Status != status || call.Token != token {
		return fmt.Errorf("%s came with the %s token (%s), want status %d with the %s token", told(call), call.Token, call.Refused, status, token)
	}
	s.saw("%s, with the %s token of account %s", told(call), call.Token, call.Actor)
	return nil
}

// scheduled lets the simulator's timetable run until a trigger was due.
func (s *scenario) scheduled(ctx context.Context) error {
	if _, err := s.Simulator.SetSchedules(ctx, simulator.Schedules{On: true}); err != nil {
		return err
	}
	call, err := s.await(ctx, "the call of the scheduled rule", func(c simulator.APICall) bool { return c.Method == http.MethodGet })
	if err != nil {
		return err
	}
	if _, err := s.Simulator.SetSchedules(ctx, simulator.Schedules{}); err != nil {
		return err
	}
	d, err := s.awaitDelivery(ctx, "scheduled")
	if err != nil {
		return err
	}
	s.saw("scheduled trigger %s was due and answered with %d in %s", d.Trigger, d.Last().Status, took(d.Last()))
	if err := s.check(call, http.StatusOK, "system"); err != nil {
		return err
	}
	return s.quiet(ctx)
}

// impersonate shows a call in the name of a person who is not there.
func (s *scenario) impersonate(ctx context.Context) error {
	if _, err := s.trigger(ctx, "avi:jira:assigned:issue", "DEMO-1", simulator.DeliveryOptions{}); err != nil {
		return err
	}
	exchange, err := s.await(ctx, "the exchange of the token", func(c simulator.APICall) bool { return c.Path == "/graphql" })
	if err != nil {
		return err
	}
	if err := s.check(exchange, http.StatusOK, "system"); err != nil {
		return err
	}
	call, err := s.await(ctx, "the comment", commentOn("DEMO-1"))
	if err != nil {
		return err
	}
	if call.Actor == exchange.Actor {
		return fmt.Errorf("the comment was written by the app itself, %s", call.Actor)
	}
	return s.check(call, http.StatusCreated, "exchanged")
}

// answerOf reads ingest's answer to a delivery.
func answerOf(a simulator.Attempt) (id string, duplicate bool, err error) {
	var answer struct {
		ID        string `json:"id"`
		Duplicate bool   `json:"duplicate"`
	}
	if err := json.Unmarshal([]byte(a.Answer), &answer); err != nil || answer.ID == "" {
		return "", false, fmt.Errorf("the answer %q names no job", a.Answer)
	}
	return answer.ID, answer.Duplicate, nil
}

// twice loses a good answer on its way, so that Forge sends the event again.
func (s *scenario) twice(ctx context.Context) error {
	d, err := s.trigger(ctx, "avi:jira:created:issue", "DEMO-2", simulator.DeliveryOptions{LoseAnswers: 1})
	if err != nil {
		return err
	}
	if len(d.Attempts) != 2 {
		return fmt.Errorf("the event was sent %d times, want twice", len(d.Attempts))
	}
	var ids [2]string
	for i, a := range d.Attempts {
		id, duplicate, err := answerOf(a)
		if err != nil {
			return err
		}
		if ids[i] = id; duplicate != (i == 1) || id != ids[0] {
			return fmt.Errorf("delivery %d was answered with %s", i+1, a.Answer)
		}
		s.saw("delivery %d was answered with %d, duplicate: %t, job %s", i+1, a.Status, duplicate, id)
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	calls := s.matching(commentOn("DEMO-2"))
	if len(calls) != 1 {
		return fmt.Errorf("the comment was written %d times, want once", len(calls))
	}
	return s.check(calls[0], http.StatusCreated, "system")
}

// fault makes the comments on an issue fail, and returns how to end that.
func (s *scenario) fault(ctx context.Context, issue string, f simulator.Fault) (mend func(context.Context) error, err error) {
	f.Method, f.Path = http.MethodPost, "/rest/api/3/issue/"+issue+"/comment"
	f, err = s.Simulator.SetFault(ctx, f)
	return func(ctx context.Context) error { return s.Simulator.RemoveFault(ctx, f.ID) }, err
}

// limited shows that a wait which Atlassian asks for is kept.
func (s *scenario) limited(ctx context.Context) error {
	seconds := fmt.Sprint(int(retryAfter.Seconds()))
	_, err := s.fault(ctx, "DEMO-3", simulator.Fault{
		Status: http.StatusTooManyRequests, Times: 1,
		Headers: map[string]string{"Retry-After": seconds, "RateLimit-Reason": "jira-burst-based"},
	})
	if err != nil {
		return err
	}
	if _, err := s.trigger(ctx, "avi:jira:created:issue", "DEMO-3", simulator.DeliveryOptions{}); err != nil {
		return err
	}
	first, err := s.await(ctx, "the call that is refused", answered(http.StatusTooManyRequests, commentOn("DEMO-3")))
	if err != nil {
		return err
	}
	s.saw("%s, Retry-After: %s", told(first), seconds)
	second, err := s.await(ctx, "the call after the wait", answered(http.StatusCreated, commentOn("DEMO-3")))
	if err != nil {
		return err
	}
	if n := len(s.matching(commentOn("DEMO-3"))); n != 2 {
		return fmt.Errorf("there were %d calls, want the refused one and one after the wait", n)
	}
	waited := second.At.Sub(first.At)
	if waited < retryAfter {
		return fmt.Errorf("the next call came after %v, want %v or more", waited, retryAfter)
	}
	s.saw("no call for %.1f s, then %s", waited.Seconds(), told(second))
	return s.quiet(ctx)
}

// letter shows the way of a job that cannot be done.
func (s *scenario) letter(ctx context.Context) error {
	mend, err := s.fault(ctx, "DEMO-4", simulator.Fault{
		Status: http.StatusBadRequest, Body: json.RawMessage(`{"errorMessages":["comments on this issue are closed"],"errors":{}}`),
	})
	if err != nil {
		return err
	}
	if _, err := s.trigger(ctx, "avi:jira:created:issue", "DEMO-4", simulator.DeliveryOptions{}); err != nil {
		return err
	}
	dead, err := s.deadLetter(ctx)
	if err != nil {
		return err
	}
	s.saw("dead letter %s: %s, rule %s, %s %s → %d: %s", dead.ID, dead.Reason, dead.Rule, dead.Method, dead.Path, dead.Status, dead.Error)
	if err := mend(ctx); err != nil {
		return err
	}
	if err := s.Queue.Replay(ctx, dead, s.Now(), false); err != nil {
		return err
	}
	s.saw("the cause is mended, the letter is replayed")
	call, err := s.await(ctx, "the call of the replayed job", answered(http.StatusCreated, commentOn("DEMO-4")))
	if err != nil {
		return err
	}
	if err := s.check(call, http.StatusCreated, "system"); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	if _, err := s.Queue.Letter(ctx, dead.ID); !errors.Is(err, queue.ErrNoLetter) {
		return fmt.Errorf("the dead letter is still there (reading it: %v)", err)
	}
	s.saw("the dead letter is gone")
	return nil
}

// deadLetter waits for the only letter there is.
func (s *scenario) deadLetter(ctx context.Context) (dead queue.StoredLetter, err error) {
	err = s.until(ctx, "the dead letter", func() (bool, error) {
		for l, err := range s.Queue.Letters(ctx, queue.Filter{Installation: s.installation}) {
			dead = l
			return err == nil, err
		}
		return false, nil
	})
	return dead, err
}
