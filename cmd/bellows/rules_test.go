package main

import (
	"path/filepath"
	"testing"

	"bellows/internal/daemon"
)

func TestTheRulesThatEverybodyStartsFromHaveNoWarning(t *testing.T) {
	m, r, err := writeQuickstart(filepath.Join(t.TempDir(), "quickstart"))
	if err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := call(t, "rules", "check", r, "--manifest", m, "--strict"); code != daemon.ExitDone {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
