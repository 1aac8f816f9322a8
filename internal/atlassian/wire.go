package atlassian

import (
	"context"
	"errors"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// wire watches one request on its way through the transport.
type wire struct {
	asked       atomic.Bool // a connection was asked for
	connected   atomic.Bool // one was got
	wrote       atomic.Bool // the whole header was handed to it
	writeFailed atomic.Bool // writing ended with an error
	stopped     atomic.Bool // a second sending was stopped
}

// errReplay is why a request that the transport was about to send a second
// time was stopped.
var errReplay = errors.New("connection broke after the request was sent")

// watch returns a context to send with. If the call is not safe and the
// transport takes a second connection for a request whose header is written,
// that context is cancelled before anything goes out on it: an HTTP/2
// transport sends a request without body again when the server resets its
// stream, also with PROTOCOL_ERROR, which does not say that it did nothing.
func watch(ctx context.Context, safe bool) (*wire, context.Context, context.CancelFunc) {
	w := &wire{}
	ctx, cancel := context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { w.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			w.connected.Store(true)
			if !safe && w.wrote.Load() {
				w.stopped.Store(true)
				cancel(errReplay)
			}
		},
		WroteHeaders: func() { w.wrote.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err != nil {
				w.writeFailed.Store(true)
			}
		},
	}
	return w, httptrace.WithClientTrace(ctx, trace), func() { cancel(context.Canceled) }
}

// unsent reports whether a request that failed with err has certainly not been
// acted on. traced is whether the transport surely reports what it does.
//
// A request whose header was not written in full cannot be acted on; but
// between getting a connection and the end of writing there is a moment in
// which this is not known, and then it counts as sent.
func (w *wire) unsent(err error, traced bool) bool {
	switch {
	case !w.asked.Load():
		return traced
	case !w.connected.Load():
		return true
	case !w.wrote.Load():
		return w.writeFailed.Load()
	default:
		return notTaken(err)
	}
}

// notTaken reports whether an HTTP/2 server said that it has not processed the
// request: a stream above the last one named in GOAWAY, or REFUSED_STREAM (RFC
// 9113, 8.7). net/http exports no values for these errors. A text that it no
// longer uses would count as sent, which errs to the safe side.
func notTaken(err error) bool {
	text := err.Error()
	return strings.Contains(text, "graceful shutdown GOAWAY") || strings.Contains(text, "REFUSED_STREAM")
}
