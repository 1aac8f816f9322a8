package atlassian

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds a wait asked for by a server. Atlassian's longest quota
// window is an hour (Rate limiting, Jira Cloud platform, October 2026); more
// than a week is a mistake.
const maxRetryAfter = 7 * 24 * time.Hour

// retryAfter reads when an answer asks to come back. ok is false when it does
// not say, or says it in a form that cannot be understood.
func retryAfter(status int, header http.Header, now time.Time) (wait time.Duration, ok bool) {
	if wait, ok = parseRetryAfter(header.Get("Retry-After"), now); ok || status != http.StatusTooManyRequests {
		return wait, ok
	}
	reset, ok := parseReset(header.Get("X-RateLimit-Reset"))
	if !ok || !reset.After(now) {
		// A reset in the past says nothing: the clocks differ, or it is the
		// minute that has begun.
		return 0, false
	}
	return min(reset.Sub(now), maxRetryAfter), true
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110, 10.2.3). A date in
// the past is a wait of zero.
func parseRetryAfter(text string, now time.Time) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if text != "" && strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}

// parseReset reads an X-RateLimit-Reset, an ISO 8601 time that Atlassian
// sometimes writes without seconds (Rate limiting, Jira Cloud platform,
// October 2026).
func parseReset(text string) (time.Time, bool) {
	text = strings.TrimSpace(text)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}
