package forge

import (
	"encoding/json"
	"time"
)

// Invocation is who is calling, taken from a verified invocation token.
// [Verifier.Verify] is its only maker; see [Invocation.Verified].
type Invocation struct {
	// AppID is the app's ARI, equal to the audience.
	AppID string
	// AppVersion is the version of the app that is installed, such as 3.0.1.
	AppVersion string
	// InstallationARI is ari:cloud:ecosystem::installation/<Installation>.
	InstallationARI string
	// Installation is the last part of InstallationARI, [A-Za-z0-9_-]{1,64}:
	// safe as a token of a NATS subject. It changes on a reinstall.
	Installation string
	// APIBaseURL is where the product's API is, without a query.
	APIBaseURL string
	// Contexts has one entry for each product the app is installed in; there
	// is at least one.
	Contexts []Context
	// EnvironmentType is DEVELOPMENT, STAGING or PRODUCTION.
	EnvironmentType string
	// EnvironmentID is the last part of the environment's ARI: the ARI itself
	// is seen in two forms.
	EnvironmentID string
	// ModuleType is not to be decided upon: Atlassian points to the extension
	// type instead.
	ModuleType string
	// ModuleKey is the key of the endpoint or module that was called.
	ModuleKey string
	// License is nil when the token names none: a free app, or one outside
	// production.
	License *License
	// Module is the claim "context"; zero when absent.
	Module ModuleContext
	// Principal is the Atlassian account id of the user in session, or empty.
	Principal string
	// ICLabel names the Isolated Cloud the call came from, or is empty.
	ICLabel string
	// ID is the claim jti. It is no event id: a redelivery has another one,
	// and a front end uses one token many times.
	ID string
	// IssuedAt and ExpiresAt are the claims iat and exp.
	IssuedAt, ExpiresAt time.Time

	verified bool
}

// Verified reports whether Verify made this value.
func (i Invocation) Verified() bool { return i.verified }

// FrontEnd reports whether the token is one that a browser may hold: it has a
// user in session or the context of a front-end module.
func (i Invocation) FrontEnd() bool { return i.Principal != "" || i.Module.HasExtension }

// Context is one product an app is installed in.
type Context struct {
	// Name is jira, confluence, bitbucket, ...
	Name string
	// APIBaseURL is the base of the product's API, http or https.
	APIBaseURL string
	// CloudID is empty where the product has none (Bitbucket). Where the claim
	// lacks it, it is read from APIBaseURL or the claim context.cloudId.
	CloudID string
	// WorkspaceID is the Bitbucket workspace's UUID without braces, or empty.
	WorkspaceID string
}

// License is the claim app.license.
type License struct {
	// Active is the member active, or isActive, its name until 2026-10-17
	// (Atlassian CHANGE-3155).
	Active bool
	// Raw is the whole claim.
	Raw json.RawMessage
}

// ModuleContext is the claim "context": where in the product a module was
// called.
type ModuleContext struct {
	CloudID string
	// WorkspaceID is without braces.
	WorkspaceID   string
	SiteURL       string
	ModuleKey     string
	ExtensionType string
	// HasExtension tells a front-end call, see [Invocation.FrontEnd].
	HasExtension bool
	// Raw is the whole claim; nil when absent.
	Raw json.RawMessage
}
