package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"bellows/internal/atlassian"
	"bellows/internal/egress/ticket"
	"bellows/internal/installations"
	"bellows/internal/jobs"
)

// Transport returns a transport for a handler in this process: any client that
// takes an http.RoundTripper then calls the APIs of the grant's installation.
// It needs no ticket and ends with the context of each request.
//
// A request's URL is an absolute one at or below the base URL of one of the
// installation's products, of Forge's APIs or of GraphQL; or it has no host,
// and its path is taken to be below the API of the grant's product. Everything
// else is refused. Bodies, headers and methods are held to what the port takes.
//
// Whatever Atlassian answered is a response, and [Failure] gives its error. The
// error of RoundTrip is always an [*atlassian.Error]: what bellows refuses has
// the stage Fenced, and a failure to look the installation up NotSent.
func (s *Server) Transport(g ticket.Grant, as As) http.RoundTripper {
	return &transport{s: s, grant: g, as: as}
}

// BaseURL returns where a product's API is, for clients that want to be told.
// An empty name means the grant's product.
func (s *Server) BaseURL(ctx context.Context, g ticket.Grant, name string) (string, error) {
	i, err := s.installation(ctx, g)
	if err != nil {
		return "", fmt.Errorf("looking for the API: %w", err)
	}
	if name != "" {
		g.Product = name
	}
	place, err := defaultPlace(i, g)
	if err != nil {
		return "", fmt.Errorf("looking for the API: %w", err)
	}
	return place.APIBaseURL, nil
}

// Failure returns why a response of [Server.Transport] has a status outside
// 2xx, with what Atlassian said of waiting. It is nil for other responses.
func Failure(response *http.Response) *atlassian.Error {
	if b, ok := response.Body.(*answerBody); ok {
		return b.failure
	}
	return nil
}

type transport struct {
	s     *Server
	grant ticket.Grant
	as    As
}

// answerBody is a body in memory that remembers why the call failed.
type answerBody struct {
	io.Reader
	failure *atlassian.Error
}

func (*answerBody) Close() error { return nil }

// RoundTrip makes one call.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	answer, err := t.call(r)
	var failure *atlassian.Error
	switch {
	case err == nil:
		answer = &atlassian.Answer{Status: answer.Status, Header: answerHeader(answer.Status, answer.Header), Body: answer.Body}
	case errors.As(err, &failure) && answered(failure):
		answer = t.s.refusal(failure)
	default:
		return nil, typed(r, err)
	}
	return &http.Response{
		Status: strconv.Itoa(answer.Status) + " " + http.StatusText(answer.Status), StatusCode: answer.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: answer.Header,
		Body: &answerBody{bytes.NewReader(answer.Body), failure}, ContentLength: int64(len(answer.Body)), Request: r,
	}, nil
}

func (t *transport) call(r *http.Request) (*atlassian.Answer, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, errors.New("the query is not well formed")
	}
	i, err := t.s.installation(r.Context(), t.grant)
	if err != nil {
		return nil, err
	}
	o, err := t.s.locate(i, t.grant, r.URL)
	if err != nil {
		return nil, err
	}
	o.method, o.query, o.header = r.Method, query, r.Header
	if o.method == "" {
		o.method = http.MethodGet
	}
	if r.Body != nil && r.Body != http.NoBody {
		if o.body, err = readBody(r.Body, r.ContentLength, t.s.config.MaxBody); err != nil {
			return nil, err
		}
	}
	return t.s.perform(r.Context(), t.grant, t.as, i, o)
}

// locate finds the API that a URL is of.
func (s *Server) locate(i installations.Installation, g ticket.Grant, u *url.URL) (outgoing, error) {
	o, err := s.find(i, g, u)
	if err != nil {
		return o, err
	}
	if o.path == "/" {
		o.path = ""
	}
	if o.api == "graphql" && o.path != "" {
		return o, errors.New("graphql has no paths below it")
	}
	return o, checkPath(o.path)
}

func (s *Server) find(i installations.Installation, g ticket.Grant, u *url.URL) (outgoing, error) {
	if u.Scheme == "" && u.Host == "" && u.Opaque == "" && u.User == nil {
		place, err := defaultPlace(i, g)
		return outgoing{api: "product", place: place, base: place.APIBaseURL, path: u.EscapedPath()}, err
	}
	for _, c := range i.Contexts {
		if rest, ok := below(c.APIBaseURL, u); ok {
			return outgoing{api: "product", place: c, base: c.APIBaseURL, path: rest}, nil
		}
	}
	for _, o := range []outgoing{
		{api: "graphql", base: s.config.GraphQLURL}, {api: "storage", base: s.config.StorageURL}, {api: "forge", base: s.config.ForgeURL},
	} {
		if rest, ok := below(o.base, u); ok {
			o.path = rest
			return o, nil
		}
	}
	return outgoing{}, fmt.Errorf("%q is not below an API of this installation", jobs.Clip(u.Host, 100))
}

// typed makes an atlassian.Error of what did not come as far as a call.
func typed(r *http.Request, err error) error {
	var e *atlassian.Error
	if errors.As(err, &e) {
		return e
	}
	stage := atlassian.Fenced
	var p *problem
	if errors.As(err, &p) && p.status == http.StatusServiceUnavailable {
		stage = atlassian.NotSent
	}
	return &atlassian.Error{Stage: stage, Method: jobs.Clip(r.Method, 100), Path: jobs.Clip(r.URL.EscapedPath(), 300), Err: err}
}
