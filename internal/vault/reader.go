package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
)

// ReaderConfig says where a Reader finds tokens.
type ReaderConfig struct {
	// Tokens and Meta are the buckets TOKENS and TOKENS_META. Both are
	// required.
	Tokens, Meta *store.Bucket
	// Keys are the private keys; each of them opens. Required.
	Keys secret.Keyring
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Margin is how long before its expiry a token stops being handed out, so
	// that it does not expire on its way. Zero means ten seconds; negative
	// means none.
	Margin time.Duration
	// Open is how many opened tokens are held in memory, at one to four
	// kilobytes each. Zero or less means 4,096.
	Open int
	// Logger is told of tokens that cannot be read. Nil means silence.
	Logger *slog.Logger
}

func (c ReaderConfig) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c ReaderConfig) margin() time.Duration {
	if c.Margin == 0 {
		return 10 * time.Second
	}
	return max(c.Margin, 0)
}

func (c ReaderConfig) open() int {
	if c.Open <= 0 {
		return 4096
	}
	return c.Open
}

// Held is a token that was live when it was handed out.
type Held struct {
	Token   secret.Token
	Expires time.Time
	Digest  string
}

// Reader takes tokens out of the vault. It is safe for concurrent use. For
// each owner it holds some 500 bytes besides the opened token.
type Reader struct {
	config ReaderConfig
	opened *store.Recent[opened]
	owners store.Locks
	ready  chan struct{}

	mu     sync.Mutex
	known  map[string]known
	onNew  []func(installation string)
	logged map[string]bool
}

// known is an owner's newest META.
type known struct {
	expires  time.Time
	sequence uint64
	revision uint64
}

// opened is an owner's token, as it was at that sequence.
type opened struct {
	sequence uint64
	held     Held
}

// NewReader returns a Reader. It does no I/O.
func NewReader(c ReaderConfig) *Reader {
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Reader{
		config: c,
		opened: store.NewRecent[opened](c.open()),
		ready:  make(chan struct{}),
		known:  map[string]known{},
		logged: map[string]bool{},
	}
}

