// Package ingest is the door to the internet: it takes Forge's calls over
// HTTP, proves that they come from Forge, stores a job, and answers.
//
// A request passes these checks, in this order; the first that fails answers:
//
//	route, method, declared length      404, 405, 413
//	invocation token                    401; 503 while its key cannot be looked up
//	environment, caller                 403
//	body: length, end, tenant           413, 400, 403
//	stored in JetStream within 4 s      503
//
// and then it is 202. A 2xx leaves only after JetStream has acknowledged. A
// body that is not JSON is stored too and becomes a dead letter: refusing it
// would only have Forge send it four times more.
//
// The process keeps nothing: what it remembers only spares requests.
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"bellows/internal/forge"
	"bellows/internal/installations"
	"bellows/internal/manifest"
	"bellows/internal/queue"
	"bellows/internal/vault"
)

// Config says what is served and whom it works with. Fields without a stated
// default must be set.
type Config struct {
	// Hooks are the paths to serve, see manifest.Manifest.Hooks.
	Hooks []manifest.Hook
	// FrontEnd are the modules that have a resolver: browsers hold tokens of
	// theirs, which must not open a hook.
	FrontEnd []manifest.Module
	// Verify checks an invocation token, see forge.Verifier.Verify.
	Verify func(ctx context.Context, authorization []string) (forge.Invocation, error)
	// Queue stores jobs.
	Queue *queue.Queue
	// Tokens keeps the newest token of each installation.
	Tokens *vault.Writer
	// Installations keeps who is installed.
	Installations *installations.Writer
	// Environments are the Forge environments that may call. Empty means
	// PRODUCTION only.
	Environments []string
	// MaxBody is the largest body, in bytes. Zero or negative means 1 MiB;
	// Forge's events have at most 200 kB ("Forge Remote essentials",
	// 2026-08-22).
	MaxBody int64
	// StrictModules refuses invocations whose module is none of those that
	// the manifest lets call the endpoint. Otherwise they are logged.
	StrictModules bool
	// StoreTimeout is how long storing may take, and before it the look-up of
	// an unknown key. Zero or negative means 4 s: Forge waits for 5 s ("Forge
	// Remote essentials", 2026-08-22).
	StoreTimeout time.Duration
	// Every is the interval of a scheduled trigger. Nil means the manifest's.
	Every func(manifest.ScheduledTrigger) time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger; nil discards.
	Logger *slog.Logger
	// Metrics; nil counts into nothing.
	Metrics *Metrics
}

func (c Config) maxBody() int64 {
	if c.MaxBody <= 0 {
		return 1 << 20
	}
	return c.MaxBody
}

func (c Config) storeTimeout() time.Duration {
	if c.StoreTimeout <= 0 {
		return 4 * time.Second
	}
	return c.StoreTimeout
}

func (c Config) environments() map[string]bool {
	allowed := map[string]bool{}
	for _, e := range c.Environments {
		allowed[strings.ToUpper(e)] = true
	}
	if len(allowed) == 0 {
		allowed["PRODUCTION"] = true
	}
	return allowed
}

// Server answers Forge's calls. Make it with New; it is an http.Handler.
type Server struct {
	Config
	log     *slog.Logger
	metrics *Metrics

	hooks        map[string]*hook // :: path without a trailing slash → hook
	environments map[string]bool  // :: environment type that may call
	uiTypes      map[string]bool  // :: type of a module with a resolver
	uiKeys       map[string]bool  // :: key of a module with a resolver
}

// hook is a manifest.Hook with its callers ready to look up.
type hook struct {
	manifest.Hook
	modules map[string]bool // :: module key that may call
}

// New makes a server. It fails when there is nothing to serve.
func New(c Config) (*Server, error) {
	if len(c.Hooks) == 0 {
		return nil, errors.New("starting ingest: no endpoint of the manifest is named by a trigger, scheduledTrigger or preUninstall module, so Forge would call nothing here")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Every == nil {
		c.Every = manifest.ScheduledTrigger.Every
	}
	s := &Server{
		Config: c, log: c.Logger, metrics: c.Metrics, hooks: map[string]*hook{}, environments: c.environments(),
		uiTypes: map[string]bool{}, uiKeys: map[string]bool{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.metrics == nil {
		s.metrics = NewMetrics(nil)
	}
	for _, h := range c.Hooks {
		known := &hook{Hook: h, modules: map[string]bool{}}
		for _, key := range h.Modules {
			known.modules[key] = true
		}
		s.hooks[trimSlash(h.Path)] = known
	}
	for _, m := range c.FrontEnd {
		s.uiTypes[m.Type], s.uiTypes[uiTypePrefix+m.Type], s.uiKeys[m.Key] = true, true, true
	}
	return s, nil
}

// uiTypePrefix stands before the types of some modules in invocation tokens: a
// manifest's macro is xen:macro there ("Forge Remote essentials", 2026-08-22).
const uiTypePrefix = "xen:"

// trimSlash makes /a/ and /a one path; the root is "".
func trimSlash(path string) string {
	return strings.TrimSuffix(path, "/")
}

// HTTPServer returns a server with the limits that suit Forge's calls, to be
// run and shut down by the caller.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := s.Now()
	answer := s.serve(w, r)
	s.metrics.answered(answer.status, answer.code, s.Now().Sub(start))
	s.write(w, answer)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) answer {
	h, ok := s.hooks[trimSlash(r.URL.Path)]
	switch {
	case !ok:
		return refuse(http.StatusNotFound, "not_found", "no endpoint of the manifest has this path")
	case r.Method != http.MethodPost:
		a := refuse(http.StatusMethodNotAllowed, "method_not_allowed", "Forge calls this endpoint with POST")
		a.allow = http.MethodPost
		return a
	case r.ContentLength > s.maxBody():
		return s.tooLarge()
	}
	// One limit for all that may have to wait, so that Forge hears 503 while
	// it still listens. It does not end with the caller: what has come in full
	// is stored also when the caller has hung up, it would only come again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.storeTimeout())
	defer cancel()
	inv, err := s.Verify(ctx, r.Header.Values("Authorization"))
	if err != nil {
		return s.refuseToken(err)
	}
	if a, ok := s.mayCall(h, inv); !ok {
		return a
	}
	return s.take(ctx, w, r, &call{h: h, inv: inv})
}

func (s *Server) tooLarge() answer {
	return refuse(http.StatusRequestEntityTooLarge, "body_too_large", "the body is over the limit; see --max-body")
}

// refuseToken turns an error of the verifier into an answer. The text names
// the check that failed and no part of the token.
func (s *Server) refuseToken(err error) answer {
	var invalid *forge.InvalidTokenError
	if errors.As(err, &invalid) {
		s.log.Warn("invocation token refused", "check", invalid.Check, "error", err)
		s.metrics.Refused.WithLabelValues(invalid.Check).Inc()
		return refuse(http.StatusUnauthorized, "invalid_token", invalid.Error())
	}
	a := refuse(http.StatusServiceUnavailable, "keys_unavailable", "the key of the invocation token cannot be looked up now")
	a.retryAfter = retryLater
	var keys *forge.KeysUnavailableError
	if errors.As(err, &keys) {
		a.retryAfter = keys.RetryAfter
	}
	s.log.Warn("key of an invocation token is not available", "error", err)
	return a
}
