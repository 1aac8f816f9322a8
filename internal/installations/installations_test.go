package installations_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/installations"
	"bellows/internal/store"
	"bellows/internal/store/storetest"
)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newWriter(st *store.Store, c *clock) *installations.Writer {
	return installations.NewWriter(installations.WriterConfig{
		Bucket: st.Bucket(store.Installations), Now: c.now, FlushEvery: time.Millisecond,
	})
}

func newReader(st *store.Store) *installations.Reader {
	return installations.NewReader(installations.ReaderConfig{Bucket: st.Bucket(store.Installations)})
}

// called is a call of one installation that comes now.
func called(id, version string, c *clock) installations.Installation {
	return installations.Installation{
		ID: id, ARI: "ari:cloud:ecosystem::installation/" + id, AppID: "ari:cloud:ecosystem::app/a", AppVersion: version,
		EnvironmentType: "PRODUCTION", EnvironmentID: "e",
		Contexts: []installations.Context{{Name: "jira", APIBaseURL: "https://api.atlassian.com/ex/jira/c1", CloudID: "c1"}},
		License:  json.RawMessage(`{"active": true, "type": "<commercial>"}`),
		AsOf:     c.now(), LastSeen: c.now(),
	}
}

func mustNote(t *testing.T, w *installations.Writer, i installations.Installation) uint64 {
	t.Helper()
	revision, err := w.Note(storetest.Context(t), i)
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

func mustGet(t *testing.T, r *installations.Reader, id string, atLeast uint64) installations.Installation {
	t.Helper()
	i, err := r.Get(storetest.Context(t), id, atLeast)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func run(t *testing.T, r *installations.Reader) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(t.Context()) }()
	select {
	case <-r.Ready():
	case err := <-ended:
		t.Fatalf("the reader ends: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the reader does not become ready")
	}
}

func TestAJobFindsWhatItsCallSaid(t *testing.T) {
	st, c := storetest.Open(t), newClock()
	writer, watching, asking := newWriter(st, c), newReader(st), newReader(st)
	run(t, watching)
	for i := range 50 {
		c.pass(time.Second)
		version := fmt.Sprint(i)
		revision := mustNote(t, writer, called("a", version, c))
		for name, r := range map[string]*installations.Reader{"watching": watching, "asking": asking} {
			if got := mustGet(t, r, "a", revision); got.AppVersion != version || got.State != installations.Active ||
				len(got.Contexts) != 1 || got.Contexts[0].CloudID != "c1" || !got.LastSeen.Equal(c.now()) {
				t.Fatalf("%s: got %+v", name, got)
			}
		}
	}
	for name, r := range map[string]*installations.Reader{"watching": watching, "asking": asking} {
		if _, err := r.Get(storetest.Context(t), "unknown", 0); !errors.Is(err, installations.ErrUnknown) {
			t.Errorf("%s: an unknown one: got %v", name, err)
		}
		if _, err := r.Get(storetest.Context(t), "a.b", 0); err == nil || errors.Is(err, installations.ErrUnknown) {
			t.Errorf("%s: an invalid id: got %v", name, err)
		}
	}
	if _, err := writer.Note(storetest.Context(t), called("a.b", "1", c)); err == nil {
		t.Error("an invalid id is noted")
	}
}

