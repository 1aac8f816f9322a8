package bellows_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellows"
	"bellows/forgetest"
)

// outcome is a handler and what becomes of its job. Reason "" is done.
type outcome struct {
	name, reason, says string
	handle             func(context.Context, *bellows.Job) error
	options            []bellows.Option
}

// comment writes a comment on an issue.
func comment(ctx context.Context, c *bellows.Client, issue string, out any) error {
	return c.Do(ctx, http.MethodPost, bellows.Pathf("/rest/api/3/issue/%s/comment", issue), text("Seen."), out)
}

var outcomes = []outcome{
	{"nil-is-done", "", "", func(context.Context, *bellows.Job) error { return nil }, nil},
	{"a-panic-is-fatal", "fatal", "no luck", func(context.Context, *bellows.Job) error { panic("no luck") }, nil},
	{"an-error-is-an-attempt", "exhausted", "odd weather", func(context.Context, *bellows.Job) error { return errors.New("odd weather") }, []bellows.Option{bellows.MaxAttempts(1)}},
	{"a-body-of-another-shape-is-fatal", "fatal", "decoding the body", func(_ context.Context, job *bellows.Job) error {
		var body struct{ Issue []string }
		return job.Decode(&body)
	}, nil},
	{"a-wrapped-status-decides", "rejected", "status 404", func(ctx context.Context, job *bellows.Job) error {
		return fmt.Errorf("looking: %w", job.App().Do(ctx, http.MethodGet, "/rest/api/3/issue/NONE-1", nil, nil))
	}, nil},
	{"nobody-is-in-session", "fatal", "there is no user", func(ctx context.Context, job *bellows.Job) error {
		return comment(ctx, job.User(), "NOBODY-1", nil)
	}, nil},
	{"an-empty-account-is-not-the-app", "fatal", "account id is empty", func(ctx context.Context, job *bellows.Job) error {
		return comment(ctx, job.As(""), "EMPTY-1", nil)
	}, nil},
	{"a-path-cannot-lead-elsewhere", "fatal", "dot segment", func(ctx context.Context, job *bellows.Job) error {
		return job.App().Do(ctx, http.MethodDelete, bellows.Pathf("/rest/api/3/issue/ELSE-1/comment/%s", ".."), nil, nil)
	}, nil},
	{"an-empty-last-segment-is-refused", "fatal", "dot segment", func(ctx context.Context, job *bellows.Job) error {
		return job.App().Do(ctx, http.MethodDelete, bellows.Pathf("/rest/api/3/issue/%s", ""), nil, nil)
	}, nil},
	{"another-host-is-refused", "fatal", "not below an API", func(ctx context.Context, job *bellows.Job) error {
		response, err := job.App().HTTPClient().Get("https://evil.example/")
		if err == nil {
			response.Body.Close()
		}
		return err
	}, nil},
	{"a-lost-answer-is-for-a-person", "unknown_effect", "LOST-1", func(ctx context.Context, job *bellows.Job) error {
		return comment(ctx, job.App(), "LOST-1", nil)
	}, nil},
	{"a-lost-answer-of-a-repeatable-step-is-tried-again", "", "", func(ctx context.Context, job *bellows.Job) error {
		return job.Step(ctx, "comment", func(ctx context.Context) error { return comment(ctx, job.App(), "AGAIN-1", nil) }, bellows.Repeatable())
	}, nil},
	{"an-answer-of-another-shape-is-not-asked-for-twice", "rejected", "unreadable", func(ctx context.Context, job *bellows.Job) error {
		var list []string
		return comment(ctx, job.App(), "SHAPE-1", &list)
	}, nil},
	{"an-unknown-product-is-fatal", "fatal", "confluence", func(ctx context.Context, job *bellows.Job) error {
		return job.App().Product("confluence").Do(ctx, http.MethodGet, "/wiki/api/v2/pages", nil, nil)
	}, nil},
}

