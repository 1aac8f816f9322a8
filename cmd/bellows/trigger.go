package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/simulator"
)

type triggerCmd struct {
	Event        string   `arg:"" optional:"" name:"event" help:"Name of the event, or scheduled:KEY for a scheduled trigger."`
	Simulator    string   `name:"simulator" default:"http://127.0.0.1:9470" placeholder:"URL" help:"The simulator that makes and delivers the event."`
	List         bool     `name:"list" help:"List the events that can be made."`
	Target       string   `name:"target" placeholder:"URL" help:"Deliver to this backend instead of the simulator's, for this call."`
	Set          []string `name:"set" sep:"none" placeholder:"PATH=VALUE" help:"Change a member of the event (repeatable), such as issue.key=PEL-7. A value that is JSON is that value."`
	File         string   `name:"file" placeholder:"FILE" help:"Send this body instead of a made one; - is standard input. What is not JSON is sent as it is."`
	Times        int      `name:"times" default:"1" help:"Make so many events, one after the other."`
	Installation string   `name:"installation" placeholder:"ID" help:"Installation that the event comes from. Default: the newest."`
	Fault        []string `name:"fault" placeholder:"NAME" help:"Something wrong with the invocation token or its headers (repeatable), such as expired; a wrong name lists them all."`
	JSON         bool     `name:"json" help:"As JSON."`
}

// Help is shown after the one-line help.
func (triggerCmd) Help() string {
	return `Waits until the backend has accepted the event, or Forge would have given it up after five deliveries, and
tells each attempt and the last answer. Exit code 1 if it was not accepted.

    bellows trigger --list
    bellows trigger avi:jira:created:issue
    bellows trigger avi:jira:created:issue --set issue.key=PEL-7 --set 'issue.fields.issuetype={"name":"Bug"}'
    bellows trigger avi:jira:created:issue --file event.json --times 10
    bellows trigger scheduled:hourly
    bellows trigger avi:jira:created:issue --fault expired`
}

// Run lists or delivers.
func (c *triggerCmd) Run(ctx context.Context, t terminal) error {
	switch {
	case c.List && c.Event != "":
		return daemon.Misuse("bellows trigger", "--list takes no event")
	case c.List:
		return listEvents(t, c.JSON)
	case c.Event == "":
		return daemon.Misuse("bellows trigger", "want the name of an event, or --list")
	case c.Times < 1:
		return daemon.Misuse("bellows trigger", "--times is %d, want 1 or more", c.Times)
	}
	if err := c.checkFaults(); err != nil {
		return err
	}
	result, err := c.await(ctx, t)
	if err != nil {
		return c.explain(err)
	}
	if err := c.tell(t, result); err != nil {
		return err
	}
	if !result.Delivered() {
		return fmt.Errorf("the event was not accepted: %s", outcomes(result))
	}
	return nil
}

func listEvents(t terminal, asJSON bool) error {
	all := simulator.Catalogue()
	if asJSON {
		return t.json(all)
	}
	list := t.table("EVENT", "PRODUCT", "SCOPE", "KIND")
	for _, e := range all {
		list.row(e.Event, e.Product, e.Scope, e.Kind)
	}
	return list.flush()
}

