// Package ticket makes and checks the tickets by which a handler calls
// Atlassian through bellows.
//
// A ticket is an opaque bearer of 32 random bytes. What it stands for, its
// [Grant], is kept in the bucket TICKETS under the SHA-256 of its text, so
// neither the bucket nor a backup of it holds anything that could be
// presented. A grant names an installation, the user in session and the job,
// and holds no token of Atlassian's: a process that can open none, as the one
// that faces the internet, can issue tickets too.
//
// A ticket lives as long as the attempt that it was made for:
//
//	Issue ──▶ valid for Life ──▶ refused
//	             ▲    │
//	   Extend ───┘    └──▶ Revoke ──▶ refused
//
// Every check reads the bucket from its leader. A revoked ticket is thus
// refused everywhere as soon as the revocation is stored, and at once by the
// process that revoked it.
//
// # Failure handling
//
// A ticket that is unknown, malformed, expired or revoked is [ErrRefused], and
// which of these it was is not told. A ticket that cannot be checked, because
// NATS does not answer, is another error: the holder may try again. When a
// revocation cannot be stored, the ticket is refused by this process, and
// elsewhere from the end of its life, since nobody extends it.
package ticket

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
)

// ErrRefused means that this is no valid ticket.
var ErrRefused = errors.New("ticket is not valid")

const (
	// size is how many random bytes a ticket has.
	size = 32
	// DefaultLife is the life of a ticket that does not say otherwise: two
	// times the 30 seconds for which a silent worker keeps a job.
	DefaultLife = time.Minute
	// MaxLife bounds the life of a ticket, and with it how long a revocation
	// that could not be stored has to be remembered.
	MaxLife = time.Hour
)

// Owner is the kind of thing a ticket is made for.
type Owner string

// The kinds of owner.
const (
	OwnerJob  Owner = "job"  // an attempt at a job
	OwnerCall Owner = "call" // a call of a front end or a function that is passed on
)

// Grant is what the holder of a ticket may do, and for whom.
type Grant struct {
	Owner Owner `json:"owner"`
	// Installation is whose APIs may be called; required.
	Installation string `json:"installation"`
	// Principal is the account id of the user in session. Empty means none:
	// then nothing can be called as that user.
	Principal string `json:"principal,omitempty"`
	// Job is the id of the job, or for [OwnerCall] an id of the call; required.
	Job string `json:"job"`
	// Run and Attempt are those of the job.
	Run     int `json:"run,omitempty"`
	Attempt int `json:"attempt,omitempty"`
	// Product is the one meant where a call does not say. Empty means the only
	// one that the app is installed in.
	Product string `json:"product,omitempty"`
	// InstallationRevision and TokenRevision are the least that whoever looks
	// up the installation and its tokens must have seen.
	InstallationRevision uint64 `json:"installationRevision,omitempty"`
	TokenRevision        uint64 `json:"tokenRevision,omitempty"`
	// Traceparent is the W3C trace context of the owner.
	Traceparent string `json:"traceparent,omitempty"`
	// Life is how long the ticket is valid after it was issued or extended.
	// Zero or negative means DefaultLife; more than MaxLife means MaxLife.
	Life time.Duration `json:"life"`
	// Expires is set by Issue and Extend.
	Expires time.Time `json:"expires"`
}

var validInstallation = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (g Grant) check() error {
	switch {
	case g.Owner != OwnerJob && g.Owner != OwnerCall:
		return fmt.Errorf("owner %q is neither %q nor %q", g.Owner, OwnerJob, OwnerCall)
	case !validInstallation.MatchString(g.Installation):
		return fmt.Errorf("%q is no installation id", g.Installation)
	case g.Job == "":
		return errors.New("job is missing")
	}
	return nil
}

func (g Grant) life() time.Duration {
	if g.Life <= 0 {
		return DefaultLife
	}
	return min(g.Life, MaxLife)
}

