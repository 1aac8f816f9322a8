package forge_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"bellows/internal/forge"
)

// badToken is one way to be refused: what comes in the Authorization header,
// and which check must say no.
type badToken struct {
	name  string
	check string
	lines []string
}

// signed makes a row of a well-signed token with other claims.
func signed(name, check string, claims object) badToken {
	return badToken{name, check, bearer(sign(signingKey(), text(header()), text(claims)))}
}

// headed makes a row of a well-signed token with another header.
func headed(t testing.TB, name, check string, header object) badToken {
	return badToken{name, check, bearer(sign(signingKey(), text(header), text(claims(t, "trigger-jira"))))}
}

// raw makes a row of a well-signed token of two texts.
func raw(name, check, header, claims string) badToken {
	return badToken{name, check, bearer(sign(signingKey(), header, claims))}
}

func badLines(t testing.TB) []badToken {
	token := good(t)
	first, rest, _ := strings.Cut(token, ".")
	second, third, _ := strings.Cut(rest, ".")
	return []badToken{
		{"no header line", "authorization", nil},
		{"two header lines", "authorization", []string{"Bearer " + token, "Bearer " + token}},
		{"an empty header line", "authorization", []string{""}},
		{"another scheme", "authorization", []string{"Basic " + token}},
		{"no scheme", "authorization", []string{token}},
		{"a tab for a space", "authorization", []string{"Bearer\t" + token}},
		{"a scheme alone", "encoding", []string{"Bearer "}},
		{"two spaces", "encoding", []string{"Bearer  " + token}},
		{"a space at the end", "encoding", []string{"Bearer " + token + " "}},
		{"a line end inside", "encoding", bearer(first + ".\n" + rest)},
		{"two tokens in one line", "encoding", []string{"Bearer " + token + ", Bearer " + token}},
		{"a token of more than 16 KiB", "authorization", bearer(token + strings.Repeat("A", 16<<10))},
		{"garbage", "encoding", bearer("garbage")},
		{"one part", "encoding", bearer(first)},
		{"two parts", "encoding", bearer(first + "." + second)},
		{"four parts", "encoding", bearer(token + ".AAAA")},
		{"five parts, as encrypted ones have", "encoding", bearer(first + ".." + rest + ".AAAA")},
		{"no signature", "encoding", bearer(first + "." + second + ".")},
		{"no claims", "encoding", bearer(first + ".." + third)},
		{"no header", "encoding", bearer("." + rest)},
		{"padding", "encoding", bearer(token + "==")},
		{"the other base64 alphabet", "encoding", bearer(first + "." + second + "." + swapped(third))},
		{"trailing bits that are not zero", "encoding", bearer(first + "." + second + "." + third[:len(third)-1] + bumped(third[len(third)-1]))},
		{"a part of impossible length", "encoding", bearer(first + "." + second + "." + third + "AAA")},
	}
}

// swapped puts the characters of plain base64 in; if there are none to swap, it
// adds one.
func swapped(part string) string {
	return strings.NewReplacer("-", "+", "_", "/").Replace(part[:len(part)-1]) + "+"
}

// bumped returns the last character of a 256-byte signature, of whose six bits
// two have a meaning, with one of the others set.
func bumped(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)|1])
}

