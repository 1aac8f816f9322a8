package ruletest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bellows/internal/config"
	"bellows/internal/rules"
	"bellows/internal/ruletest"
)

// block is a fenced block of YAML and the line it begins on.
type block struct {
	line int
	text string
}

func yamlBlocks(t *testing.T, path string) (blocks []block) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(data), "\n") {
		switch {
		case line == "```yaml":
			inside = true
			blocks = append(blocks, block{line: i + 2})
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			blocks[len(blocks)-1].text += line + "\n"
		}
	}
	return blocks
}

func TestTheExamplesOfTheDocumentationHold(t *testing.T) {
	blocks := yamlBlocks(t, filepath.Join("..", "..", "docs", "rules.md"))
	if len(blocks) < 12 {
		t.Fatalf("got %d blocks", len(blocks))
	}
	var set *rules.Set
	tested := make(map[string]bool)
	for _, b := range blocks {
		name := fmt.Sprintf("rules.md:%d", b.line)
		if strings.HasPrefix(b.text, "version:") {
			set = compileText(t, name, b.text)
			continue
		}
		if set == nil {
			t.Fatalf("%s: a test without rules before it", name)
		}
		report, err := ruletest.RunText(context.Background(), set, name, []byte(b.text), ruletest.Options{})
		if err != nil || len(report.Results) == 0 {
			t.Errorf("%d results, %v", len(report.Results), err)
		}
		for _, result := range report.Results {
			if result.Failure != "" {
				t.Errorf("%s: %s:\n%s", name, result.Name, result.Failure)
			}
		}
		tested[set.Version()] = true
	}
	for _, b := range blocks {
		if strings.HasPrefix(b.text, "version:") && !tested[compileText(t, "", b.text).Version()] {
			t.Errorf("the rules at line %d have no test", b.line)
		}
	}
}

func compileText(t *testing.T, name, text string) *rules.Set {
	t.Helper()
	file, err := config.Parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
