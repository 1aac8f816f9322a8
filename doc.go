// Package bellows is the server half of Atlassian Forge Remote, and the way to
// write an app for it in Go.
//
// A Forge app may keep its logic on a backend of its own. Forge then posts
// product events, lifecycle events and scheduled triggers to it, and expects
// an answer within five seconds. bellows proves that each call came from
// Forge, stores it in NATS JetStream before it answers, and carries it out
// later against Atlassian's APIs, with the tokens that came in those calls.
// What cannot be done becomes a dead letter that a person can look at and
// replay.
//
// # An app
//
// An app says which function is for which event, and runs a worker:
//
//	func main() {
//		bellows.Handle("avi:jira:created:issue", welcome)
//		bellows.Handle("scheduled:nightly", cleanUp, bellows.MaxAge(6*time.Hour))
//		os.Exit(bellows.Main(context.Background(), os.Args[1:]))
//	}
//
// [Handle] lists the patterns. A handler gets one attempt of one [Job], reads
// what it is about, and calls Atlassian:
//
//	func welcome(ctx context.Context, job *bellows.Job) error {
//		var event struct {
//			AtlassianID string `json:"atlassianId"`
//			Issue       struct {
//				Key string `json:"key"`
//			} `json:"issue"`
//		}
//		if err := job.Decode(&event); err != nil {
//			return err
//		}
//		// As the app. job.User() is the user whose call it is, job.As(id) an
//		// account; each has an *http.Client for other REST clients.
//		path := bellows.Pathf("/rest/api/3/issue/%s", event.Issue.Key)
//		var issue struct {
//			Fields struct{ Summary string } `json:"fields"`
//		}
//		if err := job.App().Do(ctx, "GET", path+"?fields=summary", nil, &issue); err != nil {
//			return err // a 429 waits, a 500 is tried again, a 404 is a dead letter
//		}
//		if issue.Fields.Summary == "" {
//			return bellows.RetryAfter(10 * time.Second)
//		}
//		// Once for the job, however often it is tried.
//		task, err := bellows.StepValue(ctx, job, "task", func(ctx context.Context) (created, error) {
//			var c created
//			err := job.App().Do(ctx, "POST", "/rest/api/3/issue", newTask(issue), &c)
//			return c, err
//		})
//		if err != nil {
//			return err
//		}
//		if err := job.Progress(ctx, map[string]any{"task": task.Key}); err != nil {
//			return err
//		}
//		// Look at it again tomorrow: Handle("call:remind", …) gets the job.
//		_, err = job.Enqueue(ctx, "remind", task, 24*time.Hour)
//		return err
//	}
//
// What the handler returns decides what becomes of the job, see [Handler].
// Everything that a rule gets, a handler gets too: the verified event, tokens
// that are fresh at each attempt, limits obeyed, attempts and a dead letter of
// its own. What a handler does may be done twice, since a
// worker can die at any moment; [Job.Step] is for what must not be.
//
// The worker is one of several processes. cmd/ingest faces the internet and
// stores; any number of workers, of this program and of cmd/worker, share the
// jobs. Package forgetest runs all of it in a test, with a simulator of Forge
// and Atlassian; "bellows dev" does so for rules, on a laptop. examples/triage is
// a whole app. In other languages an app is an HTTP handler, see examples/node
// and examples/python; and much needs no program at all, see docs/rules.md.
//
// All workers that share the jobs of an app must have the same handlers and
// rules: whichever fetches an event chooses who gets it, and an event that
// nobody is for is done.
//
// # The programs
//
// They are in cmd: ingest faces the internet, worker does the work, and bellows
// is the tool for people. Start with
//
//	go run ./cmd/bellows demo
//
// docs/architecture.md follows a message through the rooms.
package bellows
