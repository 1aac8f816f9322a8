package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/jobs"
	"bellows/internal/rules"
	"bellows/internal/secret"
)

const (
	// maxRefusal is how much of a handler's refusal goes into the job's
	// history, in bytes.
	maxRefusal = 300
	// maxRead is how much of any answer is read, so that its connection can be
	// used again.
	maxRead = 64 << 10
)

// newForwardClient calls handlers: whatever their URL, and only that.
func newForwardClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: nil, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second,
			TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true,
		},
	}
}

// forward posts the job to the rule's URL. A handler must bear to get a job
// twice, so whatever is not clear is tried again.
func (a *attempt) forward(ctx context.Context, to rules.Forward) *jobs.Failure {
	body, err := cloudEvent(a.job)
	if err != nil {
		return &jobs.Failure{Cause: jobs.CauseFatal, Message: err.Error()}
	}
	bearer, f := a.issue(ctx)
	if f != nil {
		return f
	}
	defer a.lend(ctx, bearer)()
	ctx, cancel := context.WithTimeout(ctx, to.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return &jobs.Failure{Cause: jobs.CauseFatal, Message: fmt.Sprintf("forwarding: the URL %q cannot be called", host(to.URL))}
	}
	r.Header.Set("Content-Type", "application/cloudevents+json; charset=utf-8")
	if a.job.Traceparent != "" {
		r.Header.Set("Traceparent", a.job.Traceparent)
	}
	if !bearer.IsZero() {
		r.Header.Set(egress.HeaderEgress, a.w.EgressURL)
		r.Header.Set(egress.HeaderTicket, bearer.Reveal())
	}
	return a.post(r, bearer)
}

// issue makes the ticket of this attempt.
func (a *attempt) issue(ctx context.Context) (secret.Token, *jobs.Failure) {
	var bearer secret.Token
	if a.w.Tickets == nil {
		return bearer, nil
	}
	err := a.ask(ctx, func(ctx context.Context) (err error) { bearer, err = a.w.Tickets.Issue(ctx, a.grant()); return err })
	if err != nil {
		return bearer, a.broker(ctx, fmt.Errorf("issuing a ticket: %w", err))
	}
	return bearer, nil
}

// grant is what a handler of this attempt may do. It ends with the attempt:
// whoever is silent for twice the time after which a job goes to another
// worker has lost it.
func (a *attempt) grant() ticket.Grant {
	return ticket.Grant{
		Owner: ticket.OwnerJob, Installation: a.job.Installation, Principal: a.job.Principal,
		Job: a.job.ID, Run: a.job.Run, Attempt: a.job.Attempt, Product: a.rule.Product(),
		InstallationRevision: a.job.InstallationRevision, TokenRevision: a.job.TokenRevision,
		Traceparent: a.job.Traceparent, Life: 2 * a.w.Queue.AckWait(),
	}
}

// lend keeps a ticket alive, in the rhythm in which the server is told of the
// job, until the function it returns revokes it.
func (a *attempt) lend(ctx context.Context, bearer secret.Token) (revoke func()) {
	if bearer.IsZero() {
		return func() {}
	}
	extending, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(max(a.w.Queue.AckWait()/3, beatCheck))
		defer ticker.Stop()
		for {
			select {
			case <-extending.Done():
				return
			case <-ticker.C:
			}
			try, cancel := context.WithTimeout(extending, storeTimeout)
			if err := a.w.Tickets.Extend(try, bearer); err != nil && extending.Err() == nil {
				a.w.log.Warn("extending a ticket failed", "job", a.job.ID, "error", err)
			}
			cancel()
		}
	}()
	return func() {
		stop()
		<-ended
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		if err := a.w.Tickets.Revoke(try, bearer); err != nil {
			a.w.log.Warn("storing the end of a ticket failed: this worker refuses it, others do from the end of its life", "job", a.job.ID, "error", err)
		}
	}
}

// post makes the call and reads what became of it.
func (a *attempt) post(r *http.Request, bearer secret.Token) *jobs.Failure {
	f := &jobs.Failure{Cause: jobs.CauseUnanswered, Safe: true, Method: r.Method, Path: r.URL.Path}
	client := *a.w.Forward
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	if err != nil {
		f.Message = fmt.Sprintf("forwarding to %q: %s", r.URL.Host, inner(err))
		return f
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxRead)) // the status is the answer
	f.Status = response.StatusCode
	f.RetryAfter, f.HasRetryAfter = retryAfter(response.Header.Get("Retry-After"), a.w.Now())
	f.Message = fmt.Sprintf("the handler at %q answered with %d", r.URL.Host, f.Status)
	if said := line(text, bearer); said != "" {
		f.Message += ": " + said
	}
	switch {
	case f.Status/100 == 2:
		return nil
	case f.Status == http.StatusTooManyRequests, f.Status == http.StatusServiceUnavailable && f.HasRetryAfter:
		f.Cause = jobs.CauseLimited
	case f.Status >= 500, f.Status == http.StatusRequestTimeout, f.Status == http.StatusTooEarly:
		f.Cause = jobs.CauseServer
	default:
		f.Cause = jobs.CauseRejected
	}
	return f
}

// inner is an error less the URL that net/http puts before it, since its query
// may be a secret.
func inner(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil || !strings.Contains(err.Error(), "://") {
			return err.Error()
		}
		err = next
	}
}

func host(text string) string {
	before, _, _ := strings.Cut(text, "?")
	return jobs.Clip(before, maxRefusal)
}

// line is the beginning of a handler's answer on one line, without its ticket.
func line(text []byte, bearer secret.Token) string {
	said := bearer.Scrub(strings.ToValidUTF8(string(text), ""))
	said = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, said)
	return jobs.Clip(strings.Join(strings.Fields(said), " "), maxRefusal)
}

// retryAfter reads seconds or an HTTP date (RFC 9110, 10.2.3). A date in the
// past is no wait.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseInt(text, 10, 32); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}

// cloudEvent is the job in the structured mode of CloudEvents 1.0 in JSON.
// Names of attributes have small letters and digits only (CloudEvents 1.0.2,
// "Naming conventions").
func cloudEvent(job jobs.Job) ([]byte, error) {
	event := map[string]any{
		"specversion": "1.0", "id": job.ID, "source": job.Source, "type": job.Type,
		"installation": job.Installation, "kind": string(job.Kind), "attempt": job.Attempt, "run": job.Run, "rule": job.Rule,
	}
	for name, value := range map[string]string{
		"subject": job.Subject, "traceparent": job.Traceparent, "principal": job.Principal, "module": job.Module,
		"route": job.Route, "trigger": job.Trigger, "environment": job.Environment, "appversion": job.AppVersion,
	} {
		if value != "" {
			event[name] = value
		}
	}
	if !job.Time.IsZero() {
		event["time"] = job.Time.UTC().Format(time.RFC3339Nano)
	}
	switch {
	case len(bytes.TrimSpace(job.Data)) == 0:
	case json.Valid(job.Data):
		event["datacontenttype"], event["data"] = "application/json", json.RawMessage(job.Data)
	default:
		event["data_base64"] = job.Data
		if job.ContentType != "" {
			event["datacontenttype"] = job.ContentType
		}
	}
	body, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("encoding the job: %w", err)
	}
	return body, nil
}