func TestWhatAHandlerReturnsDecides(t *testing.T) {
	t.Parallel()
	var mux bellows.Mux
	for _, o := range outcomes {
		mux.Handle("avi:jira:created:issue", o.handle, append(o.options, bellows.Name(o.name))...)
	}
	app := forgetest.Run(t, forgetest.Config{Manifest: manifest, Handlers: &mux})
	for _, issue := range []string{"LOST-1", "AGAIN-1"} {
		app.Fault(forgetest.Fault{Method: http.MethodPost, Path: "/rest/api/3/issue/" + issue + "/comment", Effect: true, Times: 1})
	}
	for _, issue := range []string{"LOST-1", "AGAIN-1", "SHAPE-1", "NOBODY-1", "EMPTY-1"} {
		app.Trigger("avi:jira:assigned:issue", "issue.key="+issue)
	}
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()

	letters := map[string]forgetest.DeadLetter{}
	for _, l := range app.DeadLetters() {
		letters[l.Handler] = l
	}
	for _, o := range outcomes {
		l := letters[o.name]
		if l.Reason != o.reason || !strings.Contains(l.Error, o.says) && !strings.Contains(l.Path, o.says) {
			t.Errorf("%s: it is %q at %q: %s; want %q with %q", o.name, l.Reason, l.Path, l.Error, o.reason, o.says)
		}
	}
	made := map[string]int{}
	for _, c := range app.Calls() {
		if c.Method != http.MethodGet {
			made[c.Method+" "+c.Path]++
		}
	}
	for issue, want := range map[string]int{"LOST-1": 1, "AGAIN-1": 2, "SHAPE-1": 1} {
		if got := made["POST /rest/api/3/issue/"+issue+"/comment"]; got != want {
			t.Errorf("%s got %d comments, want %d", issue, got, want)
		}
	}
	if len(made) != 3 {
		t.Errorf("there were other calls: %v", made)
	}
}

func TestAJobTellsWhatItIs(t *testing.T) {
	t.Parallel()
	var mux bellows.Mux
	var got bellows.Job
	var data []byte
	mux.Handle("scheduled:hourly", func(_ context.Context, job *bellows.Job) error {
		got, data = *job, job.Data()
		return nil
	})
	app := forgetest.Run(t, forgetest.Config{Manifest: manifest, Handlers: &mux})
	app.Scheduled("hourly")
	app.Wait()
	if got.ID == "" || got.Type != "bellows.scheduled" || got.Trigger != "hourly" || got.Attempt != 1 || got.Principal != "" ||
		got.AppVersion != "1.0.0" || got.Environment != "PRODUCTION" || got.Trace == "" || time.Since(got.Received) > time.Minute || len(data) == 0 {
		t.Errorf("got %+v with data %s", got, data)
	}
	if i := got.Installation; i.ID == "" || len(i.Products) != 1 || i.Products[0].Name != "jira" || i.Products[0].CloudID == "" {
		t.Errorf("got the installation %+v", i)
	}
}

func TestAFollowUpJobAskedForTwiceRunsOnce(t *testing.T) {
	t.Parallel()
	var mux bellows.Mux
	var asked, ran []string
	mux.Handle("scheduled:hourly", func(ctx context.Context, job *bellows.Job) error {
		for _, data := range []string{"a", "a", "b"} {
			id, err := job.Enqueue(ctx, "next", data, 0)
			if err != nil {
				return err
			}
			asked = append(asked, id)
		}
		return job.Progress(ctx, map[string]int{"done": 3})
	})
	mux.Handle("call:next", func(_ context.Context, job *bellows.Job) error {
		ran = append(ran, job.Route+string(job.Data()))
		return nil
	})
	app := forgetest.Run(t, forgetest.Config{Manifest: manifest, Handlers: &mux, Flags: []string{"--concurrency", "1"}})
	app.Scheduled("hourly")
	app.Wait()
	if len(asked) != 3 || asked[0] != asked[1] || asked[1] == asked[2] {
		t.Errorf("got the ids %v, want the same twice and another", asked)
	}
	if len(ran) != 2 || !strings.Contains(strings.Join(ran, " "), `next"a"`) || !strings.Contains(strings.Join(ran, " "), `next"b"`) {
		t.Errorf("%v ran, want a and b, each once", ran)
	}
	if letters := app.DeadLetters(); len(letters) > 0 {
		t.Errorf("there are dead letters: %+v", letters)
	}
}
