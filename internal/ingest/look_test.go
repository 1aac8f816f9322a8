package ingest_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"bellows/internal/manifest"
)

// counts is how many messages each stream holds.
func (h *house) counts() map[string]int {
	h.t.Helper()
	counts := map[string]int{}
	for _, stream := range []string{"BELLOWS_JOBS", "BELLOWS_EFFECTS", "BELLOWS_DLQ", "KV_BELLOWS_TOKENS", "KV_BELLOWS_TOKENS_META", "KV_BELLOWS_INSTALLATIONS"} {
		counts[stream] = len(h.messages(stream))
	}
	return counts
}

// messages returns all messages of a stream, with their subjects and headers,
// as text.
func (h *house) messages(stream string) []string {
	h.t.Helper()
	var info struct {
		State struct {
			First uint64 `json:"first_seq"`
			Last  uint64 `json:"last_seq"`
		}
	}
	h.ask("STREAM.INFO."+stream, nil, &info)
	var found []string
	for n := info.State.First; n <= info.State.Last; n++ {
		var m struct {
			Message struct {
				Subject string
				Hdrs    []byte
				Data    []byte
			}
		}
		h.ask("STREAM.MSG.GET."+stream, object{"seq": n}, &m)
		if m.Message.Subject != "" {
			found = append(found, m.Message.Subject+"\n"+string(m.Message.Hdrs)+"\n"+string(m.Message.Data))
		}
	}
	return found
}

func (h *house) ask(subject string, request, answer any) {
	h.t.Helper()
	var body []byte
	if request != nil {
		body = []byte(jsonText(request))
	}
	m, err := h.queue.NATS().Request("$JS.API."+subject, body, 5*time.Second)
	must(h.t, err)
	must(h.t, json.Unmarshal(m.Data, answer))
}

// count is the value of a counter with these labels, "name=value".
func (h *house) count(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.metrics.Gather()
	must(h.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetName()+"="+l.GetValue()] = true
			}
			fits := true
			for _, l := range labels {
				fits = fits && have[l]
			}
			if fits {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hooksUnder are the hooks of theManifest behind another base path.
func hooksUnder(t testing.TB, base string) []manifest.Hook {
	t.Helper()
	m, err := manifest.Parse("manifest.yml", []byte(theManifest))
	must(t, err)
	hooks, err := m.Hooks(&base)
	must(t, err)
	return hooks
}

func everySecond(manifest.ScheduledTrigger) time.Duration { return time.Second }

// awaitStream waits until NATS is reached and its streams answer.
func (h *house) awaitStream() {
	h.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		m, err := h.queue.NATS().Request("$JS.API.STREAM.INFO.BELLOWS_JOBS", nil, time.Second)
		if err == nil && !bytes.Contains(m.Data, []byte(`"error"`)) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	h.t.Fatal("NATS is not reached again")
}
