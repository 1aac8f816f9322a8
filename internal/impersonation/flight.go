package impersonation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bellows/internal/secret"
)

const (
	// exchangeTimeout bounds an exchange with both forms of the context, so
	// that it ends before the lock does.
	exchangeTimeout = 12 * time.Second
	// A process that waits for another looks again after firstLook, then half
	// as long again each time up to lastLook, each shortened by up to a half.
	firstLook = 30 * time.Millisecond
	lastLook  = 500 * time.Millisecond
)

var errNoSystemToken = errors.New("there is none")

// find is one flight: it looks into the bucket, makes an exchange, or waits
// for the process that is making one. It is alone for k in this process.
func (x *Exchanger) find(ctx context.Context, k key, r Request) (held, error) {
	last, _ := x.memory.get(k)
	for wait := firstLook; ; wait = min(wait*3/2, lastLook) {
		h, done, err := x.look(ctx, k, r)
		if done {
			return x.settle(k, last, h, err)
		}
		pause := time.Duration((1 - x.config.Random()/2) * float64(wait))
		select {
		case <-ctx.Done():
			return x.settle(k, last, held{}, &UpstreamError{Err: fmt.Errorf("waiting for another worker's exchange: %w", ctx.Err())})
		case <-time.After(pause):
		}
	}
}

// look makes one step of find; done is false while another process has the
// lock and no result.
func (x *Exchanger) look(ctx context.Context, k key, r Request) (h held, done bool, err error) {
	if h, _, ok := x.usable(ctx, k); ok {
		return h, true, nil
	}
	unlock, mine, err := x.lock(ctx, k)
	if err != nil {
		x.config.Logger.Warn("taking exchange lock failed; exchanging without it", "installation", r.Installation, "error", err)
		h, err = x.exchange(ctx, r)
		return h, true, err
	}
	if !mine {
		return held{}, false, nil
	}
	defer unlock()
	// The last owner of the lock may just have finished.
	h, revision, ok := x.usable(ctx, k)
	if ok {
		return h, true, nil
	}
	if h, err = x.exchange(ctx, r); err == nil && !h.expires.IsZero() {
		if err := x.share(ctx, k, h, revision); err != nil {
			x.config.Logger.Warn("sharing exchanged token failed", "installation", r.Installation, "error", err)
		}
	}
	return h, true, err
}

// usable returns the bucket's token if it is fresh and was not refused.
func (x *Exchanger) usable(ctx context.Context, k key) (held, uint64, bool) {
	h, revision, err := x.shared(ctx, k)
	if err != nil {
		x.config.Logger.Warn("looking for exchanged token failed", "error", err)
		return held{}, 0, false
	}
	return h, revision, h.fresh(x.config.Now()) && !x.memory.refused(k, h.digest)
}

// settle remembers how a flight ended. A token that could not be replaced
// serves on while it is valid.
func (x *Exchanger) settle(k key, last, h held, err error) (held, error) {
	now := x.config.Now()
	var refused *RefusedError
	switch {
	case err == nil:
		if !h.expires.IsZero() {
			x.memory.keep(k, h, now)
		}
		return h, nil
	case errors.As(err, &refused):
		x.memory.deny(k, refused, now)
		return held{}, err
	case last.valid(now) && !x.memory.refused(k, last.digest):
		last.later = now.Add(replacePause)
		x.memory.keep(k, last, now)
		return last, nil
	default:
		return held{}, err
	}
}

// exchange asks the gateway, with the other form of the context too if the
// first is not understood.
func (x *Exchanger) exchange(ctx context.Context, r Request) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	system, err := r.System(ctx)
	if err == nil && system.IsZero() {
		err = errNoSystemToken
	}
	if err != nil {
		return held{}, fmt.Errorf("exchanging token: asking for the system token: %w", err)
	}
	var first error
	for _, form := range x.memory.forms(r) {
		h, err := x.once(ctx, system, form, r.Account)
		if err == nil {
			x.memory.works(r, form)
			return h, nil
		}
		if first != nil {
			return held{}, bothRefused(first, err)
		}
		if first = err; !isWrongContext(err) {
			break
		}
	}
	return held{}, first
}

// once makes one request. Lives count from before it was sent.
func (x *Exchanger) once(ctx context.Context, system secret.Token, form, account string) (held, error) {
	began := x.config.Now()
	if err := x.limit.take(began); err != nil {
		return held{}, err
	}
	status, header, body, sent, err := x.config.Post(ctx, x.config.URL, system, requestBody(form, account))
	if err != nil {
		return held{}, &UpstreamError{Sent: sent, Err: err}
	}
	got, err := readAnswer(status, header, body, system, x.config.Now())
	if err != nil {
		var limited *LimitedError
		if errors.As(err, &limited) {
			x.limit.rest(x.config.Now().Add(limited.RetryAfter))
		}
		return held{}, err
	}
	h := held{token: got.token, digest: got.token.Digest(), ttl: got.ttl, exchanged: true}
	if got.ttl > 0 {
		h.expires = began.Add(got.ttl)
	}
	return h, nil
}
