package forge

import "strings"

// bearer returns the token in the values of an Authorization header: exactly
// one value, the scheme Bearer in any case, one space, the token.
func bearer(values []string) (string, error) {
	const scheme = "bearer "
	if len(values) != 1 {
		return "", invalid("authorization", "is not exactly one header line")
	}
	value := values[0]
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", invalid("authorization", "is not a Bearer token")
	}
	token := value[len(scheme):]
	if len(token) > maxToken {
		return "", invalid("authorization", "is too long")
	}
	return token, nil
}

// parts are the parts of a compact JWS (RFC 7515 section 7.1), still encoded.
type parts struct {
	header, claims, signature string
	signed                    string // header, dot and claims
}

func split(token string) (parts, error) {
	if !tokenBytes.hold(token) {
		return parts{}, invalid("encoding", "has a character that is not base64url")
	}
	header, rest, _ := strings.Cut(token, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	if header == "" || claims == "" || signature == "" || strings.Contains(signature, ".") {
		return parts{}, invalid("encoding", "has not three parts")
	}
	return parts{
		header:    header,
		claims:    claims,
		signature: signature,
		signed:    token[:len(token)-len(signature)-1],
	}, nil
}
