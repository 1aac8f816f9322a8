package installations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"bellows/internal/store"
)

// ReaderConfig says where a Reader finds records.
type ReaderConfig struct {
	// Bucket is INSTALLATIONS. Required.
	Bucket *store.Bucket
	// Logger is told of records that cannot be read. Nil means silence.
	Logger *slog.Logger
}

// Reader looks records up. It is safe for concurrent use. While Run runs it
// holds every record in memory, at one to two kilobytes each.
type Reader struct {
	config ReaderConfig
	ready  chan struct{}

	mu    sync.Mutex
	known map[string]known
}

type known struct {
	record   Installation
	revision uint64
}

// NewReader returns a Reader. It does no I/O.
func NewReader(c ReaderConfig) *Reader {
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Reader{config: c, ready: make(chan struct{}), known: map[string]known{}}
}

// Run follows the records until ctx ends, and then returns nil. An error means
// that it could not start. Without Run, Get asks the server at every call. Call
// it once.
func (r *Reader) Run(ctx context.Context) error {
	ready, err := r.config.Bucket.Watch(ctx, r.take)
	if err != nil {
		return fmt.Errorf("following installations: %w", err)
	}
	select {
	case <-ready:
		close(r.ready)
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// Ready is closed when Run knows all records that were there when it started.
func (r *Reader) Ready() <-chan struct{} { return r.ready }

// take notes what the watch tells.
func (r *Reader) take(e store.Entry) {
	if e.Deleted {
		r.drop(e)
		return
	}
	record, err := decode(e.Value)
	if err != nil {
		r.config.Logger.Error("reading installation failed", "installation", e.Key, "error", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision > r.known[e.Key].revision {
		r.known[e.Key] = known{record, e.Revision}
	}
}

func (r *Reader) drop(e store.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Revision == 0 || e.Revision > r.known[e.Key].revision {
		delete(r.known, e.Key)
	}
}

// Get returns the record of an installation. atLeast is what [Writer.Note]
// returned when the job came: where the reader has not seen that revision yet,
// and where it knows nothing of the installation, it asks the server. The error
// is [ErrUnknown] where there is no record, or what NATS said.
func (r *Reader) Get(ctx context.Context, id string, atLeast uint64) (Installation, error) {
	if err := checkID(id); err != nil {
		return Installation{}, fmt.Errorf("looking for installation: %w", err)
	}
	if record, ok := r.look(id, atLeast); ok {
		return record, nil
	}
	e, err := r.config.Bucket.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return Installation{}, fmt.Errorf("looking for installation %q: %w", id, ErrUnknown)
	}
	if err != nil {
		return Installation{}, fmt.Errorf("looking for installation %q: %w", id, err)
	}
	record, err := decode(e.Value)
	if err != nil {
		return Installation{}, fmt.Errorf("looking for installation %q: %w", id, err)
	}
	return record, nil
}

func (r *Reader) look(id string, atLeast uint64) (Installation, bool) {
	if !r.follows() {
		return Installation{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.known[id]
	if !ok || k.revision < atLeast {
		return Installation{}, false
	}
	return k.record.clone(), true
}

func (r *Reader) follows() bool {
	select {
	case <-r.ready:
		return true
	default:
		return false
	}
}

// List asks the server for all records and returns them sorted by id. Records
// that cannot be read are logged and left out.
func (r *Reader) List(ctx context.Context) ([]Installation, error) {
	entries, err := r.config.Bucket.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing installations: %w", err)
	}
	all := make([]Installation, 0, len(entries))
	for _, e := range entries {
		record, err := decode(e.Value)
		if err != nil {
			r.config.Logger.Error("reading installation failed", "installation", e.Key, "error", err)
			continue
		}
		all = append(all, record)
	}
	return all, nil
}

// clone lets the caller change what it got.
func (i Installation) clone() Installation {
	i.Contexts = slices.Clone(i.Contexts)
	i.License = slices.Clone(i.License)
	return i
}
