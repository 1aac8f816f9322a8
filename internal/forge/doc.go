// Package forge is the Forge Remote contract as a backend sees it: who is
// calling (the Forge Invocation Token, FIT), what a delivered body holds, the
// headers Forge adds, and the names of the events it sends.
//
// # Who is calling
//
// A FIT is a JWS signed with RS256 by Atlassian. [Verifier.Verify] is the only
// maker of an [Invocation]. The order is: form of the header line, JOSE
// header, form of the claims, key, signature, meaning of the claims. Nothing
// in the token chooses what is fetched, with one exception that Atlassian
// documents: the claim icLabel names an Isolated Cloud, is checked against a
// narrow alphabet and put into a template from the configuration. Without such
// a template a token that has the claim is refused.
//
// # Keys
//
// Atlassian rotates its keys without notice (seen in the field on 2026-05-19
// and 2026-05-22). A [KeySet] therefore asks again when it meets an unknown
// key id:
//
//	known kid ───────────────────────────────▶ key (no lock, no I/O)
//	unknown ──▶ flight under way? ──wait──▶ still unknown ──▶ next flight
//	                │ none                                      │
//	                └──────────────▶ flight (budget: 6 in any 60 s, all share it)
//	                                     ├─ succeeded, has it  ▶ key
//	                                     ├─ succeeded, lacks it ▶ InvalidTokenError
//	                                     └─ failed, or no budget ▶ KeysUnavailableError
//
// # Failure handling
//
// A token that is not acceptable gives an [*InvalidTokenError] (HTTP 401), a
// key that cannot be looked up now a [*KeysUnavailableError] (HTTP 503). There
// is no third kind. While the key set cannot be fetched, known keys go on
// serving. [ScanBody] never fails: what is no JSON says so and keeps its bytes.
package forge

// DefaultKeySetURL is where Atlassian publishes the keys that sign invocation
// tokens (developer.atlassian.com, "Forge Remote essentials", 2026-08-22).
const DefaultKeySetURL = "https://forge.cdn.prod.atlassian-dev.net/.well-known/jwks.json"

// Request headers that Forge adds to a call (developer.atlassian.com, "The
// remote contract", 2026-08-22). The token headers carry the bare token.
const (
	HeaderSystemToken = "X-Forge-Oauth-System"
	HeaderUserToken   = "X-Forge-Oauth-User"
	HeaderTraceID     = "X-B3-Traceid"
	HeaderSpanID      = "X-B3-Spanid"
)
