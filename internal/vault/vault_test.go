package vault_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
	"bellows/internal/vault"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func jwt(payload string) secret.Token {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return secret.NewToken(part(`{"alg":"RS256"}`) + "." + part(payload) + "." + part("signature"))
}

// ending makes a token that ends at that time; name tells it from others.
func ending(name string, at time.Time) secret.Token {
	return jwt(fmt.Sprintf(`{"jti":%q,"exp":%d}`, name, at.Unix()))
}

func mustKey(t *testing.T) secret.PrivateKey {
	t.Helper()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newWriter(st *store.Store, key secret.PublicKey, c *clock) *vault.Writer {
	return vault.NewWriter(vault.WriterConfig{
		Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Key: key, Now: c.now,
	})
}

func newReader(st *store.Store, c *clock, keys ...secret.PrivateKey) *vault.Reader {
	return vault.NewReader(vault.ReaderConfig{
		Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta), Keys: keys, Now: c.now,
	})
}

func mustKeep(t *testing.T, w *vault.Writer, owner vault.Owner, token secret.Token) uint64 {
	t.Helper()
	revision, err := w.Keep(storetest.Context(t), owner, token)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustHold(t *testing.T, r *vault.Reader, owner vault.Owner, atLeast uint64, want secret.Token) vault.Held {
	t.Helper()
	held, err := r.Token(storetest.Context(t), owner, atLeast)
	if err != nil {
		t.Fatal(err)
	}
	if held.Token != want || held.Digest != want.Digest() {
		t.Fatalf("the vault holds token %s, want %s", held.Digest, want.Digest())
	}
	return held
}

func mustHoldNone(t *testing.T, r *vault.Reader, owner vault.Owner, atLeast uint64) {
	t.Helper()
	if held, err := r.Token(storetest.Context(t), owner, atLeast); !errors.Is(err, vault.ErrNoToken) {
		t.Fatalf("got token %q, %v; want ErrNoToken", held.Digest, err)
	}
}

// run starts r and waits until it knows all there is.
func run(t *testing.T, r *vault.Reader) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	select {
	case <-r.Ready():
	case err := <-ended:
		t.Fatalf("the reader ends: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the reader does not become ready")
	}
}

var system = vault.Owner{Installation: "inst-1"}

