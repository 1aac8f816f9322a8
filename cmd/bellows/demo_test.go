package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/demo"
	"bellows/internal/simulator"
)

func TestTheDemoObservesEveryStep(t *testing.T) {
	code, stdout, stderr := call(t, "demo", "--json")
	if code != daemon.ExitDone {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if len(lines) != 8 {
		t.Fatalf("got %d lines, want seven steps and the totals:\n%s", len(lines), stdout)
	}
	for i, line := range lines[:7] {
		var step demo.Step
		if err := json.Unmarshal([]byte(line), &step); err != nil || step.Number != i+1 || len(step.Observed) == 0 || step.Error != "" {
			t.Errorf("line %d: got %s, %v", i+1, line, err)
		}
	}
	var totals struct {
		Steps, Deliveries, Calls, Left, Dead int
		OK                                   bool
	}
	if err := json.Unmarshal([]byte(lines[7]), &totals); err != nil || !totals.OK || totals.Steps != 7 || totals.Left != 0 || totals.Dead != 0 || totals.Calls < 9 {
		t.Errorf("totals: got %s, %v", lines[7], err)
	}
	if stderr != "" {
		t.Errorf("stderr has %q, want nothing without --verbose", stderr)
	}
}

// The demo must not be able to say what has not happened: with a rule that
// calls something else, or a manifest that allows less, it fails and names
// the step.
func TestTheDemoFailsAtTheStepThatDoesNotHappen(t *testing.T) {
	for _, test := range []struct {
		name, file, old, now, fails string
	}{
		{"no rule for created issues", "rules", "on: avi:jira:created:issue", "on: avi:jira:deleted:issue", "step 2 was not observed"},
		{"another call", "rules", "path: /rest/api/3/project/search", "path: /rest/api/3/nothing", "step 3 was not observed"},
		{"the app instead of the person", "rules", "as: {user: event.atlassianId}", "as: app", "step 4 was not observed"},
		{"a person that may not be impersonated", "manifest", "allowImpersonation: true", "allowImpersonation: false", "step 4 was not observed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			flags, err := demoFlags(dir)
			if err != nil {
				t.Fatal(err)
			}
			replaceIn(t, map[string]string{"rules": flags.Config, "manifest": flags.Ingest.Manifest}[test.file], test.old, test.now)
			err = runScenario(t, flags, dir)
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %v, want an error that says %q", err, test.fails)
			}
		})
	}
}

func replaceIn(t *testing.T, file, old, now string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q, %v", file, old, err)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), old, now)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runScenario is what demoCmd.Run does, with less patience.
func runScenario(t *testing.T, flags machineFlags, dir string) error {
	t.Helper()
	o := simulation{listen: "127.0.0.1:0", timeScale: 0.0003, tokenLife: time.Hour, bare: true}
	s, err := newSimulated(t.Context(), flags, o, dir, terminal{out: io.Discard, err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return s.run(t.Context(), func(ctx context.Context, at addresses) error {
		b, err := daemon.Reach(ctx, daemon.NATS{NATS: at.NATS}.Options("test", nil))
		if err != nil {
			return err
		}
		defer b.Queue.Close()
		return s.withTimetable(ctx, func() error {
			_, err := demo.Run(ctx, demo.Config{
				Simulator: simulator.Client{URL: s.url}, Queue: b.Queue, Report: func(demo.Step) {}, Bound: 3 * time.Second,
				Known: func(ctx context.Context, installation string) (demo.Known, error) { return known(ctx, b, installation) },
			})
			return err
		})
	})
}
