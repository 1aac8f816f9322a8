package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"bellows/internal/daemon"
)

// variable is the environment variable of a flag, as documented.
func variable(flag string) string {
	return "BELLOWS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// leaves are the commands of bellows that do something.
func leaves(t *testing.T) []*kong.Node {
	t.Helper()
	parsed, err := parseAs("version")
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Model.Leaves(false)
}

func parseAs(args ...string) (*kong.Context, error) {
	return daemon.Parse(&commands{}, "bellows", about, args, io.Discard, io.Discard)
}

// flagsOf are the flags of a command and of what it belongs to.
func flagsOf(n *kong.Node) []*kong.Flag {
	var all []*kong.Flag
	for _, group := range n.AllFlags(false) {
		all = append(all, group...)
	}
	return slices.DeleteFunc(all, func(f *kong.Flag) bool { return f.Name == "help" })
}

// valueOf parses a command and returns what one of its flags then is.
func valueOf(t *testing.T, args []string, flag string) any {
	t.Helper()
	parsed, err := parseAs(args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	for _, f := range flagsOf(parsed.Selected()) {
		if f.Name == flag {
			return f.Target.Interface()
		}
	}
	t.Fatalf("%q has no flag --%s", args, flag)
	return nil
}

// sample is a text that a flag takes and that is not its default.
func sample(t *testing.T, f *kong.Flag) string {
	t.Helper()
	for value := range strings.SplitSeq(f.Enum, ",") {
		if value != "" && value != f.Default {
			return value
		}
	}
	kind := f.Target.Type()
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	switch kind {
	case reflect.TypeFor[time.Duration](), reflect.TypeFor[moment]():
		return "7h"
	case reflect.TypeFor[daemon.Size]():
		return "7kB"
	}
	switch kind.Kind() {
	case reflect.Bool:
		return "true"
	case reflect.Int, reflect.Float64:
		return "7"
	case reflect.String, reflect.Slice:
		return "path=value"
	}
	t.Fatalf("no sample for --%s, which is a %v", f.Name, kind)
	return ""
}

// leastCall is a call of a command with all that it requires but one flag.
func leastCall(t *testing.T, n *kong.Node, but string) []string {
	t.Helper()
	args := strings.Fields(n.Path())
	for _, f := range flagsOf(n) {
		if f.Required && f.Name != but {
			args = append(args, "--"+f.Name+"="+sample(t, f))
		}
	}
	for _, p := range n.Positional {
		if p.Required {
			args = append(args, "x")
		}
	}
	return args
}

func TestEveryFlagOfBellowsIsHeededFromItsVariable(t *testing.T) {
	checked := 0
	for _, n := range leaves(t) {
		for _, f := range flagsOf(n) {
			t.Run(strings.Join(strings.Fields(n.Path()), " ")+" --"+f.Name, func(t *testing.T) {
				args, text := leastCall(t, n, f.Name), sample(t, f)
				want := valueOf(t, append(slices.Clone(args), "--"+f.Name+"="+text), f.Name)
				if !f.Required && reflect.DeepEqual(want, valueOf(t, args, f.Name)) {
					t.Fatalf("%q is the default: this shows nothing", text)
				}
				t.Setenv(variable(f.Name), text)
				if got := valueOf(t, args, f.Name); !reflect.DeepEqual(got, want) {
					t.Errorf("%s=%s: got %v, want %v", variable(f.Name), text, got, want)
				}
			})
			checked++
		}
	}
	if checked < 100 {
		t.Errorf("only %d flags were looked at", checked)
	}
}

// daemons builds ingest and worker, once for a test.
func daemons(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "bellows/cmd/ingest", "bellows/cmd/worker").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

var helpFlag = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z][a-z0-9-]*)`)

// helpOf is the help of a program, and the flags that it names.
func helpOf(t *testing.T, program string) (help string, flags []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range helpFlag.FindAllStringSubmatch(string(out), -1) {
		flags = append(flags, found[1])
	}
	return string(out), flags
}

// The flags of the daemons are those of "bellows up", whose variables the test
// above sets one by one; here is what the programs themselves say.
func TestEveryFlagOfTheDaemonsHasItsVariable(t *testing.T) {
	dir := daemons(t)
	for _, program := range []string{"ingest", "worker"} {
		path := filepath.Join(dir, program)
		help, flags := helpOf(t, path)
		if len(flags) < 15 {
			t.Errorf("%s --help names only %q", program, flags)
		}
		for _, f := range flags {
			if f != "help" && !regexp.MustCompile(`\$`+variable(f)+`\b`).MatchString(help) {
				t.Errorf("%s --help does not name the variable of --%s", program, f)
			}
		}
		c := exec.CommandContext(t.Context(), path)
		c.Env = append(os.Environ(), "BELLOWS_LOG_LEVEL=loud")
		var stderr bytes.Buffer
		c.Stderr = &stderr
		var exit *exec.ExitError
		if err := c.Run(); !errors.As(err, &exit) || exit.ExitCode() != daemon.ExitUsage || !strings.Contains(stderr.String(), "loud") {
			t.Errorf("%s with BELLOWS_LOG_LEVEL=loud: %v, %s", program, err, stderr.String())
		}
	}
}

var (
	documents = []string{"README.md", "docs/operations.md", "docs/rules.md"}
	// code is a block between fences, a line indented as code, or a span.
	code     = regexp.MustCompile("(?s:```.*?```)|`[^`]+`|(?m:^    .+$)")
	codeFlag = regexp.MustCompile(`--([a-z][a-z0-9-]*)`)
)

// programs are the flags of each program and command.
func programs(t *testing.T) map[string][]string {
	t.Helper()
	all, dir := map[string][]string{}, daemons(t)
	for _, program := range []string{"ingest", "worker"} {
		_, all[program] = helpOf(t, filepath.Join(dir, program))
	}
	for _, n := range leaves(t) {
		name := "bellows " + strings.Join(strings.Fields(n.Path()), " ")
		for _, f := range flagsOf(n) {
			all[name] = append(all[name], f.Name)
		}
	}
	return all
}

// flagsFor are the flags that a line of a document may use: those of the
// programs it calls, or of all where it calls none.
func flagsFor(line string, programs map[string][]string) []string {
	line = " " + strings.NewReplacer("go run ./cmd/", "", "go tool ", "").Replace(strings.Join(strings.Fields(line), " ")) + " "
	var all, called []string
	for name, flags := range programs {
		all = append(all, flags...)
		last := name[strings.LastIndexByte(name, ' ')+1:] // as in "replay --all", after "bellows dlq list"
		if strings.Contains(line, " "+name+" ") || strings.HasPrefix(line, " "+last+" ") {
			called = append(called, flags...)
		}
	}
	if called == nil {
		return all
	}
	return called
}

func TestEveryFlagOfTheDocumentationExists(t *testing.T) {
	known, named := programs(t), 0
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, span := range code.FindAllString(string(text), -1) {
			lines := []string{strings.Trim(span, "`")}
			if strings.HasPrefix(span, "```") {
				lines = strings.Split(span, "\n")
			}
			for _, line := range lines {
				flags := flagsFor(line, known)
				for _, found := range codeFlag.FindAllStringSubmatch(line, -1) {
					if named++; !slices.Contains(flags, found[1]) {
						t.Errorf("%s: %q: there is no flag --%s", name, line, found[1])
					}
				}
			}
		}
	}
	if named < 15 {
		t.Error(fmt.Sprint("only ", named, " flags were found"))
	}
}
