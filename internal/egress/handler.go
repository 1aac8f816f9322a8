package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress/ticket"
	"bellows/internal/jobs"
	"bellows/internal/secret"
)

// recheckAfter is how long a body may take to arrive before its ticket is
// looked up again: a slow one must not outlive the ticket.
const recheckAfter = time.Second

// visit is one request to the port.
type visit struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	ticket secret.Token
	grant  ticket.Grant
	api    string // for metrics and the log
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	v := &visit{s: s, w: w, r: r}
	answer, err := v.answer(r.Context())
	status := 0
	if err != nil {
		p := problemOf(err, s.config.Now())
		status = p.status
		v.tell(status, p)
		p.write(w)
	} else {
		status = answer.Status
		v.tell(status, nil)
		write(w, answer)
	}
	s.config.Metrics.count(v.api, status)
}

// answer takes the request to where it belongs. The ticket comes first: to
// whoever has none, nothing is told.
func (v *visit) answer(ctx context.Context) (*atlassian.Answer, error) {
	if err := v.admit(ctx); err != nil {
		return nil, err
	}
	api, rest, err := split(v.r.URL.EscapedPath())
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, code: "bad_path", message: err.Error()}
	}
	switch {
	case api == "jobs" && rest == "" && v.s.config.Publish != nil:
		v.api = api
		return v.enqueue(ctx)
	case api == "progress" && rest == "" && v.s.config.Progress != nil:
		v.api = api
		return v.progress(ctx)
	case api == "jobs", api == "progress":
		return nil, notFound("there is nothing here")
	}
	return v.call(ctx, api, rest)
}

// admit checks the ticket.
func (v *visit) admit(ctx context.Context) error {
	v.ticket = bearer(v.r.Header.Values("Authorization"))
	grant, err := v.s.config.Tickets.Check(ctx, v.ticket)
	if errors.Is(err, ticket.ErrRefused) {
		return &problem{status: http.StatusUnauthorized, code: "invalid_ticket", message: "the ticket is not valid, or its job has ended"}
	}
	if err != nil {
		return unavailable("checking the ticket", err)
	}
	v.grant = grant
	return nil
}

// bearer reads the ticket, or the zero Token from anything but one value.
func bearer(values []string) secret.Token {
	if len(values) != 1 {
		return secret.Token{}
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return secret.Token{}
	}
	return secret.NewToken(strings.TrimLeft(text, " "))
}

// call makes the call that the request asks for.
func (v *visit) call(ctx context.Context, api, rest string) (*atlassian.Answer, error) {
	as, err := ParseAs(v.r.Header.Values(HeaderAs))
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, code: "bad_as", message: err.Error()}
	}
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return nil, &problem{status: http.StatusBadRequest, code: "bad_query", message: "the query is not well formed"}
	}
	i, err := v.s.installation(ctx, v.grant)
	if err != nil {
		return nil, err
	}
	o, err := v.s.aim(i, api, rest)
	if err != nil {
		return nil, err
	}
	v.api = o.api
	o.method, o.query, o.header = v.r.Method, query, v.r.Header
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.body, err = v.body(ctx, v.s.config.MaxBody); err != nil {
		return nil, err
	}
	answer, err := v.s.perform(ctx, v.grant, as, i, o)
	if err == nil {
		return &atlassian.Answer{Status: answer.Status, Header: answerHeader(answer.Status, answer.Header), Body: answer.Body}, nil
	}
	var e *atlassian.Error
	if errors.As(err, &e) && answered(e) {
		return v.s.refusal(e), nil
	}
	return nil, err
}

// body reads the request's body as a whole, and sees to it that the ticket is
// still valid then.
func (v *visit) body(ctx context.Context, limit int64) ([]byte, error) {
	began := time.Now()
	body, err := readBody(http.MaxBytesReader(v.w, v.r.Body, limit), v.r.ContentLength, limit)
	if err != nil {
		return nil, err
	}
	if time.Since(began) > recheckAfter {
		return body, v.admit(ctx)
	}
	return body, nil
}

// readBody reads a body of the declared length, negative where that is not
// known, and of at most limit bytes.
func readBody(from io.Reader, declared, limit int64) ([]byte, error) {
	tooLong := &problem{status: http.StatusRequestEntityTooLarge, code: "too_long", message: fmt.Sprintf("the body is longer than %d bytes", limit)}
	if declared > limit {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(from, limit+1))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over) || int64(len(body)) > limit:
		return nil, tooLong
	case err != nil:
		return nil, &problem{status: http.StatusBadRequest, code: "bad_body", message: "the body broke off"}
	}
	return body, nil
}

// tell logs the request, without its path and query: both may hold personal
// data.
func (v *visit) tell(status int, p *problem) {
	attrs := []any{"method", v.r.Method, "api", v.api, "status", status,
		"installation", v.grant.Installation, "job", v.grant.Job, "trace", jobs.TraceID(v.grant.Traceparent)}
	log := v.s.config.Logger
	switch {
	case p == nil:
		log.Debug("egress call answered", attrs...)
	case p.code == "unavailable" || p.code == "failed":
		log.Warn("egress request failed", append(attrs, "code", p.code, "error", p.Error())...)
	default:
		log.Debug("egress request refused", append(attrs, "code", p.code)...)
	}
}

// write gives Atlassian's answer, or one of the same form.
func write(w http.ResponseWriter, answer *atlassian.Answer) {
	h := w.Header()
	for name, values := range answer.Header {
		h[name] = values
	}
	if len(answer.Body) == 0 {
		w.WriteHeader(answer.Status)
		return
	}
	if h.Get("Content-Type") == "" {
		h["Content-Type"] = nil // net/http would guess one
	}
	h.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	w.WriteHeader(answer.Status)
	_, _ = w.Write(answer.Body) // the handler may be gone
}
