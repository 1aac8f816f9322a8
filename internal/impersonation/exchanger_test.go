package impersonation_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/impersonation"
	"bellows/internal/secret"
)

func TestTheDocumentedMutationIsSent(t *testing.T) {
	b := newBench(t)
	expires := get(t, b.worker(t), request(), userToken(1))
	if want := b.clock.Now().Add(time.Hour); !expires.Equal(want) {
		t.Errorf("expires %s, want %s", expires, want)
	}
	a := b.gateway.requests()[0]
	if a.method != "POST" || a.bearer != "Bearer "+systemToken || a.contentType != "application/json" {
		t.Errorf("sent %+v", a)
	}
	if len(a.contexts) != 1 || a.contexts[0] != jiraSite || a.account != alice {
		t.Errorf("sent contexts %q, account %q", a.contexts, a.account)
	}
	const want = "mutation forge_remote_offlineUserAuthToken($input: OfflineUserAuthTokenInput!) { offlineUserAuthToken(input: $input) { success errors { message } authToken { token ttl } } }"
	if a.query != want {
		t.Errorf("sent query %q", a.query)
	}
}

func TestAHundredCallersMakeOneExchange(t *testing.T) {
	b := newBench(t)
	x := b.worker(t)
	together(t, b, 100, func(int) *impersonation.Exchanger { return x })
	if n := b.gateway.count(); n != 1 {
		t.Errorf("%d exchanges", n)
	}
}

func TestWorkersShareOneExchange(t *testing.T) {
	b := newBench(t)
	workers := []*impersonation.Exchanger{b.worker(t), b.worker(t), b.worker(t)}
	together(t, b, 60, func(i int) *impersonation.Exchanger { return workers[i%len(workers)] })
	if n := b.gateway.count(); n != 1 {
		t.Errorf("%d exchanges", n)
	}
}

// together asks n times at once and wants the first token each time. The
// gateway answers when all have begun to ask.
func together(t *testing.T, b *bench, n int, worker func(int) *impersonation.Exchanger) {
	t.Helper()
	var wg, begun sync.WaitGroup
	begun.Add(n)
	grant := b.gateway.answer
	b.gateway.behave(func(a asked, n int) (int, map[string]string, string) { begun.Wait(); return grant(a, n) })
	for i := range n {
		wg.Go(func() {
			begun.Done()
			token, _, err := worker(i).Token(t.Context(), request())
			if err != nil || token.Reveal() != userToken(1) {
				t.Errorf("caller %d got %q, %v", i, token.Reveal(), err)
			}
		})
	}
	wg.Wait()
}

func TestARestartedWorkerFindsTheToken(t *testing.T) {
	b := newBench(t)
	get(t, b.worker(t), request(), userToken(1))
	expires := get(t, b.worker(t), request(), userToken(1))
	if n := b.gateway.count(); n != 1 || !expires.Equal(b.clock.Now().Add(time.Hour)) {
		t.Errorf("%d exchanges; expires %s", n, expires)
	}
}

func TestATokenIsReplacedBeforeItExpires(t *testing.T) {
	for _, row := range []struct {
		ttl  string
		kept time.Duration
	}{{"3600", 59 * time.Minute}, {"100", 90 * time.Second}, {"10.5", 9450 * time.Millisecond}, {`"100"`, 90 * time.Second}} {
		b := newBench(t)
		b.gateway.grant(row.ttl)
		x := b.worker(t)
		get(t, x, request(), userToken(1))
		b.clock.move(row.kept - time.Millisecond)
		get(t, x, request(), userToken(1))
		b.clock.move(time.Millisecond)
		get(t, x, request(), userToken(2))
		get(t, b.worker(t), request(), userToken(2)) // and the bucket has the new one
	}
}

