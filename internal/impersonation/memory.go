package impersonation

import (
	"sync"
	"time"

	"bellows/internal/secret"
)

const (
	// maxRemembered bounds the accounts and the installations in memory.
	maxRemembered = 10_000
	// refusedFor is how long a refusal is remembered.
	refusedFor = 5 * time.Minute
	// A token is replaced when less than marginShare of its life, and less
	// than maxMargin, is left.
	maxMargin   = time.Minute
	marginShare = 10
	// replacePause is how long a token that could not be replaced is used
	// before that is tried again.
	replacePause = 5 * time.Second
)

// held is a token as it is kept. expires is zero when it must not be kept.
type held struct {
	token     secret.Token
	digest    string
	expires   time.Time
	ttl       time.Duration
	later     time.Time // it could not be replaced, and need not be before
	exchanged bool      // just now, not found in the bucket
}

// fresh reports whether the token need not be replaced yet.
func (h held) fresh(now time.Time) bool {
	due := h.expires.Add(-min(maxMargin, h.ttl/marginShare))
	return h.valid(now) && (now.Before(due) || now.Before(h.later))
}

// valid reports whether the token has not expired.
func (h held) valid(now time.Time) bool {
	return !h.token.IsZero() && now.Before(h.expires)
}

// memory is what one process knows about accounts.
type memory struct {
	mu       sync.Mutex
	accounts map[key]account
	// second holds the installations whose fallback form of the context works.
	second map[string]bool
}

type account struct {
	held        held
	denied      *RefusedError
	deniedUntil time.Time
	refused     string // digest of a token that Atlassian refused
}

func (a account) over(now time.Time) bool {
	return !a.held.valid(now) && !now.Before(a.deniedUntil)
}

func newMemory() *memory {
	return &memory{accounts: map[key]account{}, second: map[string]bool{}}
}

func (m *memory) get(k key) (held, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a, ok := m.accounts[k]
	return a.held, ok && !a.held.token.IsZero()
}

// keep remembers h. A token that comes from an exchange is taken even if it
// was refused before: the gateway has no other.
func (m *memory) keep(k key, h held, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := account{held: h, refused: m.accounts[k].refused}
	if h.exchanged {
		a.refused = ""
		a.held.exchanged = false
	}
	m.put(k, a, now)
}

func (m *memory) deny(k key, err *RefusedError, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(k, account{denied: err, deniedUntil: now.Add(refusedFor)}, now)
}

// denied returns the refusal that is remembered for k, or nil.
func (m *memory) denied(k key, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a := m.accounts[k]; a.denied != nil && now.Before(a.deniedUntil) {
		return a.denied
	}
	return nil
}

func (m *memory) forget(k key, digest string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.accounts[k]
	if a.refused = digest; a.held.digest == digest {
		a.held = held{}
	}
	m.put(k, a, now)
}

// refused reports whether the token with that digest was forgotten.
func (m *memory) refused(k key, digest string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	refused := m.accounts[k].refused
	return refused != "" && refused == digest
}

// put makes room by dropping what has expired, and else anything: it can be
// found in the bucket, or asked for again.
func (m *memory) put(k key, a account, now time.Time) {
	if _, ok := m.accounts[k]; !ok && len(m.accounts) >= maxRemembered {
		for other, b := range m.accounts {
			if b.over(now) {
				delete(m.accounts, other)
			}
		}
		for other := range m.accounts {
			if len(m.accounts) < maxRemembered {
				break
			}
			delete(m.accounts, other)
		}
	}
	m.accounts[k] = a
}

// forms returns the forms of r's context in the order to try them.
func (m *memory) forms(r Request) []string {
	if r.Fallback == "" || r.Fallback == r.Context {
		return []string{r.Context}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.second[r.Installation] {
		return []string{r.Fallback, r.Context}
	}
	return []string{r.Context, r.Fallback}
}

// works remembers which form of r's context the gateway takes.
func (m *memory) works(r Request, form string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if form == r.Context {
		delete(m.second, r.Installation)
		return
	}
	if len(m.second) >= maxRemembered {
		clear(m.second)
	}
	m.second[r.Installation] = true
}
