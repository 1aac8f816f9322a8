package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/jobs"
	"bellows/internal/queue"
)

// named gives n letters called l0, l1 and so on.
func named(n int) iter.Seq2[queue.StoredLetter, error] {
	return func(yield func(queue.StoredLetter, error) bool) {
		for i := range n {
			if !yield(queue.StoredLetter{Letter: jobs.Letter{ID: fmt.Sprintf("l%d", i)}}, nil) {
				return
			}
		}
	}
}

// changeAll runs n letters through change.
func changeAll(t *testing.T, s selection, n int, change func(context.Context, queue.StoredLetter) (bool, error)) (tally, time.Duration, error) {
	t.Helper()
	began := time.Now()
	r := &changing{selection: s, verb: "replay", t: terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}}, change: change, began: began}
	err := r.run(t.Context(), named(n))
	return r.tally, time.Since(began), err
}

func TestEveryLetterIsChangedOnceAndCounted(t *testing.T) {
	var calls atomic.Int64
	got, _, err := changeAll(t, selection{}, 100, func(_ context.Context, l queue.StoredLetter) (bool, error) {
		calls.Add(1)
		return l.ID != "l7", nil
	})
	if want := (tally{Matched: 100, Done: 99, Skipped: 1}); err != nil || got != want || calls.Load() != 100 {
		t.Errorf("got %+v after %d calls, %v, want %+v", got, calls.Load(), err, want)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	got, _, err := changeAll(t, selection{DryRun: true, Rate: 0.001}, 5, func(context.Context, queue.StoredLetter) (bool, error) {
		t.Error("a letter was changed")
		return true, nil
	})
	if want := (tally{Matched: 5, Skipped: 5}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestARateIsKept(t *testing.T) {
	_, took, err := changeAll(t, selection{Rate: 20}, 5, func(context.Context, queue.StoredLetter) (bool, error) { return true, nil })
	if err != nil || took < 200*time.Millisecond {
		t.Errorf("5 letters at 20 a second took %v, %v, want 200ms or more", took, err)
	}
}

func TestARunStopsWhenNATSDoes(t *testing.T) {
	lost := errors.New("no connection")
	got, _, err := changeAll(t, selection{Rate: 200}, 1000, func(_ context.Context, l queue.StoredLetter) (bool, error) {
		if l.ID == "l3" {
			return true, lost
		}
		return true, nil
	})
	if !errors.Is(err, lost) || !strings.Contains(err.Error(), `"l3"`) || got.Matched > 100 {
		t.Errorf("got %+v, %v, want a stop soon after the letter that failed", got, err)
	}
}

func TestTheAuditTrailNamesTheFilters(t *testing.T) {
	s := selection{All: true, filters: filters{Reason: "rejected", Rule: "a b", Limit: 3, Until: moment{fixed: time.Unix(1_700_000_000, 0)}}}
	if got, want := s.words(), `--all --reason "rejected" --rule "a b" --until "2023-11-14T22:13:20Z" --limit 3`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimesOfFilters(t *testing.T) {
	now := time.Unix(1_700_000_000, 0).UTC()
	for text, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "7d": now.AddDate(0, 0, -7), "2023-11-14T08:00:00Z": time.Date(2023, 11, 14, 8, 0, 0, 0, time.UTC),
	} {
		var m moment
		if err := m.UnmarshalText([]byte(text)); err != nil || !m.at(now).Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", text, m.at(now), err, want)
		}
	}
	if got := (moment{}).at(now); !got.IsZero() {
		t.Errorf("no time: got %v", got)
	}
	for _, text := range []string{"", "-2h", "0s", "tomorrow", "2023-11-14"} {
		if err := new(moment).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestCellsCannotBreakATable(t *testing.T) {
	var out bytes.Buffer
	list := terminal{out: &out}.table("A", "B")
	list.row("x\ty\nz\x1b[31m", "")
	if err := list.flush(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "A           B\nx y z [31m  -\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
