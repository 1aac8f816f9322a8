package bellows_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"bellows"
	"bellows/forgetest"
)

// issueEvent is what the examples read of an event.
type issueEvent struct {
	AtlassianID string `json:"atlassianId"`
	Issue       struct {
		Key string `json:"key"`
	} `json:"issue"`
}

// manifest is that of the app in the examples.
const manifest = "examples/quickstart/manifest.yml"

// text is a comment in Atlassian's document format.
func text(words string) map[string]any {
	return map[string]any{"body": map[string]any{"type": "doc", "version": 1, "content": []any{
		map[string]any{"type": "paragraph", "content": []any{map[string]any{"type": "text", "text": words}}},
	}}}
}

// A bug is reported, and the app answers. A real app calls bellows.Handle and
// bellows.Main; forgetest runs the same in an example.
func ExampleHandle() {
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		var event issueEvent
		if err := job.Decode(&event); err != nil {
			return err
		}
		path := bellows.Pathf("/rest/api/3/issue/%s/comment", event.Issue.Key)
		return job.App().Do(ctx, http.MethodPost, path, text("Thank you."), nil)
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	for _, call := range app.Calls() {
		fmt.Println(call)
	}
	// Output:
	// POST /rest/api/3/issue/PEL-1/comment as app: 201
}

// A comment in the name of a person who is not there.
func ExampleJob_As() {
	var mux bellows.Mux
	mux.Handle("avi:jira:assigned:issue", func(ctx context.Context, job *bellows.Job) error {
		var event issueEvent
		if err := job.Decode(&event); err != nil {
			return err
		}
		path := bellows.Pathf("/rest/api/3/issue/%s/comment", event.Issue.Key)
		return job.As(event.AtlassianID).Do(ctx, http.MethodPost, path, text("I have handed this over."), nil)
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Person("712020:ann")
	app.Trigger("avi:jira:assigned:issue", "issue.key=PEL-1", "atlassianId=712020:ann")
	app.Wait()
	for _, call := range app.Calls() {
		fmt.Println(call)
	}
	// Output:
	// POST /rest/api/3/issue/PEL-1/comment as 712020:ann: 201
}

// The second call fails at first. When the job is tried again, the comment is
// not written again.
func ExampleJob_Step() {
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		err := job.Step(ctx, "comment", func(ctx context.Context) error {
			return job.App().Do(ctx, http.MethodPost, "/rest/api/3/issue/PEL-1/comment", text("Thank you."), nil)
		})
		if err != nil {
			return err
		}
		return job.App().Do(ctx, http.MethodPut, "/rest/api/3/issue/PEL-1/properties/thanked", true, nil)
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Fault(forgetest.Fault{Method: http.MethodPut, Status: http.StatusTooManyRequests, RetryAfter: "1", Times: 1})
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	for _, call := range app.Calls() {
		fmt.Println(call)
	}
	// Output:
	// POST /rest/api/3/issue/PEL-1/comment as app: 201
	// PUT /rest/api/3/issue/PEL-1/properties/thanked as app: 429
	// PUT /rest/api/3/issue/PEL-1/properties/thanked as app: 201
}

// The result of a step is kept with it.
func ExampleStepValue() {
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		id, err := bellows.StepValue(ctx, job, "comment", func(ctx context.Context) (string, error) {
			var comment struct {
				ID string `json:"id"`
			}
			err := job.App().Do(ctx, http.MethodPost, "/rest/api/3/issue/PEL-1/comment", text("Thank you."), &comment)
			return comment.ID, err
		})
		if err != nil {
			return err
		}
		if job.Attempt == 1 {
			return errors.New("something fails behind the step")
		}
		fmt.Println("attempt", job.Attempt, "knows the comment:", id != "")
		return nil
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	fmt.Println("calls:", len(app.Calls()))
	// Output:
	// attempt 2 knows the comment: true
	// calls: 1
}

// A handler that has to wait gets its job again. The attempt does not count.
func ExampleRetryAfter() {
	var mux bellows.Mux
	asked := 0
	mux.Handle("scheduled:hourly", func(context.Context, *bellows.Job) error {
		if asked++; asked == 1 {
			return fmt.Errorf("the export is not ready: %w", bellows.RetryAfter(time.Second))
		}
		return nil
	}, bellows.MaxAttempts(1))

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Scheduled("hourly")
	app.Wait()
	fmt.Println("asked", asked, "times; dead letters:", len(app.DeadLetters()))
	// Output:
	// asked 2 times; dead letters: 0
}

// What no other try would mend goes to a person.
func ExampleFatal() {
	var mux bellows.Mux
	mux.Handle("scheduled:hourly", func(context.Context, *bellows.Job) error {
		return bellows.Fatal(errors.New("there is no template for this site"))
	}, bellows.Name("export"))

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Scheduled("hourly")
	app.Wait()
	for _, letter := range app.DeadLetters() {
		fmt.Printf("%s is %s: %s\n", letter.Handler, letter.Reason, letter.Error)
	}
	// Output:
	// export is fatal: there is no template for this site
}

// Some answers are no failure for an app.
func ExampleStatusError() {
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		err := job.App().Do(ctx, http.MethodDelete, "/rest/api/3/issue/PEL-7", nil, nil)
		var status *bellows.StatusError
		if errors.As(err, &status) && status.Status == http.StatusNotFound {
			fmt.Println("it is gone already:", status.Message)
			return nil
		}
		return err
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	fmt.Println("dead letters:", len(app.DeadLetters()))
	// Output:
	// it is gone already: Issue does not exist or you do not have permission to see it.
	// dead letters: 0
}

// Any REST client that takes an *http.Client or its transport calls Atlassian
// as bellows does.
func ExampleClient_HTTPClient() {
	var mux bellows.Mux
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		client := job.App().Product("jira")
		base, err := client.BaseURL(ctx)
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/rest/api/3/myself", nil)
		if err != nil {
			return err
		}
		response, err := client.HTTPClient().Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		fmt.Println(response.Status)
		return bellows.CheckStatus(response)
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	// Output:
	// 200 OK
}

// A job may ask for another one, now or later.
func ExampleJob_Enqueue() {
	var mux bellows.Mux
	type reminder struct{ Issue string }
	mux.Handle("avi:jira:created:issue", func(ctx context.Context, job *bellows.Job) error {
		_, err := job.Enqueue(ctx, "remind", reminder{"PEL-1"}, time.Second)
		return err
	})
	mux.Handle("call:remind", func(_ context.Context, job *bellows.Job) error {
		var r reminder
		if err := job.Decode(&r); err != nil {
			return err
		}
		fmt.Println("look at", r.Issue)
		return nil
	})

	app := forgetest.Start(forgetest.Config{Manifest: manifest, Handlers: &mux})
	defer app.Close()
	app.Trigger("avi:jira:created:issue", "issue.key=PEL-1")
	app.Wait()
	// Output:
	// look at PEL-1
}
