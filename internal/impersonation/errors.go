package impersonation

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// RefusedError means that the gateway will not give a token of this account:
// it has no access, is none that can be impersonated, or the app lacks the
// right.
type RefusedError struct {
	// Message is the gateway's, bounded, one line.
	Message string
}

// Error returns the gateway's message.
func (e *RefusedError) Error() string {
	return "exchanging token: refused: " + e.Message
}

// LimitedError means that too many exchanges were made.
type LimitedError struct {
	// RetryAfter is when there will be room; zero is legal.
	RetryAfter time.Duration
}

// Error tells the wait.
func (e *LimitedError) Error() string {
	return fmt.Sprintf("exchanging token: limit reached, room in %s", e.RetryAfter)
}

// UpstreamError means that the gateway gave no answer that could be used.
type UpstreamError struct {
	// Status is the HTTP status, or the one that a GraphQL error names; 401
	// means that the system token was refused. It is 200 when the answer
	// could not be understood, and 0 when there was none.
	Status int
	// HasRetryAfter is whether the answer said when to come back, and
	// RetryAfter when; zero is legal.
	HasRetryAfter bool
	RetryAfter    time.Duration
	// Sent is whether the gateway may have seen the request.
	Sent bool
	// Err is the cause. It holds no token.
	Err error
}

// Error tells the status and the cause.
func (e *UpstreamError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("exchanging token: %v", e.Err)
	}
	return fmt.Sprintf("exchanging token: status %d: %v", e.Status, e.Err)
}

// Unwrap returns the cause.
func (e *UpstreamError) Unwrap() error { return e.Err }

const (
	// maxMessage bounds text from the gateway, in bytes.
	maxMessage = 300
	// maxWait bounds a Retry-After. The documented window is a minute.
	maxWait = time.Hour
	// unknownWait is the wait after a 429 that names none.
	unknownWait = 15 * time.Second
)

// bounded makes text one printable line of at most maxMessage bytes.
func bounded(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r)
	}), " ")
	if len(text) <= maxMessage {
		return text
	}
	end := maxMessage
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// retryAfter reads a Retry-After of seconds or an HTTP date (RFC 9110,
// 10.2.3).
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxWait), true
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds > int64(maxWait/time.Second) {
		return maxWait, true
	}
	return time.Duration(seconds) * time.Second, true
}
