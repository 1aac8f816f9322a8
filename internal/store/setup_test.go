package store_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

func TestSetupMayRunManyTimesAtOnceAndKeepsWhatIsThere(t *testing.T) {
	s := embeddedtest.Run(t)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			st, err := store.New(storetest.Connect(t, s), "bellows")
			if err != nil {
				t.Error(err)
			} else if err := st.Setup(storetest.Context(t), 0); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	st := storetest.On(t, s)
	mustPut(t, st.Bucket(store.Tokens), "a", "one")
	if err := st.Setup(storetest.Context(t), 1); err != nil {
		t.Fatal(err)
	}
	mustHold(t, st.Bucket(store.Tokens), "a", "one")
	if err := st.Setup(storetest.Context(t), -1); err == nil {
		t.Error("-1 replicas are taken")
	}
}

func TestSetupRefusesABucketThatWouldLoseThings(t *testing.T) {
	tokens := func(change func(*jetstream.KeyValueConfig)) jetstream.KeyValueConfig {
		c := jetstream.KeyValueConfig{Bucket: "BELLOWS_TOKENS", History: 8, TTL: 6 * time.Hour}
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		have jetstream.KeyValueConfig
		want []string // none: it is taken
	}{
		"as it should be": {tokens(func(*jetstream.KeyValueConfig) {}), nil},
		"more of all":     {tokens(func(c *jetstream.KeyValueConfig) { c.History, c.TTL = 20, 0 }), nil},
		"less history":    {tokens(func(c *jetstream.KeyValueConfig) { c.History = 1 }), []string{"history is 1, want at least 8", "nats stream edit KV_BELLOWS_TOKENS"}},
		"a shorter age":   {tokens(func(c *jetstream.KeyValueConfig) { c.TTL = time.Hour }), []string{"max age is 1h0m0s, want at least 6h0m0s"}},
		"in memory":       {tokens(func(c *jetstream.KeyValueConfig) { c.Storage = jetstream.MemoryStorage }), []string{"storage is Memory, want File"}},
		"holds that cannot expire": {jetstream.KeyValueConfig{Bucket: "BELLOWS_HOLDS"},
			[]string{"allow message TTL is false", "delete marker TTL is 0s"}},
		"installations that age": {jetstream.KeyValueConfig{Bucket: "BELLOWS_INSTALLATIONS", TTL: time.Hour, LimitMarkerTTL: time.Minute},
			[]string{"max age is 1h0m0s, want none"}},
		"heartbeats on disk": {jetstream.KeyValueConfig{Bucket: "BELLOWS_NODES", LimitMarkerTTL: time.Minute}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			nc := storetest.Connect(t, embeddedtest.Run(t))
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateKeyValue(storetest.Context(t), test.have); err != nil {
				t.Fatal(err)
			}
			err = storetest.New(t, nc).Setup(storetest.Context(t), 1)
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			for _, part := range append(test.want, test.have.Bucket) {
				if err != nil && !strings.Contains(err.Error(), part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
		})
	}
}
