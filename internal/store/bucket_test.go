package store_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

func mustPut(t *testing.T, b *store.Bucket, key, value string) uint64 {
	t.Helper()
	revision, err := b.Put(storetest.Context(t), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustHold(t *testing.T, b *store.Bucket, key, want string) store.Entry {
	t.Helper()
	e, err := b.Get(storetest.Context(t), key)
	if err != nil || string(e.Value) != want {
		t.Fatalf("key %q holds %q, %v; want %q", key, e.Value, err, want)
	}
	return e
}

func mustBeGone(t *testing.T, b *store.Bucket, key string) {
	t.Helper()
	if e, err := b.Get(storetest.Context(t), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("key %q: got %q, %v; want ErrNotFound", key, e.Value, err)
	}
}

func TestAValueCanBeReadAtEachRevisionThatIsKept(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Tokens)
	mustBeGone(t, b, "a")
	first, second := mustPut(t, b, "a", "one"), mustPut(t, b, "a", "two")
	other := mustPut(t, b, "b", "three")

	if e := mustHold(t, b, "a", "two"); e.Revision != second || e.Key != "a" || time.Since(e.Created).Abs() > time.Minute {
		t.Errorf("got %+v, want revision %d, made just now", e, second)
	}
	if e, err := b.GetRevision(ctx, "a", first); err != nil || string(e.Value) != "one" {
		t.Errorf("first revision: got %q, %v", e.Value, err)
	}
	for name, revision := range map[string]uint64{"of another key": other, "zero": 0, "of the future": 1000} {
		if _, err := b.GetRevision(ctx, "a", revision); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("revision %s: got %v, want ErrNotFound", name, err)
		}
	}
}

func TestOnlyOneOfTwoWritersThatSawTheSameRevisionWins(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Installations)
	revision, err := b.Create(ctx, "a", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "a", []byte("two"), 0); !errors.Is(err, store.ErrExists) {
		t.Errorf("creating again: got %v, want ErrExists", err)
	}
	if _, err := b.Update(ctx, "a", []byte("two"), revision, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(ctx, "a", []byte("three"), revision, 0); !errors.Is(err, store.ErrConflict) {
		t.Errorf("updating the same revision again: got %v, want ErrConflict", err)
	}
	mustHold(t, b, "a", "two")

	if err := b.Purge(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	mustBeGone(t, b, "a")
	if _, err := b.Create(ctx, "a", []byte("four"), 0); err != nil {
		t.Errorf("creating after a purge: %v", err)
	}
	if err := b.Purge(ctx, "never-there"); err != nil {
		t.Errorf("purging a key that is not there: %v", err)
	}
}

// awaitGone watches until key is deleted.
func awaitGone(t *testing.T, b *store.Bucket, key string) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	gone := make(chan struct{})
	if _, err := b.Watch(ctx, func(e store.Entry) {
		if e.Key == key && e.Deleted {
			close(gone)
		}
	}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-gone:
	case <-ctx.Done():
		t.Fatalf("key %q did not expire", key)
	}
	return time.Now()
}

