package acceptance

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// badToken is one way to be refused: the lines of the Authorization header.
type badToken struct {
	name    string
	lines   []string
	unknown bool // the key is not known: 503 will do
}

// with returns a copy of o in which the member at a dotted path is value, or
// is gone if value is nil.
func with(o object, path string, value any) object {
	o = maps.Clone(o)
	name, rest, deeper := strings.Cut(path, ".")
	switch {
	case deeper:
		o[name] = with(o[name].(object), rest, value)
	case value == nil:
		delete(o, name)
	default:
		o[name] = value
	}
	return o
}

// forger makes bad tokens out of what a good one is made of.
type forger struct {
	key, other *rsa.PrivateKey
	header     object
	claims     object
}

func bearer(token string) []string { return []string{"Bearer " + token} }

func (f forger) good() string { return sign(f.key, f.header, f.claims) }

// headed has another member in its header, and is signed well.
func (f forger) headed(name, member string, value any) badToken {
	return badToken{name: name, lines: bearer(sign(f.key, with(f.header, member, value), f.claims))}
}

// claimed has another claim, and is signed well.
func (f forger) claimed(name, path string, value any) badToken {
	return badToken{name: name, lines: bearer(sign(f.key, f.header, with(f.claims, path, value)))}
}

// raw has a header and claims that are any text, and is signed well.
func (f forger) raw(header, claims string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, f.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// keyed is an HS256 token whose secret is a form of the public key.
func (f forger) keyed(alg string, secret []byte) []string {
	signed := segment(with(f.header, "alg", alg)) + "." + segment(f.claims)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return bearer(signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

func (f forger) pss() []string {
	signed := segment(f.header) + "." + segment(f.claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, f.key, crypto.SHA256, sum[:], nil)
	if err != nil {
		panic(err)
	}
	return bearer(signed + "." + base64.RawURLEncoding.EncodeToString(signature))
}

func (f forger) lines() []badToken {
	token := f.good()
	part := strings.Split(token, ".")
	return []badToken{
		{name: "no header line"},
		{name: "an empty header line", lines: []string{""}},
		{name: "a scheme alone", lines: []string{"Bearer"}},
		{name: "another scheme", lines: []string{"Basic " + token}},
		{name: "no scheme", lines: []string{token}},
		{name: "the header twice", lines: []string{"Bearer " + token, "Bearer " + token}},
		{name: "a bad one first", lines: []string{"Bearer x", "Bearer " + token}},
		{name: "two tokens in one line", lines: []string{"Bearer " + token + ", Bearer " + token}},
		{name: "two spaces", lines: []string{"Bearer  " + token}},
		{name: "garbage", lines: bearer("garbage")},
		{name: "two parts", lines: bearer(part[0] + "." + part[1])},
		{name: "no signature", lines: bearer(part[0] + "." + part[1] + ".")},
		{name: "four parts", lines: bearer(token + ".AAAA")},
		{name: "padding", lines: bearer(token + "==")},
		{name: "padded parts", lines: bearer(part[0] + "=." + part[1] + "=." + part[2])},
		{name: "oversized", lines: bearer(token + strings.Repeat("A", 40<<10))},
		{name: "a large one with everything right", lines: bearer(sign(f.key, f.header, with(f.claims, "more", strings.Repeat("x", 30<<10))))},
		{name: "other claims under its signature", lines: bearer(part[0] + "." + segment(with(f.claims, "jti", "another")) + "." + part[2])},
		{name: "a broken signature", lines: bearer(part[0] + "." + part[1] + "." + swapFirst(part[2]))},
	}
}

// swapFirst changes the first character of a base64url text.
func swapFirst(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func (f forger) headers(address string) []badToken {
	der, err := x509.MarshalPKIXPublicKey(&f.key.PublicKey)
	if err != nil {
		panic(err)
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	foreign := func(member string, value any) []string {
		return bearer(sign(f.other, with(with(f.header, member, value), "kid", "mine"), f.claims))
	}
	none := segment(with(f.header, "alg", "none")) + "." + segment(f.claims) + "."
	return []badToken{
		{name: "alg none", lines: bearer(none)},
		{name: "alg none with a signature", lines: bearer(none + strings.Split(f.good(), ".")[2])},
		f.headed("alg None", "alg", "None"),
		f.headed("no alg", "alg", nil),
		f.headed("alg RS512", "alg", "RS512"),
		f.headed("alg PS256", "alg", "PS256"),
		{name: "a PSS signature", lines: f.pss()},
		{name: "HS256 with the public key in PEM", lines: f.keyed("HS256", pemText)},
		{name: "HS256 with the public key in DER", lines: f.keyed("HS256", der)},
		{name: "HS256 with the modulus", lines: f.keyed("HS256", f.key.N.Bytes())},
		{name: "an HMAC called RS256", lines: f.keyed("RS256", pemText)},
		f.headed("a jku", "jku", address),
		f.headed("an x5u", "x5u", address),
		{name: "a jku and its key", lines: foreign("jku", address)},
		{name: "an x5u and its key", lines: foreign("x5u", address)},
		{name: "a jwk and its key", lines: foreign("jwk", jwk("mine", &f.other.PublicKey))},
		{name: "an x5c and its key", lines: foreign("x5c", []string{base64.StdEncoding.EncodeToString(der)})},
		f.headed("crit", "crit", []string{"exp"}),
		f.headed("a zip", "zip", "DEF"),
		{name: "a foreign key under our kid", lines: bearer(sign(f.other, f.header, f.claims))},
		{name: "a foreign key under its own kid", lines: bearer(sign(f.other, with(f.header, "kid", "mine"), f.claims)), unknown: true},
		{name: "a kid that is an address", lines: bearer(sign(f.other, with(f.header, "kid", address), f.claims)), unknown: true},
		{name: "a kid that is a path", lines: bearer(sign(f.other, with(f.header, "kid", "../../../../dev/null"), f.claims)), unknown: true},
		{name: "a kid that is SQL", lines: bearer(sign(f.other, with(f.header, "kid", "x' UNION SELECT 'key"), f.claims)), unknown: true},
		f.headed("no kid", "kid", nil),
		f.headed("a kid that is a list", "kid", []string{keyID}),
		{name: "a header with alg twice", lines: bearer(f.raw(`{"alg":"none","alg":"RS256","kid":"`+keyID+`"}`, jsonText(f.claims)))},
		{name: "a header that is no JSON", lines: bearer(f.raw(`{`, jsonText(f.claims)))},
	}
}

func (f forger) bodies(address string) []badToken {
	now := time.Now().Unix()
	text := jsonText(f.claims)
	const foreign = "ari:cloud:ecosystem::app/ffffffff-51d7-4e83-9c1a-7d20e4b8f611"
	rows := []badToken{
		{name: "expired", lines: bearer(sign(f.key, f.header, with(with(f.claims, "iat", now-90), "exp", now-60)))},
		f.claimed("not yet valid", "nbf", now+300),
		f.claimed("issued in the future", "iat", now+300),
		f.claimed("exp as text", "exp", "9999999999"),
		f.claimed("exp beyond all numbers", "exp", 1e300),
		f.claimed("another issuer", "iss", "forge/context-token"),
		f.claimed("an issuer that is an address", "iss", address),
		f.claimed("another audience", "aud", foreign),
		f.claimed("two audiences", "aud", []string{appID, foreign}),
		f.claimed("another app", "app.id", foreign),
		f.claimed("an installation with a wildcard", "app.installationId", "ari:cloud:ecosystem::installation/>"),
		f.claimed("two installations", "app.installation.id", "ari:cloud:ecosystem::installation/other"),
		f.claimed("no contexts", "app.installation.contexts", []any{}),
		f.claimed("an environment of its own", "app.environment.type", "TEST"),
		f.claimed("a label", "icLabel", "heron-7"),
		f.claimed("a label that is an address", "icLabel", address),
		f.claimed("a label that is a host", "icLabel", strings.TrimPrefix(address, "http://")),
		f.claimed("a label with a path", "icLabel", "../x"),
		f.claimed("a label in capitals", "icLabel", "HERON"),
		f.claimed("a label of 51 characters", "icLabel", strings.Repeat("a", 51)),
		{name: "a label, and the key of its sender", lines: bearer(sign(f.other, f.header, with(f.claims, "icLabel", "mine")))},
		{name: "claims with exp twice", lines: bearer(f.raw(jsonText(f.header), `{"exp":1,`+text[1:]))},
		{name: "claims that are no JSON", lines: bearer(f.raw(jsonText(f.header), text[1:]))},
		{name: "claims that are null", lines: bearer(f.raw(jsonText(f.header), "null"))},
		{name: "claims nested without end", lines: bearer(f.raw(jsonText(f.header), `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}"))},
		{name: "a line end in the principal", lines: bearer(sign(f.key, f.header, with(f.claims, "principal", "x\r\nce-id: y")))},
	}
	for _, path := range []string{"iss", "aud", "exp", "nbf", "iat", "jti", "app", "app.id", "app.installationId", "app.installation",
		"app.apiBaseUrl", "app.environment", "app.module", "app.module.key", "app.appVersion"} {
		rows = append(rows, f.claimed("no "+path, path, nil))
	}
	return rows
}

// post calls with these lines of the Authorization header, and a token that
// would be kept.
func (h *house) post(to *process, path string, lines []string, body, token string) answer {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, to.url(path), strings.NewReader(body))
	must(h.t, err)
	r.Header.Set("X-Forge-Oauth-System", token)
	if lines != nil {
		r.Header["Authorization"] = lines
	}
	return send(r)
}

func TestBadTokensAreRefusedAndLeaveNoTrace(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	in := h.ingest()
	away := newTrap(t)
	s := h.newSite()
	f := forger{key: h.forge.key, other: newKey(), header: fitHeader(), claims: s.fitClaims("events")}
	planted := h.forge.systemToken(s, time.Now().Add(4*time.Hour))
	rows := append(append(f.lines(), f.headers(away.URL+"/jwks.json")...), f.bodies(away.URL+"/jwks.json")...)
	if len(rows) < 45 {
		t.Fatalf("only %d kinds", len(rows))
	}
	before := h.streams()
	shown := secrets{}
	for _, row := range rows {
		a := h.post(in, "/forge/events", row.lines, issueEvent("avi:jira:created:issue", "BAD-1"), planted)
		refused := a.Status == http.StatusUnauthorized && a.Code == "invalid_token" && a.Header.Get("WWW-Authenticate") != "" ||
			row.unknown && a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != ""
		if !refused {
			t.Errorf("%s: got %d %s", row.name, a.Status, a.Text)
		}
		h.unchanged(before, row.name)
		for _, line := range row.lines {
			for _, part := range strings.Split(line, ".") {
				if len(part) > 100 {
					shown[row.name] = part[:100]
					shown.in(t, "the answer", a.Text)
				}
			}
		}
	}
	if n := away.calls.Load(); n != 0 {
		t.Errorf("an address in a token was called %d times", n)
	}
	if n := h.forge.fetched(); n > 7 {
		t.Errorf("the key set was asked for %d times, want the first load and six more at most", n)
	}
	shown.in(t, "the log", in.logs())
	if a := h.post(in, "/forge/events", bearer(sign(f.key, f.header, s.fitClaims("events"))), issueEvent("avi:jira:created:issue", "GOOD-1"), planted); a.Status != http.StatusAccepted {
		t.Errorf("a good token: got %d %s", a.Status, a.Text)
	}
}

func TestLabelsOfIsolatedCloudsLeadNowhereElse(t *testing.T) {
	h := newHouse(t, setup{Rules: mixedRules})
	away := newTrap(t)
	in := h.ingest("--isolated-cloud-jwks", h.forge.server.URL+"/{IC_LABEL}/jwks.json")
	s := h.newSite()
	host := strings.TrimPrefix(away.URL, "http://")
	before, fetched := h.streams(), h.forge.fetched()
	for _, label := range []any{"", nil, 7, "@" + host, "@" + host + "/", "x@" + host, "//" + host, "\\" + host, "heron%2f..", "..", ".", "a.b", "a/b", "a?b", "a#b",
		"a\r\nHost: x", "a b", "HERON", "ä", strings.Repeat("a", 51), []string{"heron"}, object{"x": 1}} {
		claims := s.fitClaims("events")
		claims["icLabel"] = label
		a := h.post(in, "/forge/events", bearer(sign(h.forge.key, fitHeader(), claims)), "{}", "planted")
		if a.Status != http.StatusUnauthorized {
			t.Errorf("label %q: got %d %s", label, a.Status, a.Text)
		}
	}
	if n := h.forge.fetched() - fetched; n != 0 {
		t.Errorf("key sets were asked for %d times because of hostile labels", n)
	}
	if away.calls.Load() != 0 {
		t.Error("a label led to another host")
	}
	h.unchanged(before, "hostile labels")
	claims := s.fitClaims("events")
	claims["icLabel"] = "heron_7-a"
	if a := h.post(in, "/forge/events", bearer(sign(h.forge.key, fitHeader(), claims)), "{}", ""); a.Status != http.StatusAccepted {
		t.Errorf("a label that is one: got %d %s", a.Status, a.Text)
	}
}
