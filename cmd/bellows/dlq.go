package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"
	"time"

	"bellows/internal/config"
	"bellows/internal/daemon"
	"bellows/internal/jobs"
	"bellows/internal/queue"
)

type dlqCmd struct {
	List   dlqListCmd   `cmd:"" help:"List dead letters, the newest first."`
	Show   dlqShowCmd   `cmd:"" help:"Show everything about one dead letter."`
	Replay dlqReplayCmd `cmd:"" help:"Run dead jobs again."`
	Drop   dlqDropCmd   `cmd:"" help:"Remove dead letters for good."`
}

// filters choose dead letters.
type filters struct {
	Reason       string `name:"reason" help:"Only with this reason: rejected, exhausted, expired, no_token, unknown_effect, fatal, undecodable, crashed."`
	Event        string `name:"event" help:"Only of this event, such as avi:jira:created:issue."`
	Rule         string `name:"rule" help:"Only of this rule."`
	Installation string `name:"installation" placeholder:"ID" help:"Only of this installation."`
	Since        moment `name:"since" placeholder:"TIME" help:"Only not older: 2h, 7d, or a time such as 2026-11-22T08:00:00Z."`
	Until        moment `name:"until" placeholder:"TIME" help:"Only older, in the same forms."`
	Limit        int    `name:"limit" placeholder:"N" help:"Only the newest N. Without it, or with 0, all."`
}

func (f filters) any() bool { return f != filters{} }

func (f filters) at(now time.Time) queue.Filter {
	return queue.Filter{
		Reason: f.Reason, Event: f.Event, Rule: f.Rule, Installation: f.Installation, Since: f.Since.at(now), Until: f.Until.at(now),
	}
}

// letters gives the dead letters that the filters choose, newest first.
func (f filters) letters(ctx context.Context, q *queue.Queue, now time.Time) iter.Seq2[queue.StoredLetter, error] {
	return func(yield func(queue.StoredLetter, error) bool) {
		n := 0
		for l, err := range q.Letters(ctx, f.at(now)) {
			if !yield(l, err) || err != nil {
				return
			}
			if n++; n == f.Limit {
				return
			}
		}
	}
}

// moment is a time as a flag: a time of day, or how long ago it was.
type moment struct {
	ago   time.Duration
	fixed time.Time
}

// UnmarshalText reads a duration or a time in RFC 3339.
func (m *moment) UnmarshalText(text []byte) error {
	if d, err := config.ParseDuration(string(text)); err == nil {
		*m = moment{ago: d}
		return nil
	}
	at, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("%q is no time, want 2h, 7d or 2026-11-22T08:00:00Z", text)
	}
	*m = moment{fixed: at}
	return nil
}

// at is the time meant, or zero if there is none.
func (m moment) at(now time.Time) time.Time {
	if m.ago > 0 {
		return now.Add(-m.ago)
	}
	return m.fixed
}

// letterLine is one dead letter, in the shape of --json.
type letterLine struct {
	ID           string      `json:"id"`
	Reason       jobs.Reason `json:"reason"`
	Event        string      `json:"event"`
	Rule         string      `json:"rule"`
	Installation string      `json:"installation"`
	Status       int         `json:"status"`
	Method       string      `json:"method"`
	Path         string      `json:"path"`
	Error        string      `json:"error"`
	Attempts     int         `json:"attempts"`
	Run          int         `json:"run"`
	At           time.Time   `json:"at"`
}

func lineOf(l jobs.Letter) letterLine {
	return letterLine{
		ID: l.ID, Reason: l.Reason, Event: l.Event, Rule: l.Rule, Installation: l.Installation, Status: l.Status,
		Method: l.Method, Path: l.Path, Error: l.Error, Attempts: l.Attempts, Run: l.Run, At: l.At,
	}
}

type dlqListCmd struct {
	filters
	JSON bool `name:"json" help:"As JSON."`
	daemon.NATS
}

// Help is shown after the one-line help.
func (dlqListCmd) Help() string {
	return `    bellows dlq list
    bellows dlq list --reason rejected --since 2h
    bellows dlq list --json | jq -r '.[].id'`
}

// Run lists dead letters.
func (c *dlqListCmd) Run(ctx context.Context, t terminal) error {
	if c.Limit < 0 {
		return daemon.Misuse("bellows dlq list", "--limit is %d, want 0 or more", c.Limit)
	}
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		letters := c.letters(ctx, b.Queue, time.Now())
		if c.JSON {
			return listJSON(t, letters)
		}
		return listTable(t, letters, time.Now())
	})
}

// listJSON writes one array, a letter a line, as they are read: there may be
// a great many.
func listJSON(t terminal, letters iter.Seq2[queue.StoredLetter, error]) error {
	before := "["
	for l, err := range letters {
		if err != nil {
			return err
		}
		text, err := json.Marshal(lineOf(l.Letter))
		if err != nil {
			return fmt.Errorf("writing JSON: %w", err)
		}
		t.print("%s\n  %s", before, text)
		before = ","
	}
	if before == "[" {
		t.print("[]\n")
		return nil
	}
	t.print("\n]\n")
	return nil
}

// tableChunk is how many rows are aligned with each other, and held back.
const tableChunk = 500

func listTable(t terminal, letters iter.Seq2[queue.StoredLetter, error], now time.Time) error {
	var list table
	n := 0
	for l, err := range letters {
		if err != nil {
			return err
		}
		if n == 0 {
			list = t.table("ID", "DIED", "REASON", "STATUS", "EVENT", "RULE", "INSTALLATION", "CALL", "ERROR")
		}
		list.row(cellsOf(l.Letter, now)...)
		if n++; n%tableChunk == 0 {
			if err := list.flush(); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		t.say("no dead letters")
		return nil
	}
	return list.flush()
}

func cellsOf(l jobs.Letter, now time.Time) []string {
	status := ""
	if l.Status > 0 {
		status = strconv.Itoa(l.Status)
	}
	return []string{
		l.ID, ago(l.At, now), string(l.Reason), status, l.Event, l.Rule, l.Installation, clip(l.Method+" "+l.Path, 70), clip(l.Error, 70),
	}
}

// findLetter reads one dead letter, with the remedy where there is none.
func findLetter(ctx context.Context, q *queue.Queue, id string) (queue.StoredLetter, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	l, err := q.Letter(ctx, id)
	return l, unknownLetter(err, id)
}
