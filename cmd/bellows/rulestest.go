package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"bellows/internal/daemon"
	"bellows/internal/ruletest"
)

type rulesTestCmd struct {
	File string `arg:"" name:"file" help:"The rule file, such as bellows.yaml."`
	JSON bool   `name:"json" help:"As JSON."`
}

// Help is shown after the one-line help.
func (rulesTestCmd) Help() string {
	return `The tests of bellows.yaml stand in bellows_test.yaml, and in any number of bellows_NAME_test.yaml. A test gives an
event and the answers of Atlassian, and says which calls must be made and what becomes of the job. Nothing is
sent anywhere. Exit code 1 when a test does not hold, and when there is none.

    bellows rules test bellows.yaml
    bellows rules test bellows.yaml --json | jq '.tests[] | select(.ok | not)'

    # bellows_test.yaml
    tests:
      - name: a bug gets a comment
        event: {eventType: "avi:jira:created:issue", issue: {key: PEL-42}}
        expect:
          calls: [{request: POST /rest/api/3/issue/PEL-42/comment}]

docs/rules.md has every member of a test.`
}

// tested is what became of the tests of a rule file.
type tested struct {
	File   string       `json:"file"`
	Tests  []testedLine `json:"tests"`
	Held   int          `json:"held"`
	Failed int          `json:"failed"`
}

type testedLine struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	OK      bool   `json:"ok"`
	Failure string `json:"failure,omitempty"`
}

// Run runs the tests.
func (c *rulesTestCmd) Run(ctx context.Context, t terminal) error {
	report, failed := ruletest.Run(ctx, c.File, ruletest.Options{})
	if len(report.Results) == 0 {
		if failed == nil {
			failed = c.none()
		}
		return explainFile(c.File, failed)
	}
	if err := c.tell(t, report); err != nil {
		return err
	}
	if failed == nil && report.Failed() > 0 {
		failed = fmt.Errorf("testing %q: %d of %s failed", c.File, report.Failed(), count(len(report.Results), "test"))
	}
	return failed
}

// none is the error of a file without tests: to call that a success would let
// a wrong name of a file pass for years.
func (c *rulesTestCmd) none() error {
	base := strings.TrimSuffix(filepath.Base(c.File), filepath.Ext(c.File))
	return &daemon.Hint{
		Err:  fmt.Errorf("testing %q: there are no tests beside it", c.File),
		Hint: fmt.Sprintf("write them into %s; \"bellows rules test --help\" shows one", filepath.Join(filepath.Dir(c.File), base+"_test.yaml")),
	}
}

func (c *rulesTestCmd) tell(t terminal, report ruletest.Report) error {
	if !c.JSON {
		return report.Write(t.out)
	}
	out := tested{File: c.File, Failed: report.Failed(), Held: len(report.Results) - report.Failed(), Tests: []testedLine{}}
	for _, r := range report.Results {
		out.Tests = append(out.Tests, testedLine{Name: r.Name, File: r.File, Line: r.Line, OK: r.Failure == "", Failure: r.Failure})
	}
	return t.json(out)
}
