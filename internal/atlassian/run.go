package atlassian

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"bellows/internal/secret"
)

// flight is one Do.
type flight struct {
	client *Client
	call   Call
	url    *url.URL
	header http.Header
	used   scrubber
}

// held is a token and when it expires.
type held struct {
	token   secret.Token
	expires time.Time
}

var (
	errNoTokenGiven  = errors.New("none was given")
	errTokenExpired  = errors.New("it has expired")
	errNoTokenSource = errors.New("the call has no token function")
)

// prepare does what needs no connection: the fence, and the header.
func (c *Client) prepare(call Call) (*flight, *Error) {
	f := &flight{client: c, call: call}
	var err error
	if f.url, err = c.fence.join(call.Base, call.Path); err != nil {
		return nil, f.fail(Fenced, err)
	}
	f.url.RawQuery = call.Query.Encode()
	if err := checkMethod(call.Method); err != nil {
		return nil, f.fail(Fenced, err)
	}
	if f.header, err = requestHeader(call); err != nil {
		return nil, f.fail(Fenced, err)
	}
	return f, nil
}

// fail makes an Error of this call.
func (f *flight) fail(stage Stage, err error) *Error {
	path := f.call.Path
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	return &Error{
		Stage: stage, Method: bounded(f.call.Method, maxShort), Path: bounded(path, maxMessage), Err: f.used.err(err),
	}
}

// ended makes the Error of a context that ended before anything was sent.
func (f *flight) ended(ctx context.Context) *Error {
	err, byCaller := ctxError(ctx)
	e := f.fail(NotSent, err)
	e.byCaller = byCaller
	return e
}

// run sends with the first token and, if that was refused though live, once
// more with another.
func (f *flight) run(ctx context.Context) (*Answer, *Error) {
	first, e := f.token(ctx, secret.Token{})
	if e != nil {
		return nil, e
	}
	answer, refused := f.repeat(ctx, first)
	if refused == nil || refused.Stage != Answered || refused.Status != http.StatusUnauthorized || refused.TokenExpired {
		return answer, refused
	}
	second, e := f.token(ctx, first.token)
	if e != nil {
		e.Status = refused.Status
		return nil, e
	}
	if second.token == first.token {
		return nil, refused
	}
	return f.repeat(ctx, second)
}

// token asks for a token. What it returns has not expired yet.
func (f *flight) token(ctx context.Context, refused secret.Token) (held, *Error) {
	if f.call.Token == nil {
		return held{}, f.fail(NoToken, errNoTokenSource)
	}
	if ctx.Err() != nil {
		return held{}, f.ended(ctx)
	}
	token, expires, err := f.call.Token(ctx, refused)
	f.used = append(f.used, token)
	switch {
	case err != nil && ctx.Err() != nil:
		return held{}, f.ended(ctx)
	case err != nil:
		return held{}, f.fail(NoToken, err)
	case token.IsZero():
		return held{}, f.fail(NoToken, errNoTokenGiven)
	}
	h := held{token, expires}
	if f.expired(h) {
		return held{}, f.expiredError()
	}
	return h, nil
}

func (f *flight) expired(h held) bool {
	return !h.expires.IsZero() && !f.client.now().Before(h.expires)
}

func (f *flight) expiredError() *Error {
	e := f.fail(NoToken, errTokenExpired)
	e.TokenExpired = true
	return e
}

// repeat sends the call and, if it is safe, sends it again after failures that
// may pass quickly.
func (f *flight) repeat(ctx context.Context, h held) (*Answer, *Error) {
	var last *Error
	answer, err := backoff.RetryWithData(func() (*Answer, error) {
		answer, e := f.once(ctx, h)
		if e == nil {
			return answer, nil
		}
		if last != nil && e.Stage < NotSent {
			// The breaker opened, or the token expired, since the last try:
			// what that try met says more.
			return nil, backoff.Permanent(last)
		}
		last = e
		if !f.call.Safe || e.byCaller || !passesQuickly(e) {
			return nil, backoff.Permanent(e)
		}
		return nil, e
	}, f.client.pauses(ctx))
	if err != nil {
		return nil, last
	}
	return answer, nil
}

// once sends the call through its breaker.
func (f *flight) once(ctx context.Context, h held) (*Answer, *Error) {
	if ctx.Err() != nil {
		return nil, f.ended(ctx)
	}
	if f.expired(h) {
		return nil, f.expiredError()
	}
	key := breakerKey{strings.ToLower(f.url.Host), f.call.Installation}
	answer, e := f.client.breakers.do(key, func() (*Answer, *Error) { return f.send(ctx, h) })
	if e != nil && e.Stage == BreakerOpen {
		open := f.fail(BreakerOpen, e.Err)
		open.Until = e.Until
		return nil, open
	}
	return answer, e
}

// passesQuickly reports whether a safe call is worth sending again at once. An
// answer that says when to come back never is.
func passesQuickly(e *Error) bool {
	switch e.Stage {
	case NotSent, Unanswered:
		return true
	case Unreadable:
		return !errors.Is(e.Err, ErrTooLong)
	case Answered:
		return !e.HasRetryAfter && (e.Status == 500 || e.Status == 502 || e.Status == 503 || e.Status == 504)
	default:
		return false
	}
}

// pauses is the waits between sends: 250 ms, then twice that, each spread by
// half to both sides, as many as Repeats.
func (c *Client) pauses(ctx context.Context) backoff.BackOff {
	steps := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(250*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	spread := &spread{steps: steps, random: c.random, ctx: ctx}
	return backoff.WithContext(backoff.WithMaxRetries(spread, c.repeats), ctx)
}

// spread is a backoff.BackOff that takes its random numbers from the Config,
// and stops when a wait would outlast the call.
type spread struct {
	steps  backoff.BackOff
	random func() float64
	ctx    context.Context
}

func (s *spread) Reset() { s.steps.Reset() }

func (s *spread) NextBackOff() time.Duration {
	wait := time.Duration((0.5 + s.random()) * float64(s.steps.NextBackOff()))
	if deadline, ok := s.ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return backoff.Stop
	}
	return wait
}
