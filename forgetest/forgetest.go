// Package forgetest runs an app's handlers and rules in a test as they run for
// real: a simulator of Forge and Atlassian, ingest, NATS and a worker, all in
// this process, on free ports, without an account and without a network.
//
//	func TestABugIsAnswered(t *testing.T) {
//		app := forgetest.Run(t, forgetest.Config{Manifest: "manifest.yml", Handlers: handlers()})
//		app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
//		app.Wait()
//		for _, call := range app.Calls() {
//			t.Log(call) // POST /rest/api/3/issue/PEL-1/comment as app: 201
//		}
//	}
//
// An event goes all the way: signed, verified, stored, fetched, carried out,
// settled. Nothing is faked but Forge and Atlassian, and time is not: what
// waits for a second takes one. The app begins installed, in the products that
// its manifest speaks of.
//
// # Failure handling
//
// What goes wrong beside the app itself, such as a wrong rule file, ends the
// test. With [Start], which needs no test, it is a panic. An app's own failures
// are what [App.Calls] and [App.DeadLetters] tell.
package forgetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bellows"
	"bellows/internal/daemon"
	"bellows/internal/daemon/ingestd"
	"bellows/internal/embedded"
	"bellows/internal/manifest"
	"bellows/internal/queue"
	"bellows/internal/secret"
	"bellows/internal/simulator"
)

// Config says which app to run.
type Config struct {
	// Manifest is the path of the app's manifest; required.
	Manifest string
	// Rules is the path of a rule file. Empty means none.
	Rules string
	// Handlers are the app's in Go. Nil means those given to [bellows.Handle].
	Handlers *bellows.Mux
	// Flags are further flags of the worker.
	Flags []string
	// Timeout bounds every wait: for the start, for an event to be accepted,
	// for [App.Wait]. Zero or less means 30 seconds.
	Timeout time.Duration
	// Log gets what ingest, worker and simulator log. Nil means that of the
	// test with Run, and nothing with Start.
	Log io.Writer
}

func (c Config) timeout() time.Duration {
	if c.Timeout <= 0 {
		return 30 * time.Second
	}
	return c.Timeout
}

// timeScale shortens what would make tests slow: the minute until Forge sends
// again what was not accepted takes 0.6 s.
const timeScale = 0.01

// App is a running app. Its methods may be called from one goroutine at a time.
type App struct {
	config Config
	fail   func(format string, args ...any)
	log    *slog.Logger

	nats   *embedded.Server
	queue  *queue.Queue
	key    secret.PrivateKey
	sim    *simulator.Simulator
	simURL string
	server *http.Server

	stop  context.CancelFunc
	parts sync.WaitGroup // ingest and worker
	ended chan error     // one for each part that has ended
	after int64          // what Calls leaves out, see Forget
	close []func()       // in reverse order
}

// Run starts the app and stops it when the test ends.
func Run(tb testing.TB, c Config) *App {
	tb.Helper()
	if c.Log == nil {
		c.Log = tb.Output()
	}
	a := start(c, func(format string, args ...any) { tb.Helper(); tb.Fatalf("forgetest: "+format, args...) })
	tb.Cleanup(a.Close)
	return a
}

// Start starts the app for an example or a program. The caller closes it.
// Where a test would fail, it panics.
func Start(c Config) *App {
	if c.Log == nil {
		c.Log = io.Discard
	}
	return start(c, func(format string, args ...any) { panic(fmt.Sprintf("forgetest: "+format, args...)) })
}

