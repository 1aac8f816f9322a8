// Package egress lets a handler call Atlassian through bellows, without ever
// holding one of Atlassian's tokens.
//
// A handler in another process holds a ticket (package ticket) and talks HTTP
// to the worker's private egress port, [Server.Handler]. A handler in this
// process uses [Server.Transport], which goes the same way without a socket:
//
//	request ──▶ ticket ──▶ path, method, headers ──▶ installation ──▶ as whom ──▶ Call
//	             401          400 404 405             base URL          token       │
//	answer ◀── Atlassian's status, header and body, or a JSON error of bellows' own ┘
//
// The port serves
//
//	ANY  /<product>/<path below the product's API>
//	ANY  /storage/… and /forge/…     Forge's own APIs
//	POST /graphql
//	POST /jobs                       a follow-up job: {"name", "data", "delay"}
//	PUT  /progress                   how far the job is, any JSON
//
// with "Authorization: Bearer <ticket>" and "Bellows-As: app", "user" or
// "user:<account id>".
//
// Where a call goes is made from the ticket's installation alone: a request
// names a product, never a host, and a path that could move, whoever unescapes
// it how often, is refused. What a handler sends along of credentials,
// cookies, connection headers and headers that rewrite method or path is not
// passed on. There are no redirects, of bellows' own or of Atlassian's.
//
// # Failure handling
//
// Every answer that comes from bellows and not from Atlassian has the header
// Bellows-Sent: "false" when Atlassian has certainly not acted on the call,
// "true" when it may have. Its body is {"error":{"code","message"}}; a message
// holds neither a token nor a query. GET, HEAD, PUT and DELETE are sent again
// a few times when their answer is lost; POST and PATCH are sent once, and
// "true" then means that nobody knows.
package egress

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress/ticket"
	"bellows/internal/impersonation"
	"bellows/internal/installations"
	"bellows/internal/jobs"
	"bellows/internal/secret"
	"bellows/internal/vault"
)

// Headers between bellows and a handler.
const (
	// HeaderEgress tells a handler where the egress port is, and HeaderTicket
	// with which ticket it may use it. Both go with a forwarded job or call.
	HeaderEgress = "Bellows-Egress"
	HeaderTicket = "Bellows-Ticket"
	// HeaderAs says as whom to call; see [ParseAs].
	HeaderAs = "Bellows-As"
	// HeaderSent marks an answer of bellows' own: whether Atlassian may have
	// acted on the call, "true" or "false".
	HeaderSent = "Bellows-Sent"
)

// DefaultStorageURL and DefaultForgeURL are Forge's own APIs ("Accessing Forge
// storage from a remote", developer.atlassian.com, 2026-08-22).
const (
	DefaultStorageURL = "https://api.atlassian.com/forge/storage"
	DefaultForgeURL   = "https://api.atlassian.com/forge"
)

const (
	defaultMaxBody = 5 << 20
	// defaultMaxJob keeps a follow-up job well under the 4 MiB that NATS must
	// take in one message; it is also what ingest takes by default.
	defaultMaxJob = 1 << 20
	// maxProgress bounds a report of progress.
	maxProgress = 16 << 10
)

// Config is what a [Server] needs. Fields without a stated default are
// required.
type Config struct {
	// Tickets checks tickets.
	Tickets *ticket.Tickets
	// Call makes a call to Atlassian, as [atlassian.Client.Do].
	Call func(context.Context, atlassian.Call) (*atlassian.Answer, error)
	// Token gives an owner's newest token, as [vault.Reader.Token].
	Token func(ctx context.Context, owner vault.Owner, atLeast uint64) (vault.Held, error)
	// Exchange gives a token of an account; Forget drops a refused one.
	Exchange func(context.Context, impersonation.Request) (secret.Token, time.Time, error)
	Forget   func(ctx context.Context, r impersonation.Request, refusedDigest string)
	// Installation tells where an installation's APIs are, as
	// [installations.Reader.Get].
	Installation func(ctx context.Context, id string, atLeast uint64) (installations.Installation, error)
	// Publish stores a job, to run at a time or, where that is zero, at once.
	// duplicate means that it was stored before. Nil means that there are no
	// follow-up jobs: 404.
	Publish func(ctx context.Context, job jobs.Job, at time.Time) (duplicate bool, err error)
	// Progress takes a report, valid JSON of at most 16 KiB. Nil means that
	// there are none: 404.
	Progress func(ctx context.Context, g ticket.Grant, report json.RawMessage) error
	// GraphQLURL is Atlassian's gateway. Empty means impersonation.DefaultURL.
	GraphQLURL string
	// StorageURL and ForgeURL are Forge's own APIs. Empty means
	// DefaultStorageURL and DefaultForgeURL.
	StorageURL, ForgeURL string
	// Timeout bounds one call to Atlassian. Zero or negative means 30 seconds.
	Timeout time.Duration
	// MaxBody bounds the body of a call in bytes. It is held in memory. Zero
	// or negative means 5 MiB.
	MaxBody int64
	// MaxJob bounds the body of POST /jobs in bytes. Zero or negative means
	// 1 MiB.
	MaxJob int64
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Logger gets a line for each call at debug level, and failures of
	// bellows' own as warnings. Nil discards.
	Logger *slog.Logger
	// Metrics counts requests. Nil counts into nothing.
	Metrics *Metrics
}

func (c Config) withDefaults() Config {
	text := func(value *string, otherwise string) {
		if *value == "" {
			*value = otherwise
		}
	}
	text(&c.GraphQLURL, impersonation.DefaultURL)
	text(&c.StorageURL, DefaultStorageURL)
	text(&c.ForgeURL, DefaultForgeURL)
	if c.MaxBody <= 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.MaxJob <= 0 {
		c.MaxJob = defaultMaxJob
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

// Server makes the calls of handlers. It is safe for concurrent use.
type Server struct {
	config Config
}

// New makes a Server. It fails when Config lacks a required field.
func New(c Config) (*Server, error) {
	for name, missing := range map[string]bool{
		"Tickets": c.Tickets == nil, "Call": c.Call == nil, "Token": c.Token == nil,
		"Exchange": c.Exchange == nil, "Forget": c.Forget == nil, "Installation": c.Installation == nil,
	} {
		if missing {
			return nil, errors.New("making egress: " + name + " is missing")
		}
	}
	return &Server{config: c.withDefaults()}, nil
}

// Handler is what the egress port serves. It belongs on a private address:
// whoever holds a ticket may use it. It sets no deadlines; give the
// http.Server a ReadTimeout.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }
