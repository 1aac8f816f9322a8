// Package atlassian makes bellows' calls to Atlassian's REST and GraphQL APIs.
//
// One [Client.Do] is one attempt of a job: it passes a fence (only allowed
// hosts, only below the given base), asks for a token, goes through a circuit
// breaker of its host and installation, sends, and reads the answer up to a
// limit. Calls that are safe to repeat are repeated a few times at once when
// the failure looks short; a token that was refused while still valid is
// replaced once. Anything longer is left to the caller, who has a queue.
//
// Every failure is an [*Error]. Its [Stage] says how far the call came, and
// with that whether Atlassian may have acted on it: everything before
// [Unanswered] was certainly not acted on. An unsafe call is written to the
// wire at most once for each token, also when a kept-alive connection breaks
// or an HTTP/2 server resets the stream. No token ever appears in an Error or
// in an Answer, also when a server echoes it.
package atlassian

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"bellows/internal/secret"
)

const (
	defaultMaxAnswer = 5 << 20
	defaultRepeats   = 2
	defaultTimeout   = 30 * time.Second
)

// Config is what a [Client] needs. The zero Config works.
type Config struct {
	// Hosts are the hosts that may be called, each "host" or "host:port". An
	// entry without a port means the default port of the scheme. Empty means
	// api.atlassian.com and api.bitbucket.org.
	Hosts []string
	// Transport sends the requests. It must report to net/http/httptrace as
	// *http.Transport does: what it does not report counts as sent. Nil means
	// a transport of the client's own: keep-alives, HTTP/2, no proxy but Proxy.
	Transport http.RoundTripper
	// Proxy chooses a proxy for the client's own transport. Nil means none;
	// the environment is not read.
	Proxy func(*http.Request) (*url.URL, error)
	// MaxAnswer is the longest answer in bytes, after decompression. Zero or
	// negative means 5 MiB.
	MaxAnswer int64
	// Repeats is how many more times a safe call is sent within one attempt.
	// Zero means 2; negative means none.
	Repeats int
	// Breaker sets the circuit breakers.
	Breaker BreakerConfig
	// Now is the clock for token expiry, Retry-After dates and Until. Nil
	// means time.Now. The breakers' own windows always use the real clock.
	Now func() time.Time
	// Random gives numbers in [0, 1) that spread the waits. Nil means
	// math/rand/v2.
	Random func() float64
	// Logger gets one line for each change of a breaker. Nil discards them.
	Logger *slog.Logger
}

func (c Config) maxAnswer() int64 {
	if c.MaxAnswer <= 0 {
		return defaultMaxAnswer
	}
	return c.MaxAnswer
}

func (c Config) repeats() uint64 {
	if c.Repeats == 0 {
		return defaultRepeats
	}
	return uint64(max(c.Repeats, 0))
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c Config) random() func() float64 {
	if c.Random == nil {
		return rand.Float64
	}
	return c.Random
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// Client calls Atlassian. It is safe for concurrent use.
type Client struct {
	fence     fence
	transport http.RoundTripper
	// traced is whether the transport certainly reports to httptrace, so that
	// a silent failure means that nothing was sent.
	traced    bool
	maxAnswer int64
	repeats   uint64
	breakers  *breakers
	now       func() time.Time
	random    func() float64
}

// New makes a Client. It fails only when an entry of Hosts is not a host.
func New(config Config) (*Client, error) {
	fence, err := newFence(config.Hosts)
	if err != nil {
		return nil, err
	}
	transport := config.Transport
	if transport == nil {
		transport = newTransport(config.Proxy)
	}
	_, traced := transport.(*http.Transport)
	return &Client{
		fence: fence, transport: transport, traced: traced,
		maxAnswer: config.maxAnswer(), repeats: config.repeats(),
		breakers: newBreakers(config.Breaker, config.now(), config.random(), config.logger()),
		now:      config.now(), random: config.random(),
	}, nil
}

// Call is one call to make.
type Call struct {
	// Installation is whose call it is; with the host it names the breaker.
	Installation string
	// Base is the URL that Path is joined to, as the invocation's context gave
	// it: https, or http to a loopback address, on an allowed host.
	Base string
	// Method is an HTTP method in capitals.
	Method string
	// Path is below Base: escaped, with a leading slash, or empty for Base
	// itself. Dot segments, empty segments and escaped slashes are refused.
	Path string
	// Query is sent as given and never appears in an error.
	Query url.Values
	// Header is sent with the request, less what belongs to the connection,
	// Authorization, Cookie and Accept-Encoding. Accept defaults to
	// application/json, and so does Content-Type when there is a body;
	// User-Agent defaults to "bellows".
	Header http.Header
	// Body is the request body; nil or empty means none.
	Body []byte
	// Safe is whether the call may be sent again when its answer was lost.
	Safe bool
	// Timeout bounds everything Do does. Zero or negative means 30 seconds.
	Timeout time.Duration
	// Token gives the token to use and when it expires; a zero time means that
	// this is not known, and the token counts as live. It is first called with
	// the zero Token. When Atlassian refused a live token it is called once
	// more with that token, and the call is sent again if another comes.
	Token func(ctx context.Context, refused secret.Token) (secret.Token, time.Time, error)
}

func (c Call) timeout() time.Duration {
	if c.Timeout <= 0 {
		return defaultTimeout
	}
	return c.Timeout
}

// Answer is what Atlassian answered to a call that succeeded.
type Answer struct {
	// Status is between 200 and 299.
	Status int
	// Header is the answer's header less Set-Cookie.
	Header http.Header
	// Body is the whole body; nil or empty when there is none.
	Body []byte
}

// Do makes one attempt at the call. The error is nil for a 2xx answer, and
// otherwise an [*Error]. When ctx ends before the call was sent, that is an
// Error with Stage [NotSent] that wraps the context's error.
func (c *Client) Do(ctx context.Context, call Call) (*Answer, error) {
	f, e := c.prepare(call)
	if e != nil {
		return nil, e
	}
	ctx, cancel := context.WithTimeoutCause(ctx, call.timeout(), &timeoutError{after: call.timeout()})
	defer cancel()
	answer, e := f.run(ctx)
	if e != nil {
		return nil, e
	}
	return answer, nil
}

// CloseIdle closes the connections that carry no call.
func (c *Client) CloseIdle() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// timeoutError is the cause of a context that Call.Timeout ended, so that it
// can be told from one the caller ended.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string        { return fmt.Sprintf("no complete answer within %s", e.after) }
func (e *timeoutError) Timeout() bool        { return true }
func (e *timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// ctxError says why ctx ended, and whether it was the caller who ended it.
func ctxError(ctx context.Context) (err error, byCaller bool) {
	var timeout *timeoutError
	if errors.As(context.Cause(ctx), &timeout) {
		return timeout, false
	}
	return ctx.Err(), true
}
