package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/daemon/workerd"
	"bellows/internal/installations"
	"bellows/internal/queue"
	"bellows/internal/store"
	"bellows/internal/vault"
)

// expiringWithin is how little life of a token is worth a person's attention:
// Forge's tokens live up to four hours and are renewed by every call of Forge's.
const expiringWithin = 30 * time.Minute

type statusCmd struct {
	JSON bool `name:"json" help:"As JSON."`
	daemon.NATS
}

// Help is shown after the one-line help.
func (statusCmd) Help() string {
	return `    bellows status
    bellows status --json | jq .jobs

Held jobs wait for a system token of their installation, which the next call of Forge's brings. A token that
expires in less than 30 minutes counts as expiring.`
}

// status is the state of everything, in the shape of --json.
type status struct {
	Jobs    jobCounts      `json:"jobs"`
	DLQ     letterCount    `json:"dlq"`
	Workers []workerd.Node `json:"workers"`
	Tokens  tokenCounts    `json:"tokens"`
}

type jobCounts struct {
	Waiting int `json:"waiting"`
	Running int `json:"running"`
	Delayed int `json:"delayed"`
	Held    int `json:"held"`
}

type letterCount struct {
	Count int `json:"count"`
}

// tokenCounts are installations by what is left of their system token.
type tokenCounts struct {
	Live     int `json:"live"`
	Expiring int `json:"expiring"`
	None     int `json:"none"`
}

// Run prints the status.
func (c *statusCmd) Run(ctx context.Context, t terminal) error {
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		s, err := readStatus(ctx, b, time.Now())
		if err != nil {
			return err
		}
		if c.JSON {
			return t.json(s)
		}
		return s.print(t, time.Now())
	})
}

func readStatus(ctx context.Context, b *daemon.Broker, now time.Time) (status, error) {
	stats, err := b.Queue.Stats(ctx)
	if err != nil {
		return status{}, err
	}
	s := status{Jobs: jobsOf(stats), DLQ: letterCount{stats.Dead}}
	if s.Workers, err = readWorkers(ctx, b.Store); err != nil {
		return s, err
	}
	known, err := readInstalled(ctx, b.Store)
	if err != nil {
		return s, err
	}
	s.Tokens = countTokens(known, now)
	return s, nil
}

func jobsOf(s queue.Stats) jobCounts {
	return jobCounts{Waiting: s.Waiting, Running: s.Running, Delayed: s.Delayed, Held: s.Held}
}

func readWorkers(ctx context.Context, s *store.Store) ([]workerd.Node, error) {
	entries, err := s.Bucket(store.Nodes).List(ctx)
	if err != nil {
		return nil, err
	}
	nodes := make([]workerd.Node, 0, len(entries))
	for _, e := range entries {
		var n workerd.Node
		if err := json.Unmarshal(e.Value, &n); err != nil {
			return nil, fmt.Errorf("reading heartbeat of %q: %w", e.Key, err)
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// installed is an installation and when its system token expires; zero where
// none is known.
type installed struct {
	installations.Installation
	expires time.Time
}

func readInstalled(ctx context.Context, s *store.Store) ([]installed, error) {
	all, err := installations.NewReader(installations.ReaderConfig{Bucket: s.Bucket(store.Installations)}).List(ctx)
	if err != nil {
		return nil, err
	}
	expiry, err := readExpiry(ctx, s)
	if err != nil {
		return nil, err
	}
	known := make([]installed, 0, len(all))
	for _, i := range all {
		expires, _ := expiry(i.ID)
		known = append(known, installed{i, expires})
	}
	return known, nil
}

// readExpiry asks the vault, without any key, when tokens expire.
func readExpiry(ctx context.Context, s *store.Store) (func(installation string) (time.Time, bool), error) {
	reader := vault.NewReader(vault.ReaderConfig{Tokens: s.Bucket(store.Tokens), Meta: s.Bucket(store.TokensMeta)})
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- reader.Run(ctx) }()
	select {
	case <-reader.Ready():
		return reader.Health, nil
	case err := <-ended:
		if err == nil {
			err = fmt.Errorf("following the vault: %w", ctx.Err())
		}
		return nil, err
	}
}

// readTimeout bounds one look into a bucket.
const readTimeout = 10 * time.Second

func countTokens(known []installed, now time.Time) tokenCounts {
	var n tokenCounts
	for _, i := range known {
		switch left := i.expires.Sub(now); {
		case i.State == installations.Uninstalled:
		case left <= 0:
			n.None++
		case left < expiringWithin:
			n.Expiring++
		default:
			n.Live++
		}
	}
	return n
}

func (s status) print(t terminal, now time.Time) error {
	t.print("jobs     %d waiting, %d running, %d delayed, %d held (without a token)\n", s.Jobs.Waiting, s.Jobs.Running, s.Jobs.Delayed, s.Jobs.Held)
	t.print("dead     %s\n", count(s.DLQ.Count, "letter"))
	t.print("tokens   %d live, %d expiring, %d none\n", s.Tokens.Live, s.Tokens.Expiring, s.Tokens.None)
	if len(s.Workers) == 0 {
		t.print("workers  none\n")
		return nil
	}
	t.print("workers  %d\n\n", len(s.Workers))
	list := t.table("WORKER", "RUNNING", "SINCE")
	for _, w := range s.Workers {
		list.row(w.ID, strconv.Itoa(w.Running), ago(w.Since, now))
	}
	return list.flush()
}
