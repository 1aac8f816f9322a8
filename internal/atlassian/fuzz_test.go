package atlassian

import (
	"net/http"
	"testing"
	"time"
)

func FuzzRetryAfterIsNeverNegative(f *testing.F) {
	seeds := [][2]string{
		{"0", ""}, {"30", ""}, {"-1", ""}, {"99999999999999999999", ""}, {"Mon, 14 Sep 2026 12:01:30 GMT", ""},
		{"", "2026-09-14T12:01Z"}, {"", "0000-01-01T00:00:00Z"}, {"Monday, 14-Sep-26 12:01:30 GMT", "9999-12-31T23:59:59Z"},
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed[0], seed[1])
	}
	now := time.Date(2026, 9, 14, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, after, reset string) {
		header := http.Header{"Retry-After": {after}, "X-Ratelimit-Reset": {reset}}
		wait, ok := retryAfter(429, header, now)
		if wait < 0 || wait > maxRetryAfter || !ok && wait != 0 {
			t.Errorf("Retry-After %q, reset %q: %s, %v", after, reset, wait, ok)
		}
	})
}
