package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
)

// WriterConfig says where a Writer keeps tokens.
type WriterConfig struct {
	// Tokens and Meta are the buckets TOKENS and TOKENS_META. The account
	// needs to publish to $KV.<bucket>.> of both, and to
	// $JS.API.STREAM.MSG.GET.KV_<bucket> of Meta. Both are required.
	Tokens, Meta *store.Bucket
	// Key is the vault's public key. Required.
	Key secret.PublicKey
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Recheck is after how long META is read again although nothing seems to
	// have changed, so that a token that was removed from the vault returns
	// with the next call. Zero means five minutes; negative means at every
	// call.
	Recheck time.Duration
	// Remember is for how many owners the newest token is remembered, at about
	// 300 bytes each. Zero or less means 50,000.
	Remember int
}

func (c WriterConfig) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c WriterConfig) recheck() time.Duration {
	if c.Recheck == 0 {
		return 5 * time.Minute
	}
	return c.Recheck
}

func (c WriterConfig) remember() int {
	if c.Remember <= 0 {
		return 50_000
	}
	return c.Remember
}

// Writer puts tokens into the vault. It is safe for concurrent use.
type Writer struct {
	config WriterConfig
	recent *store.Recent[noted]
	owners store.Locks
}

// noted is what the Writer remembers of an owner's META.
type noted struct {
	meta     Meta   // the zero Meta where there is none
	revision uint64 // of META; 0 where there is none
	read     time.Time
}

// NewWriter returns a Writer. It does no I/O.
func NewWriter(c WriterConfig) *Writer {
	return &Writer{config: c, recent: store.NewRecent[noted](c.remember())}
}

// Keep stores t if it is newer than what the vault holds for owner. It returns
// the revision of META that a reader must have seen to know of t, or of what
// is there instead. The zero Token changes nothing and costs nothing; the
// revision is then the last one known here, and zero where none is.
//
// Calls for one owner wait for each other. An error means that nobody knows
// whether t was stored.
func (w *Writer) Keep(ctx context.Context, owner Owner, t secret.Token) (metaRevision uint64, err error) {
	key, err := owner.key()
	if err != nil {
		return 0, fmt.Errorf("keeping token: %w", err)
	}
	if t.IsZero() {
		n, _ := w.recent.Get(key)
		return n.revision, nil
	}
	now := w.config.now()
	arrived := Meta{Expires: lifeOf(t, now), Digest: t.Digest(), Received: now.UTC()}
	if n, ok := w.settled(key, arrived, now); ok {
		return n.revision, nil
	}
	unlock, err := w.owners.Lock(ctx, key)
	if err != nil {
		return 0, fmt.Errorf("keeping token of installation %q: %w", owner.Installation, err)
	}
	defer unlock()
	if n, ok := w.settled(key, arrived, now); ok { // by whoever had the lock
		return n.revision, nil
	}
	n, err := w.store(ctx, key, arrived, t, now)
	if err != nil {
		return 0, fmt.Errorf("keeping token of installation %q: %w", owner.Installation, err)
	}
	w.recent.Set(key, n)
	return n.revision, nil
}

// settled reports whether what is remembered suffices to leave things alone.
func (w *Writer) settled(key string, arrived Meta, now time.Time) (noted, bool) {
	n, ok := w.recent.Get(key)
	fresh := ok && now.Sub(n.read) < w.config.recheck()
	return n, fresh && !n.meta.yieldsTo(arrived, now)
}

// store decides by what META says now: another process may have been faster.
func (w *Writer) store(ctx context.Context, key string, arrived Meta, t secret.Token, now time.Time) (noted, error) {
	for {
		held, err := w.read(ctx, key, now)
		if err != nil || !held.meta.yieldsTo(arrived, now) {
			return held, err
		}
		if arrived.Sequence == 0 {
			if arrived.Sequence, err = w.put(ctx, key, arrived, t); err != nil {
				return noted{}, err
			}
		}
		revision, err := w.announce(ctx, key, arrived, held.revision)
		if err == nil {
			return noted{meta: arrived, revision: revision, read: now}, nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return noted{}, err
		}
	}
}

func (w *Writer) read(ctx context.Context, key string, now time.Time) (noted, error) {
	e, err := w.config.Meta.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return noted{read: now}, nil
	}
	if err != nil {
		return noted{}, err
	}
	m, err := readMeta(e.Value)
	if err != nil {
		m = Meta{} // worth no more than none
	}
	return noted{meta: m, revision: e.Revision, read: now}, nil
}

func (w *Writer) put(ctx context.Context, key string, arrived Meta, t secret.Token) (uint64, error) {
	value, err := sealToken(w.config.Key, key, arrived.Expires, t)
	if err != nil {
		return 0, err
	}
	return w.config.Tokens.Put(ctx, key, value)
}

// announce sets META if it still has that revision; 0 means no value.
func (w *Writer) announce(ctx context.Context, key string, m Meta, revision uint64) (uint64, error) {
	value, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return w.config.Meta.Create(ctx, key, value, 0)
	}
	return w.config.Meta.Update(ctx, key, value, revision, 0)
}
