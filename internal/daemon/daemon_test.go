package daemon_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bellows/internal/daemon"
	"bellows/internal/embedded"
	"bellows/internal/queue"
)

type flags struct {
	Do struct {
		Size  daemon.Size `name:"size" default:"1MiB" help:"A size."`
		Place string      `name:"place" default:"here" placeholder:"WHERE" help:"A place."`
	} `cmd:"" help:"Do it."`
}

// parse reads args as the program "prog" does and returns its exit code.
func parse(t *testing.T, args ...string) (f flags, code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	_, err := daemon.Parse(&f, "prog", "about", args, &out, &errs)
	return f, daemon.Exit(&errs, "prog", err), out.String(), errs.String()
}

func TestParseReadsFlagsAndTheirVariables(t *testing.T) {
	t.Setenv("BELLOWS_PLACE", "there")
	f, code, _, stderr := parse(t, "do", "--size", "2kB")
	if code != daemon.ExitDone || f.Do.Size != 2000 || f.Do.Place != "there" {
		t.Errorf("got %+v, exit code %d: %s", f, code, stderr)
	}
}

func TestHelpTellsDefaultsAndVariables(t *testing.T) {
	_, code, help, _ := parse(t, "do", "--help")
	if code != daemon.ExitDone {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"A place (default here, $BELLOWS_PLACE).", "--size=1MiB", "$BELLOWS_SIZE"} {
		if !strings.Contains(strings.Join(strings.Fields(help), " "), want) {
			t.Errorf("help has no %q:\n%s", want, help)
		}
	}
}

func TestWrongFlagsNameTheHelpOfTheirCommand(t *testing.T) {
	for args, want := range map[string]string{
		"":            `prog: hint: see "prog --help"`,
		"do --nope":   `prog: hint: see "prog do --help"`,
		"do --size=x": `prog: hint: see "prog do --help"`,
	} {
		_, code, stdout, stderr := parse(t, strings.Fields(args)...)
		if code != daemon.ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "prog: error: ") || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit code %d, %q", args, code, stderr)
		}
	}
}

func TestExitReportsErrorsWithTheirRemedy(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"no error", nil, daemon.ExitDone, ""},
		{"help", daemon.ErrHelp, daemon.ExitDone, ""},
		{"misuse", daemon.Misuse("prog do", "want %d", 1), daemon.ExitUsage, "prog: error: want 1\nprog: hint: see \"prog do --help\"\n"},
		{"several lines", errors.Join(errors.New("a"), errors.New("b")), daemon.ExitFailed, "prog: error: a\nprog: error: b\n"},
		{
			"a remedy inside", fmt.Errorf("starting: %w", &daemon.Hint{Err: errors.New("no key"), Hint: "make one"}),
			daemon.ExitFailed, "prog: error: starting: no key\nprog: hint: make one\n",
		},
	} {
		var errs bytes.Buffer
		if code := daemon.Exit(&errs, "prog", test.err); code != test.code || errs.String() != test.want {
			t.Errorf("%s: got exit code %d, %q", test.name, code, errs.String())
		}
	}
}

func TestAKeyComesFromAFlagOrAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(" from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ value, file, want, fails string }{
		{"given", "", "given", ""},
		{"", file, "from-file", ""},
		{"given", file, "", "--key and --key-file are both given"},
		{"", "", "", "--key-file is missing"},
		{"", file + ".none", "", "reading --key-file"},
	} {
		got, err := daemon.Either(test.value, test.file, "key")
		if got != test.want || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("Either(%q, %q): got %q, %v", test.value, test.file, got, err)
		}
	}
}

func TestReachGivesUpWithARemedyAndWithoutThePassword(t *testing.T) {
	t.Parallel()
	_, err := daemon.Reach(t.Context(), queue.Options{URL: "nats://me:hidden@127.0.0.1:1,nats://127.0.0.1:2"})
	var hint *daemon.Hint
	if !errors.As(err, &hint) || !strings.Contains(err.Error(), "127.0.0.1:1, 127.0.0.1:2") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
}

func TestExplainKnowsThatNothingWasSetUp(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Shutdown()
	b, err := daemon.Reach(t.Context(), queue.Options{URL: s.URL(), Prefix: "pel"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Queue.Close()
	plain := errors.New("stream not found")
	var hint *daemon.Hint
	if got := b.Explain(t.Context(), plain); !errors.As(got, &hint) || !errors.Is(got, plain) || !strings.Contains(got.Error(), `"pel"`) {
		t.Errorf("before the set-up: got %v, want a remedy", got)
	}
	if err := b.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got := b.Explain(t.Context(), plain); got != plain {
		t.Errorf("after the set-up: got %v, want the error as it is", got)
	}
	if got := b.Explain(t.Context(), nil); got != nil {
		t.Errorf("no error: got %v", got)
	}
}
