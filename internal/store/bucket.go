package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// minTTL is the shortest time to live that the server takes (nats-server
// v2.15.2, server/stream.go).
const minTTL = time.Second

// Headers of the key-value layout (ADR-8).
const (
	operationHeader = "KV-Operation"
	purgeOperation  = "PURGE"
)

var validKey = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]+$`)

// Bucket is one key-value bucket. Keys are made of letters, digits and
// "-/_=.", without a dot at either end or two dots in a row.
type Bucket struct {
	store    *Store
	name     string
	stream   string
	subjects string        // the subject of every key, less the key
	marker   time.Duration // how long the marker of a purge stays; 0: until the bucket drops it
}

// Entry is a value at one revision.
type Entry struct {
	Key   string
	Value []byte
	// Revision grows with every write to the bucket.
	Revision uint64
	// Deleted tells a watch that the key has no value any more. Revision and
	// Created are then those of the deletion, or zero where it was only found
	// by comparison.
	Deleted bool
	// Created is the server's time of the write.
	Created time.Time
}

// Name returns the whole name of the bucket.
func (b *Bucket) Name() string { return b.name }

// Get returns the newest value of key, as the stream's leader has it, or
// [ErrNotFound].
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	return b.read(ctx, key, readRequest{LastBySubject: b.subjects + key})
}

// GetRevision returns the value that key had at that revision, or
// [ErrNotFound] where it is gone or belongs to another key.
func (b *Bucket) GetRevision(ctx context.Context, key string, revision uint64) (Entry, error) {
	if revision == 0 {
		return Entry{}, fmt.Errorf("reading revision 0 of key %q in bucket %q: %w", key, b.name, ErrNotFound)
	}
	return b.read(ctx, key, readRequest{Sequence: revision})
}

// Put writes value whatever the key held before, and returns its revision. It
// needs no right but that of publishing to the key's subject.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	revision, err := b.publish(ctx, key, value, nil)
	if err != nil {
		return 0, fmt.Errorf("writing key %q in bucket %q: %w", key, b.name, err)
	}
	return revision, nil
}

// Create writes value if key has none, or returns [ErrExists]. The key expires
// after ttl, at least one second; zero means never.
func (b *Bucket) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (uint64, error) {
	revision, err := b.write(ctx, key, value, 0, ttl)
	if errors.Is(err, ErrConflict) {
		// What is there may be the marker of a deletion.
		var marker Entry
		if marker, err = b.readAny(ctx, key, readRequest{LastBySubject: b.subjects + key}); err == nil {
			if err = ErrExists; marker.Deleted {
				revision, err = b.write(ctx, key, value, marker.Revision, ttl)
			}
		}
		if errors.Is(err, ErrConflict) {
			err = ErrExists
		}
	}
	if err != nil {
		return 0, fmt.Errorf("creating key %q in bucket %q: %w", key, b.name, err)
	}
	return revision, nil
}

// Update writes value if key still has that revision, or returns
// [ErrConflict]. The key expires after ttl from now, at least one second; zero
// means never, also where it would have expired before.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	updated, err := b.write(ctx, key, value, revision, ttl)
	if err != nil {
		return 0, fmt.Errorf("updating key %q in bucket %q: %w", key, b.name, err)
	}
	return updated, nil
}

// Purge removes key and all its revisions. A key without value is no error.
func (b *Bucket) Purge(ctx context.Context, key string) error {
	header := nats.Header{}
	header.Set(operationHeader, purgeOperation)
	header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	if b.marker > 0 {
		header.Set(jetstream.MsgTTLHeader, b.marker.String())
	}
	if _, err := b.publish(ctx, key, nil, header); err != nil {
		return fmt.Errorf("purging key %q in bucket %q: %w", key, b.name, err)
	}
	return nil
}

// List returns the newest values of all keys, sorted by key.
func (b *Bucket) List(ctx context.Context) ([]Entry, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	entries, err := b.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing bucket %q: %w", b.name, err)
	}
	slices.SortFunc(entries, func(x, y Entry) int { return strings.Compare(x.Key, y.Key) })
	// A key written while it was listed comes twice, the newer one last.
	slices.Reverse(entries)
	entries = slices.CompactFunc(entries, func(x, y Entry) bool { return x.Key == y.Key })
	slices.Reverse(entries)
	return entries, nil
}

func (b *Bucket) list(ctx context.Context) ([]Entry, error) {
	kv, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, err
	}
	defer stop(w)
	var entries []Entry
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return nil, errors.New("the server ended it")
			}
			if e == nil {
				return entries, nil
			}
			entries = append(entries, entryOf(e))
		}
	}
}

// open looks the bucket up.
func (b *Bucket) open(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.store.js.KeyValue(ctx, b.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, ErrNoBucket
	}
	return kv, err
}

func (b *Bucket) write(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	header := nats.Header{}
	header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(revision))
	if ttl < 0 {
		return 0, fmt.Errorf("time to live %v is negative", ttl)
	}
	if ttl > 0 {
		header.Set(jetstream.MsgTTLHeader, max(ttl, minTTL).String())
	}
	return b.publish(ctx, key, value, header)
}

func (b *Bucket) publish(ctx context.Context, key string, value []byte, header nats.Header) (uint64, error) {
	if err := checkKey(key); err != nil {
		return 0, err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	m := &nats.Msg{Subject: b.subjects + key, Data: value, Header: header}
	ack, err := b.store.js.PublishMsg(ctx, m, jetstream.WithExpectStream(b.stream))
	if isConflict(err) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// isConflict knows both codes: replicated streams answer 10164 (nats.go
// v1.55.0, jetstream/kv.go).
func isConflict(err error) bool {
	var answer *jetstream.APIError
	return errors.As(err, &answer) && (answer.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		answer.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func checkKey(key string) error {
	if !validKey.MatchString(key) || key[0] == '.' || key[len(key)-1] == '.' || strings.Contains(key, "..") {
		return fmt.Errorf("%q is no valid key", key)
	}
	return nil
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, defaultTimeout)
}

// readRequest is the body of $JS.API.STREAM.MSG.GET (nats-server v2.15.2,
// server/jetstream_api.go, JSApiMsgGetRequest). One member is set.
type readRequest struct {
	Sequence      uint64 `json:"seq,omitempty"`
	LastBySubject string `json:"last_by_subj,omitempty"`
}

type readAnswer struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Subject  string    `json:"subject"`
		Sequence uint64    `json:"seq"`
		Header   []byte    `json:"hdrs"`
		Data     []byte    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
}

// read is readAny with a deleted key as an error, and says what it did.
func (b *Bucket) read(ctx context.Context, key string, request readRequest) (Entry, error) {
	entry, err := b.readAny(ctx, key, request)
	if err == nil && entry.Deleted {
		err = ErrNotFound
	}
	if err != nil {
		return Entry{}, fmt.Errorf("reading key %q in bucket %q: %w", key, b.name, err)
	}
	return entry, nil
}

func (b *Bucket) readAny(ctx context.Context, key string, request readRequest) (Entry, error) {
	if err := checkKey(key); err != nil {
		return Entry{}, err
	}
	answer, err := b.ask(ctx, request)
	if err != nil {
		return Entry{}, err
	}
	m := answer.Message
	if m.Subject != b.subjects+key {
		return Entry{}, ErrNotFound
	}
	entry := Entry{Key: key, Value: m.Data, Revision: m.Sequence, Created: m.Time}
	if len(m.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return Entry{}, fmt.Errorf("reading headers: %w", err)
		}
		entry.Deleted = header.Get(operationHeader) != "" || header.Get(jetstream.MarkerReasonHeader) != ""
	}
	return entry, nil
}

func (b *Bucket) ask(ctx context.Context, request readRequest) (readAnswer, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return readAnswer{}, err
	}
	reply, err := b.store.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+b.stream, body)
	if err != nil {
		return readAnswer{}, err
	}
	var answer readAnswer
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return readAnswer{}, fmt.Errorf("reading the server's answer: %w", err)
	}
	switch {
	case answer.Error == nil && answer.Message != nil:
		return answer, nil
	case answer.Error == nil:
		return readAnswer{}, errors.New("the server's answer is empty")
	case answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return readAnswer{}, ErrNotFound
	case answer.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return readAnswer{}, ErrNoBucket
	}
	return readAnswer{}, answer.Error
}
