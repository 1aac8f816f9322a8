package ingest_test

import (
	"context"
	"testing"
	"time"

	"bellows/internal/jobs"
)

// restart stops NATS and starts it again; what it had acknowledged and taken
// off its streams it knows no more.
func (h *house) restart() {
	h.t.Helper()
	h.nats.Shutdown()
	h.nats.start()
	h.awaitStream()
}

func TestARedeliveryAfterARestartOfNATS(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	states := map[string]func(h *house){
		"the job is still waiting": func(*house) {},
		"the job is in hand":       func(h *house) { h.take() },
		"the job is done":          func(h *house) { h.finish(h.take()) },
		"the job is dead": func(h *house) {
			d := h.take()
			must(h.t, d.Dead(ctx, jobs.NewLetter(d.Job, jobs.ReasonRejected, jobs.Failure{Message: "no"}, jobs.Effects{}, time.Now())))
		},
		"the job is delayed": func(h *house) {
			d := h.take()
			next := d.Job
			next.Generation++
			must(h.t, d.Delay(ctx, next, time.Now().Add(time.Hour)))
		},
	}
	kinds := map[string]call{
		"an event":         {body: issueCreated},
		"one without time": {path: "/base/mixed", module: "mixed", body: sprintCreated},
		"a tick":           {path: "/base/hourly", module: "hourly"},
	}
	for state, reach := range states {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, nil)
			ids := map[string]string{}
			for kind, c := range kinds {
				ids[kind] = h.accept(c, false)
				reach(h)
			}
			before := h.counts()
			h.restart()
			for kind, c := range kinds {
				c.body = retried(c.body, "1")
				if id := h.accept(c, true); id != ids[kind] {
					t.Errorf("%s: the job is %q, want %q", kind, id, ids[kind])
				}
			}
			if after := h.counts(); after["BELLOWS_JOBS"] != before["BELLOWS_JOBS"] || after["BELLOWS_DLQ"] != before["BELLOWS_DLQ"] {
				t.Errorf("stored: %v, before: %v", after, before)
			}
		})
	}
}

func TestAJobThatIsAlreadyThereIsCountedAsOne(t *testing.T) {
	h := newHouse(t, nil)
	h.accept(call{body: issueCreated}, false)
	h.accept(call{body: retried(issueCreated, "1")}, true)
	h.finish(h.take())
	h.accept(call{body: retried(issueCreated, "2")}, true)
	same(t, "new", h.count("bellows_ingest_accepted_total", "kind=event", "duplicate=false"), 1)
	same(t, "known", h.count("bellows_ingest_accepted_total", "kind=event", "duplicate=true"), 2)
	same(t, "answers", h.count("bellows_ingest_requests_total", "status=202", "code="), 3)
}
