// Package acceptance checks bellows from outside: the programs as they are
// built, a NATS server in a process of its own, and Forge and Atlassian played
// by the test. Nothing here reaches into a running process; everything a
// scenario claims is seen at the API, in an HTTP answer, in NATS, or in an exit
// code.
package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"bellows/internal/embedded"
)

// With these in its environment the test binary is a NATS server and nothing
// else, so that a test can kill one like any other process.
const (
	envNATSDir  = "BELLOWS_ACCEPTANCE_NATS_DIR"
	envNATSPort = "BELLOWS_ACCEPTANCE_NATS_PORT"
)

// binaries is the folder with the programs under test, and buildErrors say why
// one is not there.
var (
	binaries    string
	buildErrors = map[string]string{}
)

// program is the path of a program under test.
func program(t testing.TB, name string) string {
	t.Helper()
	if text, failed := buildErrors[name]; failed {
		t.Fatalf("building %s: %s", name, text)
	}
	return filepath.Join(binaries, name)
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(envNATSDir); dir != "" {
		beNATS(dir, os.Getenv(envNATSPort))
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bellows-acceptance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries = dir
	for _, name := range []string{"ingest", "worker", "bellows"} {
		build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "bellows/cmd/"+name)
		if out, err := build.CombinedOutput(); err != nil {
			buildErrors[name] = fmt.Sprintf("%v\n%s", err, out)
		}
	}
	return m.Run()
}

// beNATS serves until its standard input ends: with the test, or when it is
// stopped. A kill -9 comes between.
func beNATS(dir, port string) {
	n, err := strconv.Atoi(port)
	if err == nil {
		var s *embedded.Server
		if s, err = embedded.Start(embedded.Options{Dir: dir, Port: n, SyncAlways: true}); err == nil {
			fmt.Println("ready", s.URL())
			_, _ = os.Stdin.Read(make([]byte, 1))
			s.Shutdown()
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// soak reports whether scenarios may take minutes: BELLOWS_SOAK=1.
func soak() bool { return os.Getenv("BELLOWS_SOAK") == "1" }

// long skips a scenario that takes more than a few seconds under -short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes several seconds")
	}
}

// eventually polls until holds returns "", and fails with what it said last
// when that has not happened within the time.
func eventually(t testing.TB, within time.Duration, holds func() string) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		missing := holds()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, missing)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// expect returns "" when got is want: for the functions given to eventually.
func expect[T comparable](what string, got, want T) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%s: got %v, want %v", what, got, want)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
