package ingest_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/ingest"
	"bellows/internal/queue"
)

const (
	issueCreated = `{"eventType":"avi:jira:created:issue","timestamp":"1790000000000","issue":{"id":"10001"}}`
	// sprintCreated has nothing that tells two of them apart.
	sprintCreated = `{"eventType":"avi:jira-software:created:sprint","sprint":{"id":7}}`
)

// retried is a body as it comes again.
func retried(body, count string) string {
	inner := strings.TrimPrefix(strings.TrimSpace(body), "{")
	if inner != "}" && inner != "" {
		inner = "," + inner
	}
	if inner == "" {
		inner = "}"
	}
	return `{"retryContext":{"retryCount":` + count + `,"retryReason":"TIMEOUT_ERROR","retryData":null}` + inner
}

func TestTheSameEventIsADuplicateHoweverItComesAgain(t *testing.T) {
	h := newHouse(t, nil)
	first := h.accept(call{body: issueCreated}, false)
	for name, c := range map[string]call{
		"as it was":                   {body: issueCreated},
		"with a retryContext":         {body: retried(issueCreated, "1")},
		"with one under payload":      {body: `{"payload":` + retried(issueCreated, "2") + `}`},
		"with members in other order": {body: `{ "issue": {"id": "10001"}, "timestamp" : "1790000000000", "eventType":"avi:jira:created:issue" }`},
		"with other escapes":          {body: strings.Replace(issueCreated, "created", `\u0063reated`, 1)},
		"with a context token":        {body: strings.Replace(issueCreated, "{", `{"contextToken":"abc",`, 1)},
		"with a context":              {body: strings.Replace(issueCreated, "{", `{"context":"ari:cloud:jira::site/`+cloudID+`",`, 1)},
		"of another trigger":          {body: issueCreated, module: "on-issue"},
		"with a slash at the end":     {body: issueCreated, path: "/base/events/"},
	} {
		if id := h.accept(c, true); id != first {
			t.Errorf("%s: the job is %q, want %q", name, id, first)
		}
	}
	h.finish(h.take())
	if s, err := h.queue.Stats(t.Context()); err != nil || s != (queue.Stats{}) {
		t.Errorf("left in the queue: %+v, %v", s, err)
	}
}

func TestWhatDiffersIsNoDuplicate(t *testing.T) {
	h := newHouse(t, nil)
	seen := map[string]string{}
	for name, c := range map[string]call{
		"an event":                      {body: issueCreated},
		"at another time":               {body: strings.Replace(issueCreated, "1790000000000", "1790000000001", 1)},
		"of another name":               {body: strings.Replace(issueCreated, "created:", "updated:", 1)},
		"with one more member":          {body: strings.Replace(issueCreated, "{", `{"more":null,`, 1)},
		"with a number for a text":      {body: strings.Replace(issueCreated, `"1790000000000"`, `1790000000000`, 1)},
		"a number written in full":      {body: strings.Replace(issueCreated, `"10001"`, `1.0`, 1)},
		"a number written short":        {body: strings.Replace(issueCreated, `"10001"`, `1`, 1)},
		"at another endpoint":           {body: issueCreated, path: "/base/mixed", module: "mixed"},
		"of another installation":       {body: issueCreated, claims: otherInstallation},
		"two members of one name":       {body: strings.Replace(issueCreated, "{", `{"timestamp":"1",`, 1)},
		"wrapped with something beside": {body: `{"payload":` + issueCreated + `,"more":1,"timestamp":"1"}`},
	} {
		id := h.accept(c, false)
		if other, ok := seen[id]; ok {
			t.Errorf("%q has the job of %q", name, other)
		}
		seen[id] = name
	}
}

func otherInstallation(c object) {
	ari := "ari:cloud:ecosystem::installation/00000000-1111-4000-8000-000000000000"
	app(c)["installationId"] = ari
	app(c)["installation"].(object)["id"] = ari
}

