package simulator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"bellows/internal/manifest"
)

// Times of Forge and Atlassian that the time scale shrinks, and the one that
// it never does. From developer.atlassian.com/platform/forge as of 2026-08-22:
// the remote contract page (answer limit, delay between deliveries, system
// token life) and the preUninstall module page (pause of the uninstall).
const (
	defaultAnswerLimit = 5 * time.Second
	uninstallLimit     = 55 * time.Second
	redeliveryDelay    = time.Minute
	tokenLife          = 4 * time.Hour
	exchangedLife      = time.Hour // own value: the documents name no number

	// shortestLife keeps a tiny time scale from making tokens that are
	// expired before they can be used: backends stop using a token some time
	// before its end.
	shortestLife = 45 * time.Second

	// defaultExchanges is offline tokens per minute and app (invocation
	// limits page, August 2026).
	defaultExchanges = 1000
)

// Config says which app the simulator plays Forge for and where its backend is.
type Config struct {
	// Manifest is the app's manifest. It is required.
	Manifest *manifest.Manifest
	// Remote is the base URL of the backend. It is required, so that simulated
	// calls never reach the URLs of the manifest by accident. A path in it
	// (other than "/") replaces the path of the manifest's baseUrl.
	Remote string
	// PublicURL is where the simulator's Handler is reached, without a
	// trailing slash; it is the base of every apiBaseUrl. It is required.
	PublicURL string

	// TimeScale is multiplied into the delay between deliveries, the intervals
	// of scheduled triggers and the lives of tokens. Zero means 1; negative is
	// refused. The 5 seconds that a backend has to answer are never scaled.
	TimeScale float64
	// TokenLife is the full life of a system token; between half of it and all
	// of it is left when a token is delivered. Zero means 4 hours times
	// TimeScale, but not less than 10 seconds. Negative makes tokens that are
	// already expired.
	TokenLife time.Duration
	// ExchangesPerMinute limits offlineUserAuthToken over the last 60 seconds.
	// Zero means 1,000; negative means no limit.
	ExchangesPerMinute int

	// Keys is how many keys the key set starts with. Zero or less means 3.
	Keys int
	// Bare leaves out the installation that New otherwise makes (without
	// telling the backend) for the products the manifest speaks of.
	Bare bool
	// NoSchedules starts with scheduled triggers switched off. They can still
	// be run one by one, and switched on by control.
	NoSchedules bool

	// Seed makes ids the same on every run that makes the same calls in the
	// same order; RSA keys differ all the same. Zero means a random seed.
	Seed uint64
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Logger is told about deliveries and refused calls. Nil means no log.
	Logger *slog.Logger
}

func (c Config) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func (c Config) timeScale() float64 {
	if c.TimeScale == 0 {
		return 1
	}
	return c.TimeScale
}

// scaled shrinks a duration of Forge's.
func (c Config) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * c.timeScale())
}

// life scales the life of a token.
func (c Config) life(full time.Duration) time.Duration {
	return max(c.scaled(full), shortestLife)
}

func (c Config) systemTokenLife() time.Duration {
	if c.TokenLife == 0 {
		return c.life(tokenLife)
	}
	return c.TokenLife
}

func (c Config) exchangesPerMinute() int {
	if c.ExchangesPerMinute == 0 {
		return defaultExchanges
	}
	return c.ExchangesPerMinute
}

func (c Config) keyCount() int {
	if c.Keys <= 0 {
		return 3
	}
	return c.Keys
}

// Simulator is Forge and Atlassian for one app. It is safe for concurrent use.
type Simulator struct {
	cfg    Config
	now    func() time.Time
	log    *slog.Logger
	remote *url.URL
	hooks  []manifest.Hook

	random *source
	keys   *keySet
	ledger *ledger
	faults *faultList
	client *http.Client

	// answerLimit is a field so that a test need not wait for five seconds.
	answerLimit time.Duration

	appUUID       string
	environmentID string
	bot           string // the app's own account
	tokenSecret   []byte

	mu            sync.Mutex
	installations []*installed
	sites         map[string]*site     // :: cloud id → product data
	accounts      map[string]Account   // :: account id → account
	grants        map[string]*grant    // :: token digest → what it allows
	exchanges     []time.Time          // answered exchanges of the last minute
	workspaces    map[string]*codeHost // :: workspace id → Bitbucket data
	schedules     bool
	replan        chan struct{} // tells Run that installations or switches changed
}

// New makes a simulator. It fails if a required field of cfg is missing or a
// URL in it cannot be used, or if the manifest's endpoints have no paths.
func New(cfg Config) (*Simulator, error) {
	if cfg.Manifest == nil {
		return nil, errors.New("starting simulator: there is no manifest")
	}
	if cfg.timeScale() < 0 {
		return nil, fmt.Errorf("starting simulator: time scale is %v, want more than zero", cfg.TimeScale)
	}
	remote, err := baseURL("remote", cfg.Remote)
	if err != nil {
		return nil, err
	}
	public, err := baseURL("public URL", cfg.PublicURL)
	if err != nil {
		return nil, err
	}
	cfg.PublicURL = strings.TrimSuffix(public.String(), "/")
	hooks, err := cfg.Manifest.Hooks(ownPath(remote))
	if err != nil {
		return nil, fmt.Errorf("starting simulator: %w", err)
	}
	s := &Simulator{
		cfg: cfg, now: cfg.now(), log: cfg.logger(), remote: remote, hooks: hooks,
		random: newSource(cfg.Seed), faults: &faultList{}, ledger: newLedger(),
		client: newClient(), answerLimit: defaultAnswerLimit,
		appUUID:   path.Base(cfg.Manifest.AppID),
		schedules: !cfg.NoSchedules, replan: make(chan struct{}, 1),
	}
	s.environmentID = s.random.uuid()
	s.bot = "557058:" + s.random.uuid()
	s.tokenSecret = s.random.bytes(32)
	if s.keys, err = newKeySet(cfg.keyCount(), s.random); err != nil {
		return nil, fmt.Errorf("starting simulator: %w", err)
	}
	s.clear()
	return s, nil
}

// clear sets everything that control can change back to what New made.
func (s *Simulator) clear() {
	s.faults.clear()
	s.keys.setMode(KeySetMode{})
	s.ledger.clear()
	s.mu.Lock()
	s.installations = nil
	s.sites = map[string]*site{}
	s.workspaces = map[string]*codeHost{}
	s.grants = map[string]*grant{}
	s.exchanges = nil
	s.schedules = !s.cfg.NoSchedules
	s.accounts = s.firstAccounts()
	s.mu.Unlock()
	if !s.cfg.Bare {
		for _, products := range s.defaultProducts() {
			s.install(InstallRequest{Products: products})
		}
	}
}

// baseURL parses a URL that must have a scheme and a host and no more than a
// path after them.
func baseURL(what, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("starting simulator: %s is %q, want http(s)://host[:port]", what, text)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("starting simulator: %s has a query, a fragment or a user, want http(s)://host[:port]", what)
	}
	return u, nil
}

// ownPath returns the path of u, or nil if it has none to speak of.
func ownPath(u *url.URL) *string {
	if strings.Trim(u.Path, "/") == "" {
		return nil
	}
	escaped := u.EscapedPath()
	return &escaped
}

// newClient calls the backend as Forge does: redirects are answers, not
// followed. The limit of a call is in its context.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxIdleConnsPerHost = 64
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run calls scheduled triggers when they are due until ctx ends, waits for
// those under way, and returns nil. A Simulator that is not run serves
// everything else.
func (s *Simulator) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	newSchedule(s).run(ctx)
	return nil
}
