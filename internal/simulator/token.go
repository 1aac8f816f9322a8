package simulator

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"bellows/internal/secret"
)

// Kinds of tokens.
const (
	kindSystem    = "system"
	kindExchanged = "exchanged"
)

// grant is what an API token allows.
type grant struct {
	kind         string
	installation string
	actor        string // account id
	digest       string
	expires      time.Time
	revoked      bool
}

// newTokenLocked makes a token in the form of a JWT, as Atlassian's are, and keeps
// what it allows. The caller holds s.mu.
func (s *Simulator) newTokenLocked(g grant) secret.Token {
	now := s.now()
	claims := jwt.MapClaims{
		"iss": "https://auth.atlassian.com", "aud": s.appUUID, "sub": g.actor, "client_id": s.appUUID,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": g.expires.Unix(), "jti": s.random.uuid(),
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(s.tokenSecret)
	if err != nil {
		panic(err) // HMAC over these claims cannot fail
	}
	token := secret.NewToken(text)
	g.digest = token.Digest()
	s.forgetExpiredLocked(now)
	s.grants[g.digest] = &g
	return token
}

// forgetExpiredLocked keeps the table of grants from growing for ever.
func (s *Simulator) forgetExpiredLocked(now time.Time) {
	const enough = 50_000
	if len(s.grants) < enough {
		return
	}
	for digest, g := range s.grants {
		if g.expires.Before(now) {
			delete(s.grants, digest)
		}
	}
}

// systemToken returns the token that goes with a call for an installation: the
// same one again while more than half of its life is left, then a new one.
func (s *Simulator) systemToken(installation string) secret.Token {
	life := s.cfg.systemTokenLife()
	now := s.now()
	var token secret.Token
	s.change(installation, func(i *installed) {
		if i.system.IsZero() || i.expires.Sub(now) < life/2 {
			// The claim exp has whole seconds: what it says is what holds.
			i.expires = now.Add(life).Truncate(time.Second)
			i.system = s.newTokenLocked(grant{kind: kindSystem, installation: i.ID, actor: s.bot, expires: i.expires})
		}
		token = i.system
	})
	return token
}

// expiredToken returns a token of an installation that has run out.
func (s *Simulator) expiredToken(installation string) secret.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newTokenLocked(grant{kind: kindSystem, installation: installation, actor: s.bot, expires: s.now().Add(-time.Minute)})
}

// RevokeTokens makes the APIs refuse every token given out so far for an
// installation, though they have not expired. The next call to the backend
// brings a new one.
func (s *Simulator) RevokeTokens(installation string) {
	s.change(installation, func(i *installed) {
		i.system = secret.Token{}
		for _, g := range s.grants {
			if g.installation == i.ID {
				g.revoked = true
			}
		}
	})
}

// authorize finds what the token of a request allows. A reason that is not
// empty says why the request must be refused; the grant may still say whose
// token it was.
func (s *Simulator) authorize(r *http.Request) (grant, string) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return grant{}, "no bearer token"
	}
	digest := secret.NewToken(text).Digest()
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.grants[digest]
	switch {
	case !ok:
		return grant{digest: digest}, "unknown token"
	case !s.now().Before(g.expires):
		return *g, "token expired"
	case g.revoked:
		return *g, "token revoked"
	}
	at := slices.IndexFunc(s.installations, func(i *installed) bool { return i.ID == g.installation })
	if at < 0 || s.installations[at].State != stateInstalled {
		return *g, "app uninstalled"
	}
	return *g, ""
}

// foreign says why a grant does not reach a product of a site, or "".
func (s *Simulator) foreign(g grant, product, cloudID string) string {
	i, err := s.find(g.installation, "")
	if err != nil || i.CloudID != cloudID {
		return "token of another site"
	}
	if !slices.Contains(i.Products, product) {
		return "app is not installed in this product"
	}
	return ""
}
