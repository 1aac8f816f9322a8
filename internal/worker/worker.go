// Package worker takes jobs from the queue, carries them out, and settles what
// becomes of each.
//
// One delivery goes through these steps:
//
//	fetch ─▶ slot ─▶ run (in its own goroutine)
//	                  ├─ an earlier copy has ended, or goes on elsewhere ─▶ off the queue
//	                  ├─ no rule yet: match ─▶ none: done │ one: go on │ several: split into a job each
//	                  ├─ for each step and item: ask (unless) ─▶ intent (POST, PATCH) ─▶ call, its pages ─▶ record
//	                  │  or forward: ticket ─▶ POST to the rule's URL ─▶ revoke
//	                  │  or the handler in Go, whose steps are recorded as a rule's
//	                  └─ classify ─▶ jobs.Decide ─▶ settle
//
// The worker asks JetStream only for as many jobs as it has free slots, so no
// job ages in a buffer. While a job runs the server is told every third of its
// acknowledgement time that it is in good hands. Jobs that wait, for a time or
// for a token, are not in a worker at all.
//
// What fails: when NATS is lost, jobs that run go on, and their settlement is
// tried until NATS is back. When the process dies, JetStream gives its jobs to
// another worker after the queue's AckWait; an unsafe call that it may have sent
// is found by its intent and becomes a dead letter. A job that was in the
// hands of several dying workers runs alone, and after five it is dead.
//
// Stopping: no new job is taken; jobs that run may go on for DrainTimeout;
// then their calls are cut, and what was not sent goes back to the queue.
package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/queue"
	"bellows/internal/rules"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

// Config says what a worker works with. Fields without a stated default must
// be set.
type Config struct {
	// Name of this worker in intents and heartbeats; unique among workers.
	Name  string
	Queue *queue.Queue
	// Rules of the file; nil means none. See [Worker.SetRules].
	Rules *rules.Set
	// Call makes a call to Atlassian.
	Call func(context.Context, atlassian.Call) (*atlassian.Answer, error)
	// Tokens holds the system tokens of installations.
	Tokens *vault.Reader
	// Exchange gives a token of an account; Forget drops a refused one.
	Exchange func(context.Context, impersonation.Request) (secret.Token, time.Time, error)
	Forget   func(ctx context.Context, r impersonation.Request, refusedDigest string)
	// Installation tells where an installation's APIs are.
	Installation func(ctx context.Context, id string, atLeast uint64) (installations.Installation, error)
	// Handlers stand beside Rules; their names must differ.
	Handlers []Handler
	// Egress carries the calls of handlers, Tickets lets those in other
	// processes use it, and EgressURL is where it listens for them. They may be
	// left out where there are neither Handlers nor rules that forward.
	Egress    *egress.Server
	Tickets   *ticket.Tickets
	EgressURL string
	// Forward sends forwarded jobs; nil means a client of the worker's own.
	// Where a rule sends its jobs is its author's choice: any http or https URL.
	Forward *http.Client
	// GraphQLURL of Atlassian's gateway.
	GraphQLURL string
	// Concurrency is how many jobs run at once. Zero or negative means 64.
	Concurrency int
	// DrainTimeout is how long running jobs may go on after a stop is asked
	// for. Zero means 30 s; negative means no wait.
	DrainTimeout time.Duration
	// Now is the clock; nil means time.Now. Random gives numbers in [0, 1)
	// that spread waits; nil means math/rand.
	Now    func() time.Time
	Random func() float64
	// Logger; nil discards.
	Logger *slog.Logger
	// Metrics; nil counts into nothing.
	Metrics *Metrics
}

func (c Config) concurrency() int {
	if c.Concurrency <= 0 {
		return 64
	}
	return c.Concurrency
}

func (c Config) drainTimeout() time.Duration {
	switch {
	case c.DrainTimeout == 0:
		return 30 * time.Second
	case c.DrainTimeout < 0:
		return 0
	}
	return c.DrainTimeout
}

