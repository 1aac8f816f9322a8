// Package impersonation exchanges an app's system token for a token of a user
// who is not in session, through the offlineUserAuthToken mutation of
// Atlassian's GraphQL gateway (Calling Atlassian app APIs from a remote,
// developer.atlassian.com, 2026-06-19).
//
// A token is kept per installation, context and account: in memory, and
// sealed in the EXCHANGED bucket, where every other worker finds it. It is
// replaced a little before it expires. One process makes one exchange at a
// time for each of them, however many callers wait; among processes a lock in
// the same bucket, which expires by itself, does the same.
//
// # Failure handling
//
//   - The gateway says that the account cannot be impersonated: a
//     [*RefusedError], remembered for five minutes in this process.
//   - The gateway or this process's own limit says that there were too many
//     exchanges: a [*LimitedError]. After a 429 no exchange is tried until
//     its Retry-After has passed.
//   - Anything else from the gateway: an [*UpstreamError]. An exchange changes
//     nothing, so it may always be tried again.
//   - The bucket does not answer: the exchange is made without it, since a
//     second exchange costs less than a job that cannot run.
//
// When an exchange fails in another way than by refusal and the token to be
// replaced is still valid, that one is used.
package impersonation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/sync/singleflight"

	"bellows/internal/secret"
	"bellows/internal/store"
)

// DefaultURL is Atlassian's GraphQL gateway.
const DefaultURL = "https://api.atlassian.com/graphql"

// defaultPerMinute is the limit of the invocation limits page for offline user
// tokens, per app (developer.atlassian.com, August 2026). The page of the
// mutation names 10,000 (2026-06-19).
const defaultPerMinute = 1000

// flightTimeout bounds one search for a token, waiting for others included.
const flightTimeout = 30 * time.Second

// Config is what an [Exchanger] needs.
type Config struct {
	// URL is the GraphQL gateway. Empty means DefaultURL.
	URL string
	// Post sends body to url once. err is nil for every whole answer; sent is
	// whether the gateway may have seen the request.
	Post func(ctx context.Context, url string, bearer secret.Token, body []byte) (status int, header http.Header, answer []byte, sent bool, err error)
	// Cache is the EXCHANGED bucket.
	Cache *store.Bucket
	// Keys open what other processes sealed.
	Keys secret.Keyring
	// SealTo is the key to seal to. The zero key means the newest of Keys.
	SealTo secret.PublicKey
	// PerMinute is how many exchanges this process makes at most in any 60
	// seconds, counted exactly. It does not know what other processes do.
	// Zero means 1000; negative means no limit.
	PerMinute int
	// Now is the clock for expiry and limits. Nil means time.Now.
	Now func() time.Time
	// Random gives numbers in [0, 1) that spread the waits for another
	// process. Nil means math/rand/v2.
	Random func() float64
	// Logger gets a line when the bucket cannot be used. Nil discards it.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.SealTo.IsZero() {
		c.SealTo = c.Keys.Newest()
	}
	if c.PerMinute == 0 {
		c.PerMinute = defaultPerMinute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Exchanger gives tokens of accounts. It is safe for concurrent use.
type Exchanger struct {
	config  Config
	flights singleflight.Group
	memory  *memory
	limit   *limiter
}

// New makes an Exchanger. It fails when Config lacks Post, Cache or a key.
func New(config Config) (*Exchanger, error) {
	config = config.withDefaults()
	switch {
	case config.Post == nil:
		return nil, errors.New("making token exchanger: Post is missing")
	case config.Cache == nil:
		return nil, errors.New("making token exchanger: Cache is missing")
	case config.SealTo.IsZero():
		return nil, errors.New("making token exchanger: there is no key to seal to")
	}
	return &Exchanger{config: config, memory: newMemory(), limit: newLimiter(config.PerMinute)}, nil
}

// Request says whose token is wanted.
type Request struct {
	// Installation is the id of the installation.
	Installation string
	// Context is the context ARI of the installation, in the form
	// ari:cloud:<product>::site/<cloudId>. It is the only one that is sent:
	// together with an installation ARI the gateway refuses it (Atlassian
	// developer community, thread 94615).
	Context string
	// Fallback is another form of the same context, tried once when the
	// gateway says that it cannot load permissions for the first; the form
	// that worked is tried first for this installation from then on. Empty
	// means none.
	Fallback string
	// Account is the account id to impersonate.
	Account string
	// System gives the installation's newest system token. It is called only
	// when an exchange is made.
	System func(ctx context.Context) (secret.Token, error)
}

var validInstallation = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// maxAccount bounds an account id in bytes. Atlassian's have at most 128
// characters (User, Jira Cloud REST API v3, October 2026).
const maxAccount = 255

func (r Request) check() error {
	switch {
	case !validInstallation.MatchString(r.Installation):
		return errors.New("exchanging token: installation is not a plain id")
	case r.Context == "":
		return errors.New("exchanging token: context is missing")
	case r.System == nil:
		return errors.New("exchanging token: System is missing")
	case r.Account == "" || len(r.Account) > maxAccount:
		return &RefusedError{Message: fmt.Sprintf("account id has %d bytes, want 1 to %d", len(r.Account), maxAccount)}
	}
	return nil
}

// Token returns a token of the account and when it expires, from memory, from
// the bucket, or by an exchange. A zero time means that the gateway did not
// say how long the token lives: it is good for one use now, and was not kept.
//
// The error is a [*RefusedError], a [*LimitedError], an [*UpstreamError],
// wraps the error of System, or wraps the error of ctx.
func (x *Exchanger) Token(ctx context.Context, r Request) (secret.Token, time.Time, error) {
	if err := r.check(); err != nil {
		return secret.Token{}, time.Time{}, err
	}
	got, err := x.lookUp(ctx, keyOf(r), r)
	if err != nil {
		return secret.Token{}, time.Time{}, err
	}
	return got.token, got.expires, nil
}

// lookUp answers from memory or joins the flight for k.
func (x *Exchanger) lookUp(ctx context.Context, k key, r Request) (held, error) {
	now := x.config.Now()
	if err := x.memory.denied(k, now); err != nil {
		return held{}, err
	}
	if h, ok := x.memory.get(k); ok && h.fresh(now) {
		return h, nil
	}
	flight := x.flights.DoChan(string(k), func() (any, error) {
		// The flight serves others too: it outlives the caller who began it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
		defer cancel()
		return x.find(ctx, k, r)
	})
	select {
	case <-ctx.Done():
		return held{}, fmt.Errorf("waiting for token exchange: %w", ctx.Err())
	case result := <-flight:
		if result.Err != nil {
			return held{}, result.Err
		}
		return result.Val.(held), nil
	}
}

// Forget drops the token with that digest, because Atlassian refused it though
// it had not expired: the next Token makes an exchange, unless another worker
// has made one. A token with another digest stays.
func (x *Exchanger) Forget(ctx context.Context, r Request, refusedDigest string) {
	if refusedDigest == "" || r.check() != nil {
		return
	}
	k := keyOf(r)
	x.memory.forget(k, refusedDigest, x.config.Now())
	if err := x.unshare(ctx, k, refusedDigest); err != nil {
		x.config.Logger.Warn("forgetting exchanged token failed", "installation", r.Installation, "error", err)
	}
}
