package daemon

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes of every bellows program.
const (
	ExitDone   = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// ErrHelp means that help was asked for and has been printed.
var ErrHelp = errors.New("help was printed")

// Parse reads args into flags, a pointer to a struct for kong. Every flag has
// an environment variable BELLOWS_<FLAG>. It returns ErrHelp after --help, and
// a [UsageError] for wrong flags.
func Parse(flags any, name, description string, args []string, stdout, stderr io.Writer) (*kong.Context, error) {
	helped := false
	parser, err := kong.New(flags,
		kong.Name(name), kong.Description(description), kong.DefaultEnvars("BELLOWS"), kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(describeValue),
	)
	if err != nil {
		return nil, fmt.Errorf("defining flags of %s: %w", name, err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return nil, ErrHelp
	}
	if err != nil {
		return nil, &UsageError{Err: err, Program: programOf(name, err)}
	}
	return parsed, nil
}

// describeValue adds the default to the help of a flag whose place holder would
// otherwise hide it.
func describeValue(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Flag == nil || v.Flag.PlaceHolder == "" || !v.HasDefault {
		return help
	}
	if before, envs, ok := strings.Cut(help, " ($"); ok {
		return before + " (default " + v.Default + ", $" + envs
	}
	return help + " (default " + v.Default + ")"
}

// programOf is the program with the command that was chosen, whose help says
// more than the program's.
func programOf(name string, err error) string {
	var wrong *kong.ParseError
	if !errors.As(err, &wrong) {
		return name
	}
	if chosen := wrong.Context.Selected(); chosen != nil {
		return name + " " + chosen.Path()
	}
	return name
}

// Misuse is the error of a call whose flags and arguments do not go together.
// program is the program and its command, such as "bellows dlq replay".
func Misuse(program, format string, args ...any) error {
	return &UsageError{Err: fmt.Errorf(format, args...), Program: program}
}

// UsageError is a call with wrong flags or arguments.
type UsageError struct {
	Err     error
	Program string
}

// Error says what is wrong, without the program, which [Exit] names in a hint.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Exit reports err on stderr and returns the exit code that belongs to it.
func Exit(stderr io.Writer, program string, err error) int {
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, ErrHelp):
		return ExitDone
	case errors.As(err, &usage):
		Report(stderr, program, &Hint{Err: usage.Err, Hint: fmt.Sprintf("see \"%s --help\"", usage.Program)})
		return ExitUsage
	}
	Report(stderr, program, err)
	return ExitFailed
}
