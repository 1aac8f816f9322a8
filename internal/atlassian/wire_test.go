package atlassian_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/atlassian"
)

func TestACallThatMadeNoConnectionIsNotSent(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	untrusted := httptest.NewTLSServer(answer(200, ""))
	untrusted.Config.ErrorLog = discardLog()
	defer untrusted.Close()
	mute := listen(t, func(net.Conn) {}) // accepts and never shakes hands
	for name, base := range map[string]string{
		"refused": gone.URL, "certificate not trusted": untrusted.URL, "no TLS handshake": "https://" + mute,
	} {
		_, host, _ := strings.Cut(base, "://")
		client := newClientWith(t, atlassian.Config{Hosts: []string{host}})
		c := call(base, "POST", "/x")
		c.Timeout = 300 * time.Millisecond
		if _, err := client.Do(t.Context(), c); asError(t, err).Stage != atlassian.NotSent {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestACallThatEndsWithoutAnAnswerIsUnanswered(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	silent, _ := counting(t, func(http.ResponseWriter, *http.Request) { <-release })
	c := call(silent.URL, "POST", "/x")
	c.Timeout = 100 * time.Millisecond
	_, err := newClient(t, silent).Do(t.Context(), c)
	if e := asError(t, err); e.Stage != atlassian.Unanswered || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: got %v", err)
	}
	for name, serve := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { readRequest(c); c.Close() },
		"reset":  func(c net.Conn) { readRequest(c); _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
		"nonsense": func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 "+firstToken+"\r\n\r\n")
			c.Close()
		},
		"half a header": func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A"); c.Close() },
	} {
		host := listen(t, serve)
		_, err := newClientWith(t, atlassian.Config{Hosts: []string{host}}).Do(t.Context(), call("http://"+host, "POST", "/x"))
		if e := asError(t, err); e.Stage != atlassian.Unanswered || strings.Contains(err.Error(), firstToken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestACancelledContextIsTold(t *testing.T) {
	server, arrived := counting(t, answer(200, ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newClient(t, server).Do(ctx, call(server.URL, "GET", "/x"))
	if e := asError(t, err); e.Stage != atlassian.NotSent || !errors.Is(err, context.Canceled) || arrived() != 0 {
		t.Errorf("cancelled before: got %v", err)
	}

	during, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	waiting, _ := counting(t, func(http.ResponseWriter, *http.Request) { cancel(); <-release })
	_, err = newClient(t, waiting).Do(during, call(waiting.URL, "GET", "/x"))
	if e := asError(t, err); e.Stage != atlassian.Unanswered || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: got %v", err)
	}
}

// A server that closes a kept-alive connection as the next request arrives
// makes net/http replay what it takes for idempotent.
func TestAnUnsafeCallIsNotReplayedOnAReusedConnection(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*atlassian.Call)
	}{
		{"a POST with a body", func(c *atlassian.Call) { c.Body = []byte(`{"a":1}`) }},
		{"a POST without a body", func(*atlassian.Call) {}},
		{"a POST with an idempotency key", func(c *atlassian.Call) {
			c.Body, c.Header = []byte(`{"a":1}`), http.Header{"Idempotency-Key": {"1"}}
		}},
		{"a POST with an idempotency key and no body", func(c *atlassian.Call) { c.Header = http.Header{"X-Idempotency-Key": {"1"}} }},
		{"a GET that is not safe", func(c *atlassian.Call) { c.Method = "GET" }},
	} {
		var requests atomic.Int32
		var last atomic.Value
		host := listen(t, func(c net.Conn) {
			defer c.Close()
			for n := 0; ; n++ {
				request, ok := readRequest(c)
				if !ok {
					return
				}
				requests.Add(1)
				last.Store(request)
				if n == 1 {
					return // the second on a connection gets no answer
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		client := newClientWith(t, atlassian.Config{Hosts: []string{host}})
		if _, err := client.Do(t.Context(), call("http://"+host, "GET", "/warm")); err != nil {
			t.Fatal(err)
		}
		c := call("http://"+host, "POST", "/x")
		row.change(&c)
		c.Safe = false
		_, err := client.Do(t.Context(), c)
		if e := asError(t, err); e.Stage != atlassian.Unanswered || requests.Load() != 2 {
			t.Errorf("%s: %d requests after the first, %v", row.name, requests.Load()-1, err)
		}
		// Spelled like this, net/http does not know it; servers do.
		if c.Header != nil && !strings.Contains(last.Load().(string), "idempotency-key: 1\r\n") {
			t.Errorf("%s: arrived as %q", row.name, last.Load())
		}
	}
}

func TestAnUnsafeCallIsNotReplayedOverHTTP2(t *testing.T) {
	const (
		rst, goAway              = 3, 7
		protocol, refused        = 1, 7
		noError           uint32 = 0
	)
	for _, row := range []struct {
		name  string
		frame byte
		code  uint32
		body  string
		stage atlassian.Stage
	}{
		{"reset with PROTOCOL_ERROR", rst, protocol, "", atlassian.Unanswered},
		{"reset with PROTOCOL_ERROR, with a body", rst, protocol, `{"a":1}`, atlassian.Unanswered},
		{"refused, with a body", rst, refused, `{"a":1}`, atlassian.NotSent},
		{"going away, with a body", goAway, noError, `{"a":1}`, atlassian.NotSent},
	} {
		var requests atomic.Int32
		host := listen(t, func(c net.Conn) {
			serveHTTP2(c, func(stream uint32) []byte {
				requests.Add(1)
				if row.frame == goAway { // last stream 0: none was processed
					return frame(goAway, 0, append(make([]byte, 4), be32(row.code)...))
				}
				return frame(rst, stream, be32(row.code))
			})
		})
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		client := newClientWith(t, atlassian.Config{Hosts: []string{host}, Transport: transport})
		c := call("http://"+host, "POST", "/x")
		c.Body = []byte(row.body)
		_, err := client.Do(t.Context(), c)
		if e := asError(t, err); e.Stage != row.stage || requests.Load() != 1 {
			t.Errorf("%s: %d requests, %v", row.name, requests.Load(), err)
		}
	}
}

func TestASilentTransportCountsAsSent(t *testing.T) {
	client := newClientWith(t, atlassian.Config{Hosts: []string{"api.test"}, Transport: refusingTransport{}})
	if _, err := client.Do(t.Context(), call("https://api.test", "POST", "/x")); asError(t, err).Stage != atlassian.Unanswered {
		t.Errorf("got %v", err)
	}
}

// listen serves each connection to a free port of this machine.
func listen(t *testing.T, serve func(net.Conn)) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// readRequest reads one HTTP/1.1 request as far as it has come.
func readRequest(c net.Conn) (string, bool) {
	buffer := make([]byte, 64<<10)
	n, err := c.Read(buffer)
	for err == nil && !bytes.Contains(buffer[:n], []byte("\r\n\r\n")) {
		var more int
		more, err = c.Read(buffer[n:])
		n += more
	}
	return string(buffer[:n]), err == nil
}

// serveHTTP2 speaks enough HTTP/2 to answer each request, as soon as it is
// whole, with the frame that reply makes.
func serveHTTP2(c net.Conn, reply func(stream uint32) []byte) {
	defer c.Close()
	preface := make([]byte, 24)
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	_, _ = c.Write(frame(4, 0, nil)) // SETTINGS
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, c, length); err != nil {
			return
		}
		if isRequest, ends := head[3] <= 1, head[4]&1 != 0; isRequest && ends { // DATA or HEADERS with END_STREAM
			_, _ = c.Write(reply(binary.BigEndian.Uint32(head[5:])))
		}
	}
}

func frame(kind byte, stream uint32, payload []byte) []byte {
	head := []byte{0, 0, byte(len(payload)), kind, 0}
	return append(append(head, be32(stream)...), payload...)
}

func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