func TestContentThatTellsNothingApart(t *testing.T) {
	sprint := call{path: "/base/mixed", module: "mixed", body: sprintCreated}
	again := sprint
	again.body = retried(sprintCreated, "1")

	t.Run("two first deliveries both run", func(t *testing.T) {
		h := newHouse(t, nil)
		if a, b := h.accept(sprint, false), h.accept(sprint, false); a == b {
			t.Errorf("both are job %q", a)
		}
	})
	t.Run("two first deliveries of an empty body both run", func(t *testing.T) {
		h := newHouse(t, nil)
		if a, b := h.accept(call{}, false), h.accept(call{}, false); a == b {
			t.Errorf("both are job %q", a)
		}
	})
	t.Run("one sent twice with its token is one", func(t *testing.T) {
		h := newHouse(t, nil)
		same := sprint
		same.claims = func(c object) { c["jti"] = "one-and-the-same" }
		if a, b := h.accept(same, false), h.accept(same, true); a != b {
			t.Errorf("they are jobs %q and %q", a, b)
		}
	})
	t.Run("a redelivery is the job of the last delivery", func(t *testing.T) {
		h := newHouse(t, nil)
		h.accept(sprint, false)
		last := h.accept(sprint, false)
		for range 3 {
			if id := h.accept(again, true); id != last {
				t.Errorf("the job is %q, want %q", id, last)
			}
		}
	})
	t.Run("a redelivery whose first delivery never came is stored once", func(t *testing.T) {
		h := newHouse(t, nil)
		first := h.accept(again, false)
		if id := h.accept(again, true); id != first {
			t.Errorf("the job is %q, want %q", id, first)
		}
	})
	t.Run("a redelivery at another endpoint is another", func(t *testing.T) {
		h := newHouse(t, nil)
		h.accept(sprint, false)
		h.accept(call{body: again.body}, false)
	})
	t.Run("a redelivery of what is done is a duplicate and does not run", func(t *testing.T) {
		h := newHouse(t, nil)
		h.accept(sprint, false)
		h.finish(h.take())
		h.accept(again, true)
		if s, err := h.queue.Stats(t.Context()); err != nil || s.Waiting != 0 {
			t.Errorf("waiting: %+v, %v", s, err)
		}
	})
}

func TestARedeliveryOfWhatWasNotStoredIsStored(t *testing.T) {
	for name, body := range map[string]string{"an event with a time": issueCreated, "one without": sprintCreated, "an empty body": ""} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			h.accept(call{body: `{"warm":"up"}`}, false)
			h.finish(h.take())
			h.forgetJobsStream(func() {
				if got := h.send(call{body: body}); got.status != http.StatusServiceUnavailable {
					t.Fatalf("without a stream: got %d %s", got.status, got.text)
				}
			})
			h.accept(call{body: retried(body, "1")}, false)
			h.finish(h.take())
			h.accept(call{body: retried(body, "2")}, true)
		})
	}
}

// forgetJobsStream runs f while the stream of jobs does not exist, all others
// do: what is remembered of a delivery can be written, the job cannot.
func (h *house) forgetJobsStream(f func()) {
	h.t.Helper()
	var deleted struct{ Success bool }
	h.ask("STREAM.DELETE.BELLOWS_JOBS", nil, &deleted)
	if !deleted.Success {
		h.t.Fatal("the stream was not deleted")
	}
	f()
	must(h.t, h.queue.Setup(context.Background(), 1))
}

