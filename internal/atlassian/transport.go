package atlassian

import (
	"net"
	"net/http"
	"net/url"
	"time"
)

// newTransport makes the client's own transport. It has no limit of its own on
// the wait for an answer: Call.Timeout bounds that, and may be long.
func newTransport(proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         dialer.DialContext,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 5 * time.Second,
		// As many as a worker's slots, so that a busy worker over HTTP/1.1 does
		// not open a connection for each call.
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		// Shorter than servers usually keep an idle connection: fewer calls
		// meet one that is just being closed, which loses an unsafe call.
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// A broken HTTP/2 connection is found by ping, not by the calls on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}
