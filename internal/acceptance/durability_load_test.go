package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/queue"
)

// loadRules have short timeouts, so that a call which a dying worker has left
// behind is judged soon.
const loadRules = `version: 1
rules:
  - name: comment
    on: avi:jira:created:issue
    steps:
      - {name: comment, timeout: 1s, request: {method: POST, path: "/rest/api/3/issue/${event.issue.key}/comment"}}
  - name: look
    on: avi:jira:updated:issue
    steps:
      - {name: look, timeout: 1s, request: {method: GET, path: "/rest/api/3/issue/${event.issue.key}"}}
  - name: chain
    on: avi:jira:deleted:issue
    max_attempts: 100
    steps:
      - {name: find, timeout: 1s, request: {method: GET, path: "/rest/api/3/find/${event.issue.key}"}}
      - {name: make, timeout: 1s, request: {method: POST, path: "/rest/api/3/make/${event.issue.key}"}}
      - {name: mark, timeout: 1s, request: {method: PUT, path: "/rest/api/3/mark/${event.issue.key}"}}
`

// ackWithin makes a silent worker lose its jobs after d. Daemons leave a
// consumer that exists as it is.
func (h *house) ackWithin(d time.Duration) {
	h.t.Helper()
	q, err := queue.Connect(queue.Options{URL: h.natsURL(), Name: "acceptance", AckWait: d})
	must(h.t, err)
	defer q.Close()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	must(h.t, q.Ready(ctx))
	must(h.t, q.Setup(ctx, 1))
}

// slowly answers after a while that differs from call to call.
func slowly(most time.Duration) func(http.ResponseWriter, *http.Request, apiCall) bool {
	return func(_ http.ResponseWriter, r *http.Request, _ apiCall) bool {
		select {
		case <-time.After(rand.N(most)):
		case <-r.Context().Done():
		}
		return false
	}
}

// current is a process that is replaced while others use it.
type current struct {
	mu sync.Mutex
	p  *process
}

func (c *current) get() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.p
}

func (c *current) set(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.p = p
}

// load is a stream of events, delivered as Forge does: again, as a redelivery,
// until one is accepted.
type load struct {
	h     *house
	to    *current
	sites []site

	mu       sync.Mutex
	accepted map[string]string // :: job id → key of the issue
	given    int               // events that were never accepted
}

var loadEvents = []string{"avi:jira:created:issue", "avi:jira:updated:issue", "avi:jira:deleted:issue"}

// send delivers n events from several senders, spread over a time.
func (l *load) send(n int, over time.Duration) {
	l.accepted = map[string]string{}
	const senders = 6
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := s; i < n; i += senders {
				l.one(i)
				select {
				case <-l.h.t.Context().Done():
					return
				case <-time.After(over * senders / time.Duration(n)):
				}
			}
		})
	}
	all.Wait()
}

func (l *load) one(i int) {
	at := l.sites[i%len(l.sites)]
	key := fmt.Sprintf("LOAD-%d", i)
	body := issueEvent(loadEvents[i%len(loadEvents)], key)
	for try := range 40 {
		text := body
		if try > 0 {
			text = again(body, try)
		}
		if a := l.h.deliver(l.to.get(), delivery{Site: at, Body: text}); a.accepted() {
			l.mu.Lock()
			l.accepted[a.ID] = key
			l.mu.Unlock()
			return
		}
		select {
		case <-l.h.t.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
	l.mu.Lock()
	l.given++
	l.mu.Unlock()
}

// settled waits until every accepted event is done or a dead letter, and
// checks that no unsafe call was made twice.
func (l *load) settled(within time.Duration) {
	t := l.h.t
	t.Helper()
	if len(l.accepted) == 0 {
		t.Fatal("no event was accepted")
	}
	eventually(t, within, func() string {
		letters := l.h.letters()
		left := 0
		for id := range l.accepted {
			if _, dead := letters[id]; !dead && !l.h.done(id) {
				left++
			}
		}
		return expect(fmt.Sprintf("of %d accepted events neither done nor a dead letter", len(l.accepted)), left, 0)
	})
	eventually(t, within, l.h.quiet)
	for call, n := range l.h.api.counts() {
		if strings.HasPrefix(call, "POST ") && n > 1 {
			t.Errorf("%s was made %d times", call, n)
		}
	}
	reasons := map[string]int{}
	for _, letter := range l.h.letters() {
		reasons[string(letter.Reason)]++
		if letter.Reason != "unknown_effect" && letter.Reason != "crashed" {
			t.Errorf("dead letter %s: %s: %s", letter.ID, letter.Reason, letter.Error)
		}
	}
	t.Logf("%d events accepted, %d never; dead letters: %v", len(l.accepted), l.given, reasons)
}

// warm makes sites whose tokens are known.
func (h *house) warm(in *process, n int) []site {
	h.t.Helper()
	var all []site
	for i := range n {
		s := h.newSite()
		a := h.deliver(in, delivery{Site: s, Body: issueEvent("avi:jira:updated:issue", fmt.Sprintf("WARM-%d", i)), Token: h.forge.systemToken(s, time.Now().Add(4*time.Hour))})
		if !a.accepted() {
			h.t.Fatalf("the first event: got %+v", a)
		}
		all = append(all, s)
	}
	return all
}

// sized is n by default and many under BELLOWS_SOAK=1.
func sized[T int | time.Duration](n, many T) T {
	if soak() {
		return many
	}
	return n
}

func TestKill9AtAnyMomentLosesNoAcceptedEvent(t *testing.T) {
	long(t)
	victims := []string{"worker", "ingest", "NATS"}
	if soak() {
		victims = append(victims, "any")
	}
	for _, victim := range victims {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, setup{Rules: loadRules})
			h.ackWithin(2 * time.Second)
			h.api.answerWith(slowly(60 * time.Millisecond))
			in := &current{p: h.ingest()}
			workers := []*process{h.worker("--concurrency", "16"), h.worker("--concurrency", "16")}
			l := &load{h: h, to: in, sites: h.warm(in.get(), 5)}
			ended := make(chan struct{})
			go func() { defer close(ended); l.send(sized(240, 1500), sized(10*time.Second, time.Minute)) }()
			kills := 0
			for running := true; running; {
				select {
				case <-ended:
					running = false
				case <-time.After(pause[victim]/2 + rand.N(pause[victim])):
					kills++
					h.killAndReplace(victim, in, workers)
				}
			}
			if kills < 3 {
				t.Errorf("only %d kills came in time", kills)
			}
			l.settled(sized(60*time.Second, 5*time.Minute))
		})
	}
}

// pause is the mean time between two kills. Without NATS an event takes up to
// four seconds to be refused, and the load must get on.
var pause = map[string]time.Duration{
	"worker": 500 * time.Millisecond, "ingest": 500 * time.Millisecond, "NATS": 1500 * time.Millisecond, "any": 1500 * time.Millisecond,
}

func (h *house) killAndReplace(victim string, in *current, workers []*process) {
	h.t.Helper()
	if victim == "any" {
		victim = []string{"worker", "worker", "ingest", "NATS"}[rand.N(4)]
	}
	switch victim {
	case "worker":
		i := rand.N(len(workers))
		workers[i].kill()
		workers[i] = h.worker("--concurrency", "16")
	case "ingest":
		in.get().kill()
		in.set(h.ingest())
	case "NATS":
		h.nats.kill()
		h.startNATS()
	}
}