// checkFaults refuses a fault that does not exist, and lists those that do.
func (c *triggerCmd) checkFaults() error {
	var known []string
	for _, f := range simulator.FITFaults() {
		known = append(known, f.Name)
	}
	for _, name := range c.Fault {
		if !slices.Contains(known, name) {
			return daemon.Misuse("bellows trigger", "there is no fault %q, there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// patience is how long a delivery is waited for before a person is told why it
// takes so long.
const patience = 3 * time.Second

// await delivers, and says so when it takes long.
func (c *triggerCmd) await(ctx context.Context, t terminal) (result simulator.TriggerResult, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, err = c.deliver(ctx, t)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.say("not accepted yet: like Forge, the simulator tries four times more, a minute apart by its time scale")
		<-done
	}
	return result, err
}

func (c *triggerCmd) deliver(ctx context.Context, t terminal) (simulator.TriggerResult, error) {
	client := simulator.Client{URL: c.Simulator}
	options := simulator.DeliveryOptions{Faults: c.Fault}
	if key, ok := strings.CutPrefix(c.Event, "scheduled:"); ok {
		return c.schedule(ctx, client, simulator.ScheduledRequest{Key: key, Installation: c.Installation, DeliveryOptions: options})
	}
	r := simulator.TriggerRequest{Event: c.Event, Installation: c.Installation, Times: c.Times, Target: c.Target, DeliveryOptions: options}
	var err error
	if r.Set, err = readSet(c.Set); err != nil {
		return simulator.TriggerResult{}, err
	}
	if err := c.readFile(t.in, &r); err != nil {
		return simulator.TriggerResult{}, err
	}
	return client.Trigger(ctx, r)
}

// schedule runs a scheduled trigger; there is no event to change or to send
// elsewhere.
func (c *triggerCmd) schedule(ctx context.Context, client simulator.Client, r simulator.ScheduledRequest) (simulator.TriggerResult, error) {
	var all simulator.TriggerResult
	if c.Target != "" || c.File != "" || len(c.Set) > 0 {
		return all, daemon.Misuse("bellows trigger", "--target, --file and --set do not go with a scheduled trigger")
	}
	for range c.Times {
		result, err := client.RunScheduled(ctx, r)
		if err != nil {
			return all, err
		}
		all.Deliveries = append(all.Deliveries, result.Deliveries...)
	}
	return all, nil
}

func readSet(texts []string) (map[string]any, error) {
	set := make(map[string]any, len(texts))
	for _, text := range texts {
		path, value, err := simulator.ParseSet(text)
		if err != nil {
			return nil, daemon.Misuse("bellows trigger", "--set: %w", err)
		}
		set[path] = value
	}
	return set, nil
}

// readFile puts the body of --file into the request.
func (c *triggerCmd) readFile(stdin io.Reader, r *simulator.TriggerRequest) error {
	if c.File == "" {
		return nil
	}
	data, err := readAll(stdin, c.File)
	if err != nil {
		return fmt.Errorf("reading --file: %w", err)
	}
	if json.Valid(data) {
		r.Body = data
		return nil
	}
	text := string(data)
	r.Raw = &text
	return nil
}

func readAll(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// explain adds the remedy to an error of the simulator.
func (c *triggerCmd) explain(err error) error {
	var refused *simulator.Error
	var usage *daemon.UsageError
	switch {
	case errors.As(err, &usage):
		return err
	case !errors.As(err, &refused):
		return &daemon.Hint{Err: err, Hint: fmt.Sprintf(`is a simulator running at %s? "bellows dev" and "bellows simulator" start one; another place is given with --simulator`, c.Simulator)}
	case refused.Status == http.StatusNotFound && c.Installation == "":
		return &daemon.Hint{Err: err, Hint: `list events with "bellows trigger --list", or send your own body with --file`}
	case refused.Status == http.StatusConflict:
		return &daemon.Hint{Err: err, Hint: "add a trigger module with this event to the manifest and start the simulator again, or give --target with a whole URL"}
	}
	return err
}

// tell says what became of every attempt.
func (c *triggerCmd) tell(t terminal, r simulator.TriggerResult) error {
	if c.JSON {
		return t.json(r)
	}
	for _, d := range r.Deliveries {
		t.print("%s to %s for installation %s\n", d.Event, d.URL, d.Installation)
		for _, a := range d.Attempts {
			t.print("  attempt %d: %s\n", a.Number+1, answerOf(a))
		}
		t.print("  %s\n", d.Outcome)
	}
	return nil
}

func answerOf(a simulator.Attempt) string {
	took := time.Duration(a.DurationMS * float64(time.Millisecond)).Round(time.Millisecond)
	if a.Status == 0 {
		return fmt.Sprintf("no answer after %v: %s (%s)", took, cell(a.Error), a.Reason)
	}
	text := fmt.Sprintf("%d %s in %v", a.Status, http.StatusText(a.Status), took)
	if answer := strings.TrimSpace(a.Answer); answer != "" {
		text += ": " + clip(cell(answer), 300)
	}
	return text
}

// outcomes counts how deliveries ended that were not accepted.
func outcomes(r simulator.TriggerResult) string {
	lost := 0
	last := simulator.Delivery{Outcome: "there was no delivery"}
	for _, d := range r.Deliveries {
		if d.Outcome != simulator.OutcomeDelivered {
			lost++
			last = d
		}
	}
	text := fmt.Sprintf("%d of %d deliveries, %s", lost, len(r.Deliveries), last.Outcome)
	if status := last.Last().Status; status > 0 {
		text += fmt.Sprintf(", last status %d", status)
	}
	return text
}
