package forge

import (
	"fmt"
	"time"
)

// InvalidTokenError says that an invocation token is refused: HTTP 401.
type InvalidTokenError struct {
	// Check is the short, fixed name of what failed, fit for a metric label:
	// "authorization", "encoding", "header", "alg", "kid", "signature",
	// "claims", or the dotted name of a claim such as "app.id".
	Check string
	// Reason continues the name to a sentence. It never holds a part of the
	// token other than ids that are no secret.
	Reason string
}

// Error names the check and the reason, and holds no part of the token that is a secret.
func (e *InvalidTokenError) Error() string {
	return "verifying invocation token: " + e.Check + " " + e.Reason
}

// KeysUnavailableError says that the key of a token cannot be looked up now:
// HTTP 503. The token may be good.
type KeysUnavailableError struct {
	// RetryAfter is when the next fetch of the key set is possible, from now.
	// It is at least one second.
	RetryAfter time.Duration
	// Err is why there is no answer.
	Err error
}

// Error says why the key cannot be looked up now.
func (e *KeysUnavailableError) Error() string {
	return fmt.Sprintf("looking up the key of an invocation token: %v", e.Err)
}

// Unwrap returns the cause.
func (e *KeysUnavailableError) Unwrap() error { return e.Err }

func invalid(check, reason string) error {
	return &InvalidTokenError{Check: check, Reason: reason}
}

// maxQuoted bounds what an error repeats of a verified token.
const maxQuoted = 200

// quoted shows an id in an error if it looks like one, and hides what does
// not.
func quoted(id string) string {
	if len(id) > maxQuoted || !nameBytes.hold(id) {
		return "something unprintable"
	}
	return `"` + id + `"`
}

// charset is a set of bytes that a text may consist of.
type charset [256]bool

func charsetOf(allowed func(byte) bool) *charset {
	var set charset
	for c := range set {
		set[c] = allowed(byte(c))
	}
	return &set
}

// hold reports whether s consists of nothing else.
func (set *charset) hold(s string) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isIDByte(c byte) bool { return isAlphanumeric(c) || c == '-' || c == '_' }

var (
	// idBytes is the alphabet of ids that become part of a NATS subject.
	idBytes = charsetOf(isIDByte)
	// nameBytes is the alphabet of event names and of Atlassian resource names.
	nameBytes = charsetOf(func(c byte) bool { return isIDByte(c) || c == ':' || c == '.' || c == '/' })
	// tokenBytes is the alphabet of a compact JWS.
	tokenBytes = charsetOf(func(c byte) bool { return isIDByte(c) || c == '.' })
	// labelBytes is the alphabet of an Isolated Cloud's label.
	labelBytes = charsetOf(func(c byte) bool { return isIDByte(c) && (c < 'A' || c > 'Z') })
	// hexBytes is the alphabet of B3 ids.
	hexBytes = charsetOf(func(c byte) bool { return hexValue(c) >= 0 })
	// printable keeps control characters out, and with them any damage to logs
	// and headers.
	printable = charsetOf(func(c byte) bool { return c >= ' ' && c != 0x7f })
)

// maxID is the longest id that may become part of a NATS subject; a UUID has
// 36 characters.
const maxID = 64

func isSafeID(s string) bool {
	return s != "" && len(s) <= maxID && idBytes.hold(s)
}
