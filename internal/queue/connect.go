package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MinPayload is the smallest max_payload of a NATS server that bellows works
// with, in bytes: a dead letter is the largest message, and it carries a body
// (at most 1 MiB by default) with its history and step records.
const MinPayload = 4 << 20

// ErrPayloadTooSmall means that the NATS server takes only messages smaller
// than MinPayload.
var ErrPayloadTooSmall = errors.New("the NATS server's max_payload is too small")

// Options say how to reach NATS.
type Options struct {
	// URL of the servers, comma separated. Empty means nats://127.0.0.1:4222.
	URL string
	// Name of the connection, shown by NATS monitoring.
	Name string
	// Prefix of subjects; streams have it in capitals. Empty means "bellows".
	Prefix string
	// AckWait is how long a worker may be silent about a job before another
	// gets it, where the workers' consumer has to be created; one that exists
	// keeps its own. Zero or negative means 30 s.
	AckWait time.Duration
	// Credentials, CA, Cert and Key are files; empty means not used.
	Credentials, CA, Cert, Key string
	// Extra options for the connection, such as the embedded server's.
	Extra []nats.Option
	// Logger for lost and regained connections. Nil discards.
	Logger *slog.Logger
}

func (o Options) url() string {
	if o.URL == "" {
		return nats.DefaultURL
	}
	return o.URL
}

func (o Options) prefix() string {
	if o.Prefix == "" {
		return "bellows"
	}
	return strings.ToLower(o.Prefix)
}

func (o Options) ackWait() time.Duration {
	if o.AckWait <= 0 {
		return defaultAckWait
	}
	return o.AckWait
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Queue is a connection to the streams. It is safe for concurrent use.
type Queue struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	prefix  string
	ackWait time.Duration // of a consumer that has to be created
	log     *slog.Logger

	mu     sync.Mutex
	shared jetstream.Consumer // the workers' consumer, once it was found
}

// Connect starts a connection that keeps trying for ever, also when no server
// answers yet: see [Queue.Ready]. It fails only on options that can never
// work, such as a missing credentials file.
func Connect(o Options) (*Queue, error) {
	log := o.logger()
	options := append([]nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectBufSize(-1), // a publish while disconnected fails at once instead of waiting in memory
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it ourselves
				log.Warn("NATS connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("NATS connection regained", "server", nc.ConnectedUrlRedacted()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("NATS reports an error", "error", err) }),
	}, o.files()...)
	nc, err := nats.Connect(o.url(), append(options, o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS at %q: %w", redact(o.url()), err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("using JetStream: %w", err)
	}
	return &Queue{nc: nc, js: js, prefix: o.prefix(), ackWait: o.ackWait(), log: log}, nil
}

func (o Options) files() []nats.Option {
	var options []nats.Option
	if o.Credentials != "" {
		options = append(options, nats.UserCredentials(o.Credentials))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	if o.Cert != "" || o.Key != "" {
		options = append(options, nats.ClientCert(o.Cert, o.Key))
	}
	return options
}

// redact cuts user and password out of server URLs.
func redact(urls string) string {
	parts := strings.Split(urls, ",")
	for i, p := range parts {
		scheme, rest, ok := strings.Cut(p, "://")
		if !ok {
			scheme, rest = "", p
		}
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			rest = rest[at+1:]
		}
		if ok {
			rest = scheme + "://" + rest
		}
		parts[i] = rest
	}
	return strings.Join(parts, ",")
}

// NATS returns the connection, for the key-value store that shares it.
func (q *Queue) NATS() *nats.Conn { return q.nc }

// Prefix returns the prefix of subjects.
func (q *Queue) Prefix() string { return q.prefix }

// Connected reports whether a server is reached now.
func (q *Queue) Connected() bool { return q.nc.IsConnected() }

// MaxBody is the largest body of a job that the server reached now would take,
// in bytes: a dead letter may hold it as base64 twice as long, with its history.
func (q *Queue) MaxBody() int64 { return (q.nc.MaxPayload() - letterRoom) / 2 }

// letterRoom is what a letter needs beside the body, in bytes.
const letterRoom = 256 << 10

// Close ends the connection. Messages already handed to it are flushed for at
// most a second.
func (q *Queue) Close() {
	_ = q.nc.FlushTimeout(time.Second)
	q.nc.Close()
}

// Ready waits until a server is reached and checks that it takes messages of
// MinPayload. It returns the context's error, or ErrPayloadTooSmall with the
// line that mends it.
func (q *Queue) Ready(ctx context.Context) error {
	status := q.nc.StatusChanged(nats.CONNECTED)
	defer q.nc.RemoveStatusListener(status)
	for !q.nc.IsConnected() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for NATS: %w", ctx.Err())
		case <-status:
		case <-time.After(time.Second): // the change may have come before the listener
		}
	}
	if got := q.nc.MaxPayload(); got < MinPayload {
		return fmt.Errorf("checking NATS: %w: it is %d bytes, bellows needs %d; put this line into the server's configuration: max_payload: %d",
			ErrPayloadTooSmall, got, MinPayload, 2*MinPayload)
	}
	return nil
}
