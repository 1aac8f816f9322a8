package demo_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bellows/examples/quickstart"
	"bellows/internal/demo"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/manifest"
	"bellows/internal/queue"
	"bellows/internal/simulator"
)

// stage is a simulator that delivers to a backend which does nothing but
// answer, and an empty queue: nothing that the scenario looks for happens.
type stage struct {
	config demo.Config
	told   []demo.Step
}

func newStage(t *testing.T, status int) *stage {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"id":"job-1","duplicate":false}`)
	}))
	t.Cleanup(backend.Close)
	m, err := manifest.Parse("manifest.yml", quickstart.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	sim, err := simulator.New(simulator.Config{
		Manifest: m, Remote: backend.URL, PublicURL: "http://" + front.Listener.Addr().String(), TimeScale: 0.0001, Bare: true, NoSchedules: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	front.Config.Handler = sim.Handler()
	front.Start()
	t.Cleanup(front.Close)
	q, err := queue.Connect(queue.Options{URL: embeddedtest.Run(t).URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	if err := q.Setup(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s := &stage{}
	s.config = demo.Config{
		Simulator: simulator.Client{URL: front.URL}, Queue: q, Bound: 300 * time.Millisecond,
		Known:  func(context.Context, string) (demo.Known, error) { return demo.Known{}, nil },
		Report: func(step demo.Step) { s.told = append(s.told, step) },
	}
	return s
}

func knownInstallation(context.Context, string) (demo.Known, error) {
	return demo.Known{State: "active", TokenExpires: time.Now().Add(time.Hour)}, nil
}

// expectFailure checks that the last step told, and no other, is the one that
// the error names.
func (s *stage) expectFailure(t *testing.T, err error, number int, says ...string) {
	t.Helper()
	if err == nil || len(s.told) != number {
		t.Fatalf("got %v after %d steps, want step %d to fail", err, len(s.told), number)
	}
	last := s.told[number-1]
	for _, want := range append(says, "was not observed: "+last.Name+": ") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	for i, step := range s.told {
		if step.Number != i+1 || (step.Error != "") != (step.Number == number) {
			t.Errorf("told of step %d: %+v", i+1, step)
		}
	}
}

func TestAnInstallationThatBellowsDoesNotLearnOfIsNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t, http.StatusAccepted)
	_, err := s.run(t)
	s.expectFailure(t, err, 1, "step 1 was", "waiting for the installation to be known", "300ms have passed")
}

func TestACallThatNobodyMakesIsNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t, http.StatusAccepted)
	s.config.Known = knownInstallation
	totals, err := s.run(t)
	s.expectFailure(t, err, 2, "step 2 was", "waiting for the comment", "300ms have passed")
	if totals.Steps != 1 {
		t.Errorf("%d steps are counted, want the one that was seen", totals.Steps)
	}
	text, err := json.Marshal(s.told[1])
	if err != nil || !strings.Contains(string(text), `"error":`) {
		t.Errorf("as JSON: %s, %v", text, err)
	}
}

func TestADeliveryThatIsRefusedIsNamed(t *testing.T) {
	t.Parallel()
	s := newStage(t, http.StatusServiceUnavailable)
	s.config.Known = knownInstallation
	_, err := s.run(t)
	s.expectFailure(t, err, 1, "step 1 was", "avi:forge:installed:app was answered with 503")
}

func (s *stage) run(t *testing.T) (demo.Totals, error) {
	t.Helper()
	return demo.Run(t.Context(), s.config)
}
