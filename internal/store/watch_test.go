package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

// told collects what a watch tells, as "key=value" or "key gone".
type told struct {
	t     *testing.T
	ready <-chan struct{}
	lines chan string
}

func watch(t *testing.T, b *store.Bucket) told {
	t.Helper()
	lines := make(chan string, 10_000)
	ready, err := b.Watch(t.Context(), func(e store.Entry) {
		if e.Deleted {
			lines <- e.Key + " gone"
			return
		}
		lines <- e.Key + "=" + string(e.Value)
	})
	if err != nil {
		t.Fatal(err)
	}
	return told{t, ready, lines}
}

func (w told) awaitReady() {
	w.t.Helper()
	select {
	case <-w.ready:
	case <-time.After(20 * time.Second):
		w.t.Fatal("the watch does not become ready")
	}
}

// next fails unless exactly these lines come next, in any order.
func (w told) next(want ...string) {
	w.t.Helper()
	missing := map[string]bool{}
	for _, line := range want {
		missing[line] = true
	}
	for len(missing) > 0 {
		select {
		case line := <-w.lines:
			if !missing[line] {
				w.t.Fatalf("told %q, want one of %v", line, missing)
			}
			delete(missing, line)
		case <-time.After(20 * time.Second):
			w.t.Fatalf("not told within 20 s: %v", missing)
		}
	}
}

// nothing fails when anything was told already.
func (w told) nothing() {
	w.t.Helper()
	select {
	case line := <-w.lines:
		w.t.Fatalf("told %q, want nothing", line)
	default:
	}
}

func TestAWatchTellsWhatIsThereThenReadyThenChanges(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Holds)
	mustPut(t, b, "a", "1")
	mustPut(t, b, "a", "2")
	mustPut(t, b, "gone", "1")
	if err := b.Purge(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	w := watch(t, b)
	w.awaitReady()
	w.next("a=2")
	w.nothing()
	mustPut(t, b, "b", "3")
	w.next("b=3")
	if err := b.Purge(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	w.next("a gone")
	mustPut(t, b, "a", "4")
	w.next("a=4")
}

func TestAWatchOfAnEmptyBucketIsReady(t *testing.T) {
	w := watch(t, storetest.Open(t).Bucket(store.Holds))
	w.awaitReady()
	w.nothing()
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := storetest.Open(t).Bucket(store.Holds)
	var mu sync.Mutex
	ended := false
	ready, err := b.Watch(ctx, func(e store.Entry) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			t.Errorf("told %q after the end", e.Key)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-ready
	cancel()
	other := watch(t, b)
	mu.Lock()
	ended = true
	mu.Unlock()
	mustPut(t, b, "a", "1")
	other.next("a=1")
}

func portOf(t *testing.T, s *embedded.Server) int {
	t.Helper()
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestAWatchSurvivesARestartOfTheServerAndTellsNothingTwice(t *testing.T) {
	dir := t.TempDir()
	s := embeddedtest.RunIn(t, dir, -1)
	port := portOf(t, s)
	b := storetest.On(t, s).Bucket(store.Installations)
	mustPut(t, b, "a", "1")
	mustPut(t, b, "b", "1")
	w := watch(t, b)
	w.awaitReady()
	w.next("a=1", "b=1")
	for i := range 3 {
		s.Shutdown()
		s = embeddedtest.RunIn(t, dir, port)
		other := storetest.On(t, s).Bucket(store.Installations)
		value := fmt.Sprint("after restart ", i)
		mustPut(t, other, "b", value)
		w.next("b=" + value)
	}
	mustPut(t, b, "last", "1")
	w.next("last=1")
	w.nothing()
}

// away is a watch whose connection is down until back is called.
func away(t *testing.T, s *embedded.Server, bucket string) (w told, cut, back func(), log *bytes.Buffer) {
	t.Helper()
	gate := &storetest.Gate{}
	nc := storetest.Connect(t, s, nats.SetCustomDialer(gate))
	st := storetest.New(t, nc)
	log = &bytes.Buffer{}
	st.LogTo(slog.New(slog.NewTextHandler(log, nil)))
	lost := nc.StatusChanged(nats.RECONNECTING)
	cut = func() {
		gate.Close()
		if err := nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
		<-lost
	}
	return watch(t, st.Bucket(bucket)), cut, gate.Open, log
}

func TestAWatchThatWasAwayFindsKeysThatVanishedWithoutATrace(t *testing.T) {
	s := embeddedtest.Run(t)
	nc := storetest.Connect(t, s)
	b := storetest.Over(t, nc).Bucket(store.Holds)
	for _, key := range []string{"stays", "changes", "vanishes"} {
		mustPut(t, b, key, "1")
	}
	w, cut, back, _ := away(t, s, store.Holds)
	w.awaitReady()
	w.next("stays=1", "changes=1", "vanishes=1")
	cut()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(storetest.Context(t), "KV_BELLOWS_HOLDS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(storetest.Context(t), jetstream.WithPurgeSubject("$KV.BELLOWS_HOLDS.vanishes")); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "changes", "2")
	mustPut(t, b, "comes", "1")
	back()
	w.next("vanishes gone", "changes=2", "comes=1")
	w.nothing()
}

func TestAWatchFollowsABucketThatWasMadeAnew(t *testing.T) {
	s := embeddedtest.Run(t)
	nc := storetest.Connect(t, s)
	st := storetest.Over(t, nc)
	b := st.Bucket(store.Holds)
	for range 5 {
		mustPut(t, b, "a", "old")
	}
	mustPut(t, b, "b", "old")
	w, cut, back, log := away(t, s, store.Holds)
	w.awaitReady()
	w.next("a=old", "b=old")
	cut()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(storetest.Context(t), "BELLOWS_HOLDS"); err != nil {
		t.Fatal(err)
	}
	if err := st.Setup(storetest.Context(t), 1); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b, "a", "new")
	back()
	w.next("a gone", "b gone", "a=new")
	if !strings.Contains(log.String(), "watching bucket again") {
		t.Errorf("the log says %q", log.String())
	}
}

func TestAWatchMissesNothingWhileItsConnectionIsCutAgainAndAgain(t *testing.T) {
	s := embeddedtest.Run(t)
	b := storetest.On(t, s).Bucket(store.Nodes)
	nc := storetest.Connect(t, s)
	const keys = 300
	var mu sync.Mutex
	last, done := map[string]string{}, make(chan struct{})
	want := fmt.Sprint(keys)
	if _, err := storetest.New(t, nc).Bucket(store.Nodes).Watch(t.Context(), func(e store.Entry) {
		mu.Lock()
		defer mu.Unlock()
		last[e.Key] = string(e.Value)
		if e.Key == "end" {
			close(done)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		mustPut(t, b, fmt.Sprint("k", i%50), fmt.Sprint(i))
		if i%60 == 0 {
			if err := nc.ForceReconnect(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustPut(t, b, "end", want)
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("the last value does not come")
	}
	mu.Lock()
	defer mu.Unlock()
	for i := keys - 50; i < keys; i++ {
		if key := fmt.Sprint("k", i%50); last[key] != fmt.Sprint(i) {
			t.Errorf("%s is %q, want %d", key, last[key], i)
		}
	}
}
