package quickstart_test

import (
	"testing"

	"bellows/examples/quickstart"
	"bellows/internal/config"
	"bellows/internal/ruletest"
)

func TestTheTestsOfTheExampleHold(t *testing.T) {
	report, err := ruletest.Run(t.Context(), "bellows.yaml", ruletest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := config.Parse("bellows.yaml", quickstart.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) < len(file.Rules) {
		t.Errorf("got %d tests for %d rules", len(report.Results), len(file.Rules))
	}
	for _, r := range report.Results {
		if r.Failure != "" {
			t.Errorf("%s:%d: %s:\n%s", r.File, r.Line, r.Name, r.Failure)
		}
	}
}
