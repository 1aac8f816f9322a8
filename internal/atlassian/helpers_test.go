package atlassian_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/secret"
)

const (
	firstToken  = "eyJhbGciOiJSUzI1NiJ9.eyJmaXJzdCI6InRva2VuIGhlcmUifQ.first-signature-0123456789abcdef"
	secondToken = "eyJhbGciOiJSUzI1NiJ9.eyJzZWNvbmQiOiJ0b2tlbiBoZXJlIn0.second-signature-0123456789abcdef"
)

var noon = time.Date(2026, 9, 14, 12, 0, 0, 0, time.UTC)

// newClient makes a client that may call the servers, at noon, with short
// waits of always the same length.
func newClient(t testing.TB, servers ...*httptest.Server) *atlassian.Client {
	t.Helper()
	return newClientWith(t, atlassian.Config{}, servers...)
}

func newClientWith(t testing.TB, config atlassian.Config, servers ...*httptest.Server) *atlassian.Client {
	t.Helper()
	for _, server := range servers {
		_, host, _ := strings.Cut(server.URL, "://")
		config.Hosts = append(config.Hosts, host)
	}
	if config.Now == nil {
		config.Now = func() time.Time { return noon }
	}
	if config.Random == nil {
		config.Random = func() float64 { return 0 }
	}
	client, err := atlassian.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdle)
	return client
}

// call makes a call with a live token; it is safe if its method is.
func call(base, method, path string) atlassian.Call {
	return atlassian.Call{
		Installation: "one", Base: base, Method: method, Path: path, Timeout: 10 * time.Second,
		Safe:  method != "POST" && method != "PATCH",
		Token: tokens(noon.Add(time.Hour), firstToken),
	}
}

// tokens gives the texts in turn, and the last again and again.
func tokens(expires time.Time, texts ...string) func(context.Context, secret.Token) (secret.Token, time.Time, error) {
	next := 0
	return func(context.Context, secret.Token) (secret.Token, time.Time, error) {
		text := texts[min(next, len(texts)-1)]
		next++
		return secret.NewToken(text), expires, nil
	}
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// counting serves the handlers in turn, and the last again and again.
func counting(t testing.TB, handlers ...http.HandlerFunc) (*httptest.Server, func() int) {
	t.Helper()
	var count atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(count.Add(1))
		_, _ = io.Copy(io.Discard, r.Body)
		handlers[min(n, len(handlers))-1](w, r)
	}))
	t.Cleanup(server.Close)
	return server, func() int { return int(count.Load()) }
}

func asError(t testing.TB, err error) *atlassian.Error {
	t.Helper()
	var e *atlassian.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *atlassian.Error", err)
	}
	return e
}

type refusingTransport struct{}

func (refusingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no way out")
}

type recordingTransport struct{ uri string }

func (r *recordingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	r.uri = request.URL.RequestURI()
	return &http.Response{StatusCode: 204, Body: http.NoBody, Request: request}, nil
}