// OnNew has f called whenever an owner's token is newer than what was known
// before, with the owner's installation. That includes the tokens found when
// Run starts, so that nothing falls between a look and the watch. f must not
// block. Functions given before Run miss nothing.
func (r *Reader) OnNew(f func(installation string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onNew = append(r.onNew, f)
}

// Run follows META until ctx ends, and then returns nil. An error means that
// it could not start. Without Run, Token reads META at every call. Call it once.
func (r *Reader) Run(ctx context.Context) error {
	ready, err := r.config.Meta.Watch(ctx, r.take)
	if err != nil {
		return fmt.Errorf("following the vault: %w", err)
	}
	select {
	case <-ready:
		close(r.ready)
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// Ready is closed when Run knows all that was in the vault when it started.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// take notes what the watch tells.
func (r *Reader) take(e store.Entry) {
	if e.Deleted {
		r.drop(e)
		return
	}
	m, err := readMeta(e.Value)
	if err != nil {
		r.complain(e.Key, err)
		return
	}
	newer, tell := r.note(e.Key, known{m.Expires, m.Sequence, e.Revision})
	if !newer || !m.live(r.config.now()) {
		return
	}
	installation, _, _ := strings.Cut(e.Key, ".")
	for _, f := range tell {
		f(installation)
	}
}

func (r *Reader) drop(e store.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision > 0 && e.Revision < r.known[e.Key].revision {
		return
	}
	delete(r.known, e.Key)
	r.opened.Set(e.Key, opened{})
}

func (r *Reader) note(key string, k known) (newer bool, tell []func(string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k.revision <= r.known[key].revision {
		return false, nil
	}
	r.known[key] = k
	return true, r.onNew
}

func (r *Reader) look(key string) (known, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.known[key]
	return k, ok
}

// Health returns when the newest system token of the installation expires or
// has expired. ok is false where none is known: none came for a day.
func (r *Reader) Health(installation string) (expires time.Time, ok bool) {
	k, ok := r.look(installation + systemSuffix)
	return k.expires, ok
}

// Token returns the owner's newest token. atLeast is what [Writer.Keep]
// returned when the job came: where the reader has not seen that revision of
// META yet, it asks the server. Zero means that what is known is good enough.
//
// The error is [ErrNoToken] where there is none or it expires within the
// margin, [ErrUnreadable] where it does not open, or what NATS said.
func (r *Reader) Token(ctx context.Context, owner Owner, atLeast uint64) (Held, error) {
	key, err := owner.key()
	if err != nil {
		return Held{}, fmt.Errorf("looking for token: %w", err)
	}
	held, err := r.token(ctx, key, atLeast)
	if err != nil {
		if errors.Is(err, ErrUnreadable) {
			r.complain(key, err)
		}
		return Held{}, fmt.Errorf("looking for token of installation %q: %w", owner.Installation, err)
	}
	return held, nil
}

func (r *Reader) token(ctx context.Context, key string, atLeast uint64) (Held, error) {
	k, err := r.newest(ctx, key, atLeast)
	if err != nil {
		return Held{}, err
	}
	if err := r.usable(k.expires); err != nil {
		return Held{}, err
	}
	held, err := r.at(ctx, key, k.sequence)
	if err != nil {
		return Held{}, err
	}
	// What stands under the seal counts; META is not sealed.
	return held, r.usable(held.Expires)
}

func (r *Reader) usable(expires time.Time) error {
	if left := expires.Sub(r.config.now()); left <= r.config.margin() {
		return fmt.Errorf("%w: the newest ends at %s", ErrNoToken, expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// newest returns what is known, or what the server says where that is not
// enough.
func (r *Reader) newest(ctx context.Context, key string, atLeast uint64) (known, error) {
	k, ok := r.look(key)
	if r.follows() && k.revision >= atLeast {
		if !ok {
			return known{}, ErrNoToken
		}
		return k, nil
	}
	e, err := r.config.Meta.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return known{}, ErrNoToken
	}
	if err != nil {
		return known{}, err
	}
	m, err := readMeta(e.Value)
	if err != nil {
		return known{}, fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	return known{m.Expires, m.Sequence, e.Revision}, nil
}

func (r *Reader) follows() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// at returns the token at that sequence. Callers for one owner wait for each
// other, so that a new token is read and opened once.
func (r *Reader) at(ctx context.Context, key string, sequence uint64) (Held, error) {
	if o, ok := r.opened.Get(key); ok && o.sequence == sequence {
		return o.held, nil
	}
	unlock, err := r.owners.Lock(ctx, key)
	if err != nil {
		return Held{}, err
	}
	defer unlock()
	if o, ok := r.opened.Get(key); ok && o.sequence == sequence {
		return o.held, nil
	}
	value, err := r.sealed(ctx, key, sequence)
	if err != nil {
		return Held{}, err
	}
	held, err := openToken(r.config.Keys, key, value)
	if err != nil {
		return Held{}, err
	}
	r.opened.Set(key, opened{sequence, held})
	return held, nil
}

// sealed reads the revision that META names. Where many writers have put
// others after it, the newest of those is nearly as good.
func (r *Reader) sealed(ctx context.Context, key string, sequence uint64) ([]byte, error) {
	e, err := r.config.Tokens.GetRevision(ctx, key, sequence)
	if errors.Is(err, store.ErrNotFound) {
		e, err = r.config.Tokens.Get(ctx, key)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: it is not in the vault any more", ErrNoToken)
	}
	return e.Value, err
}

// complain logs a token that cannot be read: a missing private key once, since
// it concerns all that was sealed to it, and anything else once per owner.
func (r *Reader) complain(key string, err error) {
	what := key
	if errors.Is(err, secret.ErrNoKey) {
		what = err.Error() // it names the key id
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.logged[what] || len(r.logged) >= maxLogged {
		return
	}
	r.logged[what] = true
	installation, _, _ := strings.Cut(key, ".")
	r.config.Logger.Error("opening token failed", "installation", installation, "error", err)
}

// maxLogged bounds what complain remembers and says.
const maxLogged = 1000
