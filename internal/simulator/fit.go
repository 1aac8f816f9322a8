package simulator

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// fitLife is exp less iat of an invocation token, seen in the documents and in
// a real token (October 2025). The time scale leaves it alone: clocks and
// networks do not run faster in a simulation.
const fitLife = 25 * time.Second

// FITOptions says what invocation token to make.
type FITOptions struct {
	// Installation is an id; empty means the newest installation.
	Installation string `json:"installation,omitempty"`
	// Product chooses app.apiBaseUrl where the app is in several.
	Product string `json:"product,omitempty"`
	// Module is the key of the endpoint or module. Empty means "endpoint".
	Module string `json:"module,omitempty"`
	// ModuleType defaults to core:endpoint, which calls without a user have.
	ModuleType string `json:"moduleType,omitempty"`
	// Principal is the account id of the user in session. Empty means none,
	// as with events and schedules.
	Principal string `json:"principal,omitempty"`
	// Context is the claim of that name; nil means none.
	Context map[string]any `json:"context,omitempty"`
	// ICLabel is the claim of an Isolated Cloud.
	ICLabel string `json:"icLabel,omitempty"`
	// Faults are names of FITFaults, applied in order.
	Faults []string `json:"faults,omitempty"`
}

// mint is an invocation token in the making.
type mint struct {
	header map[string]any
	app    map[string]any
	claims jwt.MapClaims
	method jwt.SigningMethod
	key    any
	signer signingKey
	after  func(string) string
}

// FIT makes an invocation token. It fails if there is no such installation
// or fault.
func (s *Simulator) FIT(o FITOptions) (string, error) {
	i, err := s.find(o.Installation, o.Product)
	if err != nil {
		return "", err
	}
	signer := s.keys.signer()
	m := &mint{
		header: map[string]any{"kid": signer.kid}, claims: s.claims(i, o),
		method: jwt.SigningMethodRS256, key: signer.private, signer: signer,
		after: func(token string) string { return token },
	}
	m.app = m.claims["app"].(map[string]any)
	for _, name := range o.Faults {
		fault, ok := findFault(name)
		if !ok {
			return "", refuse(http.StatusBadRequest, "minting invocation token: there is no fault %q", name)
		}
		if fault.apply != nil {
			fault.apply(m)
		}
	}
	token := jwt.NewWithClaims(m.method, m.claims)
	delete(token.Header, "typ") // Forge's tokens have alg and kid only
	for name, value := range m.header {
		token.Header[name] = value
	}
	text, err := token.SignedString(m.key)
	if err != nil {
		return "", fmt.Errorf("minting invocation token: %w", err)
	}
	return m.after(text), nil
}

// claims returns every documented claim of a healthy token.
func (s *Simulator) claims(i Installation, o FITOptions) jwt.MapClaims {
	now := s.now().Unix()
	product := i.in(o.Product)
	app := map[string]any{
		"id": s.cfg.Manifest.AppID, "version": majorOf(i.Version), "appVersion": i.Version,
		"installationId": i.ari(), "apiBaseUrl": s.apiBase(i, product),
		"installation": map[string]any{"id": i.ari(), "contexts": s.contexts(i)},
		"environment":  map[string]any{"type": i.Environment, "id": s.environmentARI()},
		"module":       map[string]any{"type": or(o.ModuleType, "core:endpoint"), "key": or(o.Module, "endpoint")},
	}
	if i.License != nil {
		app["license"] = i.License
	}
	claims := jwt.MapClaims{
		"app": app, "aud": s.cfg.Manifest.AppID, "iss": "forge/invocation-token",
		"iat": now, "nbf": now, "exp": now + int64(fitLife/time.Second), "jti": s.random.hex(40),
	}
	if o.Principal != "" {
		claims["principal"] = o.Principal
	}
	if o.ICLabel != "" {
		claims["icLabel"] = o.ICLabel
	}
	switch {
	case o.Context != nil:
		claims["context"] = o.Context
	case product == bitbucket: // braces only here: the documents' sample has both forms
		claims["context"] = map[string]any{"workspaceId": "{" + i.WorkspaceID + "}"}
	}
	return claims
}

func (s *Simulator) contexts(i Installation) []map[string]any {
	var all []map[string]any
	for _, product := range i.Products {
		c := map[string]any{"name": product, "apiBaseUrl": s.apiBase(i, product)}
		if product == bitbucket {
			c["workspaceId"] = i.WorkspaceID
		} else {
			c["cloudId"] = i.CloudID
		}
		all = append(all, c)
	}
	return all
}

func (s *Simulator) apiBase(i Installation, product string) string {
	if product == bitbucket {
		return s.cfg.PublicURL + "/bitbucket"
	}
	return s.cfg.PublicURL + "/ex/" + product + "/" + i.CloudID
}

func (s *Simulator) environmentARI() string {
	return "ari:cloud:ecosystem::environment/" + s.appUUID + "/" + s.environmentID
}

// majorOf gives the deprecated internal number something to say.
func majorOf(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major
}