func TestTheNewestCallHoldsWhenEightWritersRace(t *testing.T) {
	s, c := embeddedtest.Run(t), newClock()
	st := storetest.On(t, s)
	start := c.now()
	const writers, calls = 8, 25
	var group sync.WaitGroup
	for range writers {
		writer := newWriter(storetest.New(t, storetest.Connect(t, s)), c)
		for _, n := range rand.Perm(calls) {
			group.Go(func() {
				call := called("a", fmt.Sprint(n), c)
				call.AsOf = start.Add(time.Duration(n) * time.Second)
				call.LastSeen = call.AsOf
				if n == 3 {
					call.InstalledAt = call.AsOf
				}
				if _, err := writer.Note(storetest.Context(t), call); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	got := mustGet(t, newReader(st), "a", 0)
	if want := fmt.Sprint(calls - 1); got.AppVersion != want || !got.AsOf.Equal(start.Add((calls-1)*time.Second)) {
		t.Errorf("got version %q as of %v, want %q", got.AppVersion, got.AsOf, want)
	}
	if !got.FirstSeen.Equal(start) || !got.InstalledAt.Equal(start.Add(3*time.Second)) {
		t.Errorf("got first seen %v, installed %v", got.FirstSeen, got.InstalledAt)
	}
}

func TestARestartOfNATSAndOfEverybodyLosesNoInstallation(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := embeddedtest.RunIn(t, dir, -1)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	st := storetest.On(t, s)
	writer, reader := newWriter(st, c), newReader(st)
	run(t, reader)
	first := mustNote(t, writer, called("a", "1", c))
	s.Shutdown()
	down, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := writer.Note(down, called("b", "1", c)); err == nil {
		t.Error("an installation is noted although NATS is down")
	}
	s = embeddedtest.RunIn(t, dir, port)
	again := storetest.On(t, s)
	if got := mustNote(t, newWriter(again, c), called("a", "1", c)); got != first {
		t.Errorf("it was written again: revision %d, want %d", got, first)
	}
	c.pass(time.Second)
	revision := mustNote(t, newWriter(again, c), called("a", "2", c))
	deadline := time.Now().Add(20 * time.Second)
	for { // the reader's connection may not be back yet
		got, err := reader.Get(storetest.Context(t), "a", revision)
		if err == nil && got.AppVersion == "2" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the reader that ran all the time: got %+v, %v", got, err)
		}
	}
}

func TestAWriterNeedsNoOtherRights(t *testing.T) {
	s, c := embeddedtest.Run(t), newClock()
	st := storetest.On(t, s)
	rights := storetest.Rights{TB: t, Publish: []string{
		"$KV.BELLOWS_INSTALLATIONS.>", "$JS.API.STREAM.MSG.GET.KV_BELLOWS_INSTALLATIONS",
	}}
	writer := newWriter(storetest.New(t, storetest.Connect(t, s, nats.SetCustomDialer(dialer(rights.Dial)))), c)
	for _, version := range []string{"1", "2"} {
		c.pass(time.Second)
		mustNote(t, writer, called("a", version, c))
	}
	c.pass(time.Hour)
	mustNote(t, writer, called("a", "2", c))
	if err := writer.Flush(storetest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if got := mustGet(t, newReader(st), "a", 0); !got.LastSeen.Equal(c.now()) {
		t.Errorf("got %+v", got)
	}
}

func TestListHasThemAllAndLeavesOutWhatIsBroken(t *testing.T) {
	ctx, st, c := storetest.Context(t), storetest.Open(t), newClock()
	writer := newWriter(st, c)
	for _, id := range []string{"b", "a", "c"} {
		mustNote(t, writer, called(id, "1", c))
	}
	if _, err := st.Bucket(store.Installations).Put(ctx, "broken", []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	all, err := newReader(st).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ids := ""
	for _, i := range all {
		ids += i.ID
	}
	if ids != "abc" {
		t.Errorf("got %q, want \"abc\"", ids)
	}
	if _, err := newReader(st).Get(ctx, "broken", 0); err == nil || !strings.Contains(err.Error(), `"broken"`) {
		t.Errorf("the broken one: got %v", err)
	}
	mustNote(t, writer, called("broken", "1", c))
	mustGet(t, newReader(st), "broken", 0)
}

func TestWhatACallerGetsIsItsOwn(t *testing.T) {
	st, c := storetest.Open(t), newClock()
	reader := newReader(st)
	revision := mustNote(t, newWriter(st, c), called("a", "1", c))
	run(t, reader)
	mustGet(t, reader, "a", revision).Contexts[0].Name = "changed"
	if got := mustGet(t, reader, "a", revision); got.Contexts[0].Name != "jira" {
		t.Errorf("got %+v", got)
	}
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

func TestTenThousandInstallationsAreSmallInMemory(t *testing.T) {
	st, c := storetest.Open(t), newClock()
	const n = 10_000
	for i := range n {
		id := fmt.Sprintf("%032d", i)
		value, err := json.Marshal(called(id, "1.0.0", c))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Bucket(store.Installations).Put(storetest.Context(t), id, value); err != nil {
			t.Fatal(err)
		}
	}
	reader := newReader(st)
	before := heap()
	run(t, reader)
	each := (heap() - before) / n
	t.Logf("%d bytes for each", each)
	if each > 4096 {
		t.Errorf("%d bytes for each installation, want 4096 at most", each)
	}
	mustGet(t, reader, fmt.Sprintf("%032d", n-1), 0)
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestContextsNameTheirPlaceInBothForms(t *testing.T) {
	site := installations.Context{Name: "jira", CloudID: "c1"}
	if site.ARI() != "ari:cloud:jira::site/c1" || site.WorkspaceARI() != "ari:cloud:jira:c1:workspace/c1" {
		t.Errorf("a site: got %q and %q", site.ARI(), site.WorkspaceARI())
	}
	workspace := installations.Context{Name: "bitbucket", WorkspaceID: "w1"}
	if workspace.ARI() != "ari:cloud:bitbucket::workspace/w1" || workspace.WorkspaceARI() != "" {
		t.Errorf("a workspace: got %q and %q", workspace.ARI(), workspace.WorkspaceARI())
	}
}
