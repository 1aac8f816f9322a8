// Package embeddedtest starts a real NATS server for a test.
package embeddedtest

import (
	"testing"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded"
)

// Run starts a server on a free port with its files in a folder of the test,
// and stops it when the test ends.
func Run(tb testing.TB) *embedded.Server {
	tb.Helper()
	return RunIn(tb, tb.TempDir(), -1)
}

// RunIn is Run with a folder and a port of the caller's choice, for tests that
// stop a server and start it again.
func RunIn(tb testing.TB, dir string, port int) *embedded.Server {
	tb.Helper()
	s, err := embedded.Start(embedded.Options{Dir: dir, Port: port})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Shutdown)
	return s
}

// Connect connects to the server and closes the connection when the test ends.
func Connect(tb testing.TB, s *embedded.Server) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}
