package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// apiRequest is a product call that has passed the gateway.
type apiRequest struct {
	*site
	actor   Account
	people  func(id string) (Account, bool)
	method  string
	path    string // escaped, below the API base
	base    string // the API base: <PublicURL>/ex/<product>/<cloudId>
	version string // of Jira's API: "2" or "3"
	vars    map[string]string
	query   url.Values
	body    []byte
	now     time.Time
}

// reply is a product's answer. A nil body is no body.
type reply struct {
	status int
	header map[string]string
	body   any
}

// route is one operation of a product. {name} in the pattern is one segment.
type route struct {
	method, pattern string
	serve           func(*apiRequest) reply
}

// match returns the values of the pattern's names if it fits an escaped path.
func (r route) match(path string) (map[string]string, bool) {
	wanted, got := strings.Split(r.pattern, "/"), strings.Split(path, "/")
	if len(wanted) != len(got) {
		return nil, false
	}
	vars := map[string]string{}
	for i, w := range wanted {
		segment, err := url.PathUnescape(got[i])
		if err != nil {
			return nil, false
		}
		switch {
		case strings.HasPrefix(w, "{") && segment != "":
			vars[strings.Trim(w, "{}")] = segment
		case w != segment:
			return nil, false
		}
	}
	return vars, true
}

// dispatch finds the route of a request. Without one it returns the methods
// that the path has.
func dispatch(routes []route, q *apiRequest) (reply, []string) {
	var methods []string
	for _, r := range routes {
		vars, ok := r.match(q.path)
		if !ok {
			continue
		}
		if r.method != q.method {
			methods = append(methods, r.method)
			continue
		}
		q.vars = vars
		q.mu.Lock()
		defer q.mu.Unlock()
		return r.serve(q), nil
	}
	return reply{}, methods
}

// decode reads the body into v.
func (q *apiRequest) decode(v any) bool {
	return json.Unmarshal(q.body, v) == nil
}

// number reads a query parameter that counts; it returns otherwise if there is
// none or it is no number.
func (q *apiRequest) number(name string, otherwise int) int {
	n, err := strconv.Atoi(q.query.Get(name))
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}

// page cuts a list down to what a request asked for.
func page[T any](all []T, start, limit int) []T {
	start = min(start, len(all))
	return all[start:min(start+limit, len(all))]
}

func ok(body any) reply      { return reply{status: http.StatusOK, body: body} }
func created(body any) reply { return reply{status: http.StatusCreated, body: body} }
func noContent() reply       { return reply{status: http.StatusNoContent} }
