package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"bellows/internal/store"
)

func TestRecentForgetsWhatWasNotUsedForLong(t *testing.T) {
	r := store.NewRecent[int](10)
	for i := range 1000 {
		r.Set(fmt.Sprint(i), i)
		if v, ok := r.Get("0"); !ok || v != 0 {
			t.Fatalf("a key in constant use is forgotten after %d others", i)
		}
	}
	if v, ok := r.Get("999"); !ok || v != 999 {
		t.Errorf("the last key: got %d, %v", v, ok)
	}
	held := 0
	for i := range 1000 {
		if _, ok := r.Get(fmt.Sprint(i)); ok {
			held++
		}
	}
	if held > 10 {
		t.Errorf("%d values are held, want 10 at most", held)
	}
	r.Set("999", 1)
	if v, _ := r.Get("999"); v != 1 {
		t.Errorf("a changed value: got %d", v)
	}
}

func TestLocksLetOneWorkOnAKeyAndManyOnDifferentKeys(t *testing.T) {
	var locks store.Locks
	var group sync.WaitGroup
	counts := make([]int, 4)
	for i := range 200 {
		group.Go(func() {
			unlock, err := locks.Lock(t.Context(), fmt.Sprint(i%4))
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			counts[i%4]++
		})
	}
	group.Wait()
	for key, n := range counts {
		if n != 50 {
			t.Errorf("key %d: %d turns, want 50", key, n)
		}
	}

	unlock, err := locks.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := locks.Lock(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with an ended context: got %v", err)
	}
	other, err := locks.Lock(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	unlock()
	if unlock, err = locks.Lock(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	unlock()
}
