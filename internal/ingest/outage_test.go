package ingest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bellows/internal/ingest"
)

// wire is a way to NATS that can be made to carry nothing any more, without
// being cut.
type wire struct {
	listener net.Listener
	mu       sync.Mutex
	flows    sync.Cond
	stuck    bool
}

func newWire(t testing.TB, to string) *wire {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{listener: l}
	w.flows.L = &w.mu
	t.Cleanup(func() { _ = l.Close(); w.set(false) })
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				_ = here.Close()
				continue
			}
			go w.carry(here, there)
			go w.carry(there, here)
		}
	}()
	return w
}

func (w *wire) url() string { return "nats://" + w.listener.Addr().String() }

func (w *wire) carry(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		w.mu.Lock()
		for w.stuck {
			w.flows.Wait()
		}
		w.mu.Unlock()
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func (w *wire) set(stuck bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck = stuck
	w.flows.Broadcast()
}

// unavailable checks that a call was answered with 503 in time.
func unavailable(t *testing.T, got reply, within time.Duration) {
	t.Helper()
	seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
	if got.status != http.StatusServiceUnavailable || got.code != "not_stored" || err != nil || seconds < 1 {
		t.Errorf("got %d %s with Retry-After %q, want 503 not_stored", got.status, got.text, got.header.Get("Retry-After"))
	}
	if got.took > within {
		t.Errorf("answered after %s, want at most %s", got.took, within)
	}
}

func TestWhileNATSDoesNotAnswerCallsAre503(t *testing.T) {
	const limit = 200 * time.Millisecond
	b := newBroker(t)
	w := newWire(t, strings.TrimPrefix(b.URL(), "nats://"))
	h := newHouseOn(t, b, w.url(), func(c *ingest.Config) { c.StoreTimeout = limit })
	h.accept(call{body: issueCreated}, false)
	w.set(true)
	var group sync.WaitGroup
	for n := range 8 { // some of the same installation, which wait for each other
		c := call{body: fmt.Sprintf(`{"timestamp":"%d"}`, n), header: token(h.oauth(fmt.Sprint(n), time.Duration(n+1)*time.Hour))}
		if n%2 == 0 {
			c.claims = otherInstallation
		}
		r := h.request(c)
		group.Go(func() { unavailable(t, h.do(r), limit+time.Second) })
	}
	group.Wait()
	w.set(false)
	h.awaitStream()
	if got := h.send(call{body: `{"timestamp":"after"}`}); got.status != http.StatusAccepted {
		t.Errorf("after it: got %d %s", got.status, got.text)
	}
}

func TestWhileNATSIsGoneCallsAre503AndThenAccepted(t *testing.T) {
	t.Parallel()
	h := newHouse(t, nil)
	h.accept(call{body: issueCreated}, false)
	h.nats.Shutdown()
	unavailable(t, h.send(call{body: `{"timestamp":"1"}`}), 4500*time.Millisecond)
	unavailable(t, h.send(call{body: sprintCreated}), 4500*time.Millisecond)
	if got := h.send(call{header: http.Header{"Authorization": nil}}); got.status != 401 {
		t.Errorf("a call without a token: got %d", got.status)
	}
	h.nats.start()
	h.awaitStream()
	h.accept(call{body: `{"timestamp":"1"}`}, false)
	h.accept(call{body: issueCreated}, true)
}

func TestAStreamThatIsMissingIs503(t *testing.T) {
	h := newHouse(t, nil)
	h.forgetJobsStream(func() { unavailable(t, h.send(call{body: `{}`}), 4500*time.Millisecond) })
}

// A caller that hangs up after its request has not unsaid it.
func TestWhatHasComeInFullIsStoredAlthoughTheCallerHangsUp(t *testing.T) {
	b := newBroker(t)
	w := newWire(t, strings.TrimPrefix(b.URL(), "nats://"))
	h := newHouseOn(t, b, w.url(), nil)
	h.accept(call{body: `{}`}, false)
	w.set(true)
	ctx, cancel := context.WithCancel(t.Context())
	r := h.request(call{body: issueCreated}).WithContext(ctx)
	gone := make(chan error)
	go func() {
		_, err := h.server.Client().Do(r)
		gone <- err
	}()
	select {
	case err := <-gone:
		t.Fatalf("answered while NATS was silent: %v", err)
	case <-time.After(100 * time.Millisecond): // the call is at NATS's door
	}
	cancel()
	<-gone
	w.set(false)
	h.awaitStream()
	first, second := h.finish(h.take()), h.finish(h.take())
	if string(first.Data) != issueCreated && string(second.Data) != issueCreated {
		t.Errorf("stored %s and %s", first.Data, second.Data)
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	h := newHouse(t, nil)
	const events = 40
	requests := make([]*http.Request, 0, 3*events)
	var newest string
	for n := range events {
		for k := range 3 {
			oauth := h.oauth(fmt.Sprint(n, k), time.Hour+time.Duration(3*n+k)*time.Minute)
			c := call{body: fmt.Sprintf(`{"eventType":"avi:jira:created:issue","timestamp":"%d"}`, n), header: token(oauth)}
			if n%2 == 0 {
				c.claims = otherInstallation
			} else {
				newest = oauth
			}
			requests = append(requests, h.request(c))
		}
	}
	var mu sync.Mutex
	fresh := map[string]int{}
	limit := make(chan struct{}, 24)
	var group sync.WaitGroup
	for _, r := range requests {
		limit <- struct{}{}
		group.Go(func() {
			defer func() { <-limit }()
			got := h.do(r)
			mu.Lock()
			defer mu.Unlock()
			if got.status != http.StatusAccepted {
				t.Errorf("got %d %s", got.status, got.text)
			}
			if n := fresh[got.id]; !got.duplicate {
				fresh[got.id] = n + 1
			}
		})
	}
	group.Wait()
	for id, n := range fresh {
		if n != 1 {
			t.Errorf("job %s was new %d times", id, n)
		}
	}
	same(t, "jobs", len(fresh), events)
	same(t, "jobs stored", len(h.messages("BELLOWS_JOBS")), events)
	if h.held() != newest {
		t.Error("the vault does not hold the newest token")
	}
}