// Worker runs jobs. Make it with New, run it with Run once.
type Worker struct {
	Config
	log     *slog.Logger
	metrics *Metrics
	slots   *slots
	held    *heldLanes
	crowd   crowd // jobs run beside each other, unless one must run alone

	mu      sync.Mutex
	running map[string]*queue.Delivery // :: key of a copy → the delivery in hand

	stopping atomic.Bool
	quiet    chan struct{}   // closed when no request for jobs is open any more
	last     context.Context // ends when settling is given up
	giveUp   context.CancelFunc
	current  atomic.Pointer[ruleset]
	faulty   error // what is wrong with Handlers
}

// New makes a worker.
func New(c Config) *Worker {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	w := &Worker{
		Config: c, log: c.Logger, metrics: c.Metrics,
		slots: newSlots(c.concurrency()), running: map[string]*queue.Delivery{},
		quiet: make(chan struct{}),
	}
	w.last, w.giveUp = context.WithCancel(context.Background())
	set, err := newRuleset(c.Handlers, c.Rules)
	w.faulty = err
	w.current.Store(set)
	if w.Forward == nil {
		w.Forward = newForwardClient()
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	if w.metrics == nil {
		w.metrics = NewMetrics(nil)
	}
	w.held = newHeldLanes(w)
	return w
}

// Running is how many jobs are in hand now.
func (w *Worker) Running() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running)
}

// Run takes and carries out jobs until ctx ends, then drains. It returns when
// every job in hand is settled, or NATS could not be told for lastTries after
// the drain. It fails at once where [CheckHandlers] does.
func (w *Worker) Run(ctx context.Context) error {
	if w.faulty != nil {
		return fmt.Errorf("running worker: %w", w.faulty)
	}
	// Jobs outlive ctx: they have until the end of the drain.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	defer w.giveUp()
	var side, fetches, inHand sync.WaitGroup
	background, stopSide := context.WithCancel(work)
	w.Tokens.OnNew(w.held.wake)
	side.Go(func() { w.heartbeats(background) })
	side.Go(func() { w.held.run(background) })

	w.take(ctx, work, &fetches, &inHand) // until ctx ends
	stopCut := w.cutAfterDrain(cut)
	fetches.Wait()
	close(w.quiet)
	inHand.Wait()
	stopCut()
	stopSide()
	side.Wait()
	return nil
}

// cutAfterDrain cuts the calls of the jobs in hand at the end of the drain
// timeout, and gives up on NATS some time after that.
func (w *Worker) cutAfterDrain(cut context.CancelFunc) (stop func()) {
	if n := w.Running(); n > 0 {
		w.log.Info("draining", "jobs", n, "timeout", w.drainTimeout())
	}
	cutting := time.AfterFunc(w.drainTimeout(), func() {
		w.log.Warn("drain timeout reached: cutting calls", "jobs", w.Running())
		cut()
	})
	giving := time.AfterFunc(w.drainTimeout()+lastTries, w.giveUp)
	return func() { cutting.Stop(); giving.Stop() }
}

// beatCheck is how often the worker looks whether to report its jobs: the
// queue's AckWait is known only once the consumer was found.
const beatCheck = 250 * time.Millisecond

// heartbeats tells the server about every job in hand, well within AckWait.
func (w *Worker) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(beatCheck)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if now.Sub(last) >= w.Queue.AckWait()/3 {
				last = now
				w.beat()
			}
		}
	}
}

func (w *Worker) beat() {
	for _, d := range w.inHand() {
		if err := d.Working(); err != nil {
			w.log.Debug("reporting a running job failed", "job", d.Job.ID, "error", err)
		}
	}
}

func (w *Worker) inHand() []*queue.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]*queue.Delivery, 0, len(w.running))
	for _, d := range w.running {
		list = append(list, d)
	}
	return list
}
