// Package secret holds the two things bellows must never show: a token that
// cannot be printed, logged or marshalled by accident, and the sealing that
// lets one process store tokens which only another can read.
//
// A [Token] has one way out, [Token.Reveal], so that every use of the plain
// text can be found by its name. Everything that formats, logs or encodes a
// Token gets the fixed text "[secret]" instead.
//
// Sealing is HPKE (RFC 9180: DHKEM with X25519, HKDF-SHA256, AES-256-GCM).
// A [PublicKey] seals, a [Keyring] of private keys opens. The info string
// given to both binds a sealed value to its owner: a value copied to another
// owner's place does not open there. See [PublicKey.Seal] for the layout.
package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// redacted is what every accidental view of a Token shows.
const redacted = "[secret]"

// Token is a bearer token in memory. The zero Token is "no token".
type Token struct {
	text string
}

// NewToken wraps text. An empty text gives the zero Token.
func NewToken(text string) Token {
	return Token{text: text}
}

// Reveal returns the plain text, for the one line that puts it on the wire or
// under seal.
func (t Token) Reveal() string {
	return t.text
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool {
	return t.text == ""
}

// Digest names the token without revealing it: the first 16 bytes of its
// SHA-256 in hex. The zero Token has the digest "".
func (t Token) Digest() string {
	if t.text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(t.text))
	return hex.EncodeToString(sum[:16])
}

// Scrub returns text with every occurrence of the token replaced, for text
// that came from a server which may have echoed it.
func (t Token) Scrub(text string) string {
	if t.text == "" {
		return text
	}
	return strings.ReplaceAll(text, t.text, redacted)
}

// String returns a fixed text.
func (t Token) String() string { return redacted }

// GoString returns a fixed text.
func (t Token) GoString() string { return redacted }

// Format writes a fixed text for every verb, also those that would otherwise
// reach the fields by reflection.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue returns a fixed text for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a fixed text; it serves JSON, YAML and XML alike.
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }
