// Package ruletest runs the tests that stand beside a rule file: for an event
// and the answers that Atlassian would give, which calls a rule makes and what
// becomes of its job. Nothing is sent anywhere.
//
// The tests of bellows.yaml stand in bellows_test.yaml, and in any number of
// files named bellows_NAME_test.yaml:
//
//	tests:
//	  - name: a bug gets a comment
//	    event_file: testdata/issue-created.json
//	    answers:
//	      - {request: POST /rest/api/3/issue/PEL-42/comment, status: 201}
//	    expect:
//	      calls:
//	        - request: POST /rest/api/3/issue/PEL-42/comment
//	          body: {note: PEL-42 seen}
//
// [Run] fails when a file cannot be read or says something that no test can
// mean, at its line; a test that does not hold is no error but a [Result] with
// the difference.
package ruletest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bellows/internal/config"
	"bellows/internal/jobs"
	"bellows/internal/manifest"
	"bellows/internal/rules"
)

// Options say how tests are run. The zero Options are right for most.
type Options struct {
	// Manifest, unless nil, is what the rules are checked against.
	Manifest *manifest.Manifest

	// Run carries out one job of a rule; nil means [Interpret].
	Run func(context.Context, Case) Outcome
}

// Case is one job to carry out.
type Case struct {
	Rule  *rules.Rule
	Input rules.Input

	// Do answers a call with what the test says. An error means that the test
	// has no answer, which ends the job.
	Do func(rules.Call) (rules.Answer, error)
}

// Outcome is what became of a job.
type Outcome struct {
	Action  jobs.Action
	Reason  jobs.Reason   // of jobs.ActionDead
	Delay   time.Duration // of jobs.ActionDelay, the least it may be
	Message string        // why; "" when the job is done
}

// Result is what became of one test.
type Result struct {
	Name string
	File string
	Line int // counts from 1

	// Failure says in several lines why the test does not hold; "" when it
	// does.
	Failure string
}

// Report is what became of all tests, in the order of the files.
type Report struct{ Results []Result }

// Failed counts the tests that do not hold.
func (r Report) Failed() int {
	failed := 0
	for _, result := range r.Results {
		if result.Failure != "" {
			failed++
		}
	}
	return failed
}

// Write writes a line for each test, with the differences of those that do not
// hold, and a last line with their number.
func (r Report) Write(w io.Writer) error {
	var out strings.Builder
	for _, result := range r.Results {
		if result.Failure == "" {
			fmt.Fprintf(&out, "ok    %s\n", result.Name)
			continue
		}
		fmt.Fprintf(&out, "FAIL  %s (%s:%d)\n", result.Name, result.File, result.Line)
		for line := range strings.Lines(result.Failure) {
			fmt.Fprintf(&out, "      %s\n", strings.TrimRight(line, "\n"))
		}
	}
	fmt.Fprintf(&out, "%d of %d tests hold\n", len(r.Results)-r.Failed(), len(r.Results))
	_, err := io.WriteString(w, out.String())
	return err
}

// Run compiles the rule file at path and runs the tests beside it; none is an
// empty Report. Errors of the rule file are those of config.Load and
// rules.Compile.
func Run(ctx context.Context, path string, options Options) (Report, error) {
	var report Report
	set, err := load(path, options.Manifest)
	if err != nil {
		return report, err
	}
	files, err := testFiles(path)
	if err != nil {
		return report, err
	}
	var errs []error
	for _, name := range files {
		tests, err := readFile(name)
		errs = append(errs, err)
		for _, test := range tests {
			report.Results = append(report.Results, test.run(ctx, set, options))
		}
	}
	return report, errors.Join(errs...)
}

// RunText runs the tests in the text of a test file against rules already
// compiled. name stands for the file in errors, and its directory is where
// event files are looked for.
func RunText(ctx context.Context, set *rules.Set, name string, text []byte, options Options) (Report, error) {
	var report Report
	tests, err := parse(name, text)
	for _, test := range tests {
		report.Results = append(report.Results, test.run(ctx, set, options))
	}
	return report, err
}

func load(path string, m *manifest.Manifest) (*rules.Set, error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	return rules.Compile(file, m)
}

// testFiles finds the test files beside a rule file.
func testFiles(path string) ([]string, error) {
	base := strings.TrimSuffix(path, filepath.Ext(path))
	var all []string
	for _, pattern := range []string{"_test.yaml", "_test.yml", "_*_test.yaml", "_*_test.yml"} {
		found, err := filepath.Glob(quoteGlob(base) + pattern)
		if err != nil {
			return nil, fmt.Errorf("looking for tests beside %q: %w", path, err)
		}
		all = append(all, found...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// quoteGlob makes a path stand for itself in a pattern.
func quoteGlob(path string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path)
}
