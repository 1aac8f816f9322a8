package worker_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// call is one call at the API.
type call struct {
	method, path, token, body string
	at                        time.Time
}

// api records calls and answers 200 {"id":"7"}, unless answer says otherwise.
type api struct {
	*httptest.Server
	mu      sync.Mutex
	calls   []call
	answer  func(http.ResponseWriter, *http.Request, call) bool
	inside  int
	most    int
	gate    chan struct{} // calls of a gated path wait here
	opening sync.Once
}

func newAPI(t *testing.T) *api {
	a := &api{gate: make(chan struct{})}
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(func() { a.release(); a.CloseClientConnections(); a.Close() })
	return a
}

// release lets the calls go on that wait.
func (a *api) release() { a.opening.Do(func() { close(a.gate) }) }

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c := call{r.Method, strings.TrimPrefix(r.URL.Path, "/base"), strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), string(body), time.Now()}
	a.mu.Lock()
	a.calls = append(a.calls, c)
	a.inside++
	a.most = max(a.most, a.inside)
	answer := a.answer
	a.mu.Unlock()
	defer func() { a.mu.Lock(); a.inside--; a.mu.Unlock() }()
	if answer != nil && answer(w, r, c) {
		return
	}
	_, _ = io.WriteString(w, `{"id":"7"}`)
}

// set has f answer from now on; where it returns false the answer is 200.
func (a *api) set(f func(http.ResponseWriter, *http.Request, call) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = f
}

// waitAtGate lets calls wait until release or until the caller gives up.
func (a *api) waitAtGate(_ http.ResponseWriter, r *http.Request, _ call) bool {
	select {
	case <-a.gate:
	case <-r.Context().Done():
	}
	return false
}

func (a *api) made(path string) []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []call
	for _, c := range a.calls {
		if c.path == path {
			found = append(found, c)
		}
	}
	return found
}

// hangUp ends the connection after the call was read: sent and no answer.
func hangUp(http.ResponseWriter, *http.Request, call) bool { panic(http.ErrAbortHandler) }

// first answers the first n calls with f, and the rest with 200.
func first(n int, f func(http.ResponseWriter, *http.Request, call) bool) func(http.ResponseWriter, *http.Request, call) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, c call) bool {
		mu.Lock()
		n--
		mine := n >= 0
		mu.Unlock()
		return mine && f(w, r, c)
	}
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request, call) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ call) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"errorMessages": []string{"the API refuses"}})
		return true
	}
}
