// Package embedded runs a NATS server with JetStream inside the process: for
// one machine ("bellows up", "bellows dev"), and for tests that want the real
// neighbour instead of a mock. No other package links nats-server.
//
// With SyncAlways every message is on disk before it is acknowledged, because
// a single server has no replica to fall back on (nats-server's default is a
// background fsync every two minutes, server/filestore.go, v2.15.2).
package embedded

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// MaxPayload is the largest message the embedded server takes, in bytes. The
// daemons refuse a server that takes less than half of it; above 8 MiB
// nats-server prints a warning (server/const.go, v2.15.2).
const MaxPayload = 8 << 20

// Options say where and how the server runs.
type Options struct {
	// Dir is where JetStream keeps its files. It must not be empty.
	Dir string
	// Host is the address to listen at. Empty means 127.0.0.1.
	Host string
	// Port to listen at. Zero means none: the server is reached only from
	// within the process. Negative means any free port.
	Port int
	// SyncAlways makes the server fsync before it acknowledges a message.
	SyncAlways bool
	// MaxStore bounds what JetStream keeps on disk, in bytes. Zero leaves it
	// to nats-server: three quarters of the free disk. Negative is not valid.
	MaxStore int64
	// MaxPayload is the largest message in bytes. Zero means [MaxPayload].
	MaxPayload int32
}

// Server is a running NATS server. Close it with Shutdown.
type Server struct {
	server *server.Server
	url    string
}

// Start starts a server and returns when it accepts connections, or an error
// after ten seconds.
func Start(o Options) (*Server, error) {
	opts := &server.Options{
		ServerName: "bellows",
		JetStream:  true,
		StoreDir:   o.Dir,
		NoSigs:     true,
		NoLog:      true,
		SyncAlways: o.SyncAlways,
		MaxPayload: MaxPayload,

		JetStreamMaxStore: o.MaxStore,
	}
	if o.MaxPayload > 0 {
		opts.MaxPayload = o.MaxPayload
	}
	listen(opts, o)
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("starting embedded NATS server: %w", err)
	}
	if err := checkPort(opts); err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, fmt.Errorf("starting embedded NATS server in %q: not ready after 10 s", o.Dir)
	}
	running := &Server{server: s}
	if !opts.DontListen {
		running.url = (&url.URL{Scheme: "nats", Host: s.Addr().String()}).String()
	}
	return running, nil
}

func listen(opts *server.Options, o Options) {
	opts.Host = o.Host
	if opts.Host == "" {
		opts.Host = "127.0.0.1"
	}
	switch {
	case o.Port == 0:
		opts.DontListen = true
	case o.Port < 0:
		opts.Port = server.RANDOM_PORT
	default:
		opts.Port = o.Port
	}
}

// checkPort looks whether the port is free, because nats-server ends the whole
// process when it cannot listen.
func checkPort(opts *server.Options) error {
	if opts.DontListen || opts.Port <= 0 {
		return nil
	}
	address := net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port))
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("starting embedded NATS server: %w", err)
	}
	return l.Close()
}

// URL is where clients connect, or "" for a server without a port.
func (s *Server) URL() string { return s.url }

// InProcess is the option for [nats.Connect] that connects without a socket.
func (s *Server) InProcess() nats.Option { return nats.InProcessServer(s.server) }

// Shutdown stops the server and returns when its files are closed.
func (s *Server) Shutdown() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}
