package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
	"bellows/internal/vault"
)

func TestAJobFindsTheTokenThatCameWithItHoweverLateTheWatchIs(t *testing.T) {
	st, key, c := storetest.Open(t), mustKey(t), newClock()
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	run(t, reader)
	for i := range 100 {
		token := ending("x", c.now().Add(time.Hour+time.Duration(i)*time.Second))
		mustHold(t, reader, system, mustKeep(t, writer, system, token), token)
	}
}

func TestAReaderTellsOfNewTokensAndOfThoseItFinds(t *testing.T) {
	st, key, c := storetest.Open(t), mustKey(t), newClock()
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	found := make(chan string, 100)
	reader.OnNew(func(installation string) { found <- installation })
	next := func(want string) {
		t.Helper()
		select {
		case got := <-found:
			if got != want {
				t.Fatalf("told of %q, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("not told of %q", want)
		}
	}
	mustKeep(t, writer, vault.Owner{Installation: "a"}, ending("x", c.now().Add(time.Hour)))
	run(t, reader)
	next("a")
	mustKeep(t, writer, vault.Owner{Installation: "b", Principal: "user"}, ending("x", c.now().Add(time.Hour)))
	next("b")
	revision := mustKeep(t, writer, vault.Owner{Installation: "a"}, ending("y", c.now().Add(2*time.Hour)))
	if _, err := reader.Token(storetest.Context(t), vault.Owner{Installation: "a"}, revision); err != nil {
		t.Fatal(err)
	}
	next("a")
	mustKeep(t, writer, vault.Owner{Installation: "c"}, ending("x", c.now().Add(time.Hour)))
	next("c") // and a second time of a not at all

	if ends, ok := reader.Health("a"); !ok || !ends.Equal(c.now().Add(2*time.Hour)) {
		t.Errorf("health of a: got %v, %v", ends, ok)
	}
	if _, ok := reader.Health("b"); ok {
		t.Error("a user's token counts for the health of the installation")
	}
	c.pass(3 * time.Hour)
	if ends, ok := reader.Health("a"); !ok || !ends.Before(c.now()) {
		t.Errorf("health of a after its token's end: got %v, %v", ends, ok)
	}
}

func TestATokenThatIsPurgedIsForgotten(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	run(t, reader)
	token := ending("x", c.now().Add(time.Hour))
	revision := mustKeep(t, writer, system, token)
	mustHold(t, reader, system, revision, token)
	if err := st.Bucket(store.TokensMeta).Purge(ctx, "inst-1.system"); err != nil {
		t.Fatal(err)
	}
	mustHoldNone(t, reader, system, revision+1)
	deadline := time.Now().Add(20 * time.Second)
	for _, ok := reader.Health("inst-1"); ok; _, ok = reader.Health("inst-1") {
		if time.Now().After(deadline) {
			t.Fatal("the reader does not forget it")
		}
	}
	mustHoldNone(t, reader, system, 0)
}

func TestARestartOfNATSAndOfEverybodyLosesNoToken(t *testing.T) {
	dir, key, c := t.TempDir(), mustKey(t), newClock()
	s := embeddedtest.RunIn(t, dir, -1)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	st := storetest.On(t, s)
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	token := ending("x", c.now().Add(time.Hour))
	run(t, reader)
	first := mustKeep(t, writer, system, token)
	fresh := make(chan string, 10)
	reader.OnNew(func(installation string) { fresh <- installation })
	s.Shutdown()
	down, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := writer.Keep(down, vault.Owner{Installation: "other"}, token); err == nil {
		t.Error("a token is kept although NATS is down")
	}
	s = embeddedtest.RunIn(t, dir, port)

	again := storetest.On(t, s)
	mustHold(t, newReader(again, c, key), system, 0, token)
	if got := mustKeep(t, newWriter(again, key.Public(), c), system, token); got != first {
		t.Errorf("the token was written again: revision %d, want %d", got, first)
	}
	later := ending("y", c.now().Add(2*time.Hour))
	mustKeep(t, newWriter(again, key.Public(), c), vault.Owner{Installation: "late"}, later)
	for installation := ""; installation != "late"; {
		select {
		case installation = <-fresh:
		case <-time.After(20 * time.Second):
			t.Fatal("the reader that ran all the time is not told of a new token")
		}
	}
	mustHold(t, reader, vault.Owner{Installation: "late"}, 0, later)
}

// plant makes META of an owner's key lead to a value of the test's choice.
func plant(t *testing.T, st *store.Store, key string, value []byte, expires time.Time) {
	t.Helper()
	sequence, err := st.Bucket(store.Tokens).Put(storetest.Context(t), key, value)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := json.Marshal(vault.Meta{Expires: expires, Digest: "x", Sequence: sequence})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Bucket(store.TokensMeta).Put(storetest.Context(t), key, meta); err != nil {
		t.Fatal(err)
	}
}

func TestASealedTokenOpensForNobodyElse(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	expires := c.now().Add(time.Hour)
	token := ending("x", expires)
	mustKeep(t, newWriter(st, key.Public(), c), vault.Owner{Installation: "victim"}, token)
	e, err := st.Bucket(store.Tokens).Get(ctx, "victim.system")
	if err != nil {
		t.Fatal(err)
	}
	longer := bytes.Clone(e.Value)
	longer[6]++ // 256 seconds more
	plant(t, st, "thief.system", e.Value, expires)
	plant(t, st, "longer.system", longer, expires)
	plant(t, st, "short.system", e.Value[:5], expires)
	plant(t, st, "empty.system", nil, expires)
	wrong := newReader(st, c, mustKey(t))
	right := newReader(st, c, mustKey(t), key)
	for name, test := range map[string]struct {
		reader       *vault.Reader
		installation string
		want         error
	}{
		"copied to another installation": {right, "thief", secret.ErrNotOpened},
		"with a later expiry":            {right, "longer", secret.ErrNotOpened},
		"cut short":                      {right, "short", secret.ErrNotOpened},
		"empty":                          {right, "empty", secret.ErrNotOpened},
		"with another private key":       {wrong, "victim", secret.ErrNoKey},
	} {
		held, err := test.reader.Token(ctx, vault.Owner{Installation: test.installation}, 0)
		if !errors.Is(err, vault.ErrUnreadable) || !errors.Is(err, test.want) || !held.Token.IsZero() {
			t.Errorf("%s: got %q, %v; want ErrUnreadable and %v", name, held.Digest, err, test.want)
		}
	}
	mustHold(t, right, vault.Owner{Installation: "victim"}, 0, token)
}

func TestAMissingPrivateKeyIsLoggedOnce(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	writer := newWriter(st, key.Public(), c)
	var log bytes.Buffer
	reader := vault.NewReader(vault.ReaderConfig{
		Tokens: st.Bucket(store.Tokens), Meta: st.Bucket(store.TokensMeta),
		Keys: secret.Keyring{mustKey(t)}, Now: c.now, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	for i := range 10 {
		owner := vault.Owner{Installation: fmt.Sprint("inst-", i)}
		mustKeep(t, writer, owner, ending("x", c.now().Add(time.Hour)))
		if _, err := reader.Token(ctx, owner, 0); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("got %v", err)
		}
	}
	if n := strings.Count(log.String(), "opening token failed"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
}

func TestKeysAreCheckedAgainstTheNewestToken(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	if err := newReader(st, c, key).CheckKeys(ctx); err != nil {
		t.Errorf("an empty vault: %v", err)
	}
	mustKeep(t, newWriter(st, mustKey(t).Public(), c), vault.Owner{Installation: "old"}, ending("x", c.now().Add(time.Hour)))
	mustKeep(t, newWriter(st, key.Public(), c), vault.Owner{Installation: "new"}, ending("x", c.now().Add(time.Hour)))
	plant(t, st, "damaged.system", []byte("damaged"), c.now().Add(time.Hour))
	if err := newReader(st, c, mustKey(t), key).CheckKeys(ctx); err != nil {
		t.Errorf("the second key fits: %v", err)
	}
	err := newReader(st, c, mustKey(t)).CheckKeys(ctx)
	if !errors.Is(err, vault.ErrUnreadable) || !strings.Contains(err.Error(), "none of the 1 private keys") {
		t.Errorf("no key fits: got %v", err)
	}
}

func TestAReaderTakesTheNewestWhereTheNamedRevisionIsGone(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	writer := newWriter(st, key.Public(), c)
	token := ending("x", c.now().Add(time.Hour))
	mustKeep(t, writer, system, token)
	e, err := st.Bucket(store.Tokens).Get(ctx, "inst-1.system")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := st.Bucket(store.Tokens).Put(ctx, "inst-1.system", e.Value); err != nil {
			t.Fatal(err)
		}
	}
	reader := newReader(st, c, key)
	mustHold(t, reader, system, 0, token)
	if err := st.Bucket(store.Tokens).Purge(ctx, "inst-1.system"); err != nil {
		t.Fatal(err)
	}
	mustHoldNone(t, newReader(st, c, key), system, 0)
}

func TestTenThousandInstallationsAreSmallInMemory(t *testing.T) {
	st, c := storetest.Open(t), newClock()
	const n = 10_000
	for i := range n {
		meta, err := json.Marshal(vault.Meta{Expires: c.now().Add(time.Hour), Digest: strings.Repeat("0", 32), Sequence: 1})
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%032d.system", i)
		if _, err := st.Bucket(store.TokensMeta).Put(storetest.Context(t), key, meta); err != nil {
			t.Fatal(err)
		}
	}
	reader := newReader(st, c)
	before := heap()
	run(t, reader)
	each := (heap() - before) / n
	t.Logf("%d bytes for each", each)
	if each > 2048 {
		t.Errorf("%d bytes for each installation, want 2048 at most", each)
	}
	if _, ok := reader.Health(fmt.Sprintf("%032d", n-1)); !ok {
		t.Error("the last one is not known")
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
