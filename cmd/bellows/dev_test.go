package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bellows/internal/daemon"
	"bellows/internal/simulator"
)

// devArgs are the flags of a development machine on free ports.
func devArgs(more ...string) []string {
	return append([]string{
		"dev", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--worker-ops-listen", "127.0.0.1:0", "--egress-listen", "127.0.0.1:0",
		"--nats", "nats://127.0.0.1:0", "--simulator-listen", "127.0.0.1:0", "--time-scale", "0.001", "--drain-timeout", "5s",
	}, more...)
}

// lettersOf is what "bellows dlq list --json" says.
func lettersOf(t *testing.T, nats string) (all []letterLine) {
	t.Helper()
	code, stdout, stderr := call(t, "dlq", "list", "--json", "--nats", nats)
	if code != daemon.ExitDone {
		t.Fatalf("dlq list: exit code %d: %s", code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestADeveloperTriggersAnEventLooksAtTheLetterAndReplaysIt(t *testing.T) {
	t.Chdir(t.TempDir()) // no files here: the built-in ones are used
	dev := start(t, devArgs()...)
	sim, nats := dev.find(t, `simulator +(http://\S+)`), dev.find(t, `NATS +(nats://\S+)`)
	dev.find(t, `bellows trigger avi:jira:created:issue --simulator (\S+)`)
	client := simulator.Client{URL: sim}
	if _, err := client.SetFault(t.Context(), simulator.Fault{Path: "/rest/api/3/issue/PEL-7/comment", Status: 400}); err != nil {
		t.Fatal(err)
	}

	code, stdout, stderr := call(t, "trigger", "avi:jira:created:issue", "--simulator", sim, "--set", "issue.key=PEL-7")
	if code != daemon.ExitDone || !strings.Contains(stdout, "attempt 1: 202 Accepted") || !strings.Contains(stdout, `"duplicate":false`) {
		t.Fatalf("trigger: exit code %d\n%s%s", code, stdout, stderr)
	}
	expectIdle(t, nats)
	letters := lettersOf(t, nats)
	if len(letters) != 1 || letters[0].Status != 400 || letters[0].Rule != "thank-reporter" {
		t.Fatalf("dead letters: got %+v", letters)
	}
	if err := client.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, "dlq", "replay", letters[0].ID, "--nats", nats); code != daemon.ExitDone {
		t.Fatalf("replay: exit code %d: %s", code, stderr)
	}
	expectIdle(t, nats)
	if left := lettersOf(t, nats); len(left) != 0 {
		t.Errorf("after the replay: %+v", left)
	}
	ledger, err := client.Ledger(t.Context(), simulator.LedgerQuery{})
	if err != nil {
		t.Fatal(err)
	}
	if n := commentsOn(ledger, "PEL-7"); n != 1 {
		t.Errorf("the comment was written %d times, want once", n)
	}
	expectKnown(t, nats)
	if err := dev.finish(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func commentsOn(l simulator.Ledger, issue string) int {
	n := 0
	for _, c := range l.Calls {
		if strings.HasSuffix(c.Path, "/issue/"+issue+"/comment") && c.Status == 201 {
			n++
		}
	}
	return n
}

// expectKnown checks what dev tells of the installation and the worker.
func expectKnown(t *testing.T, nats string) {
	t.Helper()
	s := readStatusOf(t, nats)
	if len(s.Workers) != 1 || s.Tokens.Live+s.Tokens.Expiring != 1 {
		t.Errorf("status: got %+v", s)
	}
	code, stdout, stderr := call(t, "installations", "--json", "--nats", nats)
	var all []installationLine
	if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != daemon.ExitDone {
		t.Fatalf("installations: exit code %d, %v: %s", code, err, stderr)
	}
	if len(all) != 1 || all[0].Product != "jira" || all[0].State != "active" || all[0].TokenExpires == nil || all[0].Environment != "PRODUCTION" {
		t.Errorf("installations: got %+v", all)
	}
}

func TestAnEventThatIsRefusedIsToldAttemptByAttempt(t *testing.T) {
	t.Chdir(t.TempDir())
	dev := start(t, devArgs()...)
	sim := dev.find(t, `simulator +(http://\S+)`)
	dev.find(t, `(try in another terminal)`)
	code, stdout, stderr := call(t, "trigger", "avi:jira:created:issue", "--simulator", sim, "--fault", "expired")
	if code != daemon.ExitFailed || strings.Count(stdout, ": 401 Unauthorized") != 5 || !strings.Contains(stdout, "lost") ||
		!strings.Contains(stderr, "bellows: error: the event was not accepted") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	for args, hint := range map[string]string{
		"trigger avi:jira:updated:issue":                 "add a trigger module with this event to the manifest",
		"trigger avi:nope --target http://127.0.0.1:1/x": `list events with "bellows trigger --list"`,
	} {
		code, _, stderr := call(t, append(strings.Fields(args), "--simulator", sim)...)
		if code != daemon.ExitFailed || !strings.Contains(stderr, "bellows: hint: "+hint) {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
	code, stdout, stderr = call(t, "trigger", "scheduled:hourly", "--simulator", sim, "--times", "2")
	if code != daemon.ExitDone || strings.Count(stdout, "202 Accepted") != 2 {
		t.Errorf("scheduled: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// Without the scaled interval ingest would take a call that comes seconds
// after the one before for that one sent again.
func TestScheduledCallsOfAScaledSimulatorAllRun(t *testing.T) {
	t.Chdir(t.TempDir())
	dev := start(t, devArgs("--time-scale", "0.0001")...) // an hour is 360 ms
	client := simulator.Client{URL: dev.find(t, `simulator +(http://\S+)`)}
	deadline := time.Now().Add(20 * time.Second)
	for calls := 0; calls < 3; {
		ledger, err := client.Ledger(t.Context(), simulator.LedgerQuery{})
		if err != nil {
			t.Fatal(err)
		}
		calls = 0
		for _, c := range ledger.Calls {
			if strings.HasSuffix(c.Path, "/project/search") {
				calls++
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 20 s: %d calls of the scheduled rule, %d deliveries", calls, ledger.DeliveriesTotal)
		}
		time.Sleep(readyPause) // between two looks
	}
}

func TestTheSimulatorAloneDeliversToABackendInAnyLanguage(t *testing.T) {
	backend, calls := stubAPI(t)
	t.Chdir(t.TempDir())
	manifestFile, _, err := writeQuickstart(".")
	if err != nil {
		t.Fatal(err)
	}
	sim := start(t, "simulator", "--listen", "127.0.0.1:0", "--manifest", manifestFile, "--remote", backend)
	control := sim.find(t, `control +(http://\S+)/_sim/state`)
	code, stdout, stderr := call(t, "trigger", "avi:jira:created:issue", "--simulator", control)
	if code != daemon.ExitDone || !strings.Contains(stdout, "201 Created") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if got := <-calls; got.path != "/events" || !strings.HasPrefix(got.authorization, "Bearer ") {
		t.Errorf("the backend got %q with an invocation token: %t", got.path, got.authorization != "")
	}
	if err := sim.finish(t); err != nil {
		t.Errorf("stopping: %v", err)
	}
}
