package egress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/impersonation"
	"bellows/internal/vault"
)

// problem is an answer of bellows' own.
type problem struct {
	status        int
	code, message string
	sent          bool // Atlassian may have acted on the call
	retryAfter    time.Duration
	hasRetryAfter bool
	allow         string // header Allow; empty means none
	err           error  // for the log, and for whoever unwraps
}

func (p *problem) Error() string {
	if p.err != nil {
		return p.message + ": " + p.err.Error()
	}
	return p.message
}

func (p *problem) Unwrap() error { return p.err }

func notFound(message string) *problem {
	return &problem{status: http.StatusNotFound, code: "not_found", message: message}
}

// unavailable is a failure inside bellows that may pass. Its cause is for the
// log: a handler has no use for addresses of ours.
func unavailable(doing string, err error) *problem {
	return &problem{status: http.StatusServiceUnavailable, code: "unavailable", message: doing + " failed",
		retryAfter: time.Second, hasRetryAfter: true, err: err}
}

// tokenWait is when it is worth asking again for a token that is not there: a
// token comes with whatever Forge delivers next.
const tokenWait = 30 * time.Second

// problemOf says how a call that got no answer is told to its handler.
func problemOf(err error, now time.Time) *problem {
	var p *problem
	var e *atlassian.Error
	switch {
	case errors.As(err, &p):
		return p
	case !errors.As(err, &e):
		// Whether such an error came before or after sending is not known.
		return &problem{status: http.StatusBadGateway, code: "failed", message: "the call failed", sent: true, err: err}
	}
	switch e.Stage {
	case atlassian.Fenced:
		return &problem{status: http.StatusForbidden, code: "not_allowed", message: e.Error()}
	case atlassian.NoToken:
		return tokenProblem(e)
	case atlassian.BreakerOpen:
		return &problem{status: http.StatusServiceUnavailable, code: "breaker_open", message: e.Error(), retryAfter: max(e.Until.Sub(now), 0), hasRetryAfter: true}
	case atlassian.NotSent:
		return &problem{status: gateway(e), code: "not_sent", message: e.Error()}
	case atlassian.Unreadable:
		return &problem{status: http.StatusBadGateway, code: "unreadable", message: e.Error(), sent: true}
	case atlassian.Answered:
		if e.TokenExpired {
			return noToken(e)
		}
	}
	return &problem{status: gateway(e), code: "unanswered", message: e.Error(), sent: true}
}

func gateway(err error) int {
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

func noToken(err error) *problem {
	return &problem{status: http.StatusServiceUnavailable, code: "no_token", message: "there is no live token to call with",
		retryAfter: tokenWait, hasRetryAfter: true, err: err}
}

// tokenProblem says why there was no token. The call was not acted on.
func tokenProblem(e *atlassian.Error) *problem {
	var refused *impersonation.RefusedError
	var limited *impersonation.LimitedError
	var upstream *impersonation.UpstreamError
	switch {
	case errors.As(e, &refused):
		return &problem{status: http.StatusForbidden, code: "exchange_refused", message: refused.Error()}
	case errors.As(e, &limited):
		return &problem{status: http.StatusTooManyRequests, code: "exchange_limited", message: limited.Error(), retryAfter: limited.RetryAfter, hasRetryAfter: true}
	case errors.As(e, &upstream):
		return upstreamProblem(upstream)
	case errors.Is(e, vault.ErrNoToken), errors.Is(e, vault.ErrUnreadable), e.TokenExpired:
		return noToken(e)
	}
	return unavailable("looking for a token", e)
}

// upstreamProblem is a failed exchange: the gateway refuses the app's token, or
// does not work.
func upstreamProblem(e *impersonation.UpstreamError) *problem {
	p := &problem{status: gateway(e), code: "exchange_failed", message: e.Error(), retryAfter: e.RetryAfter, hasRetryAfter: e.HasRetryAfter}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
		p.status, p.code = http.StatusForbidden, "exchange_refused"
	}
	return p
}

func errorBody(code, message string) []byte {
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string]detail{"error": {code, message}})
	if err != nil {
		return nil // two strings always encode
	}
	return body
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(HeaderSent, fmt.Sprint(p.sent))
	if p.hasRetryAfter {
		h.Set("Retry-After", seconds(p.retryAfter))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.status == http.StatusUnauthorized {
		h.Set("Www-Authenticate", `Bearer realm="bellows egress"`)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(errorBody(p.code, p.message)) // the handler may be gone
}

// seconds rounds up: a wait is a floor.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((max(d, 0)+time.Second-1)/time.Second), 10)
}
