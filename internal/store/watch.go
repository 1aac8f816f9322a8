package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A watch that lost its bucket looks for it again after firstWait, then twice
// as long each time, up to lastWait.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 2 * time.Second
)

// Watch calls each with the present values of all keys, then closes ready,
// then calls it with every change until ctx ends. Calls come from one
// goroutine, in the order of revisions for each key; a value is told once. The
// value of a key that is written while Watch starts may come just after ready.
//
// The error is about the start only. Afterwards the watch survives what
// happens to the connection and the server: it starts anew and tells what has
// changed meanwhile. Keys that have vanished, or all of them where the bucket
// itself was made anew, are told as Deleted.
//
// It remembers the revision of every live key, about 150 bytes each.
func (b *Bucket) Watch(ctx context.Context, each func(Entry)) (ready <-chan struct{}, err error) {
	w := &watch{
		bucket: b,
		each:   each,
		known:  map[string]uint64{},
		ready:  make(chan struct{}),
		// Registered before the first look, so that no reconnect slips by.
		status: b.store.nc.StatusChanged(nats.CONNECTED),
	}
	feed, err := w.start(ctx)
	if err != nil {
		b.store.nc.RemoveStatusListener(w.status)
		return nil, fmt.Errorf("watching bucket %q: %w", b.name, err)
	}
	go w.run(ctx, feed)
	return w.ready, nil
}

// watch belongs to the goroutine of run.
type watch struct {
	bucket  *Bucket
	each    func(Entry)
	known   map[string]uint64 // live keys and their revisions, as told
	created time.Time         // of the stream that known is about
	ready   chan struct{}
	isReady bool
	status  chan nats.Status
}

func (w *watch) run(ctx context.Context, feed jetstream.KeyWatcher) {
	defer w.bucket.store.nc.RemoveStatusListener(w.status)
	for {
		err := w.follow(ctx, feed)
		stop(feed)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.bucket.store.logger.Warn("watching bucket stopped", "bucket", w.bucket.name, "error", err)
		}
		if feed = w.restart(ctx); feed == nil {
			return
		}
	}
}

// start opens a feed: all present values, a nil, then changes.
func (w *watch) start(ctx context.Context) (jetstream.KeyWatcher, error) {
	w.drainStatus()
	asking, cancel := withTimeout(ctx)
	defer cancel()
	kv, err := w.bucket.open(asking)
	if err != nil {
		return nil, err
	}
	status, err := kv.Status(asking)
	if err != nil {
		return nil, err
	}
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		w.forget(s.StreamInfo().Created)
	}
	return kv.WatchAll(ctx)
}

// drainStatus forgets the reconnects that came before the feed to be opened.
func (w *watch) drainStatus() {
	for {
		select {
		case <-w.status:
		default:
			return
		}
	}
}

// restart repeats start until it succeeds. It returns nil when ctx has ended.
func (w *watch) restart(ctx context.Context) jetstream.KeyWatcher {
	for wait := time.Duration(0); ; wait = min(max(2*wait, firstWait), lastWait) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		feed, err := w.start(ctx)
		if err == nil {
			w.bucket.store.logger.Info("watching bucket again", "bucket", w.bucket.name)
			return feed
		}
		if wait == 0 && ctx.Err() == nil {
			w.bucket.store.logger.Warn("watching bucket stopped", "bucket", w.bucket.name, "error", err)
		}
	}
}

// forget drops what is known about another stream of the same name: its
// revisions mean nothing here.
func (w *watch) forget(created time.Time) {
	if !w.created.IsZero() && !created.Equal(w.created) {
		for key := range w.known {
			w.gone(key)
		}
	}
	w.created = created
}

// follow tells what feed brings until it ends, the connection was made anew,
// or ctx ends. The client library repairs gaps of its feed by itself; after a
// reconnect it may take some ten seconds to notice, so a new feed is opened.
func (w *watch) follow(ctx context.Context, feed jetstream.KeyWatcher) error {
	present := map[string]bool{} // nil after the initial values
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.status:
			return nil
		case e, ok := <-feed.Updates():
			switch {
			case ctx.Err() != nil:
				return nil
			case !ok:
				return errors.New("the server ended it")
			case e == nil:
				if err := w.settle(ctx, present); err != nil {
					return err
				}
				present = nil
			default:
				if present != nil {
					present[e.Key()] = true
				}
				w.tell(entryOf(e))
			}
		}
	}
}

func (w *watch) tell(e Entry) {
	if e.Revision <= w.known[e.Key] {
		return
	}
	if !e.Deleted {
		w.known[e.Key] = e.Revision
		w.each(e)
		return
	}
	if _, ok := w.known[e.Key]; ok {
		delete(w.known, e.Key)
		w.each(e)
	}
}

// settle ends the initial values: a known key that is not among them may have
// been deleted while the watch was away.
func (w *watch) settle(ctx context.Context, present map[string]bool) error {
	for key := range w.known {
		if present[key] {
			continue
		}
		// It may also have been written just now, and its value be under way.
		_, err := w.bucket.Get(ctx, key)
		switch {
		case errors.Is(err, ErrNotFound):
			w.gone(key)
		case err != nil:
			return err
		}
	}
	if !w.isReady {
		w.isReady = true
		close(w.ready)
	}
	return nil
}

func (w *watch) gone(key string) {
	delete(w.known, key)
	w.each(Entry{Key: key, Deleted: true})
}

func entryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{
		Key:      e.Key(),
		Value:    e.Value(),
		Revision: e.Revision(),
		Deleted:  e.Operation() != jetstream.KeyValuePut,
		Created:  e.Created(),
	}
}

// stop ends a feed and empties it: the client library closes the channel only
// when nothing waits to be put into it.
func stop(feed jetstream.KeyWatcher) {
	_ = feed.Stop()
	go func() {
		for range feed.Updates() {
		}
	}()
}
