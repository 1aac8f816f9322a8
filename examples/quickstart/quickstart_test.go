package quickstart_test

import (
	"testing"

	"bellows/examples/quickstart"
	"bellows/internal/config"
	"bellows/internal/manifest"
	"bellows/internal/rules"
)

func TestTheExampleFilesFitTogether(t *testing.T) {
	m, err := manifest.Parse("manifest.yml", quickstart.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if hooks, err := m.Hooks(nil); err != nil || len(hooks) != 2 {
		t.Errorf("Hooks: got %d, %v, want the two endpoints", len(hooks), err)
	}
	file, err := config.Parse("bellows.yaml", quickstart.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rules.Compile(file, m); err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Rules {
		for _, on := range r.On {
			if !called(m, on.Value) {
				t.Errorf("rule %q waits for %q, and no module of the manifest brings that", r.Name, on.Value)
			}
		}
	}
}

// called reports whether a module of the manifest brings what a rule waits for.
func called(m *manifest.Manifest, on string) bool {
	for _, t := range m.Triggers {
		for _, event := range t.Events {
			if event == on {
				return true
			}
		}
	}
	for _, s := range m.Scheduled {
		if on == "scheduled:"+s.Key {
			return true
		}
	}
	return false
}
