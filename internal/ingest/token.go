package ingest

import (
	"net/http"
	"strings"

	"bellows/internal/secret"
)

// maxToken is the longest OAuth token that is kept, in bytes. Forge's have one
// to three thousand.
const maxToken = 16 << 10

// tokenFrom reads a token header. One code base in the field saw a scheme before
// the token, so that is taken off. What cannot stand in a request's header, and
// so can be no token, counts as absent: it must not take the place of one.
func tokenFrom(header http.Header, name string) secret.Token {
	text := strings.TrimSpace(header.Get(name))
	if scheme, rest, _ := strings.Cut(text, " "); strings.EqualFold(scheme, "Bearer") {
		text = strings.TrimSpace(rest)
	}
	if len(text) > maxToken || strings.ContainsFunc(text, unfitForToken) {
		return secret.Token{}
	}
	return secret.NewToken(text)
}

func unfitForToken(r rune) bool { return r <= ' ' || r > '~' }
