// Package store keeps small values in NATS key-value buckets: sealed tokens,
// installations, holds, results, tickets and heartbeats.
//
// A bucket is a JetStream stream named KV_<bucket> with the subjects
// $KV.<bucket>.<key>, in the layout of ADR-8 of nats-architecture-and-design,
// so that "nats kv" and every NATS client library can read it. Three things
// are done here rather than by the client library's key-value type:
//
//   - A write is a plain publish to the key's subject. It looks nothing up, so
//     a process whose account may only publish can write what it cannot read.
//   - An update can carry a time to live. The library's update (nats.go
//     v1.55.0) cannot, and silently makes an expiring key last for ever.
//   - A read asks the stream's leader. The library's direct read may be
//     answered by a replica that lags, which is no use to a caller who knows
//     that a newer value has been written.
//
// # Failure handling
//
// Every call ends with its context; a context without a deadline gets five
// seconds (the default of nats.go v1.55.0, jetstream package). A lost
// connection is thus an error, never a hang. A write that failed for want of
// an answer may have been done: callers read again before they decide. Where
// an account's permissions deny a call, NATS gives no answer, and the call
// ends with its deadline too.
//
// [Bucket.Watch] outlives lost connections and server restarts: it then
// compares what the server has with what it has told, and tells the
// difference, deletions included.
package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Names of the buckets, to be given to [Store.Bucket].
const (
	Tokens        = "TOKENS"        // sealed system and user tokens
	TokensMeta    = "TOKENS_META"   // what may be known about them without a key
	Exchanged     = "EXCHANGED"     // sealed tokens of impersonated accounts
	Installations = "INSTALLATIONS" // who is installed
	Holds         = "HOLDS"         // what must wait, and until when
	Results       = "RESULTS"       // progress of jobs
	Tickets       = "TICKETS"       // what a handler may do while its job runs
	Nodes         = "NODES"         // heartbeats of workers
)

// ErrNotFound means that a key has no value: it never had one, was deleted,
// or has expired.
var ErrNotFound = errors.New("key not found")

// ErrExists means that a key to be created has a value.
var ErrExists = errors.New("key exists")

// ErrConflict means that a key to be updated has another revision than the
// caller thought.
var ErrConflict = errors.New("key was changed by another")

// ErrNoBucket means that a bucket does not exist.
var ErrNoBucket = errors.New("bucket does not exist; create it with \"bellows setup\"")

// defaultTimeout ends a call whose context has no deadline.
const defaultTimeout = 5 * time.Second

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Store is the buckets of one app in a NATS account. It is safe for concurrent
// use and holds nothing that must be closed.
type Store struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	prefix string
	logger *slog.Logger
}

// New returns the buckets whose names start with prefix in capitals. It does
// no I/O. The connection stays the caller's; it should reconnect for ever
// (nats.MaxReconnects(-1)).
func New(nc *nats.Conn, prefix string) (*Store, error) {
	if !validPrefix.MatchString(prefix) {
		return nil, fmt.Errorf("opening store: prefix %q is not 1 to 64 letters, digits, \"-\" or \"_\"", prefix)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(defaultTimeout))
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	return &Store{
		nc:     nc,
		js:     js,
		prefix: strings.ToUpper(prefix),
		logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, nil
}

// LogTo makes watches say when they lose their bucket and when they have it
// again. Without it they are silent. Call it before the first watch.
func (s *Store) LogTo(logger *slog.Logger) { s.logger = logger }

// Bucket returns the bucket of that name, such as [Tokens]. It does no I/O and
// does not say whether the bucket exists.
func (s *Store) Bucket(name string) *Bucket {
	full := s.prefix + "_" + name
	b := &Bucket{store: s, name: full, stream: "KV_" + full, subjects: "$KV." + full + "."}
	for _, l := range layouts {
		if l.name == name && l.expires {
			b.marker = markerTTL
		}
	}
	return b
}
