package egress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"bellows/internal/atlassian"
	"bellows/internal/egress/ticket"
	"bellows/internal/installations"
)

// outgoing is a call on its way to Atlassian.
type outgoing struct {
	api    string                // product, storage, forge or graphql
	place  installations.Context // the product that is called; zero for other APIs
	base   string
	method string
	path   string // below base, escaped
	query  url.Values
	header http.Header
	body   []byte
}

// The methods that a handler may use. OPTIONS, TRACE and CONNECT ask for
// nothing that a handler needs.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

// installation looks up whose APIs are called.
func (s *Server) installation(ctx context.Context, g ticket.Grant) (installations.Installation, error) {
	i, err := s.config.Installation(ctx, g.Installation, g.InstallationRevision)
	switch {
	case errors.Is(err, installations.ErrUnknown):
		return i, &problem{status: http.StatusForbidden, code: "unknown_installation", message: "this installation is not known", err: err}
	case err != nil:
		return i, unavailable("reading installation", err)
	}
	return i, nil
}

// aim says where a path of the egress port leads: api is its first segment,
// rest what follows it.
func (s *Server) aim(i installations.Installation, api, rest string) (outgoing, error) {
	switch api {
	case "storage":
		return outgoing{api: api, base: s.config.StorageURL, path: rest}, nil
	case "forge":
		return outgoing{api: api, base: s.config.ForgeURL, path: rest}, nil
	case "graphql":
		if rest != "" {
			return outgoing{}, notFound("graphql has no paths below it")
		}
		return outgoing{api: api, base: s.config.GraphQLURL}, nil
	}
	place, ok := product(i, api)
	if !ok {
		return outgoing{}, notFound("the app is not installed in a product of that name here; there are: " + names(i))
	}
	return outgoing{api: "product", place: place, base: place.APIBaseURL, path: rest}, nil
}

// product finds a context by its name. One without an API is none.
func product(i installations.Installation, name string) (installations.Context, bool) {
	for _, c := range i.Contexts {
		if name != "" && strings.EqualFold(c.Name, name) && c.APIBaseURL != "" {
			return c, true
		}
	}
	return installations.Context{}, false
}

// defaultPlace is the product meant where a call names none.
func defaultPlace(i installations.Installation, g ticket.Grant) (installations.Context, error) {
	if g.Product == "" && len(i.Contexts) == 1 {
		return i.Contexts[0], nil
	}
	if c, ok := product(i, g.Product); ok {
		return c, nil
	}
	if g.Product == "" {
		return installations.Context{}, &problem{status: http.StatusBadRequest, code: "no_product",
			message: "the app is installed in several products or in none (" + names(i) + "): the rule or route must say which one is meant"}
	}
	return installations.Context{}, notFound(fmt.Sprintf("the app is not installed in product %q here; there are: %s", g.Product, names(i)))
}

func names(i installations.Installation) string {
	var list []string
	for _, c := range i.Contexts {
		list = append(list, c.Name)
	}
	return strings.Join(list, ", ")
}

// check holds the method to what the API takes.
func (o outgoing) check() error {
	allowed := methods
	if o.api == "graphql" {
		allowed = []string{"POST"}
	}
	return checkMethod(o.method, allowed)
}

func checkMethod(method string, allowed []string) error {
	for _, m := range allowed {
		if m == method {
			return nil
		}
	}
	return &problem{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
		message: "want " + strings.Join(allowed, ", "), allow: strings.Join(allowed, ", ")}
}

// perform makes the call. The error is a [*problem] where bellows refuses it,
// and an [*atlassian.Error] otherwise.
func (s *Server) perform(ctx context.Context, g ticket.Grant, as As, i installations.Installation, o outgoing) (*atlassian.Answer, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	token, err := s.tokens(g, as, i, o)
	if err != nil {
		return nil, err
	}
	return s.config.Call(ctx, atlassian.Call{
		Installation: g.Installation, Base: o.base, Method: o.method, Path: o.path, Query: o.query,
		Header: requestHeader(o.header), Body: o.body, Safe: safe(o.method), Timeout: s.config.Timeout, Token: token,
	})
}

// safe reports whether a call may be sent again when its answer was lost. A
// handler cannot say so of a POST or PATCH: it can look itself and call again.
func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// refusal is an answer outside 2xx.
func (s *Server) refusal(e *atlassian.Error) *atlassian.Answer {
	answer := &atlassian.Answer{Status: e.Status, Header: answerHeader(e.Status, e.Header), Body: e.Body}
	if e.HasRetryAfter {
		answer.Header.Set("Retry-After", seconds(e.RetryAfter))
	}
	if e.RateLimitReason != "" {
		answer.Header.Set("RateLimit-Reason", e.RateLimitReason)
	}
	return answer
}

// answered reports whether Atlassian has answered with a status that is news
// to the handler. What an expired token got is none: the call would get
// another answer with a live one.
func answered(e *atlassian.Error) bool {
	return e.Stage == atlassian.Answered && !e.TokenExpired && e.Status >= 200
}
