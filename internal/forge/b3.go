package forge

import (
	"encoding/hex"
	"strings"
)

// Traceparent turns the B3 ids of a request into a W3C Trace Context header,
// version 00, with the sampled flag set. An id that is absent or invalid is
// taken from random: a bad trace id replaces both, a bad span id only itself.
func Traceparent(b3TraceID, b3SpanID string, random [24]byte) string {
	trace, span := traceID(b3TraceID), spanID(b3SpanID)
	if trace == "" || span == "" {
		span = hex.EncodeToString(nonZero(random[16:]))
	}
	if trace == "" {
		trace = hex.EncodeToString(nonZero(random[:16]))
	}
	return "00-" + trace + "-" + span + "-01"
}

// traceID returns the id in its 128-bit form; B3 allows 64 bits, too.
func traceID(s string) string {
	switch len(s) {
	case 16:
		return hexID(strings.Repeat("0", 16) + s)
	case 32:
		return hexID(s)
	}
	return ""
}

func spanID(s string) string {
	if len(s) != 16 {
		return ""
	}
	return hexID(s)
}

// hexID returns the id in small letters, or "" when it is no id: W3C forbids
// zero.
func hexID(s string) string {
	if !hexBytes.hold(s) || strings.Trim(s, "0") == "" {
		return ""
	}
	return strings.ToLower(s)
}

// nonZero makes sure that an id is not zero, the one value that is none.
func nonZero(id []byte) []byte {
	for _, b := range id {
		if b != 0 {
			return id
		}
	}
	id[len(id)-1] = 1
	return id
}
