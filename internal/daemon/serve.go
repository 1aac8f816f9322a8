package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"bellows/internal/queue"
	"bellows/internal/store"
)

const (
	// setupPause is the wait between tries to create what is missing in NATS.
	setupPause = time.Second
	// setupTimeout bounds one try.
	setupTimeout = 30 * time.Second
	// closeTimeout is how long open requests may take after a stop is asked
	// for; Forge itself gives up on an event after 5 s.
	closeTimeout = 6 * time.Second
)

// Listen opens a port, with a hint when it is taken.
func Listen(flag, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &Hint{Err: fmt.Errorf("listening at --%s: %w", flag, err), Hint: "choose another address with --" + flag}
	}
	return l, nil
}

// Serve answers on l until ctx ends, then finishes open requests.
func Serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	go func() { stopped <- s.Serve(l) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serving at %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := s.Shutdown(closing)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	<-stopped
	return err
}

// Broker is a daemon's share of NATS.
type Broker struct {
	Queue *queue.Queue
	Store *store.Store
	log   *slog.Logger
	ready chan struct{} // closed when all that is needed exists
}

// Connect starts the connection, which keeps trying; see [Broker.Prepare].
func Connect(o queue.Options, log *slog.Logger) (*Broker, error) {
	q, err := queue.Connect(o)
	if err != nil {
		return nil, err
	}
	s, err := store.New(q.NATS(), q.Prefix())
	if err != nil {
		q.Close()
		return nil, err
	}
	s.LogTo(log)
	return &Broker{Queue: q, Store: s, log: log, ready: make(chan struct{})}, nil
}

// Prepare waits for NATS and creates what is missing, trying again until it
// is done. It fails only on what waiting cannot mend.
func (b *Broker) Prepare(ctx context.Context, replicas int) error {
	for {
		err := b.Queue.Ready(ctx)
		if errors.Is(err, queue.ErrPayloadTooSmall) {
			return err
		}
		if err == nil {
			err = b.setup(ctx, replicas)
		}
		if err == nil {
			close(b.ready)
			b.log.Info("NATS is ready", "prefix", b.Queue.Prefix())
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		b.log.Warn("preparing NATS failed, trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(setupPause):
		}
	}
}

func (b *Broker) setup(ctx context.Context, replicas int) error {
	try, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if err := b.Queue.Setup(try, replicas); err != nil {
		return err
	}
	return b.Store.Setup(try, replicas)
}

// Ready is a check for /readyz.
func (b *Broker) Ready() error {
	select {
	case <-b.ready:
	default:
		return errors.New("streams and buckets are not there yet")
	}
	if !b.Queue.Connected() {
		return errors.New("no NATS server is reached")
	}
	return nil
}

// Stopping is a check for /readyz of a daemon that stops.
func Stopping(ctx context.Context) func() error {
	return func() error {
		if ctx.Err() != nil {
			return errors.New("the process is stopping")
		}
		return nil
	}
}
