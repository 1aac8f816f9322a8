package installations_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/installations"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

func TestACallThatSaysNothingNewCostsNoMessage(t *testing.T) {
	s, c := embeddedtest.Run(t), newClock()
	storetest.On(t, s)
	nc := storetest.Connect(t, s)
	writer := newWriter(storetest.New(t, nc), c)
	older := called("a", "0", c)
	c.pass(time.Minute)
	first := mustNote(t, writer, called("a", "1", c))
	sent := nc.Stats().OutMsgs
	for range 100 {
		c.pass(time.Second)
		older.LastSeen = c.now()
		if a, b := mustNote(t, writer, called("a", "1", c)), mustNote(t, writer, older); a != first || b != first {
			t.Fatalf("got revisions %d and %d, want %d", a, b, first)
		}
	}
	if n := nc.Stats().OutMsgs - sent; n != 0 {
		t.Errorf("%d messages were sent, want none", n)
	}
}

// storedTimes brings the time of the last call from every write of a record.
func storedTimes(t *testing.T, st *store.Store) <-chan time.Time {
	t.Helper()
	times := make(chan time.Time, 100)
	if _, err := st.Bucket(store.Installations).Watch(t.Context(), func(e store.Entry) {
		var i installations.Installation
		if err := json.Unmarshal(e.Value, &i); err != nil {
			t.Error(err)
		}
		times <- i.LastSeen
	}); err != nil {
		t.Fatal(err)
	}
	return times
}

func TestTheTimeOfTheLastCallIsStoredOnceAMinute(t *testing.T) {
	st, c := storetest.Open(t), newClock()
	writer := newWriter(st, c)
	start := c.now()
	stored := storedTimes(t, st)
	await := func(want time.Time) {
		t.Helper()
		select {
		case got := <-stored:
			if !got.Equal(want) {
				t.Fatalf("stored %v, want %v", got.Sub(start), want.Sub(start))
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%v is not stored", want.Sub(start))
		}
	}
	mustNote(t, writer, called("a", "1", c))
	await(start)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- writer.Run(ctx) }()
	for minute := range 3 {
		for range 59 {
			c.pass(time.Second)
			mustNote(t, writer, called("a", "1", c))
		}
		c.pass(time.Second)
		mustNote(t, writer, called("a", "1", c))
		await(start.Add(time.Duration(minute+1) * time.Minute))
	}
	c.pass(time.Second)
	mustNote(t, writer, called("a", "1", c))
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := writer.Flush(storetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	await(c.now())
	if err := writer.Flush(storetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	other := newWriter(st, c)
	c.pass(time.Second)
	mustNote(t, other, called("a", "2", c))
	await(c.now()) // and nothing was written before it
}

func TestFlushDoesNotBringBackWhatWasRemoved(t *testing.T) {
	ctx, st, c := storetest.Context(t), storetest.Open(t), newClock()
	writer := newWriter(st, c)
	mustNote(t, writer, called("a", "1", c))
	c.pass(time.Second)
	mustNote(t, writer, called("a", "1", c))
	if err := st.Bucket(store.Installations).Purge(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := newReader(st).Get(ctx, "a", 0); !errors.Is(err, installations.ErrUnknown) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
	mustNote(t, writer, called("a", "1", c))
	mustGet(t, newReader(st), "a", 0)
}

func TestFlushKeepsWhatOthersWrote(t *testing.T) {
	ctx, st, c := storetest.Context(t), storetest.Open(t), newClock()
	mine, other := newWriter(st, c), newWriter(st, c)
	mustNote(t, mine, called("a", "1", c))
	c.pass(time.Second)
	mustNote(t, mine, called("a", "1", c))
	seen := c.now()
	next := called("a", "2", c)
	next.LastSeen = seen.Add(-time.Second)
	next.AsOf = seen.Add(-500 * time.Millisecond)
	mustNote(t, other, next)
	if err := mine.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if got := mustGet(t, newReader(st), "a", 0); got.AppVersion != "2" || !got.LastSeen.Equal(seen) {
		t.Errorf("got version %q, last seen %v; want \"2\", %v", got.AppVersion, got.LastSeen, seen)
	}
}
