package impersonation_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"bellows/internal/impersonation"
	"bellows/internal/secret"
)

func TestARefusalIsRememberedForFiveMinutes(t *testing.T) {
	b := newBench(t)
	b.gateway.say(200, refusal("User has no access", "Ask an admin"))
	x := b.worker(t)
	for range 3 {
		_, _, err := x.Token(t.Context(), request())
		var refused *impersonation.RefusedError
		if !errors.As(err, &refused) || refused.Message != "User has no access; Ask an admin" {
			t.Fatalf("got %v", err)
		}
	}
	b.gateway.grant("3600")
	b.clock.move(5*time.Minute - time.Second)
	if _, _, err := x.Token(t.Context(), request()); !isRefused(err) || b.gateway.count() != 1 {
		t.Errorf("got %v after %d exchanges", err, b.gateway.count())
	}
	b.clock.move(time.Second)
	get(t, x, request(), userToken(2))
}

func TestATokenThatCannotBeReplacedServesWhileItIsValid(t *testing.T) {
	b := newBench(t)
	x := b.worker(t)
	get(t, x, request(), userToken(1))
	b.gateway.say(503, "")
	b.clock.move(59*time.Minute + 30*time.Second)
	get(t, x, request(), userToken(1))
	get(t, x, request(), userToken(1))
	if n := b.gateway.count(); n != 2 {
		t.Errorf("%d exchanges, want one failed one", n)
	}
	b.clock.move(5 * time.Second)
	get(t, x, request(), userToken(1))
	if n := b.gateway.count(); n != 3 {
		t.Errorf("%d exchanges, want another try after a pause", n)
	}
	b.clock.move(25 * time.Second)
	if _, _, err := x.Token(t.Context(), request()); err == nil {
		t.Error("an expired token is given")
	}
}

func TestTheLimitOfExchanges(t *testing.T) {
	b := newBench(t)
	x := b.worker(t, func(c *impersonation.Config) { c.PerMinute = 3 })
	ask := func(account string) error {
		r := request()
		r.Account = account
		_, _, err := x.Token(t.Context(), r)
		return err
	}
	wait := func(err error) time.Duration {
		var limited *impersonation.LimitedError
		if !errors.As(err, &limited) {
			t.Fatalf("got %v", err)
		}
		return limited.RetryAfter
	}
	for i, account := range []string{"a", "b", "c"} {
		if err := ask(account); err != nil {
			t.Fatalf("exchange %d: %v", i, err)
		}
		b.clock.move(10 * time.Second)
	}
	if got := wait(ask("d")); got != 30*time.Second+1 {
		t.Errorf("room in %s", got)
	}
	if err := ask("a"); err != nil {
		t.Errorf("a token that is held needs no room: %v", err)
	}
	b.clock.move(30 * time.Second)
	if got := wait(ask("d")); got != 1 {
		t.Errorf("at exactly a minute, room in %s", got)
	}
	b.clock.move(1)
	if err := ask("d"); err != nil {
		t.Errorf("after a minute: %v", err)
	}
	wait(ask("e"))
	if n := b.gateway.count(); n != 4 {
		t.Errorf("%d exchanges", n)
	}
}

func TestA429StopsAllExchangesForAsLongAsItSays(t *testing.T) {
	b := newBench(t)
	b.gateway.say(429, "", "Retry-After", "20")
	x := b.worker(t)
	_, _, err := x.Token(t.Context(), request())
	var limited *impersonation.LimitedError
	if !errors.As(err, &limited) || limited.RetryAfter != 20*time.Second {
		t.Fatalf("got %v", err)
	}
	b.gateway.grant("3600")
	b.clock.move(15 * time.Second)
	other := request()
	other.Installation = "two"
	if _, _, err = x.Token(t.Context(), other); !errors.As(err, &limited) || limited.RetryAfter != 5*time.Second || b.gateway.count() != 1 {
		t.Errorf("got %v after %d exchanges", err, b.gateway.count())
	}
	b.clock.move(5 * time.Second)
	get(t, x, other, userToken(2))
}

func TestWithoutASystemTokenNothingIsAsked(t *testing.T) {
	b := newBench(t)
	cause := errors.New("vault has none")
	r := request()
	r.System = func(context.Context) (secret.Token, error) { return secret.Token{}, cause }
	if _, _, err := b.worker(t).Token(t.Context(), r); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	r.System = func(context.Context) (secret.Token, error) { return secret.Token{}, nil }
	if _, _, err := b.worker(t).Token(t.Context(), r); err == nil || b.gateway.count() != 0 {
		t.Errorf("got %v after %d exchanges", err, b.gateway.count())
	}
}

func TestACallerWhoLeavesDoesNotEndTheExchangeOfOthers(t *testing.T) {
	b := newBench(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	grant := b.gateway.answer
	b.gateway.behave(func(a asked, n int) (int, map[string]string, string) { close(arrived); <-release; return grant(a, n) })
	x := b.worker(t)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, _, err := x.Token(ctx, request()); left <- err }()
	<-arrived
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who leaves gets %v", err)
	}
	got := make(chan string)
	go func() {
		token, _, _ := x.Token(t.Context(), request())
		got <- token.Reveal()
	}()
	close(release)
	if token := <-got; token != userToken(1) || b.gateway.count() != 1 {
		t.Errorf("who stays gets %q after %d exchanges", token, b.gateway.count())
	}
}

func TestTheLockOfAWorkerThatFailedIsGivenBack(t *testing.T) {
	b := newBench(t)
	b.gateway.say(500, "")
	if _, _, err := b.worker(t).Token(t.Context(), request()); err == nil {
		t.Fatal("no error")
	}
	b.gateway.grant("3600")
	started := time.Now()
	get(t, b.worker(t), request(), userToken(2))
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("the next worker waited %s", took)
	}
}
