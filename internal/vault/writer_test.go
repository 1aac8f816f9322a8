package vault_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/secret"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
	"bellows/internal/vault"
)

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

func TestAWriterNeedsNoRightToReadTokens(t *testing.T) {
	s, key, c := embeddedtest.Run(t), mustKey(t), newClock()
	st := storetest.On(t, s)
	rights := storetest.Rights{TB: t, Publish: []string{
		"$KV.BELLOWS_TOKENS.>", "$KV.BELLOWS_TOKENS_META.>", "$JS.API.STREAM.MSG.GET.KV_BELLOWS_TOKENS_META",
	}}
	limited := storetest.New(t, storetest.Connect(t, s, nats.SetCustomDialer(dialer(rights.Dial))))
	writer := newWriter(limited, key.Public(), c)
	for i := range 3 {
		mustKeep(t, writer, system, ending("x", c.now().Add(time.Duration(i+1)*time.Hour)))
	}
	mustHold(t, newReader(st, c, key), system, 0, ending("x", c.now().Add(3*time.Hour)))
}

func TestATokenThatHasNotChangedCostsNoMessage(t *testing.T) {
	s, key, c := embeddedtest.Run(t), mustKey(t), newClock()
	storetest.On(t, s)
	nc := storetest.Connect(t, s)
	writer := newWriter(storetest.New(t, nc), key.Public(), c)
	token := ending("x", c.now().Add(3*time.Hour))
	first := mustKeep(t, writer, system, token)
	sent := nc.Stats().OutMsgs
	for range 100 {
		c.pass(time.Second)
		for _, arrives := range []secret.Token{token, {}, ending("older", c.now().Add(time.Hour))} {
			if revision := mustKeep(t, writer, system, arrives); revision != first {
				t.Fatalf("got revision %d, want %d", revision, first)
			}
		}
	}
	if n := nc.Stats().OutMsgs - sent; n != 0 {
		t.Errorf("%d messages were sent, want none", n)
	}
	if got := mustKeep(t, writer, vault.Owner{Installation: "unknown"}, secret.Token{}); got != 0 {
		t.Errorf("no token of an unknown installation: got revision %d, want 0", got)
	}
}

func TestANewWriterKnowsWhatAnotherKept(t *testing.T) {
	st, key, c := storetest.Open(t), mustKey(t), newClock()
	token := ending("x", c.now().Add(3*time.Hour))
	first := mustKeep(t, newWriter(st, key.Public(), c), system, token)
	restarted := newWriter(st, key.Public(), c)
	if got := mustKeep(t, restarted, system, token); got != first {
		t.Errorf("the same token was written again: revision %d, want %d", got, first)
	}
	if got := mustKeep(t, newWriter(st, key.Public(), c), system, ending("older", c.now().Add(time.Hour))); got != first {
		t.Errorf("an older token was written: revision %d, want %d", got, first)
	}
	if e, err := st.Bucket(store.Tokens).Get(storetest.Context(t), "inst-1.system"); err != nil || e.Revision != 1 {
		t.Errorf("TOKENS is at revision %d, %v; want 1", e.Revision, err)
	}
}

func TestATokenThatWasRemovedReturnsWithALaterCall(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	writer, reader := newWriter(st, key.Public(), c), newReader(st, c, key)
	token := ending("x", c.now().Add(3*time.Hour))
	mustKeep(t, writer, system, token)
	for _, name := range []string{store.TokensMeta, store.Tokens} {
		if err := st.Bucket(name).Purge(ctx, "inst-1.system"); err != nil {
			t.Fatal(err)
		}
	}
	mustKeep(t, writer, system, token)
	mustHoldNone(t, reader, system, 0)
	c.pass(6 * time.Minute)
	mustKeep(t, writer, system, token)
	mustHold(t, reader, system, 0, token)
}

func TestMetaThatIsNoMetaIsReplaced(t *testing.T) {
	ctx, st, key, c := storetest.Context(t), storetest.Open(t), mustKey(t), newClock()
	if _, err := st.Bucket(store.TokensMeta).Put(ctx, "inst-1.system", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	reader := newReader(st, c, key)
	mustHoldNone(t, reader, system, 0)
	token := ending("x", c.now().Add(time.Hour))
	mustKeep(t, newWriter(st, key.Public(), c), system, token)
	mustHold(t, reader, system, 0, token)
}

func TestTheNewestTokenWinsWhenEightWritersRace(t *testing.T) {
	s, key, c := embeddedtest.Run(t), mustKey(t), newClock()
	st := storetest.On(t, s)
	const writers, tokens = 8, 25
	reader := newReader(st, c, key)
	run(t, reader)
	var group sync.WaitGroup
	for range writers {
		writer := newWriter(storetest.New(t, storetest.Connect(t, s)), key.Public(), c)
		for _, i := range rand.Perm(tokens) {
			group.Go(func() {
				token := ending(fmt.Sprint(i), c.now().Add(time.Hour+time.Duration(i)*time.Minute))
				revision, err := writer.Keep(storetest.Context(t), system, token)
				if err != nil {
					t.Error(err)
					return
				}
				// The job that came with it finds this token or a later one.
				held, err := reader.Token(storetest.Context(t), system, revision)
				if err != nil || held.Expires.Before(c.now().Add(time.Hour+time.Duration(i)*time.Minute)) {
					t.Errorf("after keeping token %d: got one that ends at %v, %v", i, held.Expires, err)
				}
			})
		}
	}
	group.Wait()
	newest := ending(fmt.Sprint(tokens-1), c.now().Add(time.Hour+(tokens-1)*time.Minute))
	mustHold(t, newReader(st, c, key), system, 0, newest)
	e, err := st.Bucket(store.TokensMeta).Get(storetest.Context(t), "inst-1.system")
	if err != nil {
		t.Fatal(err)
	}
	var meta vault.Meta
	if err := json.Unmarshal(e.Value, &meta); err != nil || meta.Digest != newest.Digest() {
		t.Errorf("META is %+v, %v", meta, err)
	}
}
