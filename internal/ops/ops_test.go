package ops_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bellows/internal/ops"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	body, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	return rec.Code, string(body)
}

func TestReadyNamesWhatIsMissing(t *testing.T) {
	var missing error
	h := ops.NewServer(ops.NewRegistry(), slog.New(slog.DiscardHandler),
		ops.Check{Name: "nats", Ready: func() error { return missing }}, ops.Check{Name: "keys", Ready: func() error { return nil }}).Handler
	if code, body := get(t, h, "/readyz"); code != 200 || !strings.Contains(body, `"ready":true`) {
		t.Errorf("ready: got %d %s", code, body)
	}
	missing = errors.New("no server answers")
	code, body := get(t, h, "/readyz")
	if code != 503 || !strings.Contains(body, `"nats":"no server answers"`) || strings.Contains(body, "keys") {
		t.Errorf("not ready: got %d %s", code, body)
	}
	if code, _ := get(t, h, "/livez"); code != 200 {
		t.Errorf("alive though not ready: got %d", code)
	}
}

func TestMetricsAndProfilesAreServed(t *testing.T) {
	h := ops.NewServer(ops.NewRegistry(), slog.New(slog.DiscardHandler)).Handler
	for path, want := range map[string]string{"/metrics": "go_goroutines", "/debug/pprof/": "goroutine"} {
		if code, body := get(t, h, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"/other", "/debug/pprof/cmdline"} { // arguments may hold keys
		if code, _ := get(t, h, path); code != 404 {
			t.Errorf("%s: got %d", path, code)
		}
	}
}