func badHeaders(t testing.TB, trap string) []badToken {
	h, body := header(), text(claims(t, "trigger-jira"))
	rows := []badToken{
		raw("a header that is no JSON", "header", `{"alg":"RS256"`, body),
		raw("a header that is an array", "header", `[`+text(h)+`]`, body),
		raw("a header with something after it", "header", text(h)+`{}`, body),
		raw("a header that is not UTF-8", "header", `{"alg":"RS256","kid":"`+"\xff"+`"}`, body),
		raw("alg twice, good one last", "header", `{"alg":"none","alg":"RS256","kid":`+text(kid)+`}`, body),
		raw("alg twice, one escaped", "header", `{"\u0061lg":"none","alg":"RS256","kid":`+text(kid)+`}`, body),
		headed(t, "no alg", "alg", with(h, "alg", gone)),
		headed(t, "alg in small letters", "alg", with(h, "alg", "rs256")),
		headed(t, "alg as ALG", "alg", with(with(h, "alg", gone), "ALG", "RS256")),
		headed(t, "alg as an array", "alg", with(h, "alg", []string{"RS256"})),
		headed(t, "alg RS512", "alg", with(h, "alg", "RS512")),
		headed(t, "alg PS256", "alg", with(h, "alg", "PS256")),
		headed(t, "no kid", "kid", with(h, "kid", gone)),
		headed(t, "kid empty", "kid", with(h, "kid", "")),
		headed(t, "kid null", "kid", with(h, "kid", nil)),
		headed(t, "kid a number", "kid", with(h, "kid", 7)),
		headed(t, "kid too long", "kid", with(h, "kid", strings.Repeat("k", 257))),
		headed(t, "kid as Kid", "kid", with(with(h, "kid", gone), "Kid", kid)),
		headed(t, "kid unknown", "kid", with(h, "kid", "forge/invocation-token/wf-0")),
		headed(t, "kid a path", "kid", with(h, "kid", "../../../dev/null")),
		headed(t, "kid an address", "kid", with(h, "kid", trap)),
		headed(t, "typ of another token", "header", with(h, "typ", "at+jwt")),
		headed(t, "typ a number", "header", with(h, "typ", 1)),
		headed(t, "jwk of the sender", "header", with(h, "jwk", jwk(kid, &otherKey().PublicKey))),
		headed(t, "x5c of the sender", "header", with(h, "x5c", []string{"MIIB"})),
		headed(t, "crit", "header", with(h, "crit", []string{"exp"})),
		headed(t, "b64 false", "header", with(h, "b64", false)),
		headed(t, "zip", "header", with(h, "zip", "DEF")),
		headed(t, "enc", "header", with(h, "enc", "A256GCM")),
		headed(t, "cty JWT", "header", with(h, "cty", "JWT")),
	}
	for _, name := range []string{"jku", "x5u"} {
		attack := with(with(h, name, trap), "kid", "mine")
		rows = append(rows,
			headed(t, name+" of the sender", "header", with(h, name, trap)),
			badToken{name + " and the sender's own key", "header", bearer(sign(otherKey(), text(attack), body))})
	}
	return rows
}

func badSignatures(t testing.TB) []badToken {
	body := text(claims(t, "trigger-jira"))
	token := good(t)
	cut := strings.LastIndexByte(token, '.')
	head, _, _ := strings.Cut(token, ".")
	forged := with(claims(t, "trigger-jira"), "app.installationId", "ari:cloud:ecosystem::installation/other")
	none := with(header(), "alg", "none")
	return []badToken{
		{"alg none without signature", "encoding", bearer(encode(text(none)) + "." + encode(body) + ".")},
		{"alg none with signature", "alg", bearer(sign(signingKey(), text(none), body))},
		{"alg nOnE", "alg", bearer(sign(signingKey(), text(with(header(), "alg", "nOnE")), body))},
		{"HS256 with the public key as secret", "alg", bearer(signHMAC(text(with(header(), "alg", "HS256")), body))},
		{"HMAC under the name RS256", "signature", bearer(signHMAC(text(header()), body))},
		{"another key under a known kid", "signature", bearer(sign(otherKey(), text(header()), body))},
		{"a signature of other claims", "signature", bearer(head + "." + encode(text(forged)) + token[cut:])},
		{"a signature with one bit changed", "signature", bearer(token[:cut+1] + flipped(token[cut+1:]))},
		{"a short signature", "signature", bearer(token[:cut+1] + "AAAA")},
		{"a signature of zeros", "signature", bearer(token[:cut+1] + strings.Repeat("A", 342))},
		{"a PSS signature", "signature", bearer(signPSS(text(header()), body))},
		{"a signature of SHA-512", "signature", bearer(signSHA512(text(header()), body))},
	}
}

