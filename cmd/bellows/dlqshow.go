package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/jobs"
	"bellows/internal/queue"
)

type dlqShowCmd struct {
	ID   string `arg:"" name:"id" help:"Id of the dead letter."`
	JSON bool   `name:"json" help:"As JSON."`
	daemon.NATS
}

// Help is shown after the one-line help.
func (dlqShowCmd) Help() string {
	return `Shows why the job died, its attempts, the steps that were done, and the event as Forge sent it.

    bellows dlq show 5f2c0c1e2f534c689a391a2b3c4d5e6f
    bellows dlq show 5f2c0c1e2f534c689a391a2b3c4d5e6f --json | jq .data`
}

// letterDetail is a dead letter with all that helps to mend it.
type letterDetail struct {
	letterLine
	Kind     jobs.Kind       `json:"kind"`
	Step     string          `json:"step,omitempty"`
	Trace    string          `json:"trace"`
	History  []jobs.Attempt  `json:"history"`
	Steps    []jobs.Step     `json:"steps"`
	Encoding string          `json:"encoding,omitempty"` // of data, where it is not JSON: text or base64
	Data     json.RawMessage `json:"data"`
}

func detailOf(l jobs.Letter) letterDetail {
	d := letterDetail{
		letterLine: lineOf(l), Kind: l.Kind, Step: l.Step, Trace: l.Trace, History: l.History, Steps: l.Steps, Encoding: l.Encoding, Data: l.Data,
	}
	if d.History == nil {
		d.History = []jobs.Attempt{}
	}
	if d.Steps == nil {
		d.Steps = []jobs.Step{}
	}
	return d
}

// Run shows one dead letter.
func (c *dlqShowCmd) Run(ctx context.Context, t terminal) error {
	return withNATS(ctx, c.NATS, func(b *daemon.Broker) error {
		l, err := findLetter(ctx, b.Queue, c.ID)
		if err != nil {
			return err
		}
		if c.JSON {
			return t.json(detailOf(l.Letter))
		}
		return showLetter(t, l.Letter)
	})
}

// unknownLetter adds the remedy to the error of an id that does not exist.
func unknownLetter(err error, id string) error {
	if !errors.Is(err, queue.ErrNoLetter) {
		return err
	}
	return &daemon.Hint{Err: fmt.Errorf("there is no dead letter with id %q", id), Hint: `list them with "bellows dlq list"`}
}

func showLetter(t terminal, l jobs.Letter) error {
	for _, line := range [][2]string{
		{"id", l.ID}, {"reason", string(l.Reason)}, {"error", l.Error}, {"call", callOf(l.Method, l.Path, l.Status)}, {"step", l.Step},
		{"rule", l.Rule}, {"event", l.Event}, {"installation", l.Installation}, {"died", l.At.Format(time.RFC3339)},
		{"attempts", strconv.Itoa(l.Attempts)}, {"replayed", times(l.Run)}, {"trace", l.Trace},
	} {
		if line[1] != "" {
			t.print("%-13s %s\n", line[0], cell(line[1]))
		}
	}
	if err := showHistory(t, l.History); err != nil {
		return err
	}
	if err := showSteps(t, l.Steps); err != nil {
		return err
	}
	showData(t, l)
	return nil
}

func times(n int) string {
	if n == 0 {
		return ""
	}
	return count(n, "time")
}

func callOf(method, path string, status int) string {
	call := strings.TrimSpace(method + " " + path)
	if status > 0 {
		call += fmt.Sprintf(" → %d", status)
	}
	return call
}

func showHistory(t terminal, history []jobs.Attempt) error {
	if len(history) == 0 {
		return nil
	}
	t.print("\n")
	list := t.table("ATTEMPT", "AT", "OUTCOME", "CALL", "ERROR")
	for _, a := range history {
		list.row(strconv.Itoa(a.N), a.At.Format(time.RFC3339), a.Outcome, callOf(a.Method, a.Path, a.Status), a.Error)
	}
	return list.flush()
}

func showSteps(t terminal, steps []jobs.Step) error {
	if len(steps) == 0 {
		return nil
	}
	t.print("\n")
	list := t.table("STEP", "AT", "STATE", "CALL")
	for _, s := range steps {
		state := "done"
		if s.Open {
			state = "sent, no answer known"
		}
		list.row(s.Name, s.At.Format(time.RFC3339), state, callOf(s.Method, s.Path, s.Status))
	}
	return list.flush()
}

// showData prints the event: indented where it is JSON, and as an escaped
// string where it is not, since it may hold anything.
func showData(t terminal, l jobs.Letter) {
	heading := "data"
	if l.Encoding != "" {
		heading += " (not JSON; shown as " + l.Encoding + ")"
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, l.Data, "", "  ") != nil {
		pretty.Reset()
		pretty.Write(l.Data)
	}
	t.print("\n%s\n%s\n", heading, pretty.Bytes())
}
