package acceptance

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// process is a program that the test started. It is killed when the test ends.
type process struct {
	t    testing.TB
	name string
	path string
	args []string
	env  []string

	cmd    *exec.Cmd
	output buffer
	stdin  io.Closer
	ended  chan struct{} // closed when the process has ended

	mu      sync.Mutex
	killed  bool
	address string // of Forge's calls, for ingest
	ops     string // of the private port
}

// buffer is everything a process printed.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts it; its logs are shown when the test fails.
func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	dieWithParent(p.cmd)
	in, err := p.cmd.StdinPipe()
	must(p.t, err)
	p.stdin = in
	must(p.t, p.cmd.Start())
	p.ended = make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(p.ended) }()
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("%s printed:\n%s", p.name, tail(p.output.String(), 6000))
		}
	})
}

func tail(text string, n int) string {
	if len(text) > n {
		text = "…" + text[len(text)-n:]
	}
	return text
}

// logs returns everything printed so far.
func (p *process) logs() string { return p.output.String() }

// alive fails the test when the process has ended by itself.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.ended:
		p.t.Fatalf("%s has ended: %v\n%s", p.name, p.cmd.ProcessState, tail(p.logs(), 3000))
	default:
	}
}

// awaitReady waits until the log tells the addresses and /readyz says yes.
func (p *process) awaitReady() {
	p.t.Helper()
	eventually(p.t, 30*time.Second, func() string {
		p.alive()
		if !p.findAddresses() {
			return p.name + " tells no address"
		}
		if status, body := p.get("/readyz"); status != http.StatusOK {
			return p.name + " is not ready: " + body
		}
		return ""
	})
}

// findAddresses reads them from the log lines "ingest listens" and "worker
// runs".
func (p *process) findAddresses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := bufio.NewScanner(strings.NewReader(p.logs()))
	lines.Buffer(nil, 1<<20)
	for p.ops == "" && lines.Scan() {
		var line struct{ Address, Ops string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Ops != "" {
			p.address, p.ops = line.Address, line.Ops
		}
	}
	return p.ops != ""
}

// url is where ingest takes Forge's calls.
func (p *process) url(path string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "http://" + p.address + path
}

// get asks the private port. Status 0 means that there was no answer.
func (p *process) get(path string) (status int, body string) {
	p.mu.Lock()
	ops := p.ops
	p.mu.Unlock()
	client := http.Client{Timeout: 2 * time.Second}
	r, err := client.Get("http://" + ops + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(text)
}

// kill is kill -9. It returns when the process is gone, and does nothing to
// one that has ended.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.killed {
		p.killed = true
		_ = p.cmd.Process.Kill()
	}
	<-p.ended
	_ = p.stdin.Close()
}

// terminate sends SIGTERM and returns at once.
func (p *process) terminate() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
}

// stop sends SIGTERM and waits for the end. It returns the exit code, and how
// long it took.
func (p *process) stop(within time.Duration) (code int, took time.Duration) {
	p.t.Helper()
	start := time.Now()
	p.terminate()
	select {
	case <-p.ended:
	case <-time.After(within):
		p.t.Fatalf("%s has not stopped within %s", p.name, within)
	}
	return p.cmd.ProcessState.ExitCode(), time.Since(start)
}

// runTool runs a program to its end.
func runTool(t testing.TB, path string, args []string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	dieWithParent(cmd)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
