package main

import (
	"bytes"
	"strings"
	"testing"

	"bellows/internal/daemon"
)

// call runs one command to its end and returns its exit code and streams.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	errs := newScreen() // a fetch of keys that is under way may log after the command has ended
	err := run(t.Context(), args, strings.NewReader(""), &out, errs)
	code = daemon.Exit(errs, "bellows", err)
	stderr, _ = errs.read()
	return code, out.String(), stderr
}

func TestEveryCommandTeaches(t *testing.T) {
	for _, command := range []string{
		"up", "keygen", "setup", "demo", "dev", "simulator", "trigger", "rules check", "rules test", "status", "dlq list", "dlq show", "dlq replay", "dlq drop", "installations",
	} {
		code, help, _ := call(t, append(strings.Fields(command), "--help")...)
		if code != daemon.ExitDone {
			t.Errorf("%s --help: exit code %d", command, code)
		}
		if !strings.Contains(help, "\n    bellows "+command) {
			t.Errorf("%s --help shows no example:\n%s", command, help)
		}
		if _, all, _ := call(t, "--help"); !strings.Contains(all, "\n  "+command+" ") {
			t.Errorf("--help does not name %q", command)
		}
	}
}

func TestWrongUsageIsExitCode2WithTheWayToTheHelp(t *testing.T) {
	for _, test := range []struct{ args, says, help string }{
		{"", "expected one of", "bellows"},
		{"nope", "unexpected argument nope", "bellows"},
		{"dlq", "expected one of", "bellows dlq"},
		{"dlq list --nope", "unknown flag --nope", "bellows dlq list"},
		{"dlq list --since yesterday", `"yesterday" is no time`, "bellows dlq list"},
		{"dlq list --limit=-1", "--limit is -1", "bellows dlq list"},
		{"dlq show", "expected \"<id>\"", "bellows dlq show"},
		{"dlq replay", "want ids of dead letters, or --all", "bellows dlq replay"},
		{"dlq replay a --all", "ids do not go with --all", "bellows dlq replay"},
		{"dlq drop a --reason fatal", "ids do not go with --all and filters", "bellows dlq drop"},
		{"dlq drop --reason fatal", "want ids of dead letters, or --all", "bellows dlq drop"},
		{"keygen", "missing flags: --out", "bellows keygen"},
		{"rules", "expected one of", "bellows rules"},
		{"rules check", "expected \"<file>\"", "bellows rules check"},
		{"rules test", "expected \"<file>\"", "bellows rules test"},
		{"trigger", "want the name of an event", "bellows trigger"},
		{"trigger x --list", "--list takes no event", "bellows trigger"},
		{"trigger x --times 0", "--times is 0", "bellows trigger"},
		{"trigger x --set y", "want path=value", "bellows trigger"},
		{"trigger x --fault nope", "there are expired, ", "bellows trigger"},
		{"trigger scheduled:x --file y", "do not go with a scheduled trigger", "bellows trigger"},
		{"simulator", "missing flags: --remote", "bellows simulator"},
		{"simulator --remote http://127.0.0.1:1 --time-scale 0", "--time-scale is 0", "bellows simulator"},
		{"dev --time-scale=-1", "--time-scale is -1", "bellows dev"},
		{"up --data " + t.TempDir() + " --nats nats://a,nats://b", "several servers", "bellows up"},
		{"up --data " + t.TempDir() + " --nats tls://a:1", "no address to listen at", "bellows up"},
		{"up --log-level loud", "must be one of", "bellows up"},
	} {
		code, stdout, stderr := call(t, strings.Fields(test.args)...)
		if code != daemon.ExitUsage || stdout != "" {
			t.Errorf("%q: exit code %d, stdout %q", test.args, code, stdout)
		}
		if !strings.Contains(stderr, test.says) || !strings.HasPrefix(stderr, "bellows: error: ") {
			t.Errorf("%q: stderr %q does not say %q", test.args, stderr, test.says)
		}
		if want := `bellows: hint: see "` + test.help + ` --help"`; !strings.Contains(stderr, want) {
			t.Errorf("%q: stderr %q, want the hint %q", test.args, stderr, want)
		}
	}
}

func TestFlagsComeFromTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BELLOWS_OUT", dir)
	if code, _, stderr := call(t, "keygen"); code != daemon.ExitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if missing(dir + "/" + keyFile) {
		t.Error("BELLOWS_OUT was not heeded")
	}
}
