package worker

import (
	"context"
	"errors"
	"net/http"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/impersonation"
	"bellows/internal/jobs"
	"bellows/internal/vault"
)

// settlingTime is how long after an install 401 and 403 may mean that
// permissions are still being granted ("Send Atlassian app and lifecycle
// events to a remote", 2026-08-22: retry for up to about ten minutes).
const settlingTime = 15 * time.Minute

// classify says what the error of a call in a step means for its job; safe
// says that the call may be made again.
func (a *attempt) classify(ctx context.Context, err error, step string, safe bool) *jobs.Failure {
	f := &jobs.Failure{Cause: jobs.CauseOther, Step: step, Safe: safe, Message: err.Error()}
	var e *atlassian.Error
	if !errors.As(err, &e) {
		return f
	}
	f.Method, f.Path, f.Status = e.Method, e.Path, e.Status
	f.RetryAfter, f.HasRetryAfter = e.RetryAfter, e.HasRetryAfter
	switch e.Stage {
	case atlassian.Fenced:
		f.Cause = jobs.CauseFatal
	case atlassian.NoToken:
		a.classifyToken(f, e)
	case atlassian.BreakerOpen:
		f.Cause, f.Until = jobs.CauseHeld, e.Until
	case atlassian.NotSent:
		f.Cause = jobs.CauseNotSent
	case atlassian.Unanswered:
		f.Cause = jobs.CauseUnanswered
	case atlassian.Answered:
		f.Cause = a.causeOf(e)
	case atlassian.Unreadable:
		f.Cause = jobs.CauseRejected
	}
	notSent := e.Stage == atlassian.NotSent || e.Stage == atlassian.NoToken && f.Cause != jobs.CauseRejected
	if notSent && ctx.Err() != nil {
		f.Cause = jobs.CauseShutdown
	}
	return f
}

// causeOf reads the status of an answer.
func (a *attempt) causeOf(e *atlassian.Error) jobs.Cause {
	switch {
	case e.TokenExpired:
		return jobs.CauseNoToken
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable && e.HasRetryAfter:
		return jobs.CauseLimited
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if a.settling() {
			return jobs.CauseSettling
		}
	case http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusRequestTimeout, http.StatusTooEarly:
		return jobs.CauseServer
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return jobs.CauseUnanswered
	}
	return jobs.CauseRejected
}

// settling reports whether the app was installed only just.
func (a *attempt) settling() bool {
	at := a.installation.InstalledAt
	return !at.IsZero() && a.w.Now().Sub(at) < settlingTime
}

// classifyToken says why there was no token to call with. Nothing was sent.
func (a *attempt) classifyToken(f *jobs.Failure, e *atlassian.Error) {
	var refused *impersonation.RefusedError
	var limited *impersonation.LimitedError
	var upstream *impersonation.UpstreamError
	switch {
	case errors.Is(e, vault.ErrNoToken), e.TokenExpired:
		f.Cause = jobs.CauseNoToken
	case errors.As(e, &refused):
		f.Cause = jobs.CauseRejected
	case errors.As(e, &limited):
		f.Cause, f.RetryAfter, f.HasRetryAfter = jobs.CauseExchangeLimited, limited.RetryAfter, true
	case errors.As(e, &upstream):
		a.classifyUpstream(f, upstream)
	}
}

// classifyUpstream reads a failed exchange. An exchange may always be made
// again: it changes nothing but who may ask.
func (a *attempt) classifyUpstream(f *jobs.Failure, e *impersonation.UpstreamError) {
	f.Status, f.Safe = e.Status, true
	f.RetryAfter, f.HasRetryAfter = e.RetryAfter, e.HasRetryAfter
	switch {
	case e.HasRetryAfter:
		f.Cause = jobs.CauseLimited
	case (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) && a.settling():
		f.Cause = jobs.CauseSettling
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden, e.Status == http.StatusBadRequest:
		f.Cause = jobs.CauseRejected
	case e.Status == http.StatusServiceUnavailable && e.HasRetryAfter:
		f.Cause, f.RetryAfter, f.HasRetryAfter = jobs.CauseLimited, e.RetryAfter, true
	case e.Status >= 500:
		f.Cause = jobs.CauseServer
	case e.Sent:
		f.Cause = jobs.CauseUnanswered
	default:
		f.Cause = jobs.CauseNotSent
	}
}
