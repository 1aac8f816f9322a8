package main

import (
	"context"
	"errors"
	"fmt"

	"bellows/internal/config"
	"bellows/internal/daemon"
	"bellows/internal/manifest"
	"bellows/internal/rules"
)

type rulesCmd struct {
	Check rulesCheckCmd `cmd:"" help:"Say all that is wrong with a rule file, and what is likely not meant."`
	Test  rulesTestCmd  `cmd:"" help:"Run the tests that stand beside a rule file."`
}

type rulesCheckCmd struct {
	File     string `arg:"" name:"file" help:"The rule file, such as bellows.yaml."`
	Manifest string `name:"manifest" placeholder:"FILE" help:"The Forge app's manifest, to find scheduled triggers that it does not have."`
	JSON     bool   `name:"json" help:"As JSON."`
	Strict   bool   `name:"strict" help:"Fail on warnings, too."`
}

// Help is shown after the one-line help.
func (rulesCheckCmd) Help() string {
	return `Reads and compiles the file as a worker would, and needs no network. Every fault has a line
FILE:LINE:COL: error: …. A warning is something that is allowed and likely not meant: an event that no
catalogue has, a member that the simulator's example of the event lacks; "event.?member.orValue(0)" says what to take
where there is none. Warnings are looked for when there is no error. Exit code 1 on errors, with --strict on
warnings too.

    bellows rules check bellows.yaml
    bellows rules check bellows.yaml --manifest manifest.yml --strict
    bellows rules check bellows.yaml --json | jq '.warnings[].message'`
}

// checked is what was found in a rule file.
type checked struct {
	File     string  `json:"file"`
	Rules    int     `json:"rules"`             // 0 when the file could not be read to its end
	Version  string  `json:"version,omitempty"` // likewise ""
	Errors   []fault `json:"errors"`
	Warnings []fault `json:"warnings"`
}

// fault is one thing at one place of the file.
type fault struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func faultsOf(issues []config.Issue) []fault {
	all := make([]fault, 0, len(issues))
	for _, i := range issues {
		all = append(all, fault(i))
	}
	return all
}

// Run checks the file.
func (c *rulesCheckCmd) Run(ctx context.Context, t terminal) error {
	found, err := c.check(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		err = t.json(found)
	} else {
		found.tell(t)
	}
	if err == nil && (len(found.Errors) > 0 || c.Strict && len(found.Warnings) > 0) {
		err = fmt.Errorf("checking %q: found %s", c.File, found.count())
	}
	return err
}

// check compiles the file. What is wrong with it is no error, but found.
func (c *rulesCheckCmd) check(ctx context.Context) (checked, error) {
	found := checked{File: c.File, Errors: []fault{}, Warnings: []fault{}}
	var options rules.Options
	var err error
	if c.Manifest != "" {
		if options.Manifest, err = manifest.Load(c.Manifest); err != nil {
			return found, err
		}
	}
	file, err := config.Load(c.File)
	if err != nil {
		return found, found.note(err)
	}
	found.Rules, found.Version = len(file.Rules), file.Stamp
	known, err := newExamples(ctx)
	if err != nil {
		return found, err
	}
	defer known.close()
	options.Events = eventNames()
	options.Examples = func(event string) (any, bool) { return known.of(ctx, event) }
	set, err := rules.CompileWith(file, options)
	if ctx.Err() != nil {
		return found, ctx.Err() // examples were left out
	}
	if err != nil {
		return found, found.note(err)
	}
	found.Warnings = faultsOf(set.Warnings())
	return found, nil
}

// note takes the faults out of an error of a rule file; any other error it
// gives back, with the remedy where there is one.
func (f *checked) note(err error) error {
	if wrong := (*config.Error)(nil); errors.As(err, &wrong) {
		f.Errors = faultsOf(wrong.Issues)
		return nil
	}
	return explainFile(f.File, err)
}

// explainFile adds the remedy to an error when it is that the rule file is not
// there.
func explainFile(file string, err error) error {
	if err == nil || !missing(file) {
		return err
	}
	return &daemon.Hint{Err: err, Hint: "give the path of the rule file; examples/quickstart/bellows.yaml is one to start from"}
}

// tell writes a line for each fault, and the summary.
func (f *checked) tell(t terminal) {
	for _, e := range f.Errors {
		t.print("%s:%d:%d: error: %s\n", f.File, e.Line, e.Column, e.Message)
	}
	for _, w := range f.Warnings {
		t.print("%s:%d:%d: warning: %s\n", f.File, w.Line, w.Column, w.Message)
	}
	if f.Version == "" {
		t.print("%s: %s\n", f.File, f.count())
		return
	}
	t.print("%s: %s, version %s: %s\n", f.File, count(f.Rules, "rule"), f.Version, f.count())
}

// count is the end of the summary. Warnings are not known where there are
// errors.
func (f *checked) count() string {
	if len(f.Errors) > 0 {
		return count(len(f.Errors), "error")
	}
	return count(len(f.Errors), "error") + ", " + count(len(f.Warnings), "warning")
}
