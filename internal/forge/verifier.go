package forge

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenIssuer = "forge/invocation-token"
	appPrefix   = "ari:cloud:ecosystem::app/"
	// maxToken is the longest token that is read, in bytes, several
	// times what Atlassian's samples have.
	maxToken = 16 << 10
)

// VerifierConfig says which tokens are accepted.
type VerifierConfig struct {
	// AppID is the app's ARI, ari:cloud:ecosystem::app/<uuid>: the only
	// audience. Required.
	AppID string
	// Keys are the keys of the commercial cloud. Required.
	Keys *KeySet
	// IsolatedCloud is the address of an Isolated Cloud's key set, with
	// {IC_LABEL} where its label goes. Empty means that tokens with a label
	// are refused.
	IsolatedCloud string
	// Client fetches the key sets of Isolated Clouds. Nil means the one of
	// Keys.
	Client *http.Client
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Leeway is how far the clock may be off. Zero means 5 seconds, negative
	// means none.
	Leeway time.Duration
	// Logger hears of failed fetches. Nil means the one of Keys.
	Logger *slog.Logger
}

func (c VerifierConfig) leeway() time.Duration {
	if c.Leeway == 0 {
		return 5 * time.Second
	}
	return max(0, c.Leeway)
}

func (c VerifierConfig) now() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// keySetConfig is what the key sets of Isolated Clouds are made from.
func (c VerifierConfig) keySetConfig() KeySetConfig {
	config := c.Keys.config
	if c.Client != nil {
		config.Client = c.Client
	}
	if c.Now != nil {
		config.Now = c.Now
	}
	if c.Logger != nil {
		config.Logger = c.Logger
	}
	return config
}

// Verifier checks invocation tokens. Its methods may be called from any number
// of goroutines.
type Verifier struct {
	appID    string
	keys     *KeySet
	isolated *isolatedClouds // nil: tokens with a label are refused
	now      func() time.Time
	leeway   time.Duration
}

// NewVerifier checks the configuration; it fetches nothing.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	if id, ok := strings.CutPrefix(config.AppID, appPrefix); !ok || id == "" {
		return nil, errors.New("making verifier: the app id is not of the form " + appPrefix + "<uuid>")
	}
	if config.Keys == nil {
		return nil, errors.New("making verifier: there is no key set")
	}
	v := &Verifier{appID: config.AppID, keys: config.Keys, now: config.now(), leeway: config.leeway()}
	if config.IsolatedCloud != "" {
		clouds, err := newIsolatedClouds(config.IsolatedCloud, config.keySetConfig())
		if err != nil {
			return nil, err
		}
		v.isolated = clouds
	}
	return v, nil
}

// room is the memory that one verification needs and gives back.
type room struct {
	doc   document
	bytes []byte
}

var rooms = sync.Pool{New: func() any { return new(room) }}

// giveBack keeps the memory and forgets what was in it.
func (r *room) giveBack() {
	r.doc.lexer, r.doc.whole = lexer{}, ""
	rooms.Put(r)
}

// Verify takes all values of a request's Authorization header and returns who
// is calling. The error is an [*InvalidTokenError] or a
// [*KeysUnavailableError]; with an error the Invocation is zero.
func (v *Verifier) Verify(ctx context.Context, authorization []string) (Invocation, error) {
	token, err := bearer(authorization)
	if err != nil {
		return Invocation{}, err
	}
	p, err := split(token)
	if err != nil {
		return Invocation{}, err
	}
	r := rooms.Get().(*room)
	defer r.giveBack()
	return v.verify(ctx, r, p)
}

func (v *Verifier) verify(ctx context.Context, r *room, p parts) (Invocation, error) {
	kid, err := r.readHeader(p.header)
	if err != nil {
		return Invocation{}, err
	}
	if err := r.readClaims(p.claims); err != nil {
		return Invocation{}, err
	}
	label, keys, err := v.keySetFor(&r.doc)
	if err != nil {
		return Invocation{}, err
	}
	signature, err := r.decode(p.signature)
	if err != nil {
		return Invocation{}, err
	}
	key, err := keys.Key(ctx, kid)
	if err != nil {
		return Invocation{}, err
	}
	if err := checkSignature(p.signed, signature, key); err != nil {
		return Invocation{}, err
	}
	if label != "" {
		v.isolated.trust(label, keys)
	}
	return v.invocation(&r.doc, label)
}

func checkSignature(signed string, signature []byte, key *rsa.PublicKey) error {
	if jwt.SigningMethodRS256.Verify(signed, signature, key) != nil {
		return invalid("signature", "does not fit the token")
	}
	return nil
}

// keySetFor reads the one claim that counts before the signature is known.
func (v *Verifier) keySetFor(claims *document) (label string, keys *KeySet, err error) {
	at := claims.member(0, "icLabel")
	if at == none {
		return "", v.keys, nil
	}
	if claims.nodes[at].kind != kindString || !isLabel(claims.stringAt(at)) {
		return "", nil, invalid("icLabel", "is not a label")
	}
	if v.isolated == nil {
		return "", nil, invalid("icLabel", "is present, and calls from Isolated Clouds are not configured")
	}
	label = claims.stringAt(at)
	if keys = v.isolated.keySet(label); keys == nil {
		return "", nil, invalid("icLabel", "names one Isolated Cloud too many")
	}
	return label, keys, nil
}

// readHeader checks the JOSE header (RFC 7515 section 4) and returns kid.
func (r *room) readHeader(encoded string) (kid string, err error) {
	if err := r.read(encoded, "header"); err != nil {
		return "", err
	}
	if err := checkHeader(&r.doc); err != nil {
		return "", err
	}
	at := r.doc.member(0, "kid")
	if at == none || r.doc.nodes[at].kind != kindString {
		return "", invalid("kid", "is not a string")
	}
	kid = r.doc.stringAt(at)
	if kid == "" || len(kid) > maxKeyID {
		return "", invalid("kid", "is empty or too long")
	}
	return kid, nil
}

// foreignHeaders name a key or an address of the sender's choice, or change
// how the token is to be read. Forge sends none of them.
var foreignHeaders = []string{"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"}

func checkHeader(header *document) error {
	at := header.member(0, "alg")
	if at == none || header.nodes[at].kind != kindString || header.stringAt(at) != jwt.SigningMethodRS256.Alg() {
		return invalid("alg", "is not RS256")
	}
	for _, name := range foreignHeaders {
		if header.member(0, name) != none {
			return invalid("header", "has the member "+name)
		}
	}
	at = header.member(0, "typ")
	if at != none && (header.nodes[at].kind != kindString || !strings.EqualFold(header.stringAt(at), "JWT")) {
		return invalid("header", "has another typ than JWT")
	}
	return nil
}

func (r *room) readClaims(encoded string) error { return r.read(encoded, "claims") }

// read decodes and parses one part of the token into the room's document.
func (r *room) read(encoded, check string) error {
	raw, err := r.decode(encoded)
	if err != nil {
		return err
	}
	if err := r.doc.parse(raw); err != nil {
		return invalid(check, err.Error())
	}
	return nil
}

// strict refuses padding and trailing bits that are not zero, so that a token
// has one spelling.
var strict = base64.RawURLEncoding.Strict()

// decode overwrites what it returned before.
func (r *room) decode(encoded string) ([]byte, error) {
	var err error
	r.bytes, err = strict.AppendDecode(r.bytes[:0], []byte(encoded))
	if err != nil {
		return nil, invalid("encoding", "is not strict base64url")
	}
	return r.bytes, nil
}