func TestAKeyExpiresAndAnUpdateRenewsIt(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Nodes)
	kept, err := b.Create(ctx, "kept", []byte("x"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(ctx, "kept", []byte("y"), kept, 0); err != nil {
		t.Fatal(err)
	}
	revision, err := b.Create(ctx, "renewed", []byte("x"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := b.Update(ctx, "renewed", []byte("y"), revision, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	if lived := awaitGone(t, b, "renewed").Sub(start); lived < 1900*time.Millisecond {
		t.Errorf("the renewed key lived for %v, want 2 s", lived)
	}
	mustBeGone(t, b, "renewed")
	mustHold(t, b, "kept", "y")
	if _, err := b.Create(ctx, "renewed", []byte("z"), time.Millisecond); err != nil {
		t.Errorf("creating an expired key again, with a short life: %v", err)
	}
	if _, err := b.Create(ctx, "other", nil, -time.Second); err == nil {
		t.Error("a negative time to live is taken")
	}
}

func TestInvalidKeysAreRefusedBeforeTheyAreSent(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Holds)
	for _, key := range []string{"", ".", ".a", "a.", "a..b", "a b", "a*", "a.>", "ä", "a\r\nPUB x 0"} {
		if _, err := b.Put(ctx, key, nil); err == nil || !strings.Contains(err.Error(), "no valid key") {
			t.Errorf("putting %q: got %v", key, err)
		}
		if _, err := b.Get(ctx, key); err == nil || !strings.Contains(err.Error(), "no valid key") {
			t.Errorf("getting %q: got %v", key, err)
		}
	}
}

func TestListHasTheNewestValueOfEveryKey(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Tokens)
	if got, err := b.List(ctx); err != nil || len(got) != 0 {
		t.Errorf("an empty bucket: got %v, %v", got, err)
	}
	mustPut(t, b, "b", "1")
	mustPut(t, b, "gone", "2")
	mustPut(t, b, "a", "3")
	mustPut(t, b, "b", "4")
	if err := b.Purge(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	got, err := b.List(ctx)
	if err != nil || len(got) != 2 || got[0].Key != "a" || got[1].Key != "b" || string(got[1].Value) != "4" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWritingNeedsNoRightButToPublishToTheKey(t *testing.T) {
	s := embeddedtest.Run(t)
	storetest.On(t, s)
	rights := storetest.Rights{TB: t, Publish: []string{"$KV.BELLOWS_TOKENS.>"}}
	b := storetest.New(t, storetest.Connect(t, s, nats.SetCustomDialer(dialer(rights.Dial)))).Bucket(store.Tokens)
	mustPut(t, b, "a", "one")
	if _, err := b.Update(storetest.Context(t), "a", []byte("two"), 1, 0); err != nil {
		t.Error(err)
	}
}

func TestALostConnectionIsAnErrorWithinTheDeadline(t *testing.T) {
	s := embeddedtest.Run(t)
	b := storetest.On(t, s).Bucket(store.Holds)
	s.Shutdown()
	for name, call := range map[string]func(context.Context) error{
		"put":    func(ctx context.Context) error { _, err := b.Put(ctx, "a", nil); return err },
		"create": func(ctx context.Context) error { _, err := b.Create(ctx, "a", nil, 0); return err },
		"get":    func(ctx context.Context) error { _, err := b.Get(ctx, "a"); return err },
		"list":   func(ctx context.Context) error { _, err := b.List(ctx); return err },
		"watch":  func(ctx context.Context) error { _, err := b.Watch(ctx, func(store.Entry) {}); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		if err := call(ctx); err == nil || time.Since(start) > 2*time.Second {
			t.Errorf("%s: got %v after %v", name, err, time.Since(start))
		}
		cancel()
	}
}

func TestAMissingBucketIsNamed(t *testing.T) {
	ctx := storetest.Context(t)
	b := storetest.New(t, storetest.Connect(t, embeddedtest.Run(t))).Bucket(store.Holds)
	for name, err := range map[string]error{
		"get":   second(b.Get(ctx, "a")),
		"list":  second(b.List(ctx)),
		"watch": second(b.Watch(ctx, func(store.Entry) {})),
	} {
		if !errors.Is(err, store.ErrNoBucket) || !strings.Contains(err.Error(), `"BELLOWS_HOLDS"`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := b.Put(ctx, "a", nil); err == nil {
		t.Error("putting into a missing bucket succeeds")
	}
}

func TestValuesAreBytes(t *testing.T) {
	ctx, b := storetest.Context(t), storetest.Open(t).Bucket(store.Exchanged)
	want := make([]byte, 256)
	for i := range want {
		want[i] = byte(i)
	}
	if _, err := b.Create(ctx, "a", want, time.Minute); err != nil {
		t.Fatal(err)
	}
	if e, err := b.Get(ctx, "a"); err != nil || !bytes.Equal(e.Value, want) {
		t.Errorf("got %x, %v", e.Value, err)
	}
}

func TestAPrefixThatIsNoNameIsRefused(t *testing.T) {
	for _, prefix := range []string{"", "a.b", "a b", "*", ">", strings.Repeat("x", 65)} {
		if _, err := store.New(nil, prefix); err == nil {
			t.Errorf("prefix %q is taken", prefix)
		}
	}
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

func second[T any](_ T, err error) error { return err }
