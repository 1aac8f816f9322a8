package vault

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"bellows/internal/secret"
)

const (
	// MaxLife is the longest that a token counts as live after its receipt,
	// whatever it says. Forge's tokens live four hours at most
	// (developer.atlassian.com changelog, CHANGE-2160); the fifth is for clocks
	// that differ.
	MaxLife = 5 * time.Hour

	// OpaqueLife is how long a token without readable expiry counts as live
	// after its receipt: half of the two hours that Forge guarantees for the
	// direct call of an endpoint (Forge Remote documentation, 2026).
	OpaqueLife = time.Hour
)

// lifeOf returns when t, received now, counts as expired, in whole seconds.
func lifeOf(t secret.Token, now time.Time) time.Time {
	now = now.Truncate(time.Second)
	exp, ok := readExpiry(t.Reveal())
	if !ok {
		return now.Add(OpaqueLife)
	}
	if latest := now.Add(MaxLife); exp >= float64(latest.Unix()) {
		return latest
	}
	return time.Unix(int64(exp), 0)
}

// readExpiry returns the positive "exp" of a JWT's payload, in seconds since
// 1970. Everything else about the token is opaque: its signature is for
// Atlassian to verify.
func readExpiry(token string) (float64, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return 0, false
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp < 1 {
		return 0, false
	}
	return claims.Exp, true
}
