package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/simulator"
)

// logged waits until stderr has the pattern, and returns what its group stands
// for.
func (r *running) logged(t *testing.T, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	deadline := time.After(20 * time.Second)
	for {
		text, changed := r.errs.read()
		if found := wanted.FindStringSubmatch(text); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("stderr has no %q:\n%s", pattern, text)
		}
	}
}

// triggered has an issue created, and returns the path of the call that the
// rule in use then makes.
func triggered(t *testing.T, sim, nats, issue string) (path string) {
	t.Helper()
	code, stdout, stderr := call(t, "trigger", "avi:jira:created:issue", "--simulator", sim, "--set", "issue.key="+issue)
	if code != daemon.ExitDone {
		t.Fatalf("trigger: exit code %d\n%s%s", code, stdout, stderr)
	}
	expectIdle(t, nats)
	ledger, err := (&simulator.Client{URL: sim}).Ledger(t.Context(), simulator.LedgerQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range ledger.Calls {
		if _, below, ok := strings.Cut(c.Path, "/issue/"+issue+"/"); ok {
			path += below
		}
	}
	return path
}

func TestAnEditOfTheRulesIsUsedByTheNextJobOfDev(t *testing.T) {
	t.Chdir(t.TempDir())
	edit := func(text string) {
		t.Helper()
		if err := os.WriteFile("bellows.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit(ownRules)
	dev := start(t, devArgs()...)
	sim, nats := dev.find(t, `simulator +(http://\S+)`), dev.find(t, `NATS +(nats://\S+)`)
	dev.find(t, `(try in another terminal)`)
	if got := triggered(t, sim, nats, "PEL-1"); got != "comment" {
		t.Errorf("the first rules: got a call of %q, want the comment", got)
	}

	watchers := strings.Replace(ownRules, "/comment", "/watchers", 1)
	edit(watchers)
	version := dev.logged(t, `msg="rules are reloaded" .*version=(\w+)`)
	if got := triggered(t, sim, nats, "PEL-2"); got != "watchers" {
		t.Errorf("after the edit: got a call of %q, want the watchers", got)
	}

	edit(strings.Replace(watchers, "event.issue.key", "evnt.issue.key", 1))
	if kept := dev.logged(t, `the old ones stay in use" .*version=(\w+)`); kept != version {
		t.Errorf("after a broken edit version %q is in use, want %q", kept, version)
	}
	dev.logged(t, `(at=bellows.yaml:7:\d+)`)
	if got := triggered(t, sim, nats, "PEL-3"); got != "watchers" {
		t.Errorf("after a broken edit: got a call of %q, want the watchers", got)
	}
	if err := dev.finish(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if log, _ := dev.errs.read(); strings.Count(log, "the old ones stay in use") != 1 {
		t.Errorf("the broken edit was not told once:\n%s", log)
	}
}
