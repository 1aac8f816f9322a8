// Package storetest gives tests a store over a real NATS server, connections
// that can be cut, and connections whose rights are limited.
package storetest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bellows/internal/embedded"
	"bellows/internal/embedded/embeddedtest"
	"bellows/internal/store"
)

// Open returns a store with all its buckets on a server of the test's own.
func Open(tb testing.TB) *store.Store {
	tb.Helper()
	return On(tb, embeddedtest.Run(tb))
}

// On returns a store with all its buckets, on a connection of its own to s.
func On(tb testing.TB, s *embedded.Server) *store.Store {
	tb.Helper()
	return Over(tb, Connect(tb, s))
}

// Over returns a store with all its buckets over nc.
func Over(tb testing.TB, nc *nats.Conn) *store.Store {
	tb.Helper()
	st := New(tb, nc)
	if err := st.Setup(Context(tb), 1); err != nil {
		tb.Fatal(err)
	}
	return st
}

// New returns a store over nc and creates nothing.
func New(tb testing.TB, nc *nats.Conn) *store.Store {
	tb.Helper()
	st, err := store.New(nc, "bellows")
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// Connect connects to s, reconnects fast, and closes with the test.
func Connect(tb testing.TB, s *embedded.Server, options ...nats.Option) *nats.Conn {
	tb.Helper()
	options = append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0),
	}, options...)
	nc, err := nats.Connect(s.URL(), options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// Context ends after half a minute, or with the test.
func Context(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

// Gate lets connections be made while it is open.
type Gate struct {
	closed atomic.Bool
}

// Close makes every later attempt to connect fail.
func (g *Gate) Close() { g.closed.Store(true) }

// Open lets connections be made again.
func (g *Gate) Open() { g.closed.Store(false) }

// Dial is for [nats.SetCustomDialer].
func (g *Gate) Dial(network, address string) (net.Conn, error) {
	if g.closed.Load() {
		return nil, errors.New("the gate is closed")
	}
	return net.Dial(network, address)
}

// Rights is a dialer for [nats.SetCustomDialer] that fails the test when the
// client publishes to a subject outside Publish: what a NATS account with
// these permissions would not allow.
type Rights struct {
	TB      testing.TB
	Publish []string // subjects; a last token ">" allows everything below
}

// Dial connects and listens in.
func (r Rights) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	reader, writer := io.Pipe()
	go r.listen(bufio.NewReader(reader))
	return &tappedConn{Conn: conn, tap: writer}, nil
}

func (r Rights) listen(in *bufio.Reader) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "PUB" && words[0] != "HPUB" {
			continue
		}
		if !r.allow(words[1]) {
			r.TB.Errorf("the client publishes to %q, which its account does not permit", words[1])
		}
		size, err := strconv.Atoi(words[len(words)-1])
		if err != nil {
			r.TB.Errorf("cannot read what the client sends: %q", line)
			return
		}
		if _, err := in.Discard(size + len("\r\n")); err != nil {
			return
		}
	}
}

func (r Rights) allow(subject string) bool {
	for _, p := range r.Publish {
		below, all := strings.CutSuffix(p, ">")
		if subject == p || all && strings.HasPrefix(subject, below) {
			return true
		}
	}
	return false
}

type tappedConn struct {
	net.Conn
	tap *io.PipeWriter
}

func (c *tappedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	_, _ = c.tap.Write(p[:n])
	return n, err
}

func (c *tappedConn) Close() error {
	_ = c.tap.Close()
	return c.Conn.Close()
}
