package simulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// FITFault is a way an invocation token, or the headers it travels with, can
// be wrong.
type FITFault struct {
	// Name is what a request's faults say.
	Name string `json:"name"`
	// About is one line for people.
	About string `json:"about"`

	apply func(*mint) // nil: a fault of the headers
}

// Faults of the headers around the token.
const (
	faultNoAuthorization = "no-authorization"
	faultTwice           = "authorization-twice"
	faultNoSystemToken   = "no-system-token"
	faultExpiredSystem   = "expired-system-token"
	someOtherApp         = "ari:cloud:ecosystem::app/00000000-0000-4000-8000-000000000000"
	hostileICLabel       = "../../evil.example.com#"
	foreignKeySet        = "https://keys.example.com/jwks.json"
)

var fitFaults = []FITFault{
	{"expired", "exp was a minute ago", func(m *mint) { m.shift(-time.Minute - fitLife) }},
	{"not-yet-valid", "nbf is in ten minutes", func(m *mint) { m.shift(10 * time.Minute) }},
	{"wrong-audience", "aud is another app", func(m *mint) { m.claims["aud"] = someOtherApp }},
	{"wrong-issuer", "iss is not forge/invocation-token", func(m *mint) { m.claims["iss"] = "forge/context-token" }},
	{"wrong-app", "app.id is not the audience", func(m *mint) { m.app["id"] = someOtherApp }},
	{"none", "alg none, no signature", func(m *mint) { m.method, m.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType }},
	{"hs256", "alg HS256, signed with the public key in PEM", func(m *mint) { m.method, m.key = jwt.SigningMethodHS256, publicPEM(m.signer) }},
	{"rs512", "alg RS512", func(m *mint) { m.method = jwt.SigningMethodRS512 }},
	{"ps256", "alg PS256", func(m *mint) { m.method = jwt.SigningMethodPS256 }},
	{"unknown-kid", "a kid that is not in the key set", func(m *mint) { m.header["kid"] = kidPrefix + "00000000-0000-4000-8000-000000000000" }},
	{"no-kid", "no kid", func(m *mint) { delete(m.header, "kid") }},
	{"foreign-key", "our kid, signed by a key that is not ours", func(m *mint) { m.key = foreignKey() }},
	{"bad-signature", "one byte of the signature is changed", func(m *mint) { m.after = breakSignature }},
	{"two-part", "no signature part", func(m *mint) { m.after = func(t string) string { return t[:strings.LastIndexByte(t, '.')] } }},
	{"padded", "base64 padding after every part", func(m *mint) { m.after = padParts }},
	{"jku", "names a foreign key set in jku", func(m *mint) { m.header["jku"] = foreignKeySet }},
	{"x5u", "names a foreign certificate in x5u", func(m *mint) { m.header["x5u"] = foreignKeySet }},
	{"ic-label", "comes from an Isolated Cloud", func(m *mint) { m.claims["icLabel"] = "orange" }},
	{"bad-ic-label", "an icLabel that would change a URL", func(m *mint) { m.claims["icLabel"] = hostileICLabel }},
	{"no-exp", "no exp", func(m *mint) { delete(m.claims, "exp") }},
	{"no-iat", "no iat", func(m *mint) { delete(m.claims, "iat") }},
	{"no-jti", "no jti", func(m *mint) { delete(m.claims, "jti") }},
	{"no-audience", "no aud", func(m *mint) { delete(m.claims, "aud") }},
	{"no-app", "no app", func(m *mint) { delete(m.claims, "app") }},
	{"no-installation", "no app.installationId and app.installation", func(m *mint) { delete(m.app, "installationId"); delete(m.app, "installation") }},
	{"no-contexts", "no app.installation.contexts", func(m *mint) { delete(m.installation(), "contexts") }},
	{"no-cloud-id", "contexts without cloudId, as seen in a real token (legal)", (*mint).dropCloudIDs},
	{"no-context", "no claim context (legal)", func(m *mint) { delete(m.claims, "context") }},
	{"old-license", "a licence with isActive only (legal until 2026-10-17)", func(m *mint) { m.app["license"] = map[string]any{"isActive": true} }},
	{"inactive-license", "a licence that is not active (legal)", func(m *mint) { m.app["license"] = map[string]any{"active": false, "isActive": false} }},
	{"development", "comes from a DEVELOPMENT environment (legal)", func(m *mint) { m.environment()["type"] = "DEVELOPMENT" }},
	{"front-end", "principal and context.extension, as a browser's token has", (*mint).frontEnd},
	{faultNoAuthorization, "the header Authorization is absent", nil},
	{faultTwice, "the header Authorization comes twice", nil},
	{faultNoSystemToken, "the header x-forge-oauth-system is absent (legal)", nil},
	{faultExpiredSystem, "the system token has expired already", nil},
}

// FITFaults lists the faults by name, for help texts.
func FITFaults() []FITFault {
	return append([]FITFault(nil), fitFaults...)
}

func findFault(name string) (FITFault, bool) {
	for _, f := range fitFaults {
		if f.Name == name {
			return f, true
		}
	}
	return FITFault{}, false
}

// shift moves all times of the token.
func (m *mint) shift(d time.Duration) {
	for _, name := range []string{"iat", "nbf", "exp"} {
		if at, ok := m.claims[name].(int64); ok {
			m.claims[name] = at + int64(d/time.Second)
		}
	}
}

func (m *mint) installation() map[string]any {
	inner, _ := m.app["installation"].(map[string]any)
	return inner
}

func (m *mint) environment() map[string]any {
	inner, _ := m.app["environment"].(map[string]any)
	return inner
}

func (m *mint) dropCloudIDs() {
	contexts, _ := m.installation()["contexts"].([]map[string]any)
	for _, c := range contexts {
		delete(c, "cloudId")
	}
}

func (m *mint) frontEnd() {
	m.claims["principal"] = firstPerson
	m.claims["context"] = map[string]any{
		"moduleKey": "panel", "accountId": firstPerson, "accountType": "licensed",
		"extension": map[string]any{"type": "jira:issuePanel"},
	}
	m.app["module"] = map[string]any{"type": "jira:issuePanel", "key": "panel"}
}

func publicPEM(k signingKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		panic(err) // an RSA key that was just made is always encodable
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func foreignKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		panic(err) // the system's randomness does not fail, see crypto/rand
	}
	return key
}

// breakSignature changes a character in the middle of the signature, where
// every bit counts.
func breakSignature(token string) string {
	at := (strings.LastIndexByte(token, '.') + len(token)) / 2
	other := byte('A')
	if token[at] == other {
		other = 'B'
	}
	return token[:at] + string(other) + token[at+1:]
}

func padParts(token string) string {
	parts := strings.Split(token, ".")
	for i, p := range parts {
		parts[i] = p + strings.Repeat("=", (4-len(p)%4)%4)
	}
	if !strings.Contains(strings.Join(parts, ""), "=") {
		parts[1] += "===="
	}
	return strings.Join(parts, ".")
}
