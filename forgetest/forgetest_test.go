package forgetest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bellows"
	"bellows/forgetest"
)

const manifest = "../examples/quickstart/manifest.yml"

func TestRulesRunBesideHandlers(t *testing.T) {
	t.Parallel()
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		return job.App().Do(ctx, http.MethodGet, "/rest/api/3/myself", nil, nil)
	})
	app := forgetest.Run(t, forgetest.Config{Manifest: manifest, Rules: "../examples/quickstart/bellows.yaml", Handlers: &mux})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	calls := app.Calls()
	if len(calls) != 2 {
		t.Fatalf("got the calls %v, want one of the handler and one of the rule", calls)
	}
	for _, want := range []string{"GET /rest/api/3/myself as app: 200", "POST /rest/api/3/issue/PEL-1/comment as app: 201"} {
		if calls[0].String() != want && calls[1].String() != want {
			t.Errorf("got the calls %v, want %q among them", calls, want)
		}
	}
	app.Forget()
	if calls := app.Calls(); len(calls) > 0 {
		t.Errorf("forgotten calls are told: %v", calls)
	}
}

func TestADeadLetterIsReplayedBehindItsSteps(t *testing.T) {
	t.Parallel()
	var mux bellows.Mux
	mended := false
	mux.Handle("scheduled:hourly", func(ctx context.Context, job *bellows.Job) error {
		err := job.Step(ctx, "look", func(ctx context.Context) error {
			return job.App().Do(ctx, http.MethodGet, "/rest/api/3/myself", nil, nil)
		})
		if err != nil || mended {
			return err
		}
		return bellows.Fatal(errors.New("the template is missing"))
	})
	app := forgetest.Run(t, forgetest.Config{Manifest: manifest, Handlers: &mux})
	app.Scheduled("hourly")
	app.Wait()
	letters := app.DeadLetters()
	if len(letters) != 1 || letters[0].Reason != "fatal" || letters[0].Error != "the template is missing" || letters[0].Handler != "scheduled-hourly" || letters[0].Attempts != 1 {
		t.Fatalf("got the dead letters %+v", letters)
	}
	mended = true
	app.Replay()
	app.Wait()
	if letters := app.DeadLetters(); len(letters) > 0 {
		t.Errorf("after the replay there are dead letters: %+v", letters)
	}
	if calls := app.Calls(); len(calls) != 1 {
		t.Errorf("the step was done %d times, want once", len(calls))
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	broken := filepath.Join(t.TempDir(), "bellows.yaml")
	if err := os.WriteFile(broken, []byte("version: 1\nrules: [{name: a, on: x y}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config forgetest.Config
		want   string
	}{
		"no manifest":   {forgetest.Config{Manifest: "none.yml"}, "none.yml"},
		"a wrong rule":  {forgetest.Config{Manifest: manifest, Rules: broken}, "bellows.yaml:2:"},
		"nothing to do": {forgetest.Config{Manifest: manifest, Handlers: new(bellows.Mux)}, "there are no handlers"},
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.Contains(said, test.want) {
					t.Errorf("%s: it said %q, want %q", name, said, test.want)
				}
			}()
			app := forgetest.Start(test.config)
			defer app.Close()
			app.Trigger("avi:jira:created:issue") // it is accepted: ingest runs
			app.Wait()
		}()
	}
}