// Config is what [Tickets] need.
type Config struct {
	// Bucket is the bucket TICKETS. Required.
	Bucket *store.Bucket
	// Now is the clock for expiry. Nil means time.Now.
	Now func() time.Time
	// Random gives the bytes of tickets; whoever can foresee them holds every
	// ticket. Nil means crypto/rand.
	Random io.Reader
	// Logger is told of records that cannot be read. Nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Tickets issues and checks tickets. It is safe for concurrent use.
type Tickets struct {
	config Config

	mu      sync.Mutex
	revoked map[string]time.Time // :: key → until when a lost revocation matters
}

// New returns Tickets. It does no I/O.
func New(c Config) *Tickets {
	return &Tickets{config: c.withDefaults(), revoked: map[string]time.Time{}}
}

// Issue makes a ticket. The error names what is missing in the grant, or is
// what NATS said.
func (t *Tickets) Issue(ctx context.Context, g Grant) (secret.Token, error) {
	if err := g.check(); err != nil {
		return secret.Token{}, fmt.Errorf("issuing ticket: %w", err)
	}
	var random [size]byte
	if _, err := io.ReadFull(t.config.Random, random[:]); err != nil {
		return secret.Token{}, fmt.Errorf("issuing ticket: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(random[:])
	value, life, err := t.record(g)
	if err == nil {
		_, err = t.config.Bucket.Create(ctx, keyOf(text), value, life)
	}
	if err != nil {
		return secret.Token{}, fmt.Errorf("issuing ticket: %w", err)
	}
	return secret.NewToken(text), nil
}

// record is the grant as it is kept, from now for its life.
func (t *Tickets) record(g Grant) (value []byte, life time.Duration, err error) {
	g.Life = g.life()
	g.Expires = t.config.Now().Add(g.Life).UTC()
	value, err = json.Marshal(g)
	return value, g.Life, err
}

// Extend makes the ticket valid for its whole life from now. The error is
// [ErrRefused] for a ticket that has ended already; it stays ended.
func (t *Tickets) Extend(ctx context.Context, presented secret.Token) error {
	g, revision, err := t.find(ctx, presented)
	if err != nil {
		return fmt.Errorf("extending ticket: %w", err)
	}
	value, life, err := t.record(g)
	if err == nil {
		_, err = t.config.Bucket.Update(ctx, keyOf(presented.Reveal()), value, revision, life)
	}
	if errors.Is(err, store.ErrConflict) {
		// Another Extend was faster, or the ticket was revoked or expired in
		// this moment: it is not for this call to bring it back.
		_, _, err = t.find(ctx, presented)
	}
	if err != nil {
		return fmt.Errorf("extending ticket: %w", err)
	}
	return nil
}

// Revoke ends the ticket: by this process it is refused from the moment of the
// call, by others once NATS has stored the revocation, which it has when the
// error is nil. A ticket that has ended already is no error.
func (t *Tickets) Revoke(ctx context.Context, presented secret.Token) error {
	key := keyOf(presented.Reveal())
	t.mark(key)
	if err := t.config.Bucket.Purge(ctx, key); err != nil {
		return fmt.Errorf("revoking ticket: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.revoked, key) // the bucket says it from here on
	return nil
}

// mark remembers a revocation, and forgets those that have become pointless.
func (t *Tickets) mark(key string) {
	now := t.config.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, until := range t.revoked {
		if now.After(until) {
			delete(t.revoked, k)
		}
	}
	t.revoked[key] = now.Add(MaxLife)
}

// Check returns what the ticket grants. The error is [ErrRefused] for whatever
// is no valid ticket, and otherwise what NATS said.
func (t *Tickets) Check(ctx context.Context, presented secret.Token) (Grant, error) {
	g, _, err := t.find(ctx, presented)
	if err != nil {
		return Grant{}, fmt.Errorf("checking ticket: %w", err)
	}
	return g, nil
}

// find looks a ticket up by its digest. How long that takes says nothing about
// the tickets there are: nobody can choose the digest of what he presents, and
// what does not have the form of a ticket is not looked for.
func (t *Tickets) find(ctx context.Context, presented secret.Token) (Grant, uint64, error) {
	if !wellFormed(presented.Reveal()) {
		return Grant{}, 0, ErrRefused
	}
	key := keyOf(presented.Reveal())
	if t.isRevoked(key) {
		return Grant{}, 0, ErrRefused
	}
	e, err := t.config.Bucket.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Grant{}, 0, ErrRefused
	case err != nil:
		return Grant{}, 0, err
	}
	var g Grant
	if err := json.Unmarshal(e.Value, &g); err != nil || g.check() != nil {
		t.config.Logger.Error("reading a ticket's record failed", "key", key)
		return Grant{}, 0, ErrRefused
	}
	if !t.config.Now().Before(g.Expires) || t.isRevoked(key) {
		return Grant{}, 0, ErrRefused
	}
	return g, e.Revision, nil
}

func (t *Tickets) isRevoked(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, revoked := t.revoked[key]
	return revoked
}

func wellFormed(text string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(raw) == size
}

// keyOf is where a ticket's record is: the whole SHA-256 of its text, so that
// no other text leads to it.
func keyOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