func TestEachOwnerHasItsOwnExchange(t *testing.T) {
	b := newBench(t)
	x := b.worker(t)
	get(t, x, request(), userToken(1))
	for i, change := range []func(*impersonation.Request){
		func(r *impersonation.Request) { r.Installation = "two" },
		func(r *impersonation.Request) { r.Account = "712020:other" },
		func(r *impersonation.Request) {
			r.Context = "ari:cloud:confluence::site/7e57c10d-0b1a-4c2d-9e3f-5a6b7c8d9e0f"
		},
	} {
		r := request()
		change(&r)
		get(t, x, r, userToken(2+i))
		get(t, b.worker(t), r, userToken(2+i))
	}
	get(t, x, request(), userToken(1))
}

func TestATokenWithoutLifeIsUsedOnceAndNotKept(t *testing.T) {
	for _, ttl := range []string{"0", "-1", "null", `"soon"`, "true", "1e999"} {
		b := newBench(t)
		b.gateway.grant(ttl)
		x := b.worker(t)
		if expires := get(t, x, request(), userToken(1)); !expires.IsZero() {
			t.Errorf("ttl %s: expires %s", ttl, expires)
		}
		get(t, x, request(), userToken(2))
		entries, err := b.bucket.List(t.Context())
		if err != nil || len(entries) != 0 {
			t.Errorf("ttl %s: the bucket has %d entries, %v", ttl, len(entries), err)
		}
	}
}

func TestTheBucketShowsNeitherTokenNorAccount(t *testing.T) {
	b := newBench(t)
	get(t, b.worker(t), request(), userToken(1))
	entries, err := b.bucket.List(t.Context())
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	e := entries[0]
	for _, hidden := range []string{userToken(1), systemToken, alice} {
		if bytes.Contains(e.Value, []byte(hidden)) || strings.Contains(e.Key, hidden) {
			t.Errorf("%q is readable: %s = %s", hidden, e.Key, e.Value)
		}
	}
	if !strings.HasPrefix(e.Key, "one.") {
		t.Errorf("key %q", e.Key)
	}
}

func TestASealedTokenServesOnlyItsOwner(t *testing.T) {
	b := newBench(t)
	get(t, b.worker(t), request(), userToken(1))
	entries, err := b.bucket.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := request()
	other.Installation = "two"
	stolen := "two" + strings.TrimPrefix(entries[0].Key, "one")
	if _, err := b.bucket.Put(t.Context(), stolen, entries[0].Value); err != nil {
		t.Fatal(err)
	}
	get(t, b.worker(t), other, userToken(2))

	longer := bytes.Replace(entries[0].Value, []byte(`"ttl":`), []byte(`"ttl":9`), 1)
	if _, err := b.bucket.Put(t.Context(), entries[0].Key, longer); err != nil {
		t.Fatal(err)
	}
	get(t, b.worker(t), request(), userToken(3)) // a changed life does not open
}

func TestAForgottenTokenIsNotUsedAgain(t *testing.T) {
	b := newBench(t)
	x, y := b.worker(t), b.worker(t)
	get(t, x, request(), userToken(1))
	get(t, y, request(), userToken(1))
	x.Forget(t.Context(), request(), secret.NewToken("another").Digest())
	get(t, x, request(), userToken(1))
	x.Forget(t.Context(), request(), secret.NewToken(userToken(1)).Digest())
	get(t, x, request(), userToken(2))
	y.Forget(t.Context(), request(), secret.NewToken(userToken(1)).Digest())
	get(t, y, request(), userToken(2)) // found in the bucket
	if n := b.gateway.count(); n != 2 {
		t.Errorf("%d exchanges", n)
	}
}

func TestAForgottenTokenThatAnotherWorkerStoresAgainIsNotUsed(t *testing.T) {
	b := newBench(t)
	x := b.worker(t)
	get(t, x, request(), userToken(1))
	entries, err := b.bucket.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.Forget(t.Context(), request(), secret.NewToken(userToken(1)).Digest())
	if _, err := b.bucket.Put(t.Context(), entries[0].Key, entries[0].Value); err != nil {
		t.Fatal(err)
	}
	get(t, x, request(), userToken(2))
	get(t, b.worker(t), request(), userToken(2))
}

