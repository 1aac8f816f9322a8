package bellows

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"bellows/internal/worker"
)

// Handler carries out one attempt of a job. What it returns decides what
// becomes of the job:
//
//   - nil: it is done.
//   - [RetryAfter]: it is tried again later, and the attempt does not count.
//   - [Fatal]: it becomes a dead letter, as after a panic.
//   - an error of a [Client], also wrapped: Atlassian's answer decides. A 429
//     waits as long as it says, a 500 is tried again, a 404 is a dead letter,
//     and so is a POST or PATCH whose answer was lost, because nobody knows
//     whether it had its effect.
//   - any other error: it is tried again, each time after a longer wait, up to
//     [MaxAttempts].
//
// A job that is tried again starts the handler from its beginning; see
// [Job.Step] for what must not be done twice. ctx ends when the worker stops
// and its drain timeout has passed.
type Handler func(ctx context.Context, job *Job) error

// DefaultMux is what [Handle] adds to and [Main] runs.
var DefaultMux = new(Mux)

// Handle has h carry out the jobs that pattern is for, as Handle of a [Mux]
// does. Call it before [Main].
//
//	avi:jira:created:issue   an event by its name
//	avi:jira:*:issue         events in which any one part stands for *
//	scheduled:nightly        a scheduled trigger by its key in the manifest
//	call:export              calls of that route, and jobs from Job.Enqueue
//	preUninstall             the start of an uninstall
//
// Several handlers, and rules of a rule file, may be for the same event: each
// gets a job of its own.
func Handle(pattern string, h func(ctx context.Context, job *Job) error, options ...Option) {
	DefaultMux.Handle(pattern, h, options...)
}

// Mux is a set of handlers. The zero Mux is empty and ready to use. Tests use
// one of their own, so that they do not share [DefaultMux].
type Mux struct {
	mu       sync.Mutex
	handlers []worker.Handler
}

// Handle has h carry out the jobs that pattern is for. Like http.Handle it
// panics on what can only be a mistake in the program: no pattern, no handler,
// or the name of another handler. [Main] refuses a pattern that is malformed.
func (m *Mux) Handle(pattern string, h func(ctx context.Context, job *Job) error, options ...Option) {
	if h == nil {
		panic(fmt.Sprintf("bellows: no handler for %q", pattern))
	}
	added := worker.Handler{Name: nameOf(pattern), On: []string{pattern}, Run: run(h)}
	for _, option := range options {
		option.apply(&added)
	}
	if !validName.MatchString(added.Name) {
		panic(fmt.Sprintf("bellows: handler name %q is not 1 to 64 letters, digits, \"_\" or \"-\"; give one with bellows.Name", added.Name))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.ContainsFunc(m.handlers, func(other worker.Handler) bool { return other.Name == added.Name }) {
		panic(fmt.Sprintf("bellows: there are two handlers named %q; give one of them another name with bellows.Name", added.Name))
	}
	m.handlers = append(m.handlers, added)
}

// registered are the handlers so far.
func (m *Mux) registered() []worker.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.handlers)
}

// run fits a handler to the worker.
func run(h Handler) func(context.Context, *worker.Task) error {
	return func(ctx context.Context, task *worker.Task) error { return h(ctx, newJob(task)) }
}

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	unnamed   = regexp.MustCompile(`[^A-Za-z0-9_-]+`)
)

// nameOf makes a name of a pattern: avi:jira:*:issue is avi-jira-any-issue.
func nameOf(pattern string) string {
	return unnamed.ReplaceAllString(strings.ReplaceAll(pattern, "*", "any"), "-")
}

// Option says more about a handler.
type Option struct {
	apply func(*worker.Handler)
}

// Name gives the handler a name: 1 to 64 letters, digits, "_" or "-". Without
// it, the name is made from the pattern. It stays with each job, in the queue
// and in dead letters, so a handler that is renamed no longer gets the jobs of
// its old name.
func Name(name string) Option {
	return Option{func(h *worker.Handler) { h.Name = name }}
}

// On adds patterns to that of [Handle].
func On(patterns ...string) Option {
	return Option{func(h *worker.Handler) { h.On = append(h.On, patterns...) }}
}

// MaxAttempts is after how many attempts that count a job is a dead letter.
// Zero or less means 10.
func MaxAttempts(n int) Option {
	return Option{func(h *worker.Handler) { h.MaxAttempts = n }}
}

// MaxAge is how long after its receipt, or its replay, a job is tried at most.
// Zero or less means 24 hours.
func MaxAge(d time.Duration) Option {
	return Option{func(h *worker.Handler) { h.MaxAge = d }}
}