func TestWhichTokenIsKept(t *testing.T) {
	start := newClock().now()
	in := func(d time.Duration) secret.Token { return ending(d.String(), start.Add(d)) }
	opaque, none := secret.NewToken("opaque-1"), secret.Token{}
	type step struct {
		arrives secret.Token
		after   time.Duration // since the step before
	}
	for name, test := range map[string]struct {
		steps []step
		want  secret.Token // zero: none
		ends  time.Duration
	}{
		"the only one":                                                    {[]step{{in(2 * time.Hour), 0}}, in(2 * time.Hour), 2 * time.Hour},
		"the later of two":                                                {[]step{{in(2 * time.Hour), 0}, {in(3 * time.Hour), 0}}, in(3 * time.Hour), 3 * time.Hour},
		"the later of two, in the other order":                            {[]step{{in(3 * time.Hour), 0}, {in(2 * time.Hour), 0}}, in(3 * time.Hour), 3 * time.Hour},
		"the first of two that end together":                              {[]step{{in(2 * time.Hour), 0}, {ending("other", start.Add(2*time.Hour)), 0}}, in(2 * time.Hour), 2 * time.Hour},
		"a call without a token changes nothing":                          {[]step{{in(2 * time.Hour), 0}, {none, 0}}, in(2 * time.Hour), 2 * time.Hour},
		"none, when none ever came":                                       {[]step{{none, 0}}, none, 0},
		"none, when it came expired":                                      {[]step{{in(-time.Hour), 0}}, none, 0},
		"none, when it has expired":                                       {[]step{{in(time.Hour), 0}, {none, time.Hour}}, none, 0},
		"none, ten seconds before it expires":                             {[]step{{in(time.Hour), 0}, {none, time.Hour - 10*time.Second}}, none, 0},
		"eleven seconds are enough":                                       {[]step{{in(time.Hour), 0}, {none, time.Hour - 11*time.Second}}, in(time.Hour), time.Hour},
		"an expired one does not replace a live one":                      {[]step{{in(3 * time.Hour), 0}, {in(time.Hour), 2 * time.Hour}}, in(3 * time.Hour), 3 * time.Hour},
		"any live one replaces an expired one":                            {[]step{{in(2 * time.Hour), 0}, {opaque, 3 * time.Hour}}, opaque, 4 * time.Hour},
		"an unreadable expiry is an hour":                                 {[]step{{opaque, 0}}, opaque, time.Hour},
		"an unreadable one yields to a longer one":                        {[]step{{opaque, 0}, {in(2 * time.Hour), 0}}, in(2 * time.Hour), 2 * time.Hour},
		"an unreadable one does not replace a longer":                     {[]step{{in(2 * time.Hour), 0}, {opaque, 0}}, in(2 * time.Hour), 2 * time.Hour},
		"an unreadable one that comes again after its hour is good again": {[]step{{opaque, 0}, {opaque, 2 * time.Hour}}, opaque, 3 * time.Hour},
		"a far future is five hours":                                      {[]step{{in(1000 * time.Hour), 0}}, in(1000 * time.Hour), 5 * time.Hour},
		"a far future is none after five hours":                           {[]step{{in(1000 * time.Hour), 0}, {none, 5 * time.Hour}}, none, 0},
		"a later far future wins":                                         {[]step{{in(1000 * time.Hour), 0}, {in(999 * time.Hour), time.Minute}}, in(999 * time.Hour), 5*time.Hour + time.Minute},
		"a fraction counts down":                                          {[]step{{jwt(fmt.Sprintf(`{"exp":%d.9}`, start.Add(time.Hour).Unix())), 0}}, jwt(fmt.Sprintf(`{"exp":%d.9}`, start.Add(time.Hour).Unix())), time.Hour},
		"an expiry in words is unreadable":                                {[]step{{jwt(`{"exp":"soon"}`), 0}}, jwt(`{"exp":"soon"}`), time.Hour},
		"an expiry beyond numbers is unreadable":                          {[]step{{jwt(`{"exp":1e999}`), 0}}, jwt(`{"exp":1e999}`), time.Hour},
		"no expiry is unreadable":                                         {[]step{{jwt(`{}`), 0}}, jwt(`{}`), time.Hour},
		"a negative expiry is unreadable":                                 {[]step{{jwt(`{"exp":-1}`), 0}}, jwt(`{"exp":-1}`), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			st, key, c := storetest.Open(t), mustKey(t), &clock{at: start}
			writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
			for _, s := range test.steps {
				c.pass(s.after)
				mustKeep(t, writer, system, s.arrives)
			}
			if test.want.IsZero() {
				mustHoldNone(t, reader, system, 0)
				return
			}
			if held := mustHold(t, reader, system, 0, test.want); !held.Expires.Equal(start.Add(test.ends)) {
				t.Errorf("it ends after %v, want %v", held.Expires.Sub(start), test.ends)
			}
		})
	}
}

func TestOwnersDoNotSeeEachOther(t *testing.T) {
	st, key, c := storetest.Open(t), mustKey(t), newClock()
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	owners := []vault.Owner{
		{Installation: "a"}, {Installation: "b"}, {Installation: "a", Principal: "712020:x.y"},
		{Installation: "a", Principal: "other"}, {Installation: "b", Principal: "other"},
	}
	for i, owner := range owners {
		mustHoldNone(t, reader, owner, 0)
		mustKeep(t, writer, owner, ending(fmt.Sprint(i), c.now().Add(time.Hour)))
	}
	for i, owner := range owners {
		mustHold(t, reader, owner, 0, ending(fmt.Sprint(i), c.now().Add(time.Hour)))
	}
	for _, bad := range []string{"", "a.system", "a*", ">", "a b", strings.Repeat("x", 65)} {
		owner := vault.Owner{Installation: bad}
		if _, err := writer.Keep(storetest.Context(t), owner, ending("x", c.now().Add(time.Hour))); err == nil {
			t.Errorf("installation %q: kept", bad)
		}
		if _, err := reader.Token(storetest.Context(t), owner, 0); err == nil || errors.Is(err, vault.ErrNoToken) {
			t.Errorf("installation %q: got %v", bad, err)
		}
	}
}

func TestThePrincipalAndTheTokenAreNotInTheBuckets(t *testing.T) {
	st, key, c := storetest.Open(t), mustKey(t), newClock()
	token := ending("x", c.now().Add(time.Hour))
	mustKeep(t, newWriter(st, key.Public(), c), vault.Owner{Installation: "a", Principal: "712020-account"}, token)
	for _, name := range []string{store.Tokens, store.TokensMeta} {
		entries, err := st.Bucket(name).List(storetest.Context(t))
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s: got %d entries, %v", name, len(entries), err)
		}
		all := entries[0].Key + string(entries[0].Value)
		for _, part := range append(strings.Split(token.Reveal(), "."), "712020-account") {
			if strings.Contains(all, part) {
				t.Errorf("%s shows %q", name, part)
			}
		}
	}
}
