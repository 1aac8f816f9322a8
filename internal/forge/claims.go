package forge

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	installationPrefix = "ari:cloud:ecosystem::installation/"
	// maxClaim bounds a string claim, in bytes.
	maxClaim = 1024
	// maxPrincipal bounds an account id, in bytes.
	maxPrincipal = 256
	// maxSeconds bounds the time claims: the year 5138, well inside what
	// time.Time can hold.
	maxSeconds = 1e11
)

// invocation reads the claims of a token whose signature is good. The first
// claim that is not acceptable makes the error.
func (v *Verifier) invocation(doc *document, label string) (Invocation, error) {
	r := claimReader{doc: doc}
	i := Invocation{ICLabel: label, verified: true}
	v.readRegistered(&r, &i)
	app := r.object(0, "app")
	v.readApp(&r, app, &i)
	r.readModuleContext(&i.Module)
	r.readContexts(app, &i)
	i.Principal = r.principal()
	if r.err != nil {
		return Invocation{}, r.err
	}
	return i, nil
}

// readRegistered reads the claims of RFC 7519 section 4.1.
func (v *Verifier) readRegistered(r *claimReader, i *Invocation) {
	if issuer := r.text(0, "iss"); issuer != tokenIssuer {
		r.fail("iss", "is "+quoted(issuer)+`, want "`+tokenIssuer+`"`)
	}
	if audience := r.audience(); audience != v.appID {
		r.fail("aud", "is "+quoted(audience)+", want "+quoted(v.appID))
	}
	notBefore := r.time("nbf")
	i.IssuedAt, i.ExpiresAt, i.ID = r.time("iat"), r.time("exp"), r.text(0, "jti")
	now := v.now()
	switch {
	case !i.ExpiresAt.After(now.Add(-v.leeway)):
		r.fail("exp", "has passed")
	case notBefore.After(now.Add(v.leeway)):
		r.fail("nbf", "is in the future")
	case i.IssuedAt.After(now.Add(v.leeway)):
		r.fail("iat", "is in the future")
	case !i.ExpiresAt.After(i.IssuedAt):
		r.fail("exp", "is not after iat")
	}
}

func (v *Verifier) readApp(r *claimReader, app int, i *Invocation) {
	if i.AppID = r.text(app, "app.id"); i.AppID != v.appID {
		r.fail("app.id", "is "+quoted(i.AppID)+", want "+quoted(v.appID))
	}
	i.AppVersion = r.text(app, "app.appVersion")
	i.InstallationARI = r.text(app, "app.installationId")
	id, ok := strings.CutPrefix(i.InstallationARI, installationPrefix)
	if !ok || !isSafeID(id) {
		r.fail("app.installationId", "is not an installation's ARI")
	}
	i.Installation = id
	i.APIBaseURL = r.url(app, "app.apiBaseUrl", "")
	r.readEnvironment(r.object(app, "app.environment"), i)
	module := r.object(app, "app.module")
	i.ModuleType, i.ModuleKey = r.text(module, "app.module.type"), r.text(module, "app.module.key")
	i.License = r.license(app)
}

func (r *claimReader) readEnvironment(environment int, i *Invocation) {
	i.EnvironmentType = r.text(environment, "app.environment.type")
	switch i.EnvironmentType {
	case "DEVELOPMENT", "STAGING", "PRODUCTION":
	default:
		r.fail("app.environment.type", "is not a Forge environment")
	}
	id := r.text(environment, "app.environment.id")
	i.EnvironmentID = id[strings.LastIndexByte(id, '/')+1:]
	if !isSafeID(i.EnvironmentID) {
		r.fail("app.environment.id", "has no id at its end")
	}
}

func (r *claimReader) readContexts(app int, i *Invocation) {
	installation := r.object(app, "app.installation")
	if id := r.text(installation, "app.installation.id"); id != i.InstallationARI {
		r.fail("app.installation.id", "is not app.installationId")
	}
	list := r.doc.member(installation, "contexts")
	if list == none || r.doc.nodes[list].kind != kindArray || r.doc.firstOf(list) == 0 {
		r.fail("app.installation.contexts", "is not an array with an entry")
		return
	}
	for at := r.doc.firstOf(list); at > 0; at = r.doc.nodes[at].next {
		i.Contexts = append(i.Contexts, r.context(at, i))
	}
}

func (r *claimReader) context(at int, i *Invocation) Context {
	if r.doc.nodes[at].kind != kindObject {
		r.fail("app.installation.contexts", "has an entry that is not an object")
	}
	c := Context{
		Name:        r.text(at, "app.installation.contexts.name"),
		APIBaseURL:  r.url(at, "app.installation.contexts.apiBaseUrl", i.APIBaseURL),
		CloudID:     r.id(at, "app.installation.contexts.cloudId"),
		WorkspaceID: r.id(at, "app.installation.contexts.workspaceId"),
	}
	if c.WorkspaceID == "" && c.Name == "bitbucket" {
		c.WorkspaceID = i.Module.WorkspaceID
	}
	if c.CloudID == "" {
		c.CloudID = cloudIDOf(c.APIBaseURL)
	}
	if c.CloudID == "" && c.Name != "bitbucket" {
		c.CloudID = i.Module.CloudID
	}
	return c
}