func TestAGatewayThatHasNoOtherTokenIsAskedOnce(t *testing.T) {
	b := newBench(t)
	b.gateway.say(200, `{"data":{"offlineUserAuthToken":{"success":true,"errors":null,"authToken":{"token":"the-only-one","ttl":3600}}}}`)
	x := b.worker(t)
	get(t, x, request(), "the-only-one")
	x.Forget(t.Context(), request(), secret.NewToken("the-only-one").Digest())
	for range 3 {
		get(t, x, request(), "the-only-one")
	}
	b.clock.move(59*time.Minute + 30*time.Second)
	b.gateway.say(503, "")
	get(t, x, request(), "the-only-one")
	if n := b.gateway.count(); n != 3 {
		t.Errorf("%d exchanges", n)
	}
}

func TestTheOtherFormOfTheContextIsTriedAndRemembered(t *testing.T) {
	b := newBench(t)
	grant := b.gateway.answer
	b.gateway.behave(func(a asked, n int) (int, map[string]string, string) {
		if a.contexts[0] == workspace {
			return grant(a, n)
		}
		return 200, nil, refusal("Could not load permissions for app user in the provided contextIds of [" + a.contexts[0] + "]")
	})
	x := b.worker(t)
	r := request()
	r.Fallback = workspace
	get(t, x, r, userToken(2))
	r.Account = "712020:other"
	get(t, x, r, userToken(3)) // at once
	r.Fallback, r.Account = "", "712020:third"
	if _, _, err := x.Token(t.Context(), r); !isRefused(err) {
		t.Errorf("without another form: %v", err)
	}
	r.Fallback = jiraSite + "x"
	r.Account = "712020:fourth"
	if _, _, err := x.Token(t.Context(), r); !isRefused(err) || strings.Count(err.Error(), "Could not load") != 2 {
		t.Errorf("when neither form is taken: %v", err)
	}
}

func TestAnotherRefusalIsNoReasonForTheOtherForm(t *testing.T) {
	b := newBench(t)
	b.gateway.say(200, refusal("User has no access"))
	r := request()
	r.Fallback = workspace
	if _, _, err := b.worker(t).Token(t.Context(), r); !isRefused(err) || b.gateway.count() != 1 {
		t.Errorf("got %v after %d exchanges", err, b.gateway.count())
	}
}

func TestConfigAndRequestsAreChecked(t *testing.T) {
	b := newBench(t)
	good := impersonation.Config{
		Post: func(context.Context, string, secret.Token, []byte) (int, http.Header, []byte, bool, error) {
			return 0, nil, nil, false, errors.New("no")
		},
		Cache: b.bucket, SealTo: b.key.Public(),
	}
	for name, change := range map[string]func(*impersonation.Config){
		"no Post": func(c *impersonation.Config) { c.Post = nil }, "no Cache": func(c *impersonation.Config) { c.Cache = nil },
		"no key": func(c *impersonation.Config) { c.SealTo = secret.PublicKey{} },
	} {
		c := good
		change(&c)
		if _, err := impersonation.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	x := b.worker(t)
	for name, change := range map[string]func(*impersonation.Request){
		"no installation": func(r *impersonation.Request) { r.Installation = "" }, "an installation with dots": func(r *impersonation.Request) { r.Installation = "a.b" },
		"no context": func(r *impersonation.Request) { r.Context = "" }, "no account": func(r *impersonation.Request) { r.Account = "" },
		"a long account": func(r *impersonation.Request) { r.Account = strings.Repeat("a", 256) }, "no System": func(r *impersonation.Request) { r.System = nil },
	} {
		r := request()
		change(&r)
		if _, _, err := x.Token(t.Context(), r); err == nil || b.gateway.count() != 0 {
			t.Errorf("%s: %v after %d exchanges", name, err, b.gateway.count())
		}
	}
}

func isRefused(err error) bool {
	var refused *impersonation.RefusedError
	return errors.As(err, &refused)
}
