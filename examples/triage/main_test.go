package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"bellows/internal/secret"
)

// asProgram makes the test binary be the program.
const asProgram = "TRIAGE_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the program with args.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0], args...)
	c.Env = []string{asProgram + "=1"}
	return c
}

func TestTheProgramStopsWhenToldTo(t *testing.T) {
	t.Parallel()
	key, err := secret.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	// There is no NATS: the worker waits for it, and stops all the same.
	c := program(t, "--vault-key", key.Text(), "--nats", "nats://127.0.0.1:1", "--ops-listen", "127.0.0.1:0", "--egress-listen", "127.0.0.1:0")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	told, last := false, ""
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		last = lines.Text()
		if !told && strings.Contains(last, "worker runs") {
			told = true
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Wait(); err != nil || !told || !strings.Contains(last, "worker stopped") {
		t.Errorf("it ended with %v, told to stop: %t, and last said %q", err, told, last)
	}
}

func TestTheProgramRefusesWrongFlags(t *testing.T) {
	t.Parallel()
	c := program(t, "--nope")
	said, _ := c.CombinedOutput() // the exit code is what is looked at
	if code := c.ProcessState.ExitCode(); code != 2 || !strings.Contains(string(said), "unknown flag --nope") {
		t.Errorf("exit code %d, want 2; it said %s", code, said)
	}
}
