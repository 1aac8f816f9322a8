package forge

import (
	"context"
	"crypto/rsa"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// KeySetConfig says where keys come from and how often they may be asked for.
type KeySetConfig struct {
	// URL is the address of the key set. Empty means [DefaultKeySetURL].
	URL string
	// Client fetches; redirects are never followed, whatever it says about
	// them. Nil means a client with the default transport.
	Client *http.Client
	// Now is the clock of the fetch budget. Nil means time.Now.
	Now func() time.Time
	// FetchTimeout bounds one fetch. Zero or negative means 5 seconds.
	FetchTimeout time.Duration
	// PollEvery is the time between polls of Run, and the age at which the
	// keys of an Isolated Cloud are asked for again. Zero or negative means 1
	// hour.
	PollEvery time.Duration
	// FetchesPerMinute is how many fetches unknown key ids may cause in any 60
	// seconds; they may all come at once. Polls do not count. Zero means 6,
	// negative means none.
	FetchesPerMinute int
	// Logger hears of failed fetches and unusable keys. Nil means silence.
	Logger *slog.Logger
}

func (c KeySetConfig) url() string {
	if c.URL == "" {
		return DefaultKeySetURL
	}
	return c.URL
}

// client returns a client that takes a redirect for the answer.
func (c KeySetConfig) client() *http.Client {
	var client http.Client
	if c.Client != nil {
		client = *c.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func (c KeySetConfig) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c KeySetConfig) fetchTimeout() time.Duration {
	if c.FetchTimeout <= 0 {
		return 5 * time.Second
	}
	return c.FetchTimeout
}

func (c KeySetConfig) pollEvery() time.Duration {
	if c.PollEvery <= 0 {
		return time.Hour
	}
	return c.PollEvery
}

func (c KeySetConfig) budget() *budget {
	if c.FetchesPerMinute == 0 {
		return &budget{limit: 6}
	}
	return &budget{limit: max(0, c.FetchesPerMinute)}
}

func (c KeySetConfig) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// KeySet holds the keys that sign invocation tokens and fetches them when it
// must. Its methods may be called from any number of goroutines.
type KeySet struct {
	config KeySetConfig
	client *http.Client
	now    func() time.Time
	logger *slog.Logger

	known atomic.Pointer[snapshot] // nil until a fetch has succeeded

	mu      sync.Mutex
	budget  *budget
	current *flight // the fetch under way, or nil
	last    *flight // the fetch that ended last, or nil
	started uint64  // how many fetches have started
}

// snapshot is what one successful fetch found.
type snapshot struct {
	keys map[string]*rsa.PublicKey
	at   time.Time
}

// flight is one fetch, shared by all who wait for it. err may be read when
// done is closed.
type flight struct {
	number uint64
	done   chan struct{}
	err    error
}

// errBudget is the cause when no further fetch is allowed now.
var errBudget = errors.New("the key set was fetched too often in the last minute")

// NewKeySet returns a set that has no keys yet: [KeySet.Run] loads and polls
// it, and Key fetches what it needs even without Run.
func NewKeySet(config KeySetConfig) *KeySet {
	return &KeySet{
		config: config,
		client: config.client(),
		now:    config.now(),
		logger: config.logger(),
		budget: config.budget(),
	}
}

// Loaded reports whether a fetch has ever succeeded.
func (k *KeySet) Loaded() bool { return k.known.Load() != nil }

// Key returns the key with the id kid. A known one costs no lock and no I/O.
// For an unknown one it waits for a fetch that started after the call, shared
// with all others who wait, at most as long as ctx allows.
//
// The error is an [*InvalidTokenError] if that fetch succeeded and the set
// lacks the key, and a [*KeysUnavailableError] if it failed, was not allowed,
// or ctx ended.
func (k *KeySet) Key(ctx context.Context, kid string) (*rsa.PublicKey, error) {
	if key := k.cached(kid); key != nil {
		return key, nil
	}
	asked := k.fetchesStarted()
	for {
		if key := k.cached(kid); key != nil {
			return key, nil
		}
		f := k.join(asked)
		if f == nil {
			return nil, k.unavailable(errBudget)
		}
		if err := k.await(ctx, f); err != nil {
			return nil, err
		}
		if f.number > asked {
			return k.settle(f, kid)
		}
	}
}

func (k *KeySet) fetchesStarted() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.started
}

func (k *KeySet) cached(kid string) *rsa.PublicKey {
	if s := k.known.Load(); s != nil {
		return s.keys[kid]
	}
	return nil
}

// await waits for the end of f.
func (k *KeySet) await(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return k.unavailable(ctx.Err())
	}
}

// settle answers after a fetch that started when kid had been asked for.
func (k *KeySet) settle(f *flight, kid string) (*rsa.PublicKey, error) {
	if key := k.cached(kid); key != nil {
		return key, nil
	}
	if f.err != nil {
		return nil, k.unavailable(f.err)
	}
	return nil, invalid("kid", "is "+quoted(kid)+", which is not in the key set")
}

func (k *KeySet) unavailable(err error) error {
	k.mu.Lock()
	b := k.budget
	k.mu.Unlock()
	return &KeysUnavailableError{RetryAfter: b.wait(k.now()), Err: err}
}

// join returns the last fetch if it started after the first asked ones, else
// the one under way, else a new one, else nil because the budget is used.
func (k *KeySet) join(asked uint64) *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && k.last.number > asked {
		return k.last
	}
	if k.current != nil {
		return k.current
	}
	if !k.budget.take(k.now()) {
		return nil
	}
	return k.start()
}

// start begins a fetch on its own time: whoever waits for it may go away. It
// is called with mu held and no fetch under way.
func (k *KeySet) start() *flight {
	k.started++
	f := &flight{number: k.started, done: make(chan struct{})}
	k.current = f
	go k.fly(f)
	return f
}

func (k *KeySet) fly(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), k.config.fetchTimeout())
	defer cancel()
	keys, err := download(ctx, k.client, k.config.url(), k.logger)
	if err != nil {
		k.logger.Warn("fetching the key set failed", "error", err)
	} else {
		k.known.Store(&snapshot{keys: keys, at: k.now()})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f.err = err
	k.current, k.last = nil, f
	close(f.done)
}

// refresh begins a fetch outside the budget, or joins the one under way.
func (k *KeySet) refresh() *flight {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != nil {
		return k.current
	}
	return k.start()
}

// charge makes the set count its fetches in b from now on.
func (k *KeySet) charge(b *budget) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.budget = b
}
