package atlassian

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerConfig says when a circuit breaker opens and for how long. There is
// one for each host and installation, so that one tenant's trouble does not
// stop another's calls. Failures are calls not sent, not answered, broken off,
// or answered with 5xx other than 501; a 4xx, also a 429, is an answer of a
// host that works.
type BreakerConfig struct {
	// Failures in a row open the breaker. Zero means 5; negative means that
	// the breaker never opens.
	Failures int
	// CoolDown is how long it stays open before one call may try. Zero or
	// negative means 15 seconds.
	CoolDown time.Duration
	// Limit is how many breakers are kept; beyond it the ones longest idle are
	// forgotten. Zero or negative means 4096.
	Limit int
}

const (
	// Beside failures in a row, a breaker opens when in the last minute at
	// least minCalls ended and this share of them failed.
	breakerWindow = time.Minute
	breakerBucket = 10 * time.Second
	minCalls      = 20
	failedShare   = 0.6
	// trialWait is how long a call waits for the outcome of another's trial.
	trialWait = time.Second
)

func (c BreakerConfig) coolDown() time.Duration {
	if c.CoolDown <= 0 {
		return 15 * time.Second
	}
	return c.CoolDown
}

func (c BreakerConfig) limit() int {
	if c.Limit <= 0 {
		return 4096
	}
	return c.Limit
}

func (c BreakerConfig) trips(counts gobreaker.Counts) bool {
	if c.Failures < 0 {
		return false
	}
	inARow := uint32(5)
	if c.Failures > 0 {
		inARow = uint32(c.Failures)
	}
	ended := counts.TotalSuccesses + counts.TotalFailures
	return counts.ConsecutiveFailures >= inARow ||
		ended >= minCalls && float64(counts.TotalFailures) >= failedShare*float64(ended)
}

type breakerKey struct{ host, installation string }

// breakers holds the breakers in use and some idle ones.
type breakers struct {
	config BreakerConfig
	now    func() time.Time
	random func() float64
	logger *slog.Logger

	mu    sync.Mutex
	byKey map[breakerKey]*breaker
}

type breaker struct {
	circuit  *gobreaker.CircuitBreaker[*Answer]
	mu       sync.Mutex
	until    time.Time // when it was last opened, the end of its cool-down
	users    int       // guarded by breakers.mu
	lastUsed time.Time // guarded by breakers.mu
}

func newBreakers(config BreakerConfig, now func() time.Time, random func() float64, logger *slog.Logger) *breakers {
	return &breakers{config: config, now: now, random: random, logger: logger, byKey: map[breakerKey]*breaker{}}
}

// do runs send unless the breaker of key is open.
func (b *breakers) do(key breakerKey, send func() (*Answer, *Error)) (*Answer, *Error) {
	one := b.take(key)
	defer b.release(one)
	answer, err := one.circuit.Execute(func() (*Answer, error) {
		answer, e := send()
		if e != nil {
			return nil, e
		}
		return answer, nil
	})
	if err == nil {
		return answer, nil
	}
	var e *Error
	if errors.As(err, &e) {
		return nil, e
	}
	return nil, &Error{Stage: BreakerOpen, Until: b.until(one), Err: err}
}

// until is when a refused call should come back: the end of the cool-down, or
// a little later than now when that has passed and another call is trying.
func (b *breakers) until(one *breaker) time.Time {
	one.mu.Lock()
	defer one.mu.Unlock()
	soon := b.now().Add(time.Duration((0.5 + b.random()) * float64(trialWait)))
	if one.until.After(soon) {
		return one.until
	}
	return soon
}

func (b *breakers) take(key breakerKey) *breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, ok := b.byKey[key]
	if !ok {
		b.makeRoom()
		one = b.make(key)
		b.byKey[key] = one
	}
	one.users++
	return one
}

func (b *breakers) release(one *breaker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one.users--
	one.lastUsed = time.Now()
}

// makeRoom forgets idle breakers, longest idle first, until there is room for
// one more. Those in use stay, so their number may exceed the limit.
func (b *breakers) makeRoom() {
	for len(b.byKey) >= b.config.limit() {
		var oldest breakerKey
		var found *breaker
		for key, one := range b.byKey {
			if one.users == 0 && (found == nil || one.lastUsed.Before(found.lastUsed)) {
				oldest, found = key, one
			}
		}
		if found == nil {
			return
		}
		delete(b.byKey, oldest)
	}
}

func (b *breakers) make(key breakerKey) *breaker {
	one := &breaker{}
	one.circuit = gobreaker.NewCircuitBreaker[*Answer](gobreaker.Settings{
		Name:          key.host,
		MaxRequests:   1,
		Interval:      breakerWindow,
		BucketPeriod:  breakerBucket,
		Timeout:       b.config.coolDown(),
		ReadyToTrip:   b.config.trips,
		IsSuccessful:  func(err error) bool { return !hostFailed(err) },
		IsExcluded:    endedByCaller,
		OnStateChange: func(_ string, _, to gobreaker.State) { b.changed(key, one, to) },
	})
	return one
}

func (b *breakers) changed(key breakerKey, one *breaker, to gobreaker.State) {
	level := slog.LevelInfo
	if to == gobreaker.StateOpen {
		level = slog.LevelWarn
		one.mu.Lock()
		one.until = b.now().Add(b.config.coolDown())
		one.mu.Unlock()
	}
	b.logger.Log(context.Background(), level, "circuit breaker changed", "host", key.host, "installation", key.installation, "state", to.String())
}

// hostFailed reports whether err says that the host does not work.
func hostFailed(err error) bool {
	var e *Error
	if err == nil || !errors.As(err, &e) {
		return err != nil
	}
	switch e.Stage {
	case NotSent, Unanswered:
		return true
	case Answered:
		return e.Status >= 500 && e.Status != http.StatusNotImplemented
	case Unreadable:
		return !errors.Is(e.Err, ErrTooLong)
	default:
		return false
	}
}

func endedByCaller(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.byCaller
}
