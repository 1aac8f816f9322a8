package impersonation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
)

const (
	// lockTTL is when the lock of a process that died is gone.
	lockTTL = 15 * time.Second
	// bucketTimeout bounds one call to the bucket.
	bucketTimeout = 3 * time.Second
)

// key names an installation, a context and an account in memory and in the
// bucket: "<installation>.<hash>". The account id is personal data and not
// readable in it.
type key string

func keyOf(r Request) key {
	sum := sha256.Sum256([]byte(r.Context + "\x00" + r.Account))
	return key(r.Installation + "." + hex.EncodeToString(sum[:16]))
}

func (k key) lock() string { return "lock." + string(k) }

// record is the value of a key. A record without Sealed says that there is no
// token.
type record struct {
	Expires time.Time     `json:"expires"`
	TTL     time.Duration `json:"ttl"` // nanoseconds
	Digest  string        `json:"digest"`
	Sealed  []byte        `json:"sealed"`
}

// info binds a sealed token to its owner and its life.
func (r record) info(k key) string {
	return fmt.Sprintf("bellows exchanged token\n%s\n%d\n%d\n%s", k, r.Expires.UnixNano(), r.TTL, r.Digest)
}

// shared returns the token that the bucket has for k, or none, and the
// revision of what it has. A value that cannot be opened is none.
func (x *Exchanger) shared(ctx context.Context, k key) (held, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	entry, err := x.config.Cache.Get(ctx, string(k))
	if errors.Is(err, store.ErrNotFound) {
		return held{}, 0, nil
	}
	if err != nil {
		return held{}, 0, err
	}
	var r record
	if json.Unmarshal(entry.Value, &r) != nil || len(r.Sealed) == 0 {
		return held{}, entry.Revision, nil
	}
	plain, err := x.config.Keys.Open(r.info(k), r.Sealed)
	if err != nil {
		x.config.Logger.Warn("exchanged token in bucket does not open", "key", string(k), "error", err)
		return held{}, entry.Revision, nil
	}
	return held{token: secret.NewToken(string(plain)), digest: r.Digest, expires: r.Expires, ttl: r.TTL}, entry.Revision, nil
}

// share puts h into the bucket in place of what was there at revision.
func (x *Exchanger) share(ctx context.Context, k key, h held, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	r := record{Expires: h.expires.UTC().Round(0), TTL: h.ttl, Digest: h.digest}
	var err error
	if r.Sealed, err = x.config.SealTo.Seal(r.info(k), []byte(h.token.Reveal())); err != nil {
		return err
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	left := h.expires.Sub(x.config.Now())
	if left <= 0 {
		return nil
	}
	if revision == 0 {
		_, err = x.config.Cache.Create(ctx, string(k), value, left)
	} else {
		_, err = x.config.Cache.Update(ctx, string(k), value, revision, left)
	}
	return err
}

// unshare takes the token with that digest out of the bucket.
func (x *Exchanger) unshare(ctx context.Context, k key, digest string) error {
	h, revision, err := x.shared(ctx, k)
	if err != nil || h.digest != digest {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	_, err = x.config.Cache.Update(ctx, string(k), []byte("{}"), revision, time.Second)
	if errors.Is(err, store.ErrConflict) {
		return nil // there is another token now
	}
	return err
}

// lock takes the lock of k. mine is false when another process has it.
func (x *Exchanger) lock(ctx context.Context, k key) (unlock func(), mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	taken := time.Now()
	_, err = x.config.Cache.Create(ctx, k.lock(), []byte("{}"), lockTTL)
	if errors.Is(err, store.ErrExists) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return func() { x.unlock(k, taken) }, true, nil
}

// unlock gives the lock back, unless so much time has passed that it may have
// expired and be another's.
func (x *Exchanger) unlock(k key, taken time.Time) {
	left := lockTTL - time.Second - time.Since(taken)
	if left <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(left, bucketTimeout))
	defer cancel()
	if err := x.config.Cache.Purge(ctx, k.lock()); err != nil {
		x.config.Logger.Warn("giving exchange lock back failed; it expires", "error", err)
	}
}
