// Package ingestd is the ingest daemon: its flags, and the rooms it puts
// together. It links neither expressions nor Atlassian's client.
package ingestd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"bellows/internal/config"
	"bellows/internal/daemon"
	"bellows/internal/forge"
	"bellows/internal/ingest"
	"bellows/internal/installations"
	"bellows/internal/manifest"
	"bellows/internal/ops"
	"bellows/internal/queue"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/vault"
)

// flushTimeout bounds what is written after the last request.
const flushTimeout = 2 * time.Second

// Options is all that the ingest daemon is told.
type Options struct {
	Flags
	NATS      queue.Options
	Replicas  int
	OpsListen string
	// Config is the rule file. It may be absent: ingest only refuses a wrong
	// one, so that ingest and workers are not started with different ideas.
	Config string
	Log    *slog.Logger
	// Every is the interval of a scheduled trigger. Nil means the manifest's.
	Every func(manifest.ScheduledTrigger) time.Duration
	// Listening is told where the daemon listens, once it does. Nil is valid.
	Listening func(public, private net.Addr)
}

// Run runs ingest until ctx ends. Then /readyz fails, open requests are
// finished, and it returns nil.
func Run(ctx context.Context, o Options) error {
	d, err := assemble(o)
	if err != nil {
		return err
	}
	defer d.broker.Queue.Close()
	public, err := daemon.Listen("listen", o.Listen)
	if err != nil {
		return err
	}
	private, err := daemon.Listen("ops-listen", o.OpsListen)
	if err != nil {
		_ = public.Close()
		return err
	}
	o.Log.Info("ingest listens", "address", public.Addr().String(), "ops", private.Addr().String())
	if o.Listening != nil {
		o.Listening(public.Addr(), private.Addr())
	}
	return d.run(ctx, public, private)
}

// service is the parts of a running ingest.
type service struct {
	o             Options
	broker        *daemon.Broker
	keys          *forge.KeySet
	installations *installations.Writer
	server        *ingest.Server
	metrics       *prometheus.Registry
}

func assemble(o Options) (*service, error) {
	m, err := manifest.Load(o.Manifest)
	if err != nil {
		return nil, err
	}
	hooks, err := m.Hooks(o.BasePath)
	if err != nil {
		return nil, err
	}
	if err := checkConfig(o.Config); err != nil {
		return nil, err
	}
	public, err := o.publicKey()
	if err != nil {
		return nil, err
	}
	d := &service{o: o, metrics: ops.NewRegistry()}
	d.keys = forge.NewKeySet(forge.KeySetConfig{URL: o.JWKSURL, Logger: o.Log})
	verifier, err := forge.NewVerifier(forge.VerifierConfig{AppID: m.AppID, Keys: d.keys, IsolatedCloud: o.IsolatedCloudJWKS, Logger: o.Log})
	if err != nil {
		return nil, err
	}
	if d.broker, err = daemon.Connect(o.NATS, o.Log); err != nil {
		return nil, err
	}
	d.installations = installations.NewWriter(installations.WriterConfig{Bucket: d.broker.Store.Bucket(store.Installations), Logger: o.Log})
	d.server, err = ingest.New(ingest.Config{
		Hooks: hooks, FrontEnd: m.Modules, Verify: verifier.Verify, Queue: d.broker.Queue, Tokens: d.tokens(public), Installations: d.installations,
		Environments: o.Environment, MaxBody: int64(o.MaxBody), StrictModules: o.StrictModules, StoreTimeout: o.StoreTimeout,
		Every: o.Every, Logger: o.Log, Metrics: ingest.NewMetrics(d.metrics),
	})
	if err != nil {
		d.broker.Queue.Close()
		return nil, err
	}
	for _, h := range hooks {
		o.Log.Info("serving", "method", http.MethodPost, "path", h.Path, "endpoint", h.Endpoint)
	}
	return d, nil
}

// checkBody refuses a limit for bodies that NATS could not store.
func (d *service) checkBody() error {
	if most := d.broker.Queue.MaxBody(); int64(d.o.MaxBody) > most {
		return &daemon.Hint{
			Err:  fmt.Errorf("--max-body is %d bytes, the NATS server's max_payload allows %d", d.o.MaxBody, most),
			Hint: fmt.Sprintf("lower --max-body, or put this line into the NATS server's configuration: max_payload: %d", 2*int64(d.o.MaxBody)+1<<20),
		}
	}
	return nil
}

// checkConfig refuses a rule file that is there and wrong.
func checkConfig(path string) error {
	_, err := config.Load(path)
	if path == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (d *service) tokens(key secret.PublicKey) *vault.Writer {
	return vault.NewWriter(vault.WriterConfig{Tokens: d.broker.Store.Bucket(store.Tokens), Meta: d.broker.Store.Bucket(store.TokensMeta), Key: key})
}

// run serves until ctx ends or a part fails. What notes installations stops
// after the last request.
func (d *service) run(ctx context.Context, public, private net.Listener) error {
	group, inner := errgroup.WithContext(ctx)
	behind, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	opsServer := ops.NewServer(d.metrics, d.o.Log,
		ops.Check{Name: "process", Ready: daemon.Stopping(inner)}, ops.Check{Name: "nats", Ready: d.broker.Ready}, ops.Check{Name: "keys", Ready: d.keysLoaded})
	group.Go(func() error {
		if err := d.broker.Prepare(inner, d.o.Replicas); err != nil || inner.Err() != nil {
			return err
		}
		return d.checkBody()
	})
	group.Go(func() error { return d.keys.Run(inner) })
	group.Go(func() error {
		defer stop()
		return daemon.Serve(inner, d.server.HTTPServer(), public)
	})
	group.Go(func() error { return daemon.Serve(behind, opsServer, private) })
	group.Go(func() error { return d.installations.Run(behind) })
	err := group.Wait()
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := d.installations.Flush(flushing); err != nil {
		d.o.Log.Warn("storing times of last calls failed", "error", err)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("running ingest: %w", err)
	}
	d.o.Log.Info("ingest stopped")
	return nil
}

func (d *service) keysLoaded() error {
	if !d.keys.Loaded() {
		return errors.New("the key set was not loaded yet")
	}
	return nil
}