func TestTicks(t *testing.T) {
	hourly := call{path: "/base/hourly", module: "hourly"}
	hourlyAgain := call{path: "/base/hourly", module: "hourly", body: retried("", "1")}
	often := call{path: "/base/mixed", module: "often", body: `{}`}
	oftenAgain := func(count string) call {
		return call{path: "/base/mixed", module: "often", body: retried("{}", count)}
	}
	type step struct {
		after     time.Duration
		call      call
		duplicate bool
	}
	for name, steps := range map[string][]step{
		"the same tick twice":                               {{0, hourly, false}, {time.Minute, hourly, true}, {28 * time.Minute, hourly, true}},
		"after half the interval it is another":             {{0, hourly, false}, {31 * time.Minute, hourly, false}},
		"a tick every hour":                                 {{0, hourly, false}, {time.Hour, hourly, false}, {59 * time.Minute, hourly, false}, {61 * time.Minute, hourly, false}},
		"a redelivery of an accepted tick":                  {{0, hourly, false}, {time.Minute, hourlyAgain, true}, {time.Minute, hourlyAgain, true}},
		"a redelivery of a tick that never came":            {{0, hourly, false}, {61 * time.Minute, hourlyAgain, false}, {time.Minute, hourlyAgain, true}},
		"the first of all is a redelivery":                  {{0, hourlyAgain, false}, {time.Minute, hourlyAgain, true}, {58 * time.Minute, hourly, false}},
		"the last redelivery of a frequent tick":            {{0, often, false}, {245 * time.Second, oftenAgain("4"), true}},
		"a redelivery of a frequent tick that never came":   {{0, often, false}, {360 * time.Second, oftenAgain("1"), false}},
		"the last redelivery of one that never came":        {{0, often, false}, {540 * time.Second, oftenAgain("4"), false}},
		"a redelivery with a count nobody can read":         {{0, often, false}, {245 * time.Second, oftenAgain(`"four"`), true}},
		"a redelivery with a count beyond reason":           {{0, often, false}, {360 * time.Second, oftenAgain("99999"), false}},
		"a frequent tick follows its redelivery":            {{0, oftenAgain("1"), false}, {240 * time.Second, often, false}},
		"the next tick while the last is still redelivered": {{0, often, false}, {300 * time.Second, often, false}, {10 * time.Second, oftenAgain("4"), true}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			last := ""
			for n, s := range steps {
				h.clock.pass(s.after)
				id := h.accept(s.call, s.duplicate)
				if s.duplicate != (id == last) {
					t.Errorf("call %d is job %q, the one before %q", n+1, id, last)
				}
				last = id
			}
		})
	}
}

func TestTriggersDoNotShareTheirTicks(t *testing.T) {
	h := newHouse(t, nil)
	h.accept(call{path: "/base/ticks", module: "daily"}, false)
	h.accept(call{path: "/base/ticks", module: "weekly"}, false)
	h.accept(call{path: "/base/ticks", module: "daily", claims: otherInstallation}, false)
	h.accept(call{path: "/base/ticks", module: "daily"}, true)
}

func TestATickThatCouldNotBeStoredIsStoredWhenItComesAgain(t *testing.T) {
	h := newHouse(t, nil)
	tick := call{path: "/base/hourly", module: "hourly"}
	h.forgetJobsStream(func() {
		if got := h.send(tick); got.status != http.StatusServiceUnavailable {
			t.Fatalf("without a stream: got %d %s", got.status, got.text)
		}
	})
	h.clock.pass(time.Minute)
	h.accept(call{path: "/base/hourly", module: "hourly", body: retried("", "1")}, false)
	h.clock.pass(time.Minute)
	h.accept(tick, true)
}

func TestTwoIngestsThatRaceStoreOnce(t *testing.T) {
	for name, c := range map[string]call{
		"a tick":                             {path: "/base/hourly", module: "hourly"},
		"an event with a time":               {body: issueCreated},
		"a redelivery of one without a time": {path: "/base/mixed", module: "mixed", body: retried(sprintCreated, "1")},
	} {
		t.Run(name, func(t *testing.T) { raceFor(t, c) })
	}
}

func raceFor(t *testing.T, c call) {
	b := newBroker(t)
	houses := []*house{newHouseOn(t, b, "", nil), newHouseOn(t, b, "", nil)}
	ids := sync.Map{}
	var fresh atomic.Int32
	var group sync.WaitGroup
	for n := range 16 {
		h := houses[n%len(houses)]
		r := h.request(c)
		group.Go(func() {
			got := h.do(r)
			if got.status != http.StatusAccepted {
				t.Errorf("got %d %s", got.status, got.text)
			}
			if !got.duplicate {
				fresh.Add(1)
			}
			ids.Store(got.id, true)
		})
	}
	group.Wait()
	n := 0
	ids.Range(func(_, _ any) bool { n++; return true })
	if n != 1 || fresh.Load() != 1 {
		t.Errorf("%d jobs, %d of them new; want one", n, fresh.Load())
	}
	same(t, "jobs stored", len(houses[0].messages("BELLOWS_JOBS")), 1)
}

func TestTheIntervalOfTicksCanBeSet(t *testing.T) {
	h := newHouse(t, func(c *ingest.Config) { c.Every = everySecond })
	h.accept(call{path: "/base/hourly", module: "hourly"}, false)
	h.clock.pass(900 * time.Millisecond)
	h.accept(call{path: "/base/hourly", module: "hourly"}, false)
	h.clock.pass(1500 * time.Millisecond)
	h.accept(call{path: "/base/hourly", module: "hourly", body: retried("", "1")}, false)
}
