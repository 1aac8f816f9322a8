package ingest_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bellows/internal/ingest"
)

// BenchmarkHandler is one event from its headers to the acknowledgement of
// JetStream, without the client's side of HTTP. The server is in the process;
// an installation and its token are known.
func BenchmarkHandler(b *testing.B) {
	for _, size := range []int{1 << 10, 50 << 10, 200 << 10} {
		b.Run(fmt.Sprintf("%dkB", size>>10), func(b *testing.B) {
			h := newHouse(b, func(c *ingest.Config) { c.Logger = slog.New(slog.DiscardHandler) })
			handler := h.server.Config.Handler
			fit := "Bearer " + h.fit(call{claims: func(c object) { c["exp"] = c["exp"].(int64) + 3600 }})
			oauth := h.oauth("bench", time.Hour)
			fill := `","more":[` + strings.Repeat(`{"key":"value of some length","n":12345},`, size/41) + `0]}`
			requests := make([]*http.Request, 0, b.N)
			for n := range b.N {
				body := fmt.Sprintf(`{"eventType":"avi:jira:created:issue","timestamp":"%d`, n) + fill
				r := httptest.NewRequest(http.MethodPost, "/base/events", strings.NewReader(body))
				r.Header.Set("Authorization", fit)
				r.Header.Set("X-Forge-Oauth-System", oauth)
				r.Header.Set("Content-Type", "application/json")
				requests = append(requests, r)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for _, r := range requests {
				w := httptest.NewRecorder()
				if handler.ServeHTTP(w, r); w.Code != http.StatusAccepted {
					text, _ := io.ReadAll(w.Body)
					b.Fatalf("got %d %s", w.Code, text)
				}
			}
		})
	}
}
