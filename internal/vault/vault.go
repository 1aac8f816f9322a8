// Package vault keeps the newest system token of every installation, and the
// newest user token of every user who called, so that a job finds one when its
// turn comes.
//
// The process that faces the internet has a [Writer]: it seals tokens to the
// vault's public key and cannot read them. Workers have a [Reader] with the
// private keys. Each owner, an installation or one user in it, has two keys of
// the same name:
//
//	TOKENS       <expiry> <token, sealed for owner, kind and expiry>  (write only for the Writer)
//	TOKENS_META  {expires, digest, sequence, received}                (read by both)
//
//	Writer.Keep                             Reader.Token
//	  read META: is the token newer?          META as watched: which sequence?
//	  put the sealed token ──▶ sequence       that very revision of TOKENS
//	  set META, if nobody else did            open it, check its expiry
//	     else: read META, decide again
//
// The token comes first, so META never names one that is not there. Any number
// of writers may race: META only ever moves to a later expiry, and the reader
// takes the revision of TOKENS that META names, whatever losers of the race
// have put after it (TOKENS keeps eight).
//
// # Which token is newer
//
// The one with the later expiry: events arrive out of order. Expiry is the
// "exp" of the token's JWT payload, the only claim that Atlassian lets one
// read, and at most five hours from receipt ([MaxLife]). A token without
// readable expiry counts as good for an hour from receipt ([OpaqueLife]). A
// live token is never replaced by one that ends no later, an expired one by
// any live one. No token at all changes nothing.
//
// [Writer.Keep] is synchronous: a changed token is stored before the job that
// came with it is published, so that this very job finds it. The revision that
// Keep returns goes with the job as the least that the reader must have seen.
// A token that has not changed, the common case, costs no I/O.
//
// # Failure handling
//
// Keep fails when NATS does; then the event must not be accepted, and comes
// again. A reader that has lost NATS serves what it holds until it expires. A
// token that does not open, because no private key fits or because it was
// damaged or copied from another owner's key, is [ErrUnreadable], never
// another owner's token.
package vault

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"bellows/internal/secret"
)

// ErrNoToken means that there is no live token for this owner: none ever came,
// or the last one has expired. It is worth waiting for the next.
var ErrNoToken = errors.New("no live token")

// ErrUnreadable means that there is a token, and that it does not open with
// the private keys at hand. It wraps [secret.ErrNoKey] or [secret.ErrNotOpened].
var ErrUnreadable = errors.New("token cannot be read")

// Owner says whose token it is.
type Owner struct {
	// Installation is its id: 1 to 64 letters, digits, "-" or "_".
	Installation string
	// Principal is the Atlassian account id of the user whose token it is.
	// Empty means the installation's system token.
	Principal string
}

var validInstallation = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// key names the owner in both buckets. An installation's id has no dot, so
// that two owners never share a key. The account id is personal data and not
// made for a NATS subject: it is hashed.
func (o Owner) key() (string, error) {
	if !validInstallation.MatchString(o.Installation) {
		return "", fmt.Errorf("%q is no installation id", o.Installation)
	}
	if o.Principal == "" {
		return o.Installation + systemSuffix, nil
	}
	sum := sha256.Sum256([]byte(o.Principal))
	return o.Installation + ".user." + hex.EncodeToString(sum[:16]), nil
}

const systemSuffix = ".system"

// Meta is what may be known about a token without a key. It is the JSON value
// of a key in TOKENS_META.
type Meta struct {
	// Expires is when the token counts as expired.
	Expires time.Time `json:"expires"`
	// Digest names the token; see [secret.Token.Digest].
	Digest string `json:"digest"`
	// Sequence is the revision of TOKENS that holds the token.
	Sequence uint64 `json:"sequence"`
	// Received is when it was kept.
	Received time.Time `json:"received"`
}

func (m Meta) live(now time.Time) bool { return now.Before(m.Expires) }

// yieldsTo reports whether the token that arrived replaces m, the zero Meta
// where there is none.
func (m Meta) yieldsTo(arrived Meta, now time.Time) bool {
	switch {
	case !arrived.live(now):
		return false
	case !m.live(now):
		return true
	case arrived.Digest == m.Digest:
		return false
	}
	return arrived.Expires.After(m.Expires)
}

func readMeta(value []byte) (Meta, error) {
	var m Meta
	if err := json.Unmarshal(value, &m); err != nil {
		return Meta{}, fmt.Errorf("reading what is known of the token: %w", err)
	}
	return m, nil
}

// expirySize is the length of the expiry in front of a sealed token: seconds
// since 1970, big endian. It stands there so that a token can be opened
// without META; being part of the seal, it cannot be changed.
const expirySize = 8

// info binds a sealed token to its owner, kind and expiry.
func info(key string, expires time.Time) string {
	return fmt.Sprintf("bellows token\n%s\n%d", key, expires.Unix())
}

func sealToken(to secret.PublicKey, key string, expires time.Time, t secret.Token) ([]byte, error) {
	sealed, err := to.Seal(info(key, expires), []byte(t.Reveal()))
	if err != nil {
		return nil, err
	}
	value := binary.BigEndian.AppendUint64(nil, uint64(expires.Unix()))
	return append(value, sealed...), nil
}

func openToken(keys secret.Keyring, key string, value []byte) (Held, error) {
	if len(value) < expirySize {
		return Held{}, fmt.Errorf("%w: %w", ErrUnreadable, secret.ErrNotOpened)
	}
	expires := time.Unix(int64(binary.BigEndian.Uint64(value)), 0)
	plain, err := keys.Open(info(key, expires), value[expirySize:])
	if err != nil {
		return Held{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	t := secret.NewToken(string(plain))
	return Held{Token: t, Expires: expires, Digest: t.Digest()}, nil
}
