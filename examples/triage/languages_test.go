package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bellows"
	"bellows/forgetest"
)

// handlers are the same app in other languages, each in its own folder.
var handlers = []struct{ language, program, folder, file string }{
	{"JavaScript", "node", "../node", "handler.js"},
	{"Python", "python3", "../python", "handler.py"},
}

func TestHandlersInOtherLanguagesMakeTheSameCalls(t *testing.T) {
	t.Parallel()
	want := story(t, run(t))
	if len(want) != 9 {
		t.Fatalf("the app in Go made %d calls, want 9: %+v", len(want), want)
	}
	for _, h := range handlers {
		t.Run(h.language, func(t *testing.T) {
			t.Parallel()
			program, err := exec.LookPath(h.program)
			if err != nil {
				t.Skipf("SKIPPED: %s is not installed here, so the handler in %s was not run", h.program, h.language)
			}
			at := serve(t, program, filepath.Join(h.folder, h.file))
			app := forgetest.Run(t, forgetest.Config{Manifest: filepath.Join(h.folder, "manifest.yml"), Rules: rulesFor(t, h.folder, at), Handlers: new(bellows.Mux)})
			if got := story(t, app); !reflect.DeepEqual(got, want) {
				t.Errorf("the calls in %s are\n%+v\nwant\n%+v", h.language, got, want)
			}
			if letters := app.DeadLetters(); len(letters) > 0 {
				t.Errorf("there are dead letters: %+v", letters)
			}
			loseAnAnswer(t, app)
		})
	}
}

// story lets a bug be reported, one be handed over, and one be reported while
// Jira limits calls; it returns the calls.
func story(t *testing.T, app *forgetest.App) []decoded {
	t.Helper()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	app.Person("712020:ann")
	app.Trigger("avi:jira:assigned:issue", "issue.key=PEL-1", "atlassianId=712020:ann")
	app.Wait()
	app.Fault(forgetest.Fault{Method: http.MethodPut, Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 1})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-2")
	app.Wait()
	return decode(t, app.Calls())
}

// loseAnAnswer has a comment written whose answer is lost, and fails unless it
// is written once and given to a person.
func loseAnAnswer(t *testing.T, app *forgetest.App) {
	t.Helper()
	app.Forget()
	app.Fault(forgetest.Fault{Method: http.MethodPost, Path: "/rest/api/3/issue/PEL-3/comment", Effect: true})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-3")
	app.Wait()
	if calls, letters := app.Calls(), app.DeadLetters(); len(calls) != 2 || len(letters) != 1 || letters[0].Reason != "rejected" || letters[0].Status != http.StatusUnprocessableEntity {
		t.Errorf("after a lost answer there are the calls %v and the dead letters %+v, want a look, a comment, and one letter with 422", calls, letters)
	}
}

// serve starts a handler on a free port and returns its address once it
// listens.
func serve(t *testing.T, program, file string) string {
	t.Helper()
	if _, err := os.ReadFile(file); err != nil { // so that go test knows what its result depends on
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, file)
	command.Env = append(os.Environ(), "PORT=0", "PYTHONDONTWRITEBYTECODE=1")
	command.Stderr = t.Output()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it says that it was killed
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	at, ok := strings.CutPrefix(strings.TrimSpace(line), "listening at ")
	if err != nil || !ok {
		t.Fatalf("%s said %q (%v), want where it listens", file, line, err)
	}
	return at
}

// rulesFor returns a copy of the folder's rule file with the address of the
// handler in it.
func rulesFor(t *testing.T, folder, at string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "bellows.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const written = "http://127.0.0.1:3000"
	if strings.Count(string(text), written) != 2 {
		t.Fatalf("the rule file of %s does not name %s twice", folder, written)
	}
	name := filepath.Join(t.TempDir(), "bellows.yaml")
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), written, at)), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
