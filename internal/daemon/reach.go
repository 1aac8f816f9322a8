package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"bellows/internal/queue"
	"bellows/internal/store"
)

// reachTimeout is how long a tool tries to reach NATS before it tells a person
// that it cannot.
const reachTimeout = 4 * time.Second

// Reach connects a tool that a person waits for: unlike [Connect] it gives up
// after four seconds, with the remedy. The caller closes the broker's Queue.
func Reach(ctx context.Context, o queue.Options) (*Broker, error) {
	b, err := Connect(o, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	try, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if err = b.Queue.Ready(try); err == nil {
		return b, nil
	}
	cause := b.Queue.NATS().LastError()
	b.Queue.NATS().Close() // not Queue.Close: there is nothing to flush to
	if ctx.Err() != nil || errors.Is(err, queue.ErrPayloadTooSmall) {
		return nil, err
	}
	if cause == nil {
		cause = fmt.Errorf("no answer within %v", reachTimeout)
	}
	return nil, &Hint{
		Err:  fmt.Errorf("reaching NATS at %s: %w", hosts(o.URL), cause),
		Hint: `is it running? "bellows up" and "bellows dev" bring one along; another place is given with --nats, credentials with --nats-creds`,
	}
}

// hosts are the servers of a NATS URL without user and password.
func hosts(urls string) string {
	var all []string
	for each := range strings.SplitSeq(urls, ",") {
		host := each
		if at := strings.LastIndex(host, "@"); at >= 0 {
			host = host[at+1:]
		}
		if _, rest, ok := strings.Cut(host, "://"); ok {
			host = rest
		}
		all = append(all, strings.TrimSpace(host))
	}
	return strings.Join(all, ", ")
}

// Explain adds the remedy to an error of a tool that read or changed
// something in NATS, where it is that nothing was set up there.
func (b *Broker) Explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	try, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if _, missing := b.Store.Bucket(store.Nodes).Get(try, "any"); !errors.Is(missing, store.ErrNoBucket) {
		return err
	}
	return &Hint{
		Err:  fmt.Errorf("there are no streams and buckets with prefix %q: %w", b.Queue.Prefix(), err),
		Hint: `ingest and worker create them when they start, "bellows setup" does it now; another prefix is given with --prefix`,
	}
}

// Setup creates what is missing in NATS, once.
func (b *Broker) Setup(ctx context.Context, replicas int) error {
	return b.setup(ctx, replicas)
}
