package atlassian

import (
	"context"
	"net/http"

	"bellows/internal/secret"
)

// Post sends body, JSON, to rawURL once: through the fence, without breaker
// and without repeats. rawURL may have a query, which never appears in an
// error. The error is nil for every whole answer, whatever its status, and
// otherwise an [*Error]; sent is false if the request was certainly not acted
// on. The wait is bounded by 30 seconds and by ctx. The answer's body is given
// as it came: it may hold a token.
func (c *Client) Post(ctx context.Context, rawURL string, bearer secret.Token, body []byte) (status int, header http.Header, answer []byte, sent bool, err error) {
	f := &flight{client: c, call: Call{Method: http.MethodPost, Body: body}, used: scrubber{bearer}}
	if err := f.aim(rawURL); err != nil {
		return 0, nil, nil, false, f.fail(Fenced, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, defaultTimeout, &timeoutError{after: defaultTimeout})
	defer cancel()
	if ctx.Err() != nil {
		return 0, nil, nil, false, f.ended(ctx)
	}
	return f.post(ctx, bearer)
}

// aim checks rawURL and makes the header.
func (f *flight) aim(rawURL string) error {
	u, err := f.client.fence.parse(rawURL)
	if err != nil {
		return err
	}
	f.url, f.call.Path = u, u.EscapedPath()
	if err := checkPath(f.call.Path); err != nil && f.call.Path != "/" {
		return err
	}
	f.header, err = requestHeader(f.call)
	return err
}

func (f *flight) post(ctx context.Context, bearer secret.Token) (int, http.Header, []byte, bool, error) {
	wire, traced, cancel := watch(ctx, false)
	defer cancel()
	response, err := f.client.transport.RoundTrip(f.request(traced, bearer))
	if err != nil {
		e := f.lost(ctx, wire, err)
		return 0, nil, nil, e.Stage != NotSent, e
	}
	defer response.Body.Close()
	answer, err := readAnswer(response, f.client.maxAnswer)
	if err != nil {
		return 0, nil, nil, true, f.unreadable(ctx, response.StatusCode, err)
	}
	return response.StatusCode, f.used.header(response.Header), answer, true, nil
}
