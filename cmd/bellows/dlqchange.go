package main

import (
	"context"
	"fmt"
	"iter"
	"os/user"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bellows/internal/daemon"
	"bellows/internal/queue"
)

const (
	// changesAtOnce is how many letters are replayed or dropped side by side:
	// each takes a few round trips to NATS.
	changesAtOnce = 16
	// changeTimeout bounds one of them.
	changeTimeout = 15 * time.Second
	// progressEvery is how often a long run says how far it is.
	progressEvery = 2 * time.Second
)

// selection says which letters a command changes, and how fast.
type selection struct {
	IDs []string `arg:"" optional:"" name:"id" help:"Ids of dead letters."`
	All bool     `name:"all" help:"All that the filters choose."`
	filters
	DryRun bool    `name:"dry-run" help:"Only count what would be changed."`
	Rate   float64 `name:"rate" placeholder:"N" help:"At most N per second. Without it, or with 0, as fast as it goes."`
	JSON   bool    `name:"json" help:"As JSON: {matched, done, skipped}."`
}

// tally is what a command has done. Matched is the sum of the others.
type tally struct {
	Matched int `json:"matched"`
	Done    int `json:"done"`
	Skipped int `json:"skipped"`
}

// check refuses what is not clear: a filter beside ids, or nothing at all.
func (s selection) check(command string) error {
	switch {
	case len(s.IDs) > 0 && (s.All || s.filters.any()):
		return daemon.Misuse(command, "ids do not go with --all and filters, want one of them")
	case len(s.IDs) == 0 && !s.All:
		return daemon.Misuse(command, "want ids of dead letters, or --all with or without filters")
	case s.Limit < 0:
		return daemon.Misuse(command, "--limit is %d, want 0 or more", s.Limit)
	case s.Rate < 0:
		return daemon.Misuse(command, "--rate is %v, want 0 or more", s.Rate)
	}
	return nil
}

// carryOut changes each chosen letter and tells what was done. change reports
// whether the letter could be changed at all.
func (s selection) carryOut(ctx context.Context, q *queue.Queue, t terminal, verb string, change func(context.Context, queue.StoredLetter) (bool, error)) error {
	letters, err := s.choose(ctx, q)
	if err != nil {
		return err
	}
	r := &changing{selection: s, verb: verb, t: t, change: change, began: time.Now()}
	err = r.run(ctx, letters)
	if !s.DryRun {
		s.audit(t, verb, r.tally)
	}
	if told := s.tell(t, verb, r.tally); err == nil {
		err = told
	}
	if err == nil && r.tally.Skipped > 0 && !s.DryRun {
		err = fmt.Errorf("%s of %d could not be changed", count(r.tally.Skipped, "dead letter"), r.tally.Matched)
	}
	return err
}

// choose finds the letters. Ids are all looked up before anything is changed.
func (s selection) choose(ctx context.Context, q *queue.Queue) (iter.Seq2[queue.StoredLetter, error], error) {
	if s.All {
		return s.letters(ctx, q, time.Now()), nil
	}
	named := make([]queue.StoredLetter, 0, len(s.IDs))
	for i, id := range s.IDs {
		if slices.Contains(s.IDs[:i], id) {
			continue
		}
		l, err := findLetter(ctx, q, id)
		if err != nil {
			return nil, err
		}
		named = append(named, l)
	}
	return func(yield func(queue.StoredLetter, error) bool) {
		for _, l := range named {
			if !yield(l, nil) {
				return
			}
		}
	}, nil
}

// changing is one run over the letters.
type changing struct {
	selection
	verb   string
	t      terminal
	change func(context.Context, queue.StoredLetter) (bool, error)
	began  time.Time

	mu    sync.Mutex
	tally tally
	told  time.Time // when progress was told last
}

// run changes the letters, several at once unless a rate is given. It stops at
// the first that NATS refuses.
func (r *changing) run(ctx context.Context, letters iter.Seq2[queue.StoredLetter, error]) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(changesAtOnce)
	r.told = r.began
	n := 0
	for l, err := range letters {
		if err == nil && !r.DryRun {
			err = r.pace(inner, n)
		}
		if err != nil {
			if later := group.Wait(); later != nil {
				err = later
			}
			return err
		}
		n++
		group.Go(func() error { return r.one(inner, l) })
	}
	return group.Wait()
}

// pace waits until the letter with number n is due.
func (r *changing) pace(ctx context.Context, n int) error {
	if r.Rate <= 0 {
		return ctx.Err()
	}
	due := r.began.Add(time.Duration(float64(n) / r.Rate * float64(time.Second)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(due)):
		return nil
	}
}

func (r *changing) one(ctx context.Context, l queue.StoredLetter) error {
	if r.DryRun {
		r.count(false)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	done, err := r.change(ctx, l)
	if err != nil {
		r.count(false)
		return fmt.Errorf("changing dead letter %q: %w", l.ID, err)
	}
	r.count(done)
	return nil
}

// count adds a letter to the tally, and tells it now and then.
func (r *changing) count(done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Matched++
	if done {
		r.tally.Done++
	} else {
		r.tally.Skipped++
	}
	if now := time.Now(); now.Sub(r.told) >= progressEvery {
		r.told = now
		r.t.say("%s so far: %d done, %d skipped", r.verb, r.tally.Done, r.tally.Skipped)
	}
}

func (s selection) tell(t terminal, verb string, n tally) error {
	switch {
	case s.JSON:
		return t.json(n)
	case s.DryRun:
		t.print("%s would be %s\n", count(n.Matched, "dead letter"), participle(verb))
	default:
		t.print("%s: %d of %s\n", participle(verb), n.Done, count(n.Matched, "dead letter"))
	}
	return nil
}

func participle(verb string) string {
	if verb == "drop" {
		return "dropped"
	}
	return verb + "ed"
}

// audit says who did what to how many letters.
func (s selection) audit(t terminal, verb string, n tally) {
	which := strings.Join(s.IDs, " ")
	if s.All {
		which = s.words()
	}
	t.say("audit: %s user %q %s %d of %d dead letters: %s", time.Now().UTC().Format(time.RFC3339), whoami(), participle(verb), n.Done, n.Matched, which)
}

// words are the filters as they were given.
func (s selection) words() string {
	words := []string{"--all"}
	for _, f := range [][2]string{
		{"reason", s.Reason}, {"event", s.Event}, {"rule", s.Rule}, {"installation", s.Installation},
		{"since", timeText(s.Since)}, {"until", timeText(s.Until)},
	} {
		if f[1] != "" {
			words = append(words, fmt.Sprintf("--%s %q", f[0], f[1]))
		}
	}
	if s.Limit > 0 {
		words = append(words, fmt.Sprintf("--limit %d", s.Limit))
	}
	return strings.Join(words, " ")
}

func timeText(m moment) string {
	if m == (moment{}) {
		return ""
	}
	return m.at(time.Now()).UTC().Format(time.RFC3339)
}

// whoami is the name of the user of the operating system.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return u.Username
}
