package installations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"bellows/internal/store"
)

const (
	// seenEvery is how old the stored time of the last call may get.
	seenEvery = time.Minute
	// recheckEvery is after how long a record is read again although the calls
	// say nothing new: another process may have removed or changed it.
	recheckEvery = 5 * time.Minute
)

// WriterConfig says where a Writer keeps records.
type WriterConfig struct {
	// Bucket is INSTALLATIONS. The account needs to publish to
	// $KV.<bucket>.> and $JS.API.STREAM.MSG.GET.KV_<bucket>. Required.
	Bucket *store.Bucket
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// FlushEvery is how often Run looks for times to store. Zero or less means
	// ten seconds.
	FlushEvery time.Duration
	// Logger is told of times that could not be stored. Nil means silence.
	Logger *slog.Logger
}

func (c WriterConfig) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c WriterConfig) flushEvery() time.Duration {
	if c.FlushEvery <= 0 {
		return 10 * time.Second
	}
	return c.FlushEvery
}

// Writer notes calls. It is safe for concurrent use. It remembers every
// installation that called, at one to two kilobytes each.
type Writer struct {
	config WriterConfig
	busy   store.Locks

	mu    sync.Mutex
	known map[string]*noted
}

// noted is what a Writer remembers of a record.
type noted struct {
	record   Installation // as stored
	revision uint64
	read     time.Time // when the server was last asked
	seen     time.Time // the last call, stored or not
}

// NewWriter returns a Writer. It does no I/O.
func NewWriter(c WriterConfig) *Writer {
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Writer{config: c, known: map[string]*noted{}}
}

// Note takes down what a call says of its installation, and returns the
// revision that a reader must have seen to know it. AsOf is when the
// invocation token was issued, LastSeen when the call came (zero: now);
// InstalledAt is set for the lifecycle event that tells of the install. An
// empty State leaves the state alone, save that a suspected installation is
// active when it is heard of.
//
// An error means that nobody knows whether it was stored.
func (w *Writer) Note(ctx context.Context, called Installation) (revision uint64, err error) {
	now := w.config.now()
	if called.LastSeen.IsZero() {
		called.LastSeen = now
	}
	if called, err = normalized(called); err != nil {
		return 0, fmt.Errorf("noting installation: %w", err)
	}
	if revision, ok := w.settled(called, now); ok {
		return revision, nil
	}
	unlock, err := w.busy.Lock(ctx, called.ID)
	if err != nil {
		return 0, fmt.Errorf("noting installation %q: %w", called.ID, err)
	}
	defer unlock()
	if revision, ok := w.settled(called, now); ok { // by whoever had the lock
		return revision, nil
	}
	if revision, err = w.store(ctx, called); err != nil {
		return 0, fmt.Errorf("noting installation %q: %w", called.ID, err)
	}
	return revision, nil
}

// settled notes the time of a call that says nothing new.
func (w *Writer) settled(called Installation, now time.Time) (uint64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.known[called.ID]
	if n == nil || now.Sub(n.read) >= recheckEvery || !sameButTime(n.record, merged(n.record, called)) {
		return 0, false
	}
	if called.LastSeen.After(n.seen) {
		n.seen = called.LastSeen
	}
	// The record follows a newer token now, although there is nothing to
	// write: an older one must not undo what this one has confirmed.
	if called.AsOf.After(n.record.AsOf) {
		n.record.AsOf = called.AsOf
	}
	return n.revision, true
}

// store writes what a call says over what the server has, where anything but
// the times is new.
func (w *Writer) store(ctx context.Context, called Installation) (uint64, error) {
	return w.change(ctx, called.ID, func(stored Installation) (Installation, bool) {
		record := merged(stored, called)
		return record, !sameButTime(record, stored)
	})
}

// change makes a new record of what the server has, and writes it if need be.
// The times of a record that need not be written are remembered.
func (w *Writer) change(ctx context.Context, id string, f func(stored Installation) (record Installation, write bool)) (uint64, error) {
	for {
		stored, revision, err := w.read(ctx, id)
		if err != nil {
			return 0, err
		}
		record, write := f(stored)
		if !write {
			w.remember(id, stored, revision, record)
			return revision, nil
		}
		revision, err = w.write(ctx, record, revision)
		if err == nil {
			w.remember(id, record, revision, record)
			return revision, nil
		}
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return 0, err
		}
	}
}

func (w *Writer) read(ctx context.Context, id string) (Installation, uint64, error) {
	e, err := w.config.Bucket.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Installation{}, 0, nil
	}
	if err != nil {
		return Installation{}, 0, err
	}
	record, err := decode(e.Value)
	if err != nil || record.ID != id {
		return Installation{}, e.Revision, nil // worth no more than none
	}
	return record, e.Revision, nil
}

func (w *Writer) write(ctx context.Context, record Installation, revision uint64) (uint64, error) {
	value, err := json.Marshal(record)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return w.config.Bucket.Create(ctx, record.ID, value, 0)
	}
	return w.config.Bucket.Update(ctx, record.ID, value, revision, 0)
}

// remember notes what the server has, and the times of newest, which may not
// be there yet. A record that the server does not have is forgotten.
func (w *Writer) remember(id string, stored Installation, revision uint64, newest Installation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if stored.ID == "" {
		delete(w.known, id)
		return
	}
	n := &noted{record: stored, revision: revision, read: w.config.now(), seen: newest.LastSeen}
	n.record.AsOf = newest.AsOf
	if old := w.known[id]; old != nil && old.seen.After(n.seen) {
		n.seen = old.seen
	}
	w.known[id] = n
}
