package bellows

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellows/internal/atlassian"
	"bellows/internal/egress"
)

// Client calls Atlassian's APIs for the installation of a job, as one actor.
// It holds no token that could be seen: bellows puts the newest one on each
// call as it leaves, and lets none leave for another place than the
// installation's own APIs. It obeys rate limits and breaks the circuit as all
// calls of the worker do. GET, HEAD, PUT and DELETE are sent again a few times
// at once when their answer is lost; POST and PATCH are sent once.
type Client struct {
	job     *Job
	as      egress.As
	account bool // as an account, be its id empty
	product string
}

// Product returns the same client for another product, such as "confluence":
// needed where the app is installed in several.
func (c *Client) Product(name string) *Client {
	other := *c
	other.product = name
	return &other
}

// Do makes one call with JSON both ways. path is below the product's API, such
// as /rest/api/3/issue/PEL-1, and may have a query; [Pathf] puts values into
// it. body is sent as JSON unless it is nil, and the answer is decoded into out
// unless out is nil or the answer is empty.
//
// An answer outside 2xx is a [*StatusError]. What has no such answer, because
// there was no token or no connection, say, is another error; return it, and
// it is decided as for a rule.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	request, err := newRequest(ctx, method, path, body)
	if err != nil {
		return Fatal(fmt.Errorf("preparing %s %q: %w", method, withoutQuery(path), err))
	}
	response, err := c.Transport().RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := CheckStatus(response); err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	if err == nil && out != nil && len(answer) > 0 {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		// Atlassian has acted: the call must not be made again for this.
		return &atlassian.Error{Stage: atlassian.Unreadable, Method: method, Path: withoutQuery(path), Status: response.StatusCode, Err: err}
	}
	return nil
}

func newRequest(ctx context.Context, method, path string, body any) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, errors.New("path has no leading slash")
	}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding body: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "/", content)
	if err != nil {
		return nil, err
	}
	// Not url.Parse: in "//host/x" it would find a host.
	escaped, query, _ := strings.Cut(path, "?")
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errors.New("path is not well escaped")
	}
	request.URL = &url.URL{Path: plain, RawPath: escaped, RawQuery: query}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

func withoutQuery(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return path
}

// CheckStatus returns a [*StatusError] for a response outside 2xx that came
// over [Client.Transport], and nil for others. Clients that make errors of
// their own lose what Atlassian said of waiting; where their error is returned,
// it only counts as an attempt.
func CheckStatus(response *http.Response) error {
	if response.StatusCode >= 200 && response.StatusCode <= 299 {
		return nil
	}
	failure := egress.Failure(response)
	if failure == nil { // somebody has wrapped the body
		failure = &atlassian.Error{Stage: atlassian.Answered, Status: response.StatusCode}
		if r := response.Request; r != nil {
			failure.Method, failure.Path = r.Method, r.URL.EscapedPath()
		}
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds >= 0 {
			failure.HasRetryAfter, failure.RetryAfter = true, time.Duration(seconds)*time.Second
		}
	}
	return &StatusError{Status: failure.Status, Method: failure.Method, Path: failure.Path, Message: failure.Message, cause: failure}
}

// Transport lets any REST client that takes an http.RoundTripper make the
// calls of this one: its requests go to URLs below [Client.BaseURL], and need
// no authorization. A URL without a host is below the product's API; one
// below Forge's storage API or the GraphQL gateway is carried too, and
// everything else is refused. Whatever status Atlassian answers with is a
// response, for [CheckStatus] to look at; only a call without an answer is an
// error.
func (c *Client) Transport() http.RoundTripper {
	if c.account && c.as.Account == "" {
		return roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, Fatal(errors.New("calling as an account: the account id is empty"))
		})
	}
	below := c.job.task.Transport(c.as)
	if c.product == "" {
		return below
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		aimed, err := c.aim(r)
		if err != nil {
			return nil, err
		}
		return below.RoundTrip(aimed)
	})
}

// aim gives a request without a host that of the client's product.
func (c *Client) aim(r *http.Request) (*http.Request, error) {
	if r.URL.Host != "" || r.URL.Scheme != "" {
		return r, nil
	}
	base, err := c.BaseURL(r.Context())
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil {
		return nil, Fatal(fmt.Errorf("reading the address of %q: %w", c.product, err))
	}
	u.RawPath, u.Path, u.RawQuery = u.EscapedPath()+r.URL.EscapedPath(), u.Path+r.URL.Path, r.URL.RawQuery
	aimed := r.Clone(r.Context())
	aimed.URL = u
	return aimed, nil
}

// HTTPClient returns an http.Client over [Client.Transport]. It follows no
// redirects.
func (c *Client) HTTPClient() *http.Client {
	return &http.Client{
		Transport:     c.Transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// BaseURL is where the product's API is, for clients that want to be told. It
// fails for good where the app is not installed in that product.
func (c *Client) BaseURL(ctx context.Context) (string, error) {
	installed := c.job.Installation.Products
	if c.product != "" && !slices.ContainsFunc(installed, func(p Product) bool { return strings.EqualFold(p.Name, c.product) }) {
		return "", Fatal(fmt.Errorf("looking for the API: the app is not installed in product %q here", c.product))
	}
	return c.job.task.BaseURL(ctx, c.product)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Pathf fills each %s and %v of a path with a value, escaped so that it stays
// one segment: what comes from an event cannot lead a call elsewhere.
//
//	bellows.Pathf("/rest/api/3/issue/%s/comment", event.Issue.Key)
//
// A value that is empty, is "." or "..", or has a slash in it gives a path that
// every call refuses. For a query, append url.Values to the path.
func Pathf(format string, values ...any) string {
	escaped := make([]any, len(values))
	for i, value := range values {
		segment := url.PathEscape(fmt.Sprint(value))
		if segment == "" {
			segment = "." // refused; nothing at all would be another path where it comes last
		}
		escaped[i] = segment
	}
	return fmt.Sprintf(format, escaped...)
}
