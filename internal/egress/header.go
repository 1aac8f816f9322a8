package egress

import (
	"net/http"
	"strings"
)

// withheld are headers of a handler's request that are not passed on, in small
// letters: credentials, those of the connection and of proxies, and those by
// which some servers take a request for one with another method or path.
var withheld = map[string]bool{
	"authorization": true, "proxy-authorization": true, "proxy-authenticate": true, "cookie": true, "cookie2": true, "set-cookie": true,
	"connection": true, "proxy-connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true,
	"upgrade": true, "content-length": true, "host": true, "expect": true, "accept-encoding": true,
	"forwarded": true, "via": true, "x-real-ip": true, "origin": true, "referer": true,
	"x-http-method": true, "x-http-method-override": true, "x-method-override": true,
	"x-original-url": true, "x-rewrite-url": true, "x-original-uri": true, "x-original-host": true, "x-host": true,
}

// withheldPrefixes are families of such headers: Forge's tokens and context,
// bellows' own, what proxies and browsers say.
var withheldPrefixes = []string{"x-forge-", "bellows-", "x-forwarded-", "sec-", "proxy-"}

// requestHeader returns what of a handler's header goes to Atlassian.
func requestHeader(header http.Header) http.Header {
	kept := http.Header{}
	dropped := named(header)
	for name, values := range header {
		// Some servers read "X_Forge" as "X-Forge".
		plain := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if !withheld[plain] && !dropped[plain] && !hasPrefix(plain, withheldPrefixes) {
			kept[name] = append([]string(nil), values...)
		}
	}
	return kept
}

// answerHeader returns what of Atlassian's header goes to a handler. Where a
// redirect leads is not told: a client that follows it would take its ticket,
// or its call, elsewhere.
func answerHeader(status int, header http.Header) http.Header {
	kept := http.Header{}
	dropped := named(header)
	for name, values := range header {
		plain := strings.ToLower(name)
		switch {
		case dropped[plain], hasPrefix(plain, []string{"bellows-", "proxy-"}), status/100 == 3 && plain == "location":
		case plain == "set-cookie", plain == "connection", plain == "keep-alive", plain == "te", plain == "trailer",
			plain == "transfer-encoding", plain == "upgrade", plain == "content-length":
		default:
			kept[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
		}
	}
	return kept
}

// named are the headers that Connection says are for this hop alone (RFC 9110,
// 7.6.1), in small letters.
func named(header http.Header) map[string]bool {
	names := map[string]bool{}
	for key, values := range header {
		if !strings.EqualFold(key, "Connection") {
			continue
		}
		for _, value := range values {
			for name := range strings.SplitSeq(value, ",") {
				names[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(name)), "_", "-")] = true
			}
		}
	}
	return names
}

func hasPrefix(text string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}
