package worker_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands before a NATS server. While it is mute, what clients send gets
// through and what the server answers does not.
type proxy struct {
	t        *testing.T
	server   string
	listener net.Listener
	muted    atomic.Bool
	healed   atomic.Bool

	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, natsURL string) *proxy {
	t.Helper()
	u, err := url.Parse(natsURL)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{t: t, server: u.Host, listener: l}
	go p.accept()
	t.Cleanup(func() { _ = l.Close(); p.hangUp() })
	return p
}

func (p *proxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		go p.answer(client, server)
	}
}

func (p *proxy) answer(client, server net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if err != nil {
			_ = client.Close()
			return
		}
		if !p.muted.Load() {
			if _, err := client.Write(b[:n]); err != nil {
				return
			}
		}
	}
}

// mute swallows answers until heal; once healed it does nothing.
func (p *proxy) mute() {
	if !p.healed.Load() {
		p.muted.Store(true)
	}
}

// heal ends the connections that have lost something; new ones are good.
func (p *proxy) heal() {
	p.healed.Store(true)
	p.muted.Store(false)
	p.hangUp()
}

func (p *proxy) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