func flipped(part string) string {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		panic(err)
	}
	raw[17] ^= 4
	return base64.RawURLEncoding.EncodeToString(raw)
}

func joined(signed string, signature []byte) string {
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func signHMAC(header, claims string) string {
	signed := encode(header) + "." + encode(claims)
	public, err := x509.MarshalPKIXPublicKey(&signingKey().PublicKey)
	if err != nil {
		panic(err)
	}
	mac := hmac.New(sha256.New, public)
	mac.Write([]byte(signed))
	return joined(signed, mac.Sum(nil))
}

func signPSS(header, claims string) string {
	signed := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, signingKey(), crypto.SHA256, sum[:], nil)
	if err != nil {
		panic(err)
	}
	return joined(signed, signature)
}

func signSHA512(header, claims string) string {
	signed := encode(header) + "." + encode(claims)
	hash := crypto.SHA512.New()
	hash.Write([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, signingKey(), crypto.SHA512, hash.Sum(nil))
	if err != nil {
		panic(err)
	}
	return joined(signed, signature)
}

func badForms(t testing.TB, trap string) []badToken {
	c := claims(t, "trigger-jira")
	h, body := text(header()), text(c)
	twice := func(name, value string) string { return `{"` + name + `":` + value + `,` + body[1:] }
	return []badToken{
		raw("claims that are no JSON", "claims", h, body[:len(body)-1]),
		raw("claims with a comma too many", "claims", h, body[:len(body)-1]+",}"),
		raw("claims with something after them", "claims", h, body+"x"),
		raw("claims that are a string", "claims", h, text(body)),
		raw("claims that are null", "claims", h, "null"),
		raw("claims that are not UTF-8", "claims", h, twice("x", "\"\xc3\x28\"")),
		raw("claims with half a surrogate pair", "claims", h, twice("x", `"\ud800"`)),
		raw("claims with a number JSON does not know", "claims", h, twice("x", "0x10")),
		raw("claims with a comment", "claims", h, "/**/"+body),
		raw("claims nested too deep", "claims", h, twice("x", strings.Repeat("[", 100)+strings.Repeat("]", 100))),
		raw("iss twice", "claims", h, twice("iss", `"forge/invocation-token"`)),
		raw("exp twice", "claims", h, twice("exp", "9999999999")),
		raw("aud twice, one escaped", "claims", h, twice(`\u0061ud`, text(appID))),
		raw("app.id twice", "claims", h, strings.Replace(body, `"app":{`, `"app":{"id":"other",`, 1)),
		raw("a foreign member twice, deep inside", "claims", h, twice("x", `[{"a":{"b":1,"b":2}}]`)),
		raw("one of many members twice", "claims", h, twice("x", strings.Replace(text(wide(60)), "{", `{"mmm":1,`, 1))),
		signed("icLabel without a template", "icLabel", with(c, "icLabel", "heron-7")),
		signed("icLabel empty", "icLabel", with(c, "icLabel", "")),
		signed("icLabel null", "icLabel", with(c, "icLabel", nil)),
		signed("icLabel a number", "icLabel", with(c, "icLabel", 7)),
		signed("icLabel a list", "icLabel", with(c, "icLabel", []string{"heron-7"})),
		signed("icLabel an address", "icLabel", with(c, "icLabel", trap)),
		signed("icLabel in capitals", "icLabel", with(c, "icLabel", "HERON")),
		signed("icLabel with dots", "icLabel", with(c, "icLabel", "evil.example")),
		signed("icLabel with a line end", "icLabel", with(c, "icLabel", "heron\n")),
		signed("icLabel of 51 characters", "icLabel", with(c, "icLabel", strings.Repeat("a", 51))),
		{"icLabel, and signed by the sender", "icLabel", bearer(sign(otherKey(), h, text(with(c, "icLabel", "mine"))))},
	}
}

func badClaims(t testing.TB) []badToken {
	c := claims(t, "trigger-jira")
	const foreign = "ari:cloud:ecosystem::app/ffffffff-51d7-4e83-9c1a-7d20e4b8f611"
	rows := []badToken{
		signed("another issuer", "iss", with(c, "iss", "forge/context-token")),
		signed("an issuer with a slash more", "iss", with(c, "iss", "forge/invocation-token/")),
		signed("issuer as Iss", "iss", with(with(c, "iss", gone), "Iss", "forge/invocation-token")),
		signed("another audience", "aud", with(c, "aud", foreign)),
		signed("a bare audience", "aud", with(c, "aud", strings.TrimPrefix(appID, "ari:cloud:ecosystem::app/"))),
		signed("an audience in capitals", "aud", with(c, "aud", strings.ToUpper(appID))),
		signed("two audiences", "aud", with(c, "aud", []string{appID, foreign})),
		signed("the same audience twice", "aud", with(c, "aud", []string{appID, appID})),
		signed("a list without audience", "aud", with(c, "aud", []string{})),
		signed("a list of another audience", "aud", with(c, "aud", []string{foreign})),
		signed("an object for an audience", "aud", with(c, "aud", object{"0": appID})),
		signed("another app", "app.id", with(c, "app.id", foreign)),
		signed("expired", "exp", with(with(c, "iat", 1799999900), "exp", 1799999998)),
		signed("exp a string", "exp", with(c, "exp", "1800000025")),
		signed("exp null", "exp", with(c, "exp", nil)),
		signed("exp in milliseconds", "exp", with(c, "exp", 1800000025000)),
		signed("exp beyond all numbers", "exp", with(c, "exp", 1e300)),
		signed("exp negative", "exp", with(c, "exp", -1)),
		signed("exp zero", "exp", with(c, "exp", 0)),
		signed("exp before iat", "exp", with(with(c, "iat", 1800000007), "exp", 1800000006)),
		signed("nbf in the future", "nbf", with(c, "nbf", 1800000009)),
		signed("nbf true", "nbf", with(c, "nbf", true)),
		signed("iat in the future", "iat", with(c, "iat", 1800000009)),
		signed("iat a string", "iat", with(c, "iat", "1800000000")),
		signed("jti empty", "jti", with(c, "jti", "")),
		signed("jti a number", "jti", with(c, "jti", 12)),
		signed("app a list", "app", with(c, "app", []any{c["app"]})),
		signed("an installation that is no ARI", "app.installationId", with(c, "app.installationId", installation)),
		signed("an installation of another kind", "app.installationId", with(c, "app.installationId", "ari:cloud:ecosystem::app/"+installation)),
		signed("an installation with a wildcard", "app.installationId", with(c, "app.installationId", "ari:cloud:ecosystem::installation/>")),
		signed("an installation with a dot", "app.installationId", with(c, "app.installationId", "ari:cloud:ecosystem::installation/a.b")),
		signed("an installation with a slash", "app.installationId", with(c, "app.installationId", "ari:cloud:ecosystem::installation/a/b")),
		signed("an installation without id", "app.installationId", with(c, "app.installationId", "ari:cloud:ecosystem::installation/")),
		signed("two installations", "app.installation.id", with(c, "app.installation.id", "ari:cloud:ecosystem::installation/other")),
		signed("contexts empty", "app.installation.contexts", with(c, "app.installation.contexts", []any{})),
		signed("contexts an object", "app.installation.contexts", with(c, "app.installation.contexts", object{})),
		signed("contexts of strings", "app.installation.contexts", with(c, "app.installation.contexts", []string{"jira"})),
		signed("a context's name a number", "app.installation.contexts.name", with(c, "app.installation.contexts.name", 1)),
		signed("a context's cloud id a number", "app.installation.contexts.cloudId", with(c, "app.installation.contexts.cloudId", 1)),
		signed("a context's cloud id a path", "app.installation.contexts.cloudId", with(c, "app.installation.contexts.cloudId", "../x")),
		signed("a foreign environment", "app.environment.type", with(c, "app.environment.type", "production")),
		signed("an environment without id", "app.environment.id", with(c, "app.environment.id", "ari:cloud:ecosystem::environment/")),
		signed("a principal empty", "principal", with(c, "principal", "")),
		signed("a principal null", "principal", with(c, "principal", nil)),
		signed("a principal a number", "principal", with(c, "principal", 557058)),
		signed("a principal too long", "principal", with(c, "principal", strings.Repeat("p", 257))),
		signed("a principal with a control character", "principal", with(c, "principal", "user\r\nX: y")),
		signed("context a string", "context", with(c, "context", "ari:cloud:jira::site/x")),
		signed("context null", "context", with(c, "context", nil)),
		signed("context.cloudId a list", "context.cloudId", with(c, "context", object{"cloudId": []string{}})),
		signed("license a string", "app.license", with(c, "app.license", "active")),
	}
	for _, base := range []string{"", "api.atlassian.com/ex", "//api.atlassian.com", "ftp://api.atlassian.com", "https://", "https:api.atlassian.com",
		"https://user@api.atlassian.com", "https://api.atlassian.com?x", "https://api.atlassian.com#x", "https://api.atlassian.com/\\x", "https://:443/", "https://[::1/"} {
		rows = append(rows, signed("app.apiBaseUrl "+base, "app.apiBaseUrl", with(c, "app.apiBaseUrl", base)),
			signed("a context's apiBaseUrl "+base, "app.installation.contexts.apiBaseUrl", with(c, "app.installation.contexts.apiBaseUrl", base)))
	}
	for _, path := range []string{"iss", "aud", "exp", "nbf", "iat", "jti", "app", "app.id", "app.appVersion", "app.installationId", "app.installation", "app.installation.id",
		"app.installation.contexts", "app.installation.contexts.name", "app.installation.contexts.apiBaseUrl", "app.apiBaseUrl", "app.environment",
		"app.environment.type", "app.environment.id", "app.module", "app.module.type", "app.module.key"} {
		rows = append(rows, signed("no "+path, path, with(c, path, gone)), signed(path+" of a wrong kind", path, with(c, path, true)))
	}
	return rows
}

func TestBadTokensAreRefusedWithoutAskingAnybodyElse(t *testing.T) {
	var trapped atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { trapped.Add(1) }))
	defer trap.Close()
	address := trap.URL + "/jwks"
	rows := slices.Concat(badLines(t), badHeaders(t, address), badSignatures(t), badForms(t, address), badClaims(t))
	if len(rows) < 45 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t, nil)
			h.load(t)
			got, err := h.Verify(t.Context(), row.lines)
			var refused *forge.InvalidTokenError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want an InvalidTokenError", err)
			}
			if refused.Check != row.check {
				t.Errorf("refused by %v, want the check %q", err, row.check)
			}
			if got.Verified() || got.Installation != "" || got.Contexts != nil {
				t.Errorf("the invocation is not zero: %+v", got)
			}
			for _, line := range row.lines {
				if len(line) > 300 && strings.Contains(err.Error(), line[200:250]) {
					t.Errorf("the error shows the token: %v", err)
				}
			}
			want := 1 // the first load
			if strings.Contains(refused.Reason, "not in the key set") {
				want = 2 // an unknown key is looked for once
			}
			h.asked.mu.Lock()
			defer h.asked.mu.Unlock()
			if len(h.asked.urls) != want || slices.ContainsFunc(h.asked.urls, func(u string) bool { return u != h.server.URL+"/jwks" }) {
				t.Errorf("asked for %q, want the key set %d times", h.asked.urls, want)
			}
		})
	}
	if trapped.Load() != 0 {
		t.Error("an address in a token was fetched")
	}
}
