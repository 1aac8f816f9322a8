package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/daemon/ingestd"
	"bellows/internal/daemon/workerd"
	"bellows/internal/embedded"
	"bellows/internal/queue"
)

// machineFlags are the flags of ingest and worker together, and of the NATS
// server that they share.
type machineFlags struct {
	Ingest          ingestd.Flags `embed:"" group:"ingest"`
	Worker          workerd.Flags `embed:"" group:"worker"`
	OpsListen       string        `name:"ops-listen" default:"127.0.0.1:9464" group:"ingest" help:"Private address of ingest for /livez, /readyz, /metrics and profiles."`
	WorkerOpsListen string        `name:"worker-ops-listen" default:"127.0.0.1:9465" group:"worker" help:"The same of the worker."`
	Config          string        `name:"config" default:"bellows.yaml" placeholder:"FILE" help:"The rule file."`
	NATS            string        `name:"nats" default:"nats://127.0.0.1:4222" placeholder:"URL" help:"Where the NATS server of this process listens, so that other bellows commands reach it. Port 0 is any free one."`
	Prefix          string        `name:"prefix" default:"bellows" help:"Prefix of subjects, streams and buckets."`
	daemon.Log
}

// ownKeys makes the daemons use the key pair in dir where no flag names one.
func (f *machineFlags) ownKeys(dir string) error {
	if f.Ingest.VaultPublicKey+f.Ingest.VaultPublicKeyFile+f.Worker.VaultKey+f.Worker.VaultKeyFile != "" {
		return nil
	}
	var err error
	f.Worker.VaultKeyFile, f.Ingest.VaultPublicKeyFile, err = keepKeys(dir)
	return err
}

// machine is NATS, ingest and a worker in one process.
type machine struct {
	server  *embedded.Server
	ingest  ingestd.Options
	worker  workerd.Options
	release func() // the data folder

	ingestAt chan [2]net.Addr // public, private
	workerAt chan net.Addr
}

// addresses are where the parts of a machine listen.
type addresses struct {
	Ingest, IngestOps, WorkerOps string // URLs
	NATS                         string
}

// newMachine starts the NATS server in dir. The caller runs the machine, which
// also ends the server.
func newMachine(f machineFlags, dir string, t terminal) (*machine, error) {
	release, err := openData(dir)
	if err != nil {
		return nil, err
	}
	m := &machine{release: release, ingestAt: make(chan [2]net.Addr, 1), workerAt: make(chan net.Addr, 1)}
	if err = f.ownKeys(dir); err == nil {
		m.server, err = startNATS(dir, f.NATS)
	}
	if err != nil {
		release()
		return nil, err
	}
	m.describe(f, t)
	return m, nil
}

// describe says what the daemons are told.
func (m *machine) describe(f machineFlags, t terminal) {
	log := f.Logger(t.err)
	connect := func(name string) queue.Options {
		o := daemon.NATS{NATS: m.server.URL(), Prefix: f.Prefix}.Options(name, log)
		o.Extra = append(o.Extra, m.server.InProcess())
		return o
	}
	m.ingest = ingestd.Options{
		Flags: f.Ingest, NATS: connect("bellows-ingest"), Replicas: 1, OpsListen: f.OpsListen, Config: f.Config, Log: log.With("part", "ingest"),
		Listening: func(public, private net.Addr) { m.ingestAt <- [2]net.Addr{public, private} },
	}
	m.worker = workerd.Options{
		Flags: f.Worker, NATS: connect("bellows-worker"), Replicas: 1, OpsListen: f.WorkerOpsListen, OpsFlag: "worker-ops-listen", Config: f.Config, Log: log.With("part", "worker"),
		Listening: func(private net.Addr) { m.workerAt <- private },
	}
}

// part is something that runs until it is stopped.
type part struct {
	name string
	stop context.CancelFunc
	err  chan error
}

// launch runs f under a context of its own, and says on ended when f returns.
func launch(ctx context.Context, name string, ended chan<- string, f func(context.Context) error) *part {
	ctx, stop := context.WithCancel(ctx)
	p := &part{name: name, stop: stop, err: make(chan error, 1)}
	go func() {
		p.err <- f(ctx)
		ended <- name
	}()
	return p
}

// end stops the part and waits for it.
func (p *part) end() error {
	p.stop()
	return <-p.err
}

// run runs the machine until ctx ends, a part of it fails, or foreground
// returns; foreground is called once all parts listen. Then ingest stops, the
// worker drains, and NATS ends last.
func (m *machine) run(ctx context.Context, foreground func(context.Context, addresses) error) error {
	defer m.release()
	defer m.server.Shutdown()
	base := context.WithoutCancel(ctx)
	ended := make(chan string, 3)
	worker := launch(base, "worker", ended, func(ctx context.Context) error { return workerd.Run(ctx, m.worker) })
	ingest := launch(base, "ingest", ended, func(ctx context.Context) error { return ingestd.Run(ctx, m.ingest) })
	front := launch(base, "", ended, func(ctx context.Context) error {
		at, ok := m.listening(ctx)
		if !ok {
			return nil
		}
		return foreground(ctx, at)
	})
	first := ""
	select {
	case <-ctx.Done():
	case first = <-ended:
	}
	err := errors.Join(front.end(), ingest.end(), worker.end())
	if err == nil && first != "" && ctx.Err() == nil {
		err = fmt.Errorf("running %s: it ended by itself", first)
	}
	return err
}

// listening waits until all parts listen.
func (m *machine) listening(ctx context.Context) (addresses, bool) {
	at := addresses{NATS: m.server.URL()}
	for range 2 {
		select {
		case a := <-m.ingestAt:
			at.Ingest, at.IngestOps = urlOf(a[0]), urlOf(a[1])
		case a := <-m.workerAt:
			at.WorkerOps = urlOf(a)
		case <-ctx.Done():
			return at, false
		}
	}
	return at, true
}

// urlOf is where a listener is reached from this machine.
func urlOf(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "http://" + a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// readyPause is the wait between two questions whether a daemon is ready.
const readyPause = 20 * time.Millisecond

// ready waits until every private port says that its daemon is ready.
func ready(ctx context.Context, ops ...string) error {
	for _, at := range ops {
		for !isReady(ctx, at) {
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting for %s/readyz: %w", at, ctx.Err())
			case <-time.After(readyPause):
			}
		}
	}
	return nil
}

func isReady(ctx context.Context, ops string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
