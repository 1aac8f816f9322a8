package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bellows/internal/config"
)

func mustLoad(t *testing.T) *config.File {
	t.Helper()
	file, err := config.Load(filepath.Join("testdata", "bellows.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// texts writes values and the places they stand at.
func texts(all ...config.Text) (written []string) {
	for _, text := range all {
		written = append(written, fmt.Sprintf("%d:%d %s", text.Pos.Line, text.Pos.Column, text.Value))
	}
	return written
}

func params(all []config.Param) (written []string) {
	for _, p := range all {
		written = append(written, p.Name.Value+"="+p.Value.Value)
	}
	return written
}

func TestARuleIsRead(t *testing.T) {
	file := mustLoad(t)
	rule := file.Rules[0]
	same(t, "version", file.Version, 1)
	same(t, "name", rule.Name, "triage-bugs")
	same(t, "place", rule.Pos, config.Pos{Line: 3, Column: 5})
	same(t, "on", texts(rule.On...), []string{"4:10 avi:jira:created:issue", "4:34 avi:jira:*:comment"})
	same(t, "when", texts(*rule.When), []string{"5:11 event.issue.fields.issuetype.name == 'Bug' && !event.?selfGenerated.orValue(false)"})
	same(t, "as", rule.As.Kind, config.AsAccount)
	same(t, "account", texts(*rule.As.Account), []string{"6:16 event.atlassianId"})
	same(t, "product", rule.Product, "jira")
	same(t, "attempts", rule.MaxAttempts, 5)
	same(t, "age", rule.MaxAge, 48*time.Hour)
}

func TestAStepIsRead(t *testing.T) {
	step := mustLoad(t).Rules[0].Steps[0]
	request := step.Request
	same(t, "name", step.Name, "comment")
	same(t, "repeatable", step.Repeatable, true)
	same(t, "timeout", step.Timeout, 90*time.Second)
	same(t, "api", request.API, config.APIProduct)
	same(t, "method", request.Method, "POST")
	same(t, "path", texts(request.Path), []string{"17:17 /rest/api/3/issue/${event.issue.key}/comment"})
	same(t, "query", params(request.Query), []string{"expand=renderedBody", "expand=properties", "notify=false", "max=5"})
	same(t, "headers", params(request.Headers), []string{"x-job=${job.id}"})
}

func TestABodyKeepsItsOrderAndTypes(t *testing.T) {
	body := mustLoad(t).Rules[0].Steps[0].Request.Body
	var written []string
	for _, m := range body.Members {
		switch m.Value.Kind {
		case config.ScalarValue:
			written = append(written, m.Key+": "+string(m.Value.JSON))
		case config.StringValue:
			written = append(written, m.Key+": "+texts(m.Value.Text)[0])
		case config.ListValue:
			written = append(written, fmt.Sprintf("%s: %d items", m.Key, len(m.Value.Items)))
		}
	}
	same(t, "members", written, []string{
		"note: 20:24 ${event.issue.key} seen", "n: 16", "f: 1.5", "b: true", "z: null", "day: 20:91 2026-01-02", "l: 2 items",
	})
}

func TestWhatIsLeftOutIsZero(t *testing.T) {
	file := mustLoad(t)
	rule := file.Rules[1]
	same(t, "on", texts(rule.On...), []string{"23:9 scheduled:nightly"})
	if rule.When != nil || rule.As != (config.As{}) || rule.Product != "" || rule.MaxAttempts != 0 || rule.MaxAge != 0 {
		t.Errorf("got %+v", rule)
	}
	same(t, "name of an unnamed step", rule.Steps[0].Name, "step-1")
	same(t, "name of the second", file.Rules[0].Steps[1].Name, "step-2")
	same(t, "api", rule.Steps[0].Request.API, config.APIProduct)
	same(t, "method of graphql", file.Rules[0].Steps[1].Request.Method, "POST")
}

func TestRoutesAreRead(t *testing.T) {
	routes := mustLoad(t).Routes
	same(t, "enqueue", routes[0], config.Route{
		Name: "export", Path: "/export", Methods: []string{"POST"},
		Enqueue: &config.Enqueue{Keep: time.Hour}, Pos: config.Pos{Line: 27, Column: 5},
	})
	same(t, "forward", routes[1], config.Route{
		Name: "tasks", Path: "/tasks/**", Methods: []string{"GET", "POST"},
		Forward: &config.Forward{URL: "http://127.0.0.1:3000", Timeout: 20 * time.Second, MaxBody: 25 << 20},
		Pos:     config.Pos{Line: 28, Column: 5},
	})
}

func TestAFileThatCannotBeReadSaysWhy(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "bellows.yaml"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "reading configuration ") {
		t.Errorf("got %v", err)
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	file, err := config.Parse("b", []byte("version: 1\nrules:\n- name: a\n  on: &on [avi:jira:created:issue]\n  steps: &steps [{request: {method: GET, path: /x}}]\n- name: b\n  on: *on\n  steps: *steps\n"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "on", file.Rules[1].On[0].Value, "avi:jira:created:issue")
	same(t, "path", file.Rules[1].Steps[0].Request.Path.Value, "/x")
}

func TestAliasesInAliasesEnd(t *testing.T) {
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n- name: a\n  on: avi:a:b\n  steps:\n  - request:\n      method: POST\n      path: /x\n      body:\n        a0: &a0 [x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&text, "        a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1)
	}
	_, err := config.Parse("b", []byte(text.String()))
	if err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Errorf("got %v", err)
	}
}

func TestEverythingWrongIsToldAtOnceInOrder(t *testing.T) {
	_, err := config.Parse("b.yaml", []byte("rules:\n- nam: a\n  on: []\n  steps: [{}]\nversion: 2\n"))
	want := strings.Join([]string{
		`b.yaml:2:3: unknown member "nam" in a rule, did you mean "name"?`,
		`b.yaml:2:3: a rule needs "name"`,
		`b.yaml:3:7: on is an empty list, want at least one pattern`,
		`b.yaml:4:11: a step needs "request"`,
		`b.yaml:5:10: version is "2", this version of bellows reads 1`,
	}, "\n")
	if fmt.Sprint(err) != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	seed, err := os.ReadFile(filepath.Join("testdata", "bellows.yaml"))
	if err != nil || len(seed) == 0 || len(wrongs) == 0 {
		f.Fatal("no seeds", err)
	}
	f.Add(string(seed))
	for _, w := range wrongs {
		f.Add(w.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := config.Parse("b", []byte(text))
		if err == nil {
			return
		}
		var failed *config.Error
		if !errors.As(err, &failed) || len(failed.Issues) == 0 {
			t.Fatalf("got %v, want issues", err)
		}
		for _, issue := range failed.Issues {
			if issue.Line < 1 || issue.Column < 1 || strings.Contains(issue.Message, "\n") {
				t.Errorf("got %+v, want a place and one line", issue)
			}
		}
	})
}

func Example() {
	_, err := config.Parse("bellows.yaml", []byte(`version: 1
rules:
  - name: greet
    on: avi:jira:created:issue
    steps:
      - request: {method: post, pth: /rest/api/3/issue}
`))
	fmt.Println(err)
	// Output:
	// bellows.yaml:6:18: a request needs "path"
	// bellows.yaml:6:27: method is "post", did you mean "POST"?
	// bellows.yaml:6:33: unknown member "pth" in a request, did you mean "path"?
}