func start(c Config, fail func(string, ...any)) *App {
	if c.Handlers == nil {
		c.Handlers = bellows.DefaultMux
	}
	a := &App{
		config: c, fail: fail, ended: make(chan error, 2),
		log: slog.New(slog.NewTextHandler(c.Log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if err := a.start(); err != nil {
		a.Close()
		fail("starting %q: %v", c.Manifest, err)
	}
	return a
}

func (a *App) start() error {
	if err := a.startNATS(); err != nil {
		return err
	}
	m, err := manifest.Load(a.config.Manifest)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the simulator: %w", err)
	}
	a.atEnd(func() { _ = l.Close() })
	a.simURL = "http://" + l.Addr().String()
	if a.key, err = secret.GenerateKey(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	began := make(chan [2]net.Addr, 1)
	a.launch("ingest", func() error { return ingestd.Run(ctx, a.ingest(began)) })
	select {
	case err := <-a.ended:
		return err
	case at := <-began:
		if err := a.simulate(m, l, "http://"+at[0].String()); err != nil {
			return err
		}
		a.launch("worker", func() error { return a.work(ctx, l.Addr().String()) })
		return a.ready(ctx, "http://"+at[1].String())
	}
}

// launch runs a part beside the others.
func (a *App) launch(name string, run func() error) {
	a.parts.Go(func() {
		err := run()
		if err == nil {
			err = errors.New("it was told to stop")
		}
		a.ended <- fmt.Errorf("%s has ended: %w", name, err)
	})
}

func (a *App) atEnd(f func()) { a.close = append(a.close, f) }

func (a *App) startNATS() error {
	dir, err := os.MkdirTemp("", "forgetest-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	a.atEnd(func() { _ = os.RemoveAll(dir) })
	if a.nats, err = embedded.Start(embedded.Options{Dir: filepath.Join(dir, "nats"), Port: -1}); err != nil {
		return err
	}
	a.atEnd(a.nats.Shutdown)
	a.queue, err = queue.Connect(a.options("forgetest"))
	if err == nil {
		a.atEnd(a.queue.Close)
	}
	return err
}

func (a *App) options(name string) queue.Options {
	return daemon.NATS{NATS: a.nats.URL(), Prefix: "bellows"}.Options(name, a.log)
}

// ingest is what ingest is told. Scheduled triggers have an interval of
// nothing, since a call within half of it is taken for one sent again.
func (a *App) ingest(began chan<- [2]net.Addr) ingestd.Options {
	return ingestd.Options{
		Flags: ingestd.Flags{
			Listen: "127.0.0.1:0", Manifest: a.config.Manifest, VaultPublicKey: a.key.Public().Text(),
			JWKSURL: a.simURL + "/.well-known/jwks.json", Environment: []string{"PRODUCTION"}, MaxBody: 1 << 20, StoreTimeout: 4 * time.Second,
		},
		NATS: a.options("bellows-ingest"), Replicas: 1, OpsListen: "127.0.0.1:0", Config: a.config.Rules, Log: a.log.With("part", "ingest"),
		Every:     func(manifest.ScheduledTrigger) time.Duration { return time.Nanosecond },
		Listening: func(public, private net.Addr) { began <- [2]net.Addr{public, private} },
	}
}

// simulate makes the simulator and serves it.
func (a *App) simulate(m *manifest.Manifest, l net.Listener, remote string) error {
	var err error
	a.sim, err = simulator.New(simulator.Config{
		Manifest: m, Remote: remote, PublicURL: a.simURL, TimeScale: timeScale, TokenLife: time.Hour,
		NoSchedules: true, Logger: a.log.With("part", "simulator"),
	})
	if err != nil {
		return err
	}
	a.server = &http.Server{Handler: a.sim.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = a.server.Serve(l) }() // ends when Close closes the server
	return nil
}

// work runs the worker as an app's main does. Flags are given, if only empty,
// where a BELLOWS_ variable of this process would lead the worker elsewhere.
func (a *App) work(ctx context.Context, host string) error {
	args := []string{
		"--nats", a.nats.URL(), "--prefix", "bellows", "--vault-key", a.key.Text(), "--vault-key-file=", "--graphql-url", a.simURL + "/graphql",
		"--api-host", host, "--ops-listen", "127.0.0.1:0", "--egress-listen", "127.0.0.1:0", "--config", a.config.Rules,
		"--egress-url=", "--nats-creds=", "--nats-ca=", "--nats-cert=", "--nats-key=", "--replicas", "1",
		"--drain-timeout", "10s", "--log-format", "text", "--log-level", "warn",
	}
	var said tail
	code := a.config.Handlers.Main(ctx, append(args, a.config.Flags...), &said, io.MultiWriter(&said, a.config.Log))
	if code != 0 {
		return fmt.Errorf("exit code %d: %s", code, said.String())
	}
	return nil
}

// Close stops the app: the worker may finish what runs. Run calls it itself.
func (a *App) Close() {
	if a.stop != nil {
		a.stop()
		a.stop = nil
		a.parts.Wait() // each has a timeout of its own
	}
	if a.server != nil {
		_ = a.server.Close()
	}
	for len(a.close) > 0 {
		last := a.close[len(a.close)-1]
		a.close = a.close[:len(a.close)-1]
		last()
	}
}
