package store

import (
	"context"
	"sync"
)

// Recent remembers one value for each of the keys used last, so that a process
// need not read what it has just written. It is safe for concurrent use.
//
// It holds two generations: a full one becomes the older one, and what is used
// again moves to the younger. A key is thus forgotten when about as many
// others as half the limit, or more, were used after it.
type Recent[V any] struct {
	mu           sync.Mutex
	half         int
	young, older map[string]V
}

// NewRecent returns a Recent that holds limit values at most, and at least two.
func NewRecent[V any](limit int) *Recent[V] {
	return &Recent[V]{half: max(limit/2, 1), young: map[string]V{}}
}

// Get returns the value of key, if it is remembered.
func (r *Recent[V]) Get(key string) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok := r.young[key]; ok {
		return v, true
	}
	v, ok := r.older[key]
	if ok {
		r.set(key, v)
	}
	return v, ok
}

// Set remembers v for key.
func (r *Recent[V]) Set(key string, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(key, v)
}

func (r *Recent[V]) set(key string, v V) {
	if _, ok := r.young[key]; !ok && len(r.young) >= r.half {
		r.young, r.older = map[string]V{}, r.young
	}
	r.young[key] = v
	delete(r.older, key)
}

// Locks lets one caller at a time work on a key. The zero Locks is ready.
type Locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	turn  chan struct{} // holds one element while somebody works
	users int           // who work or wait
}

// Lock waits for its turn on key until ctx ends. The caller calls unlock once.
func (l *Locks) Lock(ctx context.Context, key string) (unlock func(), err error) {
	k := l.join(key)
	select {
	case k.turn <- struct{}{}:
		return func() { <-k.turn; l.leave(key, k) }, nil
	case <-ctx.Done():
		l.leave(key, k)
		return nil, ctx.Err()
	}
}

func (l *Locks) join(key string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[key]
	if k == nil {
		k = &lock{turn: make(chan struct{}, 1)}
		l.held[key] = k
	}
	k.users++
	return k
}

func (l *Locks) leave(key string, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, key)
	}
}