// cloudIDOf finds the cloud id in a base URL that has it:
// https://api.atlassian.com/ex/<product>/<cloudId>.
func cloudIDOf(base string) string {
	_, rest, _ := strings.Cut(base, "://")
	_, path, _ := strings.Cut(rest, "/")
	path, ok := strings.CutPrefix(path, "ex/")
	if !ok {
		return ""
	}
	_, id, _ := strings.Cut(path, "/")
	id, _, _ = strings.Cut(id, "/")
	if !isSafeID(id) {
		return ""
	}
	return id
}

func (r *claimReader) readModuleContext(m *ModuleContext) {
	at := r.doc.member(0, "context")
	if at == none {
		return
	}
	if r.doc.nodes[at].kind != kindObject {
		r.fail("context", "is not an object")
		return
	}
	m.Raw = []byte(r.doc.raw(at))
	m.CloudID = r.id(at, "context.cloudId")
	m.WorkspaceID = r.id(at, "context.workspaceId")
	m.SiteURL = r.optional(at, "context.siteUrl")
	m.ModuleKey = r.optional(at, "context.moduleKey")
	extension := r.doc.member(at, "extension")
	m.HasExtension = extension != none
	if kind := r.doc.member(extension, "type"); kind != none && r.doc.nodes[kind].kind == kindString {
		m.ExtensionType = r.doc.stringAt(kind)
	}
}

func (r *claimReader) principal() string {
	at := r.doc.member(0, "principal")
	if at == none {
		return ""
	}
	principal := r.text(0, "principal")
	if len(principal) > maxPrincipal {
		r.fail("principal", "is too long")
	}
	return principal
}

// license takes whatever object it finds: it is for the app to judge.
func (r *claimReader) license(app int) *License {
	at := r.doc.member(app, "license")
	if at == none || r.doc.isNull(at) {
		return nil
	}
	if r.doc.nodes[at].kind != kindObject {
		r.fail("app.license", "is not an object")
		return nil
	}
	active := r.doc.member(at, "active")
	if active == none || r.doc.isNull(active) {
		active = r.doc.member(at, "isActive")
	}
	isTrue := active != none && r.doc.nodes[active].kind == kindLiteral && r.doc.raw(active) == "true"
	return &License{Active: isTrue, Raw: []byte(r.doc.raw(at))}
}

// claimReader reads claims and keeps the first error. Its methods take the
// dotted name of a claim, for the error, and look for the last part of it in
// the object.
type claimReader struct {
	doc *document
	err error
}

func (r *claimReader) fail(check, reason string) {
	if r.err == nil {
		r.err = invalid(check, reason)
	}
}

func (r *claimReader) find(object int, check string) int {
	return r.doc.member(object, check[strings.LastIndexByte(check, '.')+1:])
}

func (r *claimReader) object(parent int, check string) int {
	at := r.find(parent, check)
	if at == none || r.doc.nodes[at].kind != kindObject {
		r.fail(check, "is not an object")
		return none
	}
	return at
}

// text reads a claim that must be a string with something in it.
func (r *claimReader) text(object int, check string) string {
	at := r.find(object, check)
	if at == none || r.doc.nodes[at].kind != kindString {
		r.fail(check, "is not a string")
		return ""
	}
	s := r.doc.stringAt(at)
	if s == "" || len(s) > maxClaim || !printable.hold(s) {
		r.fail(check, "is empty, too long or unprintable")
		return ""
	}
	return s
}

// optional reads a claim that may be absent, null or empty.
func (r *claimReader) optional(object int, check string) string {
	at := r.find(object, check)
	if at == none || r.doc.isNull(at) || r.doc.nodes[at].kind == kindString && r.doc.raw(at) == "" {
		return ""
	}
	return r.text(object, check)
}

// id reads an optional id, which may be in braces.
func (r *claimReader) id(object int, check string) string {
	s := withoutBraces(r.optional(object, check))
	if s != "" && !isSafeID(s) {
		r.fail(check, "is not an id")
	}
	return s
}

func withoutBraces(s string) string {
	if inner, ok := strings.CutPrefix(s, "{"); ok {
		return strings.TrimSuffix(inner, "}")
	}
	return s
}

// url reads the base of an API. What equals known was checked before.
func (r *claimReader) url(object int, check, known string) string {
	s := r.text(object, check)
	if s != known && !isBaseURL(s) {
		r.fail(check, "is not the base of an API")
	}
	return s
}

func isBaseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Opaque == "" &&
		u.Hostname() != "" && u.User == nil && !strings.ContainsAny(s, "?#\\ ")
}

// audience reads aud: a string, or an array of exactly one (RFC 7519 section
// 4.1.3 allows both).
func (r *claimReader) audience() string {
	at := r.doc.member(0, "aud")
	if at != none && r.doc.nodes[at].kind == kindArray {
		at = r.only(at)
	}
	if at == none || r.doc.nodes[at].kind != kindString {
		r.fail("aud", "is not one string")
		return ""
	}
	return r.doc.stringAt(at)
}

// only returns the value in an array of exactly one, or none.
func (r *claimReader) only(array int) int {
	first := r.doc.firstOf(array)
	if first == 0 || r.doc.nodes[first].next != 0 {
		return none
	}
	return first
}

// time reads a NumericDate.
func (r *claimReader) time(check string) time.Time {
	at := r.doc.member(0, check)
	if at == none || r.doc.nodes[at].kind != kindNumber {
		r.fail(check, "is not a number")
		return time.Time{}
	}
	seconds, err := strconv.ParseFloat(r.doc.raw(at), 64)
	if err != nil || seconds <= 0 || seconds > maxSeconds {
		r.fail(check, "is not a date")
		return time.Time{}
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)).UTC()
}
