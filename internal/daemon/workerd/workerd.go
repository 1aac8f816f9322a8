// Package workerd is the worker daemon: its flags, and the rooms it puts
// together.
package workerd

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"bellows/internal/atlassian"
	"bellows/internal/config"
	"bellows/internal/daemon"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/ops"
	"bellows/internal/queue"
	"bellows/internal/rules"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
	"bellows/internal/worker"
)

// checkTimeout bounds the check of the vault keys at the start.
const checkTimeout = 30 * time.Second

// Options is all that the worker daemon is told.
type Options struct {
	Flags
	NATS      queue.Options
	Replicas  int
	OpsListen string
	// OpsFlag is the flag that OpsListen comes from. Empty means ops-listen.
	OpsFlag string
	// Config is the rule file. It may be empty where there are Handlers: then
	// there are no rules.
	Config string
	// Handlers carry out jobs in Go, beside the rules.
	Handlers []worker.Handler
	Log      *slog.Logger
	// Look says when to look whether the rule file was edited: an edit that is
	// right is used from the next job on, one that is wrong is logged and not
	// used. Nil means never.
	Look <-chan time.Time
	// Listening is told where the private port is, once it is open. Nil is
	// valid.
	Listening func(private net.Addr)
}

// Run runs a worker until ctx ends, then drains it, and returns nil.
func Run(ctx context.Context, o Options) error {
	d, err := assemble(o)
	if err != nil {
		return err
	}
	defer d.broker.Queue.Close()
	defer d.egressPort.Close()
	private, err := daemon.Listen(cmp.Or(o.OpsFlag, "ops-listen"), o.OpsListen)
	if err != nil {
		return err
	}
	o.Log.Info("worker runs", "name", d.name, "rules", o.Config, "concurrency", o.Concurrency, "ops", private.Addr().String(), "egress", d.egressPort.Addr().String())
	if o.Listening != nil {
		o.Listening(private.Addr())
	}
	return d.run(ctx, private)
}

// service is the parts of a running worker.
type service struct {
	o             Options
	name          string
	broker        *daemon.Broker
	rules         *rules.Set
	tokens        *vault.Reader
	installations *installations.Reader
	worker        *worker.Worker
	metrics       *prometheus.Registry

	tickets    *ticket.Tickets
	egress     *egress.Server
	egressPort net.Listener
	egressURL  string // what handlers are told of it
}

func assemble(o Options) (*service, error) {
	d := &service{o: o, name: workerName(), metrics: ops.NewRegistry()}
	ring, err := o.keyring()
	if err != nil {
		return nil, err
	}
	if d.rules, err = loadRules(o.Config); err != nil {
		return nil, err
	}
	if err = worker.CheckHandlers(o.Handlers, d.rules); err != nil {
		return nil, err
	}
	client, err := atlassian.New(atlassian.Config{Hosts: o.APIHost, Logger: o.Log})
	if err != nil {
		return nil, err
	}
	if d.broker, err = daemon.Connect(o.NATS, o.Log); err != nil {
		return nil, err
	}
	bucket := d.broker.Store.Bucket
	d.tokens = vault.NewReader(vault.ReaderConfig{Tokens: bucket(store.Tokens), Meta: bucket(store.TokensMeta), Keys: ring, Logger: o.Log})
	d.installations = installations.NewReader(installations.ReaderConfig{Bucket: bucket(store.Installations)})
	exchanger, err := d.exchanger(client, ring)
	if err != nil {
		d.broker.Queue.Close()
		return nil, err
	}
	if err = d.makeEgress(client, exchanger); err == nil {
		err = d.listen()
	}
	if err != nil {
		d.broker.Queue.Close()
		return nil, err
	}
	d.worker = worker.New(worker.Config{
		Name: d.name, Queue: d.broker.Queue, Rules: d.rules, Handlers: o.Handlers, Call: client.Do, Tokens: d.tokens,
		Exchange: exchanger.Token, Forget: exchanger.Forget, Installation: d.installations.Get,
		Egress: d.egress, Tickets: d.tickets, EgressURL: d.egressURL,
		GraphQLURL: o.GraphQLURL, Concurrency: o.Concurrency, DrainTimeout: drain(o.DrainTimeout),
		Logger: o.Log, Metrics: worker.NewMetrics(d.metrics),
	})
	return d, nil
}

// drain makes a flag of 0 mean "no wait", where the worker's zero value means
// its default.
func drain(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (d *service) exchanger(client *atlassian.Client, ring secret.Keyring) (*impersonation.Exchanger, error) {
	return impersonation.New(impersonation.Config{
		URL: d.o.GraphQLURL, Cache: d.broker.Store.Bucket(store.Exchanged), Keys: ring, SealTo: ring.Newest(),
		Post: func(ctx context.Context, url string, bearer secret.Token, body []byte) (int, http.Header, []byte, bool, error) {
			return client.Post(ctx, url, bearer, body)
		},
		PerMinute: d.o.ImpersonationPerMinute, Logger: d.o.Log,
	})
}

// loadRules reads and compiles the rule file. Without one there are no rules.
func loadRules(path string) (*rules.Set, error) {
	if path == "" {
		return rules.Compile(&config.File{}, nil)
	}
	file, err := config.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &daemon.Hint{Err: err, Hint: "say where the rule file is with --config"}
	}
	if err != nil {
		return nil, err
	}
	return rules.Compile(file, nil)
}

// workerName is unique among workers and tells a person which machine it is.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return host + "-" + hex.EncodeToString(random[:])
}

func (d *service) run(ctx context.Context, private net.Listener) error {
	group, inner := errgroup.WithContext(ctx)
	behind, stop := context.WithCancel(context.WithoutCancel(ctx)) // lives until the drain has ended
	defer stop()
	opsServer := ops.NewServer(d.metrics, d.o.Log, ops.Check{Name: "process", Ready: daemon.Stopping(inner)}, ops.Check{Name: "nats", Ready: d.broker.Ready})
	group.Go(func() error { return daemon.Serve(behind, opsServer, private) })
	group.Go(func() error { return d.serveEgress(behind) })
	group.Go(func() error {
		defer stop()
		if err := d.broker.Prepare(inner, d.o.Replicas); err != nil || inner.Err() != nil {
			return err
		}
		return d.work(inner, behind, group)
	})
	if err := group.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("running worker: %w", err)
	}
	d.o.Log.Info("worker stopped")
	return nil
}

// work runs the worker beside what it reads from, which outlives the drain.
func (d *service) work(ctx, behind context.Context, group *errgroup.Group) error {
	check, cancel := context.WithTimeout(ctx, checkTimeout)
	err := d.tokens.CheckKeys(check)
	cancel()
	if errors.Is(err, secret.ErrNoKey) {
		return &daemon.Hint{Err: err, Hint: "give the worker the private key that belongs to ingest's public key; several can be given, separated by commas"}
	}
	group.Go(func() error { return d.tokens.Run(behind) })
	group.Go(func() error { return d.installations.Run(behind) })
	group.Go(func() error { d.beat(behind); return nil })
	if d.o.Look != nil && d.o.Config != "" {
		group.Go(func() error { d.reload(behind); return nil })
	}
	return d.worker.Run(ctx)
}
