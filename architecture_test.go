package bellows_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says which other rooms each room may import. The lists are the plan;
// an edge that is not here fails the test.
var rooms = map[string][]string{
	"":                               {"internal/atlassian", "internal/daemon", "internal/daemon/workerd", "internal/egress", "internal/jobs", "internal/worker"},
	"internal/jobs":                  {},
	"internal/secret":                {},
	"internal/ops":                   {},
	"internal/manifest":              {},
	"internal/config":                {},
	"internal/embedded":              {},
	"internal/embedded/embeddedtest": {"internal/embedded"},
	"internal/forge":                 {"internal/secret"},
	"internal/rules":                 {"internal/config", "internal/manifest"},
	"internal/ruletest":              {"internal/config", "internal/jobs", "internal/manifest", "internal/rules"},
	"internal/queue":                 {"internal/jobs"},
	"internal/store":                 {},
	"internal/store/storetest":       {"internal/embedded", "internal/embedded/embeddedtest", "internal/store"},
	"internal/vault":                 {"internal/secret", "internal/store"},
	"internal/installations":         {"internal/store"},
	"internal/impersonation":         {"internal/secret", "internal/store"},
	"internal/atlassian":             {"internal/secret"},
	"internal/ingest":                {"internal/forge", "internal/installations", "internal/jobs", "internal/manifest", "internal/queue", "internal/secret", "internal/vault"},
	"internal/worker":                {"internal/atlassian", "internal/config", "internal/egress", "internal/egress/ticket", "internal/impersonation", "internal/installations", "internal/jobs", "internal/queue", "internal/rules", "internal/secret", "internal/vault"},
	"internal/egress":                {"internal/atlassian", "internal/egress/ticket", "internal/impersonation", "internal/installations", "internal/jobs", "internal/secret", "internal/vault"},
	"internal/egress/ticket":         {"internal/secret", "internal/store"},
	"internal/simulator":             {"internal/forge", "internal/manifest", "internal/secret"},
	"internal/daemon":                {"internal/config", "internal/queue", "internal/store"},
	"internal/daemon/ingestd":        {"internal/config", "internal/daemon", "internal/forge", "internal/ingest", "internal/installations", "internal/manifest", "internal/ops", "internal/queue", "internal/secret", "internal/store", "internal/vault"},
	"internal/daemon/workerd":        {"internal/atlassian", "internal/config", "internal/daemon", "internal/egress", "internal/egress/ticket", "internal/impersonation", "internal/installations", "internal/ops", "internal/queue", "internal/rules", "internal/secret", "internal/store", "internal/vault", "internal/worker"},
	"internal/demo":                  {"internal/queue", "internal/simulator"},
	"forgetest":                      {"internal/daemon", "internal/daemon/ingestd", "internal/embedded", "internal/manifest", "internal/queue", "internal/secret", "internal/simulator"},
	"examples/quickstart":            {},
	"examples/triage":                {},
	"cmd/bellows":                    {"examples/quickstart", "internal/config", "internal/daemon", "internal/daemon/ingestd", "internal/daemon/workerd", "internal/demo", "internal/embedded", "internal/forge", "internal/installations", "internal/jobs", "internal/manifest", "internal/queue", "internal/rules", "internal/ruletest", "internal/secret", "internal/simulator", "internal/store", "internal/vault"},
	"cmd/ingest":                     {"internal/daemon", "internal/daemon/ingestd"},
	"cmd/worker":                     {"internal/daemon", "internal/daemon/workerd"},
}

// fences say which rooms alone may import a module, by the start of its path.
var fences = map[string][]string{
	"github.com/nats-io/nats.go":     {"internal/queue", "internal/store", "internal/store/storetest", "internal/embedded", "internal/embedded/embeddedtest"},
	"github.com/nats-io/nats-server": {"internal/embedded"},
	"github.com/golang-jwt/jwt":      {"internal/forge", "internal/simulator"},
	"github.com/sony/gobreaker":      {"internal/atlassian"},
	"github.com/cenkalti/backoff":    {"internal/atlassian"},
	"cel.dev/cel-go":                 {"internal/rules"},
}

// unlinked says what a program must not contain, also not by way of others.
var unlinked = map[string][]string{
	"cmd/ingest": {"cel.dev/cel-go", "github.com/nats-io/nats-server", "bellows/internal/simulator", "bellows/internal/atlassian"},
	"cmd/worker": {"github.com/nats-io/nats-server", "bellows/internal/simulator"},
	// An app of a user's own links no more than cmd/worker.
	"examples/triage": {"github.com/nats-io/nats-server", "bellows/internal/simulator"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Doc        string
	GoFiles    []string
}

func load(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps,Doc,GoFiles", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	packages := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "bellows"), "/")] = p
	}
	if len(packages) < 20 {
		t.Fatalf("go list shows only %d packages", len(packages))
	}
	return packages
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	for name, p := range load(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		allowed, known := rooms[name]
		if !known {
			t.Errorf("room %q is not in the table", name)
			continue
		}
		if p.Doc == "" {
			t.Errorf("room %q does not introduce itself with a package comment", name)
		}
		for _, i := range p.Imports {
			other, inside := strings.CutPrefix(i, "bellows/")
			if inside && !slices.Contains(allowed, other) {
				t.Errorf("room %q imports %q", name, other)
			}
			checkFence(t, name, i)
		}
	}
}

func checkFence(t *testing.T, room, imported string) {
	t.Helper()
	for module, may := range fences {
		if strings.HasPrefix(imported, module) && !slices.Contains(may, room) {
			t.Errorf("room %q imports %q, which only %v may", room, imported, may)
		}
	}
}

func TestProgramsLinkOnlyWhatTheyNeed(t *testing.T) {
	packages := load(t)
	for name, forbidden := range unlinked {
		p, ok := packages[name]
		if !ok {
			t.Errorf("program %q is not there", name)
		}
		for _, dep := range p.Deps {
			for _, f := range forbidden {
				if strings.HasPrefix(dep, f) {
					t.Errorf("program %q links %q", name, dep)
				}
			}
		}
	}
}

func TestNoRoomIsADrawer(t *testing.T) {
	for name := range load(t) {
		for _, word := range []string{"util", "utils", "common", "helpers", "models", "mocks", "pkg"} {
			if slices.Contains(strings.Split(name, "/"), word) {
				t.Errorf("room %q is called %q, which says nothing", name, word)
			}
		}
	}
}
