package workerd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bellows/internal/rules"
)

// ruleText is a rule file with one rule of that name.
func ruleText(name string) string {
	return "version: 1\nrules:\n  - name: " + name + "\n    on: avi:jira:created:issue\n    steps: [{request: {method: GET, path: /rest/api/3/myself}}]\n"
}

const wrongText = `version: 1
rules:
  - name: a
    on: avi:jira:created:issue
    when: evnt.a
    steps: [{request: {method: GET, path: "/x/${nope}"}}]
`

// edited is a rule file that is looked at, with the names of the rules taken
// into use.
type edited struct {
	reloader
	used []string
	log  bytes.Buffer
}

func newEdited(t *testing.T, text string) *edited {
	t.Helper()
	set, err := compileText("bellows.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	e := &edited{}
	e.reloader = reloader{path: filepath.Join(t.TempDir(), "bellows.yaml"), version: set.Version(), log: slog.New(slog.NewTextHandler(&e.log, nil))}
	e.fits = func(set *rules.Set) error {
		if _, ok := set.Rule("taken"); ok {
			return errors.New("a handler has that name")
		}
		return nil
	}
	e.use = func(set *rules.Set) { e.used = append(e.used, set.Rules()[0].Name()) }
	e.write(t, text)
	return e
}

func (e *edited) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(e.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// after looks twice and returns what was logged and used since the last call.
func (e *edited) after() (log, used string) {
	e.log.Reset()
	e.used = nil
	e.look()
	e.look()
	return e.log.String(), strings.Join(e.used, " ")
}

func TestAFileThatIsNotEditedIsNotReloaded(t *testing.T) {
	e := newEdited(t, ruleText("a"))
	if log, used := e.after(); log != "" || used != "" {
		t.Errorf("used %q, logged:\n%s", used, log)
	}
}

func TestAnEditIsUsedOnceAndItsVersionTold(t *testing.T) {
	e := newEdited(t, ruleText("a"))
	e.write(t, ruleText("b"))
	log, used := e.after()
	if used != "b" || strings.Count(log, "\n") != 1 || !strings.Contains(log, "version="+e.version) {
		t.Errorf("used %q, logged:\n%s", used, log)
	}
}

func TestABrokenEditIsToldOnceWithAllPlacesAndNotUsed(t *testing.T) {
	e := newEdited(t, ruleText("a"))
	old := e.version
	e.write(t, wrongText)
	log, used := e.after()
	if used != "" || strings.Count(log, "\n") != 3 || strings.Count(log, "the old ones stay in use") != 1 || !strings.Contains(log, "version="+old) {
		t.Errorf("used %q, logged:\n%s", used, log)
	}
	for _, place := range []string{"5:11", "6:49"} {
		if !strings.Contains(log, fmt.Sprintf("at=%s:%s ", e.path, place)) {
			t.Errorf("does not name %s:\n%s", place, log)
		}
	}
	e.write(t, ruleText("a")) // as it was: right again
	if log, used := e.after(); used != "a" || !strings.Contains(log, "rules are reloaded") {
		t.Errorf("mended: used %q, logged:\n%s", used, log)
	}
}

func TestAFileThatCannotBeUsedKeepsTheRulesThatAre(t *testing.T) {
	e := newEdited(t, ruleText("a"))
	e.look()
	if err := os.Remove(e.path); err != nil {
		t.Fatal(err)
	}
	if log, used := e.after(); used != "" || strings.Count(log, "cannot be used") != 1 || strings.Count(log, "stay in use") != 1 {
		t.Errorf("gone: used %q, logged:\n%s", used, log)
	}
	e.write(t, ruleText("taken"))
	if log, used := e.after(); used != "" || strings.Count(log, "a handler has that name") != 1 {
		t.Errorf("beside a handler of that name: used %q, logged:\n%s", used, log)
	}
	e.write(t, "")
	if log, used := e.after(); used != "" || strings.Count(log, "stay in use") != 1 {
		t.Errorf("empty: used %q, logged:\n%s", used, log)
	}
	e.write(t, ruleText("b"))
	if _, used := e.after(); used != "b" {
		t.Errorf("there again: used %q", used)
	}
}
