package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// apiCall is one call that arrived at the API.
type apiCall struct {
	Method string
	Path   string // whole, as it came
	Query  string
	Header http.Header
	Body   string
	Token  string // of Authorization
	At     time.Time
}

// apiWorld is Atlassian's side: every API on one host. It records each call,
// then answers 200 {} unless answer says otherwise.
type apiWorld struct {
	server *httptest.Server

	mu        sync.Mutex
	calls     []apiCall
	answer    func(w http.ResponseWriter, r *http.Request, call apiCall) bool
	exchanges []apiCall
	exchange  func(w http.ResponseWriter, account string, n int)
}

func newAPI(t testing.TB) *apiWorld {
	w := &apiWorld{}
	w.server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.server.CloseClientConnections()
		w.server.Close()
	})
	return w
}

func (w *apiWorld) url() string  { return w.server.URL }
func (w *apiWorld) host() string { return strings.TrimPrefix(w.server.URL, "http://") }

// ServeHTTP records the call before it answers.
func (w *apiWorld) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	call := apiCall{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: string(body), Token: token, At: time.Now(),
	}
	if r.URL.Path == "/graphql" && strings.Contains(call.Body, "offlineUserAuthToken") {
		w.serveExchange(out, call)
		return
	}
	w.mu.Lock()
	w.calls = append(w.calls, call)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil && answer(out, r, call) {
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, "{}")
}

// answerWith has f answer from now on; where it returns false the call is
// answered with 200 {}. Nil answers everything so.
func (w *apiWorld) answerWith(f func(w http.ResponseWriter, r *http.Request, call apiCall) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
}

// status answers every call with a status.
func status(code int) func(http.ResponseWriter, *http.Request, apiCall) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ apiCall) bool {
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"errorMessages":["the API says %d"]}`, code)
		return true
	}
}

// made returns the calls so far whose path ends with suffix, exchanges not
// among them.
func (w *apiWorld) made(suffix string) []apiCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []apiCall
	for _, c := range w.calls {
		if strings.HasSuffix(c.Path, suffix) {
			found = append(found, c)
		}
	}
	return found
}

// counts returns how often each "METHOD path" was called.
func (w *apiWorld) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for _, c := range w.calls {
		n[c.Method+" "+c.Path]++
	}
	return n
}

// exchanged returns the token exchanges so far.
func (w *apiWorld) exchanged() []apiCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]apiCall(nil), w.exchanges...)
}

// exchangeWith has f answer exchanges; nil gives a token of an hour.
func (w *apiWorld) exchangeWith(f func(w http.ResponseWriter, account string, n int)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchange = f
}

// userToken is the token that the nth exchange for an account gives, from 1.
func userToken(account string, n int) string {
	return fmt.Sprintf("exchanged-token-of-%s-number-%d", account, n)
}

func (w *apiWorld) serveExchange(out http.ResponseWriter, call apiCall) {
	var request struct {
		Variables struct{ Input struct{ UserID string } }
	}
	_ = json.Unmarshal([]byte(call.Body), &request)
	w.mu.Lock()
	w.exchanges = append(w.exchanges, call)
	n, answer := len(w.exchanges), w.exchange
	w.mu.Unlock()
	account := request.Variables.Input.UserID
	if answer != nil {
		answer(out, account, n)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, jsonText(object{"data": object{"offlineUserAuthToken": object{
		"success": true, "errors": []any{}, "authToken": object{"token": userToken(account, n), "ttl": 3600}}}}))
}
