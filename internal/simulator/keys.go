package simulator

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"sync"
	"time"
)

// kidPrefix is the form of Atlassian's key ids, and keyBits the size of its
// keys, as seen in the key set on 2026-08-25.
const (
	kidPrefix = "forge/invocation-token/wf-"
	keyBits   = 2048
)

// KeySetMode says how the key set misbehaves. The zero value is a healthy one.
type KeySetMode struct {
	// Padded writes n and e with base64 padding, as seen in the wild.
	Padded bool `json:"padded,omitempty"`
	// Status, if not zero, is answered instead of the set.
	Status int `json:"status,omitempty"`
	// DelayMS is how long the answer takes, in milliseconds. Negative means
	// that none comes until the caller gives up.
	DelayMS int `json:"delayMs,omitempty"`
}

type signingKey struct {
	kid     string
	private *rsa.PrivateKey
}

// keySet is the keys of invocation tokens. The last one signs.
type keySet struct {
	random *source

	mu      sync.Mutex
	keys    []signingKey
	mode    KeySetMode
	fetches int
}

func newKeySet(n int, random *source) (*keySet, error) {
	set := &keySet{random: random, keys: make([]signingKey, n)}
	errs := make([]error, n)
	var making sync.WaitGroup
	for i := range set.keys {
		set.keys[i].kid = kidPrefix + random.uuid()
		making.Go(func() { set.keys[i].private, errs[i] = rsa.GenerateKey(rand.Reader, keyBits) })
	}
	making.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	return set, nil
}

// signer returns the key that new tokens are signed with.
func (k *keySet) signer() signingKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[len(k.keys)-1]
}

// rotate adds a key, which signs from now on, and returns its id. With
// dropOthers the set has only the new key afterwards.
func (k *keySet) rotate(dropOthers bool) (string, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return "", fmt.Errorf("making signing key: %w", err)
	}
	fresh := signingKey{kid: kidPrefix + k.random.uuid(), private: private}
	k.mu.Lock()
	defer k.mu.Unlock()
	if dropOthers {
		k.keys = nil
	}
	k.keys = append(k.keys, fresh)
	return fresh.kid, nil
}

// drop takes a key out of the set; an empty kid means the oldest one.
func (k *keySet) drop(kid string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) == 1 {
		return "", errors.New("dropping key: it is the only one, rotate first")
	}
	if kid == "" {
		kid = k.keys[0].kid
	}
	i := slices.IndexFunc(k.keys, func(key signingKey) bool { return key.kid == kid })
	if i < 0 {
		return "", fmt.Errorf("dropping key: there is no %q", kid)
	}
	k.keys = slices.Delete(slices.Clone(k.keys), i, i+1)
	return kid, nil
}

func (k *keySet) setMode(mode KeySetMode) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode = mode
}

// state returns the ids in the set, the signing one last, the mode, and how
// often the set was asked for.
func (k *keySet) state() (kids []string, mode KeySetMode, fetches int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		kids = append(kids, key.kid)
	}
	return kids, k.mode, k.fetches
}

// ServeHTTP answers with the JWK set in the shape of Atlassian's.
func (k *keySet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	k.fetches++
	mode, keys := k.mode, k.keys
	k.mu.Unlock()
	if !pause(r.Context(), time.Duration(mode.DelayMS)*time.Millisecond) {
		panic(http.ErrAbortHandler)
	}
	if mode.Status != 0 {
		writeJSON(w, mode.Status, map[string]any{"message": "the key set is told to answer this"})
		return
	}
	encoding := base64.RawURLEncoding
	if mode.Padded {
		encoding = base64.URLEncoding
	}
	set := make([]map[string]string, 0, len(keys))
	for _, key := range keys {
		set = append(set, map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key.kid,
			"n": encoding.EncodeToString(key.private.N.Bytes()),
			"e": encoding.EncodeToString(big.NewInt(int64(key.private.E)).Bytes()),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": set})
}
