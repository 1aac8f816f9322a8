package atlassian

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bellows/internal/secret"
)

// Stage is how far a call came. Up to and with [NotSent], Atlassian has
// certainly not acted on it.
type Stage int

const (
	// Fenced: the call was not allowed to leave. No connection was made.
	Fenced Stage = iota + 1
	// NoToken: Token failed, or gave nothing or an expired token. When Status
	// is 401, a first token was refused before.
	NoToken
	// BreakerOpen: too many calls of this installation to this host failed.
	BreakerOpen
	// NotSent: no connection was made, or the request was certainly not
	// written to it or not taken by the server.
	NotSent
	// Unanswered: it was, or may have been, sent, and no answer came.
	Unanswered
	// Answered: Atlassian answered with a status outside 2xx.
	Answered
	// Unreadable: Atlassian answered with a 2xx status, so it has acted, but
	// the answer was over the limit ([ErrTooLong]) or broke off.
	Unreadable
)

// String names the stage.
func (s Stage) String() string {
	names := []string{"", "fenced", "no token", "breaker open", "not sent", "unanswered", "answered", "unreadable"}
	if s < Fenced || int(s) >= len(names) {
		return fmt.Sprintf("stage %d", int(s))
	}
	return names[s]
}

// ErrTooLong is wrapped by an Error when the answer was over MaxAnswer.
var ErrTooLong = errors.New("answer is longer than allowed")

// Error is why a call failed. It holds no token, no query string and no header
// of the request.
type Error struct {
	Stage  Stage
	Method string
	// Path is the path of the call below its base, without query; bounded.
	Path string
	// Status is the answer's status, 0 when there was no answer.
	Status int
	// HasRetryAfter is whether the answer said when to come back. RetryAfter
	// is that wait, never negative; zero is a legal answer. It comes from
	// Retry-After or, for a 429 without one, from X-RateLimit-Reset.
	HasRetryAfter bool
	RetryAfter    time.Duration
	// RateLimitReason is the answer's RateLimit-Reason, such as
	// "jira-burst-based"; bounded.
	RateLimitReason string
	// Until is, for BreakerOpen, when to try again.
	Until time.Time
	// TokenExpired is whether the token was past its expiry: found before
	// sending (NoToken), or after an answer of 401, 403 or 404, each of which
	// an expired token has been seen to get (n8n bug report 37776).
	TokenExpired bool
	// Message is what the answer's body said, bounded, one line.
	Message string
	// Header and Body are those of the answer, less cookies and with tokens
	// hidden, for a caller that passes them on; a body is cut at 64 KiB. Both
	// are nil when there was no answer outside 2xx.
	Header http.Header
	Body   []byte
	// Err is the cause, if any.
	Err error

	// byCaller is whether the caller's context ended the call.
	byCaller bool
}

// Error tells the method, the path, how far the call came and why it failed.
func (e *Error) Error() string {
	return fmt.Sprintf("calling %s %q: %s", e.Method, e.Path, e.detail())
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) detail() string {
	switch e.Stage {
	case Fenced:
		return fmt.Sprintf("not allowed: %v", e.Err)
	case NoToken:
		return fmt.Sprintf("no token to use: %v", e.Err)
	case BreakerOpen:
		return fmt.Sprintf("circuit breaker is open until %s", e.Until.UTC().Format(time.RFC3339))
	case NotSent:
		return fmt.Sprintf("not sent: %v", e.Err)
	case Unanswered:
		return fmt.Sprintf("sent but not answered: %v", e.Err)
	case Unreadable:
		return fmt.Sprintf("status %d with an unreadable answer: %v", e.Status, e.Err)
	default:
		return e.answered()
	}
}

func (e *Error) answered() string {
	text := fmt.Sprintf("status %d", e.Status)
	if e.TokenExpired {
		text += " to an expired token"
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

const (
	// maxMessage bounds text taken from an answer, in bytes.
	maxMessage = 300
	// maxShort bounds names: hosts, header values.
	maxShort = 100
)

// bounded makes text one printable line of at most max bytes.
func bounded(text string, max int) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= max {
		return text
	}
	for max > 0 && !utf8.RuneStart(text[max]) {
		max--
	}
	return text[:max] + "…"
}

// scrubber hides the tokens that were used from whatever a server sent back.
type scrubber []secret.Token

// text hides each token, and each of its long parts alone: a server may name
// a JWT by its signature.
func (s scrubber) text(text string) string {
	for _, token := range s {
		text = token.Scrub(text)
		for part := range strings.SplitSeq(token.Reveal(), ".") {
			if len(part) >= 24 {
				text = secret.NewToken(part).Scrub(text)
			}
		}
	}
	return text
}

// err returns err unless its text shows a token; then a plain error with the
// scrubbed text, since the chain cannot be trusted.
func (s scrubber) err(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if clean := s.text(text); clean != text {
		return errors.New(bounded(clean, maxMessage))
	}
	return err
}

// message picks the words for a person out of an answer's body.
func (s scrubber) message(body []byte) string {
	var value any
	if json.Unmarshal(body, &value) == nil {
		if words := wordsIn(value); len(words) > 0 {
			return bounded(s.text(strings.Join(words, "; ")), maxMessage)
		}
	}
	return bounded(s.text(string(body)), maxMessage)
}

// wordsIn finds the messages in the error shapes of Jira (errorMessages,
// errors by field), Confluence (message; errors with title and detail),
// Bitbucket (error.message) and the API gateway (message, error_description).
func wordsIn(value any) []string {
	object, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	words := texts(object["errorMessages"])
	for _, name := range []string{"message", "error_description", "title", "detail"} {
		words = append(words, texts(object[name])...)
	}
	words = append(words, errorsIn(object["errors"])...)
	if inner := wordsIn(object["error"]); len(inner) > 0 {
		words = append(words, inner...)
	} else if len(words) == 0 {
		words = texts(object["error"])
	}
	return words
}

func errorsIn(value any) []string {
	var words []string
	switch value := value.(type) {
	case []any:
		for _, one := range value {
			words = append(words, texts(one)...)
			words = append(words, wordsIn(one)...)
		}
	case map[string]any:
		for name, one := range value {
			for _, text := range texts(one) {
				words = append(words, name+": "+text)
			}
		}
		slices.Sort(words)
	}
	return words
}

// texts returns the non-empty strings of a string or a list.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		if value != "" {
			return []string{value}
		}
	case []any:
		var all []string
		for _, one := range value {
			if text, ok := one.(string); ok && text != "" {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}
